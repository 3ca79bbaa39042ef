"""Folders that people have: read rightly by a run, and told alike by `data check`."""

import os
import signal
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from test_data_folder import classes, png, put, zipped

import jaxdistill.data as data
from jaxdistill.data.check import Report, check
from jaxdistill.errors import InputError

pytestmark = pytest.mark.filterwarnings("error")


def both(top: Path, **settings) -> tuple[dict | str, list[str], Report]:
    """What a run makes of a folder (or why not), its warnings, and the check's word.

    Whatever a run refuses, the check must call unusable, and the other way about.
    """
    report = check(top, settings.get("group", ""))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            found: dict | str = data.counts(data.folder(top, 8, **settings))
        except InputError as error:
            found = str(error)
            assert "\n" not in found
    assert bool(report.problems) == isinstance(found, str), (report.problems, found)
    if isinstance(found, str):
        assert found.partition("; ")[0] in " ".join(report.problems)
    said = [str(one.message) for one in heard]
    assert set(said) <= set(report.remarks)
    return found, said, report


def total(found: dict | str) -> dict[str, int]:
    """Images by class over all splits."""
    assert isinstance(found, dict), found
    return {name: sum(found[split][name] for split in found) for name in found["train"]}


def test_links_to_class_folders_are_followed_once(tmp_path):
    classes(tmp_path / "films")
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in ("benign", "malignant"):
        os.symlink(tmp_path / "films" / name, linked / name)
    assert total(both(linked)[0]) == {"benign": 12, "malignant": 12}
    os.symlink(linked, linked / "benign" / "round")  # a circle, and a way out
    os.symlink("/", linked / "malignant" / "out")
    found, said, report = both(linked)
    assert total(found) == {"benign": 12, "malignant": 12}
    assert sum("is a link to a folder" in line for line in report.remarks) == 2
    assert len(said) == 2
    os.symlink(tmp_path / "films" / "benign", linked / "twice")  # no class of its own
    assert total(both(linked)[0]) == {"benign": 12, "malignant": 12}


def test_names_that_are_not_utf8(tmp_path):
    top = classes(tmp_path / "films")
    odd = os.fsencode(top / "benign") + b"/caf\xe9__1.png"
    os.rename(top / "benign" / "000.png", odd)
    found, _, report = both(top)
    assert total(found) == {"benign": 12, "malignant": 12}
    os.truncate(odd, 30)
    refused, _, report = both(top)
    assert "caf\\xe9__1.png is " in refused
    for line in (*report.lines, *report.problems, *report.remarks):
        line.encode()
    os.rename(os.fsencode(top / "benign"), os.fsencode(top) + b"/b\xe9nin")
    assert "has a name that is not UTF-8" in both(top)[0]


def test_members_with_a_leading_slash(tmp_path):
    top = classes(tmp_path / "films")
    path = tmp_path / "slash.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(top.rglob("*.png")):
            member = zipfile.ZipInfo("x")
            member.filename = f"/{file.relative_to(tmp_path)}"
            archive.writestr(member, file.read_bytes())
    assert both(path)[0] == both(top)[0]


def test_a_damaged_lzma_member(tmp_path):
    top, path = classes(tmp_path / "films"), tmp_path / "lzma.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for file in sorted(top.rglob("*.png")):
            archive.write(file, file.relative_to(top))
    whole = bytearray(path.read_bytes())
    whole[60:110] = bytes(x ^ 0x5A for x in whole[60:110])
    path.write_bytes(whole)
    assert "cannot be unpacked" in both(path)[0]


def test_patients_shared_between_given_splits_are_counted(tmp_path):
    for split in ("train", "val", "test"):
        for number, name in enumerate(("benign", "malignant")):
            for patient in range(4):
                put(
                    tmp_path / "leak", f"{split}/{name}/p{number}{patient}__{split}.png"
                )
    found, said, report = both(tmp_path / "leak")
    assert total(found) == {"benign": 12, "malignant": 12}
    assert len(said) == 1
    assert said[0].startswith("8 patients with 24 images lie in more than one split")
    assert said[0] in report.remarks


def test_a_folder_for_each_patient(tmp_path):
    top = tmp_path / "films"
    for number, name in enumerate(("benign", "malignant")):
        for patient in range(5):
            for view in range(4):
                put(top, f"{name}/patient{number}{patient}/image{view}.png")
    _, said, report = both(top)
    assert len(said) == 1
    assert "lie in 5 folders below it, such as patient00" in said[0]
    assert "data.group='^([^/]+)/'" in said[0]
    assert "groups (patients): 40 for 40 images" in report.lines
    found, said, report = both(top, group="^([^/]+)/")
    assert said == []
    assert "groups (patients): 10 for 40 images" in report.lines
    assert set(found["test"].values()) == {4}


def test_a_class_called_mask_is_a_class_and_masks_below_classes_are_none(tmp_path):
    top = tmp_path / "films"
    for name in ("mask", "no_mask", "incorrect"):
        put(top, *(f"{name}/{number}.png" for number in range(8)))
    assert total(both(top)[0]) == {"incorrect": 8, "mask": 8, "no_mask": 8}
    put(top, *(f"no_mask/masks/{number}.png" for number in range(8)))
    found, said, report = both(top)
    assert total(found)["no_mask"] == 8
    assert any(line.startswith("8 images of") for line in report.remarks)
    assert said == []


def test_one_class_folder(tmp_path):
    put(tmp_path / "one", *(f"normal/{number}.png" for number in range(8)))
    said = f"{tmp_path}/one/normal is the one class folder of {tmp_path}/one; a"
    assert both(tmp_path / "one")[0].startswith(said)
    put(tmp_path / "two", *(f"train/normal/{number}.png" for number in range(8)))
    assert "holds images of one class folder, normal" in both(tmp_path / "two")[0]


def test_the_litter_of_storage_boxes_and_desktops(tmp_path):
    top = classes(tmp_path / "films")
    for name in (
        "@eaDir",
        "#recycle",
        "__MACOSX",
        "$RECYCLE.BIN",
        ".Trash",
        "lost+found",
    ):
        put(top, f"{name}/x.png", f"benign/{name}/000.png/SYNOPHOTO_THUMB_M.png")
    put(top, "benign/Thumbs.db", "malignant/desktop.ini", content=b"x")
    found, said, report = both(top)
    assert total(found) == {"benign": 12, "malignant": 12}
    assert said == report.remarks == []


def test_pictures_without_contrast_are_named(tmp_path):
    from io import BytesIO

    from PIL import Image

    top = classes(tmp_path / "films")
    blank = BytesIO()
    Image.fromarray(np.full((16, 16), 7, np.uint8)).save(blank, "PNG")
    put(top, "benign/blank.png", content=blank.getvalue())
    _, _, report = both(top)
    assert report.remarks == [
        f"{top}/benign/blank.png shows nothing: all its pixels are 7"
    ]


def test_what_is_no_regular_file_is_refused(tmp_path):
    for name, make in {
        "zero": lambda path: os.symlink("/dev/zero", path),
        "pipe": os.mkfifo,
        "gone": lambda path: os.symlink("/nowhere", path),
    }.items():
        top = classes(tmp_path / name)
        make(top / "benign" / "odd.png")
        told = both(top)[0]
        assert f"{top}/benign/odd.png" in told
        assert "no regular file" in told or "does not exist" in told
        os.rename(top / "benign" / "odd.png", top / "benign" / "odd")
        assert total(both(top)[0])["benign"] == 12  # no image by its name


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is locked for root")
def test_a_locked_folder_does_not_vanish(tmp_path):
    top = classes(tmp_path / "films")
    os.chmod(top / "benign", 0)
    told = both(top)[0]
    os.chmod(top / "benign", 0o700)
    assert "benign cannot be listed" in told


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Müller", "Mu\u0308ller"),
        ("Normal", "normal"),
        ("sick", "sick "),
        ("ok", "ok\u200b"),
        ("covid", "c\u043evid"),
        ("AP", "\u0391\u03a1"),
    ],
)
def test_class_folders_that_look_alike_are_refused(tmp_path, one, other):
    top = classes(tmp_path / "films")
    for name in (one, other):
        put(top, *(f"{name}/{number}.png" for number in range(8)))
    told = both(top)[0]
    assert "look alike but are not one" in told
    assert ascii(one) in told
    assert ascii(other) in told


def test_a_pattern_that_finds_no_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxdistill.foreign.patterns.PATIENCE", 0.1)
    top, kinds = tmp_path / "films", ("benign", "malignant")
    put(top, *(f"{kind}/{kind}{n}.png" for kind in kinds for n in range(9)))
    pattern = r"^(?:a+)+$|^\w{1,12}[.]png$"
    assert isinstance(both(top, group=pattern)[0], dict)
    put(top, f"benign/{'a' * 60}.png")
    assert "finds no end in 'aaa" in both(top, group=pattern)[0]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_one_patient_in_two_spellings(tmp_path):
    top = classes(tmp_path / "films", 6, "train/")
    classes(top, 6, "val/")
    classes(top, 6, "test/")
    put(top, "train/benign/Müller__1.png", "test/benign/Mu\u0308ller__2.png")
    _, said, _ = both(top)
    assert said == [
        "1 patient with 2 images lies in more than one split, such as 'Müller' in test "
        "and in train: test scores will flatter; keep each in one"
    ]
    put(top, "train/benign/ANNA__1.png", "test/benign/anna__2.png")
    assert "the patients 'ANNA' and 'anna' look alike" in "".join(both(top)[1])


def test_splits_that_were_not_recognised_are_told(tmp_path):
    top = tmp_path / "films"
    for split in ("train_set", "test_set"):
        put(top, *(f"{split}/a{number}.png" for number in range(8)))
    _, said, _ = both(top)
    assert len(said) == 1
    assert "test_set, train_set of" in said[0]
    assert "taken for classes" in said[0]
    other = tmp_path / "other"
    for name in ("benign", "malignant"):
        for split in ("train", "test"):
            put(other, *(f"{name}/{split}/{number}.png" for number in range(8)))
    said = both(other)[1]
    assert any("folders test, train lie below the classes" in line for line in said)


@pytest.mark.parametrize(
    ("labels", "rule"),
    [
        (np.full(8, 2**32, np.int64), "must lie in 0 to 1"),
        (np.full(8, -(2**32), np.int64), "must lie in 0 to 1"),
        (np.full(8, 2**63 + 1, np.uint64), "must lie in 0 to 1"),
        (np.full(8, 256, np.int16), "must lie in 0 to 1"),
    ],
)
def test_labels_that_a_narrower_type_would_wrap_to_a_class(labels, rule):
    images = np.zeros((8, 8, 8, 1), np.uint8)
    good = data.Raw(images, np.arange(8) % 2, np.arange(8))
    bad = good._replace(labels=labels)
    with pytest.raises(InputError, match=rule):
        data.make_pool("x", {"train": good, "val": good, "test": bad}, ("a", "b"))
    wide = good._replace(groups=np.arange(8) + 2**32)
    with pytest.raises(InputError, match="whole number an image, from 0 to 2,147"):
        data.make_pool("x", {"train": good, "val": good, "test": wide}, ("a", "b"))


def test_a_zip_and_its_folder_are_checked_alike(tmp_path):
    top = classes(tmp_path / "films")
    put(top, "benign/copy.png", content=png(1))
    put(top, "malignant/copy.png", content=png(1))
    archive = zipped(top, tmp_path / "films.zip")
    one, two = both(top), both(archive)
    assert one[0] == two[0]
    assert one[2].lines == two[2].lines
