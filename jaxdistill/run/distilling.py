"""The distill verb: data, experts, distillation, evaluation, figures, in one folder."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxdistill.distill import DistillState, distilling
from jaxdistill.experts import Experts
from jaxdistill.initial import initial
from jaxdistill.mesh import make_mesh
from jaxdistill.run import build, figures, rules
from jaxdistill.run.defaults import VOLATILE
from jaxdistill.run.evaluating import conclude, costs, draw_curve
from jaxdistill.run.expert_store import Teaching, ensure_experts, require_teaching
from jaxdistill.run.files import read_json, write_json
from jaxdistill.run.judge import Judge, require_settings, validation
from jaxdistill.run.loop import Event, Loop, Pace, require_multiples, train
from jaxdistill.run.synthetic import load_synthetic, save_synthetic
from jaxdistill.run.workdir import Workdir, open_workdir
from jaxdistill.run.writer import read_metrics
from jaxdistill.types import Method, Synthetic


class Parts(NamedTuple):
    """What a configuration comes to, before anything is trained."""

    config: Mapping[str, Any]
    judge: Judge
    teaching: Teaching
    loop: Loop


def prepare(config: Mapping[str, Any], workdir: Path, profile: range | None) -> Parts:
    """Build and check everything that costs no training; raises `InputError`."""
    devices = config["devices"]
    rules.require_plain(config)
    rules.split_cpu(devices["cpu"])
    mesh = make_mesh(devices["count"])
    require_settings(config["eval"])
    pool = build.build_pool(config)
    network = build.build_network(config, pool)
    for one in (network, *build.more_networks(config, pool).values()):
        rules.require_runs(one, pool)
    policy = build.build_policy(config, pool)
    build.build_optimiser(config)
    judged = build.eval_policy(config, pool)
    build.eval_recipe(config, judged, config["eval"]["epochs"])
    # One key for each purpose: what one of them does never moves another.
    key = jax.random.key(config["seed"])
    judge = Judge(network, pool, config, judged, jax.random.fold_in(key, 0), mesh)
    recipe = build.expert_recipe(config, policy)
    teaching = Teaching(network, pool, recipe, config["experts"], devices["population"])
    loop = Loop(
        folder=workdir,
        steps=config["steps"],
        key=jax.random.fold_in(key, 1),
        mesh=mesh,
        engine=devices["map"],
        per_call=config["steps_per_call"],
        log_every=config["log_every"],
        checkpoint_every=config["checkpoint_every"],
        tensorboard=config["tensorboard"],
        profile=profile,
    )
    require_multiples(loop, {"eval.every": config["eval"]["every"]})
    return Parts(config, judge, teaching, loop)


def first_set(parts: Parts) -> Synthetic:
    """The set that distillation starts from, which with the method passes its rules."""
    config = parts.config
    start = initial(
        parts.judge.pool,
        config["ipc"],
        jax.random.fold_in(parts.loop.key, 1),
        images=config["init"]["images"],
        noise=config["init"]["noise"],
        label_margin=config["init"]["label_margin"],
        lr=config["init"]["lr"],
    )
    rules.require_method(config, parts.judge, start, parts.loop.mesh)
    return start


def teach(parts: Parts, folder: Path) -> Experts:
    """The run's experts, from `experts.folder` or the folder given."""
    named = parts.config["experts"]["folder"]
    home = Path(named).expanduser() if named else folder
    loop = parts.loop._replace(
        key=jax.random.fold_in(jax.random.key(parts.config["seed"]), 2),
        per_call=1,
        log_every=1,
        checkpoint_every=1,
        keep=1,
        profile=None,
    )
    return ensure_experts(home, parts.teaching, loop)


def run(
    config: Mapping[str, Any], workdir: Path, profile: range | None = None, say=print
) -> dict[str, Any]:
    """Distil by a configuration, resume, or report a finished run: the summary."""
    began = time.perf_counter()
    workdir = workdir.expanduser().absolute()
    parts = prepare(config, workdir, profile)
    require_teaching(config["experts"], parts.loop)
    start = first_set(parts)
    with open_workdir(workdir, config, VOLATILE) as home:
        for note in home.notes:
            say(f"note: {note}")
        if home.finished:
            say(f"this run is finished: {home.summary}")
            return read_json(home.summary)
        experts = teach(parts, workdir / "experts")
        method = build.build_method(
            config,
            parts.judge.network,
            experts,
            build.build_policy(config, parts.judge.pool),
        )
        pace = _distil(parts, method, start, home)
        summary = _choose(parts, home, say)
        pace_of = {
            "steps_per_second": pace.steps / pace.seconds if pace.seconds else None
        }
        summary |= pace_of | costs(home, time.perf_counter() - began)
        write_json(home.summary, summary | {"complete": True})
    return summary


def _distil(parts: Parts, method: Method, start: Synthetic, home: Workdir) -> Pace:
    config, judge = parts.config, parts.judge
    learner = distilling(
        method, start, build.build_optimiser(config), average_decay=config["average"]
    )
    score = validation(judge)

    def validate(step: int, state: DistillState, writer) -> None:
        synthetic = state.average if config["average"] else state.synthetic
        save_synthetic(_set_file(home, step), synthetic, judge.pool)
        found = score(synthetic)
        flat = {
            f"val_{name}{part}": value[stat]
            for name, value in found.items()
            for part, stat in (("", "mean"), ("_std", "std"))
            if isinstance(value["mean"], float)
        }
        writer.write_scalars(step, flat)

    events = (Event(config["eval"]["every"], validate, "eval.every"),)
    resident = method.source.resident(judge.pool)
    _, pace = train(parts.loop, learner, resident, method.source.feed, events)
    return pace


def _choose(parts: Parts, home: Workdir, say) -> dict[str, Any]:
    """The set that validation prefers, judged on test beside what it must beat."""
    judge, metric = parts.judge, parts.config["eval"]["select"]
    curve = _validations(home, metric)
    step, final = max(curve, key=lambda s: curve[s][0]), max(curve)
    best = load_synthetic(_set_file(home, step)).synthetic
    last = load_synthetic(_set_file(home, final)).synthetic if final != step else None
    summary = conclude(judge, best, last, home, say)
    if figures.available():
        drawn = draw_curve(home, curve, step, metric, summary["validation"])
        summary["figures"].append(str(drawn.relative_to(home.path)))
    return summary | {
        "selected_step": step,
        "last_step": final,
        "selected_by": f"validation {metric}",
        "synthetic": str(_set_file(home, step).relative_to(home.path)),
    }


def _validations(home: Workdir, metric: str) -> dict[int, tuple[float, float]]:
    name = f"val_{metric}"
    return {
        line["step"]: (line[name], line[f"{name}_std"])
        for line in read_metrics(home.metrics)
        if line.get(name) is not None
    }


def _set_file(home: Workdir, step: int) -> Path:
    return home.synthetic / f"step_{step:06d}.npz"
