r"""Gradient and distribution matching on MNIST by their published protocols.

full, dm  DM, Zhao and Bilen 2023, arXiv:2110.04181, 10 images per class
dsa       DSA, Zhao and Bilen 2021, arXiv:2102.08259, 10 images per class
dc        DC, Zhao et al. 2021, arXiv:2006.05929, 10 images per class

A 1 after the name (dc1) is for 1 image per class. The published protocol: ConvNet of
width 128 and depth 3, 256 real images of each class, SGD on the pixels with momentum
0.5, at a rate of 0.1 (1 for DM); 1,000 networks, each matched 10 times at 10 images per
class (20,000 networks, each once, for DM); evaluation of 1,000 epochs, 300 where
nothing is augmented (DC). DC begins from noise, DSA and DM from real images, which
their sets then show: digits only.

For a GPU; configs/compare_mnist.py is a size for two CPU cores. Different from the
reference program, whose evaluation of DC on MNIST crops, scales and rotates: nothing is
augmented. Not run by this project.

jaxdistill distill --config=configs/methods_mnist.py:dsa --workdir=runs/dsa_mnist
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke

NAMES = ("dc", "dc1", "dsa", "dsa1", "dm", "dm1")
MODES = ("full", *NAMES, "smoke")


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """One of the protocols; `full` and `smoke` are those of dm."""
    name = "dm" if mode in ("full", "smoke") else mode
    method = name.removesuffix("1")
    c = changes()
    c.ipc = 1 if name.endswith("1") else 10
    c.data.name = "mnist"
    c.data.size = 28
    c.network = {"name": "convnet", "width": 128, "depth": 3, "norm": "instance"}
    c.optimizer.images = {"name": "sgd", "lr": 0.1, "momentum": 0.5, "clip": 0.0}
    c.init.images = "real"
    if method == "dm":
        c.method = "distribution"
        c.optimizer.images.lr = 1.0
        c.steps = 20_000
    else:
        c.method = "gradient"
        c.steps = 1000 * c.ipc  # a network is matched as often as a class has images
    if method == "dc":
        c.augment = "none"
        c.init.images = "noise"
        c.eval.epochs = 300
    c.eval.every = c.steps // 10
    c.eval.select = "accuracy"
    return smoke(c) if mode == "smoke" else c
