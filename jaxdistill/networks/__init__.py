"""Networks: factories of pure functions, and the only room that imports Flax."""

from collections.abc import Callable
from typing import Any

from jaxdistill.networks.classic import alexnet as alexnet
from jaxdistill.networks.classic import lenet as lenet
from jaxdistill.networks.classic import mlp as mlp
from jaxdistill.networks.classic import vgg11 as vgg11
from jaxdistill.networks.convnet import convnet as convnet
from jaxdistill.networks.resnet import resnet18 as resnet18
from jaxdistill.networks.vit import vit_tiny as vit_tiny
from jaxdistill.settings import choose
from jaxdistill.types import Network

NETWORKS: dict[str, Callable[..., Network]] = {
    "convnet": convnet,
    "mlp": mlp,
    "lenet": lenet,
    "alexnet": alexnet,
    "vgg11": vgg11,
    "resnet18": resnet18,
    "vit_tiny": vit_tiny,
}


def build(
    name: str, image_shape: tuple[int, int, int], classes: int, **settings: Any
) -> Network:
    """The network of a name; `InputError` for an unknown name or setting."""
    maker = choose("network", NETWORKS, name, settings)
    return maker(image_shape, classes, **settings)
