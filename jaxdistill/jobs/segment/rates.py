"""At which rate students learn: of several, validation chooses by the one alone.

A student whose rate does not suit it is far from its end, and what a teacher adds or
takes away there says nothing of what it is worth. So all students of a fold and seed
have the rate that is best for the one they are compared to.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxdistill.jobs.segment.folds import run_fold
from jaxdistill.jobs.segment.judging import VALIDATED, score, worth
from jaxdistill.jobs.segment.lessons import Room, Seat
from jaxdistill.jobs.segment.plan import ALONE, pupils

Config = Mapping[str, Any]


class Rate(NamedTuple):
    """The rate that is best, Dice on validation by rate, and rates that came to none.

    Numbers may be the texts of a summary.
    """

    chosen: float
    dice: Mapping[float, float]
    failed: Sequence[float]

    @property
    def said(self) -> str:
        """The choice in words."""
        found = [f"{float(rate):g}: {dice:.3f}" for rate, dice in self.dice.items()]
        told = ", ".join([*found, *(f"{rate:g}: failed" for rate in self.failed)])
        return f"{self.chosen:g}, by validation's Dice of {told}"


def at_rate(config: Config, rate: float) -> dict[str, Any]:
    """The same configuration with another rate of students."""
    return {**config, "learning": {**config["learning"], "lr": rate}}


def choose(room: Room, config: Config, seat: Seat) -> Rate | None:
    """The best of `protocol.rates` for the student alone, of equals the lowest.

    None where there is nothing to choose; the lowest where none comes to an end.
    """
    tried = tuple(sorted(set(config["protocol"]["rates"])))
    if not tried:
        return None
    dice: dict[float, float] = {}
    for rate in tried:
        alone = pupils(at_rate(config, rate))[:1]
        found = run_fold(room, config, seat, alone, {})
        if (one := found.get((ALONE, seat.unseen, seat.seed))) is not None:
            dice[rate] = worth(score(room, config, seat, one))[VALIDATED]
    dice = {rate: told for rate, told in dice.items() if math.isfinite(told)}
    best = max(dice, key=dice.__getitem__, default=tried[0])
    made = Rate(best, dice, tuple(rate for rate in tried if rate not in dice))
    room.say(f"rate of {seat.name}: {made.said}")
    if len(tried) > 1 and best in (tried[0], tried[-1]):
        end, further = (
            ("lowest", "lower") if best == tried[0] else ("highest", "higher")
        )
        room.say(
            f"note: the {end} rate is the best, so that a {further} one may be better: "
            "add it to protocol.rates"
        )
    return made
