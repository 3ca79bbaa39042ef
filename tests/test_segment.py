"""The segment verb from a configuration to masks in space, and what it keeps."""

import dataclasses
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tiny import listing
from tiny_segment import small

from jaxdistill.cli.main import main
from jaxdistill.cli.segment import main as segmenting
from jaxdistill.data import prostate_phantom
from jaxdistill.data.case_files import open_case
from jaxdistill.data.slices import planes_of, restore
from jaxdistill.data.volumes import Origin
from jaxdistill.data.written_masks import is_ours, write_mask
from jaxdistill.errors import Diverged, InputError
from jaxdistill.evaluation.segmentation import segmentation_scores
from jaxdistill.jobs.segment import folds, job, lessons
from jaxdistill.jobs.segment import table as tables
from jaxdistill.jobs.segment.judging import METRICS, VALIDATED, means, score
from jaxdistill.jobs.segment.models import load_model
from jaxdistill.jobs.segment.plan import plan
from jaxdistill.jobs.segment.predicting import Way, opened, predicted
from jaxdistill.jobs.segment.predicting import run as predicting
from jaxdistill.jobs.settings.build_segmentation import build_sites
from jaxdistill.jobs.settings.changes import variants
from jaxdistill.jobs.settings.resolve import override, resolve
from jaxdistill.networks import build_segmenter
from jaxdistill.run.files import read_json, read_record, write_json
from jaxdistill.run.weights_file import write_weights
from jaxdistill.segmentation.inference import masks_of, predict
from jaxdistill.segmentation.teaching import teach

SILENT = {"say": lambda text: None}
KEEPS = ("models", "scores", "classes", "teachers")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("segment") / "run"
    rows = job.run(small(), workdir, **SILENT)
    return workdir, rows


def test_seeds_share_the_programs_that_the_first_compiled(tmp_path, monkeypatch):
    traces, begun = [], []

    def counted(*args, **settings):
        learner = teach(*args, **settings)

        def update(*given):
            traces.append(learner)
            return learner.update(*given)

        return learner._replace(update=update)

    def say(text):
        if "seed1" in text:
            begun.append(len(traces))

    monkeypatch.setattr(lessons, "teach", counted)
    job.run(small(protocol={"seeds": (0, 1)}), tmp_path / "run", say=say)
    assert begun[0] == len(traces) > 1


def test_a_run_tells_of_teacher_alone_and_distilled_by_site(done):
    workdir, rows = done
    assert [(row["trained"], row["site"]) for row in rows] == [
        (name, site)
        for name in ("teacher", "alone", "distilled")
        for site in ("S2", "mean")
    ]
    summary = read_json(workdir / "summary.json")
    assert summary["complete"] is True
    # What is chosen by stands in the table, of cases that chose nothing else.
    for run in summary["runs"]:
        (found,) = (
            one
            for name, one in summary["scores"].items()
            if name.startswith(f"{run['site']}_seed{run['seed']}_{run['trained']}_")
        )
        held = [case["dice"] for case in found["val"].values()]
        assert run["validation_dice"] == pytest.approx(np.mean(held))
    for row in summary["rows"]:
        assert {"dice", "hd95", "assd", "parameters", "seconds_per_slice"} <= set(row)
        assert set(row["dice"]) == {"mean", "std", "n"}
        runs = [
            run["dice"]
            for run in summary["runs"]
            if run["trained"] == row["trained"] and row["site"] in (run["site"], "mean")
        ]
        assert row["dice"]["mean"] == pytest.approx(np.mean(runs))
    by_case = summary["scores"]
    assert all(set(one) == {"test", "val"} for one in by_case.values())
    assert all(
        len(one["test"]) == 2 and len(one["val"]) == 5 for one in by_case.values()
    )
    assert "parameters" in (workdir / "table.md").read_text()
    assert {p.name for p in (workdir / "figures").iterdir()} == {
        "by_site.png",
        "overlays.png",
        "worst_and_best.png",
    }


@pytest.mark.slow
def test_the_prostate_configuration_runs_on_folders_of_six_sites(tmp_path):
    rng = np.random.default_rng(0)
    organ = np.zeros((16, 16, 3), np.uint8)
    organ[5:11, 4:10, :2] = 1
    for site in ("RUNMC", "BMC", "I2CVB", "UCL", "BIDMC", "HK"):
        mask = "Segmentation" if site == "BMC" else "segmentation"
        folder = tmp_path / "sets" / site
        folder.mkdir(parents=True)
        for case in (0, 2):
            scan = rng.normal(400.0 * organ, 99).astype(np.float32)
            for name, voxels in {"": scan, f"_{mask}": organ}.items():
                image = nib.Nifti1Image(voxels, np.diag([0.5, 0.5, 3, 1]))
                nib.save(image, folder / f"Case{case:02}{name}.nii.gz")
    code = main(
        [
            "segment",
            "--config=configs/segment_prostate.py:smoke",
            f"--workdir={tmp_path / 'run'}",
            f"--config.data.path={tmp_path / 'sets'}",
            "--config.protocol.unseen=I2CVB",
            "--config.patches.batch=4",
        ]
    )
    assert code == 0
    rows = read_json(tmp_path / "run" / "summary.json")["rows"]
    assert [row["trained"] for row in rows if row["site"] == "I2CVB"] == [
        *("teacher", "alone", "distilled")
    ]


def test_the_same_run_again_makes_nothing_anew_and_takes_up_more(done):
    workdir, rows = done
    before = {name: listing(workdir / name) for name in KEEPS}
    more = {"gram": {"losses.gram.weight": 1.0}}
    config = override(small(), {"protocol": {"students": variants(more).to_dict()}})
    again = job.run(config, workdir, **SILENT)
    for name in KEEPS:
        after = listing(workdir / name)
        assert {k: v for k, v in after.items() if k in before[name]} == before[name]
    assert [row["trained"] for row in again][::2] == [
        *("teacher", "alone", "distilled", "gram", "chosen")
    ]
    kept = [{k: row[k] for k in ("dice", "hd95")} for row in rows]
    assert [{k: row[k] for k in ("dice", "hd95")} for row in again][:6] == kept


KILLING = """
import os, sys
from pathlib import Path
from tiny_segment import small
from jaxdistill.jobs.segment import job
from jaxdistill.run.checkpoint import Checkpoints
save = Checkpoints.save

def then_killed(self, step, *given):
    save(self, step, *given)
    if step == 2 and "classes" in str(self.folder):
        os.kill(os.getpid(), 9)

Checkpoints.save = then_killed
job.run(small(), Path(sys.argv[1]))
"""


def test_a_run_killed_in_a_class_ends_at_the_same_bits(done, tmp_path):
    whole, _ = done
    command = [sys.executable, "-c", KILLING, str(tmp_path / "run")]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    killed = subprocess.run(command, env=env, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "run" / "summary.json").exists()
    job.run(small(), tmp_path / "run", **SILENT)
    for kind in ("models", "scores"):
        names = listing(tmp_path / "run" / kind)
        assert {n: listing(whole / kind)[n] for n in names} == names
    (teacher,) = (tmp_path / "run" / "teachers").glob("*/network.safetensors")
    same = whole / teacher.relative_to(tmp_path / "run")
    assert teacher.read_bytes() == same.read_bytes()


@pytest.mark.parametrize("kind", ["models", "scores"])
def test_a_flipped_bit_is_noticed_and_made_again(done, tmp_path, capsys, kind):
    whole, _ = done
    workdir = shutil.copytree(whole, tmp_path / "run")
    file = sorted((workdir / kind).iterdir())[0]
    before = file.read_bytes()
    place = before.rindex(b"0.") + 3 if kind == "scores" else len(before) - 20
    file.write_bytes(before[:place] + bytes([before[place] ^ 1]) + before[place + 1 :])
    job.run(small(), workdir, **SILENT)
    assert f"{file} is damaged" in capsys.readouterr().err
    assert file.read_bytes() == before
    assert file.with_name(f"{file.name}.aside").exists()


def test_another_setting_is_not_that_folders_run(done):
    workdir, _ = done
    config = override(small(), {"learning": {"lr": 0.5}})
    with pytest.raises(InputError, match=r"holds another run, with learning\.lr"):
        job.run(config, workdir, **SILENT)


def test_the_students_program_runs_with_jax_alone(done, tmp_path):
    workdir, _ = done
    model = load_model(workdir / "student.safetensors")
    images = np.random.default_rng(0).random((3, 32, 32, 1)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, jax, numpy as np\n"
        f"program = jax.export.deserialize(open({str(workdir / 'student.stablehlo')!r},"
        " 'rb').read())\n"
        "out = program.call(np.load('images.npy'))\n"
        "assert not [m for m in sys.modules if m.startswith(('jaxdistill', 'flax'))]\n"
        "assert set(program.platforms) == {'cpu', 'cuda', 'tpu'}\n"
        "np.save('out.npy', out)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    logits = model.network.apply(model.params, jax.numpy.asarray(images))
    within = 1e-4 * float(abs(logits).max())
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), logits, atol=within)


def test_masks_come_back_where_their_volumes_lie(done, tmp_path, capsys):
    workdir, _ = done
    affine = np.diag([-0.6, 0.7, 3.0, 1.0])
    affine[:3, 3] = (40, -3, 8)
    voxels = np.random.default_rng(1).normal(size=(30, 26, 5)).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "scan.nii.gz")
    (tmp_path / "odd.nii.gz").write_bytes(b"nothing")
    model = str(workdir / "student.safetensors")
    files = [str(tmp_path / name) for name in ("scan.nii.gz", "odd.nii.gz")]
    status = main(["segment-predict", model, *files, "--out", str(tmp_path / "masks")])
    told = capsys.readouterr()
    assert status == 2
    assert "1 of 2 cases have no mask" in told.err
    assert "odd.nii.gz" in told.err
    mask = nib.load(tmp_path / "masks" / "scan.nii.gz")
    assert mask.shape == voxels.shape
    given = nib.load(tmp_path / "scan.nii.gz")
    np.testing.assert_array_equal(mask.affine, given.affine)
    np.testing.assert_allclose(mask.header.get_zooms(), (0.6, 0.7, 3.0), rtol=1e-6)
    assert set(np.unique(mask.dataobj)) <= {0, 1}
    assert not (tmp_path / "masks" / "odd.nii.gz").exists()


@pytest.mark.parametrize("silent", [{"distilled"}, {"teacher", "alone", "distilled"}])
def test_networks_without_finite_answers_cost_themselves_alone(
    done, tmp_path, monkeypatch, silent
):
    def heard(room, config, seat, one):
        if one.name in silent:
            raise Diverged("logits of slice 0 are no finite numbers")
        return score(room, config, seat, one)

    workdir = shutil.copytree(done[0], tmp_path / "run")
    shutil.rmtree(workdir / "scores")
    monkeypatch.setattr(folds, "score", heard)
    rows = job.run(small(), workdir, **SILENT)
    everyone = {"teacher", "alone", "distilled"}
    assert {row["trained"] for row in rows} == everyone - silent
    summary = read_json(workdir / "summary.json")
    assert {at.split(",")[0] for at in summary["failed"]} == silent
    assert all("no finite numbers" in why for why in summary["failed"].values())
    assert len(summary["scores"]) == len(everyone - silent)


def test_other_masks_are_other_data(done, monkeypatch):
    workdir, _ = done

    def corrected(config):
        pool = build_sites(config)
        first, *others = pool.cases
        mask = first.mask.copy()
        mask[0, 0, 0] = 1 - mask[0, 0, 0]
        return dataclasses.replace(
            pool, cases=(dataclasses.replace(first, mask=mask), *others)
        )

    monkeypatch.setattr(job.build, "build_sites", corrected)
    with pytest.raises(InputError, match="begun on other data, with cases_of_"):
        job.run(small(), workdir, **SILENT)


def test_a_mask_that_is_missed_is_counted_through_its_file(tmp_path):
    """JSON has no infinity; a class that is not there and is found is no miss."""
    truth = np.zeros((1, 8, 8), np.uint8)
    truth[0, 2:5, 2:5] = 1
    nobody, both = np.zeros_like(truth), truth + 2 * (truth == 0)
    for told, mask, missed in (
        ("missed", nobody, 1.0),
        ("found", truth, 0.0),
        ("beside", both, 0.0),
    ):
        found = segmentation_scores(mask, truth, (1.0, 1.0, 1.0), 3, 1.0)
        by_case = {m: [float(v) for v in found[m]] for m in METRICS}
        file = tmp_path / f"{told}.json"
        write_json(file, {"test": {"case": by_case}})
        read = means(read_record(file, "test"), "test")
        assert read["missed"] == missed
        # A class that the case has not counts nowhere, in no metric.
        assert read["nsd"] == (0.0 if told == "missed" else 1.0)


def test_a_site_that_was_missed_gives_no_better_mean():
    def scores(hd95, dice):
        told = dict.fromkeys((*METRICS, "missed", VALIDATED), 0.5)
        missed = 0.0 if math.isfinite(hd95) else 3.0
        return told | {"hd95": hd95, "dice": dice, "missed": missed}

    found = {
        ("alone", "A", 0): scores(30.0, 0.5),
        ("alone", "B", 0): scores(2.0, 0.9),
        ("distilled", "A", 0): scores(math.nan, 0.0),
        ("distilled", "B", 0): scores(2.0, 0.9),
    }
    rows = tables.rows_of(("alone", "distilled"), ("A", "B"), (0,), found, {})
    means_of = {r["trained"]: r for r in rows if r["site"] == tables.MEAN}
    assert means_of["alone"]["hd95"]["mean"] == 16.0
    assert means_of["distilled"]["hd95"]["n"] == 0
    told = tables.as_markdown(rows, {}, found, {})
    assert "masks missed" in told.splitlines()[0]
    assert "| distilled | 0.450 (1) | 0.500 (1) | –" in " ".join(told.split())


def test_a_file_is_predicted_as_the_same_case_was_judged(done, tmp_path):
    """In the frame of the run, however small it is: norms see all of it."""
    workdir, _ = done
    model = load_model(workdir / "student.safetensors")
    wide = model._replace(facts={**model.facts, "shape": (48, 40)})
    pool = prostate_phantom(size=32, slices=6, cases=2)
    case = pool.cases[0]
    planes = planes_of(case, (48, 40), 0)
    want = predict((model.network,), (model.params,), planes, batch=8)
    want = restore(masks_of(want), case)
    np.testing.assert_array_equal(predicted(wide, case, Way()), want)
    larger = model._replace(facts={**model.facts, "shape": (8, 8)})
    np.testing.assert_array_equal(
        predicted(larger, case, Way()), predicted(model, case, Way())
    )


def test_masks_have_the_values_that_training_masks_had(done, tmp_path):
    workdir, _ = done
    model = load_model(workdir / "student.safetensors")
    assert model.facts["values"] == [0, 1]
    scan = nib.Nifti1Image(np.ones((8, 8, 2), np.int16), np.eye(4))
    nib.save(scan, tmp_path / "scan.nii.gz")
    case = opened([tmp_path / "scan.nii.gz"], {**model.facts, "values": [0, 5]})
    write_mask(tmp_path / "out.nii.gz", np.ones((2, 8, 8), np.uint8), case.origin)
    assert set(np.unique(nib.load(tmp_path / "out.nii.gz").dataobj)) == {5}


def test_modalities_of_a_case_are_looked_at_together(tmp_path):
    """A mask a case, by nnU-Net's names; a case that lacks one is told."""
    rng = np.random.default_rng(0)
    settings = {"name": "unet", "width": 4, "depth": 3}
    network = build_segmenter(channels=2, classes=2, **settings)
    told = {"network": settings, "channels": 2, "classes": 2, "class_names": ["a", "b"]}
    params = network.init(jax.random.key(0))
    write_weights(tmp_path / "two.safetensors", params, told)
    for name in ("a_0000", "a_0001", "b_0001", "b_0000", "c_0000"):
        scan = nib.Nifti1Image(rng.normal(size=(8, 12, 2)), np.eye(4))
        nib.save(scan, tmp_path / f"{name}.nii.gz")
    files = sorted(tmp_path.glob("*.nii.gz"))
    out = tmp_path / "masks"
    with pytest.raises(InputError, match=r"1 of 3 cases.*c_0000.* has 1 channel, but"):
        predicting(tmp_path / "two.safetensors", files, out, Way(), **SILENT)
    assert sorted(p.name for p in out.iterdir()) == ["a.nii.gz", "b.nii.gz"]
    case = opened(files[:2], told)
    both = [open_case(file).image[..., 0] for file in files[:2]]
    np.testing.assert_array_equal(case.image, np.stack(both, axis=-1))
    for given, rule in (
        ([files[1]], r"the modalities of .* are a_0001\.nii\.gz: number them"),
        ([files[0], files[0]], r"a_0000\.nii\.gz is given twice"),
    ):
        with pytest.raises(InputError, match=rule):
            predicting(tmp_path / "two.safetensors", given, out, Way(), **SILENT)


def test_pictures_of_a_case_are_looked_at_together(tmp_path):
    """Two of one channel each, for a network of two; DICOM has no suffix to take."""
    rng = np.random.default_rng(0)
    settings = {"name": "unet", "width": 4, "depth": 3}
    network = build_segmenter(channels=2, classes=2, **settings)
    told = {"network": settings, "channels": 2, "classes": 2, "class_names": ["a", "b"]}
    told["data"] = {"channels": 1}
    write_weights(tmp_path / "two", network.init(jax.random.key(0)), told)
    for name in ("1.2.7_0000", "1.2.7_0001", "1.2.8_0000"):
        pixels = rng.integers(0, 255, (8, 12), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    files = sorted(tmp_path.glob("*.png"))
    with pytest.raises(InputError, match=r"1 of 2 cases.*1\.2\.8_0000.* has 1 channel"):
        predicting(tmp_path / "two", files, tmp_path / "out", Way(), **SILENT)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["1.2.7.png"]


@pytest.mark.parametrize(
    ("told", "rule"),
    [
        ({"shape": [10**9, 32]}, "facts.shape"),
        ({"shape": [30, 32]}, "multiples of"),
        ({"shape": [32]}, "facts.shape"),
        ({"values": [0]}, "facts.values"),
        ({"values": [0, 2**40]}, "facts.values"),
    ],
)
def test_facts_that_cannot_be_are_refused(done, tmp_path, told, rule):
    workdir, _ = done
    model = load_model(workdir / "student.safetensors")
    write_weights(tmp_path / "odd.safetensors", model.params, {**model.facts, **told})
    with pytest.raises(InputError, match=rule):
        load_model(tmp_path / "odd.safetensors")


def test_a_folder_keeps_the_frame_that_it_was_begun_with(done, tmp_path):
    workdir = shutil.copytree(done[0], tmp_path / "run")
    deep = variants({"deep": {"student.depth": 7, "patches.patch": 64}}).to_dict()
    config = override(small(), {"protocol": {"students": deep}})
    kept = read_json(workdir / "frame.json")["shape"]
    with pytest.raises(InputError, match="begin another work folder"):
        job.run(config, workdir, **SILENT)
    assert read_json(workdir / "frame.json")["shape"] == kept


def test_a_student_under_another_name_is_not_trained_again(done, tmp_path):
    workdir = shutil.copytree(done[0], tmp_path / "run")
    before = {name: listing(workdir / name) for name in KEEPS}
    config = override(small(), {"protocol": {"students": {"twin": {}}}})
    rows = job.run(config, workdir, **SILENT)
    assert {name: listing(workdir / name) for name in KEEPS} == before
    dice = {row["trained"]: row["dice"] for row in rows}
    assert dice["twin"] == dice["distilled"] != dice["alone"]


def test_validation_chooses_a_student_for_each_site_and_seed():
    """Whatever it does on the site left out, and however good the teachers are."""
    told = {
        ("A", 0): {"teacher": 9, "alone": 1, "distilled": 3, "gram": 2},
        ("B", 0): {"teacher_gram": 9, "alone": 5, "distilled": 4, "gram": 4},
    }
    empty = dict.fromkeys(tables.METRICS, 0.0)
    scores = {
        (name, *seat): empty | {"dice": 1 / value, VALIDATED: value}
        for seat, values in told.items()
        for name, value in values.items()
    }
    assert tables.choices(scores) == {("A", 0): "distilled", ("B", 0): "alone"}
    rows = tables.rows_of(("alone", "distilled", "gram"), ("A", "B"), (0,), scores, {})
    chosen = {row["site"]: row for row in rows if row["trained"] == "chosen"}
    assert chosen["mean"]["dice"]["mean"] == pytest.approx((1 / 3 + 1 / 5) / 2)
    assert chosen["A"]["gain"]["mean"] == pytest.approx(1 / 3 - 1)
    table = tables.as_markdown(rows, {}, scores, {})
    assert "* chosen by Dice on validation: distilled (1), alone (1)" in table
    few = {place: found for place, found in scores.items() if place[0] != "gram"}
    assert tables.choices(few) == {}


def test_validation_of_the_student_alone_chooses_everybodys_rate(done, tmp_path):
    folder, said = tmp_path / "run", []
    shutil.copytree(done[0], folder)
    job.run(small(protocol={"rates": (0.1, 2e-3)}), folder, say=said.append)
    told = read_json(folder / "summary.json")
    rate = told["rates"]["S2_seed0"]
    assert list(map(float, rate["dice"])) == [2e-3, 0.1]
    assert rate["dice"][str(rate["chosen"])] == max(rate["dice"].values())
    held = [line.split(": ")[1] for line in said if line.startswith("class")]
    assert held == ["alone"] + ["distilled"] * (rate["chosen"] == 0.1)
    alone = next(run for run in told["runs"] if run["trained"] == "alone")
    assert alone[VALIDATED] == pytest.approx(rate["dice"][str(rate["chosen"])])
    assert f"rate of S2_seed0: {rate['chosen']:g}" in (folder / "table.md").read_text()
    end = "highest" if rate["chosen"] == 0.1 else "lowest"
    assert any(line.startswith(f"note: the {end} rate is the best") for line in said)


def test_a_rate_that_diverges_is_not_chosen(done, tmp_path, monkeypatch):
    learned = folds.class_of

    def some(room, seat, group, taught_by):
        if group[0].config["learning"]["lr"] == 1.0:
            raise Diverged("loss is nan at step 1")
        return learned(room, seat, group, taught_by)

    monkeypatch.setattr(folds, "class_of", some)
    folder = tmp_path / "run"
    shutil.copytree(done[0], folder)
    job.run(small(protocol={"rates": (1.0, 2e-3)}), folder, **SILENT)
    told = read_json(folder / "summary.json")
    assert told["rates"]["S2_seed0"]["chosen"] == 2e-3
    assert told["rates"]["S2_seed0"]["failed"] == [1.0]
    assert "1: failed" in (folder / "table.md").read_text()


def test_a_class_that_ended_hands_over_what_is_missing(done, tmp_path):
    """Its checkpoint is whole: nobody is trained again, alone or in another class."""
    workdir = shutil.copytree(done[0], tmp_path / "run")
    gone = sorted((workdir / "models").glob("*alone*"))[0]
    before = gone.read_bytes()
    gone.unlink()
    classes = listing(workdir / "classes")
    job.run(small(), workdir, **SILENT)
    assert gone.read_bytes() == before
    assert listing(workdir / "classes").keys() == classes.keys()


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        (["--window", "6"], "window=6 must be a multiple of 4"),
        (["--out", "here"], "holds scan.nii.gz itself"),
    ],
)
def test_what_cannot_be_predicted_is_refused(done, tmp_path, monkeypatch, flags, rule):
    workdir, _ = done
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    nib.save(
        nib.Nifti1Image(np.ones((8, 8, 2), np.int16), np.eye(4)), "here/scan.nii.gz"
    )
    model = str(workdir / "student.safetensors")
    given = [model, "here/scan.nii.gz", "--out", "out", *flags]
    with pytest.raises(InputError, match=rule):
        segmenting("segment-predict", given)


def test_files_that_are_no_model_are_refused(done, tmp_path):
    from safetensors.numpy import save_file

    (tmp_path / "text.safetensors").write_text("no")
    save_file({"x": np.zeros(3)}, tmp_path / "bare.safetensors")
    for name, rule in (
        ("none.safetensors", "is no file"),
        ("text.safetensors", "cannot be read as safetensors"),
        ("bare.safetensors", "does not say which network"),
    ):
        with pytest.raises(InputError, match=rule):
            load_model(tmp_path / name)


def test_variants_name_losses_that_they_have_alone():
    config = resolve(
        override(
            small(),
            {
                "protocol": {
                    "students": {
                        "logits": {"losses": {"logits": {"weight": 2.0}}},
                        "wide": {"student": {"width": 8}},
                    }
                }
            },
        )
    )
    pool = prostate_phantom(size=32, slices=6, cases=2)
    found = {p.name: p.config for p in plan(config, pool).pupils}
    weights = {
        name: {k: v["weight"] for k, v in c["losses"].items() if v["weight"]}
        for name, c in found.items()
    }
    usual = {"logits": 0.1, "gram": 0.9, "affinity": 0.9}
    assert weights == {
        "alone": {},
        "distilled": usual,
        "logits": {"logits": 2.0},
        "wide": usual,
    }
    digests = {p.name: p.digest for p in plan(config, pool).pupils}
    assert len(set(digests.values())) == 4
    other = resolve(override(config, {"teacher": {"width": 8}}))
    changed = {p.name: p.digest for p in plan(other, pool).pupils}
    assert changed["alone"] == digests["alone"]  # it listens to no teacher
    assert changed["distilled"] != digests["distilled"]


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"protocol": {"unseen": "S9"}}, r"protocol\.unseen='S9' is not known"),
        (
            {"protocol": {"students": {"a b": {}}}},
            "names 'a b', which must serve as a file name",
        ),
        (
            {"protocol": {"students": {"alone": {}}}},
            "another row of the table",
        ),
        (
            {"protocol": {"students": {"x": {"data": {"seed": 3}}}}},
            r"protocol\.students\.x\.data\.seed would make the comparison unfair",
        ),
        (
            {"protocol": {"students": {"teacher_x": {"student": {"width": 8}}}}},
            "has the name of a teacher's row",
        ),
        (
            {"losses": {k: {"weight": 0.0} for k in ("logits", "gram", "affinity")}},
            "losses have no weight at all",
        ),
    ],
)
def test_plans_that_cannot_be_are_refused(values, rule):
    pool = prostate_phantom(size=32, slices=6, cases=2)
    with pytest.raises(InputError, match=rule):
        plan(resolve(override(small(), values)), pool)


def test_a_site_with_the_name_of_the_row_of_means_is_refused():
    pool = prostate_phantom(size=32, slices=6, cases=2)
    cases = [dataclasses.replace(case, site="mean") for case in pool.cases]
    named = dataclasses.replace(pool, cases=tuple(cases))
    with pytest.raises(InputError, match="a site is called 'mean'"):
        plan(resolve(small(protocol={"unseen": "mean"})), named)


def test_teachers_that_diverge_end_only_those_who_listen(tmp_path, monkeypatch):
    tutors, said = folds.tutors, []

    def some(room, config, seat):
        if config["teachers"]["each"] == "site":
            raise Diverged("the loss is nan")
        return tutors(room, config, seat)

    monkeypatch.setattr(folds, "tutors", some)
    by_site = {"teachers.each": "site", "losses.logits.weight": 1.0}
    students = variants({"lost": by_site, "later": {"losses.gram.weight": 1.0}})
    config = small(protocol={"students": students.to_dict()})
    rows = job.run(config, tmp_path, said.append)
    names = ["teacher", "alone", "distilled", "later", "chosen"]
    assert [row["trained"] for row in rows if row["site"] == "mean"] == names
    reasons = read_json(tmp_path / "summary.json")["failed"]
    assert reasons == {
        "teacher_lost, S2 left out, seed 0": "the loss is nan",
        "lost, S2 left out, seed 0": "its teacher's training failed",
    }


def test_a_drawn_mask_is_never_replaced(done, tmp_path):
    workdir, _ = done
    model, out = workdir / "student.safetensors", tmp_path / "masks"
    scan = nib.Nifti1Image(np.ones((8, 8, 2), np.int16), np.eye(4))
    nib.save(scan, tmp_path / "a.nii.gz")
    for _ in range(2):  # what was predicted may be predicted again
        (written,) = predicting(model, [tmp_path / "a.nii.gz"], out, Way(), **SILENT)
    nib.save(nib.Nifti1Image(np.ones((8, 8, 2), np.uint8), np.eye(4)), written)
    drawn = written.read_bytes()
    with pytest.raises(
        InputError, match="does not tell that this command predicted it"
    ):
        predicting(model, [tmp_path / "a.nii.gz"], out, Way(), **SILENT)
    assert written.read_bytes() == drawn
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "p.png")
    assert not is_ours(tmp_path / "p.png")
    write_mask(tmp_path / "p.png", np.ones((1, 8, 8), np.uint8), Origin("p", (8, 8)))
    assert is_ours(tmp_path / "p.png")
