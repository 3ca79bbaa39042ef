"""How the numbers that mask files hold become classes."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxdistill.errors import InputError
from jaxdistill.types import IGNORED

MOST_CLASSES = 64
HALF = 128


class Labels(NamedTuple):
    """Class names, their values in files, and how such values become classes."""

    names: tuple[str, ...]
    values: tuple[int, ...]
    classes: Callable[[np.ndarray, str], np.ndarray]


def positive(*names: str) -> Labels:
    """One class: whatever is above zero, such as all zones of an organ."""
    return Labels(names, (0, 1), lambda values, name: values > 0)


def halves(*names: str) -> Labels:
    """One class, the upper half of the range that a mask has; written 0, 255.

    A mask of one value is all background if that is 0. What JPEG blurs is halved, too.
    """

    def classes(values: np.ndarray, name: str) -> np.ndarray:
        low, high = int(values.min()), int(values.max())
        if high <= MOST_CLASSES and len(np.unique(values)) > 2:
            raise InputError(
                f"{name} holds {len(np.unique(values))} numbers from {low} to {high}, "
                f"but the classes are {', '.join(names)}: name as many classes"
            )
        return values > ((low + high) / 2 if low != high else 0)

    return Labels(names, (0, 255), classes)


def are_classes(masks: Sequence[set[int]]) -> bool:
    """Whether masks number their classes: a few small numbers, and some `IGNORED`."""
    found = set().union(*masks)
    numbers = found - {IGNORED}
    plain = all(0 <= value <= MOST_CLASSES for value in numbers)
    return plain and IGNORED in found and len(numbers) > 1


def as_found(masks: Sequence[set[int]], where: str) -> Labels:
    """Classes of masks that hold these numbers, each class named by its number.

    `IGNORED` stays that. Masks that never tell of two classes are halved.
    """
    found = set().union(*masks)
    numbers = found - {0, IGNORED}
    plain = all(value <= MOST_CLASSES for value in numbers)
    if not plain or (len(numbers) < 2 and all(len(mask) < 3 for mask in masks)):
        several = [mask for mask in masks if len(mask) > 2 and max(mask) < HALF]
        if several or min(found, default=0) < 0:
            raise InputError(
                f"masks of {where} hold numbers from {min(found)} to {max(found)}; up "
                f"to {MOST_CLASSES} are read as classes: number the classes 0, 1, 2 ..."
            )
        return halves("background", "foreground")
    names = {value: str(value) for value in sorted(numbers)}
    return numbered({0: "background", **names}, IGNORED)


def numbered(names: Mapping[int, str], ignored: int | None = None) -> Labels:
    """A class for each value of files, in their order; one value may be ignored."""
    known = tuple(names)
    if len(known) > MOST_CLASSES:
        raise InputError(
            f"{len(known)} classes are named for masks; up to {MOST_CLASSES} are "
            "learned at once: leave some out"
        )
    table = {value: number for number, value in enumerate(known)}
    if ignored is not None:
        table[ignored] = IGNORED

    def classes(values: np.ndarray, name: str) -> np.ndarray:
        found, where = np.unique(values, return_inverse=True)
        for value in found:
            if value not in table:
                raise InputError(
                    f"{name} holds the label {value:g}, but labels are "
                    f"{', '.join(f'{v} {n}' for v, n in names.items())}: correct the "
                    "mask or the list of labels"
                )
        numbers = np.array([table[value] for value in found], np.uint8)
        return numbers[where].reshape(values.shape)

    return Labels(tuple(names.values()), known, classes)
