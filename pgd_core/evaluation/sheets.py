"""Draws sheets of heat maps over pictures, and histograms of how quality is spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgd_core.evaluation.concentration import SIZES, ObjectRow
from pgd_core.evaluation.curves import COLOURS

HEAT_COLOURS = "inferno"
OUTLINE = "#56B4E9"  # light blue: on no inferno colour, and told from red by everybody
PANEL_INCHES = 2.3
FAINTEST, STRONGEST = 0.5, 0.9  # how much of a pixel is heat's, at 0 inside a box and at 1
BINS = 20
BRANCH_NAMES = {"cls": "classification", "reg": "regression"}


@dataclass(frozen=True)
class HeatRow:
    """One picture with its objects and maps of one size, by the column's title."""

    image: NDArray[Any]  # (height, width, 3) uint8  RGB
    boxes: NDArray[Any]  # (G, 4)  XYXY, pixels of `image`
    caption: str
    columns: Mapping[str, NDArray[Any]]  # (height, width)  in [0, 1]


def heat_sheet(rows: Sequence[HeatRow], path: Path, *, title: str, scale_title: str) -> None:
    """A PNG: a row for each picture, itself first, then its maps over a grey copy.

    All maps share one scale from 0 to 1, whose bar stands at the right.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure  # slow to import; without pyplot there is no window

    assert rows, "no pictures to draw"
    titles = list(rows[0].columns)
    assert all(list(row.columns) == titles for row in rows), "rows with different columns"
    shapes = [row.image.shape for row in rows]
    ratios = [height / width for height, width, _ in shapes]
    figure = Figure(
        figsize=((1 + len(titles)) * PANEL_INCHES + 1, sum(ratios) * PANEL_INCHES + 0.7),
        dpi=120,
        layout="constrained",
    )
    axes = figure.subplots(
        len(rows), 1 + len(titles), squeeze=False, gridspec_kw={"height_ratios": ratios}
    )
    for row, panels in zip(rows, axes, strict=True):
        panels[0].set_ylabel(row.caption, fontsize=9)
        _draw_panel(panels[0], row.image, row.boxes)
        for panel, heat in zip(panels[1:], row.columns.values(), strict=True):
            _draw_panel(panel, _heated(row, heat), row.boxes)
    for panel, column in zip(axes[0], ["picture", *titles], strict=True):
        panel.set_title(column, fontsize=10)
    figure.suptitle(title, fontsize=12)
    scale = ScalarMappable(cmap=HEAT_COLOURS)
    scale.set_clim(0, 1)
    figure.colorbar(scale, ax=axes, label=scale_title, fraction=0.03, pad=0.01, aspect=40)
    figure.savefig(path, format="png")


def _draw_panel(panel: Any, image: NDArray[Any], boxes: NDArray[Any]) -> None:
    from matplotlib.patches import Rectangle

    height, width, _ = image.shape
    panel.imshow(image, interpolation="nearest", extent=(0, width, height, 0))
    panel.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    for x1, y1, x2, y2 in boxes.tolist():
        panel.add_patch(
            Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=OUTLINE, linewidth=1.2)
        )


def _heated(row: HeatRow, heat: NDArray[Any]) -> NDArray[Any]:  # (height, width, 3) in [0, 1]
    """The heat's colours over the picture in grey, denser where it is hotter."""
    from matplotlib import colormaps

    grey = row.image.mean(axis=-1, keepdims=True).repeat(3, axis=-1) / 255
    colours = colormaps[HEAT_COLOURS](np.clip(heat, 0, 1))[..., :3]
    density = np.where(heat > 0, FAINTEST + (STRONGEST - FAINTEST) * heat, 0)[..., None]
    return np.asarray((1 - density) * grey + density * colours)


def spread_picture(rows: Sequence[ObjectRow], level_names: Sequence[str], path: Path) -> None:
    """A PNG with histograms of every object's measures for each branch, and the levels' shares."""
    from matplotlib.figure import Figure

    measured = [row for row in rows if row.mass > 0]
    figure = Figure(figsize=(11, 7), dpi=120, layout="constrained")
    axes = figure.subplots(2, 2)
    panels = (
        (axes[0, 0], "half_mass_positions", "positions that hold half of the quality"),
        (axes[0, 1], "half_mass_share", "the same, as a share of the positions in the box"),
        (axes[1, 0], "centre_distance_relative", "distance of the centres, in box sides"),
    )
    for panel, name, label in panels:
        _draw_histogram(panel, measured, name, label)
    axes[0, 1].axvline(0.5, color="#000000", linestyle=":", label="if all positions were equal")
    _draw_levels(axes[1, 1], measured, level_names)
    for panel in axes.flat:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25)
        if panel.get_legend_handles_labels()[1]:
            panel.legend(frameon=False, fontsize=8)
    figure.suptitle("How an object's quality is spread over positions")
    figure.savefig(path, format="png")


def _draw_histogram(panel: Any, rows: Sequence[ObjectRow], name: str, label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    values = {b: [getattr(row, name) for row in rows if row.branch == b] for b in BRANCH_NAMES}
    most = max((value for of_branch in values.values() for value in of_branch), default=1.0)
    edges = np.linspace(0, max(most, 1e-9), BINS + 1)
    if name == "half_mass_positions":  # whole numbers, in the middle of their bins
        step = max(1, -(-round(most) // BINS))
        edges = np.arange(0.5, most + step + 0.5, step)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    for colour, (branch, of_branch) in zip(COLOURS, values.items(), strict=False):
        if not of_branch:
            continue
        title = f"{BRANCH_NAMES[branch]}, median {np.median(of_branch):.3g}"
        panel.hist(of_branch, edges, label=title, color=colour, histtype="step", linewidth=1.8)
    panel.set(xlabel=label, ylabel="objects")


def _draw_levels(panel: Any, rows: Sequence[ObjectRow], level_names: Sequence[str]) -> None:
    """Mean share of every level, a bar for each size class; of the classification quality."""
    places, width = np.arange(len(level_names)), 0.8 / len(SIZES)
    for index, size in enumerate(SIZES):
        shares = [row.level_shares for row in rows if row.size == size and row.branch == "cls"]
        if shares:
            panel.bar(
                places + (index - 1) * width,
                np.mean(shares, axis=0),
                width,
                color=COLOURS[index],
                label=f"{size} ({len(shares)})",
            )
    panel.set(
        xticks=places,
        xticklabels=list(level_names),
        xlabel="level",
        ylabel="mean share of the classification quality",
    )
