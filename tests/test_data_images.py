"""Every mode a hospital sends becomes the right bytes; broken files are named."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxdistill.data.images import read_image, read_labels
from jaxdistill.data.pixels import fit_image
from jaxdistill.errors import InputError

pytestmark = pytest.mark.filterwarnings("error")
GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def encode(array: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_grey_and_colour_are_kept(kind):
    np.testing.assert_array_equal(read_image(encode(GREY, kind), "a"), GREY[..., None])
    np.testing.assert_array_equal(read_image(encode(COLOUR, kind), "a"), COLOUR)


def test_webp_and_jpeg():
    webp = encode(COLOUR, "WEBP", lossless=True)
    np.testing.assert_array_equal(read_image(webp, "a.webp"), COLOUR)
    smooth = np.linspace(0, 200, 64).reshape(8, 8).astype(np.uint8)
    jpeg = read_image(encode(smooth, "JPEG", quality=95), "a.jfif")
    assert jpeg.shape == (8, 8, 1)
    assert np.abs(jpeg[..., 0].astype(int) - smooth).max() < 8


def test_alpha_is_laid_over_black():
    alpha = np.full_like(GREY, 255)
    alpha[0] = 0
    expected = GREY.copy()
    expected[0] = 0
    grey = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha)])
    np.testing.assert_array_equal(read_image(encode(grey), "a")[..., 0], expected)
    colour = np.dstack([COLOUR, alpha])
    got = read_image(encode(colour), "a")
    np.testing.assert_array_equal(got[1:], COLOUR[1:])
    assert not got[0].any()


def test_palette_and_one_bit():
    colours = np.zeros((4, 4, 3), np.uint8)
    colours[:2, :, 0], colours[2:, :, 2] = 200, 90
    palette = Image.fromarray(colours).quantize(4)
    assert palette.mode == "P"
    np.testing.assert_array_equal(read_image(encode(palette), "a"), colours)
    bits = Image.fromarray(GREY > 100)
    assert bits.mode == "1"
    expected = np.where(GREY > 100, 255, 0)
    np.testing.assert_array_equal(read_image(encode(bits), "a")[..., 0], expected)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("top", [900, 4095, 60000])
def test_deep_pixels_are_stretched_over_their_own_range(dtype, top):
    deep = np.linspace(100, top, 48).reshape(6, 8).astype(dtype)
    got = read_image(encode(deep, "TIFF"), "a.tif")[..., 0]
    expected = np.rint(255 * (deep - 100.0) / (deep.max() - 100.0))
    np.testing.assert_allclose(got, expected, atol=1)
    assert got.min() == 0
    assert got.max() == 255


def test_sixteen_bit_png():
    deep = np.linspace(0, 4095, 48).reshape(6, 8).astype(np.uint16)
    got = read_image(encode(deep), "a.png")[..., 0]
    np.testing.assert_array_equal(got, np.rint(255 * (deep / 4095)).astype(np.uint8))


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    got = read_image(encode(GREY, "PNG", exif=exif), "a")
    np.testing.assert_array_equal(got[..., 0], np.rot90(GREY, -1))


def test_resize_is_antialiased_and_converts():
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
    small = fit_image(ramp[..., None], 8, 1)[..., 0].astype(int)
    means = ramp.reshape(64, 8, 8).mean((0, 2))
    assert np.abs(small - means)[:, 1:-1].max() <= 1
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))[..., None]
    assert np.abs(fit_image(stripes, 8, 1).astype(int) - 128).max() < 12
    pure = np.zeros((4, 4, 3), np.uint8)
    pure[..., 1] = 255
    assert (fit_image(pure, 4, 1) == 150).all()  # luma of green, 0.587
    assert fit_image(stripes, 5, 3).shape == (5, 5, 3)


def _pages(count: int) -> bytes:
    page = Image.fromarray(GREY)
    return encode(page, "TIFF", save_all=True, append_images=[page] * (count - 1))


NAN = encode(np.full((4, 4), np.nan, np.float32), "TIFF")
BAD = {
    "empty (0 bytes)": b"",
    "not an image": b"this is text" * 20,
    "truncated or damaged": encode(
        np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    )[:900],
    "NaN": NAN,
    "3 frames": _pages(3),
}


@pytest.mark.parametrize("rule", BAD)
def test_bad_files_are_named(rule):
    with pytest.raises(InputError, match=r"scan\.png") as caught:
        read_image(BAD[rule], "scan.png")
    assert rule in str(caught.value)


def test_truncated_jpeg():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    with pytest.raises(InputError, match="truncated"):
        read_image(encode(noise, "JPEG")[:1500], "film.jpg")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_every_cut_of_a_file_is_refused_in_one_sentence():
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP"):
        whole = encode(noise, kind)
        for cut in range(1, len(whole) // 2, 97):
            with pytest.raises(InputError, match="scan"):
                read_image(whole[:cut], "scan")


def test_decompression_bomb():
    with pytest.raises(InputError, match="at most 50,000,000"):
        read_image(encode(Image.new("1", (20000, 10000))), "bomb.png")


def test_missing_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"gone\.png does not exist"):
        read_image(tmp_path / "gone.png")


def small_png(bits: int, row: list[int]) -> bytes:
    """A row of grey pixels of less than eight bits, which Pillow does not write."""
    packed = bytearray()
    for at in range(0, len(row), 8 // bits):
        byte = 0
        for value in row[at : at + 8 // bits]:
            byte = byte << bits | value
        packed.append(byte)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", len(row), 1, bits, 0, 0, 0, 0))]
    parts += [(b"IDAT", zlib.compress(b"\0" + packed)), (b"IEND", b"")]
    made = b"\x89PNG\r\n\x1a\n"
    for kind, data in parts:
        made += struct.pack(">I", len(data)) + kind + data
        made += struct.pack(">I", zlib.crc32(kind + data))
    return made


def test_numbers_of_masks_are_those_of_the_file_whatever_its_bits():
    for bits in (1, 2, 4):
        row = [value % 2**bits for value in range(8)]
        np.testing.assert_array_equal(read_labels(small_png(bits, row), "a"), [row])
    for most in (1, 3, 200, 255):
        row = [value % (most + 1) for value in range(8)]
        data = b"P5 8 1 %d\n" % most + bytes(row)
        np.testing.assert_array_equal(read_labels(data, "a.pgm"), [row])
    wide = np.array([0, 1, 2, 4095], ">u2")
    data = b"P5 4 1 4095\n" + wide.tobytes()
    np.testing.assert_array_equal(read_labels(data, "a.pgm"), [wide])
    # One bit of a bitmap is black, which is 0.
    assert read_labels(b"P1 2 1\n0 1\n", "a.pbm").tolist() == [[1, 0]]


def test_deep_colours_that_would_be_cut_are_refused():
    deep = np.array([0, 0, 0, 4095, 4095, 4095], ">u2").tobytes()
    with pytest.raises(InputError, match="more than 8 bits a colour"):
        read_image(b"P6 2 1 65535\n" + deep, "a.ppm")
