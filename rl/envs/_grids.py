"""Grid worlds: hearts and traps, and a goal among obstacles (figures 6 and 7 of SymLA)."""

import abc
import dataclasses
from typing import Literal, get_args

import jax.numpy as jnp
import jax.random as jr
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

GridObservation = Literal["image", "compass"]
# Up, down, left and right, as (row, column) from the top left corner.
_MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))


class _Grid(environment.Environment):
    """A square grid with an agent that goes up, down, left or right; walls stop it.

    Grids of one class with equal arguments are equal, so that JAX compiles for one of them only.
    """

    metrics: tuple[str, ...]
    permuted = None
    """No parameter gives a grid's sensors and actions another order; `Permute` does."""

    def __init__(self, size: int, things: int, observation: GridObservation):
        super().__init__()
        if observation not in get_args(GridObservation):
            raise ValueError(
                f"`observation` must be one of {', '.join(get_args(GridObservation))}; got "
                f"{observation!r}."
            )
        if size < 2:
            raise ValueError(f"`size` must be at least 2, got {size}: the agent needs room.")
        if things > size**2:
            raise ValueError(
                f"{things} things, the agent among them, do not fit into the {size**2} cells of a "
                f"grid of `size` {size}: take a larger grid or fewer things."
            )
        self.size, self.observation = size, observation

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), tuple(sorted(vars(self).items()))))

    @abc.abstractmethod
    def look(self, state: PyTree) -> Float[Array, " A"]:
        """The observation of a state."""

    @property
    def name(self) -> str:
        """The name of the environment."""
        return type(self).__name__

    @property
    def num_actions(self) -> int:
        """Four: up, down, left and right."""
        return len(_MOVES)

    def action_space(self, params: PyTree = None) -> spaces.Discrete:
        """Up, down, left and right."""
        del params
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: PyTree = None) -> spaces.Box:
        """Binary numbers: `size * size * 3` of an image, 8 of a compass."""
        del params
        count = 3 * self.size**2 if self.observation == "image" else 8
        return spaces.Box(0.0, 1.0, (count,), jnp.float32)


@struct.dataclass
class HeartTrapState(environment.EnvState):
    """Where everything is, as (row, column) from the top left corner.

    - `time`: environment steps of this episode.
    - `agent`: shape `[2]`.
    - `hearts`, `traps`: shape `[hearts, 2]` and `[traps, 2]`.
    """

    time: PyTree
    agent: PyTree
    hearts: PyTree
    traps: PyTree


@struct.dataclass
class HeartTrapParams(environment.EnvParams):
    """The parameters of a world of hearts and traps.

    - `heart_reward`, `trap_reward`: what collecting one pays.
    - `max_steps_in_episode`: environment steps after which the episode is truncated.
    """

    heart_reward: PyTree = 1.0
    trap_reward: PyTree = -1.0
    max_steps_in_episode: PyTree = 20


class HeartTrap(_Grid):
    """A grid with hearts, which pay +1, and traps, which pay -1 (figure 6 of SymLA).

    The agent and all objects lie on different cells, drawn anew for each episode. Whoever
    collects an object, of either type, ends the episode; nothing else pays. So exchanging the two
    rewards is the same as exchanging the two types.

    The observation is an `"image"` of `size x size x 3` binary numbers, flattened in this order;
    the channels are the agent, the hearts and the traps. Or, for small machines, a `"compass"` of
    8 binary numbers: whether the nearest heart lies above, below, left and right of the agent, and
    the nearest trap likewise. An object may lie above and left; the nearest is the one of fewest
    steps, and the first of equals. The paper has the image.

    Actions are up, down, left and right. `info["hearts"]` and `info["traps"]` count what was
    collected.
    """

    metrics = ("hearts", "traps")

    def __init__(
        self, size: int = 5, hearts: int = 1, traps: int = 1, observation: GridObservation = "image"
    ):
        """**Arguments:**

        - `size`: cells along one side.
        - `hearts`, `traps`: how many of them; there may be none of one type.
        - `observation`: `"image"` or `"compass"`.

        **Raises:** `ValueError` for no objects, more than fit, or an unknown observation.
        """
        super().__init__(size, 1 + hearts + traps, observation)
        if min(hearts, traps) < 0 or hearts + traps < 1:
            raise ValueError(
                "`hearts` and `traps` must be at least 0 and not both 0, got "
                f"{hearts} and {traps}: there must be something to collect."
            )
        self.hearts, self.traps = hearts, traps

    @property
    def default_params(self) -> HeartTrapParams:
        """+1 and -1; an episode has time for four walks along one side."""
        return HeartTrapParams(max_steps_in_episode=4 * self.size)

    def step_env(
        self,
        key: PRNGKeyArray,
        state: HeartTrapState,
        action: int | float | Array,
        params: HeartTrapParams,
    ) -> tuple[Array, HeartTrapState, Array, Array, dict]:
        """Go one cell, and collect what lies there."""
        del key
        agent = _moved(state.agent, action, self.size)
        state = dataclasses.replace(state, time=state.time + 1, agent=agent)
        heart, trap = _lies_at(state.hearts, agent), _lies_at(state.traps, agent)
        reward = jnp.where(heart, params.heart_reward, jnp.where(trap, params.trap_reward, 0.0))
        info = {
            "hearts": heart.astype(jnp.float32),
            "traps": trap.astype(jnp.float32),
            "discount": 1.0 - (heart | trap).astype(jnp.float32),
        }
        return self.look(state), state, jnp.asarray(reward, jnp.float32), heart | trap, info

    def reset_env(self, key: PRNGKeyArray, params: HeartTrapParams) -> tuple[Array, HeartTrapState]:
        """Lay out everything anew."""
        del params
        cells = _drawn(key, self.size, 1 + self.hearts + self.traps)
        state = HeartTrapState(
            time=jnp.asarray(0, jnp.int32),
            agent=cells[0],
            hearts=cells[1 : 1 + self.hearts],
            traps=cells[1 + self.hearts :],
        )
        return self.look(state), state

    def look(self, state: HeartTrapState) -> Float[Array, " A"]:
        """The observation of a state."""
        if self.observation == "image":
            return _image(self.size, state.agent[None], state.hearts, state.traps)
        nearest = [_nearest(objects, state.agent) for objects in (state.hearts, state.traps)]
        return jnp.concatenate([_bearing(state.agent, x) for x in nearest])

    def is_terminated(self, state: HeartTrapState, params: HeartTrapParams) -> Array:
        """Whether an object has been collected."""
        del params
        return _lies_at(state.hearts, state.agent) | _lies_at(state.traps, state.agent)


@struct.dataclass
class GoalWorldState(environment.EnvState):
    """Where everything is, as (row, column) from the top left corner.

    - `time`: environment steps of this episode.
    - `agent`, `target`: shape `[2]`.
    - `obstacles`: shape `[obstacles, 2]`.
    """

    time: PyTree
    agent: PyTree
    target: PyTree
    obstacles: PyTree


@struct.dataclass
class GoalWorldParams(environment.EnvParams):
    """The parameters of a world with a goal.

    - `step_reward`: what each step of distance gained pays.
    - `max_steps_in_episode`: environment steps after which the episode is truncated.
    """

    step_reward: PyTree = 1.0
    max_steps_in_episode: PyTree = 20


class GoalWorld(_Grid):
    """A grid with a target among obstacles and a dense reward (figure 7 of SymLA).

    A step pays by how much it brings the agent nearer to the target: +1 for a step towards it, -1
    for a step away, 0 where a wall or an obstacle stops it. So an episode pays the distance
    gained, however long the way. Distances are in steps up, down, left and right (Manhattan), as
    if there were no obstacles.

    The agent, the target and the obstacles lie on different cells, drawn anew for each episode.
    Reaching the target ends the episode. Obstacles may shut a target in; then the distance still
    pays and the episode ends by its time limit.

    The observation is an `"image"` of `size x size x 3` binary numbers, flattened in this order;
    the channels are the agent, the obstacles and the target. Or, for small machines, a `"compass"`
    of 8 binary numbers: whether the target lies above, below, left and right of the agent, and
    whether a wall or an obstacle stops a step up, down, left and right. The paper has the image.

    Actions are up, down, left and right. `info["goals"]` counts targets reached.
    """

    metrics = ("goals",)

    def __init__(self, size: int = 5, obstacles: int = 3, observation: GridObservation = "image"):
        """**Arguments:**

        - `size`: cells along one side.
        - `obstacles`: how many.
        - `observation`: `"image"` or `"compass"`.

        **Raises:** `ValueError` for a negative number of obstacles, more than fit, or an unknown
        observation.
        """
        super().__init__(size, 2 + obstacles, observation)
        if obstacles < 0:
            raise ValueError(f"`obstacles` must be at least 0, got {obstacles}.")
        self.obstacles = obstacles

    @property
    def default_params(self) -> GoalWorldParams:
        """+1 for a step nearer; an episode has time for four walks along one side."""
        return GoalWorldParams(max_steps_in_episode=4 * self.size)

    def step_env(
        self,
        key: PRNGKeyArray,
        state: GoalWorldState,
        action: int | float | Array,
        params: GoalWorldParams,
    ) -> tuple[Array, GoalWorldState, Array, Array, dict]:
        """Go one cell, unless something is in the way."""
        del key
        agent = _moved(state.agent, action, self.size)
        agent = jnp.where(_lies_at(state.obstacles, agent), state.agent, agent)
        gained = _distance(state.agent, state.target) - _distance(agent, state.target)
        state = dataclasses.replace(state, time=state.time + 1, agent=agent)
        reached = self.is_terminated(state, params)
        goals = reached.astype(jnp.float32)
        reward = jnp.asarray(params.step_reward, jnp.float32) * gained.astype(jnp.float32)
        return self.look(state), state, reward, reached, {"goals": goals, "discount": 1.0 - goals}

    def reset_env(self, key: PRNGKeyArray, params: GoalWorldParams) -> tuple[Array, GoalWorldState]:
        """Lay out everything anew."""
        del params
        cells = _drawn(key, self.size, 2 + self.obstacles)
        state = GoalWorldState(
            time=jnp.asarray(0, jnp.int32), agent=cells[0], target=cells[1], obstacles=cells[2:]
        )
        return self.look(state), state

    def look(self, state: GoalWorldState) -> Float[Array, " A"]:
        """The observation of a state."""
        if self.observation == "image":
            return _image(self.size, state.agent[None], state.obstacles, state.target[None])
        stopped = []
        for action in range(self.num_actions):
            there = _moved(state.agent, action, self.size)
            stopped.append(_lies_at(state.obstacles, there) | (there == state.agent).all())
        bearing = _bearing(state.agent, state.target)
        return jnp.concatenate([bearing, jnp.stack(stopped).astype(jnp.float32)])

    def is_terminated(self, state: GoalWorldState, params: GoalWorldParams) -> Array:
        """Whether the target has been reached."""
        del params
        return (state.agent == state.target).all()


def _drawn(key: PRNGKeyArray, size: int, count: int) -> Int[Array, "count 2"]:
    """Different cells, every choice of them equally likely."""
    left = size**2 - jnp.arange(count)
    cells = jr.randint(key, (count,), 0, left)  # each among the cells that are left
    for k in reversed(range(count - 1)):
        later = jnp.arange(count) > k
        cells = cells + (later & (cells >= cells[k])).astype(cells.dtype)
    return jnp.stack([cells // size, cells % size], axis=1)


def _moved(agent: Int[Array, " 2"], action: int | float | Array, size: int) -> Int[Array, " 2"]:
    """One cell further, or the same at a wall."""
    step = jnp.asarray(_MOVES, agent.dtype)[jnp.asarray(action)]
    return jnp.clip(agent + step, 0, size - 1)


def _lies_at(objects: Int[Array, "n 2"], cell: Int[Array, " 2"]) -> Bool[Array, ""]:
    """Whether any object lies on the cell."""
    return (objects == cell[None]).all(axis=1).any()


def _distance(one: Int[Array, "... 2"], other: Int[Array, "... 2"]) -> Int[Array, "..."]:
    """Steps up, down, left or right from one cell to the other."""
    return jnp.abs(one - other).sum(axis=-1)


def _nearest(objects: Int[Array, "n 2"], agent: Int[Array, " 2"]) -> Int[Array, " 2"]:
    """The nearest object, or where the agent is if there is none."""
    if objects.shape[0] == 0:
        return agent
    return objects[_distance(objects, agent[None]).argmin()]


def _bearing(agent: Int[Array, " 2"], cell: Int[Array, " 2"]) -> Float[Array, " 4"]:
    """Whether the cell lies above, below, left and right of the agent."""
    (row, column), (own_row, own_column) = cell, agent
    return jnp.stack(
        [row < own_row, row > own_row, column < own_column, column > own_column]
    ).astype(jnp.float32)


def _image(size: int, *channels: Int[Array, "_n 2"]) -> Float[Array, " A"]:
    """A binary channel for each list of cells, `[size, size, channels]` flattened."""
    cells = jnp.arange(size**2)
    planes = [((cells[:, None] == (size * x[:, 0] + x[:, 1])[None]).any(axis=1)) for x in channels]
    return jnp.stack(planes, axis=1).astype(jnp.float32).reshape(-1)
