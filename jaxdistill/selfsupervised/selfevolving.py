"""A model that improves itself on films without labels: DISTL (Park et al. 2022).

arXiv:2202.06431, Nature Communications 13:3848. With c the logits of classes, z those
of DINO's prototypes, the film itself x and a noisy view g of it,

    L  = lambda L_dino + (1 - lambda) alpha CE(c_s(g), softmax(c_t(x)))
    L' = lambda L_dino + (1 - lambda) CE(c_s(g), y)      in a pass over labelled films
    alpha(e) = ramp (e + 1) / E,   e the epoch from 0,   ramp 2

The teacher sees the film, the student a noisy view, and is told softly. For DINO's part
the film itself is the first large view. Passes keep the student from straying: in them
the centre moves and the teacher does not.

Pseudo-labels confirm themselves, and may lean more and more towards one class. With
`align` theirs are held at the shares that the labels have, as Berthelot et al. (2020),
arXiv:1911.09785, section 3.1, do:

    p = softmax(c_t(x)) shares / m, made to sum to 1
    m <- align m + (1 - align) mean softmax(c_t(x))        before that

With two classes CE is the binary cross-entropy of the authors' one logit. More than two
are derived here.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.engine.losses import soft_cross_entropy
from jaxdistill.ranges import Decay, Range, Weight
from jaxdistill.selfsupervised.dino import (
    LAST,
    Centre,
    answers,
    dino_loss,
    no_centre,
    recentre,
    told,
)
from jaxdistill.selfsupervised.pretext import (
    UNKNOWN,
    Heat,
    Now,
    Pretext,
    features,
    image_keys,
    init_parts,
)
from jaxdistill.selfsupervised.viewing import (
    Views,
    show,
    show_large,
    show_second,
    show_small,
)
from jaxdistill.settings import declared
from jaxdistill.types import Backbone, Head, Scalar, Standard


def ramp_at(now: Now, ramp: float) -> Float[Array, ""]:
    """alpha: how much pseudo-labels count in this epoch; labels count 1 in a pass."""
    risen = ramp * (now.epoch + 1) / now.epochs
    return jnp.where(now.correcting, 1.0, risen)


class Memory(NamedTuple):
    """What is kept beside networks: DINO's centre, and the teacher's mean answer."""

    centre: Centre
    said: Float[Array, " c"]


def told_by(said: Float[Array, "n c"], labels: Array, now: Now) -> Float[Array, "n c"]:
    """What the student is to say: what the teacher said, or the labels in a pass."""
    known = jax.nn.one_hot(labels, said.shape[-1], dtype=said.dtype)
    return jnp.where(now.correcting & (labels != UNKNOWN)[:, None], known, said)


def aligned(
    said: Float[Array, "n c"],
    mean: Float[Array, " c"],
    shares: Float[Array, " c"],
    momentum: float,
    axis: str | None = None,
) -> tuple[Float[Array, "n c"], Float[Array, " c"]]:
    """Answers held at shares of the classes, and their mean so far, of all devices."""
    now = said.mean(0)
    now = jax.lax.pmean(now, axis) if axis is not None else now
    mean = momentum * mean + (1 - momentum) * now
    held = said * (shares / jnp.maximum(mean, jnp.finfo(mean.dtype).tiny))[None]
    return held / held.sum(1, keepdims=True), mean


@declared("evolve")
def selfevolving(
    backbone: Backbone,
    head: Head,
    classes: Head,
    views: Views,
    standard: Standard,
    shares: Float[Array, " c"] | None = None,
    *,
    ssl: Annotated[float, Range(0, 1), "lambda, the share of DINO's loss"] = 0.5,
    ramp: Annotated[Weight, "weight of pseudo-labels in the last epoch"] = 2.0,
    original: Annotated[
        bool, "the teacher labels the film itself; else a noisy view"
    ] = True,
    align: Annotated[
        Decay, "momentum of pseudo-labels held at the labels' shares; 0: not held"
    ] = 0.0,
    teacher_heat: Annotated[Heat, "temperature of the teacher's softmax"] = 0.04,
    student_heat: Annotated[Heat, "temperature of the student's"] = 0.1,
    centre: Annotated[Decay, "momentum of the centre"] = 0.9,
) -> Pretext:
    """One stage of self-evolving training, of two classes or more.

    `shares` are those of the classes among the labels, for `align`; even ones if None.
    """

    count = max(2, classes.width)  # one output is the second of two
    wanted = jnp.full(count, 1 / count) if shares is None else jnp.asarray(shares)

    def loss(params, target, memory, batch, key, now, axis):
        k_large, k_small, k_drop = jax.random.split(key, 3)
        if original:
            film = show(batch, k_large, views.whole)
            large = jnp.concatenate([film, show_second(batch, k_large, views)])
        else:
            large = show_large(batch, k_large, views)
        keys = image_keys(k_drop, batch, 2 + views.locals)
        seen_t = features(backbone, target, large, standard)
        seen_s = features(backbone, params, large, standard, keys[:2])
        said = jax.nn.softmax(classes.apply(target["classes"], seen_t[0]))
        said, mean = jax.lax.stop_gradient(said), memory.said
        if align:
            said, mean = aligned(said, mean, wanted, align, axis)
            mean = jnp.where(now.correcting, memory.said, mean)
        heard = classes.apply(params["classes"], seen_s[1])
        labelled = soft_cross_entropy(heard, told_by(said, batch.labels, now))
        value = (1 - ssl) * ramp_at(now, ramp) * labelled
        metrics: dict[str, Scalar] = {"labels": labelled}
        if not ssl:
            return value, (metrics, memory._replace(said=mean))
        if views.locals:
            small = show_small(batch, k_small, views)
            parts = [seen_s, features(backbone, params, small, standard, keys[2:])]
            seen_s = jnp.concatenate(parts)
        teacher = jax.lax.stop_gradient(answers(head, target, seen_t))
        heats = {"teacher_heat": teacher_heat, "student_heat": student_heat}
        views_agree = dino_loss(
            teacher, answers(head, params, seen_s), memory.centre.mean, **heats
        )
        after = recentre(memory.centre, teacher, centre, heat=teacher_heat, axis=axis)
        metrics |= {"dino": views_agree, **told(after)}
        return value + ssl * views_agree, (metrics, Memory(after, mean))

    init = init_parts({"trunk": backbone, "dino": head, "classes": classes})
    memory = Memory(no_centre(head.width), wanted)
    return Pretext(init, loss, memory, follows=True, late=LAST)
