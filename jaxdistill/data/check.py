"""What a data file, folder or zip holds and, file by file, what is wrong with it."""

import collections
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from jaxdistill.data.class_folders import Item, assign, list_items
from jaxdistill.data.images import read_image
from jaxdistill.data.npz_sets import read_arrays
from jaxdistill.data.pool import SPLITS
from jaxdistill.data.tree import Tree, open_tree
from jaxdistill.errors import InputError


class Report(NamedTuple):
    """Lines that describe, problems that forbid use, and remarks that do not."""

    lines: list[str]
    problems: list[str]
    remarks: list[str]


def check(path: str | os.PathLike, group: str = "") -> Report:
    """Describe and judge a path as the loaders would; nothing is raised."""
    try:
        if Path(path).suffix.lower() == ".npz":
            return _check_npz(Path(path).expanduser())
        return _check_tree(open_tree(path), group)
    except InputError as error:
        return Report([], [str(error)], [])


def _check_npz(path: Path) -> Report:
    arrays = read_arrays(path)
    lines = [f"{key:14} {a.dtype} {a.shape}" for key, a in sorted(arrays.items())]
    problems: list[str] = []
    remarks: list[str] = []
    seen: set[int] = set()
    for split in SPLITS:
        images, labels = (
            arrays.get(f"{split}_{part}") for part in ("images", "labels")
        )
        if images is None or labels is None:
            # MNIST has no validation split; its loader holds one out.
            known = split == "val" and {"train_images", "test_images"} <= set(arrays)
            text = f"{path} has no {split}_images and {split}_labels"
            (remarks if known else problems).append(text)
            continue
        problems += _npz_faults(path, split, images, labels)
        if labels.dtype.kind in "iu" and labels.ndim > 0 and labels.size:
            found = dict(
                zip(
                    *(u.tolist() for u in np.unique(labels, return_counts=True)),
                    strict=True,
                )
            )
            lines.append(f"{split:5} images per label: {found}")
            unseen = set(found) - seen if split != "train" else set()
            seen |= set(found)
            problems += [
                f"label {label} of {path} is in {split} but not in train; no network "
                "can learn it: add training images or remove it"
                for label in sorted(unseen)
            ]
    return Report(lines, problems, remarks)


def _npz_faults(
    path: Path, split: str, images: np.ndarray, labels: np.ndarray
) -> Iterator[str]:
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        yield f"{split}_images in {path} hold NaN or infinite pixels"
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        yield (
            f"{split}_images in {path} are {images.dtype} of shape {images.shape}; "
            "they must be uint8 of (count, height, width) with or without channels"
        )
    if labels.dtype.kind not in "iu" or labels.shape not in (
        (len(images),),
        (len(images), 1),
    ):
        yield (
            f"{split}_labels in {path} are {labels.dtype} of shape {labels.shape}; one "
            f"integer for each of the {len(images)} images is needed"
        )


def _check_tree(tree: Tree, group: str) -> Report:
    problems: list[str] = []
    try:
        items = list_items(tree, group)
        split = assign(items, {"test": 0.15, "val": 0.15}, seed=0)
        problems += _missing_classes(items, split.tolist())
    except InputError as error:
        problems.append(str(error))
        items = [Item(file, "", str(file.parent), str(file)) for file in tree.images]
    seen = _describe_all(tree, items)
    problems += [fault for fault, _, _ in seen.values() if fault]
    lines = [*_class_lines(items), *_summary("pixels", [s[1] for s in seen.values()])]
    groups = {item.group for item in items}
    lines.append(f"groups (patients): {len(groups)} for {len(items)} images")
    remarks = [
        f"{tree.name(file)} is not an image and is ignored" for file in tree.others
    ]
    return Report(lines, problems, [*remarks, *_equal_files(tree, seen)])


def _describe_all(
    tree: Tree, items: list[Item]
) -> dict[PurePosixPath, tuple[str, str, int]]:
    """Per file: the fault or "", the shape as text, a hash of the bytes."""

    def describe(item: Item) -> tuple[str, str, int]:
        try:
            data = tree.read(item.file)
            height, width, channels = read_image(data, tree.name(item.file)).shape
        except InputError as error:
            return str(error), "", 0
        return (
            "",
            f"{width}x{height} {'grey' if channels == 1 else 'colour'}",
            hash(data),
        )

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        found = workers.map(describe, items)
        return {item.file: one for item, one in zip(items, found, strict=True)}


def _missing_classes(items: list[Item], split: list[str]) -> Iterator[str]:
    found = {(name, item.class_name) for name, item in zip(split, items, strict=True)}
    for class_name in sorted({item.class_name for item in items}):
        for name in SPLITS:
            if (name, class_name) not in found:
                yield (
                    f"class {class_name!r} has no image in {name}; every split needs "
                    "one of each class: add images or remove the class"
                )


def _class_lines(items: list[Item]) -> Iterator[str]:
    table = collections.Counter((i.split or "all", i.class_name) for i in items)
    for (split, class_name), count in sorted(table.items()):
        yield f"{split:5} {class_name:30} {count:7}"


def _summary(title: str, values: list[str], most: int = 5) -> Iterator[str]:
    table = collections.Counter(value for value in values if value)
    for value, count in table.most_common(most):
        yield f"{title}: {value}, {count} images"
    if len(table) > most:
        yield f"{title}: {len(table) - most} more sizes; all are made square"


def _equal_files(
    tree: Tree, seen: dict[PurePosixPath, tuple[str, str, int]]
) -> Iterator[str]:
    first: dict[int, PurePosixPath] = {}
    for file, (fault, _, digest) in seen.items():
        if not fault and first.setdefault(digest, file) != file:
            yield f"{tree.name(file)} equals {first[digest]}"
