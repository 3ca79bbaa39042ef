"""A seeded split, stratified by class, that never parts a group."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from jaxdistill.errors import InputError


def carve(
    labels: Int[np.ndarray, " n"],
    groups: Sequence[str],
    fractions: dict[str, float],
    seed: int,
    class_names: Sequence[str],
) -> np.ndarray:
    """The split of every image: a share of each class as asked, the rest "train".

    Whole groups go to one split; a group of several classes counts for its first.
    Groups are ordered by a hash of seed and name, so the split depends on neither
    platform nor library version, and new images leave the order of the old ones alone.
    Raises `InputError` for fractions out of range and classes with too few groups.
    """
    for split, fraction in fractions.items():
        if not 0 < fraction < 1 or sum(fractions.values()) >= 1:
            raise InputError(
                f"data.{split}_fraction={fraction} is not usable; fractions lie "
                "between 0 and 1 and leave some images for train: try 0.15"
            )
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    result = np.full(len(labels), "train", dtype="<U5")
    for number, class_name in enumerate(class_names):
        own = [g for g, rows in members.items() if labels[rows[0]] == number]
        own.sort(key=lambda group: rank(seed, group))
        parts = _share(own, members, fractions, class_name)
        for split, names in parts.items():
            for group in names:
                result[members[group]] = split
    return result


def _share(
    own: list[str],
    members: dict[str, list[int]],
    fractions: dict[str, float],
    class_name: str,
) -> dict[str, list[str]]:
    """Consecutive runs of groups, one per split, each with at least one group."""
    if len(own) <= len(fractions):
        raise InputError(
            f"class {class_name!r} has {len(own)} groups (patients or images) to "
            f"split; train and {' and '.join(fractions)} need one each: add images, or "
            "make the split folders by hand"
        )
    sizes = np.cumsum([len(members[group]) for group in own])
    parts, start, wanted = {}, 0, 0.0
    for left, (split, fraction) in zip(
        range(len(fractions), 0, -1), fractions.items(), strict=True
    ):
        wanted += fraction * sizes[-1]
        stop = int(np.searchsorted(sizes, wanted - 0.5)) + 1
        stop = min(max(stop, start + 1), len(own) - left)
        parts[split] = own[start:stop]
        start = stop
    return parts


def rank(seed: int, group: str) -> bytes:
    """What orders groups: a hash, the same on every platform."""
    # Names that are not UTF-8 have bytes, too.
    name = f"{seed}:{group}".encode(errors="surrogateescape")
    return hashlib.blake2b(name, digest_size=8).digest()
