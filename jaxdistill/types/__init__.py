"""The records that rooms hand to each other: arrays and pure functions."""

from jaxdistill.types.arrays import IGNORED as IGNORED
from jaxdistill.types.arrays import Images as Images
from jaxdistill.types.arrays import Logits as Logits
from jaxdistill.types.arrays import Metrics as Metrics
from jaxdistill.types.arrays import Params as Params
from jaxdistill.types.arrays import PRNGKey as PRNGKey
from jaxdistill.types.arrays import Scalar as Scalar
from jaxdistill.types.learning import Learner as Learner
from jaxdistill.types.learning import Matched as Matched
from jaxdistill.types.learning import Method as Method
from jaxdistill.types.learning import Source as Source
from jaxdistill.types.networks import Backbone as Backbone
from jaxdistill.types.networks import Decoder as Decoder
from jaxdistill.types.networks import Head as Head
from jaxdistill.types.networks import Network as Network
from jaxdistill.types.networks import Part as Part
from jaxdistill.types.networks import Segmenter as Segmenter
from jaxdistill.types.sets import Case as Case
from jaxdistill.types.sets import Pool as Pool
from jaxdistill.types.sets import SitePool as SitePool
from jaxdistill.types.sets import Slices as Slices
from jaxdistill.types.sets import Split as Split
from jaxdistill.types.sets import Standard as Standard
from jaxdistill.types.sets import Synthetic as Synthetic
from jaxdistill.types.sets import Whitening as Whitening
