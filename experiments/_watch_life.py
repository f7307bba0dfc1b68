"""A life looked at from time to time: what `symla watch` makes a frame of."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.random as jr
import numpy as np
from jaxtyping import Bool, Float, PRNGKeyArray, PyTree, Shaped

import rl

from ._watch_cells import Cells, cells


class Moment(NamedTuple):
    """What one frame shows.

    - `steps`: environment steps lived.
    - `environment`: the state of the environment.
    - `timestep`: what the learner has not seen yet.
    - `cells`: its state, if it has one to show.
    - `rewards`, `actions`, `ended`, `metrics`: of each step since the moment before.
    """

    steps: int
    environment: PyTree
    timestep: rl.TimeStep
    cells: Cells | None
    rewards: Float[np.ndarray, " steps"]
    actions: Shaped[np.ndarray, "steps ..."]
    ended: Bool[np.ndarray, " steps"]
    metrics: dict[str, Float[np.ndarray, " steps"]]


def moments(
    learner: rl.Learner, task: rl.Task, *, steps: int, every: int, key: PRNGKeyArray
) -> Iterator[Moment]:
    """The life that `rl.lifetime` gives with the same arguments, looked at from time to time.

    **Arguments:**

    - `learner`, `task`, `steps`, `key`: as for `rl.lifetime`.
    - `every`: steps between two looks.

    **Returns:**

    The moment of birth, then one after every `every` steps, and the end of the life.
    """
    birth_key, _ = jr.split(key)
    state = rl.begin(learner, task, key=birth_key)
    rewards = np.zeros(0, state.episode_return.dtype)
    actions = np.zeros((0, *state.timestep.action.shape), state.timestep.action.dtype)
    ended, metrics = np.zeros(0, bool), {name: rewards for name in task.metrics}
    lived = 0
    while True:
        yield Moment(
            lived,
            jax.device_get(state.environment),
            jax.device_get(state.timestep),
            cells(state.learner),
            rewards,
            actions,
            ended,
            metrics,
        )
        if lived == steps:
            return
        life = rl.lifetime(
            learner,
            task,
            steps=min(every, steps - lived),
            key=key,
            record=("rewards", "actions", "terminated", "truncated", "metrics"),
            start=state,
        )
        state, lived = life.final, min(lived + every, steps)
        rewards, actions = np.asarray(life.rewards), np.asarray(life.actions)
        ended = np.asarray(life.terminated) | np.asarray(life.truncated)
        metrics = jax.device_get(life.metrics)
