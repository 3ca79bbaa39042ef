"""Prostate MRI of six sites drawn from formulas: to learn, test and show on, offline.

Every case has a gland of its own shape among bladder, rectum, muscles and bones. Sites
share this anatomy and differ in how they see it: grey values of tissues, tone, coil,
bias field, resolution, noise and spacing, in the ways in which the six sites of the
published set do (two with an endorectal coil). Nothing here is a model of disease.
"""

from typing import Annotated, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from jaxdistill.data.case_files import normalised
from jaxdistill.data.site_pool import make_site_pool
from jaxdistill.ranges import Range, Seed
from jaxdistill.settings import Small, declared
from jaxdistill.types import Case, SitePool

Field = Float[np.ndarray, "d h w"]
# Grey of each tissue on the mean of the scanners; sites multiply it.
GREYS = {
    "air": 0.03,
    "fat": 0.80,
    "pelvis": 0.52,
    "muscle": 0.24,
    "bone": 0.55,
    "bladder": 0.92,
    "rectum": 0.30,
    "vesicles": 0.75,
    "central": 0.40,
    "peripheral": 0.70,
}


class Scanner(NamedTuple):
    """A site: where its slices lie, and what it does to greys at strength 1."""

    view: float  # mm that a slice is wide
    gap: float  # mm between slices
    gamma: float  # log of the exponent of the tone
    field: tuple[float, float]  # log of the bias from left to right, top to bottom
    coil: float  # brightness beside an endorectal coil, of its own greys
    blur: float  # deviation in mm
    noise: float
    greys: dict[str, float]  # logs of what tissues are multiplied by


SITES = {
    "S1": Scanner(
        *(128, 3.6, 0.1, (0.3, -0.2), 0, 0.8, 0.03),
        {"central": 0.5, "peripheral": 0.0, "pelvis": 0.35, "muscle": 0.7},
    ),
    "S2": Scanner(
        *(122, 4.0, 0.2, (0.1, 0.8), 2.6, 1.2, 0.06),
        {"fat": -0.5, "pelvis": -0.5, "central": -0.5, "peripheral": -0.2},
    ),
    "S3": Scanner(
        *(138, 3.0, -0.5, (-0.6, 0.2), 0, 0.5, 0.04),
        {"fat": -1.3, "pelvis": -0.5, "bone": -0.8, "central": 0.35, "muscle": 0.3},
    ),
    "S4": Scanner(
        *(134, 3.3, 0.45, (0.8, 0.3), 0, 1.0, 0.05),
        {"peripheral": -0.6, "central": -0.1, "bladder": -0.3, "rectum": 0.6},
    ),
    "S5": Scanner(
        *(120, 3.4, 0.3, (-0.3, 1.0), 3.4, 1.5, 0.07),
        {"central": 0.6, "peripheral": -0.5, "pelvis": 0.2, "vesicles": -0.6},
    ),
    "S6": Scanner(
        *(142, 3.8, -0.3, (0.7, -0.6), 0, 1.8, 0.05),
        {"peripheral": -0.8, "central": -0.4, "pelvis": 0.3, "bladder": -0.9},
    ),
}


@declared("data")
def prostate_phantom(
    size: Annotated[int, Range(16, 1024), "pixels a side", Small(32)] = 64,
    slices: Annotated[int, Range(4, 256), "slices a case", Small(6)] = 12,
    cases: Annotated[int, Range(2, 10_000), "cases a site", Small(2)] = 8,
    seed: Annotated[Seed, "of the patients"] = 0,
    *,
    strength: Annotated[float, Range(0, 3), "how much sites differ; 0: not"] = 1.0,
    variation: Annotated[float, Range(0, 3), "how much patients differ"] = 1.0,
) -> SitePool:
    """Procedural prostate MRI of the sites S1 to S6, no download; masks of the gland.

    A patient is a function of seed, site and number: more cases change none.
    """
    made = []
    for place, (site, scanner) in enumerate(SITES.items()):
        scanner = _weakened(scanner, strength)
        pixel, gap = scanner.view / size, scanner.gap * 12 / slices
        axes = [gap * _about_middle(slices), *[pixel * _about_middle(size)] * 2]
        for number in range(cases):
            rng = np.random.default_rng([seed, place, number])
            image, mask = _draw(_Patient(rng, variation, axes), scanner, pixel)
            name, spacing = f"{site}_{number:03}", (gap, pixel, pixel)
            image = normalised(image[..., None])
            made.append(Case(name, site, image, mask, spacing))
    return make_site_pool("prostate_phantom", made, ("background", "prostate"))


class _Patient:
    """Random numbers of one patient, and places in mm about the gland's centre."""

    def __init__(self, rng: np.random.Generator, variation: float, axes: list):
        self.rng, self.variation = rng, float(variation)
        moved = [axis - self.about(0, 5) for axis in axes]
        # To the head, to the back, to the left.
        self.z, self.y, self.x = np.meshgrid(*moved, indexing="ij", sparse=True)

    def about(self, centre: float, half: float) -> float:
        """Uniform about a centre, as wide as patients vary."""
        return centre + self.variation * float(self.rng.uniform(-half, half))

    def ball(self, centre: tuple, radii: tuple, spread: float = 0.12) -> Field:
        """1 at the middle of an ellipsoid, 0 on its surface; (x, y, z) in mm."""
        squares = 0.0
        for place, c, r in zip((self.x, self.y, self.z), centre, radii, strict=True):
            c, r = self.about(c, 2.5), r * self.about(1.0, spread)
            squares = squares + ((place - c) / r) ** 2
        return 1 - np.sqrt(squares)

    def texture(self, length: float, waves: int = 10) -> Field:
        """A field of mean 0 and deviation 1 whose waves are about `length` mm long."""
        total = np.zeros(np.broadcast_shapes(self.x.shape, self.y.shape, self.z.shape))
        for _ in range(waves):
            towards = self.rng.normal(size=3)
            towards *= 2 * np.pi / (length * np.linalg.norm(towards))
            # cos(a + b + c) by factors of one axis each: no cosine of every voxel.
            a, b, c = (
                np.exp(1j * t * place)
                for t, place in zip(towards, (self.x, self.y, self.z), strict=True)
            )
            phase = np.exp(1j * self.rng.uniform(0, 2 * np.pi))
            total += (a * (b * (c * phase))).real
        return total * np.sqrt(2 / waves)


def _draw(
    patient: _Patient, scanner: Scanner, pixel: float
) -> tuple[Field, UInt8[np.ndarray, "d h w"]]:
    """One case as its site sees it, and the mask of its gland."""
    gland = _gland(patient)
    image = _anatomy(patient, gland, scanner, sharp=min(1.0, 1.2 / pixel))
    return _seen(image, patient, scanner, pixel), (gland > 0).astype(np.uint8)


def _about_middle(count: int) -> Float[np.ndarray, " n"]:
    return np.arange(count) - (count - 1) / 2


def _gland(patient: _Patient) -> Field:
    """Above 0 in the gland: an ellipsoid, bent, wider at the base, hollow behind."""
    height, width = patient.about(19, 3), patient.about(24, 4)
    depth = patient.about(16, 3)
    up = patient.z / height
    taper = 1 + patient.about(0.18, 0.1) * np.clip(up, -1, 1)
    x = (patient.x - patient.about(0, 2) * up) / (width * taper)
    y = (patient.y - patient.about(0, 3) * up) / (depth * taper)
    angle, flat = np.arctan2(y, x), x**2 + y**2
    bent = -patient.about(0.12, 0.06) * np.exp(-(((angle - np.pi / 2) / 0.5) ** 2))
    for order in (2, 3, 4):
        share = 0.06 * patient.variation / (order - 1)
        bent += patient.about(0, share) * np.cos(
            order * (angle - patient.rng.uniform(0, 2 * np.pi))
        )
    # Bent less towards the middle, where angles mean nothing: tips stay whole.
    return 1 + bent * flat / (flat + 0.3) - np.sqrt(flat + up**2)


def _anatomy(patient: _Patient, gland: Field, scanner: Scanner, sharp: float) -> Field:
    """Grey values, each tissue over those before it, with soft edges."""
    grey = {
        name: value * np.exp(scanner.greys.get(name, 0)) * patient.about(1, 0.1)
        for name, value in GREYS.items()
    }
    image = np.full(gland.shape, grey["air"])

    def lay(inside: Field, value: Field | float, edge: float = 14.0) -> None:
        nonlocal image
        cover = 0.5 * (1 + np.tanh(inside * edge * sharp))
        image = image + cover * (value - image)

    rough = 1 + 0.08 * patient.texture(14)
    lay(patient.ball((0, 2, 0), (80, 64, 300), 0.05), grey["fat"])
    lay(patient.ball((0, 2, 0), (66, 50, 300), 0.05), grey["pelvis"] * rough)
    for side in (-1, 1):
        lay(patient.ball((side * 60, -4, 4), (17, 20, 30)), grey["bone"])
        lay(patient.ball((side * 42, 0, 0), (9, 26, 60)), grey["muscle"] * rough)
        lay(patient.ball((side * 27, 8, -20), (7, 16, 18)), grey["muscle"])
        lay(patient.ball((side * 13, 13, 22), (14, 6, 8)), grey["vesicles"] * rough)
    lay(patient.ball((0, -40, -8), (14, 12, 26)), grey["bone"])
    lay(patient.ball((0, -10, 33), (27, 20, 16)), grey["bladder"])
    filled = np.tanh(scanner.coil)  # a coil stretches the rectum, and is dark
    reach = 12 + 5 * filled
    rectum = patient.ball((0, 19 + reach, 0), (reach + 3, reach, 80))
    lay(rectum, grey["muscle"])
    content = grey["rectum"] * patient.about(1.0, 0.9)
    lay(rectum - 0.18, content + filled * (GREYS["air"] - content))
    lay(gland, grey["peripheral"] * (1 + 0.14 * patient.texture(9)))
    middle = gland - 0.22 - 0.012 * (patient.y + 2)
    nodules = 1 + 0.22 * patient.texture(11)
    lay(middle, grey["central"] * nodules, edge=10)
    return image


def _seen(image: Field, patient: _Patient, scanner: Scanner, pixel: float) -> Field:
    """Coil, bias field, blur, tone and noise, one after another."""
    from scipy.ndimage import gaussian_filter

    across, down = (a * patient.about(1, 0.4) for a in scanner.field)
    bias = across * patient.x / 120 + down * patient.y / 120
    image = image * np.exp(bias + 0.12 * patient.texture(90, waves=3))
    away = patient.x**2 + (patient.y - patient.about(32, 3)) ** 2
    image = image * (1 + scanner.coil * patient.about(1, 0.3) / (1 + away / 16**2))
    image = gaussian_filter(image, (0, scanner.blur / pixel, scanner.blur / pixel))
    image = image / np.quantile(image, 0.99)
    image = image ** np.exp(scanner.gamma + patient.about(0, 0.1))
    # Rician: the length of a signal with noise in both of its parts.
    noise = scanner.noise * patient.about(1, 0.3)
    parts = patient.rng.normal(0, noise, (2, *image.shape))
    return np.hypot(image + parts[0], parts[1])


def _weakened(scanner: Scanner, strength: float) -> Scanner:
    """The scanner as far from what is usual as `strength` says."""

    def off(name: str) -> float:
        usual = np.mean([getattr(one, name) for one in SITES.values()])
        return max(usual + strength * (getattr(scanner, name) - usual), 0.3 * usual)

    across, down = scanner.field
    return Scanner(
        view=off("view"),
        gap=off("gap"),
        gamma=strength * scanner.gamma,
        field=(strength * across, strength * down),
        coil=strength * scanner.coil,
        blur=off("blur"),
        noise=off("noise"),
        greys={name: strength * log for name, log in scanner.greys.items()},
    )
