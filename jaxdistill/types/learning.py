"""What the driver trains, and what a method of distillation says of itself."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import PyTree

from jaxdistill.types.arrays import Metrics, PRNGKey, Scalar
from jaxdistill.types.sets import Pool, Synthetic


class Matched(NamedTuple):
    """What a loss returns beside its value.

    `kept` is the share of the batch that was worth learning from: an update with none
    is skipped whole. `residual` is what `advance` needs of this step, averaged over
    devices.
    """

    metrics: Metrics
    kept: Scalar
    residual: PyTree = ()


class Source(NamedTuple):
    """Where a method's batches come from.

    `resident(pool)` stays on the device during the run. `feed(step)` is read by the
    host, a pure function of the step whose leaves are split over devices on their first
    axis. `draw(resident, fed, key)` makes the batch inside the compiled step.
    """

    resident: Callable[[Pool], PyTree]
    feed: Callable[[int], PyTree]
    draw: Callable[[PyTree, PyTree, PRNGKey], PyTree]


class Method(NamedTuple):
    """One way to distil: what the inner learners are, what is matched, how they age.

        init(key) -> inner
        loss(synthetic, inner, batch, key) -> (scalar, Matched)
        advance(inner, residual, synthetic, batch, key) -> inner

    With `population`, `inner` is a stack of networks that is split over devices on its
    first axis; otherwise every device holds all of it.
    """

    init: Callable[[PRNGKey], PyTree]
    loss: Callable[[Synthetic, PyTree, PyTree, PRNGKey], tuple[Scalar, Matched]]
    advance: Callable[[PyTree, PyTree, Synthetic, PyTree, PRNGKey], PyTree]
    source: Source
    population: bool
    mosaic: int = 1  # k: each image of the set holds k x k


class Learner(NamedTuple):
    """Anything that the driver can train: experts, distilled sets, students.

        init(key) -> state
        update(state, resident, fed, key, axis) -> (state, metrics)

    `state.step` counts updates. `update` is one device's part of one step: `resident`
    stays on the device, `fed` is this step's slice of what the host supplies, `axis`
    names the mesh axis for collectives, or is None on one device. `sharded` is a prefix
    of the state, of tuples: True where the leading axis is split over devices.
    """

    init: Callable[[PRNGKey], Any]
    update: Callable[[Any, PyTree, PyTree, PRNGKey, str | None], tuple[Any, Metrics]]
    sharded: PyTree
