"""A folder or zip with one folder per class, split or not, to a `Pool`."""

import hashlib
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from jaxdistill.data.class_layout import Item, assign, label, list_items, of_classes
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
    located,
    pooled,
)
from jaxdistill.data.remarks import remarks, shared_files
from jaxdistill.data.tree import Tree, narrowed, open_tree
from jaxdistill.errors import InputError
from jaxdistill.foreign.names import shown
from jaxdistill.ranges import Filled, Seed
from jaxdistill.settings import declared
from jaxdistill.types import Pool

T = TypeVar("T")


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
    Folders called `masks` below a class are ignored, and what lies beside the folder
    `within`. What may spoil scores, such as patients in two splits, is warned of, see
    `jaxdistill.data.remarks`. Raises `InputError` for a broken image, an empty class
    folder, a class missing from a split, or fewer than two classes.
    """
    fractions = {"test": test_fraction, "val": val_fraction}
    tree, items, split = _listed(path, root, group, within, classes, fractions, seed)
    class_names, labels = label(items)
    for remark in remarks(tree, items, split, group):
        warnings.warn(remark, stacklevel=3)
    decoded = decode_all(tree, items, size, channels)
    for remark in shared_files(items, split, [one.digest for one in decoded]):
        warnings.warn(remark, stacklevel=3)
    images = np.stack([one.pixels for one in decoded])
    ids = np.unique([item.group for item in items], return_inverse=True)[1]
    raw = {
        s: Raw(images[split == s], labels[split == s], ids[split == s]) for s in SPLITS
    }
    return pooled(tree.title, raw, class_names, kind, zca=zca)


def patients(
    path: str | os.PathLike,
    *,
    root: Root = "",
    val_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 0,
    group: str = "",
    within: str = "",
    classes: str = "",
    **others: Any,
) -> dict[str, str]:
    """The split of every patient that the settings of `folder` tell by a name."""
    del others  # what decides no split
    fractions = {"test": test_fraction, "val": val_fraction}
    _, items, split = _listed(path, root, group, within, classes, fractions, seed)
    named = zip(items, split.tolist(), strict=True)
    return {item.group: part for item, part in named if item.named}


def _listed(
    path: str | os.PathLike,
    root: str | os.PathLike,
    group: str,
    within: str,
    classes: str,
    fractions: dict[str, float],
    seed: int,
) -> tuple[Tree, list[Item], np.ndarray]:
    tree = narrowed(open_tree(located(path, root)), within)
    items = of_classes(list_items(tree, group), classes)
    return tree, items, assign(items, fractions, seed)


def decode(tree: Tree, item: Item, size: int, channels: int) -> Decoded:
    """One image; `InputError` for a broken one."""
    data = tree.read(item.file)
    pixels = fit_image(read_image(data, tree.name(item.file)), size, channels)
    return Decoded(pixels, hashlib.blake2b(data, digest_size=16).digest())


def decode_all(
    tree: Tree, items: list[Item], size: int, channels: int
) -> list[Decoded]:
    """All images, in order; `InputError` for broken ones."""
    return of_all(tree, items, lambda item: decode(tree, item, size, channels))


def of_all(tree: Tree, items: list[Item], make: Callable[[Item], T]) -> list[T]:
    """What is made of all files, in order, several at a time.

    Pillow and the codecs release the interpreter's lock. Raises `InputError` for broken
    files, after all were tried.
    """

    def tried(item: Item) -> T | InputError:
        try:
            return make(item)
        except InputError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        results = workers.map(tried, items)
        found = list(tqdm(results, f"reading {tree.title}", len(items), disable=None))
    broken = [one for one in found if isinstance(one, InputError)]
    if broken:
        more = len(broken) - 1
        rest = (
            f"; {more} more are broken, see 'jaxdistill data check {shown(tree.path)}'"
        )
        raise InputError(f"{broken[0]}{rest if more else ''}")
    return [one for one in found if not isinstance(one, InputError)]
