"""All that one seed trains, one after the other; who fails ends nobody else.

labels alone, then every way through the stages from there
the ceiling
labels alone with wrong ones among them, and the stages from there
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from jaxdistill.errors import Diverged
from jaxdistill.jobs.lessons.judging import Record
from jaxdistill.jobs.lessons.training import Taught
from jaxdistill.jobs.selftrain.beginning import Start, begun
from jaxdistill.jobs.selftrain.lessons import School, ceiling, relabelled, stage
from jaxdistill.jobs.selftrain.plan import CEILING, SUPERVISED, Plan, Way


class Outcome(NamedTuple):
    """A row of the table as one seed made it: trained, judged, or why it is not."""

    name: str
    way: Way
    taught: Taught | None
    start: Start | None = None  # of labels alone
    record: Record | None = None  # of who was judged
    reason: str = ""


def walk(school: School, wanted: Plan, seed: int) -> Iterator[Outcome]:
    """Every row of one seed as it is trained, and every failure."""
    main = wanted.ways[0]
    yield from _staged(school, wanted, SUPERVISED, wanted.ways, seed)
    if wanted.ceiling:
        yield _made(CEILING, main, ceiling, school, main.config, seed)
    for way in wanted.spoilt:
        begin, _ = wanted.ends(way)
        spoilt = relabelled(school, way.config)
        yield from _staged(spoilt, wanted, begin, (way,), seed)


def _staged(
    school: School, wanted: Plan, begin: str, ways: Sequence[Way], seed: int
) -> Iterator[Outcome]:
    """Labels alone, and the stages of all ways that begin with them."""
    first = _made(begin, ways[0], begun, school, ways[0].config, seed)
    yield first
    if first.start is None:
        return
    for way in (each.at_length(first.start.epochs) for each in ways):
        last = wanted.row(way, wanted.stages)
        before = first.start.taught
        for number in range(1, wanted.stages + 1):
            name = wanted.row(way, number)
            made = _made(name or last, way, stage, school, way, seed, number, before)
            if name or made.taught is None:
                yield made
            if made.taught is None:
                break
            before = made.taught


def _made(name: str, way: Way, train: Callable[..., Any], *told: Any) -> Outcome:
    try:
        found = train(*told)
    except Diverged as error:
        return Outcome(name, way, None, reason=str(error))
    if isinstance(found, Start):
        return Outcome(name, way, found.taught, found)
    return Outcome(name, way, found)
