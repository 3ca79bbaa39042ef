"""Which iterate a run keeps, by validation in two rounds.

While a set is made, few networks judge every iterate, always the same ones. Of many
iterates the best by them is one that they happened to train well on. So the best few
are judged again, by enough fresh networks, again the same for all, and these decide.
Neither their scores nor those of the first round are what the final table shows: it
trains networks of its own.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxdistill.jobs.judging.judge import FINALISTS, Judge, validation
from jaxdistill.jobs.judging.synthetic import load_synthetic
from jaxdistill.run.files import read_json, read_record, write_json
from jaxdistill.run.kept import usable
from jaxdistill.run.report import error_text
from jaxdistill.run.workdir import Workdir
from jaxdistill.run.writer import read_metrics

Curve = dict[int, tuple[float, float]]  # by step: mean and standard deviation


class Choice(NamedTuple):
    """The chosen step, in words how, and what both rounds measured, by step."""

    step: int
    told: str
    rounds: dict[str, dict[str, Any]]


def choose(judge: Judge, home: Workdir, curve: Curve, say: Callable) -> Choice:
    """The iterate that validation prefers; the second round is kept in `eval/`.

    It is left out where `eval.finalists` is 1, or one iterate alone has a score.
    """
    s = judge.settings
    ranked = sorted(curve, key=lambda step: -curve[step][0])
    first = {
        str(step): {"mean": mean, "std": std, "n": s["seeds"]}
        for step, (mean, std) in sorted(curve.items())
    }
    told, rounds = f"validation {s['select']}", {"first": first}
    finalists = sorted(ranked[: s["finalists"]])
    if len(finalists) == 1:
        return Choice(ranked[0], told, rounds)
    judged = _judged(judge, home, finalists, say)
    known = {step: score for step, score in judged.items() if _is_number(score)}
    rounds["finalists"] = {str(step): score for step, score in judged.items()}
    if not known:
        return Choice(ranked[0], told, rounds)
    best = max(known, key=lambda step: known[step]["mean"])
    told = (
        f"{told}, {error_text(known[best])}, of the best {len(finalists)} of "
        f"{len(curve)}"
    )
    return Choice(best, told, rounds)


def scored(choice: Choice) -> Curve:
    """What the second round found, where there was one."""
    found = choice.rounds.get("finalists", {})
    return {
        int(step): (score["mean"], score["std"])
        for step, score in found.items()
        if _is_number(score)
    }


def validations(home: Workdir, metric: str) -> Curve:
    """What the first round found so far."""
    name = f"val_{metric}"
    return {
        line["step"]: (line[name], line[f"{name}_std"])
        for line in read_metrics(home.metrics)
        if line.get(name) is not None
    }


def set_file(home: Workdir, step: int) -> Path:
    """Where the set of a step lies."""
    return home.synthetic / f"step_{step:06d}.npz"


def _judged(
    judge: Judge, home: Workdir, finalists: list[int], say: Callable
) -> dict[int, dict[str, Any]]:
    metric, seeds = judge.settings["select"], judge.settings["finalist_seeds"]
    score, found = validation(judge, FINALISTS, seeds), {}
    for step in finalists:
        path = home.eval / f"finalist_{step:06d}.json"
        if usable(path, lambda file: read_record(file, metric)) is None:
            scores = score(load_synthetic(set_file(home, step)).synthetic)
            write_json(path, {metric: scores[metric]})
            say(f"step {step}: validation {metric} {error_text(scores[metric])}")
        found[step] = read_json(path)[metric]
    return found


def _is_number(score: Mapping[str, Any]) -> bool:
    return score["mean"] is not None and math.isfinite(score["mean"])
