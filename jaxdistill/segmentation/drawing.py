"""Patches of slices for a step: drawn, cut, augmented and cut again inside the program.

A share of the patches is centred on a pixel of the foreground, any as likely as
another, where nnU-Net draws a class first; the rest lies anywhere. Each is cut with a
margin, so that a turned one still has pixels in its corners, moved, and cut to its
size; beyond a slice's edge the margin repeats its last pixels, which are `IGNORED`.
Sample g of step s is a function of (key, s, g) alone: the number of devices
changes nothing.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdistill.augment.paired import Paired, augment_pairs
from jaxdistill.errors import InputError
from jaxdistill.ranges import Many, Range
from jaxdistill.segmentation.term import Masks
from jaxdistill.settings import Small
from jaxdistill.types import IGNORED, PRNGKey, Slices

MARGIN = 1.25  # of a patch's side, before it is turned


class Patches(NamedTuple):
    """What a batch is made of."""

    batch: Annotated[Many, "patches a step", Small(2)] = 8
    patch: Annotated[
        int, Range(0, 4096), "pixels a side; 0: whole slices", Small(32)
    ] = 0
    foreground: Annotated[
        float, Range(0, 1), "share of patches about a pixel that is not background"
    ] = 0.33


class Rows(NamedTuple):
    """Some of the slices by number; after the first `size` come zeros.

    Lists of different lengths so have one shape, and share a compiled program.
    """

    numbers: Int[Array, " n"]
    size: Int[Array, ""]


class Stock(NamedTuple):
    """Slices on the device, those to learn from, and which of these show something."""

    slices: Slices
    taken: Rows
    filled: Rows


def stock(
    slices: Slices,
    classes: int | None = None,
    taken: Int[np.ndarray, " t"] | None = None,
) -> Stock:
    """The slices to learn from, all by default, and those that show some class.

    Raises `InputError` where all masks are empty, where they do not fit the images, and
    for a class beyond `classes`, which losses would take for no class at all.
    """
    masks = np.asarray(slices.masks)
    if masks.shape != slices.images.shape[:3]:
        raise InputError(
            f"masks of shape {masks.shape} do not fit images of {slices.images.shape}: "
            "give a class for every pixel, (count, height, width)"
        )
    if taken is None:
        taken = np.arange(slices.size)
    masks = masks[taken]
    most = int(masks[masks != IGNORED].max(initial=0))
    if classes is not None and most >= classes:
        raise InputError(
            f"a mask holds class {most}, and a network of {classes} classes knows 0 to "
            f"{classes - 1}: number them so, or mark pixels to leave out by {IGNORED}"
        )
    shown = ((masks > 0) & (masks != IGNORED)).any(axis=(1, 2))
    if not shown.any():
        raise InputError(
            f"all {len(masks)} training masks are empty; a segmenter needs some that "
            "are not: check what the masks hold"
        )
    return Stock(slices, _rows(taken, slices), _rows(taken[shown], slices))


def _rows(numbers: np.ndarray, slices: Slices) -> Rows:
    padded = np.zeros(slices.size, np.int32)
    padded[: len(numbers)] = numbers
    return Rows(jnp.asarray(padded), jnp.asarray(len(numbers), jnp.int32))


def draw(
    stock: Stock,
    key: PRNGKey,
    numbers: Int[Array, " b"],
    patches: Patches,
    policy: Paired | None,
) -> tuple[Float[Array, "b h w c"], Masks]:
    """The samples of those numbers; `policy` None leaves them as they are."""
    keys = jax.vmap(lambda g: jax.random.fold_in(key, g))(numbers)
    size, margin = _sizes(stock.slices, patches, policy)
    images, masks = jax.vmap(lambda k: _cut(stock, k, size, margin, patches))(keys)
    if policy is not None:
        moved = jax.random.fold_in(key, 2**31)
        images, masks = augment_pairs(images, masks, moved, policy, numbers)
    (height, width), (top, left) = size, margin
    inside = (slice(None), slice(top, top + height), slice(left, left + width))
    return images[inside], masks[inside]


def _sizes(
    slices: Slices, patches: Patches, policy: Paired | None
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width of a patch, and of the margin at either side of it."""

    def sizes(side: int) -> tuple[int, int]:
        size = min(patches.patch or side, side)
        moved = policy is not None and size < side
        return size, round((MARGIN - 1) / 2 * size) if moved else 0

    height, width = map(sizes, slices.masks.shape[1:])
    return (height[0], width[0]), (height[1], width[1])


def _cut(
    stock: Stock,
    key: PRNGKey,
    size: tuple[int, int],
    margin: tuple[int, int],
    patches: Patches,
) -> tuple[Float[Array, "h w c"], Array]:
    slices = stock.slices
    k_kind, k_any, k_filled, k_place, k_pixel = jax.random.split(key, 5)
    about = jax.random.bernoulli(k_kind, patches.foreground)
    anywhere, filled = _one(stock.taken, k_any), _one(stock.filled, k_filled)
    chosen = jnp.where(about, filled, anywhere)
    image, mask = slices.images[chosen], slices.masks[chosen]
    room = jnp.array(mask.shape) - jnp.array(size)
    free = jax.random.randint(k_place, (2,), 0, room + 1)
    centred = _pixel(mask, k_pixel) - jnp.array(size) // 2
    corner = jnp.where(about, jnp.clip(centred, 0, room), free)
    around = tuple((m, m) for m in margin)
    image = jnp.pad(image, (*around, (0, 0)), mode="edge")
    mask = jnp.pad(mask, around, constant_values=IGNORED)
    window = tuple(s + 2 * m for s, m in zip(size, margin, strict=True))
    return (
        jax.lax.dynamic_slice(image, (*corner, 0), (*window, image.shape[-1])),
        jax.lax.dynamic_slice(mask, tuple(corner), window),
    )


def _one(rows: Rows, key: PRNGKey) -> Int[Array, ""]:
    return rows.numbers[jax.random.randint(key, (), 0, rows.size)]


def _pixel(mask: Array, key: PRNGKey) -> Int[Array, " 2"]:
    """Row and column of a pixel drawn from those that are not background."""
    shown = ((mask > 0) & (mask != IGNORED)).reshape(-1)
    upto = jnp.cumsum(shown)
    wanted = jax.random.randint(key, (), 0, jnp.maximum(upto[-1], 1)) + 1
    at = jnp.searchsorted(upto, wanted)
    return jnp.stack(jnp.divmod(at, mask.shape[1]))
