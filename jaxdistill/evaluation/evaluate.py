"""Evaluation: fresh networks, trained from scratch on a set, scored on real images.

The literature's protocol (Zhao et al. 2021, section 4): SGD with momentum 0.9, weight
decay 5e-4, 1,000 epochs with the rate divided by ten in the middle, counted as the
reference program counts them (`Recipe.protocol`). A distilled set trains with the
learning rate that was learned with it; a real set with 0.01 unless said otherwise.
"""

from collections.abc import Callable
from functools import lru_cache
from numbers import Integral

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key

from jaxdistill.data.standard import standardise
from jaxdistill.engine.fitting import require_network, require_set, require_split
from jaxdistill.engine.mesh import make_mesh, spread
from jaxdistill.engine.population import map_population
from jaxdistill.engine.schedule import Schedule
from jaxdistill.engine.training import (
    Examples,
    Recipe,
    of_split,
    of_synthetic,
    train_fresh,
)
from jaxdistill.errors import InputError
from jaxdistill.evaluation.metrics import as_probabilities, scores, summarise
from jaxdistill.settings import require
from jaxdistill.types import Network, Params, PRNGKey, Split, Synthetic

PRNGKeys = Key[Array, " s"]

REAL_LR = 0.01
CHUNK = 256  # images predicted at once
Splits = Split | tuple[Split, ...]


def evaluate(
    train_set: Synthetic | Split,
    test: Split,
    network: Network,
    *,
    seeds: int = 5,
    key: PRNGKey,
    recipe: Recipe | Schedule | None = None,
    lr: float | None = None,
    mesh: Mesh | None = None,
) -> dict[str, dict]:
    """Train `seeds` fresh networks on `train_set`, score them on `test`, summarise.

    The result is `{metric: {"mean", "std", "n"}}`, see `evaluation.metrics.scores`. A
    set with a rate for every step trains by these, in one pass by plain descent, or by
    the `Schedule` that is given: that of a pool, and of a set learned with another
    inner optimiser, which a set does not tell. Other sets train by the recipe. Raises
    `InputError` for sets, splits and networks of other images or classes, and for a
    rate that is not one number above 0, or one for every step.
    """
    if not isinstance(seeds, Integral) or seeds < 1:
        raise InputError(
            f"seeds={seeds} trains no network: set it to a whole number of 1 or more"
        )
    require_split(test, "test")
    shape = test.images.shape[1:]
    if isinstance(train_set, Synthetic):
        require_set(train_set, shape, None, "test")
        classes = train_set.logits.shape[1]
        _require_labels(test, classes, "the distilled set", "test")
        require_network(network, shape, classes, "the distilled set")
        examples = of_synthetic(train_set, test.standard)
        rate = train_set.lr if lr is None else lr
    else:
        require_split(train_set, "train_set")
        if train_set.images.shape[1:] != shape:
            raise InputError(
                f"train_set has images of shape {train_set.images.shape[1:]}, test of "
                f"{shape}: take both from one data set"
            )
        classes = _classes(network, test)
        _require_labels(train_set, classes, f"the network {network.name}", "train_set")
        _require_labels(test, classes, f"the network {network.name}", "test")
        examples = of_split(train_set, classes)
        rate = REAL_LR if lr is None else lr
    how = recipe or (Schedule() if jnp.ndim(rate) else Recipe())
    _require_rate(rate, examples.size, how)
    run = evaluator(network, how, mesh=mesh)
    said = run(examples, test, rate, jax.random.split(key, seeds))
    labels = np.asarray(test.labels)
    return summarise([scores(p, labels) for p in said])


def _require_labels(split: Split, classes: int, by: str, said: str) -> None:
    """`InputError` for labels that there is no class for."""
    labels = np.asarray(split.labels)
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            f"{by} tells {classes} classes apart, but {said} has labels from "
            f"{labels.min()} up to {labels.max()}: evaluate it on the data it was "
            "distilled from"
        )


def _require_rate(rate: float | Array, images: int, how: Recipe | Schedule) -> None:
    """`InputError` unless there is one rate above 0, or one for every step."""
    values = np.asarray(rate, np.float64)
    if not (np.isfinite(values).all() and (values > 0).all() and values.size):
        raise InputError(
            f"lr={values.ravel()[:3].tolist()} must be above 0 and finite: give another"
        )
    if (values.ndim > 0) != isinstance(how, Schedule):
        asked = "one rate" if isinstance(how, Recipe) else "a rate for every step"
        raise InputError(
            f"the recipe {type(how).__name__} asks for {asked}, and the learning rate "
            f"has shape {values.shape}: leave recipe out, or give another"
        )
    if values.ndim not in (0, 2) or (values.ndim and images % values.shape[1]):
        raise InputError(
            f"the learning rate has shape {values.shape} for {images} images; there "
            "must be one, or one for every epoch and step, whose steps divide the "
            "images: give one"
        )


@lru_cache(maxsize=64)
def evaluator(
    network: Network,
    recipe: Recipe | Schedule,
    *,
    mesh: Mesh | None = None,
    population: str = "auto",
) -> Callable[[Examples, Splits, float | Array, PRNGKeys], np.ndarray]:
    """`(examples, split, lr, keys) -> probabilities [keys, n, k]` of one fresh net a
    key.

    Compiled once for each shape of the examples and the split, and remembered. With a
    `Schedule`, `lr` holds the rates of its steps.
    """
    require(recipe, "eval" if isinstance(recipe, Recipe) else "Schedule")

    @jax.jit
    def run(examples: Examples, split: Splits, lr: Array, keys: PRNGKeys):
        def all_of(shared, keys):
            def one(key):
                params = train_fresh(network, recipe, shared[0], shared[2], key)
                return _each(network, params, shared[1])

            return map_population(one, keys, mode=population)

        return spread(all_of, mesh or make_mesh(1))((examples, split, lr), keys)

    def call(examples, split, lr, keys):
        rate = jnp.asarray(lr, jnp.float32)
        return as_probabilities(np.asarray(run(examples, split, rate, keys)))

    return call


@lru_cache(maxsize=64)
def subset_evaluator(
    network: Network,
    recipe: Recipe,
    *,
    mesh: Mesh | None = None,
    population: str = "auto",
) -> Callable[..., np.ndarray]:
    """`(train, indices [s, m], test, lr, keys [s]) -> probabilities`, one net each."""
    require(recipe, "eval")

    @jax.jit
    def run(train: Examples, indices: Array, split: Splits, lr: Array, keys: PRNGKeys):
        def all_of(shared, indices, keys):
            train, split, lr = shared

            def one(chosen, key):
                part = train._replace(
                    images=train.images[chosen], targets=train.targets[chosen]
                )
                params = train_fresh(network, recipe, part, lr, key)
                return _each(network, params, split)

            return map_population(one, indices, keys, mode=population)

        shared = (train, split, lr)
        return spread(all_of, mesh or make_mesh(1))(shared, indices, keys)

    def call(train, indices, split, lr, keys):
        rate = jnp.asarray(lr, jnp.float32)
        rows = jnp.asarray(indices)
        return as_probabilities(np.asarray(run(train, rows, split, rate, keys)))

    return call


def predict(network: Network, params: Params, split: Split) -> Float[Array, "n k"]:
    """Class probabilities of every image of a split, in chunks; pure."""
    return jax.nn.softmax(predict_logits(network, params, split))


def _each(network: Network, params: Params, splits: Splits) -> Float[Array, "n k"]:
    """Logits of a split, or of several one behind the other.

    Never of two in one batch, which some networks normalise over.
    """
    parts = [splits] if isinstance(splits, Split) else splits
    return jnp.concatenate([predict_logits(network, params, part) for part in parts])


def predict_logits(
    network: Network, params: Params, split: Split
) -> Float[Array, "n k"]:
    """Logits of every image of a split, in chunks; pure."""
    size = split.size
    chunk = min(CHUNK, size)
    short = -size % chunk
    # With images of the split, as some networks normalise over all of a batch.
    padded = jnp.pad(split.images, ((0, short), (0, 0), (0, 0), (0, 0)), mode="wrap")
    chunks = padded.reshape(-1, chunk, *split.images.shape[1:])

    def part(images):
        return network.apply(params, standardise(images, split.standard))

    out = jax.lax.map(part, chunks)
    return out.reshape(-1, out.shape[-1])[:size]


def _classes(network: Network, split: Split) -> int:
    like = jax.eval_shape(network.init, jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, *split.images.shape[1:]), jnp.float32)
    try:
        return jax.eval_shape(network.apply, like, image).shape[-1]
    except Exception as error:  # see `engine.fitting.require_network`
        raise InputError(
            f"the network {network.name} does not take images of shape "
            f"{split.images.shape[1:]}, as those of test have: build it for them"
        ) from error
