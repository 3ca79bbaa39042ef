"""How far apart two gradients, or the features of two sets of images, are."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.errors import InputError
from jaxdistill.types import Params, Scalar

Features = Float[Array, "_ d"]
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernels, in mean squared distances


def layers_cosine(g: Params, h: Params) -> Scalar:
    """DC's distance: one minus the cosine for every output unit, biases left out.

    An output unit is the last axis of a kernel, here as in Flax.
    """

    def layer(g: Array, h: Array) -> Scalar:
        g, h = (x.reshape(-1, x.shape[-1]) for x in (g, h))
        lengths = _norm(g) * _norm(h)
        return jnp.sum(1 - jnp.sum(g * h, axis=0) / (lengths + 1e-6))

    return _over(layer, g, h, 2)


def kernels_mse(g: Params, h: Params) -> Scalar:
    """IDC's distance: squared differences, summed over convolution kernels alone."""
    return _over(lambda g, h: jnp.sum((g - h) ** 2), g, h, 4)


def kernels_l1(g: Params, h: Params) -> Scalar:
    """IDC's other distance: absolute differences, over convolution kernels alone."""
    return _over(lambda g, h: jnp.sum(jnp.abs(g - h)), g, h, 4)


def global_cosine(g: Params, h: Params) -> Scalar:
    """One minus the cosine of all kernels as one vector."""
    product = _over(lambda g, h: jnp.sum(g * h), g, h, 2)
    squares = [_over(lambda x, y: jnp.sum(x * y), x, x, 2) for x in (g, h)]
    return 1 - product / (_root(squares[0]) * _root(squares[1]) + 1e-6)


OF_GRADIENTS: dict[str, Callable[[Params, Params], Scalar]] = {
    "layers_cosine": layers_cosine,
    "global_cosine": global_cosine,
    "kernels_mse": kernels_mse,
    "kernels_l1": kernels_l1,
}


def mean_distance(real: Features, fake: Features) -> Scalar:
    """DM's distance, the squared length between the means."""
    return jnp.sum((real.mean(axis=0) - fake.mean(axis=0)) ** 2)


def mmd(real: Features, fake: Features) -> Scalar:
    """Squared maximum mean discrepancy, of Gaussian kernels of several widths."""
    pairs = {
        "rr": _squares(real, real),
        "ss": _squares(fake, fake),
        "rs": _squares(real, fake),
    }
    scale = jax.lax.stop_gradient(pairs["rr"].mean()) + 1e-12
    mean = {name: _kernel(d / scale).mean() for name, d in pairs.items()}
    return mean["rr"] + mean["ss"] - 2 * mean["rs"]


OF_FEATURES: dict[str, Callable[[Features, Features], Scalar]] = {
    "mean": mean_distance,
    "mmd": mmd,
}


def _over(layer: Callable, g: Params, h: Params, least: int) -> Scalar:
    """The sum over the leaves that have at least this many axes."""
    pairs = zip(jax.tree.leaves(g), jax.tree.leaves(h), strict=True)
    kept = [layer(x, y) for x, y in pairs if x.ndim >= least]
    if not kept:
        raise InputError(
            "gradient.distance finds no kernels of its kind in this network: use "
            "layers_cosine"
        )
    return jnp.asarray(sum(kept))


def _norm(columns: Float[Array, "d o"]) -> Float[Array, " o"]:
    """Lengths whose derivative at zero, which dead units reach, is zero."""
    return _root(jnp.sum(columns**2, axis=0))


def _root(squares: Array) -> Array:
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)


def _squares(a: Features, b: Features) -> Float[Array, "_ _"]:
    lengths = jnp.sum(a**2, axis=1)[:, None] + jnp.sum(b**2, axis=1)[None]
    return jnp.maximum(lengths - 2 * a @ b.T, 0.0)


def _kernel(squares: Float[Array, "n m"]) -> Float[Array, "n m"]:
    return jnp.stack([jnp.exp(-squares / (2 * w)) for w in WIDTHS]).mean(axis=0)
