"""Soft-label distillation by bilevel unrolling. Wang et al. 2018, arXiv:1811.10959,
algorithm 1; learned labels by Sucholutsky and Schonlau 2021, arXiv:1910.02551; for
gastric X-rays by Li et al. 2022, arXiv:2209.14635.

    L = CE(f(real; theta_T))
    theta_t = theta_{t-1} - rate_t grad CE(f(X_s; theta_{t-1}), Y_s)

with images X, labels Y and all T = epochs x steps rates learned
(`jaxdistill.engine.schedule`).

    repeat: theta_0 = the fixed start | a fresh network | one of a pool of ages
            T inner steps on the set;  move images, labels, rates by the gradient of L

The start decides what a set can do. From one fixed network a handful of images stands
for the whole data set, and for the trained network too; random starts need many more. A
pool trains its networks on the set, so that it serves a network at every age.

`window` is the truncation of RaT-BPTT (Feng et al., ICLR 2024, arXiv:2311.07025): a
random number of steps without gradient, then so many with; inner Adam and its state are
as there. That number is drawn at every outer step and for every network, where theirs
is drawn once a pass over the real data; neither the clip at twice the norm's moving
average nor the start at unit norm is here. The sweep needs no truncation for memory,
only against noisy gradients.

Different from the reference programs: labels are softmax of logits, so they stay
probabilities; rates are softplus; the real batch is balanced over classes; every device
of a mesh takes its share of the networks.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdistill.distillation.distillers.classwise import ClassImages, class_batches
from jaxdistill.engine.losses import soft_cross_entropy
from jaxdistill.engine.microbatch import mean_over, microbatch
from jaxdistill.engine.population import map_population
from jaxdistill.engine.schedule import (
    INNERS,
    Schedule,
    follow,
    optimiser,
    step_loss,
    step_rows,
)
from jaxdistill.engine.unroll import GRADIENTS, ahead, unroll
from jaxdistill.errors import InputError
from jaxdistill.ranges import Many, ManyOrNone, OneOf, Seed
from jaxdistill.settings import Small, declared
from jaxdistill.types import (
    Matched,
    Method,
    Network,
    Params,
    PRNGKey,
    Scalar,
    Synthetic,
)

STARTS = ("fixed", "random", "pool")


class OwnRates(NamedTuple):
    """What a set that has a rate for every step begins as, beside its first rate."""

    steps: Annotated[Many, "S: parts of the set, one an inner step"] = 1
    epochs: Annotated[
        Many, "E: times all are taken, at rates of their own", Small(2)
    ] = 3
    start_seed: Annotated[Seed, "of the fixed start"] = 0


class Starts(NamedTuple):
    """The networks that training begins from; their params are () unless pooled."""

    params: Params
    age: Int[Array, " nets"]
    id: Int[Array, " nets"]


@declared("soft_label", OwnRates)
def soft_label(
    network: Network,
    *,
    classes: int,
    batch_real: Annotated[Many, "real images of every class", Small(2)] = 100,
    nets: Annotated[Many, "networks a step; a multiple of the devices"] = 1,
    start: Annotated[str, OneOf(STARTS), "of these networks"] = "random",
    max_age: Annotated[Many, "schedules that a network of the pool follows"] = 10,
    inner: Annotated[str, OneOf(INNERS), "optimiser of the inner steps"] = "sgd",
    window: Annotated[ManyOrNone, "inner steps that take a gradient; 0: all"] = 0,
    gradient: Annotated[str, OneOf(GRADIENTS), "way through the inner steps"] = "sweep",
    population: str = "auto",
) -> Method:
    """Lower the loss on `batch_real` images of each class after training on the set.

    `start` says what `nets` networks begin from; for "fixed" pass `starting_at` as the
    network. A network of a pool is drawn anew after `max_age` schedules.
    `window` is how many of the steps take a gradient (0: all). Raises `InputError` for
    a start, an inner optimiser or a window that does not exist.
    """
    schedule = Schedule(inner)

    def init(key):
        ids = jnp.arange(nets)
        params = ()
        if start == "pool":
            params = jax.vmap(lambda i: network.init(jax.random.fold_in(key, i)))(ids)
        # Staggered, so that every age is served from the first step.
        return Starts(params, ids * max_age // nets, ids)

    def loss(synthetic, inner_nets, batch, key):
        _require_schedule(synthetic, window)

        def of_net(params, number):
            k_init, k_window = jax.random.split(jax.random.fold_in(key, number))
            params = params if start == "pool" else network.init(k_init)
            last = _unrolled(network, schedule, window, gradient)(
                synthetic, params, k_window
            )
            return real_loss(network, last, batch, classes)

        values = map_population(
            of_net, inner_nets.params, inner_nets.id, mode=population
        )
        return values.mean(), Matched({"real": values.mean()}, jnp.ones(()))

    def advance(inner_nets, residual, synthetic, batch, key):
        del residual, batch
        if start != "pool":
            return inner_nets
        data = (synthetic.images, jax.nn.softmax(synthetic.logits))

        def of_net(params, age, number):
            old = age + 1 >= max_age
            params = jax.lax.cond(
                old,
                lambda: network.init(jax.random.fold_in(key, number)),
                lambda: follow(network, schedule, params, data, synthetic.lr),
            )
            return params, jnp.where(old, 0, age + 1)

        params, age = map_population(of_net, *inner_nets, mode=population)
        return Starts(params, age, inner_nets.id)

    return Method(init, loss, advance, class_batches(batch_real), population=True)


def starting_at(network: Network, key: PRNGKey, said: str) -> Network:
    """The network that always starts from the same weights; `said` names the key."""
    return network._replace(
        init=lambda other: network.init(key), name=f"{network.name},start={said}"
    )


def real_loss(
    network: Network, params: Params, batch: ClassImages, classes: int
) -> Scalar:
    """Cross-entropy on real images, class by class, a cache's worth at a time."""
    images = batch.reshape(-1, *batch.shape[2:])
    targets = jnp.repeat(jnp.eye(classes), batch.shape[1], axis=0)
    part = microbatch(network, images.shape[1:], len(images))
    parts = (
        images.reshape(-1, part, *images.shape[1:]),
        targets.reshape(-1, part, classes),
    )

    @jax.checkpoint
    def of_part(part):
        return soft_cross_entropy(network.apply(params, part[0]), part[1])

    return mean_over(of_part, parts)


def _unrolled(network: Network, schedule: Schedule, window: int, gradient: str):
    """`(synthetic, start, key) -> params` after the schedule or a random part."""
    inner = optimiser(schedule.inner)
    step = step_loss(network)

    def run(synthetic: Synthetic, start: Params, key: PRNGKey) -> Params:
        data = (synthetic.images, jax.nn.softmax(synthetic.logits))
        rates: Float[Array, " t"] = synthetic.lr.reshape(-1)
        rows = step_rows(len(data[0]), *synthetic.lr.shape)
        if not window:
            return unroll(
                step, start, data, rates, rows, inner=inner, gradient=gradient
            )
        skipped = jax.random.randint(key, (), 0, len(rates) - window + 1)
        known = jax.lax.stop_gradient((data, rates))
        start, state = ahead(
            step, start, known[0], known[1], rows, count=skipped, inner=inner
        )
        rates, rows = (
            jax.lax.dynamic_slice_in_dim(x, skipped, window) for x in (rates, rows)
        )
        return unroll(
            step,
            start,
            data,
            rates,
            rows,
            inner=inner,
            gradient=gradient,
            state=state,
        )

    return run


def _require_schedule(synthetic: Synthetic, window: int) -> None:
    if synthetic.raw_lr.ndim != 2:
        raise InputError(
            "method=soft_label learns a rate for every step, but the set holds one "
            "rate: begin from an initial set with a schedule"
        )
    total = synthetic.raw_lr.size
    if not 0 <= window <= total:
        raise InputError(
            f"soft_label.window={window} must be from 0 to {total}, the inner steps of "
            "soft_label.steps times soft_label.epochs: lower it"
        )
