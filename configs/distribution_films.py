r"""Distribution matching on films, at every size that a comparison at few labels has.

Zhao and Bilen 2023, arXiv:2110.04181, with views of the images, at a size for two CPU
cores: PneumoniaMNIST (28 pixels), or in the mode `lungs` `normal` against `op` of the
RSNA pneumonia challenge cut to the lungs (56 pixels).

for k in 1 5 10 20 50; do
  jaxdistill distill --config=configs/distribution_films.py \
    --workdir=runs/sets/ipc$k --config.ipc=$k
done
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke

MODES = ("full", "lungs", "smoke")


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """The network of configs/compare_pneumoniamnist.py."""
    c = changes()
    c.method = "distribution"
    c.ipc = 10
    c.steps = 1000
    c.augment = "medical"
    c.data = {"name": "pneumoniamnist", "size": 28}
    c.network = {"name": "convnet", "width": 32, "depth": 3}
    c.distribution.batch_real = 64
    c.eval.every = c.steps
    c.eval.epochs = 200
    c.eval.full_epochs = 5
    c.eval.final_seeds = 2
    if mode == "lungs":
        c.data = {"name": "folder", "path": "rsna_lungs_112.zip", "size": 56}
        c.data.classes = "normal,op"
    return smoke(c) if mode == "smoke" else c
