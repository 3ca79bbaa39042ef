"""Distilled sets as files, and their judgement by the evaluate verb."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_same_bits, toy_pool, toy_synthetic
from tiny import arrays, call, finished, listing, summary

from jaxdistill.data import standard
from jaxdistill.errors import InputError
from jaxdistill.jobs.judging.synthetic import (
    load_synthetic,
    require_fits,
    require_readable,
    save_synthetic,
)

MORE = "--config.eval.networks=mlp:width=3:depth=1"


def spoilt(path, **changed):
    """The toy set in a file, some arrays replaced, or removed by None."""
    save_synthetic(path, toy_synthetic(), toy_pool())
    kept = {k: v for k, v in (arrays(path) | changed).items() if v is not None}
    np.savez(path, **kept)
    return path


def whitened_pool():
    pool = toy_pool()
    fit = standard.fit_zca(np.asarray(pool.train.images))
    splits = {s: getattr(pool, s)._replace(standard=fit) for s in ("train", "val")}
    return dataclasses.replace(pool, **splits, test=pool.test._replace(standard=fit))


@pytest.mark.parametrize("pool", [toy_pool, whitened_pool])
def test_a_set_comes_back_as_it_was(tmp_path, pool):
    save_synthetic(tmp_path / "set.npz", toy_synthetic(), pool())
    saved = load_synthetic(tmp_path / "set.npz")
    assert_same_bits(saved.synthetic, toy_synthetic())
    assert_same_bits(saved.standard, pool().standard)
    assert saved.class_names == pool().class_names
    require_fits(saved, tmp_path / "set.npz", pool())


def test_rates_are_of_the_images_that_cells_of_a_mosaic_make(tmp_path):
    images = len(toy_synthetic().images)
    rates = np.zeros((2, 4 * images), np.float32)  # more steps than stored images
    file = tmp_path / "set.npz"
    save_synthetic(file, toy_synthetic()._replace(raw_lr=rates), toy_pool(), 2)
    assert load_synthetic(file).synthetic.raw_lr.shape == rates.shape
    save_synthetic(file, toy_synthetic()._replace(raw_lr=rates), toy_pool(), 1)
    with pytest.raises(InputError, match="learning rate"):
        load_synthetic(file)


def test_pixels_are_the_images_as_people_see_them(tmp_path):
    pool = toy_pool()
    first = standard.standardise(pool.train.images[:6], pool.standard)
    save_synthetic(tmp_path / "a.npz", toy_synthetic()._replace(images=first), pool)
    stored = arrays(tmp_path / "a.npz")["pixels"]
    np.testing.assert_array_equal(stored, pool.train.images[:6])


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"logits": None}, "has no array 'logits'"),
        ({"logits": np.zeros((5, 3))}, "axis m must have the length 6"),
        ({"raw_lr": np.asarray(np.nan)}, "holds NaN"),
        ({"raw_lr": np.zeros(3)}, r"a learning rate of shape \(3,\)"),
        (
            {"images": np.zeros((0, 8, 8, 1)), "logits": np.zeros((0, 3))},
            "axis m must not be empty",
        ),
        ({"images": np.zeros((6, 8, 8))}, r"must be \(m, h, w, c\)"),
        ({"images": np.full((6, 8, 8, 1), np.nan)}, "NaN or infinite"),
    ],
)
def test_a_file_that_is_no_set_is_refused(tmp_path, changed, sentence):
    path = spoilt(tmp_path / "set.npz", **changed)
    with pytest.raises(InputError, match=sentence):
        load_synthetic(path)


def test_a_set_of_other_data_is_refused(tmp_path):
    path = tmp_path / "set.npz"
    save_synthetic(path, toy_synthetic(), toy_pool())
    saved = load_synthetic(path)
    renamed = dataclasses.replace(toy_pool(), class_names=("a", "b", "c"))
    with pytest.raises(InputError, match="rows, columns, back, but toy has"):
        require_fits(saved, path, renamed)
    other = saved._replace(standard=saved.standard._replace(mean=jnp.array([0.9])))
    with pytest.raises(InputError, match="was standardised by"):
        require_fits(other, path, toy_pool())


def test_a_set_is_judged_on_other_networks(tmp_path, capsys):
    told = summary(finished())
    file = finished() / told["synthetic"]
    flags = (f"--synthetic={file}", MORE)
    assert call("evaluate", tmp_path / "judged", *flags) == 0
    table = capsys.readouterr().out
    assert "| mlp:width=3:depth=1 |" in table
    found = summary(tmp_path / "judged")
    for row in ("distilled", "random", "herding", "full"):
        assert found[row] == told[row]  # the same protocol, keys and data
    across = found["cross_architecture"]["mlp:width=3:depth=1"]
    assert set(across) == {"distilled", "random"}
    assert across["random"]["auc"]["n"] == 2
    before = listing(tmp_path / "judged")
    assert call("evaluate", tmp_path / "judged", *flags) == 0
    assert "this evaluation is finished" in capsys.readouterr().out
    assert listing(tmp_path / "judged") == before


def test_a_file_that_cannot_be_judged_leaves_no_folder(tmp_path, capsys):
    other = spoilt(tmp_path / "toy.npz")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(other.read_bytes()[:500])
    cases = {
        tmp_path / "none.npz": "does not exist",
        broken: "damaged, or not an npz file",
        other: "use it with the data it was distilled from",
    }
    for file, part in cases.items():
        assert call("evaluate", tmp_path / "run", f"--synthetic={file}") == 2
        told = capsys.readouterr().err
        assert str(file) in told
        assert part in told
        assert len(told.splitlines()) == 1
        assert not (tmp_path / "run").exists()


def test_the_judged_set_is_the_one_of_the_selected_step():
    told = summary(finished())
    step = told["selected_step"]
    assert told["synthetic"] == f"synthetic/step_{step:06d}.npz"


def test_a_set_tells_of_its_mosaic(tmp_path):
    path = tmp_path / "set.npz"
    save_synthetic(path, toy_synthetic(), toy_pool(), mosaic=2)
    saved = load_synthetic(path)
    assert saved.mosaic == 2
    require_fits(saved, path, toy_pool(), mosaic=2)
    with pytest.raises(InputError, match=r"2 x 2 smaller ones, where mosaic=1: set"):
        require_fits(saved, path, toy_pool(), mosaic=1)
    older = saved._replace(mosaic=0)  # files of before do not tell
    require_fits(older, path, toy_pool(), mosaic=1)


def test_a_set_that_could_not_be_read_again_is_refused():
    pixels = jax.ShapeDtypeStruct((10_000, 128, 128, 3), jnp.float32)
    with pytest.raises(InputError, match=r"a set of 1,966,\d+,\d+ bytes; at most"):
        require_readable(toy_synthetic()._replace(images=pixels), toy_pool().standard)
    require_readable(toy_synthetic(), toy_pool().standard)
