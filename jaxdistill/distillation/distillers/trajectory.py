"""Trajectory matching. Cazenavette et al., CVPR 2022, arXiv:2203.11932, eq. 2.

    L = ||theta_N - expert_{t+M}||^2 / ||expert_t - expert_{t+M}||^2

where theta_N are the parameters after N steps on the synthetic set from expert_t.

    repeat: draw experts and start epochs t; theta = expert_t
            N times: theta -= lr * grad CE(augment(images_batch), labels_batch)
            move images, labels, lr by the gradient of L

Its family is a choice of arguments. DATM (Guo et al. 2024): learned labels, a start
range that grows, a loss threshold. FTD (Du et al. 2023): experts of flat trajectories
and an average of the set. TESLA (Cui et al. 2023): `gradient="first_order"`. DDPP, PAD,
IADD, HoP-TM: a `Weighting`, and for the last the shape term.

Different from the reference programs: several segments a step; the learning rate is a
softplus, so it stays positive (`optimizer.plain_lr` moves it as they do); TESLA's step
is that of its paper, twice that of its program, which multiplies a tuple by two;
batches of the synthetic set are always full (what does not divide waits for the next
shuffle); validation, not test, chooses the iterate.
"""

from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxdistill.augment.siamese import augment_each
from jaxdistill.distillation.distillers.segments import (
    Segment,
    StartRange,
    draw_segments,
    require_range,
)
from jaxdistill.distillation.distillers.weighting import WEIGHTINGS, Weighting, uniform
from jaxdistill.distillation.experts import Experts
from jaxdistill.engine.depth import parameters_before
from jaxdistill.engine.losses import soft_cross_entropy
from jaxdistill.engine.microbatch import microbatch
from jaxdistill.engine.population import map_population
from jaxdistill.engine.unroll import GRADIENTS, SGD, Inner, unroll
from jaxdistill.engine.unroll import momentum as inner_momentum
from jaxdistill.errors import InputError
from jaxdistill.ranges import Count, CountOrZero, Decay, Many, ManyOrNone, OneOf, Weight
from jaxdistill.settings import Chosen, Small, declared
from jaxdistill.types import (
    Matched,
    Method,
    Network,
    Params,
    PRNGKey,
    Scalar,
    Source,
    Synthetic,
)


@declared("trajectory")
def trajectory_matching(
    network: Network,
    experts: Experts,
    *,
    unroll_steps: Annotated[Count, "N: inner steps on the set", Small(3)] = 30,
    expert_epochs: Annotated[Count, "M: of the expert to be matched", Small(1)] = 2,
    start_min: Annotated[CountOrZero, "T-: first start epoch", Small(0)] = 0,
    start_first: Annotated[
        CountOrZero, "where it grows: bound on starts at first; 0: start_max", Small(1)
    ] = 0,
    start_max: Annotated[
        CountOrZero, "T+: bound once grown; 0: what the experts hold", Small(1)
    ] = 0,
    grown_at: Annotated[CountOrZero, "outer step at which the bound is T+"] = 0,
    segments: Annotated[
        Many, "of trajectories, a step; a multiple of the devices", Small(1)
    ] = 1,
    batch: Annotated[ManyOrNone, "images an inner step; 0: all", Small(0)] = 0,
    momentum: Annotated[Decay, "of the inner steps"] = 0.0,
    gradient: Annotated[str, OneOf(GRADIENTS), "way through the inner steps"] = "sweep",
    threshold: Annotated[Weight, "greatest loss that teaches; 0: none"] = 0.0,
    shape_weight: Annotated[Weight, "HoP-TM's lambda"] = 0.0,
    weighting: Annotated[Weighting | None, Chosen(WEIGHTINGS, "uniform")] = None,
    policy: tuple[str, ...] = (),
    population: str = "auto",
    seed: int = 0,
) -> Method:
    """Match `unroll_steps` on the set to `expert_epochs` of an expert's training.

    Segments begin at epochs from `start_min` to below a bound that grows from
    `start_first` to `start_max`, see `StartRange`. `batch` images enter an inner step,
    augmented by `policy`. `shape_weight` adds HoP-TM's shape term. `seed` orders
    experts and start epochs. Raises `InputError` for a setting out of range, a range
    that the experts do not hold, or experts of another network.
    """
    experts.require_network(network)
    start_max = start_max or max(1, experts.epochs - expert_epochs + 1)
    starts = StartRange(start_min, start_first or start_max, start_max, grown_at)
    require_range(starts, expert_epochs, experts.epochs)
    weighting = weighting or uniform()
    if shape_weight and momentum:
        raise InputError(
            f"trajectory.shape_weight={shape_weight} needs the point halfway, where an "
            "inner momentum would begin anew: set trajectory.momentum=0"
        )
    inner = inner_momentum(momentum) if momentum else SGD
    student = _student(network, policy, inner, gradient, halfway=bool(shape_weight))

    def match(synthetic: Synthetic, state, segment: Segment, key: PRNGKey):
        m = synthetic.images.shape[0]
        if synthetic.raw_lr.ndim:
            raise InputError(
                f"the first set has rates of shape {synthetic.raw_lr.shape}; "
                "trajectory matching learns one: begin from a set with one"
            )
        inputs = schedule(jax.random.fold_in(key, segment.id), m, batch, unroll_steps)
        middle, final = student(synthetic, segment.start, inputs)
        error = _squared(final, segment.target)
        before = parameters_before(network, synthetic.images.shape[1:])
        weights = jax.lax.stop_gradient(weighting.weights(state, error, before))
        distance = _weighted(weights, _squared(segment.start, segment.target))
        loss = _weighted(weights, error) / distance
        if shape_weight:
            teacher = (segment.start, segment.middle, segment.target)
            loss += shape_weight * shape_term((segment.start, middle, final), teacher)
        return loss, jax.tree.map(jax.lax.stop_gradient, error)

    def loss(synthetic, state, segment, key):
        losses, errors = map_population(
            lambda s: match(synthetic, state, s, key), segment, mode=population
        )
        # What is not finite shows in the mean, kept or not, and stops the run: the
        # threshold is for segments that teach too much, not for walks that are lost.
        kept = ~(losses > threshold) if threshold else jnp.ones_like(losses, bool)
        metrics = {"match": losses.mean()}
        residual = jax.tree.map(lambda e: e.mean(axis=0), errors)
        matched = Matched(metrics, kept.mean(), residual)
        return jnp.where(kept, losses, jax.lax.stop_gradient(losses)).mean(), matched

    def advance(state, residual, synthetic, segment, key):
        del synthetic, segment, key
        return weighting.advance(state, residual)

    def feed(step: int) -> Segment:
        return draw_segments(experts, starts, expert_epochs, (seed, step), segments)

    return Method(
        init=lambda key: weighting.init(network.init(key)),
        loss=loss,
        advance=advance,
        source=Source(lambda pool: (), feed, lambda resident, fed, key: fed),
        population=False,
    )


def schedule(
    key: PRNGKey, size: int, batch: int, steps: int
) -> tuple[Int[Array, "n b"], Key[Array, " n"]]:
    """Indices of each step's batch, without replacement within a pass, and its key.

    Each pass over the set is a new shuffle; a remainder smaller than a batch is left
    out. A `batch` of 0 is the whole set, in order. Raises `InputError` for a batch
    larger than the set.
    """
    k_order, k_augment = jax.random.split(key)
    keys = jax.random.split(k_augment, steps)
    if batch > size:
        raise InputError(
            f"trajectory.batch={batch} is larger than the synthetic set of {size} "
            "images: lower it, or set 0 for the whole set"
        )
    if batch in (0, size):
        return jnp.broadcast_to(jnp.arange(size), (steps, size)), keys
    in_pass = size // batch
    passes = -(-steps // in_pass)
    orders = jax.vmap(lambda k: jax.random.permutation(k, size))(
        jax.random.split(k_order, passes)
    )
    batches = orders[:, : in_pass * batch].reshape(passes * in_pass, batch)
    return batches[:steps], keys


def shape_term(student: tuple, teacher: tuple) -> Scalar:
    """HoP-TM's shape loss: smooth L1 between the inner angles of two three-point paths.

    With unit differences `u_ij` of points i and j, `a_ijk = <u_ij, u_ik>`; the mean
    over all 27 entries of the smooth L1 of `a_student - a_teacher`.
    """
    difference = _angles(student) - _angles(teacher)
    size = jnp.abs(difference)
    return jnp.mean(jnp.where(size < 1, 0.5 * difference**2, size - 0.5))


def _student(
    network: Network, policy, inner: Inner, gradient: str, halfway: bool
) -> Callable:
    """`(synthetic, start, inputs) -> (middle, final)`; the middle only if `halfway`."""

    def loss(params, data, given):
        images, target = data
        rows, places, key = given
        images = images[rows]
        if policy:
            images = augment_each(images, key, policy, places)
        return soft_cross_entropy(network.apply(params, images), target[rows])

    def run(synthetic: Synthetic, start: Params, inputs):
        data = (synthetic.images, jax.nn.softmax(synthetic.logits))
        given = _divided(
            inputs, microbatch(network, data[0].shape[1:], inputs[0].shape[1])
        )
        rates = jnp.full(inputs[0].shape[0], synthetic.lr)

        def walk(params: Params, part: slice) -> Params:
            now = jax.tree.map(lambda x: x[part], given)
            return unroll(
                loss, params, data, rates[part], now, inner=inner, gradient=gradient
            )

        if not halfway:
            return start, walk(start, slice(None))
        # Two unrolls cost what one does, and the point between them comes free.
        half = len(rates) // 2
        middle = walk(start, slice(half))
        return middle, walk(middle, slice(half, None))

    return run


def _divided(inputs: tuple, part: int) -> tuple:
    """Rows, places in the batch and keys by step and microbatch."""
    rows, keys = inputs
    steps, batch = rows.shape
    shape = (steps, batch // part, part)
    places = jnp.broadcast_to(jnp.arange(batch), rows.shape).reshape(shape)
    return rows.reshape(shape), places, jnp.repeat(keys[:, None], shape[1], axis=1)


def _squared(a: Params, b: Params) -> Params:
    return jax.tree.map(lambda x, y: (x - y) ** 2, a, b)


def _weighted(weights: Params, error: Params) -> Float[Array, ""]:
    parts = jax.tree.map(lambda w, e: jnp.sum(w * e), weights, error)
    return jax.tree.reduce(jnp.add, parts)


def _angles(points: tuple) -> Float[Array, "3 3 3"]:
    flat = [jnp.concatenate([x.ravel() for x in jax.tree.leaves(p)]) for p in points]
    path = jnp.stack(flat)
    between = path[:, None] - path[None, :]
    # The diagonal is zero, where the norm has no gradient: keep the root off it.
    squares = jnp.sum(between**2, axis=-1, keepdims=True)
    unit = between / jnp.sqrt(jnp.where(squares > 0, squares, 1.0))
    return jnp.einsum("ijd,ikd->ijk", unit, unit)
