"""Where a user says that something lies: a path that every library takes as it is."""

import hashlib
import os
import re
from pathlib import Path

from jaxdistill.errors import InputError
from jaxdistill.run.troubles import trouble_of

# Checkpoints go through libraries that see a pattern, a separator or a scheme in these,
# and then write where they do not read, or out of the folder. The first folder of a
# path may not be one that they map to a bucket.
MEANT = re.compile(r"[\\\\*?\[\x00-\x1f\x7f]|:(?=/|$)")
BUCKETS = ("gs", "s3", "az", "hf")
MOST = 120  # bytes of a part of a file's name
ROOM = 400  # characters that a run's own names take below its folder


def absolute(path: str | os.PathLike, said: str) -> Path:
    """The absolute path that is meant by `said`, a flag or key, with the home of `~`.

    Raises `InputError` for a home that is not known.
    """
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise InputError(
            f"{said}={path} begins with a user whose home is not known: write the "
            "whole path"
        ) from error


def place(path: str | os.PathLike, said: str = "--workdir") -> Path:
    """The absolute path of a folder for a run; `InputError` for one that cannot be."""
    found = absolute(path, said)
    text = str(found)
    if bad := MEANT.search(text):
        raise InputError(
            f"{said}={text!r} holds {bad[0]!r}, which libraries take for more than a "
            "part of a name: choose or rename a folder to do without"
        )
    if found.parts[1:2] and found.parts[1] in BUCKETS:
        raise InputError(
            f"{said}={text} begins with /{found.parts[1]}, which libraries take for a "
            "store on the network: choose another folder"
        )
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InputError(
            f"{said}={text!r} is not UTF-8, which checkpoints cannot do without: "
            "choose or rename a folder"
        ) from error
    most = _longest() - ROOM
    if size > most:
        raise InputError(
            f"{said} has a path of {size} bytes, and files below it have room up to "
            f"{most}: choose a folder with a shorter path"
        )
    try:
        os.lstat(found)
    except (FileNotFoundError, NotADirectoryError):
        pass  # who makes it tells of that
    except OSError as error:
        raise (trouble_of(error, found, "use") or error) from error
    return found


def file_name(text: str) -> str:
    """A text as part of a file's name, of letters, digits and underscores."""
    name = "".join(c if c.isalnum() else "_" for c in text)
    if len(name.encode()) <= MOST:
        return name
    return f"{name[:20]}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _longest() -> int:
    """The longest path that the system takes, in bytes."""
    try:
        return os.pathconf("/", "PC_PATH_MAX")
    except (AttributeError, ValueError, OSError):  # Windows
        return 4096
