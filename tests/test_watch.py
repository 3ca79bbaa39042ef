"""Networks that tell all films the same: one warning, with the step and a remedy."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.jobs.lessons.watch import collapse
from jaxdistill.run.loop import Moment
from jaxdistill.selfsupervised.dino import Centre, recentre, told
from jaxdistill.selfsupervised.pairs import spread


def said_of(*moments):
    """The warnings about metrics of a network called `net`, steps 10, 20, ..."""
    said = []
    event = collapse(10, said.append, "net")
    for number, values in enumerate(moments, 1):
        event.act(Moment(10 * number, SimpleNamespace(), values, None))
    return said


def told_of(outputs):
    """What is told of the teacher's centre after outputs `n k` in two views."""
    k = outputs.shape[-1]
    begun = Centre(jnp.zeros(k), jnp.ones(()), jnp.zeros(()))
    return told(recentre(begun, jnp.stack([outputs, outputs]), 0.9, heat=0.04))


def test_a_teacher_with_one_answer_for_all_is_told_of_once():
    own = told_of(jnp.eye(8))
    one = told_of(jnp.broadcast_to(jnp.eye(8)[:1], (8, 8)))
    (words,) = said_of(own, one, one)
    assert words.startswith("warning: net: the teacher gives all films one answer")
    assert "since step 20" in words
    assert "momentum of the centre" in words


def test_a_teacher_that_cannot_decide_is_told_of():
    (words,) = said_of(told_of(jnp.zeros((8, 8))))
    assert "cannot decide since step 10" in words
    assert "lower teacher_heat, or lower lr" in words


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_pairs_that_all_have_one_direction_are_told_of(scale):
    rng = np.random.default_rng(0)
    even = jnp.asarray(rng.normal(size=(2, 256, 16)), jnp.float32)
    one = jnp.ones((2, 256, 16)) + 0.01 * even
    seen = [{"spread": spread(scale * x)} for x in (even, one)]
    assert 0.9 < seen[0]["spread"] < 1.1
    (words,) = said_of(*seen)
    assert "all films have one direction since step 20 (spread 0.010 of 1)" in words
