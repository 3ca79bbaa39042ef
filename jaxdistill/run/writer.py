"""What a run says while it goes: metrics as JSON lines, progress on the terminal."""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from io import TextIOBase
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from jaxdistill.errors import InputError
from jaxdistill.run.files import plain, read_bytes, write_atomic
from jaxdistill.run.kept import note
from jaxdistill.run.report import human_seconds
from jaxdistill.run.seals import sealed_line, unsealed_line
from jaxdistill.run.troubles import explain_os_errors


class MetricsWriter:
    """Appends to `metrics.jsonl` in `folder`: one object a line, whole lines only.

    `resume` is the step that the run goes on from: lines after it, which the run will
    write again, are dropped, as is a line torn by a kill. None begins afresh. What else
    is lost or damaged is told; a line is due after `every` steps. Raises `InputError`
    where the disk fails, or if TensorBoard is wanted but not installed.
    """

    def __init__(
        self,
        folder: Path,
        resume: int | None = None,
        tensorboard: bool = False,
        every: int = 1,
    ) -> None:
        self.path = Path(folder) / "metrics.jsonl"
        start = -1 if resume is None else resume
        self._board: Any = _board(Path(folder), start) if tensorboard else None
        kept = [line for line in read_metrics(self.path) if line["step"] <= start]
        if start >= every and not kept:
            note(f"{self.path} tells nothing of the steps before {start}")
        rewrite_metrics(self.path, kept)
        with explain_os_errors(self.path):
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Append the metrics of one step; NaN and infinities become null."""
        record = plain({"step": step, **scalars})
        with explain_os_errors(self.path):
            left = memoryview(sealed_line(record))
            while left:  # a disk that fills up takes a part of it
                left = left[self._file.write(left) :]
        for name, value in record.items() if self._board else ():
            if name != "step" and isinstance(value, int | float):
                self._board.add_scalar(name, value, step)

    def flush(self) -> None:
        """Hand over what TensorBoard buffers; the lines are on their way already."""
        if self._board:
            self._board.flush()

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board:
            self._board.close()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics file, in order; none if there is no file."""
    data = read_bytes(path) if path.exists() else b""
    lines = data.splitlines()
    records = [unsealed_line(line) for line in lines]  # None: torn, or damaged
    torn = not data.endswith(b"\n")
    if None in (records[:-1] if torn else records):
        note(f"{path} is damaged in line {records.index(None) + 1}, which is left out")
    return [one for one in records if one is not None and "step" in one]


def rewrite_metrics(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Replace a metrics file by these lines."""
    write_atomic(path, b"".join(sealed_line(plain(record)) for record in records))


class Progress:
    """One line per event, or a bar where a person looks on.

    `step 1200/5000  loss 3.41  match 3.39  12.3 step/s  eta 5m`; the rate is that since
    the last line, so neither compilation nor a pause spoils it for long.
    """

    def __init__(
        self,
        total: int,
        start: int = 0,
        unit: str = "step",
        stream: TextIO | TextIOBase | None = None,
    ) -> None:
        self.total, self.unit = total, unit
        self.stream: Any = sys.stderr if stream is None else stream
        self._seen: tuple[int, float] | None = None
        self._bar = None
        if self.stream.isatty():
            self._bar = tqdm(
                total=total,
                initial=start,
                unit=unit,
                file=self.stream,
                dynamic_ncols=True,
            )

    def update(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Tell that `step` steps are done, with what was measured there."""
        values = [f"{name} {float(value):.4g}" for name, value in metrics.items()]
        if self._bar is not None:
            self._bar.set_postfix_str("  ".join(values), refresh=False)
            self._bar.update(step - self._bar.n)
        else:
            head = f"{self.unit} {step}/{self.total}"
            print(
                "  ".join([head, *values, *self._pace(step)]),
                file=self.stream,
                flush=True,
            )

    def note(self, text: str) -> None:
        """Tell anything else, on a line of its own."""
        if self._bar is not None:
            self._bar.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)

    @contextlib.contextmanager
    def compiling(self, what: str = "") -> Iterator[None]:
        """Tell before and after that the wait is for the compiler."""
        self.note(f"compiling {what}".rstrip() + " ...")
        start = time.perf_counter()
        yield
        self.note(f"compiled in {human_seconds(time.perf_counter() - start)}")

    def close(self) -> None:
        """Leave the terminal on a fresh line."""
        if self._bar is not None:
            self._bar.close()

    def _pace(self, step: int) -> list[str]:
        """Rate since the last call and the time left, once there was a last call."""
        now, before = time.perf_counter(), self._seen
        self._seen = (step, now)
        if before is None or step <= before[0]:
            return []
        rate = (step - before[0]) / max(now - before[1], 1e-9)
        left = (self.total - step) / rate
        unit = self.unit.rpartition(" ")[2]  # "epoch" of "experts 0-9: epoch"
        return [f"{rate:.3g} {unit}/s", f"eta {human_seconds(left)}"]


def _board(folder: Path, start: int) -> Any:
    """A TensorBoard writer that forgets what follows `start`."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise InputError(
            "TensorBoard files were asked for but tensorboardX is not installed: "
            'pip install "jaxdistill[tensorboard]"'
        ) from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)
