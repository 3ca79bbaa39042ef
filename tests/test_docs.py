"""What the documentation says is what the project has."""

import importlib.util
import json
import re
import runpy
from pathlib import Path

import pytest

from jaxdistill.jobs.settings.defaults import VOLATILE
from jaxdistill.run.workdir import flatten

ROOT = Path(__file__).resolve().parents[1]


def results_table():
    path = ROOT / "benchmarks" / "results_table.py"
    spec = importlib.util.spec_from_file_location("results_table", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_documents_show_the_results_that_were_measured():
    tables = results_table()
    shown = [tables.blocks(document) for document in tables.DOCUMENTS]
    assert "results" in shown[0]
    for blocks in shown:
        for name, text in blocks.items():
            assert text == tables.made(name), name


def test_predictions_rest_on_the_random_images_of_the_study():
    """They keep no versions: equal to the last digit, they came of the same ones."""
    results = ROOT / "benchmarks" / "results"
    points = json.loads((results / "study.json").read_text())["points"]
    known = {(p["set"], p["ipc"]): (p["x"], p["x_std"]) for p in points}
    for file in results.glob("predict_*.json"):
        told = json.loads(file.read_text())
        for row in told["rows"]:
            found = row["random"]["mean"], row["random"]["std"]
            assert found == known[told["left_out"], row["ipc"]]


def test_every_file_that_a_document_names_is_there():
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        links = re.findall(r"\]\((?!http)([^)#]+)", document.read_text())
        configs = re.findall(r"configs/\w+\.py", document.read_text())
        for name in links:
            assert (document.parent / name).exists(), f"{document.name} names {name}"
        for name in configs:
            assert (ROOT / name).exists(), f"{document.name} names {name}"


def test_the_six_lines_are_calls_that_exist():
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    compile(code, "README.md", "exec")
    import jaxdistill

    for dotted in re.findall(r"jaxdistill\.([\w.]+)\(", code):
        found = jaxdistill
        for part in dotted.split("."):
            found = getattr(found, part)
        assert callable(found)


KEPT = [
    ("mtt_pneumoniamnist", "mtt_pneumoniamnist.py", "full", {}),
    ("mtt_chest_xray_ipc10", "mtt_chest_xray.py", "class_means", {}),
    ("mtt_chest_xray_ipc20", "mtt_chest_xray.py", "full", {"ipc": 20}),
]


@pytest.mark.parametrize(("kept", "file", "mode", "flags"), KEPT)
def test_the_command_of_a_kept_result_still_asks_for_what_was_run(
    kept, file, mode, flags
):
    summary = ROOT / "benchmarks" / "results" / f"{kept}.json"
    then = flatten(json.loads(summary.read_text())["config"])
    made = runpy.run_path(str(ROOT / "configs" / file))["get_config"](mode)
    now = flatten(json.loads(made.to_json())) | flags
    asked = {key: value for key, value in then.items() if key not in VOLATILE}
    assert {key: now.get(key) for key in asked} == asked
