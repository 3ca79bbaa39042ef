"""SimSiam: BYOL without a moving average (Chen and He 2021, arXiv:2011.10566).

    z = projector(features),  p = predictor(z)
    L = mean over films of  - cos(p_1, stop z_2) / 2 - cos(p_2, stop z_1) / 2

Nothing is learned of what is stopped, and that alone keeps all films from one answer:
`spread` tells whether it does. The predictor's rate does not fall.
"""

import jax

from jaxdistill.selfsupervised.pairs import Pair, across, by_view, spread
from jaxdistill.selfsupervised.pretext import (
    Pretext,
    features,
    image_keys,
    init_parts,
)
from jaxdistill.selfsupervised.viewing import Views, show_large
from jaxdistill.settings import declared
from jaxdistill.types import Backbone, Head, Scalar, Standard


def simsiam_loss(foretold: Pair, projected: Pair) -> Scalar:
    """The mean over the batch, from -1 for directions that agree to 1."""
    return -across(foretold, projected).mean()


@declared("pretext")
def simsiam(
    backbone: Backbone,
    projector: Head,
    predictor: Head,
    views: Views,
    standard: Standard,
) -> Pretext:
    """SimSiam on a backbone, with its two heads."""

    def loss(params, target, memory, batch, key, now, axis):
        del target, now
        k_views, k_drop = jax.random.split(key)
        large = show_large(batch, k_views, views)
        keys = image_keys(k_drop, batch, 2)
        seen = features(backbone, params, large, standard, keys)
        z = by_view(projector, params["projector"], seen, axis)
        p = by_view(predictor, params["predictor"], z, axis)
        return simsiam_loss(p, z), ({"spread": spread(z, axis)}, memory)

    heads = {"projector": projector, "predictor": predictor}
    return Pretext(
        init_parts({"trunk": backbone, **heads}), loss, steady=("predictor",)
    )
