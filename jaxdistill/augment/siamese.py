"""Differentiable augmentation, DSA (Zhao and Bilen 2021, arXiv 2102.08259).

One member of the policy is drawn for each call on a batch, then its parameters, once
for all images (siamese) or for every image. A member is an operation, or several in
turn: IDC and NCFM compose `color+crop+cutout`, DSA draws one of `color_crop_cutout`.
Every operation is affine in the images and differentiable to any order. Pixels that
come from outside the image are zeros of the standardised inputs, that is the mean of
the data.

    flip      mirror left and right with probability 1/2
    scale     x(s_y (i - c), s_x (j - c)), s ~ U(1/1.2, 1.2) each; below 1 enlarges
    rotate    x(R (p - c)), angle ~ U(-15, 15) degrees; both bilinear about the centre
    crop      shift by whole pixels within floor(size / 8 + 1/2)
    cutout    zeros in a square of side floor(size / 2 + 1/2), centre anywhere
    color     brightness + U(-.5, .5), then saturation x U(0, 2) about the channel mean,
              then contrast x U(.5, 1.5) about the image mean

Under `vmap` over keys the draw becomes a select: all that the policy has is then
computed for every key.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdistill.augment.resample import bilinear, centred
from jaxdistill.errors import InputError, require_name
from jaxdistill.types import Images, PRNGKey

Policy = tuple[str, ...]
Draws = Float[Array, "b 3"]  # uniform in [0, 1); b is n, or 1 for siamese parameters
AllDraws = Float[Array, "b in_turn 3"]  # for every operation of a member

SCALE = 1.2
ANGLE = math.radians(15.0)
CROP = 0.125
CUTOUT = 0.5
BRIGHTNESS = 1.0
SATURATION = 2.0
CONTRAST = 0.5

#: By kind of data. Left and right carry meaning in most medical images, and in digits.
POLICIES: dict[str, Policy] = {
    "medical": ("color", "crop", "cutout", "scale", "rotate"),
    "digits": ("color", "crop", "cutout", "scale", "rotate"),
    "natural": ("color", "crop", "cutout", "flip", "scale", "rotate"),
    "none": (),
}


def policy(names: str) -> Policy:
    """The policy of a kind of data (`medical`) or of a list such as `color_crop`.

    Of what underscores join one is drawn; what `+` joins is done in turn. `InputError`
    for an operation that does not exist.
    """
    if names in POLICIES:
        return POLICIES[names]
    members = tuple(name for name in names.split("_") if name)
    for name in (name for member in members for name in member.split("+")):
        if name not in OPERATIONS:
            raise InputError(
                f"augment={names!r} names {name!r}, which is none of the kinds "
                f"{', '.join(POLICIES)} and none of the operations "
                f"{', '.join(OPERATIONS)}: join operations with an underscore, or with "
                "a + to compose them"
            )
    return members


def require_inputs(dtype: jnp.dtype) -> None:
    """`InputError` for pixels: strengths are in units of standardised inputs."""
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(
            f"images of {dtype} are no inputs that can be augmented: standardise them "
            "first, by jaxdistill.data.standard.standardise"
        )


def augment_siamese(images: Images, key: PRNGKey, policy: Policy) -> Images:
    """One transform for all images, the same for every batch that is given the key.

    Images are standardised inputs, in which 0 is the mean of the data. Raises
    `InputError` for whole numbers.
    """
    choice, draw = jax.random.split(key)
    draws = jax.random.uniform(draw, (1, _in_turn(policy), 3), _wide(images))
    return _apply(images, choice, draws, policy)


def augment_each(
    images: Images,
    key: PRNGKey,
    policy: Policy,
    index: Int[Array, " n"] | None = None,
) -> Images:
    """One member for the batch, its parameters drawn for every image on its own.

    Image `i` gets the parameters of number `index[i]`, by default its position: they
    depend on nothing else in the batch. Raises `InputError` for whole numbers.
    """
    choice, draw = jax.random.split(key)
    index = jnp.arange(len(images)) if index is None else index
    keys = jax.vmap(jax.random.fold_in, (None, 0))(draw, index)
    shape = (_in_turn(policy), 3)
    draws = jax.vmap(lambda k: jax.random.uniform(k, shape, _wide(images)))(keys)
    return _apply(images, choice, draws, policy)


def _apply(images: Images, key: PRNGKey, draws: AllDraws, policy: Policy) -> Images:
    require_inputs(images.dtype)
    if isinstance(policy, str):
        raise InputError(
            f"policy={policy!r} must be a tuple of operations, not a text: "
            f"jaxdistill.augment.siamese.policy({policy!r}) makes one of it"
        )
    if not policy:
        return images
    chosen = jax.random.randint(key, (), 0, len(policy))
    branches = [partial(_compose, member.split("+")) for member in policy]
    moved = jax.lax.switch(chosen, branches, images.astype(draws.dtype), draws)
    return moved.astype(images.dtype)


def _compose(names: list[str], images: Images, draws: AllDraws) -> Images:
    for place, name in enumerate(names):
        require_name("policy", name, OPERATIONS)
        images = OPERATIONS[name](images, draws[:, place])
    return images


def _in_turn(policy: Policy) -> int:
    """The most operations of a member."""
    return max((len(member.split("+")) for member in policy), default=1)


def _wide(images: Images) -> jnp.dtype:
    """The type to compute in: bfloat16 cannot tell neighbouring pixels apart."""
    return jnp.promote_types(images.dtype, jnp.float32)


def _between(u: Array, low: float, high: float) -> Array:
    """Uniform in [low, high], ready to broadcast over images."""
    return (low + u * (high - low)).reshape(-1, 1, 1, 1)


def _flip(images: Images, draws: Draws) -> Images:
    mirror = _between(draws[:, 0], 0.0, 1.0) < 0.5
    return jnp.where(mirror, images[:, :, ::-1], images)


def _brightness(images: Images, draws: Draws) -> Images:
    return images + _between(draws[:, 0], -BRIGHTNESS / 2, BRIGHTNESS / 2)


def _saturation(images: Images, draws: Draws) -> Images:
    grey = images.mean(3, keepdims=True)
    return grey + (images - grey) * _between(draws[:, 1], 0.0, SATURATION)


def _contrast(images: Images, draws: Draws) -> Images:
    mean = images.mean((1, 2, 3), keepdims=True)
    return mean + (images - mean) * _between(draws[:, 2], 1 - CONTRAST, 1 + CONTRAST)


def _color(images: Images, draws: Draws) -> Images:
    return _contrast(_saturation(_brightness(images, draws), draws), draws)


def _cutout(images: Images, draws: Draws) -> Images:
    _, h, w, _ = images.shape
    rows = _outside_window(draws[:, 0], h)[:, :, None, None]
    cols = _outside_window(draws[:, 1], w)[:, None, :, None]
    return jnp.where(rows | cols, images, 0.0)


def _outside_window(u: Array, size: int) -> Array:
    side = math.floor(CUTOUT * size + 0.5)
    # An even side is centred half a pixel before a pixel, as in the reference: the
    # centre then ranges over one more place.
    places = size + (1 - side % 2)
    first = jnp.floor(u * places) - side // 2
    pixel = jnp.arange(size, dtype=u.dtype)
    distance = pixel[None] - first[:, None]
    return (distance < 0) | (distance >= side)


def _crop(images: Images, draws: Draws) -> Images:
    _, h, w, _ = images.shape
    return _resample(images, _shift(draws[:, 0], h), _shift(draws[:, 1], w))


def _shift(u: Array, size: int) -> Array:
    most = math.floor(CROP * size + 0.5)
    shift = jnp.floor(u * (2 * most + 1)) - most
    return jnp.arange(size, dtype=u.dtype)[None] + shift[:, None]


def _scale(images: Images, draws: Draws) -> Images:
    _, h, w, _ = images.shape
    return _resample(images, _stretch(draws[:, 0], h), _stretch(draws[:, 1], w))


def _stretch(u: Array, size: int) -> Array:
    factor = 1 / SCALE + u * (SCALE - 1 / SCALE)
    return factor[:, None] * centred(size, u.dtype)[None] + (size - 1) / 2


def _resample(
    images: Images, rows: Float[Array, "b h"], cols: Float[Array, "b w"]
) -> Images:
    """Bilinear values at the grid `rows` x `cols`, as two products with tent weights.

    Products because their derivative is a product too, where a gather's is a scatter;
    at full precision because a shift must not round.
    """
    exact = jax.lax.Precision.HIGHEST
    n, h, w, _ = images.shape
    down = jnp.broadcast_to(_tents(rows), (n, h, h))
    along = jnp.broadcast_to(_tents(cols), (n, w, w))
    shifted = jnp.einsum("nih,nhwc->niwc", down, images, precision=exact)
    return jnp.einsum("njw,niwc->nijc", along, shifted, precision=exact)


def _tents(places: Float[Array, "b p"]) -> Float[Array, "b p p"]:
    pixel = jnp.arange(places.shape[1], dtype=places.dtype)
    return jnp.maximum(0.0, 1.0 - jnp.abs(places[:, :, None] - pixel[None, None]))


def _rotate(images: Images, draws: Draws) -> Images:
    n, h, w, c = images.shape
    angle = ((2 * draws[:, 0] - 1) * ANGLE)[:, None, None]
    down = centred(h, images.dtype)[None, :, None]
    along = centred(w, images.dtype)[None, None, :]
    rows = jnp.sin(angle) * along + jnp.cos(angle) * down + (h - 1) / 2
    cols = jnp.cos(angle) * along - jnp.sin(angle) * down + (w - 1) / 2
    flat = images.reshape(n, h * w, c)
    return bilinear(flat, rows, cols).reshape(images.shape)


OPERATIONS: dict[str, Callable[[Images, Draws], Images]] = {
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
    "crop": _crop,
    "cutout": _cutout,
    "color": _color,
    "brightness": _brightness,
    "saturation": _saturation,
    "contrast": _contrast,
}
