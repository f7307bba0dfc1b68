"""Tabular Markov decision processes, drawn anew for each life (Duan et al. 2016)."""

from functools import lru_cache

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from .._task import Task, TaskDistribution


@struct.dataclass
class TabularState(environment.EnvState):
    """The state of a tabular MDP.

    - `time`: environment steps of this episode.
    - `state`: its number, from 0.
    """

    time: PyTree
    state: PyTree


@struct.dataclass
class TabularParams(environment.EnvParams):
    """The parameters of a tabular MDP with A states and B actions.

    - `transitions`: the probability of each next state, shape `[A, B, A]`.
    - `rewards`: the mean reward of each action in each state, shape `[A, B]`.
    - `reward_std`: the standard deviation of a reward.
    - `max_steps_in_episode`: environment steps after which the episode is truncated.
    """

    transitions: PyTree = struct.field(default_factory=lambda: jnp.full((2, 2, 2), 0.5))
    rewards: PyTree = struct.field(default_factory=lambda: jnp.ones((2, 2)))
    reward_std: PyTree = 1.0
    max_steps_in_episode: PyTree = 10


class TabularMDP(environment.Environment[TabularState, TabularParams]):
    """A Markov decision process with A states, which are seen as one-hot vectors, and B actions.

    An action pays a Gaussian reward with a mean of its own in each state, and leads to a next
    state at random. Every episode starts in state 0. Nothing ends it but its time limit, which is
    a truncation.
    """

    permuted = None
    """Episodes start in state 0: no parameter changes the order of its sensors; `Permute` does."""

    def __init__(self, states: int = 10, actions: int = 5):
        """**Arguments:**

        - `states`: `A`.
        - `actions`: `B`.

        **Raises:** `ValueError` for less than one of either.
        """
        super().__init__()
        for name, value in {"states": states, "actions": actions}.items():
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        self.states, self.actions = states, actions

    @property
    def default_params(self) -> TabularParams:
        """The mean of what `TabularMDPs` draws: all next states as likely, all mean rewards 1."""
        shape = (self.states, self.actions)
        uniform = jnp.full((*shape, self.states), 1.0 / self.states)
        return TabularParams(transitions=uniform, rewards=jnp.ones(shape))

    def step_env(
        self,
        key: PRNGKeyArray,
        state: TabularState,
        action: int | float | Array,
        params: TabularParams,
    ) -> tuple[Array, TabularState, Array, Array, dict]:
        """Act: a reward, and the next state."""
        next_key, noise_key = jr.split(key)
        action = jnp.asarray(action)
        mean = params.rewards[state.state, action]
        noise = jr.normal(noise_key, (), mean.dtype)
        reward = mean + jnp.asarray(params.reward_std, mean.dtype) * noise
        chances = params.transitions[state.state, action]
        reached = jr.categorical(next_key, jnp.log(chances)).astype(jnp.int32)
        state = TabularState(time=state.time + 1, state=reached)
        info = {"discount": jnp.ones_like(mean)}
        return self._look(reached, params), state, reward, jnp.asarray(False), info

    def reset_env(self, key: PRNGKeyArray, params: TabularParams) -> tuple[Array, TabularState]:
        """Start in state 0."""
        del key
        zero = jnp.asarray(0, jnp.int32)
        return self._look(zero, params), TabularState(time=zero, state=zero)

    def _look(self, state: Int[Array, ""], params: TabularParams) -> Float[Array, " A"]:
        return (jnp.arange(self.states) == state).astype(params.rewards.dtype)

    def is_terminated(self, state: TabularState, params: TabularParams) -> Array:
        """Never: only time ends an episode."""
        del state, params
        return jnp.asarray(False)

    @property
    def name(self) -> str:
        """The name of the environment."""
        return "TabularMDP"

    @property
    def num_actions(self) -> int:
        """The number of actions."""
        return self.actions

    def action_space(self, params: TabularParams | None = None) -> spaces.Discrete:
        """The actions."""
        del params
        return spaces.Discrete(self.actions)

    def observation_space(self, params: TabularParams | None = None) -> spaces.Box:
        """A one-hot vector of the state."""
        del params
        return spaces.Box(0.0, 1.0, (self.states,), jnp.float32)


@lru_cache(maxsize=64)
def _environment(states: int, actions: int) -> TabularMDP:
    """One instance for each size: gymnax and JAX compile anew for every instance."""
    return TabularMDP(states, actions)


class TabularMDPs(TaskDistribution):
    """Tabular MDPs drawn anew for each life, as Duan et al. 2016 (arXiv:1611.02779) have them.

    The probabilities of the next states are drawn from a flat Dirichlet distribution for each
    state and action, and mean rewards from a Gaussian with mean 1 and variance 1. Rewards have
    variance 1 around them. With the defaults, an episode of a random policy pays 10.
    """

    states: int = eqx.field(static=True)
    actions: int = eqx.field(static=True)
    episode_steps: int = eqx.field(static=True)

    def __init__(self, states: int = 10, actions: int = 5, *, episode_steps: int = 10):
        """**Arguments:**

        - `states`, `actions`: how many.
        - `episode_steps`: environment steps after which an episode is truncated.

        **Raises:** `ValueError` for less than one of any.
        """
        if episode_steps < 1:
            raise ValueError(f"`episode_steps` must be at least 1, got {episode_steps}.")
        _environment(states, actions)  # refuses sizes that cannot be
        self.states, self.actions, self.episode_steps = states, actions, episode_steps

    def sample(self, *, key: PRNGKeyArray) -> Task:
        """An MDP drawn for one life."""
        transitions_key, rewards_key = jr.split(key)
        shape = (self.states, self.actions)
        params = TabularParams(
            transitions=jr.dirichlet(transitions_key, jnp.ones(self.states), shape),
            rewards=1.0 + jr.normal(rewards_key, shape),
            max_steps_in_episode=self.episode_steps,
        )
        return Task(_environment(self.states, self.actions), params)
