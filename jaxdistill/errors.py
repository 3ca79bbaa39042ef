"""What the command line answers with a sentence; all else is a defect of ours."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A file, a config key or an argument that cannot be used.

    The message is one sentence: the key or file, the value, the rule, the remedy. The
    command line prints it without a traceback and exits with status 2. Whatever a
    foreign file puts into it, any terminal takes it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """Text that any terminal and file takes; odd bytes of file names as `\\xe9`."""
    plain = "".join(
        c if c.isprintable() or "\udc80" <= c <= "\udcff" else "\ufffd" for c in text
    )
    return plain.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class Trouble(InputError):
    """A fault of the moment or of the machine, such as a full disk or the number of its
    devices: the same call may do well later, or elsewhere.
    """


class Damaged(Trouble):
    """A file that holds something else than what was written; `what` says how."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}: {remedy}")
        self.what = what


def require_name(key: str, name: object, known: Iterable[object]) -> None:
    """`InputError` unless `name` is one of those known."""
    if name not in (known := tuple(known)):
        raise InputError(
            f"{key}={name!r} is not known{meant(name, known)}: choose one of "
            f"{', '.join(map(str, known))}"
        )


def meant(name: object, known: Iterable[object]) -> str:
    """` (did you mean 'convnet'?)`, or nothing where no name is near."""
    near = difflib.get_close_matches(str(name), [*map(str, known)], n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


class Diverged(FloatingPointError):
    """Training left the finite numbers; the message says where and what is safe."""


class Stopped(Exception):
    """A run was asked to stop, and has saved all that the next one needs."""

    def __init__(self, signal: str, message: str) -> None:
        super().__init__(message)
        self.signal = signal
