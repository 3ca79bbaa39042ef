"""Distillation: the outer step that every method shares, and the call that runs it."""

from collections.abc import Callable
from numbers import Integral
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Int, PyTree

from jaxdistill.distillation.initial import initial
from jaxdistill.engine.driver import Plan, iterate
from jaxdistill.engine.fitting import require_set
from jaxdistill.engine.mesh import initialise, make_mesh, require_multiple
from jaxdistill.errors import InputError, require_name
from jaxdistill.foreign import short
from jaxdistill.ranges import Decay, OneOf, OuterRate, Weight
from jaxdistill.settings import require
from jaxdistill.types import Learner, Method, Pool, PRNGKey, Synthetic


class DistillState(NamedTuple):
    """What one outer step hands to the next."""

    step: Int[Array, ""]
    synthetic: Synthetic
    average: (
        Synthetic  # exponential moving average of the set; the set itself at decay 0
    )
    inner: PyTree
    opt: optax.OptState


def _sgd(rate: optax.ScalarOrSchedule, part: "Part") -> optax.GradientTransformation:
    return optax.sgd(rate, momentum=part.momentum)


def _adam(rate: optax.ScalarOrSchedule, part: "Part") -> optax.GradientTransformation:
    return optax.adam(rate, b1=part.momentum)


OPTIMISERS: dict[str, Callable] = {
    "sgd": _sgd,
    "adam": _adam,
    "none": lambda rate, part: optax.set_to_zero(),
}


class Part(NamedTuple):
    """How one part of the set moves: its images, its labels or its learning rate."""

    name: Annotated[str, OneOf(OPTIMISERS), "how it moves; none: not at all"] = "none"
    lr: Annotated[OuterRate, "rate of its steps"] = 0.0
    momentum: Annotated[Decay, "of its steps; Adam's first decay"] = 0.9
    clip: Annotated[Weight, "bound on the length of its gradient; 0: none"] = 0.0


IMAGES, LABELS, LR = Part("adam", 0.05, 0.5), Part(), Part("adam", 0.01, 0.5)
DECAYS: dict[str, Callable[[float, int], optax.Schedule]] = {
    "none": lambda lr, steps: optax.constant_schedule(lr),
    "cosine": lambda lr, steps: optax.cosine_decay_schedule(lr, steps),
}


def moving(
    part: Part, said: str = "images", *, decay: str = "none", steps: int = 1
) -> optax.GradientTransformation:
    """The transformation of a part; with the decay "cosine" its rate falls towards 0 at
    the last of `steps`.

    Raises `InputError` for a setting out of range, of `optimizer.` and `said`.
    """
    require(part, f"optimizer.{said}")
    require_name("optimizer.decay", decay, DECAYS)
    made = OPTIMISERS[part.name](DECAYS[decay](part.lr, steps), part)
    if not part.clip:
        return made
    return optax.chain(optax.clip_by_global_norm(part.clip), made)


def outer_optimiser(
    images: optax.GradientTransformation,
    labels: optax.GradientTransformation | None = None,
    lr: optax.GradientTransformation | None = None,
) -> optax.GradientTransformation:
    """One transformation for each part of the set; None leaves that part as it is."""
    parts = {
        "images": images,
        "logits": labels or optax.set_to_zero(),
        "raw_lr": lr or optax.set_to_zero(),
    }
    names: Any = Synthetic._fields
    return optax.partition(parts, Synthetic(*names))


def distilling(
    method: Method,
    start: Synthetic,
    optimiser: optax.GradientTransformation,
    *,
    average_decay: float = 0.0,
) -> Learner:
    """The `Learner` that improves the set `start` by one method.

    The average follows `a <- d a + (1 - d) s`.
    """

    def init(key):
        # A donated state must not hold one buffer twice.
        first, average = (jax.tree.map(jnp.copy, start) for _ in range(2))
        return DistillState(
            step=jnp.zeros((), jnp.int32),
            synthetic=first,
            average=average,
            inner=method.init(key),
            opt=optimiser.init(first),
        )

    def update(state, resident, fed, key, axis):
        keys = jax.random.split(jax.random.fold_in(key, state.step), 3)
        batch = method.source.draw(resident, fed, keys[0])
        (loss, matched), grads = jax.value_and_grad(method.loss, has_aux=True)(
            state.synthetic, state.inner, batch, keys[1]
        )
        if axis is not None:
            loss, matched, grads = jax.lax.pmean((loss, matched, grads), axis)
        updates, opt = optimiser.update(grads, state.opt, state.synthetic)
        moved = optax.apply_updates(state.synthetic, updates)
        # A step none of whose batch was kept changes nothing, momentum and average
        # included.
        average = optax.incremental_update(moved, state.average, 1.0 - average_decay)
        synthetic, opt, average = jax.tree.map(
            lambda new, old: jnp.where(matched.kept > 0, new, old),
            (moved, opt, average),
            (state.synthetic, state.opt, state.average),
        )
        inner = method.advance(state.inner, matched.residual, synthetic, batch, keys[2])
        norms = {
            "grad_images": optax.tree.norm(grads.images),
            "grad_logits": optax.tree.norm(grads.logits),
            "grad_raw_lr": optax.tree.norm(grads.raw_lr),
        }
        metrics = matched.metrics | norms
        metrics |= {"loss": loss, "kept": matched.kept, "lr": synthetic.lr.mean()}
        return DistillState(state.step + 1, synthetic, average, inner, opt), metrics

    sharded: Any = (False, False, False, method.population, False)
    return Learner(init, update, DistillState(*sharded))


def require_shared(method: Method, mesh: Mesh, said: str = "the method's nets") -> None:
    """`InputError` unless the devices share what a step is fed, and its population."""
    if leaves := jax.tree.leaves(method.source.feed(0)):
        require_multiple(said, len(leaves[0]), mesh)
    if method.population:
        inner = jax.eval_shape(method.init, jax.random.key(0))
        require_multiple(said, jax.tree.leaves(inner)[0].shape[0], mesh)


def require_step(
    method: Method, start: Synthetic, resident: PyTree, pool: Pool
) -> None:
    """`InputError` unless a step of the method can be taken on the pool's images."""
    key, source = jax.random.key(0), method.source
    try:
        inner = jax.eval_shape(method.init, key)
        batch = jax.eval_shape(source.draw, resident, source.feed(0), key)
        jax.eval_shape(method.loss, start, inner, batch, key)
    except InputError:
        raise
    except Exception as error:  # Flax and JAX have many kinds for shapes that differ
        raise InputError(
            f"the method does not fit the pool {pool.name!r} of images "
            f"{pool.image_shape} and {pool.classes} classes ({short(error)}): build it "
            "with a network and classes of this pool"
        ) from error


def distill(
    method: Method,
    pool: Pool,
    *,
    ipc: int | None = None,
    steps: int,
    key: PRNGKey,
    start: Synthetic | None = None,
    optimiser: optax.GradientTransformation | None = None,
    average_decay: float = 0.0,
    mesh: Mesh | None = None,
    steps_per_call: int = 10,
) -> Synthetic:
    """A synthetic set of `ipc` images per class after `steps` outer steps of `method`.

    With a `start` it has as many as that one. The defaults start from noisy class means
    with hard labels and move images, and the learning rate where the method has one, by
    Adam, see `IMAGES` and `LR`. Raises `InputError` for an `ipc` that the pool cannot
    serve, counts below 1, a start of other images, classes or numbers, a method made
    for other images or classes, and networks that the devices do not share evenly.
    """
    for name, value in (("steps", steps), ("steps_per_call", steps_per_call)):
        if not isinstance(value, Integral) or value < 1:
            raise InputError(
                f"{name}={value} distils nothing: set it to a whole number of 1 or more"
            )
    if not 0 <= average_decay < 1:
        raise InputError(
            f"average_decay={average_decay} must be at least 0 and below 1: 0 is none"
        )
    if start is not None:
        require_set(start, pool.image_shape, pool.classes, f"the pool {pool.name!r}")
        if ipc is not None and len(start.images) != ipc * pool.classes:
            raise InputError(
                f"start holds {len(start.images)} images where ipc={ipc} of "
                f"{pool.classes} classes asks for {ipc * pool.classes}: leave ipc out"
            )
    elif ipc is None:
        raise InputError("ipc is missing: tell how many images a class, or a start")
    mesh = mesh or make_mesh(1)
    require_shared(method, mesh)
    k_start, k_init, k_run = jax.random.split(key, 3)
    if start is None:
        assert ipc is not None  # refused above
        start = initial(pool, ipc, k_start, mosaic=method.mosaic)
    usual = map(moving, (IMAGES, LABELS, LR))
    optimiser = optimiser or outer_optimiser(*usual)
    learner = distilling(method, start, optimiser, average_decay=average_decay)
    resident = method.source.resident(pool)
    require_step(method, start, resident, pool)
    state = initialise(learner, k_init, mesh)
    run = iterate(
        learner,
        state,
        resident,
        method.source.feed,
        k_run,
        plan=Plan(0, steps, steps_per_call),
        mesh=mesh,
    )
    for _, latest, _ in run:
        state = latest
    return state.average if average_decay else state.synthetic
