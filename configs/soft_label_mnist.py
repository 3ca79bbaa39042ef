r"""Ten images that train one LeNet on MNIST, with their labels and learning rates.

Wang et al. 2018, arXiv:1811.10959 (fixed start, 10 images, hard labels); Sucholutsky
and Schonlau 2021, arXiv:1910.02551 (learned labels, also 5 images for 10 classes). At a
size for two CPU cores. The modes are full (learned labels), hard (one-hot labels that
stay), five (5 images, learned labels) and smoke.

jaxdistill distill --config=configs/soft_label_mnist.py --workdir=runs/soft_label_mnist
jaxdistill compress --workdir=runs/soft_label_mnist --out=lenet.npz --pixels=uint8
jaxdistill regenerate lenet.npz --out=weights.npz
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke

MODES = ("full", "hard", "five", "smoke")


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """One step on all images, taken five times, each at a rate of its own."""
    c = changes()
    c.method = "soft_label"
    c.ipc = 1
    c.steps = 8000 if mode == "hard" else 20_000
    c.augment = "none"
    c.data.name = "mnist"
    c.data.size = 28
    # Smooth: through the kinks of ReLU the gradients of five steps lead astray.
    c.network = {"name": "lenet", "start": "xavier", "activation": "tanh"}
    c.soft_label.start = "fixed"
    c.soft_label.steps = 1
    c.soft_label.epochs = 5
    c.soft_label.batch_real = 20
    c.init.noise = 0.2
    c.init.lr = 0.2
    c.init.count = 5 if mode == "five" else 0
    # Gradients through the steps have a heavy tail: one of fifty times the usual size
    # would rule Adam's second moment for a thousand steps. Clipped near their median.
    images, labels = (0.3, 0.6) if mode == "five" else (0.12, 0.04)
    adam = {"name": "adam", "lr": 0.02, "momentum": 0.5}
    c.optimizer.images = adam | {"clip": images}
    c.optimizer.lr = {"name": "adam", "lr": 0.01, "momentum": 0.5, "clip": 0.3}
    c.optimizer.decay = "cosine"
    if mode != "hard":
        c.init.label_margin = 3.0  # not yet saturated, so that labels can move
        c.optimizer.labels = adam | {"clip": labels}
    c.eval.every = 500
    c.eval.seeds = 1  # of one start, whatever the seed
    c.eval.select = "accuracy"
    c.eval.final_seeds = c.eval.draws = 2
    c.eval.epochs = 300
    c.eval.full_epochs = 10
    c.checkpoint_every = 500
    return smoke(c) if mode == "smoke" else c
