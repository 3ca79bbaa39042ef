"""Convolutions in four lowerings, each differentiable to any order.

"lax" is XLA's own, with JAX's derivatives. "gemm" is one product of shifted slices,
which a population of networks turns into a batched product. "canonical" is XLA's own
with derivatives that stay on its fast path for CPUs. "winograd" has less than half the
products for windows of 3, stride 1 and no dilation (others go to "canonical"). "auto"
takes the fastest that was measured on the backend.

Outside of "lax", strided, dilated and transposed convolutions are rearranged to one of
stride 1 (`jaxdistill.networks.rearrange`), a window of one pixel is a product of
matrices, and one window a channel is a sum of shifted products
(`jaxdistill.networks.depthwise`).
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxdistill.networks.canonical import canonical_conv
from jaxdistill.networks.lowerings import chosen, of_one_type, xla_conv
from jaxdistill.networks.rearrange import (
    Pair,
    batch_to_space,
    folded_kernel,
    pair,
    resized,
    space_to_batch,
    strided_blocks,
)
from jaxdistill.networks.winograd import winograd_conv


def conv(
    images: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw c o"],
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    lowering: str = "auto",
) -> Float[Array, "n oh ow o"]:
    """Cross-correlation, with `padding` zeros on every side of the images.

    Numbers for rows and columns each, or one for both.
    """
    lowering = chosen(lowering, kernel)
    images, kernel = of_one_type(images, kernel)
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    if lowering == "lax":
        return xla_conv(images, kernel, stride, padding, dilation)
    if dilation != (1, 1):
        kernel, padding = _within_reach(images, kernel, padding, dilation)
    if lowering == "gemm" or (stride != (1, 1) and dilation != (1, 1)):
        return _gemm(images, kernel, stride, padding, dilation)
    if stride != (1, 1):
        return _strided(images, kernel, stride, padding, lowering)
    if dilation != (1, 1):
        return _dilated(images, kernel, padding, dilation, lowering)
    return _plain(images, kernel, padding, lowering)


def _within_reach(
    images: Array, kernel: Array, padding: Pair, dilation: Pair
) -> tuple[Array, Pair]:
    """The kernel without outer taps that see zeros alone, and the padding left."""
    cuts = []
    for size, k, p, d in zip(
        images.shape[1:3], kernel.shape[:2], padding, dilation, strict=True
    ):
        last = size + 2 * p - d * (k - 1) - 1  # row of the output
        cut = 0
        while (
            2 * (cut + 1) < k
            and p - (cut + 1) * d >= 0
            and cut * d - p + last < 0
            and (k - 1 - cut) * d - p >= size
        ):
            cut += 1
        cuts.append(cut)
    (top, left), (kh, kw) = cuts, kernel.shape[:2]
    kernel = kernel[top : kh - top, left : kw - left]
    return kernel, (padding[0] - top * dilation[0], padding[1] - left * dilation[1])


def _plain(images: Array, kernel: Array, padding: Pair, lowering: str) -> Array:
    """Stride 1, no dilation."""
    window = kernel.shape[:2]
    if window == (1, 1):
        n, h, w, c = (images := _pad(images, padding)).shape
        return (images.reshape(-1, c) @ kernel[0, 0]).reshape(n, h, w, -1)
    if lowering == "winograd" and window == (3, 3) and padding[0] == padding[1]:
        inside = min(padding[0], 2)
        images = _pad(images, (padding[0] - inside, padding[0] - inside))
        return winograd_conv(images, kernel, inside)
    # The output, which is the kernel of the kernel's derivative, may not outgrow the
    # images: a larger one leaves the fast path.
    rows, cols = (min(p, (k - 1) // 2) for p, k in zip(padding, window, strict=True))
    images = _pad(images, (padding[0] - rows, padding[1] - cols))
    return canonical_conv(images, kernel, (rows, cols))


def _strided(
    images: Array, kernel: Array, stride: Pair, padding: Pair, lowering: str
) -> Array:
    images = strided_blocks(images, kernel, stride, padding)
    return _plain(images, folded_kernel(kernel, stride), (0, 0), lowering)


def _dilated(
    images: Array, kernel: Array, padding: Pair, dilation: Pair, lowering: str
) -> Array:
    before, inside, sizes, outputs = [], [], [], []
    for size, k, p, d in zip(
        images.shape[1:3], kernel.shape[:2], padding, dilation, strict=True
    ):
        within = min(p // d, (k - 1) // 2)
        outputs.append(size + 2 * p - d * (k - 1))
        before.append(p - within * d)
        inside.append(within)
        sizes.append((-(-outputs[-1] // d) + k - 1 - 2 * within) * d)
    images = resized(images, (before[0], before[1]), (sizes[0], sizes[1]))
    images = space_to_batch(images, dilation)
    images = _plain(images, kernel, (inside[0], inside[1]), lowering)
    return resized(batch_to_space(images, dilation), (0, 0), (outputs[0], outputs[1]))


def _gemm(
    images: Array, kernel: Array, stride: Pair, padding: Pair, dilation: Pair
) -> Array:
    *window, _, out = kernel.shape
    columns = _columns(_pad(images, padding), window, stride, dilation)
    return columns @ kernel.reshape(-1, out)


def _columns(images: Array, window: list[int], stride: Pair, dilation: Pair) -> Array:
    """What each output pixel sees, laid out along the last axis as the kernel is."""
    (kh, kw), (down, right) = window, dilation
    n, h, w, c = images.shape
    rows = (h - down * (kh - 1) - 1) // stride[0] * stride[0] + 1
    cols = (w - right * (kw - 1) - 1) // stride[1] * stride[1] + 1
    shifted = [
        lax.slice(images, (0, i, j, 0), (n, i + rows, j + cols, c), (1, *stride, 1))
        for i in range(0, down * kh, down)
        for j in range(0, right * kw, right)
    ]
    return jnp.concatenate(shifted, axis=-1) if len(shifted) > 1 else shifted[0]


def _pad(images: Array, padding: Pair) -> Array:
    if padding == (0, 0):
        return images
    return jnp.pad(images, ((0, 0), *((p, p) for p in padding), (0, 0)))
