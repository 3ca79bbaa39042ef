"""Files of strangers: bounded in memory, each refused in one sentence."""

import json
import os
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import bombs
import numpy as np
import pytest

from jaxdistill.errors import InputError
from jaxdistill.foreign import (
    Field,
    headers,
    look_alikes,
    open_archive,
    parse_json,
    read_bytes,
    read_npz,
    read_tensors,
    shown,
)

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.skipif(sys.platform != "linux", reason="limits are those of Linux")
def test_no_bomb_takes_a_gigabyte(tmp_path):
    bombs.write(tmp_path)
    done = subprocess.run(
        [sys.executable, bombs.__file__, str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) > 30
    for name, said in told:
        assert said.startswith(("InputError: ", "Damaged: ")), (name, said)
        assert "memory" not in said, (name, said)
        assert "\n" not in said, (name, said)
        assert len(said) < 600, (name, said)


FIELDS = {
    "images": Field("m h w c"),
    "labels": Field("m k"),
    "names": Field("k", "U"),
    "scale": Field("r? 2", needed=False),
}
GOOD = {
    "images": np.ones((4, 2, 2, 1), np.float32),
    "labels": np.ones((4, 3), np.float32),
    "names": np.array(["a", "b", "c"]),
    "scale": np.zeros((0, 2), np.float32),
    "more": np.ones(3),
}


def test_fields_are_read_and_the_rest_is_left_alone(tmp_path):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, **GOOD)
    found = read_npz(path, FIELDS)
    assert set(found) == set(FIELDS)
    for name, values in found.items():
        np.testing.assert_array_equal(values, GOOD[name])
    assert headers(path)["more"].shape == (3,)
    np.savez(path, **{k: v for k, v in GOOD.items() if k != "scale"})
    assert set(read_npz(path, FIELDS)) == set(FIELDS) - {"scale"}
    big = {"a": np.arange(3, dtype=">i8")}
    np.savez(path, **big)
    assert read_npz(path)["a"].dtype == np.int64


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"images": None}, r"has no array 'images' \(it has labels"),
        ({"images": np.ones((4, 2, 2))}, r"must be \(m, h, w, c\)"),
        ({"images": np.ones((4, 2, 2, 1), int)}, "they must be real"),
        ({"labels": np.ones((5, 3))}, "axis m must have the length 4 as of images"),
        ({"names": np.array(["a", "b"])}, "axis k must have the length 3 as of labels"),
        ({"names": np.ones(3)}, "they must be text"),
        ({"scale": np.ones((4, 3))}, "axis 2 must have the length 2"),
        ({"images": np.ones((0, 2, 2, 1)), "labels": np.ones((0, 3))}, "m must not be"),
        ({"images": np.full((4, 2, 2, 1), np.nan)}, "images in .* NaN or infinite"),
        ({"images": np.full((4, 2, 2, 1), 1e300)}, "images in .* NaN or infinite"),
        ({"more": np.array([{}])}, "holds pickled objects"),
        ({"more": np.zeros(2, "i4,f4")}, "only numbers and text are read"),
        ({"more": np.zeros(2, "U5000")}, "only numbers and text are read"),
        ({"more": np.zeros(2, "M8[s]")}, "only numbers and text are read"),
    ],
)
def test_another_array_is_refused_in_one_sentence(tmp_path, changed, sentence):
    path = tmp_path / "set.npz"
    arrays = {k: v for k, v in (GOOD | changed).items() if v is not None}
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=sentence) as told:
        read_npz(path, FIELDS)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def test_more_bytes_than_asked_for_are_not_read(tmp_path):
    np.savez(tmp_path / "set.npz", **GOOD)
    with pytest.raises(InputError, match="at most 100 are read"):
        read_npz(tmp_path / "set.npz", FIELDS, most=100)
    lone = tmp_path / "lone.npz"
    with open(lone, "wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(InputError, match="not an npz file"):
        read_npz(lone)


def test_members_of_a_zip_have_one_name_each_below_the_top(tmp_path):
    path = tmp_path / "films.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("/a/1.png", "../b/2.png", "c\\3.png", "./d/./4.png"):
            archive.writestr(zipfile.ZipInfo(name), b"x")
        link = zipfile.ZipInfo("e/link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    found = open_archive(path)
    assert sorted(found.members) == ["a/1.png", "b/2.png", "c/3.png", "d/4.png"]
    assert found.links == ("e/link.png",)
    found.close()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", b"2")
    with pytest.raises(InputError, match=r"two members called a\.png"):
        open_archive(path)


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED]
)
def test_damage_of_any_compression_is_one_sentence(tmp_path, method):
    path = tmp_path / "films.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.png", np.random.default_rng(0).bytes(4000))
    whole = path.read_bytes()
    for at in (36, 60, 400):
        data = bytearray(whole)
        data[at : at + 100] = bytes(x ^ 0x5A for x in data[at : at + 100])
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"cannot be unpacked|not a zip") as told:
            open_archive(path).read("a.png")
        assert "\n" not in str(told.value)


def test_an_unknown_compression_and_a_password_are_told(tmp_path):
    path = tmp_path / "films.zip"
    for at, value in ((8, 9), (6, 1)):  # deflate64; encrypted
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.png", b"1234")
        data = bytearray(path.read_bytes())
        central = data.rfind(b"PK\1\2")
        data[at], data[central + at + 2] = value, value
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"a\.png cannot be unpacked"):
            open_archive(path).read("a.png")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property"),
        ("[NaN]", "NaN, which is no number"),
        ("[-Infinity]", "Infinity, which is no number"),
        ("[1e999]", "1e999, which is no number"),
        ("[" * 40 + "]" * 40, "deeper than 32"),
        ("[" * 100_000, "recursion|deeper|nested"),
        ("[" + "9" * 5000 + "]", "digits"),
        (b"\xff\xfe{", "decode|Expecting"),
    ],
)
def test_json_that_is_not_sound(text, reason):
    with pytest.raises(InputError, match=rf"f\.json is damaged \(.*({reason})"):
        parse_json(text, "f.json")
    assert parse_json('{"a": [1, 2.5, null]}', "f.json") == {"a": [1, 2.5, None]}


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    os.symlink("/dev/zero", tmp_path / "zero")
    os.symlink(tmp_path / "gone", tmp_path / "broken")
    for name in ("pipe", "zero"):
        with pytest.raises(InputError, match="no regular file but a device, a pipe"):
            read_bytes(tmp_path / name)
    for name, said in ((".", "is a folder"), ("broken", "does not exist")):
        with pytest.raises(InputError, match=said):
            read_bytes(tmp_path / name)
    for odd in ("a\0b", "x" * 5000):
        with pytest.raises(InputError, match=r"no path|cannot be read"):
            read_bytes(odd)
    (tmp_path / "file").write_bytes(b"1234")
    assert read_bytes(tmp_path / "file", 4) == b"1234"
    with pytest.raises(InputError, match="larger than 3 bytes"):
        read_bytes(tmp_path / "file", 3)


def test_tensors_with_wide_numbers_and_half_ones(tmp_path):
    import ml_dtypes
    from safetensors.numpy import save_file

    path = tmp_path / "w.safetensors"
    half = np.ones((2, 3), ml_dtypes.bfloat16)
    save_file({"a": np.array([2**40]), "b": half}, path, {"k": "v"})
    found, told = read_tensors(path)
    assert found["a"].tolist() == [2**40]
    assert found["b"].dtype == half.dtype
    assert told == {"k": "v"}
    save_file({"a": np.array([np.inf], np.float32)}, path)
    with pytest.raises(InputError, match="NaN or infinite weights in a"):
        read_tensors(path)
    for data in (b"", b"1234567", Path(__file__).read_bytes()):
        path.write_bytes(data)
        with pytest.raises(InputError, match="cannot be read as safetensors"):
            read_tensors(path)


def test_names_are_shown_on_any_terminal_and_told_apart_as_people_do():
    assert shown(os.fsdecode(b"caf\xe9.png")) == "caf\\xe9.png"
    assert shown("a\x1b[2Jb\n") == "a\ufffd[2Jb\ufffd"
    assert shown(Path("film 1.png")) == "film 1.png"
    alike = (
        "Müller",
        "Mu\u0308ller",
        "MÜLLER",
        "Muller",
        "sick",
        "sick ",
        "si\u200bck",
    )
    assert look_alikes(alike) == [
        ("Mu\u0308ller", "MÜLLER", "Müller"),
        ("sick", "sick ", "si\u200bck"),
    ]
    assert look_alikes(("normal", "sick")) == []


def test_a_directory_that_only_its_longer_record_tells_is_bounded(tmp_path):
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"x")
    data = path.read_bytes()
    start = data.rfind(b"PK\5\6")
    longer = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, 1 << 40, 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, start, 1)
    path.write_bytes(data[:start] + longer + locator + data[start:])
    with pytest.raises(InputError, match=f"a directory of {1 << 40:,} bytes"):
        open_archive(path)
