"""The segment-predict verb: masks of files by a trained student, where they belong.

NIfTI and what else nibabel reads get a mask of the same affine, header and shape as
their image; pictures get a PNG of class numbers. Where a network looks at several
modalities, a case is as many files, `NAME_0000`, `NAME_0001`, ... as nnU-Net has them.
A file that cannot be used is told and passed over; the others are not lost by it.
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

UNTOLD = dict.fromkeys((".mgh", ".mgz"), ", as no file of its kind can")


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
    told = ("axis", "normalise", "geometry", "size")
    known = {key: settings[key] for key in told if key in settings}
    each = wanted // _parts(facts, paths[0])
    case = open_case(*paths, reading=Reading(channels=each, **known))
    if (found := case.image.shape[-1]) != wanted:
        raise InputError(
            f"{paths[0]} has {found} channel{'s' * (found > 1)}, but the network was "
            f"trained on {wanted}: give it images of the kind that it knows, several "
            "modalities as files NAME_0000, NAME_0001, ..."
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


def _parts(facts: Mapping[str, Any], file: Path) -> int:
    """How many files a case has: volumes are of one channel, pictures of some."""
    each = 1 if is_volume(file.name) else facts.get("data", {}).get("channels", 1)
    return max(1, _channels(facts) // each)


def _cases(
    files: Iterable[Path], facts: Mapping[str, Any]
) -> dict[Path, tuple[Path, ...]]:
    """The files of every case, by the path that a case of one file would have.

    Raises `InputError` for a file that is given twice, and for modalities of a case
    that are not numbered from 0000 on.
    """
    found: dict[Path, dict[int | None, Path]] = {}
    known = set[Path]()
    for file in files:
        if (whole := file.resolve()) in known:
            raise InputError(f"{file} is given twice: name every file once")
        known.add(whole)
        name, number = _numbered(file, facts)
        found.setdefault(name, {})[number] = file
    for name, case in found.items():
        if set(case) not in ({None}, set(range(len(case)))):
            has = ", ".join(sorted(file.name for file in case.values()))
            raise InputError(
                f"the modalities of {name} are {has}: number them as in the training, "
                "from _0000 on"
            )
    return {
        name: tuple(case[n] for n in sorted(case, key=lambda n: n or 0))
        for name, case in found.items()
    }


def _numbered(file: Path, facts: Mapping[str, Any]) -> tuple[Path, int | None]:
    """The path that a case of one file would have, and which of several this one is."""
    start = stem(PurePosixPath(file.name))
    named = CHANNEL.fullmatch(start)
    if named is None or _parts(facts, file) < 2:
        return file, None
    return file.with_name(named[1] + file.name.removeprefix(start)), int(named[2])


def _target(out: Path, file: Path) -> Path:
    """Where the mask of a file goes: its own name, and a suffix that can be written."""
    if file.name.lower().endswith(WRITTEN):
        return out / file.name
    suffix = ".nii.gz" if is_volume(file.name) else ".png"
    return out / f"{stem(PurePosixPath(file.name))}{suffix}"


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
                f"{target} is there and does not tell that this command predicted it"
                f"{UNTOLD.get(target.suffix.lower(), '')}: name another --out, or move "
                "it away"
            )
        if (name := str(target).casefold()) in seen:
            raise InputError(
                f"{seen[name]} and {paths[0]} would both be written to {target}: "
                "give them names of their own, or predict each into an --out of its "
                "own"
            )
        seen[name] = paths[0]
