"""A convolution of stride 1 whose derivatives are such convolutions themselves.

    y = conv(x, k, p)      dx = conv(dy, flip(k)^T, size(k) - 1 - p)
                           dk = conv(x^T, dy^T, p)^T

flip(k)^T exchanges input and output channels, x^T images and channels, dy^T images and
rows. XLA's CPU compiler has a fast convolution for the layout NHWC x HWIO -> NHWC, but
brings other layouts into it outside of loops only: in a scan, at 10 x 16 x 16 x 128,
the derivatives that JAX has for `lax.conv` took 10 and 140 times as long as the
convolution.

The window of dk is as large as an image. Where it outgrows a core's cache, it is cut
into bands of rows, whose convolutions are summed: half the time at 8 x 48 x 48 x 32.
"""

import functools

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxdistill.networks.bilinear import bilinear

Padding = tuple[int, int]  # zeros above and below, and left and right
BAND = 600_000  # bytes of a window that stay in a core's cache beside what they meet
MOST = 8  # bands, each of which is compiled


def canonical_conv(
    images: Float[Array, "n h w c"], kernel: Float[Array, "kh kw c o"], padding: Padding
) -> Float[Array, "n oh ow o"]:
    """Cross-correlation; `padding` must be less than the kernel's size."""
    return _conv(images, kernel, padding=padding)


def _conv_of(images: Array, kernel: Array, *, padding: Padding) -> Array:
    # Without the barrier the compiler folds a transposition of an operand into the
    # convolution, which is then no longer the fast one.
    images, kernel = lax.optimization_barrier((images, kernel))
    (above, beside), tall = padding, kernel.shape[0]
    outputs = images.shape[1] + 2 * above - tall + 1
    if tall <= outputs or kernel.nbytes <= BAND:
        return _xla(images, kernel, padding)
    rows = -(-tall // min(-(-kernel.nbytes // BAND), MOST))
    images = jnp.pad(images, ((0, 0), (above, above), (0, 0), (0, 0)))
    bands = [
        _xla(
            images[:, first : min(first + rows, tall) + outputs - 1],
            kernel[first : first + rows],
            (0, beside),
        )
        for first in range(0, tall, rows)
    ]
    return functools.reduce(jnp.add, bands)


def _xla(images: Array, kernel: Array, padding: Padding) -> Array:
    return lax.conv_general_dilated(
        images,
        kernel,
        window_strides=(1, 1),
        padding=[(p, p) for p in padding],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _images_cotangent(dy: Array, images, kernel: Array, *, padding: Padding) -> Array:
    kh, kw, *_ = kernel.shape
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    return canonical_conv(dy, flipped, (kh - 1 - padding[0], kw - 1 - padding[1]))


def _kernel_cotangent(dy: Array, images: Array, kernel, *, padding: Padding) -> Array:
    exchanged = images.transpose(3, 1, 2, 0)
    dk = canonical_conv(exchanged, dy.transpose(1, 2, 0, 3), padding)
    return lax.optimization_barrier(dk).transpose(1, 2, 0, 3)


_conv = bilinear(
    "canonical_conv", _conv_of, _images_cotangent, _kernel_cotangent, folds=True
)
