"""What a segmentation run comprises: which students, on which site left out, by seed.

A lesson is a training of its own: one teacher, or all the students of one fold that
differ in nothing but their networks and losses. Its name ends in a digest of all that
decides its result, so that what is changed is trained anew and what is not is kept.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxdistill.data.protocol import Fold, leave_one_out
from jaxdistill.errors import InputError, require_name
from jaxdistill.jobs.settings.varying import changed, require_fair, require_row
from jaxdistill.ranges import words_of
from jaxdistill.run.files import digest
from jaxdistill.types import SitePool

# What all students have in common, and what of a configuration decides no training.
SHARED = (
    "job",
    "distil",
    "data",
    "protocol",
    "split",
    "eval",
    "devices",
    "teacher",
    "teaching",
)
APART = ("student", "losses")
IDLE = ("protocol", "eval", "devices", "distil", "job", "limit")
PACE = ("log_every", "checkpoint_every", "tensorboard")
TAUGHT_BY = (
    "data",
    "split",
    "teacher",
    "teaching",
    "patches",
    "augment",
    "steps_per_call",
)

TEACHER = "teacher"
ALONE = "alone"
CHOSEN = "chosen"  # the row of the students that validation prefers
MEAN = "mean"  # the row over all sites left out

Config = Mapping[str, Any]


class Pupil(NamedTuple):
    """One student: its name in the table, and its configuration."""

    name: str
    config: dict[str, Any]

    @property
    def digest(self) -> str:
        """Sixteen digits of all that decides what it becomes, but fold and seed."""
        decided = decisive(self.config)
        if not decided["losses"]:  # whoever listens to no teacher depends on none
            teachers = ("teacher", "teachers", "teaching")
            decided = {k: v for k, v in decided.items() if k not in teachers}
        return digest(decided)

    @property
    def common(self) -> str:
        """A digest that students have in common who learn in one class."""
        decided = decisive(self.config)
        return digest({k: v for k, v in decided.items() if k not in APART})


class Plan(NamedTuple):
    """The folds of the left-out sites, and who learns in each of them."""

    pool: SitePool
    folds: dict[str, Fold]
    seeds: tuple[int, ...]
    pupils: tuple[Pupil, ...]


def plan(config: Config, pool: SitePool) -> Plan:
    """The run that a configuration asks for; `InputError` for what cannot be."""
    protocol = config["protocol"]
    unseen = words_of(protocol["unseen"]) or pool.sites
    for site in unseen:
        require_name("protocol.unseen", site, pool.sites)
    names: dict[str, str] = {}
    for site in pool.sites:
        if site == MEAN:
            raise InputError(
                f"a site is called {MEAN!r}, as the row of the mean over sites is: "
                "call it otherwise"
            )
        if (other := names.setdefault(safe(site), site)) != site:
            raise InputError(
                f"the sites {other!r} and {site!r} would have one name in files, "
                f"{safe(site)!r}: call one of them otherwise"
            )
    how = {**config["split"], "patients": protocol["patients"]}
    folds = {site: leave_one_out(pool, site, **how) for site in unseen}
    seeds = tuple(dict.fromkeys(protocol["seeds"]))
    return Plan(pool, folds, seeds, pupils(config))


def pupils(config: Config) -> tuple[Pupil, ...]:
    """The student alone, the one that the losses distil, and the variants."""
    silent = {name: {"weight": 0.0} for name in config["losses"]}
    base = {**config, "protocol": {**config["protocol"], "students": {}}}
    made = {ALONE: changed(base, {"losses": silent}, ALONE)}
    if config["distil"]:
        made["distilled"] = changed(base, {}, "distilled")
    for name, values in config["protocol"]["students"].items():
        said = "protocol.students"
        require_row(said, name, (TEACHER, CHOSEN, *made))
        if name.startswith(f"{TEACHER}_"):
            raise InputError(
                f"{said}.{name} has the name of a teacher's row: call it otherwise"
            )
        require_fair(f"{said}.{name}", values, SHARED)
        # A variant's losses are those that it names, whatever the common ones are.
        told = {"losses": silent} if "losses" in values else {}
        made[name] = changed(changed(base, told, said), values, f"{said}.{name}")
    if config["distil"] and not any(one["weight"] for one in config["losses"].values()):
        raise InputError(
            "losses have no weight at all, so that the student called distilled is "
            "the one called alone: set one, as in losses.logits.weight=1, or distil="
            "false"
        )
    return tuple(Pupil(name, made[name]) for name in made)


def told_of(pupil: Pupil) -> str:
    """What the table calls teachers that are not everybody's."""
    return f"{TEACHER}_{pupil.name}"


def safe(name: str) -> str:
    """A site's name as part of a file's."""
    return "".join(c if c.isalnum() or c in "-" else "-" for c in name)


def decisive(config: Config) -> dict[str, Any]:
    """What of a configuration decides a student, its teachers included."""
    kept = {k: v for k, v in config.items() if k not in (*IDLE, *PACE)}
    kept["losses"] = {k: v for k, v in kept["losses"].items() if v["weight"]}
    return kept | {"neighbours": config["protocol"]["neighbours"]}


def of_teacher(config: Config) -> dict[str, Any]:
    """What of a configuration decides a teacher."""
    seen = {"neighbours": config["protocol"]["neighbours"]}
    return {key: config[key] for key in TAUGHT_BY} | seen
