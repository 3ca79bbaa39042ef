"""A folder or zip with one folder per class, split or not, to a `Pool`."""

import hashlib
import os
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Annotated, NamedTuple

import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from jaxdistill.data.images import read_image
from jaxdistill.data.pixels import fit_image
from jaxdistill.data.pool import (
    SPLITS,
    Channels,
    Fraction,
    ImageSize,
    Kind,
    Raw,
    Root,
    Whiten,
    data_root,
    make_pool,
)
from jaxdistill.data.splits import carve
from jaxdistill.data.tree import Tree, narrowed, open_tree
from jaxdistill.errors import InputError, require_name
from jaxdistill.ranges import Filled, Seed, words_of
from jaxdistill.settings import declared
from jaxdistill.types import Pool

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
MASK_FOLDERS = {"mask", "masks"}  # beside the images in COVID-19 Radiography


class Item(NamedTuple):
    """One image file: where it lies and what its folders and name say."""

    file: PurePosixPath
    split: str  # empty where no split folder was given
    class_name: str
    group: str


class Decoded(NamedTuple):
    """Pixels of one file and the digest of its bytes."""

    pixels: np.ndarray
    digest: bytes


@declared("data")
def folder(
    path: Annotated[str | os.PathLike, Filled(), "the folder or zip of class folders"],
    size: ImageSize = 64,
    channels: Channels = 1,
    *,
    root: Root = "",
    val_fraction: Annotated[Fraction, "validation's share, where not given"] = 0.15,
    test_fraction: Annotated[Fraction, "test's share, where not given"] = 0.15,
    seed: Annotated[Seed, "of the split"] = 0,
    group: Annotated[str, "pattern that finds the patient in a path"] = "",
    within: Annotated[str, "folder of it that holds the class folders"] = "",
    classes: Annotated[str, "class folders to read, with commas; empty: all"] = "",
    kind: Kind = "medical",
    zca: Whiten = False,
) -> Pool:
    """Images in one folder per class, in a directory or a zip, made square at `size`.

    `train`, `val` and `test` above the class folders are kept; a missing split is taken
    from train, stratified by class and with groups kept whole. A group is the first
    match of the regular expression `group` in the path below the class folder (its
    first parenthesis if it has one), by default the file name up to `__`, else the
    file. A path that is not there is looked for under the data root, see `data_root`.
    Folders called `masks` are ignored, and what lies beside the folder `within`. Raises
    `InputError` for a broken image, an
    empty class folder, a class missing from a split, or fewer than two classes.
    """
    given = Path(path).expanduser()
    tree = open_tree(given if given.exists() else data_root(root) / given)
    items = of_classes(list_items(narrowed(tree, within), group), classes)
    class_names, labels = label(items)
    fractions = {"test": test_fraction, "val": val_fraction}
    split = assign(items, fractions, seed)
    decoded = _decode_all(tree, items, size, channels)
    _warn_of_leaks(items, split, decoded)
    images = np.stack([one.pixels for one in decoded])
    ids = np.unique([item.group for item in items], return_inverse=True)[1]
    raw = {
        s: Raw(images[split == s], labels[split == s], ids[split == s]) for s in SPLITS
    }
    return make_pool(tree.path.stem, raw, class_names, kind, zca=zca)


def list_items(tree: Tree, group: str = "") -> list[Item]:
    """Every image with its split, class and group; `InputError` for a bad layout."""
    pattern = _compile(group)
    top = _descend(tree)
    found = [f for f in tree.images if not MASK_FOLDERS & set(_lower(f, top)[:-1])]
    files = [(file, file.relative_to(top).parts) for file in found]
    has_splits = any(len(p) > 2 and p[0].lower() in SPLIT_FOLDERS for _, p in files)
    depth = 2 if has_splits else 1
    for file, parts in files:
        if len(parts) <= depth or (
            has_splits and parts[0].lower() not in SPLIT_FOLDERS
        ):
            wanted = (
                "train, val or test with class folders" if has_splits else "a class"
            )
            raise InputError(
                f"{tree.name(file)} lies outside the folder of {wanted}: move it into "
                "one or remove it"
            )
    items = [_item(file, parts, depth, pattern) for file, parts in files]
    _check_folders(tree, top, items, depth)
    return items


def of_classes(items: list[Item], wanted: str) -> list[Item]:
    """The items of the classes named; `InputError` for one that there is not."""
    known = sorted({item.class_name for item in items})
    names = words_of(wanted) or tuple(known)
    for name in names:
        require_name("data.classes", name, known)
    if len(set(names)) < 2:
        raise InputError(
            f"data.classes={wanted!r} names one class; a classifier needs two or more: "
            f"name others of {', '.join(known)}"
        )
    return [item for item in items if item.class_name in names]


def label(items: list[Item]) -> tuple[tuple[str, ...], Int[np.ndarray, " n"]]:
    """The class names in alphabetical order, and the number of each item's class."""
    names, labels = np.unique([item.class_name for item in items], return_inverse=True)
    return tuple(names.tolist()), labels.astype(np.int32)


def assign(items: list[Item], fractions: dict[str, float], seed: int) -> np.ndarray:
    """The split of every image: as given, or drawn from train where it is missing.

    Raises `InputError` for a class that train lacks, or too small to be split.
    """
    class_names, labels = label(items)
    split = np.array([item.split or "train" for item in items])
    missing = {name: share for name, share in fractions.items() if name not in split}
    rows = np.flatnonzero(split == "train")
    present = np.unique(labels[rows])
    for item, number in zip(items, labels, strict=True):
        if number not in present:
            raise InputError(
                f"class {item.class_name!r} is in {item.split} ({item.file}) but not "
                "in train; no network can learn it: add training images or remove the "
                "class"
            )
    if missing:
        groups = [items[row].group for row in rows]
        split[rows] = carve(labels[rows], groups, missing, seed, class_names)
    return split


def _item(
    file: PurePosixPath, parts: tuple[str, ...], depth: int, pattern: re.Pattern | None
) -> Item:
    split = SPLIT_FOLDERS[parts[0].lower()] if depth == 2 else ""
    name, below = parts[depth - 1], "/".join(parts[depth:])
    return Item(file, split, name, _group_of(below, "/".join(parts), pattern))


def _group_of(below: str, whole: str, pattern: re.Pattern | None) -> str:
    if pattern is None:
        key, mark, _ = PurePosixPath(below).name.partition("__")
        return key if mark and key else whole
    match = pattern.search(below)
    if match is None:
        raise InputError(
            f"data.group={pattern.pattern!r} does not match {below!r}; it must find "
            "the patient in every file: correct the pattern"
        )
    return match[1] if pattern.groups else match[0]


def _compile(group: str) -> re.Pattern | None:
    try:
        return re.compile(group) if group else None
    except re.error as error:
        raise InputError(
            f"data.group={group!r} is not a regular expression ({error}): correct it"
        ) from error


def _descend(tree: Tree) -> PurePosixPath:
    """Below wrapping folders such as the one that a zip usually begins with."""
    top = PurePosixPath(".")
    while not any(image.parent == top for image in tree.images):
        below = [folder for folder in tree.folders if folder.parent == top]
        if len(below) != 1 or below[0].name.lower() in SPLIT_FOLDERS:
            break
        top = below[0]
    return top


def _check_folders(
    tree: Tree, top: PurePosixPath, items: list[Item], depth: int
) -> None:
    if len({item.class_name for item in items}) < 2:
        raise InputError(
            f"{tree.path} holds images of {len({i.class_name for i in items})} class "
            "folders; a classifier needs two or more: give each class its own folder"
        )
    filled = {
        PurePosixPath(*item.file.parts[: len(top.parts) + depth]) for item in items
    }
    for below in sorted(tree.folders):
        here = _lower(below, top)
        if len(here) != depth or (depth == 2 and here[0] not in SPLIT_FOLDERS):
            continue
        if below not in filled and here[-1] not in MASK_FOLDERS:
            raise InputError(
                f"the class folder {tree.name(below)} holds no image; every class "
                "needs some: add images or remove the folder"
            )


def _decode_all(
    tree: Tree, items: list[Item], size: int, channels: int
) -> list[Decoded]:
    """All images, in order; Pillow and the codecs release the interpreter's lock."""

    def decode(item: Item) -> Decoded | InputError:
        try:
            data = tree.read(item.file)
            pixels = fit_image(read_image(data, tree.name(item.file)), size, channels)
        except InputError as error:
            return error
        return Decoded(pixels, hashlib.blake2b(data, digest_size=16).digest())

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        results = workers.map(decode, items)
        bar = tqdm(results, f"reading {tree.path.name}", len(items), disable=None)
        decoded = list(bar)
    broken = [one for one in decoded if isinstance(one, InputError)]
    if broken:
        more = len(broken) - 1
        rest = f"; {more} more are broken, see 'jaxdistill data check {tree.path}'"
        raise InputError(f"{broken[0]}{rest if more else ''}")
    return [one for one in decoded if isinstance(one, Decoded)]


def _warn_of_leaks(
    items: list[Item], split: np.ndarray, decoded: list[Decoded]
) -> None:
    """One warning each for a file and for a group found in two splits."""
    files: dict[bytes, int] = {}
    groups: dict[str, int] = {}
    twice, shared = [], []
    for index, (item, one) in enumerate(zip(items, decoded, strict=True)):
        first = files.setdefault(one.digest, index)
        if split[first] != split[index]:
            twice.append((items[first].file, item.file))
        first = groups.setdefault(item.group, index)
        if split[first] != split[index]:
            shared.append((item.group, split[first], split[index]))
    if twice:
        warnings.warn(
            f"{len(twice)} files lie in two splits with equal contents, such as "
            f"{twice[0][0]} and {twice[0][1]}: test scores will flatter; remove one",
            stacklevel=3,
        )
    if shared:
        warnings.warn(
            f"group {shared[0][0]!r} is in {shared[0][1]} and in {shared[0][2]}, and "
            f"{len(shared) - 1} more images share a group so: test scores will flatter",
            stacklevel=3,
        )


def _lower(path: PurePosixPath, top: PurePosixPath) -> tuple[str, ...]:
    """Lower-case parts below `top`, none for what lies elsewhere."""
    if not path.is_relative_to(top):
        return ()
    return tuple(part.lower() for part in path.relative_to(top).parts)
