"""Weights as safetensors that tell what they are.

NAME.safetensors   arrays by path, and as metadata under `jaxdistill` what their writer
                   needs to build the network again, with a checksum of all
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path
from jaxtyping import PyTree

from jaxdistill import foreign
from jaxdistill.errors import Damaged, InputError
from jaxdistill.foreign.files import expanded
from jaxdistill.run.files import write_atomic
from jaxdistill.run.seals import SHA256, of_arrays, sealed
from jaxdistill.run.troubles import explain_reading

MARK = "jaxdistill"


def write_weights(path: Path, params: PyTree, facts: Mapping[str, Any]) -> int:
    """Write arrays and what is known of them; returns the bytes on disk."""
    from safetensors.numpy import save

    leaves = tree_flatten_with_path(params)[0]
    # Not `ascontiguousarray`, which gives a number one axis.
    tensors = {_name(place): np.asarray(leaf, order="C") for place, leaf in leaves}
    plainly = json.loads(json.dumps(facts))
    # One key alone: several would be written in an order that changes.
    told = json.dumps({**plainly, SHA256: _checksum(tensors, plainly)})
    data = save(tensors, {MARK: told})
    write_atomic(path, data)
    return len(data)


def read_weights(
    path: Path, keys: Collection[str] = ()
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by name, and the facts, which hold these keys.

    Raises `InputError` for a file that is none, `Damaged` for one that is not as it was
    written, or that another program wrote.
    """
    path = expanded(path)
    if not path.is_file():
        raise InputError(f"{path} is no file: name a .safetensors file")
    with explain_reading(path):
        tensors, told = foreign.read_tensors(path, finite=False)
    facts = _facts(path, told.get(MARK, ""), keys)
    if facts.pop(SHA256, own := _checksum(tensors, facts)) != own:
        raise Damaged(f"{path} is damaged (its sha256 is another)", "copy it again")
    return tensors, facts


def fill(path: Path, like: PyTree, tensors: Mapping[str, np.ndarray]) -> PyTree:
    """The arrays as a tree like another; `InputError` where names or shapes differ."""
    leaves, tree = tree_flatten_with_path(like)
    names = [_name(place) for place, _ in leaves]
    if odd := sorted(set(names) ^ set(tensors)):
        lacks = "lacks" if odd[0] in names else "has, and the network has not,"
        raise InputError(
            f"{path} {lacks} {odd[0]}, one of {len(odd)} names that differ: it is of "
            "another network, or of another version; name its own, or write it again"
        )
    for name, (_, leaf) in zip(names, leaves, strict=True):
        found = tensors[name]
        if found.shape != leaf.shape or found.dtype.kind in "biuc":
            raise InputError(
                f"{path} has {name} in {found.dtype} of shape {found.shape}, the "
                f"network in {leaf.dtype} of {leaf.shape}: it is of another network; "
                "name its own, or write it again"
            )
    return jax.tree.unflatten(tree, [jnp.asarray(tensors[name]) for name in names])


def _facts(path: Path, told: str, keys: Collection[str]) -> dict[str, Any]:
    try:
        facts = foreign.parse_json(told, f"{path}")
        if not isinstance(facts, dict) or not set(keys) <= set(facts):
            raise KeyError
    except (InputError, KeyError) as error:
        raise Damaged(
            f"{path} does not say which network it is of",
            "name a file that jaxdistill has written",
        ) from error
    return facts


def _checksum(tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in facts.items() if key != SHA256}
    return sealed({"arrays": of_arrays(dict(tensors)), "facts": kept})[SHA256]


def _name(place: Any) -> str:
    return keystr(place, simple=True, separator=".")
