"""Pictures of a self-training run: AUC by stage, robustness, what a model looks at."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxdistill.jobs.selftrain.plan import CEILING, MAIN, SUPERVISED
from jaxdistill.run.figures import BLUE, GREY, ORANGE, PURPLE, blank, save

Row = Mapping[str, Any]


def stages(path: str | os.PathLike, rows: Sequence[Row]) -> None:
    """A PNG of AUC by stage with DeLong's intervals, other trainings beside.

    Raises `InputError` without Matplotlib.
    """
    by = {row["trained"]: row for row in rows}
    main = [n for n in by if n == SUPERVISED or _is_stage(n)]
    others = [name for name in by if name not in main]
    figure = blank(1.0 * len(by) + 2.2, 3.4)
    ax = figure.subplots()
    places = {name: at for at, name in enumerate([*main, *others])}
    for name, row in by.items():
        at, mean = places[name], row["auc"]["mean"]
        low, high = row["auc_interval"]
        hue = _hue(name)
        ax.plot([at, at], [low, high], color=hue, linewidth=1.2, alpha=0.6)
        std = row["auc"]["std"] or 0.0
        ax.plot([at, at], [mean - std, mean + std], color=hue, linewidth=5, alpha=0.5)
        ax.plot(at, mean, "o", color=hue, markersize=5)
    ax.plot(
        [places[n] for n in main],
        [by[n]["auc"]["mean"] for n in main],
        color=BLUE,
        linewidth=1.5,
        zorder=0,
    )
    if SUPERVISED in by:
        ax.axhline(by[SUPERVISED]["auc"]["mean"], color=ORANGE, linewidth=0.8, ls=":")
    ax.set_xticks(list(places.values()), [n.replace("_", "\n") for n in places])
    ax.tick_params(labelsize=7)
    ax.set_ylabel("AUC on test films", fontsize=8)
    ax.set_title(
        "dots: means over seeds; bars: their deviation; lines: 95 % of DeLong",
        fontsize=7,
        color=GREY,
    )
    save(figure, path)


def curves(
    path: str | os.PathLike, told: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> None:
    """A PNG of AUC against strength: a panel for each corruption, a line a model.

    A model that was not tried with a corruption has no line in its panel.
    """
    kinds = list(dict.fromkeys(kind for found in told.values() for kind in found))
    figure = blank(2.4 * len(kinds), 2.6)
    axes = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for ax, kind in zip(axes, kinds, strict=True):
        tried = {name: found[kind] for name, found in told.items() if kind in found}
        for name, curve in tried.items():
            ax.plot(
                range(len(curve["scores"])),
                curve["scores"],
                "o-",
                color=_hue(name),
                label=name,
                markersize=3,
                linewidth=1.2,
            )
        strengths = [f"{s:g}" for s in next(iter(tried.values()))["strengths"]]
        ax.set_xticks(range(len(strengths)), strengths, fontsize=6)
        ax.set_title(kind, fontsize=8)
        ax.tick_params(labelsize=6)
    axes[0].set_ylabel("AUC", fontsize=8)
    axes[0].legend(fontsize=6, frameon=False)
    save(figure, path)


def attention(
    path: str | os.PathLike,
    films: Float[np.ndarray, "n h w c"],
    maps: Mapping[str, Float[np.ndarray, "n rows columns"]],
    titles: Sequence[str],
) -> None:
    """A PNG with a row for each film: itself, and what each model looks at."""
    figure = blank(1.7 * (1 + len(maps)) + 0.4, 1.7 * len(films) + 0.4)
    axes = figure.subplots(len(films), 1 + len(maps), squeeze=False)
    for row, (film, title) in enumerate(zip(films, titles, strict=True)):
        shown = film[..., 0] if film.shape[-1] == 1 else film
        for ax in axes[row]:
            ax.imshow(shown, cmap="gray", vmin=0, vmax=1)
            ax.set_xticks([])
            ax.set_yticks([])
        axes[row, 0].set_ylabel(title, fontsize=7)
        for ax, (name, own) in zip(axes[row, 1:], maps.items(), strict=True):
            extent = (-0.5, film.shape[1] - 0.5, film.shape[0] - 0.5, -0.5)
            ax.imshow(own[row], cmap="inferno", alpha=0.55, extent=extent)
            if row == 0:
                ax.set_title(name, fontsize=8)
    save(figure, path)


def _hue(name: str) -> str:
    if name == SUPERVISED:
        return ORANGE
    if name == CEILING:
        return GREY
    return BLUE if _is_stage(name) else PURPLE


def _is_stage(name: str) -> bool:
    """Whether it is one of the main stages, and no variant of such a name."""
    return name.removeprefix(f"{MAIN}_").isdecimal()
