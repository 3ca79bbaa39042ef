"""Every benchmark runs and writes what its reader needs; no time is asserted."""

import importlib.util
import json
import math
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
COMPARISON = {
    "name",
    "ours_seconds",
    "peer_seconds",
    "ratio",
    "ours_bytes",
    "peer_bytes",
    "relative_error",
}


def smoke(name, folder, *flags):
    """The record that one benchmark writes at its smallest."""
    file = folder / "out" / "rows.json"
    script = ROOT / "benchmarks" / f"{name}.py"
    command = [sys.executable, str(script), "--smoke", *flags, f"--json={file}"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    subprocess.run(command, check=True, env=environment, cwd=folder)
    record = json.loads(file.read_text())
    assert set(record) == {"benchmark", "device", "versions", "command", "rows"}
    assert record["benchmark"] == name
    assert record["command"] == f"python benchmarks/{name}.py --smoke"
    return {row["name"]: row for row in record["rows"]}


def numbers_of(row):
    """What of a row is a number."""
    return [value for value in row.values() if isinstance(value, int | float)]


def test_unroll_compares_gradients_and_lowerings(tmp_path):
    rows = smoke("unroll", tmp_path)
    assert rows["sweep_3_steps"]["bytes"] < rows["plain_3_steps"]["bytes"]
    for name in ("checkpoint_3_steps", "plain_3_steps", "gemm_2_steps", "lax_2_steps"):
        assert rows[name]["relative_error"] < 1e-4
    assert all(row["seconds"] > 0 for row in rows.values())


def test_affinities_by_the_identity_are_those_of_all_pairs(tmp_path):
    rows = smoke("affinity", tmp_path)
    assert all(row["relative_error"] < 1e-5 for row in rows.values())
    assert rows["identity"]["bytes"] < rows["direct"]["bytes"]


@pytest.mark.slow
def test_lowerings_of_convolutions_agree(tmp_path):
    rows = smoke("convolutions", tmp_path, "--only=transposed")
    assert set(rows) == {"transposed_2x2", "transposed_3x3"}
    assert all(row["relative_error"] < 1e-4 for row in rows.values())


@pytest.mark.slow
def test_scores_of_surfaces_are_those_of_the_peer(tmp_path):
    rows = smoke("surface_distance", tmp_path)
    assert all(row["greatest_difference"] < 1e-3 for row in rows.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["paired_augmentation", "augmentation_dice", "backbones"]
)
def test_benchmarks_without_an_equal_run(name, tmp_path):
    rows = smoke(name, tmp_path)
    assert rows
    assert all(math.isfinite(v) for row in rows.values() for v in numbers_of(row))


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="extra peer")
def test_a_step_of_segmentation_is_that_of_the_peer(tmp_path):
    rows = smoke("segmentation_step", tmp_path)
    students = {"student_unet", "student_unet_of_squares", "student_enet"}
    assert set(rows) == {"teacher_unet", *students}
    assert all(row["relative_error"] < 1e-4 for row in rows.values())


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("torchvision"), reason="extra peer")
def test_views_are_those_of_the_peer(tmp_path):
    assert all(set(row) >= COMPARISON for row in smoke("views", tmp_path).values())


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="extra peer")
def test_ours_and_the_peer_agree(tmp_path):
    rows = smoke("peer_torch", tmp_path)
    assert {"outer_3_steps", "experts_8", "evaluation_1"} < set(rows)
    for row in rows.values():
        assert set(row) >= COMPARISON
        assert row["relative_error"] < 1e-4
        assert math.isclose(row["ratio"], row["peer_seconds"] / row["ours_seconds"])


@pytest.mark.skipif(not importlib.util.find_spec("torchvision"), reason="extra peer")
def test_a_step_of_dino_is_that_of_the_peer(tmp_path):
    (row,) = smoke("selfsupervised_step", tmp_path).values()
    assert set(row) >= COMPARISON | {"ours_films_per_second", "peer_films_per_second"}
    assert row["relative_error"] < 1e-4


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="extra peer")
def test_every_method_and_its_peer_agree(tmp_path):
    rows = smoke("methods", tmp_path)
    matched = {"gradient", "distribution", "mmd", "characteristic"}
    assert set(rows) == matched | {"kernel", "soft_label", "trajectory"}
    for row in rows.values():
        assert set(row) >= COMPARISON
        assert row["relative_error"] < 1e-4


@pytest.mark.slow
def test_a_mode_of_the_family_moves_a_set(tmp_path):
    row = smoke("family", tmp_path)["mtt"]
    assert row["images_moved"] > 0
    assert row["rate_ratio"] != 1
    assert row["labels_moved"] == 0


def test_more_inner_steps_hold_their_parameters_and_no_graphs(tmp_path):
    rows = smoke("soft_label_memory", tmp_path)
    few, many = rows["sweep_5_steps"], rows["sweep_30_steps"]
    stored = 25 * many["params_bytes"]
    assert many["bytes"] <= 1.2 * (few["bytes"] + stored)
    assert many["within"]
    assert not rows["plain_30_steps"]["within"]


def test_a_batch_in_parts_trains_as_the_whole(tmp_path):
    rows = smoke("microbatch", tmp_path)
    assert "whole_batch" in rows
    assert any(name.startswith("parts_of_") for name in rows)
    assert all(row["relative_error"] < 1e-4 for row in rows.values())


def test_one_row_again_keeps_the_others_and_another_machine_is_refused(
    tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    report = importlib.import_module("common").report
    file = tmp_path / "rows.json"
    read = lambda: json.loads(file.read_text())  # noqa: E731
    some = lambda only: Namespace(smoke=True, json=file, only=only)  # noqa: E731
    rows = [{"name": "hard", "seconds": 1.0}, {"name": "soft", "seconds": 2.0}]
    slower = rows[1] | {"seconds": 3.0}

    report("some", some(""), rows)
    first = read()
    assert first["rows"] == rows
    report("some", some("soft"), [slower])
    assert read() == first | {"rows": [rows[0], slower]}

    text = json.dumps(first | {"device": "another"})
    file.write_text(text)
    with pytest.raises(SystemExit, match="--json holds device another, this is"):
        report("some", some("soft"), [slower])
    assert file.read_text() == text


def test_runs_of_several_days_make_the_table_of_one(monkeypatch):
    from jaxdistill.jobs.segment.judging import METRICS, VALIDATED
    from jaxdistill.jobs.segment.table import rows_of, runs_of

    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    gather = importlib.import_module("gather").gather
    sites, seeds = ("A", "B"), (0, 1, 2)
    names = ("alone", "distilled", "gram")
    draw = np.random.default_rng(0).random
    scores = {
        (name, site, seed): {m: float(draw()) for m in (*METRICS, "missed", VALIDATED)}
        for name in names
        for site in sites
        for seed in seeds
    }
    facts = {name: {"parameters": 7, "seconds_per_slice": 0.1} for name in names}

    def summary(seeds):
        own = {place: v for place, v in scores.items() if place[2] in seeds}
        return {
            "rows": rows_of(names, sites, seeds, own, facts),
            "runs": runs_of(own),
            "failed": {},
            "protocol": {"unseen": "", "seeds": seeds, "students": {}},
            "config": {"data": {"name": "hippocampus"}},
            "wall_seconds": 1.0,
            "peak_memory_bytes": 5,
            "device": "CPU",
            "git_commit": f"{seeds}",
            "versions": {"jax": "0.1", "numpy": f"{len(seeds)}.0"},
        }

    parts = [summary((0, 2)), summary((1,))]
    joined = gather(parts)
    assert joined["rows"] == summary(seeds)["rows"]
    assert joined["git_commit"] == "(0, 2) and (1,)"
    assert joined["versions"] == {"jax": "0.1", "numpy": "2.0 and 1.0"}
    with pytest.raises(SystemExit, match="alone A 0 is in two summaries"):
        gather([parts[0], parts[0]])
    with pytest.raises(SystemExit, match="different configurations"):
        gather([parts[0], parts[1] | {"config": {"data": {"name": "phantom"}}}])
