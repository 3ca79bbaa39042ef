"""A prediction as people read it: a table, and one sentence of advice."""

from collections.abc import Mapping
from typing import Any

from jaxdistill.jobs.study.report import decimal, interval
from jaxdistill.run.report import markdown, score_text

# What the advice calls most of the whole set's score, much of it, and too unsure.
MOST, MUCH, UNSURE = 0.9, 0.7, 0.5


def table(told: Mapping[str, Any]) -> str:
    """The prediction as a Markdown table."""
    level = f"{told['level']:.0%}"
    cells = [["ipc", "random, validation", "distilled, expected", level]]
    cells[0] += ["of the whole set", f"{level} of it"]
    for row in told["rows"]:
        part = row["fraction"] or dict.fromkeys(("expected", "low", "high"))
        cells.append(
            [
                str(row["ipc"]),
                score_text(row["random"]),
                decimal(row["expected"]),
                interval(row["low"], row["high"]),
                decimal(part["expected"]),
                interval(part["low"], part["high"]),
            ]
        )
    return markdown(cells)


def text(told: Mapping[str, Any]) -> str:
    """The table, the whole set's score, and one sentence of advice."""
    fitted = f"Fitted on {', '.join(told['sets'])}; balanced accuracies."
    if told["whole"]:
        fitted += f" Whole set on validation: {score_text(told['whole'])}."
    low, high = told["seen"]
    far = [r for r in told["rows"] if not low <= r["random"]["mean"] <= high]
    if far:
        names = ", ".join(str(row["ipc"]) for row in far)
        fitted += (
            f" At ipc {names} random images score outside of what the study has seen "
            f"({low:.3f} to {high:.3f})."
        )
    return f"{table(told)}\n\n{fitted}\n\n{told['advice']}\n"


def advice(told: Mapping[str, Any]) -> str:
    """One sentence: whether to distil, and at what size."""
    rows = told["rows"]
    best = max(rows, key=lambda row: row["expected"])
    width = best["high"] - best["low"]
    at, expected = f"ipc {best['ipc']}", f"{best['expected']:.3f}"
    if width >= UNSURE:
        return (
            f"The interval at {at} is {width:.2f} wide, which is no ground to decide "
            "on: distil once at a small size and look."
        )
    if not best["fraction"]:
        return (
            f"At {at} expect about {expected} where random images have "
            f"{best['random']['mean']:.3f}; what share of the whole set's score that "
            "is takes a call without --fast."
        )
    sure = [row for row in rows if row["high"] - row["low"] < UNSURE]
    enough = [row for row in sure if row["fraction"]["expected"] >= MOST]
    if enough:
        first = min(enough, key=lambda row: row["ipc"])
        return (
            f"Distil at ipc {first['ipc']}: about {first['fraction']['expected']:.0%} "
            "of the whole set's balanced accuracy is to be expected."
        )
    share = f"{best['fraction']['expected']:.0%} of the whole set's balanced accuracy"
    if best["fraction"]["expected"] >= MUCH:
        return f"Worth a trial at {at}: about {share} is to be expected."
    return (
        f"Do not count on it: even at {at} only about {share} is to be expected, so "
        "take more images per class, or the whole set."
    )
