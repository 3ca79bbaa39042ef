r"""Ten ways to distil paediatric chest X-rays (64 px, 3 classes) beside seven coresets,
in a table: 10 images per class, a size for two CPU cores. See docs/data.md.

jaxdistill compare --config=configs/compare_chest_xray.py \
  --workdir=runs/compare_chest_xray
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke, variants

SOFT = {"name": "adam", "lr": 0.01, "momentum": 0.9, "clip": 0.0}  # labels learn too

# Steps, batches and inner loops are reduced from the published ones, by ten and more,
# to two to ten minutes a method, an hour for IDC; all images move by Adam. Not what a
# paper would report.
METHODS = {
    "dc": {
        "method": "gradient",
        "steps": 150,
        "gradient.batch_real": 32,
        "gradient.inner_epochs": 2,
        "eval.every": 50,
    },
    "dsa": {
        "method": "gradient",
        "augment": "medical",
        "steps": 150,
        "gradient.batch_real": 32,
        "gradient.inner_epochs": 2,
        "eval.every": 50,
    },
    "idc": {
        "method": "gradient",
        "augment": "medical",
        "mosaic": 2,
        "steps": 60,
        "gradient.batch_real": 32,
        "gradient.outer_loops": 20,
        "gradient.inner_epochs": 1,
        "gradient.distance": "kernels_l1",
        "gradient.train_on": "real",
        "eval.every": 30,
    },
    "dm": {
        "method": "distribution",
        "augment": "medical",
        "steps": 300,
        "distribution.batch_real": 32,
        "eval.every": 100,
    },
    "mmd": {
        "method": "distribution",
        "augment": "medical",
        "distribution.distance": "mmd",
        "steps": 300,
        "distribution.batch_real": 32,
        "eval.every": 100,
    },
    "ncfm": {
        "method": "characteristic",
        "steps": 200,
        "characteristic.batch_real": 32,
        "characteristic.frequencies": 1024,
        "eval.every": 100,
    },
    # 21 inner steps of ten images each.
    "soft_label": {
        "method": "soft_label",
        "steps": 60,
        "soft_label.steps": 3,
        "soft_label.epochs": 7,
        "soft_label.batch_real": 32,
        "init.label_margin": 6.0,
        "optimizer.labels": SOFT,
        "eval.every": 30,
    },
    "frepo": {
        "method": "kernel",
        "steps": 300,
        "kernel.batch_real": 128,
        "init.label_margin": 3.0,
        "optimizer.labels": SOFT,
        "eval.every": 100,
    },
    "mtt": {
        "method": "trajectory",
        "steps": 60,
        "optimizer.images.lr": 0.1,
        "eval.every": 30,
    },
    # As DATM: learned labels, and a range of starts that grows to later epochs.
    "datm": {
        "method": "trajectory",
        "steps": 60,
        "trajectory.start_first": 4,
        "trajectory.grown_at": 40,
        "trajectory.threshold": 1.0,
        "init.label_margin": 6.0,
        "optimizer.labels": SOFT,
        "optimizer.images.lr": 0.1,
        "eval.every": 30,
    },
}


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """The network of configs/mtt_chest_xray.py, its experts short and not smoothed."""
    c = changes()
    c.augment = "none"
    c.data.name = "chest_xray"
    c.data.size = 64
    c.network = {"name": "convnet", "width": 32, "depth": 4, "norm": "instance"}
    c.experts.count = c.experts.at_once = 8
    c.experts.epochs = 16
    c.experts.batch = 256
    c.experts.lr = 0.02
    c.experts.balanced = True
    c.trajectory.unroll_steps = 20
    c.trajectory.start_first = c.trajectory.start_max = 8
    c.trajectory.batch = 15
    c.init.noise = 0.2
    c.eval.every = 30
    c.eval.epochs = 100
    c.eval.final_seeds = c.eval.draws = 5
    c.eval.full_epochs = 8
    c.eval.batch = 64
    c.checkpoint_every = 30
    # Half the time: networks augment, as validation preferred in mtt_chest_xray.py.
    c.compare.augmentation = "with"
    c.compare.methods = variants(METHODS)
    return smoke(c) if mode == "smoke" else c
