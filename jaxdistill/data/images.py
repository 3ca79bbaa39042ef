"""Any picture a hospital sends to bytes: uint8, height x width x 1 or 3.

    8 bits             as stored; palettes, CMYK and YCbCr become RGB
    1 bit              0 and 255
    more than 8 bits   255 (p - min) / (max - min) over the picture's own pixels, of all
                       colours together; WhiteIsZero is mirrored
    alpha              laid over black, the background of a film
    EXIF orientation   applied

A picture's own pixels are its range because a 16-bit file rarely says how many of its
bits are in use.
"""

import contextlib
import io
import os
import threading
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from jaxdistill.data.depth import (
    Depth,
    as_stored,
    deep_colours,
    depth_of,
    is_grey_alpha,
    numbers,
)
from jaxdistill.data.pixels import stretch
from jaxdistill.errors import InputError
from jaxdistill.foreign.files import read_bytes, short
from jaxdistill.foreign.names import shown

MOST_PIXELS = 50_000_000  # a whole-slide scan or a decompression bomb, not a film
MOST_BYTES = 1 << 29  # of a file
MOST_FRAMES = 99  # that are counted
LARGE = 10_000_000  # pixels of pictures that are decoded one at a time
DICOM_SUFFIXES = {".dcm", ".dicom", ".ima"}
SUFFIXES = {*DICOM_SUFFIXES, ".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp"}
SUFFIXES |= {".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff", ".gif"}
DEEP_MODES = ("I", "F")  # and every I;16 variant
PAGED_FORMATS = ("TIFF", "GIF", "PNG", "WEBP")  # several pages are a volume or a film
FORMATS = (*PAGED_FORMATS, "JPEG", "PPM", "BMP")  # none that calls other programs
_ALONE = threading.Lock()


def read_image(
    source: str | os.PathLike | bytes, name: str = ""
) -> UInt8[np.ndarray, "h w c"]:
    """Pixels of one picture or DICOM file, given by path or by its bytes.

    Raises `InputError` naming the file when it is empty, truncated, no picture, of
    several frames, too large, or holds NaN.
    """
    data, name = _source(source, name)
    if not data:
        raise InputError(
            f"{name} is empty (0 bytes); an image file must hold an image: copy it "
            "again or remove it"
        )
    if is_dicom(data) or PurePosixPath(name).suffix.lower() in DICOM_SUFFIXES:
        from jaxdistill.data.dicom import read_dicom

        return read_dicom(data, name)
    with _decoding(data, name) as (picture, depth):
        return _to_bytes(picture, depth, data, name)


def read_labels(
    source: str | os.PathLike | bytes, name: str = ""
) -> Int[np.ndarray, "h w"]:
    """The numbers that a picture of a mask holds, as stored.

    One bit is 0 and 1, and so are numbers of two or four bits, or up to any largest
    number; a palette of greys is its greys, of colours the numbers of its entries; what
    lies under alpha counts. Raises `InputError` as `read_image` does, and
    for colours.
    """
    data, name = _source(source, name)
    if not data or is_dicom(data):
        return read_image(data, name)[..., 0].astype(np.int64)
    with _decoding(data, name) as (picture, depth):
        plain = picture.mode in ("1", "L", "LA", "La")
        if plain or picture.mode.startswith(DEEP_MODES):
            return _whole(numbers(picture, depth), name)
        if depth.deep_colour:
            colours = deep_colours(picture, data, FORMATS)[..., :3]
        else:
            colours = as_stored(np.asarray(picture.convert("RGB")), depth)
        if (colours == colours[..., :1]).all():
            return colours[..., 0].astype(np.int64)
        if picture.mode == "P":
            return np.asarray(picture).astype(np.int64)
    raise InputError(
        f"{name} is a mask in colours; a mask holds one number each pixel: save it as "
        "a grey or palette PNG"
    )


def _whole(values: np.ndarray, name: str) -> Int[np.ndarray, "h w"]:
    if not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        raise InputError(
            f"{name} is a mask with fractions; a mask holds whole numbers: save the "
            "numbers of classes"
        )
    return values.astype(np.int64)


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins so carries the DICOM mark."""
    return head[128:132] == b"DICM"


def _source(source: str | os.PathLike | bytes, name: str) -> tuple[bytes, str]:
    """The bytes of a file, and what messages call it."""
    if isinstance(source, bytes):
        return source, name or f"{len(source)} bytes"
    return read_bytes(source, MOST_BYTES), name or shown(source)


@contextlib.contextmanager
def _decoding(data: bytes, name: str) -> Iterator[tuple[Image.Image, Depth]]:
    """The loaded picture, upright; all that Pillow may raise becomes one sentence."""
    Image.init()  # registers TIFF and WEBP, once
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            depth = depth_of(picture, data)
            _check_size(picture, depth, name)
            if depth.cut:
                raise InputError(
                    f"{name} has more than 8 bits a colour, packed so that only 8 are "
                    "read: save it as a PNG of 16 bits, or as grey"
                )
            large = picture.width * picture.height > LARGE
            with _ALONE if large else contextlib.nullcontext():
                picture.load()
                yield ImageOps.exif_transpose(picture), depth
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(
            f"{name} is not an image of a known format; PNG, JPEG, WEBP, PNM, BMP, "
            "TIFF and DICOM are read: convert or remove it"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name, "too many") from error
    # Broken chunks reach us as errors of a dozen kinds. A warning arrives here where
    # the caller has made warnings errors.
    except Exception as error:
        raise _damaged(name, error) from error


def _check_size(picture: Image.Image, depth: Depth, name: str) -> None:
    width, height = picture.size
    if width * height > MOST_PIXELS // (2 if depth.deep_colour else 1):
        raise _too_large(name, f"{width} x {height}")
    paged = picture.format in PAGED_FORMATS
    if paged and getattr(picture, "is_animated", False):
        raise InputError(
            f"{name} holds {_frames(picture)} frames; one file is one image: export "
            "the frames as separate files"
        )


def _frames(picture: Any) -> str:
    """How many they are; a chain of pages, which may be endless, is followed a way."""
    if picture.format in ("PNG", "WEBP"):
        return str(picture.n_frames)  # as the file says
    try:
        for page in range(1, MOST_FRAMES):
            picture.seek(page)
    except EOFError:
        return str(page)
    return f"{MOST_FRAMES} or more"


def _too_large(name: str, extent: str) -> InputError:
    return InputError(
        f"{name} has {extent} pixels; at most {MOST_PIXELS:,} are read, as a guard "
        "against decompression bombs: shrink or remove it"
    )


def _damaged(name: str, error: Exception) -> InputError:
    return InputError(
        f"{name} is truncated or damaged ({short(error)}); the whole image must be "
        "there: copy it again or remove it"
    )


def _to_bytes(
    picture: Image.Image, depth: Depth, data: bytes, name: str
) -> UInt8[np.ndarray, "h w c"]:
    deep = picture.mode in DEEP_MODES or picture.mode.startswith("I;")
    if deep or depth.stored is not None:
        made = stretch(numbers(picture, depth), name)[..., None]
        return 255 - made if depth.mirrored else made
    if depth.deep_colour:
        values = deep_colours(picture, data, FORMATS)
        made = stretch(_over_black(values) if values.shape[-1] == 4 else values, name)
        return made[..., :1] if is_grey_alpha(data) else made
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"))[..., None]
    if picture.mode in ("LA", "La"):
        return _over_black(np.asarray(picture.convert("LA")))[..., :1]
    if picture.has_transparency_data:
        return _over_black(np.asarray(picture.convert("RGBA")))
    return np.asarray(picture.convert("RGB"))


def _over_black(pixels: np.ndarray) -> np.ndarray:
    """Colours by their opacity, row by row to spare memory."""
    most = np.iinfo(pixels.dtype).max
    made = np.empty((*pixels.shape[:2], pixels.shape[2] - 1), pixels.dtype)
    for row, into in zip(pixels, made, strict=True):
        into[:] = np.rint(row[:, :-1] * (row[:, -1:] / np.float32(most)))
    return made
