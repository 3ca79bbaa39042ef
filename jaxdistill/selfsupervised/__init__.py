"""Learning from films without labels: a way to learn is a file.

`learning.learn` trains any of them; `selfevolving` is what `jaxdistill selftrain` does.
"""

from jaxdistill.selfsupervised.course import Course as Course
from jaxdistill.selfsupervised.descent import Regime as Regime
from jaxdistill.selfsupervised.learning import Films as Films
from jaxdistill.selfsupervised.learning import Resident as Resident
from jaxdistill.selfsupervised.learning import begin as begin
from jaxdistill.selfsupervised.learning import learn as learn
from jaxdistill.selfsupervised.pretext import UNKNOWN as UNKNOWN
from jaxdistill.selfsupervised.recipes import PRETEXTS as PRETEXTS
from jaxdistill.selfsupervised.recipes import RECIPES as RECIPES
from jaxdistill.selfsupervised.recipes import Recipe as Recipe
from jaxdistill.selfsupervised.recipes import build_pretext as build_pretext
from jaxdistill.selfsupervised.viewing import Viewing as Viewing
from jaxdistill.selfsupervised.viewing import viewing as viewing
