"""What a configuration is for, and so which settings there are.

`job` names it; without one a configuration is of distillation, by its `method`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from jaxdistill.errors import require_name
from jaxdistill.jobs.settings import labelling, segmentation, selftraining
from jaxdistill.jobs.settings.records import Distillation, root
from jaxdistill.settings import Section

METHOD = Distillation().method
DISTIL = "distil"
ROOTS: dict[str, Callable[[Mapping[str, Any]], Section]] = {
    DISTIL: lambda changes: root(changes.get("method", METHOD)),
    "segment": lambda changes: segmentation.root(),
    "selftrain": lambda changes: selftraining.root(),
    "labels": lambda changes: labelling.root(),
}


def job_of(changes: Mapping[str, Any]) -> str:
    """What the configuration is for; `InputError` for what there is not."""
    job = changes.get("job", DISTIL)
    require_name("job", job, ROOTS)
    return job


def root_of(changes: Mapping[str, Any]) -> Section:
    """Every setting that there is, as the changes choose among jobs and methods."""
    return ROOTS[job_of(changes)](changes)


def distils(changes: Mapping[str, Any]) -> bool:
    """Whether the configuration is of a job of distillation."""
    return job_of(changes) == DISTIL
