"""From finished comparisons to points, and from points to a relation.

A point is a data set, a variant and a number of images per class:

    x   random subsets, balanced accuracy on validation: known before anyone distils
    y   the distilled set, balanced accuracy on test

Both are means over networks, read from the records of the comparison; the random
subsets are trained on in the way (augmented or not) that validation prefers.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdistill.errors import InputError
from jaxdistill.evaluation.indicator import (
    Correlation,
    Relation,
    correlation,
    fit_relation,
    predict,
)
from jaxdistill.jobs.compare.scores import way
from jaxdistill.jobs.compare.table import pool_runs
from jaxdistill.run.files import read_record

METRIC = "balanced_accuracy"
Point = dict[str, Any]
COLUMNS = (
    "set",
    "method",
    "ipc",
    "x",
    "x_std",
    "x_test",
    "y",
    "y_std",
    "n",
    "full_test",
    "fraction",
)


class Finding(NamedTuple):
    """What all points say together; `held_out` stands beside them, one a point."""

    relation: Relation
    correlation: Correlation | None  # of x and y; None where y is constant
    on_test: Correlation | None  # of the random subsets' test scores and y
    held_out: tuple[dict[str, Any], ...]
    errors: dict[str, dict[str, float]]  # mean absolute ones, by data set


def points_of(name: str, folder: Path) -> list[Point]:
    """The points of a finished comparison."""
    rows = read_record(folder / "summary.json", "rows")["rows"]
    done = [row for row in rows if row["state"] == "done"]
    whole = next(row for row in done if row["kind"] == "whole")
    points = []
    for row in done:
        beside = _random(done, row["ipc"])
        if row["kind"] != "distilled" or _missing(row, beside):
            continue
        file = folder / "coresets" / f"random_ipc{row['ipc']}"
        known = on_validation(file, beside["augmentation"])
        y, full = row[METRIC], whole[METRIC]["mean"]
        fraction = y["mean"] / full if full else None
        points.append(
            {
                "set": name,
                "method": row["set"],
                "ipc": row["ipc"],
                "x": known["mean"],
                "x_std": known["std"],
                "x_test": beside[METRIC]["mean"],
                "y": y["mean"],
                "y_std": y["std"],
                "n": y["n"],
                "full_test": full,
                "fraction": fraction,
            }
        )
    return points


def whole_of(folder: Path) -> dict[str, Any]:
    """The whole set's scores in a finished comparison, on validation and on test."""
    rows = read_record(folder / "summary.json", "rows")["rows"]
    row = next(row for row in rows if row["kind"] == "whole")
    known = on_validation(folder / "coresets" / "full", row["augmentation"])
    return {"val": known, "test": row[METRIC]}


def failures_of(folder: Path) -> dict[str, str]:
    """What in a finished comparison failed, and why."""
    rows = read_record(folder / "summary.json", "rows")["rows"]
    return {
        f"{row['set']} at ipc {row['ipc']}": row.get("reason")
        or f"no {METRIC} that is a number"
        for row in rows
        if row.get("reason") or _without(row)
    }


def on_validation(folder: Path, augmentation: str) -> dict[str, Any]:
    """Mean, spread and number of a real set's validation scores in one way."""
    file = folder / "eval" / f"{way('hard', augmentation)}.json"
    record = read_record(file, "val")
    return pool_runs([record], "val")[METRIC]


def relation_of(points: Sequence[Point]) -> Relation:
    """The line of distilled on random; `InputError` for points that give none."""
    return fit_relation(*arrays(points))


def analyse(points: Sequence[Point], level: float) -> Finding:
    """All that a study says of its points; `InputError` for points that say nothing."""
    x, y, groups = arrays(points)
    relation = fit_relation(x, y, groups)
    test = np.array([point["x_test"] for point in points], np.float64)
    return Finding(
        relation,
        _correlation(x, y, groups, level),
        _correlation(test, y, groups, level),
        tuple(_without_own(points, point, level) for point in points),
        _errors(relation, points),
    )


def arrays(points: Sequence[Point]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y and the data sets' names."""
    x, y = (np.array([p[key] for p in points], np.float64) for key in "xy")
    return x, y, np.array([point["set"] for point in points], np.str_)


def _errors(relation: Relation, points: Sequence[Point]) -> dict[str, dict[str, float]]:
    """Mean absolute errors by data set, of what is said without it.

    `line` by the line of the others, `mean` by their mean, `same` by y = x: what a line
    must beat.
    """
    x, y, groups = arrays(points)
    found = {}
    for name in np.unique(groups).tolist():
        own = groups == name
        found[name] = {
            "line": float(np.abs(relation.held_out.errors[own]).mean()),
            "mean": float(np.abs(y[own] - y[~own].mean()).mean()),
            "same": float(np.abs(y[own] - x[own]).mean()),
        }
    return found


def _without_own(points: Sequence[Point], point: Point, level: float) -> dict[str, Any]:
    """What the other data sets predict for a point, where they are two or more."""
    others = [p for p in points if p["set"] != point["set"]]
    try:
        said = predict(relation_of(others), point["x"], level)
    except InputError:
        return {"expected": None, "low": None, "high": None, "inside": None}
    inside = bool(said.low <= point["y"] <= said.high)
    return {**said._asdict(), "inside": inside}


def _correlation(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, level: float
) -> Correlation | None:
    try:
        return correlation(x, y, groups, level=level)
    except InputError:
        return None


def _random(rows: Sequence[Mapping[str, Any]], ipc: int | None) -> Mapping[str, Any]:
    """The row of random images of this size, or nothing."""
    found = [row for row in rows if (row["set"], row["ipc"]) == ("random", ipc)]
    return found[0] if found else {}


def _missing(row: Mapping[str, Any], beside: Mapping[str, Any]) -> bool:
    """Whether a score is not there, or not a number."""
    return any(map(_without, (row, beside)))


def _without(row: Mapping[str, Any]) -> bool:
    return row.get(METRIC, {}).get("mean") is None
