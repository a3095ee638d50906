"""Draws curves over training: losses, AP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DOTTED_UP_TO = 30  # points; beyond, a marker on each hides the line


def curve_picture(
    series: Mapping[str, Sequence[tuple[float, float]]],  # name to (x, y), in order of x
    path: Path,
    *,
    title: str = "",
    x_label: str = "epoch",
    y_label: str = "",
    from_zero: bool = False,  # so that a fall is seen at its true share
) -> None:
    """A PNG with one line for each series; a NaN leaves a hole."""
    from matplotlib.figure import Figure  # slow to import; without pyplot there is no window

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for index, (name, points) in enumerate(series.items()):
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            label=name,
            color=COLOURS[index % len(COLOURS)],
            linewidth=1.8,
            marker="o" if len(points) <= DOTTED_UP_TO else "",
            markersize=4,
        )
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    if from_zero:
        axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    if series:
        axes.legend(frameon=False)
    figure.savefig(path, format="png")
