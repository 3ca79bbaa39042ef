"""DICOM pixels to bytes, as a viewer would show them; no tag leaves this file.

    grey     rescale (slope, intercept or modality LUT), then the first VOI window or
             LUT if there is one; the window's range, else the pixels' own, becomes 0 to
             255; MONOCHROME1 is inverted, padding is black
    colour   palettes and YBR become RGB; deeper samples keep their upper eight bits

Up to eight bits of grey without a window are shown in full, 0 black and the largest
number that they hold white, whether they are rescaled by 1 and 0 or not at all. A tag
of the rescale without a value counts as 1 or 0. A file
of several frames is refused: it is a volume or a film, and which frame carries the
label is not ours to guess.
"""

import io
import zlib
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxdistill.data.pixels import stretch
from jaxdistill.errors import InputError
from jaxdistill.foreign.files import short

MOST_PIXELS = 50_000_000  # as of other pictures
MOST_BYTES = 1 << 28  # of a deflated file, unpacked
BLOCK = 1 << 20
DEFLATED = b"1.2.840.10008.1.2.1.99"
META = 144  # bytes up to the length of the group that names the transfer syntax
INSTALL = 'pip install "jaxdistill[medical]"'


def read_dicom(data: bytes, name: str) -> UInt8[np.ndarray, "h w c"]:
    """Pixels of one single-frame DICOM file; nothing else of it is kept.

    Raises `InputError` naming the file when pydicom or a decoder is missing, the file
    is broken, without pixels, of several frames or of an unknown transfer syntax.
    """
    dataset = _parse(_bounded(data, name), name)
    try:
        _check_frames(dataset, name)
        _check_size(dataset, name)
        pixels = _decode(dataset, name)
        if pixels.ndim == 3:
            return _colour(pixels, dataset)
        if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
            return _palette(pixels, dataset)
        return _grey(pixels, dataset, name)[..., None]
    except InputError:
        raise
    except Exception as error:  # tags that contradict themselves, in any way
        raise _broken(name, error) from error


def _bounded(data: bytes, name: str) -> bytes:
    """The file, unless it is deflated and unpacks to more than any image has.

    pydicom unpacks all of it at once, whatever comes out.
    """
    if DEFLATED not in data[:4096] or len(data) < META:
        return data
    start = META + int.from_bytes(data[META - 4 : META], "little")
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        left = MOST_BYTES
        at = start
        while at < len(data) and not unpacker.eof:
            left -= len(unpacker.decompress(data[at : at + BLOCK], BLOCK))
            while unpacker.unconsumed_tail and left >= 0:
                left -= len(unpacker.decompress(unpacker.unconsumed_tail, BLOCK))
            if left < 0:
                raise _too_large(name, f"more than {MOST_BYTES:,} bytes")
            at += BLOCK
    except zlib.error as error:
        raise _broken(name, error) from error
    return data


def _check_frames(dataset: Any, name: str) -> None:
    told = dataset.get("NumberOfFrames")
    try:
        frames = int(told or 1)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} says that it holds {short(ValueError(told))} frames; it must be "
            "one number: export it again or remove it"
        ) from error
    if frames != 1:
        raise InputError(
            f"{name} holds {frames} frames; one file is one image: export the frames "
            "as separate files"
        )


def _check_size(dataset: Any, name: str) -> None:
    """Refuse what the tags say before a pixel is decoded."""
    rows, columns, samples = (
        int(dataset.get(tag) or 1) for tag in ("Rows", "Columns", "SamplesPerPixel")
    )
    if rows * columns * max(samples, 1) > MOST_PIXELS:
        raise _too_large(name, f"{rows} x {columns} x {samples} values")


def _too_large(name: str, extent: str) -> InputError:
    return InputError(
        f"{name} has {extent}; at most {MOST_PIXELS:,} pixels are read, as a guard "
        "against decompression bombs: shrink or remove it"
    )


def _parse(data: bytes, name: str) -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise InputError(
            f"{name} is a DICOM file; reading it needs pydicom: {INSTALL}"
        ) from error
    try:
        # Files without the preamble exist; what is no DICOM at all has no rows.
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        has_pixels = "Rows" in dataset and "Columns" in dataset
    except Exception as error:  # pydicom raises most built-in kinds on damaged files
        raise _broken(name, error) from error
    if not has_pixels:
        raise InputError(
            f"{name} has no pixel data; a DICOM image must hold pixels: export it "
            "again or remove it"
        )
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    return dataset


def _decode(dataset: Any, name: str) -> np.ndarray:
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        return dataset.pixel_array
    except NotImplementedError as error:
        raise InputError(
            f"{name} has the transfer syntax {syntax.name!r}, which is not decoded: "
            "convert it to Explicit VR Little Endian"
        ) from error
    except Exception as error:  # see _parse
        if "missing" in str(error) and "dependenc" in str(error):
            raise InputError(
                f"{name} is compressed as {syntax.name!r}, whose decoder python-gdcm "
                f"is not installed: {INSTALL}"
            ) from error
        raise _broken(name, error) from error


def _grey(pixels: np.ndarray, dataset: Any, name: str) -> UInt8[np.ndarray, "h w"]:
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    padding = _padding(pixels, dataset)
    _fill_rescale(dataset)
    values = pixels if _is_identity(dataset) else apply_modality_lut(pixels, dataset)
    low = high = None
    if dataset.get("VOILUTSequence"):
        values = apply_voi_lut(values, dataset, prefer_lut=True)
    elif _has_window(dataset):
        # The window maps any pixel into a fixed range; two extremes show which.
        with np.errstate(over="ignore"):  # sigmoid windows
            low, high = apply_voi_lut(np.array([-1e9, 1e9]), dataset)
            values = apply_voi_lut(values, dataset)
        if high < low:  # a negative slope turns the range, which has no ends then
            values, low, high = -values, -low, -high
    elif values is pixels and pixels.dtype.kind == "u" and dataset.BitsStored <= 8:
        low, high = 0, 2 ** int(dataset.BitsStored) - 1
    if low is None and not padding.all():
        # Padding has no part in the range; NaN stays NaN and is refused by `stretch`.
        inside = values[~padding]
        low, high = float(inside.min()), float(inside.max())
    shown = stretch(values, name, low, high)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        shown = 255 - shown
    return np.where(padding, np.uint8(0), shown)


def _fill_rescale(dataset: Any) -> None:
    """Give the tags of the rescale that have no value the one that changes nothing."""
    for tag, plain in (("RescaleSlope", 1), ("RescaleIntercept", 0)):
        if tag in dataset and dataset.get(tag) in (None, ""):
            setattr(dataset, tag, plain)


def _is_identity(dataset: Any) -> bool:
    """Whether the rescale changes nothing, so that pixels stay the bytes they are."""
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    plain = not dataset.get("ModalityLUTSequence")
    return plain and (slope, intercept) == (1, 0)


def _padding(pixels: np.ndarray, dataset: Any) -> np.ndarray:
    """Pixels outside the detector, marked by one value or a range of values."""
    first = dataset.get("PixelPaddingValue")
    if not isinstance(first, int):
        return np.zeros(pixels.shape, bool)
    last = dataset.get("PixelPaddingRangeLimit")
    ends = (first, last if isinstance(last, int) else first)
    low, high = sorted(_as_stored(end, pixels.dtype) for end in ends)
    return (pixels >= low) & (pixels <= high)


def _as_stored(value: int, dtype: np.dtype) -> int:
    """A number in the type of the pixels: 63536 and -2000 are the same sixteen bits."""
    bits = 8 * dtype.itemsize
    value %= 1 << bits
    return value - (1 << bits) if dtype.kind == "i" and value >> (bits - 1) else value


def _has_window(dataset: Any) -> bool:
    width = dataset.get("WindowWidth")
    if width in (None, "") or dataset.get("WindowCenter") in (None, ""):
        return False
    first = width[0] if hasattr(width, "__getitem__") else width
    return float(first) >= 1  # narrower is not a window (DICOM PS3.3 C.11.2.1.2)


def _colour(pixels: np.ndarray, dataset: Any) -> UInt8[np.ndarray, "h w c"]:
    # pydicom has turned YBR into RGB by the time the array is handed out.
    bits = int(dataset.BitsStored)
    if bits < 8:
        return np.minimum(pixels * (255.0 / (2**bits - 1)), 255).astype(np.uint8)
    return (pixels >> (bits - 8)).astype(np.uint8)


def _palette(pixels: np.ndarray, dataset: Any) -> UInt8[np.ndarray, "h w c"]:
    from pydicom.pixels import apply_color_lut

    coloured = apply_color_lut(pixels, dataset)
    return coloured if coloured.dtype == np.uint8 else (coloured >> 8).astype(np.uint8)


def _broken(name: str, error: Exception) -> InputError:
    return InputError(
        f"{name} is a truncated or damaged DICOM file ({short(error, 120)}): export it "
        "again or remove it"
    )
