"""A trained segmenter as files: weights that tell what they are, and a program.

NAME.safetensors   the weights by path, and as metadata under `jaxdistill` all that
                   is needed to build the network and to read images for it
NAME.stablehlo     the network with its weights for CPU, CUDA and TPU, for any
                   number of slices: `jax.export.deserialize(bytes).call(images)`
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import export

from jaxdistill.errors import Damaged
from jaxdistill.networks import build_segmenter
from jaxdistill.run.files import write_atomic
from jaxdistill.run.weights_file import fill, read_weights, write_weights
from jaxdistill.types import Params, Segmenter

PLATFORMS = ("cpu", "cuda", "tpu")


class Model(NamedTuple):
    """A trained segmenter, and what is known of it."""

    network: Segmenter
    params: Params
    facts: dict[str, Any]


def save_model(path: Path, params: Params, facts: Mapping[str, Any]) -> int:
    """Write the weights; returns the bytes that they take on disk.

    `facts` holds `network` (name and settings), `channels`, `classes` and more.
    """
    return write_weights(path, params, facts)


def load_model(path: Path) -> Model:
    """The network of a file; `InputError` for a file that is none, or another's.

    Raises `Damaged` for a file that is not as it was written.
    """
    tensors, facts = read_weights(path)
    if not {"network", "channels", "classes", "class_names"} <= set(facts):
        raise Damaged(
            f"{path} does not say which network it is of",
            "name a file that jaxdistill segment has written",
        )
    network = build_segmenter(
        channels=facts["channels"], classes=facts["classes"], **facts["network"]
    )
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
