r"""Trajectory matching and its relatives on PneumoniaMNIST, 10 images per class.

All modes share the data, the network, the length and Adam for the images, at a size for
two CPU cores; each changes what its method changes:

full, mtt  Cazenavette et al. 2022, arXiv:2203.11932, with hard labels
ftd        Du et al. 2023: experts of flat trajectories, an average of the set
datm       Guo et al. 2024: flat experts, learned labels, a growing range, a threshold
tesla      Cui et al. 2023: the first-order gradient
ddpp       Li et al. 2022, arXiv:2209.14609: the worst tenth left out (reconstruction)
pad        Li et al. 2024: the shallow quarter left out; not its order of the data
iadd       Li et al. 2024: learned importance of parameters (reconstruction)
hop_tm     MICCAI 2025, arXiv:2509.24177: flat experts, easy parameters first, the shape

None has been run to its end by this project. Experts can be shared: one folder for mtt,
tesla, ddpp, pad and iadd, another for ftd, datm and hop_tm, whose experts are flat.

jaxdistill distill --config=configs/trajectory_family.py:datm --workdir=runs/datm \
  --config.experts.folder=runs/flat_experts
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke

# The published a and rho.
FLAT = {"experts.rho": 0.01, "experts.orthogonal": 0.3}

# The runs that these were published for have 5,000 steps (FTD) and 10,000 (DATM,
# HoP-TM): what counts steps is scaled to the 600 here.
VARIANTS = {
    "mtt": {},
    # The published decay, 0.9995, would leave three quarters of the first set.
    "ftd": FLAT | {"average": 0.99},
    "datm": FLAT
    | {
        "trajectory.start_first": 8,
        "trajectory.grown_at": 60,
        "trajectory.threshold": 1.0,
        "init.label_margin": 6.0,  # one-hot labels would hardly move
        "optimizer.labels.name": "sgd",
        "optimizer.labels.lr": 2.0,
        "optimizer.labels.momentum": 0.9,
    },
    "tesla": {"trajectory.gradient": "first_order"},
    "ddpp": {"trajectory.weighting": {"name": "pruning", "share": 0.1}},
    "pad": {"trajectory.weighting": {"name": "deep_only", "share": 0.25}},
    "iadd": {"trajectory.weighting": {"name": "importance", "rate": 0.1}},
    "hop_tm": FLAT
    | {
        "trajectory.start_first": 4,
        "trajectory.start_max": 4,
        "trajectory.shape_weight": 0.5,
        "trajectory.weighting": {
            "name": "easy_first",
            "base": 5e-9,
            "growth": 1.5,
            "every": 30,
        },
    },
}
MODES = ("full", *VARIANTS, "smoke")


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """What all share is that of configs/mtt_pneumoniamnist.py, but for hard labels."""
    c = changes()
    c.ipc = 10
    c.steps = 600
    c.augment = "none"
    c.data.name = "pneumoniamnist"
    c.data.size = 28
    c.network = {"name": "convnet", "width": 32, "depth": 3, "norm": "instance"}
    c.experts.count = 10
    c.experts.epochs = 20
    c.experts.batch = 128
    c.trajectory.unroll_steps = 20
    c.trajectory.start_first = c.trajectory.start_max = 15
    c.trajectory.segments = 2
    c.optimizer.images.lr = 0.1
    c.eval.every = 100
    c.eval.epochs = 300
    c.eval.full_epochs = 20
    c.checkpoint_every = 100
    if mode in ("full", "smoke"):
        return smoke(c) if mode == "smoke" else c
    for key, value in VARIANTS[mode].items():
        *sections, last = key.split(".")
        part = c
        for section in sections:
            part = part[section]
        part[last] = value
    return c
