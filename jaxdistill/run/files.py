"""Files that are either whole or absent, and failures told in the user's words."""

import contextlib
import errno
import json
import math
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxdistill import foreign
from jaxdistill.errors import InputError

_FREE = "free some space or choose a folder on another disk, then run again"
_ACCESS = "mend its permissions or choose a folder that you can write to"

# What the system says, what that means, what to do. The words are needed as well as the
# numbers: errors that cross a C++ library arrive as plain text.
_TROUBLES = (
    (errno.ENOSPC, "No space left on device", "no space is left on the disk", _FREE),
    (errno.EDQUOT, "Disk quota exceeded", "the disk quota is used up", _FREE),
    (errno.EFBIG, "File too large", "the file exceeds the size limit", _FREE),
    (errno.EROFS, "Read-only file system", "the disk is read-only", _ACCESS),
    (errno.EACCES, "Permission denied", "permission is denied", _ACCESS),
    (errno.EPERM, "Operation not permitted", "permission is denied", _ACCESS),
    (errno.ENOTDIR, "Not a directory", "a file stands where a folder must be", _ACCESS),
    (errno.EEXIST, "File exists", "a file stands where a folder must be", _ACCESS),
    (
        errno.EISDIR,
        "Is a directory",
        "a folder stands where a file must be",
        "name a file",
    ),
    (
        errno.EIO,
        "Input/output error",
        "the disk fails",
        "check the disk, then run again",
    ),
)


@contextlib.contextmanager
def explain_os_errors(path: str | os.PathLike) -> Iterator[None]:
    """Turn a full, foreign or failing disk into one sentence about `path`.

    Raises `InputError` for the troubles that a user can mend; others pass unchanged.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        found = _trouble(error)
        if found is None:
            raise
        raise InputError(f"cannot write {path}: {found[0]}; {found[1]}") from error


def _trouble(error: BaseException | None) -> tuple[str, str] | None:
    """Meaning and remedy of the first known trouble in the chain of causes."""
    while error is not None:
        for number, words, meaning, remedy in _TROUBLES:
            if isinstance(error, OSError):
                known = error.errno == number
            else:
                known = words in str(error)
            if known:
                return meaning, remedy
        error = error.__cause__ or error.__context__
    return None


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` if, and only if, all goes well.

    It is written beside its target, flushed to the disk, then renamed: a kill at any
    moment leaves the old file or the new one. Raises `InputError` where the disk fails.
    """
    path = Path(path)
    temp = path.with_name(f".{path.name}.{threading.get_native_id()}.tmp")
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temp, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temp, path)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
    _sync_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Delete what `replacing` left in `folder` when its process was killed."""
    for temp in folder.glob(".*.tmp"):
        temp.unlink(missing_ok=True)


def write_atomic(path: str | os.PathLike, data: bytes) -> None:
    """Write a whole file or none; `InputError` where the disk fails."""
    with replacing(path) as file:
        file.write(data)


def write_json(path: str | os.PathLike, obj: Any) -> None:
    """Write an object as JSON in the order given; see `plain` for what is converted."""
    text = json.dumps(plain(obj), indent=2, ensure_ascii=False, allow_nan=False)
    # Names that are not UTF-8 are escaped as JSON escapes, and come back as they were.
    write_atomic(path, (text + "\n").encode(errors="backslashreplace"))


def read_json(path: str | os.PathLike) -> Any:
    """What a JSON file holds; `InputError` where it is missing or damaged."""
    return foreign.read_json(path)


def plain(obj: Any) -> Any:
    """The same in Python's own types: arrays as lists, records as dicts, paths as text.

    NaN and infinities become None, since JSON has no word for them.
    """
    if obj is None or isinstance(obj, str | bool | int):
        return obj
    if isinstance(obj, float):
        return float(obj) if math.isfinite(obj) else None
    if isinstance(obj, Mapping):
        return {str(key): plain(value) for key, value in obj.items()}
    if hasattr(obj, "_asdict"):
        return plain(obj._asdict())
    if isinstance(obj, list | tuple | set | frozenset | range):
        items = sorted(obj) if isinstance(obj, set | frozenset) else obj
        return [plain(item) for item in items]
    if isinstance(obj, os.PathLike):
        return str(obj)
    if hasattr(obj, "__array__"):
        array = np.asarray(obj)
        native = array if array.dtype.kind in "biufU" else array.astype(np.float64)
        return plain(native.tolist())
    raise TypeError(f"{type(obj).__name__} has no JSON form")


def require_writable(path: Path, said: str) -> None:
    """`InputError` where a file cannot be written because a folder stands there."""
    if os.path.isdir(path):
        raise InputError(f"{said}={path} is a folder: name the file to write")


def save_npz(path: str | os.PathLike, /, **arrays: Any) -> None:
    """Write arrays to one uncompressed npz, whole or not at all.

    Raises `InputError` where the disk fails, `TypeError` for what npz cannot hold
    without pickle.
    """
    values = {name: np.asarray(value) for name, value in arrays.items()}
    for name, value in values.items():
        if value.dtype.kind in "OV":
            raise TypeError(f"{name} has dtype {value.dtype}, which npz cannot hold")
    with replacing(path) as file:
        np.savez(file, **values)  # type: ignore[arg-type]


def load_npz(
    path: str | os.PathLike, required: tuple[str, ...] = ()
) -> dict[str, np.ndarray]:
    """All arrays of an npz; `InputError` if missing, damaged, pickled or incomplete."""
    arrays = foreign.read_npz(path)
    missing = [name for name in required if name not in arrays]
    if missing:
        raise InputError(
            f"{path} lacks the array {missing[0]!r} (it holds {', '.join(arrays)}): "
            "choose a file that this program wrote"
        )
    return arrays


def _sync_folder(folder: Path) -> None:
    """Make a rename outlive a power cut, where the system can do so for folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
