"""What the jobs of distillation can be told, beside what methods, networks and sources
declare for themselves.
"""

from typing import Annotated, NamedTuple

from jaxdistill.augment import POLICIES
from jaxdistill.augment.siamese import OPERATIONS
from jaxdistill.data.sources import SOURCES
from jaxdistill.distillation.coresets import KNOWN
from jaxdistill.distillation.distill import DECAYS, IMAGES, LABELS, LR, Part
from jaxdistill.distillation.distillers import METHODS
from jaxdistill.distillation.experts import RECIPE, train_experts
from jaxdistill.distillation.initial import STARTS, initial
from jaxdistill.engine.mesh import ENGINES
from jaxdistill.engine.population import MODES
from jaxdistill.engine.training import Recipe
from jaxdistill.evaluation.evaluate import REAL_LR
from jaxdistill.evaluation.metrics import SELECTABLE
from jaxdistill.networks import NETWORKS
from jaxdistill.ranges import (
    Count,
    Decay,
    Each,
    Listed,
    Many,
    ManyOrNone,
    NamedOrFile,
    OneOf,
    Positive,
    Range,
    Seed,
)
from jaxdistill.run.limits import Limit
from jaxdistill.settings import (
    Chosen,
    Free,
    Section,
    Small,
    section_of,
    settings_of,
    usually,
)

SOFTNESS = ("soft", "hard")
AUGMENTATION = ("with", "without")


class Policies(NamedTuple):
    """A kind of data, operations joined by underscores, or one of some other words."""

    words: tuple[str, ...]

    def holds(self, value: str) -> bool:
        """Whether all of it is known."""
        if value in (*self.words, *POLICIES):
            return True
        names = value.replace("+", "_").split("_")
        return all(name in OPERATIONS for name in names)

    def __str__(self) -> str:
        known = ", ".join((*self.words, *POLICIES))
        operations = ", ".join(OPERATIONS)
        return (
            f"one of {known}, or of {operations}, joined by _ where one is drawn, by + "
            "where all are done in turn"
        )


class Distillation(NamedTuple):
    """The run as a whole."""

    seed: Annotated[Seed, "of all that is random"] = 0
    method: Annotated[str, OneOf(METHODS), "how the set is distilled"] = "trajectory"
    ipc: Annotated[Many, "synthetic images per class", Small(1)] = 10
    steps: Annotated[Count, "outer steps", Small(2)] = 5000
    mosaic: Annotated[int, Range(1, 64), "k: an image holds k x k, as IDC"] = 1
    relabel: Annotated[bool, "experts label the images that come out"] = False
    average: Annotated[Decay, "of the moving average of the set; 0: none"] = 0.0
    augment: Annotated[
        str, Policies(("auto",)), "in training; auto: by the kind of data"
    ] = "auto"


class Store(NamedTuple):
    """Experts on disk and in memory."""

    folder: Annotated[str, "where they lie; empty: in the workdir", Free()] = ""
    at_once: Annotated[Many, "trained together; bounds memory", Small(2)] = 10
    balanced: Annotated[bool, "every class weighs alike in their loss"] = False
    precision: Annotated[
        str, OneOf(("float32", "bfloat16")), "of snapshots on disk"
    ] = "float32"
    cache_gb: Annotated[Positive, "memory for snapshots that were read", Free()] = 4.0


class First(NamedTuple):
    """The first set, beside what `initial` declares."""

    images: Annotated[
        str, NamedOrFile(tuple(STARTS), ".npz"), "what images begin as, or another set"
    ] = "mean"
    count: Annotated[ManyOrNone, "images in all; 0: ipc a class"] = 0  # type: ignore
    labels: Annotated[
        str, OneOf(("class", "experts")), "of the first images, and who says so"
    ] = "class"


class Together(NamedTuple):
    """What images, labels and learning rate share as they move."""

    decay: Annotated[
        str, OneOf(DECAYS), "cosine: their rates fall towards 0 at the last step"
    ] = "none"
    pixels: Annotated[
        bool, "images: rates of pixels in [0, 1], which stay there; not of inputs"
    ] = False
    plain_lr: Annotated[
        bool, "lr: rates of the learning rate itself; not of what softplus takes"
    ] = False


class Evaluation(NamedTuple):
    """What is trained on the set to judge it, and how it is chosen."""

    every: Annotated[Count, "outer steps between validations", Small(2)] = 250
    seeds: Annotated[Many, "networks a validation", Small(2)] = 2
    select: Annotated[
        str, OneOf(SELECTABLE), "validation score that chooses the set"
    ] = "auc"
    finalists: Annotated[
        Many, "best sets that fresh networks judge again; 1: none", Small(2)
    ] = 3
    finalist_seeds: Annotated[Many, "of these networks, a set", Small(2)] = 10
    final_seeds: Annotated[Many, "networks a set in the final table", Small(2)] = 5
    draws: Annotated[Many, "random subsets in the final table", Small(2)] = 5
    augment: Annotated[
        str, Policies(("same", "auto")), "of their training; same: as everywhere"
    ] = "same"
    full_epochs: Annotated[Count, "for the whole training set", Small(1)] = 30
    real_lrs: Annotated[
        tuple[float, ...],
        Each(Range(0, 1000, above=True)),
        "rates for real sets; of several, validation chooses",
    ] = (REAL_LR,)
    networks: Annotated[str, 'more to judge on: "mlp,resnet18:norm=group"'] = ""


class Comparison(NamedTuple):
    """What is compared: variants, coresets, and ways to train on a set."""

    methods: Annotated[dict, "a variant by name, and what it changes"] = {}  # noqa: RUF012
    ipc: Annotated[
        tuple[int, ...], Each(Range(1, 10**6), int), "images per class", Small((1,))
    ] = (10,)
    seeds: Annotated[
        tuple[int, ...],
        Each(Range(0, 2**32 - 1), int),
        "of distillation; coresets and experts use seed",
        Small((0,)),
    ] = (0,)
    coresets: Annotated[str, Listed(KNOWN, empty=True), "real images beside"] = (
        "random,herding,k_center,k_means,el2n,forgetting,random_soft"
    )
    labels: Annotated[
        str, Listed(SOFTNESS), "sets train with; hard alone takes no soft ones"
    ] = "soft,hard"
    augmentation: Annotated[str, Listed(AUGMENTATION), "in training on a set"] = (
        "with,without"
    )


class Study(NamedTuple):
    """Which data sets a study compares on."""

    sets: Annotated[dict, "a data set by name, and what it changes"] = {}  # noqa: RUF012
    level: Annotated[float, Range(0, 1, above=True, below=True), "of the intervals"] = (
        0.9
    )


class Further(NamedTuple):
    """Films that come beside those of the data."""

    unlabelled: Annotated[
        str, "folder or zip of films without labels, of other patients; empty: none"
    ] = ""
    stream: Annotated[
        bool, "read them step by step: for folders larger than memory", Free()
    ] = False


class Devices(NamedTuple):
    """How work is mapped, which changes no result."""

    map: Annotated[str, OneOf(ENGINES), "how over devices", Free()] = "shard_map"
    count: Annotated[ManyOrNone, "of them; 0: all", Free()] = 0  # type: ignore
    cpu: Annotated[int, Range(0, 1024), "split a CPU into so many; 0: no", Free()] = 0
    population: Annotated[
        str, OneOf(MODES), "of networks on a device; auto: by backend", Free()
    ] = "auto"


class Pace(NamedTuple):
    """When a run stops to write, and how much it does in one go."""

    steps_per_call: Annotated[Many, "outer steps in one compiled call", Small(2)] = 10
    log_every: Annotated[Count, "steps between lines of metrics", Small(2), Free()] = 50
    checkpoint_every: Annotated[
        Count, "steps between checkpoints", Small(2), Free()
    ] = 250
    tensorboard: Annotated[bool, "write events for it as well", Free()] = False


def root(method: str) -> Section:
    """Every setting of a run by one method."""
    recipe = settings_of(Recipe)
    flat = {name: recipe[name] for name in ("rho", "orthogonal", "average")}
    shared = {name: recipe[name] for name in ("batch", "momentum", "weight_decay")}
    judged = {name: recipe[name] for name in ("epochs", "drop_at", "protocol")}
    return {
        **settings_of(Distillation),
        "data": Chosen(SOURCES, "phantom"),
        "network": Chosen(NETWORKS, "convnet"),
        "experts": settings_of(train_experts)
        | usually(shared | flat, RECIPE)
        | settings_of(Store),
        method: section_of(METHODS[method]),
        "init": settings_of(initial) | settings_of(First),
        "optimizer": {
            "images": usually(settings_of(Part), IMAGES),
            "labels": usually(settings_of(Part), LABELS),
            "lr": usually(settings_of(Part), LR),
            **settings_of(Together),
        },
        "eval": settings_of(Evaluation) | judged | shared,
        "compare": settings_of(Comparison),
        "study": settings_of(Study),
        "devices": settings_of(Devices),
        "limit": settings_of(Limit),
        **settings_of(Pace),
    }
