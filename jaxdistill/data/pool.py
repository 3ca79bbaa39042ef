"""Arrays to a `Pool`: the one place where a data set is checked and standardised."""

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

from jaxdistill.data import standard as standards
from jaxdistill.errors import InputError
from jaxdistill.foreign.files import expanded
from jaxdistill.foreign.names import shown
from jaxdistill.ranges import OneOf, Range
from jaxdistill.settings import Small
from jaxdistill.types import Pool, Split

SPLITS = ("train", "val", "test")
KINDS = ("medical", "digits", "natural")
ENV = "JAXDISTILL_DATA"

# Settings that several sources have.
Root = Annotated[
    str | os.PathLike, "where data sets lie; empty: JAXDISTILL_DATA, or the cache"
]
ImageSize = Annotated[int, Range(8, 4096), "pixels a side", Small(16)]
DigitSize = Annotated[int, Range(8, 4096), "pixels a side", Small(28)]
Channels = Annotated[int, OneOf((1, 3)), "1 grey, 3 colour"]
Fraction = Annotated[float, Range(0, 1, above=True, below=True)]
Kind = Annotated[str, OneOf(KINDS), "of images, which augment=auto follows"]
Whiten = Annotated[bool, "whiten pixels instead of standardising channels"]


class Raw(NamedTuple):
    """One split on the host. Groups are numbered over the whole set."""

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int[np.ndarray, " n"]
    groups: Int[np.ndarray, " n"]


def make_pool(
    name: str,
    splits: dict[str, Raw],
    class_names: tuple[str, ...],
    kind: str = "medical",
    *,
    zca: bool = False,
) -> Pool:
    """A checked `Pool` on the default device, standardised by its training split.

    Warns of groups with images in two splits, which flatter scores. Raises `InputError`
    for pixels that are not bytes or are NaN, shapes that disagree, labels out of range,
    fewer than two classes, or a class that a split lacks.
    """
    pool = pooled(name, splits, class_names, kind, zca=zca)
    for remark in _shared_groups(name, splits):
        warnings.warn(remark, stacklevel=2)
    return pool


def pooled(
    name: str,
    splits: dict[str, Raw],
    class_names: tuple[str, ...],
    kind: str = "medical",
    *,
    zca: bool = False,
) -> Pool:
    """`make_pool` for whoever has told of groups in two splits."""
    require_sound(name, splits, class_names)
    fit = standards.fit_zca if zca else standards.fit
    standard = fit(splits["train"].images)
    on_device = {
        split: Split(
            jnp.asarray(splits[split].images),
            jnp.asarray(splits[split].labels, jnp.int32),
            jnp.asarray(splits[split].groups, jnp.int32),
            standard,
        )
        for split in SPLITS
    }
    return Pool(name, **on_device, class_names=tuple(class_names), kind=kind)


def require_sound(
    name: str, splits: Mapping[str, Raw], class_names: Sequence[str]
) -> None:
    """`InputError` for arrays that are no data set, see `make_pool`."""
    if len(class_names) < 2:
        raise InputError(
            f"data set {name!r} has {len(class_names)} class; a classifier needs two "
            "or more: add a folder or label for another class"
        )
    if twice := [n for n, count in Counter(class_names).items() if count > 1]:
        raise InputError(
            f"data set {name!r} has two classes called {twice[0]!r}: give each a name "
            "of its own"
        )
    if missing := [split for split in SPLITS if split not in splits]:
        raise InputError(
            f"data set {name!r} has no split {missing[0]!r}: give {', '.join(SPLITS)}"
        )
    shape = np.shape(splits["train"].images)[1:]
    for split in SPLITS:
        _check_arrays(name, split, splits[split], shape)
        _check_labels(name, split, splits[split].labels, len(class_names))
        _check_groups(name, split, splits[split].groups)
    _check_classes(name, splits, class_names)


def fingerprint(pool: Pool) -> str:
    """Sixteen hexadecimal digits that name what networks of this set were trained on.

    Covers training pixels and labels, class names and the standardisation: anything
    that changes what an expert has seen.
    """
    digest = hashlib.sha256()
    mean, std = (np.round(np.asarray(s, np.float64), 4) for s in pool.standard[:2])
    zca = pool.standard.whitening is not None
    head = (pool.train.images.shape, pool.class_names, mean.tolist(), std.tolist(), zca)
    digest.update(repr(head).encode())
    digest.update(np.asarray(pool.train.images).tobytes())
    digest.update(np.asarray(pool.train.labels, np.int32).tobytes())
    return digest.hexdigest()[:16]


def counts(pool: Pool) -> dict[str, dict[str, int]]:
    """Images per split and class name."""
    table = {}
    for split in SPLITS:
        labels = np.asarray(getattr(pool, split).labels)
        found = np.bincount(labels, minlength=pool.classes)
        table[split] = dict(zip(pool.class_names, found.tolist(), strict=True))
    return table


def data_root(root: str | os.PathLike | None = None) -> Path:
    """Where data sets lie: `root`, else `$JAXDISTILL_DATA`, else the user's cache.

    Raises `InputError` where a named folder does not exist.
    """
    if root:
        return _existing(expanded(root), f"data.root={str(root)!r}")
    if named := os.environ.get(ENV):
        return _existing(expanded(named), f"{ENV}={named!r}")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "jaxdistill"


def located(path: str | os.PathLike, root: str | os.PathLike) -> Path:
    """The path of a set as it is, else below the data root; `InputError` if neither."""
    given = expanded(path)
    if os.path.exists(given):
        return given
    home = data_root(root)
    if not os.path.exists(home / given) and not os.path.isabs(given):
        raise InputError(
            f"{shown(given)} does not exist in {shown(os.getcwd())} or in "
            f"{shown(home)}: correct the path, or name the folder that it lies in by "
            "data.root"
        )
    return home / given


def _shared_groups(name: str, splits: Mapping[str, Raw]) -> Iterator[str]:
    """A sentence where groups have images in more than one split."""
    pairs = {
        (a, b): np.intersect1d(splits[a].groups, splits[b].groups)
        for a, b in combinations(SPLITS, 2)
    }
    shared = np.unique(np.concatenate(list(pairs.values())))
    if shared.size:
        where = next(pair for pair, both in pairs.items() if both.size)
        first = int(pairs[where][0])
        yield (
            f"{len(shared)} of the groups of {name!r} have images in more than one "
            f"split, such as group {first} in {' and in '.join(where)}: test scores "
            "will flatter; keep each in one, and number groups over the whole set"
        )


def _existing(path: Path, said: str) -> Path:
    if not os.path.isdir(path):
        raise InputError(
            f"{shown(said)} is not a folder that exists: create it, or name the "
            "folder that holds the data files"
        )
    return path


def _check_arrays(name: str, split: str, raw: Raw, shape: tuple[int, ...]) -> None:
    images, at = raw.images, f"the {split} images of {name!r}"
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        bad = int(np.argmin(np.isfinite(images.reshape(len(images), -1)).all(axis=1)))
        raise InputError(
            f"{at} hold NaN or infinite pixels (first in image {bad}); pixels must be "
            "bytes from 0 to 255: repair or remove those images"
        )
    if images.dtype != np.uint8:
        raise InputError(
            f"{at} are {images.dtype}; pixels must be uint8 from 0 to 255: convert "
            "them to bytes first"
        )
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise InputError(
            f"{at} have shape {images.shape}; it must be (count, height, width, 1 or "
            "3): reshape the array"
        )
    if len(images) == 0:
        raise InputError(
            f"the {split} split of {name!r} holds no image; every split needs some: "
            "add images to it"
        )
    if images.shape[1:] != shape:
        raise InputError(
            f"{at} are {_by(images.shape[1:])} but those of train are {_by(shape)}; "
            "one data set has one size: resize them"
        )
    if not len(images) == len(raw.labels) == len(raw.groups):
        raise InputError(
            f"{at} number {len(images)} but there are {len(raw.labels)} labels and "
            f"{len(raw.groups)} groups; each image has one of both: repair the file"
        )


def _check_labels(name: str, split: str, labels: np.ndarray, classes: int) -> None:
    at = f"the {split} labels of {name!r}"
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(
            f"{at} are {labels.dtype} of shape {labels.shape}; they must be one "
            "integer an image: convert them"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            f"{at} run from {labels.min()} to {labels.max()}; with {classes} classes "
            f"they must lie in 0 to {classes - 1}: correct the labels or the class "
            "names"
        )


def _check_groups(name: str, split: str, groups: np.ndarray) -> None:
    most = np.iinfo(np.int32).max
    whole = groups.ndim == 1 and groups.dtype.kind in "iu"
    if not whole or groups.min() < 0 or groups.max() > most:
        raise InputError(
            f"the {split} groups of {name!r} are {groups.dtype} of shape "
            f"{groups.shape}; they must be one whole number an image, from 0 to "
            f"{most:,}: number the patients"
        )


def _check_classes(
    name: str, splits: Mapping[str, Raw], class_names: Sequence[str]
) -> None:
    found = {
        split: np.bincount(splits[split].labels, minlength=len(class_names)) > 0
        for split in SPLITS
    }
    for number, class_name in enumerate(class_names):
        here = [split for split in SPLITS if found[split][number]]
        if "train" not in here and here:
            raise InputError(
                f"class {class_name!r} of {name!r} is in {here[-1]} but not in train; "
                "no network can learn it: add training images or remove the class"
            )
        if missing := [split for split in SPLITS if split not in here]:
            raise InputError(
                f"class {class_name!r} of {name!r} has no image in {missing[0]}; every "
                "split needs one of each class: add images or remove the class"
            )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
