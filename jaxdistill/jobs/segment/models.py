"""A trained segmenter as files: weights that tell what they are, and a program.

NAME.safetensors   the weights by path, and as metadata under `jaxdistill` all that
                   is needed to build the network and to read images for it
NAME.stablehlo     the network with its weights for CPU, CUDA and TPU, for any
                   number of slices: `jax.export.deserialize(bytes).call(images)`
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.tree_util import keystr, tree_flatten_with_path

from jaxdistill.data.case_files import CaseSize, Normalise
from jaxdistill.data.labels import MOST_CLASSES
from jaxdistill.data.volumes import Axis
from jaxdistill.errors import InputError
from jaxdistill.foreign import as_record, parse_json, read_tensors
from jaxdistill.networks import build_segmenter
from jaxdistill.ranges import Range
from jaxdistill.run.files import write_atomic
from jaxdistill.types import Params, Segmenter

PLATFORMS = ("cpu", "cuda", "tpu")
MARK = "jaxdistill"


WRITTEN = "name a file that jaxdistill segment has written"


class Facts(NamedTuple):
    """What is needed to build the network of a file."""

    network: Annotated[dict, "its name and settings"]
    channels: Annotated[int, Range(1, 1000), "of an image"]
    classes: Annotated[int, Range(1, MOST_CLASSES), "of a mask"]
    class_names: Annotated[tuple, "of the classes"]
    neighbours: Annotated[int, Range(0, 8), "slices before and after"] = 0


class Read(NamedTuple):
    """How the images were read that it was trained on."""

    axis: Axis = "auto"
    normalise: Normalise = "zscore"
    size: CaseSize = 0


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
    data = save(tensors, {MARK: json.dumps(facts)})
    write_atomic(path, data)
    return len(data)


def load_model(path: Path) -> Model:
    """The network of a file; `InputError` for a file that is none, or another's."""
    path = path.expanduser()
    tensors, told = read_tensors(path)
    facts = _facts(path, told.get(MARK))
    try:
        network = _network(facts)
    except InputError as error:
        raise InputError(
            f"{path} names a network that cannot be built here: {error}"
        ) from error
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


def _facts(path: Path, told: str | None) -> dict[str, Any]:
    facts = parse_json(told or "{}", f"{path}", WRITTEN)
    needed = {"network", "channels", "classes", "class_names"}
    if not isinstance(facts, dict) or not needed <= set(facts):
        raise InputError(f"{path} does not say which network it is of: {WRITTEN}")
    try:
        as_record(Facts, facts, "facts")
        as_record(Read, facts.get("data", {}), "facts.data")
    except InputError as error:
        raise InputError(
            f"{path} tells what cannot be, as {error}: {WRITTEN}"
        ) from error
    return facts


def _network(facts: Mapping[str, Any]) -> Segmenter:
    """The segmenter of facts that were checked."""
    settings = dict(facts["network"])
    if not isinstance(settings.get("name"), str) or {"channels", "classes"} & set(
        settings
    ):
        raise InputError(f"network={settings!s:.80} names no network")
    return build_segmenter(
        channels=facts["channels"], classes=facts["classes"], **settings
    )


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
        found = tensors[name]
        if found.shape != leaf.shape or found.dtype.kind in "biuc":
            raise InputError(
                f"{path} has {name} in {found.dtype} of shape {found.shape}, its "
                f"network in {leaf.dtype} of {leaf.shape}: write it again with "
                "jaxdistill segment"
            )
    return jax.tree.unflatten(tree, [jnp.asarray(tensors[name]) for name in names])


def _name(place: Any) -> str:
    return keystr(place, simple=True, separator=".")
