"""The one table of a segmentation run: scores to rows, rows to CSV and Markdown.

A row is one kind of training on one site left out, or the mean over these sites. Its
numbers are means and deviations over seeds, of the mean over cases and classes; those
of the row `mean` are over seeds as well, of the mean over sites. A seed that has no
number for one of the sites, as where all of a site was missed, has none for the mean.

Where there are more students than the one alone and the one distilled, `chosen` is, for
each site left out and each seed, the one with the highest Dice on validation.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdistill.jobs.segment.judging import METRICS as SCORED
from jaxdistill.jobs.segment.judging import VALIDATED
from jaxdistill.jobs.segment.plan import ALONE, CHOSEN, MEAN, TEACHER
from jaxdistill.run.report import (
    human_bytes,
    human_count,
    human_seconds,
    markdown,
    score_text,
)
from jaxdistill.run.rows import Row, gain, gain_text, spread

METRICS = (*SCORED, "missed", VALIDATED)
SHOWN = {
    "dice": "Dice",
    VALIDATED: "Dice on validation",
    "hd95": "HD95",
    "assd": "ASSD",
    "nsd": "NSD",
}
# By key: what a column of costs is called, and how its numbers are written.
COSTS = {
    "parameters": ("parameters", "{:,}".format),
    "bytes": ("bytes", human_bytes),
    "flops_per_slice": ("FLOPs/slice", human_count),
    "seconds_per_slice": ("s/slice", human_seconds),
}
Scores = Mapping[tuple[str, str, int], Mapping[str, float]]  # by name, site, seed


def rows_of(
    names: Sequence[str],
    sites: Sequence[str],
    seeds: Sequence[int],
    scores: Scores,
    facts: Mapping[str, Mapping[str, Any]],
) -> list[Row]:
    """Rows by training and site, with what each gains over the student alone."""
    rows = []
    if choice := choices(scores):
        best = {(CHOSEN, *seat): scores[name, *seat] for seat, name in choice.items()}
        names, scores = [n for n in names if n != CHOSEN], {**scores, **best}
        names = [*names, CHOSEN]
    for name in names:
        for site in (*sites, MEAN):
            here = sites if site == MEAN else (site,)
            runs = [
                {
                    m: float(np.mean([scores[name, s, seed][m] for s in here]))
                    for m in METRICS
                }
                for seed in seeds
                if all((name, s, seed) in scores for s in here)
            ]
            row: Row = {"trained": name, "site": site, "n": len(runs)}
            for metric in METRICS:
                row[metric] = spread([run[metric] for run in runs])
            row["gain"] = _gain(name, here, seeds, scores)
            rows.append(row | dict(facts.get(name, {})))
    return rows


def choices(scores: Scores) -> dict[tuple[str, int], str]:
    """By site left out and seed the student that validation prefers, of three or more.

    The site left out has no part in it: validation cases are of the others.
    """
    told: dict[tuple[str, int], dict[str, float]] = {}
    for (name, site, seed), found in scores.items():
        if name.split("_")[0] != TEACHER and name != CHOSEN:
            told.setdefault((site, seed), {})[name] = found[VALIDATED]
    return {
        seat: max(values, key=values.__getitem__)
        for seat, values in told.items()
        if len(values) > 2 and np.isfinite(list(values.values())).all()
    }


def runs_of(scores: Scores) -> list[Row]:
    """What every row is made of: a training, a site left out and a seed each."""
    return [
        {"trained": name, "site": site, "seed": seed, **found}
        for (name, site, seed), found in scores.items()
    ]


def as_markdown(
    rows: Sequence[Row],
    reasons: Mapping[str, str],
    scores: Scores,
    rates: Mapping[str, str],
) -> str:
    """Means over sites with costs, Dice by site, what was chosen, and who failed."""
    sites = list(dict.fromkeys(row["site"] for row in rows if row["site"] != MEAN))
    shown = dict(SHOWN)
    if any(row["missed"]["mean"] > 0 for row in rows):
        shown["missed"] = "masks missed"
    head = ["trained", *shown.values(), "gain in Dice (standard error)"]
    cells = [[*head, *(title for title, _ in COSTS.values())]]
    for row in rows:
        if row["site"] == MEAN:
            told = [score_text(row[metric]) for metric in shown]
            costs = [
                written(row[key]) if row.get(key) is not None else "–"
                for key, (_, written) in COSTS.items()
            ]
            cells.append([row["trained"], *told, gain_text(row["gain"]), *costs])
    by_site = [["Dice on the site left out", *sites]]
    for name in dict.fromkeys(row["trained"] for row in rows):
        own = {row["site"]: row["dice"] for row in rows if row["trained"] == name}
        by_site.append([name, *(score_text(own[site]) for site in sites)])
    told = [f"* {name}: {reason}" for name, reason in reasons.items()]
    if counted := Counter(choices(scores).values()).most_common():
        who = ", ".join(f"{name} ({count})" for name, count in counted)
        told.insert(0, f"* {CHOSEN} by Dice on validation: {who}")
    told = [f"* rate of {seat}: {said}" for seat, said in rates.items()] + told
    parts = [markdown(cells), markdown(by_site), "\n".join(told)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _gain(
    name: str, sites: Sequence[str], seeds: Sequence[int], scores: Scores
) -> dict[str, Any] | None:
    """By how much Dice exceeds the student alone: pairs of one site and one seed.

    The standard error is that of the mean over all pairs.
    """
    pairs = [
        scores[name, site, seed]["dice"] - scores[ALONE, site, seed]["dice"]
        for site in sites
        for seed in seeds
        if (name, site, seed) in scores and (ALONE, site, seed) in scores
    ]
    return None if name == ALONE else gain(pairs)
