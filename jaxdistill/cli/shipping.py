"""`jaxdistill compress` and `jaxdistill regenerate`: a network shipped as images."""

import argparse
from pathlib import Path

from jaxdistill.run.places import absolute

VERBS = ("compress", "regenerate")


def main(verb: str, argv: list[str]) -> int:
    """Run one of the verbs; raises `InputError` for what cannot be used."""
    if verb == "compress":
        from jaxdistill.jobs.ship import compress

        given = _compressing().parse_args(argv)
        workdir = absolute(given.workdir, "--workdir")
        out = absolute(given.out, "--out")
        compress.compress(workdir, out, given.pixels, given.labels)
    else:
        from jaxdistill.jobs.ship import regenerate

        given = _regenerating().parse_args(argv)
        regenerate.regenerate(Path(given.parcel), absolute(given.out, "--out"))
    return 0


def _compressing() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jaxdistill compress",
        description="Pack the network of a soft_label run with a fixed start: the few "
        "images that train it, in one file, judged on the test split after packing.",
    )
    parser.add_argument("--workdir", required=True, help="folder of the finished run")
    parser.add_argument("--out", required=True, help="the parcel to write, an npz")
    parser.add_argument(
        "--pixels",
        default="float32",
        help="float32 (default), float16, uint16 or uint8",
    )
    parser.add_argument(
        "--labels", default="float32", help="float32 (default) or float16"
    )
    return parser


def _regenerating() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jaxdistill regenerate",
        description="Train the network of a parcel again, which needs no data set, "
        "check it against the sender's answers, and write its weights.",
    )
    parser.add_argument("parcel", help="a file that jaxdistill compress wrote")
    parser.add_argument("--out", required=True, help="the weights to write, an npz")
    return parser
