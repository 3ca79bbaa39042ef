"""What may spoil scores in class folders that can be used: said by a run and by check.

Patients and files in two splits, patients whose folders or names were not understood,
splits that were not recognised, and what was passed over.
"""

from collections.abc import Hashable, Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np

from jaxdistill.data.class_layout import SPLIT_FOLDERS, Item
from jaxdistill.data.tree import Tree
from jaxdistill.foreign.names import look_alikes, shown

Splits = Sequence[str] | np.ndarray
FLATTER = "test scores will flatter"
LIKE_SPLITS = ("train", "test", "val", "dev", "holdout", "hold_out")


def remarks(tree: Tree, items: list[Item], split: Splits, group: str) -> Iterator[str]:
    """Everything but equal files, for which pixels must be read."""
    yield from tree.passed
    yield from shared_patients(items, split)
    yield from _patient_folders(items, group)
    yield from _like_splits(tree, items)
    for alike in look_alikes(item.group for item in items):
        yield (
            f"the patients {' and '.join(ascii(name) for name in alike)} look alike "
            "but count as several: rename their files if they are one"
        )


def masks_passed_over(tree: Tree, items: list[Item]) -> Iterator[str]:
    """How many images lie in folders of masks, where they are expected to."""
    if left := len(tree.images) - len(items):
        yield (
            f"{_count(left, 'image')} of {shown(tree.path)} in folders of masks below "
            "classes: passed over"
        )


def shared_patients(items: list[Item], split: Splits) -> Iterator[str]:
    """How many patients have images in two splits or more."""
    places: dict[str, dict[str, int]] = {}
    for item, name in zip(items, split, strict=True):
        here = places.setdefault(item.group, {})
        here[str(name)] = here.get(str(name), 0) + 1
    shared = {group: here for group, here in places.items() if len(here) > 1}
    if shared:
        first, where = next(iter(shared.items()))
        images = sum(sum(here.values()) for here in shared.values())
        yield (
            f"{_count(len(shared), 'patient')} with {images} images "
            f"{'lies' if len(shared) == 1 else 'lie'} in more than one split, such as "
            f"{shown(first)!r} in {' and in '.join(sorted(where))}: {FLATTER}; keep "
            "each in one"
        )


def shared_files(
    items: list[Item], split: Splits, digests: Sequence[Hashable]
) -> Iterator[str]:
    """Files of one content in two splits."""
    seen: dict[Hashable, int] = {}
    twice: list[tuple[PurePosixPath, PurePosixPath]] = []
    for index, digest in enumerate(digests):
        first = seen.setdefault(digest, index)
        if split[first] != split[index]:
            twice.append((items[first].file, items[index].file))
    if twice:
        yield (
            f"{_count(len(twice), 'file')} in two splits with equal contents, such as "
            f"{shown(twice[0][0])} and {shown(twice[0][1])}: {FLATTER}; remove one"
        )


def _patient_folders(items: list[Item], group: str) -> Iterator[str]:
    """Folders below classes, which may be patients and do not count as such."""
    folders: dict[tuple[str, str], set[str]] = {}
    for item in items:
        above, _, _ = item.below.partition("/")
        known = group or PurePosixPath(item.below).name.find("__") > 0
        if above != item.below and not known:
            folders.setdefault((item.split, item.class_name), set()).add(above)
    for (_, class_name), found in folders.items():
        if len(found) > 1:
            yield (
                f"images of class {class_name!r} lie in {len(found)} folders below it, "
                f"such as {shown(min(found))}, which do not count as patients: if they "
                "are, say so by data.group='^([^/]+)/' (data check --group)"
            )
            return


def _like_splits(tree: Tree, items: list[Item]) -> Iterator[str]:
    """Folders that look like given splits and were taken for something else."""
    known = "call them train, val and test, above the class folders"
    names = sorted({item.class_name for item in items})
    alike = [name for name in names if name.lower().startswith(LIKE_SPLITS)]
    if alike:
        yield (
            f"{', '.join(map(shown, alike))} of {shown(tree.path)} were taken for "
            f"classes: if they are given splits, {known}"
        )
    below = {item.below.partition("/")[0] for item in items if "/" in item.below}
    if splits := sorted(name for name in below if name.lower() in SPLIT_FOLDERS):
        yield (
            f"folders {', '.join(map(shown, splits))} lie below the classes of "
            f"{shown(tree.path)} and were not taken for given splits: {known}"
        )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
