"""Pictures of a run: the set beside real images, the course of a score, the confusions.

Matplotlib is imported when a picture is drawn, and used through its objects on the Agg
canvas: no screen, no global state. Colours are those of Okabe and Ito (2008).
"""

import importlib.util
import io
import os
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Integer, UInt8
from PIL import Image

from jaxdistill.errors import InputError
from jaxdistill.run.files import write_atomic

MOST_BYTES = 400_000
MOST_CLASSES = 20
WIDEST = 5.4  # inches that one side of the grid may take
GREY = "#666666"
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
LINES = ((ORANGE, "--"), (PURPLE, "-."), (GREEN, (0, (6, 1))), (GREY, ":"))


class _Tiles(NamedTuple):
    """Images in rows of a class each, with a caption under each, or none."""

    rows: list[np.ndarray]
    captions: list[list[str]]
    limits: tuple[float, float]  # shown as black and as white


def available() -> bool:
    """Whether Matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def synthetic_grid(
    path: str | os.PathLike,
    synthetic: Float[Array | np.ndarray, "m h w c"],
    labels: Integer[Array | np.ndarray, " m"] | Float[Array | np.ndarray, "m k"],
    class_names: Sequence[str],
    *,
    real: UInt8[Array | np.ndarray, "r h w c"],
    real_labels: Integer[Array | np.ndarray, " r"],
    max_per_class: int = 10,
) -> None:
    """A PNG with a row per class: distilled images (pixels, 0 to 1) beside real ones.

    Each side has one display range, its 1st to 99th percentile: to stretch every image
    by itself would hide those that failed. Soft labels, as probabilities, put that of
    the row's class under each image. Raises `InputError` without Matplotlib or where
    the disk fails.
    """
    names = list(class_names)[:MOST_CLASSES]
    left = _tiles(np.asarray(synthetic, np.float32), np.asarray(labels), len(names))
    right = _tiles(
        np.asarray(real, np.float32) / 255, np.asarray(real_labels), len(names)
    )
    columns = min(max(1, *(len(row) for row in left.rows)), max_per_class)
    aspect = synthetic.shape[1] / synthetic.shape[2]
    pitch = aspect + (0.3 if any(map(any, left.captions)) else 0.06)
    tile = min(1.3 if columns < 4 else 0.9, WIDEST / columns)
    figure = blank(2 * columns * tile + 1.6, len(names) * pitch * tile + 0.8)
    axes = figure.subplots(1, 2)
    for ax, tiles, title in zip(
        axes, (left, right), ("Distilled", "Real"), strict=True
    ):
        _draw_tiles(ax, tiles, columns, pitch)
        ax.set_title(title, fontsize=11, fontweight="bold")
        low, high = tiles.limits
        told = f"black {low:.2f}, white {high:.2f}"
        ax.set_xlabel(told, fontsize=7, color=GREY)
    middles = [row * pitch + aspect / 2 for row in range(len(names))]
    axes[0].set_yticks(middles, [fill(name, 18) for name in names])
    axes[0].tick_params(labelsize=min(9.0, 26 * pitch * tile))
    figure.get_layout_engine().set(wspace=0.05)
    save(figure, path)


def curve(
    path: str | os.PathLike,
    steps: Sequence[int] | np.ndarray,
    mean: Sequence[float] | np.ndarray,
    std: Sequence[float] | np.ndarray,
    metric: str,
    *,
    references: Mapping[str, tuple[float, float]] | None = None,
    finalists: Mapping[int, tuple[float, float]] | None = None,
    selected_step: int | None = None,
) -> None:
    """A PNG of a validation score against steps, mean and one standard deviation.

    `references` are level lines with their own bands (random, herding, full),
    `finalists` what a second round found, by step; the step that was selected gets a
    marker, where the round that decided puts it. Raises `InputError` as
    `synthetic_grid` does.
    """
    values, spread = np.asarray(mean, float), np.asarray(std, float)
    figure = blank(6.4, 3.9)
    ax = figure.subplots()
    ax.fill_between(
        steps, values - spread, values + spread, color=BLUE, alpha=0.2, lw=0
    )
    single = "o" if len(steps) == 1 else None
    ax.plot(steps, values, color=BLUE, lw=1.8, marker=single, label="distilled")
    for i, (name, (level, width)) in enumerate((references or {}).items()):
        colour, dashes = LINES[i % len(LINES)]
        ax.axhspan(level - width, level + width, color=colour, alpha=0.10, lw=0)
        ax.axhline(level, color=colour, ls=dashes, lw=1.4, label=f"{name} {level:.3f}")
    first = dict(zip(list(steps), values, strict=True))
    finalists = finalists or {}
    judged = {step: mean for step, (mean, _) in finalists.items()}
    if judged:
        style = {"color": BLUE, "fmt": "D", "ms": 4, "lw": 1.2, "capsize": 2}
        spreads = [width for _, width in finalists.values()]
        told = "second round, more networks"
        ax.errorbar([*judged], [*judged.values()], spreads, label=told, **style)
    if selected_step is not None and selected_step in first:
        at = judged.get(selected_step, first[selected_step])
        told = f"selected: {at:.3f} at step {selected_step:,}"
        style = {"mfc": "white", "mec": BLUE, "mew": 1.8, "ms": 8, "ls": "none"}
        ax.plot([selected_step], [at], marker="o", label=told, **style)
    words = metric.replace("_", " ").replace("auc", "AUC")
    ax.set_title(f"Validation {words} of the distilled set", fontsize=11, loc="left")
    ax.set_xlabel("step", fontsize=9)
    ax.set_ylabel(words, fontsize=9)
    ax.tick_params(labelsize=8)
    ax.grid(axis="y", color="#dddddd", lw=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    save(figure, path)


def confusion(
    path: str | os.PathLike,
    matrix: Float[Array | np.ndarray, "k k"] | Integer[Array | np.ndarray, "k k"],
    class_names: Sequence[str],
) -> None:
    """A PNG of a confusion matrix, rows being the true classes, as percent of each row.

    Raises `InputError` as `synthetic_grid` does.
    """
    counts = np.asarray(matrix, float)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
    classes = len(counts)
    side = float(np.clip(0.75 * classes, 2.4, 9.0))
    figure = blank(side + 1.9, side + 1.1)
    ax = figure.subplots()
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), part in np.ndenumerate(share) if classes <= MOST_CLASSES else ():
        text = (
            f"{part:.0%}" if classes > 8 else f"{part:.0%}\n{counts[row, column]:,.0f}"
        )
        colour = "white" if part > 0.55 else "black"
        ax.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    names = [fill(name, 16) for name in class_names]
    ax.set_xticks(range(classes), names, fontsize=8, rotation=45, ha="right")
    ax.set_yticks(range(classes), names, fontsize=8)
    ax.set_xlabel("predicted", fontsize=9)
    ax.set_ylabel("true", fontsize=9)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title("Confusion (percent of the true class)", fontsize=10)
    save(figure, path)


def _tiles(images: np.ndarray, labels: np.ndarray, classes: int) -> _Tiles:
    """Sort images into rows; soft labels go where they are most probable."""
    hard = labels.argmax(axis=1) if labels.ndim == 2 else labels
    members = [np.flatnonzero(hard == k) for k in range(classes)]
    captions = [
        [f"{labels[i, k]:.2f}" if labels.ndim == 2 else "" for i in row]
        for k, row in enumerate(members)
    ]
    finite = images[np.isfinite(images)]  # what diverged is shown too, as black
    low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 1.0)
    return _Tiles([images[row] for row in members], captions, (float(low), float(high)))


def _draw_tiles(ax: Any, tiles: _Tiles, columns: int, pitch: float) -> None:
    """Put the first `columns` images of each row on axes in units of a tile's width."""
    low, high = tiles.limits
    for row, images in enumerate(tiles.rows):
        for column, image in enumerate(images[:columns]):
            shown = np.clip((image - low) / max(high - low, 1e-6), 0.0, 1.0)
            rgb = shown if shown.shape[-1] == 3 else shown[..., :1].repeat(3, axis=-1)
            x, y, height = column * 1.06, row * pitch, image.shape[0] / image.shape[1]
            extent = (x, x + 1, y + height, y)
            ax.imshow(np.nan_to_num(rgb), extent=extent, interpolation="nearest")
            caption, place = tiles.captions[row][column], {"ha": "center", "va": "top"}
            ax.text(x + 0.5, y + height + 0.03, caption, fontsize=6, **place)
    ax.set_xlim(-0.03, columns * 1.06 - 0.03)
    ax.set_ylim(len(tiles.rows) * pitch, -0.03)
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def blank(width: float, height: float) -> Any:
    """A blank figure of this size in inches, on its own canvas."""
    if not available():
        raise InputError(
            "figures need Matplotlib, which is not installed: "
            'pip install "jaxdistill[figures]"'
        )
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def save(figure: Any, path: str | os.PathLike) -> None:
    """Write the figure as PNG, as sharp as `MOST_BYTES` allows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    for dpi, colours in ((160, None), (160, 256), (110, 256), (80, 256), (60, 64)):
        figure.set_dpi(dpi)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        grey = (pixels == pixels[..., :1]).all()
        picture = Image.fromarray(pixels[..., 0] if grey else pixels)
        buffer = io.BytesIO()
        (picture.quantize(colours) if colours else picture).save(buffer, "PNG")
        if buffer.tell() <= MOST_BYTES:
            break
    write_atomic(path, buffer.getvalue())
