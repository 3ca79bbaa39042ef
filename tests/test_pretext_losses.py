"""Losses of pretexts against the published equations in NumPy, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from small_pretexts import backbone, films, pretext

from jaxdistill.networks.masked import masked_decoder
from jaxdistill.selfsupervised.byol import byol_loss
from jaxdistill.selfsupervised.dino import Centre, dino_loss, recentre
from jaxdistill.selfsupervised.mae import choose_shown, evened, mae_loss
from jaxdistill.selfsupervised.pairs import spread
from jaxdistill.selfsupervised.pretext import Batch, image_keys
from jaxdistill.selfsupervised.simsiam import simsiam_loss
from jaxdistill.selfsupervised.skd import relation_loss

close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12)
N, D = 5, 6


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.fixture(autouse=True)
def in_double():
    with jax.enable_x64(True):
        yield


def cosine(a, b):
    return (a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1))


def test_dino_is_the_mean_of_eighteen_terms():
    teacher, student, centre = normal(2, N, D), normal(10, N, D, seed=1), normal(D)
    terms = []
    for q in range(2):
        for v in range(10):
            if v == q:
                continue
            for film in range(N):
                p = softmax((teacher[q, film] - centre) / 0.04)
                terms.append(-(p * log_softmax(student[v, film] / 0.1)).sum())
    assert len(terms) == 18 * N
    arrays = map(jnp.asarray, (teacher, student, centre))
    close(jax.jit(dino_loss)(*arrays), np.mean(terms))


def test_the_centre_by_hand_over_three_batches():
    """And how the teacher's answers spread, by the centre that they were given."""
    state = Centre(jnp.zeros(D), jnp.ones(()), jnp.zeros(()))
    by_hand = np.zeros(D)
    for batch in range(3):
        z = normal(2, N, D, seed=batch)
        p = softmax((z - by_hand) / 0.5, axis=-1)
        entropy = lambda p: -(p * np.log(p)).sum(-1) / np.log(D)  # noqa: E731
        by_hand = 0.9 * by_hand + 0.1 * z.reshape(-1, D).mean(0)
        state = recentre(state, jnp.asarray(z), 0.9, heat=0.5)
        close(state.mean, by_hand)
        close(state.entropy, entropy(p.mean((0, 1))))
        close(state.doubt, entropy(p).mean())


@pytest.mark.parametrize(("name", "at"), [("dino", 0), ("evolve", 0), ("evolve", 1)])
def test_the_centre_moves_after_the_loss(name, at):
    """The loss of a batch is that of the centre before it; in a pass, too."""
    made = pretext(name)
    params = made.init(jax.random.key(0))
    batch = Batch(films().images[-4:], films().labels[-4:], jnp.arange(4))
    where = _now(correcting=bool(at))
    run = functools.partial(
        made.loss, params, params, key=jax.random.key(1), now=where, axis=None
    )
    _, (told, after) = run(memory=made.memory, batch=batch)
    off = jnp.linspace(-1, 1, 12)
    if name == "evolve":
        other = made.memory._replace(centre=made.memory.centre._replace(mean=off))
    else:
        other = made.memory._replace(mean=off)
    _, (moved, later) = run(memory=other, batch=batch)
    before, now = (getattr(kept, "centre", kept).mean for kept in (after, later))
    assert np.abs(before).max() > 0
    close(now - before, 0.9 * off, rtol=1e-5, atol=1e-7)
    if name == "evolve":
        assert abs(told["dino"] - moved["dino"]) > 1e-3


def _now(**given):
    from jaxdistill.selfsupervised.pretext import Now

    usual = {"time": 0, "times": 10, "epoch": 0, "epochs": 5, "per_epoch": 2}
    told = usual | {"correcting": False} | given
    return Now(**{key: jnp.asarray(value) for key, value in told.items()})


def test_byol():
    q, z = normal(2, N, D), normal(2, N, D, seed=1)
    want = 4 - 2 * cosine(q[0], z[1]) - 2 * cosine(q[1], z[0])
    close(byol_loss(jnp.asarray(q), jnp.asarray(z)), want.mean())
    assert not np.asarray(jax.grad(byol_loss, 1)(jnp.asarray(q), jnp.asarray(z))).any()


def test_simsiam():
    p, z = normal(2, N, D), normal(2, N, D, seed=1)
    want = -(cosine(p[0], z[1]) + cosine(p[1], z[0])) / 2
    close(simsiam_loss(jnp.asarray(p), jnp.asarray(z)), want.mean())
    assert not np.asarray(
        jax.grad(simsiam_loss, 1)(jnp.asarray(p), jnp.asarray(z))
    ).any()


def test_relations_of_skd():
    """A film has none with itself; one view is held against the other."""
    z, t = normal(2, N, D), normal(2, N, D, seed=1)
    terms = []
    for view in range(2):
        for i in range(N):
            others = [j for j in range(N) if j != i]
            a = [cosine(z[view, i], z[view, j]) / 0.1 for j in others]
            b = [cosine(t[1 - view, i], t[1 - view, j]) / 0.04 for j in others]
            p, log_q = softmax(b), log_softmax(a)
            terms.append((p * (np.log(p) - log_q)).sum())
    got, slopes = jax.value_and_grad(relation_loss, (0, 1))(
        jnp.asarray(z), jnp.asarray(t)
    )
    close(got, np.mean(terms))
    assert np.isfinite(slopes[0]).all()
    assert np.abs(slopes[0]).max() > 0
    assert not np.asarray(slopes[1]).any()


def test_relations_that_agree_cost_nothing():
    z = jnp.asarray(np.broadcast_to(normal(1, N, D), (2, N, D)))
    assert abs(relation_loss(z, 3 * z, target_heat=0.1)) < 1e-12


def test_mae_counts_hidden_patches_alone():
    made, images = normal(3, 4, 16), normal(3, 8, 8, 1, seed=1)
    hidden = np.array([[1, 1, 0, 1], [1, 0, 1, 1], [0, 1, 1, 1]], bool)
    rows = [images[:, r : r + 4, c : c + 4].reshape(3, 16) for r, c in CORNERS]
    cut = np.stack(rows, axis=1)
    wanted = (cut - cut.mean(-1, keepdims=True)) / np.sqrt(
        cut.var(-1, ddof=1, keepdims=True) + 1e-6
    )
    want = ((made - wanted) ** 2).mean(-1)[hidden].mean()
    trunk = backbone()._replace(patch=4)
    decoder = masked_decoder(trunk, 1, width=8, depth=1, heads=2)
    target = evened(decoder.cut(jnp.asarray(images)))
    close(mae_loss(jnp.asarray(made), target, jnp.asarray(hidden)), want)


CORNERS = ((0, 0), (0, 4), (4, 0), (4, 4))


def test_patches_are_chosen_film_by_film():
    """By number, wherever a batch is divided; all alike often."""
    numbers = jnp.arange(2000)
    batch = Batch(jnp.zeros((2000, 1, 1, 1), jnp.uint8), numbers, numbers)
    keys = image_keys(jax.random.key(0), batch, 1)[0]
    shown = np.asarray(choose_shown(keys, 16, 4))
    assert all(len(set(row)) == 4 for row in shown)
    assert len({tuple(sorted(row)) for row in shown}) > 1000
    often = np.bincount(shown.ravel(), minlength=16) / 2000
    np.testing.assert_allclose(often, 0.25, atol=0.05)
    part = batch._replace(numbers=numbers[700:703])
    again = choose_shown(image_keys(jax.random.key(0), part, 1)[0], 16, 4)
    np.testing.assert_array_equal(again, shown[700:703])


def test_spread_is_one_for_all_directions_and_none_for_one():
    many = jnp.asarray(normal(1, 20_000, D))
    np.testing.assert_allclose(spread(many), 1, atol=0.01)
    assert spread(jnp.ones((2, N, D)) * jnp.arange(1.0, N + 1)[None, :, None]) < 1e-6
