"""What a terminal may do to a run: close its ears, allow it few files, end it.

The first two do not end the work: hours of training are not lost because `| head` has
seen enough.
"""

import contextlib
import logging
import os
import signal
import sys
import warnings
from typing import Any

ENOUGH = 4096  # files at once


class Tolerant:
    """A text stream that goes on in silence once nobody reads it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or hold one's tongue."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._fall_silent()
            return len(text)

    def flush(self) -> None:
        """Hand over what is buffered, if anybody takes it."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._fall_silent()

    def _fall_silent(self) -> None:
        """Let the descriptor lead nowhere, so that no later flush fails either."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if self is not sys.stderr:
            said = "note: nobody reads the output any more: the work goes on without"
            print(said, file=sys.stderr, flush=True)


def be_tolerant() -> None:
    """Lines in order, also in a file, and no harm from a pipe that is closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            with contextlib.suppress(OSError):
                # Names that are not UTF-8 are shown by escapes.
                stream.reconfigure(line_buffering=True, errors="backslashreplace")
            setattr(sys, name, Tolerant(stream))


def allow_many_files() -> None:
    """Ask for as many open files as the system lets this user have, up to enough."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = ENOUGH if most == resource.RLIM_INFINITY else min(ENOUGH, most)
        if now < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def quiet_readers() -> None:
    """Leave it to our own sentences what is odd about a file of others."""
    for reader in ("PIL", "pydicom", "nibabel"):
        warnings.filterwarnings("ignore", module=rf"{reader}(\.|$)")
        logging.getLogger(reader).setLevel(logging.CRITICAL)
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)


class Terminated(KeyboardInterrupt):
    """SIGTERM came where no loop asks for it."""


def hear_termination() -> None:
    """Let SIGTERM end the work in order, as Ctrl-C does."""

    def end(number: int, frame: Any) -> None:
        del number, frame
        raise Terminated

    signal.signal(signal.SIGTERM, end)
