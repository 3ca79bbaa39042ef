"""What every source of data must have: one list, a line a source."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import write_images

from jaxdistill import data
from jaxdistill.data.download import file_md5
from jaxdistill.data.registry import MEDMNIST, Facts
from jaxdistill.data.sources import COVID_RADIOGRAPHY, SOURCES
from jaxdistill.errors import InputError
from jaxdistill.settings import settings_of

RNG = np.random.default_rng(0)


def films(folder: Path, *names: str, count: int = 9) -> None:
    """Class folders with pictures of noise."""
    for name in names:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = RNG.integers(0, 255, (12, 12), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


def digits(root: Path) -> dict:
    arrays = {}
    for split in ("train", "test"):
        arrays[f"{split}_images"] = RNG.integers(0, 255, (60, 28, 28), np.uint8)
        arrays[f"{split}_labels"] = np.arange(60, dtype=np.uint8) % 10
    np.savez(root / "mnist.npz", **arrays)
    return {"root": str(root)}


def published(root: Path) -> dict:
    """A MedMNIST set of few images, and the facts that it is checked by."""
    arrays = {}
    for split, count in (("train", 12), ("val", 6), ("test", 8)):
        arrays[f"{split}_images"] = RNG.integers(0, 255, (count, 28, 28), np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    np.savez(root / "breastmnist.npz", **arrays)
    sums = {28: file_md5(root / "breastmnist.npz")}
    MEDMNIST["breastmnist"] = Facts(("a", "b"), 1, (12, 6, 8), sums)
    return {"root": str(root)}


def own(root: Path) -> dict:
    write_images(root / "films")
    return {"path": str(root / "films"), "size": 8}


def paediatric(root: Path) -> dict:
    for split in ("train", "val", "test"):
        films(root / "chest_xray" / split, "normal", "bacteria", "virus", count=3)
    return {"root": str(root), "size": 8}


def radiography(root: Path) -> dict:
    films(root / COVID_RADIOGRAPHY[0], "COVID/images", "Normal/images")
    return {"root": str(root), "size": 8}


SMALL: dict[str, Callable[[Path], dict]] = {
    "phantom": lambda root: {"size": 16, "train": 40, "val": 160, "test": 160},
    "folder": own,
    "chest_xray": paediatric,
    "covid_radiography": radiography,
    "mnist": digits,
    "breastmnist": published,  # for all of MedMNIST
}
ELSEWHERE = {"tfds"}  # needs a process of its own: tests/test_data_folder.py


@pytest.fixture(params=SMALL)
def source(request, tmp_path, monkeypatch):
    monkeypatch.setitem(MEDMNIST, "breastmnist", MEDMNIST["breastmnist"])
    monkeypatch.delenv("JAXDISTILL_DATA", raising=False)
    return request.param, SMALL[request.param](tmp_path)


def test_every_source_is_here():
    assert {name for name in SOURCES if name not in MEDMNIST} <= {*SMALL, *ELSEWHERE}


def test_a_source_gives_a_pool_of_its_size_twice_the_same(source):
    name, settings = source
    pool = data.load(name, **settings)
    size = settings.get("size", settings_of(SOURCES[name])["size"].usual)
    assert pool.name
    assert pool.image_shape[:2] == (size, size)
    assert len(pool.class_names) == pool.classes >= 2
    groups = []
    for part in (pool.train, pool.val, pool.test):
        assert part.images.dtype == np.uint8
        assert len(part.images) == len(part.labels) == len(part.groups)
        assert set(np.unique(part.labels)) == set(range(pool.classes))
        groups.append(set(np.asarray(part.groups).tolist()))
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    assert np.all(np.asarray(pool.standard.std) > 0)
    again = data.load(name, **settings)
    assert data.fingerprint(again) == data.fingerprint(pool)


def test_a_source_refuses_what_it_does_not_declare(source):
    name, settings = source
    with pytest.raises(InputError, match=rf"data\.siz is no setting .*{name}.*'size'"):
        data.load(name, **settings, siz=3)
    with pytest.raises(InputError, match=r"data\.size=0 "):
        data.load(name, **settings | {"size": 0})
    with pytest.raises(InputError, match=r"data\.zca=3 must be true or false"):
        data.load(name, **settings, zca=3)
