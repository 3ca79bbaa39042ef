"""Backbones: networks that end in features, and heads on them as one network.

    features(params, images, key=None) -> n width

A ResNet's or ConvNet's are the mean of its last maps over pixels, so that images of any
size have features of one width.
"""

from collections.abc import Callable
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill.networks.convnet import GREY_PADDING, ConvNet, default_depth
from jaxdistill.networks.layers import (
    NORMS,
    ActivationSetting,
    ConvSetting,
    PoolingSetting,
)
from jaxdistill.networks.linen import ImageShape, check, spell, too_small
from jaxdistill.networks.resnet import HALVED, STEMS, ResNet
from jaxdistill.networks.vit import require_channels, vit
from jaxdistill.ranges import OneOf, Range, Width
from jaxdistill.settings import Small, choose, declared
from jaxdistill.types import Backbone, Head, Network

# One scale for each pixel, as the norm "layer" has it, fits images of one size alone;
# statistics of a batch, as "batch" has them, let a film's features depend on others.
ONE_BY_ONE = tuple(norm for norm in NORMS if norm not in ("layer", "batch"))


@declared("backbone")
def resnet(
    image_shape: ImageShape,
    *,
    width: Annotated[Width, "channels of the stem", Small(4)] = 64,
    norm: Annotated[
        str, OneOf((*ONE_BY_ONE, "affine")), "how features are normalised"
    ] = "instance",
    stem: Annotated[
        str, OneOf(STEMS), "first layers; the large ones quarter the image"
    ] = "small",
    conv: ConvSetting = "auto",
) -> Backbone:
    """ResNet-18 without a head, eight times `width` features.

    `norm="affine"` has the statistics that `weights.fold_norms` folded into the
    weights. "instance" needs more than one pixel at the end, in any call, or nothing
    of an image is left.
    """
    check(image_shape, 1, norm=norm, width=width, section="backbone")
    choices: dict[str, Any] = {"width": width, "norm": norm, "stem": stem}
    name = spell("resnet", image_shape, **choices)
    halved = HALVED * (4 if stem == "large" else 1)
    longer = halved + 1 if norm == "instance" else 1
    module = ResNet(**choices, conv=conv)
    return _of_maps(module, image_shape, 8 * width, name, longer=longer)


@declared("backbone")
def convnet_backbone(
    image_shape: ImageShape,
    *,
    width: Annotated[Width, "channels of every block", Small(4)] = 128,
    depth: Annotated[int, Range(0, 100), "blocks; 0: by the image's size"] = 0,
    norm: Annotated[str, OneOf(ONE_BY_ONE), "how features are normalised"] = "instance",
    activation: ActivationSetting = "relu",
    pooling: PoolingSetting = "avg",
    conv: ConvSetting = "auto",
) -> Backbone:
    """The ConvNet of `networks.convnet` without a head, `width` features.

    `InputError` for images that are pooled to nothing, here or in a call.
    """
    depth = depth or default_depth(image_shape)
    check(image_shape, 1, norm=norm, width=width, section="backbone")
    choices: dict[str, Any] = {
        "width": width,
        "depth": depth,
        "norm": norm,
        "activation": activation,
        "pooling": pooling,
        "grey": image_shape[2] == 1,
    }
    module = ConvNet(**choices, conv=conv)
    name = spell("convnet", image_shape, **choices)
    padded = 2 * (GREY_PADDING - 1) if choices["grey"] else 0
    least = 1 if pooling == "none" else max(1, 2**depth - padded)
    return _of_maps(module, image_shape, width, name, least)


BACKBONES: dict[str, Callable[..., Backbone]] = {
    "vit": vit,
    "resnet": resnet,
    "convnet": convnet_backbone,
}


def build_backbone(name: str, image_shape: ImageShape, **settings: Any) -> Backbone:
    """The backbone of a name; `InputError` for an unknown name or setting."""
    return choose("backbone", BACKBONES, name, settings)(image_shape, **settings)


def with_head(backbone: Backbone, head: Head) -> Network:
    """The network of both, to be trained and judged as any other.

    Its parameters are `{"trunk": the backbone's, "head": the head's}`.
    """

    def init(key):
        trunk, top = jax.random.split(key)
        return {"trunk": backbone.init(trunk), "head": head.init(top)}

    def apply(params, images):
        return head.apply(params["head"], embed(params, images))

    def embed(params, images):
        return backbone.features(params["trunk"], images)

    return Network(init, apply, embed, f"{backbone.name}+{head.name}")


def _of_maps(
    module: nn.Module,
    image_shape: ImageShape,
    width: int,
    name: str,
    least: int = 1,
    longer: int = 1,
) -> Backbone:
    """A backbone of a module that flattens its last maps, or has their means.

    Images have `least` pixels on the shorter side, and `longer` on the other.
    """

    def require_size(shape):
        if min(shape[:2]) < least:
            raise too_small(
                shape, least, "take larger images or crops, or fewer blocks"
            )
        if max(shape[:2]) < longer:
            raise too_small(
                shape, longer, "take larger images or crops, or another norm or stem"
            )

    require_size(image_shape)

    @jax.jit  # without it Flax would run the forward pass only to learn shapes
    def init(key):
        return module.init(key, jnp.zeros((1, *image_shape)))["params"]

    def features(params, images, key=None):
        del key  # nothing is random
        require_channels(images, image_shape)
        require_size(images.shape[1:])
        maps: Any = module.apply({"params": params}, images)
        return maps.reshape(len(images), -1, width).mean(1)  # channels are fastest

    return Backbone(init, features, width, name)
