"""A convolution of stride 1 whose derivatives are such convolutions themselves.

    y = conv(x, k, p)      dx = conv(dy, flip(k)^T, size(k) - 1 - p)
                           dk = conv(x^T, dy^T, p)^T

flip(k)^T exchanges input and output channels, x^T images and channels, dy^T images and
rows. XLA's CPU compiler has a fast convolution for the layout NHWC x HWIO -> NHWC, but
brings other layouts into it outside of loops only: in a scan, at 10 x 16 x 16 x 128,
the derivatives that JAX has for `lax.conv` took 10 and 140 times as long as the
convolution.
"""

from jax import lax
from jaxtyping import Array, Float

from jaxdistill.networks.bilinear import bilinear

Padding = tuple[int, int]  # zeros above and below, and left and right


def canonical_conv(
    images: Float[Array, "n h w c"], kernel: Float[Array, "kh kw c o"], padding: Padding
) -> Float[Array, "n oh ow o"]:
    """Cross-correlation; `padding` must be less than the kernel's size."""
    return _conv(images, kernel, padding=padding)


def _conv_of(images: Array, kernel: Array, *, padding: Padding) -> Array:
    # Without the barrier the compiler folds a transposition of an operand into the
    # convolution, which is then no longer the fast one.
    images, kernel = lax.optimization_barrier((images, kernel))
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
