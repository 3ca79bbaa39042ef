"""What trained models are worth: scores with intervals, calibration, robustness.

    workdir/scores/LESSON_DIGEST.json

Judged is the student, as the authors do; the digest is of how it is judged.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxdistill.augment.resample import blur as blurred
from jaxdistill.augment.resample import to_lines
from jaxdistill.data.standard import from_unit
from jaxdistill.errors import Diverged, InputError
from jaxdistill.evaluation.calibration import calibration_error
from jaxdistill.evaluation.delong import Difference, auc_delong, delong_test
from jaxdistill.evaluation.metrics import as_probabilities, scores
from jaxdistill.evaluation.robustness import CORRUPTIONS, robustness
from jaxdistill.evaluation.threshold import balanced_accuracy_at, chosen_threshold
from jaxdistill.jobs.lessons.training import Room, Taught
from jaxdistill.run.files import digest, read_record, write_json
from jaxdistill.run.kept import made_once
from jaxdistill.types import Images, Logits, Network, Params, Pool, Split, Standard

CHOSEN = "balanced_accuracy_chosen"  # where validation put the threshold
SCALARS = ("auc", "accuracy", "balanced_accuracy", "harmonic_mean", "f1_weighted")
BY_CLASS = ("sensitivity", "specificity")
CHUNK = 256  # films predicted at once

Record = dict[str, Any]


def require_judged(pool: Pool) -> None:
    """`InputError` for a class whose test films give an area no variance."""
    films = np.bincount(np.asarray(pool.test.labels), minlength=pool.classes)
    if (films < 2).any():
        rare = int(films.argmin())
        raise InputError(
            f"class {pool.class_names[rare]!r} has {films[rare]} of the test films: "
            "the interval of an AUC needs two or more of every class: add films of it, "
            "or of more patients"
        )


def judge(
    room: Room, network: Network, taught: Taught, blur: float, robust: bool
) -> Record:
    """The scores of a model on test and validation; those in a file are read.

    `probabilities` are of the test films; `robustness` is there where it is asked for.
    """
    told = [blur, robust, CHOSEN, np.dtype(float).name]
    lesson, how = taught.file.parent.name, digest(told)
    file = room.folder / "scores" / f"{lesson}_{how[:8]}.json"

    def make() -> None:
        room.say(f"scoring {lesson}")
        look = _looking_at(room, network, taught, blur)
        found = judged(look, room.pool)
        if robust:
            found["robustness"] = _robustness(look, room.pool.test)
        write_json(file, found)

    return made_once(file, lambda f: read_record(f, "test", "probabilities"), make)


def validated(room: Room, network: Network, taught: Taught, blur: float) -> float:
    """The AUC of a model on validation alone, for a choice between models."""
    look = _looking_at(room, network, taught, blur)
    said, split = probabilities(look, room.pool.val), room.pool.val
    return scores_of(said, np.asarray(split.labels))["auc"]


def judged(look: Callable[[Images], Logits], pool: Pool) -> Record:
    """Scores on validation and test, and what is said of the test films.

    Of two classes, balanced accuracy is told with validation's threshold as well.
    """
    said = {part: probabilities(look, getattr(pool, part)) for part in ("val", "test")}
    return scored(said, pool)


def scored(said: Mapping[str, Float[np.ndarray, "n k"]], pool: Pool) -> Record:
    """The same of what was said of validation and of test films."""
    labels = {part: np.asarray(getattr(pool, part).labels) for part in said}
    found: Record = {part: scores_of(said[part], labels[part]) for part in said}
    low, high = auc_delong(said["test"], labels["test"]).interval()
    found["test"] |= {"auc_low": low, "auc_high": high}
    if pool.classes == 2:
        ill = {part: said[part][:, 1] for part in said}
        cut = chosen_threshold(ill["val"], labels["val"])
        found["threshold"] = cut
        for part in said:
            at_cut = balanced_accuracy_at(cut, ill[part], labels[part])
            found[part][CHOSEN] = at_cut
    return found | {"probabilities": said["test"]}


def looking(
    network: Network, radius: float, params: Params, standard: Standard
) -> Callable[[Images], Logits]:
    """Logits of pictures in [0, 1], blurred by a Gaussian of `radius` pixels."""
    run = _run(network, radius)
    return lambda pictures: run(params, pictures, standard)


def _looking_at(
    room: Room, network: Network, taught: Taught, blur: float
) -> Callable[[Images], Logits]:
    """Logits of a trained student."""
    params = {"trunk": taught.student["trunk"], "head": taught.student["classes"]}
    return looking(network, blur, params, room.pool.standard)


def probabilities(
    look: Callable[[Images], Logits], split: Split
) -> Float[np.ndarray, "n k"]:
    """What a model says of every film of a split.

    Raises `Diverged` for answers that are not finite, which finite weights may give.
    """
    said = []
    for start in range(0, split.size, CHUNK):
        part = split.images[start : start + CHUNK]
        short = min(CHUNK, split.size) - len(part)  # one shape, one compilation
        part = jnp.pad(part, ((0, short), (0, 0), (0, 0), (0, 0)))
        logits = np.asarray(look(part.astype(jnp.float32) / 255))
        said.append(logits[: len(logits) - short])
    answers = np.concatenate(said)
    if not np.isfinite(answers).all():
        raise Diverged("its answers on films are not finite numbers: lower its lr")
    return as_probabilities(answers)


def compare(first: Record, second: Record, labels: np.ndarray) -> Difference:
    """The paired test of DeLong between two models on the test films."""
    return delong_test(
        np.asarray(first["probabilities"]), np.asarray(second["probabilities"]), labels
    )


@lru_cache(maxsize=16)
def _run(network: Network, radius: float) -> Callable[..., Logits]:
    @jax.jit
    def run(params, pictures, standard):
        if radius:
            radii = jnp.full(len(pictures), radius, pictures.dtype)
            pictures = to_lines(blurred(to_lines(pictures), radii))
        return network.apply(params, from_unit(pictures, standard))

    return run


def scores_of(said: Float[np.ndarray, "n k"], labels: np.ndarray) -> Record:
    """Every score that is reported."""
    found = scores(said, labels)
    told = {name: found[name] for name in (*SCALARS, *BY_CLASS)}
    return told | {"calibration_error": calibration_error(said, labels)}


def _robustness(look: Callable[[Images], Logits], split: Split) -> Record:
    """The AUC by corruption and strength; all models see the same corrupted films."""
    pictures = split.images.astype(jnp.float32) / 255
    labels, key = np.asarray(split.labels), jax.random.key(0)
    curves = {
        name: robustness(look, pictures, labels, key, corruption=name, score="auc")
        for name in CORRUPTIONS
    }
    return {name: curve._asdict() for name, curve in curves.items()}
