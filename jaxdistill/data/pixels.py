"""Arrays of pixels: any range to bytes, any size and channels to those of a set."""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from jaxdistill.errors import InputError
from jaxdistill.foreign.arrays import is_finite

PART = 1 << 20  # values that are turned at once


def stretch(
    values: np.ndarray, name: str, low: float | None = None, high: float | None = None
) -> UInt8[np.ndarray, "..."]:
    """`255 (p - low) / (high - low)`, by default over the values' own range; no NaN."""
    if not is_finite(values):
        raise InputError(
            f"{name} holds NaN or infinite pixels; every pixel must be a number: "
            "repair or remove the file"
        )
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    flat = values.reshape(-1)
    made = np.empty(flat.shape, np.uint8)
    for at in range(0, len(flat), PART):  # in double precision, but never all at once
        part = slice(at, at + PART)
        # Halved, so that the range of doubles themselves does not overflow.
        unit = (flat[part] / 2.0 - low / 2) / max(high / 2 - low / 2, 1e-300)
        made[part] = np.rint(255 * np.clip(unit, 0, 1))
    return made.reshape(values.shape)


def fit_image(
    pixels: UInt8[np.ndarray, "h w c"], size: int, channels: int
) -> UInt8[np.ndarray, "s s k"]:
    """Resize to a square and to 1 or 3 channels.

    Antialiased bilinear (Pillow widens the filter when it shrinks); the aspect ratio is
    not kept. Colour becomes grey by ITU-R 601 luma, grey is repeated to three channels.
    """
    picture = _picture(pixels, channels)
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(size, size, channels)


def with_channels(
    pixels: UInt8[np.ndarray, "h w c"], channels: int
) -> UInt8[np.ndarray, "h w k"]:
    """Grey by ITU-R 601 luma for one channel; grey is repeated for three."""
    return np.asarray(_picture(pixels, channels)).reshape(*pixels.shape[:2], channels)


def resize_images(
    images: Float[np.ndarray, "d h w c"], height: int, width: int
) -> Float[np.ndarray, "d h2 w2 c"]:
    """Slices at another size, each channel by antialiased bilinear interpolation."""
    planes = np.moveaxis(images, -1, 1).reshape(-1, *images.shape[1:3])
    made = _resize(planes, height, width, Image.Resampling.BILINEAR)
    return np.moveaxis(made.reshape(len(images), -1, height, width), 1, -1)


def resize_masks(
    masks: UInt8[np.ndarray, "d h w"], height: int, width: int
) -> UInt8[np.ndarray, "d h2 w2"]:
    """Slices of masks at another size, by nearest neighbour."""
    return _resize(masks, height, width, Image.Resampling.NEAREST)


def _picture(pixels: np.ndarray, channels: int) -> Image.Image:
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return picture.convert("L" if channels == 1 else "RGB")


def _resize(planes: np.ndarray, height: int, width: int, how: Any) -> np.ndarray:
    if planes.shape[1:] == (height, width):
        return planes
    size = (width, height)
    return np.stack([np.asarray(Image.fromarray(p).resize(size, how)) for p in planes])
