"""Distil medical image data sets and models in JAX."""

from jaxdistill import augment as augment
from jaxdistill import data as data
from jaxdistill import networks as networks
from jaxdistill import segmentation as segmentation
from jaxdistill import selfsupervised as selfsupervised
from jaxdistill.distillation.distill import distill as distill
from jaxdistill.distillation.distill import distilling as distilling
from jaxdistill.distillation.distill import outer_optimiser as outer_optimiser
from jaxdistill.distillation.distillers.characteristic import (
    characteristic_matching as characteristic_matching,
)
from jaxdistill.distillation.distillers.distribution import (
    distribution_matching as distribution_matching,
)
from jaxdistill.distillation.distillers.gradient import (
    gradient_matching as gradient_matching,
)
from jaxdistill.distillation.distillers.kernel import (
    kernel_regression as kernel_regression,
)
from jaxdistill.distillation.distillers.soft_label import soft_label as soft_label
from jaxdistill.distillation.distillers.soft_label import starting_at as starting_at
from jaxdistill.distillation.distillers.trajectory import (
    trajectory_matching as trajectory_matching,
)
from jaxdistill.distillation.distillers.weighting import WEIGHTINGS as WEIGHTINGS
from jaxdistill.distillation.experts import Experts as Experts
from jaxdistill.distillation.experts import expert_labelled as expert_labelled
from jaxdistill.distillation.experts import train_experts as train_experts
from jaxdistill.distillation.initial import few_images as few_images
from jaxdistill.distillation.initial import initial as initial
from jaxdistill.distillation.mosaic import multi_formation as multi_formation
from jaxdistill.distillation.survey import survey_experts as survey_experts
from jaxdistill.engine.sampling import random_subset as random_subset
from jaxdistill.engine.schedule import Schedule as Schedule
from jaxdistill.engine.training import Recipe as Recipe
from jaxdistill.engine.unroll import unroll as unroll
from jaxdistill.errors import InputError as InputError
from jaxdistill.evaluation.evaluate import evaluate as evaluate
from jaxdistill.types.learning import Method as Method
from jaxdistill.types.networks import Network as Network
from jaxdistill.types.sets import Pool as Pool
from jaxdistill.types.sets import Split as Split
from jaxdistill.types.sets import Synthetic as Synthetic
