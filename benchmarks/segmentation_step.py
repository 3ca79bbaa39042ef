"""Training steps of a teacher and of students, against the same networks in PyTorch.

Ten steps of SGD on Dice and cross-entropy: ours a scan in one compiled program, the
peer eager, from our weights and on the same patches. Full float32 products on either
side; in float64 the gradients agree to 1e-4, or nothing is timed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import peer_segmenters
import torch
import torch.nn.functional as F
from common import arguments, comparison, compiled, medians, relative_error, report

from jaxdistill.networks import build_segmenter

AGREEMENT, LR, CLASSES = 1e-4, 0.01, 2
FULL = {"side": 96, "batch": 8, "width": 16, "depth": 5, "steps": 10, "repeats": 5}
SMOKE = {"side": 16, "batch": 1, "width": 8, "depth": 3, "steps": 2, "repeats": 1}


def loss_of(network):
    """`(params, images, masks)`: cross-entropy, and 1 - Dice over the whole batch."""

    def loss(params, images, masks):
        logits = network.apply(params, images)
        wanted = jax.nn.one_hot(masks, CLASSES, dtype=logits.dtype)
        entropy = -(jax.nn.log_softmax(logits) * wanted).sum(-1).mean()
        given = jax.nn.softmax(logits)
        both = (given * wanted).sum((0, 1, 2))
        each = given.sum((0, 1, 2)) + wanted.sum((0, 1, 2))
        return entropy + 1 - ((2 * both + 1) / (each + 1)).mean()

    return loss


def peer_loss(twin, params, images, masks):
    """The same in PyTorch, images `n c h w`."""
    logits = twin(params, images)
    wanted = F.one_hot(masks, CLASSES).permute(0, 3, 1, 2).to(logits.dtype)
    given = F.softmax(logits, 1)
    both = (given * wanted).sum((0, 2, 3))
    each = given.sum((0, 2, 3)) + wanted.sum((0, 2, 3))
    dice = ((2 * both + 1) / (each + 1)).mean()
    return F.cross_entropy(logits, masks) + 1 - dice


def problem(network, size: dict, steps: int):
    """Parameters, and a batch of patches and masks for each step."""
    keys = jax.random.split(jax.random.key(0), 3)
    shape = (steps, size["batch"], size["side"], size["side"])
    images = jax.random.normal(keys[1], (*shape, 1))
    masks = jax.random.randint(keys[2], shape, 0, CLASSES)
    return network.init(keys[0]), images, masks


def trainer(network):
    """`(params, images, masks) -> params` after a step for each batch."""

    def step(params, batch):
        slopes = jax.grad(loss_of(network))(params, *batch)
        return jax.tree.map(lambda p, slope: p - LR * slope, params, slopes), None

    return lambda params, *batches: jax.lax.scan(step, params, batches)[0]


def peer_trainer(twin, params, images, masks):
    """A call that does the same eagerly."""
    start = peer_segmenters.to_peer(params)
    pixels = torch.from_numpy(np.array(images)).permute(0, 1, 4, 2, 3).contiguous()
    labels = torch.from_numpy(np.array(masks)).long()

    def call():
        weights = jax.tree.map(lambda t: t.detach().clone().requires_grad_(), start)
        optimiser = torch.optim.SGD(jax.tree.leaves(weights), lr=LR)
        for batch in zip(pixels, labels, strict=True):
            optimiser.zero_grad()
            peer_loss(twin, weights, *batch).backward()
            optimiser.step()
        return jax.tree.map(lambda t: t.detach().numpy(), weights)

    return call


def double_error(network, twin, size: dict) -> float:
    """How far the gradients of one step are apart in float64."""
    with jax.enable_x64(True):
        params, images, masks = problem(network, size | {"batch": 1}, 1)
        params = jax.tree.map(lambda p: p.astype(jnp.float64), params)
        images = images.astype(jnp.float64)
        ours = jax.jit(jax.grad(loss_of(network)))(params, images[0], masks[0])
        weights = peer_segmenters.to_peer(params)
        pixels = torch.from_numpy(np.array(images[0])).permute(0, 3, 1, 2)
        labels = torch.from_numpy(np.array(masks[0])).long()
        peer_loss(twin, weights, pixels, labels).backward()
        theirs = jax.tree.map(lambda t: t.grad.numpy(), weights)
        ours = jax.tree.map(lambda t: t.detach().numpy(), peer_segmenters.to_peer(ours))
        return relative_error(ours, theirs)


def row(name: str, maker: str, settings: dict, size: dict) -> dict:
    """Seconds of a step on either side."""
    network, twin = build_segmenter(maker, 1, CLASSES, **settings), TWINS[maker]
    error = double_error(network, twin, size)
    if error > AGREEMENT:
        raise SystemExit(f"{name}: the gradients differ by {error:.2e}")
    args = problem(network, size, size["steps"])
    ours, temporaries = compiled(trainer(network), *args)
    peer = peer_trainer(twin, *args)
    seconds = [s / size["steps"] for s in medians(size["repeats"], ours, peer)]
    return comparison(name, seconds, (temporaries, None), error)


TWINS = {"unet": peer_segmenters.unet, "enet": peer_segmenters.enet}


def main():
    """Teacher, students narrower or of squares of pixels, and ENet."""
    args = arguments(__doc__, choice=True)
    jax.config.update("jax_default_matmul_precision", "highest")
    size = SMOKE if args.smoke else FULL
    wide = {"width": size["width"], "depth": size["depth"]}
    made = {
        "teacher_unet": ("unet", wide),
        "student_unet": ("unet", wide | {"width": max(4, size["width"] // 4)}),
        "student_unet_of_squares": ("unet", wide | {"depth": 3, "patch": 2}),
        "student_enet": ("enet", {"width": 0.25} if args.smoke else {}),
    }
    chosen = ((name, how) for name, how in made.items() if args.only in name)
    rows = (row(name, *how, size) for name, how in chosen)
    report("segmentation_step", args, rows, torch=torch.__version__)


if __name__ == "__main__":
    main()
