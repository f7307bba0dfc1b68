"""Heat maps of regret, with the numbers in the cells."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Panel:
    """One heat map.

    - `title`: above it.
    - `rows`, `columns`: labels of meta-training and meta-test tasks.
    - `values`: a row of numbers for each label of `rows`.
    - `errors`: standard errors, printed beneath the numbers, or `None`.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float]]
    errors: Sequence[Sequence[float]] | None = None


def side_by_side(
    path: Path,
    *,
    title: str,
    panels: Sequence[Panel],
    note: str,
) -> None:
    """Draw panels beside each other on one scale of colours and save them as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import numpy as np
    from matplotlib import colors, pyplot

    lowest = max(min(min(row) for p in panels for row in p.values), 1e-2)
    highest = max(max(row) for p in panels for row in p.values)
    scale = colors.LogNorm(lowest, max(highest, 1.01 * lowest))
    widths = [len(p.columns) for p in panels]
    height = max(len(p.rows) for p in panels)
    figure, axes = pyplot.subplots(
        1,
        len(panels),
        figsize=(1.05 * sum(widths) + 1.6 * len(panels), 0.72 * height + 1.9),
        gridspec_kw={"width_ratios": widths},
        squeeze=False,
        layout="constrained",
    )
    colours = pyplot.get_cmap("YlGnBu_r")
    for axis, panel in zip(axes[0], panels, strict=True):
        values = np.asarray(panel.values)
        axis.imshow(values, norm=scale, cmap=colours, aspect="auto")
        axis.set_title(panel.title, fontsize=9, loc="left")
        axis.set_xticks(range(len(panel.columns)), panel.columns, fontsize=8)
        axis.set_yticks(range(len(panel.rows)), panel.rows, fontsize=8)
        axis.set_xlabel("meta-tested on", fontsize=8)
        axis.set_ylabel("meta-trained on", fontsize=8)
        axis.tick_params(length=0)
        for edge in axis.spines.values():
            edge.set_visible(False)
        axis.set_xticks(np.arange(-0.5, len(panel.columns)), minor=True)
        axis.set_yticks(np.arange(-0.5, len(panel.rows)), minor=True)
        axis.grid(which="minor", color="white", linewidth=2)
        axis.tick_params(which="minor", length=0)
        for i, row in enumerate(panel.values):
            for j, value in enumerate(row):
                red, green, blue, _ = colours(scale(value))
                dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
                ink = "white" if dark else "#222222"
                number = f"{value:.3g}"
                if panel.errors is None:
                    axis.text(j, i, number, ha="center", va="center", fontsize=10, color=ink)
                else:
                    error = f"± {panel.errors[i][j]:.2g}"
                    axis.text(j, i - 0.1, number, ha="center", va="center", fontsize=10, color=ink)
                    axis.text(j, i + 0.24, error, ha="center", va="center", fontsize=6.5, color=ink)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left", fontweight="bold")
    figure.supxlabel(note, fontsize=7, x=0.01, ha="left", color="#555555")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)
    pyplot.close(figure)
