"""The one table of a self-training run: scores to rows, rows to CSV and Markdown.

Numbers are means and sample deviations over seeds, of the test films. The interval is
DeLong's of one model, its ends averaged over seeds; a gain is over the labels alone, of
the same seed and as many wrong, with its standard error over seeds and the median of
DeLong's paired p.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdistill.evaluation.delong import Difference
from jaxdistill.jobs.lessons.judging import BY_CLASS, CHOSEN, SCALARS, Record
from jaxdistill.jobs.selftrain.beginning import Start
from jaxdistill.run.report import markdown, score_text
from jaxdistill.run.rows import Row, gain, gain_text, spread

METRICS = (*SCALARS, CHOSEN, "calibration_error")
Bench = Mapping[tuple[str, int], Record]  # by name and seed
Tests = Mapping[tuple[str, int], Difference]


def rows_of(
    firsts: Mapping[str, str], seeds: Sequence[int], bench: Bench, tests: Tests
) -> list[Row]:
    """A row for each training that has scores, and over which other its gain is.

    `firsts` names for each the training on labels alone that it began with.
    """
    rows: list[Row] = []
    for name, first in firsts.items():
        here = {s: bench[name, s] for s in seeds if (name, s) in bench}
        if not here:
            continue
        told = [one["test"] for one in here.values()]
        row: Row = {"trained": name}
        for metric in METRICS:
            if metric not in told[0]:
                continue  # of more than two classes
            row[metric] = spread([one[metric] for one in told])
        for metric in BY_CLASS:
            row[metric] = np.mean([one[metric] for one in told], axis=0).tolist()
        row["auc_interval"] = [
            float(np.mean([one[end] for one in told]))
            for end in ("auc_low", "auc_high")
        ]
        row["validation_auc"] = spread([one["val"]["auc"] for one in here.values()])
        row["gain"] = None if name == first else _gain(first, here, bench)
        ps = [tests[name, seed].p for seed in here if (name, seed) in tests]
        row["p"] = float(np.median(ps)) if ps else None
        rows.append(row)
    return rows


def runs_of(bench: Bench) -> list[Row]:
    """What every row is made of: a training and a seed each, on the test films."""
    told = (*METRICS, *BY_CLASS, "auc_low", "auc_high")
    return [
        {"trained": name, "seed": seed}
        | {key: one["test"][key] for key in told if key in one["test"]}
        | {"validation_auc": one["val"]["auc"]}
        for (name, seed), one in bench.items()
    ]


def _gain(first: str, here: Mapping[int, Record], bench: Bench) -> Any:
    gains = [
        one["test"]["auc"] - bench[first, seed]["test"]["auc"]
        for seed, one in here.items()
        if (first, seed) in bench
    ]
    return gain(gains)


def as_markdown(
    rows: Sequence[Row], tried: Mapping[str, Start], reasons: Mapping[str, str]
) -> str:
    """AUC with its interval, the gain over labels alone, other scores; what failed.

    `tried` are the labels alone by row and seed.
    """
    head = ["trained", "AUC", "95 % interval", "gain (standard error)", "p"]
    shown = {"balanced_accuracy": "balanced accuracy"}
    if any(CHOSEN in row for row in rows):
        shown[CHOSEN] = "at validation's threshold"
    shown["calibration_error"] = "calibration error"
    cells = [[*head, *shown.values()]]
    for row in rows:
        low, high = row["auc_interval"]
        told = [score_text(row[name]) for name in shown]
        p = "–" if row["p"] is None else f"{row['p']:.2g}"
        interval = f"{low:.3f} to {high:.3f}"
        gained = gain_text(row["gain"])
        cells.append(
            [row["trained"], score_text(row["auc"]), interval, gained, p, *told]
        )
    lines = [markdown(cells)]
    lines += [f"\n{at}: {one.said}" for at, one in tried.items() if one.auc]
    lines += [f"\n{at}: {reason}" for at, reason in reasons.items()]
    return "\n".join(lines) + "\n"
