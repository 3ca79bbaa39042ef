"""One outer step of each of our methods, as a function of one `Problem`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdistill.distillation.distillers import (
    characteristic,
    kernel,
    segments,
    trajectory,
)
from jaxdistill.distillation.distillers.distribution import distribution_matching
from jaxdistill.distillation.distillers.gradient import gradient_matching
from jaxdistill.distillation.distillers.soft_label import soft_label
from jaxdistill.distillation.experts import Experts
from jaxdistill.types import Method, Network, Params, Synthetic

CLASSES = 10
LR = 0.01


class Size(NamedTuple):
    """Of the network, the set and the training; `ipc` and `real` are by class."""

    side: int
    width: int
    depth: int
    ipc: int
    real: int
    steps: int  # of a trajectory
    epochs: int  # of training after a match
    frequencies: int


class Problem(NamedTuple):
    """The inputs of a step."""

    params: Params
    target: Params  # where a trajectory ends; for characteristics the final network
    synthetic: Synthetic
    real: Any  # [k, b, h, w, c]


class Case(NamedTuple):
    """A method, its batch, the fields of the set it moves, the network it trains.

    `rates` is the shape of the set's learning rates.
    """

    make: Callable[[Network, Size], Method]
    batch: Callable[[Problem], Any]
    moved: tuple[str, ...] = ("images",)
    trained: Callable[[Any], Params] = lambda inner: ()
    rates: Callable[[Size], tuple[int, ...]] = lambda size: ()


def outer_step(case: Case, network: Network, size: Size) -> Callable:
    """`problem -> (loss, gradients of what moves, the trained network)`."""

    def step(problem: Problem):
        # Methods that draw a network are handed this one.
        method = case.make(network._replace(init=lambda key: problem.params), size)
        key = step_key()
        inner, batch = method.init(key), case.batch(problem)
        (loss, matched), grads = jax.value_and_grad(method.loss, has_aux=True)(
            problem.synthetic, inner, batch, key
        )
        given = (matched.residual, problem.synthetic, batch, key)
        moved = [getattr(grads, name) for name in case.moved]
        return loss, moved, case.trained(method.advance(inner, *given))

    return step


def make_problem(case: Case, network: Network, size: Size) -> Problem:
    """Random images and networks; soft labels that lean to the class of the image."""
    keys = jax.random.split(jax.random.key(0), 5)
    shape = (size.side, size.side, 1)
    images = jax.random.normal(keys[0], (CLASSES * size.ipc, *shape))
    hard = 2.0 * jnp.repeat(jnp.eye(CLASSES), size.ipc, axis=0)
    logits = hard + 0.3 * jax.random.normal(keys[1], hard.shape)
    raw_lr = jnp.full(case.rates(size), jnp.log(jnp.expm1(LR)))
    real = jax.random.normal(keys[2], (CLASSES, size.real, *shape))
    nets = network.init(keys[3]), network.init(keys[4])
    return Problem(*nets, Synthetic(images, logits, raw_lr), real)


def drawn(shape: tuple[int, int]) -> jax.Array:
    """The frequencies that `characteristic` draws in `outer_step`."""
    return jax.random.normal(jax.random.split(step_key())[1], shape)


def step_key() -> jax.Array:
    """The key of every step."""
    return jax.random.key(7)


def gradient_case() -> Case:
    """DC, with the published ten loops of ten images per class."""

    def make(network, size):
        return gradient_matching(
            network,
            classes=CLASSES,
            outer_loops=10,
            inner_epochs=size.epochs,
            batch_real=size.real,
        )

    return Case(make, _by_class, trained=lambda inner: _first(inner.training.params))


def distribution_case(distance: str) -> Case:
    """Means or whole distributions of features."""

    def make(network, size):
        return distribution_matching(
            network, classes=CLASSES, batch_real=size.real, distance=distance
        )

    return Case(make, _by_class)


def characteristic_case() -> Case:
    """Frequencies from N(0, I), the network at the start of its way."""

    def make(network, size):
        return characteristic.characteristic_matching(
            network,
            _experts(network),
            classes=CLASSES,
            batch_real=size.real,
            frequencies=size.frequencies,
        )

    def batch(problem):
        nets = characteristic.Nets(_stacked(problem.params), _stacked(problem.target))
        return characteristic.Batch(problem.real, nets)

    return Case(make, batch)


def kernel_case() -> Case:
    """Images and labels move; a pool of one network takes one step."""

    def make(network, size):
        count = CLASSES * size.real
        return kernel.kernel_regression(
            network, classes=CLASSES, batch_real=count, pool=1
        )

    def batch(problem):
        k, b = problem.real.shape[:2]
        images = problem.real.reshape(-1, *problem.real.shape[2:])
        labels = jnp.repeat(jnp.arange(k), b)
        return kernel.Batch(images, labels, jnp.zeros((), jnp.int32))

    def trained(inner):
        return _first(_first(inner.members.params))

    return Case(make, batch, ("images", "logits"), trained)


def soft_label_case() -> Case:
    """Three passes over the set, a step takes one image of every class."""

    def make(network, size):
        return soft_label(network, classes=CLASSES, batch_real=size.real)

    moved = ("images", "logits", "raw_lr")
    return Case(make, _by_class, moved, rates=lambda size: (3, size.ipc))


def trajectory_case() -> Case:
    """One segment; every step takes the whole set."""

    def make(network, size):
        return trajectory.trajectory_matching(
            network, _experts(network), unroll_steps=size.steps
        )

    def batch(problem):
        start, target = _stacked(problem.params), _stacked(problem.target)
        return segments.Segment(start, start, target, jnp.zeros(1, jnp.int32))

    return Case(make, batch, ("images", "raw_lr"))


def _experts(network: Network) -> Experts:
    """What a method checks; the segment itself comes with the problem."""
    return Experts(1, 3, network.name, lambda expert, epoch: ())


def _by_class(problem: Problem):
    return problem.real


def _stacked(params: Params) -> Params:
    return jax.tree.map(lambda x: x[None], params)


def _first(params: Params) -> Params:
    return jax.tree.map(lambda x: x[0], params)


CASES = {
    "gradient": gradient_case(),
    "distribution": distribution_case("mean"),
    "mmd": distribution_case("mmd"),
    "characteristic": characteristic_case(),
    "kernel": kernel_case(),
    "soft_label": soft_label_case(),
    "trajectory": trajectory_case(),
}
