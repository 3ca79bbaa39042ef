"""The picture of a comparison: two scores of every set, a row of panels an ipc."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from jaxdistill.run.figures import BLUE, LINES, blank, save

LEVELS = ("random", "herding", "full")  # drawn as lines, what a set must beat
SCORES = {"auc": "AUC", "balanced_accuracy": "balanced accuracy"}


def comparison(path: str | os.PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """A PNG of AUC and balanced accuracy by set, mean and one standard deviation.

    Random images, herding and the whole split are lines in every panel. Raises
    `InputError` without Matplotlib or where the disk fails.
    """
    done = [row for row in rows if row["state"] == "done"]
    ipcs = sorted({row["ipc"] for row in done if row["ipc"]})
    blocks = [[r for r in done if r["ipc"] == ipc] for ipc in ipcs]
    longest = max((len(block) for block in blocks), default=1)
    height = max(1, len(ipcs)) * (0.32 * longest + 1.0) + 0.6
    figure = blank(9.0, min(height, 40.0))
    axes = figure.subplots(max(1, len(ipcs)), len(SCORES), squeeze=False)
    whole = [row for row in done if row["set"] == "full"]
    for ipc, block, pair in zip(ipcs, blocks, axes, strict=False):
        for ax, (metric, words) in zip(pair, SCORES.items(), strict=True):
            _panel(ax, block, whole, metric)
            ax.set_title(f"{words}, {ipc} per class", fontsize=10, loc="left")
        pair[1].set_yticklabels([])
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    save(figure, path)


def _panel(
    ax: Any,
    block: Sequence[Mapping[str, Any]],
    whole: Sequence[Mapping[str, Any]],
    metric: str,
) -> None:
    """One score of the sets of one ipc, from the top in the table's order."""
    shown = [row for row in block if row["set"] not in LEVELS]
    means = [row[metric]["mean"] for row in shown]
    spread = [row[metric]["std"] for row in shown]
    places = range(len(shown))
    bars = {"fmt": "o", "ms": 4, "capsize": 2.5, "lw": 1.2, "color": BLUE}
    ax.errorbar(means, places, xerr=spread, **bars)
    levels = {row["set"]: row for row in [*block, *whole] if row["set"] in LEVELS}
    for (name, row), (colour, dashes) in zip(levels.items(), LINES, strict=False):
        mean, std = row[metric]["mean"], row[metric]["std"]
        ax.axvspan(mean - std, mean + std, color=colour, alpha=0.10, lw=0)
        ax.axvline(mean, color=colour, ls=dashes, lw=1.4, label=name)
    ax.set_yticks(places, [row["set"] for row in shown], fontsize=8)
    ax.invert_yaxis()
    ax.tick_params(labelsize=8)
    ax.grid(axis="x", color="#dddddd", lw=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
