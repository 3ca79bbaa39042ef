"""The compress verb: a finished run becomes one small file."""

import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill.data.prints import prints
from jaxdistill.errors import InputError
from jaxdistill.evaluation.evaluate import predict_logits
from jaxdistill.evaluation.metrics import as_probabilities, scores, summarise
from jaxdistill.foreign.files import expanded
from jaxdistill.jobs.judging.synthetic import SavedSet, load_synthetic, require_fits
from jaxdistill.jobs.settings import build
from jaxdistill.jobs.ship.regenerate import is_parcel, made_here, read_parcel
from jaxdistill.jobs.ship.report import ROWS, sizes, told
from jaxdistill.run.files import (
    read_record,
    require_writable,
    write_atomic,
    write_json,
)
from jaxdistill.run.workdir import record_at, require_inputs
from jaxdistill.sharing import shipping
from jaxdistill.sharing.packing import pack, to_float
from jaxdistill.sharing.shipping import Net, Parcel
from jaxdistill.types import Params, Pool

REPORT = "compress.json"  # beside the parcel


class Source(NamedTuple):
    """What a finished run offers for shipping."""

    config: Mapping[str, Any]
    full: Mapping[str, Any]  # scores of networks trained on the whole set
    saved: SavedSet
    pool: Pool


def compress(
    workdir: Path,
    out: Path,
    pixels: str = "float32",
    labels: str = "float32",
    say=print,
) -> dict[str, Any]:
    """Pack a run's network, judge what comes out of the parcel, write both files.

    Raises `InputError` for a run that is not finished or whose start is not fixed.
    """
    out = expanded(out)
    require_writable(out, "--out")
    if out.name == REPORT:
        raise InputError(f"--out={out} is where the report goes: name another file")
    source = open_source(expanded(workdir))
    _require_not_of_run(out, expanded(workdir))
    learned = shipping.regenerate(parcel_of(source, "float32", "float32"))
    made = shipping.sealed(parcel_of(source, pixels, labels))[0]
    _require_finite(made, pixels)
    data = to_bytes(made)
    received = read_parcel(data, str(out))  # from here on by what a receiver has
    regenerated = shipping.regenerate(received)
    report = {
        "file": out.name,
        "class_names": source.pool.class_names,
        "pixels": pixels,
        "labels": labels,
        "bytes": sizes(learned, data),
        **judged(source, learned, regenerated),
        "tolerance": shipping.TOLERANCE,
        "made": received.made,
        "workdir": workdir,
        "config": source.config,
    }
    write_atomic(out, data)
    write_json(out.parent / REPORT, report)
    say(f"\n{told(report, source.pool.class_names)}\n")
    say(f"parcel: {out}")
    say(f"report: {out.parent / REPORT}")
    return report


def open_source(workdir: Path) -> Source:
    """A finished run of one fixed start; `InputError` for any other folder."""
    record = record_at(workdir)
    for name, there in (
        ("config.json", record is not None),
        ("summary.json", (workdir / "summary.json").exists()),
    ):
        if not there:
            raise InputError(
                f"--workdir={workdir} holds no {name}: name the folder of a "
                "distillation that has ended"
            )
    assert record is not None
    config = record["config"]
    summary = read_record(workdir / "summary.json")
    _require_fixed(config, workdir)
    if not (summary.get("complete") and {"synthetic", "full"} <= set(summary)):
        raise InputError(
            f"--workdir={workdir} holds no finished distillation with scores of the "
            "whole set: let jaxdistill distill end there first"
        )
    pool = build.build_pool(config)
    require_inputs(workdir, record, prints(pool))
    file = workdir / summary["synthetic"]
    saved = load_synthetic(file)
    require_fits(saved, file, pool)
    return Source(config, summary["full"], saved, pool)


def parcel_of(source: Source, pixels: str, labels: str) -> Parcel:
    """The run's selected set as a parcel, not yet sealed."""
    config, pool, synthetic = source.config, source.pool, source.saved.synthetic
    settings = dict(config["network"])
    net = Net(
        name=settings.pop("name"),
        settings=settings,
        image_shape=pool.image_shape,
        classes=pool.classes,
        seed=config["soft_label"]["start_seed"],
    )
    return Parcel(
        net=net,
        pixels=pack(synthetic.images, pixels),
        logits=to_float(synthetic.logits, labels),
        rates=np.asarray(synthetic.lr),
        schedule=build.own_schedule(config),
        mosaic=config["mosaic"],
        standard=source.saved.standard,
        class_names=pool.class_names,
        made=made_here(),
        expected=np.zeros((0, pool.classes), np.float32),
    )


def to_bytes(parcel: Parcel) -> bytes:
    """The file of a parcel: a compressed npz."""
    file = io.BytesIO()
    np.savez_compressed(file, **shipping.to_arrays(parcel))  # type: ignore[arg-type]
    return file.getvalue()


def judged(source: Source, learned: Params, regenerated: Params) -> dict[str, Any]:
    """Test scores of both networks, and the share of images they call alike."""
    pool = source.pool
    network = build.build_network(source.config, pool)
    run = jax.jit(partial(predict_logits, network))
    both = [
        as_probabilities(np.asarray(run(params, pool.test)))
        for params in (learned, regenerated)
    ]
    labels = np.asarray(pool.test.labels)
    found = [source.full, *(summarise([scores(p, labels)]) for p in both)]
    alike = np.mean(both[0].argmax(axis=1) == both[1].argmax(axis=1))
    return {"scores": dict(zip(ROWS, found, strict=True)), "agreement": float(alike)}


def _require_not_of_run(out: Path, workdir: Path) -> None:
    """`InputError` where the parcel would take the place of a file of the run."""
    inside = out.absolute().is_relative_to(workdir.absolute())
    if out.exists() and inside and not is_parcel(out):
        raise InputError(
            f"--out={out} is a file of the run itself, which the parcel would "
            "overwrite: name another file"
        )


def _require_finite(parcel: Parcel, pixels: str) -> None:
    if not np.isfinite(parcel.expected).all():
        raise InputError(
            f"--pixels={pixels} gives a network whose answers are not finite: choose "
            "finer pixels, or distil with a lower init.lr"
        )


def _require_fixed(config: Mapping[str, Any], workdir: Path) -> None:
    """`InputError` unless one start and one set make the network."""
    method = config.get("method")
    start = config.get("soft_label", {}).get("start")
    if method != "soft_label" or start != "fixed":
        named = f" and soft_label.start={start}" if start else ""
        raise InputError(
            f"--workdir={workdir} was distilled with method={method}{named}, which "
            "makes no one network: compress needs soft_label from a fixed start"
        )
    if config.get("data", {}).get("zca"):
        raise InputError(
            f"--workdir={workdir} has data.zca=True, whose whitening outweighs the "
            "network: distil with data.zca=False"
        )
