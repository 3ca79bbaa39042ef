r"""Trajectory matching on the embedded phantom films, 5 images per class, in minutes.

Cazenavette et al. 2022, arXiv:2203.11932, at a size for two CPU cores.

jaxdistill distill --config=configs/quickstart.py --workdir=runs/quickstart
"""

import ml_collections

from jaxdistill.run.defaults import defaults, smoke


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """Small networks, short experts, few steps."""
    c = defaults()
    c.ipc = 5
    c.steps = 150
    c.augment = "none"
    c.network = {"name": "convnet", "width": 16, "depth": 3, "norm": "instance"}
    c.experts.count = c.experts.at_once = 4
    c.experts.epochs = 10
    c.experts.batch = 64
    c.trajectory.unroll_steps = 15
    c.trajectory.start_first = c.trajectory.start_max = 6
    c.eval.every = 50
    c.eval.seeds = 2
    c.eval.epochs = 150
    c.eval.full_epochs = 15
    c.eval.batch = 64
    c.log_every = 10
    c.checkpoint_every = 50
    return smoke(c) if mode == "smoke" else c
