"""The critic of meta-training by gradients: what the rest of a life is worth."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

import rl

from ._gradient_life import unroll


class Critic(eqx.Module):
    """A gated recurrent unit over the history of a life, with a state of its own.

    At each step it receives what a `MetaRNN` receives and, where lives have an end, how much of
    the life is over. A linear map of its state gives the mean reward per step that is left, and the
    value is that times the discounted number of these steps. So values have the scale of the
    rewards and the discount from the start, and are zero at the end of a life.

    It serves any learner and has no part in what the learner does: it is thrown away when
    meta-training ends.
    """

    cell: eqx.nn.GRUCell
    head: eqx.nn.Linear
    num_actions: int = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    discount: float = eqx.field(static=True)
    endless: bool = eqx.field(static=True)

    def __init__(
        self,
        spaces: rl.Spaces,
        hidden_size: int,
        *,
        steps: int,
        discount: float,
        endless: bool,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `spaces`: sizes of the tasks.
        - `hidden_size`: of the recurrent unit.
        - `steps`: `L`, of a life.
        - `discount`, `endless`: as of `ActorCritic`.
        - `key`: the random key of the recurrent unit. The head starts at zero, and so do values.
        """
        cell_key, head_key = jr.split(key)
        inputs = spaces.observation_size + spaces.num_actions + 2 + int(not endless)
        self.cell = eqx.nn.GRUCell(inputs, hidden_size, key=cell_key)
        head = eqx.nn.Linear(hidden_size, 1, key=head_key)
        self.head = jax.tree.map(jnp.zeros_like, head)
        self.num_actions, self.steps = spaces.num_actions, steps
        self.discount, self.endless = discount, endless

    def values(
        self,
        timesteps: rl.TimeStep,
        *,
        truncation: int | None = None,
        rematerialise: bool = True,
    ) -> Float[Array, " moments"]:
        """The value at each time step of a life, that after its last action included.

        **Arguments:**

        - `timesteps`: of the life, one more than it has actions.
        - `truncation`, `rematerialise`: as of `unroll`.
        """

        def step(hidden: Array, inputs: Array) -> tuple[Array, Array]:
            hidden = self.cell(inputs, hidden)
            return hidden, self.head(hidden)[0]

        means = unroll(
            step,
            self._birth(),
            self._inputs(timesteps),
            truncation=truncation,
            rematerialise=rematerialise,
        )
        return means * self.horizons()

    def next_values(self, timesteps: rl.TimeStep) -> Float[Array, " L"]:
        """The value of where each action led, before any reset, as if its episode went on."""

        def step(hidden: Array, inputs: Array) -> tuple[Array, Array]:
            return self.cell(inputs, hidden), hidden

        going_on = eqx.tree_at(
            lambda t: (t.observation, t.terminated, t.truncated),
            timesteps,
            (
                timesteps.final_observation,
                jnp.zeros_like(timesteps.terminated),
                jnp.zeros_like(timesteps.truncated),
            ),
        )
        before = jax.lax.scan(step, self._birth(), self._inputs(timesteps))[1]
        hidden = jax.vmap(self.cell)(self._inputs(going_on), before)
        return (jax.vmap(self.head)(hidden)[:, 0] * self.horizons())[1:]

    def horizons(self) -> Float[Array, " moments"]:
        """The discounted number of steps that are left at each time step, 0 after the last."""
        left = self.steps - jnp.arange(self.steps + 1).astype(jnp.float32)
        if self.endless:
            return jnp.full_like(left, 1.0 / (1.0 - self.discount))
        if self.discount == 1.0:
            return left
        return (1.0 - self.discount**left) / (1.0 - self.discount)

    def _birth(self) -> Float[Array, " hidden"]:
        return jnp.zeros((self.cell.hidden_size,))

    def _inputs(self, timesteps: rl.TimeStep) -> Float[Array, "moments inputs"]:
        return jax.vmap(self._input)(timesteps, jnp.arange(self.steps + 1))

    def _input(self, timestep: rl.TimeStep, number: Int[Array, ""]) -> Float[Array, " inputs"]:
        action = timestep.action
        if action.ndim == 0:
            action = jax.nn.one_hot(action, self.num_actions)
        scalars = [timestep.reward, timestep.ended]
        if not self.endless:
            scalars.append(number.astype(jnp.float32) / self.steps)
        parts = [timestep.observation, action, *(scalar[None] for scalar in scalars)]
        return jnp.concatenate([part.astype(jnp.float32) for part in parts])
