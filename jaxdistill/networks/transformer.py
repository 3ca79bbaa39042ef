"""Blocks of a transformer whose norms come first (Dosovitskiy et al. 2021).

    block(x) = y + b mlp(norm(y)),   y = x + a attention(norm(x))
    attention(x) = softmax(q k' / sqrt(size)) v,   in each head

a and b are 1, or with stochastic depth (Huang et al. 2016) the gates of each image.
Dense layers and products of heads are computed in `dtype`; weights, norms, the softmax
and the sums over branches keep the type of the parameters, float32 as a rule.
"""

import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxdistill.networks.layers import Dense, LayerNorm, gelu

STD = 0.02
EXPANSION = 4


class Attention(nn.Module):
    """Every token's mean of all values, weighted by how its query meets their keys."""

    heads: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x, first=None):
        """What the `first` tokens, or all, see; the weights `n heads queries keys`."""
        n, tokens, width = x.shape
        shape = (n, tokens, 3, self.heads, width // self.heads)
        qkv = Dense(3 * width, STD, dtype=self.dtype, name="qkv")(x)
        q, k, v = qkv.reshape(shape).transpose(2, 0, 3, 1, 4)
        q = q[:, :, :first]
        weights = attention_weights(q, k)
        if fused_is_fast(q):  # and the weights are dead code unless they are asked for
            mixed = fused_attention(q, k, v)
        else:
            mixed = weights.astype(v.dtype) @ v
        mixed = mixed.swapaxes(1, 2).reshape(n, q.shape[2], width)
        return Dense(width, STD, dtype=self.dtype, name="out")(mixed), weights


def attention_weights(
    queries: Float[Array, "n heads q size"], keys: Float[Array, "n heads k size"]
) -> Float[Array, "n heads q k"]:
    """`softmax(q k' / sqrt(size))`, in float32 or longer whatever comes in."""
    long = jnp.promote_types(queries.dtype, jnp.float32)
    scores = jnp.matmul(queries, keys.swapaxes(2, 3), preferred_element_type=long)
    return jax.nn.softmax(scores / math.sqrt(queries.shape[-1]))


def fused_attention(
    queries: Float[Array, "n heads q size"],
    keys: Float[Array, "n heads k size"],
    values: Float[Array, "n heads k size"],
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> Float[Array, "n heads q size"]:
    """Attention that never holds its weights, differentiable once; see `fused_is_fast`.

    cuDNN takes numbers of tokens that 8 divides: those added have no part in it.
    """

    def padded(x):
        return jnp.pad(x.swapaxes(1, 2), ((0, 0), (0, -x.shape[2] % 8), (0, 0), (0, 0)))

    def counted(x):
        return jnp.full(len(x), x.shape[2], jnp.int32)

    mixed = jax.nn.dot_product_attention(
        padded(queries),
        padded(keys),
        padded(values),
        query_seq_lengths=counted(queries),
        key_value_seq_lengths=counted(keys),
        implementation=implementation,
    )
    return mixed[:, : queries.shape[2]].swapaxes(1, 2)


def fused_is_fast(queries: Float[Array, "n heads tokens size"]) -> bool:
    """Whether cuDNN's attention is to be had: short floats on NVIDIA's GPUs since 2020.

    A gradient of ViT-S/8 on 16 images of 256 pixels took 18 ms so, and 51 in float32
    without it (H200, commit 65831fd; `benchmarks/backbones.py`).
    """
    size = queries.shape[-1]
    short = queries.dtype in (jnp.bfloat16, jnp.float16)
    if not short or size % 8 or size > 128 or jax.default_backend() != "gpu":
        return False
    capability = str(getattr(jax.devices()[0], "compute_capability", ""))
    major, _, minor = capability.partition(".")
    return major.isdecimal() and minor.isdecimal() and int(major) >= 8


class Encoder(nn.Module):
    """One block: attention, then two dense layers on each token."""

    heads: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x, gates=None, first=None):
        """The `first` tokens, or all, and the weights of their attention."""
        a, b = (1.0, 1.0) if gates is None else gates.T[..., None, None].astype(x.dtype)
        attention = Attention(self.heads, self.dtype, name="attention")
        mixed, weights = attention(LayerNorm()(x), first)
        x = x[:, :first] + a * mixed
        wide = Dense(EXPANSION * x.shape[-1], STD, dtype=self.dtype)(LayerNorm()(x))
        return x + b * Dense(x.shape[-1], STD, dtype=self.dtype)(gelu(wide)), weights


def encode_blocks(
    module: nn.Module,
    x: Float[Array, "n tokens d"],
    gates: Float[Array, "n depth 2"] | None = None,
    first: int | None = None,
) -> tuple[Float[Array, "n first d"], Float[Array, "n heads first tokens"]]:
    """The blocks of a module that says their `depth`, `heads` and `dtype`.

    The `first` tokens, or all, and the weights of their attention in the last block,
    which computes no others. All blocks but the last are one body of a loop, compiled
    once. In a row XLA's CPU compiler computes the gradient of the residual stream anew
    through all later blocks wherever it is used, half the time of a step of twelve.
    """
    names = [f"Encoder_{i}" for i in range(module.depth)]
    if module.is_initializing() or module.depth < 3:
        for i, name in enumerate(names):
            block = Encoder(module.heads, module.dtype, parent=module, name=name)
            gate = None if gates is None else gates[:, i]
            x, weights = block(x, gate, first if name == names[-1] else None)
        return x, weights
    held = [module.variables["params"][name] for name in names]
    block = Encoder(module.heads, module.dtype, parent=None)

    def step(x, given):
        params, gate = given
        return block.apply({"params": params}, x, gate)[0], None

    if jax.default_backend() == "cpu":
        # What is kept for the gradient is written once more into the stack of all
        # blocks: there it takes less time to compute it again from the products.
        keep = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
        step = jax.checkpoint(step, policy=keep, prevent_cse=False)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *held[:-1])
    rows = None if gates is None else gates[:, :-1].swapaxes(0, 1)
    x, _ = jax.lax.scan(step, x, (stacked, rows))
    last = None if gates is None else gates[:, -1]
    return block.apply({"params": held[-1]}, x, last, first)  # type: ignore[return-value]


def depth_gates(
    key: Key[Array, ""] | Key[Array, " n"], images: int, depth: int, rate: float
) -> Float[Array, "n depth 2"]:
    """What the branches of every block are multiplied with, for every image.

        gate = bernoulli(keep) / keep,   keep = 1 - rate i / (depth - 1)

    in block i, and 1 - rate in a single one, so that each is 1 in the mean. With a key
    for each image, what happens to one does not depend on which others share its
    device.
    """
    keys = key if key.ndim else jax.random.split(key, images)
    draws = jax.vmap(lambda one: jax.random.uniform(one, (depth, 2)))(keys)
    rates = jnp.linspace(0.0, rate, depth) if depth > 1 else jnp.full(1, rate)
    keep = jnp.asarray(1 - rates, draws.dtype)[None, :, None]
    return jnp.where(draws < keep, 1 / keep, 0.0)
