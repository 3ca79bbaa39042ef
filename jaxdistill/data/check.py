"""What a data file, folder or zip holds and, file by file, what is wrong with it.

It judges by the same functions as a run does, and tells what a run cannot see to.
"""

import collections
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from jaxdistill.data.class_layout import Item, assign, label, list_items
from jaxdistill.data.images import read_image
from jaxdistill.data.npz_sets import as_raw, check_published, read_arrays
from jaxdistill.data.pool import SPLITS, Raw, require_sound
from jaxdistill.data.registry import MEDMNIST, SIZES, file_name
from jaxdistill.data.remarks import masks_passed_over, remarks, shared_files
from jaxdistill.data.tree import Tree, open_tree
from jaxdistill.errors import InputError
from jaxdistill.foreign.arrays import Header
from jaxdistill.foreign.files import expanded
from jaxdistill.foreign.names import shown

MNIST = {"mnist.npz": tuple("0123456789")}
FRACTIONS = {"test": 0.15, "val": 0.15}  # that a run takes where nothing is said


class Report(NamedTuple):
    """Lines that describe, problems that forbid use, and remarks that do not."""

    lines: list[str]
    problems: list[str]
    remarks: list[str]


class Seen(NamedTuple):
    """What one file shows: a fault or "", its size, its digest, whether it is blank."""

    fault: str
    shape: str = ""
    digest: bytes = b""
    blank: str = ""


def check(path: str | os.PathLike, group: str = "") -> Report:
    """Describe and judge a path as the loaders would; nothing is raised."""
    try:
        where = expanded(path)
        if where.suffix.lower() == ".npz":
            return _check_npz(where)
        return _check_tree(open_tree(where), group)
    except InputError as error:
        return Report([], [str(error)], [])


def _check_npz(path: Path) -> Report:
    known = {file_name(n, s): (f, s) for n, f in MEDMNIST.items() for s in SIZES}
    facts, size = known.get(path.name, (None, 0))
    most = {"most": facts.bytes(size)} if facts else {}
    arrays = read_arrays(path, **most)
    lines = [
        f"{shown(key):14} {a.dtype} {a.shape}" for key, a in sorted(arrays.items())
    ]
    found: dict[str, Any] = {}
    problems: list[str] = []
    notes: list[str] = []
    for split in SPLITS:
        images, labels = (
            arrays.get(f"{split}_{part}") for part in ("images", "labels")
        )
        if images is None or labels is None:
            # MNIST has no validation split; its loader holds one out.
            held = split == "val" and {"train_images", "test_images"} <= set(arrays)
            text = f"{shown(path)} has no {split}_images and {split}_labels"
            (notes if held else problems).append(text)
            continue
        try:
            found[split] = as_raw(path, split, images, labels, 0)
        except InputError as error:
            problems.append(str(error))
            continue
        counted = np.unique(labels, return_counts=True)
        table = dict(zip(*(part.tolist() for part in counted), strict=True))
        lines.append(f"{split:5} images per label: {table}")
    problems += _faults(path, arrays, found, facts, size)
    if not facts and path.name not in MNIST:
        notes.append(
            f"no data.name reads a file called {shown(path.name)}: a MedMNIST set and "
            "mnist.npz are read by the names of their files, other images as a folder"
        )
    return Report(lines, problems, notes)


def _faults(
    path: Path, arrays: Any, found: Any, facts: Any, size: int
) -> Iterator[str]:
    """What the loaders would refuse of arrays that belong together."""
    try:
        if facts:
            said = {key: Header(a.dtype, a.shape) for key, a in arrays.items()}
            check_published(path, said, facts, size)
        if {"train", "test"} <= set(found):
            names = facts.classes if facts else MNIST.get(path.name)
            if names is None:
                found, names = _numbered(found)
            whole = {split: found.get(split, found["train"]) for split in SPLITS}
            require_sound(shown(path.name), whole, names)
    except InputError as error:
        yield str(error)


def _numbered(found: dict[str, Raw]) -> tuple[dict[str, Raw], tuple[str, ...]]:
    """The splits with a class for each label, whatever number that is."""
    known = np.unique(np.concatenate([raw.labels for raw in found.values()]))
    made = {
        split: raw._replace(labels=np.searchsorted(known, raw.labels))
        for split, raw in found.items()
    }
    return made, tuple(map(str, known.tolist()))


def _check_tree(tree: Tree, group: str) -> Report:
    problems: list[str] = []
    notes: list[str] = []
    split: list[str] = []
    try:
        items = list_items(tree, group)
        split = assign(items, FRACTIONS, seed=0).tolist()
        problems += _missing_classes(items, split)
        notes += [*masks_passed_over(tree, items), *remarks(tree, items, split, group)]
    except InputError as error:
        problems.append(str(error))
        items = [Item(file, "", str(file.parent), str(file)) for file in tree.images]
    seen = _describe_all(tree, items)
    problems += [one.fault for one in seen.values() if one.fault]
    lines = [
        *_class_lines(items),
        *_summary("pixels", [s.shape for s in seen.values()]),
    ]
    groups = {item.group for item in items}
    lines.append(f"groups (patients): {len(groups)} for {len(items)} images")
    if split:
        digests = [seen[item.file].digest or index for index, item in enumerate(items)]
        notes += shared_files(items, split, digests)
    notes += [one.blank for one in seen.values() if one.blank]
    notes += [
        f"{tree.name(file)} is not an image and is ignored" for file in tree.others
    ]
    return Report(lines, problems, [*notes, *_equal_files(tree, seen)])


def _describe_all(tree: Tree, items: list[Item]) -> dict[PurePosixPath, Seen]:
    def describe(item: Item) -> Seen:
        name = tree.name(item.file)
        try:
            data = tree.read(item.file)
            pixels = read_image(data, name)
        except InputError as error:
            return Seen(str(error))
        height, width, channels = pixels.shape
        blank = ""
        if pixels.min() == pixels.max():
            blank = f"{name} shows nothing: all its pixels are {int(pixels.min())}"
        colour = "grey" if channels == 1 else "colour"
        digest = hashlib.blake2b(data, digest_size=16).digest()
        return Seen("", f"{width}x{height} {colour}", digest, blank)

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        found = workers.map(describe, items)
        return {item.file: one for item, one in zip(items, found, strict=True)}


def _missing_classes(items: list[Item], split: list[str]) -> Iterator[str]:
    found = {(name, item.class_name) for name, item in zip(split, items, strict=True)}
    for class_name in label(items)[0]:
        for name in SPLITS:
            if (name, class_name) not in found:
                yield (
                    f"class {class_name!r} has no image in {name}; every split needs "
                    "one of each class: add images or remove the class"
                )


def _class_lines(items: list[Item]) -> Iterator[str]:
    table = collections.Counter((i.split or "all", i.class_name) for i in items)
    for (split, class_name), count in sorted(table.items()):
        yield f"{split:5} {shown(class_name):30} {count:7}"


def _summary(title: str, values: list[str], most: int = 5) -> Iterator[str]:
    table = collections.Counter(value for value in values if value)
    for value, count in table.most_common(most):
        yield f"{title}: {value}, {count} images"
    if len(table) > most:
        yield f"{title}: {len(table) - most} more sizes; all are made square"


def _equal_files(tree: Tree, seen: dict[PurePosixPath, Seen]) -> Iterator[str]:
    first: dict[bytes, PurePosixPath] = {}
    for file, one in seen.items():
        if not one.fault and first.setdefault(one.digest, file) != file:
            yield f"{tree.name(file)} equals {shown(first[one.digest])}"
