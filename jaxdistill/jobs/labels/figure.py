"""A picture of a comparison at few labels: AUC against labelled films a class."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from jaxdistill.run.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, blank, save

HUES = (ORANGE, BLUE, GREEN, PURPLE, GREY, "#E69F00", "#56B4E9", "#999999", "#000000")
MARKS = "osD^vPXp*"  # as many as there are rows
SPREAD = 0.25  # of the ways about a number of films, where the next is 1 away


def by_labels(path: str | os.PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """A PNG with a line for each way, bars of a deviation over draws.

    Raises `InputError` without Matplotlib.
    """
    figure = blank(5.6, 3.6)
    ax = figure.subplots()
    names = list(dict.fromkeys(row["trained"] for row in rows))
    counts = list(dict.fromkeys(row["labels_per_class"] for row in rows))
    for at, name in enumerate(names):
        own = [row for row in rows if row["trained"] == name and "auc" in row]
        places = [counts.index(row["labels_per_class"]) for row in own]
        shift = SPREAD * (at / max(1, len(names) - 1) - 0.5)
        ax.errorbar(
            [place + shift for place in places],
            [row["auc"]["mean"] for row in own],
            yerr=[row["auc"]["std"] or 0.0 for row in own],
            color=HUES[at % len(HUES)],
            marker=MARKS[at % len(MARKS)],
            markersize=4,
            linewidth=1.2,
            elinewidth=0.8,
            label=name,
        )
    ax.set_xticks(range(len(counts)), [str(count) for count in counts])
    ax.set_xlabel("labelled films a class", fontsize=8)
    ax.set_ylabel("AUC on test films", fontsize=8)
    ax.tick_params(labelsize=7)
    beside = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
    ax.legend(fontsize=7, frameon=False, **beside)
    save(figure, path)
