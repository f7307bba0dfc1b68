from functools import lru_cache

import jax.numpy as jnp
import jax.random as jr
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

import rl


@struct.dataclass
class WavesState(environment.EnvState):
    """Steps of this episode, and where the waves began."""

    time: PyTree
    phase: PyTree


@struct.dataclass
class WavesParams(environment.EnvParams):
    """The length of an episode, in environment steps."""

    max_steps_in_episode: PyTree = 10


class Waves(environment.Environment[WavesState, WavesParams]):
    """An environment of any size that costs next to nothing, so that learning is what is timed.

    Sensor `a` sees a sine wave; action `b` is paid what sensor `b mod A` showed. Episodes are
    truncated at a fixed length, and the next begins at another phase.
    """

    def __init__(self, sensors: int, actions: int):
        """**Arguments:**

        - `sensors`, `actions`: `A` and `B`.
        """
        super().__init__()
        self.sensors, self.actions = sensors, actions

    @property
    def default_params(self) -> WavesParams:
        """Episodes of 10 steps."""
        return WavesParams()

    def step_env(
        self,
        key: PRNGKeyArray,
        state: WavesState,
        action: int | float | Array,
        params: WavesParams,
    ) -> tuple[Array, WavesState, Array, Array, dict]:
        """Pay for the action, and let the waves move on."""
        del key, params
        reward = self._observe(state)[jnp.asarray(action) % self.sensors]
        state = WavesState(time=state.time + 1, phase=state.phase)
        info = {"discount": jnp.ones_like(reward)}
        return self._observe(state), state, reward, jnp.asarray(False), info

    def reset_env(self, key: PRNGKeyArray, params: WavesParams) -> tuple[Array, WavesState]:
        """Begin at a random phase."""
        del params
        phase = jr.uniform(key, maxval=2.0 * jnp.pi)
        state = WavesState(time=jnp.asarray(0, jnp.int32), phase=phase)
        return self._observe(state), state

    def _observe(self, state: WavesState) -> Float[Array, " A"]:
        apart = jnp.linspace(0.0, 2.0 * jnp.pi, self.sensors, endpoint=False)
        return jnp.sin(apart + (state.phase + 0.3 * state.time.astype(apart.dtype))[None])

    def is_terminated(self, state: WavesState, params: WavesParams) -> Array:
        """Never: only time ends an episode."""
        del state, params
        return jnp.asarray(False)

    @property
    def num_actions(self) -> int:
        """The number of actions."""
        return self.actions

    def observation_space(self, params: WavesParams | None = None) -> spaces.Box:
        """One number between -1 and 1 for each sensor."""
        del params
        return spaces.Box(-1.0, 1.0, (self.sensors,), jnp.float32)


@lru_cache(maxsize=64)
def waves(sensors: int, actions: int) -> rl.FixedTask:
    """The task of one size; the same instance each time, because JAX compiles anew for others."""
    environment = Waves(sensors, actions)
    return rl.FixedTask(rl.Task(environment, environment.default_params))
