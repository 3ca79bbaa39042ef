"""Any picture a hospital sends to bytes: uint8, height x width x 1 or 3.

    8 bits             as stored; palettes, CMYK and YCbCr become RGB
    1 bit              0 and 255
    more than 8 bits   255 (p - min) / (max - min) over the picture's own pixels
    alpha              laid over black, the background of a film
    EXIF orientation   applied

A picture's own pixels are its range because a 16-bit file rarely says how many of its
bits are in use.
"""

import io
import os
import re
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from jaxdistill.data.pixels import stretch
from jaxdistill.errors import InputError

MOST_PIXELS = 100_000_000  # a whole-slide scan or a decompression bomb, not a film
DICOM_SUFFIXES = {".dcm", ".dicom", ".ima"}
SUFFIXES = {*DICOM_SUFFIXES, ".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp"}
SUFFIXES |= {".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff", ".gif"}
DEEP_MODES = ("I", "F")  # and every I;16 variant
PAGED_FORMATS = ("TIFF", "GIF", "PNG", "WEBP")  # several pages are a volume or a film
FORMATS = (*PAGED_FORMATS, "JPEG", "PPM", "BMP")  # none that calls other programs


def read_image(
    source: str | os.PathLike | bytes, name: str = ""
) -> UInt8[np.ndarray, "h w c"]:
    """Pixels of one picture or DICOM file, given by path or by its bytes.

    Raises `InputError` naming the file when it is empty, truncated, no picture, of
    several frames, too large, or holds NaN.
    """
    name = name or (
        f"{len(source)} bytes" if isinstance(source, bytes) else f"{source}"
    )
    data = source if isinstance(source, bytes) else _read_bytes(source)
    if not data:
        raise InputError(
            f"{name} is empty (0 bytes); an image file must hold an image: copy it "
            "again or remove it"
        )
    if is_dicom(data) or PurePosixPath(name).suffix.lower() in DICOM_SUFFIXES:
        from jaxdistill.data.dicom import read_dicom

        return read_dicom(data, name)
    return _to_bytes(_decode(data, name), name)


def read_labels(
    source: str | os.PathLike | bytes, name: str = ""
) -> Int[np.ndarray, "h w"]:
    """The numbers that a picture of a mask holds, as stored.

    One bit is 0 and 1; a palette of greys is its greys, of colours the numbers of its
    entries; what lies under alpha counts. Raises `InputError` as `read_image` does, and
    for colours.
    """
    name = name or (
        f"{len(source)} bytes" if isinstance(source, bytes) else f"{source}"
    )
    data = source if isinstance(source, bytes) else _read_bytes(source)
    if not data or is_dicom(data):
        return read_image(data, name)[..., 0].astype(np.int64)
    picture = _decode(data, name)
    if picture.mode in ("1", "L", "LA", "La") or picture.mode.startswith(DEEP_MODES):
        values = np.asarray(picture)
        return _whole(values[..., 0] if values.ndim == 3 else values, name)
    colours = np.asarray(picture.convert("RGB")).astype(np.int64)
    if (colours == colours[..., :1]).all():
        return colours[..., 0]
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


def _read_bytes(path: str | os.PathLike) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): check the path and "
            "its permissions"
        ) from error


def _decode(data: bytes, name: str) -> Image.Image:
    """The loaded picture, upright; all that Pillow may raise becomes one sentence."""
    Image.init()  # registers TIFF and WEBP, once
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            _check_size(picture, name)
            picture.load()
            return ImageOps.exif_transpose(picture)
    except UnidentifiedImageError as error:
        raise InputError(
            f"{name} is not an image of a known format; PNG, JPEG, WEBP, PNM, BMP, "
            "TIFF and DICOM are read: convert or remove it"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name, "too many") from error
    # Broken chunks reach us as OSError, SyntaxError (PNG), ValueError or struct.error.
    # A warning arrives here where the caller has made warnings errors.
    except (OSError, SyntaxError, EOFError, LookupError, Warning) as error:
        raise _damaged(name, error) from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise _damaged(name, error) from error


def _check_size(picture: Image.Image, name: str) -> None:
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise _too_large(name, f"{width} x {height}")
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format in PAGED_FORMATS:
        raise InputError(
            f"{name} holds {frames} frames; one file is one image: export the frames "
            "as separate files"
        )


def _too_large(name: str, extent: str) -> InputError:
    return InputError(
        f"{name} has {extent} pixels; at most {MOST_PIXELS:,} are read, as a guard "
        "against decompression bombs: shrink or remove it"
    )


def _damaged(name: str, error: Exception) -> InputError:
    # Pillow quotes the stream's address in memory: of no use to a reader.
    reason = re.sub(r"\s*<_io\S+ object at 0x\w+>", "", str(error)) or "unreadable"
    return InputError(
        f"{name} is truncated or damaged ({reason}); the whole image must be there: "
        "copy it again or remove it"
    )


def _to_bytes(picture: Image.Image, name: str) -> UInt8[np.ndarray, "h w c"]:
    if picture.mode in DEEP_MODES or picture.mode.startswith("I;"):
        return stretch(np.asarray(picture), name)[..., None]
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"))[..., None]
    if picture.mode in ("LA", "La"):
        return _over_black(picture.convert("LA"))[..., :1]
    if picture.has_transparency_data:
        return _over_black(picture.convert("RGBA"))
    return np.asarray(picture.convert("RGB"))


def _over_black(picture: Image.Image) -> UInt8[np.ndarray, "h w c"]:
    pixels = np.asarray(picture).astype(np.float32)
    return np.rint(pixels[..., :-1] * pixels[..., -1:] / 255).astype(np.uint8)
