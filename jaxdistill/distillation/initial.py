"""The first synthetic set: noise, means of real images or real images, and its labels.

A good start saves most of the outer steps. `"cluster_mean"` splits every class into
`ipc` groups of similar images and takes their means: unlike noisy copies of one class
mean they differ in what the class's images differ in, and unlike real images each is of
ten images or more (which proves no privacy). A mean may lie between classes, so that
the experts' opinion tells it better than a class does: `experts.expert_labelled`.
"""

import warnings
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.spatial.distance import cdist

from jaxdistill.data.standard import from_unit, standardise
from jaxdistill.distillation.coresets import k_means
from jaxdistill.distillation.mosaic import encode_images
from jaxdistill.engine.sampling import check_ipc, class_table, random_subset
from jaxdistill.errors import InputError
from jaxdistill.ranges import OneOf, Rate, Weight
from jaxdistill.settings import declared
from jaxdistill.types import Images, Pool, PRNGKey, Synthetic

HARD = 100.0  # a logit margin whose softmax is one-hot in float32
SMALLEST = 10  # images in a mean at least, so that none of them stands for itself
COARSE = 16  # pixels a side at which images are compared
CHUNK = 256  # images shrunk at once


def _noise(pool: Pool, labels: np.ndarray, key: PRNGKey, noise: float) -> Images:
    del noise
    return jax.random.normal(key, (len(labels), *pool.image_shape))


def _means(pool: Pool, labels: np.ndarray, key: PRNGKey, noise: float) -> Images:
    return class_means(pool)[labels] + noise * _noise(pool, labels, key, noise)


def _clusters(pool: Pool, labels: np.ndarray, key: PRNGKey, noise: float) -> Images:
    k_noise, k_start = jax.random.split(key)
    means = cluster_means(pool, len(labels) // pool.classes, k_start)
    return means + noise * _noise(pool, labels, k_noise, noise)


def _real(pool: Pool, labels: np.ndarray, key: PRNGKey, noise: float) -> Images:
    del noise
    warnings.warn(
        "init.images=real begins from training images, and what is distilled from "
        "them still shows them: share no such set of patients",
        stacklevel=3,
    )
    ipc = len(labels) // pool.classes
    chosen = random_subset(pool.train.labels, pool.classes, ipc, key)
    return standardise(pool.train.images[chosen], pool.standard)


STARTS = {"noise": _noise, "mean": _means, "cluster_mean": _clusters, "real": _real}


@declared("init")
def initial(
    pool: Pool,
    ipc: int,
    key: PRNGKey,
    *,
    images: Annotated[str, OneOf(STARTS), "what images begin as"] = "mean",
    noise: Annotated[Weight, "on means, in deviations of the pixels"] = 0.5,
    label_margin: Annotated[Weight, "logit of the true class; 100: one-hot"] = HARD,
    lr: Annotated[Rate, "first inner learning rate"] = 0.01,
    schedule: tuple[int, ...] = (),
    mosaic: int = 1,
) -> Synthetic:
    """The first set, `ipc` images per class in the order of the classes.

    `images` is "noise" (standard normal), "mean" (class mean plus normal noise of the
    standard deviation `noise`, in standardised units), "cluster_mean" (the same with
    the means of `ipc` clusters of each class, see `cluster_means`) or "real" (random
    training images: these leak what they show, share no set that began so).
    `label_margin` is the logit of the true class above the others. `lr` is the first
    inner learning rate, of every step where `schedule` is (epochs, steps). With
    `mosaic` above 1 every image is that many by that many smaller ones. Raises
    `InputError` for an `ipc` below 1 or above what a class holds, and for a setting out
    of range.
    """
    cells = ipc * mosaic**2
    table = class_table(pool.train.labels, pool.classes)
    check_ipc(table, ipc)
    least = int(np.min(table.counts))
    if images == "real" and cells > least:
        raise InputError(
            f"ipc={ipc} and mosaic={mosaic} ask for {cells} real images of every "
            f"class, one of which holds {least}: lower one of them, or set init.images"
        )
    labels = np.repeat(np.arange(pool.classes), cells)
    full = STARTS[images](pool, labels, key, noise)
    return Synthetic(
        images=encode_images(full, mosaic),
        logits=label_margin * jax.nn.one_hot(labels[:: mosaic**2], pool.classes),
        raw_lr=raw_rates(lr, schedule),
    )


@declared("init")
def few_images(
    pool: Pool,
    count: int,
    key: PRNGKey,
    *,
    images: Annotated[str, OneOf(("noise", "mean")), "what images begin as"] = "mean",
    noise: Annotated[Weight, "on means, in deviations of the pixels"] = 0.5,
    label_margin: Annotated[Weight, "logit of the true class; 100: one-hot"] = HARD,
    lr: Annotated[Rate, "first inner learning rate"] = 0.01,
    schedule: tuple[int, ...] = (),
) -> Synthetic:
    """A first set with fewer images than classes: its labels share the classes out.

    Image i of `count` begins with a label for all classes c = i (mod count) alike; of
    more images than classes each has one class, and they stand class by class.
    `images` is "noise" or "mean" (over these classes' means, plus noise), the rest is
    as for `initial`. Raises `InputError` for a `count` below 1, for real images, noise
    below 0 or a learning rate that is not positive.
    """
    if count < 1:
        raise InputError(f"init.count={count} leaves nothing to learn: use 1 or more")
    classes = np.arange(pool.classes)
    number = np.sort(np.arange(count) % pool.classes)[:, None]
    shares = (classes % count == number).astype(np.float32)
    full = jax.random.normal(key, (count, *pool.image_shape))
    if images == "mean":
        weights = jnp.asarray(shares / shares.sum(axis=1, keepdims=True))
        full = jnp.tensordot(weights, class_means(pool), 1) + noise * full
    return Synthetic(
        images=full,
        logits=jnp.asarray(label_margin * shares),
        raw_lr=raw_rates(lr, schedule),
    )


def raw_rates(lr: float, schedule: tuple[int, ...]) -> Float[Array, "..."]:
    """The rate before its softplus, one or one for every step."""
    return jnp.full(schedule, lr + np.log(-np.expm1(-lr)), jnp.float32)


def class_means(pool: Pool) -> Float[Array, "k h w c"]:
    """The mean standardised training image of every class."""
    labels = np.asarray(pool.train.labels)
    return _mean_inputs(
        pool, [np.flatnonzero(labels == c) for c in range(pool.classes)]
    )


def cluster_means(pool: Pool, per_class: int, key: PRNGKey) -> Float[Array, "m h w c"]:
    """The mean standardised image of `per_class` clusters of each class, in order.

    Clusters are those of k-means on the pixels at a coarse size. One of fewer than ten
    images takes the ten of its class nearest to its centre (all, where it has fewer):
    the mean of one image would be that image.
    """
    labels, groups = np.asarray(pool.train.labels), []
    for c in range(pool.classes):
        members = np.flatnonzero(labels == c)
        points = _coarse(pool, members)
        points -= points.mean(axis=0)  # near the origin products lose no digits
        rng = np.random.default_rng([*np.asarray(jax.random.key_data(key)), c])
        squares = cdist(k_means(points, per_class, rng), points, "sqeuclidean")
        nearest = squares.argmin(axis=0)
        for j, order in enumerate(squares.argsort(axis=1, kind="stable")):
            own = np.flatnonzero(nearest == j)
            groups.append(members[order[:SMALLEST] if len(own) < SMALLEST else own])
    return _mean_inputs(pool, groups)


def _coarse(pool: Pool, members: np.ndarray) -> Float[np.ndarray, "n d"]:
    """Pixels of some training images at a coarse size, made in chunks."""
    h, w, c = pool.image_shape
    side = (min(h, COARSE), min(w, COARSE))

    @jax.jit
    def shrink(images):
        shape = (len(images), *side, c)
        return jax.image.resize(images.astype(jnp.float32), shape, "bilinear")

    chunks = np.split(members, range(CHUNK, len(members), CHUNK))
    parts = [np.asarray(shrink(pool.train.images[chunk])) for chunk in chunks]
    return np.concatenate(parts).reshape(len(members), -1).astype(np.float64)


def _mean_inputs(pool: Pool, groups: list[np.ndarray]) -> Float[Array, "g h w c"]:
    """The mean standardised image of each group of training images."""
    images = np.asarray(pool.train.images)
    means = np.stack([images[rows].mean(axis=0, dtype=np.float64) for rows in groups])
    # Standardisation is affine: the mean of the inputs is the input of the mean.
    return from_unit(jnp.asarray(means / 255.0, jnp.float32), pool.standard)
