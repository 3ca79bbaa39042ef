"""A tiny run of every verb that writes, and what of its folder may never change."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tiny
import tiny_segment

HERE = Path(__file__).parent
COMPARISON = HERE / "settings.py"
DM = ("--config.method=distribution", "--config.distribution.batch_real=4")
SHIPPED = (
    *("--config.method=soft_label", "--config.soft_label.start=fixed"),
    *("--config.soft_label.epochs=2", "--config.soft_label.steps=1"),
    *("--config.soft_label.batch_real=4", "--config.steps=4"),
)
FEW = (
    *("--config.eval.seeds=1", "--config.eval.final_seeds=1", "--config.eval.draws=1"),
)


class Subject(NamedTuple):
    """A verb: its arguments for a folder, its results there, and what it needs first.

    `undone` are the files without which the folder is one that was interrupted.
    """

    name: str
    arguments: Callable[[Path], list[str]]
    results: Callable[[Path], Any]
    undone: tuple[str, ...] = ("summary.json",)
    needs: str = ""  # another subject, whose folder lies beside as `from`


def _distil(*flags: str, verb: str = "distill") -> Callable[[Path], list[str]]:
    return lambda folder: tiny.command(verb, folder / "run", *flags)


def of_run(folder: Path) -> Any:
    """The sets of a distillation, its scores and the steps at which it took them."""
    told = json.loads((folder / "run" / "summary.json").read_text())
    return {
        "distilled": told["distilled"],
        "validation": told["validation"],
        "chosen": told.get("selected_step"),
        "sets": {f.name: of_npz(f) for f in (folder / "run").glob("synthetic/*.npz")},
    }


def of_experts(folder: Path) -> Any:
    """Every array of every snapshot."""
    import tensorstore

    found = {}
    for where in sorted((folder / "run").glob("**/snapshots/*/state")):
        if not where.parent.name.isdecimal():
            continue
        base = {"driver": "file", "path": f"{where}/"}
        store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
        for key in store.list().result():
            value = store.read(key).result().value
            found[f"{where.parent.name}/{key.decode()}"] = _digest(value)
    return found


def of_trajectory(folder: Path) -> Any:
    """A distillation along experts, and these."""
    return [of_run(folder), of_experts(folder)]


def of_comparison(folder: Path, run: str = "run") -> Any:
    """The scores of every row, and the sets of the cells."""
    told = json.loads((folder / run / "summary.json").read_text())
    scores = ("set", "ipc", "state", "auc", "balanced_accuracy", "accuracy", "lrs")
    cells = (folder / run).glob("cells/*/synthetic/*.npz")
    return {
        "rows": [[row.get(key) for key in scores] for row in told["rows"]],
        "sets": {str(f.relative_to(folder)): of_npz(f) for f in cells},
    }


def of_study(folder: Path) -> Any:
    """The points, and the comparisons that they come from."""
    told = json.loads((folder / "run" / "study.json").read_text())
    return [told["points"], of_comparison(folder, "run/sets/films")]


def of_prediction(folder: Path) -> Any:
    """What a study says of new data, or why it says nothing."""
    return json.loads((folder / "run" / "predict.json").read_text())["rows"]


def of_parcel(folder: Path) -> Any:
    """The arrays of a parcel, and the scores in its report."""
    told = json.loads((folder / "run" / "compress.json").read_text())
    return [of_npz(folder / "run" / "net.npz"), told["scores"], told["agreement"]]


def of_weights(folder: Path) -> Any:
    """The weights that a parcel gives."""
    return of_npz(folder / "run" / "weights.npz")


def of_segmentation(folder: Path) -> Any:
    """Scores by case and the bytes of every network."""
    told = json.loads((folder / "run" / "summary.json").read_text())
    files = [*(folder / "run").glob("models/*.safetensors")]
    files += [*(folder / "run").glob("teachers/*/*.safetensors")]
    files += [folder / "run" / "student.safetensors"]
    names = {f"{f.parent.name}/{f.name}": _digest(f.read_bytes()) for f in files}
    return {"scores": told["scores"], "networks": names}


def of_stages(folder: Path) -> Any:
    """Scores by stage and the bytes of every network."""
    told = json.loads((folder / "run" / "summary.json").read_text())
    return {"scores": told["scores"], "networks": _lessons(folder)}


def of_labels(folder: Path) -> Any:
    """The rows of a comparison at few labels, and the bytes of what it pretrained."""
    told = json.loads((folder / "run" / "summary.json").read_text())
    return {"rows": told["rows"], "networks": _lessons(folder)}


def of_backbone(folder: Path) -> Any:
    """The bytes of a pretrained backbone, and of the lesson that it comes from."""
    whole = (folder / "run" / "backbone.safetensors").read_bytes()
    return [_digest(whole), _lessons(folder)]


def of_tuned(folder: Path) -> Any:
    """The rows of a tuned backbone, and the bytes of the network that is kept."""
    told = json.loads((folder / "run" / "summary.json").read_text())
    whole = (folder / "run" / "model.safetensors").read_bytes()
    return {"rows": told["rows"], "model": _digest(whole)}


def of_masks(folder: Path) -> Any:
    """The masks of volumes."""
    import nibabel

    masks = sorted((folder / "run").glob("*.nii*"))
    return {m.name: np.asarray(nibabel.load(m).dataobj).tolist() for m in masks}


def _lessons(folder: Path) -> dict[str, str]:
    files = (folder / "run").glob("lessons/*/*.safetensors")
    return {f.parent.name: _digest(f.read_bytes()) for f in files}


def of_npz(file: Path) -> dict[str, str]:
    """The arrays of an npz by their checksums."""
    return {
        name: _digest(np.ascontiguousarray(array).tobytes() + str(array.dtype).encode())
        for name, array in tiny.arrays(file).items()
    }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _evaluate(folder: Path) -> list[str]:
    (chosen,) = (folder / "from" / "synthetic").glob("*8.npz")
    return tiny.command("evaluate", folder / "run", f"--synthetic={chosen}", *DM, *FEW)


def _compress(folder: Path) -> list[str]:
    out = folder / "run" / "net.npz"
    return ["compress", f"--workdir={folder / 'from'}", f"--out={out}"]


def _regenerate(folder: Path) -> list[str]:
    out = folder / "run" / "weights.npz"
    return ["regenerate", str(folder / "from" / "net.npz"), f"--out={out}"]


def _compare(folder: Path) -> list[str]:
    return tiny.command("compare", folder / "run", *FEW, config=COMPARISON)


def _study(folder: Path) -> list[str]:
    return tiny.command("study", folder / "run", *FEW, config=f"{COMPARISON}:study")


def _segment(folder: Path) -> list[str]:
    return tiny.command("segment", folder / "run", config=tiny_segment.__file__)


def _selftrain(folder: Path) -> list[str]:
    return tiny.command("selftrain", folder / "run", config=HERE / "selftraining.py")


def _labels(verb: str) -> Callable[[Path], list[str]]:
    config = HERE / "labelling.py"
    return lambda folder: tiny.command(verb, folder / "run", config=config)


def _finetune(folder: Path) -> list[str]:
    start = f"--config.start={folder / 'from' / 'backbone.safetensors'}"
    return [*_labels("finetune")(folder), start]


def _foretell(folder: Path) -> list[str]:
    study = f"--study={folder / 'from' / 'study.json'}"
    return tiny.command("predict", folder / "run", study, *FEW, config=COMPARISON)


def _predict(folder: Path) -> list[str]:
    model, scan = folder / "from" / "student.safetensors", folder / "scan.nii.gz"
    return ["segment-predict", str(model), str(scan), f"--out={folder / 'run'}"]


SUBJECTS = {
    one.name: one
    for one in (
        Subject("distill", _distil(*DM, *FEW), of_run),
        Subject("trajectory", _distil(*FEW), of_trajectory),
        Subject(
            "experts", _distil(verb="experts"), of_experts, ("experts/summary.json",)
        ),
        Subject("evaluate", _evaluate, of_run, needs="distill"),
        Subject("compare", _compare, of_comparison),
        Subject("study", _study, of_study, ("study.json",)),
        Subject("shipped", _distil(*SHIPPED, *FEW), of_run),
        Subject("compress", _compress, of_parcel, ("net.npz",), needs="shipped"),
        Subject("regenerate", _regenerate, of_weights, ("weights.npz",), "compress"),
        Subject("segment", _segment, of_segmentation),
        Subject("selftrain", _selftrain, of_stages),
        Subject("compare-labels", _labels("compare-labels"), of_labels),
        Subject("pretrain", _labels("pretrain"), of_backbone),
        Subject("finetune", _finetune, of_tuned, needs="pretrain"),
        Subject("predict", _foretell, of_prediction, ("predict.json",), "study"),
        Subject("segment-predict", _predict, of_masks, ("scan.nii.gz",), "segment"),
    )
}
