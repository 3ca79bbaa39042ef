"""A convolution of stride 1 whose derivatives are such convolutions themselves.

    y = conv(x, k, p)      dx = conv(dy, flip(k)^T, size(k) - 1 - p)
                           dk = conv(x^T, dy^T, p)^T

flip(k)^T exchanges input and output channels, x^T images and channels, dy^T images and
rows. XLA's CPU compiler has a fast convolution for the layout NHWC x HWIO -> NHWC, but
brings other layouts into it outside of loops only: in a scan, at 10 x 16 x 16 x 128,
the derivatives that JAX has for `lax.conv` took 10 and 140 times as long as the
convolution. A primitive of our own, because that has these derivatives to any order,
and a rule for stacks of networks.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

Padding = tuple[int, int]  # zeros above and below, and left and right


def canonical_conv(
    images: Float[Array, "n h w c"], kernel: Float[Array, "kh kw c o"], padding: Padding
) -> Float[Array, "n oh ow o"]:
    """Cross-correlation; `padding` must be less than the kernel's size."""
    return conv_p.bind(images, kernel, padding=padding)


def _compute(images: Array, kernel: Array, *, padding: Padding) -> Array:
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


def _abstract(images, kernel, *, padding: Padding) -> jax.core.ShapedArray:
    n, h, w, _ = images.shape
    kh, kw, _, out = kernel.shape
    shape = (n, h + 2 * padding[0] - kh + 1, w + 2 * padding[1] - kw + 1, out)
    return jax.core.ShapedArray(shape, images.dtype)


def _images_cotangent(dy: Array, images, kernel: Array, *, padding: Padding) -> Array:
    kh, kw, *_ = kernel.shape
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    return canonical_conv(dy, flipped, (kh - 1 - padding[0], kw - 1 - padding[1]))


def _kernel_cotangent(dy: Array, images: Array, kernel, *, padding: Padding) -> Array:
    exchanged = images.transpose(3, 1, 2, 0)
    dk = canonical_conv(exchanged, dy.transpose(1, 2, 0, 3), padding)
    return lax.optimization_barrier(dk).transpose(1, 2, 0, 3)


def _batched(operands, axes, *, padding: Padding) -> tuple[Array, int]:
    """Fold a stack of images into one; take a stack of kernels one after another."""
    images, kernel = (
        x if axis is None else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(operands, axes, strict=True)
    )
    if axes[1] is None:
        y = canonical_conv(images.reshape(-1, *images.shape[2:]), kernel, padding)
        return y.reshape(*images.shape[:2], *y.shape[1:]), 0
    if axes[0] is None:
        return lax.map(lambda k: canonical_conv(images, k, padding), kernel), 0
    return lax.map(
        lambda xk: canonical_conv(xk[0], xk[1], padding), (images, kernel)
    ), 0


conv_p = Primitive("canonical_conv")
conv_p.def_impl(jax.jit(_compute, static_argnames="padding"))
conv_p.def_abstract_eval(_abstract)
ad.defbilinear(conv_p, _images_cotangent, _kernel_cotangent)
batching.primitive_batchers[conv_p] = _batched
mlir.register_lowering(conv_p, mlir.lower_fun(_compute, multiple_results=False))
