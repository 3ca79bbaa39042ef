"""The segment-predict verb: masks of files by a trained student, where they belong.

NIfTI and what else nibabel reads get a mask of the same affine, header and shape as
their image; pictures get a PNG of class numbers. A file that cannot be used is told and
passed over; the others are not lost by it.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from jaxdistill.data.case_files import Reading, open_case
from jaxdistill.data.slices import frame, planes_of, restore
from jaxdistill.data.volumes import is_volume
from jaxdistill.data.written_masks import WRITTEN, write_mask
from jaxdistill.errors import InputError
from jaxdistill.foreign.files import expanded
from jaxdistill.jobs.segment.models import Model, load_model
from jaxdistill.run.files import moved_in
from jaxdistill.segmentation.inference import masks_of, predict
from jaxdistill.types import Case


class Way(NamedTuple):
    """How slices are looked at; see `jaxdistill.segmentation.inference.predict`."""

    window: int = 0
    overlap: float = 0.25
    batch: int = 8


def run(
    model: Path, files: Sequence[Path], out: Path, way: Way, say: Callable = print
) -> list[Path]:
    """Write a mask of every file that can be read; returns what was written.

    Raises `InputError` after the last file for those that could not.
    """
    loaded = load_model(model)
    plans = [(expanded(file), _target(expanded(out), file)) for file in files]
    _require_apart(plans)
    try:
        expanded(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out={out} cannot be made a folder ({error.strerror}): name another"
        ) from error
    written, refused = [], []
    for file, target in tqdm(plans, "predicting", unit="file", disable=None):
        try:
            case = opened(file, loaded.facts)
            mask = predicted(loaded, case, way)
            with moved_in(target) as part:
                write_mask(part, mask, case.origin)
            written.append(target)
        except InputError as error:
            refused.append(str(error))
            say(f"left out: {error}")
    if refused:
        raise InputError(
            f"{len(refused)} of {len(plans)} files have no mask, the first because "
            f"{refused[0]}"
        )
    return written


def opened(file: Path, facts: Mapping[str, Any]) -> Case:
    """A file without a mask, read as the model's training files were."""
    settings = facts.get("data", {})
    wanted = facts["channels"] // (2 * facts.get("neighbours", 0) + 1)
    known = {k: settings[k] for k in ("axis", "normalise", "size") if k in settings}
    case = open_case(file, Reading(channels=wanted, **known))
    if case.image.shape[-1] != wanted:
        raise InputError(
            f"{file} has {case.image.shape[-1]} channel, but the network was trained "
            f"on {wanted}: give it images of the kind that it knows; several "
            "modalities of one case, a file each, are predicted in Python alone"
        )
    if values := tuple(facts.get("values", ())):
        origin = case.origin._replace(values=values)
        case = dataclasses.replace(case, origin=origin)
    return case


def predicted(model: Model, case: Case, way: Way) -> np.ndarray:
    """The mask of a case, in its own shape.

    Slices are laid in the frame of those that the network was judged on, as norms take
    statistics over all of it; what is larger has its own.
    """
    own, there = frame([case], model.network.stride), model.facts.get("shape", (0, 0))
    shape = max(own[0], there[0]), max(own[1], there[1])
    planes = planes_of(case, shape, model.facts.get("neighbours", 0))
    params = (model.params,)
    logits = predict((model.network,), params, planes, **way._asdict())
    return restore(masks_of(logits), case)


def _target(out: Path, file: Path) -> Path:
    """Where the mask of a file goes: its own name, and a suffix that can be written."""
    name = file.name
    if not is_volume(name):
        return out / f"{Path(name).stem}.png"
    if name.lower().endswith(WRITTEN):
        return out / name
    return out / f"{Path(name).stem}.nii.gz"


def _require_apart(plans: Sequence[tuple[Path, Path]]) -> None:
    """`InputError` where two masks, or a mask and its image, would be one file."""
    seen: dict[Path, Path] = {}
    for file, target in plans:
        if file.exists() and target.exists() and target.samefile(file):
            raise InputError(
                f"--out={target.parent} holds {file.name} itself, which its mask would "
                "overwrite: name another folder"
            )
        if target in seen:
            raise InputError(
                f"{seen[target]} and {file} would both be written to {target}: give "
                "them names of their own, or predict them one at a time"
            )
        seen[target] = file
