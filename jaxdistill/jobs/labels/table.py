"""The table of a comparison at few labels: cells to rows, rows to Markdown.

A row is one way at one number of labelled films a class; its numbers are means and
sample deviations over draws, of the test films. A pretext is trained once for all
draws, and so errors leave out those of pretraining.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxdistill.jobs.labels.cells import FAILED
from jaxdistill.jobs.labels.plan import Cell
from jaxdistill.jobs.lessons.judging import BY_CLASS, CHOSEN, SCALARS, Record
from jaxdistill.jobs.settings.labelling import DISTILLED
from jaxdistill.run.report import markdown, score_text
from jaxdistill.run.rows import Row, gain, spread

SHOWN = {"auc": "auc", "balanced_accuracy": "balanced accuracy"}
SHOWN[CHOSEN] = "balanced accuracy at validation's threshold"


def rows_of(cells: Mapping[Cell, Record]) -> list[Row]:
    """A row for each way and number of labels that has a cell, in their order."""
    rows: list[Row] = []
    places = dict.fromkeys((cell.row, cell.per_class) for cell in cells)
    for name, k in places:
        own = [r for c, r in cells.items() if (c.row, c.per_class) == (name, k)]
        told = [r for r in own if FAILED not in r]
        row: Row = {"trained": name, "labels_per_class": k}
        row["failed"] = len(own) - len(told)
        if not told:
            rows.append(row | {"reason": own[0][FAILED]})
            continue
        for metric in (*SCALARS, CHOSEN, "calibration_error"):
            if not all(metric in r["test"] for r in told):
                continue  # of more than two classes, or scored before it was told
            row[metric] = spread([r["test"][metric] for r in told])
        for metric in BY_CLASS:
            means = np.mean([r["test"][metric] for r in told], axis=0)
            row[metric] = means.tolist()
        row["validation_auc"] = spread([r["val"]["auc"] for r in told])
        rows.append(row)
    return rows


def runs_of(cells: Mapping[Cell, Record]) -> list[Row]:
    """What every row is made of: a way, a number of labels and a draw each."""
    told = (*SCALARS, CHOSEN, "calibration_error", *BY_CLASS)
    return [
        {"trained": cell.row, "labels_per_class": cell.per_class, "draw": cell.draw}
        | {key: one["test"][key] for key in told if key in one["test"]}
        | {"validation_auc": one["val"]["auc"]}
        for cell, one in cells.items()
        if FAILED not in one
    ]


def as_markdown(rows: Sequence[Row], cells: Mapping[Cell, Record]) -> str:
    """AUC and balanced accuracy, a column for each number of labels; who is best."""
    counts = list(dict.fromkeys(row["labels_per_class"] for row in rows))
    parts = []
    for metric, title in SHOWN.items():
        if not any(metric in row for row in rows):
            continue
        lines = [[f"{title}, films a class", *map(str, counts)]]
        for name in dict.fromkeys(row["trained"] for row in rows):
            own = {r["labels_per_class"]: r for r in rows if r["trained"] == name}
            lines.append(
                [name, *(score_text(own.get(k, {}).get(metric)) for k in counts)]
            )
        parts.append(markdown(lines))
    parts += [best(rows, cells, k) for k in counts]
    failed = {
        f"{r['trained']}, {r['labels_per_class']}": r for r in rows if "reason" in r
    }
    parts += [f"* {at}: {row['reason']}" for at, row in failed.items()]
    return "\n\n".join(filter(None, parts)) + "\n"


def best(rows: Sequence[Row], cells: Mapping[Cell, Record], count: int) -> str:
    """Who has the highest AUC at a number of labels, and by how much.

    Draw by draw, as the films of a draw are those of every row, in the draws that no
    row failed in; a distilled set has no films of a draw.
    """
    own = [r for r in rows if r["labels_per_class"] == count and "auc" in r]
    areas = {r["trained"]: _areas(cells, r["trained"], count) for r in own}
    paired = [set(one) for name, one in areas.items() if name != DISTILLED]
    common = set.intersection(*paired) if paired else set()
    told = {
        name: one if name == DISTILLED else {draw: one[draw] for draw in sorted(common)}
        for name, one in areas.items()
    }
    worth = {name: np.mean([*one.values()]) for name, one in told.items() if one}
    if len(worth) < 2:
        return ""
    first, second, *_ = sorted(worth, key=lambda name: -worth[name])
    error = _error(told[first], told[second], DISTILLED in (first, second))
    sure = "" if error is None else f", standard error {error:.3f}"
    most = max(map(len, areas.values()))
    over = f" ({len(common)} draws in common)" if 0 < len(common) < most else ""
    return (
        f"At {count} a class {first} is ahead of {second} by "
        f"{worth[first] - worth[second]:.3f} in AUC{sure}{over}."
    )


def _areas(cells: Mapping[Cell, Record], name: str, count: int) -> dict[int, float]:
    """The AUC of each draw that has one."""
    return {
        cell.draw: record["test"]["auc"]
        for cell, record in cells.items()
        if (cell.row, cell.per_class) == (name, count) and FAILED not in record
    }


def _error(
    first: Mapping[int, float], second: Mapping[int, float], apart: bool
) -> float | None:
    """The standard error of a difference: of pairs, or of means that stand apart."""
    if apart:
        told = [gain(list(areas.values())) for areas in (first, second)]
        errors = [one["error"] for one in told if one]
        return None if None in errors else float(np.hypot(*errors))
    pairs = gain([first[draw] - second[draw] for draw in first if draw in second])
    return pairs["error"] if pairs else None
