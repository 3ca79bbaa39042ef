"""ResNet-18 (He et al. 2016), for small images a 3 x 3 stem of stride 1, no first pool.

    block(x) = relu(norm(conv(relu(norm(conv(x))))) + shortcut(x))

Four stages of two blocks double the width and, but for the first, halve the image. The
large stem is the paper's, 7 x 7 of stride 2 and the maximum of 3 x 3, also of stride 2.
"""

from typing import Annotated, Any

import flax.linen as nn

from jaxdistill.networks.layers import Conv, ConvSetting, Norm, NormSetting
from jaxdistill.networks.linen import (
    Classifier,
    ImageShape,
    check,
    from_linen,
    spell,
    too_small,
)
from jaxdistill.ranges import Width
from jaxdistill.settings import declared
from jaxdistill.types import Network

STAGES = ((1, 1), (2, 2), (4, 2), (8, 2))  # width in units of the stem, stride
BLOCKS = 2
HALVED = 8  # pixels that the stages halve to one
STEMS = {"small": (3, 1, 1), "large": (7, 2, 3)}  # window, stride, padding


class Block(nn.Module):
    """Two convolutions and a way around them."""

    width: int
    stride: int
    norm: str
    conv: str

    @nn.compact
    def __call__(self, x):
        """Feature maps of width `width`, smaller by `stride`."""
        plain: dict[str, Any] = {"use_bias": False, "lowering": self.conv}
        y = Conv(self.width, stride=self.stride, **plain)(x)
        y = nn.relu(Norm(self.norm)(y))
        y = Norm(self.norm)(Conv(self.width, **plain)(y))
        if x.shape != y.shape:
            x = Conv(self.width, 1, self.stride, 0, **plain, name="shortcut")(x)
            x = Norm(self.norm, name="shortcut_norm")(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """The stem, the stages, and the mean over pixels."""

    width: int
    norm: str
    conv: str
    stem: str = "small"

    @nn.compact
    def __call__(self, x):
        """Features of images."""
        window, stride, padding = STEMS[self.stem]
        shape: dict[str, Any] = {"window": window, "stride": stride, "padding": padding}
        x = Conv(self.width, **shape, use_bias=False, lowering=self.conv)(x)
        x = nn.relu(Norm(self.norm)(x))
        if self.stem == "large":
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for times, first in STAGES:
            for block in range(BLOCKS):
                stride = first if block == 0 else 1
                x = Block(times * self.width, stride, self.norm, self.conv)(x)
        return x.mean((1, 2))


@declared("network")
def resnet18(
    image_shape: ImageShape,
    classes: int,
    *,
    width: Annotated[Width, "channels of the stem"] = 64,
    norm: NormSetting = "instance",
    conv: ConvSetting = "auto",
) -> Network:
    """ResNet-18, `width` channels in its stem; `InputError` for settings out of range.

    `norm="batch"` uses the statistics of the batch at hand, see `layers.Norm`;
    "instance" needs more than one pixel at the end, or nothing of an image is left.
    """
    check(image_shape, classes, norm=norm, width=width)
    if norm == "instance" and max(image_shape[:2]) <= HALVED:
        raise too_small(image_shape, HALVED + 1, "set another norm, or raise it")
    choices: dict[str, Any] = {"width": width, "norm": norm}
    name = spell("resnet18", image_shape, classes, **choices)
    module = Classifier(ResNet(**choices, conv=conv), classes)
    return from_linen(module, image_shape, name)
