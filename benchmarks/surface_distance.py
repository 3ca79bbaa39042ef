"""Surface distances against SciPy's distance transform, and MONAI's where installed.

Both sides score the same pairs of masks: HD95, ASSD and surface Dice of one class, from
NumPy arrays to numbers. `scipy` takes two transforms a pair, of the whole volume, and
reads all scores off them; `scipy cropped` those of the box around both masks; `monai`
is its three metrics, each of which crops so and takes them anew. `processor` is the
time of all cores together, which a busy machine does not change.
"""

import numpy as np
from common import arguments, medians, processor_seconds, report
from scipy import ndimage

from jaxdistill.evaluation.segmentation import segmentation_scores

TOLERANCE = 1.0
AGREEMENT = 1e-3
SCORES = ("hd95", "assd", "nsd")


def organs(shape, count: int):
    """Pairs of smooth bodies that fill about half of each side."""
    rng = np.random.default_rng(0)
    at = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    for _ in range(count):
        radii = rng.uniform(0.4, 0.6, 3).reshape(3, 1, 1, 1)
        centre = rng.uniform(-0.1, 0.1, (2, 3, 1, 1, 1))
        bumps = ndimage.gaussian_filter(rng.normal(size=shape), 3) * 2
        pair = [((at - c) ** 2 / radii**2).sum(0) + bumps < 1 for c in centre]
        yield tuple(mask.astype(np.uint8) for mask in pair)


def vessels(shape, count: int):
    """Pairs of thin winding lines, the second broken and a pixel aside."""
    rng = np.random.default_rng(1)
    for _ in range(count):
        field = ndimage.gaussian_filter(rng.normal(size=shape), (0, 3, 3))
        truth = abs(field) < 0.012
        predicted = np.roll(truth, 1, axis=2) & (rng.random(shape) < 0.95)
        yield predicted.astype(np.uint8), truth.astype(np.uint8)


def ours(predicted, truth, spacing) -> dict[str, float]:
    """Ours."""
    scores = segmentation_scores(predicted, truth, spacing, 2, TOLERANCE)
    return {name: scores[name][0] for name in SCORES}


def scipy_cropped(predicted, truth, spacing) -> dict[str, float]:
    """The transforms of the box around both masks alone."""
    where = np.argwhere(predicted | truth)
    box = tuple(
        slice(max(low - 1, 0), high + 2)
        for low, high in zip(where.min(0), where.max(0), strict=True)
    )
    return scipy_route(predicted[box], truth[box], spacing)


def scipy_route(predicted, truth, spacing) -> dict[str, float]:
    """Two transforms, all scores read off them."""
    axes = slice(1, None) if len(truth) == 1 else slice(None)
    pair = [mask.astype(bool) for mask in (predicted, truth)]
    pair = [mask[0] if len(truth) == 1 else mask for mask in pair]
    p, t = (mask ^ ndimage.binary_erosion(mask) for mask in pair)
    there = ndimage.distance_transform_edt(~t, sampling=spacing[axes])[p]
    back = ndimage.distance_transform_edt(~p, sampling=spacing[axes])[t]
    both = np.concatenate([there, back])
    return {
        "hd95": max(np.percentile(there, 95), np.percentile(back, 95)),
        "assd": both.mean(),
        "nsd": (both <= TOLERANCE).mean(),
    }


def monai_route():
    """MONAI's metrics on the same masks, or None where it is not installed."""
    if not installed():
        return None
    import torch
    from monai import metrics

    def score(predicted, truth, spacing):
        flat = len(truth) == 1
        spacing = spacing[1:] if flat else spacing
        pair = [m[0] if flat else m for m in (predicted, truth)]
        pair = [torch.tensor(np.stack([1 - m, m])[None]) for m in pair]
        told = {"include_background": False, "spacing": spacing}
        values = (
            metrics.compute_hausdorff_distance(*pair, percentile=95, **told),
            metrics.compute_average_surface_distance(*pair, symmetric=True, **told),
            metrics.compute_surface_dice(*pair, [TOLERANCE], **told),
        )
        return {n: float(v[0, 0]) for n, v in zip(SCORES, values, strict=True)}

    return score


def installed() -> dict[str, str]:
    """The versions of MONAI and what it stands on; none where it is not there."""
    try:
        import monai
        import torch
    except ImportError:
        return {}
    return {"torch": torch.__version__, "monai": monai.__version__}


def rows(smoke: bool):
    """A row of each kind of mask and each peer."""
    volume, picture = (32, 128, 128), (1, 448, 448)
    if smoke:
        volume, picture = (8, 32, 32), (1, 64, 64)
    count, repeats = (2, 2) if smoke else (8, 9)
    peers = {
        "scipy": scipy_route,
        "scipy cropped": scipy_cropped,
        "monai": monai_route(),
    }
    for name, pairs, spacing in (
        ("organs", list(organs(volume, count)), (2.5, 0.6, 0.6)),
        ("vessels", list(vessels(picture, count)), (1.0, 1.0, 1.0)),
    ):
        for peer, route in peers.items():
            if route is not None:
                shape = "x".join(map(str, pairs[0][0].shape))
                yield row(f"{name} {shape} {peer}", pairs, spacing, route, repeats)


def row(name: str, pairs, spacing, route, repeats: int) -> dict:
    """Seconds a pair of masks of ours and a peer, once they are found to agree."""
    sides = [
        lambda score=score: [score(*pair, spacing) for pair in pairs]
        for score in (ours, route)
    ]
    got, want = (side() for side in sides)
    apart = max(
        abs(a[n] - b[n]) for a, b in zip(got, want, strict=True) for n in SCORES
    )
    if not apart < AGREEMENT:
        raise SystemExit(f"{name}: scores differ by {apart}")
    seconds = [each / len(pairs) for each in medians(repeats, *sides)]
    processor = [processor_seconds(side, repeats) / len(pairs) for side in sides]
    return {
        "name": name,
        "ours_seconds": seconds[0],
        "peer_seconds": seconds[1],
        "ratio": seconds[1] / seconds[0],
        "ours_processor": processor[0],
        "peer_processor": processor[1],
        "greatest_difference": float(apart),
    }


if __name__ == "__main__":
    args = arguments(__doc__)
    report("surface_distance", args, rows(args.smoke), **installed())
