r"""Do random images tell how well distillation works? Two methods on five data sets, 1
and 10 images per class, at a size for two CPU cores.

Three sets are to be had (docs/data.md): PneumoniaMNIST, paediatric chest X-rays, MNIST.
Two are phantom films that differ in how much their anatomy varies. A set whose files
are missing is told as failed, and the others go on.

jaxdistill study --config=configs/study.py --workdir=runs/study
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke, variants

# Steps and inner loops are reduced from the published ones, by ten and more.
METHODS = {
    "dm": {
        "method": "distribution",
        "augment": "auto",
        "steps": 300,
        "distribution.batch_real": 64,
        "eval.every": 100,
    },
    "dc": {
        "method": "gradient",
        "steps": 150,
        "gradient.batch_real": 32,
        "gradient.outer_loops": 10,
        "gradient.inner_epochs": 5,
        "eval.every": 50,
    },
}
FILMS = {"data.name": "phantom", "data.size": 32, "data.train": 1200}
DEEPER = {"name": "convnet", "width": 32, "depth": 4, "norm": "instance"}
SETS = {
    "pneumoniamnist": {"data.name": "pneumoniamnist", "data.size": 28},
    "chest_xray": {"data.name": "chest_xray", "data.size": 64, "network": DEEPER},
    # 55,000 images: fewer epochs, still more steps than the other whole sets take.
    "mnist": {"data.name": "mnist", "data.size": 28, "eval.full_epochs": 2},
    "phantom_minor": FILMS | {"data.variation": 0.2, "eval.full_epochs": 30},
    "phantom_great": FILMS | {"data.variation": 1.5, "eval.full_epochs": 30},
}


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """One protocol for all sets; few networks, one way to train on a set."""
    c = changes()
    c.augment = "none"
    c.network = {"name": "convnet", "width": 32, "depth": 3, "norm": "instance"}
    c.eval.select = "balanced_accuracy"
    c.eval.epochs = 200
    c.eval.full_epochs = 10
    c.eval.batch = 64
    c.eval.final_seeds = 3
    c.checkpoint_every = 50
    c.compare.methods = variants(METHODS)
    c.compare.ipc = (1, 10)
    c.compare.coresets = "random"
    c.compare.augmentation = "without"
    c.study.sets = variants(SETS)
    return smoke(c) if mode == "smoke" else c
