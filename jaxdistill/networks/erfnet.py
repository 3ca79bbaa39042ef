"""ERFNet (Romera et al. 2018), as segmentation by distillation has it.

    pair_d(x) = norm(1x3_d(relu(3x1_d(x))))
    block(x) = relu(x + dropout(pair_d(relu(pair_1(x)))))

where d is the dilation. Sizes, dropout and the norm's epsilon are those of EMKD's
program (Qin et al. 2021), with whose 1 x 1 classifier after the encoder, built and not
used, the parameters are 2,063,130.
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
    Unused,
    on_maps,
    same,
)
from jaxdistill.networks.segmenter import check_segmenter, require_room, segmenter
from jaxdistill.settings import declared
from jaxdistill.types import Segmenter

EPS = 1e-3
PUBLISHED = (16, 64, 128)  # channels at strides 2, 4 and 8
FIRST, LAST = 5, 2 * (2, 4, 8, 16)  # blocks at stride 4; dilations at stride 8
DROPOUT = (0.03, 0.3)


class Factorised(nn.Module):
    """Two pairs of a 3 x 1 and a 1 x 3 window, the second dilated, and a way around."""

    dilation: int
    dropout: float
    norm: str
    conv: str

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Feature maps of the same shape."""
        y = nn.relu(self._pair(x, 1, "first"))
        y = self._pair(y, self.dilation, "second")
        return nn.relu(ChannelDropout(self.dropout)(y, train) + x)

    def _pair(self, x, dilation: int, name: str):
        for place, window, rates in (
            ("rows", (3, 1), (dilation, 1)),
            ("columns", (1, 3), (1, dilation)),
        ):
            x = nn.relu(x) if place == "columns" else x
            x = Conv(
                x.shape[-1],
                window,
                padding=same(window, rates),
                lowering=self.conv,
                dilation=rates,
                name=f"{name}_{place}",
            )(x)
        return Norm(self.norm, EPS, name=f"{name}_norm")(x)


class Down(nn.Module):
    """A convolution of stride 2 beside the maximum of 2 x 2 pixels."""

    width: int
    norm: str
    conv: str

    @nn.compact
    def __call__(self, x):
        """Feature maps of width `width`, half the size."""
        y = Conv(self.width - x.shape[-1], 3, 2, lowering=self.conv)(x)
        y = jnp.concatenate([y, max_pool(x)], axis=-1)
        return nn.relu(Norm(self.norm, EPS)(y))


class Up(nn.Module):
    """A transposed convolution of stride 2."""

    width: int
    norm: str
    conv: str

    @nn.compact
    def __call__(self, x):
        """Feature maps of width `width`, twice the size."""
        shared: dict[str, Any] = {"use_bias": True, "lowering": self.conv}
        x = ConvTranspose(self.width, 3, padding=1, output_padding=1, **shared)(x)
        return nn.relu(Norm(self.norm, EPS)(x))


class ERFNet(nn.Module):
    """Down to stride 8, dilated blocks there, and up."""

    classes: int
    widths: tuple[int, ...]
    norm: str
    unused: bool
    conv: str

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Logits of images."""
        first, middle, last = self.widths
        light, heavy = DROPOUT
        kinds: dict[str, Any] = {"norm": self.norm, "conv": self.conv}
        x = Down(first, **kinds, name="down_0")(x)
        x = Down(middle, **kinds, name="down_1")(x)
        for block in range(FIRST):
            x = Factorised(1, light, **kinds, name=f"encoder_1_{block}")(x, train)
        x = Down(last, **kinds, name="down_2")(x)
        for block, dilation in enumerate(LAST):
            name = f"encoder_2_{block}"
            x = Factorised(dilation, heavy, **kinds, name=name)(x, train)
        if self.unused:
            Conv(self.classes, 1, padding=0, lowering=self.conv, name="encoder_head")(x)
        for level, width in ((1, middle), (0, first)):
            x = Up(width, **kinds, name=f"up_{level}")(x)
            for block in range(2):
                name = f"decoder_{level}_{block}"
                x = Factorised(1, 0.0, **kinds, name=name)(x, train)
        head = ConvTranspose(
            self.classes, use_bias=True, lowering=self.conv, name="head"
        )
        return head(x)


@declared("network")
def erfnet(
    channels: int,
    classes: int,
    *,
    width: Multiple = 1.0,
    norm: MapNorm = "instance",
    unused: Unused = False,
    conv: ConvSetting = "auto",
) -> Segmenter:
    """ERFNet; 2,062,872 parameters for one channel and two classes, 258 more unused.

    `InputError` for settings out of range, for more image channels than the first layer
    has, and for images that 8 does not divide.
    """
    widths = tuple(max(1, round(width * c)) for c in PUBLISHED)
    check_segmenter(channels, classes, norm, widths)
    require_room(widths[0], channels)
    choices = {"width": width, "norm": norm} | ({"unused": True} if unused else {})
    name = spell("erfnet", (channels,), classes, **choices)
    module = ERFNet(classes, widths, norm, unused, on_maps(conv))
    levels = ("down_0", f"encoder_2_{len(LAST) - 1}")
    return segmenter(module, channels, levels=levels, stride=8, name=name)
