"""The results in README.md and docs/, from what is kept under benchmarks/results/.

    python benchmarks/results_table.py          print the README's table
    python benchmarks/results_table.py --write  fill in every document

Marks, <!-- NAME --> and <!-- /NAME -->, hold the table of NAME.md; those of `TABLES`
hold a block per summary, those that end in _compress what a parcel's report says, those
that end in _cpu the rows of a benchmark, those that end in _made no table. All end with
what it was made with. No figure is typed: a test compares the documents with what this
makes.
"""

import json
import re
import sys
from pathlib import Path

from jaxdistill.cli.settings_help import settings_table
from jaxdistill.data.registry import MEDMNIST
from jaxdistill.data.site_sources import SITE_SOURCES
from jaxdistill.data.sources import SOURCES
from jaxdistill.distillation.distillers import METHODS
from jaxdistill.distillation.distillers.weighting import WEIGHTINGS
from jaxdistill.jobs.settings import labelling, segmentation, selftraining
from jaxdistill.jobs.settings.records import root
from jaxdistill.jobs.ship.report import told
from jaxdistill.networks import NETWORKS, SEGMENTERS
from jaxdistill.networks.backbones import BACKBONES
from jaxdistill.selfsupervised import PRETEXTS, Regime, Viewing
from jaxdistill.settings import Section, section_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "results"
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
MARKED = re.compile(
    r"<!-- (?P<name>\w+) -->(?P<text>.*?)<!-- /(?P=name) -->", re.DOTALL
)
# By mark: what a block is called, and its summary.
TABLES = {
    "results": {
        "chest_xray, 10 per class": "mtt_chest_xray_ipc10",
        "chest_xray, 20 per class": "mtt_chest_xray_ipc20",
        "pneumoniamnist, 10 per class": "mtt_pneumoniamnist",
    },
    "soft_label_mnist": {
        "10 images, learned labels": "soft_label_mnist_full",
        "5 images, learned labels": "soft_label_mnist_five",
        "10 images, learned labels, ReLU": "soft_label_mnist_full_relu",
        "5 images, learned labels, ReLU": "soft_label_mnist_five_relu",
        "10 images, hard labels, ReLU": "soft_label_mnist_hard_relu",
    },
}
# By mark: makers chosen by a name, and what leads the keys of their settings.
ONE = "pathmnist"  # stands for all of MedMNIST
MAKERS = {
    "sources": (
        {k: v for k, v in SOURCES.items() if k == ONE or k not in MEDMNIST},
        "data.",
    ),
    "networks": (NETWORKS, "network."),
    "sites": (SITE_SOURCES, "data."),
    "segmenters": (SEGMENTERS, "student."),
    "backbones": (BACKBONES, "backbone."),
    "weightings": (WEIGHTINGS, "trajectory.weighting."),
    "pretexts": (PRETEXTS, ""),  # each in a section of its own name
    "learning": ({"Regime": Regime, "Viewing": Viewing}, ""),
}
JOBS = {
    "segment": segmentation.root,
    "selftrain": selftraining.root,
    "labels": labelling.root,
}
ROWS = ("distilled", "distilled_last", "random", "herding", "full")
COLUMNS = ("accuracy", "balanced_accuracy", "auc")


def table(name: str) -> str:
    """Markdown: a block per summary, a row per training set."""
    lines = [
        "| run | trained on | images | accuracy | balanced accuracy | AUC |",
        "|---|---|---|---|---|---|",
    ]
    for title, file in TABLES[name].items():
        summary = _kept(file)
        for row in ROWS:
            cells = [_cell(summary[row][column]) for column in COLUMNS]
            images = f"{summary['protocol'][row]['images']:,}"
            words = row.replace("_", ", ")
            lines.append(f"| {title} | {words} | {images} | {' | '.join(cells)} |")
            title = ""
    return "\n".join(lines)


def blocks(document: Path) -> dict[str, str]:
    """What stands between the marks in a document, by name."""
    return {m["name"]: m["text"].strip() for m in MARKED.finditer(document.read_text())}


def made(name: str) -> str:
    """What belongs between the marks of that name."""
    if name.startswith("settings_"):
        return settings(name.removeprefix("settings_"))
    if name in TABLES:
        return f"{table(name)}\n\n{origins(TABLES[name])}"
    if name.endswith("_cpu"):
        return measured(_kept(name))
    if name.endswith("_made"):
        return origins({"": name.removesuffix("_made")})
    if name.endswith("_compress"):
        report = _kept(name)
        text = told(report, tuple(report["class_names"]))
    else:
        text = (RESULTS / f"{name}.md").read_text().strip()
    return f"{text}\n\n{origins({'': name})}"


def origins(files: dict[str, str]) -> str:
    """The jaxlib, the machine, the commit and the protocol of evaluation of summaries,
    by title where they differ.
    """
    found: dict[str, list[str]] = {}
    for title, file in files.items():
        found.setdefault(_origin(_kept(file)), []).append(title)
    if len(found) == 1:
        return f"*{next(iter(found))}*"
    lines = [f"* {'; '.join(titles)}: {origin}" for origin, titles in found.items()]
    return "\n".join(lines)


def _origin(record: dict) -> str:
    told = record.get("made", record)  # a parcel's report keeps it apart
    jaxlib = told.get("versions", told)["jaxlib"]
    device = told["device"].replace(", 1 cores", ", 1 core")
    commits = re.sub(
        r"\b([0-9a-f]{7})[0-9a-f]{33}\b", r"\1", record.get("git_commit", "")
    )
    at = f"; commit {commits}" if commits else ""
    return f"jaxlib {jaxlib}, {device}{at}{_protocol(record)}"


def _protocol(record: dict) -> str:
    """How networks of an evaluation were trained, where there were any."""
    judged = record.get("config", {}).get("eval", {})
    if "epochs" not in judged:
        return ""
    # Until there was a choice, the last short batch of an epoch was left out.
    return f"; protocol {judged.get('protocol', 'counted, whole batches alone')}"


def _kept(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text())


def settings(name: str) -> str:
    """Markdown of what is declared: by a method, by every maker of a kind, by a run."""
    if name in METHODS:
        return settings_table(section_of(METHODS[name]), f"{name}.")
    if name in MAKERS:
        makers, at = MAKERS[name]
        return "\n\n".join(
            f"`{maker}`\n\n"
            + settings_table(section_of(makers[maker]), at or lead(name, maker))
            for maker in makers
            if section_of(makers[maker])
        )
    if name in JOBS:
        return of_sections(JOBS[name]())
    method = next(iter(METHODS))
    section = {key: node for key, node in root(method).items() if key != method}
    return of_sections(section)


def lead(kind: str, maker: str) -> str:
    """Where the settings of a maker stand that has a section of its own."""
    return f"{maker}." if kind == "pretexts" else ""


def of_sections(section: Section, at: str = "") -> str:
    """Markdown: a table of what stands by itself, then one for every section."""
    flat = {key: node for key, node in section.items() if not isinstance(node, dict)}
    tables = [settings_table(flat, at)] if flat else []
    for key, part in section.items():
        if not isinstance(part, dict):
            continue
        if all(isinstance(p, dict) for p in part.values()):
            part = {f"{k}.{x}": one for k, p in part.items() for x, one in p.items()}
        tables.append(of_sections(part, f"{at}{key}."))
    return "\n\n".join(filter(None, tables))


def measured(record: dict) -> str:
    """Markdown of a benchmark: its command, device and versions, and its rows."""
    columns = list(dict.fromkeys(key for row in record["rows"] for key in row))
    cells = [[_shown(key, row.get(key)) for key in columns] for row in record["rows"]]
    heads = [key.replace("_", " ").replace("bytes", "MB") for key in columns]
    heads = [head.replace("MB ratio", "memory ratio") for head in heads]
    versions = ", ".join(f"{key} {value}" for key, value in record["versions"].items())
    lines = [
        f"`{record['command']}`: {record['device']}; {versions}.",
        "",
        *(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *cells)),
    ]
    return "\n".join(lines)


def _shown(key: str, value) -> str:
    if value is None:
        return ""
    if "bytes" in key and "ratio" not in key:
        return f"{value / 1e6:.1f}"
    if "error" in key:
        return f"{value:.0e}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if "per_second" in key:
        return f"{value:,.0f}"
    return value if isinstance(value, str) else f"{value:.3g}"


def _cell(score: dict) -> str:
    return f"{score['mean']:.3f} ± {score['std']:.3f} ({score['n']})"


def main() -> None:
    """Print the table or write all blocks."""
    if "--write" not in sys.argv[1:]:
        print(table("results"))
        return
    for document in DOCUMENTS:
        text = document.read_text()
        document.write_text(MARKED.sub(_filled, text))


def _filled(found: re.Match[str]) -> str:
    name = found["name"]
    return f"<!-- {name} -->\n{made(name)}\n<!-- /{name} -->"


if __name__ == "__main__":
    main()
