"""Distil medical image data sets and models in JAX."""

from jaxdistill import data as data
from jaxdistill import networks as networks
from jaxdistill.distill import distill as distill
from jaxdistill.distill import distilling as distilling
from jaxdistill.distillers.trajectory import StartRange as StartRange
from jaxdistill.distillers.trajectory import trajectory_matching as trajectory_matching
from jaxdistill.distillers.weighting import WEIGHTINGS as WEIGHTINGS
from jaxdistill.errors import InputError as InputError
from jaxdistill.evaluate import evaluate as evaluate
from jaxdistill.experts import Experts as Experts
from jaxdistill.experts import train_experts as train_experts
from jaxdistill.initial import initial as initial
from jaxdistill.survey import survey_experts as survey_experts
from jaxdistill.training import Recipe as Recipe
from jaxdistill.types import Method as Method
from jaxdistill.types import Network as Network
from jaxdistill.types import Pool as Pool
from jaxdistill.types import Split as Split
from jaxdistill.types import Synthetic as Synthetic
from jaxdistill.unroll import unroll as unroll
