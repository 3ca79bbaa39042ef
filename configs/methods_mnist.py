r"""Gradient and distribution matching on MNIST by their published protocols.

full, dm  DM, Zhao and Bilen 2023, arXiv:2110.04181, 10 images per class
dsa       DSA, Zhao and Bilen 2021, arXiv:2102.08259, 10 images per class
dc        DC, Zhao et al. 2021, arXiv:2006.05929, 10 images per class
idc       IDC, Kim et al. 2022, arXiv:2205.14959, 10 mosaics of four per class
ncfm      NCFM, Wang et al. 2025, arXiv:2502.20653, the same; as for CIFAR-10

A 1 after the name (dc1) is for 1 image per class. The published protocol: ConvNet of
width 128 and depth 3, 256 real images of each class, SGD on the pixels with momentum
0.5, at a rate of 0.1 (1 for DM); 1,000 networks, each matched 10 times at 10 images per
class (20,000 networks, each once, for DM); evaluation of 1,000 epochs, 300 where
nothing is augmented (DC). DC begins from noise, the others from real images, which
their sets then show: digits only.

IDC and NCFM move pixels in [0, 1], which stay there. IDC's rate is that of its MNIST
settings, 1e-4 for 10 images per class of 28 pixels and in proportion to both, so that a
pixel moves alike at any size; its networks, on 64 real images of each class, have
momentum 0.9 and weight decay 5e-4, 100 matches each. NCFM's is 0.001, a tenth of the
0.01 in its files, as its program has it for AdamW.

For a GPU; configs/compare_mnist.py is a size for two CPU cores. Different from the
reference program, whose evaluation of DC on MNIST crops, scales and rotates: nothing is
augmented. Not run by this project.

jaxdistill distill --config=configs/methods_mnist.py:dsa --workdir=runs/dsa_mnist
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, config_dict, smoke
from jaxdistill.jobs.settings.resolve import nested, override

# Settings by dotted key; what all share is in `get_config`.
METHODS = {
    "dc": {"method": "gradient", "augment": "none", "init.images": "noise"},
    "dsa": {"method": "gradient"},
    "dm": {"method": "distribution", "optimizer.images.lr": 1.0, "steps": 20_000},
    "idc": {
        "method": "gradient",
        "mosaic": 2,
        "augment": "color+crop",
        "eval.augment": "auto",
        "steps": 200_000,
        "gradient.distance": "kernels_l1",
        "gradient.train_on": "real",
        "gradient.outer_loops": 100,
        "gradient.inner_epochs": 1,
        "gradient.batch_real": 64,
        "gradient.net_batch": 64,
        "gradient.net_momentum": 0.9,
        "gradient.net_weight_decay": 5e-4,
        "optimizer.pixels": True,
    },
    "ncfm": {
        "method": "characteristic",
        "mosaic": 2,
        "augment": "color+crop+cutout",
        "eval.augment": "auto",
        "steps": 20_000,
        "experts.count": 20,
        "experts.epochs": 60,
        "optimizer.images": {"name": "adam", "lr": 0.001, "momentum": 0.9},
        "optimizer.pixels": True,
    },
}
NAMES = tuple(f"{name}{n}" for name in METHODS for n in ("", "1"))
MODES = ("full", *NAMES, "smoke")


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """One of the protocols; `full` and `smoke` are those of dm."""
    name = "dm" if mode in ("full", "smoke") else mode
    method = name.removesuffix("1")
    c = changes()
    c.ipc = 1 if name.endswith("1") else 10
    c.steps = 1000 * c.ipc  # DC: a network is matched as often as a class has images
    c.data.name = "mnist"
    c.data.size = 28
    c.network = {"name": "convnet", "width": 128, "depth": 3, "norm": "instance"}
    c.optimizer.images = {"name": "sgd", "lr": 0.1, "momentum": 0.5, "clip": 0.0}
    c.init.images = "real"
    c = config_dict(override(c.to_dict(), nested(METHODS[method])))
    if method == "dc":
        c.eval.epochs = 300
    if method == "idc":
        c.optimizer.images.lr = 1e-4 * (c.ipc / 10) * (c.data.size / 28) ** 2
    c.eval.every = c.steps // 10
    c.eval.select = "accuracy"
    return smoke(c) if mode == "smoke" else c
