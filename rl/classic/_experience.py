"""What an agent remembers of its life."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .._learner import Spaces, TimeStep
from ._returns import generalised_advantages


class Transitions(eqx.Module):
    """Steps of an environment.

    - `observations`: what each action was chosen on.
    - `actions`: what was chosen: one-hots of discrete actions, or numbers before any clipping.
    - `rewards`, `terminated`, `truncated`: what came of it.
    - `final_observations`: where it led, before any reset.
    """

    observations: Float[Array, "*T A"]
    actions: Float[Array, "*T B"]
    rewards: Float[Array, "*T"]
    terminated: Bool[Array, "*T"]
    truncated: Bool[Array, "*T"]
    final_observations: Float[Array, "*T A"]

    def advantages(
        self,
        values: Float[Array, " T"],
        next_values: Float[Array, " T"],
        *,
        discount: float | Float[Array, ""],
        trace_decay: float | Float[Array, ""],
    ) -> Float[Array, " T"]:
        """Of the actions of one stretch of `T` steps; see `generalised_advantages`."""
        return generalised_advantages(
            self.rewards,
            values,
            next_values,
            self.terminated,
            self.truncated,
            discount=discount,
            trace_decay=trace_decay,
        )


class Experience(eqx.Module):
    """One stream of experience: the last steps, as many as it holds.

    - `transitions`: of which the oldest is overwritten by the newest. Step `t`, counted from 0, is
        at `t % length`.
    - `observation`, `action`: the last action, as in `Transitions`, and what it was chosen on.
    - `observation_mask`, `action_mask`: which sensors and actions exist; `None` where all do.
    """

    transitions: Transitions
    observation: Float[Array, "*E A"]
    action: Float[Array, "*E B"]
    observation_mask: Bool[Array, "*E A"] | None
    action_mask: Bool[Array, "*E B"] | None

    def __init__(self, spaces: Spaces, length: int):
        """**Arguments:** `spaces`: of the task; `length`: steps that are kept."""
        observation = jnp.zeros((spaces.observation_size,))
        action, flag = jnp.zeros((spaces.num_actions,)), jnp.asarray(False)
        one = Transitions(observation, action, jnp.zeros(()), flag, flag, observation)
        self.transitions = jax.tree.map(lambda x: jnp.broadcast_to(x, (length, *x.shape)), one)
        self.observation, self.action = observation, action
        self.observation_mask, self.action_mask = spaces.observation_mask, spaces.action_mask

    def see(self, observation: Float[Array, " A"]) -> Float[Array, " A"]:
        """An observation in the type of the remembered ones, zero where a sensor does not exist."""
        observation = observation.astype(self.observation.dtype)
        if self.observation_mask is None:
            return observation
        return jnp.where(self.observation_mask, observation, 0.0)

    def add(self, timestep: TimeStep, steps: Int[Array, ""]) -> "Experience":
        """The stream and what its last action led to.

        **Arguments:**

        - `timestep`: what it led to.
        - `steps`: environment steps lived; the last of them is put in its place. At birth there is
            none, and what is written then is overwritten before `length` steps are lived.
        """
        now = Transitions(
            self.observation,
            self.action,
            timestep.reward.astype(self.transitions.rewards.dtype),
            timestep.terminated,
            timestep.truncated,
            self.see(timestep.final_observation),
        )
        place = (steps - 1) % self.transitions.rewards.shape[0]
        transitions = jax.tree.map(
            lambda all, one: jax.lax.dynamic_update_index_in_dim(all, one, place, 0),
            self.transitions,
            now,
        )
        return eqx.tree_at(lambda s: s.transitions, self, transitions)


def joined(rows: PyTree[Array]) -> PyTree[Array]:
    """The steps of all streams, or of all stretches, one after another."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)


def draw(
    streams: Experience, count: int, steps: Int[Array, ""], *, key: PRNGKeyArray
) -> tuple[Transitions, Bool[Array, "n B"] | None]:
    """Steps drawn uniformly from several streams, with the masks of their actions.

    **Arguments:**

    - `streams`: of `E` environments.
    - `count`: `n`, how many steps.
    - `steps`: that each stream has lived, at least 1.
    - `key`: the random key.
    """
    environments, length = streams.transitions.rewards.shape
    stream_key, place_key = jr.split(key)
    stream = jr.randint(stream_key, (count,), 0, environments)
    place = jr.randint(place_key, (count,), 0, jnp.minimum(steps, length))
    drawn = jax.tree.map(lambda x: x[stream, place], streams.transitions)
    return drawn, None if streams.action_mask is None else streams.action_mask[stream]


def draw_segments(
    streams: Experience, count: int, length: int, steps: Int[Array, ""], *, key: PRNGKeyArray
) -> tuple[Transitions, Bool[Array, "n B"] | None]:
    """Stretches of consecutive steps from several streams, with the masks of their actions.

    Each stream and each stretch that it still remembers is equally likely. Episodes may end within
    one: the flags tell where, and `final_observations` what such an episode ended on.

    **Arguments:**

    - `streams`: of `E` environments.
    - `count`: `n`, how many stretches.
    - `length`: `T`, environment steps of each; at most what a stream holds.
    - `steps`: that each stream has lived, at least `length`.
    - `key`: the random key.

    **Returns:**

    Transitions with axes `n T`, from the oldest to the newest, and masks.
    """
    environments, held = streams.transitions.rewards.shape
    stream_key, start_key = jr.split(key)
    stream = jr.randint(stream_key, (count,), 0, environments)
    first, last = jnp.maximum(steps - held, 0), steps - length
    start = jr.randint(start_key, (count,), first, last + 1)
    place = (start[:, None] + jnp.arange(length, dtype=start.dtype)[None]) % held
    drawn = jax.tree.map(lambda x: x[stream[:, None], place], streams.transitions)
    return drawn, None if streams.action_mask is None else streams.action_mask[stream]
