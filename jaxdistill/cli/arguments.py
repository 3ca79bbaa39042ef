"""Flags to plain values: a config file, other values for its keys, and what else.

`ml_collections.config_flags` gives keys their values; the config file is run here, so
that whatever is wrong with it, or with a key, is told in one sentence.
"""

import difflib
import re
import runpy
from pathlib import Path
from typing import Any

from jaxdistill.errors import InputError

MODES = ("full", "smoke")
REMEDY = "mend the file, or copy configs/quickstart.py and change that"
KINDS = {int: "a whole number", float: "a number", bool: "true or false"}
_FILE = re.compile(r"--?config(?:=(.*))?$")
_KEY = re.compile(r"--?(?:no)?config\.([^=]+)")


def parse(argv: list[str], names: tuple[str, ...]) -> tuple[dict[str, Any], Any]:
    """The configuration as plain values, and the flags in `names` by attribute.

    Raises `InputError` for whatever of it cannot be used.
    """
    from absl import flags
    from ml_collections import config_flags

    text, argv = _take_file(argv)
    config = _load(text)
    _require_keys(config, argv)
    values = flags.FlagValues()
    for name in names:
        flags.DEFINE_string(name, "", "", flag_values=values)
    try:
        config_flags.DEFINE_config_dict(
            "config", config, flag_values=values, sys_argv=argv
        )
        rest = values(["jaxdistill", *argv])[1:]
    except (flags.Error, ValueError, TypeError, LookupError) as error:
        raise InputError(_sentence(config, error)) from error
    if rest:
        raise InputError(f"{rest[0]!r} is not a flag: flags look like --config.ipc=10")
    return values.config.to_dict(), values


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
            "--config is missing: name a file such as configs/quickstart.py"
        )
    return texts[0], rest


def _load(text: str) -> Any:
    """What `get_config` of a config file gives."""
    from ml_collections import ConfigDict

    file, _, mode = text.partition(":")
    if not Path(file).is_file():
        raise InputError(
            f"--config={text} names no file: check the path, which begins at "
            f"{Path.cwd()}"
        )
    try:
        found = runpy.run_path(file)
        _require_mode(mode, found.get("MODES", MODES), text)
        made = found["get_config"](*filter(None, [mode]))
    except SyntaxError as error:
        raise InputError(
            f"--config={file} is not Python in line {error.lineno} ({error.msg}): "
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
    return made


def _require_mode(mode: str, known: tuple[str, ...], text: str) -> None:
    if mode and mode not in known:
        raise InputError(
            f"--config={text} asks for the mode {mode!r}: choose one of "
            f"{', '.join(known)}"
        )


def _failed(file: str, error: Exception) -> str:
    return (
        f"--config={file} fails with {type(error).__name__} ({_one_line(error)}): "
        f"{REMEDY}"
    )


def _require_keys(config: Any, argv: list[str]) -> None:
    """`InputError` for a flag of a key that the config lacks."""
    known = _keys(config.to_dict())
    for arg in argv:
        found = _KEY.match(arg)
        if found is None or found[1] in known:
            continue
        close = difflib.get_close_matches(found[1], known, n=1)
        remedy = f"did you mean {close[0]}?" if close else "see --help for the keys"
        raise InputError(f"{arg}: the config has no key {found[1]}: {remedy}")


def _keys(part: dict[str, Any], prefix: str = "") -> list[str]:
    """Every key and section, with dots."""
    found = []
    for key, value in part.items():
        found.append(prefix + key)
        if isinstance(value, dict):
            found += _keys(value, f"{prefix}{key}.")
    return found


def _sentence(config: Any, error: Exception) -> str:
    """What is wrong with a flag, and what it should be."""
    bad = re.match(r"flag --config\.([^=]+)=(.*?): ", str(error), re.DOTALL)
    if bad is None:
        return f"{_one_line(error)}: see --help for the flags"
    value = config
    for part in bad[1].split("."):
        value = value[part]
    if hasattr(value, "keys"):
        return (
            f"{bad[1]}={bad[2]}, but {bad[1]} is a section: set its keys one by one, "
            f"as in --config.{bad[1]}.{next(iter(value))}"
        )
    kind = KINDS.get(type(value), f"a {type(value).__name__}")
    return f"{bad[1]}={bad[2]} must be {kind}: write it as in --config.{bad[1]}={value}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error.args[0] if error.args else error).split())[:200]
