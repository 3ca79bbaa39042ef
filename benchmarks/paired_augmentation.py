"""Augmentation of slices with masks against SciPy, and MONAI where it is installed.

Both sides give a batch its augmented images and masks: the same operations with the
same probabilities and strengths, mirror to gamma, as `Paired` lists them. The peer
works slice by slice, as its transforms do in a data loader without workers: SciPy on
one core, MONAI on as many threads as there are. Random numbers differ, so there is no
agreement to check beyond shapes; the tests compare each operation. `processor` is the
time of all cores together, which a busy machine does not change.
"""

import contextlib
import itertools
import os

import jax
import numpy as np
from common import arguments, medians, processor_seconds, report
from scipy import ndimage

from jaxdistill.augment.paired import Paired, augment_pairs

CHANCES = [name for name in Paired._fields if name.endswith("_p")]
POLICIES = {
    "usual": Paired(),
    "each at one half": Paired()._replace(**dict.fromkeys(CHANCES, 0.5)),
    "each": Paired()._replace(**dict.fromkeys(CHANCES, 1.0)),
}


def batch(n: int, side: int):
    """Smooth noise of the scale of z-scores, and discs for masks."""
    rng = np.random.default_rng(0)
    images = ndimage.gaussian_filter(rng.normal(size=(n, side, side)), (0, 2, 2)) * 7
    down, along = np.mgrid[:side, :side] / side - 0.5
    masks = np.repeat((down**2 + along**2 < 0.1)[None], n, axis=0)
    return images[..., None].astype(np.float32), masks.astype(np.uint8)


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
    place = np.mgrid[:side, :side].astype(np.float32)
    centred = place - (side - 1) / 2
    unit = centred / centred.max()

    def uniform(most):
        return rng.uniform(-most, most)

    def move(image, mask):
        gates = rng.random(4) < (p.rotation_p, p.scale_p, p.shift_p, p.elastic_p)
        if not gates.any():
            return image, mask
        angle, factor = np.radians(p.rotation) * uniform(1), np.exp(uniform(p.scale))
        cos, sin = np.cos(angle * gates[0]), np.sin(angle * gates[0])
        matrix = np.array([[cos, sin], [-sin, cos]]) / (factor if gates[1] else 1)
        at = np.tensordot(matrix, centred, 1) + (side - 1) / 2
        at += gates[2] * uniform(p.shift * side)
        if gates[3]:
            coarse = rng.normal(size=(2, p.elastic_grid, p.elastic_grid))
            zoom = (1, side / p.elastic_grid, side / p.elastic_grid)
            at += ndimage.zoom(coarse, zoom) * p.elastic * side
        read = ndimage.map_coordinates
        return (
            read(image, at, order=1, mode="nearest"),
            read(mask, at, order=0, mode="constant", cval=255),
        )

    def transform(pair):
        x, mask = pair["image"][0], pair["label"][0]
        if rng.random() < p.left_right:
            x, mask = x[:, ::-1], mask[:, ::-1]
        x, mask = move(x, mask)
        if rng.random() < p.bias_p:
            field = np.polynomial.polynomial.polyval2d(*unit, rng.normal(size=(4, 4)))
            x = x * np.exp(p.bias * field)
        if rng.random() < p.noise_p:
            x = x + uniform(p.noise) * rng.standard_normal(x.shape, np.float32)
        if rng.random() < p.blur_p:
            x = ndimage.gaussian_filter(x, p.blur * rng.uniform(0.5, 1), truncate=3)
        if rng.random() < p.brightness_p:
            x = x + uniform(p.brightness)
        if rng.random() < p.contrast_p:
            x = np.clip(x.mean() + (x - x.mean()) * 1.1, x.min(), x.max())
        if rng.random() < p.low_resolution_p:
            small = ndimage.zoom(x, rng.uniform(1 - p.low_resolution, 1), order=0)
            x = ndimage.zoom(small, np.array(x.shape) / small.shape, order=1)
        if rng.random() < p.gamma_p:
            low, span = x.min(), np.ptp(x)
            x = ((x - low) / span) ** np.exp(uniform(p.gamma)) * span + low
        return {"image": x[None], "label": mask[None]}

    return transform


def peers():
    """The sides that can be had."""
    found = {"scipy": scipy_side}
    with contextlib.suppress(ImportError):
        import monai

        found[f"monai {monai.__version__}"] = monai_side
    return found.items()


def rows(smoke: bool):
    """A row of each policy and peer."""
    n, side, repeats = (2, 32, 2) if smoke else (32, 256, 7)
    images, masks = batch(n, side)
    planes = images.transpose(0, 3, 1, 2), masks[:, None].astype(np.float32)
    key = jax.random.key(0)
    augment = jax.jit(augment_pairs, static_argnames="policy")
    cases = itertools.product(peers(), POLICIES.items())
    for (name, make), (policy_name, policy) in cases:
        transform = make(policy, side)

        def ours(policy=policy):
            return jax.block_until_ready(augment(images, masks, key, policy=policy))

        def theirs(transform=transform):
            pairs = zip(*planes, strict=True)
            return [transform({"image": x, "label": y}) for x, y in pairs]

        assert ours()[0].shape == (n, *theirs()[0]["image"].shape[1:], 1)
        seconds = medians(repeats, ours, theirs)
        processor = [processor_seconds(s, repeats) for s in (ours, theirs)]
        yield {
            "name": f"{policy_name}, {n} x {side} x {side}, {name}",
            "ours_seconds": seconds[0],
            "peer_seconds": seconds[1],
            "ratio": seconds[1] / seconds[0],
            "ours_processor": processor[0],
            "peer_processor": processor[1],
        }


if __name__ == "__main__":
    args = arguments(__doc__)
    report("paired_augmentation", args, rows(args.smoke))
