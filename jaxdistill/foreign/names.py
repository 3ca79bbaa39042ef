"""Names of files: shown on any terminal, and told apart as people tell them apart."""

import os
import unicodedata
from collections.abc import Iterable

from jaxdistill.errors import printable

# Letters of other scripts that look as Latin ones do, in the order of those: of the
# confusables of Unicode (UTS 39) what keyboards have.
LATIN = "ABEKMHOPCTYXIJSaeopcyxijsABEZHIKMNOPTYXov"
TWINS = str.maketrans(
    "АВЕКМНОРСТУХІЈЅаеорсухіјѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧον",
    LATIN,
)


def shown(name: str | os.PathLike) -> str:
    """A name as text that any terminal and file takes; odd bytes as `\\xe9`."""
    text = name if isinstance(name, str) else os.fspath(name)
    return printable(os.fsdecode(text) if isinstance(text, bytes) else text)


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names in order, as many as a sentence bears."""
    known = [shown(name)[:80] for name in sorted(names)]
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more


def is_text(name: str) -> bool:
    """Whether a name is UTF-8, which files that we write are in."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def look_alikes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Names that differ, and yet look equal: by case, script, spaces or accents."""
    found: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        found.setdefault(_seen(name), []).append(name)
    return [tuple(group) for group in found.values() if len(group) > 1]


def _seen(name: str) -> str:
    """What a reader sees of a name: no case, no script or width, nothing invisible."""
    latin = unicodedata.normalize("NFKC", name).translate(TWINS)
    plain = unicodedata.normalize("NFKC", latin.casefold())
    visible = "".join(c for c in plain if unicodedata.category(c) != "Cf")
    return " ".join(visible.split())
