"""ViT-Ti (Dosovitskiy et al. 2021; Touvron et al. 2021), patches by image size.

    block(x) = y + mlp(norm(y)),  y = x + attention(norm(x))
    features = norm(x)[class token]

where x are the patches and the class token, with learned places, after all blocks.
"""

import math
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill.errors import InputError
from jaxdistill.networks.layers import Dense, LayerNorm, truncated_normal
from jaxdistill.networks.linen import Classifier, ImageShape, check, from_linen, spell
from jaxdistill.ranges import Range, Width
from jaxdistill.settings import declared
from jaxdistill.types import Network

STD = 0.02
EXPANSION = 4


class Attention(nn.Module):
    """Every token's mean of all values, weighted by how its query meets their keys."""

    heads: int

    @nn.compact
    def __call__(self, x):
        """Tokens of the same shape."""
        n, tokens, width = x.shape
        size = width // self.heads
        qkv = Dense(3 * width, STD, name="qkv")(x)
        q, k, v = qkv.reshape(n, tokens, 3, self.heads, size).transpose(2, 0, 3, 1, 4)
        weights = jax.nn.softmax(q @ k.swapaxes(2, 3) / math.sqrt(size))
        mixed = (weights @ v).swapaxes(1, 2).reshape(n, tokens, width)
        return Dense(width, STD, name="out")(mixed)


class Encoder(nn.Module):
    """One block: attention, then two dense layers on each token."""

    heads: int

    @nn.compact
    def __call__(self, x):
        """Tokens of the same shape."""
        x = x + Attention(self.heads, name="attention")(LayerNorm()(x))
        wide = Dense(EXPANSION * x.shape[-1], STD)(LayerNorm()(x))
        return x + Dense(x.shape[-1], STD)(jax.nn.gelu(wide, approximate=False))


class ViT(nn.Module):
    """Patches to tokens, blocks, and the class token."""

    patch: int
    width: int
    depth: int
    heads: int

    @nn.compact
    def __call__(self, x):
        """Features of images."""
        x = Dense(self.width, STD, name="embed")(patches(x, self.patch))
        n, tokens, width = x.shape
        start = truncated_normal(STD)
        token = self.param("class_token", start, (1, 1, width))
        places = self.param("places", start, (1, tokens + 1, width))
        x = jnp.concatenate([jnp.broadcast_to(token, (n, 1, width)), x], axis=1)
        x = x + places
        for _ in range(self.depth):
            x = Encoder(self.heads)(x)
        return LayerNorm()(x)[:, 0]


def patches(images: jax.Array, side: int) -> jax.Array:
    """The images cut in squares, row by row, each flattened: `n tokens side*side*c`."""
    n, h, w, c = images.shape
    grid = images.reshape(n, h // side, side, w // side, side, c).swapaxes(2, 3)
    tokens = (h // side) * (w // side)
    return grid.reshape(n, tokens, side * side * c)


@declared("network")
def vit_tiny(
    image_shape: ImageShape,
    classes: int,
    *,
    patch: Annotated[int, Range(0, 4096), "pixels a side; 0: by the image's size"] = 0,
    width: Annotated[Width, "channels of a token"] = 192,
    depth: Annotated[int, Range(1, 100), "encoder blocks"] = 12,
    heads: Annotated[int, Range(1, 1000), "of attention; they divide the width"] = 3,
) -> Network:
    """ViT-Ti; patch 0 takes 4 up to 32 pixels, 8 below 112 and 16 from there.

    `InputError` for patches that do not tile the image and widths that heads do not.
    """
    patch = patch or default_patch(image_shape)
    choices: dict[str, Any] = {
        "patch": patch,
        "width": width,
        "depth": depth,
        "heads": heads,
    }
    check(image_shape, classes)
    h, w, _ = image_shape
    if h % patch or w % patch:
        raise InputError(
            f"network.patch={patch} must divide the image size {h} x {w}: change it or "
            "data.size"
        )
    if width % heads:
        raise InputError(
            f"network.width={width} must be a multiple of network.heads={heads}: "
            "change either"
        )
    name = spell("vit_tiny", image_shape, classes, **choices)
    return from_linen(Classifier(ViT(**choices), classes, STD), image_shape, name)


def default_patch(image_shape: ImageShape) -> int:
    """4 up to 32 pixels on the shorter side, 8 below 112, 16 from there."""
    side = min(image_shape[:2])
    return 4 if side <= 32 else 8 if side < 112 else 16
