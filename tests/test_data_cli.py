"""`jaxdistill data`: the table, the exit codes, and every fault by its file."""

import numpy as np
import pytest
from test_data_folder import classes, png, put, zipped
from test_data_medmnist import arrays

from jaxdistill.cli.data import main
from jaxdistill.data.registry import MEDMNIST

pytestmark = pytest.mark.filterwarnings("error")


def test_list_shows_sources_and_what_is_there(tmp_path, capsys):
    (tmp_path / "organsmnist_64.npz").write_bytes(b"x")
    assert main(["list", f"--root={tmp_path}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = {line.split()[0]: line for line in lines}
    assert set(MEDMNIST) | {"phantom", "mnist", "folder", "tfds"} <= set(table)
    assert table["organsmnist"].endswith(" 64")
    assert table["pathmnist"].endswith(" -")
    assert "CC BY-NC 4.0" in table["dermamnist"]
    assert "multi-label" in table["chestmnist"]


def test_check_a_good_folder_and_zip(tmp_path, capsys):
    top = classes(tmp_path / "scans")
    put(top, "notes.txt", content=b"words")
    for path in (top, zipped(top, tmp_path / "scans.zip")):
        assert main(["check", str(path)]) == 0
        said = capsys.readouterr().out
        assert "benign                              12" in said
        assert "8x8 grey, 24 images" in said
        assert "groups (patients): 24" in said
        assert "notes.txt is not an image" in said
        assert said.endswith("usable\n")


def test_check_names_every_fault(tmp_path, capsys):
    top = classes(tmp_path / "scans")
    put(top, "benign/zero.png", content=b"")
    put(top, "malignant/cut.png", content=png(1, 64)[:200])
    put(top, "malignant/copy.png", content=(top / "benign/000.png").read_bytes())
    assert main(["check", str(top)]) == 2
    said = capsys.readouterr().out
    assert "zero.png is empty" in said
    assert "cut.png is truncated" in said
    assert "copy.png equals benign/000.png" in said
    assert "not usable, 2 wrong" in said


def test_check_layouts(tmp_path, capsys):
    top = classes(tmp_path / "scans", 6, "train/")
    classes(top, 3, "test/")
    put(top, "test/cyst/1.png")
    assert main(["check", str(top)]) == 2
    assert "'cyst' is in test" in capsys.readouterr().out
    put(top, *(f"train/cyst/{n}.png" for n in range(5)))
    assert main(["check", str(top)]) == 0
    assert main(["check", str(tmp_path / "gone")]) == 2
    assert "does not exist" in capsys.readouterr().out


def test_check_npz(tmp_path, capsys):
    path = tmp_path / "set.npz"
    np.savez(path, **arrays())
    assert main(["check", str(path)]) == 0
    assert "train_images   uint8 (12, 28, 28)" in capsys.readouterr().out
    np.savez(path, **arrays(test_labels=np.array([[0], [7], [1], [7]] * 2)))
    assert main(["check", str(path)]) == 2
    assert "class '7'" in capsys.readouterr().out
    np.savez(path, **arrays(val_images=np.full((6, 28, 28), np.nan)))
    assert main(["check", str(path)]) == 2
    assert "NaN" in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:500])
    assert main(["check", str(path)]) == 2
    assert "truncated" in capsys.readouterr().out


def test_fetch_refuses_in_one_sentence(tmp_path, capsys):
    assert main(["fetch", "nomnist", f"--root={tmp_path}"]) == 2
    assert main(["fetch", "pathmnist", "--size=30", f"--root={tmp_path}"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "data.name='nomnist'" in said[0]
    assert "28, 64, 128, 224" in said[1]


def test_fetch_is_content_with_what_is_there(tmp_path, capsys):
    (tmp_path / "breastmnist.npz").write_bytes(b"x")
    assert main(["fetch", "breastmnist", f"--root={tmp_path}"]) == 0
    assert "was there already" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [[], ["list", "--rooot=x"], ["check"]])
def test_usage_errors_exit_with_two(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "jaxdistill data" in capsys.readouterr().err
