"""U-Net (Ronneberger et al. 2015) and U-Net++ (Zhou et al. 2018), padded.

    U-Net      e_i = block(pool(e_{i-1})),      d_i = block([e_i, up(d_{i+1})])
    U-Net++    x_{i,j} = block([x_{i,0}, ..., x_{i,j-1}, up(x_{i+1,j-1})])

A block is two 3 x 3 convolutions, each with its norm and ReLU. In the first, `up` is
nearest up-sampling with a convolution, in the second bilinear up-sampling; there is no
deep supervision. These are the variants of segmentation by distillation (EMKD, Qin et
al. 2021). Two things differ: up-sampling does not align corners, so that a moved image
gives moved logits, and U-Net's high level is read at stride 8 as the others' is, not at
its deepest.
"""

from typing import Annotated, Any

import flax.linen as nn
import jax.numpy as jnp

from jaxdistill.networks.layers import Conv, ConvSetting, max_pool
from jaxdistill.networks.linen import spell
from jaxdistill.networks.maps import (
    ConvNorm,
    MapNorm,
    UpNorm,
    on_maps,
    upsample_bilinear,
)
from jaxdistill.networks.rearrange import depth_to_space, space_to_depth
from jaxdistill.networks.segmenter import check_segmenter, segmenter
from jaxdistill.ranges import OneOf, Range
from jaxdistill.settings import Small, declared
from jaxdistill.types import Segmenter

Levels = Annotated[int, Range(3, 8), "levels, each half the size of the last", Small(3)]
FirstWidth = Annotated[
    int, Range(4, 2**12), "channels of the first level; they double", Small(4)
]
Patch = Annotated[
    int, OneOf((1, 2, 4)), "pixels of a side that enter the first level as one"
]
HIGH = 3  # the level of stride 8


class Block(nn.Module):
    """Two 3 x 3 convolutions, each with norm and ReLU."""

    width: int
    norm: str
    conv: str

    @nn.compact
    def __call__(self, x):
        """Feature maps of width `width`."""
        for _ in range(2):
            x = ConvNorm(self.width, use_bias=True, norm=self.norm, conv=self.conv)(x)
        return x


class UNet(nn.Module):
    """Down `depth` levels and up again, with a way across at each."""

    classes: int
    width: int
    depth: int
    norm: str
    conv: str
    patch: int = 1

    @nn.compact
    def __call__(self, x):
        """Logits of images."""
        across, square = [], (self.patch, self.patch)
        x = space_to_depth(x, square)
        shared: dict[str, Any] = {"norm": self.norm, "conv": self.conv}
        for level in range(self.depth):
            x = max_pool(x) if level else x
            x = Block(self.width << level, **shared, name=f"encoder_{level}")(x)
            across.append(x)
        for level in reversed(range(self.depth - 1)):
            width = self.width << level
            x = UpNorm(width, **shared, name=f"up_{level}")(x)
            x = jnp.concatenate([across[level], x], axis=-1)
            x = Block(width, **shared, name=f"decoder_{level}")(x)
        outputs = self.classes * self.patch**2
        x = Conv(outputs, 1, padding=0, lowering=self.conv, name="head")(x)
        return depth_to_space(x, square)


class UNetPlusPlus(nn.Module):
    """Nodes on a triangle: column 0 goes down, each other meets all before it."""

    classes: int
    width: int
    depth: int
    norm: str
    conv: str

    @nn.compact
    def __call__(self, x):
        """Logits of images."""
        rows: list[list] = []
        for level in range(self.depth):
            x = max_pool(rows[-1][0]) if level else x
            rows.append([self._node(level, 0, x)])
            for column in range(1, level + 1):
                at = level - column
                below = upsample_bilinear(rows[at + 1][column - 1], 2)
                met = jnp.concatenate([*rows[at], below], axis=-1)
                rows[at].append(self._node(at, column, met))
        head = Conv(self.classes, 1, padding=0, lowering=self.conv, name="head")
        return head(rows[0][-1])

    def _node(self, level: int, column: int, x):
        name = f"node_{level}_{column}"
        return Block(self.width << level, self.norm, self.conv, name=name)(x)


@declared("network")
def unet(
    channels: int,
    classes: int,
    *,
    width: FirstWidth = 64,
    depth: Levels = 5,
    norm: MapNorm = "instance",
    conv: ConvSetting = "auto",
    patch: Patch = 1,
) -> Segmenter:
    """U-Net; 34,525,954 parameters for one channel and two classes.

    Squares of `patch` pixels go in as one with more channels, and each output gives the
    logits of a square (sub-pixel convolution, Shi et al. 2016): on CPUs the levels of
    full size take most of a small network's time.

    `InputError` for settings out of range, and for images that `patch 2^(depth - 1)`
    does not divide.
    """
    small = patch.bit_length() - 1  # levels that the squares stand for
    low, high = max(1 - small, 0), min(HIGH - small, depth - 1)
    levels = (f"encoder_{low}", f"encoder_{high}")
    settings = (width, depth, norm, conv)
    return _built(UNet, "unet", channels, classes, levels, settings, patch=patch)


@declared("network")
def unet_plus_plus(
    channels: int,
    classes: int,
    *,
    width: FirstWidth = 64,
    depth: Levels = 5,
    norm: MapNorm = "instance",
    conv: ConvSetting = "auto",
) -> Segmenter:
    """U-Net++; 36,628,546 parameters for one channel and two classes.

    `InputError` for settings out of range, and for images that `2^(depth - 1)` does not
    divide.
    """
    levels = ("node_1_0", f"node_{min(HIGH, depth - 1)}_0")
    settings = (width, depth, norm, conv)
    return _built(UNetPlusPlus, "unet_plus_plus", channels, classes, levels, settings)


def _built(
    maker, family: str, channels: int, classes: int, levels, settings, patch: int = 1
):
    width, depth, norm, conv = settings
    check_segmenter(channels, classes, norm, [width])
    choices = {"width": width, "depth": depth, "norm": norm}
    choices |= {"patch": patch} if patch > 1 else {}
    module = maker(classes, **choices, conv=on_maps(conv))
    name = spell(family, (channels,), classes, **choices)
    stride = patch << depth - 1
    return segmenter(module, channels, levels=levels, stride=stride, name=name)
