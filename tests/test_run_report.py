"""Numbers as people read them."""

import pytest

from jaxdistill.run.report import (
    human_bytes,
    human_count,
    human_seconds,
    peak_memory,
    score_table,
)


def score(mean, std=0.007, n=5):
    return {"mean": mean, "std": std, "n": n}


def test_score_table():
    summary = {
        "full": {
            "auc": score(0.965),
            "accuracy": score(0.9),
            "weighted_f1": score(0.8),
        },
        "distilled": {
            "accuracy": score(0.88),
            "auc": score(0.934),
            "sensitivity": {"mean": [0.1, 0.2], "std": [0, 0], "n": 5},
        },
        "wall_time": 3.0,
        "selected_step": 10,
    }
    table = score_table(summary)
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table.split("\n")
    ]
    assert rows[0] == ["", "accuracy", "auc", "weighted_f1"]
    assert set(rows[1][0]) == {"-"}
    assert rows[2] == ["distilled", "0.880 ± 0.007 (5)", "0.934 ± 0.007 (5)", "–"]
    assert rows[3] == [
        "full",
        "0.900 ± 0.007 (5)",
        "0.965 ± 0.007 (5)",
        "0.800 ± 0.007 (5)",
    ]
    assert len({len(line) for line in table.split("\n")}) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "0.012s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.7, "1m 00s"),
        (303, "5m 03s"),
        (7799, "2h 09m"),
        (90000, "25h 00m"),
    ],
)
def test_human_seconds(seconds, text):
    assert human_seconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999_600, "1 MB"),
        (1.234e9, "1.23 GB"),
        (5e12, "5 TB"),
    ],
)
def test_human_bytes(count, text):
    assert human_bytes(count) == text


def test_human_count():
    counts = (0, 999, 24_543_232, 24_147_099_648, 5e15)
    assert [human_count(n) for n in counts] == [
        "0",
        "999",
        "24.5 M",
        "24.1 G",
        "5e+03 T",
    ]


def test_peak_memory_is_that_of_a_process_that_imported_jax():
    assert 20e6 < peak_memory() < 1e12
