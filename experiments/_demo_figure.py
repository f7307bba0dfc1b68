"""The figure of the demo: how SymLA gets better over generations, and learns within a life."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from . import _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {
    "random": _style.FAINT,
    "Thompson": "#2a6f97",
    "Bayes-optimal": _style.INK,
    "SymLA": "#c8102e",
}
_LEFT, _RIGHT = 0.04, 0.9
_GAP = 0.062  # between two labels, as a part of the height of the axes


def draw(
    path: Path,
    *,
    course: Sequence[dict],
    results: Mapping[str, Mapping[int, Float32[np.ndarray, "lives L"]]],
    exact: float,
) -> None:
    """Draw the figure.

    **Arguments:**

    - `path`: where the PNG goes.
    - `course`: rows of `generation` and `regret` by number of arms, the first one before training.
    - `results`: the regret of each pull of each life, by player and number of arms.
    - `exact`: the expected regret of Bayes-optimal play on two arms.
    """
    import matplotlib
    from matplotlib.figure import Figure

    trained, *_, unseen = course[0]["regret"]
    lives, pulls = results["SymLA"][trained].shape
    style: dict = {
        "font.size": 10,
        "text.color": _style.INK,
        "axes.labelcolor": _style.INK,
        "axes.edgecolor": _style.FAINT,
        "xtick.color": _style.FAINT,
        "ytick.color": _style.FAINT,
        "xtick.labelcolor": _style.INK,
        "ytick.labelcolor": _style.INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(style):
        # A figure of its own, not pyplot's: it needs no display and is drawn by Agg.
        figure = Figure(figsize=(13.0, 5.0), dpi=150)
        figure.subplots_adjust(left=_LEFT, right=_RIGHT, top=0.7, bottom=0.12, wspace=0.64)
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.25, 1, 1))
        _course(left, course, results, exact)
        _life(middle, results, trained, f"{trained} arms, as in meta-training")
        _life(right, results, unseen, f"{unseen} arms, never seen before")
        _heading(
            figure,
            f"SymLA after {course[-1]['generation']} generations of meta-training on {trained} "
            "arms",
            "Regret: the expected reward lost by pulling other arms than the best (lower is "
            f"better). Means of {lives} lives of {pulls} pulls on bandits that no training saw.",
        )
        figure.savefig(path)


def _heading(figure: "Figure", title: str, text: str) -> None:
    figure.text(_LEFT, 0.925, title, size=16, weight="bold")
    figure.text(_LEFT, 0.87, text, size=10, color=_style.SOFT)


def _course(
    axes: "Axes",
    course: Sequence[dict],
    results: Mapping[str, Mapping[int, Float32[np.ndarray, "lives L"]]],
    exact: float,
) -> None:
    """Regret on the size trained on over generations, with the other players as levels."""
    generations = [row["generation"] for row in course]
    arms, end = next(iter(course[0]["regret"])), max(generations)
    levels = {name: float(by[arms].sum(1).mean()) for name, by in results.items()}
    levels["Bayes-optimal"] = exact
    for name, level in levels.items():
        if name != "SymLA":
            axes.axhline(level, color=_COLOURS[name], lw=1.2, ls=(0, (1, 1.5)), zorder=1)
    # The last point is the final test, which lives more lives than the reports on the way.
    values = [*(row["regret"][arms] for row in course[:-1]), levels["SymLA"]]
    axes.plot(generations, values, color=_COLOURS["SymLA"], lw=2.2, zorder=3)
    ticks = [1, 2, 3, 5, 10, 20]
    axes.set(yscale="log", xlim=(0, end), ylim=(1.2, 25), xlabel="generation of meta-training")
    axes.set_yticks(ticks, [str(t) for t in ticks])
    axes.set_yticks([], minor=True)
    axes.set_ylim(1.2, 25)
    _title(axes, f"It learns to learn: {arms} arms", "regret of a life, over meta-training")
    _label(axes, {name: levels[name] for name in _COLOURS if name in levels})


def _life(
    axes: "Axes",
    results: Mapping[str, Mapping[int, Float32[np.ndarray, "lives L"]]],
    arms: int,
    title: str,
) -> None:
    """Cumulative regret within a life, with bands of two standard errors."""
    ends, pulls = {}, results["SymLA"][arms].shape[1]
    for name in (n for n in _COLOURS if arms in results.get(n, {})):
        sums = np.cumsum(results[name][arms], 1, dtype=np.float64)
        sums = np.pad(sums, ((0, 0), (1, 0)))
        mean, error = sums.mean(0), sums.std(0, ddof=1) / np.sqrt(len(sums))
        x = np.arange(pulls + 1)
        colour, front = _COLOURS[name], name == "SymLA"
        axes.plot(x, mean, color=colour, lw=2.4 if front else 1.6, zorder=3 if front else 2)
        axes.fill_between(
            x, mean - 2 * error, mean + 2 * error, color=colour, alpha=0.15, lw=0, zorder=1
        )
        ends[name] = float(mean[-1])
    top = 1.55 * max(value for name, value in ends.items() if name != "random")
    axes.set(xlim=(0, pulls), ylim=(0, top), xlabel="pull")
    axes.locator_params(axis="y", nbins=5, integer=True)
    _title(axes, title, "regret so far, within a life")
    _label(axes, ends)


def _title(axes: "Axes", title: str, quantity: str) -> None:
    axes.annotate(title, (0, 1.15), xycoords="axes fraction", size=12, weight="bold")
    axes.annotate(quantity, (0, 1.075), xycoords="axes fraction", color=_style.SOFT)


def _label(axes: "Axes", ends: Mapping[str, float]) -> None:
    """Name each line at its right end, in its colour, no two labels on top of each other.

    A line that has left the axes is named at the top.
    """
    to_height = (axes.transData + axes.transAxes.inverted()).transform
    x, top = axes.get_xlim()[1], axes.get_ylim()[1]
    heights = {name: min(float(to_height((x, y))[1]), 1.0) for name, y in ends.items()}
    below = -1.0
    for name in sorted(heights, key=lambda n: heights[n]):
        below = max(heights[name], below + _GAP)
        value = ends[name]
        axes.annotate(
            f"{name} {value:.1f}" + (" ↑" if value > top else "")
            if value >= 10
            else f"{name} {value:.2f}",
            (1.02, below),
            xycoords="axes fraction",
            color=_COLOURS[name],
            va="center",
            weight="bold" if name == "SymLA" else "normal",
        )
