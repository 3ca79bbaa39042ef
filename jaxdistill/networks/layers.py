"""What networks are made of: small pure functions, and thin modules that own weights.

Weights start as in the literature's programs, U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for
kernels and biases, scale 1 and bias 0 for norms; their type is JAX's default float.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxdistill.networks.conv import conv
from jaxdistill.networks.lowerings import LOWERINGS
from jaxdistill.networks.rearrange import Pair, pair
from jaxdistill.ranges import OneOf

EPS = 1e-5
GROUPS = 4
NORMS = ("instance", "group", "layer", "batch", "none")

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "leaky": lambda x: jax.nn.leaky_relu(x, 0.01),
    "swish": jax.nn.swish,
    "tanh": jnp.tanh,
}


def normalise(
    x: Float[Array, "..."],
    axes: tuple[int, ...],
    scale: Float[Array, "..."],
    bias: Float[Array, "..."],
    eps: float = EPS,
) -> Float[Array, "..."]:
    """`(x - mean) / sqrt(var + eps) * scale + bias` with biased moments over `axes`."""
    mean = x.mean(axes, keepdims=True)
    var = jnp.square(x - mean).mean(axes, keepdims=True)
    # One multiply-add for each value: the block is bound by memory, not by arithmetic.
    gain = scale * lax.rsqrt(var + eps)
    return x * gain + (bias - mean * gain)


def avg_pool(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
    """Mean of 2 x 2 windows; an odd last row or column is left out."""
    n, h, w, c = x.shape
    h, w = h // 2, w // 2
    # Sums of halves rather than a mean over axes: half the time, for derivatives too.
    rows = x[:, : 2 * h, : 2 * w].reshape(n, h, 2, 2 * w, c)
    both = (rows[:, :, 0] + rows[:, :, 1]).reshape(n, h, w, 2, c)
    return 0.25 * (both[:, :, :, 0] + both[:, :, :, 1])


def max_pool(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
    """Maximum of 2 x 2 windows; an odd last row or column is left out."""
    n, h, w, c = x.shape
    h, w = h // 2, w // 2
    # Maxima of halves rather than of axes: XLA may compute x anew for the derivative,
    # and where no entry then equals its maximum, a share of none is NaN.
    rows = x[:, : 2 * h, : 2 * w].reshape(n, h, 2, 2 * w, c)
    both = jnp.maximum(rows[:, :, 0], rows[:, :, 1]).reshape(n, h, w, 2, c)
    return jnp.maximum(both[:, :, :, 0], both[:, :, :, 1])


def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x Phi(x)`, Phi the normal distribution (Hendrycks and Gimpel 2016).

    Not `jax.nn.gelu`, which computes `erfc`, exact in its tail of numbers near 0 too,
    by two branches and an exponential: on CPUs in more than twice the time.
    """
    return x * (0.5 + 0.5 * lax.erf(x * math.sqrt(0.5)))


def flatten(x: Float[Array, "n ..."]) -> Float[Array, "n d"]:
    """All but the first axis in one, channels fastest."""
    return x.reshape(x.shape[0], -1)


POOLINGS: dict[str, Callable[[Array], Array]] = {
    "avg": avg_pool,
    "max": max_pool,
    "none": lambda x: x,
}


STARTS = ("torch", "xavier")  # how layers start

# Settings that several networks have.
NormSetting = Annotated[str, OneOf(NORMS), "how features are normalised"]
ActivationSetting = Annotated[str, OneOf(ACTIVATIONS), "what layers end in"]
PoolingSetting = Annotated[str, OneOf(POOLINGS), "of 2 x 2 pixels"]
GreyPadding = Annotated[bool, "pad grey images so that 28 pixels count as 32"]
ConvSetting = Annotated[str, OneOf(LOWERINGS), "how convolutions are computed"]


def fan_in_uniform(fan_in: int) -> Callable:
    """PyTorch's default start, U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    bound = 1.0 / math.sqrt(fan_in)

    def init(key: Array, shape: tuple[int, ...]) -> Array:
        # Drawn flat: the same numbers, and XLA compiles them five times faster.
        flat = jax.random.uniform(key, (math.prod(shape),), minval=-bound, maxval=bound)
        return flat.reshape(shape)

    return init


def truncated_normal(std: float) -> Callable:
    """Normal of the given deviation, cut at two of them."""

    def init(key: Array, shape: tuple[int, ...]) -> Array:
        flat = jax.random.truncated_normal(key, -2.0, 2.0, (math.prod(shape),))
        return std * flat.reshape(shape)

    return init


def _zeros(key: Array, shape: tuple[int, ...]) -> Array:
    del key
    return jnp.zeros(shape)


def _ones(key: Array, shape: tuple[int, ...]) -> Array:
    del key
    return jnp.ones(shape)


def _started(start: str, fan_in: int) -> tuple[Callable, Callable]:
    """How a layer's kernel and its biases start."""
    if start == "xavier":
        return jax.nn.initializers.glorot_normal(), _zeros
    return fan_in_uniform(fan_in), fan_in_uniform(fan_in)


class Conv(nn.Module):
    """A convolution; see `jaxdistill.networks.conv`.

    Numbers are for rows and columns each, or one for both. `start` is one of `STARTS`:
    PyTorch's own, or Glorot and Bengio's normal with biases of zero.
    """

    width: int
    window: int | Pair = 3
    stride: int | Pair = 1
    padding: int | Pair = 1
    use_bias: bool = True
    lowering: str = "auto"
    start: str = "torch"
    dilation: int | Pair = 1

    @nn.compact
    def __call__(self, x):
        """Feature maps of width `width`."""
        shape = (*pair(self.window), x.shape[-1], self.width)
        init, bias_init = _started(self.start, math.prod(shape[:3]))
        y = conv(
            x,
            self.param("kernel", init, shape),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            lowering=self.lowering,
        )
        if not self.use_bias:
            return y
        return y + _row(self.param("bias", bias_init, shape[3:]), y)


class Dense(nn.Module):
    """`x @ kernel + bias`; `std` above 0 starts it truncated normal, biases at zero.

    The product is computed in `dtype`, or in what inputs and weights have.
    """

    width: int
    std: float = 0.0
    start: str = "torch"
    use_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x):
        """Features of width `width`."""
        fan_in = x.shape[-1]
        init, bias_init = _started(self.start, fan_in)
        if self.std:
            init, bias_init = truncated_normal(self.std), _zeros
        kernel = self.param("kernel", init, (fan_in, self.width))
        dtype = self.dtype or jnp.result_type(x, kernel)
        # On one axis of rows: of two, XLA's CPU compiler would turn a copy of the
        # gradient for the derivative by the kernel.
        rows = x.astype(dtype).reshape(-1, fan_in) @ kernel.astype(dtype)
        y = rows.reshape(*x.shape[:-1], self.width)
        if not self.use_bias:
            return y
        bias = self.param("bias", bias_init, (self.width,))
        return y + _row(bias.astype(dtype), y)


class Norm(nn.Module):
    """Normalisation of feature maps: over pixels, groups, images or the batch.

    `instance` is group normalisation with one channel in each group; `group` has four
    groups; `layer` takes channels and pixels together and scales each value on its own.
    `batch` always uses the statistics of the batch at hand, so that a network stays a
    pure function of its parameters: an image's logits then depend on its companions.
    `affine` is a batch norm whose statistics were folded into scale and bias.
    """

    kind: str = "instance"
    eps: float = EPS

    @nn.compact
    def __call__(self, x):
        """Feature maps of the same shape."""
        if self.kind == "none":
            return x
        shape = x.shape[1:] if self.kind == "layer" else x.shape[-1:]
        scale = _row(self.param("scale", _ones, shape), x)
        bias = _row(self.param("bias", _zeros, shape), x)
        if self.kind == "affine":
            return x * scale + bias
        if self.kind == "layer":
            return normalise(x, (1, 2, 3), scale, bias, self.eps)
        # Pixels on one axis: a quarter less time for a step on CPUs than over two.
        n, *_, channels = x.shape
        images = 1 if self.kind == "batch" else n
        grouped = self.kind == "group"
        split = (GROUPS, channels // GROUPS) if grouped else (channels,)
        axes = (1, 3) if grouped else (1,)
        scale, bias = (w.reshape(1, 1, *split) for w in (scale, bias))
        y = normalise(x.reshape(images, -1, *split), axes, scale, bias, self.eps)
        return y.reshape(x.shape)


class LayerNorm(nn.Module):
    """Normalisation of the last axis, as transformers have it."""

    eps: float = 1e-6

    @nn.compact
    def __call__(self, x):
        """Tokens of the same shape, in the type of the weights."""
        scale = _row(self.param("scale", _ones, x.shape[-1:]), x)
        bias = _row(self.param("bias", _zeros, x.shape[-1:]), x)
        return normalise(x, (x.ndim - 1,), scale, bias, self.eps)


def _row(weights: Array, like: Array) -> Array:
    """Leading axes of one, so that no shape is promoted behind our back."""
    return weights.reshape((1,) * (like.ndim - weights.ndim) + weights.shape)
