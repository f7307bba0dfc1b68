"""Lives in environments of Gymnasium: a loop on the host around one compiled step of a learner."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import equinox as eqx
import gymnasium as gym
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .._learner import Learner, Spaces, TimeStep
from ._control import Acrobot, CartPole, Control, MountainCar
from ._control_continuous import MountainCarContinuous, Pendulum

HostRecord = Literal[
    "rewards", "actions", "observations", "terminated", "truncated", "episode_returns"
]
Scale = ArrayLike | Sequence[float]
Reward = Callable[[np.ndarray, np.ndarray, Any, bool, float], float]

_TWINS = {
    "CartPole-v1": CartPole,
    "Acrobot-v1": Acrobot,
    "MountainCar-v0": MountainCar,
    "Pendulum-v1": Pendulum,
    "MountainCarContinuous-v0": MountainCarContinuous,
}
# Wrappers that change neither observations, nor actions, nor rewards.
_NEUTRAL = {
    "OrderEnforcing",
    "PassiveEnvChecker",
    "RecordEpisodeStatistics",
    "RecordVideo",
    "TimeLimit",
}


@dataclass(frozen=True)
class GymnasiumLife:
    """What came of `L` steps in Gymnasium, as arrays of NumPy. What was not recorded is `None`.

    The names are those of `rl.Life`. What Gymnasium itself calls reward stands beside what the
    learner was told.

    - `total_reward`, `raw_total_reward`: sums of the learner's rewards and of Gymnasium's.
    - `episodes`: how many episodes ended.
    - `learner`: the learned variables at the end.
    - `rewards`, `actions`, `terminated`, `truncated`: of each step.
    - `raw_rewards`: Gymnasium's rewards; kept with `rewards`.
    - `observations`: what the learner acted on at each step.
    - `episode_returns`: the return of the episode that ended with a step, NaN elsewhere.
    - `raw_episode_returns`: the same of Gymnasium's rewards; kept with `episode_returns`.
    """

    total_reward: float
    raw_total_reward: float
    episodes: int
    learner: PyTree
    rewards: Float[np.ndarray, " L"] | None = None
    raw_rewards: Float[np.ndarray, " L"] | None = None
    actions: Int[np.ndarray, " L"] | Float[np.ndarray, "L B"] | None = None
    observations: Float[np.ndarray, "L A"] | None = None
    terminated: Bool[np.ndarray, " L"] | None = None
    truncated: Bool[np.ndarray, " L"] | None = None
    episode_returns: Float[np.ndarray, " L"] | None = None
    raw_episode_returns: Float[np.ndarray, " L"] | None = None


@eqx.filter_jit
def _step(
    learner: Learner, state: PyTree, told: tuple, steps_key: PRNGKeyArray, step: ArrayLike
) -> tuple[PyTree, Array]:
    """One step of a learner with the keys of `rl.lifetime`."""
    learner_key, _ = jr.split(jr.fold_in(steps_key, step))
    return learner.step(state, TimeStep(*map(jnp.asarray, told)), key=learner_key)


@eqx.filter_jit
def _skill_reward(
    twin: Control, previous: ArrayLike, observation: ArrayLike, action: ArrayLike, ended: ArrayLike
) -> Array:
    return twin.skill_reward(*map(jnp.asarray, (previous, observation, action, ended)))


class Gymnasium:
    """An environment of Gymnasium for learners to live in; made by `rl.envs.gymnasium`.

    - `environment`: the environment itself.
    - `spaces`: what a learner has to know of it.
    - `shift`, `scale`: a learner sees `(observation - shift) / scale`.
    """

    environment: gym.Env
    spaces: Spaces
    shift: Float[np.ndarray, " A"]
    scale: Float[np.ndarray, " A"]

    def __init__(
        self,
        environment: gym.Env,
        observation_scale: Scale | None = None,
        reward: str | Reward | None = None,
    ):
        """See `rl.envs.gymnasium`."""
        self.environment = environment
        sensors, space = environment.observation_space, environment.action_space
        if not sensors.is_np_flattenable:
            raise ValueError(
                f"Observations must be a Box, Discrete or made of them, got {sensors}. Wrap the "
                "environment."
            )
        size = gym.spaces.flatdim(sensors)
        twin = _twin_of(environment)
        self._reward, self._twin = reward, None
        kinds = ("gym",) if twin is None else twin.kinds
        if isinstance(reward, str) and reward not in kinds:
            raise ValueError(
                f"`reward` must be a function or one of {', '.join(kinds)} here (others are known "
                f"for {', '.join(_TWINS)} without wrappers); got {reward!r}."
            )
        if twin is not None and reward != "gym" and not callable(reward):
            self._twin = twin() if reward is None else twin(reward)
        self.shift, self.scale = np.zeros(size, np.float32), np.ones(size, np.float32)
        if observation_scale is not None:
            self.scale = _scale(observation_scale, size)
        elif twin is not None:
            self.shift = np.asarray(twin.observation_shift, np.float32)
            self.scale = np.asarray(twin.observation_scale, np.float32)
        self._box = _bounds(space)
        if self._box is None:
            self.spaces = Spaces(size, int(space.n))  # pyright: ignore[reportAttributeAccessIssue]
        else:
            self.spaces = Spaces(size, self._box[0].size, continuous=True)

    def lifetime(
        self,
        learner: Learner,
        steps: int,
        key: PRNGKeyArray,
        record: tuple[HostRecord, ...] = ("rewards", "actions", "episode_returns"),
    ) -> GymnasiumLife:
        """Let a learner live in the environment, from birth.

        As `rl.lifetime`: the learned variables are carried over the ends of episodes, and the
        reward and the observation that ended an episode reach the learner. The same key gives the
        same life: it also seeds the environment.

        **Arguments:**

        - `learner`: any learner.
        - `steps`: `L`, environment steps.
        - `key`: the random key of the whole life.
        - `record`: what to keep of every step.

        **Returns:**

        A `GymnasiumLife`.

        **Raises:** `ValueError` for a length below one or an unknown name in `record`.
        """
        if steps < 1:
            raise ValueError(f"`steps` must be at least 1, got {steps}.")
        unknown = sorted(set(record) - set(get_args(HostRecord)))
        if unknown:
            raise ValueError(
                f"`record` can hold {', '.join(get_args(HostRecord))}; got {', '.join(unknown)}."
            )
        birth_key, steps_key = jr.split(key)
        learner_key, reset_key = jr.split(birth_key)
        state = learner.init(self.spaces, key=learner_key)
        seed = int(jr.randint(reset_key, (), 0, 2**31 - 1))
        raw = self._flat(self.environment.reset(seed=seed)[0])
        nothing = np.zeros(self.spaces.num_actions, np.float32) if self._box else np.int32(-1)
        told = _told(self._seen(raw), nothing, 0.0, False, False, self._seen(raw))
        rows = []
        for step in range(steps):
            observation = told[0]
            state, action = _step(learner, state, told, steps_key, np.int32(step))
            action = np.asarray(action)
            after, raw_reward, *ends, _ = self.environment.step(self._taken(action))
            after, raw_reward = self._flat(after), float(raw_reward)
            terminated, truncated = map(bool, ends)
            reward = self._reward_of(raw, after, action, terminated, raw_reward)
            rows.append((reward, raw_reward, action, observation, terminated, truncated))
            raw = self._flat(self.environment.reset()[0]) if terminated or truncated else after
            told = _told(self._seen(raw), action, reward, terminated, truncated, self._seen(after))
        rewards, raw_rewards, actions, observations, *ends = map(
            np.asarray, zip(*rows, strict=True)
        )
        ended = ends[0] | ends[1]
        kept = {
            "rewards": {"rewards": rewards, "raw_rewards": raw_rewards},
            "actions": {"actions": actions},
            "observations": {"observations": observations},
            "terminated": {"terminated": ends[0]},
            "truncated": {"truncated": ends[1]},
            "episode_returns": {
                "episode_returns": _episode_returns(rewards, ended),
                "raw_episode_returns": _episode_returns(raw_rewards, ended),
            },
        }
        return GymnasiumLife(
            total_reward=float(rewards.sum()),
            raw_total_reward=float(raw_rewards.sum()),
            episodes=int(ended.sum()),
            learner=state,
            **{name: values for asked in record for name, values in kept[asked].items()},
        )

    def _flat(self, observation: Any) -> np.ndarray:
        """An observation of Gymnasium as a vector of floats."""
        flat = gym.spaces.flatten(self.environment.observation_space, observation)
        return np.asarray(flat, np.float32)

    def _seen(self, observation: np.ndarray) -> np.ndarray:
        """What a learner sees of an observation."""
        return (observation - self.shift) / self.scale

    def _taken(self, action: np.ndarray) -> Any:
        """What the environment takes for an action of a learner."""
        space = self.environment.action_space
        if self._box is None:
            return int(action) + int(space.start)  # pyright: ignore[reportAttributeAccessIssue]
        low, high = self._box
        share = (np.clip(action.astype(np.float64), -1.0, 1.0) + 1.0) / 2.0
        taken = low + share * (high - low)
        return np.clip(taken, low, high).reshape(space.shape).astype(space.dtype)

    def _reward_of(
        self,
        previous: np.ndarray,
        observation: np.ndarray,
        action: np.ndarray,
        terminated: bool,
        reward: float,
    ) -> float:
        """What the learner is told for a reward of Gymnasium."""
        if callable(self._reward):
            return float(self._reward(previous, observation, action, terminated, reward))
        if self._twin is None:
            return reward
        told = _skill_reward(self._twin, previous, observation, action, np.bool_(terminated))
        return float(told)


def gymnasium(
    env_or_id: str | gym.Env,
    *,
    observation_scale: Scale | None = None,
    reward: str | Reward | None = None,
    **make_kwargs: Any,
) -> Gymnasium:
    """An environment of Gymnasium for learners to live in.

    Observations are flattened into floats (a Discrete one into its one-hot), and continuous actions
    take [-1, 1] to the bounds of their Box. Five environments of classic control have the
    observations and the reward of those of the same name in `rl.envs`, so that a learner that
    has learnt to learn there meets what it knows: CartPole-v1, Acrobot-v1, MountainCar-v0,
    Pendulum-v1 and MountainCarContinuous-v0.

    !!! Example

        ```python
        life = rl.envs.gymnasium("CartPole-v1").lifetime(learner, 500, key)
        life.raw_episode_returns
        ```

    **Arguments:**

    - `env_or_id`: an environment, or an id for `gymnasium.make`.
    - `observation_scale`: what observations are divided by, a number or one for each sensor. By
        default 1, or the constants of `rl.envs`.
    - `reward`: what the learner is told: a function of `(previous, observation, action,
        terminated, reward)`, with the observations and the reward of Gymnasium and the action of
        the learner; a kind of reward of the environment of the same name in `rl.envs`; or `"gym"`,
        the reward of Gymnasium. By default the first kind that `rl.envs` has (`"dense"`), or that
        of Gymnasium.
    - `make_kwargs`: for `gymnasium.make`.

    **Returns:**

    An object with `spaces` and `lifetime(learner, steps, key, record=...)`.

    **Raises:** `ValueError` for an environment that cannot be made, or spaces and scales that
    cannot be used.
    """
    if isinstance(env_or_id, str):
        try:
            environment = gym.make(env_or_id, **make_kwargs)
        except (gym.error.Error, ImportError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise ValueError(
                f"Gymnasium cannot make {env_or_id!r}: {reason}. Check the id and its arguments, "
                "and install what the environment needs; MuJoCo's bodies need "
                "`pip install 'symla[gym]'`."
            ) from error
    elif make_kwargs:
        raise ValueError(
            f"{', '.join(make_kwargs)}: arguments of `gymnasium.make` need an id, got an "
            "environment. Make it with them."
        )
    else:
        environment = env_or_id
    return Gymnasium(environment, observation_scale, reward)


def _twin_of(environment: gym.Env) -> type[Control] | None:
    """The environment of `rl.envs` of the same name, unless a wrapper may have changed it."""
    twin = _TWINS.get(environment.spec.id) if environment.spec is not None else None
    while isinstance(environment, gym.Wrapper):
        if type(environment).__name__ not in _NEUTRAL:
            return None
        environment = environment.env
    return twin


def _scale(scale: Scale, size: int) -> np.ndarray:
    """A divisor for each sensor."""
    found = np.asarray(scale, np.float32)
    if found.shape not in ((), (size,)) or not np.all(np.isfinite(found) & (found > 0)):
        raise ValueError(
            f"`observation_scale` must be a number above 0, or {size} of them; got {scale!r}."
        )
    return np.broadcast_to(found, (size,))


def _bounds(space: gym.Space) -> tuple[np.ndarray, np.ndarray] | None:
    """The bounds of each number of a continuous action; `None` for discrete actions."""
    if isinstance(space, gym.spaces.Discrete):
        return None
    if not isinstance(space, gym.spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise ValueError(
            f"Actions must be Discrete or a Box of floats, got {space}. Wrap the environment."
        )
    low, high = space.low.reshape(-1).astype(np.float64), space.high.reshape(-1).astype(np.float64)
    if not np.all(np.isfinite(low) & np.isfinite(high)):
        raise ValueError(
            f"Continuous actions must have finite bounds to be scaled from [-1, 1], got {space}. "
            "Wrap the environment with bounds, as gymnasium.wrappers.RescaleAction does."
        )
    return low, high


def _told(
    observation: np.ndarray,
    action: np.ndarray | np.int32,
    reward: float,
    terminated: bool,
    truncated: bool,
    final_observation: np.ndarray,
) -> tuple:
    """The parts of an `rl.TimeStep`, in their order and types."""
    ends = np.bool_(terminated), np.bool_(truncated)
    return observation, action, np.float32(reward), *ends, final_observation


def _episode_returns(rewards: np.ndarray, ended: np.ndarray) -> np.ndarray:
    """The sum of an episode's rewards at its last step, NaN elsewhere."""
    returns = np.full(rewards.shape, np.nan)
    sums = np.cumsum(rewards)[ended]
    returns[ended] = np.diff(sums, prepend=0.0)
    return returns
