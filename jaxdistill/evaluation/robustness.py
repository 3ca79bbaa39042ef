"""How a classifier's score falls as pictures or labels get worse.

Pictures in [0, 1] are corrupted at four strengths, each picture by a draw of its own:

    noise       x + s N(0, 1), a value for each pixel and channel
    blur        a Gaussian of deviation s times the shorter side
    contrast    m + (1 - s) (x - m), m the mean of each channel
    resolution  shrunk to (1 - s) of each side, antialiased, and enlarged, both bilinear

clipped to [0, 1]. Kinds and grading after Hendrycks and Dietterich (2019),
arXiv:1903.12261; strengths are relative to the picture, so that they mean the same at
any size.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxdistill.augment.resample import (
    Bands,
    Lines,
    blur,
    resizing,
    through,
    to_lines,
)
from jaxdistill.augment.views import Bytes, require_range
from jaxdistill.errors import InputError, require_name
from jaxdistill.evaluation.checks import require_labels
from jaxdistill.evaluation.metrics import SELECTABLE, as_probabilities, scores
from jaxdistill.types import Images, Logits, PRNGKey

STRENGTHS = ("mild", "moderate", "strong", "severe")
CHUNK = 256  # pictures predicted at once


class Corruption(NamedTuple):
    """A way in which pictures get worse, and how far at each of `STRENGTHS`."""

    apply: Callable[[Lines, Array, PRNGKey], Lines]  # of lines, strength, key
    strengths: tuple[float, float, float, float]


class Curve(NamedTuple):
    """A score against strength; the first is of pictures as they are, strength 0."""

    names: tuple[str, ...]
    strengths: tuple[float, ...]
    scores: tuple[float, ...]


def corrupt(
    images: Images | Bytes, key: PRNGKey, corruption: str, strength: str | float
) -> Images:
    """Pictures in [0, 1], or bytes, at a named strength or number; 0 changes nothing.

    Bytes give float32 in [0, 1]. One compilation for a corruption and shape. Raises
    `InputError` for names that do not exist, for numbers outside [0, 1), and for
    pictures of other whole numbers.
    """
    require_name("corruption", corruption, CORRUPTIONS)
    if isinstance(strength, str):
        require_name("strength", strength, STRENGTHS)
        strength = CORRUPTIONS[corruption].strengths[STRENGTHS.index(strength)]
    if not 0 <= strength < 1:
        raise InputError(
            f"strength={strength} must be at least 0 and below 1: choose one of "
            f"{', '.join(STRENGTHS)}, or a number like those"
        )
    require_range(images.dtype)
    return _corrupt(images, key, strength, corruption)


@functools.partial(jax.jit, static_argnames="corruption")
def _corrupt(images: Array, key: PRNGKey, strength: Array, corruption: str) -> Array:
    if images.dtype == jnp.uint8:
        images = images.astype(jnp.float32) / 255
    lines = to_lines(images).astype(jnp.promote_types(images.dtype, jnp.float32))
    worse = CORRUPTIONS[corruption].apply(lines, jnp.asarray(strength), key)
    return to_lines(jnp.clip(worse, 0, 1)).astype(images.dtype)


def robustness(
    predict: Callable[[Images], Logits],
    images: Images,
    labels: Int[np.ndarray, " n"],
    key: PRNGKey,
    *,
    corruption: str,
    score: str = "balanced_accuracy",
) -> Curve:
    """The score of a classifier as pictures get worse, at every strength there is.

    `predict` takes pictures in [0, 1] and standardises them itself. Every strength has
    the same draws, so that a curve bends by strength alone. Raises `InputError` for
    names that do not exist, labels that do not fit, and pictures outside [0, 1].
    """
    require_name("score", score, SELECTABLE)
    require_name("corruption", corruption, CORRUPTIONS)
    _require(images, labels)
    strengths = (0.0, *CORRUPTIONS[corruption].strengths)
    values = []
    for strength in strengths:
        logits = [
            predict(
                corrupt(
                    images[start : start + CHUNK],
                    jax.random.fold_in(key, start),
                    corruption,
                    strength,
                )
            )
            for start in range(0, len(images), CHUNK)
        ]
        p = as_probabilities(np.concatenate(logits))
        require_labels(np.asarray(labels), len(images), p.shape[1])
        values.append(float(scores(p, labels)[score]))
    return Curve(("none", *STRENGTHS), strengths, tuple(values))


def _require(images: Images | Bytes, labels: np.ndarray) -> None:
    if not len(images) or np.shape(labels) != (len(images),):
        raise InputError(
            f"{len(images)} pictures and labels of shape {np.shape(labels)}: give one "
            "picture or more, and one label for each"
        )
    if jnp.issubdtype(images.dtype, jnp.floating):
        low, high = float(images.min()), float(images.max())
        if not (low >= 0 and high <= 1):
            raise InputError(
                f"pictures from {low:.3g} to {high:.3g} would be clipped to [0, 1]: "
                "give them as they are, and let predict standardise"
            )


def corrupt_labels(
    labels: Int[Array, " n"], key: PRNGKey, share: float, classes: int
) -> Int[Array, " n"]:
    """Labels of which `share` of every class, rounded, are of another class.

    Symmetric label noise, but exact: of each class the same share is wrong, and the
    wrong ones are spread over the other classes as evenly as can be. Raises
    `InputError` for a share outside [0, 1], fewer than two classes, and labels of
    others. Under jit share and classes are static.
    """
    if not isinstance(labels, jax.core.Tracer):
        require_labels(np.asarray(labels), len(labels), classes)
    if not 0 <= share <= 1 or classes < 2:
        raise InputError(
            f"share={share} of labels of {classes} classes cannot be exchanged: the "
            "share must be from 0 to 1, among two classes or more"
        )
    return _exchange(labels, key, share, classes)


@functools.partial(jax.jit, static_argnames="classes")
def _exchange(labels: Array, key: PRNGKey, share: Array, classes: int) -> Array:
    order = jax.random.permutation(key, len(labels))
    shuffled = labels[order]
    hot = jax.nn.one_hot(shuffled, classes, dtype=jnp.int32)
    among = jnp.cumsum(hot, axis=0)  # how many of each class have come so far
    place = jnp.take_along_axis(among, shuffled[:, None], axis=1)[:, 0] - 1
    wrong = place < jnp.round(share * among[-1]).astype(jnp.int32)[shuffled]
    other = (shuffled + 1 + place % (classes - 1)) % classes
    return labels.at[order].set(jnp.where(wrong, other, shuffled).astype(labels.dtype))


def _noise(lines: Lines, strength: Array, key: PRNGKey) -> Lines:
    return lines + strength * jax.random.normal(key, lines.shape, lines.dtype)


def _blur(lines: Lines, strength: Array, key: PRNGKey) -> Lines:
    del key
    n, h, _, w = lines.shape
    radius = jnp.broadcast_to(strength * min(h, w), n)
    return blur(lines, radius.astype(lines.dtype))


def _contrast(lines: Lines, strength: Array, key: PRNGKey) -> Lines:
    del key
    mean = lines.mean((1, 3), keepdims=True)
    return mean + (1 - strength) * (lines - mean)


def _resolution(lines: Lines, strength: Array, key: PRNGKey) -> Lines:
    del key
    n, h, _, w = lines.shape
    rows, cols = (_coarse(n, size, strength, lines.dtype) for size in (h, w))
    return through(lines, rows, cols)


def _coarse(n: int, size: int, strength: Array, dtype: jnp.dtype) -> Bands:
    """Weights for `n` pictures that shrink a side to a traced number, and back."""
    kept = jnp.maximum(1, jnp.round(size * (1 - strength))).astype(dtype)
    whole, none = jnp.full(1, size, dtype), jnp.zeros(1, dtype)
    # To `size` pixels of a longer side, the first `kept` of which are the picture's.
    longer = whole * size / kept
    dense = functools.partial(resizing, cubic=False, longest=math.inf)
    down = dense((none, longer), size, size).weights
    real = jnp.arange(size)[None, None, :, None] < kept
    up = dense((none, kept[None]), size, size).weights
    exact = jax.lax.Precision.HIGHEST
    both = jnp.matmul(up, jnp.where(real, down, 0), precision=exact)
    first = jnp.zeros((n, 1), jnp.int32)
    return Bands(first, jnp.broadcast_to(both, (n, *both.shape[1:])))


CORRUPTIONS: dict[str, Corruption] = {
    "noise": Corruption(_noise, (0.02, 0.05, 0.1, 0.2)),
    "blur": Corruption(_blur, (0.005, 0.01, 0.02, 0.04)),
    "contrast": Corruption(_contrast, (0.25, 0.5, 0.75, 0.9)),
    "resolution": Corruption(_resolution, (0.25, 0.5, 0.75, 0.875)),
}
