"""Layouts with sites become one kind of pool; what cannot be used is told."""

import json
import os
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from jaxdistill.cli.data import main as data_main
from jaxdistill.data.case_files import normalised, open_case
from jaxdistill.data.check_sites import LAYOUTS
from jaxdistill.data.images import read_labels
from jaxdistill.data.labels import as_found, halves, numbered
from jaxdistill.data.prostate import SITES
from jaxdistill.data.site_pool import read_table
from jaxdistill.data.site_simulation import simulate_site
from jaxdistill.data.site_sources import SITE_SOURCES, load_sites
from jaxdistill.data.volumes import read_volume
from jaxdistill.data.written_masks import write_mask
from jaxdistill.errors import InputError
from jaxdistill.settings import settings_of
from jaxdistill.types import IGNORED

SHARED = Path(os.environ.get("JAXDISTILL_DATA", "-"))
AFFINE = np.diag([0.5, 0.5, 3.0, 1.0])
SHAPE = (8, 10, 4)


def put(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def scan(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 900, SHAPE).astype(np.int16)


def organ(*values: int) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    for number, value in enumerate(values or (1,)):
        mask[2:5, 3:6, 1 + number] = value
    return mask


def picture(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def zipped(top: Path) -> Path:
    target = top.parent / f"{top.name}-again.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(top.rglob("*")):
            archive.write(path, path.relative_to(top.parent))
    return target


def same(one, two) -> None:
    assert one.sites == two.sites
    for a, b in zip(one.cases, two.cases, strict=True):
        assert (a.name, a.site, a.spacing) == (b.name, b.site, b.spacing)
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.mask, b.mask)


@pytest.fixture
def six(tmp_path) -> Path:
    """The six-site layout with its traps."""
    top = tmp_path / "prostate"
    folders = ("ISBI", "BMC", "HCRUDB", "UCL", "BIDMC", "hk")
    for number, site in enumerate(folders):
        for case in (0, 2):
            mask = "Segmentation" if site == "BMC" else "segmentation"
            put(top / site / f"Case{case:02}.nii.gz", scan(10 * number + case))
            zones = organ(1, 2) if site in ("ISBI", "BMC") else organ()
            put(top / site / f"Case{case:02}_{mask}.nii.gz", zones)
    return top


def test_the_six_sites_with_all_their_traps(six):
    pool = load_sites("prostate", path=str(six))
    assert pool.sites == SITES
    assert [case.name for case in pool.cases[:3]] == [
        "RUNMC_Case00",
        "RUNMC_Case02",
        "BMC_Case00",
    ]
    assert pool.class_names == ("background", "prostate")
    assert all(set(np.unique(case.mask)) == {0, 1} for case in pool.cases)
    assert pool.cases[0].mask.sum() == 18  # both zones
    assert pool.cases[0].spacing == (3.0, 0.5, 0.5)
    assert pool.cases[0].image.mean() == pytest.approx(0, abs=1e-5)
    assert pool.cases[0].image.std() == pytest.approx(1, abs=1e-5)
    same(pool, load_sites("prostate", path=str(zipped(six))))


def test_check_tells_site_by_site_what_a_set_holds(six, capsys):
    twin = (six / "BMC" / "Case00.nii.gz").read_bytes()
    (six / "UCL" / "Case02.nii.gz").write_bytes(twin)
    assert data_main(["check", str(six), "--layout=prostate"]) == 0
    told = capsys.readouterr().out
    assert "classes: background, prostate" in told
    assert "RUNMC: 2 cases, 8 slices of 10 x 8 pixels, spacing 3 x 0.5 x 0.5" in told
    assert "BMC_Case00 and UCL_Case02 hold the same image" in told
    put(six / "hk" / "Case00_segmentation.nii.gz", organ(7))
    (six / "UCL" / "Case02_segmentation.nii.gz").write_bytes(b"no volume")
    assert data_main(["check", str(six), "--layout=prostate"]) == 2
    told = capsys.readouterr().out
    assert "wrong: " in told
    assert "UCL" in told
    assert told.endswith("not usable, 1 wrong\n")


def test_check_of_what_is_no_set_of_sites_is_one_sentence(tmp_path, capsys):
    for layout in LAYOUTS:
        assert data_main(["check", str(tmp_path / "gone"), f"--layout={layout}"]) == 2
        told = capsys.readouterr().out.splitlines()
        assert len(told) == 2
        assert told[0].startswith("wrong: ")


def test_a_predicted_mask_goes_back_to_its_file(six, tmp_path):
    case = load_sites("prostate", path=str(six), size=5).cases[4]
    assert max(case.mask.shape[1:]) == 5
    assert case.spacing == (3.0, 1.0, 1.0)
    case = load_sites("prostate", path=str(six)).cases[4]
    write_mask(tmp_path / "out.nii.gz", case.mask, case.origin)
    given = nib.load(six / "HCRUDB" / "Case00_segmentation.nii.gz")
    written = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(written.dataobj, given.dataobj)
    np.testing.assert_array_equal(written.affine, given.affine)


def nan_scan() -> np.ndarray:
    voxels = scan().astype(np.float32)
    voxels[0, 0, 0] = np.nan
    return voxels


def moved(by: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[0, 3] = by
    return affine


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


IMAGE, MASK = "UCL/Case02.nii.gz", "UCL/Case02_segmentation.nii.gz"
FAULTS = {
    "both must have one shape": lambda top: put(top / MASK, organ()[:, :, :3]),
    "must share one affine": lambda top: put(top / MASK, organ(), moved(2.0)),
    "is empty: nothing can be learned": lambda top: put(top / MASK, organ(0)),
    "NaN": lambda top: put(top / IMAGE, nan_scan()),
    "4 dimensions": lambda top: put(top / IMAGE, np.stack([scan()] * 2, -1)),
    "no voxel": lambda top: put(top / IMAGE, scan()[:, :, :0]),
    "truncated or damaged": lambda top: cut(top / IMAGE),
    "has no Case02_segmentation": lambda top: (top / MASK).unlink(),
    "a mask without its image Case02": lambda top: (top / IMAGE).unlink(),
}


@pytest.mark.parametrize("rule", FAULTS)
def test_a_bad_case_is_told_or_skipped(six, rule):
    whole = load_sites("prostate", path=str(six))
    FAULTS[rule](six)
    with pytest.raises(InputError) as caught:
        load_sites("prostate", path=str(six))
    assert rule in str(caught.value)
    assert "UCL/Case02" in str(caught.value)
    assert "data.bad_cases='skip'" in str(caught.value)
    pool = load_sites("prostate", path=str(six), bad_cases="skip")
    assert {c.name for c in whole.cases} - {c.name for c in pool.cases} == {
        "UCL_Case02"
    }
    assert len(pool.skipped) == 1
    assert rule in pool.skipped[0]


def test_shape_can_be_trusted_where_headers_cannot(six):
    whole = load_sites("prostate", path=str(six))
    put(six / MASK, organ(), np.diag([-9.0, 1, 1, 1]))
    same(whole, load_sites("prostate", path=str(six), geometry="shape"))
    put(six / MASK, organ()[:, :, :3])
    with pytest.raises(InputError, match="one shape"):
        load_sites("prostate", path=str(six), geometry="shape")


def test_a_mask_in_another_orientation_of_the_same_place_fits(six):
    whole = load_sites("prostate", path=str(six))
    affine = AFFINE @ nib.orientations.inv_ornt_aff(
        np.array([[0, -1], [1, 1], [2, 1]]), SHAPE
    )
    put(six / MASK, organ()[::-1], affine)
    same(whole, load_sites("prostate", path=str(six)))


def test_other_layouts_are_told(six, tmp_path):
    put(six / "ULC" / "Case00.nii.gz", scan())
    with pytest.raises(InputError, match=r"did you mean 'UCL'.*site_folders"):
        load_sites("prostate", path=str(six))
    with pytest.raises(InputError, match=r"sites RUNMC, BMC"):
        load_sites("prostate", path=str(tmp_path / "gone"))
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no volume"):
        load_sites("prostate", path=str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"prostate in .*JAXDISTILL_DATA"):
        load_sites("prostate", root=str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"data\.axis='xial'"):
        load_sites("prostate", path=str(six), axis="xial")
    with pytest.raises(InputError, match="is no setting"):
        load_sites("prostate", pth="x")


@pytest.fixture
def tasks(tmp_path) -> Path:
    top = tmp_path / "Task09"
    for number in range(4):
        put(top / "imagesTr" / f"case_{number}_0000.nii.gz", scan(number))
        put(top / "labelsTr" / f"case_{number}.nii.gz", organ(1, 2))
    return top


def test_both_styles_of_dataset_json(tasks):
    styles = (
        {"background": 0, "gland": 1, "zone": 2},
        {"0": "background", "1": "gland", "2": "zone"},
    )
    for labels in styles:
        (tasks / "dataset.json").write_text(json.dumps({"labels": labels}))
        pool = load_sites("nnunet", path=str(tasks))
        assert pool.class_names == ("background", "gland", "zone")
        assert pool.sites == ("Task09",)
        assert [case.name for case in pool.cases] == [f"case_{n}" for n in range(4)]
        assert not pool.mirrored
    again = load_sites("nnunet", path=str(zipped(tasks)))
    np.testing.assert_array_equal(again.cases[0].image, pool.cases[0].image)
    ignoring = {"background": 0, "gland": 1, "ignore": 2}
    (tasks / "dataset.json").write_text(json.dumps({"labels": ignoring}))
    pool = load_sites("nnunet", path=str(tasks))
    assert pool.class_names == ("background", "gland")
    assert set(np.unique(pool.cases[0].mask)) == {0, 1, IGNORED}


def test_labels_that_masks_tell_themselves(tasks, tmp_path):
    for path in (tasks / "labelsTr").iterdir():
        put(path, organ(3, 7))
    pool = load_sites("nnunet", path=str(tasks))
    assert pool.class_names == ("background", "3", "7")
    case = pool.cases[0]
    assert set(np.unique(case.mask)) == {0, 1, 2}
    write_mask(tmp_path / "out.nii.gz", case.mask, case.origin)
    np.testing.assert_array_equal(
        nib.load(tmp_path / "out.nii.gz").dataobj, organ(3, 7)
    )


def test_faults_of_nnunet_sets(tasks):
    about = tasks / "dataset.json"
    for text, rule in (
        ('{"labels": {"background": 0, "gland": 1}}', "label 2, but labels are 0 back"),
        ('{"labels": {"background": 0, "all": [1, 2]}}', "regions"),
        ('{"labels": {"a": 1, "b": 1}}', "two labels one number"),
        ('{"labels": ["a"]}', "does not tell of labels"),
        ("{", "is damaged"),
    ):
        about.write_text(text)
        with pytest.raises(InputError, match=rule):
            load_sites("nnunet", path=str(tasks))
    about.unlink()
    (tasks / "labelsTr" / "case_3.nii.gz").unlink()
    with pytest.raises(InputError, match=r"case_3_0000.* no mask case_3 in labelsTr"):
        load_sites("nnunet", path=str(tasks))
    pool = load_sites("nnunet", path=str(tasks), bad_cases="skip")
    assert len(pool.cases) == 3
    for number in (0, 1):
        (tasks / "imagesTr" / f"case_{number}_0000.nii.gz").unlink()
    with pytest.raises(InputError, match="has 1 usable cases"):
        load_sites("nnunet", path=str(tasks), bad_cases="skip")
    with pytest.raises(InputError, match=r"data\.path='' must be given"):
        load_sites("nnunet", path="")


def test_channels_names_of_four_digits_and_sites_by_table(tasks, tmp_path):
    put(tasks / "imagesTr" / "case_0_0001.nii.gz", scan(9))
    put(tasks / "imagesTr" / "case_1_0001.nii.gz", scan(21))
    put(tasks / "imagesTr" / "case_2_0001.nii.gz", scan(22))
    with pytest.raises(
        InputError, match=r"case_3_0000.* channels 0000, others have 0000, 0001"
    ):
        load_sites("nnunet", path=str(tasks))
    assert len(load_sites("nnunet", path=str(tasks), bad_cases="skip").cases) == 3
    put(tasks / "imagesTr" / "case_3_0001.nii.gz", scan(23))
    table = tmp_path / "sites.csv"
    table.write_text("case,site\ncase_0,north\ncase_1,south\ncase_2,north\n")
    with pytest.raises(InputError, match=r"no line for the case 'case_3'"):
        load_sites("nnunet", path=str(tasks), sites=str(table))
    table.write_text("case_0;north\ncase_1;south\n\ncase_2;north\ncase_3;south\n")
    pool = load_sites("nnunet", path=str(tasks), sites=str(table))
    assert pool.sites == ("north", "south")
    assert pool.cases[0].image.shape[-1] == 2
    top = tmp_path / "plain"
    for number in range(2):
        put(top / "imagesTr" / f"knee_000{number}.nii.gz", scan(number))
        put(top / "labelsTr" / f"knee_000{number}.nii.gz", organ())
    assert load_sites("nnunet", path=str(top)).cases[1].name == "knee_0001"


def test_tables_are_told_what_is_wrong(tmp_path):
    path = tmp_path / "t.csv"
    for text, rule in (("a,b,c", "two words"), ("a,b\na,c", "twice")):
        path.write_text(text)
        with pytest.raises(InputError, match=rule):
            read_table(path, "case", "site")
    with pytest.raises(InputError, match=r"gone\.csv does not exist"):
        read_table(tmp_path / "gone.csv", "case", "site")


def eyes(top: Path, kinds: tuple[str, ...] = ("png", "tif")) -> Path:
    rng = np.random.default_rng(0)
    for number, site in enumerate(("north", "south")):
        for case in range(3):
            size = (12, 16 + 4 * number)
            name = f"eye_{case}"
            colour = rng.integers(0, 255, (*size, 3), np.uint8)
            mask = np.zeros(size, np.uint8)
            mask[4:7] = 255 if number else 1
            view = np.full(size, 255, np.uint8)
            view[:, :3] = 0
            picture(top / site / "images" / f"{name}.{kinds[number]}", colour)
            picture(top / site / "masks" / f"{name.upper()}.png", mask)
            picture(top / site / "fov" / f"{name}.gif", view)
    return top


def test_site_folders_of_pictures(tmp_path):
    top = eyes(tmp_path / "eyes")
    pool = load_sites("site_folders", path=str(top), channels=3)
    assert pool.sites == ("north", "south")
    assert pool.class_names == ("background", "foreground")
    one, two = pool.cases[0], pool.cases[-1]
    assert one.image.shape == (1, 12, 16, 3)
    assert two.image.shape == (1, 12, 20, 3)
    assert one.spacing == (1.0, 1.0, 1.0)
    assert (one.mask[0, :, :3] == IGNORED).all()
    for case in (one, two):
        assert (case.mask[0, 4:7, 3:] == 1).all()
        assert not case.mask[0, 7:, 3:].any()
        np.testing.assert_allclose(case.image.mean((0, 1, 2)), 0, atol=1e-5)
    grey = load_sites("site_folders", path=str(zipped(top)), size=8)
    assert grey.cases[0].image.shape == (1, 6, 8, 1)
    assert grey.cases[0].spacing == (1.0, 2.0, 2.0)
    write_mask(tmp_path / "out.png", (two.mask == 1).astype(np.uint8), two.origin)
    written = read_labels(tmp_path / "out.png")
    np.testing.assert_array_equal(written[:, 3:] == 255, two.mask[0, :, 3:] == 1)


def test_masks_of_classes_palettes_and_blur(tmp_path):
    top = eyes(tmp_path / "eyes")
    for path in sorted(top.glob("*/masks/*.png")):
        numbers = np.zeros(read_labels(path).shape, np.uint8)
        numbers[4:7], numbers[8:10], numbers[0] = 1, 2, 255
        made = Image.fromarray(numbers)
        made.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [7] * 759)
        made.save(path)
    pool = load_sites("site_folders", path=str(top))
    assert pool.class_names == ("background", "1", "2")
    assert set(np.unique(pool.cases[0].mask)) == {0, 1, 2, IGNORED}
    named = load_sites("site_folders", path=str(top), classes="a,b,c")
    assert named.class_names == ("a", "b", "c")
    for one, other in zip(named.cases, pool.cases, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
    with pytest.raises(InputError, match="label 2"):
        load_sites("site_folders", path=str(top), classes="a,b")
    with pytest.raises(InputError, match="name the background, too"):
        load_sites("site_folders", path=str(top), classes="vessel")
    for path in sorted(top.glob("*/masks/*.png")):
        mask = np.zeros(read_labels(path).shape, np.uint8)
        mask[4:8] = 255
        Image.fromarray(mask).save(path.with_suffix(".jpg"), quality=60)
        path.unlink()
    pool = load_sites("site_folders", path=str(top))
    assert pool.class_names == ("background", "foreground")
    np.testing.assert_array_equal(
        pool.cases[0].mask[0, :, 5], [0] * 4 + [1] * 4 + [0] * 4
    )


def test_faults_of_site_folders(tmp_path):
    top = eyes(tmp_path / "eyes")
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    picture(top / "north/masks/EYE_1.png", noise)
    with pytest.raises(InputError, match="mask in colours"):
        load_sites("site_folders", path=str(top))
    picture(top / "north/masks/EYE_1.png", np.ones((5, 6), np.uint8))
    with pytest.raises(InputError, match=r"6 x 5 pixels but .* is 16 x 12"):
        load_sites("site_folders", path=str(top))
    (top / "north/masks/EYE_1.png").unlink()
    with pytest.raises(InputError, match="no mask eye_1 in north/masks"):
        load_sites("site_folders", path=str(top))
    assert len(load_sites("site_folders", path=str(top), bad_cases="skip").skipped) == 1
    for path in (top / "south/masks").iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    with pytest.raises(InputError, match=r"site .*south has no image with a mask"):
        load_sites("site_folders", path=str(top))
    with pytest.raises(InputError, match="holds no images"):
        load_sites("site_folders", path=str(top / "north" / "images"))


def test_site_folders_of_volumes(tmp_path):
    for first, site in ((0, "a"), (2, "b")):
        for case in range(2):
            image = tmp_path / "v" / site / "images" / f"{case}.nii.gz"
            put(image, scan(first + case))
            put(tmp_path / "v" / site / "masks" / f"{case}.nii", organ())
    pool = load_sites("site_folders", path=str(tmp_path / "v"))
    assert [case.name for case in pool.cases] == ["a_0", "a_1", "b_0", "b_1"]
    assert pool.cases[0].image.shape == (4, 10, 8, 1)


def test_numbers_that_make_no_labels():
    with pytest.raises(InputError, match="up to 64 are read as classes"):
        as_found([{0, 100}, {0, 3, 100}], "x")
    assert as_found([{0, 1}, {0, 255}], "x").values == (0, 255)
    assert as_found([{0, 1}, {0, 2}], "x").names == ("background", "1", "2")
    assert as_found([], "x").names == ("background", "foreground")
    with pytest.raises(InputError, match=r"m\.nii holds fractions, such as 0\.37"):
        numbered({0: "a", 1: "b"}).classes(np.array([0, 0.37]), "m.nii")
    near = numbered({0: "a", 3: "b"}).classes(np.float32([0, 2.9999998]), "m.nii")
    assert near.tolist() == [0, 1]
    for masks in ([{-1, 0}], [{0, 1, 2}, {-1, 0, 1}]):
        with pytest.raises(InputError, match="holds the number -1; classes are numb"):
            as_found(masks, "x")
        with pytest.raises(InputError, match="holds the number -1"):
            halves(masks, "a", "b")


def test_masks_of_one_class_come_back_as_they_were():
    assert as_found([{0, 1}, {0, 1}], "x").values == (0, 1)
    assert halves([{0, 3}, {0}], "a", "b").values == (0, 3)
    assert halves([{0, 200, 255}], "a", "b").values == (0, 255)  # blurred
    blurred = np.float32([0, 0.5, 1])
    with pytest.raises(InputError, match=r"fractions, such as 0\.5"):
        halves([{0, 1}], "a", "b").classes(blurred, "m.nii")


def test_fields_of_view_of_volumes_and_what_is_wrong_with_one(tmp_path):
    """What lies outside is ignored; a field that nothing answers to is told."""
    top = tmp_path / "v"
    inside = np.zeros_like(organ())
    inside[:6] = 1
    for first, site in ((0, "a"), (2, "b")):
        for case in range(2):
            put(top / site / "images" / f"{case}.nii.gz", scan(first + case))
            put(top / site / "masks" / f"{case}.nii", organ())
            put(top / site / "fov" / f"{case}.nii", inside)
    view = top / "a" / "fov" / "0.nii"

    def read(**settings):
        return load_sites("site_folders", path=str(top), **settings)

    bare = read().cases[0].mask
    assert (bare == IGNORED).sum() == (inside == 0).sum()
    view.rename(view.with_name("0_view.nii"))
    with pytest.raises(InputError, match=r"0\.nii\.gz has no field of view 0 in a/fov"):
        read()
    skipped = read(bad_cases="skip").skipped
    assert any("0_view.nii is a field of view without its image" in t for t in skipped)
    put(view, np.zeros_like(organ()))
    view.with_name("0_view.nii").unlink()
    with pytest.raises(InputError, match=r"fov/0\.nii is empty: a field of view"):
        read()
    view.unlink()
    picture(view.with_name("0.png"), np.full((8, 8), 255, np.uint8))
    with pytest.raises(InputError, match="are a picture and a volume"):
        read()


def test_channels_are_told_apart_by_number(tasks):
    for case in range(3):
        put(tasks / "imagesTr" / f"case_{case}_0001.nii.gz", scan(20 + case))
    (tasks / "imagesTr" / "case_3_0000.nii.gz").rename(
        tasks / "imagesTr" / "case_3_0001.nii.gz"
    )
    put(tasks / "imagesTr" / "case_3_0002.nii.gz", scan(30))
    with pytest.raises(InputError, match="channels 0001, 0002, others have 0000, 0001"):
        load_sites("nnunet", path=str(tasks))


def test_shape_is_trusted_for_channels_and_numbers_too(tmp_path):
    """Where affines of masks and channels are broken, or lie elsewhere."""
    away = np.diag([1.0, 1.0, 3.0, 1.0])
    away[0, 3] = 50
    for case in range(2):
        put(tmp_path / "imagesTr" / f"c{case}_0000.nii.gz", scan(case))
        put(tmp_path / "imagesTr" / f"c{case}_0001.nii.gz", scan(5 + case), away)
        put(tmp_path / "labelsTr" / f"c{case}.nii.gz", 2 * organ(), away)
    with pytest.raises(InputError, match=r"train with data\.geometry='shape'"):
        load_sites("nnunet", path=str(tmp_path))
    pool = load_sites("nnunet", path=str(tmp_path), geometry="shape")
    assert pool.cases[0].image.shape[-1] == 2
    assert pool.cases[0].origin.values == (0, 2)


@pytest.mark.parametrize(("said", "is_packed"), [("x.nii", True), ("x.nii.gz", False)])
def test_a_misnamed_volume_is_read_as_what_it_is(tmp_path, said, is_packed):
    path = tmp_path / ("real.nii.gz" if is_packed else "real.nii")
    put(path, scan())
    want = read_volume(path).voxels
    path = path.rename(tmp_path / said)
    for source in (path, path.read_bytes()):
        np.testing.assert_array_equal(read_volume(source, said).voxels, want)


def test_two_files_of_one_case_are_told(six, tasks, tmp_path):
    put(six / "UCL" / "CASE02.nii", scan())
    with pytest.raises(InputError, match="are of one case"):
        load_sites("prostate", path=str(six))
    put(tasks / "labelsTr" / "case_1.nii", organ())
    with pytest.raises(InputError, match="are of one case"):
        load_sites("nnunet", path=str(tasks))
    top = eyes(tmp_path / "eyes")
    picture(top / "north/images/eye_1.jpg", np.zeros((12, 16), np.uint8))
    with pytest.raises(InputError, match="are of one case"):
        load_sites("site_folders", path=str(top))


def test_a_case_to_predict_is_read_as_those_to_learn_from(six, tmp_path):
    known = load_sites("prostate", path=str(six)).cases[0]
    one = open_case(six / "ISBI" / "Case00.nii.gz")
    np.testing.assert_array_equal(one.image, known.image)
    assert (one.name, one.spacing) == ("Case00", known.spacing)
    assert (one.mask == IGNORED).all()
    write_mask(tmp_path / "out.nii.gz", known.mask, one.origin)
    with pytest.raises(InputError, match=r"gone\.nii does not exist"):
        open_case(tmp_path / "gone.nii")


def test_normalisations_by_hand():
    voxels = np.random.default_rng(0).gamma(2, 50, (3, 9, 8, 2)).astype(np.float32)
    want = (voxels - voxels.mean((0, 1, 2))) / voxels.std((0, 1, 2))
    np.testing.assert_allclose(normalised(voxels), want, atol=1e-5)
    low, high = np.quantile(voxels.astype(np.float64), (0.01, 0.99), axis=(0, 1, 2))
    want = np.clip((voxels - low) / (high - low), 0, 1)
    np.testing.assert_allclose(normalised(voxels, "percentile"), want, atol=1e-6)
    flat = np.full((1, 4, 4, 1), 1e30, np.float32)
    for how in ("zscore", "percentile"):
        assert not normalised(flat, how).any()


def smooth(seed: int) -> np.ndarray:
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in (10, 24, 20)), indexing="ij")
    ball = np.exp(-3 * sum(a**2 for a in axes))
    noise = np.random.default_rng(seed).normal(0, 3, ball.shape)
    return (100 + 800 * ball + noise).astype(np.float32)


def test_simulated_sites_differ_and_their_cases_vary():
    volume = smooth(0)
    np.testing.assert_array_equal(simulate_site(volume, 0, 1), volume)
    np.testing.assert_array_equal(simulate_site(volume, 3, 1, strength=0), volume)
    made = [normalised(simulate_site(volume, s, 1)[..., None]) for s in range(6)]
    for one in range(6):
        for two in range(one):
            assert np.sqrt(np.mean((made[one] - made[two]) ** 2)) > 0.2
    again = normalised(simulate_site(volume, 1, 1)[..., None])
    np.testing.assert_array_equal(again, made[1])
    other = normalised(simulate_site(volume, 1, 2)[..., None])
    apart = np.sqrt(np.mean((other - made[1]) ** 2))
    assert 0.01 < apart < np.sqrt(np.mean((made[0] - made[1]) ** 2))
    half = normalised(simulate_site(volume, 1, 1, strength=0.5)[..., None])
    assert np.mean((half - made[0]) ** 2) < np.mean((made[1] - made[0]) ** 2)


def test_hippocampus_is_dealt_by_names(tmp_path):
    top = tmp_path / "Task04_Hippocampus"
    for number in range(24):
        voxels = smooth(number).transpose(2, 1, 0) * 10.0 ** (number % 3)
        mask = np.zeros(voxels.shape, np.uint8)
        mask[8:12, 8:12, 4:6] = [1, 2]
        put(top / "imagesTr" / f"hippocampus_{number:03}.nii.gz", voxels, np.eye(4))
        put(top / "labelsTr" / f"hippocampus_{number:03}.nii.gz", mask, np.eye(4))
    pool = load_sites("hippocampus", root=str(tmp_path))
    assert pool.sites == ("S0", "S1", "S2", "S3")
    assert pool.class_names == ("background", "anterior", "posterior")
    whose = {case.name: case.site for case in pool.cases}
    plain = load_sites("hippocampus", root=str(tmp_path), strength=0)
    for one, two in zip(pool.cases, plain.cases, strict=True):
        assert np.array_equal(one.image, two.image) == (one.site == "S0")
        np.testing.assert_array_equal(one.mask, two.mask)
    (top / "imagesTr" / "hippocampus_003.nii.gz").unlink()
    fewer = load_sites("hippocampus", root=str(tmp_path), bad_cases="skip")
    assert whose.items() >= {case.name: case.site for case in fewer.cases}.items()


def test_every_setting_has_its_line_and_small_runs_their_values():
    for name, source in SITE_SOURCES.items():
        settings = settings_of(source)
        assert {"bad_cases"} <= set(settings) or name == "prostate_phantom"
        assert all(one.meaning for one in settings.values())


@pytest.mark.skipif(
    not (SHARED / "hippocampus_mri.zip").is_file(), reason="no shared data"
)
def test_the_real_hippocampus_set():
    pool = load_sites("hippocampus", root=str(SHARED))
    assert len(pool.cases) == 130
    assert pool.sites == ("S0", "S1", "S2", "S3")
    assert all(set(np.unique(case.mask)) == {0, 1, 2} for case in pool.cases)


@pytest.mark.skipif(
    not (SHARED / "retinal_vessels_3site.zip").is_file(), reason="no shared data"
)
def test_the_real_vessels():
    pool = load_sites("retinal_vessels", root=str(SHARED), size=96)
    counts = {s: sum(c.site == s for c in pool.cases) for s in pool.sites}
    assert counts == {"chasedb1": 28, "hrf": 45, "stare": 20}
    assert all(set(np.unique(case.mask)) == {0, 1, IGNORED} for case in pool.cases)


@pytest.mark.parametrize("classes", ["", "background,vessel"])
def test_of_two_classes_by_number_255_is_ignored(tmp_path, classes):
    """Named or not; without a third value it is the upper half."""
    top = eyes(tmp_path / "eyes")
    for path in sorted(top.glob("*/masks/*.png")):
        numbers = np.zeros(read_labels(path).shape, np.uint8)
        numbers[4:7], numbers[0] = 1, 255
        Image.fromarray(numbers).save(path)
    pool = load_sites("site_folders", path=str(top), classes=classes)
    for case in pool.cases:
        assert (case.mask[0, 0] == IGNORED).all()
        assert (case.mask[0, 4:7, 3:] == 1).all()
        assert not case.mask[0, 7:, 3:].any()


def test_sites_of_one_name_in_files_are_refused(tmp_path):
    from jaxdistill.jobs.segment.plan import plan
    from jaxdistill.jobs.settings.resolve import resolve

    top = eyes(tmp_path / "eyes")
    (top / "north").rename(top / "HK+coil")
    (top / "south").rename(top / "HK-coil")
    pool = load_sites("site_folders", path=str(top))
    with pytest.raises(InputError, match="would have one name in files, 'HK-coil'"):
        plan(resolve({"job": "segment", "data": {"name": "prostate_phantom"}}), pool)


def test_masks_of_several_far_numbers_are_not_halved(tmp_path):
    """Disc and cup as 0, 128, 255 are two organs, and no blur of one."""
    top = eyes(tmp_path / "eyes")
    for path in sorted(top.glob("*/masks/*.png")):
        numbers = np.zeros(read_labels(path).shape, np.uint8)
        numbers[4:7], numbers[8:10] = 128, 255
        picture(path, numbers)
    for classes in ("", "background,disc"):
        with pytest.raises(InputError, match="number the classes 0, 1, 2"):
            load_sites("site_folders", path=str(top), classes=classes)


def test_255_is_a_class_where_no_mask_has_it_beside_others(tmp_path):
    top = eyes(tmp_path / "eyes")
    for number, path in enumerate(sorted(top.glob("*/masks/*.png"))):
        mask = np.zeros(read_labels(path).shape, np.uint8)
        mask[4:7] = (1, 255)[number % 2]
        picture(path, mask)
    for classes in ("", "background,vessel"):
        pool = load_sites("site_folders", path=str(top), classes=classes)
        for case in pool.cases:
            assert set(np.unique(case.mask[case.mask != IGNORED])) == {0, 1}


def test_links_that_are_passed_over_are_told(six, capsys):
    (six / "twin").symlink_to(six / "BMC", target_is_directory=True)
    with pytest.warns(UserWarning, match="twin is a link"):
        load_sites("prostate", path=str(six))
    data_main(["check", str(six), "--layout=prostate"])
    assert "twin is a link" in capsys.readouterr().out


def test_numbers_of_classes_survive_the_scale_of_a_header(tmp_path):
    image = nib.Nifti1Image(organ(1, 2).astype(np.float64), AFFINE)
    image.set_data_dtype(np.uint8)
    path = tmp_path / "mask.nii.gz"
    nib.save(image, path)
    assert len(np.unique(read_volume(path).voxels % 1)) > 1
    values = read_volume(path, labels=True).voxels
    assert np.unique(values).tolist() == [0, 1, 2]
    put(tmp_path / "odd.nii.gz", organ().astype(np.float32) * 0.7)
    assert 0.7 in read_volume(tmp_path / "odd.nii.gz", labels=True).voxels.round(3)


def test_channels_of_a_case_lie_in_one_folder(tmp_path):
    files = [put(tmp_path / name / "p.nii.gz", scan()) for name in ("t1", "t2")]
    with pytest.raises(InputError, match="lie in one folder"):
        open_case(*files)
