"""T1 MRI of the hippocampus (Medical Segmentation Decathlon, task 4), at several sites.

The set is of one hospital. Its cases are dealt into sites by a hash of their names, and
each site but the first takes them anew, see `site_simulation`.
"""

import hashlib
from typing import Annotated

import numpy as np

from jaxdistill.data.case_files import CaseSize, Normalise, Reading
from jaxdistill.data.labels import numbered
from jaxdistill.data.nnunet import HOLDING, list_nnunet
from jaxdistill.data.pool import Root, data_root
from jaxdistill.data.site_pool import BadCases, read_sites
from jaxdistill.data.site_simulation import SITES, simulate_site
from jaxdistill.data.sources import find_under
from jaxdistill.data.tree import open_tree
from jaxdistill.data.volumes import Axis
from jaxdistill.ranges import Range, Seed
from jaxdistill.settings import declared
from jaxdistill.types import SitePool

PLACES = ("hippocampus_mri.zip", "Task04_Hippocampus", "Dataset004_Hippocampus")
CLASSES = {0: "background", 1: "anterior", 2: "posterior"}


@declared("data")
def hippocampus(
    root: Root = "",
    size: CaseSize = 0,
    sites: Annotated[int, Range(1, len(SITES)), "sites to deal the cases into"] = 4,
    *,
    strength: Annotated[float, Range(0, 3), "how much sites differ; 0: not"] = 1.0,
    seed: Annotated[Seed, "of the sites' noise and spread"] = 0,
    axis: Axis = "auto",
    normalise: Normalise = "zscore",
    bad_cases: BadCases = "refuse",
) -> SitePool:
    """The hippocampus set, with simulated sites S0 (untouched), S1, S2 and so on."""
    tree = open_tree(find_under(data_root(root), PLACES, "hippocampus"), HOLDING)
    listed, faults = list_nnunet(tree)
    listed = [files._replace(site=f"S{_dealt(files.name, sites)}") for files in listed]
    listed.sort(key=lambda files: (files.site, files.name))

    def alter(voxels: np.ndarray, name: str, site: str) -> np.ndarray:
        case_seed = _hash(f"{seed}:{name}")
        made = simulate_site(
            voxels[..., 0], int(site[1:]), case_seed, strength=strength
        )
        return made[..., None]

    reading = Reading(axis, normalise, size=size, alter=alter)
    labels = numbered(CLASSES)
    listing = (listed, faults)
    return read_sites(
        "hippocampus", tree, listing, labels, reading, bad_cases=bad_cases
    )


def _dealt(name: str, sites: int) -> int:
    """The site of a case, whatever other cases there are."""
    return _hash(name) % sites


def _hash(text: str) -> int:
    data = text.encode(errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "big")
