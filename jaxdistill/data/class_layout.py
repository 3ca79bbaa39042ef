"""Which class, split and patient a file is of, as its folders and its name say."""

import re
import unicodedata
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxdistill.data.splits import carve
from jaxdistill.data.tree import Tree
from jaxdistill.errors import InputError, require_name
from jaxdistill.foreign.names import is_text, look_alikes, shown
from jaxdistill.foreign.patterns import search
from jaxdistill.ranges import words_of

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
MASK_FOLDERS = {"mask", "masks"}  # beside the images in COVID-19 Radiography
Parts = tuple[str, ...]


class Item(NamedTuple):
    """One image file: where it lies and what its folders and name say."""

    file: PurePosixPath
    split: str  # empty where no split folder was given
    class_name: str
    group: str
    below: str = ""  # its path below the class folder
    named: bool = False  # whether the group is a patient's name, not the path


def list_items(tree: Tree, group: str = "") -> list[Item]:
    """Every image with its split, class and group; `InputError` for a bad layout."""
    pattern = compile_group(group)
    top = descend(tree)
    files = [(file, file.relative_to(top).parts) for file in tree.images]
    has_splits = any(len(p) > 2 and p[0].lower() in SPLIT_FOLDERS for _, p in files)
    depth = 2 if has_splits else 1
    if files and top.name and all(len(parts) == 1 for _, parts in files):
        raise InputError(
            f"{tree.name(top)} is the one class folder of {shown(tree.path)}; a "
            "classifier needs two or more: give each class its own folder"
        )
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
    items = [
        _item(file, parts, depth, pattern)
        for file, parts in files
        if not is_mask(parts, depth)
    ]
    _check_folders(tree, top, items, depth)
    _check_names(tree, items)
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


def is_mask(parts: Parts, depth: int) -> bool:
    """Whether a file lies in a folder of masks below its class, and so is no image."""
    return any(part.lower() in MASK_FOLDERS for part in parts[depth:-1])


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
                f"class {item.class_name!r} is in {item.split} ({shown(item.file)}) "
                "but not in train; no network can learn it: add training images or "
                "remove the class"
            )
    if missing:
        groups = [items[row].group for row in rows]
        split[rows] = carve(labels[rows], groups, missing, seed, class_names)
    return split


def _item(
    file: PurePosixPath, parts: Parts, depth: int, pattern: re.Pattern | None
) -> Item:
    split = SPLIT_FOLDERS[parts[0].lower()] if depth == 2 else ""
    name, below = parts[depth - 1], "/".join(parts[depth:])
    told = group_of(below, pattern) if pattern else patient_in(below)
    whole = unicodedata.normalize("NFC", "/".join(parts))
    return Item(file, split, name, told or whole, below, told is not None)


def group_of(name: str, pattern: re.Pattern, said: str = "data.group") -> str:
    """The patient that a pattern finds in a name; `InputError` where it finds none."""
    told = patient_in(name, pattern, said)
    if told is None:
        raise InputError(
            f"{said}={pattern.pattern!r} does not match {shown(name)!r}; it must find "
            "the patient in every name: correct the pattern"
        )
    return told


def patient_in(
    below: str, pattern: re.Pattern | None = None, said: str = "data.group"
) -> str | None:
    """The patient that a path tells, by a pattern or by `__` in the name, if any.

    Some systems write an accent as a letter of its own: still one patient's name.
    """
    if pattern is None:
        key, mark, _ = PurePosixPath(below).name.partition("__")
        return unicodedata.normalize("NFC", key) if mark and key else None
    try:
        match = search(pattern, below)
    except TimeoutError as error:
        raise InputError(
            f"{said}={pattern.pattern!r} finds no end in {shown(below)!r}: write "
            "it without a repetition inside a repetition, as in (a+)+"
        ) from error
    found = match[min(pattern.groups, 1)] if match else None
    return None if found is None else unicodedata.normalize("NFC", found)


def compile_group(group: str, said: str = "data.group") -> re.Pattern | None:
    """The pattern of a setting; `InputError` for one that is none."""
    try:
        return re.compile(group) if group else None
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(
            f"{said}={group!r} is not a regular expression ({error}): correct it"
        ) from error


def descend(tree: Tree) -> PurePosixPath:
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
    found = sorted({item.class_name for item in items})
    if len(found) < 2:
        held = f"images of one class folder, {shown(found[0])}" if found else "no image"
        raise InputError(
            f"{shown(tree.path)} holds {held}; a classifier needs two class folders or "
            "more: give each class its own folder"
        )
    filled = {
        PurePosixPath(*item.file.parts[: len(top.parts) + depth]) for item in items
    }
    for below in sorted(tree.folders):
        here = _lower(below, top)
        if len(here) != depth or (depth == 2 and here[0] not in SPLIT_FOLDERS):
            continue
        if below not in filled:
            raise InputError(
                f"the class folder {tree.name(below)} holds no image; every class "
                "needs some: add images or remove the folder"
            )


def _check_names(tree: Tree, items: list[Item]) -> None:
    """`InputError` for classes that no file of ours can name, or that look alike."""
    names = {item.class_name for item in items}
    for name in sorted(names):
        if not is_text(name):
            raise InputError(
                f"the class folder {shown(tree.path)}/{shown(name)} has a name that is "
                "not UTF-8, the writing of all our files: rename it"
            )
    for alike in look_alikes(names):
        told = " and ".join(ascii(name) for name in alike)
        raise InputError(
            f"the class folders {told} of {shown(tree.path)} look alike but are not "
            "one: merge them, or give them names that differ"
        )


def _lower(path: PurePosixPath, top: PurePosixPath) -> Parts:
    """Lower-case parts below `top`, none for what lies elsewhere."""
    if not path.is_relative_to(top):
        return ()
    return tuple(part.lower() for part in path.relative_to(top).parts)
