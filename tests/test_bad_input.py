"""What cannot be used: one sentence, exit status 2, and nothing begun."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import CLASSES, call, finished, listing, root


def refused(capsys, workdir: Path, *flags: str) -> str:
    """The sentence with which a run is refused before it makes its folder."""
    before = listing(root() / "data")
    capsys.readouterr()
    assert call("distill", workdir, *flags) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert len(told.err.splitlines()) == 1, told.err
    assert not workdir.exists()
    assert listing(root() / "data") == before
    return told.err


def assert_tells(told: str, *parts: str) -> None:
    """All the parts are in the sentence."""
    assert all(part in told for part in parts), told


def digits(folder: Path, **changed) -> list[str]:
    """Flags that read a set in the form of MNIST, some of its arrays replaced."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "test"):
        arrays[f"{split}_images"] = rng.integers(0, 255, (60, 8, 8)).astype(np.uint8)
        arrays[f"{split}_labels"] = (np.arange(60) % 10).astype(np.uint8)
    folder.mkdir(exist_ok=True)
    np.savez(folder / "mnist.npz", **(arrays | changed))
    return npz_flags(folder)


def npz_flags(folder: Path, name: str = "mnist") -> list[str]:
    """Flags that read an npz under a root of its own."""
    settings = {"name": name, "root": folder}
    return [f"--config.data.{key}={value}" for key, value in settings.items()]


def images(folder: Path) -> list[str]:
    """Flags that read a copy of the tiny images, for a test to spoil."""
    shutil.copytree(root() / "data" / "tiny", folder)
    return [f"--config.data.path={folder}"]


def test_a_missing_data_file(tmp_path, capsys):
    told = refused(capsys, tmp_path / "run", *npz_flags(tmp_path))
    assert_tells(told, f"{tmp_path / 'mnist.npz'} is missing", "JAXDISTILL_DATA")


def test_a_truncated_data_file(tmp_path, capsys):
    flags = digits(tmp_path / "data")
    file = tmp_path / "data" / "mnist.npz"
    file.write_bytes(file.read_bytes()[:2000])
    told = refused(capsys, tmp_path / "run", *flags)
    assert_tells(told, str(file), "truncated", "copy or download it again")


def test_pickled_objects(tmp_path, capsys):
    flags = digits(tmp_path / "data", train_labels=np.array([{}] * 60, dtype=object))
    told = refused(capsys, tmp_path / "run", *flags)
    assert_tells(told, "mnist.npz holds pickled objects", "save it again")


def test_images_of_another_size_than_published(tmp_path, capsys):
    wrong = np.zeros((5, 32, 32), np.uint8)
    np.savez(
        tmp_path / "pneumoniamnist.npz",
        **{f"{split}_images": wrong for split in ("train", "val", "test")},
        **{f"{s}_labels": np.zeros((5, 1)) for s in ("train", "val", "test")},
    )
    told = refused(
        capsys,
        tmp_path / "run",
        *npz_flags(tmp_path, "pneumoniamnist"),
        "--config.data.size=28",
    )
    assert_tells(told, "pneumoniamnist.npz", "(5, 32, 32, 1)", "(4708, 28, 28, 1)")


def test_an_image_of_zero_bytes(tmp_path, capsys):
    flags = images(tmp_path / "data")
    bad = tmp_path / "data" / "train" / CLASSES[0] / "3.png"
    bad.write_bytes(b"")
    assert_tells(refused(capsys, tmp_path / "run", *flags), str(bad))


def test_a_class_folder_without_images(tmp_path, capsys):
    flags = images(tmp_path / "data")
    empty = tmp_path / "data" / "train" / "neither"
    empty.mkdir()
    told = refused(capsys, tmp_path / "run", *flags)
    assert_tells(told, f"{empty} holds no image", "add images or remove the folder")


def test_a_class_in_test_but_not_in_train(tmp_path, capsys):
    flags = images(tmp_path / "data")
    rare = tmp_path / "data" / "test" / "rare"
    shutil.copytree(tmp_path / "data" / "test" / CLASSES[0], rare)
    told = refused(capsys, tmp_path / "run", *flags)
    assert_tells(told, "'rare' is in test", "not in train", "add training images")


def test_labels_out_of_range(tmp_path, capsys):
    flags = digits(tmp_path / "data", test_labels=np.full(60, 10, np.uint8))
    told = refused(capsys, tmp_path / "run", *flags)
    assert_tells(told, "test labels of 'mnist'", "10", "0 to 9", "correct")


def test_pixels_that_are_not_a_number(tmp_path, capsys):
    pixels = np.zeros((60, 8, 8), np.float32)
    pixels[7, 2, 2] = np.nan
    flags = digits(tmp_path / "data", train_images=pixels)
    told = refused(capsys, tmp_path / "run", *flags)
    assert_tells(told, "NaN", "in image 7", "repair or remove")


@pytest.mark.parametrize(
    ("flag", "parts"),
    [
        ("ipc=0", ["ipc=0 must be at least 1"]),
        ("ipc=13", ["ipc=13", "12 training images of class 'clear'", "lower ipc"]),
        ("seed=-1", ["seed=-1 must be at least 0 and at most 4,294,967,295"]),
        ("steps=0", ["steps=0 must be at least 1"]),
        ("average=1.5", ["average=1.5", "below 1"]),
        ("augment=twirl", ["augment='twirl'", "cutout"]),
        ("method=magic", ["method='magic'", "choose one of trajectory"]),
        ("data.name=fantom", ["data.name='fantom'", "did you mean 'phantom'"]),
        ("data.path=nowhere", ["nowhere"]),
        ("network.name=convnot", ["network.name='convnot'", "convnet"]),
        ("network.width=0", ["width=0"]),
        ("eval.networks=mlp:wide=3", ["wide", "width"]),
        ("eval.networks=convnet:depth=7", ["depth=7", "8"]),
        ("eval.select=luck", ["eval.select='luck'", "auc"]),
        ("eval.batch=0", ["eval.batch=0 must be at least 1"]),
        ("experts.count=0", ["experts.count=0", "at least 1"]),
        ("experts.lr=0.0", ["experts.lr=0.0 must be above 0"]),
        ("experts.batch=0", ["experts.batch=0 must be at least 1"]),
        ("experts.precision=int8", ["experts.precision='int8'", "bfloat16"]),
        ("init.images=stars", ["init.images='stars'", "cluster_mean, real"]),
        ("init.labels=doctors", ["init.labels='doctors'", "class, experts"]),
        ("init.lr=-1.0", ["init.lr=-1.0 must be above 0"]),
        ("limit.loss=-1.0", ["limit.loss=-1.0", "at least 0"]),
        ("limit.steps=0", ["limit.steps=0", "at least 1"]),
        ("optimizer.decay=cosin", ["optimizer.decay='cosin'", "cosine"]),
        ("init.noise=-0.5", ["init.noise=-0.5", "at least 0"]),
        ("optimizer.labels.name=adam", ["labels.lr=0.0: set a rate, or name none"]),
        ("optimizer.labels.lr=0.1", ["labels.lr=0.1 moves nothing", "name adam"]),
        ("optimizer.images.name=sdg", ["optimizer.images.name='sdg'", "sgd"]),
        (
            "trajectory.batch=5",
            ["trajectory.batch=5", "synthetic set of 4 images", "lower it"],
        ),
        ("trajectory.batch=-1", ["trajectory.batch=-1 must be at least 0"]),
        ("trajectory.unroll_steps=0", ["trajectory.unroll_steps=0", "at least 1"]),
        ("trajectory.segments=0", ["trajectory.segments=0 must be at least 1"]),
        (
            "trajectory.start_max=3",
            ["trajectory.start_max=3", "hold 0 to 2", "raise experts.epochs"],
        ),
        ("trajectory.start_min=2", ["trajectory.start_min=2", "start_first=2"]),
        ("trajectory.gradient=magic", ["gradient='magic'", "first_order"]),
        ("trajectory.weighting.name=even", ["weighting.name='even'", "uniform"]),
        (
            "trajectory.weighting.name=pruning",
            ["trajectory.weighting.share must be given", "parameters"],
        ),
        ("devices.map=vmap", ["devices.map='vmap'", "shard_map, pmap"]),
        ("devices.population=all", ["devices.population='all'", "vmap"]),
        ("devices.count=99", ["devices.count=99", "choose 0 for all"]),
        ("devices.count=2", ["trajectory.segments=1", "multiple of 2 devices"]),
        ("devices.cpu=-1", ["devices.cpu=-1 must be at least 0"]),
        ("devices.cpu=2", ["devices.cpu=2 comes too late"]),
    ],
)
def test_a_value_that_no_run_can_use(tmp_path, capsys, flag, parts):
    told = refused(capsys, tmp_path / "run", f"--config.{flag}")
    assert_tells(told, *parts)


def test_a_workdir_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert call("distill", tmp_path / "file" / "run") == 2
    told = capsys.readouterr().err
    assert_tells(told, str(tmp_path / "file"), "a file stands", "choose a folder")
    assert listing(tmp_path) == {"file": b"mine"}


def test_a_workdir_that_holds_something_else(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("mine")
    assert call("distill", tmp_path) == 2
    told = capsys.readouterr().err
    assert_tells(told, "holds thesis.tex but no config.json", "an empty or a new")
    assert listing(tmp_path) == {"thesis.tex": b"mine"}


def test_experts_of_another_network_data_set_or_recipe(tmp_path, capsys):
    folder = finished() / "experts"
    before = listing(folder)
    shared = f"--config.experts.folder={folder}"
    other = images(tmp_path / "data")
    (tmp_path / "data" / "train" / CLASSES[0] / "0.png").unlink()
    cases = (
        (["--config.network.width=5"], "network="),
        (other, "data="),
        (["--config.experts.lr=0.5"], "lr=0.01 (now 0.5)"),
        (["--config.experts.epochs=3"], "epochs=2 (now 3)"),
    )
    for number, (flags, part) in enumerate(cases):
        capsys.readouterr()
        assert call("distill", tmp_path / str(number), shared, *flags) == 2
        told = capsys.readouterr().err
        assert_tells(told, f"experts.folder={folder}", part, "a new experts.folder")
        assert len(told.splitlines()) == 1
        assert listing(folder) == before
