"""The results in README.md and docs/, from what is kept under benchmarks/results/.

    python benchmarks/results_table.py          print the README's table
    python benchmarks/results_table.py --write  fill in every document

Marks, <!-- NAME --> and <!-- /NAME -->, hold the table of NAME.md; those of `results`
hold the README's, made from all summaries. No figure is typed: a test compares the
documents with what this makes.
"""

import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
MARKED = re.compile(
    r"<!-- (?P<name>\w+) -->(?P<text>.*?)<!-- /(?P=name) -->", re.DOTALL
)
ROWS = ("distilled", "distilled_last", "random", "herding", "full")
COLUMNS = ("accuracy", "balanced_accuracy", "auc")


def table() -> str:
    """Markdown: a block per summary, a row per training set."""
    lines = [
        "| data, images per class | trained on | images | accuracy | "
        "balanced accuracy | AUC |",
        "|---|---|---|---|---|---|",
    ]
    for path in sorted((HERE / "results").glob("mtt_*.json")):
        summary = json.loads(path.read_text())
        config = summary["config"]
        name = f"{config['data']['name']}, {config['ipc']}"
        for row in ROWS:
            cells = [_cell(summary[row][column]) for column in COLUMNS]
            images = f"{summary['protocol'][row]['images']:,}"
            words = row.replace("_", ", ")
            lines.append(f"| {name} | {words} | {images} | {' | '.join(cells)} |")
            name = ""
    return "\n".join(lines)


def blocks(document: Path) -> dict[str, str]:
    """What stands between the marks in a document, by name."""
    return {m["name"]: m["text"].strip() for m in MARKED.finditer(document.read_text())}


def made(name: str) -> str:
    """What belongs between the marks of that name."""
    if name == "results":
        return table()
    return (HERE / "results" / f"{name}.md").read_text().strip()


def _cell(score: dict) -> str:
    return f"{score['mean']:.3f} ± {score['std']:.3f} ({score['n']})"


def main() -> None:
    """Print the table or write all blocks."""
    if "--write" not in sys.argv[1:]:
        print(table())
        return
    for document in DOCUMENTS:
        text = document.read_text()
        document.write_text(MARKED.sub(_filled, text))


def _filled(found: re.Match[str]) -> str:
    name = found["name"]
    return f"<!-- {name} -->\n{made(name)}\n<!-- /{name} -->"


if __name__ == "__main__":
    main()
