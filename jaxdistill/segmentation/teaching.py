"""Training segmenters: alone, or as a class under the same teachers.

Students of one class see the same patches at the same step and are told the same by
their teachers, which look at each batch once. So an ablation over losses compares
students that differ in nothing else. Those of one network take turns in a loop.

    theta <- theta - optimiser(d/dtheta [supervised + sum_i weight_i term_i])

A teacher is a student of a class without teachers.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

from jaxdistill.augment.paired import Paired
from jaxdistill.errors import InputError
from jaxdistill.ranges import Many, OneOf, Range, Rate, Weight
from jaxdistill.segmentation.drawing import Patches, Stock, draw
from jaxdistill.segmentation.losses.supervised import SUPERVISED
from jaxdistill.segmentation.term import Lesson, Outputs, Term
from jaxdistill.settings import Small
from jaxdistill.types import Learner, Params, PRNGKey, Scalar, Segmenter


def _sgd(rate: optax.Schedule, decay: float) -> optax.GradientTransformation:
    return optax.chain(
        optax.add_decayed_weights(decay), optax.sgd(rate, momentum=0.99, nesterov=True)
    )


def _adamw(rate: optax.Schedule, decay: float) -> optax.GradientTransformation:
    return optax.adamw(rate, weight_decay=decay)


OPTIMISERS: dict[str, Callable] = {"adamw": _adamw, "sgd": _sgd}


class Practice(NamedTuple):
    """How a segmenter trains; the rate rises over `warmup` and falls as a cosine."""

    steps: Annotated[Many, "steps of training", Small(2)] = 1000
    optimiser: Annotated[str, OneOf(OPTIMISERS), "sgd: Nesterov, momentum .99"] = (
        "adamw"
    )
    lr: Annotated[Rate, "highest rate"] = 2e-3
    weight_decay: Annotated[Weight, "pull of weights to zero"] = 1e-3
    warmup: Annotated[float, Range(0, 1, below=True), "share of the steps"] = 0.05
    clip: Annotated[Weight, "bound on the length of the gradient; 0: none"] = 1.0
    supervised: Annotated[str, OneOf(SUPERVISED), "what masks teach"] = "dice_ce"


class Student(NamedTuple):
    """A network to train, and what it learns from teachers, with weights."""

    network: Segmenter
    terms: Mapping[str, tuple[float, Term]] = {}


class Progress(NamedTuple):
    """A student in training: its network, what its terms learn, its optimiser."""

    params: Params
    terms: dict[str, Params]
    opt: optax.OptState


class ClassState(NamedTuple):
    """All students of a class after `step` steps."""

    step: Int[Array, ""]
    students: dict[str, Progress]


class Resident(NamedTuple):
    """What stays on the device: the slices, and the teachers' parameters."""

    stock: Stock
    teachers: tuple[Params, ...]


def teach(
    students: Mapping[str, Student],
    teachers: Sequence[Segmenter],
    practice: Practice,
    patches: Patches,
    policy: Paired | None,
    *,
    channels: int,
) -> Learner:
    """The `Learner` of a class, which may be one student.

    Its resident data is a `Resident`; what the host supplies to a step is `numbers` of
    the batch, of which each of several devices takes its share. Raises `InputError` for
    terms without a teacher, and for teachers whose answers cannot be averaged.
    """
    optimiser = optimise(practice)
    image = jax.ShapeDtypeStruct((1, *_side(students, teachers), channels), jnp.float32)
    _require_teachers(students, teachers, image)

    def init(key: PRNGKey) -> ClassState:
        made = {}
        for name, student in students.items():
            # The same key for all: students of one network start alike.
            k_network, k_terms = jax.random.split(key)
            params = student.network.init(k_network)
            terms = _begin(student, teachers, image, k_terms)
            made[name] = Progress(params, terms, optimiser.init((params, terms)))
        return ClassState(jnp.zeros((), jnp.int32), made)

    def update(state, resident, fed, key, axis):
        k_draw, k_drop = jax.random.split(jax.random.fold_in(key, state.step))
        if axis is not None:  # devices drop channels of their own
            k_drop = jax.random.fold_in(k_drop, jax.lax.axis_index(axis))
        drawn = draw(resident.stock, k_draw, fed, patches, policy)
        told = _told(teachers, resident.teachers, drawn[0]) if teachers else None
        lesson = Lesson(*drawn, told, state.step / practice.steps, axis)
        values: dict[str, dict[str, Scalar]] = {}
        grads: dict[str, tuple[Params, dict]] = {}
        for names in _alike(students):
            group = {name: students[name] for name in names}
            found = _descents(group, state.students, practice, lesson, k_drop)
            if axis is not None:
                found = jax.lax.pmean(found, axis)
            values |= found[0]
            grads |= found[1]
        moved: dict[str, Progress] = {}
        for name, now in state.students.items():
            learned = (now.params, now.terms)
            step, opt = optimiser.update(grads[name], now.opt, learned)
            params, terms = optax.apply_updates(learned, step)
            moved[name] = Progress(params, terms, opt)
        metrics = {
            f"{name}_{part}": x
            for name, parts in values.items()
            for part, x in parts.items()
        }
        # One student that diverges does not end the lesson of the others.
        each = jnp.stack([parts["loss"] for parts in values.values()])
        metrics["loss"] = jnp.nanmean(jnp.where(jnp.isfinite(each), each, jnp.nan))
        return ClassState(state.step + 1, moved), metrics

    return Learner(init, update, ClassState(False, False))  # type: ignore[arg-type]


def numbers(patches: Patches) -> Callable[[int], Int[np.ndarray, " b"]]:
    """The host's part of a step: its samples, by number."""
    return lambda step: np.arange(patches.batch)


def objective(student: Student, practice: Practice) -> Callable[..., tuple]:
    """`outputs, terms, lesson -> (loss, its parts)`, `terms` being what they learn."""
    masked = SUPERVISED[practice.supervised]

    def loss(outputs: Outputs, terms: Mapping[str, Params], lesson: Lesson):
        parts = {"supervised": masked(outputs.logits, lesson.masks, lesson.axis)}
        total = parts["supervised"]
        for name, (weight, term) in student.terms.items():
            parts[name] = term.value(terms[name], outputs, lesson)
            total = total + weight * parts[name]
        return total, parts | {"loss": total}

    return loss


def look(network: Segmenter, params: Params, images: Array, key=None) -> Outputs:
    """What a network says of images, with the levels that distillation reads."""
    logits, features = network.tap(params, images, network.levels, key)
    return Outputs(logits, tuple(features[name] for name in network.levels))


def _alike(students: Mapping[str, Student]) -> list[list[str]]:
    """The names of those who have one network, together."""
    found: dict[Segmenter, list[str]] = {}
    for name, student in students.items():
        found.setdefault(student.network, []).append(name)
    return list(found.values())


def _descents(
    students: Mapping[str, Student],
    states: Mapping[str, Progress],
    practice: Practice,
    lesson: Lesson,
    key: PRNGKey | None,
) -> tuple[dict[str, dict[str, Scalar]], dict[str, tuple[Params, dict]]]:
    """Losses and gradients of students of one network, by name.

    They take turns in a loop, so that a network is compiled once and has the memory of
    one, however many students there are of it.
    """
    names = list(students)
    network = students[names[0]].network
    each = [states[name].params for name in names]
    judges = [
        _judge(students[name], states[name].terms, practice, lesson) for name in names
    ]

    def said(params: Params) -> Outputs:
        return look(network, params, lesson.images, key)

    # Terms differ, and branches of a switch must return one shape: the table of all.
    like = jax.eval_shape(said, each[0])
    shapes = [jax.eval_shape(judge, like)[1] for judge in judges]
    blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def entered(at: int, outputs: Outputs, table: list) -> tuple[Outputs, list]:
        pushed, told = judges[at](outputs)
        return pushed, [*table[:at], told, *table[at + 1 :]]

    branches = [partial(entered, at) for at in range(len(names))]

    def turn(table: list, now: tuple) -> tuple[list, Params]:
        at, params = now
        outputs, pull = jax.vjp(said, params)
        pushed, table = jax.lax.switch(at, branches, outputs, table)
        return table, pull(pushed)[0]

    stacked = jax.tree.map(lambda *x: jnp.stack(x), *each)
    table, grads = jax.lax.scan(turn, blank, (jnp.arange(len(names)), stacked))
    own = [jax.tree.map(itemgetter(at), grads) for at in range(len(names))]
    return (
        {name: parts for name, (parts, _) in zip(names, table, strict=True)},
        {
            name: (params, terms)
            for name, params, (_, terms) in zip(names, own, table, strict=True)
        },
    )


def _judge(
    student: Student, terms: dict[str, Params], practice: Practice, lesson: Lesson
) -> Callable[[Outputs], tuple[Outputs, tuple[dict[str, Scalar], dict]]]:
    """The loss's gradient by a student's outputs; its parts, and that by its terms."""
    loss = objective(student, practice)
    slope = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)

    def judged(outputs: Outputs):
        (_, parts), (pushed, moved) = slope(outputs, terms, lesson)
        return pushed, (parts, moved)

    return judged


def optimise(practice: Practice) -> optax.GradientTransformation:
    """The optimiser of a practice, with its schedule and its bound."""
    rising = min(round(practice.warmup * practice.steps), practice.steps - 1)
    rate = optax.warmup_cosine_decay_schedule(
        init_value=0.0 if rising else practice.lr,
        peak_value=practice.lr,
        warmup_steps=rising,
        decay_steps=practice.steps,
    )
    made = OPTIMISERS[practice.optimiser](rate, practice.weight_decay)
    if practice.clip:
        made = optax.chain(optax.clip_by_global_norm(practice.clip), made)
    # One vector of all weights: else every leaf compiles the schedule into its kernels.
    return optax.flatten(made)


def _told(
    teachers: Sequence[Segmenter], params: tuple[Params, ...], images: Array
) -> Outputs:
    """What all teachers say, stacked; they learn nothing from it."""
    said = [look(t, p, images) for t, p in zip(teachers, params, strict=True)]
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *said)
    return jax.lax.stop_gradient(stacked)


def _require_teachers(
    students: Mapping[str, Student], teachers: Sequence[Segmenter], image: Any
) -> None:
    for name, student in students.items():
        if student.terms and not teachers:
            raise InputError(
                f"student {name!r} has losses of a teacher, {', '.join(student.terms)},"
                " and there is none: give one, or no such losses"
            )
    shapes = [jax.tree.map(lambda x: x.shape, _shapes(t, image)) for t in teachers]
    if any(shape != shapes[0] for shape in shapes):
        raise InputError(
            f"teachers whose outputs have the shapes {shapes} cannot speak with one "
            "voice: give teachers of one architecture"
        )


def _begin(
    student: Student, teachers: Sequence[Segmenter], image: Any, key: PRNGKey
) -> dict[str, Params]:
    """What the student's terms learn, at its start."""
    if not student.terms:
        return {}
    mine = _shapes(student.network, image)
    theirs = [_shapes(teacher, image) for teacher in teachers]
    stacked = jax.tree.map(
        lambda *x: jax.ShapeDtypeStruct((len(x), *x[0].shape), x[0].dtype), *theirs
    )
    return {
        name: term.init(jax.random.fold_in(key, i), mine, stacked)
        for i, (name, (_, term)) in enumerate(student.terms.items())
    }


def _shapes(network: Segmenter, image: Any) -> Outputs:
    params = jax.eval_shape(network.init, jax.random.key(0))
    return jax.eval_shape(lambda p, x: look(network, p, x), params, image)


def _side(students: Mapping[str, Student], teachers: Sequence[Segmenter]):
    """Sides of an image that all of the networks take."""
    nets = [*(s.network for s in students.values()), *teachers]
    side = max(net.stride for net in nets) * 2
    return side, side
