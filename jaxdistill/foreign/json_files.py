"""JSON within bounds: of bytes, of nesting, and of numbers, which are all finite."""

import json
import math
import os
from typing import Any, NoReturn

from jaxdistill.errors import Damaged
from jaxdistill.foreign.files import read_bytes, short
from jaxdistill.foreign.names import shown

MOST_BYTES = 1 << 24  # an empty list takes twenty times as many in memory
DEPTH = 32
REMEDY = "restore it from a copy"


def read_json(path: str | os.PathLike, remedy: str = REMEDY) -> Any:
    """What a JSON file holds; `InputError` for none, `Damaged` for one that is not."""
    return parse_json(read_bytes(path, MOST_BYTES), shown(path), remedy)


def parse_json(data: bytes | str, said: str, remedy: str = REMEDY) -> Any:
    """What a JSON text holds.

    Raises `Damaged` naming `said` for damage, for nesting deeper than 32, and for
    numbers that are not finite.
    """
    try:
        if len(data) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        made = json.loads(data, parse_constant=_not_finite, parse_float=_finite)
        _require_flat(made)
    # RecursionError: far too deep. Whole numbers of 4,300 digits are ValueError.
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{said} is damaged ({short(error)})", remedy) from error
    return made


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"it holds {text}, which is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _not_finite(text[:20])
    return value


def _require_flat(made: Any) -> None:
    """`ValueError` for lists within lists without an end; no recursion of our own."""
    level = [made]
    for _ in range(DEPTH):
        level = [item for part in level for item in _items(part)]
        if not level:
            return
    raise ValueError(f"its lists and sections are nested deeper than {DEPTH}")


def _items(part: Any) -> list[Any]:
    if isinstance(part, dict):
        return list(part.values())
    return part if isinstance(part, list) else []
