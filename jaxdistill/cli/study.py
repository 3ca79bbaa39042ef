"""`jaxdistill study` and `jaxdistill predict`: will distillation work here?"""

from pathlib import Path
from typing import Any

from jaxdistill.cli.arguments import parse
from jaxdistill.cli.failures import told_failures
from jaxdistill.errors import InputError
from jaxdistill.run.places import place

VERBS = ("study", "predict")
PURPOSE = {
    "study": "Compare on every data set of study.sets; fit distilled on random images.",
    "predict": "Score random images on validation; tell what a study says of that.",
}
FLAGS = {
    "study": {
        "config=FILE[:MODE]": "a config file with study.sets; MODE is full or smoke",
        "workdir=DIR": "where the study lives; the same folder again resumes it",
    },
    "predict": {
        "config=FILE[:MODE]": "a config file of distill, compare or study",
        "study=FILE": "the study.json of a finished study",
        "leave_out=NAME": "fit without this data set; of a study's config, measure it",
        "workdir=DIR": "write predict.json and predict.md there; default: print only",
        "fast": "train nothing on the whole set",
    },
}


def main(verb: str, argv: list[str]) -> int:
    """Run one of the verbs; raises `InputError` for what cannot be used."""
    if any(arg in ("-h", "--help") for arg in argv):
        print(_help(verb))
        return 0
    if verb == "study":
        return _study(*parse(argv, ("workdir",)))
    fast = "--fast" in argv
    rest = [arg for arg in argv if arg != "--fast"]
    return _predict(*parse(rest, ("workdir", "study", "leave_out")), fast)


def _study(config: dict[str, Any], flags: Any) -> int:
    from jaxdistill.jobs.study import job as studying

    if not flags.workdir:
        raise InputError("--workdir is missing: name a folder for the study")
    workdir = place(flags.workdir)
    study = studying.run(config, workdir)
    print(f"\n{(workdir / 'report.md').read_text()}")
    for file in ("points.csv", "report.md", *study["figures"], "study.json"):
        print(workdir / file)
    sets = study["sets"].values()
    failed = sum(bool(one["reason"] or one["failures"]) for one in sets)
    return told_failures("data set", failed)


def _predict(config: dict[str, Any], flags: Any, fast: bool) -> int:
    from jaxdistill.jobs.study import predict as studying_predict
    from jaxdistill.jobs.study.advice import text

    if not flags.study:
        raise InputError(
            "--study is missing: name the study.json that jaxdistill study wrote"
        )
    folder = place(flags.workdir) if flags.workdir else None
    told = studying_predict.run(config, Path(flags.study), flags.leave_out, fast=fast)
    print(f"\n{text(told)}")
    if folder:
        studying_predict.write(told, folder)
        print(f"{folder / 'predict.json'}\n{folder / 'predict.md'}")
    return 0


def _help(verb: str) -> str:
    head = f"jaxdistill {verb}: {PURPOSE[verb]}\n"
    flags = [f"  --{flag:<25}{purpose}" for flag, purpose in FLAGS[verb].items()]
    more = (
        "  --config.KEY=VALUE         another value for one key; compare --help lists"
    )
    return "\n".join([head, *flags, f"{more} them"])
