"""A run that begins from what another run made."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
from helpers import CLASSES, assert_same_bits, toy_pool, toy_synthetic
from tiny import arrays, call, finished, summary

from jaxdistill.data.standard import fit_zca
from jaxdistill.errors import InputError
from jaxdistill.jobs.distil.beginning import beginning
from jaxdistill.jobs.judging.synthetic import save_synthetic
from jaxdistill.jobs.settings.build import build_initial
from jaxdistill.jobs.settings.resolve import resolve

KEY = jax.random.key(3)


def config_of(file, **more):
    init = {"images": str(file)} | more.pop("init", {})
    return resolve({"ipc": 2, "init": init} | more)


@pytest.fixture
def saved(tmp_path):
    """The toy set, with two images of each class, as a run writes it."""
    path = tmp_path / "set.npz"
    save_synthetic(path, toy_synthetic(2 * CLASSES), toy_pool())
    return path


def test_images_labels_and_rate_are_those_of_the_file(saved):
    found = beginning(config_of(saved), toy_pool(), KEY)
    assert_same_bits(found, toy_synthetic(2 * CLASSES))


def test_a_method_with_a_rate_for_every_step_begins_with_its_own(saved):
    soft = {"epochs": 3, "steps": 2}
    config = config_of(saved, method="soft_label", soft_label=soft, init={"lr": 0.03})
    found = beginning(config, toy_pool(), KEY)
    np.testing.assert_allclose(found.lr, np.full((3, 2), 0.03), rtol=1e-5)
    assert_same_bits(found[:2], toy_synthetic(2 * CLASSES)[:2])
    # And back: a set with such rates, for a method that has one.
    save_synthetic(saved, found, toy_pool())
    one = beginning(config_of(saved, init={"lr": 0.02}), toy_pool(), KEY)
    np.testing.assert_allclose(one.lr, 0.02, rtol=1e-5)


def test_a_name_begins_as_ever():
    config = config_of("cluster_mean")
    ours = beginning(config, toy_pool(), KEY)
    assert_same_bits(ours, build_initial(config, toy_pool(), KEY))


def other_classes():
    return dataclasses.replace(toy_pool(), class_names=("a", "b", "c"))


def other_pixels():
    pool = toy_pool()
    fit = fit_zca(np.asarray(pool.train.images))
    return dataclasses.replace(pool, train=pool.train._replace(standard=fit))


@pytest.mark.parametrize(
    ("pool", "more", "sentence"),
    [
        (toy_pool, {"ipc": 3}, r"holds 6 images where ipc=3 of 3 classes asks for 9"),
        (toy_pool, {"init": {"count": 5}}, "where init.count=5 asks for 5: set what"),
        (other_classes, {}, "of rows, columns, back, but toy has .* of a, b, c: use"),
        (other_pixels, {}, "data.zca=False where toy has data.zca=True: use it with"),
    ],
)
def test_a_set_of_something_else_is_refused(saved, pool, more, sentence):
    with pytest.raises(InputError, match=sentence) as told:
        beginning(config_of(saved, **more), pool(), KEY)
    assert str(saved) in str(told.value)


def test_a_cheap_run_goes_before_a_dear_one(tmp_path, capsys):
    first = finished() / summary(finished())["synthetic"]
    flags = [f"--config.init.images={first}", "--config.steps=2"]
    assert call("distill", tmp_path / "run", *flags) == 0
    moved = arrays(tmp_path / "run" / "synthetic" / "step_000002.npz")
    before = arrays(first)
    away = np.abs(moved["images"] - before["images"]).max()
    assert 0 < away < 0.2  # two steps of Adam at 0.05 from there
    start = tmp_path / "set.npz"
    shutil.copy(first, start)
    again = [f"--config.init.images={start}", "--config.steps=2"]
    assert call("distill", tmp_path / "own", *again) == 0
    start.unlink()  # what a finished run began from may be gone
    capsys.readouterr()
    assert call("distill", tmp_path / "own", *again) == 0
    assert "this run is finished" in capsys.readouterr().out
    for name, part in (("none.npz", "does not exist"), ("films", "must be one of")):
        assert call("distill", tmp_path / "no", f"--config.init.images={name}") == 2
        told = capsys.readouterr().err
        assert part in told
        assert len(told.splitlines()) == 1
