"""The regenerate verb: the file of a network becomes the network again."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxdistill.errors import InputError
from jaxdistill.foreign import headers, read_npz
from jaxdistill.foreign.files import expanded
from jaxdistill.jobs.ship.report import side, verdict
from jaxdistill.run.environment import device_name, versions
from jaxdistill.run.files import require_writable, save_npz
from jaxdistill.sharing import shipping
from jaxdistill.sharing.shipping import Parcel


def regenerate(file: Path, out: Path, say=print) -> dict[str, Any]:
    """Train the network of a parcel and write its weights, if it is the sender's.

    Raises `InputError`, and writes nothing, for a file that is no parcel, and where the
    network answers the probe otherwise than its sender's.
    """
    file, out = expanded(file), expanded(out)
    require_writable(out, "--out")
    if out.exists() and file.exists() and out.samefile(file):
        raise InputError(f"--out={out} is the parcel itself: name another file")
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


def made_here() -> dict[str, str]:
    """The device and the versions that can change a network's last bits."""
    found = versions()
    names = ("jax", "jaxlib", "flax", "jaxdistill")
    return {"device": device_name()} | {name: found[name] for name in names}


def read_parcel(data: bytes, said: str) -> Parcel:
    """The parcel in the bytes of a file."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:  # our own, just now
        return shipping.from_arrays(dict(stored), said)


def load_parcel(file: Path) -> Parcel:
    """The parcel in a file; `InputError` for a damaged one or one of another kind."""
    if not is_parcel(file):
        raise InputError(
            f"{file} is no parcel: choose a file that jaxdistill compress wrote"
        )
    arrays = read_npz(file, shipping.FIELDS, remedy=shipping.REMEDY)
    parcel = shipping.from_arrays(arrays, str(file))
    try:
        shipping.require_small(parcel.net)
    except InputError as error:
        raise InputError(
            f"{file} names a network that cannot be built here: {error}"
        ) from error
    return parcel


def is_parcel(file: Path) -> bool:
    """Whether a file has the arrays of one; `InputError` where it is no npz."""
    return set(shipping.FIELDS) <= set(headers(file))


def require_match(
    found: shipping.Match, parcel: Parcel, here: Mapping[str, str], file: Path
) -> None:
    """`InputError` by how much the answers differ, and where both sides ran."""
    if found.passes():
        return
    classes = "the same" if found.same_classes else "other"
    raise InputError(
        f"{file} gives another network here: its logits on the probe differ by "
        f"{found.apart:.2g} of the largest (allowed: {shipping.TOLERANCE:g}) with "
        f"{classes} classes, sent from {side(parcel.made)}, regenerated on "
        f"{side(here)}: use the sender's device and versions, or ask for a new parcel"
    )
