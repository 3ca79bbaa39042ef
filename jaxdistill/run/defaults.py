"""Every configuration key with its usual value: configs change these and add none.

Import this in a config file; it needs `ml_collections` alone.
"""

import ml_collections


def defaults() -> ml_collections.ConfigDict:
    """Trajectory matching with the settings that most experiments share."""
    c = ml_collections.ConfigDict()
    c.seed = 0
    c.method = "trajectory"
    c.ipc = 10  # synthetic images per class
    c.steps = 5000  # outer steps
    c.average = 0.0  # decay of the moving average of the set, 0 for none
    c.augment = "auto"  # auto: by the kind of data; else none or color_crop_...
    c.data = ml_collections.ConfigDict()
    c.data.name = "phantom"  # jaxdistill data list shows them
    c.data.size = 32  # pixels a side
    c.data.path = ""  # the folder or zip, for the sources folder and tfds
    c.data.root = ""  # where data sets lie; "" for JAXDISTILL_DATA or the cache
    c.data.zca = False  # whiten pixels instead of standardising channels

    c.network = {"name": "convnet", "width": 128, "depth": 0, "norm": "instance"}

    c.experts = ml_collections.ConfigDict()
    c.experts.folder = ""  # "" for experts/ in the workdir; name it to share it
    c.experts.count = 100
    c.experts.at_once = 10  # trained together; bounds memory
    c.experts.epochs = 50
    c.experts.lr = 0.01
    c.experts.batch = 256
    c.experts.momentum = 0.0
    c.experts.weight_decay = 0.0
    c.experts.balanced = False  # every class weighs alike in the experts' loss
    c.experts.rho = 0.0  # above 0: flat trajectories, FTD's radius
    c.experts.orthogonal = 0.0  # FTD's a
    c.experts.precision = "float32"  # of snapshots on disk; or bfloat16
    c.experts.cache_gb = 4.0  # memory for snapshots that were read

    c.trajectory = ml_collections.ConfigDict()
    c.trajectory.unroll_steps = 30  # N: inner steps on the synthetic set
    c.trajectory.expert_epochs = 2  # M: epochs of the expert they must match
    c.trajectory.start_min = 0  # T-: first start epoch
    c.trajectory.start_first = 20  # upper bound at the first step, exclusive
    c.trajectory.start_max = 20  # T+: upper bound once grown, exclusive
    c.trajectory.grown_at = 0  # outer step at which the bound is T+
    c.trajectory.segments = 1  # trajectory pieces an outer step
    c.trajectory.batch = 0  # synthetic images an inner step, 0 for all
    c.trajectory.momentum = 0.0  # of the inner steps
    c.trajectory.gradient = "sweep"  # sweep, checkpoint, plain, first_order
    c.trajectory.threshold = 0.0  # segments with a greater loss are skipped; 0: none
    c.trajectory.shape_weight = 0.0  # HoP-TM's lambda
    c.trajectory.weighting = {"name": "uniform"}  # and the settings of that weighting

    c.init = ml_collections.ConfigDict()
    c.init.images = "mean"  # noise, mean, real
    c.init.noise = 0.5  # on class means, in standard deviations of the pixels
    c.init.label_margin = 100.0  # logit of the true class; 100 is one-hot
    c.init.lr = 0.01  # inner learning rate

    c.optimizer = ml_collections.ConfigDict()
    c.optimizer.images = {"name": "adam", "lr": 0.05, "momentum": 0.5, "clip": 0.0}
    c.optimizer.labels = {"name": "none", "lr": 0.0, "momentum": 0.9, "clip": 0.0}
    c.optimizer.lr = {"name": "adam", "lr": 0.01, "momentum": 0.5, "clip": 0.0}

    c.eval = ml_collections.ConfigDict()
    c.eval.every = 250  # outer steps between validations
    c.eval.seeds = 2  # networks a validation
    c.eval.select = "auc"  # the validation score that chooses the set
    c.eval.final_seeds = 5  # networks a set in the final table
    c.eval.draws = 5  # random subsets in the final table
    c.eval.augment = "same"  # as everywhere; or auto, none, color_crop_...
    c.eval.epochs = 1000
    c.eval.full_epochs = 30  # for the whole training set
    c.eval.batch = 256
    c.eval.momentum = 0.9
    c.eval.weight_decay = 5e-4
    c.eval.drop_at = 0.5
    c.eval.real_lrs = (0.01,)  # for real sets; of several, validation chooses
    c.eval.networks = ""  # more to evaluate on: "mlp,resnet18:norm=group"

    c.devices = ml_collections.ConfigDict()
    c.devices.map = "shard_map"  # or pmap
    c.devices.count = 0  # devices to use, 0 for all
    c.devices.cpu = 0  # split a CPU in this many devices; 0 leaves it whole
    c.devices.population = "auto"  # vmap, map; auto by backend

    c.steps_per_call = 10  # outer steps in one compiled call
    c.log_every = 50
    c.checkpoint_every = 250
    c.tensorboard = False
    return c


def smoke(c: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The same experiment at a size that ends in seconds and shows nothing."""
    c.ipc = 1
    c.data.size = 28 if c.data.name.endswith("mnist") else 16
    c.network = {"name": "convnet", "width": 4, "depth": 2, "norm": "instance"}
    c.steps = c.steps_per_call = c.log_every = c.checkpoint_every = c.eval.every = 2
    c.experts.count = c.experts.at_once = c.experts.epochs = 2
    c.trajectory.unroll_steps = 3
    c.trajectory.expert_epochs = 1
    c.trajectory.start_min = 0
    c.trajectory.start_first = c.trajectory.start_max = 1
    c.trajectory.batch = 0
    c.trajectory.segments = 1
    c.eval.seeds = c.eval.final_seeds = c.eval.draws = c.eval.epochs = 2
    c.eval.full_epochs = 1
    return c


# What a resumed run may change: none of it changes a result.
VOLATILE = (
    "devices.map",
    "devices.count",
    "devices.cpu",
    "devices.population",
    "experts.folder",
    "experts.cache_gb",
    "log_every",
    "checkpoint_every",
    "tensorboard",
)
