"""Ours against PyTorch: the published loops, in one process on the same inputs.

The peer is trajectory matching as its authors describe it (Cazenavette et al. 2022):
the network is a function of one flat vector of parameters, and every inner step is kept
by `create_graph=True`. Training is SGD with momentum 0.9 and weight decay 5e-4 over the
whole set. Both sides start from our weights; full float32 products on either side.
"""

import os
from functools import partial

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from common import arguments, comparison, compiled, medians, relative_error, report
from unroll import CLASSES, FULL, SMOKE, outer_gradient, problem

from jaxdistill.data.standard import Standard
from jaxdistill.engine.population import map_population
from jaxdistill.engine.training import Examples, Recipe, TrainState, train_epoch
from jaxdistill.networks import convnet

DEVICE = "cuda" if jax.default_backend() == "gpu" else "cpu"
AGREEMENT = 1e-4
LR = 0.01


def to_peer(params, side: int) -> list[torch.Tensor]:
    """Our parameters as PyTorch lays them out; `side` is the last feature map's."""
    tensors = []
    trunk, head = params["trunk"], params["head"]
    for block in range(len(trunk) // 2):
        tensors += [trunk[f"Conv_{block}"]["kernel"].transpose(3, 2, 0, 1)]
        tensors += [trunk[f"Conv_{block}"]["bias"]]
        tensors += [trunk[f"Norm_{block}"][name] for name in ("scale", "bias")]
    kernel = head["kernel"].reshape(side, side, -1, CLASSES).transpose(3, 2, 0, 1)
    tensors += [kernel.reshape(CLASSES, -1), head["bias"]]
    return [tensor(x) for x in tensors]


def tensor(x) -> torch.Tensor:
    """A copy of a JAX array on the peer's device."""
    return torch.from_numpy(np.array(x)).to(DEVICE)


def forward(images: torch.Tensor, tensors) -> torch.Tensor:
    """Logits of the ConvNet with instance norm and average pooling."""
    x = images
    for i in range(0, len(tensors) - 2, 4):
        kernel, bias, scale, shift = tensors[i : i + 4]
        x = F.conv2d(x, kernel, bias, padding=1)
        x = F.group_norm(x, x.shape[1], scale, shift)
        x = F.avg_pool2d(F.relu(x), 2)
    return F.linear(x.flatten(1), *tensors[-2:])


def peer_outer(steps: int, images, lr, params, target, side: int):
    """A call that gives the gradients with respect to images (NHWC) and rate."""
    shapes = [t.shape for t in to_peer(params, side)]
    start, goal = (
        torch.cat([t.flatten() for t in to_peer(tree, side)])
        for tree in (params, target)
    )
    pixels = tensor(images.transpose(0, 3, 1, 2))
    labels = torch.eye(CLASSES, device=DEVICE, dtype=pixels.dtype)

    def call():
        x = pixels.clone().requires_grad_()
        rate = torch.tensor(float(lr), device=DEVICE, dtype=pixels.dtype)
        rate.requires_grad_()
        theta = start.clone().requires_grad_()
        for _ in range(steps):
            parts = torch.split(theta, [s.numel() for s in shapes])
            weights = [p.view(s) for p, s in zip(parts, shapes, strict=True)]
            loss = F.cross_entropy(forward(x, weights), labels)
            (grad,) = torch.autograd.grad(loss, theta, create_graph=True)
            theta = theta - rate * grad
        match = (theta - goal).square().sum() / (start - goal).square().sum()
        grads = torch.autograd.grad(match, (x, rate))
        return grads[0].permute(0, 2, 3, 1).cpu().numpy(), grads[1].cpu().numpy()

    return call


def outer_row(steps: int, setting) -> dict:
    """The exact outer gradient; refuses to time two sides that disagree."""
    shape, size_of, repeats = setting
    network = convnet(shape, CLASSES, **size_of)
    args = problem(network, shape)
    error = double_error(min(steps, 30), setting)
    require(f"outer_{steps}_steps", error)
    ours, size = compiled(outer_gradient(network, steps), *args)
    peer = peer_outer(steps, *args, side=_last(shape, size_of))
    peer_size = peak(peer)
    single = max(relative_error(a, b) for a, b in zip(ours(), peer(), strict=True))
    seconds = medians(repeats, ours, peer)
    row = comparison(f"outer_{steps}_steps", seconds, (size, peer_size), error)
    return row | {"relative_error_float32": single}


def double_error(steps: int, setting) -> float:
    """How far the two sides are apart in float64, images and rate each.

    In float32 they drift apart over the steps, as two lowerings of our own do: rounding
    moves activations across the kink of the ReLU.
    """
    shape, size_of, _ = setting
    with jax.enable_x64(True):
        network = convnet(shape, CLASSES, **size_of)
        args = problem(network, shape)
        ours, _ = compiled(outer_gradient(network, steps), *args)
        peer = peer_outer(steps, *args, side=_last(shape, size_of))
        return max(relative_error(a, b) for a, b in zip(ours(), peer(), strict=True))


def training_row(name: str, nets: int, count: int, epochs: int, setting) -> dict:
    """Full-batch training of `nets` networks, ours as experts and evaluation do it."""
    with jax.enable_x64(True):
        ours, peer, _ = trainers(1, 2 * CLASSES, epochs, setting)
        error = relative_error(ours(), peer())
    require(name, error)
    ours, peer, size = trainers(nets, count, epochs, setting)
    peer_size = peak(peer)
    seconds = medians(setting[2], ours, peer)
    row = comparison(name, seconds, (size, peer_size), error)
    rate = nets * count * epochs
    sides = {"ours": seconds[0], "peer": seconds[1]}
    return row | {f"{side}_images_per_second": rate / s for side, s in sides.items()}


def trainers(nets: int, count: int, epochs: int, setting):
    """Calls of both sides that give the first network's weights, our temporaries."""
    shape, size_of, _ = setting
    network = convnet(shape, CLASSES, **size_of)
    params = jax.vmap(network.init)(jax.random.split(jax.random.key(1), nets))
    images = jax.random.normal(jax.random.key(2), (count, *shape))
    targets = jax.nn.one_hot(jnp.arange(count) % CLASSES, CLASSES)
    train, size = compiled(trainer(network, epochs), params, images, targets)
    one_of = [jax.tree.map(lambda x, i=i: x[i], params) for i in range(nets)]
    side = _last(shape, size_of)
    starts = [to_peer(each, side) for each in one_of]
    peer = peer_trainer(starts, images, targets, epochs)

    def ours():
        first = jax.tree.map(lambda x: x[0], train())
        return [t.cpu().numpy() for t in to_peer(first, side)]

    return ours, lambda: [t.cpu().numpy() for t in peer()[0]], size


def trainer(network, epochs: int, mode: str = "auto"):
    """`(params, images, targets) -> params` of a stack of networks after all epochs."""
    recipe = Recipe(batch=1 << 30)

    def train(params, images, targets):
        standard = Standard(jnp.zeros(images.shape[-1]), jnp.ones(images.shape[-1]))
        examples = Examples(images, targets, standard)

        def one(params):
            def epoch(state, key):
                return train_epoch(network, recipe, state, examples, LR, key)

            start = TrainState(params, jax.tree.map(jnp.zeros_like, params))
            keys = jax.random.split(jax.random.key(0), epochs)
            return jax.lax.scan(epoch, start, keys)[0].params

        return map_population(one, params, mode=mode)

    return train


def peer_trainer(starts, images, targets, epochs: int):
    """A call that trains the networks one after another, as the published loop does."""
    pixels, labels = tensor(images.transpose(0, 3, 1, 2)), tensor(targets)

    def call():
        trained = []
        for start in starts:
            weights = [t.clone().requires_grad_() for t in start]
            settings = {"lr": LR, "momentum": 0.9, "weight_decay": 5e-4}
            optimiser = torch.optim.SGD(weights, **settings)
            for _ in range(epochs):
                optimiser.zero_grad()
                F.cross_entropy(forward(pixels, weights), labels).backward()
                optimiser.step()
            trained.append([w.detach() for w in weights])
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return trained

    return call


def population_row(epochs: int, setting) -> dict:
    """Ours against ours: eight width-32 networks by `lax.map`, the peer is `vmap`."""
    shape, size_of, repeats = setting
    network = convnet(shape, CLASSES, **size_of | {"width": 32})
    params = jax.vmap(network.init)(jax.random.split(jax.random.key(1), 8))
    images = jax.random.normal(jax.random.key(2), (2 * CLASSES, *shape))
    targets = jax.nn.one_hot(jnp.arange(2 * CLASSES) % CLASSES, CLASSES)
    sides, sizes = zip(
        *(
            compiled(trainer(network, epochs, mode), params, images, targets)
            for mode in ("map", "vmap")
        ),
        strict=True,
    )
    error = relative_error(sides[0](), sides[1]())
    return comparison(
        "population_map_against_vmap", medians(repeats, *sides), sizes, error
    )


def _last(shape, size_of) -> int:
    """The side of the last feature map."""
    return shape[0] >> size_of["depth"]


def require(name: str, error: float) -> None:
    """Stop where the two sides do not compute the same thing."""
    if error > AGREEMENT:
        raise SystemExit(f"{name}: the two sides differ by {error:.2e}")


def peak(call) -> int | None:
    """Most bytes held during a call beyond those held before; None where not known."""
    if DEVICE == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        return torch.cuda.max_memory_allocated() - before
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # lets the high-water mark start again from what is held
    except OSError:
        return None
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(field))
    return int(line.split()[1]) * 1024


def main():
    """Outer gradients, then training, then how a population is mapped."""
    args = arguments(__doc__, choice=True)
    jax.config.update("jax_default_matmul_precision", "highest")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    setting = ((8, 8, 3), SMOKE, 1) if args.smoke else ((32, 32, 3), FULL, 3)
    epochs = 1 if args.smoke else 4
    often = (*setting[:2], 1 if args.smoke else 7)  # sides this near need more repeats
    made = {
        f"outer_{steps}_steps": partial(outer_row, steps, often)
        for steps in ((3,) if args.smoke else (30, 100))
    }
    for nets in (1, 8):
        for name, count, times in (("experts", 256, 1), ("evaluation", 20, 5)):
            text = f"{name}_{nets}"
            row = partial(training_row, text, nets, count, times * epochs, setting)
            made[text] = row
    made["population_map_against_vmap"] = partial(population_row, 5 * epochs, setting)
    rows = (row() for name, row in made.items() if args.only in name)
    report("peer_torch", args, rows, torch=torch.__version__)


if __name__ == "__main__":
    main()
