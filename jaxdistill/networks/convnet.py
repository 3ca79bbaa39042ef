"""ConvNet of the dataset-distillation literature (Zhao et al. 2021).

    depth x [conv 3x3 -> norm -> activation -> pool 2x2] -> flatten -> dense

Grey images are padded by 3 instead of 1 before the first convolution, as in the
reference programs, which makes 28 pixels count as 32.
"""

import math
from typing import Annotated, Any

import flax.linen as nn

from jaxdistill.errors import InputError
from jaxdistill.networks.layers import (
    ACTIVATIONS,
    POOLINGS,
    ActivationSetting,
    Conv,
    ConvSetting,
    GreyPadding,
    Norm,
    NormSetting,
    PoolingSetting,
    flatten,
)
from jaxdistill.networks.linen import Classifier, ImageShape, check, from_linen, spell
from jaxdistill.ranges import Range, Width
from jaxdistill.settings import declared
from jaxdistill.types import Network

GREY_PADDING = 3


class ConvNet(nn.Module):
    """The blocks of a ConvNet, flattened."""

    width: int
    depth: int
    norm: str
    activation: str
    pooling: str
    grey: bool
    conv: str

    @nn.compact
    def __call__(self, x):
        """Features of images."""
        for block in range(self.depth):
            padding = GREY_PADDING if self.grey and block == 0 else 1
            x = Conv(self.width, padding=padding, lowering=self.conv)(x)
            x = Norm(self.norm)(x)
            x = ACTIVATIONS[self.activation](x)
            x = POOLINGS[self.pooling](x)
        return flatten(x)


@declared("network")
def convnet(
    image_shape: ImageShape,
    classes: int,
    *,
    width: Annotated[Width, "channels of every block"] = 128,
    depth: Annotated[int, Range(0, 100), "blocks; 0: by the image's size"] = 0,
    norm: NormSetting = "instance",
    activation: ActivationSetting = "relu",
    pooling: PoolingSetting = "avg",
    grey_padding: GreyPadding = True,
    conv: ConvSetting = "auto",
) -> Network:
    """The ConvNet; depth 0 takes the literature's, see `default_depth`.

    `InputError` for settings that do not exist or pool the image to nothing.
    """
    depth = depth or default_depth(image_shape)
    check(image_shape, classes, norm=norm, width=width)
    grey = grey_padding and image_shape[2] == 1
    side = min(image_shape[:2]) + (2 * (GREY_PADDING - 1) if grey else 0)
    if pooling != "none" and side >> depth < 1:
        raise InputError(
            f"network.depth={depth} pools images of data.size="
            f"{min(image_shape[:2])} to nothing: use at most {side.bit_length() - 1}"
        )
    choices: dict[str, Any] = {
        "width": width,
        "depth": depth,
        "norm": norm,
        "activation": activation,
        "pooling": pooling,
        "grey": grey,
    }
    module = Classifier(ConvNet(**choices, conv=conv), classes)
    return from_linen(
        module, image_shape, spell("convnet", image_shape, classes, **choices)
    )


def default_depth(image_shape: ImageShape) -> int:
    """3 at 28 and 32 pixels (shorter side), 4 at 64, 5 at 112 and 128, 6 at 224."""
    return max(1, round(math.log2(max(1, min(image_shape[:2])))) - 2)
