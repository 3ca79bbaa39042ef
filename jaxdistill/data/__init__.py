"""Data sets: any source in, one checked `Pool` out, or a `SitePool` of masks."""

from jaxdistill.data.class_folders import folder as folder
from jaxdistill.data.film_phantom import phantom as phantom
from jaxdistill.data.hippocampus import hippocampus as hippocampus
from jaxdistill.data.nnunet import nnunet as nnunet
from jaxdistill.data.npz_sets import medmnist as medmnist
from jaxdistill.data.npz_sets import mnist as mnist
from jaxdistill.data.pool import Raw as Raw
from jaxdistill.data.pool import counts as counts
from jaxdistill.data.pool import data_root as data_root
from jaxdistill.data.pool import fingerprint as fingerprint
from jaxdistill.data.pool import make_pool as make_pool
from jaxdistill.data.prints import prints as prints
from jaxdistill.data.prints import site_prints as site_prints
from jaxdistill.data.prostate import prostate as prostate
from jaxdistill.data.prostate_phantom import prostate_phantom as prostate_phantom
from jaxdistill.data.protocol import leave_one_out as leave_one_out
from jaxdistill.data.site_folders import retinal_vessels as retinal_vessels
from jaxdistill.data.site_folders import site_folders as site_folders
from jaxdistill.data.site_sources import load_sites as load_sites
from jaxdistill.data.slices import slices_of as slices_of
from jaxdistill.data.sources import chest_xray as chest_xray
from jaxdistill.data.sources import covid_radiography as covid_radiography
from jaxdistill.data.sources import load as load
from jaxdistill.data.tfds_sets import tfds as tfds
from jaxdistill.data.volumes import read_volume as read_volume
from jaxdistill.data.written_masks import write_mask as write_mask
