"""Images in fewer bits than float32.

Whole numbers q of b bits are an affine code of the values x, cut for each image i:

    x ~ offset_i + scale_i q,    offset = min x,    scale = (max x - min x) / (2^b - 1)

so that no value is off by more than half a scale.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from jaxdistill.errors import InputError, require_name

PRECISIONS = ("float32", "float16", "uint16", "uint8")


class Packed(NamedTuple):
    """Images as they are stored; `affine` is (scale, offset), for whole numbers."""

    values: Shaped[np.ndarray, "m h w c"]
    affine: Float[np.ndarray, "r 2"]  # r is m, or 0 for float pixels


def pack(images: Float[Any, "m h w c"], precision: str) -> Packed:
    """Images in float32, float16, uint16 or uint8.

    Raises `InputError` for another precision, and for values float16 cannot hold.
    """
    require_name("pixels", precision, PRECISIONS)
    images = np.asarray(images, np.float32)
    if precision.startswith("float"):
        return Packed(to_float(images, precision), np.zeros((0, 2), np.float32))
    levels = np.iinfo(precision).max
    low, high = images.min(axis=(1, 2, 3)), images.max(axis=(1, 2, 3))
    scale = np.where(high > low, (high - low) / levels, 1).astype(np.float32)
    steps = (images - _each(low)) / _each(scale)
    values = np.clip(np.rint(steps), 0, levels).astype(precision)
    return Packed(values, np.stack([scale, low], axis=1))


def unpack(packed: Packed) -> Float[np.ndarray, "m h w c"]:
    """The images that were stored; on the host, where every machine rounds alike."""
    values = packed.values.astype(np.float32)
    if not len(packed.affine):
        return values
    scale, offset = packed.affine.T
    return values * _each(scale) + _each(offset)


def to_float(values: Float[Any, "..."], precision: str) -> Float[np.ndarray, "..."]:
    """Values in float32 or float16; `InputError` for others, or where they overflow."""
    require_name("labels", precision, ("float32", "float16"))
    with np.errstate(over="ignore"):
        cast = np.asarray(values, np.float32).astype(precision)
    if not np.isfinite(cast).all():
        raise InputError(
            f"{precision} cannot hold values up to {np.abs(values).max():.3g}: choose "
            "float32"
        )
    return cast


def _each(values: np.ndarray) -> np.ndarray:
    """One number for each image, to be used on its pixels."""
    return values.reshape(-1, 1, 1, 1)
