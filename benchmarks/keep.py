"""Keep the summary and the figures of a finished run under benchmarks/results/.

    python benchmarks/keep.py WORKDIR NAME

Folders of the machine it ran on are left out: they change no result.
"""

import json
import shutil
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def main(workdir: Path, name: str) -> None:
    """Copy `summary.json` without folders, and the two figures."""
    summary = json.loads((workdir / "summary.json").read_text())
    for section, key in (("experts", "folder"), ("data", "root"), ("data", "path")):
        summary["config"][section][key] = ""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    shutil.copy(workdir / "figures" / "distilled.png", RESULTS / f"{name}.png")
    shutil.copy(workdir / "figures" / "progress.png", RESULTS / f"{name}_progress.png")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2])
