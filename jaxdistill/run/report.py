"""Numbers as people read them: score tables, times, sizes."""

import math
import sys
from collections.abc import Mapping
from typing import Any

import jax

from jaxdistill.run.environment import device_name, versions
from jaxdistill.run.files import read_json
from jaxdistill.run.workdir import Workdir

ROWS = ("distilled", "distilled_last", "random", "herding", "full")
FIRST_COLUMNS = ("accuracy", "balanced_accuracy", "auc")


def score_table(summary: Mapping[str, Any]) -> str:
    """A Markdown table of `mean ± std (n)`: a row per set, a column per metric."""
    rows = [name for name in ROWS if isinstance(summary.get(name), Mapping)]
    metrics = {
        name: None for row in rows for name, s in summary[row].items() if _is_score(s)
    }
    columns = [name for name in FIRST_COLUMNS if name in metrics]
    columns += [name for name in metrics if name not in columns]
    cells = [["", *columns]]
    for row in rows:
        cells.append([row, *(score_text(summary[row].get(name)) for name in columns)])
    return markdown(cells)


def cross_table(
    across: Mapping[str, Mapping[str, Any]], metric: str = "balanced_accuracy"
) -> str:
    """A Markdown table of one score: a row per network, a column per training set."""
    columns = list(next(iter(across.values())))
    rows = [
        [text, *(score_text(pair[name][metric]) for name in columns)]
        for text, pair in across.items()
    ]
    return markdown([[metric, *columns], *rows])


def survey_table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of what experts are worth: a row per epoch."""
    columns = ("auc", "balanced_accuracy", "agreement")
    cells = [
        [str(row["epoch"]), *(score_text(row[name]) for name in columns)]
        for row in rows
    ]
    return markdown([["epoch", *columns], *cells])


def markdown(cells: list[list[str]]) -> str:
    """Rows of text, the first being the header, as an aligned Markdown table."""
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def human_bytes(count: float) -> str:
    """Bytes in the decimal unit that keeps three digits: `1.23 GB`."""
    return _scaled(count, ("B", "kB", "MB", "GB", "TB"))


def human_count(count: float) -> str:
    """A number in the power of a thousand that keeps three digits: `1.23 G`."""
    return _scaled(count, ("", "k", "M", "G", "T")).strip()


def _scaled(count: float, units: tuple[str, ...]) -> str:
    for unit in units[:-1]:
        if abs(count) < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {units[-1]}"


def human_seconds(seconds: float) -> str:
    """A duration in its two largest units: `0.52s`, `42s`, `5m 03s`, `2h 10m`."""
    if seconds < 9.95:
        return f"{seconds:.2g}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes_left:02d}m"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"


def costs(home: Workdir, seconds: float) -> dict[str, Any]:
    """What it took and what it ran on."""
    record = read_json(home.path / "config.json")
    return {
        "wall_seconds": seconds,
        "peak_memory_bytes": peak_memory(),
        "device": device_name(),
        "versions": versions(),
        "git_commit": record.get("git_commit"),
        "config": record["config"],
    }


def peak_memory() -> int | None:
    """Most bytes used at once: on the busiest device, or on CPU by the whole process.

    None where the system does not tell.
    """
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    peaks = [s["peak_bytes_in_use"] for s in stats if "peak_bytes_in_use" in s]
    if peaks:
        return max(peaks)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def score_text(value: Any) -> str:
    """`mean ± std (n)`, or a dash where there is no such number."""
    if not _is_score(value) or math.isnan(value["mean"]):
        return "–"
    std, n = value.get("std"), value.get("n")
    spread = "" if std is None else f" ± {std:.3f}"
    return f"{value['mean']:.3f}{spread}" + ("" if n is None else f" ({n})")


def error_text(score: Mapping[str, Any]) -> str:
    """`mean ± standard error (standard error of n networks)`, of a score's spread."""
    if not _is_score(score) or math.isnan(score["mean"]):
        return "undefined"
    n = score["n"]
    if n == 1:
        return f"{score['mean']:.3f} (one network)"
    error = score["std"] / math.sqrt(n)
    return f"{score['mean']:.3f} ± {error:.3f} (standard error of {n} networks)"


def _is_score(value: Any) -> bool:
    """Whether this is one number with its spread, not one per class or a matrix."""
    return isinstance(value, Mapping) and isinstance(value.get("mean"), int | float)
