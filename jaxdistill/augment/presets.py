"""Kinds of view: what each does to a picture, how often, and those of the papers."""

from typing import Annotated, NamedTuple

from jaxdistill.ranges import Each, Pixels, Range
from jaxdistill.settings import Small

Share = Annotated[float, Range(0, 1)]


class View(NamedTuple):
    """What a kind of view does, and how often. Radii and sizes are in pixels."""

    size: Annotated[Pixels, "side of the view, in pixels", Small(32)] = 224
    cubic: Annotated[bool, "bicubic crops; bilinear otherwise"] = True
    scale: Annotated[
        tuple, Each(Range(0, 1, above=True)), "share of the area cropped: from, to"
    ] = (0.2, 1.0)
    ratio: Annotated[
        tuple, Each(Range(0, 100, above=True)), "width over height of crops: from, to"
    ] = (3 / 4, 4 / 3)
    flip: Annotated[Share, "how often left and right are exchanged"] = 0.5
    rotate: Annotated[float, Range(0, 180), "most degrees turned, either way"] = 0.0
    colour: Annotated[Share, "how often the four below change"] = 0.0
    brightness: Annotated[Share, "most that brightness changes by, a share"] = 0.4
    contrast: Annotated[Share, "most that contrast changes by, a share"] = 0.4
    saturation: Annotated[Share, "most that saturation changes by, a share"] = 0.2
    hue: Annotated[float, Range(0, 0.5), "most that hue turns by, in circles"] = 0.1
    grey: Annotated[Share, "how often colour is lost"] = 0.0
    autocontrast: Annotated[Share, "how often tones are stretched to [0, 1]"] = 0.0
    equalise: Annotated[Share, "how often the histogram is equalised"] = 0.0
    blur: Annotated[Share, "how often blurred"] = 0.0
    blur_radius: Annotated[
        tuple, Each(Range(0, 100)), "deviation of the Gaussian, in pixels: from, to"
    ] = (0.1, 2.0)
    solarise: Annotated[Share, "how often bright tones are inverted"] = 0.0


_DISTL = View(rotate=15.0, autocontrast=0.5, equalise=0.5, blur=0.5)
_DINO = View(colour=0.8, grey=0.2)

#: As published; "whole" is the largest square in the middle. DISTL: Park et al. (2022),
#: arXiv:2202.06431; DINO: Caron et al. (2021), arXiv:2104.14294; BYOL: Grill et al.
#: (2020), arXiv:2006.07733; SimSiam: Chen and He (2021), arXiv:2011.10566; MAE: He et
#: al. (2022), arXiv:2111.06377.
PRESETS: dict[str, View] = {
    "whole": View(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0),
    "distl_global": _DISTL._replace(
        size=256, scale=(0.75, 1.0), autocontrast=0.3, equalise=0.3, blur=0.3
    ),
    "distl_local": _DISTL._replace(size=128, scale=(0.2, 0.6)),
    "dino_first": _DINO._replace(scale=(0.4, 1.0), blur=1.0),
    "dino_second": _DINO._replace(scale=(0.4, 1.0), blur=0.1, solarise=0.2),
    "dino_local": _DINO._replace(size=96, scale=(0.05, 0.4), blur=0.5),
    "byol_first": _DINO._replace(scale=(0.08, 1.0), blur=1.0),
    "byol_second": _DINO._replace(scale=(0.08, 1.0), blur=0.1, solarise=0.2),
    "simsiam": _DINO._replace(cubic=False, saturation=0.4, blur=0.5),
    "mae": View(),
}
