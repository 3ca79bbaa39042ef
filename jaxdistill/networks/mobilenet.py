"""MobileNetV2 (Sandler et al. 2018, table 2) with a 1 x 1 classifier of pixels.

    block(x) = x + norm(project(relu6(norm(depthwise(relu6(norm(expand(x))))))))

where x is added if the shape is the same. Strides are those of EMKD's program (Qin et
al. 2021), 8 in all, and the logits are up-sampled bilinearly by as much, here without
aligned corners. That program also builds a dense classifier, which nothing uses.
"""

from typing import Annotated, Any

import flax.linen as nn
import jax

from jaxdistill.networks.layers import Conv, ConvSetting, Dense, Norm
from jaxdistill.networks.linen import spell
from jaxdistill.networks.maps import (
    ConvNorm,
    Depthwise,
    MapNorm,
    Unused,
    on_maps,
    tripled,
    upsample_bilinear,
)
from jaxdistill.networks.segmenter import check_segmenter, segmenter
from jaxdistill.ranges import Range
from jaxdistill.settings import Small, declared
from jaxdistill.types import Segmenter

# Expansion, channels, blocks, stride of the first.
PUBLISHED = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 1),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM, LAST, STRIDE = 32, 1280, 8
DIVISOR = 8  # of all numbers of channels, where the width is a multiple


class Inverted(nn.Module):
    """More channels, a window for each, and back."""

    width: int
    stride: int
    expansion: int
    norm: str
    conv: str

    @nn.compact
    def __call__(self, x):
        """Feature maps of width `width`, smaller by the stride."""
        y = x
        if self.expansion > 1:
            wide = self.expansion * x.shape[-1]
            y = ConvNorm(
                wide, 1, norm=self.norm, conv=self.conv, activation=jax.nn.relu6
            )(y)
        y = Norm(self.norm)(Depthwise(self.stride, self.conv)(y))
        y = Conv(self.width, 1, padding=0, use_bias=False, lowering=self.conv)(
            jax.nn.relu6(y)
        )
        y = Norm(self.norm)(y)
        return x + y if x.shape == y.shape else y


class MobileNetV2(nn.Module):
    """The stem, the blocks, the last layer, and logits at the image's size."""

    classes: int
    width: float
    norm: str
    unused: bool
    conv: str

    @nn.compact
    def __call__(self, x):
        """Logits of images."""
        shared: dict[str, Any] = {"norm": self.norm, "conv": self.conv}
        ends = shared | {"activation": jax.nn.relu6}
        x = ConvNorm(scaled(STEM, self.width), stride=2, **ends, name="stem")(
            tripled(x)
        )
        for group, (expansion, width, blocks, first) in enumerate(PUBLISHED):
            for block in range(blocks):
                stride = first if block == 0 else 1
                sizes = scaled(width, self.width), stride, expansion
                x = Inverted(*sizes, **shared, name=f"block_{group}_{block}")(x)
        x = ConvNorm(scaled(LAST, max(1.0, self.width)), 1, **ends, name="last")(x)
        if self.unused:
            Dense(self.classes, name="classifier")(x.mean((1, 2)))
        x = Conv(self.classes, 1, padding=0, lowering=self.conv, name="head")(x)
        return upsample_bilinear(x, STRIDE)


def scaled(channels: int, width: float) -> int:
    """The nearest multiple of 8, at least 8, and no less than nine tenths."""
    near = max(DIVISOR, int(channels * width + DIVISOR / 2) // DIVISOR * DIVISOR)
    return near + DIVISOR if near < 0.9 * channels * width else near


@declared("network")
def mobilenet_v2(
    channels: int,
    classes: int,
    *,
    width: Annotated[
        float, Range(0.1, 16), "channels, as a multiple of the published", Small(0.1)
    ] = 1.0,
    norm: MapNorm = "instance",
    unused: Unused = False,
    conv: ConvSetting = "auto",
) -> Segmenter:
    """MobileNetV2; 2,226,434 parameters for two classes, 2,562 more unused.

    `InputError` for settings out of range, and for images that 8 does not divide. A
    `width` below 1 leaves the last layer's 1,280 channels as they are.
    """
    check_segmenter(channels, classes, norm)
    choices = {"width": width, "norm": norm} | ({"unused": True} if unused else {})
    name = spell("mobilenet_v2", (channels,), classes, **choices)
    module = MobileNetV2(classes, width, norm, unused, on_maps(conv))
    return segmenter(
        module, channels, levels=("stem", "last"), stride=STRIDE, name=name
    )
