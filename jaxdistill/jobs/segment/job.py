"""The segment verb: one student alone and one distilled, judged on sites unseen.

    workdir/
      teachers/ classes/   trainings, each with its own checkpoints
      models/              every network as safetensors
      scores/              every network's scores by case
      table.csv table.md figures/ summary.json student.safetensors student.stablehlo

What is there is not made again; a student added to the configuration is trained beside
those that are done.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxdistill.data.prints import site_prints
from jaxdistill.data.slices import frame, slices_of
from jaxdistill.engine.mesh import make_mesh, split_cpu
from jaxdistill.errors import InputError
from jaxdistill.jobs.segment import pictures
from jaxdistill.jobs.segment import table as tables
from jaxdistill.jobs.segment.folds import Bench, run_fold
from jaxdistill.jobs.segment.judging import costs, score, worth
from jaxdistill.jobs.segment.lessons import Room, Seat
from jaxdistill.jobs.segment.models import load_model, save_program
from jaxdistill.jobs.segment.plan import ALONE, TEACHER, Plan, plan, pupils, told_of
from jaxdistill.jobs.segment.rates import Rate, at_rate, choose
from jaxdistill.jobs.settings import build_segmentation as build
from jaxdistill.jobs.settings.apart import require_outside
from jaxdistill.jobs.settings.resolve import free, lasting, resolve, usual
from jaxdistill.run import figures
from jaxdistill.run import report as reports
from jaxdistill.run.files import read_record, write_atomic, write_json
from jaxdistill.run.kept import usable
from jaxdistill.run.places import place
from jaxdistill.run.rows import as_csv
from jaxdistill.run.workdir import Workdir, open_workdir
from jaxdistill.types import SitePool

LATER = ("unseen", "seeds", "students", "rates")  # of the protocol: what may be added
Config = Mapping[str, Any]
Rates = dict[str, Rate]  # by site left out and seed, where there was a choice


def run(config: Config, workdir: Path, say: Callable = print) -> list[tables.Row]:
    """Make or finish the run of a configuration; returns the table's rows."""
    began = time.perf_counter()
    workdir = place(workdir)
    config = resolve(config)
    require_outside(config, workdir)
    split_cpu(config["devices"]["cpu"])
    pool = build.build_sites(config)
    wanted = plan(config, pool)
    stride = _stride(config, wanted)
    record, inputs = lasting(config, "protocol", LATER), site_prints(pool)
    was = usual(config)
    with open_workdir(workdir, record, free(config), usual=was, inputs=inputs) as home:
        for note in (*home.notes, *pool.skipped):
            say(f"note: {note}")
        shape = _framed(home, pool, stride)
        mesh = make_mesh(config["devices"]["count"])
        near = config["protocol"]["neighbours"]
        slices = slices_of(pool.cases, pool.sites, shape=shape, neighbours=near)
        room = Room(workdir, pool, shape, mesh, say, slices, {})
        reasons: dict[str, str] = {}
        bench: Bench = {}
        rates: Rates = {}
        for seed in wanted.seeds:
            for unseen, fold in wanted.folds.items():
                seat = Seat(unseen, fold, seed)
                learners = wanted.pupils
                if (rate := choose(room, config, seat)) is not None:
                    rates[seat.name] = rate
                    learners = pupils(at_rate(config, rate.chosen))
                bench |= run_fold(room, config, seat, learners, reasons)
        scores = _scores(room, config, wanted, bench)
        rows = _rows(room, config, wanted, bench, scores)
        _write(home, room, config, wanted, bench, rows, scores, rates, reasons)
        summary = _summary(config, wanted, rows, scores, rates, reasons, home)
        summary |= {"scores": _by_case(room, wanted, bench)}
        summary |= reports.costs(home, time.perf_counter() - began)
        write_json(home.summary, summary | {"complete": True})
    return rows


def _framed(home: Workdir, pool: SitePool, stride: int) -> tuple[int, int]:
    """Height and width of all slices: those that the folder was begun with.

    Raises `InputError` where a student that was added later does not take them.
    """
    file = home.path / "frame.json"
    found = usable(file, lambda path: read_record(path, "shape"))
    height, width = found["shape"] if found else frame(pool.cases, stride)
    if height % stride or width % stride:
        raise InputError(
            f"a network takes slices with sides that are multiples of {stride}, and "
            f"those of {home.path} are {height} x {width}, as it was begun without "
            "that network: begin another work folder for it"
        )
    if not found:
        write_json(file, {"shape": (height, width)})
    return height, width


def _stride(config: Config, wanted: Plan) -> int:
    """What divides the sides of slices: by the strides of all networks.

    Raises `InputError` for patches that it does not divide.
    """
    strides = []
    for one in (config, *(p.config for p in wanted.pupils)):
        networks = [
            build.build_network(one, wanted.pool, role)
            for role in ("teacher", "student")
        ]
        stride, side = max(net.stride for net in networks), one["patches"]["patch"]
        if side % stride:
            raise InputError(
                f"patches.patch={side} must be a multiple of {stride}, as networks "
                f"halve it so often: set {max(side // stride, 1) * stride}"
            )
        strides.append(stride)
    return max(strides)


def _scores(room: Room, config: Config, wanted: Plan, bench: Bench) -> tables.Scores:
    """What every network is worth."""
    return {
        at: worth(score(room, config, _seat(wanted, at), one))
        for at, one in bench.items()
    }


def _rows(
    room: Room, config: Config, wanted: Plan, bench: Bench, scores: tables.Scores
) -> list[tables.Row]:
    known = [TEACHER, *map(told_of, wanted.pupils), *(p.name for p in wanted.pupils)]
    names = [name for name in known if any(name == n for n, *_ in bench)]
    first = {name: next(o for p, o in bench.items() if p[0] == name) for name in names}
    facts = costs(room, config, {n: one.networks for n, one in first.items()})
    for name, one in first.items():
        facts[name]["bytes"] = sum(f.stat().st_size for f in one.networks.files)
    sites = list(wanted.folds)
    return tables.rows_of(names, sites, wanted.seeds, scores, facts)


def _by_case(room: Room, wanted: Plan, bench: Bench) -> dict[str, Any]:
    """The scores of every network by case, as their files are called."""
    files = (
        one.file(room, _seat(wanted, at), "scores", ".json")
        for at, one in bench.items()
    )
    return {file.stem: read_record(file) for file in sorted(files)}


def _seat(wanted: Plan, place: tuple[str, str, int]) -> Seat:
    _, unseen, seed = place
    return Seat(unseen, wanted.folds[unseen], seed)


def _write(
    home: Workdir,
    room: Room,
    config: Config,
    wanted: Plan,
    bench: Bench,
    rows: list[tables.Row],
    scores: tables.Scores,
    rates: Rates,
    reasons: Mapping[str, str],
) -> None:
    write_atomic(home.path / "table.csv", as_csv(rows).encode())
    said = {seat: rate.said for seat, rate in rates.items()}
    text = tables.as_markdown(rows, reasons, scores, said)
    write_atomic(home.path / "table.md", text.encode())
    if figures.available():
        pictures.draw(home, room, config, wanted, bench, rows)
    unseen, seed = next(iter(wanted.folds)), wanted.seeds[0]
    best = "distilled" if config["distil"] else ALONE
    if (one := bench.get((best, unseen, seed))) is not None:
        seat = _seat(wanted, (best, unseen, seed))
        path = one.file(room, seat, "models", ".safetensors")
        write_atomic(home.path / "student.safetensors", path.read_bytes())
        save_program(home.path / "student.stablehlo", load_model(path), room.shape)


def _summary(
    config: Config,
    wanted: Plan,
    rows: list[tables.Row],
    scores: tables.Scores,
    rates: Rates,
    reasons: Mapping[str, str],
    home: Workdir,
) -> dict[str, Any]:
    drawn = sorted(home.figures.glob("*.png"))
    pool = wanted.pool
    return {
        "rows": rows,
        "runs": tables.runs_of(scores),
        "cases": {s: sum(c.site == s for c in pool.cases) for s in pool.sites},
        "class_names": pool.class_names,
        "skipped": pool.skipped,
        "rates": {seat: rate._asdict() for seat, rate in rates.items()},
        "failed": reasons,
        "protocol": config["protocol"],
        "figures": [str(path.relative_to(home.path)) for path in drawn],
    }
