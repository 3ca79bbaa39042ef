"""Exact rearrangements by which one stride-1 convolution computes the other kinds.

    strided      pixels of a stride become channels, windows shrink by the stride
    dilated      pixels that a dilation apart become images of their own
    transposed   one small window for each place between two outputs, laid out as pixels

They are padding, reshapes and transpositions alone, and so are their derivatives; a
convolution's own derivatives by stride or dilation have zeros between the numbers, for
which XLA's CPU compiler has no fast path. Pairs are (rows, columns).
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

Pair = tuple[int, int]


def pair(number: int | Pair) -> Pair:
    """The same for rows and columns, or one for each."""
    return (number, number) if isinstance(number, int) else number


def resized(images: Array, before: Pair, sizes: Pair) -> Array:
    """`before` zeros ahead of rows and columns, then zeros or a cut up to `sizes`."""
    sides = [(0, 0, 0)] * images.ndim
    for axis, (first, size) in enumerate(zip(before, sizes, strict=True), 1):
        sides[axis] = (first, size - first - images.shape[axis], 0)
    if not any(low or high for low, high, _ in sides):
        return images
    return lax.pad(images, jnp.zeros((), images.dtype), sides)


def space_to_depth(images: Array, blocks: Pair, kept: Pair | None = None) -> Array:
    """Blocks of pixels as channels `(row, column, c)`; `kept` of each block's rows."""
    n, h, w, c = images.shape
    (a, b), (rows, cols) = blocks, kept or blocks
    tiles = images.reshape(n, h // a, a, w // b, b, c)[:, :, :rows, :, :cols]
    return tiles.transpose(0, 1, 3, 2, 4, 5).reshape(n, h // a, w // b, -1)


def depth_to_space(images: Array, blocks: Pair) -> Array:
    """Channels `(row, column, c)` as blocks of pixels."""
    n, h, w, _ = images.shape
    a, b = blocks
    tiles = images.reshape(n, h, w, a, b, -1).transpose(0, 1, 3, 2, 4, 5)
    return tiles.reshape(n, h * a, w * b, -1)


def space_to_batch(images: Array, blocks: Pair) -> Array:
    """Each place within the blocks as an image of its own: `a b n` images."""
    n, h, w, c = images.shape
    a, b = blocks
    tiles = images.reshape(n, h // a, a, w // b, b, c).transpose(2, 4, 0, 1, 3, 5)
    return tiles.reshape(a * b * n, h // a, w // b, c)


def batch_to_space(images: Array, blocks: Pair) -> Array:
    """The inverse of `space_to_batch`."""
    _, h, w, c = images.shape
    a, b = blocks
    tiles = images.reshape(a, b, -1, h, w, c).transpose(2, 3, 0, 4, 1, 5)
    return tiles.reshape(-1, h * a, w * b, c)


def folded_kernel(kernel: Array, blocks: Pair) -> Array:
    """The window that meets pixels as channels: `(K L) (row column c) ...`.

    Zeros fill it up to whole blocks; a block larger than the window is cut to it, as
    `space_to_depth` keeps it.
    """
    kh, kw, *rest = kernel.shape
    a, b = (min(block, size) for block, size in zip(blocks, (kh, kw), strict=True))
    tall, wide = -(-kh // a), -(-kw // b)
    sides = [(0, tall * a - kh), (0, wide * b - kw)] + [(0, 0)] * len(rest)
    kernel = jnp.pad(kernel, sides).reshape(tall, a, wide, b, *rest)
    kernel = jnp.moveaxis(kernel, 2, 1)
    return kernel.reshape(tall, wide, a * b * rest[0], *rest[1:])


def unfolded_kernel(kernel: Array, blocks: Pair) -> Array:
    """The window whose outputs are blocks of a transposed convolution's pixels.

        y[(t + u) s + b] = sum_u x[t] k[u s + b]       over whole blocks of the window

    `kernel` is `kh kw c o`, the result `K L c (row column o)`, flipped.
    """
    kh, kw, c, o = kernel.shape
    a, b = blocks
    tall, wide = -(-kh // a), -(-kw // b)
    sides = [(0, tall * a - kh), (0, wide * b - kw), (0, 0), (0, 0)]
    kernel = jnp.pad(kernel, sides).reshape(tall, a, wide, b, c, o)
    kernel = kernel.transpose(0, 2, 4, 1, 3, 5).reshape(tall, wide, c, a * b * o)
    return kernel[::-1, ::-1]


def strided_blocks(images: Array, kernel: Array, stride: Pair, padding: Pair) -> Array:
    """The pixels that strided windows see, those of one stride as channels."""
    window, sizes = kernel.shape[:2], []
    for size, k, s, p in zip(images.shape[1:3], window, stride, padding, strict=True):
        outputs = (size + 2 * p - k) // s + 1
        sizes.append((outputs + -(-k // s) - 1) * s)
    kept = (min(stride[0], window[0]), min(stride[1], window[1]))
    return space_to_depth(resized(images, padding, (sizes[0], sizes[1])), stride, kept)
