"""Weights as safetensors that tell what they are.

NAME.safetensors   arrays by path, and as metadata under `jaxdistill` what their writer
                   needs to build the network again, with a checksum of all
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path
from jaxtyping import PyTree

from jaxdistill.errors import Damaged, InputError
from jaxdistill.run.files import write_atomic
from jaxdistill.run.seals import SHA256, of_arrays, sealed
from jaxdistill.run.troubles import trouble_of

MARK = "jaxdistill"


def write_weights(path: Path, params: PyTree, facts: Mapping[str, Any]) -> int:
    """Write arrays and what is known of them; returns the bytes on disk."""
    from safetensors.numpy import save

    leaves = tree_flatten_with_path(params)[0]
    tensors = {_name(place): np.ascontiguousarray(leaf) for place, leaf in leaves}
    plainly = json.loads(json.dumps(facts))
    # One key alone: several would be written in an order that changes.
    told = json.dumps({**plainly, SHA256: _checksum(tensors, plainly)})
    data = save(tensors, {MARK: told})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)
    return len(data)


def read_weights(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by name, and the facts; `InputError` where there is no file.

    Raises `Damaged` for a file that is none of ours, or not as it was written.
    """
    from safetensors import SafetensorError, safe_open

    path = path.expanduser()
    if not path.is_file():
        raise InputError(f"{path} is no file: name a .safetensors file")
    try:
        with safe_open(path, framework="numpy") as file:
            told = (file.metadata() or {}).get(MARK, "")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        if isinstance(error, OSError) and (why := trouble_of(error, path, "read")):
            raise why from error
        raise Damaged(
            f"{path} cannot be read as safetensors ({error})", "copy it again"
        ) from error
    try:
        facts = json.loads(told)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise Damaged(
            f"{path} does not say which network it is of",
            "name a file that jaxdistill has written",
        )
    if facts.pop(SHA256, own := _checksum(tensors, facts)) != own:
        raise Damaged(f"{path} is damaged (its sha256 is another)", "copy it again")
    return tensors, facts


def fill(path: Path, like: PyTree, tensors: Mapping[str, np.ndarray]) -> PyTree:
    """The arrays as a tree like another; `InputError` where names or shapes differ."""
    leaves, tree = tree_flatten_with_path(like)
    names = [_name(place) for place, _ in leaves]
    if odd := sorted(set(names) ^ set(tensors)):
        lacks = "lacks" if odd[0] in names else "has an unknown"
        raise InputError(
            f"{path} {lacks} {odd[0]}, and {len(odd) - 1} more names differ from those "
            "of the network: build the network as the file's was"
        )
    for name, (_, leaf) in zip(names, leaves, strict=True):
        if tensors[name].shape != leaf.shape:
            raise InputError(
                f"{path} has {name} of shape {tensors[name].shape}, the network of "
                f"{leaf.shape}: build the network as the file's was"
            )
    return jax.tree.unflatten(tree, [jnp.asarray(tensors[name]) for name in names])


def _checksum(tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in facts.items() if key != SHA256}
    return sealed({"arrays": of_arrays(dict(tensors)), "facts": kept})[SHA256]


def _name(place: Any) -> str:
    return keystr(place, simple=True, separator=".")
