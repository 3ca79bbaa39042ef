"""A stop is asked for, not forced; a profile covers the steps that were named."""

import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import toy_learner

from jaxdistill.engine.mesh import make_mesh
from jaxdistill.errors import InputError, Stopped
from jaxdistill.run.loop import Event, Loop, train
from jaxdistill.run.profile import Profiler, parse_steps
from jaxdistill.run.signals import StopRequest
from jaxdistill.run.snapshots import saved_steps


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_the_flag_and_handlers_come_back(number):
    former = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    with StopRequest() as stop:
        assert not stop
        signal.raise_signal(number)
        assert stop
        assert stop.signal == number.name
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == former


def test_a_second_interrupt_interrupts():
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_thread_leaves_handlers_alone():
    former = signal.getsignal(signal.SIGTERM)
    seen = []

    def use():
        with StopRequest() as stop:
            seen.append((bool(stop), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert seen == [(False, former)]


@pytest.mark.parametrize("at", [2, 4])
def test_a_stop_while_an_event_runs_is_saved_as_it_tells(tmp_path, at):
    """At the last step, too: what follows a loop would not know that it was asked."""

    def ask(now):
        if now.step == at:
            signal.raise_signal(signal.SIGTERM)

    def update(*given):
        state, metrics = toy_learner().update(*given)
        return state, metrics | {"loss": metrics["mean"]}

    loop = Loop(tmp_path, 4, jax.random.key(0), make_mesh(1), checkpoint_every=4)
    learner = toy_learner()._replace(update=update)
    feed = lambda step: np.ones(8, np.float32)  # noqa: E731
    with pytest.raises(Stopped, match=f"by SIGTERM after step {at}/4, which is saved"):
        train(loop, learner, jnp.ones(3), feed, (Event(1, ask),))
    assert saved_steps(tmp_path / "checkpoints") == [0, at]
    train(loop, learner, jnp.ones(3), feed, (Event(1, ask),))
    assert saved_steps(tmp_path / "checkpoints")[-1] == 4


def test_profile_steps_are_parsed():
    assert parse_steps("10:15") == range(10, 15)
    for text in ("10", "15:10", "5:5", "a:b", "-1:3", "1:2:3", ""):
        with pytest.raises(InputError, match=f"--profile_steps={text} is no range"):
            parse_steps(text)


class Recorder:
    def __init__(self, monkeypatch):
        self.events = []
        start, stop = "jax.profiler.start_trace", "jax.profiler.stop_trace"
        monkeypatch.setattr(start, lambda folder: self.events.append("start"))
        monkeypatch.setattr(stop, lambda: self.events.append("stop"))


def run(profiler, first, last, chunk):
    traced = []
    for step in range(first, last, chunk):
        profiler.before(step, chunk)
        if profiler.active:
            traced.append(step)
        profiler.after(step + chunk, jnp.ones(1))
    profiler.close()
    return traced


@pytest.mark.parametrize(
    ("first", "last", "chunk", "traced"),
    [
        (0, 30, 1, [10, 11, 12, 13, 14]),
        (0, 40, 4, [8, 12]),
        (0, 60, 20, [0]),
        (12, 30, 1, [12, 13, 14]),
        (0, 12, 1, [10, 11]),
        (20, 40, 1, []),
    ],
)
def test_the_calls_that_touch_the_range_are_traced(
    tmp_path, monkeypatch, first, last, chunk, traced
):
    recorder = Recorder(monkeypatch)
    assert run(Profiler(tmp_path, range(10, 15)), first, last, chunk) == traced
    assert recorder.events == (["start", "stop"] if traced else [])


def test_no_range_no_trace(tmp_path, monkeypatch):
    recorder = Recorder(monkeypatch)
    assert run(Profiler(tmp_path / "profile", None), 0, 5, 1) == []
    assert recorder.events == []
    assert not (tmp_path / "profile").exists()


def test_a_trace_is_written(tmp_path):
    run(Profiler(tmp_path / "profile", range(1, 2)), 0, 3, 1)
    assert list((tmp_path / "profile").glob("**/*.xplane.pb"))
