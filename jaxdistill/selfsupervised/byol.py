"""BYOL: one view foretells the other's target (Grill et al. 2020, arXiv:2006.07733).

    z = projector(features),  q = predictor(z),  z' the z of the target
    L = mean over films of  4 - 2 cos(q_1, z'_2) - 2 cos(q_2, z'_1)

Indices are the two views. The target is a moving average, of which nothing is learned.
Heads are normalised by view, over the batch of all devices. A collapse, all films in
one direction, is seen in `spread`.
"""

from typing import NamedTuple

import jax

from jaxdistill.selfsupervised.pairs import Pair, across, by_view, spread
from jaxdistill.selfsupervised.pretext import (
    Batch,
    Pretext,
    features,
    image_keys,
    init_parts,
)
from jaxdistill.selfsupervised.viewing import Views, show_large
from jaxdistill.settings import declared
from jaxdistill.types import Backbone, Head, Params, PRNGKey, Scalar, Standard


class Met(NamedTuple):
    """Both views of a batch, as the network and its target have them."""

    projected: Pair
    foretold: Pair
    target: Pair


class Siamese(NamedTuple):
    """A network that foretells what another makes of views."""

    backbone: Backbone
    projector: Head
    predictor: Head
    views: Views
    standard: Standard

    def init(self, key: PRNGKey) -> Params:
        """Parameters of all three."""
        parts = {"projector": self.projector, "predictor": self.predictor}
        return init_parts({"trunk": self.backbone, **parts})(key)

    def meet(
        self,
        params: Params,
        target: Params,
        batch: Batch,
        key: PRNGKey,
        axis: str | None,
    ) -> Met:
        """Two views of every film through both networks."""
        k_views, k_drop = jax.random.split(key)
        large = show_large(batch, k_views, self.views)
        keys = image_keys(k_drop, batch, 2)
        seen = features(self.backbone, params, large, self.standard, keys)
        projected = by_view(self.projector, params["projector"], seen, axis)
        foretold = by_view(self.predictor, params["predictor"], projected, axis)
        aim = features(self.backbone, target, large, self.standard)
        aim = by_view(self.projector, target["projector"], aim, axis)
        return Met(projected, foretold, jax.lax.stop_gradient(aim))


def byol_loss(foretold: Pair, target: Pair) -> Scalar:
    """The mean over the batch, from 0 for directions that agree to 8."""
    return 4 - 2 * across(foretold, target).sum(0).mean()


@declared("pretext")
def byol(
    backbone: Backbone,
    projector: Head,
    predictor: Head,
    views: Views,
    standard: Standard,
) -> Pretext:
    """BYOL on a backbone, with its two heads."""
    both = Siamese(backbone, projector, predictor, views, standard)

    def loss(params, target, memory, batch, key, now, axis):
        del now
        met = both.meet(params, target, batch, key, axis)
        metrics = {"spread": spread(met.target, axis)}
        return byol_loss(met.foretold, met.target), (metrics, memory)

    return Pretext(both.init, loss, follows=True)
