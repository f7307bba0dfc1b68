"""Classic control with discrete actions, made fit for lives: rewards whose sum measures skill."""

import dataclasses
import math
from typing import ClassVar, Literal, get_args

import jax
import jax.numpy as jnp
from gymnax.environments import environment, spaces
from gymnax.environments.classic_control import acrobot, cartpole, mountain_car
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

CartPoleReward = Literal["dense", "sparse", "upright", "gym"]
ControlReward = Literal["dense", "sparse", "gym"]

_GRAVITY = 9.8  # of the acrobot, where it is no parameter


class Control(environment.Environment[environment.TEnvState, environment.TEnvParams]):
    """What the environments of classic control have in common.

    The dynamics are those of gymnax. Observations are shifted and divided by constants, so that
    their usual values are about 1, and the reward is one of several kinds. Environments of the
    same class with the same reward are equal, so that nothing is compiled twice.

    - `observation_shift`, `observation_scale`: the constants.
    - `metrics`: the names of the scalars in `info` that a lifetime can sum up.
    - `kinds`: the kinds of reward.
    - `derived`: parameters that follow from others, and cannot be set.
    - `permuted`: `None`. No order of the sensors and actions but its own is among the parameters.
    """

    observation_shift: ClassVar[tuple[float, ...]]
    observation_scale: ClassVar[tuple[float, ...]]
    metrics: ClassVar[tuple[str, ...]]
    derived: ClassVar[tuple[str, ...]] = ()
    kinds: ClassVar[tuple[str, ...]] = get_args(ControlReward)
    permuted: ClassVar[None] = None

    def __init__(self, reward: str = "dense"):
        super().__init__()
        if reward not in self.kinds:
            raise ValueError(f"`reward` must be one of {', '.join(self.kinds)}; got {reward!r}.")
        self.reward = reward

    def skill_reward(
        self,
        previous: Float[Array, " A"],
        observation: Float[Array, " A"],
        action: Array,
        terminated: Bool[Array, ""],
        params: PyTree = None,
    ) -> Float[Array, ""]:
        """The reward of a step, from what the original environment shows before and after it.

        **Arguments:**

        - `previous`, `observation`: before and after the step (and before any reset), neither
            shifted nor scaled.
        - `action`: as a learner gives it; continuous ones in [-1, 1].
        - `terminated`: whether the step ended the episode.
        - `params`: of the environment; the default ones by default.
        """
        raise NotImplementedError

    def measured(
        self, observation: Float[Array, " A"], terminated: Bool[Array, ""]
    ) -> dict[str, Float[Array, ""]]:
        """The metrics of a step, from the observation after it, neither shifted nor scaled."""
        return {name: terminated.astype(observation.dtype) for name in self.metrics}

    def normalised(self, observation: Float[Array, " A"]) -> Float[Array, " A"]:
        """What a learner sees of an observation of the original environment."""
        dtype = observation.dtype
        shift = jnp.asarray(self.observation_shift, dtype)
        return (observation - shift) / jnp.asarray(self.observation_scale, dtype)

    def raw_observation(self, state: environment.TEnvState) -> Float[Array, " A"]:
        """What the original environment shows."""
        return super().get_obs(state)

    def get_obs(
        self,
        state: environment.TEnvState,
        params: environment.TEnvParams | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, " A"]:
        """What a learner sees of a state."""
        del params, key
        return self.normalised(self.raw_observation(state))

    @property
    def default_params(self) -> environment.TEnvParams:
        """Those of the original environment, as arrays."""
        return definite(super().default_params)

    def simulated(
        self,
        key: PRNGKeyArray,
        state: environment.TEnvState,
        action: Array,
        params: environment.TEnvParams,
    ) -> environment.TEnvState:
        """The state that an action leads to."""
        with jax.numpy_dtype_promotion("standard"):  # gymnax mixes whole numbers and fractions
            return definite(super().step_env(key, state, action, params)[1])

    def step_env(
        self,
        key: PRNGKeyArray,
        state: environment.TEnvState,
        action: int | float | Array,
        params: environment.TEnvParams,
    ) -> tuple[Array, environment.TEnvState, Array, Array, dict]:
        """Take one step."""
        action = jnp.asarray(action)
        previous = self.raw_observation(state)
        state = self.simulated(key, state, action, params)
        observation = self.raw_observation(state)
        terminated = self.is_terminated(state, params)
        reward = self.skill_reward(previous, observation, action, terminated, params)
        info = {
            **self.measured(observation, terminated),
            "discount": 1.0 - terminated.astype(observation.dtype),
        }
        return self.normalised(observation), state, reward, terminated, info

    def reset_env(
        self, key: PRNGKeyArray, params: environment.TEnvParams
    ) -> tuple[Array, environment.TEnvState]:
        """Start an episode."""
        observation, state = super().reset_env(key, params)
        return observation, definite(state)

    def observation_space(self, params: environment.TEnvParams | None = None) -> spaces.Box:
        """The space of the original environment, shifted and scaled."""
        space = super().observation_space(self.default_params if params is None else params)
        return spaces.Box(
            self.normalised(space.low), self.normalised(space.high), space.shape, space.dtype
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reward={self.reward!r})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), self.reward))


class CartPole(
    Control[cartpole.EnvState, cartpole.EnvParams],
    cartpole.CartPole,
):
    """Balance a pole on a cart by pushing it left or right.

    With angle `a`, position `x` and their limits `A` (12 degrees) and `X` (2.4), the rewards are

    - `"dense"`: `2 (1 - |a|/A) (1 - |x|/X) - 1`, and -2 for a fall.
    - `"sparse"`: 0, and -1 for a fall.
    - `"upright"`: that of dm_control (arXiv:1801.00690): upright x centred x slow, where upright is
        `(1 + cos(pi a/A)) / 2`, centred `(1 + 0.1^((x/2)^2)) / 2` and slow
        `(1 + 0.1^((w/5)^2)) / 2` with the angular velocity `w`; 0 for a fall. There the pole may
        hang, here the episode ends at `A`: so that the angle is stretched. The factor for small
        forces is left out: both actions push equally hard.
    - `"gym"`: 1. Over a life with resets it sums up to the same for everyone.

    The metric `falls` counts the falls. The parameters `total_mass` and `polemass_length` follow
    from `masscart`, `masspole` and `length`.
    """

    observation_shift = (0.0, 0.0, 0.0, 0.0)
    observation_scale = (2.4, 2.0, 0.2, 2.0)
    metrics = ("falls",)
    derived = ("total_mass", "polemass_length")
    kinds = get_args(CartPoleReward)

    def __init__(self, reward: CartPoleReward = "dense"):
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
        del previous, action
        params = self.default_params if params is None else params
        position, _, angle, angular_velocity = observation
        tilt = angle / params.theta_threshold_radians
        if self.reward == "dense":
            standing = (1.0 - jnp.abs(tilt)) * (1.0 - jnp.abs(position) / params.x_threshold)
            return jnp.where(terminated, -2.0, 2.0 * standing - 1.0)
        if self.reward == "sparse":
            return -terminated.astype(observation.dtype)
        if self.reward == "upright":
            upright = (1.0 + jnp.cos(math.pi * tilt)) / 2.0
            centred = (1.0 + 0.1 ** ((position / 2.0) ** 2)) / 2.0
            slow = (1.0 + 0.1 ** ((angular_velocity / 5.0) ** 2)) / 2.0
            return jnp.where(terminated, 0.0, upright * centred * slow)
        return jnp.ones_like(position)

    def simulated(
        self,
        key: PRNGKeyArray,
        state: cartpole.EnvState,
        action: Array,
        params: cartpole.EnvParams,
    ) -> cartpole.EnvState:
        """The state that a push leads to."""
        params = dataclasses.replace(
            params,
            total_mass=params.masscart + params.masspole,
            polemass_length=params.masspole * params.length,
        )
        return super().simulated(key, state, action, params)


class Acrobot(
    Control[acrobot.EnvState, acrobot.EnvParams],
    acrobot.Acrobot,
):
    """Swing the tip of a double pendulum over a line, with a motor at its elbow.

    The rewards are

    - `"dense"`: 9 times the mechanical energy that the step has added, as a share of what it takes
        to raise the tip to the line, and 1 more for a success. Energy beyond that does not count.
        Within an episode the gains add up to the difference of two energies: swinging to and fro
        earns nothing, and neither does swinging high without a success.
    - `"sparse"`: 0, and 1 for a success.
    - `"gym"`: -1, and 0 for a success.

    The metric `successes` counts the successes.
    """

    observation_shift = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    observation_scale = (1.0, 1.0, 1.0, 1.0, 2.0, 4.0)
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
        del action
        success = terminated.astype(observation.dtype)
        if self.reward == "dense":
            params = self.default_params if params is None else params
            return climbed(_swing(previous, params), _swing(observation, params), success)
        return success if self.reward == "sparse" else success - 1.0


def _swing(observation: Float[Array, " 6"], params: PyTree) -> Float[Array, ""]:
    """The energy of an acrobot: 0 for hanging still, 1 for the least with the tip on the line."""
    cos_1, sin_1, cos_2, sin_2, velocity_1, velocity_2 = observation
    mass, length, centre = params.link_mass_2, params.link_length_1, params.link_com_pos_2
    both = mass * (centre**2 + length * centre * cos_2) + params.link_moi
    lower = mass * centre**2 + params.link_moi
    upper = (
        params.link_mass_1 * params.link_com_pos_1**2
        + mass * (length**2 + centre**2 + 2.0 * length * centre * cos_2)
        + 2.0 * params.link_moi
    )
    kinetic = (
        upper * velocity_1**2 / 2.0 + both * velocity_1 * velocity_2 + lower * velocity_2**2 / 2.0
    )
    weight_1 = _GRAVITY * (params.link_mass_1 * params.link_com_pos_1 + mass * length)
    weight_2 = _GRAVITY * mass * centre
    potential = weight_1 * (1.0 - cos_1) + weight_2 * (1.0 - cos_1 * cos_2 + sin_1 * sin_2)
    return (kinetic + potential) / (weight_1 + weight_2 + jnp.minimum(weight_1, weight_2))


class MountainCar(
    Control[mountain_car.EnvState, mountain_car.EnvParams],
    mountain_car.MountainCar,
):
    """Drive a weak car out of a valley, by swinging.

    The rewards are

    - `"dense"`: 9 times the mechanical energy that the step has added, as a share of what it takes
        to climb from the bottom to the goal, and 1 more at the goal. Energy beyond that does not
        count. Within an episode the gains add up to the difference of two energies, so that
        swinging to and fro earns nothing.
    - `"sparse"`: 0, and 1 at the goal.
    - `"gym"`: -1. Over a life with resets it sums up to the same for everyone.

    The metric `successes` counts the arrivals.
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
        del action
        params = self.default_params if params is None else params
        if self.reward == "gym":
            return jnp.full_like(observation[0], -1.0)
        success = terminated.astype(observation.dtype)
        if self.reward == "sparse":
            return success
        return climbed(hill(previous, params), hill(observation, params), success)


def hill(observation: Float[Array, " 2"], params: PyTree) -> Float[Array, ""]:
    """The energy of a mountain car: 0 for standing at the bottom, 1 for standing at the goal."""
    position, velocity = observation
    # The slope pulls by gravity x cos(3 position).
    height, top = jnp.sin(3.0 * position), jnp.sin(3.0 * params.goal_position)
    return (height + 1.0 + 1.5 * velocity**2 / params.gravity) / (top + 1.0)


def climbed(
    before: Float[Array, ""], after: Float[Array, ""], success: Float[Array, ""]
) -> Float[Array, ""]:
    """The dense reward for climbing, 10 in all, by the energy before and after; 1 is enough."""
    return 9.0 * (jnp.minimum(after, 1.0) - jnp.minimum(before, 1.0)) + success


def definite(tree: PyTree) -> PyTree:
    """Arrays of definite types, so that a step changes none of them."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.asarray(x).dtype), tree)
