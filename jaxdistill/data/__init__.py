"""Data sets: any source in, one checked `Pool` out."""

from jaxdistill.data.class_folders import folder as folder
from jaxdistill.data.film_phantom import phantom as phantom
from jaxdistill.data.npz_sets import medmnist as medmnist
from jaxdistill.data.npz_sets import mnist as mnist
from jaxdistill.data.pool import Raw as Raw
from jaxdistill.data.pool import counts as counts
from jaxdistill.data.pool import data_root as data_root
from jaxdistill.data.pool import fingerprint as fingerprint
from jaxdistill.data.pool import make_pool as make_pool
from jaxdistill.data.sources import chest_xray as chest_xray
from jaxdistill.data.sources import covid_radiography as covid_radiography
from jaxdistill.data.sources import load as load
from jaxdistill.data.tfds_sets import tfds as tfds
