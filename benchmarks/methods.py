"""One outer step of every method, ours against PyTorch on the same inputs.

A step is the gradient of the method's loss with respect to what it moves and, where the
method trains its network, that training on the set. Augmentation and the optimiser of
the set are left out on both sides. One network, ConvNet 128x3 without grey padding;
32x32x1 images of ten classes, of each ten synthetic and 64 real ones, which `kernel`
and `soft_label` see as one batch of 640. `gradient` trains 50 epochs, `soft_label`
takes 30 inner steps of ten images, `trajectory` 5 of the whole set (`peer_torch.py` has
long ones). Networks are handed to both sides; each draws its own frequencies for
`characteristic`: 4096 that serve every class here, 4096 a class, as published, there.

Before anything is timed, loss, gradients and what training changed agree in float64, on
fewer images. The error in float32 is at full size, on frequencies drawn alike.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import peer_torch as peer
import torch
from common import arguments, comparison, compiled, medians, relative_error, report
from method_cases import CASES, CLASSES, Problem, Size, drawn, make_problem, outer_step
from peer_methods import Inputs, peer_step

from jaxdistill.networks import convnet

FULL = Size(32, 128, 3, ipc=10, real=64, steps=5, epochs=50, frequencies=4096)
SMOKE = Size(8, 8, 1, ipc=2, real=4, steps=2, epochs=2, frequencies=16)
FEW = {"ipc": 2, "real": 4, "steps": 2, "epochs": 2, "frequencies": 64}


class Sides(NamedTuple):
    """Calls of one step on one problem; `alike` is the peer on our frequencies."""

    ours: Callable
    peer: Callable
    alike: Callable
    bytes: int  # our temporaries
    start: list[np.ndarray]  # the network that both train
    last: int  # the side of the last feature map


def row(name: str, size: Size, repeats: int) -> dict:
    """A method at one size; refuses to time two sides that disagree."""
    with jax.enable_x64(True):
        error = worst(prepare(name, size._replace(**FEW)))
    peer.require(name, error)
    sides = prepare(name, size)
    single = worst(sides)
    memory = (sides.bytes, peer.peak(sides.peer))
    seconds = medians(repeats, sides.ours, sides.peer)
    found = comparison(name, seconds, memory, error)
    return found | {"relative_error_float32": single}


def prepare(name: str, size: Size) -> Sides:
    """Both sides of a method, ours compiled."""
    case = CASES[name]
    shape = (size.side, size.side, 1)
    choice = {"width": size.width, "depth": size.depth, "grey_padding": False}
    network = convnet(shape, CLASSES, **choice)
    problem = make_problem(case, network, size)
    ours, temporaries = compiled(outer_step(case, network, size), problem)
    last = size.side >> size.depth
    given = to_peer(problem, size, last)
    free = given._replace(
        draw=lambda c, features: torch.randn(
            (size.frequencies, features), device=peer.DEVICE, dtype=given.images.dtype
        )
    )
    calls = (peer_step(name, case.moved, each) for each in (free, given))
    start = [_host(w) for w in given.weights]
    return Sides(ours, *calls, temporaries, start, last)


def to_peer(problem: Problem, size: Size, last: int) -> Inputs:
    """The problem as PyTorch has it, with our frequencies."""
    side = last * last

    def draw(number: int, features: int) -> torch.Tensor:
        del number  # ours serve every class
        ours = np.asarray(drawn((size.frequencies, features)))
        # Features lie channels first there, last here.
        swapped = ours.reshape(len(ours), side, -1).transpose(0, 2, 1)
        return peer.tensor(swapped.reshape(ours.shape))

    synthetic = problem.synthetic
    return Inputs(
        weights=peer.to_peer(problem.params, last),
        target=peer.to_peer(problem.target, last),
        images=peer.tensor(synthetic.images.transpose(0, 3, 1, 2)),
        logits=peer.tensor(synthetic.logits),
        raw_lr=peer.tensor(synthetic.raw_lr),
        real=peer.tensor(problem.real.transpose(0, 1, 4, 2, 3)),
        steps=size.steps,
        epochs=size.epochs,
        draw=draw,
    )


def worst(sides: Sides) -> float:
    """The largest error; one that is not a number is infinite, not unnoticed."""
    return float(np.nan_to_num(np.max(errors(sides)), nan=np.inf))


def errors(sides: Sides) -> list[float]:
    """Relative errors of the loss, of each gradient, of what training changed."""
    loss, moved, net = sides.ours()
    peer_loss, peer_moved, peer_net = sides.alike()
    peer_moved = [_host(g) for g in peer_moved]
    peer_moved[0] = peer_moved[0].transpose(0, 2, 3, 1)
    pairs = [(loss, _host(peer_loss)), *zip(moved, peer_moved, strict=True)]
    if peer_net:
        net = [_host(w) for w in peer.to_peer(net, sides.last)]
        pairs.append((_change(net, sides), _change(map(_host, peer_net), sides)))
    return [relative_error(got, want) for got, want in pairs]


def _change(net, sides: Sides) -> list[np.ndarray]:
    return [after - before for after, before in zip(net, sides.start, strict=True)]


def _host(x: torch.Tensor) -> np.ndarray:
    return x.cpu().numpy()


def main() -> None:
    """A row for each method."""
    args = arguments(__doc__, choice=True)
    jax.config.update("jax_default_matmul_precision", "highest")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    size, repeats = (SMOKE, 1) if args.smoke else (FULL, 3)
    rows = (row(name, size, repeats) for name in CASES if args.only in name)
    report("methods", args, rows, torch=torch.__version__)


if __name__ == "__main__":
    main()
