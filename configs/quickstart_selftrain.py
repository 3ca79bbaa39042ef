r"""A small network that improves itself on films without labels.

Park et al. 2022, arXiv:2202.06431 (DISTL), on the embedded phantom, at a size for two
CPU cores: 32 films of two findings keep their labels, 1,968 others come in three folds.
With so few labels a teacher knows no more than its student, so that its labels only
hold it back: they are left out here. `--config.evolve.ramp=2.0` is the paper's weight.

jaxdistill selftrain --config=configs/quickstart_selftrain.py --workdir=runs/selftrain
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """One seed, a ConvNet, which learns more from few films of 32 pixels than a ViT."""
    c = changes("selftrain")
    c.data.name = "phantom"
    c.data.size = 32
    c.data.findings = "Lung_Opacity,Normal"
    c.data.variation = 1.5
    c.films.labelled = 0.016
    c.protocol.seeds = (0,)
    c.protocol.first_epochs, c.protocol.ceiling = (100, 300), 12
    c.backbone = {"name": "convnet", "width": 32, "depth": 3}
    c.head = {"outputs": 256, "hidden": 128, "bottleneck": 32}
    c.classes.hidden = 64
    c.views = {"kind": "mae", "least": 0.5, "locals": 2}
    c.first = {"epochs": 300, "batch": 16, "lr": 1e-3, "lr_batch": 16, "warmup": 10.0}
    c.evolve.ramp = 0.0
    c.stage = {"epochs": 6, "batch": 32, "lr": 5e-4, "lr_batch": 32, "warmup": 0.5}
    c.stage.momentum = 0.999
    c.stage.every = 20
    c.steps_per_call = 1  # calls of several would end in a shorter one, compiled anew
    return smoke(c) if mode == "smoke" else c
