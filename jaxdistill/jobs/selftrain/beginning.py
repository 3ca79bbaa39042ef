"""How long labels alone are trained: of several numbers of passes, validation chooses.

A start that was stopped early makes every stage look like a gain, as stages see the
labels again and again. So all rows of a seed begin with, and are compared to, the
labels alone at their best.
"""

from typing import NamedTuple

from jaxdistill.errors import Diverged
from jaxdistill.jobs.lessons.judging import validated
from jaxdistill.jobs.lessons.training import Config, Taught
from jaxdistill.jobs.selftrain.lessons import School, supervised
from jaxdistill.jobs.selftrain.plan import at_length, lengths
from jaxdistill.jobs.settings.build_backbones import build_backbones


class Start(NamedTuple):
    """Labels alone, for how many passes, and what validation said of each number."""

    taught: Taught
    epochs: int
    auc: dict[int, float]  # empty where there was nothing to choose
    failed: dict[int, str]  # by number of passes: why it diverged

    @property
    def said(self) -> str:
        """Its choice in words."""
        found = [f"{epochs}: {auc:.3f}" for epochs, auc in self.auc.items()]
        told = ", ".join([*found, *(f"{epochs}: diverged" for epochs in self.failed)])
        return f"{self.epochs} passes over the labels, by validation's AUC of {told}"


def begun(school: School, config: Config, seed: int) -> Start:
    """The best of `protocol.first_epochs` by validation's AUC, of equals the shortest.

    Raises `Diverged` if none has an end; one that has none is told and left out.
    """
    tried, room = lengths(config), school.room
    if len(tried) == 1:
        taught = supervised(school, at_length(config, *tried), seed)
        return Start(taught, *tried, {}, {})
    made: dict[int, Taught] = {}
    auc: dict[int, float] = {}
    failed: dict[int, str] = {}
    network = build_backbones(config, room.pool).network
    for epochs in tried:
        try:
            made[epochs] = supervised(school, at_length(config, epochs), seed)
            blur = config["eval"]["blur"]
            auc[epochs] = validated(room, network, made[epochs], blur)
        except Diverged as error:
            room.say(f"{epochs} passes over the labels, seed {seed}, failed: {error}")
            failed[epochs] = str(error)
    if not auc:
        reasons = "; ".join(f"{epochs}: {why}" for epochs, why in failed.items())
        raise Diverged(f"labels alone fail at all numbers of passes ({reasons})")
    best = max(auc, key=lambda epochs: auc[epochs])
    start = Start(made[best], best, auc, failed)
    room.say(f"labels alone of seed {seed}: {start.said}")
    if best == max(tried):
        room.say(
            "note: the most passes are the best, so that labels alone may not be at "
            "their end: add more to protocol.first_epochs"
        )
    return start
