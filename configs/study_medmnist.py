r"""The feasibility study on eight MedMNIST sets, for whoever has the files and a GPU.

Li et al. 2024, arXiv:2407.14429: gradient matching (DC) and trajectory matching (MTT)
with a ConvNet of width 128 and depth 3, 1 and 10 images per class. Different from the
paper: images stay at 28 pixels and are standardised (the paper resizes them to 32 and
keeps pixels from 0 to 1), sets are chosen on validation, and what the paper leaves open
follows this library's defaults. Not run to its end by this project.

jaxdistill study --config=configs/study_medmnist.py --workdir=runs/study_medmnist
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke, variants

METHODS = {
    "dc": {
        "method": "gradient",
        "steps": 10_000,
        "gradient.batch_real": 64,  # of a class: the rarest of DermaMNIST has some 80
        "optimizer.images": {"name": "sgd", "lr": 0.1, "momentum": 0.5, "clip": 0.0},
        "eval.every": 1000,
    },
    "mtt": {
        "method": "trajectory",
        "steps": 5000,
        "trajectory.unroll_steps": 20,
        "trajectory.expert_epochs": 3,
        "eval.every": 500,
    },
}
NAMES = (
    "pathmnist",
    "dermamnist",
    "octmnist",
    "bloodmnist",
    "tissuemnist",
    "organamnist",
    "organcmnist",
    "organsmnist",
)


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """The paper's network; a hundred experts of 50 epochs for every set are usual."""
    c = changes()
    c.augment = "none"
    c.trajectory.start_first = c.trajectory.start_max = 20
    c.eval.select = "balanced_accuracy"
    c.network = {"name": "convnet", "width": 128, "depth": 3, "norm": "instance"}
    c.compare.methods = variants(METHODS)
    c.compare.ipc = (1, 10)
    c.compare.coresets = "random,herding"
    c.compare.augmentation = "without"
    c.study.sets = variants(
        {name: {"data.name": name, "data.size": 28} for name in NAMES}
    )
    return smoke(c) if mode == "smoke" else c
