"""The README's table of results from the summaries under benchmarks/results/.

    python benchmarks/results_table.py          print it
    python benchmarks/results_table.py --write  put it between the marks in README.md

No figure of it is typed: a test compares the README with what this makes.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- results -->", "<!-- /results -->"
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


def in_readme() -> str:
    """What stands between the marks in the README."""
    text = README.read_text()
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()


def _cell(score: dict) -> str:
    return f"{score['mean']:.3f} ± {score['std']:.3f} ({score['n']})"


def main() -> None:
    """Print the table or write it."""
    if "--write" not in sys.argv[1:]:
        print(table())
        return
    text = README.read_text()
    head, tail = text[: text.index(BEGIN)], text[text.index(END) :]
    README.write_text(f"{head}{BEGIN}\n{table()}\n{tail}")


if __name__ == "__main__":
    main()
