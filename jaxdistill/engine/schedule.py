"""A set that is its own recipe: one learning rate for every step (Wang et al. 2018).

A set of m images with rates [epochs, steps] trains a network in epochs x steps steps:
step s of every epoch takes the images s, s + steps, s + 2 steps, ..., one m/steps-th of
every class where `steps` divides the images of a class, at a rate of its own. Nothing
else is left to choose, so that the same start gives the same network wherever it is
trained.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdistill.engine.losses import soft_cross_entropy
from jaxdistill.engine.unroll import SGD, Inner, adam, momentum, unroll
from jaxdistill.errors import InputError, require_name
from jaxdistill.ranges import Many, OneOf
from jaxdistill.types import Network, Params, Scalar

INNERS: dict[str, Inner] = {"sgd": SGD, "momentum": momentum(0.9), "adam": adam()}


class Schedule(NamedTuple):
    """How the rates of a set are used: by which optimiser, and how many times over.

    Every pass begins with a fresh state of the optimiser, as in distillation.
    """

    inner: Annotated[str, OneOf(("sgd", "momentum", "adam")), "its optimiser"] = "sgd"
    passes: Annotated[Many, "how many times over"] = 1


def optimiser(name: str) -> Inner:
    """The inner optimiser of that name; `InputError` for an unknown one."""
    require_name("soft_label.inner", name, INNERS)
    return INNERS[name]


def step_rows(size: int, epochs: int, steps: int) -> Int[Array, "t 1 b"]:
    """The images of every step, as one microbatch each.

    Raises `InputError` for a set that does not divide into the steps.
    """
    if size % steps:
        raise InputError(
            f"soft_label.steps={steps} does not divide the set of {size} images: "
            "choose a divisor"
        )
    one_epoch = jnp.arange(size).reshape(-1, steps).T
    return jnp.tile(one_epoch, (epochs, 1))[:, None]


def step_loss(network: Network):
    """The loss of a step, as `jaxdistill.unroll` takes it, of images and targets."""

    def loss(params: Params, data, rows: Int[Array, " b"]) -> Scalar:
        images, targets = data
        return soft_cross_entropy(network.apply(params, images[rows]), targets[rows])

    return loss


def follow(
    network: Network,
    schedule: Schedule,
    start: Params,
    data: tuple[Float[Array, "m h w c"], Float[Array, "m k"]],
    rates: Float[Array, "epochs steps"],
) -> Params:
    """The network that a set of images and targets trains from `start`; pure."""
    rows = step_rows(len(data[0]), *rates.shape)
    inner = optimiser(schedule.inner)

    def once(params: Params) -> Params:
        return unroll(
            step_loss(network),
            params,
            data,
            rates.reshape(-1),
            rows,
            inner=inner,
            gradient="plain",
        )

    if schedule.passes == 1:
        return once(start)
    return jax.lax.fori_loop(0, schedule.passes, lambda _, p: once(p), start)
