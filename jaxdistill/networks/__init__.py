"""Networks: factories of pure functions, and the only room that imports Flax."""

from collections.abc import Callable
from typing import Any

from jaxdistill.networks.classic import alexnet as alexnet
from jaxdistill.networks.classic import lenet as lenet
from jaxdistill.networks.classic import mlp as mlp
from jaxdistill.networks.classic import vgg11 as vgg11
from jaxdistill.networks.convnet import convnet as convnet
from jaxdistill.networks.counts import flops as flops
from jaxdistill.networks.counts import parameters as parameters
from jaxdistill.networks.deeplab import deeplab_v3_plus as deeplab_v3_plus
from jaxdistill.networks.enet import enet as enet
from jaxdistill.networks.erfnet import erfnet as erfnet
from jaxdistill.networks.mobilenet import mobilenet_v2 as mobilenet_v2
from jaxdistill.networks.resnet import resnet18 as resnet18
from jaxdistill.networks.segmenter import segmenter as segmenter
from jaxdistill.networks.unet import unet as unet
from jaxdistill.networks.unet import unet_plus_plus as unet_plus_plus
from jaxdistill.networks.vit import vit as vit
from jaxdistill.networks.vit import vit_tiny as vit_tiny
from jaxdistill.settings import choose
from jaxdistill.types import Network, Segmenter

NETWORKS: dict[str, Callable[..., Network]] = {
    "convnet": convnet,
    "mlp": mlp,
    "lenet": lenet,
    "alexnet": alexnet,
    "vgg11": vgg11,
    "resnet18": resnet18,
    "vit_tiny": vit_tiny,
}

SEGMENTERS: dict[str, Callable[..., Segmenter]] = {
    "unet": unet,
    "unet_plus_plus": unet_plus_plus,
    "deeplab_v3_plus": deeplab_v3_plus,
    "enet": enet,
    "erfnet": erfnet,
    "mobilenet_v2": mobilenet_v2,
}


def build(
    name: str, image_shape: tuple[int, int, int], classes: int, **settings: Any
) -> Network:
    """The network of a name; `InputError` for an unknown name or setting."""
    maker = choose("network", NETWORKS, name, settings)
    return maker(image_shape, classes, **settings)


def build_segmenter(
    name: str, channels: int, classes: int, **settings: Any
) -> Segmenter:
    """The segmenter of a name; `InputError` for an unknown name or setting."""
    maker = choose("network", SEGMENTERS, name, settings)
    return maker(channels, classes, **settings)
