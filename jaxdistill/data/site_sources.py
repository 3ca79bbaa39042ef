"""Every source of data with sites by its name, and `load_sites` to call one."""

from collections.abc import Callable
from typing import Any

from jaxdistill.data.hippocampus import hippocampus
from jaxdistill.data.nnunet import nnunet
from jaxdistill.data.prostate import prostate
from jaxdistill.data.prostate_phantom import prostate_phantom
from jaxdistill.data.site_folders import retinal_vessels, site_folders
from jaxdistill.settings import choose
from jaxdistill.types import SitePool

SITE_SOURCES: dict[str, Callable[..., SitePool]] = {
    "prostate_phantom": prostate_phantom,
    "prostate": prostate,
    "hippocampus": hippocampus,
    "retinal_vessels": retinal_vessels,
    "site_folders": site_folders,
    "nnunet": nnunet,
}


def load_sites(name: str, **settings: Any) -> SitePool:
    """The data set that `data.name` and the settings of that source ask for.

    Raises `InputError` for an unknown source or setting, and whatever the source
    refuses.
    """
    return choose("data", SITE_SOURCES, name.lower(), settings)(**settings)
