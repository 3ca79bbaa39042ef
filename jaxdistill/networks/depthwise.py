"""The convolution of each channel with a window of its own.

    y[r, c] = sum_i x[r + d i - p, c] k[i, c]
    dx = depthwise(dy, flip(k), d (size - 1) - p)
    dk[i, c] = sum_r x[r + d i - p, c] dy[r, c]

A sum of shifted products, one pass over memory: XLA's own, grouped by channel, is slow
on CPUs, and its derivatives slower. Both forms are bilinear, and each is the other's
derivative. A stride makes pixels channels first, whose sums then follow.
"""

from itertools import product

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.networks.bilinear import bilinear
from jaxdistill.networks.lowerings import ON_MAPS, in_lowering, of_one_type, xla_conv
from jaxdistill.networks.rearrange import (
    Pair,
    folded_kernel,
    pair,
    resized,
    strided_blocks,
)


def depthwise(
    images: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw c"],
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    lowering: str = "auto",
) -> Float[Array, "n oh ow c"]:
    """Cross-correlation of each channel with its own window (groups = channels)."""
    images, kernel = of_one_type(images, kernel)
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    lowering = in_lowering.value or lowering
    if lowering in ("auto", ON_MAPS):
        lowering = "canonical" if jax.default_backend() == "cpu" else "lax"
    if lowering == "lax" or (stride != (1, 1) and dilation != (1, 1)):
        channels = kernel.shape[2]
        return xla_conv(
            images, kernel[:, :, None], stride, padding, dilation, groups=channels
        )
    if stride == (1, 1):
        return depthwise_conv(images, kernel, padding, dilation)
    images = strided_blocks(images, kernel, stride, padding)
    parts = depthwise_conv(images, folded_kernel(kernel, stride), (0, 0))
    return parts.reshape(*parts.shape[:3], -1, kernel.shape[2]).sum(3)


def depthwise_conv(
    images: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw c"],
    padding: Pair,
    dilation: Pair = (1, 1),
) -> Float[Array, "n oh ow c"]:
    """Cross-correlation channel by channel; negative `padding` cuts rows off."""
    return _conv(images, kernel, padding=padding, dilation=dilation)


def _conv_of(images: Array, kernel: Array, *, padding: Pair, dilation: Pair) -> Array:
    places = _shifts(images, _window_size(kernel), padding, dilation)
    terms = [kernel[i, j][None, None, None] * part for (i, j), part in places]
    return sum(terms[1:], terms[0])


def _window_of(
    images: Array, dy: Array, *, padding: Pair, dilation: Pair, window: Pair
) -> Array:
    parts = _shifts(images, window, padding, dilation)
    sums = [jnp.einsum("nhwc,nhwc->c", part, dy) for _, part in parts]
    return jnp.stack(sums).reshape(*window, -1)


def _shifts(images: Array, window: Pair, padding: Pair, dilation: Pair):
    """For each place in the window, the image as the outputs see it from there."""
    sizes = [size + 2 * p for size, p in zip(images.shape[1:3], padding, strict=True)]
    padded = resized(images, padding, (sizes[0], sizes[1]))
    reach = [d * (k - 1) for d, k in zip(dilation, window, strict=True)]
    rows, cols = (size - r for size, r in zip(sizes, reach, strict=True))
    for i, j in product(range(window[0]), range(window[1])):
        top, left = i * dilation[0], j * dilation[1]
        yield (i, j), padded[:, top : top + rows, left : left + cols]


def _window_size(kernel: Array) -> Pair:
    rows, cols = kernel.shape[:2]
    return rows, cols


def _mirrored(window: Pair, padding: Pair, dilation: Pair) -> Pair:
    rows, cols = (
        d * (k - 1) - p for d, k, p in zip(dilation, window, padding, strict=True)
    )
    return rows, cols


def _images_cotangent(dy, images, kernel, *, padding: Pair, dilation: Pair) -> Array:
    back = _mirrored(_window_size(kernel), padding, dilation)
    return _conv(dy, kernel[::-1, ::-1], padding=back, dilation=dilation)


def _kernel_cotangent(dy, images, kernel, *, padding: Pair, dilation: Pair) -> Array:
    window = kernel.aval.shape[:2]
    return _window(images, dy, padding=padding, dilation=dilation, window=window)


_conv = bilinear(
    "depthwise_conv", _conv_of, _images_cotangent, _kernel_cotangent, folds=True
)
_window = bilinear(
    "depthwise_window",
    _window_of,
    lambda dk, images, dy, padding, dilation, window: _conv(
        dy,
        dk[::-1, ::-1],
        padding=_mirrored(window, padding, dilation),
        dilation=dilation,
    ),
    lambda dk, images, dy, padding, dilation, window: _conv(
        images, dk, padding=padding, dilation=dilation
    ),
)
