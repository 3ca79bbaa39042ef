"""Vision transformers (Dosovitskiy et al. 2021; Touvron et al. 2021), of any size.

    x = blocks([class token, embed(patches)] + positions)
    features = norm(x[class token]),  or  norm(mean of x over patches)

A network built for one image size takes others: its positions are resized.
"""

from typing import Annotated, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdistill.errors import InputError
from jaxdistill.networks.layers import Dense, LayerNorm, truncated_normal
from jaxdistill.networks.linen import Classifier, ImageShape, check, from_linen, spell
from jaxdistill.networks.positions import Grid, fixed_positions, resize_positions
from jaxdistill.networks.transformer import STD, depth_gates, encode_blocks
from jaxdistill.ranges import OneOf, Pixels, Range, Width
from jaxdistill.settings import Small, declared
from jaxdistill.types import Backbone, Network

HEAD = 64  # channels of a head in ViT-Ti, S, B and L


class Encoded(NamedTuple):
    """What a vision transformer makes of images."""

    features: Float[Array, "n d"]
    tokens: Float[Array, "n tokens d"]  # normalised, the class token first, or it alone
    attention: Float[Array, "n heads tokens"]  # of the features, in the last block


class ViT(nn.Module):
    """Patches to tokens, and the blocks."""

    patch: int
    width: int
    depth: int
    heads: int
    grid: Grid  # that positions are learned for
    pool: str = "token"
    positions: str = "learned"
    dtype: Any = None

    @nn.compact
    def __call__(self, images, kept=None, gates=None, whole=False):
        """All that is encoded, of all patches or of those `kept`.

        Where features are the class token, the last block computes it alone, unless
        tokens are wanted as a `whole`.
        """
        _, h, w, _ = images.shape
        x = patches(images, self.patch)
        x = Dense(self.width, STD, dtype=self.dtype, name="embed")(x)
        start = truncated_normal(STD)
        token = self.param("class_token", start, (1, 1, self.width))
        places = self._places((h // self.patch, w // self.patch))
        x = x + places[:, 1:]
        if kept is not None:
            x = jnp.take_along_axis(x, kept[..., None], axis=1)
        token = jnp.broadcast_to(token + places[:, :1], (len(x), 1, self.width))
        x = jnp.concatenate([token, x], axis=1)
        first = 1 if self.pool == "token" and not whole else None
        x, weights = encode_blocks(self, x, gates, first)
        norm = LayerNorm()
        tokens = norm(x)
        if self.pool == "token":
            return Encoded(tokens[:, 0], tokens, weights[:, :, 0])
        return Encoded(norm(x[:, 1:].mean(1)), tokens, weights[:, :, 1:].mean(2))

    def _places(self, grid: Grid) -> jax.Array:
        if self.positions == "fixed":
            return jnp.asarray(fixed_positions(grid, self.width))
        shape = (1, self.grid[0] * self.grid[1] + 1, self.width)
        table = self.param("places", truncated_normal(STD), shape)
        return resize_positions(table, self.grid, grid)


class TokenClassifier(Classifier):
    """A vision transformer, and a dense layer on its features."""

    def embed(self, images):
        """Features: the input of the last dense layer."""
        return self.trunk(images).features


def patches(images: Float[Array, "n h w c"], side: int) -> Float[Array, "n tokens d"]:
    """The images cut in squares, row by row, each flattened, channels fastest.

    Raises `InputError` where squares of that side do not tile the images.
    """
    n, h, w, c = images.shape
    if h % side or w % side or not h or not w:
        raise InputError(
            f"images of {h} x {w} cannot be cut in patches of {side} x {side} pixels: "
            "change the size of the images or crops, or the network's patch"
        )
    grid = images.reshape(n, h // side, side, w // side, side, c).swapaxes(2, 3)
    return grid.reshape(n, (h // side) * (w // side), side * side * c)


def assemble(
    cut: Float[Array, "n tokens d"], grid: Grid, side: int
) -> Float[Array, "n h w c"]:
    """The images that `patches` cut, from rows and columns of squares."""
    rows, columns = grid
    squares = cut.reshape(len(cut), rows, columns, side, side, -1).swapaxes(2, 3)
    return squares.reshape(len(cut), rows * side, columns * side, -1)


@declared("backbone")
def vit(
    image_shape: ImageShape,
    *,
    patch: Annotated[Pixels, "pixels a side of what becomes a token"] = 16,
    width: Annotated[Width, "channels: 192 is ViT-Ti, 384 S, 768 B", Small(24)] = 384,
    depth: Annotated[int, Range(1, 100), "encoder blocks", Small(2)] = 12,
    heads: Annotated[int, Range(0, 1000), "of attention; 0: one for 64 channels"] = 0,
    drop_path: Annotated[
        float, Range(0, 1, below=True), "chance to skip a branch of the last block"
    ] = 0.0,
    pool: Annotated[
        str, OneOf(("token", "mean")), "what features are made of"
    ] = "token",
    positions: Annotated[
        str, OneOf(("learned", "fixed")), "of patches; fixed ones are sines"
    ] = "learned",
    compute: Annotated[
        str, OneOf(("float32", "bfloat16")), "type that products are computed in"
    ] = "float32",
) -> Backbone:
    """A vision transformer without a head, made for images of `image_shape`.

    It takes images of any size that patches tile. Branches are skipped only where a key
    is given, of the whole batch or of each image. `InputError` for patches that do not
    tile the image, widths that heads do not divide, and other numbers of channels.
    """
    heads = heads or max(1, width // HEAD)
    choices: dict[str, Any] = {
        "patch": patch,
        "width": width,
        "depth": depth,
        "heads": heads,
        "pool": pool,
        "positions": positions,
    }
    check(image_shape, 1)
    _check_sizes("backbone", image_shape, patch, width, heads)
    if positions == "fixed":
        fixed_positions((1, 1), width)
    dtype = None if compute == "float32" else jnp.dtype(compute)
    module = ViT(**choices, grid=_grid(image_shape, patch), dtype=dtype)
    return _backbone(
        module, image_shape, spell("vit", image_shape, **choices), drop_path
    )


def _backbone(
    module: ViT, image_shape: ImageShape, name: str, drop_path: float
) -> Backbone:
    def encode(params, images, kept=None, key=None, whole=False) -> Encoded:
        require_channels(images, image_shape)
        n, gates = len(images), None
        if key is not None and drop_path:
            gates = depth_gates(key, n, module.depth, drop_path)
        return module.apply({"params": params}, images, kept, gates, whole)  # type: ignore

    @jax.jit  # without it Flax would run the forward pass only to learn shapes
    def init(key):
        return module.init(key, jnp.zeros((1, *image_shape)))["params"]

    def features(params, images, key=None):
        return encode(params, images, key=key).features

    def tokens(params, images, kept: Int[Array, "n kept"] | None = None, key=None):
        return encode(params, images, kept, key, whole=True).tokens

    def attention(params, images):
        return encode(params, images).attention

    return Backbone(
        init, features, module.width, name, tokens, attention, module.patch, module.grid
    )


def require_channels(images: jax.Array, image_shape: ImageShape) -> None:
    """`InputError` for images of other channels than a network was built for."""
    if images.ndim != 4 or images.shape[-1] != image_shape[2]:
        raise InputError(
            f"images of shape {images.shape} do not suit a network for "
            f"{image_shape[2]} channel(s): pass (images, height, width, channels) with "
            "as many channels, or build the network for theirs"
        )


@declared("network")
def vit_tiny(
    image_shape: ImageShape,
    classes: int,
    *,
    patch: Annotated[int, Range(0, 4096), "pixels a side; 0: by the image's size"] = 0,
    width: Annotated[Width, "channels of a token"] = 192,
    depth: Annotated[int, Range(1, 100), "encoder blocks"] = 12,
    heads: Annotated[int, Range(1, 1000), "of attention; they divide the width"] = 3,
) -> Network:
    """ViT-Ti; patch 0 takes 4 up to 32 pixels, 8 below 112 and 16 from there.

    `InputError` for patches that do not tile the image and widths that heads do not.
    """
    patch = patch or default_patch(image_shape)
    choices: dict[str, Any] = {
        "patch": patch,
        "width": width,
        "depth": depth,
        "heads": heads,
    }
    check(image_shape, classes)
    _check_sizes("network", image_shape, patch, width, heads)
    module = ViT(**choices, grid=_grid(image_shape, patch))
    name = spell("vit_tiny", image_shape, classes, **choices)
    return from_linen(TokenClassifier(module, classes, STD), image_shape, name)


def default_patch(image_shape: ImageShape) -> int:
    """4 up to 32 pixels on the shorter side, 8 below 112, 16 from there."""
    side = min(image_shape[:2])
    return 4 if side <= 32 else 8 if side < 112 else 16


def _grid(image_shape: ImageShape, patch: int) -> Grid:
    return image_shape[0] // patch, image_shape[1] // patch


def _check_sizes(
    section: str, image_shape: ImageShape, patch: int, width: int, heads: int
) -> None:
    h, w, _ = image_shape
    if h % patch or w % patch:
        raise InputError(
            f"{section}.patch={patch} must divide the image size {h} x {w}: change it "
            "or data.size"
        )
    if width % heads:
        raise InputError(
            f"{section}.width={width} must be a multiple of {section}.heads={heads}: "
            "change either"
        )
