"""Training by any `Pretext`, step by step, over any number of devices.

See `descent` for how parameters move and what follows them, `course` for the order of
films.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from jaxdistill.selfsupervised.course import Course, Fed
from jaxdistill.selfsupervised.descent import Regime, descent, follow, momentum_at
from jaxdistill.selfsupervised.pretext import Batch, Pretext
from jaxdistill.types import Learner, Params, PRNGKey


class Films(NamedTuple):
    """Films on the device, with labels or `UNKNOWN`."""

    images: Array  # uint8
    labels: Int[Array, " n"]

    def batch(self, fed: Fed) -> Batch:
        """The films of a step."""
        return Batch(self.images[fed.films], self.labels[fed.films], fed.numbers)


class State(NamedTuple):
    """A network in training after `step` steps, and the one that follows it."""

    step: Int[Array, ""]
    params: Params
    target: Params  # () where nothing follows
    memory: PyTree
    opt: Any


def learn(pretext: Pretext, regime: Regime, course: Course) -> Learner:
    """The `Learner` of a pretext on a course, whose resident data are `Films`.

    A feed that reads films brings each step its `Batch`, and nothing is resident.
    Raises `InputError` for a course with fewer films than a batch.
    """
    course.require()
    down = descent(pretext, regime, course)

    def init(key: PRNGKey) -> State:
        return begin(pretext, regime, course, pretext.init(key))

    def update(state: State, films: Any, fed: Fed | Batch, key: PRNGKey, axis):
        now = course.now(state.step)
        batch = fed if isinstance(fed, Batch) else films.batch(fed)
        target = state.target if pretext.follows else state.params
        drawn = jax.random.fold_in(key, state.step)

        def loss(params):
            return pretext.loss(params, target, state.memory, batch, drawn, now, axis)

        (value, (metrics, memory)), grads = jax.value_and_grad(loss, has_aux=True)(
            state.params
        )
        if axis is not None:
            value, metrics, grads = jax.lax.pmean((value, metrics, grads), axis)
        params, opt = down.step(grads, state.opt, state.params, now)
        followed = state.target
        if pretext.follows:
            kept = momentum_at(regime, course, now)
            followed = follow(state.target, params, kept)
        moved = State(state.step + 1, params, followed, memory, opt)
        return moved, {"loss": value, **metrics}

    whole = State(False, False, False, False, False)  # type: ignore[arg-type]
    return Learner(init, update, whole)


def begin(
    pretext: Pretext,
    regime: Regime,
    course: Course,
    params: Params,
    target: Params | None = None,
) -> State:
    """The state before the first step; the target is the network itself, or another.

    Its arrays are its own: the first step may write over them.
    """
    followed = () if not pretext.follows else params if target is None else target
    own = jax.tree.map(jnp.copy, (params, followed, pretext.memory))
    opt = descent(pretext, regime, course).init(params)
    return State(jnp.zeros((), jnp.int32), own[0], own[1], own[2], opt)
