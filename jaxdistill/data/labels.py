"""How the numbers that mask files hold become classes."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxdistill.errors import InputError
from jaxdistill.types import IGNORED

MOST_CLASSES = 64
HALF = 128
FEW = 16  # a blur between two values makes more of them
NEAR = 1e-3  # of a whole number: what scaling and single precision take from it


class Labels(NamedTuple):
    """Class names, their values in files, and how such values become classes."""

    names: tuple[str, ...]
    values: tuple[int, ...]
    classes: Callable[[np.ndarray, str], np.ndarray]


def positive(*names: str) -> Labels:
    """One class: whatever is above zero, such as all zones of an organ."""
    return Labels(names, (0, 1), lambda values, name: values > 0)


def halves(masks: Sequence[set[int]], *names: str) -> Labels:
    """One class, the upper half of the range that a mask has.

    It is written as all masks have it, 255 where they differ or are blurred. A mask of
    one value is all background if that is 0. What JPEG blurs is halved, too.
    """
    _require_none_below_zero(masks)
    above = set().union(*masks) - {0}

    def classes(values: np.ndarray, name: str) -> np.ndarray:
        values = whole_numbers(values, name)
        found = set(np.unique(values).tolist())
        low, high = int(values.min()), int(values.max())
        if _tells_of_several(found):
            raise InputError(
                f"{name} holds {len(found)} numbers from {low} to {high}, "
                f"but the classes are {', '.join(names)}: number the classes 0, 1, 2 "
                "... and name as many"
            )
        return values > ((low + high) / 2 if low != high else 0)

    return Labels(names, (0, *above) if len(above) == 1 else (0, 255), classes)


def are_classes(masks: Sequence[set[int]]) -> bool:
    """Whether masks number their classes: a few small numbers, and some `IGNORED`.

    One of them must hold it beside two others: else it is the upper half of a mask.
    """
    numbers = set().union(*masks) - {IGNORED}
    plain = all(0 <= value <= MOST_CLASSES for value in numbers)
    return plain and any(IGNORED in mask and len(mask) > 2 for mask in masks)


def as_found(masks: Sequence[set[int]], where: str) -> Labels:
    """Classes of masks that hold these numbers, each class named by its number.

    `IGNORED` stays that. Masks that never tell of two classes are halved.
    """
    _require_none_below_zero(masks)
    found = set().union(*masks)
    numbers = found - {0, IGNORED}
    plain = all(value <= MOST_CLASSES for value in numbers)
    if not plain or (len(numbers) < 2 and all(len(mask) < 3 for mask in masks)):
        if any(map(_tells_of_several, masks)):
            raise InputError(
                f"masks of {where} hold numbers from {min(found)} to {max(found)}; up "
                f"to {MOST_CLASSES} are read as classes: number the classes 0, 1, 2 ..."
            )
        return halves(masks, "background", "foreground")
    names = {value: str(value) for value in sorted(numbers)}
    return numbered({0: "background", **names}, IGNORED)


def whole_numbers(values: np.ndarray, name: str) -> np.ndarray:
    """The numbers of a mask, of which rounding has taken a little.

    Raises `InputError` for fractions, which are no class.
    """
    if values.dtype.kind != "f":
        return values
    near = np.rint(values)
    apart = np.abs(values - near)
    if apart.max(initial=0) > NEAR:
        raise InputError(
            f"{name} holds fractions, such as {values.flat[apart.argmax()]:.3g}, and a "
            "mask holds a number for each class: resample masks by nearest neighbour"
        )
    return near


def _require_none_below_zero(masks: Sequence[set[int]]) -> None:
    low = min(set().union(*masks), default=0)
    if low < 0:
        raise InputError(
            f"a mask holds the number {low}; classes are numbered 0, 1, 2 ... and "
            f"{IGNORED} is what does not count: correct the masks"
        )


def _tells_of_several(mask: set[int]) -> bool:
    """Whether a mask has more than one class: small numbers, or few, some far inside.

    Blurred edges of one class hold many values, or some that are close to its ends.
    """
    if len(mask) < 3:
        return False
    low, high = min(mask), max(mask)
    margin = (high - low) / 8
    inside = any(low + margin < value < high - margin for value in mask)
    return high <= MOST_CLASSES or (len(mask) <= FEW and (high < HALF or inside))


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
        values = whole_numbers(values, name)
        found, where = np.unique(values, return_inverse=True)
        for value in found:
            if value not in table:
                raise InputError(
                    f"{name} holds the label {value:.0f}, but labels are "
                    f"{', '.join(f'{v} {n}' for v, n in names.items())}: correct the "
                    "mask or the list of labels"
                )
        numbers = np.array([table[value] for value in found], np.uint8)
        return numbers[where].reshape(values.shape)

    return Labels(tuple(names.values()), known, classes)
