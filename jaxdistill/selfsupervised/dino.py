"""DINO: views of a film agree on prototypes (Caron et al. 2021, arXiv:2104.14294).

    p_t(q) = softmax((z_t(q) - centre) / tau_t),    q the two large views
    L      = mean over q and v != q of  - sum_k p_t(q)_k log softmax(z_s(v) / tau_s)_k
    centre <- m centre + (1 - m) mean of z_t        after the loss, over the whole batch

with v the large and all small views. The teacher is a moving average of the student.
Softmax and centre are float32, whatever the networks compute in.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.ranges import Decay
from jaxdistill.selfsupervised.pretext import (
    Heat,
    Pretext,
    features,
    image_keys,
    init_parts,
    wide,
)
from jaxdistill.selfsupervised.viewing import Views, show_large, show_small
from jaxdistill.settings import declared
from jaxdistill.types import Backbone, Head, Params, Scalar, Standard

LAST = (("dino", "last"), ("dino", "gain"))  # the layer that waits for an epoch


class Centre(NamedTuple):
    """What the teacher's outputs are centred by, and how they spread.

    `entropy` is that of the teacher's mean answer, `doubt` the mean of its answers',
    as shares of the most that is possible. A teacher has collapsed where it gives all
    films one answer: `entropy` near 0, or `doubt` near 1.
    """

    mean: Float[Array, " k"]
    entropy: Scalar
    doubt: Scalar


def dino_loss(
    teacher: Float[Array, "q n k"],
    student: Float[Array, "v n k"],
    centre: Float[Array, " k"],
    *,
    teacher_heat: float = 0.04,
    student_heat: float = 0.1,
) -> Scalar:
    """The mean over the batch and all pairs of a view and another large one.

    A view answers for the sum `w` of the teacher's other answers at once, and as each
    sums to 1, `- w . log softmax(z) = |w| logsumexp(z) - w . z`, without a logarithm of
    every output.
    """
    p = jax.nn.softmax((wide(teacher) - centre[None, None]) / teacher_heat)
    z = wide(student) / student_heat
    (large, n, _), views = p.shape, len(z)
    every = p.sum(0, keepdims=True)
    small = jnp.broadcast_to(every, (views - large, *every.shape[1:]))
    others = jnp.concatenate([every - p, small])
    pairs = jnp.where(jnp.arange(views) < large, large - 1, large)
    said = pairs[:, None] * jax.nn.logsumexp(z, -1) - jnp.sum(others * z, -1)
    return said.sum() / (n * pairs.sum())


def recentre(
    centre: Centre,
    teacher: Float[Array, "q n k"],
    momentum: float,
    *,
    heat: float,
    axis: str | None = None,
) -> Centre:
    """The centre after a batch, of which every device along `axis` has its share."""
    z = wide(teacher)
    p = jax.nn.softmax((z - centre.mean[None, None]) / heat)
    mean, answer, doubt = z.mean((0, 1)), p.mean((0, 1)), _entropy(p).mean()
    if axis is not None:
        mean, answer, doubt = jax.lax.pmean((mean, answer, doubt), axis)
    moved = momentum * centre.mean + (1 - momentum) * mean
    return Centre(moved, _entropy(answer), doubt)


def no_centre(outputs: int) -> Centre:
    """The centre before the first batch."""
    return Centre(jnp.zeros(outputs), jnp.ones(()), jnp.zeros(()))


@declared("pretext")
def dino(
    backbone: Backbone,
    head: Head,
    views: Views,
    standard: Standard,
    *,
    teacher_heat: Annotated[Heat, "temperature of the teacher's softmax"] = 0.04,
    student_heat: Annotated[Heat, "temperature of the student's"] = 0.1,
    centre: Annotated[Decay, "momentum of the centre"] = 0.9,
) -> Pretext:
    """DINO on a backbone, with its head."""

    def loss(params, target, memory, batch, key, now, axis):
        del now
        k_large, k_small, k_drop = jax.random.split(key, 3)
        large = show_large(batch, k_large, views)
        keys = image_keys(k_drop, batch, 2 + views.locals)
        seen = features(backbone, target, large, standard)
        teacher = jax.lax.stop_gradient(answers(head, target, seen))
        parts = [features(backbone, params, large, standard, keys[:2])]
        if views.locals:
            small = show_small(batch, k_small, views)
            parts.append(features(backbone, params, small, standard, keys[2:]))
        student = answers(head, params, jnp.concatenate(parts))
        heats = {"teacher_heat": teacher_heat, "student_heat": student_heat}
        value = dino_loss(teacher, student, memory.mean, **heats)
        after = recentre(memory, teacher, centre, heat=teacher_heat, axis=axis)
        return value, (told(after), after)

    init = init_parts({"trunk": backbone, "dino": head})
    return Pretext(init, loss, no_centre(head.width), follows=True, late=LAST)


def answers(
    head: Head, params: Params, seen: Float[Array, "v n d"]
) -> Float[Array, "v n k"]:
    """What the DINO head makes of features of views."""
    v, n, d = seen.shape
    return head.apply(params["dino"], seen.reshape(v * n, d)).reshape(v, n, -1)


def told(centre: Centre) -> dict[str, Scalar]:
    """What the metrics tell of a centre."""
    return {"entropy": centre.entropy, "doubt": centre.doubt}


def _entropy(p: Float[Array, "... k"]) -> Float[Array, "..."]:
    """Of answers, as a share of the most that they could have."""
    logs = jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny))
    return -jnp.sum(p * logs, axis=-1) / jnp.log(p.shape[-1])
