"""The feasibility study: points from records, a line through them, a prediction.

`get_config` makes this file a config as well. One data set is compared for real; of the
others only the records are written.
"""

import csv
import dataclasses
import json
import runpy
from pathlib import Path

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import tiny
from helpers import toy_pool
from tiny import root

from jaxdistill.cli.main import main
from jaxdistill.errors import InputError
from jaxdistill.evaluation.indicator import (
    correlation,
    fit_relation,
    leave_one_group_out,
    mean_absolute_error,
    predict,
)
from jaxdistill.jobs.compare import job as comparing
from jaxdistill.jobs.distil import rules
from jaxdistill.jobs.judging.evaluating import record_of
from jaxdistill.jobs.settings import build
from jaxdistill.jobs.settings.changes import changes, smoke, variants
from jaxdistill.jobs.settings.records import Comparison
from jaxdistill.jobs.settings.resolve import resolve
from jaxdistill.jobs.study import job as studying
from jaxdistill.jobs.study import predict as studying_predict
from jaxdistill.jobs.study.advice import advice, text
from jaxdistill.jobs.study.points import arrays, points_of
from jaxdistill.jobs.study.report import words
from jaxdistill.jobs.study.sets import set_config, sets_of
from jaxdistill.run.files import plain, write_json
from jaxdistill.settings import settings_of

CONFIGS = Path(__file__).parents[1] / "configs"
REAL, GONE = "real", "gone"
WRITTEN = {"easy": 0.6, "hard": 0.3, "odd": 0.45}
IPCS = (1, 2)
compare_for_real = comparing.run


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """The tiny run as a study of five data sets, one of which is not there."""
    c = tiny.get_config(mode)
    c.steps = c.eval.every = 2
    c.augment = "none"
    c.data.path = str(root() / "data" / "tiny")
    c.eval.epochs, c.eval.real_lrs = 7, (0.02,)
    c.compare.methods = variants(
        {"dm": {"method": "distribution", "distribution.batch_real": 4}}
    )
    c.compare.ipc = IPCS
    c.compare.coresets, c.compare.augmentation = "", "without"
    sets = {REAL: {"eval.full_epochs": 3}, GONE: {"data.path": "/nowhere/films"}}
    c.study.sets = variants(sets | {name: {"seed": 1} for name in WRITTEN})
    return c


def settings(**changed) -> dict:
    """The configuration with other keys of its section `study`."""
    config = resolve(get_config().to_dict())
    config["study"] |= changed
    return config


def write_comparison(config, folder: Path, score: float) -> None:
    """What a comparison leaves of use here, around a score."""

    def runs(value):
        each = (value - 0.05, value + 0.05)
        return [{"auc": v, "accuracy": v, "balanced_accuracy": v} for v in each]

    def row(ipc, name, kind, value):
        mean = {"mean": value, "std": 0.05, "n": 2}
        own = {"ipc": ipc, "set": name, "kind": kind, "state": "done"}
        return own | {"augmentation": "without", "balanced_accuracy": mean}

    rows = []
    for ipc in IPCS:
        known = score + 0.04 * ipc
        file = folder / "coresets" / f"random_ipc{ipc}" / "eval" / "hard_without.json"
        write_json(file, {"val": runs(known), "test": runs(known + 0.01)})
        rows.append(row(ipc, "dm", "distilled", known + 0.1 + 0.05 * score * ipc))
        rows.append(row(ipc, "random", "coreset", known + 0.01))
    rows.append(row(None, "full", "whole", 0.9))
    whole = {"val": runs(0.92), "test": runs(0.9)}
    write_json(folder / "coresets" / "full" / "eval" / "hard_without.json", whole)
    summary = {"rows": rows, "complete": True, "compare": config["compare"]}
    write_json(folder / "summary.json", summary | {"config": record_of(config)})


def compare(config, folder: Path, say=print) -> None:
    """The comparison, in truth for one set and for one that is not there."""
    if folder.name in WRITTEN:
        write_comparison(config, folder, WRITTEN[folder.name])
    else:
        compare_for_real(config, folder, say)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The work folder of a study, for many tests to look at."""
    workdir = tmp_path_factory.mktemp("study") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparing, "run", compare)
        flags = (f"--config={__file__}", f"--workdir={workdir}")
        assert main(["study", *flags]) == 3  # one data set is not there
    return workdir


def read(file: Path) -> dict:
    return json.loads(file.read_text())


def mean_of(file: Path, part: str) -> float:
    return float(np.mean([run["balanced_accuracy"] for run in read(file)[part]]))


def test_points_are_the_means_of_the_comparisons_records(made):
    study = read(made / "study.json")
    home = made / "sets" / REAL
    own = [point for point in study["points"] if point["set"] == REAL]
    assert [point["ipc"] for point in own] == list(IPCS)
    for point in own:
        random = home / f"coresets/random_ipc{point['ipc']}/eval/hard_without.json"
        cell = home / f"cells/dm_ipc{point['ipc']}_seed0/eval/hard_without.json"
        whole = home / "coresets/full/eval/hard_without.json"
        assert point["x"] == pytest.approx(mean_of(random, "val"))
        assert point["x_test"] == pytest.approx(mean_of(random, "test"))
        assert point["y"] == pytest.approx(mean_of(cell, "test"))
        share = mean_of(cell, "test") / mean_of(whole, "test")
        assert point["fraction"] == pytest.approx(share)
    easy = [point for point in study["points"] if point["set"] == "easy"]
    assert [point["x"] for point in easy] == pytest.approx([0.64, 0.68])
    with (made / "points.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["x"]) for line in lines] == [p["x"] for p in study["points"]]
    assert (made / "figures" / "relation.png").stat().st_size > 5_000


def test_what_the_points_say_is_what_the_indicator_says(made):
    study = read(made / "study.json")
    found, (x, y, groups) = study["found"], arrays(study["points"])
    relation = fit_relation(x, y, groups)
    assert found["relation"]["slope"] == pytest.approx(relation.slope)
    assert found["relation"]["sets"] == 1 + len(WRITTEN)
    errors = leave_one_group_out(x, y, groups)
    mean = mean_absolute_error(errors)
    assert found["mean_absolute_error"]["line"] == pytest.approx(mean)
    for name, own in errors.items():
        told = found["mean_absolute_error_by_set"][name]
        assert told["line"] == pytest.approx(np.abs(own).mean())
        off = np.abs(y[groups == name] - y[groups != name].mean())
        assert told["mean"] == pytest.approx(off.mean())
    told = found["correlation"]
    assert told == plain(correlation(x, y, groups, level=0.9))
    test = np.array([point["x_test"] for point in study["points"]])
    assert found["correlation_on_test"] == plain(correlation(test, y, groups))
    for point in study["points"]:
        rest = groups != point["set"]
        said = predict(fit_relation(x[rest], y[rest], groups[rest]), point["x"])
        held = point["without_its_set"]
        assert (held["low"], held["high"]) == pytest.approx((said.low, said.high))
        assert held["inside"] == (said.low <= point["y"] <= said.high)


def test_a_set_that_fails_is_told_and_the_others_go_on(made):
    study, shown = read(made / "study.json"), (made / "report.md").read_text()
    gone = study["sets"][GONE]
    assert gone["state"] == "failed"
    assert "/nowhere/films" in gone["reason"]
    assert f"* {GONE} failed: {gone['reason']}" in shown
    assert {p["set"] for p in study["points"]} == {REAL, *WRITTEN}
    assert {"versions", "device", "config"} <= set(study)
    assert study["config"]["study"]["level"] == 0.9


def test_a_finished_study_compares_nothing_again(made, monkeypatch):
    before = read(made / "study.json")
    asked = []

    def again(config, folder, say=print):
        asked.append(folder.name)
        compare(config, folder, say)

    monkeypatch.setattr(comparing, "run", again)
    study = studying.run(settings(), made, say=lambda text: None)
    assert asked == [GONE]
    assert plain(study["points"]) == before["points"]
    more = settings()["study"]["sets"] | {"new": {}}
    monkeypatch.setitem(WRITTEN, "new", 0.5)
    study = studying.run(settings(sets=more, level=0.8), made, say=lambda text: None)
    assert asked == [GONE, GONE, "new"]
    assert study["found"]["relation"]["sets"] == len(WRITTEN) + 1
    changed = settings() | {"seed": 5}
    with pytest.raises(InputError, match=r"holds another run, with seed=0 \(now 5\)"):
        studying.run(changed, made)


def small(path: Path, names=tuple(WRITTEN)) -> Path:
    """A study.json of written records."""
    config, points = settings(), []
    for name in names:
        write_comparison(config, path / name, WRITTEN[name])
        points += points_of(name, path / name)
    write_json(path / "study.json", {"points": points, "level": 0.9, "config": config})
    return path / "study.json"


def poisoned(config):
    """The pool with a test split that no network can take."""
    pool = build_pool(config)
    bad = pool.test._replace(
        images=jnp.zeros((3, 5, 7, 2), jnp.uint8), labels=jnp.full(3, 99)
    )
    return dataclasses.replace(pool, test=bad)


build_pool = build.build_pool


def test_a_prediction_measures_what_the_study_did_and_never_sees_test(
    made, monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(build, "build_pool", poisoned)
    study = made / "study.json"
    flags = (f"--config={__file__}", f"--study={study}", f"--leave_out={REAL}")
    assert main(["predict", *flags, f"--workdir={tmp_path / 'out'}"]) == 0
    told = read(tmp_path / "out" / "predict.json")
    assert text(told) in capsys.readouterr().out
    points = read(study)["points"]
    measured = {p["ipc"]: p["x"] for p in points if p["set"] == REAL}
    x, y, groups = arrays([p for p in points if p["set"] != REAL])
    relation = fit_relation(x, y, groups)
    for row in told["rows"]:
        assert row["random"]["mean"] == pytest.approx(measured[row["ipc"]])
        said = predict(relation, row["random"]["mean"], told["level"])
        assert (row["expected"], row["low"], row["high"]) == pytest.approx(tuple(said))
        share = row["expected"] / told["whole"]["mean"]
        assert row["fraction"]["expected"] == pytest.approx(share)
    record = made / "sets" / REAL / "coresets/full/eval/hard_without.json"
    assert told["whole"]["mean"] == pytest.approx(mean_of(record, "val"))
    assert told["sets"] == sorted({p["set"] for p in points} - {REAL})


def test_leaving_a_set_out_fits_another_line(tmp_path, monkeypatch):
    file = small(tmp_path)
    random = {"mean": 0.5, "std": 0.0, "n": 2}
    monkeypatch.setattr(studying_predict, "_measured", lambda *given: random)
    said = {
        name: studying_predict.run(
            settings(sets={}), file, name, fast=True, say=lambda text: None
        )
        for name in ("", "odd")
    }
    for name, told in said.items():
        left = [p for p in read(file)["points"] if p["set"] != name]
        slope, start = np.polyfit([p["x"] for p in left], [p["y"] for p in left], 1)
        assert told["rows"][0]["expected"] == pytest.approx(start + slope * 0.5)
        assert told["whole"] is None
        assert told["rows"][0]["fraction"] is None
    assert said[""]["rows"][0]["low"] != said["odd"]["rows"][0]["low"]


def test_a_run_that_compares_nothing_is_measured_at_its_own_size(tmp_path, monkeypatch):
    file, sizes = small(tmp_path), []

    def random(judge, ipc, plan, say):
        sizes.append(ipc)
        return {"mean": 0.5, "std": 0.0, "n": 2}

    monkeypatch.setattr(studying_predict, "_random", random)
    config = settings(sets={})
    config["compare"] |= {"methods": {}, "ipc": settings_of(Comparison)["ipc"].usual}
    studying_predict.run(config, file, fast=True)
    config["compare"] |= {"ipc": (1, 3)}
    studying_predict.run(config, file, fast=True)
    assert sizes == [2, 1, 3]


def test_another_protocol_than_the_studys_is_told(tmp_path, monkeypatch):
    random = {"mean": 0.5, "std": 0.0, "n": 2}
    monkeypatch.setattr(studying_predict, "_measured", lambda *given: random)
    config, said = settings(sets={}), []
    config["eval"] |= {"epochs": 9, "draws": 3}
    studying_predict.run(config, small(tmp_path), fast=True, say=said.append)
    assert said == [
        "note: eval.epochs=9 (the study: 7): its line holds for scores by its own "
        "protocol"
    ]
    file = small(tmp_path)
    study = read(file)
    study["config"]["eval"].pop("protocol")
    study["config"]["network"] = config["network"] | {"width": 7}
    write_json(file, study)
    said.clear()
    studying_predict.run(config, file, fast=True, say=said.append)
    assert "eval.protocol='reference' (the study: 'unset')" in said[0]
    assert f"network.width={config['network']['width']} (the study: 7)" in said[0]


@pytest.mark.parametrize(
    ("names", "left_out", "sentence"),
    [
        (("easy",), "", r"study.json holds 1 data set\(s\) with points, and fewer"),
        (("easy", "hard"), "hard", r"without hard holds 1 data set\(s\)"),
        (("easy", "hard"), "who", r"--leave_out=who is not in .*one of easy, hard"),
        ((), "", r"holds 0 data set\(s\)"),
    ],
)
def test_a_study_of_fewer_than_two_sets_is_refused(tmp_path, names, left_out, sentence):
    with pytest.raises(InputError, match=sentence) as told:
        studying_predict.run(settings(), small(tmp_path, names), left_out)
    assert "\n" not in str(told.value)


def test_a_file_that_is_no_study_is_refused(tmp_path, capsys):
    write_json(tmp_path / "summary.json", {"rows": []})
    with pytest.raises(InputError, match=r"summary.json is no study's: name the"):
        studying_predict.run(settings(), tmp_path / "summary.json")
    assert main(["predict", f"--config={__file__}"]) == 2
    assert "--study is missing" in capsys.readouterr().err
    assert main(["study", f"--config={__file__}"]) == 2
    assert "--workdir is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sets", "sentence"),
    [
        ({}, r"study.sets is empty: name a data set"),
        ({"a/b": {}}, r"'a/b', which must serve as a file name"),
        ({"a": "phantom"}, r"sets.a is 'phantom', which changes nothing"),
        ({"a": {"stepz": 3}}, r"a: stepz is no setting.*mean 'steps'"),
        (
            {"a": {"steps": "ten"}},
            r"a: steps='ten' must be a whole number: 5000 is usual",
        ),
        ({"a": {"trajectory": 3}}, r"trajectory=3, but trajectory is a section"),
        ({"a": {"devices": {"cpu": 2}}}, r"devices.cpu belongs to the whole study"),
        ({"a": {"compare": {"ipc": (0,)}}}, r"compare.ipc=\(0,\) must be a list"),
        (
            {"a": {"experts": {"folder": "x"}}, "b": {"experts": {"folder": "x"}}},
            r"experts.folder='x' would teach a and b",
        ),
    ],
)
def test_wrong_sets_are_refused_before_anything_is_made(tmp_path, sets, sentence):
    with pytest.raises(InputError, match=sentence):
        studying.run(settings(sets=sets), tmp_path / "run")
    with pytest.raises(
        InputError, match=r"study.level=1.0 must be above 0 and below 1"
    ):
        studying.run(settings(level=1.0), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_study_without_a_point_ends_with_the_reasons(tmp_path):
    sets = {GONE: {"data": {"path": "/nowhere/films"}}}
    with pytest.raises(
        InputError, match=r"no data set .* gave a point \(gone: .*films"
    ):
        studying.run(settings(sets=sets), tmp_path / "run", say=lambda text: None)
    assert "No relation could be fitted" in (tmp_path / "run/report.md").read_text()
    assert read(tmp_path / "run/study.json")["found"] is None


def test_cells_that_all_failed_tell_why_there_is_no_point(tmp_path, monkeypatch):
    told = {"state": "done", "reason": "", "full": None}
    told |= {"failures": {"dc at ipc 1": "a rule was broken"}}
    monkeypatch.setattr(studying, "_compared", lambda *given: told)
    monkeypatch.setattr(studying, "points_of", lambda *given: [])
    with pytest.raises(InputError, match=r"gave a point .*easy: a rule was broken"):
        studying.run(settings(), tmp_path / "run", say=lambda text: None)


def test_a_set_changes_what_it_says_and_nothing_else():
    values = {
        "data.name": "phantom",
        "data.size": 16,
        "data.variation": 0.2,
        "network.name": "mlp",
        "network.width": 3,
        "eval.weight_decay": 1,
        "compare.methods.dm.steps": 4,
        "compare.coresets": "herding",
    }
    config = settings(sets=variants({"a": values, "b": {}}).to_dict())
    one, other = (set_config(config, name) for name in ("a", "b"))
    network = {"name": "mlp", "width": 3, "depth": 1, "activation": "relu"}
    assert one["network"] == network
    assert (one["data"]["variation"], one["data"]["seed"]) == (0.2, 0)
    assert type(one["eval"]["weight_decay"]) is float
    assert one["compare"]["methods"]["dm"]["steps"] == 4
    assert one["compare"]["coresets"] == "random,herding"
    assert "study" not in one
    same = {key: config[key] for key in config if key != "study"}
    same["compare"]["coresets"] = "random,"
    assert other == same


def test_smoke_makes_sets_small_too():
    c = changes()
    c.study.sets = variants({"a": {"data.name": "mnist", "data.size": 28, "ipc": 10}})
    c.study.sets.a.experts = {"epochs": 50}
    small = smoke(c).study.sets.a
    assert small.to_dict() == {
        "data": {"name": "mnist", "size": 28},
        "ipc": 1,
        "experts": {"epochs": 2},
    }


@pytest.mark.parametrize("mode", ["full", "smoke"])
@pytest.mark.parametrize("name", ["study", "study_medmnist"])
def test_every_set_of_a_config_has_a_network_with_room(name, mode):
    made = runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"](mode)
    sets = sets_of(resolve(made.to_dict()))
    assert len(sets) == {"study": 5, "study_medmnist": 8}[name]
    for one in sets.values():
        side = one["data"]["size"]
        blank = jnp.zeros((1, side, side, 1), jnp.uint8)
        train = toy_pool().train._replace(images=blank)
        pool = dataclasses.replace(toy_pool(), train=train)
        rules.require_runs(build.build_network(one, pool), pool)


def row(ipc, expected, fraction, low=0.4, high=0.6) -> dict:
    part = None if fraction is None else {"expected": fraction, "low": 0, "high": 1}
    random = {"mean": 0.3, "std": 0.1, "n": 5}
    known = {"ipc": ipc, "expected": expected, "low": low, "high": high}
    return known | {"random": random, "fraction": part}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([row(1, 0.5, 0.92), row(10, 0.55, 0.99)], "Distil at ipc 1: about 92%"),
        ([row(1, 0.5, 0.5), row(10, 0.7, 0.8)], "Worth a trial at ipc 10: about 80%"),
        ([row(1, 0.3, 0.3), row(10, 0.4, 0.4)], "Do not count on it: even at ipc 10"),
        ([row(1, 0.5, 0.92, 0.1, 0.9)], "The interval at ipc 1 is 0.80 wide"),
        ([row(1, 0.5, None)], "At ipc 1 expect about 0.500 where random images have"),
    ],
)
def test_advice_follows_the_numbers(rows, sentence):
    assert advice({"rows": rows}).startswith(sentence)


def test_random_scores_beyond_the_study_are_told():
    told = {"rows": [row(1, 0.5, 0.9)], "level": 0.9, "sets": ["a", "b"], "whole": None}
    told["advice"] = advice(told)
    far = text(told | {"seen": (0.4, 0.8)})
    assert "At ipc 1 random images score outside of what the study has seen" in far
    assert "outside" not in text(told | {"seen": (0.2, 0.8)})


def test_a_report_says_what_was_not_found(made):
    study = read(made / "study.json")
    sure = {key: [0.1, 0.9] for key in ("pearson_interval", "spearman_interval")}
    for key in ("correlation", "correlation_on_test"):
        study["found"][key] |= sure
    assert not any("is not shown" in line for line in words(study))
    study["found"]["correlation"]["spearman_interval"] = [-0.1, 0.9]
    (line,) = (line for line in words(study) if "on validation" in line)
    assert "(-0.10 to 0.90)" in line
    assert line.endswith("An interval reaches 0: that they go together is not shown.")
    below = {key: [-0.9, -0.1] for key in sure}
    study["found"]["correlation"] |= below
    (line,) = (line for line in words(study) if "on validation" in line)
    assert line.endswith("lie below 0: where one is high, the other is low.")
    errors = {"line": 0.2, "mean": 0.1, "same": 0.3}
    study["found"]["mean_absolute_error"] = errors
    assert any("the line was not better than both" in line for line in words(study))


@pytest.mark.parametrize("verb", ["study", "predict"])
def test_the_verbs_tell_their_flags(capsys, verb):
    assert main([verb, "--help"]) == 0
    told = capsys.readouterr().out
    wanted = ["config", "workdir"] + ["study", "leave_out", "fast"] * (verb != "study")
    assert all(f"--{flag}" in told for flag in wanted)
    assert main([]) == 2
    assert f"\n  {verb} " in capsys.readouterr().out
