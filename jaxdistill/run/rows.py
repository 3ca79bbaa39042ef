"""Rows of a table of results: numbers with their spread, and the same as CSV."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Row = dict[str, Any]


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample deviation and count of the finite values; of one, no deviation."""
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return {"mean": math.nan, "std": None, "n": 0}
    std = float(np.std(finite, ddof=1)) if len(finite) > 1 else None
    return {"mean": float(np.mean(finite)), "std": std, "n": len(finite)}


def gain(pairs: Sequence[float]) -> dict[str, Any] | None:
    """The spread of differences, with the standard error of their mean as `error`."""
    if not pairs:
        return None
    found = spread(pairs)
    std, n = found["std"], found["n"]
    return {**found, "error": None if std is None else std / math.sqrt(n)}


def gain_text(found: Mapping[str, Any] | None) -> str:
    """`+0.012 (0.004)`, the standard error in brackets; a dash where there is none."""
    if found is None or math.isnan(found["mean"]):
        return "–"
    error = "" if found["error"] is None else f" ({found['error']:.3f})"
    return f"{found['mean']:+.3f}{error}"


def as_csv(rows: Sequence[Row]) -> str:
    """Every column of every row; a score is two columns, the mean and `_std`."""
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return file.getvalue()


def _flat(row: Row) -> Row:
    flat: Row = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            std = "" if value["std"] is None else value["std"]
            flat |= {key: value["mean"], f"{key}_std": std}
        elif isinstance(value, list | tuple):
            flat |= {f"{key}_{i}": one for i, one in enumerate(value)}
        else:
            flat[key] = "" if value is None else value
    return flat
