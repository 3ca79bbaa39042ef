"""The tones of pictures in [0, 1]: each function maps lines to lines in [0, 1].

Factors are one for each picture, and 1 changes nothing. Those of colour leave pictures
of one channel alone.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdistill.augment.resample import Lines

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, Pillow's grey
LEVELS = 256
Each = Float[Array, " n"]


def autocontrast(lines: Lines) -> Lines:
    """Each channel stretched to [0, 1]; one that is constant to half a level stays.

    Left to what resampling rounds, a blank crop would become noise of full contrast.
    """
    low = lines.min((1, 3), keepdims=True)
    reach = lines.max((1, 3), keepdims=True) - low
    flat = reach < 0.5 / (LEVELS - 1)
    return jnp.where(flat, lines, (lines - low) / jnp.where(flat, 1, reach))


def equalise(lines: Lines) -> Lines:
    """Histogram equalisation of each channel at 256 levels, exactly Pillow's.

    With h the counts of levels and s = floor((sum h - h_last) / 255), h_last the count
    of the brightest level there is, level b becomes floor((s // 2 + sum_{a<b} h_a) / s)
    or stays where s is 0.
    """
    n, h, c, w = lines.shape
    level = jnp.clip(jnp.round(lines * (LEVELS - 1)).astype(jnp.int32), 0, LEVELS - 1)
    rows = level.transpose(0, 2, 1, 3).reshape(n * c, h * w)
    table = jax.vmap(_equal_levels)(rows)
    new = jnp.take_along_axis(table, rows, axis=1, mode="promise_in_bounds")
    new = new.reshape(n, c, h, w).transpose(0, 2, 1, 3)
    return new.astype(lines.dtype) / (LEVELS - 1)


def _equal_levels(pixels: Int[Array, " p"]) -> Int[Array, " levels"]:
    counts = jnp.zeros(LEVELS, jnp.int32)
    counts = counts.at[pixels].add(1, mode="promise_in_bounds")
    brightest = counts[pixels.max()]
    step = (pixels.size - brightest) // (LEVELS - 1)
    below = jnp.cumsum(counts) - counts
    levels = jnp.arange(LEVELS, dtype=jnp.int32)
    spread = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), LEVELS - 1)
    return jnp.where(step > 0, spread, levels)


def brightness(lines: Lines, factor: Each) -> Lines:
    """`f x`."""
    return jnp.clip(_wide(factor) * lines, 0, 1)


def contrast(lines: Lines, factor: Each) -> Lines:
    """`m + f (x - m)`, m the picture's mean grey."""
    return _away(lines, luma(lines).mean((1, 3), keepdims=True), factor)


def saturation(lines: Lines, factor: Each) -> Lines:
    """`g + f (x - g)`, g each pixel's grey."""
    return lines if lines.shape[2] == 1 else _away(lines, luma(lines), factor)


def hue(lines: Lines, turn: Each) -> Lines:
    """Hue moved by a share of the circle of colours; value and saturation stay."""
    if lines.shape[2] == 1:
        return lines
    red, green, blue = (lines[:, :, c] for c in range(3))
    # Compared, not looked up: what a compiler works out twice may round otherwise.
    low = jnp.minimum(jnp.minimum(red, green), blue)
    value = jnp.maximum(jnp.maximum(red, green), blue)
    spread = value - low
    first, second = red >= jnp.maximum(green, blue), green >= blue
    apart = jnp.where(first, green - blue, jnp.where(second, blue - red, red - green))
    start = jnp.where(first, 0, jnp.where(second, 2, 4))
    sixth = apart / jnp.where(spread == 0, 1, spread) + start
    sixth = sixth + 6 * turn[:, None, None]
    k = sixth[:, :, None] + jnp.array([5, 3, 1], lines.dtype)[None, None, :, None]
    k = k - 6 * jnp.floor(k / 6)  # `%` of floats is a call a pixel on CPUs
    share = jnp.clip(jnp.minimum(k, 4 - k), 0, 1)
    return value[:, :, None] - spread[:, :, None] * share


def grey(lines: Lines) -> Lines:
    """Every channel the pixel's grey."""
    return jnp.broadcast_to(luma(lines), lines.shape)


def solarise(lines: Lines) -> Lines:
    """`1 - x` from the middle up."""
    return jnp.where(lines >= 0.5, 1 - lines, lines)


def luma(lines: Lines) -> Float[Array, "n h 1 w"]:
    """Grey of each pixel; pictures of one channel are theirs already."""
    if lines.shape[2] == 1:
        return lines
    parts = (share * lines[:, :, c : c + 1] for c, share in enumerate(LUMA))
    return sum(parts)  # type: ignore[return-value]


def _away(lines: Lines, middle: Array, factor: Each) -> Lines:
    return jnp.clip(middle + _wide(factor) * (lines - middle), 0, 1)


def _wide(values: Each) -> Float[Array, "n 1 1 1"]:
    return values[:, None, None, None]
