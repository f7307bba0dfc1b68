"""What the wrappers put around an environment; see `_wrappers`."""

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from gymnax.environments import spaces
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .._lifetime import flat
from .._task import Environment


@dataclass(frozen=True)
class Wrapped:
    """An environment around another, `inner`, whose state is the state of that one.

    Its parameters are a module of those of the inner environment, `inner`, and of what was drawn.
    It is equal to others with equal fields, so that JAX compiles for one of them only.
    """

    inner: Environment
    observation_size: int
    num_actions: int
    continuous: bool

    def observation_space(self, params: PyTree) -> spaces.Box:
        """Numbers without bounds."""
        del params
        return spaces.Box(-jnp.inf, jnp.inf, (self.observation_size,), jnp.float32)

    def action_space(self, params: PyTree) -> spaces.Discrete | spaces.Box:
        """As many actions, or numbers from -1 to 1, as there are now."""
        del params
        if self.continuous:
            return spaces.Box(-1.0, 1.0, (self.num_actions,), jnp.float32)
        return spaces.Discrete(self.num_actions)

    def reset(self, key: PRNGKeyArray, params: PyTree) -> tuple[Array, PyTree]:
        """See `rl.Environment`."""
        observation, state = self.inner.reset(key, params.inner)
        return self.see(flat(observation), params), state

    def step(
        self, key: PRNGKeyArray, state: PyTree, action: Array, params: PyTree
    ) -> tuple[Array, PyTree, Array, Array, Array, dict]:
        """See `rl.Environment`."""
        observation, state, reward, terminated, truncated, info = self.inner.step(
            key, state, self.act(action, params), params.inner
        )
        info = {**info, "final_observation": self.see(flat(info["final_observation"]), params)}
        observation = self.see(flat(observation), params)
        return observation, state, self.pay(reward, params), terminated, truncated, info

    def see(self, observation: Float[Array, " A"], params: PyTree) -> Float[Array, " sensors"]:
        """What becomes of an observation of the inner environment."""
        del params
        return observation

    def act(self, action: Array, params: PyTree) -> Array:
        """The action in the inner environment."""
        del params
        return action

    def pay(self, reward: Array, params: PyTree) -> Array:
        """What becomes of a reward of the inner environment."""
        del params
        return reward


class PadParams(eqx.Module):
    """The parameters of a padded environment: those of the inner one."""

    inner: PyTree


class PermuteParams(eqx.Module):
    """The parameters of a permuted environment.

    - `inner`: those of the inner environment.
    - `sensors`, `actions`: sensor i is what sensor `sensors[i]` was, and action i what
        `actions[i]` was.
    """

    inner: PyTree
    sensors: Int[Array, " A"]
    actions: Int[Array, " B"]


class Permuted(Wrapped):
    def see(self, observation: Float[Array, " A"], params: PermuteParams) -> Float[Array, " A"]:
        return observation[params.sensors]

    def act(self, action: Array, params: PermuteParams) -> Array:
        if self.continuous:
            return jnp.zeros_like(action).at[params.actions].set(action)
        return params.actions[action]

    def permuted(
        self,
        params: PermuteParams,
        sensors: Int[Array | np.ndarray, " A"],
        actions: Int[Array | np.ndarray, " B"],
    ) -> PermuteParams:
        """The parameters of the task with its sensors and actions in yet another order."""
        return PermuteParams(params.inner, params.sensors[sensors], params.actions[actions])


class ProjectParams(eqx.Module):
    """The parameters of a projected environment: those of the inner one, and the projection."""

    inner: PyTree
    matrix: Float[Array, "A P"]


class Projected(Wrapped):
    def see(self, observation: Float[Array, " A"], params: ProjectParams) -> Float[Array, " P"]:
        return observation @ params.matrix.astype(observation.dtype)


class SwapParams(eqx.Module):
    """The parameters of an environment with swapped rewards: the inner ones, and whether."""

    inner: PyTree
    swapped: Bool[Array, ""]


class Swapped(Wrapped):
    def pay(self, reward: Array, params: SwapParams) -> Array:
        return jnp.where(params.swapped, -reward, reward)


class DelayParams(eqx.Module):
    """The parameters of an environment that pays late: the inner ones, and the steps it takes."""

    inner: PyTree
    delay: Int[Array, ""]


@dataclass(frozen=True)
class Delayed(Wrapped):
    """Its state is that of the inner one, and the last rewards, the newest first."""

    longest: int

    def reset(self, key: PRNGKeyArray, params: DelayParams) -> tuple[Array, PyTree]:
        observation, state = super().reset(key, params)
        return observation, (state, jnp.zeros(self.longest))

    def step(
        self, key: PRNGKeyArray, state: PyTree, action: Array, params: DelayParams
    ) -> tuple[Array, PyTree, Array, Array, Array, dict]:
        inner, earned = state
        observation, inner, reward, terminated, truncated, info = super().step(
            key, inner, action, params
        )
        earned = jnp.concatenate([jnp.asarray(reward, earned.dtype)[None], earned])
        paid = earned[params.delay]
        return observation, (inner, earned[:-1]), paid, terminated, truncated, info


class WithholdParams(eqx.Module):
    """The parameters of an environment that stops to pay: the inner ones, and the step it does."""

    inner: PyTree
    after: Int[Array, ""]


class Withheld(Wrapped):
    """Its state is that of the inner one, and the steps so far."""

    def reset(self, key: PRNGKeyArray, params: WithholdParams) -> tuple[Array, PyTree]:
        observation, state = super().reset(key, params)
        return observation, (state, jnp.asarray(0, jnp.int32))

    def step(
        self, key: PRNGKeyArray, state: PyTree, action: Array, params: WithholdParams
    ) -> tuple[Array, PyTree, Array, Array, Array, dict]:
        inner, steps = state
        observation, inner, reward, terminated, truncated, info = super().step(
            key, inner, action, params
        )
        reward = jnp.where(steps < params.after, reward, 0.0)
        return observation, (inner, steps + 1), reward, terminated, truncated, info


@dataclass(frozen=True)
class Padded(Wrapped):
    real_actions: int

    def see(self, observation: Float[Array, " A"], params: PadParams) -> Float[Array, " sensors"]:
        return jnp.pad(observation, (0, self.observation_size - observation.shape[0]))

    def act(self, action: Array, params: PadParams) -> Array:
        return action[: self.real_actions] if self.continuous else action % self.real_actions


class DistractParams(eqx.Module):
    """The parameters of an environment with sensors that tell nothing.

    - `inner`: those of the inner environment.
    - `std`: the standard deviation of each added sensor; 0 where it is idle or missing.
    """

    inner: PyTree
    std: Float[Array, " D"]


class Distracted(Wrapped):
    def reset(self, key: PRNGKeyArray, params: DistractParams) -> tuple[Array, PyTree]:
        inner_key, noise_key = jr.split(key)
        observation, state = super().reset(inner_key, params)
        return _with_noise(observation, params.std, noise_key), state

    def step(
        self, key: PRNGKeyArray, state: PyTree, action: Array, params: DistractParams
    ) -> tuple[Array, PyTree, Array, Array, Array, dict]:
        inner_key, *noise_keys = jr.split(key, 3)
        observation, state, reward, terminated, truncated, info = super().step(
            inner_key, state, action, params
        )
        final = _with_noise(info["final_observation"], params.std, noise_keys[0])
        observation = _with_noise(observation, params.std, noise_keys[1])
        # What is seen after a step is one thing, unless the step ended an episode.
        observation = jnp.where(terminated | truncated, observation, final)
        info = {**info, "final_observation": final}
        return observation, state, reward, terminated, truncated, info


def _with_noise(
    observation: Float[Array, " A"], std: Float[Array, " D"], key: PRNGKeyArray
) -> Float[Array, " sensors"]:
    noise = std.astype(observation.dtype) * jr.normal(key, std.shape, observation.dtype)
    return jnp.concatenate([observation, noise])
