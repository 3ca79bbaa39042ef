"""Pieces of expert trajectories: where they may begin, and which a step gets."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxdistill.distillation.experts import Experts
from jaxdistill.errors import InputError
from jaxdistill.types import Params


class Segment(NamedTuple):
    """Pieces of expert trajectories, stacked; `id` counts them over the whole run."""

    start: Params
    middle: Params
    target: Params
    id: Int[Array, " s"]


class StartRange(NamedTuple):
    """Start epochs `low <= t < high(step)`; `high` grows from `first` to `last`."""

    low: int
    first: int
    last: int
    grown_at: int = 0

    def high(self, step: int) -> int:
        """The exclusive bound on the start epoch at one outer step."""
        if step >= self.grown_at:
            return self.last
        return self.first + (self.last - self.first) * step // self.grown_at


def draw_segments(
    experts: Experts,
    starts: StartRange,
    span: int,
    at: tuple[int, int],
    count: int,
) -> Segment:
    """The segments of one outer step, a pure function of `at = (seed, step)`.

    Experts are taken in turn from a list that is shuffled anew after each pass.
    """
    seed, step = at
    rng = np.random.default_rng((seed, 1, step))
    epochs = rng.integers(starts.low, starts.high(step), size=count)
    numbers = step * count + np.arange(count)
    chosen = [_in_turn(experts.count, seed, int(n)) for n in numbers]
    pairs = list(zip(chosen, map(int, epochs), strict=True))

    def read(offset: int) -> Params:
        parts = [experts.read(e, t + offset) for e, t in pairs]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *parts)

    start, target = read(0), read(span)
    middle = read(span // 2) if span > 1 else start
    return Segment(start, middle, target, jnp.asarray(numbers, jnp.int32))


def require_range(starts: StartRange, span: int, epochs: int) -> None:
    """`InputError` for starts from which `span` epochs leave the experts."""
    if not starts.low < min(starts.first, starts.last):
        raise InputError(
            f"trajectory.start_min={starts.low} must be below "
            f"trajectory.start_first={starts.first} and "
            f"trajectory.start_max={starts.last}: widen the range"
        )
    last = max(starts.first, starts.last) if starts.grown_at else starts.last
    if last - 1 + span > epochs:
        key = "start_max" if last == starts.last else "start_first"
        raise InputError(
            f"trajectory.{key}={last} with trajectory.expert_epochs={span} "
            f"reaches epoch {last - 1 + span}, but experts hold 0 to {epochs}: "
            "lower one of them or raise experts.epochs"
        )


def _in_turn(count: int, seed: int, number: int) -> int:
    order = np.random.default_rng((seed, 2, number // count)).permutation(count)
    return int(order[number % count])
