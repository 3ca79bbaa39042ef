"""Volumes come slices first, upright, and go back exactly; bad files are named."""

import gzip
import io
import itertools
import os
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import aff2axcodes, apply_orientation, inv_ornt_aff

from jaxdistill.data.images import read_labels
from jaxdistill.data.pixels import resize_images, resize_masks
from jaxdistill.data.volumes import Origin, read_volume
from jaxdistill.data.written_masks import write_mask
from jaxdistill.errors import InputError

SHARED = Path(os.environ.get("JAXDISTILL_DATA", "-"))
RNG = np.random.default_rng(0)
VOXELS = RNG.integers(0, 900, (4, 5, 3)).astype(np.int16)  # right, front, head
AFFINE = np.diag([0.5, 0.75, 3.0, 1.0])
AFFINE[:3, 3] = (-7, 11, 23)
TURNS = [
    np.array(list(zip(axes, flips, strict=True)), float)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def nifti(voxels: np.ndarray, affine: np.ndarray = AFFINE, kind=nib.Nifti1Image):
    return kind(voxels, affine)


def packed(image) -> bytes:
    return gzip.compress(image.to_bytes())


def turned(turn: np.ndarray) -> nib.Nifti1Image:
    affine = AFFINE @ inv_ornt_aff(turn, VOXELS.shape)
    return nib.Nifti1Image(apply_orientation(VOXELS, turn), affine)


def test_slices_run_to_the_head_and_pictures_are_upright():
    got = read_volume(nifti(VOXELS).to_bytes(), "a.nii")
    # Rows from the front backwards, columns from the patient's right to the left.
    np.testing.assert_array_equal(got.voxels, VOXELS.transpose(2, 1, 0)[:, ::-1, ::-1])
    assert got.spacing == (3.0, 0.75, 0.5)
    assert aff2axcodes(got.affine) == ("S", "P", "L")
    coronal = read_volume(nifti(VOXELS).to_bytes(), "a.nii", axis="coronal")
    np.testing.assert_array_equal(
        coronal.voxels, VOXELS.transpose(1, 2, 0)[:, ::-1, ::-1]
    )
    sagittal = read_volume(nifti(VOXELS).to_bytes(), "a.nii", axis="sagittal")
    np.testing.assert_array_equal(
        sagittal.voxels, VOXELS.transpose(0, 2, 1)[:, ::-1, ::-1]
    )
    assert sagittal.spacing == (0.5, 3.0, 0.75)


@pytest.mark.parametrize("number", range(48))
def test_every_orientation_reads_alike_and_goes_back_exactly(number, tmp_path):
    image = turned(TURNS[number])
    got = read_volume(image.to_bytes(), "a.nii")
    want = read_volume(nifti(VOXELS).to_bytes(), "a.nii")
    np.testing.assert_array_equal(got.voxels, want.voxels)
    np.testing.assert_allclose(got.affine, want.affine, atol=1e-5)
    assert got.spacing == pytest.approx(want.spacing)
    write_mask(tmp_path / "m.nii.gz", (got.voxels % 3).astype(np.uint8), got.origin)
    written = nib.load(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(written.dataobj, np.asarray(image.dataobj) % 3)
    np.testing.assert_array_equal(written.affine, image.affine)
    assert written.get_data_dtype() == np.uint8


def test_an_oblique_scan_keeps_its_affine(tmp_path):
    angle = 0.3
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    image = nifti(VOXELS, turn @ AFFINE)
    got = read_volume(image.to_bytes(), "a.nii")
    assert got.spacing == pytest.approx((3.0, 0.75, 0.5))
    mask = RNG.integers(0, 2, got.voxels.shape).astype(np.uint8)
    write_mask(tmp_path / "m.nii", mask, got.origin)
    again = read_volume(tmp_path / "m.nii")
    np.testing.assert_array_equal(again.voxels, mask)
    written = nib.load(tmp_path / "m.nii")
    np.testing.assert_array_equal(written.affine, got.origin.affine)


def test_the_plane_is_across_the_widest_gaps():
    for codes, spacing in {
        "SPL": (1, 1, 1),
        "AIL": (1, 3, 1),
        "RIP": (3, 1, 1),
        "SPL ": (1, 3, 3.01),  # equal within a hundredth: the head goes first
    }.items():
        image = nifti(VOXELS, np.diag([*spacing, 1.0]))
        assert read_volume(image.to_bytes(), "a.nii").origin.codes == codes.strip()
    one = nifti(VOXELS[:, :1], np.diag([1.0, 1, 5, 1]))
    assert read_volume(one.to_bytes(), "a.nii").voxels.shape == (1, 3, 4)


def test_header_scale_units_and_lengths_of_one(tmp_path):
    image = nifti(VOXELS[..., None], AFFINE / 1000)
    image.header.set_xyzt_units("meter")
    image.header.set_slope_inter(2.0, -5.0)
    path = tmp_path / "a.nii"
    path.write_bytes(image.to_bytes())
    raw = nib.load(path)
    got = read_volume(path)
    assert got.spacing == pytest.approx((3.0, 0.75, 0.5), rel=1e-5)
    want = np.asarray(raw.dataobj)[..., 0].transpose(2, 1, 0)[:, ::-1, ::-1]
    np.testing.assert_allclose(got.voxels, want)
    write_mask(tmp_path / "m.nii", (got.voxels > 0).astype(np.uint8), got.origin)
    written = nib.load(tmp_path / "m.nii")
    assert written.shape == (4, 5, 3, 1)
    assert written.header.get_xyzt_units()[0] == "meter"
    assert set(np.unique(written.dataobj)) <= {0, 1}


def test_nifti2_mgz_pairs_and_codes_are_kept(tmp_path):
    second = nib.Nifti2Image(VOXELS, AFFINE)
    second.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Doe"))
    for text in ("descrip", "aux_file", "intent_name"):
        second.header[text] = b"DOE^JOHN 1950"
    second.set_sform(AFFINE, code=4)
    got = read_volume(second.to_bytes(), "a.nii")
    write_mask(tmp_path / "m.nii", np.ones(got.voxels.shape, np.uint8), got.origin)
    written = nib.load(tmp_path / "m.nii")
    assert isinstance(written, nib.Nifti2Image)
    assert int(written.header["sform_code"]) == 4
    assert not written.header.extensions
    assert b"DOE" not in written.header.binaryblock
    mgz = nib.MGHImage(VOXELS.astype(np.float32), AFFINE)
    nib.save(mgz, tmp_path / "a.mgz")
    got = read_volume((tmp_path / "a.mgz").read_bytes(), "a.mgz")
    np.testing.assert_array_equal(got.voxels, VOXELS.transpose(2, 1, 0)[:, ::-1, ::-1])
    for name in ("m.mgz", "m.nii.gz"):
        write_mask(tmp_path / name, (got.voxels > 400).astype(np.uint8), got.origin)
        np.testing.assert_array_equal(nib.load(tmp_path / name).dataobj, VOXELS > 400)
        np.testing.assert_allclose(nib.load(tmp_path / name).affine, AFFINE)
    nib.save(nib.Nifti1Pair(VOXELS, AFFINE), tmp_path / "pair.img")
    assert read_volume(tmp_path / "pair.img").voxels.shape == (3, 5, 4)


def test_classes_get_their_values_back_and_shrunk_masks_their_size(tmp_path):
    got = read_volume(nifti(VOXELS).to_bytes(), "a.nii")
    mask = RNG.integers(0, 3, got.voxels.shape).astype(np.uint8)
    origin = got.origin._replace(values=(0, 5, 300))
    write_mask(tmp_path / "m.nii", mask, origin)
    written = np.asarray(nib.load(tmp_path / "m.nii").dataobj)
    want = np.array([0, 5, 300])[mask[:, ::-1, ::-1].transpose(2, 1, 0)]
    np.testing.assert_array_equal(written, want)
    write_mask(tmp_path / "half.nii", resize_masks(mask, 3, 2), got.origin)
    assert nib.load(tmp_path / "half.nii").shape == VOXELS.shape
    picture = Origin("a.png", (10, 8), values=(0, 255))
    write_mask(tmp_path / "m.png", np.ones((1, 5, 4), np.uint8), picture)
    assert (read_labels(tmp_path / "m.png") == np.full((10, 8), 255)).all()
    for path, bad, where in (
        ("m.nii", mask[:2], "2 slices"),
        ("m.mnc", mask, "let it end in"),
        ("m.png", mask, "let it end in"),
        ("gone/m.nii", mask, "cannot be written"),
    ):
        with pytest.raises(InputError, match=where):
            write_mask(tmp_path / path, bad, got.origin)
    with pytest.raises(InputError, match="cannot hold the mask of the picture"):
        write_mask(tmp_path / "m.nii", np.ones((1, 5, 4), np.uint8), picture)


def test_resizing_keeps_means_and_labels():
    ramp = np.tile(np.arange(64, dtype=np.float32), (2, 64, 1))
    images = np.stack([ramp, -3 * ramp], axis=-1)
    small = resize_images(images, 32, 16)
    assert small.shape == (2, 32, 16, 2)
    blocks = ramp.reshape(2, 32, 2, 16, 4).mean((2, 4))
    np.testing.assert_allclose(small[:, :, 1:-1, 0], blocks[:, :, 1:-1], atol=0.2)
    np.testing.assert_allclose(small[..., 1], -3 * small[..., 0], atol=1e-3)
    mask = RNG.integers(0, 3, (2, 8, 8)).astype(np.uint8)
    big = resize_masks(mask, 16, 24)
    np.testing.assert_array_equal(big, mask.repeat(2, 1).repeat(3, 2))


def header(**fields) -> bytes:
    image = nifti(VOXELS)
    for key, value in fields.items():
        image.header[key] = value
    head = io.BytesIO()
    image.header.write_to(head)
    return head.getvalue() + VOXELS.tobytes()


NAN = VOXELS.astype(np.float32)
NAN[1, 1, 1] = np.nan
FLAT = np.diag([1.0, 1, 0, 1])
NOISE = nifti(RNG.integers(0, 30000, (20, 20, 20)).astype(np.int16))
RGB = np.zeros((4, 5, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
BAD = {
    "empty (0 bytes)": ("a.nii", b""),
    "truncated or damaged": ("a.nii.gz", packed(NOISE)[:-2000]),
    "truncated or damaged (": ("a.nii", NOISE.to_bytes()[:-9000]),
    "work out file type of it)": ("a.nii", b"this is text" * 40),
    "so no voxel": ("a.nii", header(dim=[3, 4, 5, 0, 1, 1, 1, 1])),
    "4 dimensions (4 x 5 x 3 x 2)": (
        "a.nii",
        nifti(np.stack([VOXELS] * 2, -1)).to_bytes(),
    ),
    "in colour": ("a.nii", nifti(RGB).to_bytes()),
    "of complex64": ("a.nii", nifti(VOXELS.astype(np.complex64)).to_bytes()),
    "NaN": ("a.nii", nifti(NAN).to_bytes()),
    "at most 268,435,456": (
        "a.nii",
        header(dim=[3, 32000, 32000, 32000, 1, 1, 1, 1]),
    ),
    "cannot be in it": ("a.nii", header(dim=[3, 500, 500, 500, 1, 1, 1, 1])),
    "affine that cannot be inverted": ("a.nii", header(srow_z=[0, 0, 0, 1])),
    "not a volume of a known format": ("a.txt", b"text"),
}


@pytest.mark.parametrize("rule", BAD)
def test_bad_volumes_are_named(rule):
    name, data = BAD[rule]
    with pytest.raises(InputError) as caught:
        read_volume(data, f"scans/{name}")
    assert str(caught.value).startswith(f"scans/{name}")
    assert rule in str(caught.value)
    assert ": " in str(caught.value)


def test_every_cut_of_a_volume_is_refused_in_one_sentence():
    for name, whole in (("a.nii.gz", packed(NOISE)), ("a.nii", NOISE.to_bytes())):
        for cut in range(1, len(whole) - 40, len(whole) // 23):
            with pytest.raises(InputError, match="scan"):
                read_volume(whole[:cut], f"scan/{name}")


def test_a_missing_file_and_a_missing_reader(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"gone\.nii cannot be read"):
        read_volume(tmp_path / "gone.nii")
    with pytest.raises(InputError, match=r"needs h5py|damaged"):
        read_volume(b"\x89HDF\r\n\x1a\n" + bytes(600), "a.mnc")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(InputError, match=r'pip install "jaxdistill\[medical\]"'):
        read_volume(b"x", "a.nii")


@pytest.mark.skipif(not (SHARED / "odd_files.zip").is_file(), reason="no shared data")
def test_every_odd_file_is_read_or_refused_in_one_sentence():
    refused = {
        "empty.tck": "known format",
        "example_nifti2.nii.gz": "4 dimensions",
        "functional.nii": "4 dimensions",
        "test.mgz": "4 dimensions",
        "minc2-no-att.mnc": "h5py|damaged",
        "minc2_baddim.mnc": "h5py|damaged",
        "small.mnc": "h5py",
    }
    with zipfile.ZipFile(SHARED / "odd_files.zip") as archive:
        for name in archive.namelist():
            here = Path(name).name
            if name.endswith((".nii", ".nii.gz", ".mgz", ".mnc")) and (
                here not in refused
            ):
                got = read_volume(archive.read(name), name)
                assert got.voxels.ndim == 3
                assert min(got.spacing) > 0
            elif here in refused or not name.endswith("/"):
                with pytest.raises(InputError, match=refused.get(here, "known format")):
                    read_volume(archive.read(name), name)


@pytest.mark.skipif(
    not (SHARED / "hippocampus_mri.zip").is_file(), reason="no shared data"
)
def test_odd_members_of_a_real_set_are_read():
    with zipfile.ZipFile(SHARED / "hippocampus_mri.zip") as archive:
        for name in archive.namelist():
            if "/malformed/" in name and not name.endswith("/"):
                assert read_volume(archive.read(name), name).voxels.ndim == 3
