r"""Trajectory matching on PneumoniaMNIST (28 px, 2 classes), 10 images per class.

jaxdistill distill --config=configs/mtt_pneumoniamnist.py --workdir=runs/mtt_pneumonia
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """Cazenavette et al. (2022) at a size for two CPU cores, with learned labels."""
    c = changes()
    c.ipc = 10
    c.steps = 800
    c.average = 0.95
    c.augment = "none"
    c.data.name = "pneumoniamnist"
    c.data.size = 28
    c.network = {"name": "convnet", "width": 32, "depth": 3, "norm": "instance"}
    c.experts.count = 10
    c.experts.epochs = 20
    c.experts.batch = 128
    c.trajectory.unroll_steps = 20
    # Easy segments first, as DATM; experts still gain in their last epochs.
    c.trajectory.start_first, c.trajectory.start_max = 10, 18
    c.trajectory.grown_at = 300
    c.trajectory.segments = 2
    c.init.label_margin = 6.0
    c.optimizer.images.lr = 0.1
    c.optimizer.labels = {"name": "adam", "lr": 0.05, "momentum": 0.9, "clip": 0.0}
    c.optimizer.decay = "cosine"
    c.eval.every = 100
    c.eval.epochs = 300
    c.eval.full_epochs = 20
    c.checkpoint_every = 100
    return smoke(c) if mode == "smoke" else c
