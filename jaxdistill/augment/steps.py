"""What is done to the crops of a view, step by step, to each picture as it was drawn.

Different from the published loops: brightness, contrast, saturation and hue come in
this order where torchvision shuffles them; rotation is bilinear where it takes the
nearest; blur is the Gaussian itself where Pillow takes three boxes.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.augment import tone
from jaxdistill.augment.presets import View
from jaxdistill.augment.resample import Lines, blur, rotate

DRAWS = 5  # numbers that a step may draw for a picture
Drawn = Float[Array, "n 5"]
Step = Callable[[Lines, Drawn, View, float], Lines]  # the last: no blur is wider


def changed(
    lines: Lines,
    draws: Float[Array, "n steps 5"],
    view: View,
    names: Sequence[str],
    widest: float,
) -> Lines:
    """The steps of these names, in their order, with the draws of `STEPS` in theirs."""
    place = list(STEPS).index

    def turn(step: Step, u: Drawn) -> Callable[[Lines], Lines]:
        return lambda lines: step(lines, u, view, widest)

    turns = [
        turn(step, draws[:, place(name)])
        for name in names
        for step in STEPS[name]
        if step not in IN_COLOUR or lines.shape[2] > 1
    ]
    if jax.default_backend() != "cpu":
        return functools.reduce(lambda lines, turn: turn(lines), turns, lines)
    if not turns:
        return lines

    # One after another, the compiler for CPUs would work a step out anew for every
    # pixel of the next that reads it; between turns of a loop there are pixels.
    def taken(i: Array, lines: Lines) -> Lines:
        return jax.lax.switch(i, turns, lines)

    return jax.lax.fori_loop(0, len(turns), taken, lines)


def _step(does: Callable, share: str) -> Step:
    """An operation without numbers of its own, as often as the view says."""

    def step(lines, u, view, widest):
        return _where(u[:, 0] < getattr(view, share), does(lines), lines)

    return step


def _rotate(lines: Lines, u: Drawn, view: View, widest: float) -> Lines:
    return rotate(lines, jnp.radians((2 * u[:, 0] - 1) * view.rotate))


def _tones(lines: Lines, u: Drawn, view: View, widest: float) -> Lines:
    changes = 2 * u[:, 1:] - 1
    new = tone.brightness(lines, 1 + changes[:, 0] * view.brightness)
    new = tone.contrast(new, 1 + changes[:, 1] * view.contrast)
    new = tone.saturation(new, 1 + changes[:, 2] * view.saturation)
    return _where(u[:, 0] < view.colour, new, lines)


def _hue(lines: Lines, u: Drawn, view: View, widest: float) -> Lines:
    new = tone.hue(lines, (2 * u[:, 4] - 1) * view.hue)
    return _where(u[:, 0] < view.colour, new, lines)


def _blur(lines: Lines, u: Drawn, view: View, widest: float) -> Lines:
    low, high = view.blur_radius
    radius = low + u[:, 1] * (high - low)
    radius = jnp.where(u[:, 0] < view.blur, radius, 0).astype(lines.dtype)
    return blur(lines, radius, widest)


def _where(chosen: Array, then: Lines, other: Lines) -> Lines:
    return jnp.where(chosen[:, None, None, None], then, other)


_grey = _step(tone.grey, "grey")
STEPS: dict[str, tuple[Step, ...]] = {
    "rotate": (_rotate,),
    "colour": (_tones, _hue),
    "grey": (_grey,),
    "autocontrast": (_step(tone.autocontrast, "autocontrast"),),
    "equalise": (_step(tone.equalise, "equalise"),),
    "blur": (_blur,),
    "solarise": (_step(tone.solarise, "solarise"),),
}
IN_COLOUR = (_hue, _grey)  # nothing to do for one channel
