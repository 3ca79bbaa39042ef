"""Rates in the units that they are published in.

A set holds standardised images, and a learning rate as what softplus makes of it. A
rate for pixels p in [0, 1], or for the learning rate a itself, is another number there:

    x = (p - mean) / std     p -= r dL/dp   is   x -= r / std^2 dL/dx  (Adam: r / std)
    a = log(1 + exp(raw))    a -= r dL/da   is   raw -= r / s^2 dL/draw,
                                                 s = 1 - exp(-a), about a

so that published rates of 1e-5 would move a raw rate of 0.01 by a ten thousandth of
what they should. No factor holds for all optimisers and for all that a becomes:
instead the transformation works on p or a, with their gradients.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from jaxdistill.data.standard import from_unit, to_unit
from jaxdistill.types import Standard

Map = Callable[[Array], Array]

LEAST = 1e-6  # that a learning rate of its own steps can come to


def of_pixels(
    inner: optax.GradientTransformation, standard: Standard
) -> optax.GradientTransformation:
    """Move images as pixels in [0, 1], which they do not leave, as IDC and NCFM do."""
    return _moved_as(
        inner,
        lambda inputs: to_unit(inputs, standard),
        lambda pixels: from_unit(pixels, standard),
        lambda pixels: jnp.clip(pixels, 0.0, 1.0),
    )


def of_plain_lr(
    inner: optax.GradientTransformation,
) -> optax.GradientTransformation:
    """Move a learning rate as such, as the programs of trajectory matching do.

    It stays above 0, where theirs may not.
    """
    return _moved_as(
        inner,
        lambda raw: jnp.logaddexp(raw, 0.0),
        lambda lr: lr + jnp.log(-jnp.expm1(-lr)),
        lambda lr: jnp.maximum(lr, LEAST),
    )


def _moved_as(
    inner: optax.GradientTransformation, there: Map, back: Map, hold: Map
) -> optax.GradientTransformation:
    """The transformation at work on `there(part)`; `hold` keeps the result in range."""

    def init(params):
        return inner.init(jax.tree.map(there, params))

    def update(grads, state, params):
        seen = jax.tree.map(there, params)
        pulled = jax.tree.map(lambda y, g: jax.vjp(back, y)[1](g)[0], seen, grads)
        steps, state = inner.update(pulled, state, seen)
        moved = jax.tree.map(
            lambda y, step: back(hold(y + step)) - back(y), seen, steps
        )
        return moved, state

    return optax.GradientTransformation(init, update)
