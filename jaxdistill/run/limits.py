"""When a run has diverged: its loss is not finite, or has been too great for long."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from jaxdistill.errors import Diverged, Trouble
from jaxdistill.ranges import Count, Weight
from jaxdistill.run.checkpoint import Checkpoints
from jaxdistill.run.files import read_record, write_json
from jaxdistill.run.kept import usable

DIVERGED = "diverged.json"


class Limit(NamedTuple):
    """The loss that may not be exceeded for `steps` steps on end; 0 is no limit."""

    loss: Annotated[Weight, "a run whose loss stays above has diverged; 0: none"] = 0.0
    steps: Annotated[Count, "for so many steps on end"] = 500


@contextlib.contextmanager
def remembered(folder: Path, limit: Limit) -> Iterator[None]:
    """A training in whose folder all that decides it has a name, and that may diverge.

    One that has is not taken up again from its last checkpoint, where a watch would
    count anew: it raises the same `Diverged`, until the limit is another.
    """
    file, told = folder / DIVERGED, limit._asdict()
    before = usable(file, lambda path: read_record(path, "reason", "limit"))
    if before is not None and before["limit"] == told:
        raise Diverged(before["reason"])
    try:
        yield
    except Diverged as error:
        with contextlib.suppress(
            Trouble
        ):  # of a full disk: then the next call finds it
            write_json(file, {"reason": str(error), "limit": told})
        raise


class Watch:
    """Looks at the metrics of every call; a resumed run begins to count anew."""

    def __init__(self, limit: Limit, start: int, checkpoints: Checkpoints) -> None:
        self._limit, self._checkpoints = limit, checkpoints
        # The last step whose loss was within the limit: it is of the state before.
        self._below = start

    def __call__(self, step: int, metrics: Any) -> dict[str, float]:
        """The metrics as numbers; `Diverged` where they are past hope."""
        values = {name: float(value) for name, value in metrics.items()}
        loss, (most, steps) = values["loss"], self._limit
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss} by step {step}", values)
        if not most or loss <= most:
            self._below = step
        elif step - self._below >= steps:
            raise self._diverged(
                f"the loss, {loss:.4g} by step {step}, has been above "
                f"limit.loss={most} for {step - self._below} steps",
                values,
            )
        return values

    def _diverged(self, what: str, values: Mapping[str, float]) -> Diverged:
        self._checkpoints.wait()
        folder, saved = self._checkpoints.folder, self._checkpoints.steps()
        good = [step for step in saved if step < max(self._below, 1)]
        told = f"; the last good checkpoint is {folder / str(good[-1])}" if good else ""
        norms = [f"{n} {v:.3g}" for n, v in values.items() if n.startswith("grad")]
        return Diverged(
            f"{what} ({', '.join(norms) or 'no norms'}){told}: lower its rates or set "
            "a clip, with a new --workdir"
        )
