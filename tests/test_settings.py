"""Settings: declared once, reachable by a file and a flag, refused in one sentence."""

import json
import math
import runpy
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pytest

from jaxdistill import networks
from jaxdistill.cli.arguments import parse
from jaxdistill.data.site_sources import SITE_SOURCES
from jaxdistill.data.sources import SOURCES
from jaxdistill.distillation.distillers import METHODS
from jaxdistill.distillation.distillers.weighting import WEIGHTINGS
from jaxdistill.errors import InputError
from jaxdistill.jobs.settings.changes import changes
from jaxdistill.jobs.settings.resolve import (
    fill,
    free,
    leaves,
    nested,
    override,
    resolve,
    schema,
)
from jaxdistill.networks.backbones import BACKBONES
from jaxdistill.ranges import Count, Decay, OneOf
from jaxdistill.settings import Setting, declared, require, section_of, settings_of

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))
FILMS = {"name": "folder", "path": "films"}
ABSURD = 10**30
NUMBERS = (-1, 0, math.nan, math.inf, -math.inf, float(ABSURD), ABSURD)
WRONG = {  # values of another type than the key's
    int: ("ten", 1.5, True, (1,)),
    float: ("fast", True, (0.1,)),
    bool: ("perhaps", 2, 0.5),
    str: (3, 1.5, True),
    tuple: (5, "a", ("a",)),
    dict: (3, "a"),
}


SITES = {"site_folders": {"path": "films"}, "nnunet": {"path": "films"}}
SEGMENTING = [
    *({"data": SITES.get(name, {}) | {"name": name}} for name in SITE_SOURCES),
    *({"student": {"name": name}} for name in networks.SEGMENTERS),
]


def modes_of(file: Path) -> tuple[str, ...]:
    """What may follow the colon; a file that does not say has two."""
    return runpy.run_path(str(file)).get("MODES", ("full", "smoke"))


def changes_of(file: Path, mode: str = "full") -> dict[str, Any]:
    return runpy.run_path(str(file))["get_config"](mode).to_dict()


def every_setting() -> dict[str, tuple[dict, Setting]]:
    """Every key of every shipped config, method, source, network and weighting, with
    changes by which it is there.
    """
    asked = [changes_of(file, mode) for file in CONFIGS for mode in modes_of(file)]
    asked += [{"method": name} for name in METHODS]
    asked += [{"job": "segment"} | one for one in SEGMENTING]
    asked += [{"job": "selftrain", "backbone": {"name": n}} for n in BACKBONES]
    asked += [{"job": "labels"}]
    asked += [{"data": FILMS | {"name": name}} for name in ("folder", "tfds")]
    asked += [{"data": {"name": n}} for n in SOURCES if n not in ("folder", "tfds")]
    asked += [{"network": {"name": name}} for name in networks.NETWORKS]
    asked += [{"trajectory": {"weighting": {"name": name}}} for name in WEIGHTINGS]
    found = {}
    for one in asked:
        full = fill(one)
        for key, setting, _ in leaves(schema(full), full):
            found.setdefault((key, setting.kind, str(setting.rules)), (one, setting))
    return {f"{key}-{i}": pair for i, ((key, *_), pair) in enumerate(found.items())}


EVERY = every_setting()


def refusal(key: str, one: dict, value: Any) -> str | None:
    """The sentence with which a file's value is refused, if it is."""
    try:
        resolve(override(one, nested({key: value})))
    except InputError as error:
        return str(error)
    return None


def sensible(setting: Setting, value: Any) -> bool:
    """Whether the declaration itself takes the number."""
    if setting.kind is int and not isinstance(value, int):
        return False
    return all(
        value in tuple(rule.known) if isinstance(rule, OneOf) else rule.holds(value)
        for rule in setting.rules
    )


@pytest.mark.parametrize("name", EVERY)
def test_every_setting_refuses_what_makes_no_sense(name):
    (one, setting), key = EVERY[name], name.rpartition("-")[0]
    bad: list[Any] = list(WRONG[setting.kind])
    if setting.kind in (int, float):
        # Nothing here has use for these; where 0 has none the declaration says so.
        assert not any(sensible(setting, v) for v in (-1, *NUMBERS[2:])), key
        bad += [v for v in NUMBERS if not sensible(setting, v)]
    if setting.kind is tuple:
        bad += [(), (-1,), (math.nan,), (ABSURD,)]
    if setting.kind is str and setting.rules:
        bad += ["nonsuch", ""] if setting.usual else ["", "  "]
    if any(getattr(rule, "empty", False) for rule in setting.rules):
        bad = [v for v in bad if (v.strip() if isinstance(v, str) else v != ())]
    for value in bad:
        told = refusal(key, one, value)
        assert told, f"{key}={value!r} is accepted"
        assert told.startswith(f"{key}={value!r} ") or f"{key}=" in told, told
        assert ": " in told, told  # the remedy
        assert "\n" not in told


@pytest.mark.parametrize("name", EVERY)
def test_a_misspelt_key_is_refused_and_the_right_one_named(name):
    (one, _), key = EVERY[name], name.rpartition("-")[0]
    last = key.rpartition(".")[2]
    told = refusal(f"{key}x", one, 1)
    assert told, f"{key}x is accepted"
    assert f"{key}x is no setting" in told
    assert f"mean '{last}'" in told or "mean" in told, told
    assert "use " in told or "--help" in told


FLAGGED = {
    int: ("ten", "-1"),
    float: ("fast", "nan"),
    bool: ("perhaps",),
    tuple: ("()", "(-1,)"),
}


@pytest.mark.parametrize("kind", FLAGGED, ids=lambda kind: kind.__name__)
def test_flags_are_refused_as_files_are(kind, tmp_path):
    """Every key of one config that has the kind, by its own flag."""
    file = CONFIGS[[f.stem for f in CONFIGS].index("quickstart")]
    full = resolve(changes_of(file))
    keys = [key for key, s, _ in leaves(schema(full), full) if s.kind is kind]
    assert keys
    for key in keys:
        for text in FLAGGED[kind]:
            with pytest.raises(InputError) as told:
                parse([f"--config={file}", f"--config.{key}={text}"], ())
            assert f"{key}=" in str(told.value)
            assert "\n" not in str(told.value)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_every_mode_of_a_config_is_sound_and_a_full_one_stays_what_it_is(file):
    made = runpy.run_path(str(file))
    for mode in modes_of(file):
        full = resolve(changes_of(file, mode))
        assert resolve(full) == full
        assert json.loads(json.dumps(full))  # a record of the run can hold it
    small = resolve(changes_of(file, "smoke"))
    lasts = {
        "learning": "steps",
        "stage": "epochs",
        "tuning": "steps",
    }  # of jobs without `steps`
    told = [small[part][key] for part, key in lasts.items() if part in small]
    assert small.get("steps", *told) <= 10
    assert made["get_config"]().to_dict() == changes_of(file)
    assert f"--config=configs/{file.name}" in made["__doc__"]


def test_what_is_not_changed_has_the_usual_value_of_the_library():
    full = resolve({})
    for section, maker in (
        ("trajectory", METHODS["trajectory"]),
        ("network", networks.convnet),
        ("data", SOURCES["phantom"]),
    ):
        for name, setting in settings_of(maker).items():
            if isinstance(setting, Setting):
                assert full[section][name] == setting.usual


def test_another_choice_keeps_what_both_have_and_drops_the_rest():
    films = {"data": {"name": "phantom", "train": 500, "seed": 4}}
    made = resolve(override(films, {"data": FILMS}))["data"]
    assert "train" not in made
    assert (made["path"], made["seed"]) == ("films", 4)
    assert made["size"] == settings_of(SOURCES["folder"])["size"].usual
    net = {"network": {"name": "convnet", "width": 12, "depth": 3}}
    assert resolve(override(net, {"network": {"name": "resnet18"}}))["network"] == {
        "name": "resnet18",
        "width": 12,
        "norm": "instance",
        "conv": "auto",
    }
    mtt = {"trajectory": {"unroll_steps": 9}}
    dc = resolve(override(mtt, {"method": "gradient", "gradient": {"nets": 2}}))
    assert "trajectory" not in dc
    assert dc["gradient"]["nets"] == 2
    pad = {"trajectory": {"weighting": {"name": "deep_only", "share": 0.25}}}
    other = {"trajectory": {"weighting": {"name": "importance", "rate": 0.1}}}
    weighting = resolve(override(pad, other))["trajectory"]["weighting"]
    assert weighting == {"name": "importance", "rate": 0.1}


def test_a_file_that_speaks_of_what_it_did_not_choose_is_refused():
    with pytest.raises(InputError, match=r"gradient holds settings of .*'gradient'"):
        resolve({"gradient": {"nets": 2}})
    with pytest.raises(InputError, match=r"data\.train is no setting of .*'folder'"):
        resolve({"data": FILMS | {"train": 3}})
    with pytest.raises(InputError, match=r"share must be given, a number: of param"):
        resolve({"trajectory": {"weighting": {"name": "pruning"}}})


def test_what_must_be_given_can_be_given_by_a_flag():
    file = CONFIGS[[f.stem for f in CONFIGS].index("quickstart")]
    for name in WEIGHTINGS:
        asked = section_of(WEIGHTINGS[name])
        needed = [key for key, one in asked.items() if one.usual == ""]
        flags = [f"--config.trajectory.weighting.{key}=0.5" for key in needed]
        flags.append(f"--config.trajectory.weighting.name={name}")
        config, _ = parse([f"--config={file}", *flags], ())
        given = {"trajectory": {"weighting": dict.fromkeys(needed, 0.5)}}
        given["trajectory"]["weighting"]["name"] = name
        assert config == resolve(override(changes_of(file), given))


def test_every_documented_setting_of_a_choice_is_reached_by_a_flag():
    file = CONFIGS[[f.stem for f in CONFIGS].index("quickstart")]
    flags = ["data.name=folder", "data.path=films", "data.channels=3", "data.group=p"]
    flags += ["data.seed=5", "data.val_fraction=0.2", "network.name=vit_tiny"]
    flags += ["network.heads=2", "method=kernel", "kernel.ridge=0.1"]
    config, _ = parse([f"--config={file}", *(f"--config.{f}" for f in flags)], ())
    assert config["data"] | {"channels": 3, "group": "p", "seed": 5} == config["data"]
    assert config["network"]["heads"] == 2
    assert config["kernel"]["ridge"] == 0.1
    assert config["data"]["val_fraction"] == 0.2


def test_what_may_change_on_resume_is_declared():
    mapped = {f"devices.{key}" for key in ("map", "count", "cpu", "population")}
    stored = {"experts.folder", "experts.cache_gb", "tensorboard"}
    assert set(free()) == mapped | stored | {"log_every", "checkpoint_every"}


def test_an_empty_section_of_another_method_says_nothing():
    c = changes()
    c.method = "gradient"
    assert "trajectory" not in resolve(c.to_dict())


class Toy(NamedTuple):
    """A record with one setting, and one field that is none."""

    loops: Annotated[Count, "how often"] = 3
    other: int = 0


def test_a_declared_call_refuses_and_leaves_the_rest_alone():
    @declared("toy", Toy)
    def toy(x: int, *, share: Annotated[Decay, "of it"] = 0.5, free: float = 9.0):
        return x, share, free

    assert toy(1, free=-5.0) == (1, 0.5, -5.0)
    assert toy(1, share=0) == (1, 0.0, 9.0)
    with pytest.raises(InputError, match=r"^toy\.share=1\.0 must be at least 0 and be"):
        toy(1, share=1.0)
    with pytest.raises(TypeError):
        toy(1, shares=0.5)
    with pytest.raises(InputError, match=r"^toy\.loops=0 must be at least 1 .* usual"):
        require(Toy(loops=0, other=-7), "toy")
