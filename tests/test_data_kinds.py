"""Kinds of pixels that people have: each shows the same ramp, whatever holds it."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from test_data_dicom import dicom

from jaxdistill.data import images
from jaxdistill.data.images import read_image, read_labels
from jaxdistill.errors import InputError

pydicom = pytest.importorskip("pydicom")
pytestmark = pytest.mark.filterwarnings("error")
RAMP = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
DEEP = RAMP.astype(np.uint16) * 257
DARK = np.tile(np.linspace(40, 200, 64).astype(np.uint8), (48, 1))
FORMATS = {"u": 1, "i": 2, "f": 3}  # TIFF's tag 339


def shown(data: bytes, name: str = "film") -> list[int]:
    """Grey values of the left column, of column 12 and of the right one."""
    pixels = read_image(data, name).astype(int)
    assert (pixels == pixels[:1, :, :1]).all()
    return pixels[0, [0, 12, -1], 0].tolist()


def tiff(
    pixels: np.ndarray, photometric: int = 1, order: str = "<", *, without: int = 0
) -> bytes:
    """A TIFF of one strip, made by hand: Pillow writes no such kinds."""
    height, width = pixels.shape[:2]
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    kind = pixels.dtype.newbyteorder(order)
    strip = pixels.astype(kind).tobytes()
    bits, of = 8 * kind.itemsize, FORMATS[kind.kind]
    tags = [(256, 3, [width]), (257, 3, [height]), (258, 3, [bits] * samples)]
    tags += [(259, 3, [1]), (262, 3, [photometric]), (273, 4, [8]), (277, 3, [samples])]
    tags += [(278, 3, [height]), (279, 4, [len(strip)]), (339, 3, [of] * samples)]
    tags = [tag for tag in tags if tag[0] != without]
    place = 8 + len(strip)
    after = place + 2 + 12 * len(tags) + 4
    entries, more = b"", b""
    for tag, type_, values in tags:
        packed = struct.pack(
            f"{order}{len(values)}{'H' if type_ == 3 else 'I'}", *values
        )
        if len(packed) > 4:
            more, packed = more + packed, struct.pack(f"{order}I", after + len(more))
        entries += struct.pack(f"{order}HHI", tag, type_, len(values))
        entries += packed.ljust(4, b"\0")
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(f"{order}I", place) + strip
    return head + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + more


def png(pixels: np.ndarray, colour: int) -> bytes:
    """A PNG of sixteen bits a sample; colour is 2 RGB, 4 grey and alpha, 6 RGBA."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return (
            struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))
        )

    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def changed(data: bytes, *elements: tuple) -> bytes:
    """A DICOM file with other elements, whatever the standard says of their kind."""
    found = pydicom.dcmread(io.BytesIO(data))
    for tag, kind, value in elements:
        found.add_new(tag, kind, value)
    target = io.BytesIO()
    found.save_as(target, enforce_file_format=True)
    return target.getvalue()


def test_a_rescale_that_changes_nothing_changes_nothing():
    assert shown(dicom(DARK, 8)) == [40, 70, 200]
    assert shown(dicom(DARK, 8, RescaleSlope=1, RescaleIntercept=0)) == [40, 70, 200]
    other = shown(dicom(DARK, 8, RescaleSlope=2, RescaleIntercept=0))
    assert other == [0, 48, 255]  # of unknown meaning: the picture's own range


def test_the_bits_stored_are_the_full_scale():
    four = dicom(DARK // 16, 8, BitsStored=4, HighBit=3)
    assert shown(four) == [34, 68, 204]
    bits = np.packbits(DARK > 120, bitorder="little").reshape(48, 8)
    one = dicom(bits, 8, Columns=64, BitsAllocated=1, BitsStored=1, HighBit=0)
    assert shown(one) == [0, 0, 255]
    colour = np.repeat(DARK[..., None] // 16, 3, axis=2)
    assert shown(dicom(colour, 8, BitsStored=4, HighBit=3)) == [34, 68, 204]


def test_padding_is_a_number_of_the_pixels_type_however_it_is_written():
    pixels = np.tile(np.linspace(-1000, 1000, 64).astype(np.int16), (48, 1))
    pixels[:, :10] = -2000
    plain = dicom(pixels, 16)
    assert shown(plain)[0] == 0
    assert shown(plain)[1] > 100  # as long as -2000 counts as a grey value
    for kind, value in (("SS", -2000), ("US", 63536)):
        assert shown(changed(plain, (0x00280120, kind, value))) == [0, 10, 255]
    whole = changed(
        dicom(pixels.view(np.uint16) % 40000, 16), (0x00280120, "SS", -2000)
    )
    assert shown(whole)[0] == shown(dicom(pixels.view(np.uint16) % 40000, 16))[0]


@pytest.mark.parametrize("top", [16, 8, 1])  # twelve bits in use, thirteen, all
@pytest.mark.parametrize(
    "made",
    [
        lambda deep: png(np.repeat(deep[..., None], 3, 2), 2),
        lambda deep: png(np.stack([deep, np.full_like(deep, 65535)], -1), 4),
        lambda deep: png(np.stack([deep] * 3 + [np.full_like(deep, 65535)], -1), 6),
        lambda deep: tiff(np.repeat(deep[..., None], 3, 2), 2),
        lambda deep: tiff(np.repeat(deep[..., None], 3, 2), 2, ">"),
    ],
    ids=["RGB", "grey and alpha", "RGBA", "TIFF", "TIFF, big end first"],
)
def test_sixteen_bits_a_colour_are_all_read(made, top):
    assert shown(made(DEEP // top)) == [0, 48, 255]


def test_deep_colours_keep_their_channels_apart_and_alpha_lies_over_black():
    deep = np.stack([DEEP, DEEP[:, ::-1], DEEP // 2], -1)
    found = read_image(png(deep, 2), "film").astype(int)
    np.testing.assert_allclose(found, np.rint(deep / 257.0), atol=1)
    alpha = np.full_like(DEEP, 65535)
    alpha[:10] = 0
    found = read_image(png(np.dstack([deep, alpha]), 6), "film").astype(int)
    assert not found[:10].any()
    np.testing.assert_allclose(found[10:], np.rint(deep[10:] / 257.0), atol=1)
    labels = np.repeat((DEEP // 257)[..., None], 3, 2)  # small numbers in sixteen bits
    np.testing.assert_array_equal(read_labels(png(labels, 2), "m"), DEEP // 257)


TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "f4"]
# Refused by Pillow: signed and 32 bits with white as 0, some with the big end first.
UNKNOWN = {(kind, order, 0) for kind in ("i1", "i2", "u4", "i4") for order in "<>"}
UNKNOWN |= {("u2", ">", 0), ("u4", ">", 1)}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", TYPES)
def test_a_tiff_of_any_type_shows_its_ramp_or_is_refused_by_name(kind, order):
    """Numbers near the ends of the type: none is wrapped into another."""
    dtype = np.dtype(kind)
    ends = (-1.0, 1.0) if kind == "f4" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    unit = RAMP.astype(np.float64) / 255
    pixels = (ends[0] * (1 - unit) + ends[1] * unit).astype(dtype)
    for photometric, wanted in ((1, [0, 48, 255]), (0, [255, 207, 0])):
        data = tiff(pixels, photometric, order)
        if (kind, order, photometric) in UNKNOWN:
            with pytest.raises(InputError, match="film is not an image of a known fo"):
                shown(data)
        else:
            np.testing.assert_allclose(shown(data), wanted, atol=1)


def test_white_is_zero_in_eight_sixteen_and_float_bits():
    for pixels in (255 - RAMP, 65535 - DEEP, 1 - RAMP.astype(np.float32) / 255):
        assert shown(tiff(pixels, 0)) == [0, 48, 255]


def test_masks_above_two_to_the_31_are_what_they_are():
    high = RAMP.astype(np.uint32) << 24
    assert shown(tiff(high)) == [0, 48, 255]
    np.testing.assert_array_equal(read_labels(tiff(high), "m"), high.astype(np.int64))


def directories(data: bytes, count: int, to_itself: bool = False) -> bytes:
    """The TIFF with a chain of further directories, each like its first."""
    place = struct.unpack_from("<I", data, 4)[0]
    link = place + 2 + 12 * struct.unpack_from("<H", data, place)[0]
    one, whole = data[place : link + 4], bytearray(data)
    for _ in range(count):
        struct.pack_into("<I", whole, link, place if to_itself else len(whole))
        link = len(whole) + len(one) - 4
        whole += one
    return bytes(whole)


def test_relatives_of_a_tiff_without_a_width_are_refused():
    whole = tiff(RAMP)
    assert shown(whole) == [0, 48, 255]
    assert shown(directories(whole, 1, to_itself=True)) == [0, 48, 255]  # no other page
    bad = [tiff(RAMP, without=tag) for tag in (256, 257, 273)]
    bad += [directories(whole, 1), directories(whole, 1)[:-20]]
    bad += [whole[:cut] for cut in (9, 2000, 3081, len(whole) - 40)]
    for number, data in enumerate(bad):
        with pytest.raises(InputError, match="film") as told:
            read_image(data, "film")
        assert "\n" not in str(told.value), number
    with pytest.raises(InputError, match="holds 99 or more frames"):
        read_image(directories(whole, 400), "film")


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_a_number_of_frames_that_is_no_one_number_is_refused():
    plain = dicom(DARK, 8)
    two = changed(plain, (0x00280008, "IS", ["1", "1"]))
    one = changed(plain, (0x00280008, "IS", "1"))
    assert shown(one) == [40, 70, 200]
    none = one.replace(b"\x28\x00\x08\x00IS\x02\x001 ", b"\x28\x00\x08\x00IS\x02\x00NA")
    assert none != one
    for data in (two, none):
        with pytest.raises(InputError, match=r"film\.dcm .*frames|film\.dcm is a tr"):
            read_image(data, "film.dcm")


def test_large_pictures_are_decoded_one_at_a_time(monkeypatch):
    monkeypatch.setattr(images, "LARGE", 100)
    buffer = io.BytesIO()
    Image.fromarray(RAMP).save(buffer, "PNG")
    assert shown(buffer.getvalue()) == [0, 48, 255]
    assert not images._ALONE.locked()
