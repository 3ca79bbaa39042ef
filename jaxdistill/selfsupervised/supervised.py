"""Labels alone: the cross-entropy of noisy views, as a whole or of a head alone.

    L = - mean over films of sum_c y_c log softmax(head(features(view)))_c

The first stage of DISTL (Park et al. 2022, arXiv:2202.06431), the supervised models it
is judged against, and the fine-tuning of whatever was learned without labels.
"""

from typing import Annotated

import jax

from jaxdistill.augment.presets import View
from jaxdistill.engine.losses import soft_cross_entropy
from jaxdistill.selfsupervised.pretext import (
    Pretext,
    features,
    image_keys,
    init_parts,
)
from jaxdistill.selfsupervised.viewing import show
from jaxdistill.settings import declared
from jaxdistill.types import Backbone, Head, Standard


@declared("pretext")
def supervised(
    backbone: Backbone,
    head: Head,
    view: View,
    standard: Standard,
    *,
    probe: Annotated[bool, "train the head alone, on features as they are"] = False,
) -> Pretext:
    """Training on labels; a moving average of the network follows it."""

    def loss(params, target, memory, batch, key, now, axis):
        del target, now, axis
        k_view, k_drop = jax.random.split(key)
        pictures = show(batch, k_view, view)
        keys = None if probe else image_keys(k_drop, batch, 1)
        seen = features(backbone, params, pictures, standard, keys)[0]
        seen = jax.lax.stop_gradient(seen) if probe else seen
        logits = head.apply(params["classes"], seen)
        target = jax.nn.one_hot(batch.labels, logits.shape[-1])
        return soft_cross_entropy(logits, target), ({}, memory)

    init = init_parts({"trunk": backbone, "classes": head})
    return Pretext(init, loss, follows=True, still=("trunk",) if probe else ())
