"""The comparison: one table, from cells and coresets that are all judged alike.

`get_config` makes this file a config as well.
"""

import csv
import errno
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import tiny
from helpers import toy_pool
from tiny import call, listing, root

from jaxdistill.engine.mesh import make_mesh
from jaxdistill.engine.training import begin, of_split, train_epoch
from jaxdistill.errors import Diverged, InputError, Stopped
from jaxdistill.evaluation.evaluate import predict
from jaxdistill.evaluation.ranking import augmentation_robust_score, label_robust_score
from jaxdistill.jobs.compare import cells as comparing_cells
from jaxdistill.jobs.compare import job as comparing
from jaxdistill.jobs.compare import table as tables
from jaxdistill.jobs.compare.job import alike
from jaxdistill.jobs.compare.plan import plan
from jaxdistill.jobs.compare.scores import Entry, way
from jaxdistill.jobs.compare.table import Group
from jaxdistill.jobs.distil.distilling import prepare
from jaxdistill.jobs.judging.judge import Judge
from jaxdistill.jobs.judging.sets import Knowledge, training_record
from jaxdistill.jobs.settings.build import eval_recipe
from jaxdistill.jobs.settings.changes import changes, smoke, variants
from jaxdistill.jobs.settings.resolve import override, resolve
from jaxdistill.networks import mlp

SOFT = {"name": "adam", "lr": 0.1, "momentum": 0.9, "clip": 0.0}
METHODS = {
    "dm": {"method": "distribution", "distribution.batch_real": 4},
    "dc_soft": {
        "method": "gradient",
        "gradient.batch_real": 4,
        "gradient.outer_loops": 1,
        "init.label_margin": 1.0,
        "optimizer.labels": SOFT,
    },
    "odd": {"method": "distribution", "mosaic": 3},  # does not divide 8 pixels
}
OTHER = "mlp:width=3:depth=1"
PIXELS, CLASSES, IPC = 64, 2, 2


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """The tiny run, compared: two variants that work, and one whose rule is broken."""
    c = tiny.get_config(mode)
    c.steps = c.eval.every = 4
    c.data.path = str(root() / "data" / "tiny")
    c.eval.epochs, c.eval.full_epochs, c.eval.real_lrs = 7, 20, (0.02,)
    c.compare.methods = variants(METHODS)
    c.compare.ipc = (IPC,)
    c.compare.coresets = "random,herding,el2n,forgetting,random_soft"
    return c


def settings(methods=None, **changed) -> dict:
    """The configuration with other keys of its section `compare`."""
    c = get_config()
    if methods is not None:
        c.compare.methods = variants(methods)
    return resolve(override(c.to_dict(), {"compare": changed}))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The work folder of a comparison, for many tests to look at."""
    workdir = tmp_path_factory.mktemp("compare") / "run"
    assert call("compare", workdir, config=__file__) == 3  # odd breaks a rule
    return workdir


def table(workdir: Path) -> dict[str, dict[str, str]]:
    """The rows of the CSV by set."""
    text = (workdir / "table.csv").read_text().splitlines()
    return {row["set"]: row for row in csv.DictReader(text)}


def read(file: Path) -> dict:
    return json.loads(file.read_text())


def record(workdir: Path, row: dict[str, str], way: str) -> dict:
    """The file of one training of a set."""
    names = {"distilled": f"cells/{row['set']}_ipc2_seed0"}
    names |= {"coreset": f"coresets/{row['set']}_ipc2", "whole": "coresets/full"}
    return read(workdir / names[row["kind"]] / "eval" / f"{way}.json")


def mean_of(record: dict, metric: str, part: str = "test") -> float:
    return float(np.mean([run[metric] for run in record[part]]))


def test_every_set_has_its_row_in_order(made, capsys):
    rows = table(made)
    coresets = ["random", "herding", "el2n", "forgetting", "random_soft"]
    assert list(rows) == [*METHODS, *coresets, "full"]
    assert {name for name, row in rows.items() if row["state"] != "done"} == {"odd"}
    assert {n for n, r in rows.items() if r["labels"] == "soft"} == {
        "dc_soft",
        "random_soft",
    }
    told = read(made / "summary.json")
    assert [row["set"] for row in told["rows"]] == list(rows)
    shown = (made / "table.md").read_text()
    assert all(f"| {name} " in shown for name in rows)
    assert (made / "figures" / "comparison.png").stat().st_size > 5_000


def test_a_cell_that_cannot_be_is_shown_with_its_reason(made):
    failed = read(made / "cells/odd_ipc2_seed0/failed.json")
    assert failed["reason"].startswith("mosaic=3 must be 1 or more and divide")
    row = table(made)["odd"]
    assert (row["state"], row["auc"], row["lrs"]) == ("failed", "", "")
    assert failed["reason"] in row["reason"]
    assert (
        f"* odd at ipc 2: seed 0 failed: {failed['reason']}"
        in (made / "table.md").read_text()
    )


def test_the_numbers_are_those_of_the_files_and_validation_chose(made):
    for row in table(made).values():
        if row["state"] != "done":
            continue
        ways = {
            a: record(made, row, f"{row['labels']}_{a}") for a in ("with", "without")
        }
        worth = {a: mean_of(r, "auc", "val") for a, r in ways.items()}
        assert worth[row["augmentation"]] == max(worth.values())
        own = ways[row["augmentation"]]
        for metric in ("auc", "balanced_accuracy", "accuracy"):
            values = [run[metric] for run in own["test"]]
            assert float(row[metric]) == pytest.approx(np.mean(values))
            assert float(row[f"{metric}_std"]) == pytest.approx(np.std(values, ddof=1))
            assert int(row["n"]) == len(values)
        for augmentation, found in ways.items():
            told = float(row[f"accuracy_{augmentation}"])
            assert told == pytest.approx(mean_of(found, "accuracy"))


def test_networks_are_as_many_as_was_asked(made):
    counts = {name: row["n"] for name, row in table(made).items()}
    assert counts.pop("odd") == ""
    assert set(counts.values()) == {"2"}


def test_ranks_follow_from_the_columns_of_the_table(made):
    rows = table(made)
    for name in ("dm", "dc_soft", "herding", "random_soft"):
        row = {
            k: float(v)
            for k, v in rows[name].items()
            if k.startswith(("acc", "lr", "ar"))
        }
        other = rows["random_soft" if rows[name]["labels"] == "soft" else "random"]
        same = float(other[f"accuracy_{rows[name]['augmentation']}"])
        assert row["accuracy_random"] == pytest.approx(same)
        lrs = label_robust_score(
            float(rows["full"]["accuracy"]),
            row["accuracy_hard"],
            row["accuracy"],
            same,
        )
        ars = augmentation_robust_score(
            row["accuracy_with"],
            float(other["accuracy_with"]),
            row["accuracy_without"],
            float(other["accuracy_without"]),
        )
        assert row["lrs"] == pytest.approx(float(lrs))
        assert row["ars"] == pytest.approx(float(ars))


def test_soft_sets_are_trained_with_hard_labels_too(made):
    row = table(made)["dc_soft"]
    hard = [record(made, row, f"hard_{a}") for a in ("with", "without")]
    best = max(hard, key=lambda r: mean_of(r, "auc", "val"))
    assert float(row["accuracy_hard"]) == pytest.approx(mean_of(best, "accuracy"))
    soft = record(made, row, "soft_without")
    assert soft["test"] != hard[1]["test"]
    assert not (made / "cells/dm_ipc2_seed0/eval/soft_with.json").exists()


def test_costs_are_told(made):
    rows = table(made)
    weight = CLASSES * IPC * (PIXELS + 4 * CLASSES) + 4
    assert int(rows["dm"]["bytes"]) == int(rows["random"]["bytes"]) == weight
    assert int(rows["full"]["images"]) == CLASSES * tiny.COUNTS["train"]
    assert float(rows["dm"]["seconds_per_step"]) > 0
    real = CLASSES * tiny.COUNTS["train"] * PIXELS
    assert int(rows["dm"]["step_memory_bytes"]) > real  # it holds the images
    assert rows["el2n"]["basis"] == "2 networks, epoch 2 of 20 epochs"


def test_a_finished_comparison_trains_nothing_and_prints_its_table(made, capsys):
    before = {part: listing(made / part) for part in ("cells", "coresets")}
    csv_before = (made / "table.csv").read_bytes()
    capsys.readouterr()
    assert call("compare", made, config=__file__) == 3
    told = capsys.readouterr()
    assert "scoring" not in told.out
    assert "compiling" not in told.err
    assert (made / "table.md").read_text() in told.out
    assert {part: listing(made / part) for part in before} == before
    assert (made / "table.csv").read_bytes() == csv_before


def test_it_goes_on_between_cells_and_retries_what_changed(tmp_path, monkeypatch):
    methods = {name: METHODS[name] for name in ("odd", "dm")}
    asked = {"coresets": "random", "augmentation": "without", "seeds": (0, 1)}
    first = settings(methods, **asked)
    first["eval"]["networks"] = OTHER
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    rows = comparing.run(first, whole)
    done: list[str] = []
    real = comparing.distil

    def dying(checked, way, say):
        if len(done) == 3:  # both of odd, and dm of seed 0
            raise Stopped("SIGTERM", "stopped")
        done.append(checked.cell.name)
        return real(checked, way, say)

    monkeypatch.setattr(comparing, "distil", dying)
    with pytest.raises(Stopped):
        comparing.run(first, stopped)
    monkeypatch.undo()
    assert not (stopped / "cells" / "dm_ipc2_seed1").exists()
    kept = listing(stopped / "cells")
    again = comparing.run(first, stopped)
    after = listing(stopped / "cells")
    assert {name: after[name] for name in kept} == kept
    for one, other in zip(rows, again, strict=True):
        same = ("set", "state", "auc", "accuracy", "balanced_accuracy", "lrs", "ars")
        assert [one.get(k) for k in same] == [other.get(k) for k in same]
    assert again[1]["auc"]["n"] == 4  # two seeds times two networks
    file = "cells/dm_ipc2_seed{}/eval/without_mlp_width_3_depth_1.json"
    runs = [run for s in (0, 1) for run in read(whole / file.format(s))["test"]]
    scored = np.mean([run["balanced_accuracy"] for run in runs])
    assert rows[1][OTHER]["mean"] == pytest.approx(scored)
    mended = methods | {"odd": METHODS["dm"] | {"mosaic": 2}}
    first["compare"]["methods"] = variants(mended).to_dict()
    rows = comparing.run(first, stopped)
    assert [row["state"] for row in rows] == ["done"] * 4
    assert rows[0]["trained_images"] == 4 * rows[0]["images"]
    assert not (stopped / "cells" / "odd_ipc2_seed0" / "failed.json").exists()
    assert {
        name: listing(stopped / "cells")[name] for name in kept if "dm" in name
    } == {name: kept[name] for name in kept if "dm" in name}
    changed = mended | {"dm": {"method": "distribution", "distribution.nets": 2}}
    first["compare"]["methods"] = variants(changed).to_dict()
    with pytest.raises(
        InputError, match=r"dm_ipc2_seed0 holds another run.*rename.*move"
    ):
        comparing.run(first, stopped)


def test_only_what_the_configuration_rules_out_is_final(tmp_path, monkeypatch):
    methods = dict.fromkeys(("dm", "wild", "late"), METHODS["dm"])
    real, asked = comparing_cells.complete, []
    wrong = {
        "wild": Diverged("the loss is nan by step 2"),
        "late": OSError(errno.ENOSPC, "No space left on device"),
    }

    def complete(prepared, say, way):
        name = prepared.parts.loop.folder.name.split("_")[0]
        asked.append(name)
        real(prepared, say, way=way)
        if name in wrong:  # late, so that there is something to lose
            (prepared.parts.loop.folder / "summary.json").unlink()
            raise wrong[name]

    monkeypatch.setattr(comparing_cells, "complete", complete)
    config = settings(methods, coresets="", augmentation="without")
    workdir = tmp_path / "run"
    rows = comparing.run(config, workdir)
    assert [row["state"] for row in rows] == ["done", "failed", "failed", "done"]
    assert "the loss is nan by step 2" in rows[1]["reason"]
    assert "no space is left on the disk; free some space" in rows[2]["reason"]
    assert rows[0]["lrs"] is None  # there are no random images to rank it against
    assert read(workdir / "summary.json")["complete"] is False
    # The disk is tried again, and nothing that was saved is lost by a change of what
    # changes no result; who diverged is not asked again.
    kept = {c: listing(workdir / "cells" / c / "checkpoints") for c in CELLS}
    del wrong["late"]
    asked.clear()
    again = comparing.run(config | {"log_every": 4}, workdir)
    assert asked == ["late"]
    assert [row["state"] for row in again] == ["done", "failed", "done", "done"]
    assert not (workdir / "cells" / CELLS[1] / "failed.json").exists()
    for cell, before in kept.items():
        assert listing(workdir / "cells" / cell / "checkpoints") == before
    assert read(workdir / "summary.json")["complete"] is True
    # Another configuration is another try, and what there was is kept.
    del wrong["wild"]
    methods["wild"] = METHODS["dm"] | {"steps": 2, "eval.every": 2}
    config = settings(methods, coresets="", augmentation="without")
    last = comparing.run(config, workdir)
    assert {row["state"] for row in last} == {"done"}
    aside = workdir / "cells" / f"{CELLS[0]}.aside" / "checkpoints"
    assert listing(aside) == kept[CELLS[0]]


CELLS = ("wild_ipc2_seed0", "late_ipc2_seed0")


def test_experts_are_shared_by_cells_of_equal_settings(tmp_path):
    methods = {
        "mtt": {"method": "trajectory"},
        "soft": {"method": "trajectory", "optimizer.labels": SOFT},
        "long": {"method": "trajectory", "experts.epochs": 3},
    }
    config = settings(methods, seeds=(0, 1))
    base = prepare(config, tmp_path, None)
    common = comparing_cells.common_experts(base, tmp_path / "experts")
    found = {}
    for cell in plan(config).cells:
        folder = tmp_path / "cells" / cell.name
        found[cell.name] = common(prepare(cell.config, folder, None, base), folder)
        assert not folder.exists()
    assert {one.epochs for one in found.values()} == {2, 3}
    assert len(list((tmp_path / "experts").iterdir())) == 2
    one, other = (
        found[f"{name}_ipc2_seed{s}"] for name, s in (("mtt", 0), ("soft", 1))
    )
    for a, b in zip(
        *(jax.tree.leaves(e.read(0, 2)) for e in (one, other)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    named = config | {"experts": config["experts"] | {"folder": str(tmp_path / "mine")}}
    base = prepare(named, tmp_path, None)
    common = comparing_cells.common_experts(base, tmp_path / "experts")
    for cell in (plan(named).cells[0], plan(named).cells[-1]):
        common(prepare(cell.config, tmp_path, None, base), tmp_path)
    assert (tmp_path / "mine" / "group_000").is_dir()  # of mtt, the config's own
    assert len(list((tmp_path / "experts").iterdir())) == 2  # long found its own there


def toy_judge(**changed) -> Judge:
    config = settings()
    config["eval"] |= changed
    network = mlp(toy_pool().image_shape, toy_pool().classes, width=4, depth=1)
    return Judge(network, toy_pool(), config, (), jax.random.key(0), make_mesh(1))


def test_the_record_of_training_is_that_of_plain_epochs():
    judge = toy_judge(full_epochs=12, seeds=2)
    early, correct = map(np.asarray, training_record(judge))
    assert correct.shape == (2, 12, judge.pool.train.size)
    recipe = eval_recipe(judge.config, (), 12)
    key = jax.random.split(jax.random.fold_in(judge.key, 4), 2)[1]
    state = begin(judge.network, recipe, jax.random.fold_in(key, 0))
    examples, lr = of_split(judge.pool.train, 3), jnp.asarray(0.02)
    for number in range(3):
        k = jax.random.fold_in(key, number + 1)
        state, _ = train_epoch(judge.network, recipe, state, examples, lr, k)
        seen = np.asarray(predict(judge.network, state.params, judge.pool.train))
        right = seen.argmax(axis=1) == np.asarray(judge.pool.train.labels)
        assert (right == correct[1, number]).mean() > 0.97
        if number == 0:  # a tenth of twelve epochs
            np.testing.assert_allclose(seen, early[1], atol=1e-5)


def test_random_soft_has_the_images_of_random_and_the_labels_of_an_expert(tmp_path):
    judge = toy_judge(full_epochs=1)
    knowledge = Knowledge(judge, tmp_path, say=lambda text: None)
    plain, soft = (knowledge.row(name, 2) for name in ("random", "random_soft"))
    np.testing.assert_array_equal(plain.subsets, soft.subsets)
    targets = np.asarray(soft.examples.targets)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-5)
    assert 0.1 < targets.max(axis=1).mean() < 0.999
    for name in ("herding", "k_means", "el2n"):
        rows = knowledge.row(name, 2).subsets
        labels = np.asarray(toy_pool().train.labels)[rows]
        assert (np.sort(labels, axis=1) == [0, 0, 1, 1, 2, 2]).all()


@pytest.mark.parametrize(
    ("methods", "changed", "sentence"),
    [
        ({"a": {"stepz": 3}}, {}, r"a: stepz is no setting.*mean 'steps'"),
        (
            {"a": {"steps": "ten"}},
            {},
            r"a: steps='ten' must be a whole number: 5000 is usual",
        ),
        ({"a": {"steps": True}}, {}, r"steps=True must be a whole number"),
        ({"a": {"average": "x"}}, {}, r"average='x' must be a number"),
        ({"a": {"trajectory": 3}}, {}, r"trajectory=3, but trajectory is a section"),
        ({"a": {"eval.epochs": 3}}, {}, r"eval.epochs would make .* unfair"),
        ({"a": {"network.width": 3}}, {}, r"network.width would make .* unfair"),
        ({"a": {"ipc": 3}}, {}, r"a\.ipc would make the comparison unfair"),
        ({"a/b": {}}, {}, r"'a/b', which must serve as a file name"),
        ({"herding": {}}, {}, r"'herding', which is another row"),
        ({"a": {"method": ["distribution"]}}, {}, r"a: method=\['distribution'\]"),
        ({}, {}, r"compare.methods is empty: name a variant"),
        (
            None,
            {"coresets": "random,craig"},
            r"coresets='random,craig' must be names from random, random_soft",
        ),
        (None, {"labels": "hard"}, r"labels='hard', but random_soft has soft labels"),
        (
            None,
            {"labels": "hard", "coresets": ""},
            r"labels='hard', but dc_soft has soft labels: write soft,hard, or leave",
        ),
        (
            {"a": {"experts.folder": "x"}},
            {},
            r"experts\.folder would make the comparison unfair",
        ),
        (
            {"a": {"init.images": "x.npz"}},
            {"labels": "hard", "coresets": ""},
            r"labels='hard', but a has soft labels",
        ),
        (
            {"a": {"compare.ipc": (1,)}},
            {},
            r"compare\.ipc would make the comparison unfair",
        ),
        (None, {"labels": "soft"}, r"leaves out hard, the labels of real images"),
        (
            None,
            {"augmentation": ""},
            r"compare.augmentation='' must be names from with, without",
        ),
        (
            None,
            {"ipc": ()},
            r"compare.ipc=\(\) must be a list of whole numbers at least 1",
        ),
        (None, {"ipc": (0,)}, r"compare.ipc=\(0,\) must be a list"),
        (None, {"seeds": (1.5,)}, r"compare.seeds=\(1.5,\) must be a list"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(
    tmp_path, methods, changed, sentence
):
    with pytest.raises(InputError, match=sentence) as told:
        comparing.run(settings(methods, **changed), tmp_path / "run")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("methods", "sentence"),
    [
        ({1: {"steps": 3}}, "names 1, which must serve as a file name"),
        ({"a": "distribution"}, "methods.a is 'distribution', which changes nothing"),
    ],
)
def test_variants_that_are_no_tables_are_refused(
    tmp_path, methods, sentence, unchecked
):
    config = settings({})
    config["compare"]["methods"] = methods
    with pytest.raises(InputError, match=sentence):
        comparing.run(config, tmp_path / "run")
    with pytest.raises(InputError, match="the variant a is 'x', which changes nothing"):
        variants({"a": "x"})


def test_variants_change_what_they_say_and_nothing_else():
    weighting = {"name": "pruning", "share": 0.2}
    methods = {"a": {"trajectory.weighting": weighting, "init.lr": 1, "steps": 7}}
    (cell,) = plan(settings(methods)).cells
    assert cell.config["trajectory"]["weighting"] == weighting
    assert cell.config["init"]["lr"] == 1.0
    assert isinstance(cell.config["init"]["lr"], float)
    assert (cell.config["steps"], cell.config["ipc"]) == (7, IPC)
    assert cell.config["eval"] == settings()["eval"]
    assert "compare" not in cell.config


def test_smoke_makes_variants_small_too():
    c = changes()
    changed = {"steps": 300, "gradient.batch_real": 64, "mosaic": 2}
    c.compare.methods = variants({"a": changed | {"method": "gradient"}})
    small = smoke(c).compare
    assert small.methods.a.to_dict() == {
        "steps": 2,
        "gradient": {"batch_real": 2},
        "mosaic": 2,
        "method": "gradient",
    }
    assert small.ipc == (1,)


def scored(soft):
    runs = [dict.fromkeys(("auc", "balanced_accuracy", "accuracy", "f1_weighted"), 0.5)]
    record = {"val": runs, "test": runs}
    ways = [*(["soft"] if soft else []), "hard"]
    return {way(labels, a): record for labels in ways for a in ("with", "without")}


def test_validation_may_choose_by_any_score_that_it_has():
    group = Group((), (scored(True), scored(True)))
    assert group.preferred("soft", "f1_weighted") in ("with", "without")


def test_seeds_of_a_row_are_scored_alike(tmp_path):
    """With soft labels where those of any seed are soft."""
    entry = Entry("datm", 1, "distilled", False, None, lambda: None, tmp_path, {})
    made = alike([entry, entry._replace(soft=True), entry])
    assert [one.soft for one in made] == [True, True, True]
    assert not any(one.soft for one in alike([entry, entry]))


def test_an_accuracy_that_is_no_number_has_no_rank():
    assert tables._ranking(lambda *a: sum(a), [0.5, float("nan"), 0.9]) is None
    assert tables._ranking(lambda *a: sum(a), [0.5, None]) is None
    assert tables._ranking(lambda *a: sum(a), [0.5, 0.25]) == 0.75
