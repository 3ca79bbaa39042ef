"""SKD: films relate to each other as the target has it (Li et al. 2022).

arXiv:2206.03009. A **reconstruction** from its abstract, as neither its text nor a
program was available: BYOL, and the similarities of films within a batch, as in ReSSL
(Zheng et al. 2021, arXiv:2107.09282).

    P_i(j) = softmax over films j != i of cos(z_i, z_j) / tau
    L      = L_BYOL + weight * mean over i of KL(P'_i || P_i)

P' of the target's z at tau .04, P of the network's at .1; each view is held against the
other view of the target, and films are those of the batch of all devices.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.errors import InputError
from jaxdistill.ranges import Weight
from jaxdistill.selfsupervised.byol import Siamese, byol_loss
from jaxdistill.selfsupervised.pairs import Pair, spread, unit
from jaxdistill.selfsupervised.pretext import Heat, Pretext
from jaxdistill.selfsupervised.viewing import Views
from jaxdistill.settings import declared
from jaxdistill.types import Backbone, Head, Scalar, Standard

NEVER = -1e9  # a score whose exponential is 0


def relations(
    seen: Float[Array, "v n d"], heat: float, axis: str | None = None
) -> Float[Array, "v n all"]:
    """log P of every film here to all films along `axis`; below `NEVER / 2` to itself.

    Raises `InputError` for a batch in which no film has two others.
    """
    here = unit(seen)
    everyone, itself = here, jnp.arange(here.shape[1])
    if axis is not None:
        everyone = jax.lax.all_gather(here, axis, axis=1, tiled=True)
        itself = itself + jax.lax.axis_index(axis) * here.shape[1]
    if everyone.shape[1] < 3:
        raise InputError(
            f"a batch of {everyone.shape[1]} has no relations to learn, as each film "
            "needs two others: use batches of 3 or more"
        )
    scores = jnp.einsum("vid,vjd->vij", here, everyone) / heat
    same = itself[:, None] == jnp.arange(everyone.shape[1])[None]
    return jax.nn.log_softmax(jnp.where(same[None], NEVER, scores))


def relation_loss(
    projected: Pair,
    target: Pair,
    *,
    target_heat: float = 0.04,
    online_heat: float = 0.1,
    axis: str | None = None,
) -> Scalar:
    """The mean of KL(P' || P) over films and views, P' in the other view."""
    told = relations(jax.lax.stop_gradient(target)[::-1], target_heat, axis)
    said = relations(projected, online_heat, axis)
    return jnp.sum(jnp.exp(told) * (told - said), axis=-1).mean()


@declared("pretext")
def skd(
    backbone: Backbone,
    projector: Head,
    predictor: Head,
    views: Views,
    standard: Standard,
    *,
    target_heat: Annotated[Heat, "temperature of the target's relations"] = 0.04,
    online_heat: Annotated[Heat, "temperature of the network's"] = 0.1,
    weight: Annotated[Weight, "of relations, beside BYOL's loss"] = 1.0,
) -> Pretext:
    """SKD on a backbone, with BYOL's two heads."""
    both = Siamese(backbone, projector, predictor, views, standard)
    heats = {"target_heat": target_heat, "online_heat": online_heat}

    def loss(params, target, memory, batch, key, now, axis):
        del now
        met = both.meet(params, target, batch, key, axis)
        alike = byol_loss(met.foretold, met.target)
        related = relation_loss(met.projected, met.target, **heats, axis=axis)
        metrics = {"byol": alike, "relations": related}
        metrics["spread"] = spread(met.target, axis)
        return alike + weight * related, (metrics, memory)

    return Pretext(both.init, loss, follows=True)
