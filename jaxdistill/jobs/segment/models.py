"""A trained segmenter as files: weights that tell what they are, and a program.

NAME.safetensors   the weights by path, and as metadata under `jaxdistill` all that
                   is needed to build the network and to read images for it
NAME.stablehlo     the network with its weights for CPU, CUDA and TPU, for any
                   number of slices: `jax.export.deserialize(bytes).call(images)`
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import export

from jaxdistill.networks import build_segmenter
from jaxdistill.run.files import write_atomic
from jaxdistill.run.weights_file import fill, read_weights
from jaxdistill.types import Params, Segmenter

PLATFORMS = ("cpu", "cuda", "tpu")
FACTS = ("network", "channels", "classes", "class_names")


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
