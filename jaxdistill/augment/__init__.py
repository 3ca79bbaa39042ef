"""Augmentation on the device, as pure functions of images and a key."""

from jaxdistill.augment.paired import Paired as Paired
from jaxdistill.augment.paired import augment_pairs as augment_pairs
from jaxdistill.augment.siamese import POLICIES as POLICIES
from jaxdistill.augment.siamese import Policy as Policy
from jaxdistill.augment.siamese import augment_each as augment_each
from jaxdistill.augment.siamese import augment_siamese as augment_siamese
from jaxdistill.augment.siamese import policy as policy
