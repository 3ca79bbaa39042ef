"""What a self-training run comprises: ways through the stages, and who trains where.

    supervised                    stage 0: the labelled films alone
    stage_1 .. stage_T            fold after fold of films without labels
    ABLATION, VARIANT             the last stage of another way, from the same stage 0
    ceiling                       all training films with their labels

A lesson's folder ends in a digest of all that decides its result, so that what is
changed is trained anew and what is not is kept.
"""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxdistill.errors import InputError
from jaxdistill.foreign.files import expanded
from jaxdistill.jobs.settings.resolve import override, resolve
from jaxdistill.jobs.settings.selftraining import ABLATIONS
from jaxdistill.jobs.settings.varying import changed, require_fair, require_row
from jaxdistill.ranges import words_of
from jaxdistill.run.files import digest
from jaxdistill.run.seals import of_file

SUPERVISED, CEILING, MAIN, WRONG = "supervised", "ceiling", "stage", "wrong"
ALIKE = ("evolve", "stage", "views")  # what ways may differ in
FIRST_OF = ("data", "films", "backbone", "classes", "views", "first", "start")
STAGE_OF = (*FIRST_OF, "head", "evolve", "stage")

Config = Mapping[str, Any]


class Way(NamedTuple):
    """One way through the stages: its name, and its configuration."""

    name: str
    config: dict[str, Any]

    @property
    def digest(self) -> str:
        """Of all that decides its stages, but the seed."""
        return digest(_decisive(self.config, STAGE_OF))

    @property
    def program(self) -> str:
        """Names what is compiled for its stages: of no seed, stage or length."""
        return f"{self.name}_{self.at_length(1).digest}"

    def at_length(self, epochs: int) -> "Way":
        """The same way from a start of so many passes over the labels."""
        return self._replace(config=at_length(self.config, epochs))


class Plan(NamedTuple):
    """Seeds, stages and ways; the first way is the main one."""

    seeds: tuple[int, ...]
    stages: int
    ways: tuple[Way, ...]
    ceiling: bool
    spoilt: tuple[Way, ...] = ()  # the main way, with wrong labels

    @property
    def rows(self) -> list[str]:
        """All names in the table's order."""
        main = [f"{MAIN}_{stage}" for stage in range(1, self.stages + 1)]
        others = [way.name for way in self.ways[1:]]
        told = [SUPERVISED, *main, *others, *([CEILING] if self.ceiling else [])]
        return [*told, *(end for way in self.spoilt for end in self.ends(way))]

    def row(self, way: Way, stage: int) -> str:
        """What the table calls a way's network after a stage; '' for one left out."""
        if way.name == MAIN:
            return f"{MAIN}_{stage}"
        if stage < self.stages:
            return ""
        spoilt = way.name in (each.name for each in self.spoilt)
        return self.ends(way)[1] if spoilt else way.name

    def ends(self, way: Way | None = None) -> tuple[str, str]:
        """Before and after: labels alone, and the last stage of the main way.

        Or those of the main way with wrong labels.
        """
        behind = "" if way is None else f"_{way.name}"
        return f"{SUPERVISED}{behind}", f"{MAIN}_{self.stages}{behind}"


def plan(config: Config) -> Plan:
    """The run that a configuration asks for; `InputError` for a wrong key."""
    protocol = config["protocol"]
    if config["start"] and not expanded(config["start"]).is_file():
        raise InputError(
            f"start={config['start']!r} is no file: name weights to begin with, or "
            "leave it empty"
        )
    base = copy.deepcopy(dict(config))
    base["protocol"]["variants"] = {}
    made = {MAIN: base}
    for name in words_of(protocol["ablations"]):
        made[name] = resolve(override(base, ABLATIONS[name]))
    numbers = range(1, config["films"]["folds"] + 1)
    stages = (f"{MAIN}_{number}" for number in numbers)
    taken = (*made, *ABLATIONS, SUPERVISED, CEILING, *stages)
    for name, values in protocol["variants"].items():
        said = f"protocol.variants.{name}"
        require_row("protocol.variants", name, taken)
        shared = tuple(key for key in config if key not in ALIKE)
        require_fair(said, values, shared)
        made[name] = changed(base, values, said)
    spoilt = {
        f"{WRONG}_{share}": resolve(override(base, {"films": {"wrong": share}}))
        for share in protocol["wrong"]
    }
    return Plan(
        tuple(dict.fromkeys(protocol["seeds"])),
        config["films"]["folds"],
        tuple(Way(name, made[name]) for name in made),
        protocol["ceiling"] > 0,
        tuple(Way(name, spoilt[name]) for name in spoilt),
    )


def lengths(config: Config) -> tuple[int, ...]:
    """Passes over the labels to choose from, in rising order."""
    told = config["protocol"]["first_epochs"] or (config["first"]["epochs"],)
    return tuple(sorted(set(told)))


def at_length(config: Config, epochs: int) -> dict[str, Any]:
    """The same configuration with so many passes over the labels."""
    return {**config, "first": {**config["first"], "epochs": epochs}}


def digest_of_first(config: Config) -> str:
    """Of all that decides a training on labels, but the seed."""
    return digest(_decisive(config, FIRST_OF))


def _decisive(config: Config, keys: tuple[str, ...]) -> dict[str, Any]:
    kept = {key: config[key] for key in keys}
    # Folders keep the names that they had before labels could be wrong.
    leave = {"stream"} if config["films"]["wrong"] else {"stream", "wrong"}
    kept["films"] = {k: v for k, v in config["films"].items() if k not in leave}
    kept["steps_per_call"] = config["steps_per_call"]
    if (start := expanded(config["start"])).is_file():
        kept["start"] = of_file(start)  # other weights are another training
    return kept
