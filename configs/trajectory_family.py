r"""Trajectory matching and its relatives on PneumoniaMNIST, 10 images per class.

Settings as published, those for CIFAR-10 with 10 images per class where there are many:

full, mtt     Cazenavette et al. 2022, arXiv:2203.11932, with hard labels
tesla         Cui et al. 2023: the first-order gradient
ftd           Du et al. 2023: experts of flat trajectories, an average of the set
datm          Guo et al. 2024: flat experts, learned labels, range that grows, threshold
pad           Li et al. 2024: as datm, the shallow half left out; not its order of data
ddpp          Li et al. 2022, arXiv:2209.14609: worst tenth left out (reconstruction)
iadd          Li et al. 2024: learned importance of parameters (reconstruction)
hop_tm        MICCAI 2025: flat experts, easy parameters first, the shape; for PathMNIST
hop_tm_covid  the same with its settings for chest X-rays (COVID, 112 pixels)

Rates are those of the authors' programs: of standardised images, as ours are, and of
the learning rate itself (`optimizer.plain_lr`). What differs: images begin as noisy
class means, not as real ones (labels of datm and pad as the experts see them), nothing
is whitened, and nothing is flipped.

Full length is for a GPU. `mtt_short`, `datm_short` and so on are a twentieth of it,
what counts steps divided alike, a narrow network and few experts, for two CPU cores.
Experts can be shared: one folder for mtt, tesla, ddpp and iadd, another for ftd, and
one for datm and pad; hop_tm's are of another `a`.

jaxdistill distill --config=configs/trajectory_family.py:datm_short \
  --workdir=runs/datm --config.experts.folder=runs/flat_experts
"""

from typing import Any

import ml_collections

from jaxdistill.jobs.settings.changes import changes, config_dict, smoke
from jaxdistill.jobs.settings.resolve import nested, override

SHORTER = 20


def sgd(lr: float, momentum: float = 0.5) -> dict[str, Any]:
    """A part that moves as in the authors' programs."""
    return {"name": "sgd", "lr": lr, "momentum": momentum}


MTT = {
    "steps": 5000,
    "init.lr": 0.001,
    "experts.epochs": 50,
    "trajectory.unroll_steps": 30,
    "trajectory.expert_epochs": 2,
    "trajectory.start_max": 20,
    "optimizer.images": sgd(100.0),
    "optimizer.lr": sgd(1e-5),
}
# An epoch of CIFAR-10 in batches of 256 is 196 steps, here it would be 19: 80 steps on
# the set went further than two such epochs, and a threshold of 1 let nothing teach.
CIFAR_EPOCH = {"experts.batch": 24}
# Radius and `a` of GSAM: as in FTD's and DATM's programs.
FLAT = {"experts.rho": 0.01, "experts.orthogonal": 0.4}
DATM = (
    MTT
    | FLAT
    | CIFAR_EPOCH
    | {
        "steps": 10_000,
        "init.lr": 0.01,
        "init.labels": "experts",
        "experts.epochs": 100,
        "trajectory.unroll_steps": 80,
        "trajectory.start_first": 10,
        "trajectory.grown_at": 1000,
        "trajectory.threshold": 1.0,
        "optimizer.labels": sgd(2.0, 0.9),
    }
)
# Of the masks: the first limit, its growth every 500 steps; the weight of the shape.
HOP_TM = {
    "hop_tm": {
        "trajectory.start_max": 4,
        "trajectory.shape_weight": 0.5,
        "optimizer.images": sgd(10.0),
        "limit": (5e-9, 1.5),
    },
    "hop_tm_covid": {
        "init.lr": 0.001,
        "trajectory.shape_weight": 1.0,
        "limit": (1e-10, 1.3),
    },
}


def hop_tm(name: str) -> dict[str, Any]:
    """HoP-TM's settings for 10 images per class of one of its two data sets."""
    own = dict(HOP_TM[name])
    base, growth = own.pop("limit")
    mask = {"name": "easy_first", "base": base, "growth": growth, "every": 500}
    shared = {
        "steps": 10_000,
        "init.lr": 0.01,
        "experts.rho": 0.01,
        "experts.orthogonal": 0.3,
        "experts.epochs": 100,
        "trajectory.unroll_steps": 80,
        "trajectory.batch": 10,
        "trajectory.weighting": mask,
        "optimizer.lr": sgd(1e-7),
    }
    return MTT | CIFAR_EPOCH | shared | own


VARIANTS = {
    "mtt": MTT,
    "tesla": MTT | {"trajectory.gradient": "first_order"},
    "ftd": MTT | FLAT | {"average": 0.9995},
    "datm": DATM,
    # 0.5 for most of its settings, 0.25 for CIFAR-10 at 50 images per class, 0 for
    # CIFAR-10 at 1 and CIFAR-100 at 50.
    "pad": DATM | {"trajectory.weighting": {"name": "deep_only", "share": 0.5}},
    "ddpp": MTT | {"trajectory.weighting": {"name": "pruning", "share": 0.1}},
    "iadd": MTT | {"trajectory.weighting": {"name": "importance", "rate": 0.1}},
    **{name: hop_tm(name) for name in HOP_TM},
}
MODES = ("full", *VARIANTS, *(f"{name}_short" for name in VARIANTS), "smoke")


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """One of the family; `full` and `smoke` are mtt."""
    name = mode.removesuffix("_short")
    values = VARIANTS["mtt" if name in ("full", "smoke") else name]
    c = changes()
    c.ipc = 10
    c.data.name = "pneumoniamnist"
    c.data.size = 28
    c.network = {"name": "convnet", "width": 128, "depth": 3, "norm": "instance"}
    c.experts.count = 100
    c.optimizer.plain_lr = True
    c = config_dict(override(c.to_dict(), nested(values)))
    if name != mode:
        shorten(c)
    c.eval.every = c.checkpoint_every = c.steps // 5
    return smoke(c) if mode == "smoke" else c


def shorten(c: ml_collections.ConfigDict) -> None:
    """A twentieth of the length, on a narrow network, with the epochs that are read."""
    t = c.trajectory
    c.network.width = 32
    c.experts.count = 10
    c.experts.epochs = t.start_max + t.expert_epochs - 1
    c.eval.epochs = 300
    c.eval.full_epochs = 20
    c.log_every = 10
    c.average = c.get("average", 0.0) ** SHORTER
    for section, key in ((c, "steps"), (t, "grown_at"), (t.weighting, "every")):
        if key in section:
            section[key] //= SHORTER
