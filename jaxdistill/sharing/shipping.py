"""A network shipped as the few images that train it. Wang et al. 2018,
arXiv:1811.10959; as compression of models Li et al. 2022, arXiv:2209.14635.

    theta_0 = init(seed)
    theta_t = theta_{t-1} - rate_t grad CE(f(X_t; theta_{t-1}), softmax(Y_t))

From a fixed start the network is a function of the seed, the images X, the labels Y and
the rates alone (`jaxdistill.engine.schedule`): a `Parcel` holds those, and the receiver
takes the T steps. A reconstruction: what the papers ship is not known in full. Pixels
may travel in fewer bits (`jaxdistill.sharing.packing`); the network is the one of the
pixels that travel. A receiver knows it by its logits on a probe, noise that a seed
makes.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxdistill import networks
from jaxdistill.distillation.mosaic import decode
from jaxdistill.engine.schedule import Schedule, follow
from jaxdistill.errors import InputError
from jaxdistill.sharing.packing import Packed, unpack
from jaxdistill.types import Logits, Network, Params, Standard, Synthetic

FORMAT = 1
PROBES = 8  # images
TOLERANCE = 1e-3  # of the largest logit, between devices and versions
PLAIN = ("mosaic", "class_names", "made", "tolerance")  # fields that JSON holds
ARRAYS = ("pixels", "affine", "logits", "rates", "standard", "expected")


class Net(NamedTuple):
    """Which network, and where its training starts."""

    name: str
    settings: Mapping[str, Any]
    image_shape: tuple[int, int, int]
    classes: int
    seed: int


class Parcel(NamedTuple):
    """All that a receiver needs to train the network again, and to know it."""

    net: Net
    pixels: Packed
    logits: Float[np.ndarray, "m k"]
    rates: Float[np.ndarray, "epochs steps"]
    schedule: Schedule
    mosaic: int
    standard: Standard
    class_names: tuple[str, ...]
    made: Mapping[str, str]  # device and versions of the sender
    expected: Float[np.ndarray, "p k"]  # logits on the probe; none until `sealed`
    tolerance: float = TOLERANCE


class Match(NamedTuple):
    """How near two networks answer to the probe."""

    same_bits: bool
    apart: float  # greatest difference, as a share of the greatest logit
    same_classes: bool

    def passes(self, tolerance: float) -> bool:
        """Whether the two are taken for one network."""
        return self.apart <= tolerance and self.same_classes


def network_of(net: Net) -> Network:
    """The network that a parcel names; `InputError` for one that this version lacks."""
    return networks.build(net.name, net.image_shape, net.classes, **net.settings)


def regenerate(parcel: Parcel) -> Params:
    """The trained network: its start, then every step of the schedule."""
    start, train, _ = _programs(json.dumps(parcel.net), parcel.schedule)
    rates = jnp.asarray(parcel.rates)
    logits = jnp.asarray(parcel.logits.astype(np.float32))
    stored = Synthetic(jnp.asarray(unpack(parcel.pixels)), logits, rates)
    seen = decode(stored, parcel.mosaic)
    data = (seen.images, jax.nn.softmax(seen.logits))
    # Some devices multiply in fewer bits unless asked: the start of a drift.
    with jax.default_matmul_precision("float32"):
        return train(start(jax.random.key(parcel.net.seed)), data, rates)


def fingerprint(parcel: Parcel, params: Params) -> Logits:
    """What a network answers to the parcel's probe."""
    _, _, answer = _programs(json.dumps(parcel.net), parcel.schedule)
    shape = (PROBES, *parcel.net.image_shape)
    key = jax.random.fold_in(jax.random.key(parcel.net.seed), 1)
    noise = jax.random.normal(key, shape)
    with jax.default_matmul_precision("float32"):
        return answer(params, noise)


def sealed(parcel: Parcel) -> tuple[Parcel, Params]:
    """The parcel with what its network answers here, and that network."""
    params = regenerate(parcel)
    logits = np.asarray(fingerprint(parcel, params))
    return parcel._replace(expected=logits), params


def match(parcel: Parcel, found: Float[Any, "p k"]) -> Match:
    """Compare the answers to the probe with those that the parcel expects."""
    expected, found = parcel.expected, np.asarray(found)
    apart = np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30)
    return Match(
        same_bits=bool(np.array_equal(expected, found)),
        apart=float(apart) if np.isfinite(apart) else float("inf"),
        same_classes=bool((expected.argmax(1) == found.argmax(1)).all()),
    )


def weights(params: Params) -> dict[str, np.ndarray]:
    """Parameters by their paths, such as `trunk/Conv_0/kernel`."""
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in leaves
    }


def to_arrays(parcel: Parcel) -> dict[str, np.ndarray]:
    """A sealed parcel as the arrays of one file."""
    scale = np.stack([np.asarray(part) for part in parcel.standard[:2]])
    own = (parcel.logits, parcel.rates, scale, parcel.expected)
    arrays = dict(zip(ARRAYS, (*parcel.pixels, *own), strict=True))
    about: dict[str, Any] = {"parcel": "jaxdistill", "format": FORMAT}
    about |= {key: getattr(parcel, key)._asdict() for key in ("net", "schedule")}
    about |= {key: getattr(parcel, key) for key in PLAIN}
    about["checksum"] = _checksum(arrays, about)
    return arrays | {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)}


def from_arrays(arrays: Mapping[str, np.ndarray], said: str = "the parcel") -> Parcel:
    """The parcel of a file's arrays; `said` names the file in refusals.

    Raises `InputError` for other arrays, a newer format, and changed contents.
    """
    about = _read_about(arrays, said)
    if about.pop("checksum", "") != _checksum(arrays, about):
        raise InputError(
            f"{said} is not as it was packed, its checksum differs: fetch it again"
        )
    net, (mean, std) = about["net"], arrays["standard"]
    return Parcel(
        net=_net(**net),
        pixels=Packed(arrays["pixels"], arrays["affine"]),
        logits=arrays["logits"],
        rates=arrays["rates"],
        schedule=Schedule(**about["schedule"]),
        standard=Standard(jnp.asarray(mean), jnp.asarray(std)),
        expected=arrays["expected"],
        class_names=tuple(about["class_names"]),
        **{key: about[key] for key in ("mosaic", "made", "tolerance")},
    )


@lru_cache(maxsize=8)
def _programs(net: str, schedule: Schedule) -> tuple[Callable, Callable, Callable]:
    """How a network starts, trains and answers, each compiled once for its shapes."""
    network = network_of(_net(*json.loads(net)))
    return (
        network.init,
        jax.jit(partial(follow, network, schedule)),
        jax.jit(network.apply),
    )


def _net(name, settings, image_shape, classes, seed) -> Net:
    return Net(name, settings, tuple(image_shape), classes, seed)


def _read_about(arrays: Mapping[str, np.ndarray], said: str) -> dict[str, Any]:
    try:
        about = json.loads(arrays["about"].tobytes())
        ours, version = about["parcel"] == "jaxdistill", int(about["format"])
    except (KeyError, TypeError, ValueError):
        ours, version = False, 0
    if ours and version > FORMAT:
        raise InputError(
            f"{said} is a parcel of format {version}, but this jaxdistill reads up to "
            f"{FORMAT}: install a newer one"
        )
    if not ours or not set(ARRAYS) <= set(arrays):
        raise InputError(
            f"{said} is no parcel: choose a file that jaxdistill compress wrote"
        )
    return about


def _checksum(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> str:
    """SHA-256 of everything but itself."""
    found = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in ARRAYS:
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()
