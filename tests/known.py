"""Environments whose values are known, for learners to find out."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

import rl
from rl.classic import Segments, Transitions


class Constant(rl.Learner[Array]):
    """It always does the same: the first action, or nothing."""

    def init(self, spaces: rl.Spaces, *, key: Array) -> Array:
        del key
        return jnp.zeros((spaces.num_actions,)) if spaces.continuous else jnp.asarray(0, jnp.int32)

    def step(self, state: Array, timestep: rl.TimeStep, *, key: Array) -> tuple[Array, Array]:
        del timestep, key
        return state, state


class Box(NamedTuple):
    shape: tuple[int, ...]
    low: float = -1.0
    high: float = 1.0


class Discrete(NamedTuple):
    n: int


class ProbeParams(NamedTuple):
    """The reward at the end of an episode, and when and how it ends."""

    constant: Array | float = 0.0
    per_sign: Array | float = 0.0
    per_action: Array | float = 0.0
    per_both: Array | float = 0.0
    length: Array | float = 1.0
    truncated: Array | float = 0.0


@dataclasses.dataclass(frozen=True)
class Probe:
    """Shows a random sign, the same for an episode, and the time; pays at the end only."""

    continuous: bool = False

    @property
    def num_actions(self) -> int:
        return 2

    def observation_space(self, params: ProbeParams) -> Box:
        return Box((2,))

    def action_space(self, params: ProbeParams) -> Box | Discrete:
        return Box((1,)) if self.continuous else Discrete(2)

    def reset(self, key: Array, params: ProbeParams) -> tuple[Array, Array]:
        start = jnp.stack([jnp.sign(jr.uniform(key) - 0.5), jnp.zeros(())])
        return start, start

    def step(self, key: Array, state: Array, action: Array, params: ProbeParams) -> tuple:
        moved = state + jnp.asarray([0.0, 1.0])
        over = moved[1] >= params.length
        if self.continuous:
            quality = -((action[0] - 0.5 * state[0]) ** 2)
        else:
            quality = 2.0 * action.astype(jnp.float32) - 1.0
        reward = params.constant + params.per_sign * state[0]
        reward = reward + (params.per_action + params.per_both * state[0]) * quality
        after = jnp.where(over, self.reset(key, params)[0], moved)
        cut = over & (params.truncated > 0.0)
        # What is cut off would have begun anew with the same sign.
        info = {"final_observation": jnp.where(cut, state.at[1].set(0.0), moved)}
        return after, after, jnp.where(over, reward, 0.0), over & ~cut, cut, info


PROBES = {
    "reward": ProbeParams(constant=1.0),
    "reward of the observation": ProbeParams(per_sign=1.0),
    "delayed reward": ProbeParams(constant=1.0, length=2.0),
    "reward of the action": ProbeParams(per_action=1.0),
    "reward of both": ProbeParams(per_both=1.0),
    "truncated": ProbeParams(constant=1.0, truncated=1.0),
}
# By probe: values by sign and time, and for how many times they are met.
VALUES = [
    ("reward", [[1.0], [1.0]], 1),
    ("reward of the observation", [[-1.0], [1.0]], 1),
    ("delayed reward", [[0.5, 1.0], [0.5, 1.0]], 2),
    ("truncated", [[2.0], [2.0]], 1),
]
# By probe: how probable the second action should become, by sign.
CHOICES = [("reward of the action", [1, 1]), ("reward of both", [0, 1])]
SIGNS, SECOND = jnp.asarray([-1.0, 1.0]), jnp.asarray([0.0, 1.0])


def lived(
    learner: rl.Learner, look: Callable[[Any, Array], tuple], steps: int, names: list[str]
) -> dict[str, Any]:
    """What a learner thinks after a life in each probe.

    **Arguments:**

    - `learner`: who lives.
    - `look`: from its last state and observations `[2 2 2]`, by sign and time, to what is of
        interest.
    - `steps`: of a life.
    - `names`: of the probes.
    """
    signs, times = jnp.meshgrid(SIGNS, jnp.asarray([0.0, 1.0]), indexing="ij")
    observations = jnp.stack([signs, times], -1)

    def live(params: ProbeParams, key: Array) -> tuple:
        life = rl.lifetime(learner, rl.Task(Probe(), params), steps=steps, key=key, record=())
        return look(life.final.learner, observations)

    stacked = jax.tree.map(
        lambda *x: jnp.stack([jnp.asarray(y, jnp.float32) for y in x]), *(PROBES[n] for n in names)
    )
    found = jax.jit(jax.vmap(live))(stacked, jr.split(jr.key(0), len(names)))
    return {name: jax.tree.map(lambda x: np.asarray(x[k]), found) for k, name in enumerate(names)}  # noqa: B023


def values_and_choices(state: Any, observations: Array) -> tuple[Array, Array]:
    """Of an on-policy learner: values `[2 2]`, and how probable the second action is first."""
    networks = state.knowledge.networks
    values = jax.vmap(jax.vmap(networks.value))(observations)
    second = lambda o: networks.policy(o, None).log_prob(SECOND)  # noqa: E731
    return values, jnp.exp(jax.vmap(second)(observations[:, 0]))


def louder_first(timestep: rl.TimeStep) -> rl.TimeStep:
    """For broken twins: the same with the first sensors louder than the others."""
    ramp = 1.0 / (1.0 + jnp.arange(timestep.observation.shape[0], dtype=jnp.float32))
    return eqx.tree_at(lambda t: t.observation, timestep, ramp * timestep.observation)


def segments_of(count: int, masked: bool = False, seed: int = 0) -> Segments:
    """Stretches of five steps, some of which end episodes."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    ends = rng.integers(4, size=(count, 5))
    mask = jnp.asarray(rng.random((count, 3)) < 0.6).at[:, 0].set(True) if masked else None
    exists = jnp.ones((count, 1, 3)) if mask is None else mask[:, None].astype(jnp.float32)
    values, next_values = draw(count, 5), draw(count, 5)
    # Within an episode, a step leads to the next observation.
    next_values = next_values.at[:, :-1].set(
        jnp.where(ends[:, :-1] < 2, next_values[:, :-1], values[:, 1:])
    )
    return Segments(
        Transitions(
            draw(count, 5, 2),
            draw(count, 5, 3) * exists,
            draw(count, 5),
            jnp.asarray(ends == 0),
            jnp.asarray(ends == 1),
            draw(count, 5, 2),
        ),
        values,
        next_values,
        draw(count, 5, 3) * exists,
        mask,
    )
