"""The one loop: it advances any `Learner` and hands out every state at a call's end.

Library calls consume it directly; a run with a work directory wraps it with files. The
order is a contract: the host reads what step s needs (a pure function of s), the device
advances, the caller sees the new state. Randomness is a function of (key, step, global
index) inside the update, so that stopping after any call and starting again from its
state gives the same bits.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from jaxdistill.engine.mesh import map_update
from jaxdistill.types import Learner, Metrics


class Plan(NamedTuple):
    """How far to go, and how many steps run in one compiled call."""

    start: int
    stop: int
    per_call: int = 1

    def count(self, step: int) -> int:
        """Steps of the call that begins at `step`.

        Calls end at multiples of `per_call`, so that a resumed run groups its steps as
        the uninterrupted one did and compiles to the same program.
        """
        return min(self.per_call - step % self.per_call, self.stop - step)


def iterate(
    learner: Learner,
    state: Any,
    resident: PyTree,
    feed: Callable[[int], PyTree],
    key: jax.Array,
    *,
    plan: Plan,
    mesh: Mesh,
    engine: str = "shard_map",
) -> Iterator[tuple[int, Any, Metrics]]:
    """Yield `(step, state, metrics)` after every call, until `plan.stop`.

    `feed(step)` is what the host supplies to that step, a pytree of arrays or `()`. A
    yielded state is donated to the next call: copy what must outlive it. Metrics are
    means over the call's steps, on the device; reading them late keeps the device busy.
    """
    update = map_update(learner, mesh, engine)
    step = plan.start
    while step < plan.stop:
        count = plan.count(step)
        steps = range(step, step + count)
        fed = jax.tree.map(lambda *leaves: np.stack(leaves), *map(feed, steps))
        numbers = jnp.arange(step, step + count)
        state, metrics = update(state, resident, fed, numbers, key)
        step += count
        yield step, state, metrics
