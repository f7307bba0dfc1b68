"""Colours and axes that the parts of an animation share."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes

from ._style import FAINT as FAINT, INK as INK, SOFT as SOFT
from ._watch_life import Moment

PALE = "#dfe5ea"
BLUE, RED, GREEN, LIGHT_GREEN = "#2a6f97", "#c8102e", "#2e7d32", "#bfe0c2"

Update = Callable[[Moment], None]


def landscape(axes: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    """Axes to look at, not to read numbers from."""
    axes.set(xlim=x, ylim=y, aspect="equal", xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def last(count: int, what: str) -> str:
    """So many of the last things, in words."""
    return f"last {count} {what}" if count > 1 else f"last {what.removesuffix('s')}"


def number(axes: Axes, places: Int[np.ndarray, " n"]) -> None:
    """Number places along the horizontal axis from 1, as many as there is room for."""
    some = places[:: -(-len(places) // 16)]
    axes.set_xticks(some, [str(i + 1) for i in some])
    axes.tick_params(axis="x", length=0)
