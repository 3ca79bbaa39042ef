r"""Trajectory matching on the embedded phantom films, 3 images per class, in minutes.

Cazenavette et al. 2022, arXiv:2203.11932, at a size for two CPU cores.

jaxdistill distill --config=configs/quickstart.py --workdir=runs/quickstart
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """A narrow network, short experts at a high rate, few steps."""
    c = changes()
    c.ipc = 3
    c.steps = 150
    c.average = 0.9
    c.augment = "none"
    c.data.train = 1000
    c.data.variation = 0.7  # milder than the phantom's own 1, for a short run
    c.network = {"name": "convnet", "width": 16, "depth": 3, "norm": "instance"}
    c.experts.count = c.experts.at_once = 4
    c.experts.epochs = 10
    c.experts.lr = 0.03
    c.experts.batch = 25
    c.experts.balanced = True
    c.trajectory.unroll_steps = 20
    c.trajectory.expert_epochs = 1
    c.trajectory.start_min = 2
    c.trajectory.start_first = c.trajectory.start_max = 7
    c.init.images = "real"  # procedural films are nobody's: nothing can leak
    c.init.lr = 0.02
    c.eval.every = 50
    c.eval.epochs = 300
    c.eval.full_epochs = 12
    c.eval.batch = 25
    c.log_every = 10
    c.checkpoint_every = 50
    return smoke(c) if mode == "smoke" else c
