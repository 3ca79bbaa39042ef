"""DICOM files become what a viewer shows; those that cannot are named."""

import io
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxdistill.data.images import read_image
from jaxdistill.errors import InputError

pydicom = pytest.importorskip("pydicom")
pytestmark = pytest.mark.filterwarnings("error")
RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8) * 60  # 0 to 3780, 12 bits


def dicom(pixels: np.ndarray = RAMP, bits: int = 12, **tags) -> bytes:
    data = pydicom.Dataset()
    data.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.PatientName = "Doe^Jane"
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = pixels.shape[2] if pixels.ndim == 3 else 1
    data.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated = 8 * pixels.itemsize
    data.BitsStored = min(bits, data.BitsAllocated)
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
    for key, value in tags.items():
        setattr(data, key, value)
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data, enforce_file_format=True)
    return buffer.getvalue()


def stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint(255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint8)


def test_without_a_window_the_own_range_is_used():
    got = read_image(dicom(), "a.dcm")
    np.testing.assert_array_equal(got[..., 0], stretched(RAMP, 0, 3780))


def test_monochrome1_is_inverted():
    plain = read_image(dicom(), "a")
    inverse = read_image(dicom(PhotometricInterpretation="MONOCHROME1"), "a")
    np.testing.assert_array_equal(inverse, 255 - plain)


def test_window_applies_to_rescaled_values():
    got = read_image(
        dicom(
            RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=400, WindowWidth=800
        ),
        "a",
    )
    # The linear function of DICOM PS3.3 C.11.2.1.2.1.
    unit = (RAMP * 2.0 - 1000 - 399.5) / 799 + 0.5
    expected = stretched(unit, 0, 1)
    np.testing.assert_allclose(got[..., 0], expected, atol=1)


def test_negative_slope_reverses():
    got = read_image(dicom(RescaleSlope=-1, RescaleIntercept=0), "a")
    np.testing.assert_array_equal(got[..., 0], stretched(-1.0 * RAMP, -3780, 0))


def test_signed_pixels_and_padding():
    pixels = RAMP.astype(np.int16) - 1000
    pixels[0] = -2000
    got = read_image(dicom(pixels, 16, PixelPaddingValue=-2000), "a")[..., 0]
    assert not got[0].any()
    rest = pixels[1:]
    np.testing.assert_array_equal(got[1:], stretched(rest, rest.min(), rest.max()))


def test_eight_bits_stay_as_they_are():
    pixels = (RAMP // 60 + 20).astype(np.uint8)
    np.testing.assert_array_equal(read_image(dicom(pixels, 8), "a")[..., 0], pixels)


def test_colour_deep_colour_and_ybr():
    colour = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_image(dicom(colour, 8), "a"), colour)
    deep = colour.astype(np.uint16) * 257
    np.testing.assert_array_equal(read_image(dicom(deep, 16), "a"), colour)
    grey = np.stack([colour[..., 0], *(np.full((8, 8), 128, np.uint8),) * 2], axis=-1)
    got = read_image(dicom(grey, 8, PhotometricInterpretation="YBR_FULL"), "a")
    assert np.abs(got.astype(int) - colour[..., :1]).max() <= 1


def test_bad_dicom_files_are_named():
    cases = {
        "frames": dicom(np.tile(RAMP, (2, 1)), NumberOfFrames=2, Rows=8),
        "no pixel data": b"\0" * 128 + b"DICM",
        "truncated or damaged": dicom()[:-40],
    }
    for rule, data in cases.items():
        with pytest.raises(InputError, match=r"film\.dcm") as caught:
            read_image(data, "film.dcm")
        assert rule in str(caught.value)


def test_a_missing_reader_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(InputError, match=r'pip install "jaxdistill\[medical\]"'):
        read_image(dicom(), "a.dcm")


ODD = Path(os.environ.get("JAXDISTILL_DATA", "")) / "odd_files.zip"


@pytest.mark.skipif(not ODD.is_file(), reason="the shared odd files are not here")
def test_real_files_of_every_compression():
    refused = {
        "emri_small.dcm": "10 frames",
        "emri_small_big_endian.dcm": "10 frames",
        "emri_small_jpeg_2k_lossless_too_short.dcm": "damaged|no pixel data",
        "liver_nonbyte_aligned_deflate.dcm": "3 frames",
    }
    with zipfile.ZipFile(ODD) as archive:
        for name in (n for n in archive.namelist() if n.endswith(".dcm")):
            rule = refused.get(Path(name).name)
            if rule is None:
                assert read_image(archive.read(name), name).dtype == np.uint8
                continue
            with pytest.raises(InputError, match=rule):
                read_image(archive.read(name), name)
        pair = [n for n in archive.namelist() if "torchxray" in n and ".dcm" in n]
        plain, inverse = (read_image(archive.read(n), n) for n in sorted(pair))
    np.testing.assert_array_equal(plain, 255 - inverse)


def test_a_window_over_a_negative_slope_is_turned_as_well():
    window = {"WindowCenter": -1500, "WindowWidth": 3000}
    tags = {"RescaleSlope": -1, "RescaleIntercept": 0, **window}
    got = read_image(dicom(RAMP, **tags), "a")
    unit = (-1.0 * RAMP + 1500.5) / 2999 + 0.5
    np.testing.assert_allclose(got[..., 0], stretched(unit, 0, 1), atol=1)


def test_a_rescale_without_values_changes_nothing():
    plain = read_image(dicom(), "a")
    for tags in (
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"RescaleSlope": 1, "RescaleIntercept": None},
    ):
        np.testing.assert_array_equal(read_image(dicom(**tags), "a"), plain)


def test_eight_stored_bits_are_shown_in_full_however_many_are_allocated():
    pixels = (RAMP // 60 + 20).astype(np.uint16)
    np.testing.assert_array_equal(read_image(dicom(pixels, 8), "a")[..., 0], pixels)
