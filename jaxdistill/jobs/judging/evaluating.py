"""The evaluate verb, and how every run ends: tables and figures."""

import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdistill.data.prints import prints
from jaxdistill.data.standard import to_unit
from jaxdistill.foreign.files import expanded
from jaxdistill.jobs.judging.judge import Judge, cross_architecture, final_scores
from jaxdistill.jobs.judging.sets import candidates
from jaxdistill.jobs.judging.synthetic import load_synthetic, require_fits
from jaxdistill.jobs.settings.resolve import free, usual
from jaxdistill.run import figures
from jaxdistill.run.files import read_json, write_json
from jaxdistill.run.report import ROWS, costs
from jaxdistill.run.seals import of_file
from jaxdistill.run.workdir import Workdir, open_workdir
from jaxdistill.types import Pool, Synthetic

BASELINES = ("random", "herding", "full")


def run(
    judge: Judge,
    file: Path,
    workdir: Path,
    say=print,
    inputs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Judge the set in `file` by the judge's configuration; returns the summary.

    `inputs` are the fingerprints of the judge's data, if they are known already.
    """
    began = time.perf_counter()
    saved = load_synthetic(file)
    require_fits(saved, file, judge.pool, judge.config["mosaic"])
    named = {"synthetic": str(expanded(file).absolute())}
    record = record_of(judge.config) | named
    inputs = {**(inputs or prints(judge.pool)), "synthetic_file": of_file(file)}
    was = usual(judge.config)
    with open_workdir(workdir, record, free(), usual=was, inputs=inputs) as home:
        for note in home.notes:
            say(f"note: {note}")
        if home.finished:
            say(f"this evaluation is finished: {home.summary}")
            return read_json(home.summary)
        judge = judge._replace(schedule=saved.schedule)
        summary = conclude(judge, saved.synthetic, None, home, say)
        summary |= costs(home, time.perf_counter() - began)
        write_json(home.summary, summary | {"complete": True})
    return summary


def record_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration decides a single run: neither comparison nor study."""
    return {k: value for k, value in config.items() if k not in ("compare", "study")}


def conclude(
    judge: Judge,
    best: Synthetic,
    last: Synthetic | None,
    home: Workdir,
    say=print,
    *,
    names: Collection[str] = ROWS,
) -> dict[str, Any]:
    """Test scores of the rows named, and a picture; `last` is None where it is the
    best.
    """
    rows = candidates(judge, best, last, names)
    found = final_scores(judge, rows, home.eval, say)
    across = cross_architecture(judge, rows, home.eval, say)
    drawn = draw_set(home, judge.pool, best) if figures.available() else []
    return {
        **{name: row["test"] for name, row in found.items()},
        "validation": {name: row["val"] for name, row in found.items()},
        "protocol": {
            name: {key: row[key] for key in ("lr", "epochs", "protocol", "images")}
            for name, row in found.items()
        },
        "cross_architecture": {
            text: {name: row["test"] | {"lr": row["lr"]} for name, row in pair.items()}
            for text, pair in across.items()
        },
        "figures": [str(path.relative_to(home.path)) for path in drawn],
    }


def draw_set(home: Workdir, pool: Pool, best: Synthetic) -> list[Path]:
    """The distilled images beside as many real ones."""
    labels = np.asarray(jax.nn.softmax(best.logits))
    hard = labels.max(axis=1).min() > 0.999
    ipc = len(labels) // pool.classes
    real = np.asarray(pool.train.labels)
    firsts = [np.flatnonzero(real == c)[:ipc] for c in range(pool.classes)]
    shown = np.concatenate(firsts)
    path = home.figures / "distilled.png"
    figures.synthetic_grid(
        path,
        np.asarray(to_unit(best.images, pool.standard)),
        labels.argmax(axis=1) if hard else labels,
        pool.class_names,
        real=np.asarray(pool.train.images[shown]),
        real_labels=real[shown],
    )
    return [path]


def draw_curve(
    home: Workdir,
    curve: Mapping[int, tuple[float, float]],
    finalists: Mapping[int, tuple[float, float]],
    selected: int,
    metric: str,
    levels: Mapping[str, Any],
) -> Path:
    """Validation against steps, in both rounds, with what a set must beat."""
    steps = sorted(curve)
    path = home.figures / "progress.png"
    figures.curve(
        path,
        steps,
        [curve[s][0] for s in steps],
        [curve[s][1] for s in steps],
        metric,
        references={
            name: (levels[name][metric]["mean"], levels[name][metric]["std"])
            for name in BASELINES
            if name in levels and levels[name][metric]["mean"] is not None
        },
        finalists=finalists,
        selected_step=selected,
    )
    return path
