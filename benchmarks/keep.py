"""Keep what is small of a finished work folder under benchmarks/results/.

    python benchmarks/keep.py WORKDIR NAME

Summaries, tables and figures of a run, a comparison, a study or a prediction, and the
report of a parcel that lies in a run's folder. Folders of the machine it ran on are
left out, as they change no result; so are scores by case, which are large, and the
checksum of what is then no longer whole.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
# A work folder has one of the files of each name, and more than one of names.
KEPT = {
    "summary.json": ".json",
    "study.json": ".json",
    "predict.json": ".json",
    "compress.json": "_compress.json",
    "table.csv": ".csv",
    "table.md": ".md",
    "report.md": ".md",
    "predict.md": ".md",
    "points.csv": ".csv",
    "figures/distilled.png": ".png",
    "figures/comparison.png": ".png",
    "figures/relation.png": ".png",
    "figures/progress.png": "_progress.png",
    "figures/overlays.png": ".png",
    "figures/by_site.png": "_sites.png",
    "figures/stages.png": ".png",
    "figures/robustness.png": "_robustness.png",
    "figures/labels.png": ".png",
}
LEFT_OUT = ("scores", "sha256")
PATHS = ("workdir", "study")
FOLDERS = (("experts", "folder"), ("data", "root"), ("data", "path"))
FOLDERS += (("labels", "transfer"), ("labels", "distilled"))


def main(workdir: Path, name: str) -> None:
    """Copy what the folder has of `KEPT`, without folders in its configurations."""
    found = [file for file in KEPT if (workdir / file).is_file()]
    if not {"summary.json", "study.json", "predict.json"} & set(found):
        sys.exit(f"{workdir} holds no summary of a finished command: run it to its end")
    RESULTS.mkdir(exist_ok=True)
    for file in found:
        kept = RESULTS / f"{name}{KEPT[file]}"
        if kept.suffix == ".json":
            told = json.loads((workdir / file).read_text())
            told = small(told) if file == "summary.json" else without_folders(told)
            text = json.dumps(told, indent=1, ensure_ascii=False)
            kept.write_text(text + "\n")
        elif kept.suffix == ".md":
            text = (workdir / file).read_text()
            for figure in found:  # lies beside the text here
                text = text.replace(f"({figure})", f"({name}{KEPT[figure]})")
            kept.write_text(text)
        else:
            shutil.copy(workdir / file, kept)


def small(summary: dict[str, Any]) -> dict[str, Any]:
    """A summary without what is large, and without the folders of a machine."""
    told = {key: value for key, value in summary.items() if key not in LEFT_OUT}
    return without_folders(told)


def without_folders(told: Any) -> Any:
    """The same with the folders of every configuration within empty."""
    if isinstance(told, list):
        return [without_folders(item) for item in told]
    if not isinstance(told, dict):
        return told
    made = {key: without_folders(item) for key, item in told.items()}
    made |= {key: "" for key in PATHS if isinstance(made.get(key), str)}
    for section, key in FOLDERS:
        if isinstance(part := made.get(section), dict) and key in part:
            part[key] = ""
    return made


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2])
