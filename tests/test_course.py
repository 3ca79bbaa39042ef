"""The order of films: epochs, and passes over labelled ones."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.errors import InputError
from jaxdistill.selfsupervised.course import Course


def told(course):
    """Of every step its time, epoch, whether it corrects, and its films."""
    for step in range(course.steps):
        now = course.pace.now(jnp.asarray(step))
        films = course.feed(step).films.tolist()
        yield int(now.time), int(now.epoch), bool(now.correcting), films


def test_passes_come_after_the_first_of_every_so_many_batches():
    """At step 0, too; a step of a pass stands at the time of the batch before it."""
    course = Course(films=10, batch=2, epochs=2, labelled=5, every=4)
    steps = list(told(course))
    assert [(time, correcting) for time, _, correcting, _ in steps] == [
        (0, False),
        (0, True),
        (0, True),
        (1, False),
        (2, False),
        (3, False),
        (4, False),
        (4, True),
        (4, True),
        (5, False),
        (6, False),
        (7, False),
        (8, False),
        (8, True),
        (8, True),
        (9, False),
    ]
    assert [epoch for _, epoch, _, _ in steps] == [0] * 9 + [1] * 7


def test_an_epoch_shows_every_film_once_and_a_pass_every_labelled_one():
    course = Course(films=6, batch=2, epochs=3, labelled=4, every=3, seed=5)
    steps = list(told(course))
    epochs = [
        [
            f
            for _, e, correcting, films in steps
            if e == epoch and not correcting
            for f in films
        ]
        for epoch in range(3)
    ]
    assert all(sorted(films) == list(range(6)) for films in epochs)
    assert len(set(map(tuple, epochs))) > 1
    passes = [films for _, _, correcting, films in steps if correcting]
    assert len(passes) == 6  # three passes of two batches
    for first, second in zip(passes[::2], passes[1::2], strict=True):
        assert sorted(first + second) == [6, 7, 8, 9]


def test_films_that_fill_no_batch_wait():
    course = Course(films=7, batch=3, epochs=1, labelled=5, every=1)
    assert (course.per_epoch, course.per_pass, course.steps) == (2, 1, 4)
    assert [len(films) for _, _, _, films in told(course)] == [3] * 4


def test_without_passes_labelled_films_are_never_shown():
    course = Course(films=6, batch=2, epochs=2, labelled=4)
    assert course.steps == 6
    assert {f for *_, films in told(course) for f in films} == set(range(6))
    assert not any(correcting for _, _, correcting, _ in told(course))


def test_places_are_numbers_in_the_whole_batch_and_orders_follow_the_seed():
    one, two = (Course(films=40, batch=4, epochs=1, seed=seed) for seed in (1, 2))
    fed = one.feed(3)
    np.testing.assert_array_equal(fed.numbers, np.arange(4))
    assert fed.films.dtype == fed.numbers.dtype == np.int32
    orders = [[c.feed(s).films.tolist() for s in range(10)] for c in (one, one, two)]
    assert orders[0] == orders[1] != orders[2]


def test_a_batch_that_nothing_fills_is_refused():
    with pytest.raises(InputError, match="films of an epoch are 3, fewer than batch"):
        Course(films=3, batch=4, epochs=1).require()
    with pytest.raises(InputError, match="labelled films of a pass are 3"):
        Course(films=4, batch=4, epochs=1, labelled=3, every=1).require()
    Course(films=4, batch=4, epochs=1, labelled=3).require()
