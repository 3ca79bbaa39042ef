"""The segment-predict verb: masks of files by a trained student, where they belong.

NIfTI and what else nibabel reads get a mask of the same affine, header and shape as
their image; pictures get a PNG of class numbers. Where a network looks at several
modalities, a case is as many volumes, `NAME_0000`, `NAME_0001`, ... as nnU-Net has
them. A file that cannot be used is told and passed over; the others are not lost by it.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from jaxdistill.data.case_files import Reading, open_case, stem
from jaxdistill.data.nnunet import CHANNEL
from jaxdistill.data.slices import frame, planes_of, restore
from jaxdistill.data.volumes import is_volume
from jaxdistill.data.written_masks import WRITTEN, is_ours, write_mask
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
    plans = [
        (case, _target(expanded(out), name))
        for name, case in _cases(map(expanded, files), loaded.facts).items()
    ]
    _require_apart(plans)
    try:
        expanded(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out={out} cannot be made a folder ({error.strerror}): name another"
        ) from error
    written, refused = [], []
    for paths, target in tqdm(plans, "predicting", unit="file", disable=None):
        try:
            case = opened(paths, loaded.facts)
            mask = predicted(loaded, case, way)
            with moved_in(target) as part:
                write_mask(part, mask, case.origin)
            written.append(target)
        except InputError as error:
            refused.append(str(error))
            say(f"left out: {error}")
    if refused:
        raise InputError(
            f"{len(refused)} of {len(plans)} cases have no mask, the first because "
            f"{refused[0]}"
        )
    return written


def opened(paths: Sequence[Path], facts: Mapping[str, Any]) -> Case:
    """A case without a mask, read as the model's training files were."""
    settings, wanted = facts.get("data", {}), _channels(facts)
    known = {k: settings[k] for k in ("axis", "normalise", "size") if k in settings}
    case = open_case(*paths, reading=Reading(channels=wanted, **known))
    if (found := case.image.shape[-1]) != wanted:
        raise InputError(
            f"{paths[0]} has {found} channel{'s' * (found > 1)}, but the network was "
            f"trained on {wanted}: give it images of the kind that it knows, several "
            "modalities as volumes NAME_0000, NAME_0001, ..."
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


def _channels(facts: Mapping[str, Any]) -> int:
    """Of one slice, without its neighbours."""
    return facts["channels"] // (2 * facts.get("neighbours", 0) + 1)


def _cases(
    files: Iterable[Path], facts: Mapping[str, Any]
) -> dict[Path, tuple[Path, ...]]:
    """The files of every case, by the path that a case of one file would have.

    Raises `InputError` for a file that is given twice, and for modalities of a case
    that are not numbered from 0000 on.
    """
    found: dict[Path, list[Path]] = {}
    known = set[Path]()
    for file in files:
        if (whole := file.resolve()) in known:
            raise InputError(f"{file} is given twice: name every file once")
        known.add(whole)
        named = CHANNEL.fullmatch(start := stem(PurePosixPath(file.name)))
        several = named and _channels(facts) > 1 and is_volume(file.name)
        rest = file.name.removeprefix(start)
        name = file.with_name(f"{named[1]}{rest}") if named and several else file
        found.setdefault(name, []).append(file)
    for name, case in found.items():
        numbers = [CHANNEL.fullmatch(stem(PurePosixPath(f.name))) for f in sorted(case)]
        told = [int(m[2]) for m in numbers if m and name not in case]
        if told != list(range(len(told))):
            has = ", ".join(f.name for f in sorted(case))
            raise InputError(
                f"the modalities of {name} are {has}: number them as in the training, "
                "from _0000 on"
            )
    return {name: tuple(sorted(case)) for name, case in found.items()}


def _target(out: Path, file: Path) -> Path:
    """Where the mask of a file goes: its own name, and a suffix that can be written."""
    name = file.name
    if not is_volume(name):
        return out / f"{Path(name).stem}.png"
    if name.lower().endswith(WRITTEN):
        return out / name
    return out / f"{Path(name).stem}.nii.gz"


def _require_apart(plans: Sequence[tuple[tuple[Path, ...], Path]]) -> None:
    """`InputError` where two masks, or a mask and its image, would be one file.

    Names that differ in case alone are one file on some disks. A mask that was not
    predicted is not replaced: somebody drew it.
    """
    seen: dict[str, Path] = {}
    for paths, target in plans:
        for file in paths:
            if file.exists() and target.exists() and target.samefile(file):
                raise InputError(
                    f"--out={target.parent} holds {file.name} itself, which its mask "
                    "would overwrite: name another folder"
                )
        if target.exists() and not is_ours(target):
            raise InputError(
                f"{target} is there and does not tell that this command predicted it: "
                "name another --out, or move it away"
            )
        if (name := str(target).casefold()) in seen:
            raise InputError(
                f"{seen[name]} and {paths[0]} would both be written to {target}: "
                "give them names of their own, or predict them one at a time"
            )
        seen[name] = paths[0]
