"""The verbs pretrain, finetune and compare-labels.

    workdir/
      lessons/     pretraining, with checkpoints and weights
      cells/       the scores of every tuning
      backbone.safetensors                  what pretrain leaves
      model.safetensors                     what finetune leaves
      table.csv table.md figures/ summary.json

What is there is not made again; rows, numbers of labels and draws may be added.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from jaxdistill.data.pool import counts
from jaxdistill.data.prints import prints
from jaxdistill.engine.mesh import make_mesh, split_cpu
from jaxdistill.errors import InputError
from jaxdistill.foreign.files import expanded
from jaxdistill.jobs.labels import figure
from jaxdistill.jobs.labels import table as tables
from jaxdistill.jobs.labels.cells import FAILED, Bench
from jaxdistill.jobs.labels.plan import TUNED, Cell, Plan, digest_of, plan
from jaxdistill.jobs.labels.tuning import pretrained
from jaxdistill.jobs.lessons.classifying import ship
from jaxdistill.jobs.lessons.judging import Record, require_judged
from jaxdistill.jobs.lessons.starting import begin_with
from jaxdistill.jobs.lessons.training import Room, facts_of
from jaxdistill.jobs.settings import build_labelling as build
from jaxdistill.jobs.settings.apart import require_outside
from jaxdistill.jobs.settings.build_backbones import (
    build_backbones,
    build_films,
    build_unlabelled,
)
from jaxdistill.jobs.settings.resolve import free, lasting, resolve, usual
from jaxdistill.networks.counts import parameters
from jaxdistill.run import figures
from jaxdistill.run.files import write_atomic, write_json
from jaxdistill.run.kept import set_aside, usable
from jaxdistill.run.places import place
from jaxdistill.run.report import costs
from jaxdistill.run.rows import Row, as_csv
from jaxdistill.run.weights_file import read_weights, write_weights
from jaxdistill.run.workdir import Workdir, open_workdir
from jaxdistill.selfsupervised.recipes import PRETEXTS

LATER = ("rows", "per_class", "draws", "transfer", "distilled")  # of labels
Config = Mapping[str, Any]


def compare(config: Config, workdir: Path, say: Callable = print) -> list[Row]:
    """Make or finish the comparison of a configuration; returns the table's rows."""
    config = resolve(config)
    return _compared(config, workdir, plan(config), say)


def finetune(config: Config, workdir: Path, say: Callable = print) -> list[Row]:
    """Tune the backbone of `config.start`; the largest number's first draw is kept.

    Raises `InputError` where no weights are named, or none that it can begin with.
    """
    config = resolve(config)
    if not config["start"]:
        raise InputError(
            "start is empty: name the weights to tune, such as those of jaxdistill "
            "pretrain, or compare with labels.rows=scratch"
        )
    return _compared(config, workdir, plan(config, (TUNED,)), say)


def pretrain(config: Config, workdir: Path, say: Callable = print) -> Path:
    """Train a backbone without labels by `config.pretext`; returns its file."""
    began = time.perf_counter()
    config, workdir = resolve(config), place(workdir)
    with _opened(config, workdir, say, (config["pretext"],)) as (home, room):
        taught = pretrained(room, config, config["pretext"])
        file, further = workdir / "backbone.safetensors", room.further
        trunk = {"trunk": jax.device_get(taught.student["trunk"])}
        write_weights(file, trunk, facts_of(config, room.pool))
        summary = {
            "pretext": config["pretext"],
            "films": room.pool.train.size + len(further.groups if further else ()),
            "parameters": parameters(trunk),
            "lesson": str(taught.file.relative_to(workdir)),
        }
        summary |= costs(home, time.perf_counter() - began)
        write_json(home.summary, summary | {"complete": True})
    return file


def _compared(config: Config, workdir: Path, wanted: Plan, say: Callable) -> list[Row]:
    began = time.perf_counter()
    workdir = place(workdir)
    named = tuple(row for row in wanted.rows if row in PRETEXTS)
    start = config["start"] if wanted.rows == (TUNED,) else ""
    opened = _opened(config, workdir, say, named, judged=True, start=start)
    with opened as (home, room):
        bench = Bench(room, config)
        cells = {cell: bench.score(cell) for cell in wanted.cells}
        bench.keep(wanted.rows)
        rows = tables.rows_of(cells)
        text = tables.as_markdown(rows, cells)
        write_atomic(home.path / "table.csv", as_csv(rows).encode())
        write_atomic(home.path / "table.md", text.encode())
        if figures.available():
            figure.by_labels(home.figures / "labels.png", rows)
        if wanted.rows == (TUNED,):
            _keep_tuned(room, config, bench, cells)
        summary = _summary(room, rows, cells)
        summary |= costs(home, time.perf_counter() - began)
        settled = all(one.get("final", True) for one in cells.values())
        write_json(home.summary, summary | {"complete": settled})
    return rows


def _keep_tuned(
    room: Room, config: Config, bench: Bench, cells: Mapping[Cell, Record]
) -> None:
    """The first draw's network at the largest number of labels, as a file.

    Where that number could not be tuned, as of too few films, it is the next largest.
    """
    file = room.folder / "model.safetensors"
    kept = usable(file, lambda path: read_weights(path)[1]) or {}
    firsts = [cell for cell in cells if cell.draw == 0]
    firsts.sort(key=lambda cell: -cell.per_class)
    cell = next((one for one in firsts if FAILED not in cells[one]), None)
    if cell is None:
        room.say(f"note: nothing could be tuned, so that there is no {file.name}")
        if kept:
            room.say(f"note: {file} is of other labels, and kept as {set_aside(file)}")
        return
    if cell != firsts[0]:
        room.say(
            f"note: {file.name} is of {cell.per_class} films a class, as "
            f"{firsts[0].per_class} could not be tuned"
        )
    told = f"{cell.name}_{digest_of(config, cell)}"
    if kept.get("cell") == told and "use" in kept:
        return
    params = {"student": jax.device_get(bench.model(cell))}
    facts = facts_of(config, room.pool) | {"cell": told}
    ship(file, params, facts, room.pool, config["eval"]["blur"], cells[cell])


@contextlib.contextmanager
def _opened(
    config: Config,
    workdir: Path,
    say: Callable,
    pretexts: tuple[str, ...],
    judged: bool = False,
    start: str = "",
) -> Iterator[tuple[Workdir, Room]]:
    """The work folder and what lessons in it share; the configuration checked.

    So are the weights of `start`: a folder keeps to those that it was begun with.
    """
    split_cpu(config["devices"]["cpu"])
    require_outside(config, workdir)
    pool = build_films(config)
    if judged:
        require_judged(pool)
    further = build_unlabelled(config, pool)
    if start:
        backbone = build_backbones(config, pool).backbone
        fresh = {"trunk": backbone.init(jax.random.key(0))}
        begin_with(expanded(start), fresh, backbone, lambda text: None)
    for name in pretexts:
        build.build_pretraining(config, pool, name)
    record, inputs = lasting(config, "labels", LATER), prints(pool, further)
    may = (*free(config), *(f"labels.{key}" for key in LATER))
    was = usual(config)
    with open_workdir(workdir, record, may, usual=was, inputs=inputs) as home:
        for note in home.notes:
            say(f"note: {note}")
        mesh = make_mesh(config["devices"]["count"])
        yield home, Room(workdir, pool, mesh, say, {}, further)


def _summary(
    room: Room, rows: list[Row], cells: Mapping[Cell, Record]
) -> dict[str, Any]:
    drawn = sorted((room.folder / "figures").glob("*.png"))
    return {
        "rows": rows,
        "runs": tables.runs_of(cells),
        "counts": counts(room.pool),
        "class_names": room.pool.class_names,
        "figures": [str(path.relative_to(room.folder)) for path in drawn],
    }
