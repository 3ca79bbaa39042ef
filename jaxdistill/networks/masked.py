"""The decoder of masked autoencoders (He et al. 2022, section 3 and appendix A).

y = dense(tokens) in their places, the mask token in all others, + fixed positions
pixels = dense(norm(blocks(y))) without the class token's row
"""

from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill.errors import InputError
from jaxdistill.networks.layers import Dense, LayerNorm, truncated_normal
from jaxdistill.networks.positions import Grid, fixed_positions
from jaxdistill.networks.transformer import STD, encode_blocks
from jaxdistill.networks.vit import patches
from jaxdistill.ranges import OneOf, Range, Width
from jaxdistill.settings import Small, declared
from jaxdistill.types import Backbone, Decoder


class MaskedDecoder(nn.Module):
    """Tokens to their places, blocks, and pixels."""

    width: int
    depth: int
    heads: int
    pixels: int
    dtype: Any = None

    @nn.compact
    def __call__(self, tokens, kept, grid: Grid):
        """Pixels of all patches."""
        x = Dense(self.width, STD, dtype=self.dtype, name="embed")(tokens)
        mask = self.param("mask_token", truncated_normal(STD), (1, 1, self.width))
        places = jnp.asarray(fixed_positions(grid, self.width), mask.dtype)
        n, rows = len(x), jnp.arange(len(x))[:, None]
        y = jnp.broadcast_to(mask, (n, grid[0] * grid[1], self.width))
        y = y.at[rows, kept].set(x[:, 1:].astype(y.dtype))
        x = jnp.concatenate([x[:, :1].astype(y.dtype), y], axis=1) + places
        x, _ = encode_blocks(self, x)
        return Dense(self.pixels, STD, dtype=self.dtype)(LayerNorm()(x[:, 1:]))


@declared("decoder")
def masked_decoder(
    backbone: Backbone,
    channels: int,
    *,
    width: Annotated[Width, "channels of a token; 4 divides them", Small(16)] = 512,
    depth: Annotated[int, Range(1, 100), "blocks", Small(1)] = 8,
    heads: Annotated[int, Range(1, 1000), "of attention", Small(2)] = 16,
    compute: Annotated[
        str, OneOf(("float32", "bfloat16")), "type that products are computed in"
    ] = "float32",
) -> Decoder:
    """The decoder for a vision transformer and images of so many channels.

    `InputError` for a backbone without tokens, widths that heads or 4 do not divide,
    and tokens that are not one more than those kept.
    """
    if backbone.tokens is None:
        raise InputError(
            f"backbone {backbone.name!r} has no tokens to mask: choose "
            "backbone.name=vit"
        )
    if width % heads or width % 4:
        raise InputError(
            f"decoder.width={width} must be a multiple of decoder.heads={heads} and of "
            "4: change either"
        )
    choices: dict[str, Any] = {"width": width, "depth": depth, "heads": heads}
    dtype = None if compute == "float32" else jnp.dtype(compute)
    pixels = backbone.patch**2 * channels
    module = MaskedDecoder(**choices, pixels=pixels, dtype=dtype)

    @jax.jit
    def init(key):
        tokens, kept = jnp.zeros((1, 2, backbone.width)), jnp.zeros((1, 1), jnp.int32)
        return module.init(key, tokens, kept, (1, 1))["params"]

    def apply(params, tokens, kept, grid=backbone.grid):
        if tokens.shape[1] != kept.shape[1] + 1:
            raise InputError(
                f"{tokens.shape[1]} tokens are not those of a class and of the "
                f"{kept.shape[1]} patches kept: pass tokens(params, images, kept)"
            )
        out = module.apply({"params": params}, tokens, kept, grid)
        return out.astype(jnp.promote_types(out.dtype, jnp.float32))  # type: ignore

    def cut(images):
        return patches(images, backbone.patch)

    settings = ",".join(f"{key}={value}" for key, value in choices.items())
    return Decoder(init, apply, cut, f"masked-{backbone.width}-{pixels},{settings}")
