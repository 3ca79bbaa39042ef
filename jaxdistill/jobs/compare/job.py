"""The compare verb: many ways to make a small set, judged alike, in one table.

    workdir/
      cells/VARIANT_ipcK_seedS/   a run each, its scores in eval/, or failed.json
      coresets/                   what chooses them, their scores
      experts/                    for all cells of equal expert settings
      table.csv table.md figures/comparison.png summary.json

What is there is not made again.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxdistill.jobs.compare import table as tables
from jaxdistill.jobs.compare.cells import (
    Checked,
    check,
    common_experts,
    distil,
    step_memory,
)
from jaxdistill.jobs.compare.figure import comparison
from jaxdistill.jobs.compare.plan import Plan, of_fresh_starts, plan
from jaxdistill.jobs.compare.scores import (
    Entry,
    across,
    has_soft_labels,
    real_facts,
    score,
    set_facts,
)
from jaxdistill.jobs.distil.distilling import Parts, Way, nothing, prepare
from jaxdistill.jobs.judging.evaluating import record_of
from jaxdistill.jobs.judging.sets import Knowledge, distilled, everything
from jaxdistill.jobs.judging.synthetic import load_synthetic
from jaxdistill.jobs.settings.build import more_networks
from jaxdistill.jobs.settings.resolve import free, resolve, usual
from jaxdistill.run import figures
from jaxdistill.run.files import read_record, write_atomic, write_json
from jaxdistill.run.places import place
from jaxdistill.run.report import costs
from jaxdistill.run.workdir import Workdir, open_workdir
from jaxdistill.types import Network

Rows = list[dict[str, Any]]


def run(config: Mapping[str, Any], workdir: Path, say: Callable = print) -> Rows:
    """Make or finish the comparison of a configuration; returns the table's rows.

    Everything is checked first, for all cells. The same call again goes on where it
    stopped, tries again what failed for a fault of the moment, and takes up cells that
    were added to the configuration.
    """
    began = time.perf_counter()
    workdir = place(workdir)
    config = resolve(config)
    wanted = plan(config)
    common = of_fresh_starts(config) | {"ipc": max(wanted.ipcs)}
    base = prepare(common, workdir, None)
    cells = [check(c, workdir / "cells" / c.name, base) for c in wanted.cells]
    record, was = record_of(config), usual(config)
    with open_workdir(workdir, record, free(), usual=was, inputs=base.inputs) as home:
        for note in home.notes:
            say(f"note: {note}")
        ran = [distil(c, _way(c, base, wanted, home), say) for c in cells]
        groups = [*_distilled(ran), *_beside(base, wanted, home, say)]
        networks = more_networks(base.config, base.judge.pool)
        rows = _rows(groups, base, wanted, networks, say)
        rows = tables.ranked(_with_failures(rows, ran, wanted))
        _write(home, rows, list(networks))
        summary = {
            "rows": rows,
            "cells": {c.cell.name: c.reason or "done" for c in ran},
            "selected_by": f"validation {config['eval']['select']}",
            "compare": config["compare"],
            "figures": ["figures/comparison.png"] if figures.available() else [],
            **costs(home, time.perf_counter() - began),
        }
        settled = all(c.final or not c.reason for c in ran)
        write_json(home.summary, summary | {"complete": settled})
    return rows


def _way(checked: Checked, base: Parts, wanted: Plan, home: Workdir) -> Way:
    """Without baselines, with common experts; memory is that of any seed."""
    first = checked.cell.seed == wanted.cells[0].seed
    measure = step_memory if first else nothing
    return Way((), common_experts(base, home.path / "experts"), measure)


def _distilled(ran: list[Checked]) -> list[list[Entry]]:
    """The sets that were distilled, by variant and ipc, in the order of the cells."""
    groups: dict[tuple[int, str], list[Entry]] = {}
    for checked in ran:
        if checked.parts is not None:
            key = (checked.cell.ipc, checked.cell.variant)
            groups.setdefault(key, []).append(_entry(checked, checked.parts))
    return [alike(entries) for entries in groups.values()]


def alike(entries: list[Entry]) -> list[Entry]:
    """Seeds of one row, scored with soft labels where any of them has some."""
    soft = any(entry.soft for entry in entries)
    return [entry._replace(soft=soft) for entry in entries]


def _entry(checked: Checked, parts: Parts) -> Entry:
    cell, folder = checked.cell, checked.folder
    summary = read_record(folder / "summary.json", "synthetic", "steps_per_second")
    synthetic = load_synthetic(folder / summary["synthetic"]).synthetic
    pace = summary["steps_per_second"]
    facts = set_facts(synthetic, cell.config["mosaic"]) | {
        "selected_step": summary["selected_step"],
        "seconds_per_step": 1 / pace if pace else None,
        "step_memory_bytes": summary.get("step_memory_bytes"),
        "seconds": summary["wall_seconds"],
    }
    return Entry(
        name=cell.variant,
        ipc=cell.ipc,
        kind="distilled",
        soft=has_soft_labels(synthetic),
        judge=parts.judge,
        row=lambda: distilled(parts.judge, synthetic),
        folder=folder,
        facts=facts,
    )


def _beside(
    base: Parts, wanted: Plan, home: Workdir, say: Callable
) -> list[list[Entry]]:
    """Every coreset at every ipc, and the whole split."""
    judge, folder = base.judge, home.path / "coresets"
    knowledge = Knowledge(judge, folder, say)
    found = []
    for ipc in wanted.ipcs:
        for name in wanted.coresets:
            facts = real_facts(judge, ipc * judge.pool.classes)
            entry = Entry(
                name=name,
                ipc=ipc,
                kind="coreset",
                soft=name == "random_soft",
                judge=judge,
                row=lambda name=name, ipc=ipc: knowledge.row(name, ipc),  # type: ignore[misc]
                folder=folder / f"{name}_ipc{ipc}",
                facts=facts | {"basis": knowledge.basis(name)},
            )
            found.append([entry])
    facts = real_facts(judge, judge.pool.train.size)
    whole = Entry(
        "full",
        0,
        "whole",
        False,
        judge,
        lambda: everything(judge),
        folder / "full",
        facts,
    )
    return [*found, [whole]]


def _rows(
    groups: list[list[Entry]],
    base: Parts,
    wanted: Plan,
    networks: Mapping[str, Network],
    say: Callable,
) -> Rows:
    """A row for every group."""
    metric, rows = base.config["eval"]["select"], []
    for entries in groups:
        scores = tuple(score(entry, wanted, say) for entry in entries)
        group = tables.Group(tuple(entries), scores)
        chosen = group.preferred(group.labels, metric)
        found = [across(entry, chosen, networks, say) for entry in entries]
        by_network = {text: [one[text] for one in found] for text in networks}
        rows.append(tables.score_row(group, metric, by_network))
    return rows


def _with_failures(rows: Rows, ran: list[Checked], wanted: Plan) -> Rows:
    """The rows with the reason of every cell that failed, and rows where all did."""
    names = [*(c.cell.variant for c in ran), *wanted.coresets, "full"]
    order = [*wanted.ipcs, None]
    out = list(rows)
    for checked in ran:
        if not checked.reason:
            continue
        ipc, name = checked.cell.ipc, checked.cell.variant
        at = [i for i, r in enumerate(out) if (r["ipc"], r["set"]) == (ipc, name)]
        reason = f"seed {checked.cell.seed} failed: {checked.reason}"
        if not at:
            out.append(tables.failed_row(ipc, name, reason))
        else:
            told = out[at[0]].get("reason")
            out[at[0]] |= {"reason": f"{told}; {reason}" if told else reason}
    return sorted(out, key=lambda r: (order.index(r["ipc"]), names.index(r["set"])))


def _write(home: Workdir, rows: Rows, networks: list[str]) -> None:
    write_atomic(home.path / "table.csv", tables.as_csv(rows).encode())
    text = tables.as_markdown(rows, networks)
    write_atomic(home.path / "table.md", text.encode())
    if figures.available():
        comparison(home.figures / "comparison.png", rows)
