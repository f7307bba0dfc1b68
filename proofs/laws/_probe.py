"""A small environment whose every sensor and action is different, for laws about learners."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

import rl

from .._cases import Situation


class Shape(NamedTuple):
    """A space of observations."""

    shape: tuple[int, ...]


class ProbeParams(eqx.Module):
    """What each sensor shows, what each action pays, and what the sensors see of the actions."""

    phases: Array  # [A]
    payoffs: Array  # [B]
    couplings: Array  # [A B]


@dataclass(frozen=True)
class Probe:
    """Sensors show waves and the last action; an episode ends with every third step."""

    sensors: int
    num_actions: int

    def observation_space(self, params: Any) -> Shape:
        """One number for each sensor."""
        del params
        return Shape((self.sensors,))

    def reset(self, key: PRNGKeyArray, params: ProbeParams) -> tuple[Array, Array]:
        """The first observation; see `rl.Environment`."""
        del key
        return params.phases, jnp.asarray(0, jnp.int32)

    def step(
        self, key: PRNGKeyArray, state: Array, action: Array, params: ProbeParams
    ) -> tuple[Array, Array, Array, Array, Array, dict]:
        """See `rl.Environment`."""
        del key
        time = state + 1
        ended = time >= 3
        wave = jnp.sin(params.phases * time.astype(params.phases.dtype))
        seen = wave + params.couplings[:, action]
        return (
            jnp.where(ended, params.phases, seen),
            jnp.where(ended, 0, time),
            params.payoffs[action],
            ended,
            jnp.asarray(False),
            {"final_observation": seen},
        )

    def permuted(self, params: ProbeParams, sensors: Array, actions: Array) -> ProbeParams:
        """The parameters of the task with its sensors and actions in another order."""
        couplings = params.couplings[sensors][:, actions]
        return ProbeParams(params.phases[sensors], params.payoffs[actions], couplings)


def probe(sensors: int, actions: int, seed: int = 0) -> rl.Task:
    """A task with so many sensors and actions."""
    rng = np.random.default_rng(seed)
    shapes = ((sensors,), (actions,), (sensors, actions))
    params = ProbeParams(*(jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes))
    return rl.Task(Probe(sensors, actions), params)


def probe_for(learner: rl.Learner, situation: Situation) -> rl.Task:
    """A task of the sizes of the situation, or those that the learner is made for."""
    own = (getattr(learner, "observation_size", 3), getattr(learner, "num_actions", 4))
    sizes = situation.sizes or own
    return probe(sizes[0], sizes[-1], situation.seed)
