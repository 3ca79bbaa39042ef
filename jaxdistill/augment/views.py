"""Views of pictures for self-supervised learning, made on the device, batched.

    crop -> flip -> rotate -> colour -> grey -> autocontrast -> equalise -> blur
         -> solarise

Each with its own probability, drawn for every picture on its own: a view is a function
of `(key, index of the picture)` and of nothing else in the batch. Crop, flip and size
are one interpolation, two products with weights; what a view never does is not
compiled, and changing probabilities or ranges compiles nothing again, unless on a CPU
the longest crop (in eighths of a side) or the widest blur (a power of two) is another.

Different from the published loops: brightness, contrast, saturation and hue come in
this order where torchvision shuffles them; rotation is bilinear where it takes the
nearest; blur is the Gaussian itself where Pillow takes three boxes.
"""

import functools
import math
from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from jaxdistill.augment import tone
from jaxdistill.augment.resample import (
    Lines,
    blur,
    draw_crop,
    resizing,
    rotate,
    through,
    to_lines,
)
from jaxdistill.errors import InputError
from jaxdistill.ranges import Each, Pixels, Range
from jaxdistill.settings import Small, require
from jaxdistill.types import Images, PRNGKey

Share = Annotated[float, Range(0, 1)]
Bytes = UInt8[Array, "n h w c"]

AT_ONCE = 1 << 24  # values cropped together: bytes become floats no faster than this


class View(NamedTuple):
    """What a kind of view does, and how often. Radii and sizes are in pixels."""

    size: Annotated[Pixels, "side of the view, in pixels", Small(32)] = 224
    cubic: Annotated[bool, "bicubic crops; bilinear otherwise"] = True
    scale: Annotated[
        tuple, Each(Range(0, 1, above=True)), "share of the area cropped: from, to"
    ] = (0.2, 1.0)
    ratio: Annotated[
        tuple, Each(Range(0, 100, above=True)), "width over height of crops: from, to"
    ] = (3 / 4, 4 / 3)
    flip: Annotated[Share, "how often left and right are exchanged"] = 0.5
    rotate: Annotated[float, Range(0, 180), "most degrees turned, either way"] = 0.0
    colour: Annotated[Share, "how often the four below change"] = 0.0
    brightness: Annotated[Share, "most that brightness changes by, a share"] = 0.4
    contrast: Annotated[Share, "most that contrast changes by, a share"] = 0.4
    saturation: Annotated[Share, "most that saturation changes by, a share"] = 0.2
    hue: Annotated[float, Range(0, 0.5), "most that hue turns by, in circles"] = 0.1
    grey: Annotated[Share, "how often colour is lost"] = 0.0
    autocontrast: Annotated[Share, "how often tones are stretched to [0, 1]"] = 0.0
    equalise: Annotated[Share, "how often the histogram is equalised"] = 0.0
    blur: Annotated[Share, "how often blurred"] = 0.0
    blur_radius: Annotated[
        tuple, Each(Range(0, 100)), "deviation of the Gaussian, in pixels: from, to"
    ] = (0.1, 2.0)
    solarise: Annotated[Share, "how often bright tones are inverted"] = 0.0


Sides = tuple[float, float]  # height, width


class Fixed(NamedTuple):
    """What a program is compiled for, beside shapes."""

    size: int
    cubic: bool
    steps: tuple[str, ...]
    longest: Sides  # no crop is higher, and none is wider, in pixels
    widest: float  # no blur is wider, in pixels


Step = Callable[[Lines, Array, View, Fixed], Lines]  # of lines and five draws each


_DISTL = View(rotate=15.0, autocontrast=0.5, equalise=0.5, blur=0.5)
_DINO = View(colour=0.8, grey=0.2)

#: As published; "whole" is the largest square in the middle. DISTL: Park et al. (2022),
#: arXiv:2202.06431; DINO: Caron et al. (2021), arXiv:2104.14294; BYOL: Grill et al.
#: (2020), arXiv:2006.07733; SimSiam: Chen and He (2021), arXiv:2011.10566; MAE: He et
#: al. (2022), arXiv:2111.06377.
PRESETS: dict[str, View] = {
    "whole": View(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0),
    "distl_global": _DISTL._replace(
        size=256, scale=(0.75, 1.0), autocontrast=0.3, equalise=0.3, blur=0.3
    ),
    "distl_local": _DISTL._replace(size=128, scale=(0.2, 0.6)),
    "dino_first": _DINO._replace(scale=(0.4, 1.0), blur=1.0),
    "dino_second": _DINO._replace(scale=(0.4, 1.0), blur=0.1, solarise=0.2),
    "dino_local": _DINO._replace(size=96, scale=(0.05, 0.4), blur=0.5),
    "byol_first": _DINO._replace(scale=(0.08, 1.0), blur=1.0),
    "byol_second": _DINO._replace(scale=(0.08, 1.0), blur=0.1, solarise=0.2),
    "simsiam": _DINO._replace(cubic=False, saturation=0.4, blur=0.5),
    "mae": View(),
}


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
    steps = tuple(
        name
        for name in STEPS
        if getattr(view, name) and not (name in COLOURS and images.shape[3] == 1)
    )
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

    def one(number):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(
            jax.random.fold_in(key, number), index
        )
        parts = jax.vmap(jax.random.split)(keys)
        boxes = jax.vmap(lambda k: draw_crop(k, (h, w), view.scale, view.ratio))(
            parts[:, 0]
        )
        draws = jax.vmap(lambda k: jax.random.uniform(k, (len(STEPS) + 1, 5)))(
            parts[:, 1]
        )
        mirror = draws[:, -1, 0] < view.flip
        lines = _crop(images, boxes.astype(wide), mirror, fixed)
        for name in fixed.steps:
            u = draws[:, list(STEPS).index(name)]
            lines = STEPS[name](_once(lines), u, view, fixed)
        kept = wide if images.dtype == jnp.uint8 else images.dtype
        return to_lines(lines).astype(kept)

    if len(numbers) == 1:
        return one(numbers.start)[None]
    return jax.lax.map(one, jnp.arange(numbers.start, numbers.stop))


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
        lines = through(to_lines(images).astype(boxes.dtype), rows, cols)
        scale = 1 / 255 if images.dtype == jnp.uint8 else 1
        return jnp.clip(lines * scale, 0, 1)

    batch = max(1, AT_ONCE // images[0].size)
    if n <= batch:
        return some(images, boxes, mirror)

    def single(each):
        return some(*(x[None] for x in each))[0]

    return jax.lax.map(single, (images, boxes, mirror), batch_size=batch)


def _step(does: Callable, share: str) -> Step:
    """An operation without numbers of its own, as often as the view says."""

    def step(lines, u, view, _):
        return _where(u[:, 0] < getattr(view, share), does(lines), lines)

    return step


def _rotate(lines: Lines, u: Float[Array, "n 5"], view: View, _: Fixed) -> Lines:
    return rotate(lines, jnp.radians((2 * u[:, 0] - 1) * view.rotate))


def _colour(lines: Lines, u: Float[Array, "n 5"], view: View, _: Fixed) -> Lines:
    changes = 2 * u[:, 1:] - 1
    new = tone.brightness(lines, 1 + changes[:, 0] * view.brightness)
    new = tone.contrast(new, 1 + changes[:, 1] * view.contrast)
    new = tone.saturation(new, 1 + changes[:, 2] * view.saturation)
    new = tone.hue(_once(new), changes[:, 3] * view.hue)
    return _where(u[:, 0] < view.colour, new, lines)


def _blur(lines: Lines, u: Float[Array, "n 5"], view: View, fixed: Fixed) -> Lines:
    low, high = view.blur_radius
    radius = low + u[:, 1] * (high - low)
    radius = jnp.where(u[:, 0] < view.blur, radius, 0).astype(lines.dtype)
    return blur(lines, radius, fixed.widest)


def _once(lines: Lines) -> Lines:
    """Lines that are computed before they are used.

    Left alone, the compiler for CPUs works a step out anew for every channel and every
    pixel of the next that reads it.
    """
    return jax.lax.optimization_barrier(lines)


def _where(chosen: Array, then: Lines, other: Lines) -> Lines:
    return jnp.where(chosen[:, None, None, None], then, other)


STEPS: dict[str, Step] = {
    "rotate": _rotate,
    "colour": _colour,
    "grey": _step(tone.grey, "grey"),
    "autocontrast": _step(tone.autocontrast, "autocontrast"),
    "equalise": _step(tone.equalise, "equalise"),
    "blur": _blur,
    "solarise": _step(tone.solarise, "solarise"),
}
COLOURS = ("grey",)  # nothing to do for one channel


def require_range(dtype: jnp.dtype) -> None:
    """`InputError` for whole numbers other than bytes: what is white is not known."""
    if jnp.issubdtype(dtype, jnp.integer) and dtype != jnp.uint8:
        raise InputError(
            f"pictures of {dtype} have no known range: give bytes, or floats in [0, 1]"
        )


def _bounds(view: View, shape: tuple[int, ...]) -> tuple[Sides, float]:
    """The longest sides of crops, and the widest blur: in steps, to compile seldom.

    Only products on CPUs are bounded by them, see `resample.Bands`.
    """
    h, w = shape
    if jax.default_backend() != "cpu":
        return (math.inf, math.inf), math.inf
    (least, most), (narrow, wide) = view.scale, view.ratio
    high, broad = math.sqrt(most * h * w / narrow), math.sqrt(most * h * w * wide)
    low = math.sqrt(least * h * w * min(1 / wide, narrow))
    high, broad = (
        full / 8 * math.ceil(8 * (side + 1) / full)
        for full, side in ((h, high), (w, broad))
    )
    if high > h or broad > w or low < 1:
        high, broad = h, w  # draws may not fit, or be nothing: then any may be whole
    radius = view.blur_radius[1] if view.blur else 0
    return (high, broad), 2.0 ** math.ceil(math.log2(max(1, radius)))


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
