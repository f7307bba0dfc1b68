"""The grid worlds as one sees them from above."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ._watch_life import Moment
from ._watch_style import BLUE, GREEN, INK, PALE, RED, SOFT, Update, landscape
from ._watch_world import World

_POINTS = 230  # the height of the grid


def draw_heart_trap(axes: Axes, world: World, life: Sequence[Moment]) -> Update:
    """The agent, the hearts and the traps, and what both pay the learner in this life."""
    del life
    size = _board(axes, world)
    hearts, traps, agent = (
        _things(axes, marker, colour, size) for marker, colour in (("$♥$", RED), ("X", INK), _AGENT)
    )
    pays = [world.pay(float(getattr(world.params, f"{name}_reward"))) for name in ("heart", "trap")]
    text = f"a heart pays {pays[0]:+g}, a trap {pays[1]:+g}"
    axes.text(0, 1.02, text, color=SOFT, transform=axes.transAxes)

    def update(moment: Moment) -> None:
        _place(hearts, moment.environment.hearts)
        _place(traps, moment.environment.traps)
        _place(agent, moment.environment.agent[None])

    return update


def draw_goal_world(axes: Axes, world: World, life: Sequence[Moment]) -> Update:
    """The agent, its target, and the obstacles."""
    del life
    size = _board(axes, world)
    obstacles, target, agent = (
        _things(axes, marker, colour, size) for marker, colour in (("s", INK), ("*", GREEN), _AGENT)
    )
    text = f"a step nearer to the star pays {world.pay(float(world.params.step_reward)):+g}"
    axes.text(0, 1.02, text, color=SOFT, transform=axes.transAxes)

    def update(moment: Moment) -> None:
        _place(obstacles, moment.environment.obstacles)
        _place(target, moment.environment.target[None])
        _place(agent, moment.environment.agent[None])

    return update


_AGENT = ("o", BLUE)


def _board(axes: Axes, world: World) -> int:
    """Draw the cells; the number of them along one side."""
    size = world.environment.size
    landscape(axes, (-0.5, size - 0.5), (size - 0.5, -0.5))
    for i in range(size + 1):
        for line in (axes.axhline, axes.axvline):
            line(i - 0.5, color=PALE, lw=1.5, clip_on=False)
    return size


def _things(axes: Axes, marker: str, colour: str, size: int) -> Line2D:
    points = 0.55 * _POINTS / size
    style = {"color": colour, "markersize": points, "markeredgewidth": 0, "linestyle": ""}
    (things,) = axes.plot([], [], marker=marker, animated=True, **style)
    return things


def _place(things: Line2D, cells: Int[np.ndarray, "n 2"]) -> None:
    """Put things on cells, each a row and a column."""
    things.set_data(cells[:, 1], cells[:, 0])
