"""How a network descends: rates, decay, bounds, and the average that follows.

    theta  <- theta - rate(t) (d + decay(t) theta)      d of Adam
    theta  <- theta - rate(t) d(g + decay theta)        d of momentum .9, LARS with it
    rate   rises over `warmup` epochs from 0 and falls as a cosine to `lr_last`
    decay  goes as a cosine from `weight_decay` to `weight_decay_last`
    target <- m(t) target + (1 - m(t)) theta,   m(t) from `momentum` as a cosine to 1

Biases and what else has one axis do not decay, nor does LARS rescale them. LARS is of
You, Gitman and Ginsburg (2017), arXiv:1708.03888, with BYOL's coefficient of 1e-3.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PyTree

from jaxdistill.ranges import Count, Decay, Many, OneOf, Range, Rate, Weight
from jaxdistill.selfsupervised.pretext import Now, Pretext
from jaxdistill.settings import Small
from jaxdistill.types import Params

LATE, REST = "late", "rest"
TINY = 1e-6  # of a norm that bounds a gradient, as in the authors' programs


class Regime(NamedTuple):
    """How long and how fast; the usual values are DISTL's (arXiv:2202.06431)."""

    epochs: Annotated[Count, "passes over the films", Small(1)] = 5
    batch: Annotated[Many, "films a step, of all devices", Small(64)] = 16
    optimiser: Annotated[str, OneOf(("adamw", "lars", "sgd")), "of the steps"] = "adamw"
    lr: Annotated[Rate, "highest rate, at a batch of lr_batch"] = 5e-5
    lr_batch: Annotated[Many, "films a step that lr is meant for"] = 16
    lr_last: Annotated[Weight, "rate at the end"] = 1e-6
    warmup: Annotated[
        float, Range(0, 1000), "epochs in which the rate rises", Small(0.0)
    ] = 1.0
    weight_decay: Annotated[Weight, "pull of weights to zero"] = 0.01
    weight_decay_last: Annotated[Weight, "adamw: the same at the end"] = 0.01
    squares: Annotated[Decay, "adamw: what it keeps of squared gradients"] = 0.999
    clip: Annotated[Weight, "bound on each tensor's gradient; 0: none"] = 3.0
    momentum: Annotated[Decay, "of the target, at the start; 1 at the end"] = 0.9995
    frozen: Annotated[float, Range(0, 1000), "epochs that the last layer waits"] = 1.0


class Descent(NamedTuple):
    """`init(params) -> opt`, and `step(grads, opt, params, now) -> params, opt`."""

    init: Callable[[Params], Any]
    step: Callable[[Params, Any, Params, Now], tuple[Params, Any]]


def descent(pretext: Pretext, regime: Regime) -> Descent:
    """The descent of a pretext's parameters."""
    direct = optax.partition(
        {LATE: _direction(regime), REST: _direction(regime)},
        lambda params: _labels(params, pretext.late),
    )
    steady = regime.lr * regime.batch / regime.lr_batch

    def step(grads, opt, params, now):
        moves, after = direct.update(grads, opt, params)
        rate, decay = rate_at(regime, now), decay_at(regime, now)
        waits = now.time < regime.frozen * now.per_epoch

        def moved(path, old, move):
            if _name(path[0]) in pretext.still:
                return old  # by no decay either
            own = steady if _name(path[0]) in pretext.steady else rate
            if regime.optimiser == "adamw" and old.ndim > 1:
                move = move + decay * old
            new = (old - own * move).astype(old.dtype)
            return jnp.where(waits, old, new) if _within(path, pretext.late) else new

        made = jax.tree_util.tree_map_with_path(moved, params, moves)
        held = _hold(waits, opt.inner_states[LATE], after.inner_states[LATE])
        return made, after._replace(inner_states={**after.inner_states, LATE: held})

    return Descent(direct.init, step)


def rate_at(regime: Regime, now: Now) -> Float[Array, ""]:
    """The rate of this step.

    That of `optax.warmup_cosine_decay_schedule`, whose lengths cannot be data.
    """
    peak = regime.lr * regime.batch / regime.lr_batch
    rising = jnp.minimum(jnp.round(regime.warmup * now.per_epoch), now.times - 1)
    rise = peak * now.time / jnp.maximum(rising, 1)
    share = (now.time - rising) / (now.times - rising)
    fall = cosine(peak, min(regime.lr_last, peak), share)
    return jnp.where(now.time < rising, rise, fall)


def decay_at(regime: Regime, now: Now) -> Float[Array, ""]:
    """The pull of weights to zero at this step."""
    share = now.time / now.times
    return cosine(regime.weight_decay, regime.weight_decay_last, share)


def momentum_at(regime: Regime, now: Now) -> Float[Array, ""]:
    """How much the target keeps of itself at this step: all in a pass."""
    m = cosine(regime.momentum, 1.0, now.time / now.times)
    return jnp.where(now.correcting, 1.0, m)


def follow(target: Params, params: Params, kept: Float[Array, ""]) -> Params:
    """`kept target + (1 - kept) params`; the target itself where it keeps all."""
    return optax.incremental_update(params, target, 1 - kept)


def cosine(start: float, end: float, share: Array) -> Float[Array, ""]:
    """From `start` to `end` along half a cosine."""
    return end + (start - end) * (1 + jnp.cos(jnp.pi * share)) / 2


def clip_each(bound: float) -> optax.GradientTransformation:
    """Every tensor's gradient, no longer than `bound`, each on its own; 0: any."""

    def clip(g: Array) -> Array:
        length = jnp.sqrt(jnp.sum(jnp.square(g)))
        return g * jnp.minimum(1.0, bound / (length + TINY))

    if not bound:
        return optax.identity()
    return optax.stateless(lambda grads, _: jax.tree.map(clip, grads))


def _direction(regime: Regime) -> optax.GradientTransformation:
    clip = clip_each(regime.clip)
    if regime.optimiser == "adamw":
        return optax.chain(clip, optax.scale_by_adam(b2=regime.squares))
    pulled = optax.add_decayed_weights(regime.weight_decay, mask=_matrices)
    if regime.optimiser == "sgd":
        return optax.chain(clip, pulled, optax.trace(0.9))
    trusted = optax.scale_by_trust_ratio(trust_coefficient=1e-3)
    return optax.chain(clip, pulled, optax.masked(trusted, _matrices), optax.trace(0.9))


def _matrices(params: Params) -> PyTree[bool]:
    return jax.tree.map(lambda x: x.ndim > 1, params)


def _labels(params: Params, late: tuple[tuple[str, ...], ...]) -> PyTree[str]:
    return jax.tree_util.tree_map_with_path(
        lambda path, _: LATE if _within(path, late) else REST, params
    )


def _within(path: tuple, places: tuple[tuple[str, ...], ...]) -> bool:
    names = tuple(map(_name, path))
    return any(names[: len(place)] == place for place in places)


def _name(key: Any) -> str:
    return str(getattr(key, "key", key))


def _hold(waits: Bool[Array, ""], before: PyTree, after: PyTree) -> PyTree:
    return jax.tree.map(lambda old, new: jnp.where(waits, old, new), before, after)
