"""The whole run as a user meets it: a finished folder, again, changed, and diverged."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import COUNTS, arrays, call, finished, lines, listing, summary

from jaxdistill.errors import Diverged
from jaxdistill.jobs.distil import choosing
from jaxdistill.run.checkpoint import Checkpoints
from jaxdistill.run.limits import Limit, Watch, remembered

ROWS = ("distilled", "distilled_last", "random", "herding", "full")


def test_the_summary_tells_all_five_rows_and_what_they_cost():
    told = summary(finished())
    for row in ROWS:
        for metric in ("accuracy", "balanced_accuracy", "auc", "f1_weighted"):
            score = told[row][metric]
            assert 0 <= score["mean"] <= 1
            assert score["std"] >= 0
            assert score["n"] == 2
        assert np.shape(told[row]["confusion"]["mean"]) == (2, 2)
        assert set(told["protocol"][row]) == {"lr", "epochs", "protocol", "images"}
    assert told["protocol"]["random"]["images"] == 4
    assert told["protocol"]["full"]["images"] == 2 * COUNTS["train"]
    assert told["selected_step"] in (4, 8)
    assert told["last_step"] == 8
    assert told["wall_seconds"] > 0
    assert told["steps_per_second"] > 0
    assert told["peak_memory_bytes"] > 1e6
    assert told["device"]
    assert told["versions"]["jax"]
    assert told["config"]["ipc"] == 2
    assert told["complete"] is True


def test_the_set_that_validation_prefers_is_the_one_that_is_judged():
    told = summary(finished())
    curve = {x["step"]: x["val_auc"] for x in lines(finished()) if "val_auc" in x}
    assert set(curve) == {4, 8}
    rounds = told["choice"]
    first = {int(step): score["mean"] for step, score in rounds["first"].items()}
    assert first == curve
    second = {int(step): score for step, score in rounds["finalists"].items()}
    assert [score["n"] for score in second.values()] == [3, 3]
    means = {step: score["mean"] for step, score in second.items()}
    assert told["selected_step"] == max(means, key=means.get)
    assert told["validation"]["distilled"]["auc"]["mean"] >= 0
    if told["selected_step"] == told["last_step"]:
        assert told["distilled"] == told["distilled_last"]


def test_every_file_of_the_folder_loads():
    run = finished()
    record = json.loads((run / "config.json").read_text())
    assert record["config"]["network"]["name"] == "mlp"
    assert record["versions"]
    assert [x["step"] for x in lines(run) if "loss" in x] == [2, 4, 6, 8]
    for step in (4, 8):
        stored = arrays(run / "synthetic" / f"step_{step:06d}.npz")
        assert stored["images"].shape == (4, 8, 8, 1)
        assert stored["pixels"].dtype == np.uint8
        np.testing.assert_allclose(stored["labels"].sum(axis=1), 1, rtol=1e-6)
        assert stored["class_names"].tolist() == ["clear", "opaque"]
    for name in summary(run)["figures"]:
        with Image.open(run / name) as picture:
            assert min(picture.size) > 50
    assert len(summary(run)["figures"]) == 2
    assert {p.stem for p in (run / "eval").iterdir()} >= {"random", "herding", "full"}


def test_distillation_moves_images_and_the_learning_rate():
    before, after = (
        arrays(finished() / "synthetic" / f"step_{s:06d}.npz") for s in (4, 8)
    )
    assert np.abs(after["images"] - before["images"]).max() > 1e-3
    assert after["lr"] != before["lr"]
    np.testing.assert_array_equal(after["logits"], before["logits"])


def test_a_finished_run_says_so_and_stays_as_it_was(capsys):
    call("distill", finished())  # the record then holds this command line
    before = listing(finished())
    capsys.readouterr()
    assert call("distill", finished()) == 0
    assert "this run is finished" in capsys.readouterr().out
    assert listing(finished()) == before


def test_another_config_is_refused_with_the_keys_that_differ(capsys):
    before = listing(finished())
    assert call("distill", finished(), "--config.ipc=1", "--config.init.lr=0.5") == 2
    told = capsys.readouterr().err
    assert "ipc=2 (now 1)" in told
    assert "init.lr=0.01 (now 0.5)" in told
    assert "--workdir" in told
    assert "trajectory" not in told
    assert listing(finished()) == before


def test_a_loss_that_is_not_finite_names_step_norms_and_checkpoint(tmp_path, capsys):
    wild = ("name=sgd", "lr=1e9", "momentum=0.0")
    flags = [f"--config.optimizer.images.{one}" for one in wild]
    shared = f"--config.experts.folder={finished() / 'experts'}"
    assert call("distill", tmp_path / "wild", *flags, shared) == 1
    told = capsys.readouterr().err
    safe = tmp_path / "wild" / "checkpoints" / "0"
    assert "diverged: the loss is inf by step 2" in told
    assert "grad_images" in told
    assert f"the last good checkpoint is {safe}:" in told
    assert (safe / "state").is_dir()
    assert not (tmp_path / "wild" / "summary.json").exists()


def test_a_loss_above_its_limit_for_long_stops_and_keeps_the_best_set(tmp_path, capsys):
    home = tmp_path / "above"
    flags = ("--config.limit.loss=1e-9", "--config.limit.steps=4")
    shared = f"--config.experts.folder={finished() / 'experts'}"
    assert call("distill", home, *flags, "--config.eval.every=2", shared) == 1
    told = capsys.readouterr().err
    assert "by step 4, has been above limit.loss=1e-09 for 4 steps" in told
    best = told.strip().split("is kept, ")[1]
    assert Path(best).is_file()
    assert Path(best).parent == home / "synthetic"
    assert not (home / "summary.json").exists()


def test_a_loss_within_its_limit_now_and_then_is_let_go_on(tmp_path):
    with Checkpoints(tmp_path) as kept:
        watch = Watch(Limit(loss=1.0, steps=20), 0, kept)
        for step, loss in ((10, 2.0), (20, 1.0), (30, 2.0), (39, 3.0)):
            assert watch(step, {"loss": np.float32(loss)}) == {"loss": loss}


def test_the_good_checkpoint_is_one_whose_loss_was_good(tmp_path):
    """The loss of step 20 is of the state before it: what was saved then may be bad."""
    with Checkpoints(tmp_path) as kept:
        for step in (10, 20, 30):
            kept.save(step, {"x": np.zeros(2)}, {})
        watch = Watch(Limit(loss=1.0, steps=10), 0, kept)
        for step, loss in ((10, 0.5), (20, 0.5)):
            watch(step, {"loss": np.float32(loss)})
        good = f"the last good checkpoint is {tmp_path / '10'}:"
        with pytest.raises(Diverged, match=re.escape(good)):
            watch(30, {"loss": np.float32("nan")})
        late = Watch(Limit(), 5, kept)
        with pytest.raises(Diverged) as told:
            late(30, {"loss": np.float32("inf")})
        assert "good" not in str(told.value)


def test_a_training_that_diverged_is_not_taken_up_again_under_the_same_limit(tmp_path):
    begun = []

    def train(limit):
        with remembered(tmp_path, limit):
            begun.append(limit)
            raise Diverged("the loss is nan")

    one, other = Limit(loss=1.0, steps=3), Limit(loss=2.0, steps=3)
    for limit in (one, one, other, other):
        with pytest.raises(Diverged, match="the loss is nan"):
            train(limit)
    assert begun == [one, other]


@pytest.mark.parametrize("key", ["log_every", "checkpoint_every", "eval.every"])
def test_events_fall_between_calls(tmp_path, capsys, key):
    assert call("distill", tmp_path / "run", f"--config.{key}=3") == 2
    told = capsys.readouterr().err
    assert f"{key}=3 must be a multiple of steps_per_call=2" in told
    assert not (tmp_path / "run").exists()


def test_another_engine_number_of_devices_and_a_trace(tmp_path, capsys):
    shared = f"--config.experts.folder={finished() / 'experts'}"
    flags = (shared, "--config.trajectory.segments=2", "--config.eval.every=8")
    one, two = tmp_path / "one", tmp_path / "two"
    assert call("distill", one, *flags, "--profile_steps=2:4") == 0
    told = capsys.readouterr().err
    assert "epoch" not in told  # the experts were there
    assert list((one / "profile").rglob("*.xplane.pb"))
    shutil.copytree(one, two)
    for gone in ("summary.json", "eval", "synthetic", "checkpoints/8"):
        path = two / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    engine = ("--config.devices.map=pmap", "--config.devices.count=2")
    assert call("distill", two, *flags, *engine) == 0
    a, b = (arrays(run / "synthetic" / "step_000008.npz") for run in (one, two))
    np.testing.assert_allclose(a["images"], b["images"], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(a["lr"], b["lr"], rtol=1e-4)
    assert [x["step"] for x in lines(two) if "loss" in x] == [2, 4, 6, 8]


def test_a_set_that_no_validation_can_judge_is_told_in_one_sentence(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(choosing, "validations", lambda home, metric: {})
    assert call("distill", tmp_path / "run", "--config.steps=2") == 1
    told = capsys.readouterr().err
    assert "diverged: no validation gave a finite auc" in told
    assert "lower init.lr" in told.splitlines()[-1]
    assert "Traceback" not in told
