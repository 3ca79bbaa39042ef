"""Any Flax module that maps images to a map of logits, as a `Segmenter`."""

import inspect
from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from jaxdistill.errors import InputError, meant
from jaxdistill.networks.layers import GROUPS
from jaxdistill.types import IGNORED, Segmenter

TOLD = 12  # layers that a refusal names


def segmenter(
    module: nn.Module,
    channels: int,
    *,
    levels: tuple[str, str] | None = None,
    stride: int = 1,
    name: str = "",
) -> Segmenter:
    """The pure functions of a module from images `n h w c` to logits `n h w k`.

    Sides of images must be multiples of `stride`. `levels` are the layers that
    distillation reads, the first and the last where none are given. A module whose
    `__call__` has a keyword `train` (or `deterministic`) is told, and has dropout on
    where `tap` is given a key, from the stream "dropout". Layers are named by the
    module's own names, as in `encoder_0/Conv_1`; one that is called more than once
    gives its last features. `InputError` for modules that keep more than parameters,
    levels that are no layers, and images that do not suit.
    """
    name = name or f"{type(module).__name__}-{channels}"
    like = jax.ShapeDtypeStruct((1, 4 * stride, 4 * stride, channels), jnp.float32)
    layers = _layers(module, like, name)

    def run(params, images, names: tuple[str, ...], key):
        _require_shape(name, images.shape, channels, stride)
        _require_layers(name, names, layers)
        keep = lambda layer, method: method == "__call__" and _path(layer) in names  # noqa: E731
        logits, kept = module.apply(
            {"params": params},
            images,
            **_mode(module, key),
            capture_intermediates=keep,
            mutable=["intermediates"],
        )
        found = _features(kept)
        return logits, {layer: found[layer] for layer in names}

    @jax.jit  # without it Flax would run the forward pass only to learn shapes
    def init(key):
        return module.init(key, jnp.zeros(like.shape), **_mode(module, None))["params"]

    def apply(params, images):
        return run(params, images, (), None)[0]

    def tap(params, images, names, key=None):
        return run(params, images, tuple(names), key)

    levels = levels or (layers[0], layers[-1])
    _require_layers(name, levels, layers)
    return Segmenter(init, apply, tap, layers, levels, stride, name)


def check_segmenter(
    channels: int, classes: int, norm: str, widths: Iterable[int] = ()
) -> None:
    """Refuse what no segmenter takes, and groups that do not share the channels out."""
    for key, value, least, most in (
        ("channels", channels, 1, 2**16),
        ("classes", classes, 2, IGNORED),
    ):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not least <= value <= most:
            raise InputError(
                f"{key}={value!r} must be a whole number of {least} to {most}"
            )
    odd = [width for width in widths if norm == "group" and width % GROUPS]
    if odd:
        raise InputError(
            f"network.width makes layers of {odd[0]} channels, which {GROUPS} groups "
            "do not share: change it or network.norm='group'"
        )


def require_room(width: int, channels: int) -> None:
    """Refuse a first layer of `width` channels that the image's own would fill."""
    if width <= channels:
        raise InputError(
            f"network.width makes a first layer of {width} channels, of which the "
            f"image itself takes {channels}: choose a larger one"
        )


def _layers(module: nn.Module, like, name: str) -> tuple[str, ...]:
    """Names of all layers that give feature maps, in the order of their calls."""
    order: list[str] = []

    def keep(layer, method):
        if method == "__call__":
            order.append(_path(layer))
        return method == "__call__"

    def traced(key):
        return module.init_with_output(
            key,
            jnp.zeros(like.shape),
            **_mode(module, None),
            capture_intermediates=keep,
        )

    logits, variables = jax.eval_shape(traced, jax.random.key(0))
    others = sorted(set(variables) - {"params", "intermediates"})
    if others:
        raise InputError(
            f"{name} keeps {', '.join(others)} beside its parameters, and a segmenter "
            "is a pure function of its parameters and images: normalise over pixels or "
            "groups (GroupNorm), or by the batch at hand"
        )
    shape = getattr(logits, "shape", ())
    if len(shape) != 4 or shape[:3] != like.shape[:3]:
        raise InputError(
            f"{name} maps images {like.shape} to {shape or type(logits).__name__}, not "
            "to logits n h w k of the same height and width"
        )
    maps = {path for path, value in _features(variables).items() if _is_map(value)}
    return tuple(path for path in dict.fromkeys(order) if path in maps)


def _mode(module: nn.Module, key) -> dict[str, Any]:
    """How a module is told whether it trains, and what its dropout draws from."""
    known = inspect.signature(type(module).__call__).parameters
    told: dict[str, Any] = {}
    if "train" in known:
        told["train"] = key is not None
    if "deterministic" in known:
        told["deterministic"] = key is None
    return told if key is None else told | {"rngs": {"dropout": key}}


def _path(layer: nn.Module) -> str:
    return "/".join(layer.path)


def _features(kept) -> dict[str, Any]:
    """The last output of every layer by its path, that of the whole left out."""
    flat = flatten_dict(dict(kept.get("intermediates", {})))
    calls = {path: outs for path, outs in flat.items() if path[-1] == "__call__"}
    return {"/".join(path[:-1]): outs[-1] for path, outs in calls.items() if path[:-1]}


def _is_map(value: Any) -> bool:
    return len(getattr(value, "shape", ())) == 4


def _require_layers(name: str, names: tuple[str, ...], layers: tuple[str, ...]) -> None:
    for layer in names:
        if layer not in layers:
            some = ", ".join(layers[:TOLD]) + ", ..." * (len(layers) > TOLD)
            raise InputError(
                f"{layer!r} is no layer of {name}{meant(layer, layers)}: use one of "
                f"{some}"
            )


def _require_shape(name: str, shape: tuple, channels: int, stride: int) -> None:
    # A shape may have sizes that are symbols, where a program is exported.
    if len(shape) != 4 or shape[3] != channels:
        raise InputError(
            f"{name} takes images n h w {channels}, not of shape {tuple(shape)}"
        )
    _, h, w, _ = shape
    if h % stride or w % stride or not h * w:
        raise InputError(
            f"{name} takes images with sides that are multiples of {stride}, not "
            f"{h} x {w}: crop or pad them"
        )
