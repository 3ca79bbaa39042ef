"""Augmentation of slices with masks against SciPy, and MONAI where it is installed.

Both sides give a batch its augmented images and masks: the same operations with the
same probabilities and strengths, mirror to gamma, as `Paired` lists them. The peer
works slice by slice, as its transforms do in a data loader without workers: SciPy on
one core, MONAI on as many threads as there are. Random numbers differ, but not from
where they are drawn: slices and masks go as far from what they were under SciPy as
under ours, or nothing is timed. `processor` is the time of all cores together, which a
busy machine does not change.
"""

import contextlib
import itertools

import jax
import numpy as np
from common import arguments, medians, processor_seconds, report
from peer_augmentation import monai_side, scipy_side
from scipy import ndimage

from jaxdistill.augment.paired import Paired, augment_pairs
from jaxdistill.types import IGNORED

CHANCES = [name for name in Paired._fields if name.endswith("_p")]
POLICIES = {
    "usual": Paired(),
    "each at one half": Paired()._replace(**dict.fromkeys(CHANCES, 0.5)),
    "each": Paired()._replace(**dict.fromkeys(CHANCES, 1.0)),
}


MOVES = ("rotation_p", "scale_p", "shift_p", "elastic_p")
AGREEMENT = 0.1  # of what both sides change on average
DRAWN, SMALL = 400, 32  # slices to see that by, and their side


def batch(n: int, side: int):
    """Smooth noise of the scale of z-scores, and discs for masks."""
    rng = np.random.default_rng(0)
    images = ndimage.gaussian_filter(rng.normal(size=(n, side, side)), (0, 2, 2)) * 7
    down, along = np.mgrid[:side, :side] / side - 0.5
    masks = np.repeat((down**2 + along**2 < 0.1)[None], n, axis=0)
    return images[..., None].astype(np.float32), masks.astype(np.uint8)


def apart(names: list[str]) -> float:
    """How much further one side goes than the other, all these operations at once.

    Of the root mean square change of a slice, of its spread, and of the shares of a
    mask that are another class, and that are unknown.
    """
    policy = Paired(left_right=0.0)
    policy = policy._replace(**{name: float(name in names) for name in CHANCES})
    images, masks = batch(DRAWN, SMALL)
    transform = scipy_side(policy, SMALL)
    planes = zip(images[..., 0], masks, strict=True)
    made = [transform({"image": x[None], "label": y[None]}) for x, y in planes]
    theirs = [np.stack([one[part][0] for one in made]) for part in ("image", "label")]
    ours = augment_pairs(images, masks, jax.random.key(0), policy)

    def changes(moved, labels):
        moved, labels = np.asarray(moved).reshape(images.shape), np.asarray(labels)
        change = np.sqrt(np.square(moved - images).mean((1, 2, 3))).mean()
        shares = (labels != masks).mean(), (labels == IGNORED).mean()
        return np.array([change, moved.std((1, 2, 3)).mean(), *shares])

    one, other = changes(*ours), changes(*theirs)
    return float(np.max(np.abs(one - other) / np.maximum(other, 1e-6)))


def peers():
    """The sides that can be had."""
    found = {"scipy": scipy_side}
    with contextlib.suppress(ImportError):
        import monai

        found[f"monai {monai.__version__}"] = monai_side
    return found.items()


def rows(smoke: bool):
    """A row of each policy and peer."""
    for names in (MOVES, [name for name in CHANCES if name not in MOVES]):
        if (error := apart(list(names))) > AGREEMENT:
            raise SystemExit(f"the two sides differ by {error:.0%} in {names}")
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
