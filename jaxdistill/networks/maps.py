"""What segmenters are made of beyond `layers`: feature maps made smaller and larger."""

from collections.abc import Callable
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxdistill.networks.depthwise import depthwise
from jaxdistill.networks.layers import Conv, Norm, fan_in_uniform
from jaxdistill.networks.lowerings import ON_MAPS
from jaxdistill.networks.rearrange import Pair, pair
from jaxdistill.networks.upward import conv_doubled, conv_transpose
from jaxdistill.ranges import OneOf, Range
from jaxdistill.settings import Small

# Not "layer", which has weights for each pixel: images may be of any size.
MapNorm = Annotated[
    str, OneOf(("instance", "group", "batch", "none")), "how features are normalised"
]
Unused = Annotated[bool, "build the parameters that the published program never uses"]
Multiple = Annotated[
    float, Range(0.25, 16), "channels, as a multiple of the published", Small(0.25)
]


def pool_with_places(
    x: Float[Array, "n h w c"],
) -> tuple[Float[Array, "n h2 w2 c"], Bool[Array, "n h2 2 w2 2 c"]]:
    """Maximum of 2 x 2 windows, and where it lay: the first of those that are equal."""
    n, h, w, c = x.shape
    windows = x.reshape(n, h // 2, 2, w // 2, 2, c)
    pixels = [windows[:, :, i, :, j] for i in (0, 1) for j in (0, 1)]
    best, places, free = pixels[-1], [], jnp.ones(pixels[0].shape, bool)
    for number, pixel in enumerate(pixels[:-1]):
        here = free
        for other in pixels[number + 1 :]:
            here = here & (pixel >= other)
        best, free = jnp.where(here, pixel, best), free & ~here
        places.append(here)
    places.append(free)
    rows = [jnp.stack(places[2 * i : 2 * i + 2], 3) for i in (0, 1)]
    return best, jnp.stack(rows, 2)


def unpool(
    x: Float[Array, "n h2 w2 c"], places: Bool[Array, "n h2 2 w2 2 c"]
) -> Float[Array, "n h w c"]:
    """Each value at the place of its window where the maximum was, zeros elsewhere.

    Zeiler et al. 2011; with `pool_with_places`, Paszke et al. 2016, section 4.
    """
    n, h, w, c = x.shape
    wide = jnp.where(places, x[:, :, None, :, None], 0)
    return wide.reshape(n, 2 * h, 2 * w, c)


def upsample_bilinear(
    x: Float[Array, "n h w c"], factor: int
) -> Float[Array, "n h2 w2 c"]:
    """Bilinear interpolation between the centres of pixels, which borders extend.

    What `jax.image.resize` and PyTorch's `align_corners=False` give: an image moved by
    a pixel gives the result moved by `factor`, as it does not where corners are
    aligned.
    """
    for axis in (1, 2):
        ahead = jnp.concatenate([_part(x, axis, 0, 1), _part(x, axis, 0, -1)], axis)
        after = jnp.concatenate(
            [_part(x, axis, 1, None), _part(x, axis, -1, None)], axis
        )
        phases = []
        for phase in range(factor):
            at = (phase + 0.5) / factor - 0.5  # in pixels, from the centre
            other = ahead if at < 0 else after
            phases.append(x + abs(at) * (other - x))
        shape = list(x.shape)
        shape[axis] *= factor
        x = jnp.stack(phases, axis + 1).reshape(shape)
    return x


def _part(x: Array, axis: int, first: int, last: int | None) -> Array:
    index = [slice(None)] * x.ndim
    index[axis] = slice(first, last)
    return x[tuple(index)]


def same(window: int | Pair, dilation: int | Pair = 1) -> Pair:
    """The padding with which odd windows of stride 1 keep the image's size."""
    rows, cols = (
        d * (k - 1) // 2 for k, d in zip(pair(window), pair(dilation), strict=True)
    )
    return rows, cols


def on_maps(lowering: str) -> str:
    """What "auto" means for segmenters, whose layers may have few channels."""
    return ON_MAPS if lowering == "auto" else lowering


def tripled(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c3"]:
    """Grey images as three channels, others as they are."""
    return jnp.concatenate([x, x, x], axis=-1) if x.shape[-1] == 1 else x


class ConvNorm(nn.Module):
    """Convolution, normalisation, activation; the size stays, but for the stride."""

    width: int
    window: int | Pair = 3
    stride: int = 1
    dilation: int | Pair = 1
    use_bias: bool = False
    norm: str = "instance"
    conv: str = "auto"
    activation: Callable[[Array], Array] | None = jax.nn.relu

    @nn.compact
    def __call__(self, x):
        """Feature maps of width `width`."""
        x = Conv(
            self.width,
            self.window,
            self.stride,
            same(self.window, self.dilation),
            use_bias=self.use_bias,
            lowering=self.conv,
            dilation=self.dilation,
        )(x)
        x = Norm(self.norm)(x)
        return x if self.activation is None else self.activation(x)


class UpNorm(nn.Module):
    """`ConvNorm` of images with every pixel as a square of 2 x 2."""

    width: int
    norm: str = "instance"
    conv: str = "auto"

    @nn.compact
    def __call__(self, x):
        """Feature maps of width `width`, twice the size."""
        x = ConvDoubled(self.width, self.conv, name="Conv_0")(x)
        return jax.nn.relu(Norm(self.norm)(x))


class ConvDoubled(nn.Module):
    """`jaxdistill.networks.upward.conv_doubled` with its weights."""

    width: int
    lowering: str = "auto"

    @nn.compact
    def __call__(self, x):
        """Feature maps of width `width`, twice the size."""
        start = fan_in_uniform(9 * x.shape[-1])
        kernel = self.param("kernel", start, (3, 3, x.shape[-1], self.width))
        bias = self.param("bias", start, (self.width,))
        return conv_doubled(x, kernel, lowering=self.lowering) + bias[None, None, None]


class ConvTranspose(nn.Module):
    """`jaxdistill.networks.upward.conv_transpose` with its weights."""

    width: int
    window: int = 2
    stride: int = 2
    padding: int = 0
    output_padding: int = 0
    use_bias: bool = False
    lowering: str = "auto"

    @nn.compact
    def __call__(self, x):
        """Feature maps of width `width`, larger by the stride."""
        shape = (self.window, self.window, x.shape[-1], self.width)
        start = fan_in_uniform(self.window**2 * self.width)  # as PyTorch counts it
        y = conv_transpose(
            x,
            self.param("kernel", start, shape),
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            lowering=self.lowering,
        )
        if not self.use_bias:
            return y
        return y + self.param("bias", start, shape[3:])[None, None, None]


class Depthwise(nn.Module):
    """A 3 x 3 window for each channel."""

    stride: int = 1
    lowering: str = "auto"

    @nn.compact
    def __call__(self, x):
        """Feature maps of the same width, smaller by the stride."""
        kernel = self.param("kernel", fan_in_uniform(9), (3, 3, x.shape[-1]))
        how = "lax" if self.lowering == "lax" else "auto"
        return depthwise(x, kernel, stride=self.stride, padding=1, lowering=how)


class PReLU(nn.Module):
    """`max(x, 0) + a min(x, 0)` with one learned slope (He et al. 2015, eq. 1)."""

    @nn.compact
    def __call__(self, x):
        """Values of the same shape."""
        slope = self.param("slope", lambda key: jnp.full((), 0.25))
        return jnp.where(x >= 0, x, slope * x)


class ChannelDropout(nn.Module):
    """Whole channels of an image dropped (Tompson et al. 2015), where it trains."""

    rate: float

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Values of the same shape."""
        return nn.Dropout(self.rate, broadcast_dims=(1, 2))(x, deterministic=not train)
