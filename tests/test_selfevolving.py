"""The self-evolving stage: who sees what, who tells whom, and how much it counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_pretexts import CLASSES, PARTS, SIDE, STANDARD, backbone, films, views

from jaxdistill.data.standard import standardise
from jaxdistill.engine.losses import soft_cross_entropy
from jaxdistill.networks.heads import class_head, dino_head
from jaxdistill.selfsupervised.pretext import UNKNOWN, Batch, Now
from jaxdistill.selfsupervised.selfevolving import (
    aligned,
    ramp_at,
    selfevolving,
    told_by,
)
from jaxdistill.selfsupervised.supervised import supervised

KEY = jax.random.key(3)
close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def now(epoch=0, correcting=False):
    return Now(*map(jnp.asarray, (7, 40, epoch, 5, 8, correcting)))


def batch(labelled=True):
    """Four films that have labels, or those without."""
    at = slice(-4, None) if labelled else slice(4)
    return Batch(films().images[at], films().labels[at], jnp.arange(4))


class Witness:
    """A backbone that remembers what it was shown, and whether it dropped."""

    def __init__(self):
        self.seen = []

    def __call__(self, params, images, key=None):
        self.seen.append((images, key is not None))
        return backbone().features(params, images, key)


@functools.cache
def heads():
    return (
        dino_head(backbone().width, **PARTS["dino"]["dino"]),
        class_head(backbone().width, outputs=CLASSES, hidden=8),
    )


def stage(witness=None, **settings):
    """The pretext, two sets of parameters, and its loss of a batch."""
    trunk = backbone()
    trunk = trunk._replace(features=witness) if witness else trunk
    made = selfevolving(trunk, *heads(), views("distl"), STANDARD, **settings)
    student, teacher = made.init(KEY), made.init(jax.random.key(4))

    def loss(batch, when, memory=made.memory):
        return made.loss(student, teacher, memory, batch, KEY, when, None)

    return student, teacher, loss


def test_pseudo_labels_count_more_from_epoch_to_epoch():
    risen = [float(ramp_at(now(epoch), 2.0)) for epoch in range(5)]
    close(risen, [0.4, 0.8, 1.2, 1.6, 2.0])
    assert ramp_at(now(3, correcting=True), 2.0) == 1


def test_labels_tell_in_a_pass_alone_and_never_those_that_are_not_known():
    soft = np.random.default_rng(0).dirichlet(np.ones(CLASSES), 3)
    labels = jnp.array([2, UNKNOWN, 0])
    close(told_by(jnp.asarray(soft), labels, now()), soft)
    in_pass = told_by(jnp.asarray(soft), labels, now(correcting=True))
    close(in_pass, [[0, 0, 1], soft[1], [1, 0, 0]])


def test_answers_are_held_at_the_shares_of_labels_by_hand():
    """The mean answer moves first, then every answer is weighed by what is wanted."""
    said = jnp.array([[0.9, 0.1], [0.7, 0.3]])
    wanted = jnp.array([0.5, 0.5])
    held, mean = aligned(said, wanted, wanted, 0.75)
    close(mean, [0.75 * 0.5 + 0.25 * 0.8, 0.75 * 0.5 + 0.25 * 0.2])  # 0.575, 0.425
    first = [0.9 * 0.5 / 0.575, 0.1 * 0.5 / 0.425]
    close(held[0], np.array(first) / sum(first))
    close(held.sum(1), [1, 1])
    again, _ = aligned(said, jnp.array([0.8, 0.2]), wanted, 0.999999)
    assert abs(float(again.mean(0)[0]) - 0.5) < 0.05  # a lean is taken away


def test_the_mean_answer_moves_with_films_alone():
    """With `align`, and not in a pass over labelled films; without it never."""
    _, _, loss = stage(align=0.5)
    _, (_, after) = loss(batch(False), now())
    _, (_, passed) = loss(batch(), now(correcting=True))
    even = np.full(CLASSES, 1 / CLASSES, np.float32)
    close(passed.said, even)
    assert np.abs(np.asarray(after.said) - even).max() > 1e-3
    _, (told, _) = loss(batch(False), now(4))
    _, _, plain = stage()
    _, (other, same) = plain(batch(False), now(4))
    assert told["labels"] != other["labels"]
    close(same.said, even)


def test_nothing_is_learned_by_the_teacher():
    made = selfevolving(backbone(), *heads(), views("distl"), STANDARD, align=0.5)
    params = made.init(KEY)

    def value(target):
        return made.loss(params, target, made.memory, batch(), KEY, now(), None)[0]

    slopes = jax.tree.leaves(jax.grad(value)(made.init(jax.random.key(4))))
    assert not any(np.asarray(slope).any() for slope in slopes)


def test_one_logit_has_the_binary_cross_entropy():
    z, t = np.random.default_rng(1).normal(size=(2, 6))
    p = 1 / (1 + np.exp(-t))
    want = np.mean(np.log1p(np.exp(z)) - p * z)
    two = lambda x: jnp.stack([jnp.zeros(6), jnp.asarray(x)], axis=1)  # noqa: E731
    told = told_by(jax.nn.softmax(two(t)), jnp.full(6, UNKNOWN), now())
    close(soft_cross_entropy(two(z), told), want)
    head = class_head(4, hidden=3)
    logits = head.apply(head.init(KEY), jnp.ones((2, 4)))
    assert logits.shape == (2, 2)
    assert not np.asarray(logits[:, 0]).any()


def test_the_teacher_sees_the_film_and_the_student_a_noisy_view():
    """And small views of its own; nothing is dropped for the teacher."""
    witness = Witness()
    _, _, loss = stage(witness)
    loss(batch(False), now())
    teacher, large, small = witness.seen
    film = standardise(batch(False).images, STANDARD)
    close(teacher[0][:4], film, atol=1e-4)
    close(large[0], teacher[0])
    assert np.abs(large[0][4:] - film).max() > 0.1
    assert small[0].shape == (4, SIDE // 2, SIDE // 2, 1)
    assert [dropped for _, dropped in witness.seen] == [False, True, True]


@pytest.mark.parametrize("correcting", [False, True])
def test_the_loss_of_labels_by_hand(correcting):
    """The student's answer to its noisy view, the teacher's to the film, or labels."""
    witness = Witness()
    student, teacher, loss = stage(witness, ssl=0.0)
    value, (metrics, memory) = loss(batch(), now(2, correcting))
    assert set(metrics) == {"labels"}
    assert not np.asarray(memory.centre.mean).any()
    pictures, _ = witness.seen[0]
    assert len(witness.seen) == 2
    seen = backbone().features(teacher["trunk"], pictures[:4])
    said = jax.nn.softmax(heads()[1].apply(teacher["classes"], seen))
    if correcting:
        said = jax.nn.one_hot(batch().labels, CLASSES)
    noisy = witness.seen[1][0][4:]
    drop = _keys_of_the_second_view()
    seen = backbone().features(student["trunk"], noisy, drop)
    heard = heads()[1].apply(student["classes"], seen)
    want = (1.0 if correcting else 1.2) * soft_cross_entropy(heard, said)
    close(value, want)


def _keys_of_the_second_view():
    from jaxdistill.selfsupervised.pretext import image_keys

    return image_keys(jax.random.split(KEY, 3)[2], batch(), 3)[1]


def test_both_parts_have_their_shares():
    _, _, loss = stage(ssl=0.25)
    value, (told, _) = loss(batch(), now(4))
    close(value, 0.25 * told["dino"] + 0.75 * 2.0 * told["labels"])
    value, (told, _) = loss(batch(), now(4, correcting=True))
    close(value, 0.25 * told["dino"] + 0.75 * told["labels"])


def test_a_teacher_that_sees_noisy_views_is_a_setting():
    witness = Witness()
    _, _, loss = stage(witness, original=False)
    loss(batch(), now())
    film = standardise(batch().images, STANDARD)
    assert np.abs(witness.seen[0][0][:4] - film).max() > 0.1


@pytest.mark.parametrize("probe", [True, False])
def test_a_probe_trains_the_head_alone(probe):
    head, shown = heads()[1], views("distl").second
    made = supervised(backbone(), head, shown, STANDARD, probe=probe)
    params = made.init(KEY)

    @jax.grad
    def slope(params):
        return made.loss(params, (), (), batch(), KEY, now(), None)[0]

    moved = jax.tree.map(lambda x: bool(np.asarray(x).any()), slope(params))
    assert any(jax.tree.leaves(moved["classes"]))
    assert any(jax.tree.leaves(moved["trunk"])) is not probe
