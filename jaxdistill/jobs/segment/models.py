"""A trained segmenter as files: weights that tell what they are, and a program.

NAME.safetensors   the weights by path, and as metadata under `jaxdistill` all that
                   is needed to build the network and to read images for it
NAME.stablehlo     the network with its weights for CPU, CUDA and TPU, for any
                   number of slices: `jax.export.deserialize(bytes).call(images)`
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.tree_util import keystr, tree_flatten_with_path

from jaxdistill.errors import Damaged, InputError
from jaxdistill.networks import build_segmenter
from jaxdistill.run.files import trouble_of, write_atomic
from jaxdistill.run.seals import SHA256, of_arrays, sealed
from jaxdistill.types import Params, Segmenter

PLATFORMS = ("cpu", "cuda", "tpu")
MARK = "jaxdistill"


class Model(NamedTuple):
    """A trained segmenter, and what is known of it."""

    network: Segmenter
    params: Params
    facts: dict[str, Any]


def save_model(path: Path, params: Params, facts: Mapping[str, Any]) -> int:
    """Write the weights; returns the bytes that they take on disk.

    `facts` holds `network` (name and settings), `channels`, `classes` and more.
    """
    from safetensors.numpy import save

    tensors = {_name(p): np.asarray(x) for p, x in tree_flatten_with_path(params)[0]}
    plainly = json.loads(json.dumps(facts))
    # One key alone: several would be written in an order that changes.
    told = json.dumps({**plainly, SHA256: _checksum(tensors, plainly)})
    data = save(tensors, {MARK: told})
    write_atomic(path, data)
    return len(data)


def load_model(path: Path) -> Model:
    """The network of a file; `InputError` for a file that is none, or another's.

    Raises `Damaged` for a file that is not as it was written.
    """
    from safetensors import SafetensorError, safe_open

    path = path.expanduser()
    if not path.is_file():
        raise InputError(f"{path} is no file: name the .safetensors of a student")
    try:
        with safe_open(path, framework="numpy") as file:
            told = (file.metadata() or {}).get(MARK)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"{path} is no file: copy it again") from error
    except (SafetensorError, OSError, ValueError) as error:
        if isinstance(error, OSError) and (why := trouble_of(error, path, "read")):
            raise why from error
        raise Damaged(
            f"{path} cannot be read as safetensors ({error})", "copy it again"
        ) from error
    facts = _facts(path, told)
    if facts.pop(SHA256, own := _checksum(tensors, facts)) != own:
        raise Damaged(f"{path} is damaged (its sha256 is another)", "copy it again")
    network = build_segmenter(
        channels=facts["channels"], classes=facts["classes"], **facts["network"]
    )
    like = jax.eval_shape(network.init, jax.random.key(0))
    return Model(network, _filled(path, like, tensors), facts)


def save_program(
    path: Path, model: Model, shape: tuple[int, int], batch: str = "n"
) -> None:
    """Write the network with its weights as StableHLO, for slices of one size."""
    lowered = build_segmenter(
        channels=model.facts["channels"],
        classes=model.facts["classes"],
        **{**model.facts["network"], "conv": "lax"},
    )
    images = jax.ShapeDtypeStruct(
        (*export.symbolic_shape(batch), *shape, model.facts["channels"]), np.float32
    )
    program = jax.jit(lambda x: lowered.apply(model.params, x))
    made = export.export(program, platforms=PLATFORMS)(images)
    write_atomic(path, bytes(made.serialize()))


def _checksum(tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in facts.items() if key != SHA256}
    return sealed({"arrays": of_arrays(dict(tensors)), "facts": kept})[SHA256]


def _facts(path: Path, told: str | None) -> dict[str, Any]:
    try:
        facts = json.loads(told or "")
        if not {"network", "channels", "classes", "class_names"} <= set(facts):
            raise KeyError
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(
            f"{path} does not say which network it is of",
            "name a file that jaxdistill segment has written",
        ) from error
    return facts


def _filled(path: Path, like: Params, tensors: Mapping[str, np.ndarray]) -> Params:
    leaves, tree = tree_flatten_with_path(like)
    names = [_name(place) for place, _ in leaves]
    if set(names) != set(tensors):
        odd = sorted(set(names) ^ set(tensors))[0]
        raise InputError(
            f"{path} and the network that it names differ in {odd}: it was written by "
            "another version, or changed; write it again with jaxdistill segment"
        )
    for name, (_, leaf) in zip(names, leaves, strict=True):
        if tensors[name].shape != leaf.shape:
            raise InputError(
                f"{path} has {name} of shape {tensors[name].shape}, its network of "
                f"{leaf.shape}: write it again with jaxdistill segment"
            )
    return jax.tree.unflatten(tree, [jnp.asarray(tensors[name]) for name in names])


def _name(place: Any) -> str:
    return keystr(place, simple=True, separator=".")
