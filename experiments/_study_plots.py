"""Figures of studies of learning: curves over a life, and how far learning generalises."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float

from . import _heatmap, _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_COLOURS = (
    *(_style.RED, _style.BLUE, _style.GREEN, _style.PINK, _style.ORANGE, _style.SKY),
    *(_style.INK, _style.BROWN),
)
_VARIANTS = ("-", (0, (4, 2)), (0, (1, 1.2)))
_WIDTH = 3.6  # inches of a panel
_BANDS = {"std": "one standard deviation", "sem": "one standard error"}


@dataclasses.dataclass(frozen=True)
class Curve:
    """How much a learner earns at each step of its life.

    - `learner`: its name, which gives the colour.
    - `variant`: how it was tested (`"original"`, `"shuffled"`), which gives the kind of line.
    - `rewards`: of each step, a row for each independent unit: the mean over lives of a
        meta-training, for example.
    """

    learner: str
    variant: str
    rewards: Float[np.ndarray, "units L"]


@dataclasses.dataclass(frozen=True)
class CurvePanel:
    """One task.

    - `title`: its name.
    - `curves`: the learners in it.
    - `levels`: rewards per step to compare with, by name: that of a random policy, for example.
    """

    title: str
    curves: Sequence[Curve]
    levels: Mapping[str, float] = dataclasses.field(default_factory=dict)


def running_mean(values: Float[np.ndarray, "*rows L"], window: int) -> Float[np.ndarray, "*rows L"]:
    """The mean of the last `window` values at each place, of fewer where there are fewer."""
    sums = np.cumsum(values, axis=-1, dtype=np.float64)
    sums = np.concatenate([np.zeros_like(sums[..., :1]), sums], axis=-1)
    ends = 1 + np.arange(values.shape[-1])
    starts = np.maximum(ends - window, 0)
    return (sums[..., ends] - sums[..., starts]) / (ends - starts)


def life_curves(
    path: Path,
    title: str,
    panels: Sequence[CurvePanel],
    *,
    window: int,
    band: Literal["std", "sem"] = "std",
    units: str = "meta-trainings",
    note: str = "",
) -> None:
    """Draw the mean reward per step over the life, a panel for each task, and save it as PNG.

    Each line is the mean over the units of a curve, with a band where there are several; it begins
    where there is a whole window. Of the variants, the first is solid, the others are dashed and
    dotted; one without a name is not told.

    **Arguments:**

    - `path`: the file.
    - `title`, `note`: above and beneath.
    - `panels`: from left to right.
    - `window`: environment steps over whose last ones rewards are averaged.
    - `band`: what the bands are: the standard deviation of the units, or the standard error.
    - `units`: what the units are, for the legend.

    **Raises:** `ValueError` for a window below one, or more variants than there are kinds of lines.
    """
    import matplotlib
    from matplotlib.figure import Figure

    if window < 1:
        raise ValueError(f"`window` must be at least 1, got {window}.")
    curves = [curve for panel in panels for curve in panel.curves]
    learners = list(dict.fromkeys(curve.learner for curve in curves))
    variants = list(dict.fromkeys(curve.variant for curve in curves))
    levels = list(dict.fromkeys(name for panel in panels for name in panel.levels))
    for names, kinds, what in (
        (learners, _COLOURS, "learners"),
        (variants, _VARIANTS, "variants"),
        (levels, _style.LEVELS, "levels"),
    ):
        if len(names) > len(kinds):
            raise ValueError(
                f"There can be {len(kinds)} {what} in a figure, got {', '.join(names)}."
            )
    colours = dict(zip(learners, _COLOURS, strict=False))
    styles = dict(zip(variants, _VARIANTS, strict=False))
    dots = dict(zip(levels, _style.LEVELS, strict=False))
    with matplotlib.rc_context(_style.OPEN):
        # A figure of its own, not pyplot's: it needs no display and is drawn by Agg.
        figure = Figure(figsize=(_WIDTH * len(panels) + 2.2, 3.6), dpi=160, layout="constrained")
        handles = {}
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, panel in zip(row, panels, strict=True):
            for name, level in panel.levels.items():
                line = axes.axhline(level, color=_style.FAINT, lw=1.3, ls=dots[name], zorder=1)
                handles[name] = line
            for curve in panel.curves:
                style = {"color": colours[curve.learner], "ls": styles[curve.variant]}
                line = _curve(axes, curve.rewards, window, band, style)
                handles[_label(curve.learner, curve.variant)] = line
            axes.set_title(panel.title, fontsize=10, loc="left", color=_style.INK)
            longest = max((curve.rewards.shape[1] for curve in panel.curves), default=1)
            axes.set(xlabel="environment step", xlim=(0, longest))
            axes.locator_params(nbins=6)
        figure.axes[0].set_ylabel(f"mean reward of the last {window} steps")
        names = [_label(learner, variant) for learner in learners for variant in variants]
        names = [name for name in (*names, *levels) if name in handles]
        several = max((len(curve.rewards) for curve in curves), default=0)
        heading = f"line: mean of {several} {units}\nband: {_BANDS[band]}" if several > 1 else None
        legend = figure.legend(
            [handles[name] for name in names],
            names,
            loc="outside right upper",
            frameon=False,
            title=heading,
            alignment="left",
            handlelength=2.6,
        )
        legend.get_title().set(fontsize=8, color=_style.SOFT)
        title = _style.wrapped(title, _WIDTH * len(panels), 11)  # beside the legend
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        if note:
            figure.supxlabel(note, fontsize=7, x=0.01, ha="left", color=_style.SOFT)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


def _label(learner: str, variant: str) -> str:
    """What the legend calls a curve."""
    return f"{learner}, {variant}" if variant else learner


def _curve(
    axes: "Axes",
    rewards: Float[np.ndarray, "units L"],
    window: int,
    band: Literal["std", "sem"],
    style: Mapping[str, Any],
) -> "Line2D":
    """Draw one curve with its band; its line."""
    units, length = rewards.shape
    steps = np.arange(min(window, length), length + 1)
    smooth = running_mean(rewards, window)[:, steps - 1]
    mean = smooth.mean(0)
    (line,) = axes.plot(steps, mean, lw=1.8, **style)
    if units > 1:
        spread = smooth.std(0, ddof=1) / (np.sqrt(units) if band == "sem" else 1.0)
        ends = (mean - spread, mean + spread)
        axes.fill_between(steps, *ends, color=style["color"], alpha=0.16, lw=0)
    return line


def generalisation_matrix(
    path: Path,
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Float[np.ndarray, "rows columns"],
    lows: Float[np.ndarray, "rows columns"],
    highs: Float[np.ndarray, "rows columns"],
    *,
    shades: Float[np.ndarray, "rows columns"] | None = None,
    note: str = "",
) -> None:
    """Draw scores with their intervals in the cells of a heat map, and save it as PNG.

    **Arguments:**

    - `path`: the file.
    - `title`, `note`: above and beneath.
    - `rows`: the learners, or what each was meta-trained on.
    - `columns`: the tasks of the meta-tests.
    - `values`: the scores, higher being better; NaN where a learner does not fit a task.
    - `lows`, `highs`: the ends of the intervals.
    - `shades`: what the colours show, dark for high; the scores by default, but tasks whose rewards
        have scales of their own need scores that can be compared.
    """
    panel = _heatmap.Panel(
        "",
        rows,
        columns,
        values.tolist(),
        intervals=(lows.tolist(), highs.tolist()),
        shades=None if shades is None else shades.tolist(),
        form=".2f" if np.nanmax(np.abs(values), initial=0.0) >= 0.1 else ".2g",
    )
    _heatmap.side_by_side(
        path, title=title, panels=[panel], note=note, higher_is_better=True, row_label="learner"
    )
