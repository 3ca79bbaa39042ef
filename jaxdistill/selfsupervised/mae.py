"""MAE: most patches of a film from the few that are shown (He et al. 2022).

arXiv:2111.06377. With x_p the pixels of patch p as the network sees them, less their
mean over the patch and by their deviation, and y the decoder's,

    L = mean over films and hidden patches p of  mean over pixels of (y_p - x_p)^2

Which patches are hidden is drawn for each film on its own. The variance of n pixels is
their sum of squares over n - 1, as in the authors' program. Nothing is dropped.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxdistill.data.standard import from_unit
from jaxdistill.errors import InputError
from jaxdistill.ranges import Range
from jaxdistill.selfsupervised.pretext import Pretext, image_keys, init_parts
from jaxdistill.selfsupervised.viewing import Views, show
from jaxdistill.settings import declared
from jaxdistill.types import Backbone, Decoder, Scalar, Standard

Patches = Float[Array, "n patches pixels"]
EPS = 1e-6  # of a variance, as published


def mae_loss(
    made: Patches, wanted: Patches, hidden: Bool[Array, "n patches"]
) -> Scalar:
    """The mean squared error over the pixels of hidden patches alone."""
    return jnp.mean(jnp.square(made - wanted).mean(-1), where=hidden)


def evened(patches: Patches) -> Patches:
    """Every patch less its mean, by its deviation."""
    centred = patches - patches.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(patches.var(-1, ddof=1, keepdims=True) + EPS)


def choose_shown(
    keys: Key[Array, " n"], patches: int, shown: int
) -> Int[Array, "n shown"]:
    """Which patches of each film are shown, in an order without meaning."""
    draws = jax.vmap(lambda key: jax.random.uniform(key, (patches,)))(keys)
    return jnp.argsort(draws, axis=1)[:, :shown]


@declared("pretext")
def mae(
    backbone: Backbone,
    decoder: Decoder,
    views: Views,
    standard: Standard,
    *,
    hidden: Annotated[
        float, Range(0, 1, above=True, below=True), "share of patches that are hidden"
    ] = 0.75,
    even: Annotated[bool, "pixels are normalised patch by patch before"] = True,
) -> Pretext:
    """MAE on a backbone of patches, with its decoder.

    Raises `InputError` for views of so few patches that all or none are hidden.
    """
    encode = backbone.tokens
    if encode is None:
        raise InputError(
            f"backbone {backbone.name!r} has no patches to hide: choose a vision "
            "transformer"
        )
    side = views.first.size // backbone.patch
    patches = side * side
    shown = round(patches * (1 - hidden))
    if not 0 < shown < patches:
        raise InputError(
            f"pretext.hidden={hidden} of {patches} patches shows {shown}: change it, "
            "or have larger views or smaller patches"
        )

    def loss(params, target, memory, batch, key, now, axis):
        del target, now, axis
        k_view, k_mask = jax.random.split(key)
        inputs = from_unit(show(batch, k_view, views.first)[0], standard)
        kept = choose_shown(image_keys(k_mask, batch, 1)[0], patches, shown)
        away = jnp.ones((len(kept), patches), bool)
        away = away.at[jnp.arange(len(kept))[:, None], kept].set(False)
        tokens = encode(params["trunk"], inputs, kept)
        made = decoder.apply(params["decoder"], tokens, kept, (side, side))
        wanted = decoder.cut(inputs)
        value = mae_loss(made, evened(wanted) if even else wanted, away)
        return value, ({}, memory)

    return Pretext(init_parts({"trunk": backbone, "decoder": decoder}), loss)
