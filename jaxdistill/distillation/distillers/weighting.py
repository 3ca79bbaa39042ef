"""Which parameters a trajectory must match, and how much: plug-ins of `trajectory`.

Each is a `Weighting`: `init(params)` makes its state, `weights(state, error, before)` a
weight for every parameter from the squared error of this segment, `advance(state,
error)` moves the state by the error averaged over the step's segments. `before` tells
by array how many parameters lie between it and the images, see
`jaxdistill.engine.depth`: the order of the arrays in a tree is that of their names.
Weights carry no gradient.
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxdistill.ranges import Count, Decay, Positive, Rate
from jaxdistill.settings import declared
from jaxdistill.types import Params


class Weighting(NamedTuple):
    """A state over parameters, the weights it gives, and how it moves."""

    init: Callable[[Params], PyTree]
    weights: Callable[[PyTree, Params, PyTree], Params]
    advance: Callable[[PyTree, Params], PyTree]


def uniform() -> Weighting:
    """Every parameter counts alike, as in Cazenavette et al. (2022)."""
    return Weighting(
        init=lambda params: (),
        weights=lambda state, error, before: jax.tree.map(jnp.ones_like, error),
        advance=lambda state, error: state,
    )


@declared("trajectory.weighting")
def pruning(
    share: Annotated[Decay, "of parameters, the hardest, left out"],
) -> Weighting:
    """Leave out the `share` of parameters hardest to match (Li et al. 2022, DDPP).

    A reconstruction from the abstract (arXiv:2209.14609): the largest squared errors of
    the segment are dropped, over all parameters together.
    """

    def weights(state, error, before):
        flat = jnp.concatenate([e.ravel() for e in jax.tree.leaves(error)])
        limit = jnp.quantile(flat, 1.0 - share)
        return jax.tree.map(lambda e: (e <= limit).astype(e.dtype), error)

    return uniform()._replace(weights=weights)


@declared("trajectory.weighting")
def deep_only(
    share: Annotated[Decay, "of parameters left out, the first"],
) -> Weighting:
    """Leave out the first `share` of all parameters, counted from the input (PAD).

    Li et al. (2024), "Prioritize Alignment in Dataset Distillation": shallow layers
    carry low-level detail that a small set should not spend itself on.
    """

    def weights(state, error, before):
        left_out = share * sum(e.size for e in jax.tree.leaves(error))

        def deep(e, first):
            at = first + jnp.arange(e.size).reshape(e.shape)
            return (at >= left_out).astype(e.dtype)

        return jax.tree.map(deep, error, before)

    return uniform()._replace(weights=weights)


@declared("trajectory.weighting")
def easy_first(
    base: Annotated[Positive, "squared error below which a parameter joins"],
    growth: Annotated[Positive, "factor of that limit"],
    every: Annotated[Count, "steps between factors"] = 500,
) -> Weighting:
    """Match easy parameters first: the mask of HoP-TM (MICCAI 2025, arXiv:2509.24177).

    A parameter joins, and stays, once its squared error is below
    `base * growth ** floor(step / every)`. A first step in which none passes would
    divide zero by zero: then all count.
    """

    def init(params):
        mask = jax.tree.map(lambda p: jnp.zeros(p.shape, bool), params)
        return mask, jnp.zeros((), jnp.int32)

    def joined(state, error):
        mask, step = state
        limit = base * growth ** (step // every).astype(jnp.float32)
        return jax.tree.map(lambda m, e: m | (e < limit), mask, error)

    def weights(state, error, before):
        mask = joined(state, error)
        empty = ~jnp.any(jnp.stack([m.any() for m in jax.tree.leaves(mask)]))
        return jax.tree.map(lambda m, e: (m | empty).astype(e.dtype), mask, error)

    return Weighting(
        init, weights, lambda state, error: (joined(state, error), state[1] + 1)
    )


@declared("trajectory.weighting")
def importance(rate: Annotated[Rate, "at which the weights learn"]) -> Weighting:
    """Learned importance of every parameter (IADD, Neural Networks 172:106154, 2024).

    A reconstruction from the abstract: weights are a softmax over each layer, scaled to
    mean 1 so that they cannot all shrink to zero, and follow the gradient of the
    weighted error, relative to its layer's mean.
    """

    def softmax(raw):
        return jax.nn.softmax(raw.ravel()).reshape(raw.shape) * raw.size

    def advance(state, error):
        def move(raw, e):
            relative = e / (e.mean() + jnp.finfo(e.dtype).tiny)
            weighted = lambda r: jnp.mean(softmax(r) * relative)  # noqa: E731
            return raw - rate * raw.size * jax.grad(weighted)(raw)

        return jax.tree.map(move, state, error)

    return Weighting(
        init=lambda params: jax.tree.map(jnp.zeros_like, params),
        weights=lambda state, error, before: jax.tree.map(softmax, state),
        advance=advance,
    )


#: By name, as `jaxdistill.WEIGHTINGS["pruning"](share=0.1)`.
WEIGHTINGS: dict[str, Callable[..., Weighting]] = {
    "uniform": uniform,
    "pruning": pruning,
    "deep_only": deep_only,
    "easy_first": easy_first,
    "importance": importance,
}
