"""`jaxdistill segment` and `jaxdistill segment-predict`: small students, and masks."""

import argparse
from pathlib import Path
from typing import Any

from jaxdistill.cli.arguments import chosen, parse
from jaxdistill.cli.failures import told_failures
from jaxdistill.cli.settings_help import settings_help
from jaxdistill.errors import InputError
from jaxdistill.run.files import read_record
from jaxdistill.run.places import absolute, place

VERBS = ("segment", "segment-predict")
HEAD = """jaxdistill segment: Train a teacher, a student alone and a student that learns
from the teacher, and judge all of them on sites that none has seen.

  --config=FILE[:MODE]       a config file, or the name of a shipped one such as
                             quickstart_segment; MODE is full (the default),
                             smoke, or another that the head of the file names
  --config.KEY=VALUE         another value for one key, as in --config.student.width=8
  --workdir=DIR              where the run lives; the same folder again resumes it
"""


def main(verb: str, argv: list[str]) -> int:
    """Run one of the verbs; raises `InputError` for what cannot be used."""
    if verb == "segment-predict":
        return _predict(_predicting().parse_args(argv))
    if any(arg in ("-h", "--help") for arg in argv):
        print("\n".join([HEAD, *settings_help(chosen(argv, "segment"))]))
        return 0
    return _segment(*parse(argv, ("workdir",), "segment"))


def _segment(config: dict[str, Any], flags: Any) -> int:
    from jaxdistill.jobs.segment import job

    if not flags.workdir:
        raise InputError("--workdir is missing: name a folder for the run")
    workdir = place(flags.workdir)
    job.run(config, workdir)
    print(f"\n{(workdir / 'table.md').read_text()}")
    drawn = [f"figures/{p.name}" for p in sorted((workdir / "figures").glob("*.png"))]
    names = ("student.safetensors", "student.stablehlo", "table.csv", "summary.json")
    for file in (*drawn, *names):
        if (workdir / file).exists():
            print(workdir / file)
    failed = read_record(workdir / "summary.json", "failed")["failed"]
    return told_failures("student", len(failed))


def _predict(given: argparse.Namespace) -> int:
    from jaxdistill.jobs.segment.predicting import Way, run

    way = Way(given.window, given.overlap, given.batch)
    files = [Path(file) for file in given.files]
    for path in run(Path(given.model), files, absolute(given.out, "--out"), way):
        print(path)
    return 0


def _predicting() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jaxdistill segment-predict",
        description="Write the masks of volumes and pictures by a trained student, "
        "with the geometry of their files.",
    )
    parser.add_argument("model", help="a .safetensors that jaxdistill segment wrote")
    parser.add_argument("files", nargs="+", help="NIfTI and other volumes, or pictures")
    parser.add_argument("--out", required=True, help="folder for the masks")
    parser.add_argument(
        "--window",
        type=_at_least(0),
        default=0,
        help="pixels a side of windows that slide over slices; 0 (default): whole ones",
    )
    parser.add_argument(
        "--overlap",
        type=_share,
        default=0.25,
        help="of windows, a share of their side (default 0.25)",
    )
    parser.add_argument(
        "--batch", type=_at_least(1), default=8, help="slices at once (default 8)"
    )
    return parser


def _at_least(least: int) -> Any:
    def whole(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"{text!r} must be a whole number of {least} or more"
            )
        return int(text)

    return whole


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must lie in 0 to 1, below 1")
    return value
