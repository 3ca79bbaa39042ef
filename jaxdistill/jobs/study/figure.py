"""The picture of a study: distilled against random, a colour for each data set."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdistill.evaluation.indicator import Relation, predict
from jaxdistill.run.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, blank, save

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, "#56B4E9", "#E69F00", "#8A7F00", "#000000")
MARKS = "os^Dv*PX"


def relation_figure(
    path: str | os.PathLike,
    points: Sequence[Mapping[str, Any]],
    relation: Relation,
    level: float,
) -> None:
    """A PNG of the points, the line through them, and where a new data set's may lie.

    Raises `InputError` without Matplotlib or where the disk fails.
    """
    figure = blank(7.2, 4.6)
    ax = figure.subplots()
    x = np.linspace(*_limits(points), 60)
    said = [predict(relation, float(at), level) for at in x]
    low, high = [p.low for p in said], [p.high for p in said]
    band = f"{level:.0%} for a new data set"
    ax.fill_between(x, low, high, color=GREY, alpha=0.12, lw=0, label=band)
    ax.plot(x, [p.expected for p in said], color=GREY, lw=1.6, label="fitted line")
    ax.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="as random images")
    methods = list(dict.fromkeys(point["method"] for point in points))
    sets = list(dict.fromkeys(point["set"] for point in points))
    for i, name in enumerate(sets):
        colour = COLOURS[i % len(COLOURS)]
        ax.plot([], [], "s", color=colour, label=name)
        for point in (p for p in points if p["set"] == name):
            mark = MARKS[methods.index(point["method"]) % len(MARKS)]
            style = {"fmt": mark, "ms": 5, "color": colour, "capsize": 2, "lw": 0.8}
            ax.errorbar(point["x"], point["y"], point["y_std"], point["x_std"], **style)
            told = {"textcoords": "offset points", "xytext": (4, 4), "fontsize": 6}
            ax.annotate(str(point["ipc"]), (point["x"], point["y"]), **told)
    for i, method in enumerate(methods):
        mark = MARKS[i % len(MARKS)]
        ax.plot([], [], mark, mfc="white", mec=GREY, label=method)
    ax.set_xlim(*_limits(points))
    ax.set_ylim(0, 1)
    ax.set_xlabel("random subset: balanced accuracy, validation", fontsize=9)
    ax.set_ylabel("distilled set: balanced accuracy, test", fontsize=9)
    ax.set_title("Numbers are images per class", fontsize=9, loc="left", color=GREY)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    save(figure, path)


def _limits(points: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """A little more than the random subsets span."""
    x = [point["x"] for point in points]
    return max(0.0, min(x) - 0.08), min(1.0, max(x) + 0.08)
