"""Segmentation: students that learn from teachers, and hold up on sites unseen."""

from jaxdistill.segmentation.drawing import Patches as Patches
from jaxdistill.segmentation.drawing import stock as stock
from jaxdistill.segmentation.inference import masks_of as masks_of
from jaxdistill.segmentation.inference import predict as predict
from jaxdistill.segmentation.losses import TERMS as TERMS
from jaxdistill.segmentation.teaching import Practice as Practice
from jaxdistill.segmentation.teaching import Resident as Resident
from jaxdistill.segmentation.teaching import Student as Student
from jaxdistill.segmentation.teaching import numbers as numbers
from jaxdistill.segmentation.teaching import teach as teach
from jaxdistill.segmentation.term import Term as Term
