"""Bar charts of what several players earn, in rows of panels."""

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from . import _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Two blues, then two warm ones.
_COLOURS = (_style.SKY, _style.BLUE, _style.ORANGE, _style.RED, _style.GREEN, _style.PINK)
_WIDTH, _HEIGHT, _LETTERS = 2.5, 2.6, 12.0  # inches of a panel, and letters of a title in one


@dataclasses.dataclass(frozen=True)
class BarPanel:
    """One task.

    - `title`: its name.
    - `groups`: for each group of bars (`"training"`, `"test"`), what each player earns: a number
        for each independent unit, a training for example. A player may be left out of a group.
    - `levels`: numbers to compare with, by name.
    """

    title: str
    groups: Mapping[str, Mapping[str, Float[np.ndarray, " units"]]]
    levels: Mapping[str, float] = dataclasses.field(default_factory=dict)


def bars(
    path: Path,
    title: str,
    rows: Mapping[str, Sequence[BarPanel]],
    *,
    label: str,
    units: str = "trainings",
    note: str = "",
) -> None:
    """Draw a chart of several rows of panels, and save it as PNG.

    Each bar is the mean over the units of a player in a group, with their standard deviation, and
    a dot for each of them.

    **Arguments:**

    - `path`: the file.
    - `title`, `note`: above and beneath.
    - `rows`: panels from left to right, by the title of their row. Each has a scale of its own.
    - `label`: what the bars measure.
    - `units`: what the units are, for the legend.

    **Raises:** `ValueError` for more players or levels than there are colours or lines, and for no
    panels.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    panels = [panel for row in rows.values() for panel in row]
    if not panels:
        raise ValueError("A chart needs at least one panel, got none.")
    players = _names(player for panel in panels for one in panel.groups.values() for player in one)
    levels = _names(name for panel in panels for name in panel.levels)
    for names, kinds, what in ((players, _COLOURS, "players"), (levels, _style.LEVELS, "levels")):
        if len(names) > len(kinds):
            raise ValueError(
                f"There can be {len(kinds)} {what} in a chart, got {', '.join(names)}."
            )
    colours = dict(zip(players, _COLOURS, strict=False))
    dots = dict(zip(levels, _style.LEVELS, strict=False))
    columns = max(map(len, rows.values()))
    with matplotlib.rc_context(_style.OPEN):
        # A figure of its own, not pyplot's: it needs no display and is drawn by Agg.
        size = (_WIDTH * columns + 1.6, _HEIGHT * len(rows) + 0.6)
        figure = Figure(figsize=size, dpi=160, layout="constrained")
        parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
        for part, (name, row) in zip(parts, rows.items(), strict=True):
            part.suptitle(name, x=0.01, ha="left", fontsize=10, color=_style.INK)
            places = part.subplots(1, columns, squeeze=False)[0]
            for axes, panel in zip(places, row, strict=False):
                _panel(axes, panel, players, colours)
                for level, height in panel.levels.items():
                    axes.axhline(height, color=_style.SOFT, lw=1.2, ls=dots[level], zorder=3)
            for axes in places[len(row) :]:
                axes.set_axis_off()
            places[0].set_ylabel(label)
        handles = [Patch(color=colours[player]) for player in players]
        handles += [Line2D([], [], color=_style.SOFT, lw=1.2, ls=dots[level]) for level in levels]
        most = max(
            len(values) for p in panels for one in p.groups.values() for values in one.values()
        )
        legend = figure.legend(
            handles,
            [*players, *levels],
            loc="outside right upper",
            frameon=False,
            title=f"bar: mean of {most} {units}\nline: standard deviation" if most > 1 else None,
            alignment="left",
        )
        legend.get_title().set(fontsize=8, color=_style.SOFT)
        lines = textwrap.wrap(title, int(_WIDTH * columns * _LETTERS))
        figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=11, fontweight="bold")
        if note:
            wide = textwrap.fill(note, int(_WIDTH * columns * 1.6 * _LETTERS))
            figure.supxlabel(wide, fontsize=7, x=0.01, ha="left", color=_style.SOFT)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


def _names(found) -> list[str]:
    """Each name once, in their order."""
    return list(dict.fromkeys(found))


def _panel(
    axes: "Axes", panel: BarPanel, players: Sequence[str], colours: Mapping[str, str]
) -> None:
    """The bars of all groups, those of a group beside each other."""
    places, labels, left = [], [], 0.0
    for group, found in panel.groups.items():
        present = [player for player in players if player in found]
        for k, player in enumerate(present):
            values = np.asarray(found[player], np.float64)
            spread = values.std(ddof=1) if len(values) > 1 else 0.0
            axes.bar(left + k, values.mean(), width=0.9, color=colours[player], zorder=1)
            axes.errorbar(left + k, values.mean(), yerr=spread, color=_style.INK, lw=1.2, zorder=2)
            if len(values) > 1:
                shift = np.linspace(-0.2, 0.2, len(values))
                axes.plot(
                    left + k + shift, values, ".", ms=3, color=_style.INK, alpha=0.6, zorder=2
                )
        places.append(left + (len(present) - 1) / 2)
        labels.append(group)
        left += len(present) + 1.0
    axes.axhline(0.0, color=_style.SOFT, lw=0.8)
    axes.set_xticks(places, labels, fontsize=8)
    axes.tick_params(axis="x", length=0)
    axes.set_title(panel.title, fontsize=10, loc="left", color=_style.INK)
