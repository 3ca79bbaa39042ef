"""Calls of the library with what does not belong together: an `InputError` each."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import linear_network, made_experts, tanh_network, toy_pool, toy_synthetic
from refusals import assert_sentence

import jaxdistill as jd
from jaxdistill import data, networks
from jaxdistill.data.site_pool import make_site_pool
from jaxdistill.distillation.coresets import herding, k_center
from jaxdistill.engine.schedule import Schedule
from jaxdistill.errors import InputError
from jaxdistill.networks.weights import read_tensors
from jaxdistill.sharing.packing import pack, to_float
from jaxdistill.types import Synthetic

KEY = jax.random.key(0)
NET = linear_network()
SET = toy_synthetic()
BYTES = np.zeros((6, 8, 8, 1), np.uint8)


@functools.cache
def pool():
    return toy_pool()


def four_classes():
    """The toy test split with a label that three classes have not."""
    labels = pool().test.labels.at[0].set(3)
    return pool().test._replace(labels=labels)


def wide():
    """The toy pool with larger images."""
    splits = {
        name: getattr(pool(), name)._replace(
            images=jnp.zeros((len(getattr(pool(), name).labels), 9, 9, 1), jnp.uint8)
        )
        for name in ("train", "val", "test")
    }
    return dataclasses.replace(pool(), **splits)


def other(**changed) -> Synthetic:
    return SET._replace(**changed)


def scheduled() -> Synthetic:
    return SET._replace(raw_lr=jnp.zeros((1, 2)))


def evaluated(train=SET, test=None, network=NET, **more):
    return jd.evaluate(train, test or pool().test, network, key=KEY, **more)


def split(**changed):
    return pool().test._replace(**changed)


def distilled(method=None, at=None, **more):
    method = method or jd.distribution_matching(NET, classes=3)
    given = {"ipc": 1, "steps": 1} | more
    return jd.distill(method, at or pool(), key=KEY, **given)


def raw(**changed):
    one = data.Raw(BYTES, np.arange(6) % 2, np.arange(6))
    return one._replace(**changed)


def pooled(names=("a", "b"), **changed):
    val = raw(groups=np.arange(6, 12))
    made = {"train": raw(), "val": val, "test": raw(groups=np.arange(12, 18))}
    made["test"] = made["test"]._replace(**changed)
    return data.make_pool("mine", made, names)


def trained(network=NET, at=None, **more):
    given = {"count": 1, "epochs": 1} | more
    return jd.train_experts(network, at or pool(), key=KEY, **given)


def experts(name="linear"):
    network = NET._replace(name=name)
    return made_experts(network, [[network.init(KEY)] * 3])


FOUR = networks.mlp((8, 8, 1), 4, width=4, depth=1)
LARGE = networks.mlp((9, 9, 1), 3, width=4, depth=1)
CALLS: list[tuple[Callable, str]] = [
    (lambda: evaluated(seeds=0), "seeds=0"),
    (lambda: evaluated(seeds=-1), "seeds=-1"),
    (lambda: evaluated(lr=-1.0), "lr=[-1.0]"),
    (lambda: evaluated(lr=0.0), "lr=[0.0]"),
    (lambda: evaluated(lr=float("nan")), "lr=[nan]"),
    (lambda: evaluated(lr=float("inf")), "lr=[inf]"),
    (lambda: evaluated(other(raw_lr=jnp.float32(jnp.nan))), "lr=[nan]"),
    (lambda: evaluated(other(raw_lr=jnp.zeros(3))), "rate has shape (3,)"),
    (lambda: evaluated(other(raw_lr=jnp.zeros((1, 4)))), "rate has shape (1, 4)"),
    (lambda: evaluated(other(raw_lr=jnp.zeros((0, 2)))), "lr=[]"),
    (lambda: evaluated(test=four_classes()), "labels from 0 up to 3"),
    (lambda: evaluated(pool().train, four_classes()), "labels from 0 up to 3"),
    (lambda: evaluated(four_classes()), "train_set has labels from 0 up to 3"),
    (lambda: evaluated(test=split(labels=pool().test.labels - 1)), "labels from -1"),
    (lambda: evaluated(network=FOUR), "4 classes apart"),
    (lambda: evaluated(network=LARGE), "does not take images of shape (8, 8, 1)"),
    (lambda: evaluated(pool().train, network=LARGE), "does not take images"),
    (lambda: evaluated(test=wide().test), "those of test have (9, 9, 1)"),
    (lambda: evaluated(pool().train, wide().test), "take both from one data set"),
    (
        lambda: evaluated(other(images=SET.images[:0], logits=SET.logits[:0])),
        "there mu",
    ),
    (lambda: evaluated(other(logits=SET.logits[:3])), "a row of logits for each"),
    (lambda: evaluated(other(logits=SET.logits[:, :2])), "2 classes apart"),
    (
        lambda: evaluated(
            test=split(images=pool().test.images[:0], labels=pool().test.labels[:0])
        ),
        "there must be some",
    ),
    (
        lambda: evaluated(test=split(labels=pool().test.labels[:3])),
        "one label for each",
    ),
    (lambda: evaluated(recipe=jd.Recipe(epochs=0)), "eval.epochs=0"),
    (lambda: evaluated(recipe=jd.Recipe(batch=-1)), "eval.batch=-1"),
    (lambda: evaluated(recipe=jd.Recipe(momentum=1.5)), "eval.momentum=1.5"),
    (lambda: evaluated(recipe=jd.Recipe(weight_decay=-1.0)), "eval.weight_decay=-1"),
    (lambda: distilled(steps=0), "steps=0"),
    (lambda: distilled(steps=-2), "steps=-2"),
    (lambda: distilled(ipc=0), "ipc=0"),
    (lambda: distilled(ipc=99), "ipc=99"),
    (lambda: distilled(steps_per_call=0), "steps_per_call=0"),
    (lambda: distilled(average_decay=1.0), "average_decay=1.0"),
    (lambda: distilled(average_decay=-0.1), "average_decay=-0.1"),
    (lambda: distilled(start=SET, at=wide()), "have (9, 9, 1)"),
    (lambda: distilled(start=other(logits=SET.logits[:, :2])), "2 classes apart"),
    (lambda: distilled(start=other(images=SET.images[:0])), "there must be some"),
    (lambda: jd.distribution_matching(NET, classes=3, nets=0), "nets=0"),
    (lambda: jd.distribution_matching(NET, classes=3, batch_real=0), "batch_re"),
    (lambda: jd.gradient_matching(NET, ipc=1, classes=3, nets=-1), "nets=-1"),
    (lambda: jd.gradient_matching(NET, ipc=1, classes=3, distance="far"), "distance"),
    (lambda: jd.soft_label(NET, classes=3, nets=0), "soft_label.nets=0"),
    (lambda: jd.soft_label(NET, classes=3, max_age=0), "soft_label.max_age=0"),
    (lambda: jd.soft_label(NET, classes=3, start="here"), "soft_label.start='here'"),
    (lambda: trained(count=0), "experts.count=0"),
    (lambda: trained(epochs=0), "experts.epochs=0"),
    (lambda: trained(lr=float("nan")), "experts.lr=nan"),
    (lambda: trained(lr=-1.0), "experts.lr=-1"),
    (lambda: trained(FOUR), "4 classes apart"),
    (lambda: trained(LARGE), "does not take images"),
    (lambda: jd.expert_labelled(SET, experts("tanh"), NET), "trajectories of tanh"),
    (lambda: jd.expert_labelled(SET, experts("mlp"), LARGE), "trajectories of mlp"),
    (lambda: jd.survey_experts(experts(), tanh_network(), pool().val), "trajectories"),
    (lambda: jd.survey_experts(experts(), NET, pool().val, span=0), "span=0"),
    (lambda: jd.survey_experts(experts(), NET, pool().val, sample=0), "sample=0"),
    (lambda: jd.initial(pool(), 0, KEY), "ipc=0"),
    (lambda: jd.initial(pool(), 99, KEY), "ipc=99"),
    (lambda: jd.initial(pool(), 1, KEY, images="stars"), "init.images='stars'"),
    (lambda: jd.initial(pool(), 1, KEY, lr=float("nan")), "init.lr=nan"),
    (lambda: jd.initial(pool(), 1, KEY, noise=-1.0), "init.noise=-1"),
    (lambda: jd.initial(pool(), 1, KEY, mosaic=3), "mosaic=3"),
    (lambda: jd.few_images(pool(), 0, KEY), "init.count=0"),
    (lambda: jd.few_images(pool(), 2, KEY, images="real"), "init.images='real'"),
    (lambda: jd.random_subset(pool().train.labels, 3, 0, KEY), "ipc=0"),
    (
        lambda: jd.random_subset(pool().train.labels, 2, 1, KEY),
        "labels run from 0 to 2",
    ),
    (lambda: jd.random_subset(pool().train.labels, 4, 1, KEY), "class 3 has no image"),
    (lambda: herding(np.ones((6, 2)), np.arange(6) % 3, 0), "ipc=0"),
    (lambda: k_center(np.ones((6, 2)), np.arange(6) % 3, 9), "ipc=9"),
    (lambda: pooled(names=("a",)), "has 1 class"),
    (lambda: pooled(names=()), "has 0 class"),
    (lambda: pooled(names=("a", "b", "c")), "class 'c'"),
    (lambda: pooled(images=BYTES.astype(np.float32)), "pixels must be uint8"),
    (lambda: pooled(images=np.full((6, 8, 8, 1), np.nan, np.float32)), "NaN"),
    (lambda: pooled(images=BYTES[..., 0]), "reshape the array"),
    (lambda: pooled(images=BYTES[:, :4]), "those of train are"),
    (
        lambda: pooled(images=BYTES[:0], labels=np.arange(0), groups=np.arange(0)),
        "no im",
    ),
    (lambda: pooled(labels=np.arange(5) % 2), "there are 5 labels"),
    (lambda: pooled(labels=np.arange(6) % 2 - 1), "run from -1"),
    (lambda: pooled(labels=np.arange(6) % 2 + 2**32), "must lie in 0 to 1"),
    (lambda: pooled(labels=(np.arange(6) % 2).astype(float)), "integer an image"),
    (lambda: pooled(labels=np.zeros(6, int)), "class 'b' of 'mine' has no image"),
    (lambda: pooled(groups=np.arange(6) - 9), "the test groups"),
    (lambda: pooled(groups=np.linspace(0, 1, 6)), "the test groups"),
    (lambda: data.load("nonsuch"), "data.name='nonsuch'"),
    (lambda: data.load("phantom", sise=9), "did you mean 'size'"),
    (lambda: data.phantom(size=4), "data.size=4"),
    (lambda: data.phantom(train=0), "data.train=0"),
    (lambda: data.folder("/nowhere"), "/nowhere does not exist"),
    (lambda: data.folder("a\0b"), "does not exist"),
    (lambda: data.folder("~no_such_user/x"), "home is not known"),
    (lambda: data.folder(""), "data.path='' must be given"),
    (lambda: data.medmnist("chestmnist"), "several labels at once"),
    (lambda: data.medmnist("pathmnist", size=30), "data.size=30"),
    (lambda: data.read_volume("/nowhere.nii"), "cannot be read"),
    (lambda: data.read_volume("/dev/zero"), "/dev/zero"),
    (lambda: make_site_pool("mine", [], ("a", "b")), "has 0 usable cases"),
    (lambda: networks.build("nonsuch", (8, 8, 1), 2), "network.name='nonsuch'"),
    (lambda: networks.build("mlp", (8, 8, 1), 2, deep=3), "deep is no setting"),
    (lambda: networks.convnet((8, 8, 1), 2, depth=9), "depth=9"),
    (lambda: networks.convnet((8, 8, 1), 2, width=0), "width=0"),
    (lambda: networks.build_segmenter("unet", 1, 2, width=0), "width=0"),
    (lambda: read_tensors(Path("w.pth")), "must be a .safetensors or .npz"),
    (lambda: read_tensors(Path("/nowhere.npz")), "does not exist"),
    (lambda: pack(np.ones((1, 2, 2, 1), np.float32), "int4"), "pixels='int4'"),
    (lambda: to_float(np.full(3, 1e6), "float16"), "cannot hold"),
    (lambda: jd.augment.policy("twirl"), "twirl"),
    (
        lambda: jd.multi_formation(jd.distribution_matching(NET, classes=3), 0),
        "mosaic=0",
    ),
    (lambda: evaluated(recipe=Schedule()), "asks for a rate for every step"),
    (lambda: evaluated(pool().train, recipe=Schedule()), "asks for a rate for every"),
    (lambda: evaluated(scheduled(), recipe=jd.Recipe()), "asks for one rate"),
]


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_a_call_with_what_does_not_belong_together(number):
    call, part = CALLS[number]
    with pytest.raises(InputError) as told:
        call()
    assert_sentence(str(told.value), (part,))
