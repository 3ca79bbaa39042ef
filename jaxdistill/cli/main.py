"""`jaxdistill VERB`: flags in, one call, a table or a sentence out."""

import importlib.util
import os
import signal
import sys
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from jaxdistill.cli import (
    classify,
    labels,
    segment,
    selftrain,
    shipping,
    streams,
    study,
)
from jaxdistill.cli.arguments import chosen, parse
from jaxdistill.cli.failures import told_failures
from jaxdistill.cli.settings_help import settings_help
from jaxdistill.errors import Diverged, InputError, Stopped
from jaxdistill.run.environment import require_sound_jaxlib
from jaxdistill.run.places import absolute, place
from jaxdistill.run.troubles import explain_os_errors

HELP = """jaxdistill VERB [flags]: medical image data sets, small enough to share.

  distill   make a distilled set and judge it beside random, herding and the whole set
  experts   train the expert trajectories that a distillation follows
  evaluate  judge a distilled set that lies in a file
  compare   distil by many methods and judge all alike, in one table
  study     compare on many data sets: does a random subset tell what distils well?
  predict   tell from random images and a study what a distilled set would reach
  data      list, fetch or check data sets
  compress  pack the network of a soft_label run as the images that train it
  regenerate  train that network again, and check that it is the same
  segment   train small segmenters under large ones, and judge them on unseen sites
  segment-predict  write masks of volumes and pictures by a trained student
  selftrain  improve a model in stages on films without labels
  pretrain  train a backbone on films without labels
  finetune  tune a backbone on a few labelled films
  compare-labels  compare ways to do with few labels, in one table
  classify  tell what a model of selftrain or finetune says of new films

jaxdistill VERB --help tells the flags of each. A first run, without any data:

  jaxdistill distill --config=quickstart --workdir=runs/quickstart
"""

CONFIG = """
  --config=FILE[:MODE]       a config file, or the name of a shipped one such as
                             quickstart; MODE is full (the default), smoke, or
                             another that the head of the file names
  --config.KEY=VALUE         another value for one key, as in --config.ipc=1"""
ROOMS = (shipping, study, segment, selftrain, labels, classify)
OTHERS = tuple(verb for room in ROOMS for verb in room.VERBS)
FLAGS = {
    "workdir=DIR": "where the run lives; the same folder again resumes it",
    "profile_steps=FIRST:END": "write a profiler trace of these steps to DIR/profile",
    "synthetic=FILE": "the distilled set, a file of DIR/synthetic",
}


class Verb(NamedTuple):
    """A verb: what it is for, its flags beside the config, and the call."""

    purpose: str
    flags: tuple[str, ...]
    run: Callable[..., int]


def console() -> None:
    """The entry point of the installed command."""
    streams.hear_termination()
    streams.be_tolerant()
    streams.allow_many_files()
    warnings.showwarning = _warn  # type: ignore[assignment]
    streams.quiet_readers()
    sys.unraisablehook = _not_closed_loops
    leave_loud_cache()
    sys.exit(main(sys.argv[1:]))


def _not_closed_loops(stray: Any) -> None:
    """Report what no one can catch, but not the rest of a save that failed.

    Where one write of a checkpoint fails, threads of the others find the loop that
    waited for them closed, and each would print a traceback.
    """
    if str(stray.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(stray)


def leave_loud_cache() -> None:
    """Leave out a compilation cache of which jaxlib 0.10 tells at every use on CPUs.

    It does so in lines of two thousand characters, as long as TF_CPP_MIN_LOG_LEVEL was
    below 3 when it was imported.
    """
    import jax

    used = getattr(jax.config, "jax_compilation_cache_dir", None)
    loud = metadata.version("jaxlib").startswith("0.10.")
    loud &= os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0") < "3"
    elsewhere = any(map(importlib.util.find_spec, ("jax_plugins", "libtpu")))
    if used and loud and not elsewhere:
        jax.config.update("jax_enable_compilation_cache", False)
        print(
            "note: the compilation cache is not used, as this jaxlib prints a page at "
            "every use on a CPU: set TF_CPP_MIN_LOG_LEVEL=3 to use it in silence",
            file=sys.stderr,
        )


def main(argv: list[str]) -> int:
    """Run a verb; returns the exit status.

    0 done, 1 diverged, 2 something to mend, 3 done but for parts that failed, and 128 +
    the signal when stopped.
    """
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0 if argv else 2
    try:
        require_sound_jaxlib()
        with explain_os_errors(argv[0], "finish"):
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
    except KeyboardInterrupt as error:
        said = "interrupted: the same command goes on from what it has saved"
        print(said, file=sys.stderr)
        ended = (
            signal.SIGTERM if isinstance(error, streams.Terminated) else signal.SIGINT
        )
        return 128 + ended


def _warn(message: Warning | str, category: type[Warning], *where: Any) -> None:
    """A warning as a line for users, without the place in our code."""
    del category, where
    print(f"warning: {message}", file=sys.stderr)


def _dispatch(verb: str, argv: list[str]) -> int:
    if verb == "data":
        from jaxdistill.cli.data import main as data_main

        return data_main(argv)
    for room in ROOMS:
        if verb in room.VERBS:
            return room.main(verb, argv)
    if verb not in VERBS:
        raise InputError(
            f"{verb!r} is not a verb: use "
            f"{', '.join([*VERBS, 'data', *OTHERS])} (see --help)"
        )
    if any(arg in ("-h", "--help") for arg in argv):
        print(_help(verb, argv))
        return 0
    config, flags = parse(argv, VERBS[verb].flags)
    return VERBS[verb].run(config, flags)


def _distill(config: dict[str, Any], flags: Any) -> int:
    from jaxdistill.jobs.distil import distilling
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
    from jaxdistill.jobs.distil import distilling
    from jaxdistill.jobs.judging import evaluating
    from jaxdistill.run.report import cross_table, score_table

    if not flags.synthetic:
        raise InputError("--synthetic is missing: name the npz file of a distilled set")
    parts = distilling.prepare(config, _workdir(flags), None)
    file = absolute(flags.synthetic, "--synthetic")
    summary = evaluating.run(parts.judge, file, _workdir(flags), inputs=parts.inputs)
    print(f"\n{score_table(_short(summary))}\n")
    if summary["cross_architecture"]:
        print(f"{cross_table(summary['cross_architecture'])}\n")
    _where(_workdir(flags), summary)
    return 0


def _experts(config: dict[str, Any], flags: Any) -> int:
    from jaxdistill.distillation.survey import survey_experts
    from jaxdistill.jobs.distil import distilling
    from jaxdistill.jobs.distil.expert_store import require_teaching
    from jaxdistill.jobs.judging.evaluating import record_of
    from jaxdistill.jobs.settings.resolve import free, usual
    from jaxdistill.run.report import survey_table
    from jaxdistill.run.workdir import open_workdir

    workdir = _workdir(flags)
    parts = distilling.prepare(config, workdir, None)
    require_teaching(config["experts"], parts.loop)
    record, was = record_of(config), usual(config)
    with open_workdir(workdir, record, free(), usual=was, inputs=parts.inputs) as home:
        for note in home.notes:
            print(f"note: {note}")
        experts = distilling.teach(parts, workdir / "experts")
    print(f"{experts.count} experts of {experts.epochs} epochs are ready\n")
    judge, span = parts.judge, config.get("trajectory", {}).get("expert_epochs", 1)
    rows = survey_experts(experts, judge.network, judge.pool.val, span=span)
    print("what they are worth on validation, and how far a segment of")
    print(f"{span} epochs agrees with the next one (docs/trajectory.md):\n")
    print(survey_table(rows))
    return 0


def _compare(config: dict[str, Any], flags: Any) -> int:
    from jaxdistill.jobs.compare import job as comparing

    workdir = _workdir(flags)
    rows = comparing.run(config, workdir)
    print(f"\n{(workdir / 'table.md').read_text()}")
    for file in ("table.csv", "table.md", "figures/comparison.png", "summary.json"):
        if (workdir / file).exists():
            print(workdir / file)
    return told_failures("cell", sum(bool(row.get("reason")) for row in rows))


VERBS = {
    "distill": Verb(
        "Distil a data set: experts, distillation, evaluation, figures.",
        ("workdir", "profile_steps"),
        _distill,
    ),
    "experts": Verb(
        "Train expert trajectories, or finish them.", ("workdir",), _experts
    ),
    "evaluate": Verb(
        "Train fresh networks on a distilled set and on what it must beat.",
        ("workdir", "synthetic"),
        _evaluate,
    ),
    "compare": Verb(
        "Distil by the variants of compare.methods, and judge them beside coresets.",
        ("workdir",),
        _compare,
    ),
}


def _workdir(flags: Any) -> Path:
    if not flags.workdir:
        raise InputError("--workdir is missing: name a folder for the run")
    return place(flags.workdir)


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


def _help(verb: str, argv: list[str]) -> str:
    flags = [
        f"  --{flag:<25}{purpose}"
        for flag, purpose in FLAGS.items()
        if flag.partition("=")[0] in VERBS[verb].flags
    ]
    head = f"jaxdistill {verb}: {VERBS[verb].purpose}\n{CONFIG}"
    return "\n".join([head, *flags, "", *settings_help(chosen(argv))])
