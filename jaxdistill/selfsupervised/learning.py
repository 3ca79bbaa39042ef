"""Training by any `Pretext`, step by step, over any number of devices.

See `descent` for how parameters move and what follows them, `course` for the order of
films.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from jaxdistill.selfsupervised.course import Fed, Pace
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


class Resident(NamedTuple):
    """What stays on the device while a course runs; its films, or () where a feed
    brings each step its `Batch`.
    """

    films: Films | tuple[()]
    pace: Pace


class State(NamedTuple):
    """A network in training after `step` steps, and the one that follows it."""

    step: Int[Array, ""]
    params: Params
    target: Params  # () where nothing follows
    memory: PyTree
    opt: Any


def learn(pretext: Pretext, regime: Regime) -> Learner:
    """The `Learner` of a pretext on a course of any length, by its `Resident` data.

    `regime.epochs` counts for nothing here: how long is what the course says.
    """
    down = descent(pretext, regime)

    def init(key: PRNGKey) -> State:
        return begin(pretext, regime, pretext.init(key))

    def update(state: State, here: Resident, fed: Fed | Batch, key: PRNGKey, axis):
        now = here.pace.now(state.step)
        batch = fed if isinstance(fed, Batch) else here.films.batch(fed)  # type: ignore
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
            kept = momentum_at(regime, now)
            followed = follow(state.target, params, kept)
        moved = State(state.step + 1, params, followed, memory, opt)
        return moved, {"loss": value, **metrics}

    whole = State(False, False, False, False, False)  # type: ignore[arg-type]
    return Learner(init, update, whole)


def begin(
    pretext: Pretext,
    regime: Regime,
    params: Params,
    target: Params | None = None,
) -> State:
    """The state before the first step; the target is the network itself, or another.

    Its arrays are its own: the first step may write over them.
    """
    followed = () if not pretext.follows else params if target is None else target
    own = jax.tree.map(jnp.copy, (params, followed, pretext.memory))
    opt = descent(pretext, regime).init(params)
    return State(jnp.zeros((), jnp.int32), own[0], own[1], own[2], opt)
