"""Class folders, zips and TFDS: layouts, seeded splits by group, leaks, faults."""

import io
import os
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jaxdistill.data as data
from jaxdistill.data.pool import located
from jaxdistill.data.splits import carve
from jaxdistill.errors import InputError

pytestmark = pytest.mark.filterwarnings("error")


def png(number: int, size: int = 8) -> bytes:
    """A grey picture, another one for each number."""
    pixels = np.random.default_rng(number).integers(0, 255, (size, size), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def put(top: Path, *files: str, content: bytes | None = None) -> Path:
    for file in files:
        path = top / file
        path.parent.mkdir(parents=True, exist_ok=True)
        number = zlib.crc32(file.encode())
        path.write_bytes(png(number) if content is None else content)
    return top


def classes(top: Path, count: int = 12, under: str = "") -> Path:
    for name in ("benign", "malignant"):
        put(top, *(f"{under}{name}/{number:03}.png" for number in range(count)))
    return top


def zipped(top: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(top.rglob("*")):
            archive.write(path, path.relative_to(top.parent))
    return target


def rows(pool, split: str) -> set[bytes]:
    return {np.asarray(image).tobytes() for image in getattr(pool, split).images}


def test_a_seeded_split_is_stratified_disjoint_and_repeatable(tmp_path):
    top = classes(tmp_path / "scans", 20)
    pool = data.folder(top, 8, seed=3)
    assert data.counts(pool) == {
        "train": {"benign": 14, "malignant": 14},
        "val": {"benign": 3, "malignant": 3},
        "test": {"benign": 3, "malignant": 3},
    }
    again, other = data.folder(top, 8, seed=3), data.folder(top, 8, seed=4)
    for split in ("train", "val", "test"):
        assert rows(pool, split) == rows(again, split)
    assert rows(pool, "test") != rows(other, "test")
    assert not rows(pool, "train") & rows(pool, "test")


def test_a_zip_reads_like_its_folder(tmp_path):
    top = classes(tmp_path / "scans")
    put(top, "__MACOSX/benign/._1.png", ".hidden/x.png", content=b"litter")
    put(top, "benign/Thumbs.db", "notes.txt", content=b"litter")
    archive = zipped(top, tmp_path / "scans.zip")
    one, two = data.folder(top, 8), data.folder(archive, 8)
    np.testing.assert_array_equal(one.train.images, two.train.images)
    np.testing.assert_array_equal(one.test.labels, two.test.labels)
    assert data.fingerprint(one) == data.fingerprint(two)


def test_given_splits_are_kept_and_the_missing_one_is_drawn(tmp_path):
    top = classes(tmp_path / "a", 10, "train/")
    classes(top, 4, "test/")
    pool = data.folder(top, 8, val_fraction=0.2)
    found = data.counts(pool)
    assert found["test"] == {"benign": 4, "malignant": 4}
    assert found["val"] == {"benign": 2, "malignant": 2}
    assert found["train"] == {"benign": 8, "malignant": 8}
    classes(top, 3, "Validation/")
    assert data.counts(data.folder(top, 8))["val"]["benign"] == 3


def test_covid_radiography_layout(tmp_path, monkeypatch):
    top = tmp_path / "COVID-19_Radiography_Dataset"
    names = ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")
    for start, name in enumerate(names):
        for number in range(10):
            content = png(100 * start + number, 12)
            put(top, f"{name}/images/{name}-{number}.png", content=content)
            put(top, f"{name}/masks/{name}-{number}.png", content=png(7))
        put(top, f"{name}.metadata.xlsx", content=b"PK")
    monkeypatch.setenv("JAXDISTILL_DATA", str(tmp_path))
    pool = data.load("covid_radiography", size=8)
    assert pool.class_names == names
    assert pool.name == "covid_radiography"
    assert sum(sum(c.values()) for c in data.counts(pool).values()) == 40


def test_groups_stay_together(tmp_path):
    for name in ("a", "b"):
        for patient in range(12):
            for view in range(1 + patient % 3):
                put(tmp_path / "g", f"{name}/{name}{patient}__{view}.png")
    pool = data.folder(tmp_path / "g", 8)
    seen = [
        set(np.asarray(s.groups).tolist()) for s in (pool.train, pool.val, pool.test)
    ]
    assert not (seen[0] & seen[1])
    assert not (seen[0] & seen[2])
    assert not (seen[1] & seen[2])
    assert len(set.union(*seen)) == 24


def test_groups_by_pattern(tmp_path):
    for name in ("a", "b"):
        for number in range(20):
            put(tmp_path / "g", f"{name}/patient{number // 2}{name}/{number}.png")
    pool = data.folder(tmp_path / "g", 8, group=r"^([^/]+)/")
    counts = np.bincount(np.asarray(pool.train.groups))
    assert set(counts[counts > 0].tolist()) == {2}
    with pytest.raises(InputError, match=r"data.group='x\+' does not match"):
        data.folder(tmp_path / "g", 8, group="x+")
    with pytest.raises(InputError, match="not a regular expression"):
        data.folder(tmp_path / "g", 8, group="(")


def test_new_images_leave_the_old_split_alone():
    labels = np.repeat([0, 1], 40)
    names = [f"p{index}" for index in range(80)]
    shares = {"test": 0.2, "val": 0.2}
    before = carve(labels, names, shares, 0, ("a", "b"))
    more = carve(np.append(labels, 0), [*names, "new"], shares, 0, ("a", "b"))
    assert (before != more[:80]).sum() <= 2  # at the borders between splits only


def test_mixed_sizes_and_modes_become_one_shape(tmp_path):
    top = classes(tmp_path / "m")
    big = Image.new("RGB", (40, 20), (255, 0, 0))
    big.save(top / "benign" / "wide.jpg")
    pool = data.folder(top, 16, channels=3)
    assert pool.image_shape == (16, 16, 3)


def test_leaks_are_named(tmp_path):
    top = classes(tmp_path / "leak", 6, "train/")
    classes(top, 6, "val/")
    classes(top, 6, "test/")
    put(
        top, "test/benign/copy.png", content=(top / "train/benign/000.png").read_bytes()
    )
    with pytest.warns(UserWarning, match=r"test/benign/copy.png and train/benign/000"):
        data.folder(top, 8)


def test_a_patient_in_two_given_splits_is_named(tmp_path):
    top = classes(tmp_path / "leak", 6, "train/")
    classes(top, 6, "val/")
    classes(top, 6, "test/")
    put(top, "train/benign/anna__1.png", "test/benign/anna__2.png")
    with pytest.warns(
        UserWarning, match="1 patient with 2 images .* 'anna' in test and in t"
    ):
        data.folder(top, 8)


def _empty_class(top: Path) -> None:
    (top / "cyst").mkdir()


def _bad(name: str, content: bytes):
    return lambda top: put(top, name, content=content)


def _only_one_class(top: Path) -> None:
    for path in (top / "malignant").iterdir():
        path.unlink()
    (top / "malignant").rmdir()


def _few(top: Path) -> None:
    put(top, "rare/1.png", "rare/2.png")


BAD = {
    "cyst holds no image": _empty_class,
    "holds no image": lambda top: [p.unlink() for p in top.rglob("*.png")],
    "empty (0 bytes)": _bad("benign/zero.png", b""),
    "not an image of a known": _bad("benign/text.jpg", b"hello"),
    "truncated or damaged": _bad("benign/cut.png", png(1, 64)[:300]),
    "lies outside the folder of a class": _bad("stray.png", png(1)),
    "class 'rare' has 2 groups": _few,
}


@pytest.mark.parametrize("rule", BAD)
def test_bad_folders_are_one_sentence(tmp_path, rule):
    top = classes(tmp_path / "bad")
    BAD[rule](top)
    with pytest.raises(InputError) as caught:
        data.folder(top, 8)
    assert rule in str(caught.value)
    assert "bad" in str(caught.value) or "rare" in str(caught.value)


def test_one_class_only(tmp_path):
    _only_one_class(classes(tmp_path / "one"))
    with pytest.raises(InputError, match="class"):
        data.folder(tmp_path / "one", 8)


def test_a_class_in_test_but_not_in_train(tmp_path):
    top = classes(tmp_path / "s", 6, "train/")
    classes(top, 3, "test/")
    put(top, "test/cyst/1.png")
    with pytest.raises(InputError, match=r"class 'cyst' is in test .*not in train"):
        data.folder(top, 8)


def test_several_broken_files_are_counted(tmp_path):
    top = classes(tmp_path / "s")
    put(top, "benign/x.png", "benign/y.png", content=b"")
    with pytest.raises(InputError, match=r"x\.png.*1 more are broken.*data check"):
        data.folder(top, 8)


def test_paths_and_settings_are_checked(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        data.folder(tmp_path / "gone")
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(InputError, match="damaged, or not a zip"):
        data.folder(tmp_path / "cut.zip")
    (tmp_path / "a.csv").write_bytes(b"1,2")
    with pytest.raises(InputError, match="neither a folder nor a zip"):
        data.folder(tmp_path / "a.csv")
    top = classes(tmp_path / "s")
    for setting in ({"size": 4}, {"channels": 2}, {"val_fraction": 0.0}):
        key = next(iter(setting))
        with pytest.raises(InputError, match=f"data.{key}="):
            data.folder(top, **setting)


def test_a_damaged_member_of_a_zip_is_named(tmp_path):
    archive = zipped(classes(tmp_path / "s"), tmp_path / "s.zip")
    content = bytearray(archive.read_bytes())
    at = content.find(b"IDAT")
    content[at + 8 : at + 12] = b"\0\0\0\0"
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"s\.zip/s/benign/000\.png"):
        data.folder(archive, 8)


def test_dicom_without_a_suffix_is_found(tmp_path):
    from test_data_dicom import dicom

    top = classes(tmp_path / "d")
    put(top, "benign/IM000001", content=dicom())
    put(top, "benign/LICENSE", content=b"free")
    pool = data.folder(top, 8)
    assert sum(c["benign"] for c in data.counts(pool).values()) == 13


SHARED = Path(os.environ.get("JAXDISTILL_DATA", "")) / "chest_xray_128.zip"


@pytest.mark.skipif(not SHARED.is_file(), reason="the shared chest X-rays are not here")
def test_real_chest_x_rays():
    pool = data.load("chest_xray", size=32, root=str(SHARED.parent))
    assert data.counts(pool) == {
        "train": {"bacteria": 2197, "normal": 1236, "virus": 1175},
        "val": {"bacteria": 234, "normal": 173, "virus": 152},
        "test": {"bacteria": 329, "normal": 170, "virus": 158},
    }


# --- TFDS ----------------------------------------------------------------------------

PREPARE = """
import io, sys
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

class TinyXray(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict({
            "image": tfds.features.Image(shape=(10, 10, 1)),
            "label": tfds.features.ClassLabel(names=["normal", "ill"]),
        })
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0, 20),
                "test": self._generate_examples(20, 6)}

    def _generate_examples(self, first, count):
        for number in range(first, first + count):
            buffer = io.BytesIO()
            Image.fromarray(np.full((10, 10), number, np.uint8)).save(buffer, "PNG")
            buffer.seek(0)
            yield number, {"image": buffer, "label": number % 2}

TinyXray(data_dir=sys.argv[1], file_format="array_record").download_and_prepare()
assert "tensorflow" not in sys.modules
"""
READ = """
import sys
import jaxdistill.data as data

pool = data.load("tfds", path=sys.argv[1], size=8, val_fraction=0.2)
assert data.counts(pool)["test"] == {"normal": 3, "ill": 3}
assert data.counts(pool)["val"] == {"normal": 2, "ill": 2}
assert pool.class_names == ("normal", "ill")
pixels = sorted(pool.train.images[:, 0, 0, 0].tolist())
held = sorted(pool.val.images[:, 0, 0, 0].tolist())
assert sorted(pixels + held) == list(range(20))
assert (pool.train.images[:, 0, 0, 0] % 2 == pool.train.labels).all()
assert "tensorflow" not in sys.modules
"""


def test_tfds_is_prepared_and_read_without_tensorflow(tmp_path):
    for script, path in ((PREPARE, tmp_path), (READ, tmp_path / "tiny_xray" / "1.0.0")):
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_tfds_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="neither a TFDS name nor a prepared folder"):
        data.load("tfds", path="no_such_set_at_all", root=str(tmp_path))
    with pytest.raises(InputError, match="neither a TFDS name nor a prepared folder"):
        data.load("tfds", path=str(tmp_path), root=str(tmp_path))
    with pytest.raises(InputError, match="file_format=array_record"):
        data.load("tfds", path="mnist", root=str(tmp_path))


def test_importing_the_room_stays_light():
    script = (
        "import sys, jaxdistill.data; heavy = {'tensorflow', 'tensorflow_datasets', "
        "'pydicom', 'nibabel', 'matplotlib'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_path_that_is_nowhere_is_told_with_both_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "sets"
    (root / "films").mkdir(parents=True)
    assert located("films", root) == root / "films"
    with pytest.raises(InputError) as told:
        located("in/flims", root)
    both = f"in/flims does not exist in {tmp_path} or in {root}: correct the path"
    assert str(told.value).startswith(both)
