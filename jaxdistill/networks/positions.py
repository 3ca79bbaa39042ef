"""Where a token stands: tables of positions, learned or fixed, for any grid of patches.

A table has a row for the class token and one for every patch, row by row. A learned
one is resized as an image is, by cubic convolution (Keys 1981, a = -3/4, borders
repeated), which is what PyTorch's bicubic interpolation and so DINO compute:

    table'[i, j] = sum_rc  R[i, r] C[j, c] table[r, c]

DINO's code adds 0.1 to the sizes against rounding errors; here they are exact.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdistill.errors import InputError

SHARPNESS = -0.75  # Keys' a
PERIOD = 10_000.0

Grid = tuple[int, int]  # rows and columns of patches


def resize_positions(
    table: Float[Array, "1 tokens d"], grid: Grid, to: Grid
) -> Float[Array, "1 tokens2 d"]:
    """The table of a grid for another; the class token's row stays as it is."""
    if grid == to:
        return table
    rows, columns = (
        jnp.asarray(bicubic(*sizes), table.dtype)
        for sizes in zip(grid, to, strict=True)
    )
    image = table[0, 1:].reshape(*grid, -1)
    # A table is small and decides where everything is: no short cuts of the hardware.
    image = jnp.einsum("ir,rcd,jc->ijd", rows, image, columns, precision="highest")
    return jnp.concatenate([table[:, :1], image.reshape(1, to[0] * to[1], -1)], axis=1)


def fit_positions(table: Array, grid: Grid) -> Array:
    """A table that was learned on square images, for a grid; anything else as it is."""
    if table.ndim != 3 or len(table) != 1:
        return table
    side = math.isqrt(max(0, table.shape[1] - 1))
    if not side or side**2 + 1 != table.shape[1]:
        return table
    return resize_positions(table, (side, side), grid)


def bicubic(size: int, to: int) -> Float[np.ndarray, "to size"]:
    """Weights of `size` samples in each of `to`, whose pixels cover the same length."""
    centre = (np.arange(to) + 0.5) * size / to - 0.5
    first = np.floor(centre).astype(int) - 1
    weights = np.zeros((to, size))
    for tap in range(4):
        at = first + tap
        inside = np.clip(at, 0, size - 1)
        np.add.at(weights, (np.arange(to), inside), _cubic(np.abs(centre - at)))
    return weights


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel at distances of 0 to 2."""
    a = SHARPNESS
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, far)


def fixed_positions(grid: Grid, width: int) -> Float[np.ndarray, "1 tokens d"]:
    """Sines and cosines of columns, then of rows (He et al. 2022); zeros for the class.

        [sin(p w), cos(p w)],  w_k = 10000^(-4 k / width),  k < width / 4

    Raises `InputError` for a width that four does not divide.
    """
    if width % 4:
        raise InputError(
            f"fixed positions need a width that 4 divides, not {width}: change the "
            "width, or let positions be learned"
        )
    speed = PERIOD ** (-np.arange(width // 4) / (width // 4))
    rows, columns = (np.outer(np.arange(size), speed) for size in grid)
    rows, columns = (np.concatenate([np.sin(x), np.cos(x)], 1) for x in (rows, columns))
    half = (*grid, width // 2)
    both = [np.broadcast_to(columns, half), np.broadcast_to(rows[:, None], half)]
    table = np.concatenate(both, axis=-1).reshape(-1, width)
    return np.concatenate([np.zeros((1, width)), table])[None]
