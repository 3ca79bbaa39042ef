"""What a system refuses, told in the user's words."""

import contextlib
import errno
import os
from collections.abc import Iterator

from jaxdistill.errors import InputError, Trouble

_FREE = "free some space or choose a folder on another disk, then run again"
_ACCESS = "mend its permissions or choose a folder that you can write to"
_OPEN = "allow more, as by ulimit -n 4096, then run again"
_SHORT = "choose a folder with a shorter path"
_DISK = "check the disk, then run again"

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
    (errno.EIO, "Input/output error", "the disk fails", _DISK),
    (errno.ESTALE, "Stale file handle", "the disk has gone away", _DISK),
    (errno.EMFILE, "Too many open files", "too many files are open", _OPEN),
    (errno.ENFILE, "Too many open files in system", "too many files are open", _OPEN),
    (errno.ENAMETOOLONG, "File name too long", "its path is too long", _SHORT),
    (errno.ELOOP, "Too many levels of symbolic links", "links lead in a circle", _DISK),
)


@contextlib.contextmanager
def explain_os_errors(path: str | os.PathLike, doing: str = "write") -> Iterator[None]:
    """Turn a full, foreign or failing disk into one sentence about `path`.

    Raises `Trouble` for what the system refuses; all else passes unchanged, as does a
    pipe that nobody reads.
    """
    try:
        yield
    except (InputError, BrokenPipeError):
        raise
    except Exception as error:
        if told := trouble_of(error, path, doing):
            raise told from error
        raise


@contextlib.contextmanager
def explain_reading(path: str | os.PathLike) -> Iterator[None]:
    """What `jaxdistill.foreign` refuses; a `Trouble` where the system is to blame."""
    try:
        yield
    except InputError as error:
        cause = error.__cause__
        refused = isinstance(cause, OSError) and not isinstance(
            cause, FileNotFoundError
        )
        if refused and cause and (told := trouble_of(cause, path, "read")):
            raise told from cause
        raise


def trouble_of(
    error: BaseException, path: str | os.PathLike, doing: str
) -> Trouble | None:
    """What the system refused, in a sentence; None where it was not the system."""
    if found := known_trouble(error):
        return Trouble(f"cannot {doing} {path}: {found[0]}; {found[1]}")
    if isinstance(error, OSError) and error.errno is not None:
        said = (error.strerror or type(error).__name__).lower()
        named = "" if error.filename is None else f" ({error.filename})"
        return Trouble(f"cannot {doing} {path}: {said}{named}; see to it and run again")
    return None


def known_trouble(error: BaseException | None) -> tuple[str, str] | None:
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
