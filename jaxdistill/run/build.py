"""A configuration to calls of the library, which never sees a configuration."""

from collections.abc import Mapping
from typing import Any

import optax

from jaxdistill import augment, data, networks
from jaxdistill.distill import outer_optimiser
from jaxdistill.distillers.trajectory import StartRange, trajectory_matching
from jaxdistill.distillers.weighting import WEIGHTINGS, Weighting
from jaxdistill.errors import InputError
from jaxdistill.experts import Experts
from jaxdistill.training import Recipe, require_recipe
from jaxdistill.types import Method, Network, Pool
from jaxdistill.unroll import SGD, momentum

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
    return networks.build(name, pool.image_shape, pool.classes, **settings)


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


def build_method(
    config: Config, network: Network, experts: Experts, policy: augment.Policy
) -> Method:
    """The method of `config.method`."""
    if config["method"] not in METHODS:
        raise InputError(
            f"method={config['method']!r} is not known: choose one of "
            f"{', '.join(METHODS)}"
        )
    return METHODS[config["method"]](config, network, experts, policy)


def build_optimiser(config: Config) -> optax.GradientTransformation:
    """The outer optimiser of images, labels and learning rate."""
    parts = config["optimizer"]
    return outer_optimiser(
        *(_transform(part, parts[part]) for part in ("images", "labels", "lr"))
    )


def _trajectory(
    config: Config, network: Network, experts: Experts, policy: augment.Policy
) -> Method:
    t = config["trajectory"]
    return trajectory_matching(
        network,
        experts,
        unroll_steps=t["unroll_steps"],
        expert_epochs=t["expert_epochs"],
        starts=StartRange(
            t["start_min"], t["start_first"], t["start_max"], t["grown_at"]
        ),
        segments=t["segments"],
        batch=t["batch"],
        policy=policy,
        threshold=t["threshold"],
        weighting=_weighting(dict(t["weighting"])),
        shape_weight=t["shape_weight"],
        inner=momentum(t["momentum"]) if t["momentum"] else SGD,
        gradient=t["gradient"],
        population=config["devices"]["population"],
        seed=config["seed"],
    )


METHODS = {"trajectory": _trajectory}


def _weighting(settings: dict[str, Any]) -> Weighting:
    name = settings.pop("name")
    if name not in WEIGHTINGS:
        raise InputError(
            f"trajectory.weighting.name={name!r} is not known: choose one of "
            f"{', '.join(WEIGHTINGS)}"
        )
    try:
        return WEIGHTINGS[name](**settings)
    except TypeError as error:
        given = ", ".join(settings) or "nothing"
        raise InputError(
            f"trajectory.weighting of {name} was given {given}, which does not fit: "
            f"{error}"
        ) from error


def _transform(part: str, settings: Config) -> optax.GradientTransformation:
    makers = {
        "sgd": lambda s: optax.sgd(s["lr"], momentum=s["momentum"]),
        "adam": lambda s: optax.adam(s["lr"], b1=s["momentum"]),
        "none": lambda s: optax.set_to_zero(),
    }
    if settings["name"] not in makers:
        raise InputError(
            f"optimizer.{part}.name={settings['name']!r} is not known: choose one of "
            f"{', '.join(makers)}"
        )
    made = makers[settings["name"]](settings)
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
