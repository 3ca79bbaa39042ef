"""The loop with files: what every run that trains something goes through.

The order at a boundary is a contract: the metrics line is written, then events run (a
validation, a snapshot), then the state is checkpointed. A resumed run drops the lines
after its checkpoint and does those steps again, to the same bits.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from jaxtyping import PyTree

from jaxdistill.engine.driver import Plan, iterate
from jaxdistill.engine.mesh import initialise, shardings
from jaxdistill.errors import InputError, Stopped
from jaxdistill.run.checkpoint import Checkpoints
from jaxdistill.run.limits import Limit, Watch
from jaxdistill.run.profile import Profiler
from jaxdistill.run.signals import StopRequest
from jaxdistill.run.writer import MetricsWriter, Progress
from jaxdistill.types import Learner


class Moment(NamedTuple):
    """Where a run stands between two calls; `values` are the metrics of its step."""

    step: int
    state: Any
    values: Mapping[str, Any]
    writer: MetricsWriter


class Event(NamedTuple):
    """`act(moment)` after every `every` steps, and after the last.

    `key` is the config key that sets `every`.
    """

    every: int
    act: Callable[[Moment], None]
    key: str = "every"


class Loop(NamedTuple):
    """How a run goes about its steps, and where it leaves its files."""

    folder: Path
    steps: int
    key: jax.Array
    mesh: Mesh
    engine: str = "shard_map"
    per_call: int = 1
    log_every: int = 1
    checkpoint_every: int = 1
    keep: int | None = 3
    unit: str = "step"
    tensorboard: bool = False
    profile: range | None = None
    limit: Limit = Limit()


class Pace:
    """Steps and seconds of pure training: no compilation, no events, no saving."""

    def __init__(self) -> None:
        self.steps, self.seconds = 0, 0.0
        self._since: tuple[int, float] | None = None

    def go(self, step: int) -> None:
        """Training goes on from `step` now."""
        self._since = (step, time.perf_counter())

    def rest(self, step: int) -> None:
        """Training has come to `step`, and pauses."""
        if self._since is not None:
            self.steps += step - self._since[0]
            self.seconds += time.perf_counter() - self._since[1]
        self._since = None


class _Boundary(NamedTuple):
    """What happens between two calls."""

    loop: Loop
    events: tuple[Event, ...]
    checkpoints: Checkpoints
    writer: MetricsWriter
    progress: Progress
    stop: StopRequest
    pace: Pace
    watch: Watch

    def act(self, step: int, state: Any, metrics: Any) -> None:
        """Log, run events, save, stop: in this order, each where it is due."""
        last = self.loop.steps
        log = _due(step, self.loop.log_every, last)
        save = _due(step, self.loop.checkpoint_every, last)
        due = [e for e in self.events if _due(step, e.every, last)]
        if not (log or save or due or self.stop):
            return
        values = self.watch(step, metrics)
        self.pace.rest(step)
        if log:
            self.writer.write_scalars(step, values)
            self.progress.update(step, _shown(values))
        for event in due:
            event.act(Moment(step, state, values, self.writer))
        stop = bool(self.stop)  # asked once: a stop that is told has been saved
        if save or stop:
            self.checkpoints.save(step, state, {})
        if stop:  # at the last step too: more may follow this loop
            self.checkpoints.wait()
            told = f"stopped by {self.stop.signal} after {self.loop.unit} {step}/{last}"
            raise Stopped(
                self.stop.signal or "",
                f"{told}, which is saved: the same command goes on from there",
            )
        self.pace.go(step)


def train(
    loop: Loop,
    learner: Learner,
    resident: PyTree,
    feed: Callable[[int], PyTree],
    events: tuple[Event, ...] = (),
) -> tuple[Any, Pace]:
    """The state after `loop.steps`, begun or resumed in `loop.folder`, and the pace.

    Raises `InputError` for what the user can mend, `Diverged` for a loss that is not
    finite or has been above `loop.limit` for long, `Stopped` after a signal.
    """
    require_multiples(loop, {event.key: event.every for event in events})
    k_init, k_run = jax.random.split(loop.key)
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(
            Checkpoints(loop.folder / "checkpoints", keep=loop.keep)
        )
        state, plan = _begin(loop, learner, k_init, checkpoints)
        writer = MetricsWriter(
            loop.folder, plan.start, loop.tensorboard, loop.log_every
        )
        stack.enter_context(writer)
        progress = Progress(loop.steps, plan.start, loop.unit)
        stack.enter_context(contextlib.closing(progress))
        stop, pace = stack.enter_context(StopRequest()), Pace()
        profiler = Profiler(loop.folder / "profile", loop.profile)
        stack.enter_context(contextlib.closing(profiler))
        watch = Watch(loop.limit, plan.start, checkpoints)
        boundary = _Boundary(
            loop, events, checkpoints, writer, progress, stop, pace, watch
        )
        calls = iterate(
            learner,
            state,
            resident,
            feed,
            k_run,
            plan=plan,
            mesh=loop.mesh,
            engine=loop.engine,
        )
        before = None
        for step, state, metrics in _watched(calls, plan, progress, profiler, pace):
            if before is not None:  # those of the call before: nobody waits for them
                watch(*before)
            before = (step, metrics)
            boundary.act(step, state, metrics)
    return state, pace


def _begin(
    loop: Loop, learner: Learner, key: jax.Array, checkpoints: Checkpoints
) -> tuple[Any, Plan]:
    """The state to start from, saved if it is the first, and the way ahead."""
    like = jax.eval_shape(learner.init, key)
    placed = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        like,
        shardings(learner.sharded, like, loop.mesh),
    )
    found = checkpoints.newest(placed)
    if found is None:
        state = initialise(learner, key, loop.mesh)
        checkpoints.save(0, state, {})
        return state, Plan(0, loop.steps, loop.per_call)
    step, state = found
    return state, Plan(step, loop.steps, loop.per_call)


def _watched(
    calls: Iterator, plan: Plan, progress: Progress, profiler: Profiler, pace: Pace
) -> Iterator[tuple[int, Any, Any]]:
    """The calls; the first of each length compiles, and is not counted."""
    step, lengths, item = plan.start, set[int](), None
    while step < plan.stop:
        profiler.before(step, count := plan.count(step))
        if count in lengths:
            item = next(calls)
        else:
            jax.block_until_ready(item)
            pace.rest(step)
            told = contextlib.nullcontext() if lengths else progress.compiling()
            with told:
                item = jax.block_until_ready(next(calls))
            pace.go(item[0])
            lengths.add(count)
        step = item[0]
        profiler.after(step, item[1])
        yield item


def require_multiples(loop: Loop, everies: Mapping[str, int]) -> None:
    """`InputError` for steps that cannot be counted, or events that fall within a call.

    `everies` are the intervals of events, by config key.
    """
    everies = {
        "log_every": loop.log_every,
        "checkpoint_every": loop.checkpoint_every,
        **everies,
    }
    for key, every in {"steps_per_call": loop.per_call, **everies}.items():
        if every < 1:
            raise InputError(f"{key}={every} must be at least 1")
        if every % loop.per_call:
            raise InputError(
                f"{key}={every} must be a multiple of steps_per_call={loop.per_call}: "
                "change one of them"
            )
    if loop.steps < 1:
        raise InputError(f"steps={loop.steps} must be at least 1")


def _due(step: int, every: int, last: int) -> bool:
    return step % every == 0 or step == last


def _shown(values: dict[str, float]) -> dict[str, float]:
    order = ("loss", "match", "lr", "kept")
    return {name: values[name] for name in order if name in values}
