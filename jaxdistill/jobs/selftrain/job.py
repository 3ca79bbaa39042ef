"""The selftrain verb: a labelled start, and stages on films without labels.

    workdir/
      lessons/     a training each, with its own checkpoints and weights
      scores/      every model's scores and what it says of the test films
      table.csv table.md figures/ summary.json model.safetensors

What is there is not made again; seeds, ablations and variants may be added later.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdistill.data.pool import counts
from jaxdistill.data.prints import prints
from jaxdistill.engine.mesh import make_mesh, split_cpu
from jaxdistill.errors import Diverged
from jaxdistill.jobs.lessons.classifying import ship
from jaxdistill.jobs.lessons.judging import Record, compare, judge, require_judged
from jaxdistill.jobs.lessons.training import Room
from jaxdistill.jobs.selftrain import figure, pictures
from jaxdistill.jobs.selftrain import table as tables
from jaxdistill.jobs.selftrain.beginning import Start
from jaxdistill.jobs.selftrain.lessons import School, check, school_of
from jaxdistill.jobs.selftrain.plan import SUPERVISED, Plan, Way, plan
from jaxdistill.jobs.selftrain.walk import Outcome, walk
from jaxdistill.jobs.settings.apart import require_outside
from jaxdistill.jobs.settings.build_backbones import (
    build_backbones,
    build_films,
    build_unlabelled,
)
from jaxdistill.jobs.settings.build_selftraining import (
    build_folds,
    build_stage,
)
from jaxdistill.jobs.settings.resolve import free, lasting, resolve, usual
from jaxdistill.networks.counts import parameters
from jaxdistill.run import figures
from jaxdistill.run import report as reports
from jaxdistill.run.files import write_atomic, write_json
from jaxdistill.run.places import place
from jaxdistill.run.rows import as_csv
from jaxdistill.run.weights_file import read_weights
from jaxdistill.run.workdir import Workdir, open_workdir

# Of the protocol, what may change in a folder that has results.
LATER = ("seeds", "first_epochs", "ablations", "variants", "ceiling", "wrong")
Config = Mapping[str, Any]
Outcomes = dict[tuple[str, int], Outcome]  # by name and seed
Bench = dict[tuple[str, int], Record]


def run(config: Config, workdir: Path, say: Callable = print) -> list[tables.Row]:
    """Make or finish the run of a configuration; returns the table's rows."""
    began = time.perf_counter()
    workdir = place(workdir)
    config = resolve(config)
    require_outside(config, workdir)
    split_cpu(config["devices"]["cpu"])
    wanted = plan(config)
    pool = build_films(config)
    require_judged(pool)
    further = build_unlabelled(config, pool)
    folds = build_folds(config, pool, further)
    for way in wanted.ways:
        build_stage(way.config, pool)  # refuses what does not fit together
    check(folds, wanted)
    record, inputs = lasting(config, "protocol", LATER), prints(pool, further)
    was = usual(config)
    with open_workdir(workdir, record, free(config), usual=was, inputs=inputs) as home:
        for note in home.notes:
            say(f"note: {note}")
        mesh = make_mesh(config["devices"]["count"])
        room = Room(workdir, pool, mesh, say, {}, further)
        school = school_of(room, folds, config)
        made: Outcomes = {}
        for seed in wanted.seeds:
            for one in walk(school, wanted, seed):
                made[one.name, seed] = one = _judged(room, config, wanted, one)
                if one.reason:
                    say(f"{one.name} of seed {seed} failed: {one.reason}")
        rows = _rows(room, wanted, _bench(made))
        _write(home, room, config, wanted, rows, made)
        summary = _summary(school, config, rows, made)
        summary |= reports.costs(home, time.perf_counter() - began)
        write_json(home.summary, summary | {"complete": True})
    return rows


def _judged(room: Room, config: Config, wanted: Plan, one: Outcome) -> Outcome:
    """The same with its scores, or with the reason why it has none."""
    if one.taught is None:
        return one
    robust = config["eval"]["robustness"] and one.name in wanted.ends()
    network = build_backbones(one.way.config, room.pool).network
    try:
        record = judge(room, network, one.taught, config["eval"]["blur"], robust)
    except Diverged as error:
        return one._replace(reason=str(error))
    return one._replace(record=record)


def _bench(made: Outcomes) -> Bench:
    """The scores of all who were judged."""
    return {at: one.record for at, one in made.items() if one.record is not None}


def _starts(made: Outcomes) -> dict[str, Start]:
    """Labels alone, by name and seed in words."""
    return {_said(at): one.start for at, one in made.items() if one.start is not None}


def _reasons(made: Outcomes) -> dict[str, str]:
    """Why someone has no row, by name and seed in words."""
    return {_said(at): one.reason for at, one in made.items() if one.reason}


def _said(at: tuple[str, int]) -> str:
    return f"{at[0]}, seed {at[1]}"


def _rows(room: Room, wanted: Plan, bench: Bench) -> list[tables.Row]:
    labels = np.asarray(room.pool.test.labels)
    before = {end: begin for begin, end in map(wanted.ends, wanted.spoilt)}
    before |= {name: name for name in before.values()} | {SUPERVISED: SUPERVISED}
    firsts = {name: before.get(name, SUPERVISED) for name in wanted.rows}
    tests = {
        (name, seed): compare(one, bench[firsts[name], seed], labels)
        for (name, seed), one in bench.items()
        if name != firsts[name] and (firsts[name], seed) in bench
    }
    return tables.rows_of(firsts, wanted.seeds, bench, tests)


def _write(
    home: Workdir,
    room: Room,
    config: Config,
    wanted: Plan,
    rows: list[tables.Row],
    made: Outcomes,
) -> None:
    write_atomic(home.path / "table.csv", as_csv(rows).encode())
    text = tables.as_markdown(rows, _starts(made), _reasons(made))
    write_atomic(home.path / "table.md", text.encode())
    seed, (first, last) = wanted.seeds[0], wanted.ends()
    models = {
        name: one.taught
        for (name, of), one in made.items()
        if of == seed and one.taught is not None and one.record is not None
    }
    bench = _bench(made)
    if last in models:
        weights, facts = read_weights(models[last].file)
        file, blur = home.path / "model.safetensors", config["eval"]["blur"]
        ship(file, weights, facts, room.pool, blur, bench[last, seed])
    if not figures.available() or not rows:
        return
    spoilt = {end for way in wanted.spoilt for end in wanted.ends(way)}
    right = [row for row in rows if row["trained"] not in spoilt]
    figure.stages(home.figures / "stages.png", right)
    if told := _curves(wanted, bench, seed):
        figure.curves(home.figures / "robustness.png", told)
    shown = {name: models[name] for name in (first, last) if name in models}
    pictures.attention(home.figures / "attention.png", room, config, shown)


def _curves(wanted: Plan, bench: Bench, seed: int) -> dict[str, Record]:
    """AUC before and after all stages, as films and labels get worse, of one seed."""
    told: dict[str, Record] = {}
    for at, name in enumerate(wanted.ends()):
        if "robustness" not in bench.get((name, seed), {}):
            continue
        told[name] = dict(bench[name, seed]["robustness"])
        ways = sorted(wanted.spoilt, key=_wrong)
        names = [name, *(wanted.ends(way)[at] for way in ways)]
        if ways and all((each, seed) in bench for each in names):
            shares = [_wrong(way) for way in (wanted.ways[0], *ways)]
            areas = [bench[each, seed]["test"]["auc"] for each in names]
            told[name]["wrong labels"] = {"strengths": shares, "scores": areas}
    return told


def _wrong(way: Way) -> float:
    return way.config["films"]["wrong"]


def _summary(
    school: School,
    config: Config,
    rows: list[tables.Row],
    made: Outcomes,
) -> dict[str, Any]:
    room, folds, _ = school
    bench = _bench(made)
    drawn = sorted((room.folder / "figures").glob("*.png"))
    return {
        "rows": rows,
        "runs": tables.runs_of(bench),
        "counts": counts(room.pool),
        "labelled": len(folds.labelled),
        "folds": [len(fold) for fold in folds.unlabelled],
        "class_names": room.pool.class_names,
        "parameters": _size(config, room),
        "first_epochs": {
            said: {
                "chosen": one.epochs,
                "validation_auc": one.auc,
                "failed": one.failed,
            }
            for said, one in _starts(made).items()
        },
        "failed": _reasons(made),
        "protocol": config["protocol"],
        "scores": {
            _said(at): {k: v for k, v in one.items() if k != "probabilities"}
            for at, one in bench.items()
        },
        "figures": [str(path.relative_to(room.folder)) for path in drawn],
    }


def _size(config: Config, room: Room) -> int:
    """Parameters of the network that is judged."""
    network = build_backbones(config, room.pool).network
    return parameters(jax.eval_shape(network.init, jax.random.key(0)))
