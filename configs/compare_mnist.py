r"""DC, DSA and DM on MNIST, 1 and 10 images per class, at a size for two CPU cores.

The published protocols are in configs/methods_mnist.py. Reduced: ConvNet of width 32
for 128; 300 steps of DC and DSA for 1,000 networks of 10 steps each, 1,000 of DM for
20,000; 64 and 128 real images of a class for 256; 200 epochs of evaluation for 300 and
1,000. All images move by Adam from noisy class means, where the papers use SGD and
start from noise or from real images.

jaxdistill compare --config=configs/compare_mnist.py --workdir=runs/compare_mnist
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke, variants

GRADIENT = {
    "method": "gradient",
    "steps": 300,
    "gradient.batch_real": 64,
    "gradient.outer_loops": 10,
    "gradient.inner_epochs": 5,
    "eval.every": 100,
}
METHODS = {
    "dc": GRADIENT,
    "dsa": GRADIENT | {"augment": "auto"},
    "dm": {
        "method": "distribution",
        "augment": "auto",
        "steps": 1000,
        "distribution.batch_real": 128,
        "eval.every": 250,
    },
}


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """One protocol for all, augmented or not as validation prefers."""
    c = changes()
    c.augment = "none"
    c.data.name = "mnist"
    c.data.size = 28
    c.network = {"name": "convnet", "width": 32, "depth": 3, "norm": "instance"}
    c.init.noise = 0.2
    c.eval.select = "accuracy"
    c.eval.epochs = 200
    # 55,000 images: few epochs, still more steps than the small sets take.
    c.eval.full_epochs = 2
    c.eval.batch = 64
    c.eval.final_seeds = c.eval.draws = 5
    c.checkpoint_every = 50
    c.compare.ipc = (1, 10)
    c.compare.coresets = "random,herding"
    c.compare.methods = variants(METHODS)
    return smoke(c) if mode == "smoke" else c
