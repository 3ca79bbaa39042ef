"""Pictures of a segmentation run: masks over images, and a bar for each site."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from jaxdistill.jobs.segment.plan import CHOSEN, MEAN
from jaxdistill.run.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, blank, save
from jaxdistill.types import IGNORED

COLOURS = (ORANGE, BLUE, GREEN, PURPLE)  # of classes, in their order
HUES = {"teacher": GREY, "alone": ORANGE, "distilled": BLUE, CHOSEN: GREEN}


class Shown(NamedTuple):
    """One slice with the masks to draw over it, by column, and what to say of it."""

    title: str
    image: Float[np.ndarray, "h w c"]
    masks: Mapping[str, UInt8[np.ndarray, "h w"]]
    captions: Mapping[str, str]


def overlays(path: str | os.PathLike, shown: Sequence[Shown]) -> None:
    """A PNG with a row per slice: contours of the truth and of every network.

    Each image has its own 1st to 99th percentile as its range, as its site's scanner
    has a scale of its own. Raises `InputError` without Matplotlib.
    """
    columns = ["image", *shown[0].masks]
    aspect = max(one.image.shape[0] / one.image.shape[1] for one in shown)
    width = min(1.9, 9.0 / len(columns))
    figure = blank(width * len(columns) + 0.9, width * aspect * len(shown) + 0.7)
    axes = figure.subplots(len(shown), len(columns), squeeze=False)
    for row, (one, cells) in enumerate(zip(shown, axes, strict=True)):
        for name, ax in zip(columns, cells, strict=True):
            _draw(ax, one, name)
            if row == 0:
                ax.set_title(name, fontsize=9, fontweight="bold")
            ax.set_xlabel(one.captions.get(name, ""), fontsize=7, color=GREY)
        cells[0].set_ylabel(one.title, fontsize=7)
    save(figure, path)


def by_site(path: str | os.PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """A PNG of Dice on each site left out and their mean, a bar for each training.

    Bars begin at 0, so that their lengths say what they are; numbers tell them apart.
    """
    names = [n for n in HUES if any(row["trained"] == n for row in rows)]
    if not names:
        return
    sites = list(dict.fromkeys(row["site"] for row in rows))
    sites = [*(s for s in sites if s != MEAN), MEAN]
    figure = blank(max(4.5, 1.0 * len(sites) + 1.6), 3.4)
    ax = figure.subplots()
    wide = 0.8 / len(names)
    for at, name in enumerate(names):
        own = {row["site"]: row["dice"] for row in rows if row["trained"] == name}
        places = np.arange(len(sites)) + (at - (len(names) - 1) / 2) * wide
        means = [own[site]["mean"] for site in sites]
        error = [own[site]["std"] or 0.0 for site in sites]
        style = {"color": HUES[name], "label": name, "capsize": 2, "width": 0.92 * wide}
        bars = ax.bar(places, means, yerr=error, error_kw={"lw": 1}, **style)
        told = [f"{mean:.3f}" for mean in means]
        ax.bar_label(bars, told, padding=2, fontsize=6, rotation=90)
    ax.set_xticks(range(len(sites)), sites, fontsize=8)
    ax.set_ylim(0.0, 1.0)
    ax.set_ylabel("Dice", fontsize=9)
    ax.set_xlabel("site left out of training", fontsize=9)
    ax.tick_params(labelsize=8)
    ax.grid(axis="y", color="#dddddd", lw=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(
        loc="outside upper center", ncols=len(names), fontsize=8, frameon=False
    )
    save(figure, path)


def _draw(ax: Any, one: Shown, name: str) -> None:
    image = one.image if one.image.shape[-1] == 3 else one.image[..., :1]
    low, high = np.percentile(image, (1, 99))
    grey = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    ax.imshow(np.broadcast_to(grey, (*grey.shape[:2], 3)), interpolation="nearest")
    mask = one.masks.get(name)
    for k, colour in enumerate(COLOURS, start=1):
        if mask is not None and ((mask == k) & (mask != IGNORED)).any():
            inside = (mask == k).astype(float)
            ax.contour(inside, levels=[0.5], colors=[colour], linewidths=1.0)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
