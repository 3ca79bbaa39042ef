"""The plain networks of cross-architecture tables: MLP, LeNet, AlexNet, VGG11.

They are the small-image variants of the dataset-distillation literature: strides and
windows made for 32 pixels, one dense layer on AlexNet and VGG11, grey images padded so
that 28 pixels count as 32. Larger images are taken too: the dense layers grow with
them, but VGG11 ends in the mean over pixels (a single one at 32).
"""

from typing import Annotated, Any

import flax.linen as nn

from jaxdistill.networks.layers import (
    ACTIVATIONS,
    POOLINGS,
    STARTS,
    ActivationSetting,
    Conv,
    ConvSetting,
    Dense,
    GreyPadding,
    Norm,
    NormSetting,
    flatten,
    max_pool,
)
from jaxdistill.networks.linen import (
    Classifier,
    ImageShape,
    check,
    from_linen,
    spell,
    too_small,
)
from jaxdistill.ranges import OneOf, Range, Width
from jaxdistill.settings import declared
from jaxdistill.types import Network

LENET_POOLINGS = [name for name in POOLINGS if name != "none"]
VGG11 = (1, 0, 2, 0, 4, 4, 0, 8, 8, 0, 8, 8, 0)  # widths in units of the first; 0 pools


class MLP(nn.Module):
    """Dense layers on the flattened image."""

    width: int
    depth: int
    activation: str

    @nn.compact
    def __call__(self, x):
        """Features of images."""
        x = flatten(x)
        for _ in range(self.depth):
            x = ACTIVATIONS[self.activation](Dense(self.width)(x))
        return x


class LeNet(nn.Module):
    """Two 5 x 5 convolutions with pooling, two dense layers."""

    grey: bool
    conv: str
    start: str
    activation: str
    pooling: str

    @nn.compact
    def __call__(self, x):
        """Features of images."""
        shared: dict[str, Any] = {"lowering": self.conv, "start": self.start}
        active, pool = ACTIVATIONS[self.activation], POOLINGS[self.pooling]
        for width, padding in ((6, 2 if self.grey else 0), (16, 0)):
            x = pool(active(Conv(width, 5, padding=padding, **shared)(x)))
        x = flatten(x)
        for width in (120, 84):
            x = active(Dense(width, start=self.start)(x))
        return x


class AlexNet(nn.Module):
    """Five convolutions with maximum pooling after the first, second and last."""

    grey: bool
    conv: str

    @nn.compact
    def __call__(self, x):
        """Features of images."""
        first = 4 if self.grey else 2
        for width, window, padding in ((128, 5, first), (192, 5, 2)):
            x = Conv(width, window, padding=padding, lowering=self.conv)(x)
            x = max_pool(nn.relu(x))
        for width in (256, 192, 192):
            x = nn.relu(Conv(width, lowering=self.conv)(x))
        return flatten(max_pool(x))


class VGG(nn.Module):
    """Eight 3 x 3 convolutions in five stages, each stage halved by its maximum."""

    width: int
    norm: str
    grey: bool
    conv: str

    @nn.compact
    def __call__(self, x):
        """Features of images."""
        padding = 3 if self.grey else 1
        for times in VGG11:
            if times == 0:
                x = max_pool(x)
                continue
            x = Conv(times * self.width, padding=padding, lowering=self.conv)(x)
            x = nn.relu(Norm(self.norm)(x))
            padding = 1
        return x.mean((1, 2))


@declared("network")
def mlp(
    image_shape: ImageShape,
    classes: int,
    *,
    width: Annotated[Width, "units of every hidden layer"] = 128,
    depth: Annotated[int, Range(1, 100), "hidden layers"] = 2,
    activation: ActivationSetting = "relu",
) -> Network:
    """`depth` hidden layers of `width` units; `InputError` for impossible settings."""
    check(image_shape, classes)
    choices: dict[str, Any] = {"width": width, "depth": depth, "activation": activation}
    name = spell("mlp", image_shape, classes, **choices)
    return from_linen(Classifier(MLP(**choices), classes), image_shape, name)


@declared("network")
def lenet(
    image_shape: ImageShape,
    classes: int,
    *,
    grey_padding: GreyPadding = True,
    conv: ConvSetting = "auto",
    start: Annotated[str, OneOf(STARTS), "how layers start"] = "torch",
    activation: ActivationSetting = "relu",
    pooling: Annotated[str, OneOf(LENET_POOLINGS), "of 2 x 2 pixels"] = "max",
) -> Network:
    """LeNet; `InputError` for images it cannot take.

    Its defaults are those of the distillation literature. With `activation="tanh"` and
    `pooling="avg"` it is smooth, as in LeCun et al. 1998, section II.B (there the tanh
    is scaled and the means have weights). `start` says how its layers start: "torch" as
    PyTorch does, "xavier" with the larger normal numbers of Glorot and Bengio (2010,
    eq. 12), from which a few gradient steps go further.
    """
    check(image_shape, classes)
    choices: dict[str, Any] = {
        "start": start,
        "activation": activation,
        "pooling": pooling,
    }
    usual = {"start": "torch", "activation": "relu", "pooling": "max"}
    grey = grey_padding and image_shape[2] == 1
    _at_least(image_shape, 12 if grey else 16)
    said = {key: value for key, value in choices.items() if value != usual[key]}
    name = spell("lenet", image_shape, classes, grey=grey, **said)
    body = LeNet(grey, conv, **choices)
    return from_linen(Classifier(body, classes, start=start), image_shape, name)


@declared("network")
def alexnet(
    image_shape: ImageShape,
    classes: int,
    *,
    grey_padding: GreyPadding = True,
    conv: ConvSetting = "auto",
) -> Network:
    """AlexNet for small images; `InputError` for images it cannot take."""
    check(image_shape, classes)
    grey = grey_padding and image_shape[2] == 1
    _at_least(image_shape, 4 if grey else 8)
    name = spell("alexnet", image_shape, classes, grey=grey)
    return from_linen(Classifier(AlexNet(grey, conv), classes), image_shape, name)


@declared("network")
def vgg11(
    image_shape: ImageShape,
    classes: int,
    *,
    width: Annotated[Width, "channels of the first stage"] = 64,
    norm: NormSetting = "instance",
    grey_padding: GreyPadding = True,
    conv: ConvSetting = "auto",
) -> Network:
    """VGG11 with `width` channels in its first stage.

    `InputError` for impossible settings and images below 32 pixels (grey: 28).
    """
    check(image_shape, classes, norm=norm, width=width)
    grey = grey_padding and image_shape[2] == 1
    _at_least(image_shape, 28 if grey else 32)
    choices: dict[str, Any] = {"width": width, "norm": norm, "grey": grey}
    name = spell("vgg11", image_shape, classes, **choices)
    return from_linen(Classifier(VGG(**choices, conv=conv), classes), image_shape, name)


def _at_least(image_shape: ImageShape, least: int) -> None:
    if min(image_shape[:2]) < least:
        raise too_small(image_shape, least, "use larger images or another network.name")
