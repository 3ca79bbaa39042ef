"""What augments slices with their masks elsewhere, one by one: MONAI, or SciPy.

Both take the operations, probabilities and strengths of `Paired`. SciPy's are the same
to the distribution of every number that is drawn, so that what a student learns under
either can be compared; MONAI's own transforms come near, and are timed alone.
"""

import math
import os

import numpy as np
from scipy import ndimage

from jaxdistill.augment.paired import Paired

DEGREE = 3  # of a bias field


def monai_side(policy: Paired, side: int):
    """A transform of one slice and its mask, from MONAI's own."""
    import torch
    from monai import transforms as T

    torch.set_num_threads(os.cpu_count() or 1)
    p, both, modes = policy, ["image", "label"], ("bilinear", "nearest")
    # One transform for rotation, scale and shift: the probability that any is drawn.
    affine = 1 - (1 - p.rotation_p) * (1 - p.scale_p) * (1 - p.shift_p)
    reach = p.elastic * side
    return T.Compose(
        [
            T.RandFlipd(both, prob=p.left_right, spatial_axis=1),
            T.RandAffined(
                both,
                prob=affine,
                rotate_range=np.radians(p.rotation),
                scale_range=p.scale,
                translate_range=p.shift * side,
                mode=modes,
                padding_mode="border",
            ),
            T.Rand2DElasticd(
                both,
                spacing=(side / (p.elastic_grid - 1),) * 2,
                magnitude_range=(0, reach),
                prob=p.elastic_p,
                mode=modes,
                padding_mode="border",
            ),
            T.RandBiasFieldd("image", degree=3, prob=p.bias_p),
            T.RandGaussianNoised("image", prob=p.noise_p, std=p.noise),
            T.RandGaussianSmoothd(
                "image",
                sigma_x=(p.blur / 2, p.blur),
                sigma_y=(p.blur / 2, p.blur),
                prob=p.blur_p,
            ),
            T.RandShiftIntensityd("image", offsets=p.brightness, prob=p.brightness_p),
            T.RandScaleIntensityd("image", factors=p.contrast, prob=p.contrast_p),
            T.RandSimulateLowResolutiond(
                "image",
                prob=p.low_resolution_p,
                upsample_mode="bilinear",
                zoom_range=(1 - p.low_resolution, 1.0),
            ),
            T.RandAdjustContrastd(
                "image", prob=p.gamma_p, gamma=(1 / (1 + p.gamma), 1 + p.gamma)
            ),
        ]
    )


def scipy_side(policy: Paired, side: int, rng=None):
    """The same operations in NumPy and SciPy, geometry in one interpolation."""
    p, rng = policy, rng or np.random.default_rng(0)
    move, bias, lower = _mover(p, side, rng), _biaser(p, side, rng), _coarser(p, rng)

    def uniform(most, least=None):
        return rng.uniform(-most if least is None else least, most)

    def noise(x):
        deviation = uniform(p.noise, 0)
        return x + deviation * rng.standard_normal(x.shape, np.float32)

    def blur(x):
        sigma, radius = uniform(p.blur, p.blur / 2), math.ceil(3 * p.blur)
        return ndimage.gaussian_filter(x, sigma, mode="nearest", radius=radius)

    def contrast(x):
        factor, mean = 1 + uniform(p.contrast), x.mean()
        return np.clip(mean + (x - mean) * factor, x.min(), x.max())

    def gamma(x):
        low, span = x.min(), np.ptp(x) + 1e-6
        curved = ((x - low) / span) ** np.exp(uniform(math.log1p(p.gamma)))
        scaled = (curved - curved.mean()) / (curved.std() + 1e-6)
        return scaled * x.std() + x.mean()

    tones = (
        (p.bias_p, bias),
        (p.noise_p, noise),
        (p.blur_p, blur),
        (p.brightness_p, lambda x: x + uniform(p.brightness)),
        (p.contrast_p, contrast),
        (p.low_resolution_p, lower),
        (p.gamma_p, gamma),
    )

    def transform(pair):
        x, mask = pair["image"][0], pair["label"][0]
        for axis, chance in enumerate((p.up_down, p.left_right)):
            if rng.random() < chance:
                x, mask = np.flip(x, axis), np.flip(mask, axis)
        x, mask = move(x, mask)
        for chance, change in tones:
            x = change(x) if rng.random() < chance else x
        return {"image": x[None], "label": mask[None]}

    return transform


def _mover(p: Paired, side: int, rng):
    centred = np.mgrid[:side, :side].astype(np.float32) - (side - 1) / 2
    # A grid point's weight in every pixel, and what gives a line of them unit norm.
    zoom = (side / p.elastic_grid, 1)
    spline = {"order": 3, "prefilter": False, "mode": "grid-constant"}
    weights = ndimage.zoom(np.eye(p.elastic_grid, dtype=np.float32), zoom, **spline)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    chances = (p.rotation_p, p.scale_p, p.shift_p, p.elastic_p)

    def move(image, mask):
        turned, scaled, shifted, bent = rng.random(4) < chances
        if not (turned or scaled or shifted or bent):
            return image, mask
        angle = np.radians(p.rotation) * rng.uniform(-1, 1) * turned
        factor = np.exp(math.log1p(p.scale) * rng.uniform(-1, 1) * scaled)
        cos, sin = np.cos(angle), np.sin(angle)
        matrix = np.array([[cos, sin], [-sin, cos]], np.float32) / factor
        at = np.tensordot(matrix, centred, 1) + (side - 1) / 2
        if shifted:
            at += rng.uniform(-p.shift * side, p.shift * side, (2, 1, 1))
        if bent:
            spread = p.elastic * side * rng.random()
            coarse = rng.normal(size=(2, p.elastic_grid, p.elastic_grid))
            at += spread * (weights @ coarse @ weights.T)
        read = ndimage.map_coordinates
        return (
            read(image, at, order=1, mode="nearest"),
            read(mask, at, order=0, mode="grid-constant", cval=255),
        )

    return move


def _biaser(p: Paired, side: int, rng):
    along = np.linspace(-1, 1, side)
    used = np.add.outer(np.arange(DEGREE + 1), np.arange(DEGREE + 1))
    used = (used > 0) & (used <= DEGREE)

    def bias(x):
        drawn = used * rng.uniform(-p.bias, p.bias, used.shape)
        field = np.polynomial.polynomial.polygrid2d(along, along, drawn)
        return (x - x.min()) * np.exp(field) + x.min()

    return bias


def _coarser(p: Paired, rng):
    def lower(x):
        share = 1 - rng.uniform(0, p.low_resolution)
        small = ndimage.zoom(x, share, order=0, grid_mode=True, mode="nearest")
        back = np.array(x.shape) / small.shape
        return ndimage.zoom(small, back, order=1, grid_mode=True, mode="nearest")

    return lower
