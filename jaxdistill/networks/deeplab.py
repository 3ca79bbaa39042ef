"""DeepLabV3+ (Chen et al. 2018, arXiv:1802.02611) on a ResNet (He et al. 2016).

    high = pyramid(trunk(x)),     low = reduce(first stage)
    logits = up(head(block(block([low, up(high)]))))

The pyramid has a 1 x 1 convolution, three dilated ones, and the mean over the image.
Where the trunk would pass the output stride it dilates instead (section 3.1). Its stem
is halved by the maximum of 2 x 2 pixels, so that every size has whole windows. The
decoder's sizes are those of EMKD's program (Qin et al. 2021), at a trunk of width 64.
"""

from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill.networks.layers import Conv, ConvSetting, max_pool
from jaxdistill.networks.linen import spell
from jaxdistill.networks.maps import (
    ChannelDropout,
    ConvNorm,
    MapNorm,
    on_maps,
    upsample_bilinear,
)
from jaxdistill.networks.segmenter import check_segmenter, segmenter
from jaxdistill.ranges import OneOf, Range
from jaxdistill.settings import Small, declared
from jaxdistill.types import Segmenter

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
DEEP = 50  # from here on blocks have 1 x 1 convolutions around the 3 x 3
EXPANSION = 4
RATES = (6, 12, 18)  # at output stride 16; twice that at 8
DROPOUT = {"pyramid": 0.5, "first": 0.5, "second": 0.1}


class Residual(nn.Module):
    """Two 3 x 3 convolutions, or one between two of 1 x 1, and a way around them."""

    width: int
    stride: int
    dilation: int
    deep: bool
    norm: str
    conv: str

    @nn.compact
    def __call__(self, x):
        """Feature maps, smaller by the stride."""
        shared: dict[str, Any] = {"norm": self.norm, "conv": self.conv}
        plain = shared | {"activation": None}
        out = self.width * (EXPANSION if self.deep else 1)
        if self.deep:
            y = ConvNorm(self.width, 1, **shared)(x)
            y = ConvNorm(self.width, 3, self.stride, self.dilation, **shared)(y)
            y = ConvNorm(out, 1, **plain)(y)
        else:
            y = ConvNorm(out, 3, self.stride, self.dilation, **shared)(x)
            y = ConvNorm(out, 3, 1, self.dilation, **plain)(y)
        if x.shape != y.shape:
            x = ConvNorm(out, 1, self.stride, **plain, name="shortcut")(x)
        return nn.relu(x + y)


class Pyramid(nn.Module):
    """The same pixels seen at five scales."""

    width: int
    rates: tuple[int, ...]
    norm: str
    conv: str

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Feature maps of width `width`."""
        shared: dict[str, Any] = {"norm": self.norm, "conv": self.conv}
        parts = [ConvNorm(self.width, 1, **shared)(x)]
        for rate in self.rates:
            parts.append(ConvNorm(self.width, 3, 1, rate, **shared)(x))
        # Of one pixel, a channel on its own has no deviation to divide by.
        norm = "group" if self.norm == "instance" else self.norm
        mean = x.mean((1, 2), keepdims=True)
        mean = ConvNorm(self.width, 1, norm=norm, conv=self.conv, name="mean")(mean)
        parts.append(jnp.broadcast_to(mean, parts[0].shape))
        x = ConvNorm(self.width, 1, **shared)(jnp.concatenate(parts, axis=-1))
        return ChannelDropout(DROPOUT["pyramid"])(x, train)


class DeepLab(nn.Module):
    """Trunk, pyramid and decoder."""

    classes: int
    width: int
    depth: int
    output_stride: int
    norm: str
    conv: str

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Logits of images."""
        shared: dict[str, Any] = {"norm": self.norm, "conv": self.conv}
        low, high = self._trunk(x, shared)
        wide = EXPANSION * self.width
        rates = tuple(16 // self.output_stride * rate for rate in RATES)
        high = Pyramid(wide, rates, **shared, name="pyramid")(high, train)
        high = upsample_bilinear(high, self.output_stride // 4)
        low = ConvNorm(3 * self.width // 4, **shared, name="reduce")(low)
        x = jnp.concatenate([high, low], axis=-1)
        for place in ("first", "second"):
            x = ConvNorm(wide, **shared, name=f"decoder_{place}")(x)
            x = ChannelDropout(DROPOUT[place])(x, train)
        x = Conv(self.classes, 1, padding=0, lowering=self.conv, name="head")(x)
        return upsample_bilinear(x, 4)

    def _trunk(self, x, shared: dict[str, Any]) -> tuple[jax.Array, jax.Array]:
        """Features at stride 4, and at the output stride."""
        x = ConvNorm(self.width, 7, 2, **shared, name="stem")(x)
        x, at, dilation = max_pool(x), 4, 1
        low = x
        for stage, blocks in enumerate(BLOCKS[self.depth]):
            shrinks = stage > 0 and at < self.output_stride
            at *= 2 if shrinks else 1
            dilation *= 2 if stage and not shrinks else 1
            for block in range(blocks):
                stride = 2 if shrinks and block == 0 else 1
                sizes = self.width << stage, stride, dilation, self.depth >= DEEP
                x = Residual(*sizes, **shared, name=f"stage_{stage}_{block}")(x)
            low = x if stage == 0 else low
        return low, x


@declared("network")
def deeplab_v3_plus(
    channels: int,
    classes: int,
    *,
    width: Annotated[int, Range(8, 2**12), "channels of the stem", Small(8)] = 64,
    depth: Annotated[int, OneOf((18, 34, 50)), "layers of the ResNet", Small(18)] = 50,
    output_stride: Annotated[int, OneOf((8, 16)), "of the trunk"] = 8,
    norm: MapNorm = "instance",
    conv: ConvSetting = "auto",
) -> Segmenter:
    """DeepLabV3+; its levels are the stem and the last features at stride 8.

    `InputError` for settings out of range, and for images that the output stride does
    not divide. With `norm="instance"`, the mean over the image is normalised in groups.
    """
    check_segmenter(channels, classes, norm, (width, 3 * width // 4))
    choices: dict[str, Any] = {
        "width": width,
        "depth": depth,
        "output_stride": output_stride,
        "norm": norm,
    }
    name = spell("deeplab_v3_plus", (channels,), classes, **choices)
    module = DeepLab(classes, **choices, conv=on_maps(conv))
    stage = 3 if output_stride == 8 else 1
    levels = ("stem", f"stage_{stage}_{BLOCKS[depth][stage] - 1}")
    stride = output_stride
    return segmenter(module, channels, levels=levels, stride=stride, name=name)
