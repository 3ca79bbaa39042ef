"""What a student can learn from a teacher: a term of its loss, with what it learns.

    init(key, student, teacher) -> params      adapters and weights of its own
    value(params, student, lesson) -> scalar

`student` and the lesson's teachers are `Outputs` of one batch. A distance between two
feature maps becomes a term by `on_levels`, one between logits by `on_logits`. Where the
student's maps are of another size they are resized to the teacher's; where a distance
needs equal channels and they differ, a 1 x 1 adapter appears by itself, from shapes.

A batch may be divided over devices, and their losses are averaged. What is no mean over
images sums over `axis`, the mesh axis, as `total` does, so that the number of devices
changes nothing: means over pixels of which some are ignored, ratios, relations.

Ignored pixels count nowhere in what compares logits or pairs of pixels: `logits`,
`affinity`, `field`, `region`, `structural`, `gram` by pixel. Maps that are summed over
pixels first see them: `gram` by channel, `channel_wise`, `attention`, `importance`,
`fitnet`, `relational`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from jaxdistill.types import IGNORED, Params, PRNGKey, Scalar

Features = Float[Array, "n h w c"]
Masks = UInt8[Array, "n h w"]
Distance = Callable[..., Scalar]  # of student, teacher, masks


class Outputs(NamedTuple):
    """Logits of every pixel, and the feature maps of one low and one high layer."""

    logits: Float[Array, "*teachers n h w k"]
    levels: tuple[Float[Array, "*teachers n h1 w1 c1"], ...]


class Lesson(NamedTuple):
    """A batch as students see it, with what the teachers say of it.

    The first axis of `teachers` counts them; it is None where there are none.
    `progress` runs from 0 to 1 over the training. `axis` names the mesh axis that the
    batch is divided over.
    """

    images: Float[Array, "n h w c"]
    masks: Masks
    teachers: Outputs | None
    progress: Scalar
    axis: str | None = None


class Term(NamedTuple):
    """One way to learn from teachers; see the head of this file."""

    init: Callable[[PRNGKey, Outputs, Outputs], Params]
    value: Callable[[Params, Outputs, Lesson], Scalar]


def on_logits(distance: Distance, *, whole: bool = False) -> Term:
    """The distance of the student's logits from the mean of the teachers'.

    `whole` for one that is no mean over images: it is given the axis as well.
    """

    def value(params: Params, student: Outputs, lesson: Lesson) -> Scalar:
        del params
        more = (lesson.axis,) if whole else ()
        return distance(student.logits, mean_logits(lesson), lesson.masks, *more)

    return Term(nothing, value)


def on_levels(
    distance: Distance,
    *,
    adapt: bool = False,
    levels: tuple[int, ...] = (0, 1),
    whole: bool = False,
) -> Term:
    """The sum over levels of the mean distance from each teacher's feature maps.

    `whole` as in `on_logits`.
    """

    def init(key: PRNGKey, student: Outputs, teacher: Outputs) -> Params:
        count = teacher.logits.shape[0]
        return [
            adapters(
                jax.random.fold_in(key, level),
                student.levels[level].shape[-1] if adapt else 0,
                teacher.levels[level].shape[-1] if adapt else 0,
                count,
            )
            for level in levels
        ]

    def value(params: Params, student: Outputs, lesson: Lesson) -> Scalar:
        assert lesson.teachers is not None
        more = (lesson.axis,) if whole else ()
        found = jnp.zeros(())
        for adapter, level in zip(params, levels, strict=True):
            theirs = lesson.teachers.levels[level]
            mine = resize(student.levels[level], theirs.shape[2:4])

            def one(their, kernel, mine=mine):
                mapped = mine if kernel is None else mine @ kernel
                masks = masks_at(lesson.masks, their.shape[1:3])
                return distance(mapped, their, masks, *more)

            found += over_teachers(one, theirs, adapter)
        return found

    return Term(init, value)


def over_teachers(
    one: Callable, theirs: Float[Array, "t n h w c"], adapter: Array | tuple
) -> Scalar:
    """The mean over teachers; an adapter that is not needed is `()`."""
    kernels = [None] * len(theirs) if isinstance(adapter, tuple) else adapter
    found = [one(t, k) for t, k in zip(theirs, kernels, strict=True)]
    return sum(found[1:], found[0]) / len(found)


def nothing(key: PRNGKey, student: Outputs, teacher: Outputs) -> Params:
    """The parameters of a term that learns nothing of its own."""
    del key, student, teacher
    return ()


def adapters(key: PRNGKey, mine: int, theirs: int, count: int) -> Array | tuple:
    """A 1 x 1 convolution for each teacher, or `()` for channels that are equal."""
    if mine == theirs:
        return ()
    start = jax.nn.initializers.lecun_normal()
    return jax.vmap(lambda k: start(k, (mine, theirs)))(jax.random.split(key, count))


def mean_logits(lesson: Lesson) -> Float[Array, "n h w k"]:
    """What several teachers say together."""
    assert lesson.teachers is not None
    return lesson.teachers.logits.mean(axis=0)


def total(x: Array, axis: str | None) -> Array:
    """The sum over devices that share a batch."""
    return x if axis is None else jax.lax.psum(x, axis)


def resize(features: Features, size: tuple[int, ...]) -> Float[Array, "n h2 w2 c"]:
    """Bilinear, to another height and width."""
    n, *here, c = features.shape
    if tuple(here) == tuple(size):
        return features
    return jax.image.resize(features, (n, *size, c), "bilinear", antialias=False)


def masks_at(masks: Masks, size: tuple[int, ...]) -> UInt8[Array, "n h2 w2"]:
    """Nearest neighbour: the class of the pixel at the middle of each cell."""
    h, w = masks.shape[1:]
    rows = ((jnp.arange(size[0]) + 0.5) * h / size[0]).astype(int)
    columns = ((jnp.arange(size[1]) + 0.5) * w / size[1]).astype(int)
    return masks[:, rows][:, :, columns]


def regions(masks: Masks, classes: int) -> Float[Array, "n h w k"]:
    """One-hot over classes; an ignored pixel is in none."""
    return jax.nn.one_hot(masks, classes)


def counted(masks: Masks) -> Float[Array, "n h w"]:
    """1 for each pixel that counts, 0 for those ignored."""
    return (masks != IGNORED).astype(jnp.float32)


def unit(features: Features) -> Features:
    """Every pixel's vector at length 1; a vector of zeros stays one."""
    square = jnp.square(features).sum(axis=-1, keepdims=True)
    return features * jax.lax.rsqrt(jnp.maximum(square, 1e-12))


def ascended(weights: Array) -> Array:
    """The same numbers with the gradient's sign turned: descent moves them upwards."""
    return 2.0 * jax.lax.stop_gradient(weights) - weights
