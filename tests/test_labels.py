"""Pretraining, fine-tuning and their comparison at few labels."""

import json
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.cli.main import main
from jaxdistill.data.film_phantom import phantom
from jaxdistill.data.standard import standardise
from jaxdistill.distillation.initial import initial
from jaxdistill.engine.schedule import Schedule
from jaxdistill.errors import Diverged, InputError
from jaxdistill.evaluation.evaluate import REAL_LR
from jaxdistill.jobs.judging.synthetic import save_synthetic
from jaxdistill.jobs.labels import figure, fresh, job
from jaxdistill.jobs.labels.plan import Cell, plan
from jaxdistill.jobs.labels.table import best, rows_of
from jaxdistill.jobs.labels.tuning import draw_of
from jaxdistill.jobs.lessons.judging import probabilities
from jaxdistill.jobs.settings.build_labelling import build_course, build_pretraining
from jaxdistill.jobs.settings.labelling import ROWS
from jaxdistill.jobs.settings.resolve import resolve
from jaxdistill.run.files import read_json, write_json
from jaxdistill.run.weights_file import read_weights
from jaxdistill.selfsupervised import PRETEXTS
from jaxdistill.selfsupervised.descent import rate_at
from jaxdistill.types import Synthetic

CONFIGS = Path(__file__).parent.parent / "configs"

SIAMESE = {
    "projector": {"hidden": 8, "outputs": 8},
    "predictor": {"hidden": 8},
    "batch": 40,
    "epochs": 1,
}
TINY = {
    "job": "labels",
    "data": {"size": 16, "train": 120, "val": 160, "test": 160},
    "labels": {"rows": "scratch,byol", "per_class": (2, 3), "draws": 2},
    "backbone": {"patch": 8, "width": 16, "depth": 1, "heads": 2},
    "classes": {"hidden": 8},
    "byol": SIAMESE,
    "tuning": {"steps": 4},
    "fresh": {"epochs": 20},
    "steps_per_call": 1,
    "checkpoint_every": 2,
}


def config(**changes):
    made = json.loads(json.dumps(TINY))
    for key, values in changes.items():
        part = isinstance(values, dict)
        made[key] = {**made.get(key, {}), **values} if part else values
    return made


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    rows = job.compare(config(), folder, say=lambda text: None)
    return folder, rows


def test_a_row_for_each_way_and_number_of_labels(finished):
    folder, rows = finished
    told = [(row["trained"], row["labels_per_class"]) for row in rows]
    assert told == [("scratch", 2), ("scratch", 3), ("byol", 2), ("byol", 3)]
    assert all(row["auc"]["n"] == 2 for row in rows)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["complete"] is True
    for row in rows:
        at = (row["trained"], row["labels_per_class"])
        own = [
            run["auc"]
            for run in summary["runs"]
            if (run["trained"], run["labels_per_class"]) == at
        ]
        assert row["auc"]["mean"] == pytest.approx(np.mean(own))
    for name in ("table.csv", "table.md", "figures/labels.png"):
        assert (folder / name).stat().st_size > 0


def test_what_is_added_is_all_that_a_second_call_makes(finished):
    folder, rows = finished
    said = []
    more = config(labels={"draws": 3, "per_class": (2,)})
    again = job.compare(more, folder, said.append)
    assert [line for line in said if "cell" in line] == [
        "cell scratch_k2_draw2",
        "cell byol_k2_draw2",
    ]
    assert [row["auc"]["n"] for row in again] == [3, 3]
    assert job.compare(config(), folder, said.append) == rows


def test_rows_differ_in_where_they_begin_alone(finished):
    """A backbone that is no other than a fresh one gives the scores of scratch."""
    from jaxdistill.engine.mesh import make_mesh
    from jaxdistill.jobs.labels.tuning import Tuner
    from jaxdistill.jobs.lessons.training import Room
    from jaxdistill.run.weights_file import write_weights

    folder, _ = finished
    pool = phantom(16, train=120, val=160, test=160)
    room = Room(folder, pool, make_mesh(1), lambda text: None, {})
    tuner, cell = Tuner(room, resolve(config())), Cell("scratch", 2, 0)
    draw = jax.random.fold_in(jax.random.key(0), 0)
    fresh = tuner.pretext.init(jax.random.split(draw, 3)[1])
    file = folder / "fresh.safetensors"
    write_weights(file, {"trunk": jax.device_get(fresh["trunk"])}, {})
    alone, started = tuner.tune(cell, None), tuner.tune(cell, file)
    jax.tree.map(np.testing.assert_array_equal, alone, started)
    moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), fresh, alone)
    assert max(jax.tree.leaves(moved)) > 0


def test_more_films_than_there_are_is_a_cell_that_failed(finished):
    folder, _ = finished
    rows = job.compare(
        config(labels={"per_class": (2, 500), "rows": "scratch"}),
        folder,
        say=lambda text: None,
    )
    assert "auc" in rows[0]
    assert rows[1]["reason"].startswith("labels.per_class=500 asks for more films than")
    assert "500" in (folder / "table.md").read_text()


def test_pretrained_weights_are_tuned_by_another_command(tmp_path, finished):
    backbone = job.pretrain(config(), tmp_path / "pretrain", say=lambda text: None)
    names = set(read_weights(backbone)[0])
    assert all(name.startswith("trunk.") for name in names)
    rows = job.finetune(
        config(start=str(backbone), labels={"per_class": (2,)}),
        tmp_path / "tuned",
        say=lambda text: None,
    )
    kept = read_weights(tmp_path / "tuned" / "model.safetensors")[0]
    assert {name.split(".")[1] for name in kept} == {"trunk", "classes"}
    # The same backbone as that of the row of the comparison, so the same scores.
    (_, all_rows) = finished
    other = next(
        r for r in all_rows if (r["trained"], r["labels_per_class"]) == ("byol", 2)
    )
    assert rows[0]["auc"] == other["auc"]
    # With more films added, the file is of the most again; it is kept otherwise.
    file, more = tmp_path / "tuned" / "model.safetensors", {"per_class": (2, 3)}
    before, said = file.read_bytes(), []
    few = config(start=str(backbone), labels={"per_class": (2, 500)})
    job.finetune(few, tmp_path / "tuned", say=said.append)
    assert file.read_bytes() == before
    assert any("is of 2 films a class, as 500 could not be tuned" in t for t in said)
    for same in (False, True):
        told = config(start=str(backbone), labels=more)
        job.finetune(told, tmp_path / "tuned", say=lambda text: None)
        assert (file.read_bytes() == before) is same
        before = file.read_bytes()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"labels": {"rows": "transfer"}}, "labels.transfer"),
        ({"labels": {"rows": "distilled"}}, "labels.distilled"),
        ({"labels": {"rows": "distilled", "distilled": "a.npz"}}, "{k}"),
        ({"labels": {"rows": "byo"}}, "labels.rows='byo'"),
        ({"byol": {"batch": 0}}, "byol.batch=0"),
    ],
)
def test_what_cannot_be_compared_is_refused(changes, told):
    with pytest.raises(InputError, match=r".") as error:
        plan(resolve(config(**changes)))
    assert told in str(error.value)


def test_tuning_needs_weights(tmp_path, capsys):
    flags = ["--config=compare_labels:smoke", f"--workdir={tmp_path / 'run'}"]
    assert main(["finetune", *flags]) == 2
    assert "start is empty" in capsys.readouterr().err
    told = config(start=str(tmp_path / "typo.npz"))
    with pytest.raises(
        InputError, match=r"typo\.npz is no file: name weights to begin"
    ):
        job.finetune(told, tmp_path / "run", say=lambda text: None)
    assert not (tmp_path / "run").exists()


def test_the_table_says_who_is_ahead():
    def cell(auc):
        scalars = ("accuracy", "balanced_accuracy", "harmonic_mean", "f1_weighted")
        scores = dict.fromkeys((*scalars, "calibration_error"), 0.5)
        by_class = {"sensitivity": [0.5, 0.5], "specificity": [0.5, 0.5]}
        return {"test": {**scores, **by_class, "auc": auc}, "val": {"auc": auc}}

    def told(**aucs):
        cells = {
            Cell(name, 5, draw): cell(auc)
            for name, own in aucs.items()
            for draw, auc in enumerate(own)
        }
        return best(rows_of(cells), cells, 5)

    assert told(byol=(0.7, 0.8, 0.9), mae=(0.6, 0.7, 0.74)) == (
        "At 5 a class byol is ahead of mae by 0.120 in AUC, standard error 0.020."
    )
    assert "of mae by 0.100 in AUC, standard error 0.000" in told(
        byol=(0.7, 0.8), mae=(0.6, 0.7)
    )  # draw by draw, however much draws differ
    assert told(distilled=(0.7, 0.8), mae=(0.6, 0.6)).endswith("standard error 0.050.")
    # Where a draw failed, rows are compared by the others.
    assert told(byol=(0.9, 0.9, 0.5), mae=(0.88, 0.88)) == (
        "At 5 a class byol is ahead of mae by 0.020 in AUC, standard error 0.000 "
        "(2 draws in common)."
    )


def test_a_distilled_set_stands_beside_the_others(tmp_path, finished):
    """Its cells are of fresh networks; a set of another size is a cell that failed."""
    pool = phantom(16, train=120, val=160, test=160)
    made = initial(pool, ipc=2, key=jax.random.key(0))
    save_synthetic(tmp_path / "k2.npz", made, pool)
    save_synthetic(tmp_path / "k3.npz", made, pool)
    named = {"rows": "distilled", "distilled": str(tmp_path / "k{k}.npz")}
    told = config(labels=named, network={"width": 4, "depth": 1})
    two, three = job.compare(told, tmp_path / "run", say=lambda text: None)
    assert two["auc"]["n"] == 2
    assert jnp.isfinite(two["auc"]["mean"])
    assert "holds 8 images, and 12 are 3 of each class" in three["reason"]
    assert read_json(tmp_path / "run" / "summary.json")["complete"] is False
    # The folder of the run that made a set stands for the set that it chose.
    for k in (2, 3):
        (tmp_path / f"k{k}").mkdir()
        write_json(tmp_path / f"k{k}/summary.json", {"synthetic": f"../k{k}.npz"})
    folders = config(
        labels={**named, "distilled": str(tmp_path / "k{k}"), "per_class": (2,)},
        network={"width": 4, "depth": 1},
    )
    (again,) = job.compare(folders, tmp_path / "folders", say=lambda text: None)
    assert again == two
    blurred = {"labels": {**named, "rows": "scratch,distilled"}, "eval": {"blur": 0.5}}
    with pytest.raises(InputError, match=r"eval\.blur=0\.5 does not blur the films"):
        job.compare(config(**blurred), tmp_path / "other", say=lambda text: None)


def test_drawn_films_are_learned_as_a_set_of_them_would_be(tmp_path):
    """The row `random` is that of a distilled set which is the films of the draw."""
    pool = phantom(16, train=120, val=160, test=160)
    named = {"rows": "random", "per_class": (2,), "draws": 1}
    small = {"width": 4, "depth": 1}
    told = config(labels=named, network=small)
    (drawn,) = job.compare(told, tmp_path / "drawn", say=lambda text: None)
    rows = draw_of(pool, resolve(told), Cell("random", 2, 0)).rows
    films = pool.train._replace(
        images=pool.train.images[rows], labels=pool.train.labels[rows]
    )
    made = Synthetic(
        standardise(films.images, pool.train.standard),
        100.0 * jax.nn.one_hot(films.labels, pool.classes),
        jnp.log(jnp.expm1(REAL_LR)),
    )
    save_synthetic(tmp_path / "films.npz", made, pool)
    named |= {"rows": "distilled", "distilled": str(tmp_path / "films.npz")}
    told = config(labels=named, network=small)
    (as_set,) = job.compare(told, tmp_path / "set", say=lambda text: None)
    assert as_set["auc"]["mean"] == pytest.approx(drawn["auc"]["mean"], abs=1e-3)
    assert as_set["accuracy"] == drawn["accuracy"]
    # The row of the set may be added to the folder of the films.
    named["rows"] = "random,distilled"
    told = config(labels=named, network=small)
    both = job.compare(told, tmp_path / "drawn", say=lambda text: None)
    assert both == [drawn, as_set]
    # So may it where the record tells of a file, as older ones do.
    for name in ("config.json", ".config.json"):
        record = read_json(tmp_path / "drawn" / name)
        record["config"]["labels"]["distilled"] = "elsewhere.npz"
        write_json(tmp_path / "drawn" / name, record)
    notes = []
    assert job.compare(told, tmp_path / "drawn", say=notes.append) == both
    assert not any("elsewhere" in note for note in notes)


def answers(value):
    """Of an evaluator whose network says `value` of every class of every film."""

    def run(examples, splits, rate, keys):
        return np.full(
            (1, sum(s.size for s in splits), len(examples.targets[0])), value
        )

    return run


def test_a_network_without_finite_answers_is_a_cell_that_ended(tmp_path, monkeypatch):
    def silent(*_):
        return answers(np.nan)

    monkeypatch.setattr(fresh, "evaluator", silent)
    named = {"rows": "random", "per_class": (2,), "draws": 1}
    told = config(labels=named, network={"width": 4, "depth": 1})
    (row,) = job.compare(told, tmp_path, say=lambda text: None)
    assert "finite answers at a learning rate of 0.01: lower fresh.lr" in row["reason"]
    assert read_json(tmp_path / "summary.json")["complete"] is True


def test_a_set_that_tells_its_schedule_is_learned_by_it(tmp_path, monkeypatch):
    pool = phantom(16, train=120, val=160, test=160)
    made = initial(pool, ipc=2, key=jax.random.key(0))
    made = made._replace(raw_lr=jnp.full((1, 2), -3.0))
    heard = []

    def listening(network, how):
        heard.append(how)
        return answers(0.25)

    monkeypatch.setattr(fresh, "evaluator", listening)
    for schedule in (None, Schedule("momentum", 3)):
        save_synthetic(tmp_path / "set.npz", made, pool, 1, schedule)
        named = {"rows": "distilled", "distilled": str(tmp_path / "set.npz")}
        told = config(labels={**named, "per_class": (2,), "draws": 1})
        job.compare(told, tmp_path / f"{schedule}", say=lambda text: None)
    assert heard == [Schedule(), Schedule("momentum", 3)]


def test_every_way_has_a_line_of_its_own():
    looks = set(zip(figure.HUES, figure.MARKS, strict=True))
    assert len(looks) >= len(ROWS)


@pytest.mark.parametrize(("mode", "side"), [("full", 28), ("lungs", 56)])
def test_every_pretext_of_the_configuration_fits_its_films(mode, side):
    made = runpy.run_path(str(CONFIGS / "compare_labels.py"))["get_config"](mode)
    told = resolve(made.to_dict())
    pool = phantom(side, train=160, val=160, test=160)
    for name in PRETEXTS:
        assert build_pretraining(told, pool, name).loss is not None
    told["dino"]["views"]["local"] = side // 2
    with pytest.raises(InputError, match=rf"views\.local is {side // 2} pixels, and "):
        build_pretraining(told, pool, "dino")


def test_rates_of_a_tuning_end_with_its_steps_whatever_the_films():
    told = resolve({"job": "labels"})
    for films in (2, 40, 1200, 50_000):
        regime, course = build_course(told, films, 0)
        assert course.steps == told["tuning"]["steps"] == 300
        at = lambda step: rate_at(regime, course.pace.now(jnp.int32(step)))  # noqa: B023, E731
        assert float(at(30)) == pytest.approx(3e-4)
        assert float(at(300)) == pytest.approx(0, abs=1e-9)


def test_answers_that_are_not_finite_are_a_training_that_failed():
    films = phantom(16, train=160, val=160, test=160).test
    with pytest.raises(Diverged, match="answers on films are not finite"):
        probabilities(lambda x: jnp.full((len(x), 2), jnp.nan), films)
