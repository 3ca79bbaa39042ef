"""A study as people read it: tables, and in plain words what was and was not found."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from jaxdistill.jobs.study.points import COLUMNS
from jaxdistill.run.report import markdown


def as_csv(points: Sequence[Mapping[str, Any]]) -> str:
    """A line for each point."""
    file = io.StringIO()
    writer = csv.DictWriter(
        file, COLUMNS, extrasaction="ignore", restval="", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(points)
    return file.getvalue()


def report(study: Mapping[str, Any]) -> str:
    """The Markdown of a study."""
    parts = ["# Feasibility study", "\n".join(words(study)), "## Data sets"]
    parts += [sets_table(study), *_reasons(study), "## Points", points_table(study)]
    parts.append(
        "x: random subsets on validation; random, distilled: on test; expected: by the "
        f"line of the other data sets, with its {study['level']:.0%} interval. All are "
        "balanced accuracies."
    )
    parts += [f"![relation]({name})" for name in study["figures"]]
    parts.append(f"{study['device']}, {study['wall_seconds']:.0f} s in this call.")
    return "\n\n".join(parts) + "\n"


def words(study: Mapping[str, Any]) -> list[str]:
    """What was found, and what was not, a sentence a line."""
    found = study["found"]
    if found is None:
        return [f"* No relation could be fitted: {study['nothing_because']}."]
    relation, level = found["relation"], study["level"]
    lines = [
        f"* {relation['points']} points of {relation['sets']} data sets: distilled = "
        f"{relation['intercept']:.3f} + {relation['slope']:.3f} x random."
    ]
    pair = (("correlation", "validation"), ("correlation_on_test", "test"))
    for key, split in pair:
        lines += _correlation(found[key], split, level)
    errors = found["mean_absolute_error"]
    better = errors["line"] < min(errors["mean"], errors["same"])
    lines.append(
        f"* A data set left out is missed by {errors['line']:.3f} on average; by "
        f"{errors['mean']:.3f} with the mean of the others and {errors['same']:.3f} "
        f"with the random subset's own score: the line was {'' if better else 'not '}"
        "better than both."
    )
    known = [p["without_its_set"]["inside"] for p in study["points"]]
    known = [inside for inside in known if inside is not None]
    if known:
        lines.append(
            f"* {sum(known)} of {len(known)} points lay in the {level:.0%} interval "
            "that the other data sets gave them."
        )
    if relation["sets"] < few(level):
        lines.append(
            f"* {relation['sets']} data sets are few: read the intervals, not r alone, "
            "and take percentiles of so few for too narrow."
        )
    return lines


def few(level: float) -> int:
    """Data sets from which on the interval's jackknife part holds, 9 at a level 0.9."""
    return math.ceil(level / (1 - level) - 1e-9)


def sets_table(study: Mapping[str, Any]) -> str:
    """A row for each data set."""
    found = study["found"] or {"mean_absolute_error_by_set": {}}
    cells = [["data set", "state", "points", "whole set, test", "missed by"]]
    for name, one in study["sets"].items():
        own = sum(point["set"] == name for point in study["points"])
        error = found["mean_absolute_error_by_set"].get(name, {}).get("line")
        whole = one["full"]["test"]["mean"] if one["full"] else None
        cells.append([name, one["state"], str(own), decimal(whole), decimal(error)])
    return markdown(cells)


def points_table(study: Mapping[str, Any]) -> str:
    """A row for each point."""
    head = ["data set", "method", "ipc", "x", "random", "distilled", "of whole"]
    cells = [[*head, "expected", "interval"]]
    for point in study["points"]:
        said = point.get("without_its_set", {})
        keys = ("x", "x_test", "y", "fraction")
        cells.append(
            [
                point["set"],
                point["method"],
                str(point["ipc"]),
                *(decimal(point[key]) for key in keys),
                decimal(said.get("expected")),
                interval(said.get("low"), said.get("high")),
            ]
        )
    return markdown(cells)


def decimal(value: float | None) -> str:
    """Three decimals, or a dash."""
    return "–" if value is None else f"{value:.3f}"


def interval(low: float | None, high: float | None) -> str:
    """Both ends, or a dash."""
    return "–" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _correlation(
    found: Mapping[str, Any] | None, split: str, level: float
) -> list[str]:
    """Both coefficients with their intervals, and whether these leave a doubt."""
    if found is None:
        return [f"* Random on {split} and distilled: no correlation, one is constant."]
    told = (
        f"* Random on {split} and distilled: Pearson {found['pearson']:.2f} "
        f"({level:.0%} interval {_ends(found['pearson_interval'])}), Spearman "
        f"{found['spearman']:.2f} ({_ends(found['spearman_interval'])})"
    )
    ends = found["pearson_interval"] + found["spearman_interval"]
    if None not in ends and max(ends) < 0:
        return [
            f"{told}. Both intervals lie below 0: where one is high, the other is low."
        ]
    if None in ends or min(ends) <= 0:
        return [f"{told}. An interval reaches 0: that they go together is not shown."]
    return [f"{told}. Both intervals lie above 0: they go together here."]


def _ends(pair: Sequence[float | None]) -> str:
    return " to ".join("–" if end is None else f"{end:.2f}" for end in pair)


def _reasons(study: Mapping[str, Any]) -> list[str]:
    """A line for everything that failed, or nothing."""
    lines = []
    for name, one in study["sets"].items():
        if one["reason"]:
            lines.append(f"* {name} failed: {one['reason']}")
        lines += [f"* {name}, {at}: {why}" for at, why in one["failures"].items()]
    return ["\n".join(lines)] if lines else []
