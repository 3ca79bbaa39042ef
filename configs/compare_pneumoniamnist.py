r"""Ten ways to distil PneumoniaMNIST (28 px, 2 classes) beside seven coresets, in a
table: 10 images per class, a size for two CPU cores.

jaxdistill compare --config=configs/compare_pneumoniamnist.py \
  --workdir=runs/compare_pneumoniamnist \
  --config.experts.folder=runs/mtt_pneumonia/experts

The last flag is for those who have run configs/mtt_pneumoniamnist.py; without it the
same experts are trained in the work folder.
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke, variants

SOFT = {"name": "adam", "lr": 0.05, "momentum": 0.9, "clip": 0.0}  # labels learn too

# Steps, batches and inner loops are reduced from the published ones, by ten and more,
# to a few minutes a method; all images move by Adam. Not what a paper would report.
METHODS = {
    "dc": {
        "method": "gradient",
        "steps": 300,
        "gradient.batch_real": 64,
        "gradient.inner_epochs": 5,
        "eval.every": 100,
    },
    "dsa": {
        "method": "gradient",
        "augment": "medical",
        "steps": 300,
        "gradient.batch_real": 64,
        "gradient.inner_epochs": 5,
        "eval.every": 100,
    },
    "idc": {
        "method": "gradient",
        "augment": "medical",
        "mosaic": 2,
        "steps": 200,
        "gradient.batch_real": 64,
        "gradient.outer_loops": 20,
        "gradient.inner_epochs": 1,
        "gradient.distance": "kernels_l1",
        "gradient.train_on": "real",
        "eval.every": 100,
    },
    "dm": {
        "method": "distribution",
        "augment": "medical",
        "steps": 600,
        "distribution.batch_real": 64,
        "eval.every": 200,
    },
    "mmd": {
        "method": "distribution",
        "augment": "medical",
        "distribution.distance": "mmd",
        "steps": 600,
        "distribution.batch_real": 64,
        "eval.every": 200,
    },
    "ncfm": {
        "method": "characteristic",
        "steps": 400,
        "characteristic.batch_real": 64,
        "characteristic.frequencies": 1024,
        "eval.every": 200,
    },
    "soft_label": {
        "method": "soft_label",
        "steps": 150,
        "soft_label.steps": 1,
        "soft_label.epochs": 20,
        "soft_label.batch_real": 64,
        "init.label_margin": 6.0,
        "optimizer.labels": SOFT,
        "eval.every": 50,
    },
    "frepo": {
        "method": "kernel",
        "steps": 600,
        "kernel.batch_real": 256,
        "init.label_margin": 3.0,
        "optimizer.labels": SOFT,
        "eval.every": 200,
    },
    "mtt": {
        "method": "trajectory",
        "steps": 150,
        "optimizer.images.lr": 0.1,
        "eval.every": 50,
    },
    # As DATM: learned labels, and a range of starts that grows to later epochs.
    "datm": {
        "method": "trajectory",
        "steps": 150,
        "trajectory.start_first": 5,
        "trajectory.grown_at": 100,
        "trajectory.threshold": 1.0,
        "init.label_margin": 6.0,
        "optimizer.labels": SOFT,
        "optimizer.images.lr": 0.1,
        "eval.every": 50,
    },
}


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """The network and the experts of configs/mtt_pneumoniamnist.py."""
    c = changes()
    c.augment = "none"
    c.data.name = "pneumoniamnist"
    c.data.size = 28
    c.network = {"name": "convnet", "width": 32, "depth": 3, "norm": "instance"}
    c.experts.count = 10
    c.experts.epochs = 20
    c.experts.batch = 128
    c.trajectory.unroll_steps = 20
    c.trajectory.start_first = c.trajectory.start_max = 15
    c.eval.every = 50
    c.eval.epochs = 200
    c.eval.full_epochs = 10
    c.checkpoint_every = 50
    c.compare.methods = variants(METHODS)
    return smoke(c) if mode == "smoke" else c
