"""What the shipping verbs say: bytes, scores side by side, how near networks are."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxdistill.run.report import human_bytes, markdown
from jaxdistill.sharing import shipping
from jaxdistill.sharing.shipping import Parcel
from jaxdistill.types import Params

PER_CLASS = ("sensitivity", "specificity", "harmonic_means")
COLUMNS = ("accuracy", "balanced_accuracy", "auc", *PER_CLASS)
ROWS = {
    "full": "whole training set",
    "learned": "distilled set, float32",
    "regenerated": "regenerated",
}


def sizes(params: Params, data: bytes) -> dict[str, float]:
    """Bytes of the weights in float32, bytes of the file, and their ratio."""
    count = 4 * sum(leaf.size for leaf in jax.tree.leaves(params))
    return {"weights": count, "shipped": len(data), "ratio": len(data) / count}


def told(report: Mapping[str, Any], class_names: tuple[str, ...]) -> str:
    """The report as tables: bytes, scores, agreement."""
    size, rows = report["bytes"], report["scores"]
    two = len(class_names) == 2
    bytes_table = [
        ["weights, float32", "shipped", "ratio"],
        [human_bytes(size["weights"]), human_bytes(size["shipped"]), _share(size)],
    ]
    cells = [["", *(name.replace("means", "mean") for name in COLUMNS)]]
    for row, name in ROWS.items():
        cells.append([name, *(_cell(rows[row][column], two) for column in COLUMNS)])
    of = f"of {class_names[1]}" if two else "means over classes, each against the rest"
    return "\n".join(
        [
            markdown(bytes_table),
            "",
            markdown(cells),
            "",
            f"sensitivity, specificity and their harmonic mean: {of}",
            f"test images that the last two call alike: {report['agreement']:.2%}",
        ]
    )


def verdict(found: shipping.Match, parcel: Parcel, here: Mapping[str, str]) -> str:
    """What was found, and whether that is what one must expect."""
    alike = all(here.get(key) == parcel.made.get(key) for key in here)
    if found.same_bits:
        return "the same network bit for bit: its logits on the probe are the sender's"
    told = (
        f"the same network within {found.apart:.2g} of its largest logit on the probe "
        f"(allowed: {shipping.TOLERANCE:g}), and the same classes"
    )
    if alike:
        return f"{told}; its device and versions are the sender's: expected equal bits"
    return f"{told}; sent from {side(parcel.made)}, regenerated on {side(here)}"


def side(made: Mapping[str, str]) -> str:
    """Where a network was made."""
    return f"{made['device']} with JAX {made['jax']}"


def _cell(score: Mapping[str, Any], two: bool) -> str:
    """`mean ± std (n)`; of scores per class the second of two, or their mean."""
    mean, std = (np.asarray(score[key], float) for key in ("mean", "std"))
    if mean.ndim and not two:
        return f"{np.nanmean(mean):.3f}"
    if mean.ndim:
        mean, std = mean[1], std[1]
    return f"{mean:.3f}" + (f" ± {std:.3f} ({score['n']})" if score["n"] > 1 else "")


def _share(size: Mapping[str, float]) -> str:
    return f"{size['ratio']:.2%}, 1 : {1 / size['ratio']:.1f}"
