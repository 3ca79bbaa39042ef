"""Pictures on other grids: weights of rows and columns, or a place for every pixel.

What is separable (crops, flips, sizes, a wide blur) is two products with a banded
matrix for each picture; see `through`. A narrow blur is a sum of shifted pictures.
Gathers stay for what is neither: rotation.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from jaxdistill.types import PRNGKey

# Channels before columns: rows and columns are then both products without a transpose,
# and every other operation runs along the columns.
Lines = Float[Array, "n h c w"]
ByteLines = UInt8[Array, "n h c w"]
Span = tuple[Float[Array, " n"], Float[Array, " n"]]  # first pixel, number of pixels

TRIES = 10
BLOCK = 8  # pixels at least that share a window
DEVIATIONS = 5  # of a Gaussian, then it ends: what is left out is below 1e-5
TAPS = 48  # pixels under a blur; for more, products are faster than sums


class Bands(NamedTuple):
    """How pixels of a line come from few neighbours each, block by block of pixels.

    Every block is a product of its weights with its window, `size` pixels from `first`
    on. One block and one window are the dense matrix.
    """

    first: Int[Array, "n blocks"]
    weights: Float[Array, "n blocks block size"]


def to_lines(images: Array) -> Array:
    """Channels-last pictures as lines; its own inverse."""
    return images.transpose(0, 1, 3, 2)


def through(
    lines: Lines | ByteLines, rows: Bands, cols: Bands
) -> Float[Array, "n i c j"]:
    """`rows x cols^T` of every channel; exact, because identity must not round."""
    exact, wide = jax.lax.Precision.HIGHEST, rows.weights.dtype
    n, _, c, w = lines.shape
    # Rows come first: what they see lies in one piece. Bytes become floats in a window,
    # as they are copied there.
    windows = _windows(lines, rows, axis=0).astype(wide)
    down = jnp.einsum("nkip,nkpcw->nkicw", rows.weights, windows, precision=exact)
    down = down.reshape(n, -1, c, w)
    windows = _windows(down, cols, axis=2)
    along = jnp.einsum("nkjp,nkicp->nickj", cols.weights, windows, precision=exact)
    return along.reshape(*down.shape[:3], -1)


def resizing(
    span: Span,
    size: int,
    out: int,
    *,
    cubic: bool,
    mirror: Bool[Array, " n"] | None = None,
    longest: float | None = None,
) -> Bands:
    """Weights by which `out` pixels come from a span of `size`; each sums to 1.

    Keys' cubic with a = -1/2, or the triangle. Where a span shrinks the filter widens
    with it, and pixels beside the span do not count: what Pillow gives for the crop.
    Pictures that `mirror` names have their pixels in reverse. No span is above
    `longest`, by default the line's; `inf` gives one block and one window.
    """
    pace = (size if longest is None else longest) / out
    reach = 2 if cubic else 1
    block, window = _block(out, size, pace, reach * max(pace, 1))
    start, length = (x[:, None] for x in span)
    step = length / out
    wide = jnp.maximum(step, 1)
    number = jnp.arange(out, dtype=step.dtype)[None]
    if mirror is not None:
        number = jnp.where(mirror[:, None], out - 1 - number, number)
    centres = start + (number + 0.5) * step
    centres = centres.reshape(len(centres), out // block, block)
    first = jnp.floor(centres.min(2) - reach * wide - 0.5)
    first = jnp.clip(first, 0, size - window).astype(jnp.int32)
    pixel = first[..., None, None] + jnp.arange(window)[None, None, None]
    begin, end, unit = (x[..., None, None] for x in (start, start + length, wide))
    distance = jnp.abs(pixel + 0.5 - centres[..., None]) / unit
    weight = _keys(distance) if cubic else jnp.maximum(0, 1 - distance)
    weight = jnp.where((pixel >= begin) & (pixel < end), weight, 0)
    return Bands(first, weight / weight.sum(3, keepdims=True))


def blur(lines: Lines, radius: Float[Array, " n"], most: float = jnp.inf) -> Lines:
    """Every picture through a Gaussian of its own, `radius` its deviation in pixels.

    0 is the identity. At the border the weights are those of the pixels that exist,
    made to sum to 1. No radius is above `most`; where that is small, weights end
    beyond five times it.
    """
    # A neighbour's weight is exactly 0 by then.
    unit = jnp.maximum(radius, 1e-3)[:, None]
    if 2 * DEVIATIONS * most >= TAPS:
        rows, cols = (_gaussian(unit, lines.shape[axis]) for axis in (1, 3))
        return through(lines, rows, cols)
    reach = math.ceil(DEVIATIONS * most)
    distance = jnp.arange(-reach, reach + 1, dtype=unit.dtype)[None] / unit
    taps = jnp.exp(-jnp.square(distance) / 2)
    return _neighbours(lines, taps)


def draw_crop(
    key: PRNGKey,
    shape: tuple[int, int],
    scale: tuple[Array | float, Array | float],
    ratio: tuple[Array | float, Array | float],
) -> Float[Array, "4"]:
    """Top, height, left and width of a random crop, in whole pixels.

    A share of the area uniform in `scale`, width over height log-uniform in `ratio`,
    anywhere: Szegedy et al. (2015), as torchvision draws it. Ten are drawn and the
    first that fits is taken; the largest in the middle that `ratio` allows if none.
    """
    h, w = shape
    u = jax.random.uniform(key, (2, TRIES + 1))
    area = h * w * _between(u[0, :TRIES], *scale)
    aspect = jnp.exp(_between(u[1, :TRIES], *(jnp.log(r) for r in ratio)))
    heights = jnp.round(jnp.sqrt(area / aspect))
    widths = jnp.round(jnp.sqrt(area * aspect))
    fits = (heights > 0) & (heights <= h) & (widths > 0) & (widths <= w)
    chosen = jnp.argmax(fits)
    low, high = ratio
    middle = (
        jnp.maximum(1, jnp.round(jnp.minimum(h, w / low))),
        jnp.maximum(1, jnp.round(jnp.minimum(w, h * high))),
    )
    height, width = (
        jnp.where(fits.any(), drawn[chosen], largest)
        for drawn, largest in zip((heights, widths), middle, strict=True)
    )
    place = jnp.where(fits.any(), u[:, TRIES], 0.5)
    top = jnp.floor(place[0] * (h - height + 1))
    left = jnp.floor(place[1] * (w - width + 1))
    return jnp.stack([top, height, left, width])


def rotate(lines: Lines, radians: Float[Array, " n"]) -> Lines:
    """Each picture turned about its middle; bilinear, black where nothing was."""
    n, h, c, w = lines.shape
    angle = radians[:, None, None]
    down = centred(h, lines.dtype)[None, :, None]
    along = centred(w, lines.dtype)[None, None, :]
    rows = jnp.sin(angle) * along + jnp.cos(angle) * down + (h - 1) / 2
    cols = jnp.cos(angle) * along - jnp.sin(angle) * down + (w - 1) / 2
    flat = to_lines(lines).reshape(n, h * w, c)
    return to_lines(bilinear(flat, rows, cols).reshape(n, h, w, c))


def bilinear(
    flat: Float[Array, "n p c"],
    rows: Float[Array, "b h w"],
    cols: Float[Array, "b h w"],
) -> Float[Array, "n p c"]:
    """Bilinear values at each of the places, zero beyond the image."""
    b, h, w = rows.shape
    top, left = jnp.floor(rows), jnp.floor(cols)
    total = jnp.zeros_like(flat)
    for row, row_weight in ((top, 1 - (rows - top)), (top + 1, rows - top)):
        for col, col_weight in ((left, 1 - (cols - left)), (left + 1, cols - left)):
            inside = (row >= 0) & (row < h) & (col >= 0) & (col < w)
            weight = jnp.where(inside, row_weight * col_weight, 0.0)
            place = jnp.clip(row, 0, h - 1) * w + jnp.clip(col, 0, w - 1)
            place = place.astype(jnp.int32).reshape(b, h * w, 1)
            place = jnp.broadcast_to(place, (len(flat), h * w, 1))
            taps = jnp.take_along_axis(flat, place, axis=1, mode="promise_in_bounds")
            total = total + taps * weight.reshape(b, h * w, 1)
    return total


def centred(size: int, dtype: jnp.dtype) -> Array:
    """Places of pixels along a side, 0 in its middle."""
    return jnp.arange(size, dtype=dtype) - (size - 1) / 2


def _neighbours(lines: Lines, taps: Float[Array, "n t"]) -> Lines:
    """Weighted sums of neighbours, down and along; the weights that count sum to 1."""
    h, w = lines.shape[1], lines.shape[3]
    reach = taps.shape[1] // 2
    # Both axes are padded before either is summed: a sum with a pad in it asks at every
    # pixel whether it is inside, which takes a dozen times as long.
    edge = (reach, reach)
    padded = jnp.pad(lines, ((0, 0), edge, (0, 0), edge))

    def summed(x, axis, size):
        return functools.reduce(
            jnp.add,
            (
                taps[:, t, None, None, None]
                * jax.lax.slice_in_dim(x, t, t + size, axis=axis)
                for t in range(2 * reach + 1)
            ),
        )

    def total(size):
        there = np.pad(np.ones(size, taps.dtype), reach)
        inside = np.lib.stride_tricks.sliding_window_view(there, size)
        return jnp.matmul(taps, inside, precision=jax.lax.Precision.HIGHEST)

    both = summed(summed(padded, 1, h), 3, w)
    return both / (total(h)[:, :, None, None] * total(w)[:, None, None, :])


def _gaussian(unit: Float[Array, "n 1"], size: int) -> Bands:
    """Gaussian weights of a whole line."""
    pixel = jnp.arange(size, dtype=unit.dtype)
    distance = (pixel[None, None] - pixel[None, :, None]) / unit[..., None]
    weights = jnp.exp(-jnp.square(distance) / 2)
    weights = weights / weights.sum(2, keepdims=True)
    return Bands(jnp.zeros((len(unit), 1), jnp.int32), weights[:, None])


def _block(out: int, size: int, pace: float, furthest: float) -> tuple[int, int]:
    """Pixels of a block, and of its window; all of both if windows are half a line.

    A block is as long as what its window has beside it, so that windows repeat each
    pixel about twice. Longer ones gain less than their copies cost, and only on CPUs a
    product costs what it counts.
    """
    least = max(BLOCK, 2 * furthest / pace) if pace < math.inf else out
    if jax.default_backend() == "cpu" and least < out:
        block = next(b for b in range(math.ceil(least), out + 1) if out % b == 0)
        window = math.ceil((block - 1) * pace + 2 * furthest) + 1
        if 2 * window <= size:
            return block, window
    return out, size


def _windows(lines: Lines | ByteLines, bands: Bands, *, axis: int) -> Array:
    """What every block sees along an axis of a picture: `n block h c w`."""
    size = bands.weights.shape[3]

    def window(picture, first):
        return jax.lax.dynamic_slice_in_dim(picture, first, size, axis)

    return jax.vmap(jax.vmap(window, (None, 0)))(lines, bands.first)


def _keys(distance: Array) -> Array:
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return jnp.where(distance < 1, near, jnp.where(distance < 2, far, 0))


def _between(u: Array, low: Array | float, high: Array | float) -> Array:
    return low + u * (high - low)
