"""Controls: learners around learners that take away what learning needs.

A learner that only looks as if it learnt keeps its score under them. Each takes any learner, with
discrete or continuous actions.
"""

from typing import Generic

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ._learner import Action, Learner, Spaces, State, TimeStep


class FrozenState(eqx.Module, Generic[State]):
    """The learned variables of the learner inside, and how many steps it has lived."""

    learner: State
    steps: Int[Array, ""]


class Frozen(Learner[FrozenState]):
    """A learner whose learned variables stay as they are after a number of steps.

    It then acts on every time step from that same state: what it has learnt so far stays, what it
    would learn or remember is thrown away. Until then it lives exactly as the learner inside.
    """

    learner: Learner
    after: int = eqx.field(static=True)

    def __init__(self, learner: Learner, after: int):
        """**Arguments:**

        - `learner`: any learner.
        - `after`: environment steps that it learns from, counted from birth.

        **Raises:** `ValueError` for a negative number of steps.
        """
        if after < 0:
            raise ValueError(f"`after` must be at least 0 environment steps, got {after}.")
        self.learner, self.after = learner, after

    def init(self, spaces: Spaces, *, key: PRNGKeyArray) -> FrozenState:
        """As the learner inside; see `Learner.init`."""
        return FrozenState(self.learner.init(spaces, key=key), jnp.asarray(0, jnp.int32))

    def step(
        self, state: FrozenState, timestep: TimeStep, *, key: PRNGKeyArray
    ) -> tuple[FrozenState, Action]:
        """As the learner inside, whose new state is kept in time only; see `Learner.step`."""
        learned, action = self.learner.step(state.learner, timestep, key=key)
        learns = state.steps < self.after

        def kept(new: PyTree, old: PyTree) -> PyTree:
            return jnp.where(learns, new, old) if eqx.is_array(new) else new

        learned = jax.tree.map(kept, learned, state.learner)
        steps = jnp.minimum(state.steps + 1, self.after)  # a long life does not overflow
        return FrozenState(learned, steps), action


class ShuffledRewardsState(eqx.Module, Generic[State]):
    """The learned variables of the learner inside, and rewards of this life.

    - `learner`: the learned variables.
    - `rewards`: a uniform sample of the rewards so far, all of them while there is room.
    - `steps`: the time steps seen; the first brings no reward.
    """

    learner: State
    rewards: Float[Array, " memory"]
    steps: Int[Array, ""]


class ShuffledRewards(Learner[ShuffledRewardsState]):
    """A learner that is told, instead of each reward, of one drawn from those of this life so far.

    The rewards keep their distribution and lose their connection with the actions, so that
    whoever learns from them falls to chance. The ends of episodes are told as they are.
    """

    learner: Learner
    memory: int = eqx.field(static=True)

    def __init__(self, learner: Learner, memory: int):
        """**Arguments:**

        - `learner`: any learner.
        - `memory`: how many rewards are remembered: as many as the life has steps to draw from
            all of them. In a longer life, they are a uniform sample of all (Vitter 1985,
            algorithm R).

        **Raises:** `ValueError` for no memory.
        """
        if memory < 1:
            raise ValueError(f"`memory` must be at least 1 reward, got {memory}.")
        self.learner, self.memory = learner, memory

    def init(self, spaces: Spaces, *, key: PRNGKeyArray) -> ShuffledRewardsState:
        """As the learner inside; see `Learner.init`."""
        return ShuffledRewardsState(
            self.learner.init(spaces, key=key), jnp.zeros((self.memory,)), jnp.asarray(0, jnp.int32)
        )

    def step(
        self, state: ShuffledRewardsState, timestep: TimeStep, *, key: PRNGKeyArray
    ) -> tuple[ShuffledRewardsState, Action]:
        """Remember the reward, then step with another; see `Learner.step`."""
        place_key, draw_key, learner_key = jr.split(key, 3)
        seen = state.steps  # the number of this reward, from 1
        place = jr.randint(place_key, (), 0, jnp.maximum(seen, 1))
        place = jnp.where(seen <= self.memory, seen - 1, place)
        # Nothing is written at birth, nor at a place beyond the memory.
        place = jnp.where(seen > 0, place, self.memory)
        reward = timestep.reward.astype(state.rewards.dtype)
        rewards = state.rewards.at[place].set(reward, mode="drop")
        drawn = rewards[jr.randint(draw_key, (), 0, jnp.clip(seen, 1, self.memory))]
        told = eqx.tree_at(lambda t: t.reward, timestep, drawn.astype(timestep.reward.dtype))
        learned, action = self.learner.step(state.learner, told, key=learner_key)
        return ShuffledRewardsState(learned, rewards, seen + 1), action
