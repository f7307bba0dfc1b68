"""What the learners by gradients have in common: to remember, to learn now and then, to act."""

import abc
from collections.abc import Mapping
from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .._learner import Action, Learner, Spaces, TimeStep
from ._experience import Experience

Knowledge = TypeVar("Knowledge", bound=eqx.Module)


class AgentState(eqx.Module, Generic[Knowledge]):
    """The learned variables of an `Agent`.

    - `knowledge`: what is learned, and what learning it takes: networks, optimisers, targets.
    - `stream`: what has been lived, as far as learning needs it.
    - `steps`: environment steps lived.
    """

    knowledge: Knowledge
    stream: Experience
    steps: Int[Array, ""]


class Agent(Learner[AgentState[Knowledge]], Generic[Knowledge]):
    """A learner that has networks of its own, and improves them by gradients every `period` steps.

    It has no meta-variables. A subclass says how knowledge begins, how much is remembered, what is
    learned from it, and how an action is chosen. In a life there is one stream of experience;
    `rl.classic.train` has many, in as many environments, and one knowledge.

    An update takes far longer than a step. Lives that are begun side by side update at the same
    steps, and `jax.vmap` keeps the condition; it does not if lives are gone on with from a `start`
    that is mapped, for then each could have lived another number of steps.
    """

    @property
    @abc.abstractmethod
    def period(self) -> int:
        """Environment steps from one update to the next."""

    @property
    @abc.abstractmethod
    def memory(self) -> int:
        """Environment steps that a stream holds; the oldest is overwritten by the newest."""

    @abc.abstractmethod
    def newborn(self, spaces: Spaces, *, key: PRNGKeyArray) -> Knowledge:
        """What is known at birth: networks with random weights."""

    @abc.abstractmethod
    def learn(
        self, knowledge: Knowledge, streams: Experience, steps: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Knowledge:
        """One update.

        **Arguments:**

        - `knowledge`: so far.
        - `streams`: of `E` environments, which all leaves have as their first axis.
        - `steps`: environment steps that each of them has lived.
        - `key`: the random key of the update.
        """

    @abc.abstractmethod
    def choose(
        self,
        knowledge: Knowledge,
        observation: Float[Array, " A"],
        action_mask: Bool[Array, " B"] | None,
        steps: Int[Array, ""],
        *,
        key: PRNGKeyArray,
    ) -> tuple[Action, Float[Array, " B"]]:
        """An action, and how it is remembered; see `Transitions.actions`.

        **Arguments:**

        - `knowledge`: so far.
        - `observation`: what to act on.
        - `action_mask`: which actions exist; `None` where all do.
        - `steps`: environment steps before this one.
        - `key`: the random key of the choice.
        """

    def begin(self, spaces: Spaces) -> Experience:
        """A stream of experience before its first step."""
        return Experience(spaces, self.memory)

    def act(
        self,
        knowledge: Knowledge,
        stream: Experience,
        timestep: TimeStep,
        steps: Int[Array, ""],
        *,
        key: PRNGKeyArray,
    ) -> tuple[Experience, Action]:
        """Choose an action. The stream remembers it, and what it was chosen on.

        **Arguments:**

        - `knowledge`: so far.
        - `stream`: which has what the last action led to.
        - `timestep`: which has the observation to act on.
        - `steps`: environment steps before this one.
        - `key`: the random key of the choice.
        """
        observation = stream.see(timestep.observation)
        action, vector = self.choose(knowledge, observation, stream.action_mask, steps, key=key)
        chosen = (observation, vector)
        return eqx.tree_at(lambda s: (s.observation, s.action), stream, chosen), action

    def init(self, spaces: Spaces, *, key: PRNGKeyArray) -> AgentState[Knowledge]:
        """New networks, and nothing lived yet; see `Learner.init`."""
        knowledge = self.newborn(spaces, key=key)
        return AgentState(knowledge, self.begin(spaces), jnp.asarray(0, jnp.int32))

    def step(
        self, state: AgentState[Knowledge], timestep: TimeStep, *, key: PRNGKeyArray
    ) -> tuple[AgentState[Knowledge], Action]:
        """Remember the last step, learn if it is time to, and act; see `Learner.step`."""
        update_key, action_key = jr.split(key)
        stream = state.stream.add(timestep, state.steps)

        def learn(knowledge: Knowledge, key: PRNGKeyArray) -> Knowledge:
            alone = jax.tree.map(lambda x: x[None], stream)
            return self.learn(knowledge, alone, state.steps, key=key)

        # Of a counter and nothing else, so that it stays one condition for many lives.
        due = (state.steps > 0) & (state.steps % self.period == 0)
        knowledge = jax.lax.cond(
            due, learn, lambda knowledge, key: knowledge, state.knowledge, update_key
        )
        stream, action = self.act(knowledge, stream, timestep, state.steps, key=action_key)
        return AgentState(knowledge, stream, state.steps + 1), action


def at_least_one(counts: Mapping[str, int]) -> None:
    """**Raises:** `ValueError` for a count below one."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"`{name}` must be at least 1, got {count}.")


def shares(numbers: Mapping[str, float]) -> None:
    """**Raises:** `ValueError` for a number that is not from 0 to 1."""
    for name, number in numbers.items():
        if not 0.0 <= number <= 1.0:
            raise ValueError(f"`{name}` must be a number from 0 to 1, got {number}.")


def above_zero(numbers: Mapping[str, float]) -> None:
    """**Raises:** `ValueError` for a number that is not above 0 and finite."""
    for name, number in numbers.items():
        if not 0.0 < number < float("inf"):
            raise ValueError(f"`{name}` must be a number above 0, got {number}.")


def from_zero(numbers: Mapping[str, float]) -> None:
    """**Raises:** `ValueError` for a number that is below 0 or not finite."""
    for name, number in numbers.items():
        if not 0.0 <= number < float("inf"):
            raise ValueError(f"`{name}` must be a number from 0, got {number}.")
