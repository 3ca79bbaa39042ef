"""Two verbs: a finished run becomes one small file, the file becomes a network."""

import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill.errors import InputError
from jaxdistill.evaluation.evaluate import predict
from jaxdistill.evaluation.metrics import scores, summarise
from jaxdistill.jobs.judging.synthetic import SavedSet, load_synthetic, require_fits
from jaxdistill.jobs.settings import build
from jaxdistill.jobs.ship.report import ROWS, side, sizes, told, verdict
from jaxdistill.run.environment import device_name, versions
from jaxdistill.run.files import load_npz, read_json, save_npz, write_atomic, write_json
from jaxdistill.sharing import shipping
from jaxdistill.sharing.packing import pack, to_float
from jaxdistill.sharing.shipping import Net, Parcel
from jaxdistill.types import Params, Pool


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
    source, out = open_source(workdir.expanduser()), out.expanduser()
    learned = shipping.regenerate(parcel_of(source, "float32", "float32"))
    data = to_bytes(shipping.sealed(parcel_of(source, pixels, labels))[0])
    received = read_parcel(data, str(out))  # from here on by what a receiver has
    regenerated = shipping.regenerate(received)
    _require_finite(received, pixels)
    report = {
        "file": out.name,
        "class_names": source.pool.class_names,
        "pixels": pixels,
        "labels": labels,
        "bytes": sizes(learned, data),
        **judged(source, learned, regenerated),
        "tolerance": received.tolerance,
        "made": received.made,
        "workdir": workdir,
        "config": source.config,
    }
    write_atomic(out, data)
    write_json(out.parent / "compress.json", report)
    say(f"\n{told(report, source.pool.class_names)}\n")
    say(f"parcel: {out}")
    say(f"report: {out.parent / 'compress.json'}")
    return report


def regenerate(file: Path, out: Path, say=print) -> dict[str, Any]:
    """Train the network of a parcel and write its weights, if it is the sender's.

    Raises `InputError`, and writes nothing, for a file that is no parcel, and where the
    network answers the probe otherwise than its sender's.
    """
    parcel = load_parcel(file)
    params = shipping.regenerate(parcel)
    found = shipping.match(parcel, shipping.fingerprint(parcel, params))
    here = made_here()
    require_match(found, parcel, here, file)
    arrays = shipping.weights(params)
    save_npz(out, **arrays)
    say(verdict(found, parcel, here))
    count = sum(array.size for array in arrays.values())
    say(f"weights: {out} ({count} parameters in {len(arrays)} arrays)")
    return {"weights": str(out), "parameters": count, **found._asdict()}


def open_source(workdir: Path) -> Source:
    """A finished run of one fixed start; `InputError` for any other folder."""
    for name in ("config.json", "summary.json"):
        if not (workdir / name).exists():
            raise InputError(
                f"--workdir={workdir} holds no {name}: name the folder of a "
                "distillation that has ended"
            )
    config = read_json(workdir / "config.json")["config"]
    summary = read_json(workdir / "summary.json")
    _require_fixed(config, workdir)
    if not (summary.get("complete") and "synthetic" in summary):
        raise InputError(
            f"--workdir={workdir} holds no finished distillation: let jaxdistill "
            "distill end there first"
        )
    pool = build.build_pool(config)
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


def made_here() -> dict[str, str]:
    """The device and the versions that can change a network's last bits."""
    found = versions()
    names = ("jax", "jaxlib", "flax", "jaxdistill")
    return {"device": device_name()} | {name: found[name] for name in names}


def to_bytes(parcel: Parcel) -> bytes:
    """The file of a parcel: a compressed npz."""
    file = io.BytesIO()
    np.savez_compressed(file, **shipping.to_arrays(parcel))  # type: ignore[arg-type]
    return file.getvalue()


def read_parcel(data: bytes, said: str) -> Parcel:
    """The parcel in the bytes of a file."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return shipping.from_arrays(dict(stored), said)


def load_parcel(file: Path) -> Parcel:
    """The parcel in a file; `InputError` for a damaged one or one of another kind."""
    parcel = shipping.from_arrays(load_npz(file), str(file))
    try:
        shipping.network_of(parcel.net)
    except InputError as error:
        raise InputError(f"{file} names a network unknown here: {error}") from error
    return parcel


def judged(source: Source, learned: Params, regenerated: Params) -> dict[str, Any]:
    """Test scores of both networks, and the share of images they call alike."""
    pool = source.pool
    network = build.build_network(source.config, pool)
    run = jax.jit(partial(predict, network))
    both = [np.asarray(run(params, pool.test)) for params in (learned, regenerated)]
    labels = np.asarray(pool.test.labels)
    found = [source.full, *(summarise([scores(p, labels)]) for p in both)]
    alike = np.mean(both[0].argmax(axis=1) == both[1].argmax(axis=1))
    return {"scores": dict(zip(ROWS, found, strict=True)), "agreement": float(alike)}


def require_match(
    found: shipping.Match, parcel: Parcel, here: Mapping[str, str], file: Path
) -> None:
    """`InputError` by how much the answers differ, and where both sides ran."""
    if found.passes(parcel.tolerance):
        return
    classes = "the same" if found.same_classes else "other"
    raise InputError(
        f"{file} gives another network here: its logits on the probe differ by "
        f"{found.apart:.2g} of the largest (allowed: {parcel.tolerance:g}) with "
        f"{classes} classes, sent from {side(parcel.made)}, regenerated on "
        f"{side(here)}: use the sender's device and versions, or ask for a new parcel"
    )


def _require_finite(parcel: Parcel, pixels: str) -> None:
    if not np.isfinite(parcel.expected).all():
        raise InputError(
            f"--pixels={pixels} gives a network whose answers are not finite: choose "
            "finer pixels, or distil with a lower init.lr"
        )


def _require_fixed(config: Mapping[str, Any], workdir: Path) -> None:
    """`InputError` unless one start and one set make the network."""
    start = config["soft_label"]["start"]
    if config["method"] != "soft_label" or start != "fixed":
        raise InputError(
            f"--workdir={workdir} was distilled with method={config['method']} and "
            f"soft_label.start={start}, which makes no one network: compress needs "
            "soft_label from a fixed start"
        )
    if config["data"].get("zca"):
        raise InputError(
            f"--workdir={workdir} has data.zca=True, whose whitening outweighs the "
            "network: distil with data.zca=False"
        )
