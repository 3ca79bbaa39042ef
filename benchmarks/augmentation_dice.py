"""Dice of the same student under our augmentation and under SciPy's.

The operations of benchmarks/paired_augmentation.py, usual probabilities, on the slices
that a step draws; all else is equal: slices, order, network, optimiser. Trained on the
simulated sites of the hippocampus but the first, judged on its cases; the mean and the
deviation are over seeds of network and draws. `JAXDISTILL_DATA` tells where the set
lies.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from common import arguments, report
from peer_augmentation import scipy_side

from jaxdistill.augment.paired import Paired, augment_pairs
from jaxdistill.data.protocol import leave_one_out
from jaxdistill.data.site_sources import load_sites
from jaxdistill.data.slices import frame, planes_of, restore, slices_of
from jaxdistill.evaluation.segmentation import segmentation_scores
from jaxdistill.networks import build_segmenter
from jaxdistill.segmentation.drawing import Patches, draw, stock
from jaxdistill.segmentation.inference import masks_of, predict
from jaxdistill.segmentation.teaching import (
    Practice,
    Student,
    look,
    objective,
    optimise,
)
from jaxdistill.segmentation.term import Lesson


class Size(NamedTuple):
    """What is trained on, and for how long."""

    data: dict
    steps: int
    seeds: int
    batch: int
    width: int


FULL = Size({"name": "hippocampus", "strength": 0.6}, 600, 4, 16, 16)
TINY = Size({"name": "prostate_phantom", "size": 32, "cases": 2}, 2, 2, 2, 4)


def ours(policy: Paired, side: int):
    """Our augmentation, compiled."""
    run = jax.jit(lambda images, masks, key: augment_pairs(images, masks, key, policy))
    return lambda images, masks, key, rng: run(images, masks, key)


def scipy(policy: Paired, side: int):
    """SciPy's, slice by slice; the seed of a run is that of all its draws."""

    def run(images, masks, key, rng):
        transform = scipy_side(policy, side, rng)
        planes = zip(np.asarray(images), np.asarray(masks), strict=True)
        pairs = [{"image": x[None, ..., 0], "label": y[None]} for x, y in planes]
        made = [transform(pair) for pair in pairs]
        moved = np.stack([one["image"][0] for one in made])[..., None]
        labels = np.stack([one["label"][0] for one in made])
        return moved.astype(np.float32), labels.astype(np.uint8)

    return run


def rows(size: Size):
    """A row for each side."""
    pool = load_sites(**size.data)
    fold = leave_one_out(pool, pool.sites[0])
    shape = frame(pool.cases)
    held = stock(slices_of(fold.train, pool.sites, shape=shape))
    policy = Paired() if pool.mirrored else Paired(left_right=0.0)
    net = build_segmenter("unet", 1, pool.classes, width=size.width, depth=3, patch=2)
    for name, side in {"ours": ours, "scipy": scipy}.items():
        augment = side(policy, shape[0])
        dice = []
        for seed in range(size.seeds):
            params = trained(net, held, augment, size, seed)
            dice.append(judged(net, params, fold.test, shape, pool.classes))
        yield {
            "name": name,
            "dice": float(np.mean(dice)),
            "dice_std": float(np.std(dice, ddof=1)),
            "seeds": size.seeds,
            "steps": size.steps,
        }


def trained(net, held, augment, size: Size, seed: int):
    """The student's weights after its steps."""
    practice, patches = Practice(steps=size.steps), Patches(batch=size.batch)
    optimiser = optimise(practice)
    numbers = jnp.arange(size.batch)
    pick = jax.jit(lambda key: draw(held, key, numbers, patches, None))

    @jax.jit
    def update(params, opt, images, masks):
        loss = objective(Student(net), practice)
        lesson = Lesson(images, masks, None, jnp.zeros(()))
        grads = jax.grad(lambda p: loss(look(net, p, images), {}, lesson)[0])(params)
        step, opt = optimiser.update(grads, opt, params)
        return jax.tree.map(jnp.add, params, step), opt

    key, rng = jax.random.key(seed), np.random.default_rng(seed)
    params = net.init(jax.random.fold_in(key, 0))
    opt = optimiser.init(params)
    for step in range(size.steps):
        k_draw, k_move = jax.random.split(jax.random.fold_in(key, step + 1))
        params, opt = update(params, opt, *augment(*pick(k_draw), k_move, rng))
    return params


def judged(net, params, cases, shape, classes: int) -> float:
    """The mean Dice over cases and classes, whole cases at their own size."""
    scores = []
    for case in cases:
        logits = predict((net,), (params,), planes_of(case, shape), batch=8)
        mask = restore(masks_of(logits), case)
        found = segmentation_scores(
            mask, case.mask, case.spacing, classes=classes, tolerance=1.0
        )
        scores.append(np.asarray(found["dice"], float))
    return float(np.nanmean(scores))


if __name__ == "__main__":
    args = arguments(__doc__)
    report("augmentation_dice", args, rows(TINY if args.smoke else FULL))
