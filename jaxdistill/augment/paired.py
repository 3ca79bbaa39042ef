"""Augmentation of images and their masks together, on the device.

Each image draws for itself which operations it gets and how strong they are:

    mirror    left and right, up and down; exact
    move      rotation, scale, shift and elastic displacement, in one interpolation
    bias, noise, blur, brightness, contrast, low resolution, gamma     in this order

Probabilities, scale, blur, contrast, resolution and gamma are nnU-Net's (Isensee et
al. 2021, its second version); rotation and brightness are BigAug's for scanners never
seen (Zhang et al. 2020, TMI, arXiv 1906.03347), its brightness of .1 of the range taken
for .4 standard deviations; noise is the square root of nnU-Net's variance. nnU-Net has
no shift, bias field or elastic displacement by default: theirs are of this library.
Switched off by a probability or a strength of 0, an operation is not compiled at all.

On a CPU images come one after another, and what is not drawn is not computed; on an
accelerator all are computed at once. Numbers depend on the key and on an image's place
alone, not on the batch.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from jaxdistill.augment import intensity
from jaxdistill.augment.siamese import require_inputs
from jaxdistill.augment.warp import (
    Image,
    Mask,
    Places,
    read_image,
    read_mask,
    sampling_grid,
)
from jaxdistill.errors import InputError
from jaxdistill.ranges import Range
from jaxdistill.settings import require
from jaxdistill.types import Images, PRNGKey

Chance = Annotated[float, Range(0, 1)]
Masks = UInt8[Array, "n h w"]
Operation = Callable[[Image, PRNGKey], Image]


class Paired(NamedTuple):
    """How images and masks are augmented; a probability or strength of 0 is none."""

    left_right: Annotated[Chance, "probability of left and right exchanged"] = 0.5
    up_down: Annotated[Chance, "probability of up and down exchanged"] = 0.0
    rotation_p: Annotated[Chance, "probability of a rotation"] = 0.2
    rotation: Annotated[float, Range(0, 180), "greatest angle, in degrees"] = 20.0
    scale_p: Annotated[Chance, "probability of a change of scale"] = 0.2
    scale: Annotated[float, Range(0, 9), "up to 1 + this larger or smaller"] = 0.4
    shift_p: Annotated[Chance, "probability of a shift"] = 0.2
    shift: Annotated[float, Range(0, 1), "greatest shift, in parts of a side"] = 0.1
    elastic_p: Annotated[Chance, "probability of an elastic displacement"] = 0.2
    elastic: Annotated[
        float, Range(0, 1), "its greatest standard deviation, in parts of a side"
    ] = 0.02
    elastic_grid: Annotated[
        int, Range(2, 64), "points of its coarse grid along a side"
    ] = 5
    bias_p: Annotated[Chance, "probability of a bias field"] = 0.15
    bias: Annotated[float, Range(0, 9), "greatest coefficient of its logarithm"] = 0.3
    noise_p: Annotated[Chance, "probability of noise"] = 0.1
    noise: Annotated[float, Range(0, 99), "its greatest standard deviation"] = 0.3
    blur_p: Annotated[Chance, "probability of a blur"] = 0.2
    blur: Annotated[
        float, Range(0, 99), "its greatest sigma, in pixels; the least is half"
    ] = 1.0
    brightness_p: Annotated[Chance, "probability of a change of brightness"] = 0.15
    brightness: Annotated[
        float, Range(0, 99), "its greatest size, in units of the normalised image"
    ] = 0.4
    contrast_p: Annotated[Chance, "probability of a change of contrast"] = 0.15
    contrast: Annotated[float, Range(0, 1), "greatest change of the factor 1"] = 0.25
    low_resolution_p: Annotated[Chance, "probability of a lower resolution"] = 0.25
    low_resolution: Annotated[
        float, Range(0, 1, below=True), "greatest share of a side's pixels lost"
    ] = 0.5
    gamma_p: Annotated[Chance, "probability of a gamma curve"] = 0.3
    gamma: Annotated[float, Range(0, 9), "exponent up to 1 + this, or its inverse"] = (
        0.5
    )


def augment_pairs(
    images: Images,
    masks: Masks,
    key: PRNGKey,
    policy: Paired,
    index: Int[Array, " n"] | None = None,
) -> tuple[Images, Masks]:
    """Images and masks, each pair augmented in its own way.

    Pair `i` is given the numbers of `index[i]`, by default its place. Under jit
    `policy` is static. `InputError` for a policy that makes no sense, images that are
    no inputs, and masks of another size.
    """
    require(policy, "augment")
    require_inputs(images.dtype)
    if masks.shape != images.shape[:3]:
        raise InputError(
            f"masks of shape {masks.shape} do not fit images of {images.shape}: give a "
            "class for every pixel, (count, height, width)"
        )
    if masks.dtype != jnp.uint8:
        raise InputError(f"masks are {masks.dtype}; classes of pixels must be uint8")
    index = jnp.arange(len(images)) if index is None else index
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
    wide = images.astype(jnp.promote_types(images.dtype, jnp.float32))
    one = partial(_augment, policy=policy)
    moved, labels = jax.lax.platform_dependent(
        wide,
        masks,
        keys,
        cpu=lambda *pairs: jax.lax.map(lambda pair: one(*pair), pairs),
        default=jax.vmap(one),
    )
    return moved.astype(images.dtype), labels


def _augment(
    image: Image, mask: Mask, key: PRNGKey, policy: Paired
) -> tuple[Image, Mask]:
    k_mirror, k_move, key = jax.random.split(key, 3)
    pair = _mirror(image, mask, k_mirror, policy)
    image, mask = _move(*pair, k_move, policy)
    for number, (chance, operation) in enumerate(_photometric(policy)):
        image = _sometimes(chance, operation, image, jax.random.fold_in(key, number))
    return image, mask


def _mirror(
    image: Image, mask: Mask, key: PRNGKey, policy: Paired
) -> tuple[Image, Mask]:
    drawn = jax.random.uniform(key, (2,))
    pair = (image, mask)
    for axis, chance in ((0, policy.up_down), (1, policy.left_right)):
        if chance > 0:
            turned = partial(jax.tree.map, partial(jnp.flip, axis=axis))
            pair = jax.lax.cond(drawn[axis] < chance, turned, lambda pair: pair, pair)
    return pair


def _move(image: Image, mask: Mask, key: PRNGKey, policy: Paired) -> tuple[Image, Mask]:
    """All geometry in one reading, if any of it is drawn."""
    moves = (
        (policy.rotation_p, math.radians(policy.rotation)),
        (policy.scale_p, math.log1p(policy.scale)),
        (policy.shift_p, policy.shift),
        (policy.elastic_p, policy.elastic),
    )
    if all(chance * strength == 0 for chance, strength in moves):
        return image, mask
    k_gate, k_draw = jax.random.split(key)
    chances, strengths = (jnp.array(column) for column in zip(*moves, strict=True))
    most = jnp.where(jax.random.uniform(k_gate, (4,)) < chances, strengths, 0.0)

    def read(image, mask):
        places = _places(mask.shape, most, k_draw, policy)
        return read_image(image, *places), read_mask(mask, *places)

    return jax.lax.cond((most > 0).any(), read, lambda *pair: pair, image, mask)


def _places(
    size: tuple[int, ...], most: Float[Array, "4"], key: PRNGKey, policy: Paired
) -> tuple[Places, Places]:
    """Where pixels are read, for the greatest angle, log scale, shift and spread."""
    k_draw, k_field = jax.random.split(key)
    drawn = jax.random.uniform(k_draw, (5,), minval=-1.0)
    shift = most[2] * drawn[2:4] * jnp.array(size, jnp.float32)
    field = None
    if policy.elastic_p * policy.elastic > 0:
        grid = (policy.elastic_grid, policy.elastic_grid, 2)
        spread = most[3] * jnp.abs(drawn[4]) * min(size)
        field = spread * jax.random.normal(k_field, grid)
    factor = jnp.exp(most[1] * drawn[1])
    return sampling_grid(size, most[0] * drawn[0], factor, shift, field)


def _photometric(policy: Paired) -> list[tuple[float, Operation]]:
    """The operations on grey values that are switched on, with their probabilities."""
    p = policy

    def draw(key, most, least=None):
        least = -most if least is None else least
        return jax.random.uniform(key, (), minval=least, maxval=most)

    def field(image, key):
        coefficients = jax.random.uniform(key, (4, 4), minval=-p.bias, maxval=p.bias)
        return intensity.bias_field(image, coefficients)

    def noise(image, key):
        k_size, k_noise = jax.random.split(key)
        return intensity.noise(image, draw(k_size, p.noise, 0.0), k_noise)

    def blur(image, key):
        sigma = draw(key, p.blur, p.blur / 2)
        return intensity.blur(image, sigma, radius=math.ceil(3 * p.blur))

    def brightness(image, key):
        return intensity.brightness(image, draw(key, p.brightness))

    def contrast(image, key):
        return intensity.contrast(image, 1 + draw(key, p.contrast))

    def low_resolution(image, key):
        return intensity.low_resolution(image, 1 - draw(key, p.low_resolution, 0.0))

    def gamma(image, key):
        return intensity.gamma(image, jnp.exp(draw(key, math.log1p(p.gamma))))

    operations = [
        (p.bias_p, p.bias, field),
        (p.noise_p, p.noise, noise),
        (p.blur_p, p.blur, blur),
        (p.brightness_p, p.brightness, brightness),
        (p.contrast_p, p.contrast, contrast),
        (p.low_resolution_p, p.low_resolution, low_resolution),
        (p.gamma_p, p.gamma, gamma),
    ]
    return [(chance, run) for chance, most, run in operations if chance * most > 0]


def _sometimes(
    chance: float, operation: Operation, image: Image, key: PRNGKey
) -> Image:
    k_gate, k_run = jax.random.split(key)
    drawn = jax.random.uniform(k_gate) < chance
    return jax.lax.cond(drawn, operation, lambda image, _: image, image, k_run)
