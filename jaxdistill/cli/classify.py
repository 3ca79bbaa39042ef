"""`jaxdistill classify`: what a trained model says of new films."""

import argparse
from pathlib import Path

from jaxdistill.run.places import absolute

VERBS = ("classify",)


def main(verb: str, argv: list[str]) -> int:
    """Run the verb; raises `InputError` for what cannot be used."""
    given = _parser(verb).parse_args(argv)
    from jaxdistill.jobs.lessons.classifying import classify

    out = absolute(given.out, "--out")
    rows = classify(Path(given.model), [Path(file) for file in given.films], out)
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["called"]] = counts.get(row["called"], 0) + 1
    told = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    print(f"{out}: {told}")
    return 0


def _parser(verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"jaxdistill {verb}",
        description="Write a table of what a model of selftrain or finetune says of "
        "films. Not for clinical use.",
    )
    parser.add_argument("model", help="the model.safetensors of a work folder")
    parser.add_argument(
        "films", nargs="+", help="pictures, DICOM files, folders or zips of them"
    )
    parser.add_argument("--out", required=True, help="the table, a .csv")
    return parser
