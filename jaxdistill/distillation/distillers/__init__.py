"""A method is a loss: one file each, opened by its paper and equation."""

from collections.abc import Callable

from jaxdistill.distillation.distillers.characteristic import characteristic_matching
from jaxdistill.distillation.distillers.distribution import distribution_matching
from jaxdistill.distillation.distillers.gradient import gradient_matching
from jaxdistill.distillation.distillers.kernel import kernel_regression
from jaxdistill.distillation.distillers.soft_label import soft_label
from jaxdistill.distillation.distillers.trajectory import trajectory_matching
from jaxdistill.types import Method

METHODS: dict[str, Callable[..., Method]] = {
    "trajectory": trajectory_matching,
    "gradient": gradient_matching,
    "distribution": distribution_matching,
    "characteristic": characteristic_matching,
    "soft_label": soft_label,
    "kernel": kernel_regression,
}
