"""Bandits as one sees them, and bars for everything that has no drawing of its own."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from ._watch_life import Moment
from ._watch_style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    LIGHT_GREEN,
    PALE,
    RED,
    SOFT,
    Update,
    last,
    number,
)
from ._watch_world import World, existing


def draw_arms(axes: Axes, world: World, life: Sequence[Moment]) -> Update:
    """The arms' chances of a reward, and how often each is pulled."""
    del life
    arms = world.actions()
    chances = np.asarray(world.params.probs)[arms]
    best = chances == chances.max()
    axes.bar(arms, chances, 0.8, color=np.where(best, LIGHT_GREEN, PALE), lw=0)
    pulls = axes.bar(arms, 0.0 * arms, 0.36, color=BLUE, lw=0, animated=True)
    (mark,) = axes.plot([], [], "v", color=INK, ms=8, clip_on=False, animated=True)
    axes.set(ylim=(0, 1), xlim=(arms[0] - 0.6, arms[-1] + 0.6), xlabel="arm")
    number(axes, arms)
    whole = axes.transAxes
    axes.text(0, 1.08, "chance of a reward (best in green)", color=SOFT, transform=whole)
    words = f"share of the {last(world.window, 'pulls')}"
    axes.text(1, 1.08, words, color=BLUE, ha="right", transform=whole)

    def update(moment: Moment) -> None:
        for bar, share in zip(pulls, world.shares(moment)[arms], strict=True):
            bar.set_height(share)
        action = world.last_action(moment)
        mark.set_data(([], []) if action is None else ([int(action)], [1.04]))

    return update


def draw_contextual(axes: Axes, world: World, life: Sequence[Moment]) -> Update:
    """The sensors, which of them matter, and the action that they make right."""
    weights = np.asarray(world.params.weights)
    sensors = np.flatnonzero(existing(world.params.sensor_mask, weights.shape[1]))
    actions = np.flatnonzero(existing(world.params.action_mask, weights.shape[0]))
    weights = weights[actions][:, sensors]
    top, bottom = _two(axes)
    matters = np.abs(weights).max(axis=0) > 1e-6
    colours = np.where(matters, BLUE, FAINT)
    sights = top.bar(sensors, 0.0 * sensors, 0.8, color=colours, lw=0, animated=True)
    top.set(xlim=(sensors[0] - 0.6, sensors[-1] + 0.6), ylim=(-3, 3))
    top.set_title("sensors now (relevant ones in blue)")
    scores = bottom.bar(actions, 0.0 * actions, 0.8, lw=0, animated=True)
    most = max(
        float(np.abs(weights @ moment.environment.sensors[sensors]).max()) for moment in life
    )
    bottom.set(xlim=(actions[0] - 0.6, actions[-1] + 0.6), ylim=(-most or -1.0, most or 1.0))
    bottom.set_title("score of each action now (right one in green)")
    said = axes.text(0, 1.1, "", transform=axes.transAxes, animated=True)
    for part, places in ((top, sensors), (bottom, actions)):
        part.axhline(0, color=FAINT, lw=0.8, animated=True)
        part.locator_params(axis="y", nbins=5)
        number(part, places)

    def update(moment: Moment) -> None:
        values = moment.environment.sensors[sensors]
        for bar, value in zip(sights, values, strict=True):
            bar.set_height(float(value))
        worth = weights @ values
        for i, bar in enumerate(scores):
            bar.set(height=float(worth[i]), facecolor=GREEN if i == worth.argmax() else FAINT)
        action, right = world.last_action(moment), moment.metrics.get("right")
        if action is not None and right is not None:
            said.set_text(f"the last action was {int(action) + 1}, {_VERDICT[right[-1] > 0]}")
            said.set_color(GREEN if right[-1] > 0 else RED)

    return update


_VERDICT = {True: "right", False: "wrong"}


def draw_bars(axes: Axes, world: World, life: Sequence[Moment]) -> Update:
    """The sensors and the actions of any environment, as the learner meets them."""
    spaces, task = world.task.spaces, world.task
    top, bottom = _two(axes)
    sensors = np.flatnonzero(existing(task.observation_mask, spaces.observation_size))
    seen = np.stack([moment.timestep.observation[sensors] for moment in life])
    low, high = min(float(seen.min()), 0.0), max(float(seen.max()), 0.0)
    sights = top.bar(sensors, 0.0 * sensors, 0.8, color=BLUE, lw=0, animated=True)
    top.set(xlim=(sensors[0] - 0.6, sensors[-1] + 0.6), ylim=(low, high if high > low else 1.0))
    top.set_title("sensors")
    continuous = life[0].timestep.action.ndim > 0
    actions = np.arange(spaces.num_actions) if continuous else world.actions()
    acts = bottom.bar(actions, 0.0 * actions, 0.8, color=INK, lw=0, animated=True)
    bottom.set(xlim=(actions[0] - 0.6, actions[-1] + 0.6), ylim=(-1 if continuous else 0, 1))
    words = (
        "last action"
        if continuous
        else f"share of each action in the {last(world.window, 'steps')}"
    )
    bottom.set_title(words)
    for part, places in ((top, sensors), (bottom, actions)):
        part.axhline(0, color=FAINT, lw=0.8, animated=True)
        part.locator_params(axis="y", nbins=5)
        number(part, places)

    def update(moment: Moment) -> None:
        heights = moment.timestep.action if continuous else world.shares(moment)[actions]
        for bars, values in ((sights, moment.timestep.observation[sensors]), (acts, heights)):
            for bar, value in zip(bars, values, strict=True):
                bar.set_height(float(value))

    return update


def _two(axes: Axes) -> tuple[Axes, Axes]:
    """Axes for sensors above axes for actions."""
    axes.set_axis_off()
    return axes.inset_axes((0, 0.58, 1, 0.42)), axes.inset_axes((0, 0, 1, 0.36))
