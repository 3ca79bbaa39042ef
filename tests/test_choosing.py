"""The choice of the set: the best few by the cheap score, then by fresh networks."""

import jax
import numpy as np
import pytest
from helpers import tanh_network, toy_pool, toy_synthetic

from jaxdistill.engine.mesh import make_mesh
from jaxdistill.jobs.distil import choosing
from jaxdistill.jobs.judging.judge import FINALISTS, Judge, validation
from jaxdistill.jobs.judging.synthetic import save_synthetic
from jaxdistill.jobs.settings.resolve import resolve
from jaxdistill.run.report import error_text
from jaxdistill.run.workdir import open_workdir

CURVE = {10: (0.5, 0.1), 20: (0.9, 0.1), 30: (0.8, 0.1), 40: (0.7, 0.1)}
AGAIN = {10: 1.0, 20: 0.6, 30: 0.6, 40: 0.7}  # what fresh networks would say


def judge_of(**settings):
    config = resolve({"network": {"name": "mlp"}, "eval": settings})
    return Judge(
        tanh_network(), toy_pool(), config, (), jax.random.key(0), make_mesh(1)
    )


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A run's folder whose sets carry their step as their rate, and what was asked."""
    asked = []

    def judged(judge, numbered, seeds):
        assert numbered == FINALISTS

        def score(synthetic):
            step = round(float(synthetic.raw_lr))
            asked.append((step, seeds))
            return {"auc": {"mean": AGAIN[step], "std": 0.03, "n": seeds}}

        return score

    monkeypatch.setattr(choosing, "validation", judged)
    with open_workdir(tmp_path / "run", {}) as opened:
        for step in CURVE:
            made = toy_synthetic()._replace(raw_lr=jax.numpy.asarray(float(step)))
            opened.synthetic.mkdir(exist_ok=True)
            save_synthetic(choosing.set_file(opened, step), made, toy_pool())
        yield opened, asked


def test_fresh_networks_decide_among_the_best_few(home):
    folder, asked = home
    said = []
    judge = judge_of(finalists=3, finalist_seeds=9)
    choice = choosing.choose(judge, folder, CURVE, said.append)
    assert asked == [(20, 9), (30, 9), (40, 9)]  # 10 was not among the best three
    assert choice.step == 40
    assert choice.rounds["first"]["20"] == {"mean": 0.9, "std": 0.1, "n": 2}
    assert choice.rounds["finalists"]["40"] == {"mean": 0.7, "std": 0.03, "n": 9}
    # 0.03 / sqrt(9)
    error = "0.700 ± 0.010 (standard error of 9 networks)"
    assert choice.told == f"validation auc, {error}, of the best 3 of 4"
    assert said[-1] == f"step 40: validation auc {error}"


def test_what_the_second_round_found_is_kept(home):
    folder, asked = home
    judge = judge_of(finalists=2, finalist_seeds=4)
    first = choosing.choose(judge, folder, CURVE, print)
    again = choosing.choose(judge, folder, CURVE, print)
    assert asked == [(20, 4), (30, 4)]
    assert first == again
    assert first.step == 20  # of equal ones the first


@pytest.mark.parametrize(
    ("settings", "curve"), [({"finalists": 1}, CURVE), ({}, {20: (0.9, 0.0)})]
)
def test_one_finalist_needs_no_second_round(home, settings, curve):
    folder, asked = home
    choice = choosing.choose(judge_of(**settings), folder, curve, print)
    assert (choice.step, choice.told, asked) == (20, "validation auc", [])
    assert "finalists" not in choice.rounds


def test_scores_that_are_undefined_do_not_decide(home, monkeypatch):
    folder, _ = home
    monkeypatch.setitem(AGAIN, 40, float("nan"))
    choice = choosing.choose(judge_of(), folder, CURVE, print)
    assert choice.step == 20
    assert choice.rounds["finalists"]["40"]["mean"] is None  # as JSON has it
    for step in (20, 30):
        (folder.eval / f"finalist_{step:06d}.json").unlink()
        monkeypatch.setitem(AGAIN, step, float("nan"))
    choice = choosing.choose(judge_of(), folder, CURVE, print)
    assert (choice.step, choice.told) == (20, "validation auc")


def test_the_networks_of_the_second_round_are_others():
    """As many of the first round as asked, and not one of them in the second."""
    judge = judge_of(seeds=2, epochs=2)
    judge = judge._replace(config={**judge.config, "mosaic": 1})
    first, two = validation(judge), validation(judge, FINALISTS, 3)
    a, b = first(toy_synthetic())["auc"], two(toy_synthetic())["auc"]
    assert (a["n"], b["n"]) == (2, 3)
    assert a["mean"] != b["mean"]


def test_errors_are_told_as_people_read_them():
    score = {"mean": 0.5, "std": 0.2, "n": 4}
    assert error_text(score) == "0.500 ± 0.100 (standard error of 4 networks)"
    assert error_text(score | {"n": 1, "std": 0.0}) == "0.500 (one network)"
    assert error_text(score | {"mean": np.nan}) == "undefined"
    assert error_text(score | {"mean": None}) == "undefined"
