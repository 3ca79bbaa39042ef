"""Distil medical image data sets and models in JAX."""

from jaxdistill import data as data
from jaxdistill import networks as networks
from jaxdistill.distillation.distill import distill as distill
from jaxdistill.distillation.distill import distilling as distilling
from jaxdistill.distillation.distillers.trajectory import (
    trajectory_matching as trajectory_matching,
)
from jaxdistill.distillation.distillers.weighting import WEIGHTINGS as WEIGHTINGS
from jaxdistill.distillation.experts import Experts as Experts
from jaxdistill.distillation.experts import train_experts as train_experts
from jaxdistill.distillation.initial import initial as initial
from jaxdistill.distillation.survey import survey_experts as survey_experts
from jaxdistill.engine.training import Recipe as Recipe
from jaxdistill.engine.unroll import unroll as unroll
from jaxdistill.errors import InputError as InputError
from jaxdistill.evaluation.evaluate import evaluate as evaluate
from jaxdistill.types import Method as Method
from jaxdistill.types import Network as Network
from jaxdistill.types import Pool as Pool
from jaxdistill.types import Split as Split
from jaxdistill.types import Synthetic as Synthetic
