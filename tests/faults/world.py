"""Calls of the tool in forks of one warm process, and what they leave.

The parent imports all that is slow to import and computes nothing, so that a fork has
it at once and starts JAX by itself.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

LONGEST = 900  # seconds of a call: then it hangs
NOBODY = 65534


class Ended(NamedTuple):
    """How a call ended: its status, negative for a signal, and what it said."""

    status: int
    said: str

    @property
    def sentence(self) -> str:
        """The one line of an error; empty where there is none, or more than one."""
        heads = ("error: ", "diverged: ", "failed: ", "interrupted: ", "stopped by ")
        lines = [x for x in self.said.splitlines() if x.startswith(heads)]
        return lines[0] if len(lines) == 1 else ""

    @property
    def clean(self) -> bool:
        """Whether it ended in order, or with a sentence, or by a kill."""
        if "Traceback" in self.said or "Exception ignored" in self.said:
            return False
        return self.status in (0, -signal.SIGKILL) or bool(self.sentence)


def warm() -> None:
    """Import what calls need; nothing that starts a thread."""
    import matplotlib.figure
    import nibabel
    import tensorstore

    import jaxdistill.cli.main
    import jaxdistill.jobs.compare.job
    import jaxdistill.jobs.labels.job
    import jaxdistill.jobs.segment.job
    import jaxdistill.jobs.segment.predicting
    import jaxdistill.jobs.ship.compress
    import jaxdistill.jobs.ship.regenerate
    import jaxdistill.jobs.study.job
    import jaxdistill.jobs.study.predict

    assert matplotlib
    assert nibabel
    assert tensorstore
    assert jaxdistill


def fork(act: Callable[[], int], log: Path) -> Ended:
    """Do something in a process of its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _be_child(act, log)
    return _wait(pid, log)


def call(
    arguments: list[str], log: Path, before: Callable[[], None] = lambda: None
) -> Ended:
    """One call of the tool, after `before`, as from a shell."""

    def act() -> int:
        from jaxdistill.cli.main import console

        shorten()
        sys.argv = ["jaxdistill", *arguments]
        before()
        console()
        return 0

    return fork(act, log)


def shorten() -> None:
    """Leave out what takes longer than all else: pictures, and rows of the table."""
    from jaxdistill.jobs.distil import distilling
    from jaxdistill.jobs.judging import evaluating
    from jaxdistill.run import figures, workdir

    figures.available = lambda: False
    workdir.git_commit = lambda: None
    rows = ("distilled", "full")
    distilling.complete.__kwdefaults__["way"] = distilling.Way(rows)
    evaluating.conclude.__kwdefaults__["names"] = rows


def copied(source: Path, target: Path) -> Path:
    """A copy of a folder that was made before."""
    return shutil.copytree(source, target, symlinks=True)


def _be_child(act: Callable[[], int], log: Path) -> None:
    code = 99
    try:
        file = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o666)
        os.dup2(file, 1)
        os.dup2(file, 2)
        code = act()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 98
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _wait(pid: int, log: Path) -> Ended:
    began = time.monotonic()
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() - began > LONGEST:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return Ended(97, "Traceback: it hangs")
        time.sleep(0.02)
    said = log.read_text(errors="replace") if log.exists() else ""
    return Ended(os.waitstatus_to_exitcode(status), said)
