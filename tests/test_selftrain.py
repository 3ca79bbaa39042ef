"""The selftrain job: stages, ablations, resuming, and what it refuses."""

import csv
import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxdistill.cli.main import main
from jaxdistill.data.film_phantom import phantom
from jaxdistill.data.folds import divide
from jaxdistill.data.prints import prints
from jaxdistill.errors import Diverged, InputError
from jaxdistill.jobs.lessons.films import films_of
from jaxdistill.jobs.lessons.judging import require_judged
from jaxdistill.jobs.lessons.training import FILE, Room
from jaxdistill.jobs.selftrain import beginning, figure, job
from jaxdistill.jobs.selftrain.lessons import School, school_of, stage_lesson
from jaxdistill.jobs.selftrain.plan import plan
from jaxdistill.jobs.settings.build_backbones import build_films
from jaxdistill.jobs.settings.resolve import resolve
from jaxdistill.run.files import read_json
from jaxdistill.run.weights_file import read_weights
from jaxdistill.selfsupervised import UNKNOWN

TINY = {
    "job": "selftrain",
    "data": {"size": 16, "train": 160, "val": 160, "test": 160},
    "films": {"labelled": 0.3, "folds": 2},
    "backbone": {"patch": 8, "width": 16, "depth": 1, "heads": 2},
    "head": {"outputs": 16, "hidden": 8, "bottleneck": 8},
    "classes": {"hidden": 8},
    "views": {"locals": 1},
    "first": {"epochs": 2},
    "stage": {"epochs": 1, "every": 3},
    "protocol": {"seeds": (0,), "ceiling": 0},
    "eval": {"robustness": False, "maps": 1},
    "steps_per_call": 1,
    "checkpoint_every": 2,
}


def config(**changes):
    made = json.loads(json.dumps(TINY))
    for key, values in changes.items():
        made[key] = (
            {**made.get(key, {}), **values} if isinstance(values, dict) else values
        )
    return made


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("selftrain")
    rows = job.run(config(), folder, say=lambda text: None)
    return folder, rows


def test_the_table_holds_every_stage_beside_labels_alone(finished):
    folder, rows = finished
    assert [row["trained"] for row in rows] == ["supervised", "stage_1", "stage_2"]
    for row in rows:
        low, high = row["auc_interval"]
        assert low <= row["auc"]["mean"] <= high
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["complete"] is True
    for row in rows:
        own = [r["auc"] for r in summary["runs"] if r["trained"] == row["trained"]]
        assert len(own) == row["auc"]["n"]
        assert row["auc"]["mean"] == pytest.approx(np.mean(own))
    assert summary["labelled"] + sum(summary["folds"]) == 160
    for name in ("table.csv", "model.safetensors", "figures/stages.png"):
        assert (folder / name).stat().st_size > 0


def test_a_second_call_trains_nothing_and_an_ablation_that_is_added_itself_alone(
    finished,
):
    folder, rows = finished
    said = []
    more = config(protocol={"ablations": "selftrain_only"})
    again = job.run(more, folder, said.append)
    trained = [line for line in said if line.endswith("steps")]
    assert len(trained) == 2
    assert all("selftrain_only" in line for line in trained)
    assert [row for row in again if row["trained"] != "selftrain_only"] == rows


def test_of_numbers_of_passes_over_the_labels_validation_chooses(finished, tmp_path):
    folder, said = tmp_path / "again", []
    shutil.copytree(finished[0], folder)
    rows = job.run(config(protocol={"first_epochs": (3, 1, 2)}), folder, said.append)
    told = json.loads((folder / "summary.json").read_text())["first_epochs"]
    told = told["supervised, seed 0"]
    by_epochs = {int(epochs): auc for epochs, auc in told["validation_auc"].items()}
    assert list(by_epochs) == [1, 2, 3]
    assert by_epochs[told["chosen"]] == max(by_epochs.values())
    best = rows[0]["validation_auc"]["mean"]
    assert best == pytest.approx(max(by_epochs.values()))
    alone = [line for line in said if "supervised" in line and line.endswith("steps")]
    assert len(alone) == 2  # two passes are there already
    noted = any("add more to protocol.first_epochs" in line for line in said)
    assert noted == (told["chosen"] == 3)
    assert (
        f"{told['chosen']} passes over the labels" in (folder / "table.md").read_text()
    )


def test_a_number_of_passes_that_diverges_is_left_out_and_told(
    finished, tmp_path, monkeypatch
):
    taught = beginning.supervised

    def some(school, given, seed):
        if given["first"]["epochs"] == 3:
            raise Diverged("loss is nan at step 1")
        return taught(school, given, seed)

    monkeypatch.setattr(beginning, "supervised", some)
    folder = tmp_path / "again"
    shutil.copytree(finished[0], folder)
    rows = job.run(config(protocol={"first_epochs": (3, 2)}), folder, [].append)
    told = json.loads((folder / "summary.json").read_text())
    assert told["failed"] == {}  # nothing is missing
    told = told["first_epochs"]["supervised, seed 0"]
    assert told["chosen"] == 2
    assert told["failed"] == {"3": "loss is nan at step 1"}
    assert "3: diverged" in (folder / "table.md").read_text()
    assert rows == finished[1]


def test_labels_alone_that_always_diverge_tell_why(finished, tmp_path, monkeypatch):
    def none(school, given, seed):
        raise Diverged(f"loss is nan at step {given['first']['epochs']}")

    monkeypatch.setattr(beginning, "supervised", none)
    folder = tmp_path / "again"
    shutil.copytree(finished[0], folder)
    job.run(config(protocol={"first_epochs": (3, 2)}), folder, [].append)
    failed = json.loads((folder / "summary.json").read_text())["failed"]
    told = failed["supervised, seed 0"]
    assert "2: loss is nan at step 2; 3: loss is nan at step 3" in told


def test_wrong_labels_are_learned_beside_and_gains_are_over_as_many_wrong(finished):
    folder, rows = finished
    said = []
    again = job.run(config(protocol={"wrong": (0.25,)}), folder, said.append)
    trained = [line for line in said if line.endswith("steps")]
    assert len(trained) == 3  # labels alone, two stages
    assert again[: len(rows)] == rows
    begin, end = again[len(rows) :]
    assert begin["trained"] == "supervised_wrong_0.25"
    assert end["trained"] == "stage_2_wrong_0.25"
    assert begin["gain"] is None
    gained = end["auc"]["mean"] - begin["auc"]["mean"]
    assert end["gain"]["mean"] == pytest.approx(gained)


def test_of_the_kept_labels_alone_a_share_is_wrong():
    told = resolve(config(films={"wrong": 0.25}))
    pool = phantom(**TINY["data"])
    folds = divide(pool, labelled=0.3, folds=2)
    room = Room(None, pool, None, print, {})
    labels = np.asarray(school_of(room, folds, told).films.labels)
    true = np.asarray(pool.train.labels)
    changed = np.flatnonzero(labels != true)
    assert set(changed) <= set(folds.labelled)
    counts = np.bincount(true[folds.labelled])
    wrong = np.bincount(true[changed], minlength=len(counts))
    np.testing.assert_array_equal(wrong, np.round(0.25 * counts))


def test_the_first_stage_begins_as_the_student_of_labels_alone(finished):
    """A stage whose rate is nothing ends where it began."""
    folder, _ = finished
    still = config(
        stage={"lr": 1e-30, "lr_last": 0.0, "weight_decay": 0.0},
        protocol={"variants": {}},
    )
    still["stage"]["weight_decay_last"] = 0.0
    job.run(still, folder.parent / "still", say=lambda text: None)
    lessons = {
        p.name.split("_")[1]: p for p in (folder.parent / "still/lessons").iterdir()
    }
    first, _ = read_weights(lessons["supervised"] / FILE)
    last, _ = read_weights(lessons["stage1"] / FILE)
    for name in first:
        if not name.startswith("teacher."):
            np.testing.assert_allclose(first[name], last[name], atol=1e-6)
            np.testing.assert_allclose(
                last[name.replace("student.", "teacher.")], first[name], atol=1e-6
            )


def test_a_killed_run_ends_as_one_that_was_left_alone(finished, tmp_path):
    """kill -9 in the middle of a stage, and in the middle of a pass."""
    folder, _ = finished
    script = (
        "import json, os, sys\n"
        "from jaxdistill.jobs.selftrain import job\n"
        "from jaxdistill.run import checkpoint\n"
        "save, left = checkpoint.Checkpoints.save, [int(sys.argv[3])]\n"
        "def dying(self, *rest):\n"
        "    save(self, *rest)\n"
        "    left[0] -= 1\n"
        "    if not left[0]:\n"
        "        self.wait()\n"
        "        os.kill(os.getpid(), 9)\n"
        "checkpoint.Checkpoints.save = dying\n"
        "job.run(json.loads(sys.argv[1]), __import__('pathlib').Path(sys.argv[2]))\n"
    )
    told = json.dumps(config())
    # Four saves are of labels alone, the fifth of the stage's start; its steps 1 to 3
    # are a pass. The second process goes on from there, and dies at its next save.
    for saves, stands in ((6, 2), (1, 4)):
        made = subprocess.run(
            [sys.executable, "-c", script, told, str(tmp_path), str(saves)],
            capture_output=True,
            text=True,
        )
        assert made.returncode == -9, made.stderr
        (stage,) = (tmp_path / "lessons").glob("*stage1*")
        saved = [int(p.name) for p in (stage / "checkpoints").iterdir()]
        assert max(saved) == stands
    job.run(config(), tmp_path, say=lambda text: None)
    made = sorted((tmp_path / "lessons").glob(f"*/{FILE}"))
    assert len(made) == 3  # others may have added to the folder that was left alone
    for mine in made:
        file = folder / "lessons" / mine.parent.name / FILE
        assert mine.read_bytes() == file.read_bytes(), file.parent.name


def test_labels_of_folds_are_hidden_from_training(tmp_path):
    pool = phantom(16, train=160, val=160, test=160)
    folds = divide(pool, labelled=0.3, folds=2)
    wanted = plan(resolve(config()))
    school = School(Room(tmp_path, pool, None, print, {}), folds, films_of(pool, None))
    for stage in (1, 2):
        made = stage_lesson(school, wanted.ways[0], 0, stage, None)
        shown = np.concatenate(folds.unlabelled[:stage])
        np.testing.assert_array_equal(made.rows, [*shown, *folds.labelled])
        labels, known = np.asarray(made.films.labels), folds.labelled
        assert (np.delete(labels, known) == UNKNOWN).all()
        np.testing.assert_array_equal(
            labels[known], np.asarray(pool.train.labels)[known]
        )


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--config.films.labelled=0.001"], "films.labelled=0.001"),
        (["--config.films.folds=3000"], "films.folds=3000"),
        (
            ["--config.backbone.name=vit", "--config.backbone.patch=7"],
            "backbone.patch=7 must divide",
        ),
        (["--config.views.size=64"], "views.size=64"),
        (["--config.views.local=20"], "views.local=20"),
        (
            ["--config.stage.batch=4000"],
            "fewer than stage.batch=4000: lower stage.batch",
        ),
        (["--config.data.zca=true"], "data.zca=true"),
        (["--config.start=none.safetensors"], "start='none.safetensors' is no file"),
        (["--config.protocol.ablations=ssl"], "protocol.ablations='ssl'"),
        (["--config.evolve.ssl=1.5"], "evolve.ssl=1.5"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(flags, told, tmp_path, capsys):
    base = [
        "selftrain",
        "--config=quickstart_selftrain:smoke",
        f"--workdir={tmp_path / 'run'}",
        "--config.data.size=16",
        "--config.data.train=160",
        "--config.first.batch=8",
        "--config.stage.batch=8",
    ]
    if not any("films.labelled" in flag for flag in flags):
        base.append("--config.films.labelled=0.3")
    assert main([*base, *flags]) == 2
    error = capsys.readouterr().err
    assert told in error, error
    assert error.count("\n") == 1, error
    assert "Traceback" not in error


@pytest.mark.parametrize("name", ["stage_1", "stage_2", "supervised", "ceiling"])
def test_a_variant_may_not_have_the_name_of_a_row(name):
    wanted = config(protocol={"variants": {name: {"stage": {"epochs": 2}}}})
    with pytest.raises(InputError, match=rf"protocol\.variants.*{name}"):
        plan(resolve(wanted))


def test_a_class_with_one_test_film_is_refused_before_any_training():
    pool = phantom(16, train=120, val=160, test=160)
    labels = np.maximum(np.arange(pool.test.size) % pool.classes, 1)
    labels[3] = 0
    test = pool.test._replace(labels=labels)
    with pytest.raises(InputError, match="'COVID' has 1 of the test films"):
        require_judged(dataclasses.replace(pool, test=test))


def test_shares_of_wrong_labels_that_differ_are_two_rows():
    made = plan(resolve(config(protocol={"wrong": (0.1, 0.10000001)})))
    assert len(set(made.rows)) == len(made.rows) == 7


def test_a_robustness_figure_shows_what_each_model_was_tried_with(tmp_path):
    """Also where one lacks the panel that another has, in either order."""
    curve = {"strengths": [0.0, 1.0], "scores": [0.9, 0.8]}
    for one, two in (("noise", "blur"), ("blur", "noise")):
        told = {"supervised": {one: curve, two: curve}, "stage_2": {two: curve}}
        for models in (told, dict(reversed(told.items()))):
            figure.curves(file := tmp_path / "curves.png", models)
            with Image.open(file) as drawn:
                width, height = drawn.size
            assert width > 1.5 * height  # two panels, side by side
            file.unlink()


def test_a_variant_may_not_have_other_data():
    wanted = config(protocol={"variants": {"more": {"films": {"labelled": 0.5}}}})
    with pytest.raises(InputError, match=r"protocol\.variants\.more\.films\.labelled"):
        plan(resolve(wanted))


def test_new_films_are_told_as_test_films_were(finished, tmp_path, capsys):
    folder, _ = finished
    pool = build_films(resolve(config()))
    for number, image in enumerate(np.asarray(pool.test.images[:12])):
        (tmp_path / "new").mkdir(exist_ok=True)
        Image.fromarray(image[..., 0]).save(tmp_path / "new" / f"film{number:02}.png")
    model, out = folder / "model.safetensors", tmp_path / "told.csv"
    flags = ["classify", str(model), str(tmp_path / "new"), f"--out={out}"]
    assert main(flags) == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    (scores,) = (folder / "scores").glob("seed0_stage2_*.json")
    record = read_json(scores)
    columns = [f"p_{name}" for name in pool.class_names]
    said = np.array([[float(row[column]) for column in columns] for row in rows])
    np.testing.assert_allclose(said, record["probabilities"][:12], atol=1e-6)
    names = pool.class_names
    cut = record.get("threshold")
    assert [row["called"] for row in rows] == [
        names[int(p[1] >= cut)] if cut is not None else names[p.argmax()] for p in said
    ]
    if cut is not None:
        assert {float(row["threshold"]) for row in rows} == {cut}
    # A film that is none costs itself alone, and is told.
    (tmp_path / "new" / "film05.png").write_bytes(b"no picture")
    assert main(flags) == 2
    assert "1 of 12 films could not be read" in capsys.readouterr().err
    with out.open() as file:
        assert len(list(csv.DictReader(file))) == 11
    out.write_text("a table of my own")
    assert main(flags) == 2
    assert out.read_text() == "a table of my own"
    lesson = next((folder / "lessons").rglob("*.safetensors"))
    assert main(["classify", str(lesson), *flags[2:]]) == 2
    assert "does not tell how its films are standard" in capsys.readouterr().err


@pytest.fixture
def films(tmp_path):
    """Labelled films of patients A to H, a folder per class, and others without."""
    rng = np.random.default_rng(0)

    def write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (16, 16), np.uint8)).save(path)

    for name in "ABCDEFGHIJKL":
        for number in range(2):
            write(tmp_path / "films" / "ill" / f"{name}__{number}.png")
            write(tmp_path / "films" / "well" / f"W{name}__{number}.png")
    for number in range(9):
        write(tmp_path / "others" / f"P{number}" / f"P{number}__0.png")
    return tmp_path


def of_folder(folder):
    data = {"name": "folder", "path": str(folder / "films"), "size": 16}
    films = {"labelled": 1.0, "folds": 3, "unlabelled": str(folder / "others")}
    return resolve({"job": "selftrain", "data": data, "films": films})


def test_films_of_another_folder_fill_the_folds(films):
    from jaxdistill.jobs.settings.build_backbones import build_films, build_unlabelled
    from jaxdistill.jobs.settings.build_selftraining import build_folds

    told = of_folder(films)
    pool = build_films(told)
    further = build_unlabelled(told, pool)
    folds = build_folds(told, pool, further)
    assert folds.labelled.tolist() == list(range(pool.train.size))
    found = np.sort(np.concatenate(folds.unlabelled))
    assert found.tolist() == [pool.train.size + i for i in range(9)]
    every = films_of(pool, further)
    assert (np.asarray(every.labels)[found] == -1).all()
    np.testing.assert_array_equal(
        np.asarray(every.images)[found], further.read(np.arange(9))
    )


def test_patients_of_one_name_are_one_whatever_its_letters_are_made_of(films):
    """An accent is one letter on one machine and two on another."""
    import unicodedata

    from jaxdistill.jobs.settings.build_backbones import build_films, build_unlabelled

    name = "Jos\u00e9"
    first = films / "films" / "ill" / "C__0.png"
    first.rename(first.with_name(f"{name}__0.png"))
    again = films / "others" / f"{unicodedata.normalize('NFD', name)}__7.png"
    again.write_bytes((films / "others" / "P1" / "P1__0.png").read_bytes())
    told = of_folder(films)
    with pytest.raises(InputError, match="of the labelled data, 1 in number"):
        build_unlabelled(told, build_films(told))


@pytest.mark.parametrize("group", ["", r"^([^_]+)_", r"^([^/]+)/"])
def test_a_patient_is_known_whatever_folders_lie_above(films, group):
    """By a name, by a pattern, by a folder; below one folder, or one of several."""
    from jaxdistill.jobs.settings.build_backbones import build_films, build_unlabelled

    if group.endswith("/"):
        for film in list(films.glob("films/*/*.png")):
            below = film.parent / film.name.partition("__")[0]
            below.mkdir(exist_ok=True)
            film.rename(below / "film.png")
    told = of_folder(films)
    told["data"]["group"] = group
    pool = build_films(told)
    shutil.rmtree(films / "others" / "P0")
    assert build_unlabelled(told, pool) is not None
    again = films / "others" / "2019" / "C"
    again.mkdir(parents=True)
    (films / "others/P1/P1__0.png").rename(again / "C__9.png")
    with pytest.raises(InputError, match="1 in number, such as 'C' of"):
        build_unlabelled(told, pool)


def test_films_of_another_hospital_may_be_called_the_same(films):
    """A path is no patient's name, also below a folder that wraps the classes."""
    from jaxdistill.jobs.settings.build_backbones import build_films, build_unlabelled

    wrapped, rng = films / "films" / "hospital", np.random.default_rng(3)
    for name in ("ill", "well"):
        wrapped.mkdir(exist_ok=True)
        (films / "films" / name).rename(wrapped / name)
        for number, film in enumerate(sorted((wrapped / name).iterdir())):
            film.rename(film.with_name(f"{number:03d}.png"))
            other = films / "others" / name / f"{number:03d}.png"
            other.parent.mkdir(exist_ok=True)
            rows = rng.integers(0, 255, (16, 16), np.uint8)
            Image.fromarray(rows).save(other)
    told = of_folder(films)
    assert build_unlabelled(told, build_films(told)) is not None


def test_masks_among_films_without_labels_are_passed_over(films):
    from jaxdistill.jobs.settings.build_backbones import build_films, build_unlabelled

    told = of_folder(films)
    pool = build_films(told)
    (films / "others" / "masks").mkdir()
    (films / "others/P1/P1__0.png").rename(films / "others/masks/P1__0.png")
    with pytest.warns(UserWarning, match="1 pictures of .* in folders of masks"):
        further = build_unlabelled(told, pool)
    assert len(further.names) == 8


def test_a_source_with_patients_of_its_own_keeps_them_apart_too(films):
    from jaxdistill.jobs.settings.build_backbones import build_films, build_unlabelled

    (films / "films").rename(films / "chest_xray")
    data = {"name": "chest_xray", "root": str(films), "size": 16}
    apart = {"labelled": 1.0, "unlabelled": str(films / "others")}
    told = resolve({"job": "selftrain", "data": data, "films": apart})
    pool = build_films(told)
    assert build_unlabelled(told, pool) is not None
    rows = np.random.default_rng(9).integers(0, 255, (16, 16), np.uint8)
    Image.fromarray(rows).save(films / "others" / "C__7.png")
    with pytest.raises(InputError, match="of the labelled data, 1 in number"):
        build_unlabelled(told, pool)


def test_other_patients_or_another_order_are_other_data(films):
    """Folds are made of patients, and films are asked for by row."""
    from jaxdistill.jobs.settings.build_backbones import build_films, build_unlabelled

    told = of_folder(films)
    pool = build_films(told)
    before = prints(pool, build_unlabelled(told, pool))
    (films / "others" / "P3" / "P3__0.png").rename(films / "others" / "A0__0.png")
    after = prints(pool, build_unlabelled(told, pool))
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"patients_without_labels"}


@pytest.mark.parametrize("kind", ["patient", "film"])
def test_films_without_labels_of_labelled_patients_are_refused(films, kind, capsys):
    (labelled,) = list((films / "films" / "ill").glob("C__0.png"))
    name = "C__7.png" if kind == "patient" else "Q__0.png"
    source = films / "others" / "P1" / "P1__0.png" if kind == "patient" else labelled
    (films / "others" / name).write_bytes(source.read_bytes())
    flags = [
        "--config=quickstart_selftrain:smoke",
        f"--workdir={films / 'run'}",
        "--config.data.name=folder",
        f"--config.data.path={films / 'films'}",
        f"--config.films.unlabelled={films / 'others'}",
    ]
    assert main(["selftrain", *flags]) == 2
    told = capsys.readouterr().err
    said = {
        "patient": "1 in number, such as 'C'",
        "film": "1 in number, Q__0.png: remove",
    }
    assert said[kind] in told
