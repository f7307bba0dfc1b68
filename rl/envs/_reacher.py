"""An arm that reaches for a target in a plane, with any number of joints."""

import dataclasses
import math

import jax.numpy as jnp
import jax.random as jr
from gymnax.environments import spaces
from gymnax.environments.misc import reacher
from jaxtyping import Array, Float, PRNGKeyArray

from ._control import ControlReward
from ._reaching import Reaching


class Reacher(Reaching[reacher.EnvState, reacher.EnvParams], reacher.Reacher):
    """Bring the tip of an arm to a target, and keep it there; continuous actions, one a joint.

    The dynamics are those of gymnax: links of length 1, each with an angle of its own against the
    ground, torques, no friction. The target lies anywhere within reach, where gymnax draws it from
    a square whose corners are not. The observation has the cosines, the sines and the angular
    velocities of the links, and the target: `3 joints + 2` numbers.

    With the distance `d` of the tip from the target and the number of joints `n`, the rewards are

    - `"dense"`: `1 - d/n`, from -1 to 1.
    - `"sparse"`: 1 within a tenth of the arm's length, 0 elsewhere.
    - `"gym"`: that of gymnax, `exp(-d^2)`.

    The metric `reached` is 1 in steps that end within a tenth of the arm's length.
    """

    def __init__(self, reward: ControlReward = "dense", *, joints: int = 2):
        """**Arguments:**

        - `reward`: the kind of reward.
        - `joints`: `n`, how many.

        **Raises:** `ValueError` for an unknown kind, or no joint.
        """
        super().__init__(reward)
        if joints < 1:
            raise ValueError(f"`joints` must be at least 1, got {joints}.")
        self.num_joints = joints

    @property
    def joints(self) -> int:
        """How many joints there are."""
        return self.num_joints

    @property
    def observation_scale(self) -> tuple[float, ...]:
        """Angular velocities are often about 2, and the target within the length of the arm."""
        return (*[1.0] * (2 * self.joints), *[2.0] * self.joints, *[float(self.joints)] * 2)

    def raw_observation(self, state: reacher.EnvState) -> Float[Array, " A"]:
        """What gymnax shows."""
        parts = (jnp.cos(state.angles), jnp.sin(state.angles), state.angle_vels, state.goal_xy)
        return jnp.concatenate(parts)

    def observation_space(self, params: reacher.EnvParams | None = None) -> spaces.Box:
        """Numbers without bounds."""
        del params
        return spaces.Box(-jnp.inf, jnp.inf, (3 * self.joints + 2,), jnp.float32)

    def action_space(self, params: reacher.EnvParams | None = None) -> spaces.Box:
        """A torque in [-1, 1] for each joint, in units of `torque_scale`."""
        del params
        return spaces.Box(-1.0, 1.0, (self.joints,), jnp.float32)

    def reset_env(
        self, key: PRNGKeyArray, params: reacher.EnvParams
    ) -> tuple[Array, reacher.EnvState]:
        """Start an episode: any posture, slow, and a target within reach."""
        del params
        angle_key, speed_key, goal_key = jr.split(key, 3)
        angles = jr.uniform(angle_key, (self.joints,), minval=-math.pi, maxval=math.pi)
        speeds = jr.uniform(speed_key, (self.joints,), minval=-1.0, maxval=1.0)
        radius, turn = jr.uniform(goal_key, (2,))
        # The root makes all places of the disc equally likely.
        radius, turn = self.joints * jnp.sqrt(radius), 2.0 * math.pi * turn
        goal = radius * jnp.stack([jnp.cos(turn), jnp.sin(turn)])
        state = reacher.EnvState(angles=angles, angle_vels=speeds, goal_xy=goal, time=0)
        state = dataclasses.replace(state, time=jnp.asarray(0, jnp.int32))
        return self.get_obs(state), state

    def simulated(
        self,
        key: PRNGKeyArray,
        state: reacher.EnvState,
        action: Array,
        params: reacher.EnvParams,
    ) -> reacher.EnvState:
        """The state that torques lead to."""
        del key
        torques = params.torque_scale * jnp.clip(action.astype(state.angles.dtype), -1.0, 1.0)
        speeds = state.angle_vels + params.dt * torques
        return reacher.EnvState(
            angles=state.angles + params.dt * speeds,
            angle_vels=speeds,
            goal_xy=state.goal_xy,
            time=state.time + 1,
        )

    @property
    def reach(self) -> float:
        """The length of the arm."""
        return float(self.joints)

    def original_reward(self, distance: Float[Array, ""]) -> Float[Array, ""]:
        """That of gymnax."""
        return jnp.exp(-(distance**2))

    def distance(self, observation: Float[Array, " A"]) -> Float[Array, ""]:
        """Of the tip from the target."""
        cosines, sines, _, goal = jnp.split(
            observation, [self.joints, 2 * self.joints, 3 * self.joints]
        )
        return jnp.hypot(cosines.sum() - goal[0], sines.sum() - goal[1])

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reward={self.reward!r}, joints={self.joints})"

    def __hash__(self) -> int:
        return hash((type(self), self.reward, self.joints))
