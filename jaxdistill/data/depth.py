"""The numbers of a picture, where Pillow alone would cut, wrap or mirror them.

16 bits a colour   Pillow keeps the upper byte; a second look fetches the lower one
TIFF               numbers have the type that its tags tell, and where white is 0
                   all but eight bits are mirrored here (Pillow does the eight)
few bits           Pillow stretches what has less than eight, and any PNM, to all of a
                   byte's or two bytes' range; masks are brought back
"""

import io
import re
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped
from PIL import Image, ImageOps

SAMPLE_FORMAT, PHOTOMETRIC, BITS = 339, 262, 258
TYPES = {(8, 2): np.int8, (32, 1): np.uint32}  # bits and format, where not Pillow's
WHITE_IS_ZERO = 0
PNG = b"\x89PNG\r\n\x1a\n"
_DEEP = re.compile(r"(RGB|RGBA|RGBX);16([BLN])")
_ORDER = {"B": "L", "L": "B", "N": "B" if np.little_endian else "L"}


class Depth(NamedTuple):
    """What is lost in the loaded picture: read before it is loaded."""

    stored: Any = None  # type of the numbers, where not Pillow's
    mirrored: bool = False
    deep_colour: bool = False
    most: int = 0  # the largest number of a file whose range Pillow stretches
    cut: bool = False  # colours of which Pillow keeps the upper byte alone


def depth_of(picture: Image.Image, data: bytes) -> Depth:
    """What a picture that is not yet loaded holds."""
    tags = getattr(picture, "tag_v2", None)
    if tags is None:
        most = _most(picture, data)
        return Depth(
            deep_colour=bool(_rawmodes(picture)) or is_grey_alpha(data),
            most=most,
            cut=picture.mode == "RGB" and most > 255,
        )
    bits, kind = (_first(tags.get(tag), 1) for tag in (BITS, SAMPLE_FORMAT))
    one = picture.mode not in ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "P")
    deep = bool(_rawmodes(picture))
    return Depth(
        TYPES.get((bits, kind)) if one else None,
        one and bits > 8 and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO,
        deep,
        2**bits - 1 if picture.mode == "L" and bits < 8 else 0,
        not one and bits > 8 and not deep,
    )


def numbers(picture: Image.Image, depth: Depth) -> Shaped[np.ndarray, "h w"]:
    """The numbers of one channel, in the type that they were stored in."""
    values = np.asarray(picture)
    values = values[..., 0] if values.ndim == 3 else values
    if depth.stored is None:
        return as_stored(values, depth)
    wide = np.dtype(depth.stored)
    return np.ascontiguousarray(values).astype(f"u{wide.itemsize}").view(wide)


def as_stored(values: np.ndarray, depth: Depth) -> np.ndarray:
    """Numbers in the range of their file, where Pillow has stretched them."""
    if not depth.most:
        return values
    full = 255 if values.dtype == np.uint8 else 65535
    return np.rint(values * (depth.most / full)).astype(np.int64)


def deep_colours(
    picture: Image.Image, data: bytes, formats: tuple[str, ...]
) -> Shaped[np.ndarray, "h w k"]:
    """All sixteen bits of a loaded picture's channels; alpha is the fourth, if any."""
    if is_grey_alpha(data):
        with Image.open(io.BytesIO(_as_bytes(data)), formats=formats) as pairs:
            pairs.load()
            values = np.asarray(ImageOps.exif_transpose(pairs)).astype(np.uint16)
        grey, alpha = (values[..., at] << 8 | values[..., at + 1] for at in (0, 2))
        return np.stack([grey, grey, grey, alpha], axis=-1)
    made = np.asarray(picture).astype(np.uint16)
    made <<= 8
    with Image.open(io.BytesIO(data), formats=formats) as lower:
        modes = _rawmodes(lower)
        lower.tile = [
            tile._replace(args=_swapped(tile.args, mode))
            for tile, mode in zip(lower.tile, modes, strict=True)
        ]
        lower.load()
        made |= np.asarray(ImageOps.exif_transpose(lower))
    return made


def _most(picture: Any, data: bytes) -> int:
    """The largest number of a PNG of few bits of grey, and of a PNM; 0 for others."""
    if data[:8] == PNG:
        return 2 ** data[24] - 1 if data[24] in (2, 4) and data[25] == 0 else 0
    if picture.format == "PPM" and picture.tile:
        decoder, _, _, args = picture.tile[0]
        if decoder.startswith("ppm") and isinstance(args, tuple):
            return args[1]
    return 0


def _rawmodes(picture: Any) -> list[str]:
    """How the tiles of a picture with 16 bits a colour are packed; none for others."""
    found = [
        tile.args if isinstance(tile.args, str) else (tile.args or [""])[0]
        for tile in getattr(picture, "tile", [])
    ]
    deep = [isinstance(mode, str) and _DEEP.fullmatch(mode) for mode in found]
    return found if found and all(deep) else []


def _swapped(args: Any, mode: str) -> Any:
    """The same packing read in the other order of bytes: the lower one is kept."""
    other = f"{mode[:-1]}{_ORDER[mode[-1]]}"
    return other if isinstance(args, str) else (other, *args[1:])


def is_grey_alpha(data: bytes) -> bool:
    """Whether it is a PNG of 16 bits of grey and of alpha."""
    return data[:8] == PNG and data[24:26] == b"\x10\x04"


def _as_bytes(data: bytes) -> bytes:
    """Such a PNG with its header telling of four channels of 8 bits: equal rows."""
    head = data[12:24] + b"\x08\x06" + data[26:29]
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


def _first(value: Any, usual: int) -> Any:
    if isinstance(value, tuple):
        return value[0] if value else usual
    return usual if value is None else value
