"""What a trained network is worth: scores, rankings, and what they predict."""

from jaxdistill.evaluation.delong import auc_delong as auc_delong
from jaxdistill.evaluation.delong import delong_test as delong_test
from jaxdistill.evaluation.segmentation import (
    segmentation_scores as segmentation_scores,
)
