"""The one table of a comparison: scores to rows, rows to CSV and Markdown.

A set's own scores are those with its own labels, augmented or not as validation
prefers. Means and spreads run over all its networks: seeds of distillation times
networks for a distilled set, draws for random images.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdistill.evaluation.metrics import summarise
from jaxdistill.evaluation.ranking import augmentation_robust_score, label_robust_score
from jaxdistill.jobs.compare.scores import Entry, Scores, way
from jaxdistill.jobs.settings.records import AUGMENTATION
from jaxdistill.run.report import human_bytes, human_seconds, markdown, score_text

METRICS = ("auc", "balanced_accuracy", "accuracy")
FIRST = ("ipc", "set", "kind", "state", "labels", "augmentation", "n")
Row = dict[str, Any]


class Group(NamedTuple):
    """The sets of one row: one for each seed, or one."""

    entries: tuple[Entry, ...]
    scores: tuple[Scores, ...]

    @property
    def labels(self) -> str:
        """What the set's own labels are."""
        return "soft" if any("soft" in name for name in self.scores[0]) else "hard"

    def pooled(
        self, name: str, part: str = "test", metrics: Sequence[str] = METRICS
    ) -> dict[str, dict] | None:
        """The summary over all networks of one way, or None where it was not taken."""
        if not all(name in found for found in self.scores):
            return None
        return pool_runs([found[name] for found in self.scores], part, metrics)

    def preferred(self, labels: str, metric: str) -> str:
        """Whether to augment, by validation."""
        names = {a: way(labels, a) for a in AUGMENTATION}
        tried = {a: self.pooled(n, "val", (metric,)) for a, n in names.items()}
        worth = {a: s[metric]["mean"] for a, s in tried.items() if s is not None}
        return max(worth, key=lambda a: np.nan_to_num(worth[a], nan=-1.0))


def pool_runs(
    records: Sequence[Mapping[str, Any]], part: str, metrics: Sequence[str] = METRICS
) -> dict[str, dict]:
    """`{metric: {"mean", "std", "n"}}` over the networks of several records."""
    runs = [run for record in records for run in record[part]]
    return summarise([{m: _number(run[m]) for m in metrics} for run in runs])


def score_row(
    group: Group, metric: str, networks: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Row:
    """A row without what compares it to others; `networks` are records by network."""
    first, labels = group.entries[0], group.labels
    chosen = group.preferred(labels, metric)
    own = group.pooled(way(labels, chosen)) or {}
    hard = group.pooled(way("hard", group.preferred("hard", metric))) or {}
    row: Row = {
        "ipc": first.ipc or None,
        "set": first.name,
        "kind": first.kind,
        "state": "done",
        "labels": labels,
        "augmentation": chosen,
        "n": own["auc"]["n"],
        **own,
        "accuracy_hard": hard["accuracy"],
        "auc_hard": hard["auc"],
    }
    for augmentation in AUGMENTATION:
        found = group.pooled(way(labels, augmentation))
        row[f"accuracy_{augmentation}"] = found["accuracy"] if found else None
    for text, records in networks.items():
        row[text] = pool_runs(records, "test")["balanced_accuracy"]
    return row | _facts(group.entries)


def failed_row(ipc: int, name: str, reason: str) -> Row:
    """The row of a variant none of whose cells came to an end."""
    row: Row = dict.fromkeys(FIRST)
    return row | {
        "ipc": ipc,
        "set": name,
        "kind": "distilled",
        "state": "failed",
        "reason": reason,
    }


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The rows with LRS and ARS, from the columns of the table itself.

    LRS: of `accuracy` and `accuracy_hard`, the `accuracy_random` of random images with
    labels of the same kind in the same way, and the whole split's `accuracy`. ARS: of
    `accuracy_with`, `accuracy_without`, and those of random images.
    """
    by = {(row["ipc"], row["set"]): row for row in rows if row["state"] == "done"}
    whole = by.get((None, "full"))
    out = []
    for row in rows:
        name = "random_soft" if row["labels"] == "soft" else "random"
        other = by.get((row["ipc"], name))
        row = row | {"accuracy_random": None, "lrs": None, "ars": None}
        if row["state"] == "done" and other and whole:
            same = other[f"accuracy_{row['augmentation']}"]
            row["accuracy_random"] = _mean(same)
            lost = _means(whole["accuracy"], row["accuracy_hard"])
            row["lrs"] = _ranking(
                label_robust_score, [*lost, *_means(row["accuracy"], same)]
            )
            pairs = [r[f"accuracy_{a}"] for a in AUGMENTATION for r in (row, other)]
            row["ars"] = _ranking(augmentation_robust_score, _means(*pairs))
        out.append(row)
    return out


def as_csv(rows: Sequence[Row]) -> str:
    """Every column of every row; a score is two columns, the mean and `_std`."""
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    ordered = sorted(columns, key=lambda c: c == "reason")  # the long one at the end
    file = io.StringIO()
    writer = csv.DictWriter(file, ordered, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return file.getvalue()


def as_markdown(rows: Sequence[Row], networks: Sequence[str]) -> str:
    """The columns that people compare, and a line for each failure."""
    texts = [f"{text} bal.acc." for text in networks]
    head = ["ipc", "set", "labels", "aug.", "AUC", "bal. acc.", "acc.", "acc. hard"]
    cells = [[*head, "LRS", "ARS", *texts, "bytes", "s/step", "step memory"]]
    for row in rows:
        cells.append(
            [
                str(row["ipc"] or "–"),
                row["set"],
                row["labels"] or row["state"],
                row["augmentation"] or "–",
                *(score_text(row.get(m)) for m in (*METRICS, "accuracy_hard")),
                *(_decimal(row.get(name)) for name in ("lrs", "ars")),
                *(score_text(row.get(text)) for text in networks),
                _told(row.get("bytes"), human_bytes),
                _told(row.get("seconds_per_step"), human_seconds),
                _told(row.get("step_memory_bytes"), human_bytes),
            ]
        )
    reasons = [
        f"* {row['set']} at ipc {row['ipc']}: {row['reason']}"
        for row in rows
        if row.get("reason")
    ]
    return "\n".join([markdown(cells), "", *reasons]).rstrip() + "\n"


def _facts(entries: Sequence[Entry]) -> Row:
    """What is told of the sets beside scores: means of what was measured."""
    out: Row = {}
    for key in entries[0].facts:
        known = [e.facts[key] for e in entries if e.facts.get(key) is not None]
        if known and any(value != known[0] for value in known):
            out[key] = float(np.mean(known))
        else:
            out[key] = known[0] if known else None
    return out


def _flat(row: Row) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= {key: value["mean"], f"{key}_std": value["std"]}
        else:
            flat[key] = "" if value is None else value
    return flat


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _mean(value: Any) -> float | None:
    return None if value is None else float(value["mean"])


def _means(*values: Any) -> list[float | None]:
    return [_mean(value) for value in values]


def _ranking(rule: Any, accuracies: list[float | None]) -> float | None:
    told = [one for one in accuracies if one is not None and math.isfinite(one)]
    return float(rule(*told)) if len(told) == len(accuracies) else None


def _decimal(value: float | None) -> str:
    return _told(value, "{:.3f}".format)


def _told(value: Any, words: Any) -> str:
    return "–" if value is None else words(value)
