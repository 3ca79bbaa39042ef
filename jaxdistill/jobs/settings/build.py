"""A configuration to calls of the library, which never sees a configuration."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import optax

from jaxdistill import augment, data, networks
from jaxdistill.distillation.distill import outer_optimiser
from jaxdistill.distillation.distillers.characteristic import characteristic_matching
from jaxdistill.distillation.distillers.distribution import distribution_matching
from jaxdistill.distillation.distillers.gradient import gradient_matching, loops
from jaxdistill.distillation.distillers.kernel import kernel_regression
from jaxdistill.distillation.distillers.soft_label import soft_label, starting_at
from jaxdistill.distillation.distillers.trajectory import (
    StartRange,
    trajectory_matching,
)
from jaxdistill.distillation.distillers.weighting import WEIGHTINGS, Weighting
from jaxdistill.distillation.experts import Experts
from jaxdistill.distillation.initial import few_images, initial
from jaxdistill.distillation.mosaic import multi_formation, require_factor
from jaxdistill.engine.schedule import Schedule
from jaxdistill.engine.training import Recipe, require_recipe
from jaxdistill.engine.unroll import SGD, momentum
from jaxdistill.errors import InputError, require_name
from jaxdistill.types import Method, Network, Pool, PRNGKey, Synthetic

Config = Mapping[str, Any]


def build_pool(config: Config) -> Pool:
    """The data set of `config.data`; it has at least `ipc` images of each class."""
    settings = dict(config["data"])
    pool = data.load(settings.pop("name"), **settings)
    ipc = config["ipc"]
    if ipc < 1:
        raise InputError(f"ipc={ipc} leaves nothing to learn: set ipc to 1 or more")
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
    settings = dict(config["network"])
    name = settings.pop("name")
    network = networks.build(name, pool.image_shape, pool.classes, **settings)
    if config["method"] == "soft_label" and config["soft_label"]["start"] == "fixed":
        seed = config["soft_label"]["start_seed"]
        return starting_at(network, jax.random.key(seed), str(seed))
    return network


def more_networks(config: Config, pool: Pool) -> dict[str, Network]:
    """The networks of `eval.networks`, such as "mlp,resnet18:norm=group", by text."""
    found = {}
    for text in filter(None, config["eval"]["networks"].replace(" ", "").split(",")):
        name, _, rest = text.partition(":")
        pairs = [pair.partition("=") for pair in filter(None, rest.split(":"))]
        settings = {key: _value(value) for key, _, value in pairs}
        found[text] = networks.build(name, pool.image_shape, pool.classes, **settings)
    return found


def build_policy(config: Config, pool: Pool) -> augment.Policy:
    """The augmentation; `auto` follows the kind of data."""
    named = config["augment"]
    return augment.policy(pool.kind if named == "auto" else named)


def eval_policy(config: Config, pool: Pool) -> augment.Policy:
    """The augmentation of an evaluation, `eval.augment` where it is not `same`."""
    named = config["eval"]["augment"]
    if named == "same":
        return build_policy(config, pool)
    return augment.policy(pool.kind if named == "auto" else named)


def expert_recipe(config: Config, policy: augment.Policy) -> Recipe:
    """How experts train."""
    e = config["experts"]
    recipe = Recipe(
        epochs=e["epochs"],
        batch=e["batch"],
        momentum=e["momentum"],
        weight_decay=e["weight_decay"],
        drop_at=1.0,
        policy=policy,
        rho=e["rho"],
        orthogonal=e["orthogonal"],
        average=e["average"],
    )
    require_recipe(recipe, "experts")
    return recipe


def eval_recipe(config: Config, policy: augment.Policy, epochs: int) -> Recipe:
    """How fresh networks train in an evaluation."""
    e = config["eval"]
    recipe = Recipe(
        epochs=epochs,
        batch=e["batch"],
        momentum=e["momentum"],
        weight_decay=e["weight_decay"],
        drop_at=e["drop_at"],
        policy=policy,
    )
    require_recipe(recipe, "eval")
    return recipe


def own_schedule(config: Config) -> Schedule:
    """How networks train on a set that has a rate for every step."""
    s = config["soft_label"]
    return Schedule(s["inner"], s["max_age"] if s["start"] == "pool" else 1)


class Given(NamedTuple):
    """What a method may be built from; `experts` is None where none were trained."""

    network: Network
    pool: Pool
    policy: augment.Policy
    experts: Experts | None


def build_method(config: Config, given: Given) -> Method:
    """The method of `config.method`, on mosaics where `config.mosaic` asks for them."""
    require_name("method", config["method"], METHODS)
    method = METHODS[config["method"]](config, given)
    require_factor(config["mosaic"], given.pool.image_shape)
    return multi_formation(method, config["mosaic"])


def needs_experts(config: Config) -> bool:
    """Whether the method, the first labels or the last come of networks trained
    beforehand.
    """
    taught = config["method"] in ("trajectory", "characteristic")
    return taught or config["relabel"] or config["init"]["labels"] == "experts"


def build_initial(config: Config, pool: Pool, key: PRNGKey) -> Synthetic:
    """The set that distillation starts from, before experts label it."""
    s, start = config["soft_label"], config["init"]
    require_name("init.labels", start["labels"], ("class", "experts"))
    schedule = (s["epochs"], s["steps"]) if config["method"] == "soft_label" else ()
    shared = {
        "label_margin": start["label_margin"],
        "lr": start["lr"],
        "schedule": schedule,
    }
    require_factor(config["mosaic"], pool.image_shape)
    shared |= {key: start[key] for key in ("images", "noise")}
    if start["count"]:
        return few_images(pool, start["count"], key, **shared)
    shared |= {"mosaic": config["mosaic"]}
    return initial(pool, config["ipc"], key, **shared)


def build_optimiser(config: Config) -> optax.GradientTransformation:
    """The outer optimiser of images, labels and learning rate."""
    parts = config["optimizer"]
    decays = {
        "none": optax.constant_schedule,
        "cosine": partial(optax.cosine_decay_schedule, decay_steps=config["steps"]),
    }
    require_name("optimizer.decay", parts["decay"], decays)
    decay = decays[parts["decay"]]
    return outer_optimiser(
        *(_transform(part, parts[part], decay) for part in ("images", "labels", "lr"))
    )


def _trajectory(config: Config, given: Given) -> Method:
    t = config["trajectory"]
    return trajectory_matching(
        given.network,
        _taught(given),
        unroll_steps=t["unroll_steps"],
        expert_epochs=t["expert_epochs"],
        starts=StartRange(
            t["start_min"], t["start_first"], t["start_max"], t["grown_at"]
        ),
        segments=t["segments"],
        batch=t["batch"],
        policy=given.policy,
        threshold=t["threshold"],
        weighting=_weighting(dict(t["weighting"])),
        shape_weight=t["shape_weight"],
        inner=momentum(t["momentum"]) if t["momentum"] else SGD,
        gradient=t["gradient"],
        population=config["devices"]["population"],
        seed=config["seed"],
    )


def _taught(given: Given) -> Experts:
    assert given.experts is not None  # see `needs_experts`
    return given.experts


def _gradient(config: Config, given: Given) -> Method:
    settings = dict(config["gradient"])
    outer, epochs = loops(config["ipc"])
    settings["outer_loops"] = settings["outer_loops"] or outer
    settings["inner_epochs"] = settings["inner_epochs"] or epochs
    return gradient_matching(given.network, **_common(config, given), **settings)


def _distribution(config: Config, given: Given) -> Method:
    settings = dict(config["distribution"])
    return distribution_matching(given.network, **_common(config, given), **settings)


def _characteristic(config: Config, given: Given) -> Method:
    settings = dict(config["characteristic"]) | {
        "seed": config["seed"],
        "image_shape": given.pool.image_shape,
    }
    return characteristic_matching(
        given.network, _taught(given), **_common(config, given), **settings
    )


def _kernel(config: Config, given: Given) -> Method:
    settings = dict(config["kernel"])
    return kernel_regression(given.network, **_common(config, given), **settings)


def _soft_label(config: Config, given: Given) -> Method:
    chosen = ("batch_real", "nets", "start", "max_age", "inner", "window", "gradient")
    settings = {key: config["soft_label"][key] for key in chosen}
    shared = _common(config, given)
    del shared["policy"]  # its steps are the set's own
    return soft_label(given.network, **shared, **settings)


def _common(config: Config, given: Given) -> dict[str, Any]:
    return {
        "classes": given.pool.classes,
        "policy": given.policy,
        "population": config["devices"]["population"],
    }


METHODS = {
    "trajectory": _trajectory,
    "gradient": _gradient,
    "distribution": _distribution,
    "characteristic": _characteristic,
    "soft_label": _soft_label,
    "kernel": _kernel,
}


def _weighting(settings: dict[str, Any]) -> Weighting:
    name = settings.pop("name")
    require_name("trajectory.weighting.name", name, WEIGHTINGS)
    try:
        return WEIGHTINGS[name](**settings)
    except TypeError as error:
        given = ", ".join(settings) or "nothing"
        raise InputError(
            f"trajectory.weighting of {name} was given {given}, which does not fit: "
            f"{error}"
        ) from error


def _transform(
    part: str, settings: Config, decay: Callable[[float], optax.Schedule]
) -> optax.GradientTransformation:
    makers = {
        "sgd": lambda rate: optax.sgd(rate, momentum=settings["momentum"]),
        "adam": lambda rate: optax.adam(rate, b1=settings["momentum"]),
        "none": lambda rate: optax.set_to_zero(),
    }
    require_name(f"optimizer.{part}.name", settings["name"], makers)
    made = makers[settings["name"]](decay(settings["lr"]))
    if not settings["clip"]:
        return made
    return optax.chain(optax.clip_by_global_norm(settings["clip"]), made)


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
