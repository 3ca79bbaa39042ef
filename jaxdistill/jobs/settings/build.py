"""A configuration to calls of the library, which never sees a configuration."""

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import optax

from jaxdistill import augment, data, networks
from jaxdistill.distillation.distill import Part, moving, outer_optimiser
from jaxdistill.distillation.distillers import METHODS
from jaxdistill.distillation.distillers.soft_label import starting_at
from jaxdistill.distillation.experts import RECIPE, Experts
from jaxdistill.distillation.initial import few_images, initial
from jaxdistill.distillation.mosaic import multi_formation, require_factor
from jaxdistill.distillation.units import of_pixels, of_plain_lr
from jaxdistill.engine.schedule import Schedule
from jaxdistill.engine.training import Recipe
from jaxdistill.errors import InputError, require_name
from jaxdistill.jobs.settings.records import Together
from jaxdistill.settings import Chosen, Section, read, section_of, settings_of
from jaxdistill.types import Method, Network, Pool, PRNGKey, Standard, Synthetic

Config = Mapping[str, Any]


def build_pool(config: Config) -> Pool:
    """The data set of `config.data`; it has at least `ipc` images of each class."""
    pool = data.load(**config["data"])
    ipc = config["ipc"]
    counts = data.counts(pool)["train"]
    least = min(counts, key=lambda name: counts[name])
    if counts[least] < ipc:
        raise InputError(
            f"ipc={ipc} is more than the {counts[least]} training images of class "
            f"{least!r}, so random and herding cannot stand beside it: lower ipc"
        )
    return pool


def build_network(config: Config, pool: Pool) -> Network:
    """The network of `config.network`, for the images and classes of the pool."""
    shape, classes = pool.image_shape, pool.classes
    network = networks.build(image_shape=shape, classes=classes, **config["network"])
    if config["method"] == "soft_label" and config["soft_label"]["start"] == "fixed":
        seed = config["soft_label"]["start_seed"]
        return starting_at(network, jax.random.key(seed), str(seed))
    return network


def more_networks(config: Config, pool: Pool) -> dict[str, Network]:
    """The networks of `eval.networks`, such as "mlp,resnet18:norm=group", by text."""
    found = {}
    for text in filter(None, config["eval"]["networks"].replace(" ", "").split(",")):
        name, _, rest = text.partition(":")
        require_name("eval.networks", name, networks.NETWORKS)
        known = section_of(networks.NETWORKS[name])
        pairs = [pair.partition("=") for pair in filter(None, rest.split(":"))]
        settings = {key: read(known.get(key), value) for key, _, value in pairs}
        found[text] = networks.build(name, pool.image_shape, pool.classes, **settings)
    return found


def build_policy(config: Config, pool: Pool) -> augment.Policy:
    """The augmentation; `auto` follows the kind of data."""
    return named_policy(config["augment"], pool)


def named_policy(name: str, pool: Pool) -> augment.Policy:
    """The augmentation of a name; `auto` follows the kind of data."""
    return augment.policy(pool.kind if name == "auto" else name)


def eval_policy(config: Config, pool: Pool) -> augment.Policy:
    """The augmentation of an evaluation, `eval.augment` where it is not `same`."""
    named = config["eval"]["augment"]
    if named == "same":
        return build_policy(config, pool)
    return named_policy(named, pool)


def expert_recipe(config: Config, policy: augment.Policy) -> Recipe:
    """How experts train."""
    e = config["experts"]
    chosen = ("epochs", "batch", "momentum", "weight_decay")
    flat = ("rho", "orthogonal", "average")
    return RECIPE._replace(policy=policy, **{key: e[key] for key in (*chosen, *flat)})


def eval_recipe(config: Config, policy: augment.Policy, epochs: int) -> Recipe:
    """How fresh networks train in an evaluation."""
    e = config["eval"]
    chosen = ("batch", "momentum", "weight_decay", "drop_at", "protocol")
    return Recipe(epochs=epochs, policy=policy, **{key: e[key] for key in chosen})


def own_schedule(config: Config) -> Schedule:
    """How networks train on a set that has a rate for every step.

    It may come from elsewhere: other methods take the usual inner optimiser for it.
    """
    if config["method"] != "soft_label":
        return Schedule()
    s = config["soft_label"]
    return Schedule(s["inner"], s["max_age"] if s["start"] == "pool" else 1)


class Given(NamedTuple):
    """What a method may be built from; `experts` is None where none were trained."""

    network: Network
    pool: Pool
    policy: augment.Policy
    experts: Experts | None


def build_method(config: Config, given: Given) -> Method:
    """The method of `config.method`, on mosaics where `config.mosaic` asks for them.

    It is given its own settings, and by their names what else its signature asks for.
    """
    factory = METHODS[config["method"]]
    taken, pool = inspect.signature(factory).parameters, given.pool
    at_hand = {
        **given._asdict(),
        "classes": pool.classes,
        "image_shape": pool.image_shape,
        "ipc": config["ipc"],
        "seed": config["seed"],
        "population": config["devices"]["population"],
        **config[config["method"]],
    }
    at_hand |= _made(settings_of(factory), at_hand)
    require_factor(config["mosaic"], pool.image_shape)
    method = factory(**{name: at_hand[name] for name in taken})
    return multi_formation(method, config["mosaic"])


def needs_experts(config: Config) -> bool:
    """Whether the method, the first labels or the last come of networks trained
    beforehand.
    """
    taught = "experts" in inspect.signature(METHODS[config["method"]]).parameters
    return taught or config["relabel"] or config["init"]["labels"] == "experts"


def _made(section: Section, settings: Config) -> dict[str, Any]:
    """What sections chosen by a name come to, such as a weighting."""
    made = {}
    for key, node in section.items():
        if isinstance(node, Chosen):
            chosen = dict(settings[key])
            made[key] = node.makers[chosen.pop("name")](**chosen)
    return made


def rate_shape(config: Config) -> tuple[int, ...]:
    """The shape of a set's learning rates: one, or one for every epoch and step."""
    if config["method"] != "soft_label":
        return ()
    own = config["soft_label"]
    return own["epochs"], own["steps"]


def build_initial(config: Config, pool: Pool, key: PRNGKey) -> Synthetic:
    """The set that distillation starts from, before experts label it."""
    start, schedule = config["init"], rate_shape(config)
    shared = {
        "label_margin": start["label_margin"],
        "lr": start["lr"],
        "schedule": schedule,
    }
    require_factor(config["mosaic"], pool.image_shape)
    shared |= {key: start[key] for key in ("images", "noise")}
    if start["count"] and config["mosaic"] > 1:
        raise InputError(
            f"init.count={start['count']} makes whole images, which mosaic="
            f"{config['mosaic']} would cut in parts: set one of them alone"
        )
    if start["count"]:
        return few_images(pool, start["count"], key, **shared)
    shared |= {"mosaic": config["mosaic"]}
    return initial(pool, config["ipc"], key, **shared)


def require_labels_move(config: Config) -> None:
    """`InputError` for labels that have an optimiser alone, or a rate alone.

    Both are usually off, so that one of them without the other is forgotten.
    """
    part = Part(**config["optimizer"]["labels"])
    if part.name != "none" and not part.lr:
        raise InputError(
            f"optimizer.labels.name={part.name!r} moves nothing at "
            "optimizer.labels.lr=0.0: set a rate, or name none"
        )
    if part.name == "none" and part.lr:
        raise InputError(
            f"optimizer.labels.lr={part.lr:g} moves nothing, as "
            "optimizer.labels.name is none: name adam, say"
        )


def build_optimiser(config: Config, standard: Standard) -> optax.GradientTransformation:
    """The outer optimiser of images, labels and learning rate."""
    parts, steps = dict(config["optimizer"]), config["steps"]
    decay, pixels, plain_lr = (parts.pop(k) for k in settings_of(Together))
    known = {name: Part(**part) for name, part in parts.items()}
    made = {
        name: moving(part, name, decay=decay, steps=steps)
        for name, part in known.items()
    }
    if pixels and known["images"].name != "none":
        made["images"] = of_pixels(made["images"], standard)
    if plain_lr and known["lr"].name != "none":
        made["lr"] = of_plain_lr(made["lr"])
    return outer_optimiser(**made)
