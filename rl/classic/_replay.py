"""What has been lived, to be learned from again and again."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .._learner import Spaces, TimeStep
from ._agent import existing


class Transition(eqx.Module):
    """Steps of an environment.

    - `observation`, `action`: what was done, and on what.
    - `reward`, `terminated`: what came of it. A step that was truncated is one like the others: the
        task would have gone on.
    - `final_observation`: where it led, before any reset.
    """

    observation: Float[Array, "*T A"]
    action: Float[Array, "*T B"]
    reward: Float[Array, "*T"]
    terminated: Bool[Array, "*T"]
    final_observation: Float[Array, "*T A"]


class Replay(eqx.Module):
    """One stream of experience: the last steps, as many as it holds.

    - `transitions`: of which the oldest is overwritten by the newest.
    - `observation`, `action`: the last action, and what it was chosen on.
    - `observation_mask`, `action_mask`: which sensors and actions exist; `None` where all do.
    """

    transitions: Transition
    observation: Float[Array, "*E A"]
    action: Float[Array, "*E B"]
    observation_mask: Bool[Array, "*E A"] | None
    action_mask: Bool[Array, "*E B"] | None

    def __init__(self, spaces: Spaces, capacity: int):
        """**Arguments:** `spaces`: of the task; `capacity`: steps that are kept."""
        observation = jnp.zeros((spaces.observation_size,))
        action = jnp.zeros((spaces.num_actions,))
        one = Transition(observation, action, jnp.zeros(()), jnp.asarray(False), observation)
        self.transitions = jax.tree.map(lambda x: jnp.broadcast_to(x, (capacity, *x.shape)), one)
        self.observation, self.action = observation, action
        self.observation_mask, self.action_mask = spaces.observation_mask, spaces.action_mask

    def add(self, timestep: TimeStep, steps: Int[Array, ""]) -> "Replay":
        """The stream and what its last action led to.

        **Arguments:**

        - `timestep`: what it led to.
        - `steps`: environment steps lived; the last of them is put in its place. At birth there is
            none, and what is written then is overwritten before it is drawn.
        """
        now = Transition(
            self.observation,
            self.action,
            timestep.reward.astype(self.transitions.reward.dtype),
            timestep.terminated,
            existing(timestep.final_observation, self.observation_mask, self.observation),
        )
        place = (steps - 1) % self.transitions.reward.shape[0]
        transitions = jax.tree.map(
            lambda all, one: jax.lax.dynamic_update_index_in_dim(all, one, place, 0),
            self.transitions,
            now,
        )
        return eqx.tree_at(lambda s: s.transitions, self, transitions)


def draw(
    streams: Replay, count: int, steps: Int[Array, ""], *, key: PRNGKeyArray
) -> tuple[Transition, Bool[Array, "n B"] | None]:
    """Steps drawn uniformly from several streams, with the masks of their actions.

    **Arguments:**

    - `streams`: of `E` environments.
    - `count`: `n`, how many steps.
    - `steps`: that each stream has lived, at least 1.
    - `key`: the random key.
    """
    environments, capacity = streams.transitions.reward.shape
    stream_key, place_key = jr.split(key)
    stream = jr.randint(stream_key, (count,), 0, environments)
    place = jr.randint(place_key, (count,), 0, jnp.minimum(steps, capacity))
    drawn = jax.tree.map(lambda x: x[stream, place], streams.transitions)
    return drawn, None if streams.action_mask is None else streams.action_mask[stream]
