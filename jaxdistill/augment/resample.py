"""Pictures on other grids: weights of rows and columns, or a place for every pixel.

What is separable (crops, flips, sizes, blur) is two products with a matrix for each
picture; see `through`. Gathers stay for what is not: rotation.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.types import PRNGKey

# Channels before columns: rows and columns are then both products without a transpose,
# and every other operation runs along the columns.
Lines = Float[Array, "n h c w"]
Span = tuple[Float[Array, " n"], Float[Array, " n"]]  # first pixel, number of pixels

TRIES = 10


def to_lines(images: Array) -> Array:
    """Channels-last pictures as lines; its own inverse."""
    return images.transpose(0, 1, 3, 2)


def through(
    lines: Float[Array, "n h c w"],
    rows: Float[Array, "n i h"],
    cols: Float[Array, "n j w"],
) -> Float[Array, "n i c j"]:
    """`rows x cols^T` of every channel; exact, because identity must not round."""
    exact = jax.lax.Precision.HIGHEST
    down = jnp.einsum("nih,nhcw->nicw", rows, lines, precision=exact)
    return jnp.einsum("nicw,njw->nicj", down, cols, precision=exact)


def resizing(span: Span, size: int, out: int, *, cubic: bool) -> Float[Array, "n o s"]:
    """Weights by which `out` pixels come from a span of `size`; each row sums to 1.

    Keys' cubic with a = -1/2, or the triangle. Where a span shrinks the filter widens
    with it, and pixels beside the span do not count: what Pillow gives for the crop.
    """
    first, length = (x[:, None, None] for x in span)
    step = length / out
    centre = first + (jnp.arange(out, dtype=step.dtype)[None, :, None] + 0.5) * step
    pixel = jnp.arange(size, dtype=step.dtype)[None, None]
    distance = jnp.abs(pixel + 0.5 - centre) / jnp.maximum(step, 1)
    weight = _keys(distance) if cubic else jnp.maximum(0, 1 - distance)
    inside = (pixel >= first) & (pixel < first + length)
    weight = jnp.where(inside, weight, 0)
    return weight / weight.sum(2, keepdims=True)


def blurring(radius: Float[Array, " n"], size: int) -> Float[Array, "n s s"]:
    """Gaussian weights of standard deviation `radius` in pixels; 0 is the identity.

    At the border they are those of the pixels that exist, made to sum to 1.
    """
    pixel = jnp.arange(size, dtype=radius.dtype)
    square = jnp.square(pixel[:, None] - pixel[None])
    least = jnp.maximum(radius, 1e-3)  # a neighbour's weight is exactly 0 by then
    weight = jnp.exp(-square[None] / (2 * jnp.square(least))[:, None, None])
    return weight / weight.sum(2, keepdims=True)


def blur(lines: Lines, radius: Float[Array, " n"]) -> Lines:
    """Every picture through its own Gaussian."""
    h, w = lines.shape[1], lines.shape[3]
    return through(lines, blurring(radius, h), blurring(radius, w))


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


def _keys(distance: Array) -> Array:
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return jnp.where(distance < 1, near, jnp.where(distance < 2, far, 0))


def _between(u: Array, low: Array | float, high: Array | float) -> Array:
    return low + u * (high - low)
