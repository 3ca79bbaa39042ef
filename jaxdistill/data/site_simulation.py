"""Other scanners, simulated on real volumes: field, tone, blur and noise of a site.

    v -> unit range -> (b v)^g, less contrast -> blur -> + noise -> v's own range

Site 0 is the volume itself. Each other site has an acquisition of its own, about which
its cases vary a little. Field and tone after Billot et al. (2023), SynthSeg; gamma and
blur as in Zhang et al. (2020), BigAug.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num


class Acquisition(NamedTuple):
    """What a site does to a volume at strength 1."""

    field: float  # log of the bias between two ends
    towards: tuple[float, float, float]  # where the field grows: slices, rows, columns
    gamma: float  # log of the exponent
    mixed: float  # share of a falling tone curve, which takes contrast away
    blur: tuple[float, float, float]  # deviation in voxels
    noise: float  # deviation, in shares of the range


SITES = (
    Acquisition(0, (0, 0, 0), 0, 0, (0, 0, 0), 0),
    Acquisition(1.6, (0.2, 1, 0.4), 0.7, 0, (0, 0, 0), 0.03),
    Acquisition(0.6, (0.5, -0.6, 0.7), -0.7, 0, (0, 0.9, 0.9), 0.05),
    Acquisition(0.5, (-1, 0.2, -0.2), 0.2, 0.3, (0.4, 0, 0), 0.04),
    Acquisition(1.2, (0, -0.3, -1), -0.4, 0, (1.0, 0.3, 0.3), 0.08),
    Acquisition(2.0, (0.7, 0.7, 0), 0.3, 0.2, (0, 0.5, 1.0), 0.02),
)
SPREAD = 0.2  # of a site's cases about its acquisition
RANGE = (0.005, 0.995)  # quantiles that become 0 and 1


def simulate_site(
    volume: Num[np.ndarray, "d h w"], site: int, seed: int, *, strength: float = 1.0
) -> Float[np.ndarray, "d h w"]:
    """The volume as another site would have taken it; a function of its arguments.

    `seed` tells the cases of a site apart; `strength` scales all that is done, 0 does
    nothing. Sites beyond the list start it again, the other way about.
    """
    if site == 0 or strength == 0:
        return volume.astype(np.float32)
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng([seed, site])
    turn, number = divmod(site - 1, len(SITES) - 1)
    does = SITES[number + 1]
    spread = 1 + SPREAD * rng.uniform(-1, 1, 4)
    low, high = np.quantile(volume, RANGE)
    unit = np.clip((volume - low) / max(high - low, 1e-12), 0, 1)
    way = -1 if turn % 2 else 1
    unit = unit * np.exp(_field(volume.shape, does, rng) * strength * spread[0] * way)
    unit = np.clip(unit / max(np.quantile(unit, RANGE[1]), 1e-12), 0, 1)
    unit = unit ** np.exp(strength * spread[1] * way * does.gamma)
    mixed = min(1.0, strength * spread[2] * does.mixed)
    # Falls with grey where there is signal; air stays dark, as on any scanner.
    unit = (1 - mixed) * unit + mixed * (1 - unit) * np.minimum(1, 8 * unit)
    unit = gaussian_filter(unit, [strength * s for s in does.blur], mode="nearest")
    unit += strength * spread[3] * does.noise * rng.standard_normal(unit.shape)
    return (low + (high - low) * unit).astype(np.float32)


def _field(
    shape: tuple[int, ...], does: Acquisition, rng: np.random.Generator
) -> Float[np.ndarray, "d h w"]:
    """The log of a smooth bias: a slope, and a bend that each case has of its own."""
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape]
    places = np.meshgrid(*axes, indexing="ij")
    slope = sum(a * place for a, place in zip(does.towards, places, strict=True))
    bend = sum(
        a * (place**2 - 1 / 3)
        for a, place in zip(rng.uniform(-0.5, 0.5, 3), places, strict=True)
    )
    return does.field / 2 * np.asarray(slope + bend)
