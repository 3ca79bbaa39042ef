"""What the documentation says is what the project has."""

import ast
import importlib.util
import json
import pkgutil
import re
import runpy
import types
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

from jaxdistill.distillation.distillers import METHODS
from jaxdistill.jobs.settings.resolve import free, leaves, override, resolve, schema
from jaxdistill.run.workdir import flatten

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "jaxdistill"
MODULES = sorted(PACKAGE.rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


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


def read(path):
    return path.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page):
    for name in re.findall(r"\]\((?!http|#)([^)#]+)", read(page)):
        assert (page.parent / name).exists(), name
    folders = "jaxdistill|configs|benchmarks|docs|tests"
    for name in re.findall(rf"\b(?:{folders})/[\w/.*]*[\w/]", read(page)):
        assert any(ROOT.glob(name)), name


@pytest.mark.parametrize("path", [*PAGES, *MODULES], ids=lambda path: path.name)
def test_every_name_of_the_package_that_is_told_exists(path):
    """In pages and in docstrings, as `jaxdistill.X` or as what an example imports."""
    text = read(path)
    if path.suffix == ".py":
        text = "\n".join(docstrings(path))
    names = re.findall(r"\bjaxdistill(?:\.[A-Za-z_]\w*)+", text)
    names += map(".".join, re.findall(r"from (jaxdistill[\w.]*) import (\w+)", text))
    for name in names:
        assert pkgutil.resolve_name(name), name


def docstrings(path):
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [n for n in ast.walk(ast.parse(read(path))) if isinstance(n, kinds)]
    return [ast.get_docstring(node) or "" for node in nodes]


def test_every_module_of_the_library_has_its_place_in_the_reference():
    """By its own name, or by its room's, which shows all that lies in it."""
    text = "".join(map(read, (ROOT / "docs" / "api").glob("*.rst")))
    told = set(re.findall(r"automodule:: (\S+)", text))
    rooms = set(re.findall(r"room:: (\S+)", text))
    for path in MODULES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        apart = ("cli", "jobs", "run")  # of these only what a user of the library calls
        if path.relative_to(PACKAGE).parts[0] in apart or path.stem == "__init__":
            continue
        assert name in told or name.rpartition(".")[0] in rooms, name


def test_every_public_name_stands_in_the_reference():
    """With a link to its home, which the build of the site follows."""
    told = read(ROOT / "docs" / "api" / "index.md")
    for node in ast.parse(read(PACKAGE / "__init__.py")).body[1:]:
        for alias in node.names:
            home = f"#{node.module}.{alias.name}"
            if node.module == "jaxdistill":
                home = f"{alias.name}.rst"
            assert f"[`jaxdistill.{alias.name}`]({home})" in told


def test_the_six_lines_run():
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    run: dict = {}
    short = code.replace("steps=300", "steps=1").replace("ipc=5", "ipc=1")
    assert short.count("=1,") == 2
    exec(short, run)
    assert 0 < run["scores"]["auc"]["mean"] < 1


def test_the_pretext_of_its_page_is_trained(capsys):
    text = (ROOT / "docs" / "selfsupervised.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.S)[1]
    run: dict = {}
    exec(compile(code, "selfsupervised.md", "exec"), run)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "4",
        "8",
    ]
    assert run["features"].shape == (8, 16)
    assert np.isfinite(run["features"]).all()


def test_the_network_of_ones_own_is_distilled(capsys):
    text = (ROOT / "docs" / "segmentation.md").read_text()
    code = re.search(r"A network of your own.*?```python\n(.*?)```", text, re.S)[1]
    assert [code.count(x) for x in ("steps=200", "per_call=50")] == [1, 1]
    short = code.replace("steps=200", "steps=2").replace("per_call=50", "per_call=2")
    run: dict = {}
    exec(compile(short, "segmentation.md", "exec"), run)
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == ["2", "2", "alone", "distilled"]
    alone, distilled = run["students"]["alone"], run["students"]["distilled"]
    assert jax.tree.structure(alone) == jax.tree.structure(distilled)
    # They began alike: what parts them is what the teacher said.
    assert not np.array_equal(alone["late"]["kernel"], distilled["late"]["kernel"])


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
    full = resolve(override(made.to_dict(), flags))
    now = flatten(json.loads(json.dumps(full)))
    # Records made before sections were those of the chosen method alone hold others.
    asked = {k: v for k, v in then.items() if k in now and k not in free()}
    assert {key: now[key] for key in asked} == asked
    settings = leaves(schema(full), full)
    assert {key for key, one, value in settings if value != one.usual} <= set(then)


def test_the_method_of_the_contributing_guide_works_by_its_one_line(
    tmp_path, monkeypatch, capsys
):
    """Its file and its line in the registry are all that a run by a flag needs."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.S)[1]
    made = types.ModuleType("means")
    exec(compile(code, "CONTRIBUTING.md", "exec"), made.__dict__)
    monkeypatch.setitem(METHODS, "means", made.mean_matching)
    flags = ["--config.method=means", "--config.means.batch_real=4"]
    assert tiny.call("distill", tmp_path / "run", *flags) == 0, capsys.readouterr().err
    matched = [x["match"] for x in tiny.lines(tmp_path / "run") if "match" in x]
    first, last = matched[0], matched[-1]
    assert last < first
    capsys.readouterr()
    wrong = "--config.means.weight=0"
    assert tiny.call("distill", tmp_path / "other", *flags, wrong) == 2
    assert "means.weight=0.0 must be above 0" in capsys.readouterr().err
