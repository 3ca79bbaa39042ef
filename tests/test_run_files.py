"""Whole files or none, and one sentence for each way in which a disk or file fails."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.errors import InputError
from jaxdistill.run import files

LIMITED = """
import resource, sys
import numpy as np
from jaxdistill.errors import InputError
from jaxdistill.run import files
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    files.save_npz(sys.argv[1], images=np.zeros(100_000, np.uint8))
except InputError as error:
    print(error)
"""
REWRITING = """
import sys
import numpy as np
from jaxdistill.run import files
for i in range(100_000):
    files.save_npz(sys.argv[1], value=np.full(50_000, i))
    print(i, flush=True)
"""


def interrupted(path):
    with files.replacing(path) as file:
        file.write(b"half of the ne")
        raise KeyboardInterrupt


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "deep" / "file.bin"
    files.write_atomic(target, b"old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(target)
    assert target.read_bytes() == b"old"
    assert os.listdir(target.parent) == ["file.bin"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    target = tmp_path / "set.npz"
    command = [sys.executable, "-c", LIMITED, str(target)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.startswith(f"cannot write {target}: the file exceeds the size limit; ")
    assert len(told.splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_a_kill_while_writing_leaves_a_whole_file(tmp_path):
    target = tmp_path / "set.npz"
    command = [sys.executable, "-c", REWRITING, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(20):
            process.stdout.readline()
        time.sleep(0.003)
        process.send_signal(signal.SIGKILL)
    value = files.load_npz(target)["value"]
    assert value.shape == (50_000,)
    assert value[0] >= 19
    assert (value == value[0]).all()
    files.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["set.npz"]


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (OSError(errno.ENOSPC, "x"), "no space is left"),
        (OSError(errno.EDQUOT, "x"), "quota is used up"),
        (OSError(errno.EROFS, "x"), "disk is read-only"),
        (PermissionError(errno.EACCES, "x"), "permission is denied"),
        (ValueError("DATA_LOSS: writing: No space left on device [28]"), "no space"),
        (RuntimeError("RESOURCE_EXHAUSTED: Disk quota exceeded"), "quota is used up"),
    ],
)
def test_disk_troubles_are_explained(error, meaning):
    match = f"cannot write here: .*{meaning}.*; "
    with pytest.raises(InputError, match=match), files.explain_os_errors("here"):
        raise error


def test_a_trouble_is_found_among_the_causes():
    match = "no space is left"
    with pytest.raises(InputError, match=match), files.explain_os_errors("here"):
        raise RuntimeError("save failed") from OSError(errno.ENOSPC, "x")


@pytest.mark.parametrize(
    "error",
    [RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), ValueError("our own defect")],
)
def test_other_errors_pass_unchanged(error):
    with pytest.raises(type(error)) as caught, files.explain_os_errors("here"):
        raise error
    assert caught.value is error


def test_a_file_where_a_folder_must_be(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="a file stands where a folder must be"):
        files.write_atomic(tmp_path / "taken" / "x", b"")


def test_json_takes_arrays_and_records_and_keeps_order(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(
        path,
        {
            "z": jnp.float32(0.5),
            "a": np.arange(3),
            "bf16": jnp.ones(2, jnp.bfloat16),
            "nan": [float("nan"), np.inf, jnp.nan],
            "flag": np.bool_(True),
            "path": tmp_path,
            "tuple": (1, {"é": None}),
        },
    )
    assert files.read_json(path) == {
        "z": 0.5,
        "a": [0, 1, 2],
        "bf16": [1.0, 1.0],
        "nan": [None, None, None],
        "flag": True,
        "path": str(tmp_path),
        "tuple": [1, {"é": None}],
    }
    assert list(json.loads(path.read_text()))[:2] == ["z", "a"]
    with pytest.raises(TypeError, match="object has no JSON form"):
        files.write_json(path, {"x": object()})


def test_damaged_and_missing_json(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(InputError, match=r"x\.json does not exist"):
        files.read_json(path)
    path.write_text('{"a": [1, 2')
    with pytest.raises(
        InputError, match=r"x\.json is damaged .*: restore it from a copy$"
    ):
        files.read_json(path)


def test_npz_returns_what_was_saved(tmp_path):
    path = tmp_path / "x.npz"
    images = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    files.save_npz(path, images=images, names=["a", "bé"], lr=jnp.float32(0.1))
    loaded = files.load_npz(path, required=("images", "lr"))
    np.testing.assert_array_equal(loaded["images"], images)
    assert loaded["names"].tolist() == ["a", "bé"]
    assert loaded["lr"].dtype == np.float32
    with pytest.raises(InputError, match=r"lacks the array 'labels' \(it holds images"):
        files.load_npz(path, required=("labels",))


def test_npz_refuses_objects_both_ways(tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(TypeError, match="a has dtype object"):
        files.save_npz(path, a=np.array([{}, None]))
    assert not path.exists()
    np.savez(path, a=np.array([{}, None]))
    with pytest.raises(InputError, match="pickled"):
        files.load_npz(path)


def test_npz_cut_anywhere_is_one_sentence(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(
        path, a=np.random.default_rng(0).normal(size=2000), b=np.ones(3)
    )
    whole = path.read_bytes()
    for cut in (0, 1, 100, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError) as caught:
            files.load_npz(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    path.write_bytes(whole[:200] + b"\x00" * 50 + whole[250:])
    with pytest.raises(InputError, match="damaged"):
        files.load_npz(path)


def test_a_folder_where_a_file_must_be_is_told(tmp_path):
    (tmp_path / "weights.npz").mkdir()
    with pytest.raises(InputError, match=r"weights\.npz: a folder .*name a file"):
        files.save_npz(tmp_path / "weights.npz", a=np.zeros(2))
    assert [path.name for path in tmp_path.iterdir()] == ["weights.npz"]
