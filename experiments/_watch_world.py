"""The environment that a learner really lives in, inside all wrappers around it."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

import rl

from ._watch_life import Moment


class World:
    """A task without its wrappers, and what becomes in it of the actions of the learner.

    A wrapper has the environment around which it is, `inner`, and so have its parameters; `act`
    and `pay` are what it does to actions and rewards.

    - `task`: the task as the learner meets it.
    - `environment`, `params`: what is inside.
    - `window`: environment steps that count as recent.
    """

    task: rl.Task
    environment: Any
    params: PyTree
    window: int

    def __init__(self, task: rl.Task, life: Sequence[Moment]):
        """**Arguments:**

        - `task`: any task.
        - `life`: the moments of a life in it.
        """
        self.task = task
        self.environment, self.params = task.environment, task.params
        self._wrappers: list[tuple[Any, PyTree]] = []
        while hasattr(self.environment, "inner"):
            self._wrappers.append((self.environment, self.params))
            self.environment, self.params = self.environment.inner, self.params.inner
        self.window = recent(life)
        self._actions = np.concatenate([moment.actions for moment in life])
        if self._actions.ndim == 1:
            size = task.spaces.num_actions
            self._real = np.asarray(self.act(jnp.arange(size)))
            there = self._real[existing(task.action_mask, size)]
            self._there = np.isin(np.arange(self.environment.num_actions), there)

    def act(self, action: Array) -> Array:
        """What actions of the learner are inside; those of discrete ones may be many."""
        for wrapper, params in self._wrappers:
            action = wrapper.act(action, params)
        return action

    def pay(self, reward: float) -> float:
        """What the learner receives for a reward inside."""
        value = jnp.asarray(reward, jnp.float32)
        for wrapper, params in reversed(self._wrappers):
            value = wrapper.pay(value, params)
        return float(value)

    def last_action(self, moment: Moment) -> Int[np.ndarray, ""] | Float[np.ndarray, " B"] | None:
        """The last action inside, or `None` at birth."""
        if moment.steps == 0:
            return None
        action = moment.timestep.action
        if self._actions.ndim == 1:
            return np.asarray(self._real[int(action)])
        return np.asarray(self.act(jnp.asarray(action)))

    def actions(self) -> Int[np.ndarray, " n"]:
        """The discrete actions inside that exist."""
        return np.flatnonzero(self._there)

    def shares(self, moment: Moment) -> Float[np.ndarray, " B"]:
        """How large a share of the recent steps each discrete action inside has."""
        taken = self._actions[max(0, moment.steps - self.window) : moment.steps]
        counts = np.bincount(self._real[taken], minlength=len(self._there))
        return counts / max(1, len(taken))


def recent(life: Sequence[Moment]) -> int:
    """The environment steps that count as recent: a twentieth of a life."""
    return max(1, life[-1].steps // 20)


def existing(mask: Bool[Array, " n"] | None, size: int) -> Bool[np.ndarray, " n"]:
    """A mask, also where there is none."""
    return np.ones(size, bool) if mask is None else np.asarray(mask)
