"""Which values a setting may have: ranges, names, lists, and usual kinds of them."""

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Annotated, Any, NamedTuple

KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    tuple: "a list",
    dict: "a section",
}

ABSURD = 1000  # from here on an upper end is there to catch slips of the keyboard


class Range(NamedTuple):
    """Numbers from `least` to `most`; `above` and `below` leave the ends out."""

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """Whether the value lies within; NaN never does."""
        low = value > self.least if self.above else value >= self.least
        return low and (value < self.most if self.below else value <= self.most)

    @property
    def brief(self) -> str:
        """The range without an end that only keeps out what is absurd."""
        low = f"{'above' if self.above else 'at least'} {_short(self.least)}"
        return low if self.most >= ABSURD else f"{self}"

    def __str__(self) -> str:
        low = f"{'above' if self.above else 'at least'} {_short(self.least)}"
        high = f"{'below' if self.below else 'at most'} {_short(self.most)}"
        return f"{low} and {high}"


class OneOf(NamedTuple):
    """One of the names, or numbers, known."""

    known: Iterable[Any]

    def holds(self, value: Any) -> bool:
        """Whether the value is known."""
        return value in tuple(self.known)

    def __str__(self) -> str:
        return f"one of {', '.join(map(str, self.known))}"


class NamedOrFile(NamedTuple):
    """One of the names known, or the path of a file of that kind."""

    known: tuple[str, ...]
    suffix: str

    def holds(self, value: Any) -> bool:
        """Whether the name is known, or ends as such files do."""
        return value in self.known or str(value).endswith(self.suffix)

    def __str__(self) -> str:
        return f"one of {', '.join(self.known)}, or the path of a {self.suffix} file"


class Listed(NamedTuple):
    """Names known, with commas between them, none twice; `empty` where none will do."""

    known: Iterable[str]
    empty: bool = False

    def holds(self, value: str) -> bool:
        """Whether every word is known."""
        words, known = words_of(value), tuple(self.known)
        return bool(words or self.empty) and all(word in known for word in words)

    def __str__(self) -> str:
        return f"names from {', '.join(self.known)}, with commas between them"


class Each(NamedTuple):
    """A list, each item of which keeps a rule; `empty` where none will do."""

    rule: Range
    kind: type = float
    empty: bool = False

    def holds(self, value: tuple) -> bool:
        """Whether all items do."""
        return bool(value or self.empty) and all(
            is_a(item, self.kind) and self.rule.holds(item) for item in value
        )

    def __str__(self) -> str:
        return f"a list of {KINDS[self.kind].removeprefix('a ')}s {self.rule}"


class Filled:
    """Text that is not empty."""

    brief = "not empty"

    def holds(self, value: Any) -> bool:
        """Whether there is something."""
        return bool(str(value).strip())

    def __str__(self) -> str:
        return "given"


Count = Annotated[int, Range(1, 10**9)]
Many = Annotated[int, Range(1, 10**6)]  # of what lies in memory side by side
ManyOrNone = Annotated[int, Range(0, 10**6)]
CountOrZero = Annotated[int, Range(0, 10**9)]
Width = Annotated[int, Range(1, 2**16)]
Pixels = Annotated[int, Range(1, 4096)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
Rate = Annotated[float, Range(0, 1000, above=True)]
OuterRate = Annotated[float, Range(0, 1e9)]  # of pixels, 1000 and more are published
Weight = Annotated[float, Range(0, 1e6)]
Positive = Annotated[float, Range(0, 1e6, above=True)]
Decay = Annotated[float, Range(0, 1, below=True)]


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text with commas between them, each once."""
    words = (word.strip() for word in text.split(","))
    return tuple(dict.fromkeys(filter(None, words)))


def is_a(value: Any, kind: type) -> bool:
    if kind in (int, float):
        real = Integral if kind is int else Real
        return isinstance(value, real) and not isinstance(value, bool)
    if kind is str:
        return isinstance(value, str) or hasattr(value, "__fspath__")
    return isinstance(value, Mapping if kind is dict else kind)


def _short(value: float) -> str:
    return f"{int(value):,}" if float(value).is_integer() else f"{value:g}"
