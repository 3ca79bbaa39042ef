"""A teacher that tells all films the same is told of while it trains.

The mean answer of a teacher that has one for all has no entropy (0 of 1); one that
cannot decide is at the limit in every answer (1 of 1).
"""

from collections.abc import Callable
from typing import Any

from jaxdistill.run.loop import Event

ONE, ALL = 0.01, 0.999  # shares of the most entropy there can be
REMEDY = "raise evolve.teacher_heat, lower stage.lr, or raise stage.momentum"


def collapse(every: int, say: Callable, name: str) -> Event:
    """An event that warns once of a collapsed teacher, with the step and a remedy."""
    told: list[int] = []

    def act(step: int, state: Any, writer: Any) -> None:
        del writer
        centre = state.memory
        if told or not hasattr(centre, "doubt"):
            return
        entropy, doubt = float(centre.entropy), float(centre.doubt)
        if entropy < ONE or doubt > ALL:
            told.append(step)
            how = "gives all films one answer" if entropy < ONE else "cannot decide"
            say(
                f"warning: {name}: the teacher {how} since step {step} (entropy of its "
                f"mean answer {entropy:.3f}, of its answers {doubt:.3f} of the most "
                f"possible): {REMEDY}"
            )

    return Event(every, act, "log_every")
