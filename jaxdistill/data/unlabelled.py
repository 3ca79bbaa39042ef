"""Films without labels from a folder of their own, of no patient that has a label."""

import hashlib
import os
import re
import warnings
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from jaxdistill.data.class_folders import decode, of_all
from jaxdistill.data.class_layout import (
    Item,
    compile_group,
    descend,
    group_of,
    is_mask,
    patient_in,
)
from jaxdistill.data.pool import SPLITS, located
from jaxdistill.data.tree import open_tree
from jaxdistill.errors import InputError
from jaxdistill.foreign.names import listed
from jaxdistill.types import Pool

Rows = Int[np.ndarray, " n"]
Read = Callable[[Rows], UInt8[np.ndarray, "n h w c"]]


class Unlabelled(NamedTuple):
    """Films on the host or in their files, with their names and their patients'.

    `told` are the names that a patient may have by the end of a path: nobody knows how
    many folders lie above patients, where films have no classes.
    """

    read: Read
    names: tuple[str, ...]
    groups: tuple[str, ...]
    told: frozenset[str]
    prints: tuple[bytes, ...]  # of the pixels of every film
    streamed: bool = False


def read_unlabelled(
    path: str | os.PathLike,
    like: Pool,
    *,
    root: str | os.PathLike = "",
    group: str = "",
    stream: bool = False,
) -> Unlabelled:
    """All films of a folder or zip, whatever its folders, at the size of a pool's.

    `group` finds the patient in a path, as in `class_folders.folder`. With `stream` the
    films are looked at once, and read again when they are asked for. Links that were
    not followed are warned of, and pictures in folders called `masks`, which are passed
    over. Raises `InputError` for a folder without a film, and for broken ones.
    """
    tree = open_tree(located(path, root), "films")
    for sentence in tree.passed:
        warnings.warn(sentence, stacklevel=2)
    pattern = compile_group(group)
    top = descend(tree)
    parts = {file: file.relative_to(top).parts for file in tree.images}
    films = {file: below for file, below in parts.items() if not is_mask(below, 0)}
    if masks := len(parts) - len(films):
        warnings.warn(
            f"{masks} pictures of {tree.path} in folders of masks: passed over",
            stacklevel=2,
        )
    told = {file: _patients(below, pattern) for file, below in films.items()}
    items = [
        Item(file, "", "", next(iter(told[file]), "/".join(below)))
        for file, below in films.items()
    ]
    if not items:
        raise InputError(
            f"films.unlabelled={str(path)!r} holds no picture: name the folder or zip "
            "of films without labels"
        )
    size, _, channels = like.image_shape
    names = tuple(str(item.file) for item in items)
    groups = tuple(item.group for item in items)
    known = frozenset[str]().union(*told.values())

    def pixels(item: Item) -> UInt8[np.ndarray, "h w c"]:
        return decode(tree, item, size, channels).pixels

    if stream:
        prints = of_all(tree, items, lambda item: _print(pixels(item)))
        read = lambda rows: np.stack([pixels(items[row]) for row in rows])  # noqa: E731
        return Unlabelled(read, names, groups, known, tuple(prints), streamed=True)
    images = np.stack(of_all(tree, items, pixels))
    printed = tuple(map(_print, images))
    return Unlabelled(images.__getitem__, names, groups, known, printed)


def require_apart(found: Unlabelled, pool: Pool, known: Mapping[str, str]) -> None:
    """`InputError` where films without labels are of patients of the pool.

    `known` is the split of each patient that is known by name; beside it, films of
    equal pixels are found in any split.
    """
    shared = sorted(found.told & set(known))
    if shared:
        raise InputError(
            "films.unlabelled holds films of patients of the labelled data, "
            f"{len(shared)} in number, such as {shared[0]!r} of {known[shared[0]]}: "
            "remove their films from the folder, or scores would flatter"
        )
    ours = dict(zip(found.prints, found.names, strict=True))
    for split in SPLITS:
        theirs = map(_print, np.asarray(getattr(pool, split).images))
        if again := {ours[one] for one in theirs if one in ours}:
            raise InputError(
                f"films.unlabelled holds films of the {split} split, pixel by pixel, "
                f"{len(again)} in number, {listed(again, 3)}: remove them from the "
                "folder, or scores would flatter"
            )


def _patients(below: tuple[str, ...], pattern: re.Pattern | None) -> list[str]:
    """Whom a path may be of: by all of it first, then with fewer folders above.

    Raises `InputError` where a pattern finds nobody.
    """
    ends = ["/".join(below[at:]) for at in range(len(below))]
    found = [name for end in ends if (name := patient_in(end, pattern)) is not None]
    return found or ([group_of(ends[0], pattern)] if pattern else [])  # which refuses


def _print(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()
