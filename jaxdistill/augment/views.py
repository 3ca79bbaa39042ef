"""Views of pictures for self-supervised learning, made on the device, batched.

    crop -> flip -> rotate -> colour -> grey -> autocontrast -> equalise -> blur
         -> solarise

Each with its own probability, drawn for every picture on its own: a view is a function
of `(key, index of the picture)` and of nothing else in the batch. Crop, flip and size
are one interpolation, two products with weights; what a view never does is not
compiled, and changing probabilities or ranges compiles nothing again, unless the widest
blur (a power of two) is another or, on a CPU, the longest crop (in eighths of a side).
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from jaxdistill.augment.presets import View
from jaxdistill.augment.resample import (
    Lines,
    draw_crop,
    resizing,
    through,
    to_lines,
)
from jaxdistill.augment.steps import DRAWS, STEPS, changed
from jaxdistill.errors import InputError
from jaxdistill.settings import require
from jaxdistill.types import Images, PRNGKey

Bytes = UInt8[Array, "n h w c"]

AT_ONCE = 1 << 24  # values cropped together: bytes become floats no faster than this

Sides = tuple[float, float]  # height, width


class Fixed(NamedTuple):
    """What a program is compiled for, beside shapes."""

    size: int
    cubic: bool
    steps: tuple[str, ...]
    longest: Sides  # no crop is higher, and none is wider, in pixels
    widest: float  # no blur is wider, in pixels


def make_view(
    images: Images | Bytes,
    key: PRNGKey,
    view: View,
    *,
    index: Int[Array, " n"] | None = None,
) -> Float[Array, "n size size c"]:
    """One view of each picture, grey or colour, in [0, 1] or bytes.

    Picture `i` is changed as number `index[i]` is, by default its position. Bytes give
    float32. One compilation for a size, a shape, a set of operations and, on CPUs,
    their reach. Raises `InputError` for settings or channels that make no sense.
    """
    return make_views(images, key, view, 1, index=index)[0]


def make_views(
    images: Images | Bytes,
    key: PRNGKey,
    view: View,
    count: int,
    *,
    index: Int[Array, " n"] | None = None,
    first: int = 0,
) -> Float[Array, "v n size size c"]:
    """`count` views of each picture, one after another in one compilation.

    View `v`, from `first` on, has the key `fold_in(key, v)`. Raises `InputError` as
    `make_view`.
    """
    _require(view, images.shape, images.dtype)
    if count < 1:
        raise InputError(f"{count} views of each picture: set it to 1 or more")
    index = jnp.arange(len(images)) if index is None else index
    steps = tuple(name for name in STEPS if getattr(view, name))
    numbers = range(first, first + count)
    fixed = Fixed(view.size, view.cubic, steps, *_bounds(view, images.shape[1:3]))
    return _make(images, key, view, index, numbers, fixed)


@functools.partial(jax.jit, static_argnames=("numbers", "fixed"))
def _make(
    images: Array, key: PRNGKey, view: View, index: Array, numbers: range, fixed: Fixed
) -> Array:
    _, h, w, _ = images.shape
    wide = jnp.promote_types(images.dtype, jnp.float32)
    wide = jnp.dtype(jnp.float32) if images.dtype == jnp.uint8 else wide

    def draw(number, place):
        each = jax.random.fold_in(jax.random.fold_in(key, number), place)
        where, how = jax.random.split(each)
        box = draw_crop(where, (h, w), view.scale, view.ratio)
        return box, jax.random.uniform(how, (len(STEPS) + 1, DRAWS))

    def one(drawn):
        boxes, draws = drawn
        mirror = draws[:, -1, 0] < view.flip
        lines = _crop(images, boxes.astype(wide), mirror, fixed)
        lines = changed(lines, draws, view, fixed.steps, fixed.widest)
        kept = wide if images.dtype == jnp.uint8 else images.dtype
        return to_lines(lines).astype(kept)

    views = jnp.arange(numbers.start, numbers.stop)
    drawn = jax.vmap(jax.vmap(draw, (None, 0)), (0, None))(views, index)
    if len(numbers) == 1:
        return one(jax.tree.map(lambda x: x[0], drawn))[None]
    return jax.lax.map(one, drawn)


def _crop(
    images: Array, boxes: Float[Array, "n 4"], mirror: Array, fixed: Fixed
) -> Lines:
    """Crop, flip and size of every picture, as floats in [0, 1].

    Large pictures go through a few at a time: as floats they are four times their
    bytes.
    """
    n, h, w, _ = images.shape
    high, broad = fixed.longest
    sized = functools.partial(resizing, out=fixed.size, cubic=fixed.cubic)

    def some(images, boxes, mirror):
        top, height, left, width = boxes.T
        rows = sized((top, height), h, longest=high)
        cols = sized((left, width), w, longest=broad, mirror=mirror)
        lines = through(to_lines(images), rows, cols)
        scale = 1 / 255 if images.dtype == jnp.uint8 else 1
        return jnp.clip(lines * scale, 0, 1)

    batch = max(1, AT_ONCE // images[0].size)
    if n <= batch:
        return some(images, boxes, mirror)

    def single(each):
        return some(*(x[None] for x in each))[0]

    return jax.lax.map(single, (images, boxes, mirror), batch_size=batch)


def require_range(dtype: jnp.dtype) -> None:
    """`InputError` for whole numbers other than bytes: what is white is not known."""
    if jnp.issubdtype(dtype, jnp.integer) and dtype != jnp.uint8:
        raise InputError(
            f"pictures of {dtype} have no known range: give bytes, or floats in [0, 1]"
        )


def _bounds(view: View, shape: tuple[int, ...]) -> tuple[Sides, float]:
    """The longest sides of crops, and the widest blur: in steps, to compile seldom.

    Only on CPUs are crops bounded, see `resample.Bands`.
    """
    h, w = shape
    radius = view.blur_radius[1] if view.blur else 0
    widest = 2.0 ** math.ceil(math.log2(max(1, radius)))
    if jax.default_backend() != "cpu":
        return (math.inf, math.inf), widest
    (least, most), (narrow, wide) = view.scale, view.ratio
    high, broad = math.sqrt(most * h * w / narrow), math.sqrt(most * h * w * wide)
    low = math.sqrt(least * h * w * min(1 / wide, narrow))
    high, broad = (
        full / 8 * math.ceil(8 * (side + 1) / full)
        for full, side in ((h, high), (w, broad))
    )
    if high > h or broad > w or low < 1:
        high, broad = h, w  # draws may not fit, or be nothing: then any may be whole
    return (high, broad), widest


def _require(view: View, shape: tuple[int, ...], dtype: jnp.dtype) -> None:
    require(view, "view")
    for name in ("scale", "ratio", "blur_radius"):
        value = getattr(view, name)
        if len(value) != 2 or value[0] > value[1]:
            raise InputError(
                f"view.{name}={value!r} must be two numbers, the smaller first: "
                f"{View._field_defaults[name]} is usual"
            )
    require_range(dtype)
    if shape[3] not in (1, 3):
        raise InputError(
            f"pictures of {shape[3]} channels have no views: give one channel for grey "
            "or three for colour"
        )
