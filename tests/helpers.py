"""A toy problem: three classes of 8 x 8 grey images, small networks, their experts."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.data.standard import fit
from jaxdistill.distillation.experts import Experts, train_experts
from jaxdistill.engine.training import Recipe
from jaxdistill.networks import convnet
from jaxdistill.types import Learner, Network, Pool, Split, Standard, Synthetic

SIDE, CLASSES = 8, 3
SHAPE = (SIDE, SIDE, 1)
PIXELS = SIDE * SIDE


def gaussian_bytes(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images around one smooth pattern for each class."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    patterns = np.stack([rows, columns, 1 - rows])
    noise = rng.normal(0.0, 0.15, (len(labels), SIDE, SIDE))
    unit = 0.25 + 0.5 * patterns[labels] + noise
    return np.uint8(np.clip(unit, 0, 1) * 255)[..., None]


def make_split(labels: np.ndarray, seed: int, scale: Standard | None = None) -> Split:
    """A split with these labels; it fits its own standard unless one is given."""
    images = gaussian_bytes(labels, np.random.default_rng(seed))
    return Split(
        jnp.asarray(images),
        jnp.asarray(labels, jnp.int32),
        jnp.arange(len(labels), dtype=jnp.int32),
        scale or fit(images),
    )


@functools.cache
def toy_pool() -> Pool:
    """24 training images of each of three classes; 15 to validate, 30 to test."""
    train = make_split(np.arange(72) % CLASSES, 1)
    val = make_split(np.arange(15) % CLASSES, 2, train.standard)
    test = make_split(np.arange(30) % CLASSES, 3, train.standard)
    return Pool("toy", train, val, test, ("rows", "columns", "back"))


def linear_network() -> Network:
    """Softmax regression: its gradient can be written by hand."""

    def init(key):
        return {"w": 0.1 * jax.random.normal(key, (PIXELS, CLASSES)), "b": jnp.zeros(3)}

    def apply(params, images):
        return embed(params, images) @ params["w"] + params["b"][None]

    def embed(params, images):
        return images.reshape(len(images), -1)

    return Network(init, apply, embed, "linear")


def tanh_network(width: int = 6) -> Network:
    """One smooth hidden layer, quick to compile."""

    def init(key):
        k_in, k_out = jax.random.split(key)
        return {
            "in": jax.random.normal(k_in, (PIXELS, width)) / SIDE,
            "out": jax.random.normal(k_out, (width, CLASSES)),
        }

    def embed(params, images):
        return jnp.tanh(images.reshape(len(images), -1) @ params["in"])

    def apply(params, images):
        return embed(params, images) @ params["out"]

    return Network(init, apply, embed, f"tanh-{width}")


@functools.cache
def toy_convnet() -> Network:
    """The literature's ConvNet, width 4 and depth 2."""
    return convnet(SHAPE, CLASSES, width=4, depth=2)


EXPERT_RECIPE = Recipe(epochs=4, batch=24, momentum=0.0, weight_decay=0.0, drop_at=1.0)


@functools.cache
def toy_experts() -> Experts:
    """Four experts of four epochs of the tanh network."""
    return train_experts(
        tanh_network(),
        toy_pool(),
        count=4,
        epochs=4,
        key=jax.random.key(5),
        lr=0.1,
        recipe=EXPERT_RECIPE,
    )


def made_experts(network: Network, snapshots: list[list]) -> Experts:
    """Experts whose snapshots are given, `[expert][epoch]`."""
    return Experts(
        len(snapshots),
        len(snapshots[0]) - 1,
        network.name,
        lambda expert, epoch: snapshots[expert][epoch],
    )


def toy_synthetic(size: int = 6, seed: int = 0, lr: float = 0.1) -> Synthetic:
    """A random set with soft labels of every class."""
    k_images, k_logits = jax.random.split(jax.random.key(seed))
    labels = np.arange(size) % CLASSES
    hard = 2.0 * jax.nn.one_hot(labels, CLASSES)
    return Synthetic(
        jax.random.normal(k_images, (size, *SHAPE)),
        hard + 0.3 * jax.random.normal(k_logits, (size, CLASSES)),
        jnp.log(jnp.expm1(jnp.asarray(lr))),
    )


class ToyState(NamedTuple):
    """Eight numbered walkers, split over devices, and the sum of their means."""

    step: Any
    id: Any
    own: Any
    total: Any


def toy_learner() -> Learner:
    """What a learner may use: randomness, residents, feeds, means over devices."""

    def init(key):
        own = jax.random.normal(key, (8, 3))
        return ToyState(jnp.zeros((), jnp.int32), jnp.arange(8), own, jnp.zeros(3))

    def update(state, resident, fed, key, axis):
        def noise(number):
            k = jax.random.fold_in(jax.random.fold_in(key, number), state.step)
            return jax.random.normal(k, (3,))

        own = jnp.tanh(state.own * resident[None] + fed[:, None])
        own = own + jax.vmap(noise)(state.id)
        mean = own.mean(axis=0)
        if axis is not None:
            mean = jax.lax.pmean(mean, axis)
        state = ToyState(state.step + 1, state.id, own, state.total + mean)
        return state, {"mean": mean.sum(), "step": state.step}

    return Learner(init, update, ToyState(False, True, True, False))


def assert_same_bits(one, other) -> None:
    """Equal trees, leaf by leaf, bit by bit; keys by their data."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def assert_close(one, other, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Equal trees to a tolerance."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=atol)
