"""Trained classifiers as files of their own, and what they say of new films.

model.safetensors   a student, beside what it takes to use it: its networks, how
                    its films are standardised, the threshold of validation
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from jaxdistill.data.class_layout import is_mask
from jaxdistill.data.images import read_image
from jaxdistill.data.pixels import fit_image
from jaxdistill.data.tree import open_tree
from jaxdistill.errors import InputError
from jaxdistill.evaluation.metrics import as_probabilities
from jaxdistill.foreign.files import expanded
from jaxdistill.jobs.lessons.judging import CHUNK, looking
from jaxdistill.jobs.settings.build_backbones import built
from jaxdistill.run.files import write_atomic
from jaxdistill.run.rows import Row, as_csv
from jaxdistill.run.weights_file import fill, read_weights, write_weights
from jaxdistill.types import Images, Logits, Pool, Standard

STUDENT = "student."
NEEDED = ("backbone", "classes", "image_shape", "class_names")

Record = Mapping[str, Any]
Film = tuple[str, Callable[[], UInt8[np.ndarray, "h w c"]]]  # its name, its pixels


class Classifier(NamedTuple):
    """A trained student: logits of pictures in [0, 1], and what they mean."""

    look: Callable[[Images], Logits]
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    threshold: float | None  # of class 1, by validation; of two classes alone


def ship(
    file: Path, weights: Any, facts: Record, pool: Pool, blur: float, judged: Record
) -> None:
    """Write a model that stands for itself: weights, and what it takes to use them."""
    mean, std = (np.asarray(x, float).tolist() for x in pool.standard[:2])
    own = {"mean": mean, "std": std, "blur": blur, "threshold": judged.get("threshold")}
    write_weights(file, weights, {**facts, "use": own})


def load_classifier(path: Path) -> Classifier:
    """The student of a file that `ship` wrote.

    Raises `InputError` for another file, and for one that does not tell how its films
    are standardised.
    """
    tensors, facts = read_weights(path, NEEDED)
    if not isinstance(use := facts.get("use"), dict):
        raise InputError(
            f"{path} does not tell how its films are standardised: give the "
            "model.safetensors of jaxdistill selftrain or finetune; the command that "
            "made an older one writes it anew, and trains nothing again"
        )
    shape, names = tuple(facts["image_shape"]), tuple(facts["class_names"])
    made = built(facts, shape, len(names))
    k = jax.random.key(0)
    like = {
        "trunk": jax.eval_shape(made.backbone.init, k),
        "classes": jax.eval_shape(made.classes.init, k),
    }
    own = {
        name.removeprefix(STUDENT): one
        for name, one in tensors.items()
        if name.startswith((f"{STUDENT}trunk.", f"{STUDENT}classes."))
    }
    found = fill(path, like, own)
    params = {"trunk": found["trunk"], "head": found["classes"]}
    standard = Standard(jnp.asarray(use["mean"]), jnp.asarray(use["std"]))
    look = looking(made.network, use["blur"], params, standard)
    return Classifier(look, shape, names, use["threshold"])


def classify(
    model: Path, files: Sequence[Path], out: Path, say: Callable = print
) -> list[Row]:
    """Write a CSV of what a model says of films: pictures, folders and zips of them.

    A row is a film, the class that is called, and a probability for each class: of two
    the second is called where its probability reaches validation's `threshold`, which
    the row tells; of more the likeliest.
    Raises `InputError` after the last film for those that could not be read.
    """
    use = load_classifier(model)
    out, films = expanded(out), list(_films(files))
    _require_ours(out, _row("", np.zeros(len(use.class_names)), use))
    rows: list[Row] = []
    refused: list[str] = []
    with tqdm(total=len(films), desc="classifying", unit="film", disable=None) as bar:
        for start in range(0, len(films), CHUNK):
            named: list[str] = []
            pixels: list[np.ndarray] = []
            for name, read in films[start : start + CHUNK]:
                bar.update()
                try:
                    pixels.append(fit_image(read(), *use.image_shape[1:]))
                    named.append(name)
                except InputError as error:
                    refused.append(str(error))
                    say(f"left out: {error}")
            if named:
                said = probabilities_of(use, np.stack(pixels))
                rows += [_row(n, p, use) for n, p in zip(named, said, strict=True)]
    if rows:
        write_atomic(out, as_csv(rows).encode("utf-8", "backslashreplace"))
    if refused:
        raise InputError(
            f"{len(refused)} of {len(films)} films could not be read, the first "
            f"because {refused[0]}"
        )
    return rows


def probabilities_of(
    use: Classifier, pixels: UInt8[np.ndarray, "n h w c"]
) -> Float[np.ndarray, "n k"]:
    """Probabilities of classes, of films of the model's size.

    Raises `InputError` where they are no finite numbers.
    """
    short = -len(pixels) % CHUNK if len(pixels) > 1 else 0  # one shape, one program
    padded = np.pad(pixels, ((0, short), (0, 0), (0, 0), (0, 0)))
    logits = np.asarray(use.look(jnp.asarray(padded, jnp.float32) / 255))
    said = as_probabilities(logits[: len(pixels)])
    if not np.isfinite(said).all():
        raise InputError("the model's answers are no finite numbers: train it again")
    return said


def _row(name: str, said: Float[np.ndarray, " k"], use: Classifier) -> Row:
    called, rule = int(said.argmax()), {}
    if use.threshold is not None:
        called, rule = int(said[1] >= use.threshold), {"threshold": use.threshold}
    told = {f"p_{c}": float(p) for c, p in zip(use.class_names, said, strict=True)}
    return {"film": name, "called": use.class_names[called], **rule, **told}


def _films(files: Sequence[Path]) -> Iterator[Film]:
    """Every film by name; `InputError` for none, and for one that is named twice."""
    known: set[str] = set()
    for path in map(expanded, files):
        for name, read in _within(path):
            if name in known:
                raise InputError(f"{name} is given twice: name every film once")
            known.add(name)
            yield name, read
    if not known:
        raise InputError(
            f"{', '.join(map(str, files))} hold no picture: name films, or folders or "
            "zips of them"
        )


def _within(path: Path) -> Iterator[Film]:
    if not path.is_dir() and path.suffix.lower() != ".zip":
        yield str(path), lambda: read_image(path)
        return
    tree = open_tree(path, "films")

    def reader(file: PurePosixPath) -> Callable[[], UInt8[np.ndarray, "h w c"]]:
        return lambda: read_image(tree.read(file), tree.name(file))

    for file in tree.images:
        if not is_mask(file.parts, 0):
            yield tree.name(file), reader(file)


def _require_ours(out: Path, like: Row) -> None:
    """`InputError` where a file is there that this command did not write."""
    if not out.exists():
        return
    head = as_csv([like]).splitlines()[0].encode()
    if out.is_dir() or out.read_bytes()[: len(head)] != head:
        raise InputError(
            f"--out={out} is there, and is no table of such a model: name another file"
        )
