"""`jaxdistill data`: what data sets there are, fetch one, check your own."""

import argparse
import sys

from jaxdistill.data.check import check
from jaxdistill.data.check_sites import LAYOUTS, check_sites
from jaxdistill.data.npz_sets import locate
from jaxdistill.data.pool import ENV, data_root
from jaxdistill.data.registry import MEDMNIST, SIZES, file_name, find
from jaxdistill.data.sources import CHEST_XRAY, COVID_RADIOGRAPHY
from jaxdistill.errors import InputError

OTHERS = {
    # name: (files or folders under the root, sizes, licence)
    "phantom": ((), "16 and up", "Apache-2.0, drawn here"),
    "mnist": (("mnist.npz",), "28, resized", "CC BY-SA 3.0"),
    "chest_xray": (CHEST_XRAY, "resized", "CC BY 4.0"),
    "covid_radiography": (COVID_RADIOGRAPHY, "resized", "see its publishers"),
    "folder": ((), "resized", "your own, data.path"),
    "tfds": ((), "resized", "by set, data.path"),
}


def main(argv: list[str]) -> int:
    """Run one verb; 0 when it went well or the data are usable, 2 when not."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except InputError as error:
        print(f"jaxdistill data: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jaxdistill data",
        description="List, fetch and check data sets.",
        epilog=f"Data lie under --root, else ${ENV}, else the user's cache folder.",
    )
    verbs = parser.add_subparsers(required=True, metavar="list|fetch|check")
    verb = verbs.add_parser("list", help="sources, sizes, licences, what is there")
    verb.add_argument("--root", default="", help="folder that holds the data files")
    verb.set_defaults(run=_list)
    verb = verbs.add_parser("fetch", help="download a MedMNIST set")
    verb.add_argument("name", help="such as pneumoniamnist")
    verb.add_argument("--size", type=int, default=28, help="28 (default), 64, 128, 224")
    verb.add_argument("--root", default="", help="folder to put it in")
    verb.set_defaults(run=_fetch)
    verb = verbs.add_parser(
        "check", help="say, file by file, what is wrong with an npz, a folder or a zip"
    )
    verb.add_argument("path", help="an .npz, a folder of class folders, or such a zip")
    verb.add_argument("--group", default="", help="pattern that finds the patient")
    verb.add_argument(
        "--layout",
        default="",
        choices=("", *LAYOUTS),
        help=f"cases with masks for segment, one of {', '.join(LAYOUTS)}",
    )
    verb.set_defaults(run=_check)
    return parser


def _list(arguments: argparse.Namespace) -> int:
    root = data_root(arguments.root)
    print(f"data root: {root}{'' if root.is_dir() else ' (not there yet)'}")
    row = "{:18} {:>8} {:>8}  {:24} {:24} {}".format
    print(row("data.name", "classes", "train", "sizes", "licence", "present"))
    for name, (files, sizes, licence) in OTHERS.items():
        present = next((file for file in files if (root / file).exists()), "-")
        print(
            row(
                name,
                "",
                "",
                sizes,
                licence,
                present if files else "-" if name != "phantom" else "built in",
            )
        )
    for name, facts in MEDMNIST.items():
        here = [str(s) for s in SIZES if (root / file_name(name, s)).exists()]
        note = "multi-label: not read" if facts.multi_label else ", ".join(here) or "-"
        sizes = ", ".join(map(str, SIZES))
        print(
            row(name, len(facts.classes), facts.counts[0], sizes, facts.licence, note)
        )
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    find(arguments.name)
    path = data_root(arguments.root) / file_name(arguments.name, arguments.size)
    there = path.exists()
    locate(arguments.name, arguments.root, arguments.size, download=True)
    print(f"{path} {'was there already' if there else 'is complete'}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    path, layout = arguments.path, arguments.layout
    report = check_sites(path, layout) if layout else check(path, arguments.group)
    for line in report.lines:
        print(line)
    for remark in report.remarks:
        print(f"note: {remark}")
    for problem in report.problems:
        print(f"wrong: {problem}")
    count = len(report.problems)
    print(f"{arguments.path}: " + (f"not usable, {count} wrong" if count else "usable"))
    return 2 if count else 0
