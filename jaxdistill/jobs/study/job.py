"""The study verb: does what random real images teach tell what distilled ones will?

A comparison for every data set of `study.sets`, then one line through all of them
(Li et al. 2024, arXiv:2407.14429; `jaxdistill.evaluation.indicator`).

    workdir/
      sets/NAME/                  a comparison each, as of `compare`
      points.csv study.json report.md figures/relation.png
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxdistill.engine.mesh import split_cpu
from jaxdistill.errors import Diverged, InputError
from jaxdistill.jobs.compare import job as comparing
from jaxdistill.jobs.judging.evaluating import record_of
from jaxdistill.jobs.settings.resolve import free, resolve, usual
from jaxdistill.jobs.study.figure import relation_figure
from jaxdistill.jobs.study.points import (
    Finding,
    Point,
    analyse,
    failures_of,
    points_of,
    whole_of,
)
from jaxdistill.jobs.study.report import as_csv, report
from jaxdistill.jobs.study.sets import sets_of
from jaxdistill.run import figures
from jaxdistill.run.files import plain, read_record, write_atomic, write_json
from jaxdistill.run.kept import usable
from jaxdistill.run.places import place
from jaxdistill.run.report import costs
from jaxdistill.run.troubles import explain_os_errors
from jaxdistill.run.workdir import Workdir, open_workdir

Study = dict[str, Any]


def run(config: Mapping[str, Any], workdir: Path, say: Callable = print) -> Study:
    """Make or finish the study of a configuration; returns what study.json holds.

    A data set that fails is told with its reason, the others go on. The same call again
    goes on where it stopped, tries again what failed, and takes up sets that were added
    to the configuration. Raises `InputError` for a wrong key before anything is
    trained, and at the end where no data set gave a point.
    """
    began = time.perf_counter()
    workdir = place(workdir)
    config = resolve(config)
    level = config["study"]["level"]
    wanted = sets_of(config)
    split_cpu(config["devices"]["cpu"])
    record = record_of(config)
    with open_workdir(workdir, record, free(), usual=usual(config)) as home:
        for note in home.notes:
            say(f"note: {note}")
        told = {
            name: _compared(name, one, workdir / "sets" / name, say)
            for name, one in wanted.items()
        }
        study = _gathered(home, told, level)
        study |= costs(home, time.perf_counter() - began)
        settled = all(one["state"] == "done" for one in told.values())
        study |= {"config": plain(config), "complete": settled}
        write_json(workdir / "study.json", study)
        write_atomic(workdir / "report.md", report(study).encode())
    if not study["points"]:
        reasons = "; ".join(f"{name}: {_why(one)}" for name, one in told.items())
        raise InputError(f"no data set of the study gave a point ({reasons})")
    return study


def _compared(name: str, config: Mapping[str, Any], folder: Path, say: Callable) -> Any:
    """Run a set's comparison unless it is finished; its state."""
    say(f"data set {name}")
    try:
        with explain_os_errors(folder, "use"):
            if not _finished(config, folder):
                comparing.run(config, folder, say)
    except (InputError, Diverged) as error:
        say(f"data set {name} failed: {error}")
        return {"state": "failed", "reason": str(error), "full": None, "failures": {}}
    return {
        "state": "done",
        "reason": "",
        "full": whole_of(folder),
        "failures": failures_of(folder),
    }


def _why(one: Mapping[str, Any]) -> str:
    """Why a data set gave no point: its own reason, or those of its cells."""
    return one["reason"] or "; ".join(dict.fromkeys(one["failures"].values()))


def _finished(config: Mapping[str, Any], folder: Path) -> bool:
    """Whether this very comparison is done: then its data need not be there."""
    read = lambda file: read_record(file, "rows", "config", "compare")  # noqa: E731
    told = usable(folder / "summary.json", read)
    if told is None or told.get("complete") is not True:
        return False
    try:  # a score that is lost or damaged is for the comparison to make again
        points_of("", folder), whole_of(folder)
    except InputError:
        return False
    same = told["config"] == plain(record_of(config))
    return same and told["compare"] == plain(config["compare"])


def _gathered(home: Workdir, told: dict[str, Any], level: float) -> Study:
    """Points, what they say, and the files that show it."""
    points: list[Point] = []
    for name, one in told.items():
        if one["state"] == "done":
            points += points_of(name, home.path / "sets" / name)
    found, reason = None, ""
    try:
        found = analyse(points, level)
    except InputError as error:
        reason = str(error)
    write_atomic(home.path / "points.csv", as_csv(points).encode())
    drawn = []
    if found is not None and figures.available():
        relation_figure(home.figures / "relation.png", points, found.relation, level)
        drawn = ["figures/relation.png"]
    return {
        "points": _beside(points, found),
        "sets": told,
        "level": level,
        "found": None if found is None else _told(found),
        "nothing_because": reason,
        "figures": drawn,
    }


def _beside(points: list[Point], found: Finding | None) -> list[Point]:
    """The points, each with what the other data sets predict for it."""
    if found is None:
        return points
    pairs = zip(points, found.held_out, strict=True)
    return [point | {"without_its_set": said} for point, said in pairs]


def _told(found: Finding) -> dict[str, Any]:
    """The finding in plain values; the means run over data sets."""
    kinds = ("line", "mean", "same")
    means = {
        kind: sum(one[kind] for one in found.errors.values()) / len(found.errors)
        for kind in kinds
    }
    relation = plain(found.relation)
    del relation["held_out"]  # stands beside the points
    return {
        "relation": relation,
        "correlation": plain(found.correlation),
        "correlation_on_test": plain(found.on_test),
        "mean_absolute_error": means,
        "mean_absolute_error_by_set": found.errors,
    }
