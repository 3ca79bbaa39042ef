"""Chest films drawn from formulas: a set to learn, test and demonstrate on, offline.

Four findings share one anatomy. What tells them apart is local texture at random places
and of random phase; haze of equal brightness lies in every class, and exposure varies,
so that no fixed pixel carries the label. The proportions are those of the COVID-19
Radiography set (3,616 : 6,012 : 10,192 : 1,345). Nothing here is a model of disease.
"""

from typing import Annotated, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from jaxdistill.data.pool import Raw, Whiten, make_pool
from jaxdistill.errors import InputError
from jaxdistill.ranges import Listed, Many, Range, Seed, words_of
from jaxdistill.settings import Small, declared
from jaxdistill.types import Pool

CLASS_NAMES = ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")
NAMED = tuple(name.replace(" ", "_") for name in CLASS_NAMES)  # as settings have them
PROPORTIONS = np.array([3616, 6012, 10192, 1345])
COVID, OPACITY, NORMAL, VIRAL = range(4)
LEAST_HELD_OUT = 40  # images per class of val and test, so that scores mean something
CHUNK = (
    256  # images drawn at once; part of the recipe, since it orders the random draws
)

Field = Float[np.ndarray, "n _ _"]  # or n 1 1, one value a film


class Pose(NamedTuple):
    """Pixel coordinates in the patient's own frame, and where the lungs are."""

    x: Field
    y: Field
    lungs: Field  # 1 inside a lung, 0 outside
    rim: Field  # 1 at the outer edge of the chest, 0 at its middle


@declared("data")
def phantom(
    size: Annotated[int, Range(16, 4096), "pixels a side", Small(16)] = 32,
    seed: Annotated[Seed, "of the films"] = 0,
    train: Annotated[Many, "training films"] = 2000,
    val: Annotated[Many, "validation films"] = 400,
    test: Annotated[Many, "test films"] = 600,
    *,
    variation: Annotated[float, Range(0, 3), "how much films differ"] = 1.0,
    findings: Annotated[
        str, Listed(NAMED, empty=True), "findings to draw; empty: all four"
    ] = "",
    zca: Whiten = False,
) -> Pool:
    """Procedural chest films in four classes or some of them, no download.

    `variation` scales how much anatomy, exposure, noise and severity differ between
    images: 0.2 is minor, 1.5 great. Validation and test hold at least 40 of each class.
    Raises `InputError` for a size below 16 or a split too small for its classes.
    """
    drawn = np.array([NAMED.index(name) for name in words_of(findings) or NAMED])
    counts = {
        "train": _counts("train", train, drawn, least=1),
        "val": _counts("val", val, drawn, least=LEAST_HELD_OUT),
        "test": _counts("test", test, drawn, least=LEAST_HELD_OUT),
    }
    splits, first = {}, 0
    for number, (split, per_class) in enumerate(counts.items()):
        rng = np.random.default_rng([seed, number])
        labels = rng.permutation(np.repeat(np.arange(len(drawn)), per_class))
        chunks = [
            _draw(drawn[labels[at : at + CHUNK]], size, variation, rng)
            for at in range(0, len(labels), CHUNK)
        ]
        groups = np.arange(first, first + len(labels))  # one film per patient
        splits[split] = Raw(np.concatenate(chunks)[..., None], labels, groups)
        first += len(labels)
    names = tuple(CLASS_NAMES[number] for number in drawn)
    return make_pool("phantom", splits, names, zca=zca)


def _counts(split: str, total: int, drawn: np.ndarray, least: int) -> np.ndarray:
    """Images per class in the proportions of the real set, by largest remainder."""
    if total < least * len(drawn):
        raise InputError(
            f"data.{split}={total} is too few for {len(drawn)} classes of at "
            f"least {least}: use {least * len(drawn)} or more"
        )
    share = PROPORTIONS[drawn] / PROPORTIONS[drawn].sum() * total
    counts = np.floor(share).astype(int)
    counts[np.argsort(counts - share)[: total - counts.sum()]] += 1
    return np.maximum(counts, least)


def _draw(
    labels: np.ndarray, size: int, variation: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "n s s"]:
    """One film per label: anatomy, haze, the class's texture, exposure, grain."""
    n = len(labels)
    draw = _Draws(rng, n, variation)
    pose = _pose(draw, size)
    film = _anatomy(draw, pose)
    film += _haze(draw, pose) + _finding(draw, pose, labels, size)
    film += _marks(draw, pose)
    gamma, gain = draw.spread(1.0, 0.2), draw.spread(0.85, 0.1)
    offset, grain = draw.spread(0.06, 0.05), draw.spread(0.02, 0.01)
    film = offset + gain * np.clip(film, 0.01, 1.2) ** gamma
    film += grain * rng.standard_normal(film.shape, dtype=np.float32)
    return np.clip(np.rint(255 * film), 0, 255).astype(np.uint8)


class _Draws:
    """Random numbers per image, shaped to broadcast over its pixels."""

    def __init__(self, rng: np.random.Generator, n: int, variation: float):
        self.rng, self.n, self.variation = rng, n, float(variation)

    def uniform(self, low: float, high: float) -> Field:
        """Uniform, whatever the variation: phases, places, orientations."""
        return self.rng.uniform(low, high, (self.n, 1, 1)).astype(np.float32)

    def spread(self, centre: float, half: float) -> Field:
        """Uniform about a centre, as wide as the variation asks; never changes sign."""
        value = centre + self.variation * self.uniform(-half, half)
        return np.maximum(value, 0.1 * centre) if centre > 0 else value

    def side(self) -> Field:
        """-1 or 1, one of the two lungs."""
        return np.where(self.uniform(0, 1) < 0.5, -1, 1).astype(np.float32)


def _pose(draw: _Draws, size: int) -> Pose:
    axis = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
    v, u = np.meshgrid(axis, axis, indexing="ij")
    turn = draw.spread(0.0, 0.12)
    u, v = u - draw.spread(0.0, 0.12), v - draw.spread(0.0, 0.12)
    x = (np.cos(turn) * u + np.sin(turn) * v) / draw.spread(1.0, 0.12)
    y = (np.cos(turn) * v - np.sin(turn) * u) / draw.spread(1.0, 0.12)
    width, height = draw.spread(0.38, 0.04), draw.spread(0.70, 0.07)
    r = np.hypot((np.abs(x) - draw.spread(0.47, 0.03)) / width, (y + 0.05) / height)
    lungs = _step((1 - r) * 7)
    return Pose(x, y, lungs, np.clip((np.abs(x) - 0.25) / 0.45, 0, 1))


def _anatomy(draw: _Draws, pose: Pose) -> Field:
    """Soft tissue, lungs, spine, heart, diaphragm and ribs."""
    x, y, lungs, _ = pose
    film = draw.spread(0.66, 0.06) - draw.spread(0.42, 0.08) * lungs
    film = film + draw.spread(0.18, 0.06) * np.exp(-((x / 0.13) ** 2))
    heart = np.hypot(
        (x - draw.spread(0.12, 0.06)) / draw.spread(0.27, 0.06), (y - 0.30) / 0.32
    )
    film += draw.spread(0.26, 0.08) * _step((1 - heart) * 6)
    film += 0.26 * _step(
        (y - draw.spread(0.70, 0.08) + 0.3 * (np.abs(x) - 0.4) ** 2) * 9
    )
    arcs = draw.spread(13.0, 2.0) * (y + draw.spread(0.45, 0.15) * x**2)
    ribs = np.cos(arcs + draw.uniform(0, 2 * np.pi)) * _step((0.95 - np.abs(x)) * 9)
    return film + draw.spread(0.04, 0.02) * ribs


def _haze(draw: _Draws, pose: Pose) -> Field:
    """Smooth clouding in every class, so that brightness alone names none of them."""
    haze = np.zeros_like(pose.x)
    for _ in range(2):
        radius, side = draw.spread(0.35, 0.12), draw.side()
        haze += draw.spread(0.10, 0.08) * _blob(draw, pose, radius, side) ** 2
    return haze * pose.lungs


def _finding(draw: _Draws, pose: Pose, labels: np.ndarray, size: int) -> Field:
    """The texture that makes the class, drawn only for the images that carry it."""
    result = np.zeros_like(pose.x)
    drawers = {COVID: _mottle, OPACITY: _consolidation, VIRAL: _reticulum}
    for label, drawer in drawers.items():
        rows = np.flatnonzero(labels == label)
        if not len(rows):
            continue
        sub = _Draws(draw.rng, len(rows), draw.variation)
        part = Pose(*(field[rows] for field in pose))
        result[rows] = drawer(sub, part, size) * part.lungs
    return result


def _mottle(draw: _Draws, pose: Pose, size: int) -> Field:
    """Ground glass: patches of fine isotropic grain towards the edge of both lungs."""
    grain = sum(_wave(draw, pose, draw.spread(0.17, 0.02), size) for _ in range(6))
    patches = np.zeros_like(pose.x)
    for side in (-1, 1, draw.side()):
        patch = _blob(draw, pose, draw.spread(0.42, 0.08), side, edge=3.0)
        patches = np.maximum(patches, patch)
    patches *= 0.5 + 0.5 * pose.rim
    return patches * (draw.spread(0.06, 0.03) + draw.spread(0.19, 0.04) * grain)


def _consolidation(draw: _Draws, pose: Pose, size: int) -> Field:
    """One dense area with a sharp edge, anywhere in the lungs."""
    del size
    area = _blob(draw, pose, draw.spread(0.25, 0.05), draw.side(), edge=9.0)
    return draw.spread(0.40, 0.07) * area


def _reticulum(draw: _Draws, pose: Pose, size: int) -> Field:
    """A net of thin lines over both lungs, of zero mean."""
    turn, length = draw.uniform(0, np.pi), draw.spread(0.38, 0.04)
    net = _lines(draw, pose, length, turn, size)
    net += _lines(draw, pose, length, turn + draw.spread(np.pi / 2, 0.4), size)
    return draw.spread(0.38, 0.06) * net


def _marks(draw: _Draws, pose: Pose) -> Field:
    """Leads and electrodes that any film may carry."""
    turn, shift = draw.uniform(-0.7, 0.7), draw.uniform(-0.8, 0.8)
    lead = np.exp(-(((pose.x + turn * pose.y - shift) / 0.03) ** 2))
    spot = np.hypot(pose.x - draw.uniform(-0.9, 0.9), pose.y - draw.uniform(-0.9, 0.9))
    has_lead = draw.uniform(0, 1) < 0.25
    has_spot = draw.uniform(0, 1) < 0.25
    return 0.25 * has_lead * lead + 0.35 * has_spot * _step((0.09 - spot) * 40)


def _blob(
    draw: _Draws, pose: Pose, radius: Field, side: Field | int, edge: float = 1.5
) -> Field:
    """An ellipse centred in the lung on that side; a greater `edge` is sharper."""
    dx = pose.x - side * draw.uniform(0.28, 0.62)
    dy = pose.y - draw.uniform(-0.5, 0.35)
    stretch = 1 + draw.spread(0.0, 0.3)
    return _step((1 - np.hypot(dx * stretch, dy / stretch) / radius) * edge)


def _phase(draw: _Draws, pose: Pose, length: Field, turn: Field, size: int) -> Field:
    """Angle of a plane wave of random phase, its wavelength resolved by the pixels."""
    length = np.maximum(length, 2.5 * 2 / size)  # 2.5 pixels: above the sampling limit
    along = np.cos(turn) * pose.x + np.sin(turn) * pose.y
    return 2 * np.pi / length * along + draw.uniform(0, 2 * np.pi)


def _wave(draw: _Draws, pose: Pose, length: Field, size: int) -> Field:
    turn = draw.uniform(0, np.pi)
    return np.cos(_phase(draw, pose, length, turn, size)) / np.float32(3**0.5)


def _lines(draw: _Draws, pose: Pose, length: Field, turn: Field, size: int) -> Field:
    ridge = np.exp(3 * (np.cos(_phase(draw, pose, length, turn, size)) - 1))
    return ridge - np.float32(0.2430)  # the mean of the ridge, I0(3) / e^3


def _step(x: Field) -> Field:
    return 0.5 * (1 + np.tanh(x))
