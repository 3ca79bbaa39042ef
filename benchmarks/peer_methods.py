"""The methods' losses as plain PyTorch: loops over classes, `torch.autograd.grad`.

Written from the equations at the head of each file of
`jaxdistill/distillation/distillers`, without augmentation. A graph through a gradient
is kept by `create_graph=True`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from peer_torch import DEVICE, forward

RIDGE = 1e-6
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
Tensor = torch.Tensor


class Inputs(NamedTuple):
    """What a step is given; images lie as PyTorch has them, [.., c, h, w]."""

    weights: list[Tensor]
    target: list[Tensor]  # of trajectories; for characteristics the final network
    images: Tensor
    logits: Tensor
    raw_lr: Tensor
    real: Tensor  # [k, b, c, h, w]
    steps: int  # of a trajectory
    epochs: int  # of training after a match
    draw: Callable[[int, int], Tensor]  # (class, features) -> frequencies


def peer_step(name: str, moved: tuple[str, ...], given: Inputs) -> Callable:
    """A call for the loss, the gradients of `moved`, and the network if it trains."""

    def call():
        fields = {key: getattr(given, key) for key in ("images", "logits", "raw_lr")}
        leaves = {key: value.clone().requires_grad_() for key, value in fields.items()}
        weights = [w.clone().requires_grad_() for w in given.weights]
        x = given._replace(weights=weights, **leaves)
        loss = LOSSES[name](x)
        grads = torch.autograd.grad(loss, [leaves[key] for key in moved])
        trained = TRAINERS[name](x) if name in TRAINERS else []
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return loss.detach(), list(grads), trained

    return call


def embed(images: Tensor, weights: list[Tensor]) -> Tensor:
    """The ConvNet's features, what `forward` hands to its last layer."""
    x = images
    for i in range(0, len(weights) - 2, 4):
        kernel, bias, scale, shift = weights[i : i + 4]
        x = F.conv2d(x, kernel, bias, padding=1)
        x = F.group_norm(x, x.shape[1], scale, shift)
        x = F.avg_pool2d(F.relu(x), 2)
    return x.flatten(1)


def gradient(x: Inputs) -> Tensor:
    """Zhao et al. 2021, eq. 9 and 10: cosines of every output unit, kernels alone."""
    total = x.images.new_zeros(())
    for c, (real, fake, target) in enumerate(classes(x)):
        label = torch.full((len(real),), c, device=DEVICE)
        g = torch.autograd.grad(
            F.cross_entropy(forward(real, x.weights), label), x.weights
        )
        error = F.cross_entropy(forward(fake, x.weights), target)
        h = torch.autograd.grad(error, x.weights, create_graph=True)
        for a, b in zip(g, h, strict=True):
            if a.dim() > 1:
                a, b = a.flatten(1), b.flatten(1)
                lengths = a.norm(dim=1) * b.norm(dim=1)
                total = total + (1 - (a * b).sum(1) / (lengths + 1e-6)).sum()
    return total


def distribution(x: Inputs) -> Tensor:
    """Zhao and Bilen 2023: squared distance between the means of the features."""
    total = x.images.new_zeros(())
    for r, s in features(x):
        total = total + (r.mean(0) - s.mean(0)).square().sum()
    return total


def mmd(x: Inputs) -> Tensor:
    """Gretton et al. 2012, lemma 6, biased, Gaussian kernels of five widths."""
    total = x.images.new_zeros(())
    for r, s in features(x):
        scale = squares(r, r).mean() + 1e-12
        rr, ss, rs = (
            kernel_mean(squares(*p) / scale) for p in ((r, r), (s, s), (r, s))
        )
        total = total + rr + ss - 2 * rs
    return total


def characteristic(x: Inputs) -> Tensor:
    """Wang et al. 2025: characteristic functions of unit features, and calibration."""
    total = x.images.new_zeros(())
    pairs = zip(features(x), classes(x), strict=True)
    for c, ((r, s), (_, fake, target)) in enumerate(pairs):
        t = x.draw(c, s.shape[1])
        p, q = (function(F.normalize(f, dim=1) @ t.T) for f in (r, s))
        p_size, q_size = (torch.hypot(*f) for f in (p, q))
        phase = p_size * q_size - p[0] * q[0] - p[1] * q[1]
        inside = 0.5 * (p_size - q_size).square() + phase.clamp(min=1e-12)
        calibration = F.cross_entropy(forward(fake, x.target), target)
        total = total + 300 * inside.sqrt().mean() + calibration
    return total


def kernel(x: Inputs) -> Tensor:
    """Zhou et al. 2022: ridge regression on features, and labels ahead by 1/C."""
    k = x.logits.shape[1]
    with torch.no_grad():
        real = embed(x.real.flatten(0, 1), x.weights)
    fake = embed(x.images, x.weights)
    targets = x.logits.softmax(1) - 1 / k
    gram = fake @ fake.T
    shift = RIDGE * gram.trace() / len(gram)
    eye = torch.eye(len(gram), device=DEVICE, dtype=gram.dtype)
    found = real @ fake.T @ torch.linalg.solve(gram + shift * eye, targets)
    wanted = F.one_hot(real_labels(x), k).to(found.dtype) - 1 / k
    best = targets.topk(2, dim=1).values
    ahead = (best[:, 0] - best[:, 1]).clamp(max=1 / k).mean()
    return 0.5 * (found - wanted).square().sum(1).mean() + 1 / k - ahead


def soft_label(x: Inputs) -> Tensor:
    """Wang et al. 2018, algorithm 1: the real loss after a step for each rate."""
    epochs, steps = x.raw_lr.shape
    rates, targets = F.softplus(x.raw_lr), x.logits.softmax(1)
    theta = x.weights
    for epoch in range(epochs):
        for step in range(steps):
            batch = (x.images[step::steps], targets[step::steps])
            theta = descend(theta, batch, rates[epoch, step])
    return F.cross_entropy(forward(x.real.flatten(0, 1), theta), real_labels(x))


def trajectory(x: Inputs) -> Tensor:
    """Cazenavette et al. 2022, eq. 2, every step on the whole set."""
    theta, batch = x.weights, (x.images, x.logits.softmax(1))
    for _ in range(x.steps):
        theta = descend(theta, batch, F.softplus(x.raw_lr))
    pairs = zip(theta, x.weights, x.target, strict=True)
    apart = [((a - c).square().sum(), (b - c).square().sum()) for a, b, c in pairs]
    return sum(a for a, _ in apart) / sum(b for _, b in apart)


def train_epochs(x: Inputs) -> list[Tensor]:
    """Zhao et al. 2021: the matched network trains on the set by SGD at 0.01."""
    weights, images, targets = detached(x)
    optimiser = torch.optim.SGD(weights, lr=0.01)
    for _ in range(x.epochs):
        optimiser.zero_grad()
        F.cross_entropy(forward(images, weights), targets).backward()
        optimiser.step()
    return [w.detach() for w in weights]


def train_adam(x: Inputs) -> list[Tensor]:
    """Zhou et al. 2022: one step of Adam on the squared error of the outputs."""
    weights, images, targets = detached(x)
    optimiser = torch.optim.Adam(weights, lr=3e-4)
    wanted = targets - 1 / targets.shape[1]
    error = 0.5 * (forward(images, weights) - wanted).square().sum(1).mean()
    error.backward()
    optimiser.step()
    return [w.detach() for w in weights]


def classes(x: Inputs) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Real images, synthetic images and their labels, class by class."""
    k = len(x.real)
    images, targets = x.images.chunk(k), x.logits.softmax(1).chunk(k)
    return zip(x.real, images, targets, strict=True)


def features(x: Inputs) -> Iterator[tuple[Tensor, Tensor]]:
    """Features of real images, without a graph, and of synthetic ones, by class."""
    for real, fake, _ in classes(x):
        with torch.no_grad():
            known = embed(real, x.weights)
        yield known, embed(fake, x.weights)


def descend(theta: list[Tensor], batch, rate: Tensor) -> list[Tensor]:
    """One step of gradient descent whose graph is kept."""
    images, targets = batch
    loss = F.cross_entropy(forward(images, theta), targets)
    grads = torch.autograd.grad(loss, theta, create_graph=True)
    return [w - rate * g for w, g in zip(theta, grads, strict=True)]


def squares(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances between rows."""
    lengths = a.square().sum(1)[:, None] + b.square().sum(1)[None]
    return (lengths - 2 * a @ b.T).clamp(min=0)


def kernel_mean(distances: Tensor) -> Tensor:
    """The mean of the Gaussian kernels."""
    return sum((-distances / (2 * w)).exp().mean() for w in WIDTHS) / len(WIDTHS)


def function(angles: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of the empirical characteristic function."""
    return angles.cos().mean(0), angles.sin().mean(0)


def real_labels(x: Inputs) -> Tensor:
    """The class of every real image, in their order."""
    k, b = x.real.shape[:2]
    return torch.arange(k, device=DEVICE).repeat_interleave(b)


def detached(x: Inputs) -> tuple[list[Tensor], Tensor, Tensor]:
    """New weights to train, and the set as data."""
    weights = [w.detach().clone().requires_grad_() for w in x.weights]
    return weights, x.images.detach(), x.logits.detach().softmax(1)


LOSSES: dict[str, Callable[[Inputs], Tensor]] = {
    "gradient": gradient,
    "distribution": distribution,
    "mmd": mmd,
    "characteristic": characteristic,
    "kernel": kernel,
    "soft_label": soft_label,
    "trajectory": trajectory,
}
TRAINERS = {"gradient": train_epochs, "kernel": train_adam}
