"""A network that tells all films the same is told of while it trains.

A teacher of DINO with one answer for all has a mean answer without entropy (0 of 1);
one that cannot decide is at the limit in every answer (1 of 1). BYOL, SimSiam and SKD
have collapsed where all films have one direction: a spread near 0 of 1.
"""

from collections.abc import Callable

from jaxdistill.run.loop import Event, Moment

ONE, ALL = 0.01, 0.999  # shares of the most entropy there can be
NARROW = 0.05  # of the spread that directions have where they are even


def collapse(every: int, say: Callable, name: str) -> Event:
    """An event that warns once of a collapse, with the step and a remedy."""
    told: list[int] = []

    def act(now: Moment) -> None:
        words = None if told else _fault(now)
        if words is not None:
            told.append(now.step)
            say(f"warning: {name}: " + words.format(step=now.step))

    return Event(every, act, "log_every")


def _fault(now: Moment) -> str | None:
    """What has collapsed, if anything, and what helps."""
    if "spread" in now.values and (spread := float(now.values["spread"])) < NARROW:
        return (
            "all films have one direction since step {step} "
            f"(spread {spread:.3f} of 1): lower lr, or raise batch"
        )
    if "doubt" not in now.values:
        return None
    entropy, doubt = float(now.values["entropy"]), float(now.values["doubt"])
    if entropy >= ONE and doubt <= ALL:
        return None
    how, remedy = (
        ("gives all films one answer", "bring the momentum of the centre nearer to 0.9")
        if entropy < ONE
        else ("cannot decide", "lower teacher_heat")
    )
    return (
        f"the teacher {how} since step {{step}} (entropy of its mean answer "
        f"{entropy:.3f}, of its answers {doubt:.3f} of the most possible): {remedy}, "
        "or lower lr"
    )
