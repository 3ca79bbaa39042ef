"""A profiler trace of a few steps, early but after compilation."""

from pathlib import Path

import jax
from jaxtyping import PyTree

from jaxdistill.errors import InputError
from jaxdistill.run.troubles import explain_os_errors


def parse_steps(text: str) -> range:
    """The steps of "10:15", the last one excluded; `InputError` for anything else."""
    first, colon, last = text.partition(":")
    if colon and first.isdecimal() and last.isdecimal() and int(first) < int(last):
        return range(int(first), int(last))
    raise InputError(
        f"--profile_steps={text} is no range of steps: give the first and, after a "
        "colon, the one past the last, as in 10:15"
    )


class Profiler:
    """Traces the calls that touch `steps` into `folder`; None traces nothing.

    A call may run several steps: each that overlaps the range is traced whole.
    """

    def __init__(self, folder: Path, steps: range | None) -> None:
        self.folder = folder
        self.steps = steps or range(0)
        self.active = False

    def before(self, step: int, count: int = 1) -> None:
        """Tell that `count` steps from `step` on are about to run."""
        overlap = step < self.steps.stop and step + count > self.steps.start
        if overlap and not self.active:
            with explain_os_errors(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            jax.profiler.start_trace(str(self.folder))
            self.active = True

    def after(self, step: int, result: PyTree = None) -> None:
        """Tell that all before `step` was dispatched; at the end, wait for `result`."""
        if self.active and step >= self.steps.stop:
            jax.block_until_ready(result)
            self.close()

    def close(self) -> None:
        """Write the trace, also when the run ends within the range."""
        if self.active:
            self.active = False
            with explain_os_errors(self.folder):
                jax.profiler.stop_trace()
