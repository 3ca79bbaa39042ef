"""A network that tells all films the same is told of while it trains.

A teacher of DINO with one answer for all has a mean answer without entropy (0 of 1);
one that cannot decide is at the limit in every answer (1 of 1).
"""

from collections.abc import Callable
from typing import Any

from jaxdistill.run.loop import Event

ONE, ALL = 0.01, 0.999  # shares of the most entropy there can be
REMEDIES = {
    "gives all films one answer": "bring the momentum of the centre nearer to 0.9, or "
    "lower lr",
    "cannot decide": "lower teacher_heat, or lower lr",
}


def collapse(every: int, say: Callable, name: str) -> Event:
    """An event that warns once of a collapsed teacher, with the step and a remedy."""
    told: list[int] = []

    def act(step: int, state: Any, writer: Any) -> None:
        del writer
        centre = state.memory
        if told or not hasattr(centre, "doubt"):
            return
        entropy, doubt = float(centre.entropy), float(centre.doubt)
        if entropy >= ONE and doubt <= ALL:
            return
        told.append(step)
        how = "gives all films one answer" if entropy < ONE else "cannot decide"
        say(
            f"warning: {name}: the teacher {how} since step {step} (entropy of its "
            f"mean answer {entropy:.3f}, of its answers {doubt:.3f} of the most "
            f"possible): {REMEDIES[how]}"
        )

    return Event(every, act, "log_every")
