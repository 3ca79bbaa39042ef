"""Heads of self-supervision: small networks on features, as pure functions.

    dino         unit(w) . unit(mlp(x)), a vector w for each output
    classes      dense -> relu -> dense -> relu -> dense
    projector    hidden x [dense -> norm -> relu] -> dense (-> norm); so is a predictor

Norms are over the batch at hand: that of all devices along the mesh axis `axis`, or of
one where it is None.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxdistill.errors import InputError
from jaxdistill.networks.layers import EPS, Dense, fan_in_uniform, gelu
from jaxdistill.ranges import Count, CountOrZero, Range, Width
from jaxdistill.settings import Small, choose, declared
from jaxdistill.types import Head

TINY = 1e-12  # no vector is divided by less, as in PyTorch
STD = 0.02


class BatchNorm(nn.Module):
    """Features less their mean over the batch, by their deviation; see `batch_norm`."""

    affine: bool = True

    @nn.compact
    def __call__(self, x, axis=None):
        """Features of the same shape."""
        y = batch_norm(x, axis)
        if not self.affine:
            return y
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        return y * scale[None] + bias[None]


class MLP(nn.Module):
    """Dense layers with a norm and a ReLU between them.

    Biases that a norm would take away again are left out.
    """

    widths: Sequence[int]
    last_norm: bool = False
    last_bias: bool = True

    @nn.compact
    def __call__(self, x, axis=None):
        """Projections of features."""
        *hidden, last = self.widths
        for width in hidden:
            x = Dense(width, use_bias=False)(x)
            x = nn.relu(BatchNorm()(x, axis))
        x = Dense(last, use_bias=self.last_bias and not self.last_norm)(x)
        return BatchNorm(affine=False)(x, axis) if self.last_norm else x


class DinoMLP(nn.Module):
    """Dense layers with GELU, unit vectors, and a layer of unit vectors."""

    hidden: int
    bottleneck: int
    outputs: int
    learned_gain: bool

    @nn.compact
    def __call__(self, x, axis=None):
        """Logits, cosines but for a gain, in float32 or longer."""
        del axis
        for width in (self.hidden, self.hidden):
            x = gelu(Dense(width, STD)(x))
        x = unit(Dense(self.bottleneck, STD)(x))
        start = fan_in_uniform(self.bottleneck)
        last = self.param("last", start, (self.bottleneck, self.outputs))
        # Scaled after the product: fewer values than `last` has, as a rule.
        y = (x @ last) * inverse_length(last, 0)
        if not self.learned_gain:
            return y
        return y * self.param("gain", nn.initializers.ones, (self.outputs,))[None]


class ClassMLP(nn.Module):
    """Two hidden layers with ReLU; one output is the logit of the second of two.

    The cross-entropy of a softmax over `[0, z]` is the binary one of `z`.
    """

    hidden: int
    outputs: int

    @nn.compact
    def __call__(self, x, axis=None):
        """Logits."""
        del axis
        for width in (self.hidden, self.hidden):
            x = nn.relu(Dense(width)(x))
        y = Dense(self.outputs)(x)
        if self.outputs > 1:
            return y
        return jnp.concatenate([jnp.zeros_like(y), y], axis=-1)


def batch_norm(x: Float[Array, "n d"], axis: str | None = None) -> Float[Array, "n d"]:
    """`(x - mean) / sqrt(var + 1e-5)` over the batch, on all devices along `axis`.

    Raises `InputError` for a batch of one, which has nothing to be compared with.
    """
    if len(x) * (lax.axis_size(axis) if axis else 1) < 2:
        raise InputError(
            "a batch of 1 has no statistics for this head's batch normalisation, which "
            "would leave zeros: use batches of 2 or more"
        )
    mean = _mean(x, axis)
    return (x - mean) * lax.rsqrt(_mean(jnp.square(x - mean), axis) + EPS)


def _mean(x: Array, axis: str | None) -> Array:
    mean = x.mean(0, keepdims=True)
    return lax.pmean(mean, axis) if axis else mean


def unit(x: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
    """Vectors along an axis, of length one, in float32 or longer."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return x * inverse_length(x, axis)


def inverse_length(x: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """One over the length of each vector along an axis, which stays."""
    square = jnp.square(x).sum(axis, keepdims=True)
    return lax.rsqrt(jnp.maximum(square, TINY**2))


@declared("head")
def dino_head(
    features: int,
    *,
    outputs: Annotated[
        Count, "prototypes that images are sorted by", Small(16)
    ] = 65536,
    hidden: Annotated[Width, "channels of the first layers", Small(8)] = 2048,
    bottleneck: Annotated[Width, "of the unit vectors", Small(8)] = 256,
    learned_gain: Annotated[bool, "of each prototype; else it is 1"] = False,
) -> Head:
    """The projection head of DINO (Caron et al. 2021, section 3.1), without norms."""
    choices: dict[str, Any] = {
        "outputs": outputs,
        "hidden": hidden,
        "bottleneck": bottleneck,
        "learned_gain": learned_gain,
    }
    return _head("dino", DinoMLP(**choices), features, outputs, choices)


@declared("head")
def class_head(
    features: int,
    *,
    outputs: Annotated[Count, "logits: one a class, or 1 for two classes"] = 1,
    hidden: Annotated[Width, "channels of both hidden layers", Small(8)] = 256,
) -> Head:
    """A classifier of two hidden layers (DISTL, Park et al. 2022)."""
    choices: dict[str, Any] = {"outputs": outputs, "hidden": hidden}
    return _head("classes", ClassMLP(**choices), features, max(2, outputs), choices)


@declared("head")
def projector(
    features: int,
    *,
    outputs: Annotated[Width, "channels that views are compared in", Small(8)] = 256,
    hidden: Annotated[Width, "channels of a hidden layer", Small(8)] = 4096,
    layers: Annotated[int, Range(1, 10), "dense layers; 2 is BYOL, 3 SimSiam"] = 2,
    last_norm: Annotated[bool, "whether the last layer is normalised"] = False,
) -> Head:
    """BYOL's projector (Grill et al. 2020, section 3.3), whose predictor is its equal.

    SimSiam's (Chen and He 2021, section 3) has 2048 outputs and hidden channels, three
    layers and a last norm, which has no weights. A last layer without a norm has no
    bias, as in BYOL's programs.
    """
    choices: dict[str, Any] = {
        "outputs": outputs,
        "hidden": hidden,
        "layers": layers,
        "last_norm": last_norm,
    }
    widths = (*[hidden] * (layers - 1), outputs)
    return _head("projector", MLP(widths, last_norm, False), features, outputs, choices)


@declared("head")
def predictor(
    features: int,
    *,
    outputs: Annotated[CountOrZero, "channels; 0: as many as come in"] = 0,
    hidden: Annotated[Width, "channels of the hidden layer", Small(8)] = 512,
) -> Head:
    """SimSiam's predictor (Chen and He 2021, section 3): a bottleneck, no last norm.

    BYOL's has 4096 hidden channels.
    """
    outputs = outputs or features
    choices: dict[str, Any] = {"outputs": outputs, "hidden": hidden}
    return _head("predictor", MLP((hidden, outputs)), features, outputs, choices)


HEADS: dict[str, Callable[..., Head]] = {
    "dino": dino_head,
    "classes": class_head,
    "projector": projector,
    "predictor": predictor,
}


def build_head(name: str, features: int, **settings: Any) -> Head:
    """The head of a name; `InputError` for an unknown name or setting."""
    return choose("head", HEADS, name, settings)(features, **settings)


def _head(
    family: str, module: nn.Module, features: int, outputs: int, choices: dict[str, Any]
) -> Head:
    """The pure functions of a module on features of one width."""

    def init(key):
        # Two rows: one alone has no statistics.
        return module.init(key, jnp.zeros((2, features)))["params"]

    def apply(params, x, axis=None):
        if x.ndim != 2 or x.shape[-1] != features:
            raise InputError(
                f"features of shape {x.shape} do not suit a head for {features}: build "
                "the head with the backbone's width"
            )
        return module.apply({"params": params}, x, axis)

    settings = [f"{key}={value}" for key, value in choices.items()]
    return Head(
        jax.jit(init), apply, outputs, ",".join([f"{family}-{features}", *settings])
    )
