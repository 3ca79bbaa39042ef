"""Weights as safetensors that tell what they are.

NAME.safetensors   arrays by path, and as metadata under `jaxdistill` what their writer
                   needs to build the network again
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

from jaxdistill.errors import InputError
from jaxdistill.run.files import write_atomic

MARK = "jaxdistill"


def write_weights(path: Path, params: PyTree, facts: Mapping[str, Any]) -> int:
    """Write arrays and what is known of them; returns the bytes on disk."""
    from safetensors.numpy import save

    leaves = tree_flatten_with_path(params)[0]
    tensors = {_name(place): np.ascontiguousarray(leaf) for place, leaf in leaves}
    data = save(tensors, {MARK: json.dumps(facts)})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)
    return len(data)


def read_weights(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by name, and the facts; `InputError` for a file that is none of ours."""
    from safetensors import SafetensorError, safe_open

    path = path.expanduser()
    if not path.is_file():
        raise InputError(f"{path} is no file: name a .safetensors file")
    try:
        with safe_open(path, framework="numpy") as file:
            told = (file.metadata() or {}).get(MARK, "")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} cannot be read as safetensors ({error}): copy it again"
        ) from error
    try:
        facts = json.loads(told)
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        raise InputError(
            f"{path} does not say which network it is of: name a file that jaxdistill "
            "has written"
        )
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


def _name(place: Any) -> str:
    return keystr(place, simple=True, separator=".")
