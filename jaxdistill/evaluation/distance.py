"""Exact Euclidean distances to the voxels of a mask, in millimetres, under jit.

The squared distance separates over axes (Felzenszwalb and Huttenlocher 2012),

    D(z, y, x) = min_x' [ s_x² (x-x')² + min_z' [ s_z² (z-z')² + min_y' s_y² (y-y')² ] ]

with the inner minimum over the voxels of the mask. The innermost is two running counts
along columns. The middle one is a lower envelope of parabolas, taken over all slices,
which are few. The outermost is the dear one: where distances are wanted at some voxels
alone, such as those of a surface, it is taken for these alone.

Everything is float32 and a sum of at most three squares, so that distances are right to
a few parts in ten million. A mask without voxels is infinitely far away.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdistill.types import Scalar

Mask = Bool[Array, "d h w"]
Spacing = Float[Array, "3"]  # of slices, rows and columns, in mm

CHUNK = 1024  # voxels whose lines are searched at once: their lines stay in the cache


def distance_transform(mask: Mask, spacing: Spacing) -> Float[Array, "d h w"]:
    """Distance in mm of every voxel to the nearest of the mask, 0 inside it."""
    planes = _within_planes(mask, spacing)
    return jnp.sqrt(_envelope(planes, spacing[2], axis=2))


def distances_at(
    places: Mask, mask: Mask, spacing: Spacing, most: int
) -> tuple[Float[Array, " most"], Int[Array, ""]]:
    """Distances in mm of the voxels in `places` to the mask, and how many they are.

    They come in the order of the voxels in memory, infinity behind the last. Of more
    than `most` voxels the first are told.
    """
    number = places.sum(dtype=jnp.int32)
    ordinal = jnp.cumsum(places.sum(2, dtype=jnp.int32).ravel())
    within = jnp.cumsum(places.astype(jnp.int16), axis=2).reshape(-1, mask.shape[2])
    lines = _within_planes(mask, spacing).reshape(within.shape)
    chunk = min(CHUNK, most)
    room = -(-most // chunk) * chunk

    def search(i, found):
        index = i * chunk + jnp.arange(chunk)
        line = jnp.searchsorted(ordinal, index, side="right")
        line = jnp.minimum(line, len(lines) - 1)
        before = ordinal[line] - within[line, -1]
        column = (within[line] <= (index - before)[:, None]).sum(1)
        squares = lines[line] + _parabolas(column, mask.shape[2], spacing[2])
        new = jnp.where(index < number, jnp.sqrt(squares.min(1)), jnp.inf)
        return jax.lax.dynamic_update_slice_in_dim(found, new, i * chunk, 0)

    used = jnp.minimum(-(-number // chunk), room // chunk)
    found = jnp.full(room, jnp.inf, jnp.float32)
    return jax.lax.fori_loop(0, used, search, found)[:most], number


def _within_planes(mask: Mask, spacing: Spacing) -> Float[Array, "d h w"]:
    """Squared distance to the voxels of the mask that have the same x."""
    columns = (_steps(mask) * spacing[1].astype(jnp.float32)) ** 2
    return columns if len(mask) == 1 else _envelope(columns, spacing[0], axis=0)


def _steps(mask: Mask) -> Float[Array, "d h w"]:
    """How many rows away the nearest voxel of the mask is, along each column."""

    def count(since, here):
        since = jnp.where(here, 0.0, since + 1.0)
        return since, since

    rows = jnp.moveaxis(mask, 1, 0)
    never = jnp.full(rows.shape[1:], jnp.inf, jnp.float32)
    _, down = jax.lax.scan(count, never, rows)
    _, up = jax.lax.scan(count, never, rows, reverse=True)
    return jnp.moveaxis(jnp.minimum(down, up), 0, 1)


def _envelope(
    squares: Float[Array, "d h w"], spacing: Scalar, axis: int
) -> Float[Array, "d h w"]:
    """`min_j squares[j] + spacing² (i - j)²` for each `i` along an axis.

    One place after another, for all others at once: the work is of elements alone and
    no table of pairs is ever in memory.
    """
    first = jnp.moveaxis(squares, axis, 0)
    parabolas = _parabolas(jnp.arange(len(first)), len(first), spacing)

    def lower(least, at):
        values, parabola = at
        return jnp.minimum(least, values[None] + parabola[:, None, None]), None

    start = jnp.full_like(first, jnp.inf)
    return jnp.moveaxis(jax.lax.scan(lower, start, (first, parabolas))[0], 0, axis)


def _parabolas(
    centres: Int[Array, " n"], length: int, spacing: Scalar
) -> Float[Array, "n length"]:
    steps = (jnp.arange(length)[None] - centres[:, None]).astype(jnp.float32)
    return (steps * spacing.astype(jnp.float32)) ** 2
