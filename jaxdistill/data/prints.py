"""Fingerprints of a data set by its parts, so that a run tells when they change."""

import hashlib
from typing import Any

import numpy as np

from jaxdistill.data.unlabelled import Unlabelled
from jaxdistill.types import Case, Pool, SitePool

SPLITS = {"train": "training", "val": "validation", "test": "test"}


def prints(pool: Pool, further: Unlabelled | None = None) -> dict[str, Any]:
    """Class names, and sixteen digits for images, labels and patients of every split.

    Films beside those of the pool have some, too: the films whatever their order, and
    in their order with their patients, which folds are made of.
    """
    found: dict[str, Any] = {"class_names": list(pool.class_names)}
    for name, said in SPLITS.items():
        split = getattr(pool, name)
        found[f"{said}_images"] = digest_of(split.images)
        found[f"{said}_labels"] = digest_of(split.labels)
        found[f"{said}_patients"] = digest_of(split.groups)
    if further is not None:
        whole = b"".join(sorted(set(further.prints)))
        found["films_without_labels"] = hashlib.sha256(whole).hexdigest()[:16]
        told = repr((further.prints, further.groups)).encode("utf-8", "replace")
        found["patients_without_labels"] = hashlib.sha256(told).hexdigest()[:16]
    return found


def site_prints(pool: SitePool) -> dict[str, Any]:
    """Class names, and sixteen digits for the cases of every site."""
    return {"class_names": list(pool.class_names)} | {
        f"cases_of_{site}": _of_cases([c for c in pool.cases if c.site == site])
        for site in pool.sites
    }


def _of_cases(cases: list[Case]) -> str:
    parts = [(c.name, digest_of(c.image), digest_of(c.mask), c.spacing) for c in cases]
    return hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()[:16]


def digest_of(values: Any) -> str:
    """Sixteen digits for the type, the shape and the numbers of an array."""
    array = np.ascontiguousarray(np.asarray(values))
    digest = hashlib.sha256(f"{array.dtype.name}{array.shape}".encode())
    digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:16]
