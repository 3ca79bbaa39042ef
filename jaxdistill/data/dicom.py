"""DICOM pixels to bytes, as a viewer would show them; no tag leaves this file.

    grey     rescale (slope, intercept or modality LUT), then the first VOI window or
             LUT if there is one; the window's range, else the pixels' own, becomes 0 to
             255; MONOCHROME1 is inverted, padding is black
    colour   palettes and YBR become RGB; deeper samples keep their upper eight bits

Eight-bit grey without a window stays as stored. A file of several frames is refused: it
is a volume or a film, and which frame carries the label is not ours to guess.
"""

import io
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxdistill.data.pixels import stretch
from jaxdistill.errors import InputError

INSTALL = 'pip install "jaxdistill[medical]"'


def read_dicom(data: bytes, name: str) -> UInt8[np.ndarray, "h w c"]:
    """Pixels of one single-frame DICOM file; nothing else of it is kept.

    Raises `InputError` naming the file when pydicom or a decoder is missing, the file
    is broken, without pixels, of several frames or of an unknown transfer syntax.
    """
    dataset = _parse(data, name)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise InputError(
            f"{name} holds {frames} frames; one file is one image: export the frames "
            "as separate files"
        )
    pixels = _decode(dataset, name)
    try:
        if pixels.ndim == 3:
            return _colour(pixels, dataset)
        if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
            return _palette(pixels, dataset)
        return _grey(pixels, dataset, name)[..., None]
    except InputError:
        raise
    except Exception as error:  # windows and look-up tables that contradict themselves
        raise _broken(name, error) from error


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
    values = apply_modality_lut(pixels, dataset)
    low = high = None
    if dataset.get("VOILUTSequence"):
        values = apply_voi_lut(values, dataset, prefer_lut=True)
    elif _has_window(dataset):
        # The window maps any pixel into a fixed range; two extremes show which.
        with np.errstate(over="ignore"):  # sigmoid windows
            low, high = apply_voi_lut(np.array([-1e9, 1e9]), dataset)
            values = apply_voi_lut(values, dataset)
    elif values.dtype == np.uint8:
        low, high = 0, 255
    if low is None and not padding.all():
        # Padding has no part in the range; NaN stays NaN and is refused by `stretch`.
        inside = values[~padding]
        low, high = float(inside.min()), float(inside.max())
    shown = stretch(values, name, low, high)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        shown = 255 - shown
    return np.where(padding, np.uint8(0), shown)


def _padding(pixels: np.ndarray, dataset: Any) -> np.ndarray:
    """Pixels outside the detector, marked by one value or a range of values."""
    first = dataset.get("PixelPaddingValue")
    if not isinstance(first, int):
        return np.zeros(pixels.shape, bool)
    last = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((first, last if isinstance(last, int) else first))
    return (pixels >= low) & (pixels <= high)


def _has_window(dataset: Any) -> bool:
    width = dataset.get("WindowWidth")
    if width in (None, "") or dataset.get("WindowCenter") in (None, ""):
        return False
    first = width[0] if hasattr(width, "__getitem__") else width
    return float(first) >= 1  # narrower is not a window (DICOM PS3.3 C.11.2.1.2)


def _colour(pixels: np.ndarray, dataset: Any) -> UInt8[np.ndarray, "h w c"]:
    # pydicom has turned YBR into RGB by the time the array is handed out.
    shift = max(int(dataset.BitsStored) - 8, 0)
    return (pixels >> shift).astype(np.uint8)


def _palette(pixels: np.ndarray, dataset: Any) -> UInt8[np.ndarray, "h w c"]:
    from pydicom.pixels import apply_color_lut

    coloured = apply_color_lut(pixels, dataset)
    return coloured if coloured.dtype == np.uint8 else (coloured >> 8).astype(np.uint8)


def _broken(name: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return InputError(
        f"{name} is a truncated or damaged DICOM file ({reason}): export it again or "
        "remove it"
    )
