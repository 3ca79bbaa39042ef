"""The distill verb: data, experts, distillation, evaluation, figures, in one folder."""

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxdistill.data.prints import prints
from jaxdistill.distillation.distill import distilling
from jaxdistill.distillation.experts import Experts, expert_labelled
from jaxdistill.engine.mesh import make_mesh, split_cpu
from jaxdistill.errors import Diverged
from jaxdistill.jobs.distil import choosing, rules
from jaxdistill.jobs.distil.beginning import beginning, beginning_print
from jaxdistill.jobs.distil.expert_store import (
    Teaching,
    ensure_experts,
    require_teaching,
)
from jaxdistill.jobs.distil.recovery import finished, recover, scalars
from jaxdistill.jobs.judging.evaluating import conclude, draw_curve, record_of
from jaxdistill.jobs.judging.judge import Judge, validation
from jaxdistill.jobs.judging.synthetic import (
    load_synthetic,
    require_readable,
    save_synthetic,
)
from jaxdistill.jobs.settings import build
from jaxdistill.jobs.settings.apart import require_outside
from jaxdistill.jobs.settings.build_loop import build_loop
from jaxdistill.jobs.settings.resolve import free, resolve, usual
from jaxdistill.run import figures
from jaxdistill.run.files import write_json
from jaxdistill.run.limits import Limit
from jaxdistill.run.loop import Event, Loop, Moment, Pace, require_multiples, train
from jaxdistill.run.places import place
from jaxdistill.run.report import ROWS, costs, error_text
from jaxdistill.run.workdir import Workdir, open_workdir
from jaxdistill.types import Learner, Method, Synthetic


class Parts(NamedTuple):
    """What a configuration comes to, before anything is trained."""

    config: Mapping[str, Any]
    judge: Judge
    teaching: Teaching
    loop: Loop
    inputs: Mapping[str, Any]  # fingerprints of the data


def prepare(
    config: Mapping[str, Any],
    workdir: Path,
    profile: range | None,
    like: Parts | None = None,
) -> Parts:
    """Build and check everything that costs no training; raises `InputError`.

    The data, and an equal network, come from `like`, a run on the same data.
    """
    config = resolve(config)
    require_outside(config, workdir)
    build.require_labels_move(config)
    devices = config["devices"]
    split_cpu(devices["cpu"])
    mesh = make_mesh(devices["count"])
    pool = like.judge.pool if like else build.build_pool(config)
    network = build.build_network(config, pool)
    if like and like.judge.network.name == network.name:
        network = like.judge.network  # what was compiled for it serves again
    for one in (network, *build.more_networks(config, pool).values()):
        rules.require_runs(one, pool)
    policy = build.build_policy(config, pool)
    judged = build.eval_policy(config, pool)
    # One key for each purpose: what one of them does never moves another.
    key = jax.random.key(config["seed"])
    judge = Judge(network, pool, config, judged, jax.random.fold_in(key, 0), mesh)
    recipe = build.expert_recipe(config, policy)
    teaching = Teaching(network, pool, recipe, config["experts"], devices["population"])
    run_key = jax.random.fold_in(key, 1)
    loop = build_loop(config, workdir, config["steps"], run_key, mesh, profile=profile)
    require_multiples(loop, {"eval.every": config["eval"]["every"]})
    inputs = dict(like.inputs if like else prints(pool)) | beginning_print(config)
    return Parts(config, judge, teaching, loop, inputs)


def first_set(parts: Parts) -> Synthetic:
    """The set that distillation starts from, which with the method passes its rules."""
    config = parts.config
    key = jax.random.fold_in(parts.loop.key, 1)
    start = beginning(config, parts.judge.pool, key)
    require_readable(start, parts.judge.pool.standard)
    rules.require_method(config, parts.judge, start, parts.loop.mesh)
    return start


def teach(parts: Parts, folder: Path) -> Experts:
    """The run's experts, from `experts.folder` or the folder given."""
    named = parts.config["experts"]["folder"]
    home = place(named, "experts.folder") if named else folder
    loop = parts.loop._replace(
        key=jax.random.fold_in(jax.random.key(parts.config["seed"]), 2),
        per_call=1,
        log_every=1,
        checkpoint_every=1,
        keep=1,
        profile=None,
        limit=Limit(),
    )
    teaching = parts.teaching._replace(seed=parts.config["seed"])
    return ensure_experts(home, teaching, loop)


def nothing(parts: Parts, method: Method, learner: Learner) -> dict[str, Any]:
    """Nothing to tell of a learner."""
    del parts, method, learner
    return {}


class Ready(NamedTuple):
    """A run whose rules hold, and the set that it starts from; a finished one's not."""

    parts: Parts
    start: Synthetic | None


class Way(NamedTuple):
    """How a run goes about it: alone by default, otherwise when it is one of many."""

    rows: Collection[str] = ROWS  # of the final table
    teach: Callable[[Parts, Path], Experts] = teach
    measure: Callable[[Parts, Method, Learner], dict[str, Any]] = nothing


ALONE = Way()


def run(
    config: Mapping[str, Any], workdir: Path, profile: range | None = None, say=print
) -> dict[str, Any]:
    """Distil by a configuration, resume, or report a finished run: the summary."""
    began = time.perf_counter()
    workdir = place(workdir)
    parts = prepare(config, workdir, profile)
    # What a finished run began from need not be there any more.
    prepared = Ready(parts, None) if finished(workdir) else ready(parts)
    return complete(prepared, say, began=began)


def ready(parts: Parts) -> Ready:
    """The run, after all its rules; raises `InputError`."""
    if build.needs_experts(parts.config):
        require_teaching(parts.config["experts"], parts.loop)
    return Ready(parts, first_set(parts))


def complete(
    prepared: Ready, say=print, *, way: Way = ALONE, began: float | None = None
) -> dict[str, Any]:
    """Distil in the run's folder, resume, or report a finished run: the summary."""
    began = time.perf_counter() if began is None else began
    parts, start = prepared
    config = parts.config
    where, record = parts.loop.folder, record_of(config)
    was = usual(config)
    with open_workdir(where, record, free(), usual=was, inputs=parts.inputs) as home:
        for note in home.notes:
            say(f"note: {note}")
        if (told := finished(home.path)) is not None:
            say(f"this run is finished: {home.summary}")
            return told
        start = first_set(parts) if start is None else start
        method, label = _taught(parts, way)
        if config["init"]["labels"] == "experts":
            start = label(start)
        finish = label if config["relabel"] else lambda synthetic: synthetic
        optimiser = build.build_optimiser(config, parts.judge.pool.standard)
        learner = distilling(method, start, optimiser, average_decay=config["average"])
        try:
            pace = _distil(parts, method, learner, finish, home, say)
        except Diverged as error:
            raise Diverged(f"{error}{_best_so_far(parts, home)}") from error
        summary = _choose(parts, home, way, say) | way.measure(parts, method, learner)
        pace_of = {
            "steps_per_second": pace.steps / pace.seconds if pace.seconds else None
        }
        summary |= pace_of | costs(home, time.perf_counter() - began)
        write_json(home.summary, summary | {"complete": True})
    return summary


Label = Callable[[Synthetic], Synthetic]


def _taught(parts: Parts, way: Way) -> tuple[Method, Label]:
    """The method, and the experts' labelling of a set; experts are trained first."""
    config, judge = parts.config, parts.judge
    taught = build.needs_experts(config)
    experts = way.teach(parts, parts.loop.folder / "experts") if taught else None
    policy = build.build_policy(config, judge.pool)
    given = build.Given(judge.network, judge.pool, policy, experts)

    def label(synthetic: Synthetic) -> Synthetic:
        assert experts is not None  # see `needs_experts`
        return expert_labelled(synthetic, experts, judge.network, config["mosaic"])

    return build.build_method(config, given), label


def _distil(
    parts: Parts,
    method: Method,
    learner: Learner,
    finish: Label,
    home: Workdir,
    say: Callable,
) -> Pace:
    config, judge = parts.config, parts.judge
    score, metric = validation(judge), config["eval"]["select"]

    def validate(now: Moment) -> None:
        step, state = now.step, now.state
        synthetic = finish(state.average if config["average"] else state.synthetic)
        file = choosing.set_file(home, step)
        how = build.own_schedule(config)
        save_synthetic(file, synthetic, judge.pool, config["mosaic"], how)
        found = score(synthetic)
        now.writer.write_scalars(step, scalars(found))
        say(f"step {step}: validation {metric} {error_text(found[metric])}")

    recover(home, config["eval"]["every"], config["steps"], score)
    events = (Event(config["eval"]["every"], validate, "eval.every"),)
    resident = method.source.resident(judge.pool)
    _, pace = train(parts.loop, learner, resident, method.source.feed, events)
    return pace


def _best_so_far(parts: Parts, home: Workdir) -> str:
    """Where the best set of a run that cannot go on lies, by validation."""
    curve = choosing.validations(home, parts.config["eval"]["select"])
    if not curve:
        return ""
    best = max(curve, key=lambda step: curve[step][0])
    return f"; its best set by validation is kept, {choosing.set_file(home, best)}"


def _choose(parts: Parts, home: Workdir, way: Way, say) -> dict[str, Any]:
    """The set that validation prefers, judged on test beside what it must beat."""
    judge, metric = parts.judge, parts.config["eval"]["select"]
    curve = choosing.validations(home, metric)
    if not curve:
        raise Diverged(
            f"no validation gave a finite {metric}: networks that train on the set "
            "come to no finite answers; lower init.lr or the rates of "
            f"config.optimizer, with a new --workdir; its sets are in {home.synthetic}"
        )
    choice, final = choosing.choose(judge, home, curve, say), max(curve)
    file = choosing.set_file(home, choice.step)
    best, last = load_synthetic(file).synthetic, None
    if final != choice.step:
        last = load_synthetic(choosing.set_file(home, final)).synthetic
    summary = conclude(judge, best, last, home, say, names=way.rows)
    if figures.available():
        levels, judged = summary["validation"], choosing.scored(choice)
        drawn = draw_curve(home, curve, judged, choice.step, metric, levels)
        summary["figures"].append(str(drawn.relative_to(home.path)))
    return summary | {
        "selected_step": choice.step,
        "last_step": final,
        "selected_by": choice.told,
        "choice": choice.rounds,
        "synthetic": str(file.relative_to(home.path)),
    }
