"""A point that goes to a goal, in a box of any number of dimensions."""

import math
from typing import Any

import jax.numpy as jnp
import jax.random as jr
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ._control import ControlReward, definite
from ._reaching import Reaching


@struct.dataclass
class PointRobotState(environment.EnvState):
    """An episode of a point.

    - `time`: environment steps of this episode.
    - `position`, `goal`: in the box, whose sides go from -1 to 1.
    """

    time: PyTree
    position: PyTree
    goal: PyTree


@struct.dataclass
class PointRobotParams(environment.EnvParams):
    """The parameters of a point.

    - `speed`: how far it goes in an environment step, at most, in each dimension.
    - `max_steps_in_episode`: environment steps after which the episode is truncated.
    """

    speed: PyTree = 0.1
    max_steps_in_episode: PyTree = 100


class PointRobot(Reaching[PointRobotState, PointRobotParams]):
    """Bring a point to a goal, and keep it there; continuous actions, one a dimension.

    The point of Finn et al. 2017 (arXiv:1703.03400, section 5.3), with any number `n` of dimensions
    and a goal that is seen: the actions are its velocities. It stays in the box whose sides go from
    -1 to 1; where it starts and where the goal is, is drawn from that box in each episode. The
    observation has the position and the goal: `2 n` numbers. An episode ends by time alone, where
    theirs ends at the goal, too, starts in the middle and has goals in the inner half.

    With the distance `d` from the goal, the rewards are

    - `"dense"`: `1 - d / sqrt(n)`, from -1 to 1.
    - `"sparse"`: 1 within `0.1 sqrt(n)`, 0 elsewhere.
    - `"gym"`: that of the paper, `-d^2`.

    The metric `reached` is 1 in steps that end within `0.1 sqrt(n)`.
    """

    def __init__(self, reward: ControlReward = "dense", *, dimensions: int = 2):
        """**Arguments:**

        - `reward`: the kind of reward.
        - `dimensions`: `n`, how many.

        **Raises:** `ValueError` for an unknown kind, or no dimension.
        """
        super().__init__(reward)
        if dimensions < 1:
            raise ValueError(f"`dimensions` must be at least 1, got {dimensions}.")
        self.dimensions = dimensions

    @property
    def name(self) -> str:
        """Its name in gymnax's manner."""
        return "PointRobot"

    @property
    def num_actions(self) -> int:
        """One for each dimension."""
        return self.dimensions

    @property
    def default_params(self) -> PointRobotParams:
        """The paper's: a tenth of half a side, 100 steps."""
        return definite(PointRobotParams())

    @property
    def observation_scale(self) -> tuple[float, ...]:
        """None: all are between -1 and 1."""
        return (1.0,) * (2 * self.dimensions)

    def raw_observation(self, state: PointRobotState) -> Float[Array, " A"]:
        """The position and the goal."""
        return jnp.concatenate([state.position, state.goal])

    def observation_space(self, params: PointRobotParams | None = None) -> spaces.Box:
        """Numbers from -1 to 1."""
        del params
        return spaces.Box(-1.0, 1.0, (2 * self.dimensions,), jnp.float32)

    def action_space(self, params: PointRobotParams | None = None) -> spaces.Box:
        """A velocity in [-1, 1] for each dimension, in units of `speed`."""
        del params
        return spaces.Box(-1.0, 1.0, (self.dimensions,), jnp.float32)

    def reset_env(
        self, key: PRNGKeyArray, params: PointRobotParams
    ) -> tuple[Array, PointRobotState]:
        """Start an episode, anywhere, with a goal anywhere."""
        del params
        position, goal = jr.uniform(key, (2, self.dimensions), minval=-1.0, maxval=1.0)
        state = PointRobotState(time=jnp.asarray(0, jnp.int32), position=position, goal=goal)
        return self.get_obs(state), state

    def simulated(
        self,
        key: PRNGKeyArray,
        state: PointRobotState,
        action: Array,
        params: PointRobotParams,
    ) -> PointRobotState:
        """The state that velocities lead to."""
        del key
        moved: Any = state.position + params.speed * jnp.clip(
            action.astype(state.position.dtype), -1.0, 1.0
        )
        return PointRobotState(
            time=state.time + 1, position=jnp.clip(moved, -1.0, 1.0), goal=state.goal
        )

    @property
    def reach(self) -> float:
        """Half a diagonal of the box."""
        return math.sqrt(self.dimensions)

    def distance(self, observation: Float[Array, " A"]) -> Float[Array, ""]:
        """Of the point from the goal."""
        position, goal = jnp.split(observation, 2)
        return jnp.sqrt(((position - goal) ** 2).sum())

    def original_reward(self, distance: Float[Array, ""]) -> Float[Array, ""]:
        """That of the paper."""
        return -(distance**2)
