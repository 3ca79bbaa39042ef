"""What may befall a run: its files, its process, its disk, its data."""

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from faults.world import NOBODY

Harm = Callable[[Path, Random], None]  # done to a folder
Spell = Callable[[], None]  # done to a process before it calls


def chosen(folder: Path, pattern: str, rng: Random) -> Path:
    """A file of those that a pattern finds."""
    found = sorted(p for p in folder.glob(pattern) if p.is_file())
    assert found, f"{folder} has no {pattern}"
    return rng.choice(found)


def flip(pattern: str) -> Harm:
    """One bit of one file."""

    def harm(folder: Path, rng: Random) -> None:
        file = chosen(folder, pattern, rng)
        data = bytearray(file.read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(data)

    return harm


def flip_digit(pattern: str) -> Harm:
    """The lowest bit of a digit after a point: what parses and means another number."""

    def harm(folder: Path, rng: Random) -> None:
        file = chosen(folder, pattern, rng)
        data = bytearray(file.read_bytes())
        places = [
            i
            for i in range(2, len(data))
            if data[i - 1 : i] == b"." and chr(data[i]).isdigit()
        ]
        data[rng.choice(places)] ^= 1
        file.write_bytes(data)

    return harm


def truncate(pattern: str) -> Harm:
    """A file cut anywhere."""

    def harm(folder: Path, rng: Random) -> None:
        file = chosen(folder, pattern, rng)
        data = file.read_bytes()
        file.write_bytes(data[: rng.randrange(len(data))])

    return harm


def remove(pattern: str) -> Harm:
    """A file or folder that is gone."""

    def harm(folder: Path, rng: Random) -> None:
        found = rng.choice(sorted(folder.glob(pattern)))
        shutil.rmtree(found) if found.is_dir() else found.unlink()

    return harm


def foreign(pattern: str, text: str) -> Harm:
    """A file of another kind in the place of one."""
    return lambda folder, rng: chosen(folder, pattern, rng).write_text(text) and None


def nothing(folder: Path, rng: Random) -> None:
    """No harm to the files."""


def at_event(count: int, act: Callable[[], Any]) -> Spell:
    """Something that happens at the n-th whole file, metrics line or checkpoint."""

    def cast() -> None:
        from jaxdistill.run.checkpoint import Checkpoints
        from jaxdistill.run.writer import MetricsWriter

        left = [count]

        def counted(do: Callable) -> Callable:
            def then(*given: Any, **named: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    act()
                return do(*given, **named)

            return then

        os.replace = counted(os.replace)
        Checkpoints.save = counted(Checkpoints.save)
        MetricsWriter.write_scalars = counted(MetricsWriter.write_scalars)

    return cast


def signalled(count: int, number: int, times: int = 1) -> Spell:
    """A signal to oneself at the n-th event."""

    def act() -> None:
        for _ in range(times):
            os.kill(os.getpid(), number)

    return at_event(count, act)


def refused_by_disk(count: int, number: int = errno.ENOSPC) -> Spell:
    """The disk refuses the n-th whole file, line or checkpoint."""

    def act() -> None:
        raise OSError(number, os.strerror(number))

    return at_event(count, act)


def refused_to_read(count: int, number: int) -> Spell:
    """The n-th file that is read as a whole cannot be."""

    def cast() -> None:
        left, read = [count], Path.read_bytes

        def counted(path: Path) -> bytes:
            left[0] -= 1
            if left[0] == 0:
                raise OSError(number, os.strerror(number), str(path))
            return read(path)

        Path.read_bytes = counted  # type: ignore[method-assign]

    return cast


def limited(what: str, count: int) -> Spell:
    """Files of so many bytes, or so many files at once, and no more."""

    def cast() -> None:
        import resource

        number = getattr(resource, f"RLIMIT_{what}")
        resource.setrlimit(number, (count, count))

    return cast


def as_nobody() -> None:
    """The permissions of somebody else, where the system knows any."""
    if os.getuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def deaf() -> None:
    """A pipe that nobody reads in the place of standard output."""
    there, here = os.pipe()
    os.close(there)
    os.dup2(here, 1)


KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
