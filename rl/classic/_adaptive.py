"""What learners that go down a gradient within their lives have in common, for gradients of
gradients: a step that is deterministic but for the choice of the action.
"""

import abc
from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .._learner import Action, Learner, Spaces, TimeStep
from .._readout import Categorical, Gaussian, Readout
from ._experience import Experience, Transitions

Networks = TypeVar("Networks", bound=eqx.Module)


class AdaptiveState(eqx.Module, Generic[Networks]):
    """The learned variables of an `Adaptive` learner.

    - `networks`: the weights of now.
    - `experience`: the last `memory` steps.
    - `steps`: environment steps lived.
    - `readout`: what the outputs of the policy mean; the same for the whole life.
    """

    networks: Networks
    experience: Experience
    steps: Int[Array, ""]
    readout: Categorical | Gaussian


class Adaptive(Learner[AdaptiveState[Networks]], Generic[Networks]):
    """A learner whose networks take a step down a gradient every `rollout` environment steps.

    It is `rl.Differentiable`: `meta.ActorCritic` goes back through these steps. A subclass says
    where networks begin, what policy they hold, and how they adapt.
    """

    rollout: eqx.AbstractVar[int]

    @property
    def memory(self) -> int:
        """Environment steps that are remembered: those since the last update, if nothing else."""
        return self.rollout

    @abc.abstractmethod
    def newborn(self, spaces: Spaces, *, key: PRNGKeyArray) -> Networks:
        """The networks at birth."""

    @abc.abstractmethod
    def outputs(self, networks: Networks, observation: Float[Array, " A"]) -> Float[Array, " O"]:
        """What the policy says of an observation: `channels` numbers for each action."""

    @abc.abstractmethod
    def adapt(self, state: AdaptiveState[Networks], rollout: Transitions) -> Networks:
        """The networks after a step.

        **Arguments:**

        - `state`: before it.
        - `rollout`: the last `memory` steps, the oldest first. Zeros stand in for what was before
            birth.
        """

    def init(self, spaces: Spaces, *, key: PRNGKeyArray) -> AdaptiveState[Networks]:
        """Networks, and nothing lived yet; see `Learner.init`."""
        return AdaptiveState(
            self.newborn(spaces, key=key),
            Experience(spaces, self.memory),
            jnp.asarray(0, jnp.int32),
            Gaussian() if spaces.continuous else Categorical(),
        )

    def step(
        self, state: AdaptiveState[Networks], timestep: TimeStep, *, key: PRNGKeyArray
    ) -> tuple[AdaptiveState[Networks], Action]:
        """Remember the last step, adapt if it is time to, and act; see `Learner.step`."""
        state, logits = self.advance(state, timestep)
        noise = state.readout.noise(logits.shape[0], logits.dtype, key=key)
        return state, state.readout.choose(logits, noise)

    def advance(
        self, state: AdaptiveState[Networks], timestep: TimeStep
    ) -> tuple[AdaptiveState[Networks], Float[Array, "B *parameters"]]:
        """The deterministic part of a step: the new state and the logits of the next action."""
        readout, experience = state.readout, state.experience
        timestep.check_kind(isinstance(readout, Gaussian))
        size, dtype = experience.action.shape[0], experience.action.dtype
        action = readout.feedback(timestep.action, size, dtype)
        experience = eqx.tree_at(lambda e: e.action, experience, action)
        experience = experience.add(timestep, state.steps)
        state = AdaptiveState(state.networks, experience, state.steps, readout)
        # Of a counter and nothing else, so that it stays one condition for many lives.
        due = (state.steps > 0) & (state.steps % self.rollout == 0)
        networks = jax.lax.cond(
            due,
            lambda state: self.adapt(state, self._in_order(state)),
            lambda state: state.networks,
            state,
        )
        observation = experience.see(timestep.observation)
        experience = eqx.tree_at(lambda e: e.observation, experience, observation)
        logits = self.logits(networks, observation, experience.action_mask, readout)
        return AdaptiveState(networks, experience, state.steps + 1, readout), logits

    def _in_order(self, state: AdaptiveState[Networks]) -> Transitions:
        """What is remembered, the oldest first."""
        if self.memory == self.rollout:
            return state.experience.transitions  # an update comes just when it is full
        shift = -(state.steps % self.memory)
        return jax.tree.map(lambda x: jnp.roll(x, shift, 0), state.experience.transitions)

    def readout_of(self, state: AdaptiveState[Networks]) -> Readout:
        """What the logits mean: the same for the whole life."""
        return state.readout

    def logits(
        self,
        networks: Networks,
        observation: Float[Array, " A"],
        mask: Bool[Array, " B"] | None,
        readout: Categorical | Gaussian,
    ) -> Float[Array, "B *parameters"]:
        """What an action is drawn by.

        **Arguments:**

        - `networks`: with the policy.
        - `observation`: what to act on.
        - `mask`: which actions exist; `None` where all do.
        - `readout`: what the outputs of the policy mean.
        """
        outgoing = self.outputs(networks, observation)
        if isinstance(readout, Gaussian):
            outgoing = outgoing.reshape(-1, Gaussian.channels)
        return readout.logits(outgoing, mask)

    def log_prob(
        self,
        networks: Networks,
        observation: Float[Array, " A"],
        action: Float[Array, " B"],
        state: AdaptiveState[Networks],
    ) -> Float[Array, ""]:
        """The logarithm of the probability of an action.

        **Arguments:**

        - `networks`: with the policy.
        - `observation`: what was acted on.
        - `action`: as it is remembered; see `Transitions.actions`.
        - `state`: which has the mask of the actions, and what outputs mean.
        """
        mask, readout = state.experience.action_mask, state.readout
        logits = self.logits(networks, observation, mask, readout)
        if isinstance(readout, Gaussian):
            return readout.log_prob(logits, action)
        return readout.log_prob(logits, jnp.argmax(action))
