"""Heat maps of scores, with the numbers in the cells."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from . import _style

_EMPTY = "#eeeeee"
_LONG_LABEL = 12  # letters; longer labels of columns are slanted


@dataclasses.dataclass(frozen=True)
class Panel:
    """One heat map.

    - `title`: above it.
    - `rows`, `columns`: labels of what was meta-trained and of the meta-test tasks.
    - `values`: a row of numbers for each label of `rows`; NaN leaves a cell empty.
    - `errors`: standard errors, printed beneath the numbers, or `None`.
    - `intervals`: the lower and the upper ends of intervals, printed beneath, or `None`.
    - `shades`: what the colours show, if not the values: where columns have units of their own.
    - `form`: how numbers are written.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float]]
    errors: Sequence[Sequence[float]] | None = None
    intervals: tuple[Sequence[Sequence[float]], Sequence[Sequence[float]]] | None = None
    shades: Sequence[Sequence[float]] | None = None
    form: str = ".3g"

    @property
    def colours(self) -> Sequence[Sequence[float]]:
        """What the colours show."""
        return self.values if self.shades is None else self.shades

    def beneath(self, i: int, j: int) -> str:
        """What is printed beneath the number of a cell."""
        if self.errors is not None:
            return f"± {self.errors[i][j]:.2g}"
        if self.intervals is not None:
            low, high = (ends[i][j] for ends in self.intervals)
            return f"{low:{self.form}} to {high:{self.form}}"
        return ""


def side_by_side(
    path: Path,
    *,
    title: str,
    panels: Sequence[Panel],
    note: str,
    higher_is_better: bool = False,
    row_label: str = "meta-trained on",
    column_label: str = "meta-tested on",
) -> None:
    """Draw panels beside each other on one scale of colours and save them as PNG.

    **Arguments:**

    - `path`: the file.
    - `title`, `note`: above and beneath all panels.
    - `panels`: from left to right.
    - `higher_is_better`: whether the numbers are scores, on a linear scale, instead of regrets, on
        a logarithmic one. Dark is good.
    - `row_label`, `column_label`: what rows and columns are.
    """
    import matplotlib

    matplotlib.use("Agg")
    import numpy as np
    from matplotlib import colors, pyplot

    shown = [v for p in panels for row in p.colours for v in row if not math.isnan(v)] or [0.0]
    if higher_is_better:
        scale = colors.Normalize(min(shown), max(max(shown), min(shown) + 1e-6))
    else:
        lowest = max(min(shown), 1e-2)
        scale = colors.LogNorm(lowest, max(max(shown), 1.01 * lowest))
    widths = [len(p.columns) for p in panels]
    labels = [max(1.6, 0.6 + max(map(len, p.rows)) / _style.LETTERS[8]) for p in panels]
    width = max(1.05 * sum(widths) + sum(labels), 4.5)
    title, note = _style.wrapped(title, width, 11), _style.wrapped(note, width, 7)
    height = 0.72 * max(len(p.rows) for p in panels) + 1.9
    figure, axes = pyplot.subplots(
        1,
        len(panels),
        figsize=(width, height + 0.18 * title.count("\n") + 0.12 * note.count("\n")),
        gridspec_kw={"width_ratios": widths},
        squeeze=False,
        layout="constrained",
    )
    colours = pyplot.get_cmap("YlGnBu" if higher_is_better else "YlGnBu_r")
    colours = colours.with_extremes(bad=_EMPTY)
    for axis, panel in zip(axes[0], panels, strict=True):
        shades = np.ma.masked_invalid(panel.colours)
        axis.imshow(shades, norm=scale, cmap=colours, aspect="auto")
        axis.set_title(panel.title, fontsize=9, loc="left")
        axis.set_xticks(range(len(panel.columns)), panel.columns, fontsize=8)
        if max(map(len, panel.columns)) > _LONG_LABEL:
            axis.tick_params(axis="x", labelrotation=30)
            for label in axis.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        axis.set_yticks(range(len(panel.rows)), panel.rows, fontsize=8)
        axis.set_xlabel(column_label, fontsize=8)
        axis.set_ylabel(row_label, fontsize=8)
        axis.tick_params(length=0)
        for edge in axis.spines.values():
            edge.set_visible(False)
        axis.set_xticks(np.arange(-0.5, len(panel.columns)), minor=True)
        axis.set_yticks(np.arange(-0.5, len(panel.rows)), minor=True)
        axis.grid(which="minor", color="white", linewidth=2)
        axis.tick_params(which="minor", length=0)
        for i, row in enumerate(panel.values):
            for j, value in enumerate(row):
                place = {"ha": "center", "va": "center"}
                if math.isnan(value):
                    axis.text(j, i, "–", fontsize=10, color=_style.SOFT, **place)
                    continue
                shade = panel.colours[i][j]
                red, green, blue, _ = colours(scale(shade))
                dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
                ink = "white" if dark and not math.isnan(shade) else _style.INK
                beneath = panel.beneath(i, j)
                up = 0.1 if beneath else 0.0
                axis.text(j, i - up, f"{value:{panel.form}}", fontsize=10, color=ink, **place)
                if beneath:
                    axis.text(j, i + 0.24, beneath, fontsize=6.5, color=ink, **place)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left", fontweight="bold")
    figure.supxlabel(note, fontsize=7, x=0.01, ha="left", color=_style.SOFT)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)
    pyplot.close(figure)
