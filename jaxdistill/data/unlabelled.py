"""Films without labels from a folder of their own, of no patient that has a label."""

import hashlib
import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxdistill.data.class_folders import decode_all
from jaxdistill.data.class_layout import Item, compile_group, group_of
from jaxdistill.data.pool import SPLITS, located
from jaxdistill.data.tree import open_tree
from jaxdistill.errors import InputError
from jaxdistill.types import Pool


class Unlabelled(NamedTuple):
    """Films on the host, and their patients by name."""

    images: UInt8[np.ndarray, "n h w c"]
    groups: tuple[str, ...]


def read_unlabelled(
    path: str | os.PathLike,
    like: Pool,
    *,
    root: str | os.PathLike = "",
    group: str = "",
) -> Unlabelled:
    """All films of a folder or zip, whatever its folders, at the size of a pool's.

    `group` finds the patient in a path, as in `class_folders.folder`. Raises
    `InputError` for a folder without a film, and for broken ones.
    """
    tree = open_tree(located(path, root), "films")
    pattern = compile_group(group)
    items = [
        Item(file, "", "", group_of(str(file), str(file), pattern))
        for file in tree.images
    ]
    if not items:
        raise InputError(
            f"films.unlabelled={str(path)!r} holds no picture: name the folder or zip "
            "of films without labels"
        )
    size, _, channels = like.image_shape
    images = np.stack([one.pixels for one in decode_all(tree, items, size, channels)])
    return Unlabelled(images, tuple(item.group for item in items))


def require_apart(found: Unlabelled, pool: Pool, known: Mapping[str, str]) -> None:
    """`InputError` where films without labels are of patients of the pool.

    `known` is the split of each patient that is known by name; beside it, films of
    equal pixels are found in any split.
    """
    shared = sorted(set(found.groups) & set(known))
    if shared:
        raise InputError(
            f"films.unlabelled holds films of {len(shared)} patients of the labelled "
            f"data, such as {shared[0]!r} of {known[shared[0]]}: remove their films "
            "from the folder, or scores would flatter"
        )
    mine = {_print(image) for image in found.images}
    for split in SPLITS:
        theirs = np.asarray(getattr(pool, split).images)
        again = sum(_print(image) in mine for image in theirs)
        if again:
            raise InputError(
                f"films.unlabelled holds {again} films of the {split} split, pixel by "
                "pixel: remove them from the folder, or scores would flatter"
            )


def _print(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()
