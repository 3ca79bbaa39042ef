"""Masks of slices by windows are those of whole slices where context ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_segmenters import small

from jaxdistill.errors import Diverged, InputError
from jaxdistill.segmentation.inference import masks_of, predict
from jaxdistill.types import Segmenter


def pointwise():
    """A segmenter that sees one pixel at a time: windows cannot change it."""
    apply = lambda params, x: jnp.concatenate([x * params, 1 - x], axis=-1)  # noqa: E731
    return Segmenter(
        init=lambda key: jnp.ones(()),
        apply=apply,
        tap=lambda params, images, names, key=None: (apply(params, images), {}),
        layers=(),
        levels=("", ""),
        stride=4,
        name="pointwise",
    )


@pytest.fixture
def images():
    return np.random.default_rng(0).random((5, 30, 21, 1)).astype(np.float32)


@pytest.mark.parametrize("window", [0, 8, 32])
@pytest.mark.parametrize("batch", [2, 8])
def test_windows_and_batches_change_nothing_for_a_pointwise_network(
    images, window, batch
):
    one, params = pointwise(), jnp.asarray(2.0)
    found = predict((one,), (params,), images, batch=batch, window=window)
    wanted = np.concatenate([2 * images, 1 - images], axis=-1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    np.testing.assert_array_equal(masks_of(found), (1 - images > 2 * images)[..., 0])


def test_several_networks_speak_with_the_mean_of_their_logits(images):
    net = small(3)
    params = tuple(net.init(jax.random.key(k)) for k in range(2))
    both = predict((net, net), params, images)
    each = [predict((net,), (p,), images) for p in params]
    np.testing.assert_allclose(both, sum(each) / 2, rtol=1e-5, atol=1e-6)


def test_the_middle_of_a_window_counts_most():
    """Two windows that overlap and say 0 and 1: where one ends, the other is heard."""
    steps = Segmenter(
        init=lambda key: (),
        apply=lambda params, x: jnp.broadcast_to(x[:, :1, :1], x.shape),
        tap=None,
        layers=(),
        levels=("", ""),
        stride=1,
        name="first-pixel",
    )
    ramp = np.broadcast_to((np.arange(12) >= 4).astype(np.float32), (1, 8, 12))
    found = predict((steps,), ((),), ramp[..., None], window=8, overlap=0.5)[0, 4, :, 0]
    assert found[0] == 0
    assert found[-1] == 1
    assert (np.diff(found) >= 0).all()
    assert found[5] < 0.5 < found[6]
    # Windows at 0 and 4 with Gaussians about 4 and 8, of a deviation of 1 pixel.
    ends, begins = (np.exp(-0.5 * (5.5 - centre) ** 2) for centre in (4, 8))
    assert found[5] == pytest.approx(begins / (ends + begins), rel=1e-3)


@pytest.mark.parametrize(
    ("overlap", "starts"), [(0.0, [0, 6, 12]), (0.25, [0, 6, 12]), (0.5, [0, 4, 8, 12])]
)
def test_windows_begin_as_their_overlap_asks(overlap, starts):
    """A network that says where its window begins is heard in its middle."""
    looks = pointwise()._replace(
        apply=lambda params, x: jnp.broadcast_to(x[:, :1, :1], x.shape)
    )
    ramp = np.broadcast_to(np.arange(20, dtype=np.float32), (1, 8, 20))[..., None]
    found = predict((looks,), ((),), ramp, window=8, overlap=overlap)[0, 4, :, 0]
    middle = [float(found[start + 3 : start + 5].mean()) for start in starts]
    np.testing.assert_allclose(middle, starts, atol=0.1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"overlap": -1.0, "window": 8}, "overlap=-1.0: a batch is"),
        ({"overlap": 1.0, "window": 8}, "an overlap from 0 to below 1"),
        ({"batch": 0}, "batch=0"),
        ({"window": -8}, "window=-8"),
    ],
)
def test_windows_that_leave_gaps_are_refused(images, changes, said):
    with pytest.raises(InputError, match=said):
        predict((pointwise(),), (jnp.ones(()),), images, **changes)


def test_networks_and_slices_that_are_none_are_refused(images, unchecked):
    with pytest.raises(InputError, match="go in pairs"):
        predict(pointwise(), (jnp.ones(()),), images)
    with pytest.raises(InputError, match=r"are not \(count, height"):
        predict((pointwise(),), (jnp.ones(()),), images[..., 0])
    spoilt = images.copy()
    spoilt[2, 3, 4] = np.nan
    with pytest.raises(Diverged, match="logits of slice 2 are no finite numbers"):
        predict((pointwise(),), (jnp.ones(()),), spoilt)


def test_a_window_that_the_network_does_not_take_is_refused(images):
    with pytest.raises(InputError, match="window=6 must be a multiple of 4"):
        predict((pointwise(),), (jnp.ones(()),), images, window=6)


def test_no_slice_at_all_is_refused(images):
    with pytest.raises(InputError, match="there is no slice to predict"):
        predict((pointwise(),), (jnp.ones(()),), images[:0])
