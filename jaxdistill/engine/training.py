"""Training networks on labelled images: one epoch, written once.

Experts keep every epoch of it, evaluation scans over the epochs, students will use it.

    theta <- theta - lr * m,   m <- momentum * m + g + weight_decay * theta

with g the gradient of the cross-entropy, or that of a flatter neighbour (FTD, Du et al.
2023): e = rho |theta|^2 g / || |theta| g ||, g+ the gradient at theta + e, and the step
along g+ - a * (the part of g orthogonal to g+), as GSAM (Zhuang et al. 2022).

Beside theta, a moving average of it may be kept (Polyak and Juditsky 1992; Tarvainen
and Valpola 2017), which the training itself never sees:

    mean <- average * mean + (1 - average) * theta
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from jaxdistill.augment.siamese import augment_each
from jaxdistill.data.standard import standardise
from jaxdistill.engine.losses import soft_cross_entropy
from jaxdistill.engine.microbatch import mean_over, microbatch, mixes_images
from jaxdistill.engine.schedule import Schedule, follow
from jaxdistill.ranges import Count, Decay, Many, OneOf, Range, Weight
from jaxdistill.settings import Small
from jaxdistill.types import (
    Network,
    Params,
    PRNGKey,
    Scalar,
    Split,
    Standard,
    Synthetic,
)


class Examples(NamedTuple):
    """What a network trains on: stored bytes or inputs, and soft targets."""

    images: Array  # uint8, or float where the images are inputs already
    targets: Float[Array, "n k"]
    standard: Standard

    @property
    def size(self) -> int:
        """Number of images."""
        return self.targets.shape[0]


# Epochs beyond those named; the rate falls after one more than these and the share.
PROTOCOLS = {"reference": 1, "counted": 0}


class Recipe(NamedTuple):
    """How to train; the defaults are the literature's evaluation (Zhao et al. 2021).

    One epoch after `drop_at` of the epochs the rate falls to a tenth (1: never). The
    reference program counts from 0 to `epochs` inclusive and lets the rate fall after
    the epoch numbered `epochs // 2 + 1`; so does the protocol "reference", where
    "counted" trains as many epochs as it says. `rho` above 0 asks for flat
    trajectories, `orthogonal` is their `a`. `average` above 0 keeps the moving average
    of the parameters; it is its decay a step.
    """

    epochs: Annotated[Count, "passes over the training set", Small(2)] = 1000
    batch: Annotated[Many, "images a step"] = 256
    momentum: Annotated[Decay, "of the steps"] = 0.9
    weight_decay: Annotated[Weight, "pull of weights to zero"] = 5e-4
    drop_at: Annotated[
        float, Range(0, 1, above=True), "share of epochs before a tenth of the rate"
    ] = 0.5
    policy: tuple[str, ...] = ()
    rho: Annotated[Weight, "above 0: flat trajectories, FTD's radius"] = 0.0
    orthogonal: Annotated[Weight, "FTD's a"] = 0.0
    average: Annotated[Decay, "above 0: of the moving average, a step"] = 0.0
    protocol: Annotated[
        str, OneOf(PROTOCOLS), "reference: one epoch more than named, as programs do"
    ] = "reference"


class TrainState(NamedTuple):
    """A network in training; a velocity and a mean are there where recipes use them."""

    params: Params
    velocity: Params | tuple[()]
    mean: Params | tuple[()] = ()

    @property
    def result(self) -> Params:
        """What training has come to: the moving average, or else the parameters."""
        none = isinstance(self.mean, tuple) and not self.mean
        return self.params if none else self.mean


def of_split(split: Split, classes: int) -> Examples:
    """Real images with their labels."""
    targets = jax.nn.one_hot(split.labels, classes)
    return Examples(split.images, targets, split.standard)


def class_balanced(examples: Examples) -> Examples:
    """The same examples with every class weighing alike in the loss.

    Targets of class c are multiplied by n / (K n_c), so that the cross-entropy is the
    class-weighted one, sum over images of w_c CE / n.
    """
    counts = examples.targets.sum(axis=0)
    # A class without an image has none to weigh.
    weights = examples.size / (len(counts) * jnp.where(counts > 0, counts, jnp.inf))
    return examples._replace(targets=examples.targets * weights[None])


def of_inputs(
    images: Float[Array, "n h w c"], targets: Float[Array, "n k"]
) -> Examples:
    """Images that are inputs already, with soft targets."""
    channels = images.shape[-1]
    return Examples(images, targets, Standard(jnp.zeros(channels), jnp.ones(channels)))


def of_synthetic(synthetic: Synthetic, standard: Standard) -> Examples:
    """A distilled set with its labels as learned."""
    return Examples(synthetic.images, jax.nn.softmax(synthetic.logits), standard)


def begin(network: Network, recipe: Recipe, key: PRNGKey) -> TrainState:
    """A fresh network at rest."""
    params = network.init(key)
    velocity = optax.tree.zeros_like(params) if recipe.momentum else ()
    return TrainState(params, velocity, params if recipe.average else ())


def train_epoch(
    network: Network,
    recipe: Recipe,
    state: TrainState,
    examples: Examples,
    lr: Scalar,
    key: PRNGKey,
) -> tuple[TrainState, Scalar]:
    """One pass over a new shuffle, and the mean loss of its images.

    A batch larger than the set is the set; the last batch of a pass holds what is left,
    and its loss is the mean over these.
    """
    size = examples.size
    batch = min(recipe.batch, size)
    k_order, k_augment = jax.random.split(key)
    keys = jax.random.split(k_augment, -(-size // batch))
    order = jax.random.permutation(k_order, size)
    gradient = _flat_gradient if recipe.rho else _gradient

    def step(state: TrainState, item: tuple) -> tuple[TrainState, Scalar]:
        chosen, weights, k = item
        part = microbatch(network, examples.images.shape[1:], len(chosen))

        def loss(params, part):
            rows, places, weights = part
            images, targets = examples.images[rows], examples.targets[rows]
            if images.dtype == jnp.uint8:
                images = standardise(images, examples.standard)
            if recipe.policy:
                images = augment_each(images, k, recipe.policy, places)
            targets = targets * weights[:, None]
            return soft_cross_entropy(network.apply(params, images), targets)

        given = (chosen, jnp.arange(len(chosen)), weights)
        parts = jax.tree.map(lambda x: x.reshape(-1, part), given)
        value, grads = gradient(loss, state.params, parts, recipe)
        return _sgd(state, grads, recipe, lr), value

    rest = size % batch
    if rest and mixes_images(network):
        # Padding would enter the statistics of the batch: a step of its own shape.
        whole, ones = size - rest, jnp.ones
        items = _rows(order[:whole], batch), ones((len(keys) - 1, batch)), keys[:-1]
        state, losses = jax.lax.scan(step, state, items)
        state, last = step(state, (order[whole:], ones(rest), keys[-1]))
        losses = jnp.append(losses, last)
    else:
        # Padding weighs nothing, and the rest so much more that the mean is theirs.
        weights = _rows((jnp.arange(len(keys) * batch) < size).astype(float), batch)
        weights *= batch / weights.sum(axis=1, keepdims=True)
        items = _rows(jnp.resize(order, (len(keys) * batch,)), batch), weights, keys
        state, losses = jax.lax.scan(step, state, items)
    images = jnp.full(len(keys), batch).at[-1].set(rest or batch)
    return state, jnp.sum(losses * images) / size


def _rows(x: Array, batch: int) -> Array:
    return x.reshape(-1, batch)


def train_network(
    network: Network, recipe: Recipe, examples: Examples, lr: Scalar, key: PRNGKey
) -> tuple[Params, Float[Array, " epochs"]]:
    """A fresh network after all epochs, and the mean loss of each; pure."""
    k_init, k_train = jax.random.split(key)
    more = PROTOCOLS[recipe.protocol]
    # A product such as 0.29 * 100 falls short of its whole number by rounding.
    drop = int(recipe.epochs * recipe.drop_at + 1e-9) + more

    def epoch(state, number):
        rate = jnp.where(number > drop, 0.1 * lr, lr)
        # The reference builds a new optimiser at the drop, which forgets its momentum.
        still = number == drop + 1
        velocity = jax.tree.map(
            lambda v: jnp.where(still, jnp.zeros_like(v), v), state.velocity
        )
        state = state._replace(velocity=velocity)
        k = jax.random.fold_in(k_train, number)
        return train_epoch(network, recipe, state, examples, rate, k)

    state, losses = jax.lax.scan(
        epoch, begin(network, recipe, k_init), jnp.arange(recipe.epochs + more)
    )
    return state.result, losses


def train_fresh(
    network: Network,
    how: Recipe | Schedule,
    examples: Examples,
    lr: Array,
    key: PRNGKey,
) -> Params:
    """A fresh network trained as a recipe says, or as the set's own schedule does."""
    if isinstance(how, Recipe):
        return train_network(network, how, examples, lr, key)[0]
    start = network.init(jax.random.split(key)[0])
    return follow(network, how, start, (examples.images, examples.targets), lr)


def _sgd(state: TrainState, grads: Params, recipe: Recipe, lr: Scalar) -> TrainState:
    decayed = jax.tree.map(
        lambda g, p: g + recipe.weight_decay * p, grads, state.params
    )
    velocity: Params | tuple[()] = ()
    if recipe.momentum:
        decayed = velocity = jax.tree.map(
            lambda v, g: recipe.momentum * v + g, state.velocity, decayed
        )
    moved = jax.tree.map(lambda p, v: p - lr * v, state.params, decayed)
    mean: Params | tuple[()] = ()
    if recipe.average:
        mean = optax.incremental_update(moved, state.mean, 1 - recipe.average)
    return TrainState(moved, velocity, mean)


def _gradient(
    loss: Callable, params: Params, parts: PyTree, recipe: Recipe
) -> tuple[Scalar, Params]:
    del recipe
    return mean_over(lambda part: jax.value_and_grad(loss)(params, part), parts)


def _flat_gradient(
    loss: Callable, params: Params, parts: PyTree, recipe: Recipe
) -> tuple[Scalar, Params]:
    value, g = _gradient(loss, params, parts, recipe)
    tiny = 1e-12
    norm = optax.tree.norm(jax.tree.map(lambda p, g: jnp.abs(p) * g, params, g))
    shifted = jax.tree.map(
        lambda p, g: p + recipe.rho * p**2 * g / (norm + tiny), params, g
    )
    _, flat = _gradient(loss, shifted, parts, recipe)
    along = optax.tree.vdot(g, flat) / (optax.tree.vdot(flat, flat) + tiny)
    return value, jax.tree.map(
        lambda f, g: f - recipe.orthogonal * (g - along * f), flat, g
    )
