"""Flags to plain values: a config, other values for its settings, and what else.

`ml_collections.config_flags` gives settings their values; the config file is run here,
so that whatever is wrong with it, or with a key, is told in one sentence.
"""

import re
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jaxdistill
from jaxdistill.errors import InputError, meant
from jaxdistill.foreign.files import expanded
from jaxdistill.jobs.settings.changes import config_dict
from jaxdistill.jobs.settings.resolve import fill, leaves, nested, override, resolve
from jaxdistill.jobs.settings.resolve import schema as schema_of
from jaxdistill.jobs.settings.roots import DISTIL, job_of
from jaxdistill.ranges import KINDS

MODES = ("full", "smoke")
REMEDY = "mend the file, or copy a shipped config and change that"
_FILE = re.compile(r"--?config(?:=(.*))?$", re.DOTALL)
_KEY = re.compile(r"--?(no)?config\.([^=]+)(?:=(.*))?$", re.DOTALL)
PACKAGE = Path(jaxdistill.__file__).parent


def parse(
    argv: list[str], names: tuple[str, ...], job: str = DISTIL
) -> tuple[dict[str, Any], Any]:
    """The full configuration as plain values, and the flags in `names` by attribute.

    `job` is what the verb does. Raises `InputError` for whatever of it cannot be used.
    """
    from absl import flags
    from ml_collections import config_flags

    text, argv = _take_file(argv)
    changes = _load(text)
    _require_job(text, changes, job)
    said = spoken(argv)
    fill(override(changes, nested(said)))  # for keys that there are not
    named = {key: value for key, value in said.items() if _chooses(key)}
    full = fill(override(changes, nested(named)))
    _give_kinds(full, said)
    values = flags.FlagValues()
    for name in names:
        flags.DEFINE_string(name, "", "", flag_values=values)
    try:
        config_flags.DEFINE_config_dict(
            "config", config_dict(full), flag_values=values, sys_argv=argv
        )
        rest = values(["jaxdistill", *argv])[1:]
    except (flags.Error, ValueError, TypeError, LookupError) as error:
        raise InputError(_sentence(full, error)) from error
    if rest:
        raise InputError(f"{rest[0]!r} is not a flag: flags look like --config.ipc=10")
    return resolve(values.config.to_dict()), values


def _give_kinds(full: dict[str, Any], said: Mapping[str, str]) -> None:
    """What must be given has no usual value, by whose type a flag would be read."""
    for key, setting, value in list(leaves(schema_of(full), full)):
        if key in said and value == "" and setting.kind is not str:
            *sections, last = key.split(".")
            part = full
            for section in sections:
                part = part[section]
            part[last] = setting.kind()


def chosen(argv: list[str], job: str = DISTIL) -> dict[str, Any]:
    """The configuration of a command that asks for help: of its file, if it names one.

    Flags choose a method, a network or a source; their other values do not count.
    """
    changes: dict[str, Any] = {} if job == DISTIL else {"job": job}
    if any(map(_FILE.match, argv)):
        changes = _load(text := _take_file(argv)[0])
        _require_job(text, changes, job)
    named = {key: value for key, value in spoken(argv).items() if _chooses(key)}
    return fill(override(changes, nested(named)))


def spoken(argv: list[str]) -> dict[str, str]:
    """The text given to every key by a flag; a word of its own counts as its value."""
    found: dict[str, str] = {}
    for at, arg in enumerate(argv):
        if match := _KEY.match(arg):
            following = "".join(argv[at + 1 : at + 2])
            alone = "" if following.startswith("-") else following
            found[match[2]] = alone if match[3] is None else match[3]
    return found


def shipped() -> dict[str, Path]:
    """The configs that come with the library, by name."""
    # Beside the package in a checkout, within it once installed.
    for folder in (PACKAGE / "configs", PACKAGE.parent / "configs"):
        if folder.is_dir():
            return {file.stem: file for file in sorted(folder.glob("*.py"))}
    return {}


def _chooses(key: str) -> bool:
    return key == "method" or key.endswith(".name")


def _take_file(argv: list[str]) -> tuple[str, list[str]]:
    """The value of `--config`, and the other arguments."""
    rest = list(argv)
    texts: list[str] = []
    for at, arg in reversed(list(enumerate(argv))):
        if found := _FILE.match(arg):
            last = at + 1 if found[1] is None else at
            texts += rest[last : last + 1] if found[1] is None else [found[1]]
            del rest[at : last + 1]
    if not texts or not texts[0]:
        raise InputError(
            "--config is missing: name a file, or a shipped config such as quickstart"
        )
    return texts[0], rest


def _find(text: str) -> tuple[Path, str]:
    """The config file that a text names, and its mode."""
    name, _, mode = text.partition(":")
    known = shipped()
    file = expanded(name)
    if not file.is_file() and name in known:
        return known[name], mode
    if not file.is_file():
        raise InputError(
            f"--config={text} names no file below {Path.cwd()} and no shipped config"
            f"{meant(name, known)}: check the path, or name one of {', '.join(known)}"
        )
    return file, mode


def _load(text: str) -> dict[str, Any]:
    """What `get_config` of a config file gives."""
    from ml_collections import ConfigDict

    file, mode = _find(text)
    try:
        found = runpy.run_path(str(file))
        _require_mode(mode, found.get("MODES", MODES), text)
        made = found["get_config"](*filter(None, [mode]))
    except SyntaxError as error:
        raise InputError(
            f"--config={file} is not Python in line {error.lineno or 1} ({error.msg}): "
            f"{REMEDY}"
        ) from error
    except InputError:
        raise
    except KeyError as error:
        if error.args != ("get_config",):
            raise InputError(_failed(file, error)) from error
        raise InputError(f"--config={file} lacks get_config(mode): {REMEDY}") from error
    except Exception as error:
        raise InputError(_failed(file, error)) from error
    if not isinstance(made, ConfigDict):
        raise InputError(
            f"get_config of --config={file} gives a {type(made).__name__}, not a "
            f"ConfigDict: {REMEDY}"
        )
    return made.to_dict()


def _require_job(text: str, changes: Mapping[str, Any], job: str) -> None:
    """`InputError` for the config of another verb."""
    if (found := job_of(changes)) != job:
        verbs = {DISTIL: "jaxdistill distill, compare and study"}
        raise InputError(
            f"--config={text} is for {verbs.get(found, f'jaxdistill {found}')}: name a "
            f"config with job={job!r}"
            if job != DISTIL
            else f"--config={text} is for jaxdistill {found}: use that verb, or name a "
            "config of distillation"
        )


def _require_mode(mode: str, known: tuple[str, ...], text: str) -> None:
    if mode and mode not in known:
        raise InputError(
            f"--config={text} asks for the mode {mode!r}: choose one of "
            f"{', '.join(known)}"
        )


def _failed(file: Path, error: Exception) -> str:
    return (
        f"--config={file} fails with {type(error).__name__} ({_one_line(error)}): "
        f"{REMEDY}"
    )


def _sentence(full: Mapping[str, Any], error: Exception) -> str:
    """What is wrong with a flag, and what it should be."""
    bad = re.match(r"flag --config\.([^=]+)=(.*?): ", str(error), re.DOTALL)
    known = {key: setting for key, setting, _ in leaves(schema_of(full), full)}
    if bad is None or bad[1] not in known:
        return f"{_one_line(error)}: see --help for the flags"
    setting = known[bad[1]]
    return (
        f"{bad[1]}={bad[2]} must be {KINDS[setting.kind]}: write it as in "
        f"--config.{bad[1]}={setting.usual}"
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error.args[0] if error.args else error).split())[:200]
