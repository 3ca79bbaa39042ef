"""Flax Linen modules as `Network` records, and the checks that every factory shares."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill.errors import InputError
from jaxdistill.networks.layers import GROUPS, Dense
from jaxdistill.types import Network

ImageShape = tuple[int, int, int]


class Classifier(nn.Module):
    """A trunk that makes a row of features of every image, and a dense layer on it."""

    trunk: nn.Module
    classes: int
    head_std: float = 0.0
    start: str = "torch"

    def setup(self):
        self.head = Dense(self.classes, self.head_std, self.start)

    def embed(self, images):
        """Features: the input of the last dense layer."""
        return self.trunk(images)

    def __call__(self, images):
        """Logits."""
        return self.head(self.embed(images))


def from_linen(module: nn.Module, image_shape: ImageShape, name: str) -> Network:
    """The pure functions of a module that has `__call__` and `embed`."""

    @jax.jit  # without it Flax would run the forward pass only to learn shapes
    def init(key):
        return module.init(key, jnp.zeros((1, *image_shape)))["params"]

    def apply(params, images):
        return module.apply({"params": params}, images)

    def embed(params, images):
        return module.apply({"params": params}, images, method="embed")

    return Network(init, apply, embed, name)


def spell(
    family: str, image_shape: tuple[int, ...], classes: int = 0, **choices
) -> str:
    """A name that says every choice: `mlp-28x28x1-2,width=128,depth=2`.

    Without classes it is that of a trunk.
    """
    shape = "x".join(map(str, image_shape))
    settings = [f"{key}={value}" for key, value in choices.items()]
    size = f"{shape}-{classes}" if classes else shape
    return ",".join([f"{family}-{size}", *settings])


def check(
    image_shape: ImageShape,
    classes: int,
    *,
    norm: str = "none",
    width: int = GROUPS,
    section: str = "network",
) -> None:
    """Refuse what no network takes, and groups that do not share the channels out."""
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise InputError(
            f"image_shape={tuple(image_shape)} must be (height, width, channels), each "
            "1 or more: pass the pool's image_shape"
        )
    if not isinstance(classes, int) or isinstance(classes, bool) or classes < 1:
        raise InputError(f"classes={classes!r} must be a whole number of 1 or more")
    if norm == "group" and width % GROUPS:
        raise InputError(
            f"{section}.width={width} must be a multiple of {GROUPS} for "
            f"{section}.norm='group': change either"
        )


def too_small(image_shape: ImageShape, least: int, remedy: str) -> InputError:
    """The error for images that a network's strides would shrink to nothing."""
    h, w, _ = image_shape
    return InputError(
        f"data.size: images of {h} x {w} are smaller than the {least} x {least} that "
        f"this network needs: {remedy}"
    )
