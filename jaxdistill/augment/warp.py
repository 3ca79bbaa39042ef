"""One image and its mask moved together, in one interpolation.

A pixel p of the result, counted from the centre, is read at

    A p + shift + u(p),     A = R(angle) / factor

so that a factor above 1 enlarges. The displacement u is smooth: cubic B-splines over a
coarse grid, with rows of unit norm, so that normal numbers on the grid give every pixel
a displacement of the same standard deviation. Images are bilinear between pixels, and
continue beyond their edge with its values. Masks are of the nearest pixel, and beyond
the edge nobody knows: `IGNORED`.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from jaxdistill.types import IGNORED, Scalar

Image = Float[Array, "h w c"]
Mask = UInt8[Array, "h w"]
Places = Float[Array, "h w"]


def sampling_grid(
    size: tuple[int, ...],
    angle: Scalar,
    factor: Scalar,
    shift: Float[Array, "2"],
    displacement: Float[Array, "g g 2"] | None = None,
) -> tuple[Places, Places]:
    """Row and column at which each pixel of the result is read.

    Radians, counter-clockwise as the image is seen; `shift` and `displacement` in
    pixels, down and right.
    """
    (h, w), (cos, sin) = size, (jnp.cos(angle) / factor, jnp.sin(angle) / factor)
    down, right = _centred(h)[:, None], _centred(w)[None]
    rows = cos * down + sin * right + (h - 1) / 2 + shift[0]
    cols = cos * right - sin * down + (w - 1) / 2 + shift[1]
    if displacement is None:
        return rows, cols
    grid = displacement.shape[0]
    along = jnp.einsum("hg,gkd->dhk", smooth_rows(h, grid), displacement)
    fields = jnp.einsum("dhk,wk->dhw", along, smooth_rows(w, grid))
    return rows + fields[0], cols + fields[1]


def smooth_rows(size: int, grid: int) -> Float[np.ndarray, "size grid"]:
    """Weights of a grid's points for every pixel: cubic B-splines, of unit norm."""
    places = np.linspace(0, grid - 1, size)
    t = abs(places[:, None] - np.arange(grid)[None])
    near, far = 2 / 3 - t**2 + t**3 / 2, np.clip(2 - t, 0, None) ** 3 / 6
    weights = np.where(t < 1, near, far)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def read_image(image: Image, rows: Places, cols: Places) -> Image:
    """Bilinear values at the places; beyond the edge the nearest pixel's on it."""
    h, w, _ = image.shape
    top, down = _between(rows, h)
    left, right = _between(cols, w)
    place = top * w + left
    below, beside = min(h - 1, 1) * w, min(w - 1, 1)

    def read(channel):
        # Flat single elements: gathers of pairs or of squares are slower on CPUs.
        near = _take(channel, place) * (1 - right)
        near += _take(channel, place + beside) * right
        far = _take(channel, place + below) * (1 - right)
        far += _take(channel, place + below + beside) * right
        return near * (1 - down) + far * down

    flat = image.reshape(h * w, -1)
    return jnp.stack([read(flat[:, c]) for c in range(flat.shape[1])], axis=-1)


def read_mask(mask: Mask, rows: Places, cols: Places) -> Mask:
    """The nearest pixel at the places, `IGNORED` beyond the edge."""
    h, w = mask.shape
    row, col = (jnp.floor(x + 0.5).astype(jnp.int32) for x in (rows, cols))
    inside = (row >= 0) & (row < h) & (col >= 0) & (col < w)
    place = jnp.clip(row, 0, h - 1) * w + jnp.clip(col, 0, w - 1)
    return jnp.where(inside, _take(mask.ravel(), place), jnp.uint8(IGNORED))


def _between(places: Places, size: int) -> tuple[Int[Array, "h w"], Places]:
    """The pixel before each place, and how far it is from there to the next."""
    inside = jnp.clip(places, 0, size - 1)
    first = jnp.clip(jnp.floor(inside), 0, max(size - 2, 0))
    return first.astype(jnp.int32), inside - first


def _take(flat: Array, place: Int[Array, "h w"]) -> Array:
    return flat.at[place].get(mode="promise_in_bounds")


def _centred(size: int) -> Float[np.ndarray, " size"]:
    return np.arange(size, dtype=np.float32) - (size - 1) / 2
