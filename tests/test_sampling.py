"""Class-balanced draws: distinct, uniform, pure; too few images refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.engine.sampling import class_table, draw_balanced, random_subset
from jaxdistill.errors import InputError

LABELS = np.array([0] * 3 + [1] * 7 + [2] * 50)[
    np.random.default_rng(0).permutation(60)
]


def test_draws_are_of_the_class_and_distinct():
    table = class_table(LABELS, 3)
    draw = jax.jit(draw_balanced, static_argnums=2)
    for seed in range(20):
        index = np.asarray(draw(table, jax.random.key(seed), 3))
        np.testing.assert_array_equal(LABELS[index], [[0] * 3, [1] * 3, [2] * 3])
        assert all(len(set(row)) == 3 for row in index)


def test_draws_are_uniform():
    table = class_table(LABELS, 3)
    keys = jax.random.split(jax.random.key(0), 4000)
    index = jax.vmap(lambda key: draw_balanced(table, key, 2))(keys)
    for number, count in enumerate((3, 7, 50)):
        seen = np.bincount(np.asarray(index[:, number]).ravel(), minlength=60)
        expected = 8000 / count
        inside = seen[number == LABELS]
        assert np.abs(inside - expected).max() < 5 * np.sqrt(expected)


def test_a_small_class_starts_again():
    index = np.asarray(draw_balanced(class_table(LABELS, 3), jax.random.key(1), 6))
    assert set(index[0]) == set(np.flatnonzero(LABELS == 0))
    assert len(set(index[1])) == 6
    # Both rounds hold every image once, so the rest stays balanced.
    assert sorted(index[0][:3]) == sorted(index[0][3:])


def test_more_than_any_class_holds():
    index = np.asarray(draw_balanced(class_table(LABELS, 3), jax.random.key(1), 120))
    assert (np.bincount(index[2], minlength=60)[LABELS == 2] >= 2).all()


def test_jit_equals_eager_and_key_decides():
    table, key = class_table(jnp.asarray(LABELS), 3), jax.random.key(3)
    eager = draw_balanced(table, key, 2)
    jitted = jax.jit(draw_balanced, static_argnums=2)(table, key, 2)
    np.testing.assert_array_equal(eager, jitted)
    assert (np.asarray(eager) != draw_balanced(table, jax.random.key(4), 2)).any()


def test_random_subset_is_ordered_by_class():
    index = np.asarray(random_subset(LABELS, 3, 3, jax.random.key(0)))
    np.testing.assert_array_equal(LABELS[index], np.repeat([0, 1, 2], 3))
    assert len(set(index)) == 9


@pytest.mark.parametrize(
    ("ipc", "rule"), [(4, "class 0 holds"), (0, "ipc=0"), (-1, "ipc=-1")]
)
def test_impossible_ipc(ipc, rule):
    with pytest.raises(InputError, match=rule):
        random_subset(LABELS, 3, ipc, jax.random.key(0))


def test_bad_labels():
    with pytest.raises(InputError, match="0 to 1"):
        class_table(LABELS, 2)
    with pytest.raises(InputError, match="class 3 has no image"):
        class_table(LABELS, 4)
