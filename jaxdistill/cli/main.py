"""`jaxdistill VERB`: flags in, one call, a table or a sentence out."""

import inspect
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxdistill.errors import Diverged, InputError, Stopped

HELP = """jaxdistill VERB [flags]: medical image data sets, small enough to share.

  distill   make a distilled set and judge it beside random, herding and the whole set
  experts   train the expert trajectories that a distillation follows
  evaluate  judge a distilled set that lies in a file
  data      list, fetch or check data sets

jaxdistill VERB --help tells the flags of each. A first run, without any data:

  jaxdistill distill --config=configs/quickstart.py --workdir=runs/quickstart
"""

FLAGS = """
  --config=FILE[:MODE]       a config file; MODE is full (the default) or smoke
  --config.KEY=VALUE         another value for one key, as in --config.ipc=1
  --workdir=DIR              where the run lives; the same folder again resumes it
  --profile_steps=FIRST:END  write a profiler trace of these steps to DIR/profile
"""

EVALUATE_FLAGS = """  --synthetic=FILE           the distilled set, a file of
DIR/synthetic
"""


class Verb(NamedTuple):
    """A verb: what it is for, its flags, and the call."""

    purpose: str
    flags: str
    run: Callable[..., int]


def console() -> None:
    """The entry point of the installed command."""
    sys.exit(main(sys.argv[1:]))


def main(argv: list[str]) -> int:
    """Run a verb; the exit status is 0 done, 1 diverged, 2 bad input, 128+ stopped."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0 if argv else 2
    try:
        return _dispatch(argv[0], argv[1:])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Diverged as error:
        print(f"diverged: {error}", file=sys.stderr)
        return 1
    except Stopped as error:
        print(error, file=sys.stderr)
        return 128 + signal.Signals[error.signal].value
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from its last checkpoint")
        return 130


def _dispatch(verb: str, argv: list[str]) -> int:
    if verb == "data":
        from jaxdistill.cli.data import main as data_main

        return data_main(argv)
    if verb not in VERBS:
        raise InputError(
            f"{verb!r} is not a verb: use {', '.join([*VERBS, 'data'])} (see --help)"
        )
    if any(arg in ("-h", "--help") for arg in argv):
        print(_help(verb))
        return 0
    config, flags = _parse(argv)
    return VERBS[verb].run(config, flags)


def _distill(config: dict[str, Any], flags: Any) -> int:
    from jaxdistill.run import distilling
    from jaxdistill.run.report import human_seconds, score_table

    profile = _profile(flags)
    summary = distilling.run(config, _workdir(flags), profile)
    print(f"\n{score_table(_short(summary))}\n")
    print(
        f"chosen by {summary['selected_by']} at step {summary['selected_step']}; "
        f"{human_seconds(summary['wall_seconds'])} on {summary['device']}"
    )
    _where(_workdir(flags), summary)
    return 0


def _evaluate(config: dict[str, Any], flags: Any) -> int:
    from jaxdistill.run import distilling, evaluating
    from jaxdistill.run.report import cross_table, score_table

    if not flags.synthetic:
        raise InputError("--synthetic is missing: name the npz file of a distilled set")
    parts = distilling.prepare(config, _workdir(flags), None)
    file = Path(flags.synthetic)
    summary = evaluating.run(parts.judge, file, _workdir(flags))
    print(f"\n{score_table(_short(summary))}\n")
    if summary["cross_architecture"]:
        print(f"{cross_table(summary['cross_architecture'])}\n")
    _where(_workdir(flags), summary)
    return 0


def _experts(config: dict[str, Any], flags: Any) -> int:
    from jaxdistill.run import distilling
    from jaxdistill.run.defaults import VOLATILE
    from jaxdistill.run.workdir import open_workdir

    workdir = _workdir(flags).expanduser().absolute()
    parts = distilling.prepare(config, workdir, _profile(flags))
    with open_workdir(workdir, config, VOLATILE):
        experts = distilling.teach(parts, workdir / "experts")
    print(f"{experts.count} experts of {experts.epochs} epochs are ready")
    return 0


VERBS = {
    "distill": Verb(
        "Distil a data set: experts, distillation, evaluation, figures.",
        FLAGS,
        _distill,
    ),
    "experts": Verb("Train expert trajectories, or finish them.", FLAGS, _experts),
    "evaluate": Verb(
        "Train fresh networks on a distilled set and on what it must beat.",
        FLAGS + EVALUATE_FLAGS,
        _evaluate,
    ),
}


def _parse(argv: list[str]) -> tuple[dict[str, Any], Any]:
    """The configuration as plain values, and the other flags."""
    from absl import flags
    from ml_collections import config_flags

    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    for name in ("workdir", "profile_steps", "synthetic"):
        flags.DEFINE_string(name, "", "", flag_values=values)
    try:
        rest = values(["jaxdistill", *argv])[1:]
        config = values.config
    except SyntaxError as error:
        raise InputError(
            f"--config={error.filename} is not Python (line {error.lineno}): mend it"
        ) from error
    except (flags.Error, LookupError, AttributeError, TypeError, ValueError) as error:
        raise InputError(_sentence(error)) from error
    except (OSError, ImportError) as error:
        raise InputError(f"the config cannot be read: {_sentence(error)}") from error
    if rest:
        raise InputError(f"{rest[0]!r} is not a flag: flags look like --config.ipc=10")
    if config is None:
        raise InputError(
            "--config is missing: name a file such as configs/quickstart.py"
        )
    return config.to_dict(), values


def _workdir(flags: Any) -> Path:
    if not flags.workdir:
        raise InputError("--workdir is missing: name a folder for the run")
    return Path(flags.workdir)


def _profile(flags: Any) -> range | None:
    from jaxdistill.run.profile import parse_steps

    return parse_steps(flags.profile_steps) if flags.profile_steps else None


def _short(summary: dict[str, Any]) -> dict[str, Any]:
    """The rows of the summary with the columns that fit a terminal."""
    from jaxdistill.run.report import FIRST_COLUMNS, ROWS

    return {
        row: {name: summary[row][name] for name in FIRST_COLUMNS}
        for row in ROWS
        if row in summary
    }


def _where(workdir: Path, summary: dict[str, Any]) -> None:
    for figure in summary["figures"]:
        print(f"figure:  {workdir / figure}")
    if "synthetic" in summary:
        print(f"images:  {workdir / summary['synthetic']}")
    print(f"summary: {workdir / 'summary.json'}")


def _help(verb: str) -> str:
    from jaxdistill.run import defaults

    source = inspect.getsource(defaults.defaults)
    keys = re.findall(r"^    c\.(\S+) = (.+?)(?:  # (.+))?$", source, re.MULTILINE)
    lines = [
        f"  {name:<28}{value:<20} {comment}".rstrip()
        for name, value, comment in keys
        if "ConfigDict()" not in value
    ]
    head = f"jaxdistill {verb}: {VERBS[verb].purpose}\n{VERBS[verb].flags}"
    return "\n".join([head, "config keys, usual values:", *lines])


def _sentence(error: BaseException) -> str:
    """An error's message as one line."""
    text = str(error.args[0] if error.args else error)
    return " ".join(text.split())
