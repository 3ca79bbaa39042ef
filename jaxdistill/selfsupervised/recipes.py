"""Pretexts by name, and each as it was published: its parts, its regime, its views.

Rates are for `lr_batch` films a step. Views suit films of one channel and of three:
what changes colours leaves grey films as they are.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxdistill.errors import InputError
from jaxdistill.selfsupervised.byol import byol
from jaxdistill.selfsupervised.descent import Regime
from jaxdistill.selfsupervised.dino import dino
from jaxdistill.selfsupervised.mae import mae
from jaxdistill.selfsupervised.pretext import Pretext
from jaxdistill.selfsupervised.simsiam import simsiam
from jaxdistill.selfsupervised.skd import skd
from jaxdistill.selfsupervised.viewing import Viewing, Views
from jaxdistill.settings import choose
from jaxdistill.types import Backbone, Decoder, Head, Part, Standard

PRETEXTS: dict[str, Callable[..., Pretext]] = {
    "byol": byol,
    "simsiam": simsiam,
    "mae": mae,
    "dino": dino,
    "skd": skd,
}


class Recipe(NamedTuple):
    """What a pretext asks for beside its backbone, and how it is usually trained.

    `without` names what of a regime and of views it has no use for.
    """

    parts: Mapping[str, Part]
    regime: Regime
    viewing: Viewing
    without: tuple[str, ...] = ()


_LARGE = ("frozen", "local", "locals")  # no last layer that waits, no small views
_ALONE = ("momentum", *_LARGE)  # and no target that follows
_PLAIN = Regime(lr_batch=256, lr_last=0.0, clip=0.0, frozen=0.0)
_BYOL = Recipe(
    {
        "projector": Part("projector", settings={"hidden": 4096, "outputs": 256}),
        # Its equal: the last layer has no bias either.
        "predictor": Part("projector", "projector", {"hidden": 4096}),
    },
    _PLAIN._replace(
        epochs=300,
        batch=4096,
        optimiser="lars",
        lr=0.3,
        warmup=10.0,
        weight_decay=1e-6,
        weight_decay_last=1e-6,
        momentum=0.99,
    ),
    Viewing("byol", locals=0),
    _LARGE,
)

#: BYOL at 300 epochs, MAE at 800 and the others at 100. SKD, whose own is not known,
#: has BYOL's.
RECIPES: dict[str, Recipe] = {
    "byol": _BYOL,
    "simsiam": Recipe(
        {
            "projector": Part(
                "projector",
                settings={
                    "hidden": 2048,
                    "outputs": 2048,
                    "layers": 3,
                    "last_norm": True,
                },
            ),
            "predictor": Part("predictor", "projector", {"hidden": 512}),
        },
        _PLAIN._replace(
            epochs=100,
            batch=512,
            optimiser="sgd",
            lr=0.05,
            warmup=0.0,
            weight_decay=1e-4,
            weight_decay_last=1e-4,
        ),
        Viewing("simsiam", locals=0),
        _ALONE,
    ),
    "mae": Recipe(
        {"decoder": Part("decoder", settings={"width": 512, "depth": 8, "heads": 16})},
        _PLAIN._replace(
            epochs=800,
            batch=4096,
            lr=1.5e-4,
            warmup=40.0,
            weight_decay=0.05,
            weight_decay_last=0.05,
            squares=0.95,
        ),
        Viewing("mae", locals=0),
        _ALONE,
    ),
    "dino": Recipe(
        {
            "dino": Part(
                "dino",
                settings={"outputs": 65536, "hidden": 2048, "bottleneck": 256},
            )
        },
        Regime(
            epochs=100,
            batch=512,
            lr=5e-4,
            lr_batch=256,
            warmup=10.0,
            weight_decay=0.04,
            weight_decay_last=0.4,
            momentum=0.996,
        ),
        Viewing("dino"),
    ),
    "skd": _BYOL,
}


def build_pretext(
    name: str,
    backbone: Backbone,
    parts: Mapping[str, Head | Decoder],
    views: Views,
    standard: Standard,
    **settings: Any,
) -> Pretext:
    """The pretext of a name on a backbone, with the parts that its recipe names.

    `networks.parts.build_parts` makes them. Raises `InputError` for an unknown name,
    setting or part, and as the makers do.
    """
    maker = choose("pretext", PRETEXTS, name, settings)
    asked = RECIPES[name].parts
    if missing := [key for key in asked if key not in parts]:
        raise InputError(
            f"pretext.name={name!r} stands on {' and '.join(asked)}, and "
            f"{' and '.join(missing)} is not there: build_parts makes what its recipe "
            "asks for"
        )
    return maker(backbone, *(parts[key] for key in asked), views, standard, **settings)
