"""What trained segmenters are worth: scores by case, size, and seconds a slice.

workdir/scores/FOLD_seedS_NAME_DIGEST.json    by case of the site left out, and of
                                              validation
workdir/models/FOLD_seedS_NAME_DIGEST.safetensors
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill.data.slices import planes_of, restore
from jaxdistill.evaluation.segmentation import segmentation_scores
from jaxdistill.jobs.segment.lessons import Room, Seat, Tutors
from jaxdistill.jobs.settings import build_segmentation as build
from jaxdistill.networks.counts import flops, parameters
from jaxdistill.run.files import read_record, write_json
from jaxdistill.run.kept import made_once
from jaxdistill.segmentation.inference import masks_of, predict
from jaxdistill.types import Case

METRICS = ("dice", "hd95", "assd", "iou", "nsd", "volume_difference")
VALIDATED = "validation_dice"
PARTS = ("test", "val")

Config = Mapping[str, Any]


class Judged(NamedTuple):
    """Who is judged: one network, or several that speak together."""

    name: str
    digest: str
    networks: Tutors

    def file(self, room: Room, seat: Seat, folder: str, suffix: str) -> Path:
        """Where something of it lies, also where it was made under another name."""
        home = room.folder / folder
        own = home / f"{seat.name}_{self.name}_{self.digest}{suffix}"
        others = sorted(home.glob(f"{seat.name}_*_{self.digest}{suffix}"))
        return own if own.exists() or not others else others[0]


def score(room: Room, config: Config, seat: Seat, judged: Judged) -> dict[str, Any]:
    """Scores of every case of the fold; those in a file are read."""
    path = judged.file(room, seat, "scores", ".json")

    def make() -> None:
        room.say(f"scoring {seat.name} {judged.name}")
        cases = {"test": seat.fold.test, "val": seat.fold.val}
        found = {
            part: {
                case.name: _case_scores(room, config, judged.networks, case)
                for case in cases[part]
            }
            for part in PARTS
        }
        write_json(path, found)

    return made_once(path, lambda file: read_record(file, *PARTS), make)


def predicted(room: Room, config: Config, networks: Tutors, case: Case) -> np.ndarray:
    """The mask of a case, in its own shape: `d h w`, uint8."""
    planes = planes_of(case, room.shape, config["protocol"]["neighbours"])
    logits = predict(
        networks.networks, networks.params, planes, batch=config["eval"]["batch"]
    )
    return restore(masks_of(logits), case)


def costs(
    room: Room, config: Config, networks: Mapping[str, Tutors]
) -> dict[str, dict[str, Any]]:
    """Parameters, operations and seconds a slice of every network, timed in turns."""
    image = np.zeros((1, *room.shape, build.channels_of(config, room.pool)), np.float32)
    runs = {name: _runner(one, image) for name, one in networks.items()}
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for run in runs.values():
        run()  # compiles
    for _ in range(config["eval"]["latency"]):
        for name, run in runs.items():
            begun = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begun)
    return {
        name: {
            "parameters": sum(map(parameters, one.params)),
            "flops_per_slice": sum(
                flops(network, image.shape[1:]) for network in one.networks
            ),
            "seconds_per_slice": float(np.median(seconds[name])),
        }
        for name, one in networks.items()
    }


def worth(record: Mapping[str, Any]) -> dict[str, float]:
    """Means of the site left out, and Dice of validation, by which to choose."""
    return means(record, "test") | {VALIDATED: means(record, "val")["dice"]}


def means(record: Mapping[str, Any], part: str) -> dict[str, float]:
    """The mean over cases and classes of every metric, of one part of a record.

    A class that a case has not counts nowhere: it has no Dice, and its surface Dice,
    0 where something was found, is left out with it. `missed` counts the masks that
    were not found at all, which have a Dice of 0 and no distance: JSON has no infinity.
    """
    cases = record[part].values()
    told = {m: np.array([case[m] for case in cases], float) for m in METRICS}
    there = np.isfinite(told["dice"])
    found: dict[str, float] = {}
    for metric, values in told.items():
        finite = values[there & np.isfinite(values)]
        found[metric] = float(finite.mean()) if finite.size else float("nan")
    missed = there & ~np.isfinite(told["hd95"])
    return found | {"missed": float(missed.sum())}


def _case_scores(
    room: Room, config: Config, networks: Tutors, case: Case
) -> dict[str, list[float]]:
    mask = predicted(room, config, networks, case)
    found = segmentation_scores(
        mask,
        case.mask,
        case.spacing,
        classes=room.pool.classes,
        tolerance=config["eval"]["tolerance"],
    )
    return {name: [float(v) for v in found[name]] for name in METRICS}


def _runner(networks: Tutors, image: np.ndarray) -> Callable[[], Any]:
    """A call that answers when the mask of one slice is there."""
    placed = jax.device_put((networks.params, image))

    @jax.jit
    def look(params: Sequence[Any], x: Any) -> Any:
        said = [n.apply(p, x) for n, p in zip(networks.networks, params, strict=True)]
        return (sum(said[1:], said[0]) / len(said)).argmax(axis=-1)

    return lambda: jax.block_until_ready(look(*placed))
