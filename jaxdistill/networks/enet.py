"""ENet (Paszke et al. 2016, arXiv:1606.02147), as segmentation by distillation has it.

    bottleneck(x) = prelu(x + dropout(norm(expand(middle(reduce(x))))))

Going down, x is its maximum over 2 x 2 pixels and a 1 x 1 convolution; going up, a
1 x 1 convolution whose values are put back where those maxima were. The variant is
EMKD's (Qin et al. 2021): grey images as three equal channels, dropout of 0.1
everywhere, and a block of the last stage that is built and left out. Its norm is of
batches; ours may be any.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxdistill.networks.layers import Conv, ConvSetting, Norm, max_pool
from jaxdistill.networks.linen import spell
from jaxdistill.networks.maps import (
    ChannelDropout,
    ConvTranspose,
    MapNorm,
    Multiple,
    PReLU,
    Unused,
    on_maps,
    pool_with_places,
    same,
    tripled,
    unpool,
)
from jaxdistill.networks.segmenter import check_segmenter, require_room, segmenter
from jaxdistill.settings import declared
from jaxdistill.types import Segmenter

# The middles of a stage: windows of 3 with a dilation, or 5 x 1 and 1 x 5 for 0.
STAGE = (1, 2, 0, 4, 1, 8, 0, 16)
LEFT_OUT = 5  # the block of stage 3 that the published program builds and skips
DROPOUT = 0.1
PUBLISHED = (16, 64, 128)  # channels at strides 2, 4 and 8
REDUCED = (4, 16, 32)  # within a bottleneck


class Bottleneck(nn.Module):
    """Fewer channels, one convolution of them, and back.

    `middle` is a dilation, 0 for a 5 x 1 and a 1 x 5 window, or "up" or "down".
    """

    reduced: int
    width: int
    middle: int | str
    norm: str
    conv: str

    @nn.compact
    def __call__(self, x, beside=None, train: bool = False):
        """Feature maps of width `width`; `beside` stands for x after "up" or "down"."""
        beside = x if beside is None else beside
        x = self._active(self._conv(self.reduced, 1, "reduce")(x))
        x = self._active(self._middle(x))
        x = Norm(self.norm)(self._conv(self.width, 1, "expand")(x))
        return PReLU()(ChannelDropout(DROPOUT)(x, train) + beside)

    def _middle(self, x):
        if self.middle == "up":
            return ConvTranspose(self.reduced, lowering=self.conv, name="middle")(x)
        if self.middle == "down":
            return self._conv(self.reduced, 2, "middle", stride=2)(x)
        if self.middle == 0:
            x = self._conv(self.reduced, (5, 1), "middle_rows")(x)
            return self._conv(self.reduced, (1, 5), "middle_columns")(x)
        return self._conv(self.reduced, 3, "middle", dilation=self.middle)(x)

    def _conv(self, width, window, name, stride=1, dilation=1):
        return Conv(
            width,
            window,
            stride,
            (0, 0) if stride > 1 else same(window, dilation),
            use_bias=False,
            lowering=self.conv,
            dilation=dilation,
            name=name,
        )

    def _active(self, x):
        return PReLU()(Norm(self.norm)(x))


class ENet(nn.Module):
    """Down to stride 8, two stages there, and up."""

    classes: int
    widths: tuple[int, ...]
    reduced: tuple[int, ...]
    norm: str
    unused: bool
    conv: str

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Logits of images."""
        x = Initial(self.widths[0], self.norm, self.conv, name="initial")(x)
        x, first = self._down(x, 1, train)
        for block in range(1, 5):
            x = self._block(1, 1, f"stage_1_{block}")(x, train=train)
        x, second = self._down(x, 2, train)
        for stage in (2, 3):
            for block, middle in enumerate(STAGE, 1):
                skipped = (stage, block) == (3, LEFT_OUT)
                if skipped and not self.unused:
                    continue
                y = self._block(2, middle, f"stage_{stage}_{block}")(x, train=train)
                x = x if skipped else y
        x = self._up(x, 1, second, train)
        for block in (1, 2):
            x = self._block(1, 1, f"stage_4_{block}")(x, train=train)
        x = self._up(x, 0, first, train)
        x = self._block(0, 1, "stage_5_1")(x, train=train)
        return ConvTranspose(self.classes, lowering=self.conv, name="head")(x)

    def _block(self, level: int, middle: int | str, name: str):
        sizes = self.reduced[level], self.widths[level]
        return Bottleneck(*sizes, middle, self.norm, self.conv, name=name)

    def _down(self, x, level: int, train: bool):
        reduced, width = self.reduced[level], self.widths[level]
        beside, places = pool_with_places(x)
        beside = self._projected(beside, width, f"down_{level}_beside")
        block = Bottleneck(
            reduced, width, "down", self.norm, self.conv, name=f"down_{level}"
        )
        return block(x, beside, train), places

    def _up(self, x, level: int, places, train: bool):
        width, name = self.widths[level], f"up_{level + 1}"
        beside = unpool(self._projected(x, width, f"{name}_beside"), places)
        return self._block(level, "up", name)(x, beside, train)

    def _projected(self, x, width: int, name: str):
        shared: dict[str, Any] = {"use_bias": False, "lowering": self.conv}
        x = Conv(width, 1, padding=0, **shared, name=name)(x)
        return Norm(self.norm, name=f"{name}_norm")(x)


class Initial(nn.Module):
    """A convolution of stride 2 beside the maximum of 2 x 2 pixels."""

    width: int
    norm: str
    conv: str

    @nn.compact
    def __call__(self, x):
        """Feature maps of width `width`, half the size."""
        x = tripled(x)
        new = self.width - x.shape[-1]
        y = Conv(new, 3, 2, use_bias=False, lowering=self.conv)(x)
        y = jnp.concatenate([y, max_pool(x)], axis=-1)
        return PReLU()(Norm(self.norm)(y))


@declared("network")
def enet(
    channels: int,
    classes: int,
    *,
    width: Multiple = 1.0,
    norm: MapNorm = "instance",
    unused: Unused = False,
    conv: ConvSetting = "auto",
) -> Segmenter:
    """ENet; 335,966 parameters for two classes, 353,761 with the block left out.

    `InputError` for settings out of range, for more image channels than the first layer
    has, and for images that 8 does not divide.
    """
    widths, reduced = (
        tuple(max(1, round(width * c)) for c in sizes) for sizes in (PUBLISHED, REDUCED)
    )
    check_segmenter(channels, classes, norm, (*widths, *reduced))
    require_room(widths[0], channels if channels > 1 else 3)
    choices = {"width": width, "norm": norm} | ({"unused": True} if unused else {})
    name = spell("enet", (channels,), classes, **choices)
    module = ENet(classes, widths, reduced, norm, unused, on_maps(conv))
    levels = ("initial", f"stage_3_{len(STAGE)}")
    return segmenter(module, channels, levels=levels, stride=8, name=name)
