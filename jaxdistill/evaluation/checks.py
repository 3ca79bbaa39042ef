"""What scores ask of labels and probabilities, in NumPy on the host."""

import numpy as np

from jaxdistill.errors import InputError


def require_label_row(labels: np.ndarray, films: int) -> None:
    """`InputError` unless there is one whole number for each film, in one row.

    A column of them, as some files have, would be compared with every film.
    """
    if labels.shape != (films,) or labels.dtype.kind not in "iub":
        raise InputError(
            f"labels of shape {labels.shape} and type {labels.dtype} do not fit "
            f"{films} films: give a row with one whole number for each"
        )


def require_probabilities(values: np.ndarray) -> None:
    """`InputError` for values outside [0, 1], and NaN."""
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        raise InputError(
            f"{float(values[wrong][0])} is no probability in [0, 1]: give the softmax "
            "or sigmoid of logits"
        )


def require_labels(labels: np.ndarray, films: int, classes: int) -> None:
    """`InputError` unless there is a class of 0 to `classes - 1` for each film."""
    if not films:
        raise InputError("no films: a score needs one or more")
    require_label_row(labels, films)
    if not 0 <= labels.min() <= labels.max() < classes:
        raise InputError(
            f"labels from {labels.min()} to {labels.max()} do not fit probabilities "
            f"of {classes} classes: number them from 0 to {classes - 1}"
        )
