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
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxdistill import networks
from jaxdistill.distillation.mosaic import decode, require_factor
from jaxdistill.engine.schedule import Schedule, follow
from jaxdistill.errors import InputError
from jaxdistill.foreign import Field, as_record, parse_json
from jaxdistill.foreign.arrays import Header, fit, require_finite
from jaxdistill.ranges import Each, Filled, Range, Seed
from jaxdistill.sharing.packing import Packed, unpack
from jaxdistill.types import Logits, Network, Params, Standard, Synthetic

FORMAT = 1
PROBES = 8  # images
TOLERANCE = 1e-3  # of the largest logit, between devices and versions
MOST_STEPS = 100_000  # of training
MOST_PARAMETERS = 1 << 27
PLAIN = ("mosaic", "class_names", "made")  # fields that JSON holds
REMEDY = "fetch it again, or ask for a new parcel"
FIELDS = {
    "pixels": Field("m h w c", "fu"),
    "affine": Field("r? 2"),
    "logits": Field("m k"),
    "rates": Field("epochs steps"),
    "standard": Field("2 c"),
    "expected": Field("p k"),
    "about": Field("bytes", "u"),
}
ARRAYS = tuple(FIELDS)[:-1]


class Net(NamedTuple):
    """Which network, and where its training starts."""

    name: Annotated[str, Filled(), "which one"]
    settings: Annotated[dict, "of it"]
    image_shape: Annotated[
        tuple[int, int, int], Each(Range(1, 4096), int), "height, width, channels"
    ]
    classes: Annotated[int, Range(2, 10_000), "that it tells apart"]
    seed: Annotated[Seed, "of the start"]


class About(NamedTuple):
    """What a parcel says beside its arrays; it has no say in how it is checked."""

    mosaic: Annotated[int, Range(1, 64), "k: an image holds k x k"]
    made: Annotated[dict, "the device and the versions of the sender"]
    class_names: Annotated[tuple, "of the classes"]


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


class Match(NamedTuple):
    """How near two networks answer to the probe."""

    same_bits: bool
    apart: float  # greatest difference, as a share of the greatest logit
    same_classes: bool

    def passes(self) -> bool:
        """Whether the two are taken for one network."""
        return self.apart <= TOLERANCE and self.same_classes


def network_of(net: Net) -> Network:
    """The network that a parcel names; `InputError` for one that this version lacks."""
    reserved = {"image_shape", "classes", "name"} & set(net.settings)
    if reserved:
        raise InputError(f"network.{min(reserved)} is no setting of a network")
    return networks.build(net.name, net.image_shape, net.classes, **net.settings)


def require_small(net: Net) -> None:
    """`InputError` for a network that a parcel of images could hardly train."""
    like = jax.eval_shape(network_of(net).init, jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(like))
    if count > MOST_PARAMETERS:
        raise InputError(
            f"it has {count:,} parameters; at most {MOST_PARAMETERS:,} are trained"
        )


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
    """The parcel with what its network answers here, and that network.

    Raises `InputError` for whitened inputs, which a parcel has no room to tell of.
    """
    if parcel.standard.whitening is not None:
        raise InputError(
            "the parcel's inputs are whitened, and its file tells a mean and a "
            "deviation alone: distil without data.zca"
        )
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

    Raises `InputError` for other arrays, a newer format, changed contents, and values
    that make no sense, alone or together.
    """
    about = _read_about(arrays, said)
    if about.pop("checksum", "") != _checksum(arrays, about):
        raise InputError(
            f"{said} is not as it was packed, its checksum differs: fetch it again"
        )
    fit(said, {n: Header(a.dtype, a.shape) for n, a in arrays.items()}, FIELDS, REMEDY)
    for name in ARRAYS:
        require_finite(said, name, arrays[name], REMEDY)
    try:
        made = _parcel(arrays, about)
        _require_whole(made)
    except InputError as error:
        raise InputError(f"{said} is no sound parcel, as {error}: {REMEDY}") from error
    return made


def _parcel(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Parcel:
    rest = as_record(About, about, "about")
    mean, std = arrays["standard"]
    return Parcel(
        net=as_record(Net, about.get("net"), "net"),
        pixels=Packed(arrays["pixels"], arrays["affine"]),
        logits=arrays["logits"],
        rates=arrays["rates"],
        schedule=as_record(Schedule, about.get("schedule"), "schedule"),
        standard=Standard(jnp.asarray(mean), jnp.asarray(std)),
        expected=arrays["expected"],
        **rest._asdict(),
    )


def _require_whole(parcel: Parcel) -> None:
    """`InputError` for parts that do not belong together, or work without an end."""
    net, values = parcel.net, parcel.pixels.values
    names = parcel.class_names
    wrong = ""
    if net.image_shape != values.shape[1:]:
        wrong = f"its network takes {net.image_shape}, its images are {values.shape}"
    elif parcel.logits.shape[1] != net.classes or len(names) != net.classes:
        wrong = f"its network tells {net.classes} classes apart, its labels do not"
    elif not all(isinstance(name, str) and len(name) < 1000 for name in names):
        wrong = "its class names are no names"
    elif not all(isinstance(parcel.made.get(key), str) for key in ("device", "jax")):
        wrong = "it does not say on which device and JAX it was made"
    elif len(parcel.expected) != PROBES:
        wrong = f"it expects {len(parcel.expected)} answers to {PROBES} probes"
    elif len(parcel.pixels.affine) != (len(values) if values.dtype.kind == "u" else 0):
        wrong = "its pixels are not scaled image by image"
    elif parcel.rates.size * parcel.schedule.passes > MOST_STEPS:
        wrong = f"it asks for more than {MOST_STEPS:,} steps"
    elif len(values) * parcel.mosaic**2 % parcel.rates.shape[1]:
        wrong = "its steps do not divide its images"
    elif not (np.asarray(parcel.standard.std) > 0).all():
        wrong = "its pixels have a deviation of 0 or less"
    if wrong:
        raise InputError(wrong)
    require_factor(parcel.mosaic, net.image_shape)


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
        about = parse_json(arrays["about"].tobytes(), said)
        ours, version = about["parcel"] == "jaxdistill", int(about["format"])
    except (KeyError, TypeError, ValueError, OverflowError):
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
