"""What one sees of an environment: a small drawing for each, and bars for all others."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnax.environments.classic_control import (
    acrobot,
    cartpole,
    continuous_mountain_car,
    mountain_car,
    pendulum,
)
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

import rl
from rl import envs

from ._watch_bandits import draw_arms, draw_bars, draw_contextual
from ._watch_grids import draw_goal_world, draw_heart_trap
from ._watch_life import Moment
from ._watch_style import BLUE, FAINT, GREEN, INK, PALE, RED, SOFT, Update, landscape
from ._watch_world import World

Draw = Callable[[Axes, World, Sequence[Moment]], Update]


def draw_scene(axes: Axes, task: rl.Task, life: Sequence[Moment]) -> Update:
    """Draw what never moves of a task, and prepare what does.

    **Arguments:**

    - `axes`: where to.
    - `task`: the task of the life.
    - `life`: all moments to come, for the scales of the axes.

    **Returns:**

    A function that sets the drawing to a moment.
    """
    world = World(task, life)
    for cls, draw in _SCENES.items():
        if isinstance(world.environment, cls):
            return draw(axes, world, life)
    return draw_bars(axes, world, life)


def _cart(axes: Axes, world: World, life: Sequence[Moment]) -> Update:
    """A cart on its track, and the pole on it at its true length."""
    del life
    edge, length = float(world.params.x_threshold), 2.0 * float(world.params.length)
    landscape(axes, (-edge - 0.4, edge + 0.4), (-0.6, max(length, 1.0) + 0.6))
    axes.plot([-edge - 0.4, edge + 0.4], [0, 0], color=FAINT, lw=1.0)
    for x in (-edge, edge):
        axes.plot([x, x], [-0.12, 0.12], color=RED, lw=1.5)
    cart = Rectangle((0, 0), 0.7, 0.3, color=INK, lw=0, animated=True)
    axes.add_patch(cart)
    (pole,) = axes.plot([], [], color=BLUE, lw=6, solid_capstyle="round", animated=True)
    push = _force(axes, world, "push", (-1.0, 1.0))

    def update(moment: Moment) -> None:
        x, angle = float(moment.environment.x), float(moment.environment.theta)
        cart.set_xy((x - 0.35, 0.0))
        pole.set_data([x, x + length * np.sin(angle)], [0.3, 0.3 + length * np.cos(angle)])
        push(moment)

    return update


def _acrobot(axes: Axes, world: World, life: Sequence[Moment]) -> Update:
    """Two links that hang from a joint, and the height that the tip has to reach."""
    del life
    landscape(axes, (-2.3, 2.3), (-2.3, 2.3))
    axes.plot([-2.3, 2.3], [1, 1], color=GREEN, lw=1.2, ls=(0, (4, 3)))
    axes.text(-2.25, 1.07, "goal of the tip", color=GREEN, size=8)
    style = {"color": BLUE, "lw": 6, "ms": 7, "mfc": INK, "mec": INK}
    (links,) = axes.plot([], [], "o-", animated=True, **style)
    torque = _force(axes, world, "torque", (-1.0, 0.0, 1.0))

    def update(moment: Moment) -> None:
        first = float(moment.environment.joint_angle1)
        second = first + float(moment.environment.joint_angle2)
        x = np.cumsum([0.0, np.sin(first), np.sin(second)])
        y = -np.cumsum([0.0, np.cos(first), np.cos(second)])
        links.set_data(x, y)
        torque(moment)

    return update


def _mountain_car(axes: Axes, world: World, life: Sequence[Moment]) -> Update:
    """A car between two hills, and the flag at its goal."""
    del life

    def height(x: float | Float[np.ndarray, " x"]) -> Any:
        return 0.45 * np.sin(3.0 * np.asarray(x)) + 0.55

    low, high, goal = (
        float(getattr(world.params, name))
        for name in ("min_position", "max_position", "goal_position")
    )
    landscape(axes, (low - 0.05, high + 0.05), (-0.2, 1.35))
    x = np.linspace(low, high, 100)
    axes.fill_between(x, height(x), 0.0, color=PALE, lw=0)
    axes.plot(x, height(x), color=FAINT, lw=1.2)
    axes.plot([goal, goal], [height(goal), height(goal) + 0.2], color=GREEN, lw=1.5)
    axes.plot([goal + 0.03], [height(goal) + 0.17], ">", color=GREEN, ms=8)
    (car,) = axes.plot([], [], "o", color=BLUE, ms=15, animated=True)
    force = _force(axes, world, "force", (-1.0, 0.0, 1.0))

    def update(moment: Moment) -> None:
        x = float(moment.environment.position)
        car.set_data([x], [float(height(x)) + 0.045])
        force(moment)

    return update


def _pendulum(axes: Axes, world: World, life: Sequence[Moment]) -> Update:
    """A rod on a joint; it is to stand upright."""
    del life
    landscape(axes, (-1.4, 1.4), (-1.5, 1.3))
    axes.plot([0], [1.15], "v", color=GREEN, ms=8)
    (rod,) = axes.plot([], [], color=BLUE, lw=9, solid_capstyle="round", animated=True)
    axes.plot([0], [0], "o", color=INK, ms=7, zorder=3, animated=True)
    torque = _force(axes, world, "torque", ())

    def update(moment: Moment) -> None:
        angle = float(moment.environment.theta)
        rod.set_data([0, np.sin(angle)], [0, np.cos(angle)])
        torque(moment)

    return update


def _force(axes: Axes, world: World, name: str, strengths: Sequence[float]) -> Update:
    """A bar for the strength of the last action, from -1 to 1.

    **Arguments:**

    - `axes`: of the scene; the bar is put at its foot.
    - `world`: where actions get their meaning.
    - `name`: of what the action is.
    - `strengths`: of each discrete action.
    """
    inset = axes.inset_axes((0.3, -0.01, 0.4, 0.035))
    inset.set(xlim=(-1, 1), ylim=(-0.5, 0.5), xticks=[], yticks=[], facecolor=PALE)
    for spine in inset.spines.values():
        spine.set_visible(False)
    inset.text(-1.06, 0, name, color=SOFT, ha="right", va="center", size=8)
    (bar,) = inset.barh([0.0], [0.0], 1.0, color=INK, lw=0, animated=True)
    inset.axvline(0, color="white", lw=2, animated=True)

    def update(moment: Moment) -> None:
        action = world.last_action(moment)
        if action is None:
            bar.set_width(0.0)
        else:
            bar.set_width(strengths[int(action)] if action.ndim == 0 else float(action[0]))

    return update


_SCENES: dict[type, Draw] = {
    cartpole.CartPole: _cart,
    acrobot.Acrobot: _acrobot,
    mountain_car.MountainCar: _mountain_car,
    continuous_mountain_car.ContinuousMountainCar: _mountain_car,
    pendulum.Pendulum: _pendulum,
    envs.BernoulliBandit: draw_arms,
    envs.ContextualBandit: draw_contextual,
    envs.HeartTrap: draw_heart_trap,
    envs.GoalWorld: draw_goal_world,
}
