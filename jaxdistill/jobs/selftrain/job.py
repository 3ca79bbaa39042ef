"""The selftrain verb: a labelled start, and stages on films without labels.

    workdir/
      lessons/     a training each, with its own checkpoints and weights
      scores/      every model's scores and what it says of the test films
      table.csv table.md figures/ summary.json model.safetensors

What is there is not made again; seeds, ablations and variants may be added later.
"""

import time
from collections.abc import Callable, Iterator, Mapping
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
from jaxdistill.jobs.lessons.training import Room, Taught
from jaxdistill.jobs.selftrain import figure, pictures
from jaxdistill.jobs.selftrain import table as tables
from jaxdistill.jobs.selftrain.beginning import Start, begun
from jaxdistill.jobs.selftrain.lessons import (
    School,
    ceiling,
    check,
    relabelled,
    school_of,
    stage,
)
from jaxdistill.jobs.selftrain.plan import CEILING, SUPERVISED, Plan, Way, plan
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
Bench = dict[tuple[str, int], Record]  # by name and seed
Models = dict[tuple[str, int], Taught]
Starts = dict[tuple[str, int], Start]


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
        bench: Bench = {}
        models: Models = {}
        starts: Starts = {}
        reasons: dict[str, str] = {}
        for seed in wanted.seeds:
            for name, way, taught in _trained(school, wanted, seed, starts, reasons):
                robust = config["eval"]["robustness"] and name in wanted.ends()
                network = build_backbones(way.config, pool).network
                blur = config["eval"]["blur"]
                try:
                    bench[name, seed] = judge(room, network, taught, blur, robust)
                    models[name, seed] = taught
                except Diverged as error:
                    say(f"{name} of seed {seed} failed: {error}")
                    reasons[f"{name}, seed {seed}"] = str(error)
        rows = _rows(room, wanted, bench)
        _write(home, room, config, wanted, rows, bench, models, starts, reasons)
        summary = _summary(school, config, rows, bench, starts, reasons)
        summary |= reports.costs(home, time.perf_counter() - began)
        write_json(home.summary, summary | {"complete": True})
    return rows


def _trained(
    school: School, wanted: Plan, seed: int, starts: Starts, reasons: dict[str, str]
) -> Iterator[tuple[str, Way, Taught]]:
    """Every network of one seed as it is trained; those that diverge are left out.

    `starts` is told of labels alone, and `reasons` of what failed.
    """
    main = wanted.ways[0]

    def tried(name: str, teach: Callable[..., Any], school: School, *told: Any) -> Any:
        try:
            return teach(school, *told)
        except Diverged as error:
            school.room.say(f"{name} of seed {seed} failed: {error}")
            reasons[f"{name}, seed {seed}"] = str(error)
            return None

    start = tried(SUPERVISED, begun, school, main.config, seed)
    if start is None:
        return
    starts[SUPERVISED, seed] = start
    yield SUPERVISED, main, start.taught
    for way in (each.at_length(start.epochs) for each in wanted.ways):
        before = start.taught
        for number in range(1, wanted.stages + 1):
            name = way.row(number, wanted.stages)
            made = tried(name or way.name, stage, school, way, seed, number, before)
            if made is None:
                break
            if name:
                yield name, way, made
            before = made
    if wanted.ceiling:
        best = tried(CEILING, ceiling, school, main.config, seed)
        if best is not None:
            yield CEILING, main, best
    for way in wanted.spoilt:
        begin, end = wanted.ends(way)
        spoilt = relabelled(school, way.config)
        start = tried(begin, begun, spoilt, way.config, seed)
        if start is None:
            continue
        starts[begin, seed] = start
        yield begin, way, start.taught
        same, made = way.at_length(start.epochs), start.taught
        for number in range(1, wanted.stages + 1):
            if made is not None:
                made = tried(end, stage, spoilt, same, seed, number, made)
        if made is not None:
            yield end, way, made


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
    bench: Bench,
    models: Models,
    starts: Starts,
    reasons: Mapping[str, str],
) -> None:
    write_atomic(home.path / "table.csv", as_csv(rows).encode())
    tried = {f"{name}, seed {seed}": one for (name, seed), one in starts.items()}
    text = tables.as_markdown(rows, tried, reasons)
    write_atomic(home.path / "table.md", text.encode())
    seed, (first, last) = wanted.seeds[0], wanted.ends()
    if (last, seed) in models:
        weights, facts = read_weights(models[last, seed].file)
        file, blur = home.path / "model.safetensors", config["eval"]["blur"]
        ship(file, weights, facts, room.pool, blur, bench[last, seed])
    if not figures.available() or not rows:
        return
    spoilt = {end for way in wanted.spoilt for end in wanted.ends(way)}
    right = [row for row in rows if row["trained"] not in spoilt]
    figure.stages(home.figures / "stages.png", right)
    if told := _curves(wanted, bench, seed):
        figure.curves(home.figures / "robustness.png", told)
    shown = {
        name: models[name, seed] for name in (first, last) if (name, seed) in models
    }
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
    bench: Bench,
    starts: Starts,
    reasons: Mapping[str, str],
) -> dict[str, Any]:
    room, folds, _ = school
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
            f"{name}, seed {seed}": {
                "chosen": one.epochs,
                "validation_auc": one.auc,
                "failed": one.failed,
            }
            for (name, seed), one in starts.items()
        },
        "failed": reasons,
        "protocol": config["protocol"],
        "scores": {
            f"{name}, seed {seed}": {
                k: v for k, v in one.items() if k != "probabilities"
            }
            for (name, seed), one in bench.items()
        },
        "figures": [str(path.relative_to(room.folder)) for path in drawn],
    }


def _size(config: Config, room: Room) -> int:
    """Parameters of the network that is judged."""
    network = build_backbones(config, room.pool).network
    return parameters(jax.eval_shape(network.init, jax.random.key(0)))
