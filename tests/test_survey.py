"""What experts are worth: their scores, and whether their segments agree."""

import numpy as np
import pytest
from helpers import tanh_network, toy_experts, toy_pool
from scipy.special import softmax

from jaxdistill.data.standard import standardise
from jaxdistill.distillation.experts import Experts
from jaxdistill.distillation.survey import agreement, survey_experts
from jaxdistill.errors import InputError
from jaxdistill.evaluation.metrics import scores


def on_a_way(points):
    """One expert whose parameters are these points, epoch by epoch."""
    points = np.asarray(points, np.float32)
    return Experts(
        1, len(points) - 1, "way", lambda expert, epoch: {"w": points[epoch]}
    )


def test_agreement_is_the_cosine_of_neighbouring_segments():
    straight = on_a_way([[0, 0], [1, 0], [3, 0], [4, 0], [9, 0]])
    assert agreement(straight, 0, 2, 2) == pytest.approx(1)
    back = on_a_way([[0, 0], [1, 0], [0, 0]])
    assert agreement(back, 0, 1, 1) == pytest.approx(-1)
    bend = on_a_way([[0, 0], [2, 0], [3, 1]])
    assert agreement(bend, 0, 1, 1) == pytest.approx(np.sqrt(0.5))


@pytest.mark.parametrize("epoch", [0, 1, 4])
def test_agreement_has_no_value_at_the_ends_or_where_nothing_moves(epoch):
    still = on_a_way(np.zeros((5, 2)))
    assert np.isnan(agreement(still, 0, epoch, 2))
    assert np.isnan(agreement(still, 0, 2, 2))


def test_a_row_holds_the_scores_of_the_experts_at_its_epoch():
    experts, network, val = toy_experts(), tanh_network(), toy_pool().val
    rows = survey_experts(experts, network, val, span=1, rows=2, sample=3)
    assert [row["epoch"] for row in rows] == [2, 4]
    inputs = standardise(val.images, val.standard)
    for row in rows:
        found = []
        for expert in range(3):
            logits = network.apply(experts.read(expert, row["epoch"]), inputs)
            found.append(scores(softmax(np.asarray(logits), 1), np.asarray(val.labels)))
        for name in ("auc", "balanced_accuracy"):
            values = [f[name] for f in found]
            assert row[name]["n"] == 3
            np.testing.assert_allclose(row[name]["mean"], np.mean(values), rtol=1e-6)
            np.testing.assert_allclose(row[name]["std"], np.std(values, ddof=1))
    between = [agreement(experts, e, 2, 1) for e in range(3)]
    np.testing.assert_allclose(rows[0]["agreement"]["mean"], np.mean(between))
    assert np.isnan(rows[1]["agreement"]["mean"])


def test_there_are_no_more_rows_than_epochs_and_experts_than_were_trained():
    rows = survey_experts(toy_experts(), tanh_network(), toy_pool().val, sample=99)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[0]["auc"]["n"] == 4


def test_what_cannot_be_surveyed_is_refused():
    val = toy_pool().val
    with pytest.raises(InputError, match="of tanh-6, not of tanh-7"):
        survey_experts(toy_experts(), tanh_network(7), val)
    with pytest.raises(InputError, match="rows=0, sample=5 must be 1 or more"):
        survey_experts(toy_experts(), tanh_network(), val, rows=0)
