r"""Trajectory matching on paediatric chest X-rays (64 px, 3 classes), 10 per class.

Cazenavette et al. (2022), arXiv:2203.11932, at a size for two CPU cores. The images are
those of Kermany et al. (2018), split by patient; see docs/data.md.

jaxdistill distill --config=configs/mtt_chest_xray.py \
  --workdir=runs/mtt_chest_xray_ipc20 --config.ipc=20
jaxdistill distill --config=configs/mtt_chest_xray.py:class_means \
  --workdir=runs/mtt_chest_xray_ipc10
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke

MODES = ("full", "smoke", "class_means")


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """Short experts of a narrow network, two segments a step; from means of clusters,
    or from noisy means of classes with experts that are not averaged.
    """
    c = changes()
    c.ipc = 10
    c.steps = 300
    c.average = 0.95
    c.augment = "none"
    c.data.name = "chest_xray"
    c.data.size = 64
    c.network = {"name": "convnet", "width": 32, "depth": 4, "norm": "instance"}
    c.experts.count = c.experts.at_once = 6
    c.experts.epochs = 24
    c.experts.batch = 128
    c.experts.lr = 0.02
    c.experts.average = 0.985  # over about two epochs
    c.experts.balanced = True
    c.trajectory.unroll_steps = 20
    # Few images do not follow later segments; the first labels know what comes there.
    c.trajectory.start_first = c.trajectory.start_max = 8
    c.trajectory.segments = 2
    c.trajectory.batch = 15
    c.init.images, c.init.noise = "cluster_mean", 0.0
    c.init.labels = "experts"
    c.init.lr = 0.02
    c.optimizer.images.lr = 0.05
    c.optimizer.lr.lr = 0.02
    c.optimizer.labels = {"name": "adam", "lr": 0.05, "momentum": 0.9, "clip": 0.0}
    c.optimizer.decay = "cosine"
    # Networks that train on the sets augment them: validation preferred it.
    c.eval.augment = "auto"
    c.eval.every = 50
    c.eval.epochs = 200
    c.eval.full_epochs = 12
    c.eval.batch = 64
    c.checkpoint_every = 50
    if mode == "class_means":
        c.experts.count = c.experts.at_once = 8
        c.experts.epochs, c.experts.average = 16, 0.0
        c.experts.batch = 256
        c.init.images, c.init.noise = "mean", 0.2
        c.init.labels, c.init.label_margin = "class", 6.0
        c.init.lr = 0.01
        c.optimizer.images.lr = 0.1
        c.optimizer.decay = "none"
        c.eval.every = 100
    return smoke(c) if mode == "smoke" else c
