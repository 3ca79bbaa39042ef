"""Experts on disk: groups, precision, sharing, and what another run may not use."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    EXPERT_RECIPE,
    assert_close,
    assert_same_bits,
    tanh_network,
    toy_pool,
)
from tiny import call, finished, listing, root

from jaxdistill.distillation.experts import expert_labelled, train_experts
from jaxdistill.engine.mesh import make_mesh
from jaxdistill.errors import InputError
from jaxdistill.jobs.distil.distilling import prepare, teach
from jaxdistill.jobs.distil.expert_store import Teaching, ensure_experts
from jaxdistill.jobs.judging.synthetic import load_synthetic
from jaxdistill.run.loop import Loop
from jaxdistill.run.snapshots import saved_steps

KEY = jax.random.key(5)
RECIPE = EXPERT_RECIPE._replace(epochs=2)
SETTINGS = {
    "count": 4,
    "at_once": 2,
    "epochs": 2,
    "lr": 0.1,
    "balanced": False,
    "average": 0.0,
    "precision": "float32",
    "cache_gb": 1.0,
}


def taught(folder, **changed):
    """Four experts of the toy problem, in groups of two unless said otherwise."""
    settings = SETTINGS | changed
    recipe = RECIPE._replace(epochs=settings["epochs"], average=settings["average"])
    teaching = Teaching(tanh_network(), toy_pool(), recipe, settings)
    loop = Loop(folder, 1, KEY, make_mesh(1))
    return ensure_experts(folder, teaching, loop)


def every_snapshot(experts):
    return [
        [experts.read(e, t) for t in range(experts.epochs + 1)]
        for e in range(experts.count)
    ]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder of finished experts; read only."""
    folder = tmp_path_factory.mktemp("experts")
    taught(folder)
    return folder


def test_experts_on_disk_are_those_of_the_library(stored):
    whole = train_experts(
        tanh_network(), toy_pool(), count=4, epochs=2, key=KEY, lr=0.1, recipe=RECIPE
    )
    read = taught(stored)
    assert (read.count, read.epochs, read.network) == (4, 2, "tanh-6")
    for one, other in zip(every_snapshot(read), every_snapshot(whole), strict=True):
        for a, b in zip(one, other, strict=True):
            for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
                np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_experts_on_disk_are_the_moving_averages_that_were_asked_for(stored, tmp_path):
    recipe = RECIPE._replace(average=0.9)
    whole = train_experts(
        tanh_network(), toy_pool(), count=4, epochs=2, key=KEY, lr=0.1, recipe=recipe
    )
    read = taught(tmp_path / "smooth", average=0.9)
    for t in range(3):
        assert_close(read.read(1, t), whole.read(1, t), rtol=1e-5, atol=1e-6)
    last = read.read(1, 2)["in"]
    assert not np.allclose(last, taught(stored).read(1, 2)["in"], rtol=1e-2)


def test_the_snapshots_lie_in_groups_one_an_epoch(stored):
    for group in ("group_000", "group_001"):
        assert saved_steps(stored / group / "snapshots") == [0, 1, 2]
    assert json.loads((stored / "summary.json").read_text())["complete"] is True


def test_finished_experts_are_not_trained_again(stored, capsys):
    before = listing(stored / "group_001")
    taught(stored)
    assert "epoch" not in capsys.readouterr().err
    assert listing(stored / "group_001") == before


def test_a_lost_group_comes_back_to_the_same_bits(stored, tmp_path):
    folder = tmp_path / "experts"
    shutil.copytree(stored, folder)
    shutil.rmtree(folder / "group_001")
    (folder / "summary.json").unlink()
    assert_same_bits(every_snapshot(taught(folder)), every_snapshot(taught(stored)))


def test_half_precision_rounds_on_disk_and_only_there(stored, tmp_path):
    exact = taught(stored).read(0, 2)
    rough = taught(tmp_path / "rough", count=2, precision="bfloat16").read(0, 2)
    for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(rough), strict=True):
        assert b.dtype == np.float32
        rounded = np.asarray(jnp.asarray(a, jnp.bfloat16), np.float32)
        np.testing.assert_array_equal(b, rounded)


def test_a_memory_for_two_snapshots_reads_the_same(stored):
    small = taught(stored, cache_gb=1e-9)
    assert_same_bits(every_snapshot(small), every_snapshot(taught(stored)))


def test_experts_that_others_own_are_read_and_nothing_is_written(stored, monkeypatch):
    own = every_snapshot(taught(stored))
    (stored / ".lock").unlink()
    before = listing(stored)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert_same_bits(every_snapshot(taught(stored)), own)
    assert listing(stored) == before
    assert not (stored / ".lock").exists()
    with pytest.raises(InputError, match=r"lr=0.1 \(now 0.2\)"):
        taught(stored, lr=0.2)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"lr": 0.2}, r"lr=0.1 \(now 0.2\)"),
        ({"epochs": 3}, r"recipe.epochs=2 \(now 3\)"),
        ({"count": 6}, r"count=4 \(now 6\)"),
        ({"precision": "bfloat16"}, "precision"),
    ],
)
def test_another_recipe_is_refused(stored, changed, sentence):
    before = listing(stored)
    with pytest.raises(InputError, match=sentence):
        taught(stored, **changed)
    assert listing(stored) == before


def test_a_truncated_snapshot_is_named(stored, tmp_path):
    folder = tmp_path / "experts"
    shutil.copytree(stored, folder)
    bad = folder / "group_000" / "snapshots" / "1"
    (bad / "state" / "manifest.ocdbt").write_bytes(b"")
    with pytest.raises(InputError, match=f"{bad} is truncated or damaged"):
        taught(folder).read(0, 1)


@pytest.mark.parametrize(
    ("asked", "images_lr"),
    # Where experts label the first set alone, nothing moves: it is the last one too.
    [("--config.init.labels=experts", 0.0), ("--config.relabel=True", 0.5)],
)
def test_experts_label_the_set_of_a_method_without_experts(tmp_path, asked, images_lr):
    shared = ("--config.method=distribution", "--config.distribution.batch_real=4")
    rate = f"--config.optimizer.images.lr={images_lr}"
    assert call("distill", tmp_path / "run", *shared, asked, rate) == 0
    (last,) = (tmp_path / "run" / "synthetic").glob("step_*8.npz")
    found = load_synthetic(last).synthetic
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXDISTILL_DATA", str(root() / "data"))
        parts = prepare(config, tmp_path / "run", None)
    experts = teach(parts, tmp_path / "run" / "experts")
    expected = expert_labelled(found, experts, parts.judge.network)
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-4, atol=1e-5)
    assert np.ptp(np.asarray(jax.nn.softmax(found.logits)).max(axis=1)) > 0


def test_the_verb_finishes_experts_and_says_so(tmp_path, capsys):
    shared = f"--config.experts.folder={finished() / 'experts'}"
    before = listing(finished() / "experts" / "group_000")
    capsys.readouterr()
    assert call("experts", tmp_path / "run", shared) == 0
    told = capsys.readouterr()
    assert "2 experts of 2 epochs are ready" in told.out
    table = [line.split("|")[1:-1] for line in told.out.splitlines() if "|" in line]
    assert [cell.strip() for cell in table[0]][::3] == ["epoch", "agreement"]
    assert [row[0].strip() for row in table[2:]] == ["1", "2"]
    assert "epoch 1" not in told.err
    assert call("experts", tmp_path / "other", shared, "--config.seed=5") == 2
    assert "seed=0 (now 5)" in capsys.readouterr().err
    assert listing(finished() / "experts" / "group_000") == before
