"""Films that are read step by step: the same steps as with all of them in memory."""

import sys

import numpy as np
import pytest
from PIL import Image

from jaxdistill.data.film_phantom import phantom
from jaxdistill.data.streaming import streamed
from jaxdistill.data.unlabelled import read_unlabelled
from jaxdistill.errors import InputError
from jaxdistill.jobs.labels import job
from jaxdistill.jobs.lessons.films import films_of, relabel, supply
from jaxdistill.selfsupervised.course import Course

PRETRAIN = {
    "job": "labels",
    "data": {"size": 16, "train": 8, "val": 160, "test": 160},
    "pretext": "mae",
    "backbone": {"patch": 8, "width": 16, "depth": 1, "heads": 2},
    "mae": {
        "decoder": {"width": 16, "depth": 1, "heads": 2},
        "batch": 8,
        "epochs": 2,
    },
    "steps_per_call": 1,
    "checkpoint_every": 1,
}


@pytest.fixture
def others(tmp_path):
    """Sixteen films without labels."""
    rng = np.random.default_rng(0)
    (tmp_path / "others").mkdir()
    for number in range(16):
        pixels = rng.integers(0, 255, (20, 18), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "others" / f"P{number}__0.png")
    return tmp_path / "others"


def test_numbers_in_order_and_from_anywhere():
    made = []

    def make(number):
        made.append(number)
        return {"square": np.array(number**2)}

    read = streamed(6, make)
    assert [int(read(n)["square"]) for n in (0, 1, 2)] == [0, 1, 4]
    assert [int(read(n)["square"]) for n in (4, 5)] == [16, 25]
    assert int(read(1)["square"]) == 1
    assert set(made) <= set(range(6))


def test_a_fault_is_told_at_its_number():
    def make(number):
        if number == 3:
            raise InputError("film 3 is broken")
        return number

    read = streamed(9, make)
    assert [read(n) for n in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match="film 3"):
        read(3)
    assert read(4) == 4


def test_without_grain_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(InputError, match=r"films\.stream=false"):
        streamed(3, lambda number: number)


def test_a_step_sees_the_same_films_either_way(others):
    pool = phantom(size=16, train=10, val=160, test=160)
    course = Course(films=20, batch=4, epochs=2, labelled=6, every=2)
    rows = np.random.default_rng(0).permutation(26)
    labels = np.arange(26, dtype=np.int32) % 3 - 1
    either = []
    for stream in (False, True):
        films = films_of(pool, read_unlabelled(others, pool, stream=stream))
        either.append(supply(relabel(films, labels), rows, course))
    (held, places), (nothing, read) = either
    assert nothing.films == ()
    for step in range(course.steps):
        one, other = held.films.batch(places(step)), read(step)
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_streamed_pretraining_ends_as_the_resident_one_through_a_fault(
    others, tmp_path, monkeypatch
):
    def run(folder, **more):
        told = PRETRAIN | {"films": {"unlabelled": str(others), **more}}
        return job.pretrain(told, tmp_path / folder, say=lambda text: None)

    resident = run("resident").read_bytes()
    assert run("streamed", stream=True).read_bytes() == resident
    # A film that goes away while it is read ends the run; its return goes on with it.
    lost, whole = others / "P7__0.png", (others / "P7__0.png").read_bytes()
    original = job.build_unlabelled

    def and_lose(config, pool):
        found = original(config, pool)
        lost.unlink()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(job, "build_unlabelled", and_lose)
        with pytest.raises(InputError, match=r"P7__0\.png"):
            run("lost", stream=True)
    lost.write_bytes(whole)
    assert run("lost", stream=True).read_bytes() == resident
