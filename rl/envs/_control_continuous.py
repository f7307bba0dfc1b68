"""Classic control with continuous actions, made fit for lives."""

import dataclasses
import math

import jax.numpy as jnp
from gymnax.environments import environment, spaces
from gymnax.environments.classic_control import continuous_mountain_car, pendulum
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ._control import Control, ControlReward, climbed, hill

_UPRIGHT = math.cos(math.radians(15.0))


class _Continuous(Control[environment.TEnvState, environment.TEnvParams]):
    """What those with continuous actions have in common."""

    def action_space(self, params: environment.TEnvParams | None = None) -> spaces.Box:
        """One number in [-1, 1]."""
        del params
        return spaces.Box(-1.0, 1.0, (1,), jnp.float32)


class Pendulum(
    _Continuous[pendulum.EnvState, pendulum.EnvParams],
    pendulum.Pendulum,
):
    """Swing a pendulum up and hold it there.

    The action is one number in [-1, 1], a torque in units of `max_torque`, 2 by default. With
    Gymnasium's cost `c = a^2 + 0.1 w^2 + 0.001 u^2` of the angle `a`, the angular velocity `w` and
    the torque `u`, and the greatest cost `C` (16.27), the rewards are

    - `"dense"`: `1 - 2 c/C`, from -1 to 1.
    - `"sparse"`: 1 within 15 degrees of upright, 0 elsewhere.
    - `"gym"`: `-c`.

    The metric `upright` is 1 in steps that end within 15 degrees of upright: its mean over a life
    is the share of such steps.
    """

    observation_shift = (0.0, 0.0, 0.0)
    observation_scale = (1.0, 1.0, 4.0)
    metrics = ("upright",)

    def __init__(self, reward: ControlReward = "dense"):
        """**Arguments:**

        - `reward`: the kind of reward.

        **Raises:** `ValueError` for an unknown kind.
        """
        super().__init__(reward)

    def skill_reward(
        self,
        previous: Float[Array, " A"],
        observation: Float[Array, " A"],
        action: Array,
        terminated: Bool[Array, ""],
        params: PyTree = None,
    ) -> Float[Array, ""]:
        """The reward of a step."""
        if self.reward == "sparse":
            return self.measured(observation, terminated)["upright"]
        params = self.default_params if params is None else params
        angle = jnp.arctan2(previous[1], previous[0])
        torque = params.max_torque * jnp.clip(_number(action, observation), -1.0, 1.0)
        cost = angle**2 + 0.1 * previous[2] ** 2 + 0.001 * torque**2
        if self.reward == "gym":
            return -cost
        greatest = math.pi**2 + 0.1 * params.max_speed**2 + 0.001 * params.max_torque**2
        return 1.0 - 2.0 * cost / greatest

    def measured(
        self, observation: Float[Array, " A"], terminated: Bool[Array, ""]
    ) -> dict[str, Float[Array, ""]]:
        """Whether the pendulum is upright."""
        del terminated
        return {"upright": (observation[0] >= _UPRIGHT).astype(observation.dtype)}

    def simulated(
        self,
        key: PRNGKeyArray,
        state: pendulum.EnvState,
        action: Array,
        params: pendulum.EnvParams,
    ) -> pendulum.EnvState:
        """The state that a torque leads to."""
        torque = params.max_torque * _number(action, state.theta)
        return super().simulated(key, state, torque, params)


class MountainCarContinuous(
    _Continuous[continuous_mountain_car.EnvState, continuous_mountain_car.EnvParams],
    continuous_mountain_car.ContinuousMountainCar,
):
    """Drive a weak car out of a valley with as little force as it takes.

    The action is one number in [-1, 1], the force in units of `max_action`, 1 by default. A
    force `u` costs in proportion to what a climb pays, as in Gymnasium. The rewards are

    - `"dense"`: that of `MountainCar`, in which a climb pays 10, less `0.01 u^2`.
    - `"sparse"`: 0, and 1 at the goal, less `0.001 u^2`.
    - `"gym"`: 0, and 100 at the goal, less `0.1 u^2`.

    The metric `successes` counts the arrivals. At the left wall the car stops, as in Gymnasium; in
    gymnax it keeps its velocity.
    """

    observation_shift = (-0.3, 0.0)
    observation_scale = (0.9, 0.04)
    metrics = ("successes",)

    def __init__(self, reward: ControlReward = "dense"):
        """**Arguments:**

        - `reward`: the kind of reward.

        **Raises:** `ValueError` for an unknown kind.
        """
        super().__init__(reward)

    def skill_reward(
        self,
        previous: Float[Array, " A"],
        observation: Float[Array, " A"],
        action: Array,
        terminated: Bool[Array, ""],
        params: PyTree = None,
    ) -> Float[Array, ""]:
        """The reward of a step."""
        params = self.default_params if params is None else params
        success = terminated.astype(observation.dtype)
        cost = 0.1 * (params.max_action * _number(action, observation)) ** 2
        if self.reward == "dense":
            gain = climbed(hill(previous, params), hill(observation, params), success)
            return gain - cost / 10.0
        return success - cost / 100.0 if self.reward == "sparse" else 100.0 * success - cost

    def simulated(
        self,
        key: PRNGKeyArray,
        state: continuous_mountain_car.EnvState,
        action: Array,
        params: continuous_mountain_car.EnvParams,
    ) -> continuous_mountain_car.EnvState:
        """The state that a force leads to."""
        force = params.max_action * _number(action, state.position)
        # gymnax stops a car that moves left beyond the goal, instead of one at the left wall.
        endless = dataclasses.replace(params, goal_position=jnp.full_like(force, jnp.inf))
        state = super().simulated(key, state, force, endless)
        stopped = (state.position <= params.min_position) & (state.velocity < 0.0)
        return dataclasses.replace(state, velocity=jnp.where(stopped, 0.0, state.velocity))


def _number(action: Array, like: Array) -> Float[Array, ""]:
    """An action of shape `[1]` or `[]` as one number."""
    return action.reshape(()).astype(like.dtype)
