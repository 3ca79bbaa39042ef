"""A trained segmenter as files: weights that tell what they are, and a program.

NAME.safetensors   the weights by path, and as metadata under `jaxdistill` all that
                   is needed to build the network and to read images for it
NAME.stablehlo     the network with its weights for CPU, CUDA and TPU, for any
                   number of slices: `jax.export.deserialize(bytes).call(images)`
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
from jax import export

from jaxdistill.data.case_files import CaseSize, Normalise
from jaxdistill.data.labels import MOST_CLASSES
from jaxdistill.data.volumes import Axis
from jaxdistill.errors import InputError
from jaxdistill.foreign import as_record
from jaxdistill.foreign.arrays import require_finite
from jaxdistill.networks import build_segmenter
from jaxdistill.ranges import Range, is_a
from jaxdistill.run.files import write_atomic
from jaxdistill.run.weights_file import fill, read_weights
from jaxdistill.types import Params, Segmenter

MOST_SIDE = 4096  # pixels of a slice
PLATFORMS = ("cpu", "cuda", "tpu")
WRITTEN = "name a file that jaxdistill segment has written"
FACTS = ("network", "channels", "classes", "class_names")


class Facts(NamedTuple):
    """What is needed to build the network of a file."""

    network: Annotated[dict, "its name and settings"]
    channels: Annotated[int, Range(1, 1000), "of an image"]
    classes: Annotated[int, Range(1, MOST_CLASSES), "of a mask"]
    class_names: Annotated[tuple, "of the classes"]
    neighbours: Annotated[int, Range(0, 8), "slices before and after"] = 0


class Frame(NamedTuple):
    """What is told of masks and of the slices that it was judged on."""

    shape: Annotated[tuple, "height and width of slices"] = (0, 0)
    values: Annotated[tuple, "of the classes in mask files"] = ()


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


def load_model(path: Path) -> Model:
    """The network of a file; `InputError` for a file that is none, or another's.

    Raises `Damaged` for a file that is not as it was written.
    """
    tensors, facts = read_weights(path, FACTS)
    for name, values in tensors.items():
        require_finite(f"{path}", name, values, WRITTEN)
    network = _network(path, facts)
    like = jax.eval_shape(network.init, jax.random.key(0))
    return Model(network, fill(path, like, tensors), facts)


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


def _network(path: Path, facts: Mapping[str, Any]) -> Segmenter:
    """The segmenter that a file names; `InputError` for facts that cannot be."""
    try:
        as_record(Facts, facts, "facts")
        as_record(Read, facts.get("data", {}), "facts.data")
        settings = dict(facts["network"])
        reserved = {"channels", "classes"} & set(settings)
        if not isinstance(settings.get("name"), str) or reserved:
            raise InputError(f"network={settings!s:.80} names no network")
        network = build_segmenter(
            channels=facts["channels"], classes=facts["classes"], **settings
        )
        _check_frame(as_record(Frame, facts, "facts"), network, facts["classes"])
        return network
    except InputError as error:
        raise InputError(
            f"{path} tells what cannot be, as {error}: {WRITTEN}"
        ) from error


def _check_frame(told: Frame, network: Segmenter, classes: int) -> None:
    """`InputError` for slices that the network does not take, or values of no mask."""
    sides, stride = told.shape, network.stride
    whole = all(is_a(side, int) and 0 <= side <= MOST_SIDE for side in sides)
    if len(sides) != 2 or not whole or any(side % stride for side in sides):
        raise InputError(
            f"facts.shape={list(sides)!s:.80} must be a height and a width up to "
            f"{MOST_SIDE}, multiples of {stride}"
        )
    values = told.values
    known = all(is_a(value, int) and abs(value) < 2**31 for value in values)
    if not known or len(values) not in (0, classes):
        raise InputError(
            f"facts.values={list(values)!s:.80} must be a whole number for each of "
            f"{classes} classes"
        )
