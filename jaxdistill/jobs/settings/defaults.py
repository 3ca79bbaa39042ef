"""Every configuration key with its usual value: configs change these and add none.

Import this in a config file; it needs `ml_collections` alone.
"""

from typing import Any

import ml_collections


def defaults() -> ml_collections.ConfigDict:
    """Trajectory matching with the settings that most experiments share."""
    c = ml_collections.ConfigDict()
    c.seed = 0
    c.method = "trajectory"
    c.ipc = 10  # synthetic images per class
    c.steps = 5000  # outer steps
    c.mosaic = 1  # k: an image holds k x k smaller ones (IDC's multi-formation)
    c.relabel = False  # whether experts label the images that come out
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
    c.experts.average = 0.0  # above 0: snapshots of the moving average, decay a step
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

    c.gradient = ml_collections.ConfigDict()
    c.gradient.outer_loops = 0  # matches before a fresh network; 0: by ipc, as DC
    c.gradient.inner_epochs = 0  # epochs on the set between them; 0: by ipc, as DC
    c.gradient.batch_real = 256  # real images of every class
    c.gradient.nets = 1
    c.gradient.net_lr = 0.01
    c.gradient.net_batch = 256
    c.gradient.distance = "layers_cosine"  # global_cosine, kernels_mse, kernels_l1
    c.gradient.train_on = "synthetic"  # or real, as IDC

    c.distribution = ml_collections.ConfigDict()
    c.distribution.batch_real = 256
    c.distribution.nets = 1
    c.distribution.distance = "mean"  # or mmd

    c.characteristic = ml_collections.ConfigDict()
    c.characteristic.batch_real = 1024
    c.characteristic.frequencies = 4096
    c.characteristic.nets = 1
    c.characteristic.amplitude = 0.5
    c.characteristic.phase = 0.5
    c.characteristic.calibration = 1.0
    c.characteristic.sampling = "normal"  # or network, trained against the images
    c.characteristic.sampler_lr = 1e-3

    c.kernel = ml_collections.ConfigDict()
    c.kernel.batch_real = 1024
    c.kernel.nets = 1
    c.kernel.pool = 10
    c.kernel.max_age = 100
    c.kernel.features = "last"  # FRePo; or tangent, RCIG
    c.kernel.ridge = 1e-6
    c.kernel.iterations = 20  # of the solver for tangents
    c.kernel.net_lr = 3e-4
    c.kernel.flips = False

    c.soft_label = ml_collections.ConfigDict()
    c.soft_label.steps = 1  # S: parts of the set, one an inner step
    c.soft_label.epochs = 3  # E: times all steps are taken, each at its own rate
    c.soft_label.batch_real = 100  # real images of every class
    c.soft_label.nets = 1
    c.soft_label.start = "random"  # fixed, random, pool
    c.soft_label.start_seed = 0  # of the fixed start
    c.soft_label.max_age = 10  # passes over the set of a network in the pool
    c.soft_label.inner = "sgd"  # momentum, adam
    c.soft_label.window = 0  # inner steps that take a gradient, 0 for all
    c.soft_label.gradient = "sweep"

    c.init = ml_collections.ConfigDict()
    c.init.images = "mean"  # noise, mean, cluster_mean, real
    c.init.noise = 0.5  # on means, in standard deviations of the pixels
    c.init.count = 0  # images in all, where fewer than classes; 0: ipc a class
    c.init.labels = "class"  # or experts: what all of them say of the first images
    c.init.label_margin = 100.0  # logit of the true class; 100 is one-hot
    c.init.lr = 0.01  # inner learning rate

    c.optimizer = ml_collections.ConfigDict()
    c.optimizer.images = {"name": "adam", "lr": 0.05, "momentum": 0.5, "clip": 0.0}
    c.optimizer.labels = {"name": "none", "lr": 0.0, "momentum": 0.9, "clip": 0.0}
    c.optimizer.lr = {"name": "adam", "lr": 0.01, "momentum": 0.5, "clip": 0.0}
    c.optimizer.decay = "none"  # or cosine: all three rates fall to 0 at the last step

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

    c.compare = ml_collections.ConfigDict()
    c.compare.methods = {}  # variant: what it changes; see variants()
    c.compare.ipc = (10,)
    c.compare.seeds = (0,)  # of distillation; coresets and experts use seed
    c.compare.coresets = "random,herding,k_center,k_means,el2n,forgetting,random_soft"
    c.compare.labels = "soft,hard"  # sets train with; hard alone takes no soft ones
    c.compare.augmentation = "with,without"  # in training on a set; or one of them

    c.study = ml_collections.ConfigDict()
    c.study.sets = {}  # data set: what it changes, by variants() as well
    c.study.level = 0.9  # of the intervals

    c.devices = ml_collections.ConfigDict()
    c.devices.map = "shard_map"  # or pmap
    c.devices.count = 0  # devices to use, 0 for all
    c.devices.cpu = 0  # split a CPU in this many devices; 0 leaves it whole
    c.devices.population = "auto"  # vmap, map; auto by backend

    c.limit = ml_collections.ConfigDict()
    c.limit.loss = 0.0  # a run whose loss stays above has diverged; 0 for none
    c.limit.steps = 500  # for so many steps on end

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
    for method in ("gradient", "distribution", "characteristic", "soft_label"):
        c[method].batch_real = 2
    c.characteristic.frequencies = 16
    c.kernel.batch_real, c.kernel.pool, c.kernel.max_age = 8, 2, 3
    c.gradient.inner_epochs = c.soft_label.epochs = 2
    c.eval.seeds = c.eval.final_seeds = c.eval.draws = c.eval.epochs = 2
    c.eval.full_epochs = 1
    c.compare.ipc, c.compare.seeds = (1,), (0,)
    for variant in (*c.compare.methods.values(), *c.study.sets.values()):
        whole = ml_collections.ConfigDict(c.to_dict())
        whole.compare.methods, whole.study.sets = {}, {}
        whole.update(variant)
        _take(variant, smoke(whole))
    return c


def variants(methods: dict[str, dict[str, Any]]) -> ml_collections.ConfigDict:
    """`compare.methods` of values by dotted key: `{"dm": {"distribution.nets": 2}}`."""
    nested = ml_collections.ConfigDict(sort_keys=False)  # rows come in this order
    for name, values in methods.items():
        nested[name] = ml_collections.ConfigDict()
        for dotted, value in values.items():
            *sections, key = dotted.split(".")
            part = nested[name]
            for section in sections:
                part[section] = part.get(section, ml_collections.ConfigDict())
                part = part[section]
            part[key] = value
    return nested


def _take(part: ml_collections.ConfigDict, whole: ml_collections.ConfigDict) -> None:
    """Give the keys of `part` the values that they have in `whole`."""
    for key, value in part.items():
        if isinstance(value, ml_collections.ConfigDict):
            _take(value, whole[key])
        else:
            part[key] = whole[key]


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
