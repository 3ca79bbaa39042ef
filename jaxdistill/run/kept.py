"""What a work folder keeps: made once, and made again where it was damaged.

Nothing is deleted that may be whole: what cannot be used is renamed to NAME.aside.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from jaxdistill.errors import Damaged
from jaxdistill.run.troubles import explain_os_errors

T = TypeVar("T")


def note(text: str) -> None:
    """Tell what a user should know and need not mend."""
    print(f"note: {text}", file=sys.stderr, flush=True)


def set_aside(path: Path) -> Path:
    """Rename a file or folder to a name that nothing reads; returns it."""
    places = (f"{path.name}.aside{n}" for n in ("", *range(2, 10**6)))
    free = next(p for p in map(path.with_name, places) if not os.path.lexists(p))
    with explain_os_errors(path, "rename"):
        path.rename(free)
    return free


def usable(path: Path, read: Callable[[Path], T]) -> T | None:
    """What `read` finds in a file; None where there is none, or none that is whole.

    A damaged one is set aside, and that is told.
    """
    if not os.path.lexists(path):
        return None
    try:
        return read(path)
    except Damaged as error:
        note(f"{error.what}: it is kept as {set_aside(path).name} and made again")
        return None


def made_once(path: Path, read: Callable[[Path], T], make: Callable[[], None]) -> T:
    """What `read` finds in a file, which `make` writes where it is not there whole."""
    found = usable(path, read)
    if found is None:
        make()
        return read(path)
    return found
