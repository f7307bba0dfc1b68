"""MAML: initial weights from which a few steps of policy gradient go far."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .._learner import Action, Learner, Spaces, TimeStep
from .._readout import Categorical, Gaussian, Readout
from ._agent import above_zero, at_least_one, from_zero, shares
from ._experience import Experience, Transitions
from ._networks import Perceptron


class MAMLNetworks(eqx.Module):
    """The weights that a MAML begins with, or has come to.

    - `actor`: from an observation to what an action is drawn by.
    - `critic`: from an observation to the discounted return to be expected.
    """

    actor: Perceptron
    critic: Perceptron


class MAMLState(eqx.Module):
    """The learned variables of a MAML.

    - `networks`: the weights of now.
    - `experience`: the last `rollout` steps.
    - `steps`: environment steps lived.
    """

    networks: MAMLNetworks
    experience: Experience
    steps: Int[Array, ""]


class MAML(Learner[MAMLState]):
    """Model-agnostic meta-learning of a policy (Finn et al. 2017, arXiv:1703.03400, algorithm 3).

    The meta-variables are the initial weights of a policy and a value. Every `rollout` steps, both
    make one step of gradient descent on what was lived: `log pi(a | o)` times the generalised
    advantage, and half the squared error of the value. `meta.ActorCritic` goes back through these
    steps, second derivatives included; what the first actions were good for later counts, as in
    E-MAML (Stadie et al. 2018, arXiv:1803.01118). `meta.EvolutionStrategy` meta-trains it as well.

    Finn et al. have one such step after 20 episodes, a linear baseline that is fitted anew for
    each task, and an outer loop by TRPO. Every input and output has weights of its own, so the
    sizes are fixed and their order matters.
    """

    networks: MAMLNetworks
    readout: Categorical | Gaussian
    observation_size: int = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    hidden_sizes: tuple[int, ...] = eqx.field(static=True)
    rollout: int = eqx.field(static=True)
    learning_rate: float = eqx.field(static=True)
    discount: float = eqx.field(static=True)
    gae_lambda: float = eqx.field(static=True)
    value_weight: float = eqx.field(static=True)
    continuous: bool = eqx.field(static=True)

    def __init__(
        self,
        observation_size: int,
        num_actions: int,
        hidden_sizes: tuple[int, ...] = (32, 32),
        *,
        rollout: int = 20,
        learning_rate: float = 0.1,
        discount: float = 0.95,
        gae_lambda: float = 1.0,
        value_weight: float = 0.5,
        continuous: bool = False,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `observation_size`, `num_actions`: `A` and `B`; fixed for good.
        - `hidden_sizes`: of the policy and of the value, which share nothing; tanh between them.
        - `rollout`: environment steps from one step of gradient descent to the next.
        - `learning_rate`: of it.
        - `discount`: per environment step.
        - `gae_lambda`: the decay of generalised advantage estimation; 1 for Monte Carlo.
        - `value_weight`: of half the squared error of the value.
        - `continuous`: whether it is for continuous actions, which are `rl.Gaussian`.
        - `key`: the random key of the initial parameters.

        **Raises:** `ValueError` for sizes and counts below one, or weights and rates out of range.
        """
        sizes = {f"hidden_sizes[{k}]": size for k, size in enumerate(hidden_sizes)}
        counts = {"observation_size": observation_size, "num_actions": num_actions}
        at_least_one({**counts, "rollout": rollout, **sizes})
        above_zero({"learning_rate": learning_rate})
        shares({"discount": discount, "gae_lambda": gae_lambda})
        from_zero({"value_weight": value_weight})
        self.observation_size, self.num_actions = observation_size, num_actions
        self.hidden_sizes, self.rollout = tuple(hidden_sizes), rollout
        self.learning_rate, self.value_weight = float(learning_rate), float(value_weight)
        self.discount, self.gae_lambda = float(discount), float(gae_lambda)
        self.continuous = continuous
        self.readout = Gaussian() if continuous else Categorical()
        outputs = num_actions * (Gaussian.channels if continuous else 1)
        actor_key, critic_key = jr.split(key)
        layers = (observation_size, *self.hidden_sizes)
        self.networks = MAMLNetworks(
            Perceptron((*layers, outputs), last_scale=0.01, key=actor_key),
            Perceptron((*layers, 1), key=critic_key),
        )

    def init(self, spaces: Spaces, *, key: PRNGKeyArray) -> MAMLState:
        """The initial weights, and nothing lived yet; see `Learner.init`.

        **Raises:** `ValueError` for other sizes or another kind of actions than it was made for.
        """
        del key
        spaces.check_fixed(self, self.observation_size, self.num_actions, self.continuous)
        start = Experience(spaces, self.rollout)
        return MAMLState(self.networks, start, jnp.asarray(0, jnp.int32))

    def step(
        self, state: MAMLState, timestep: TimeStep, *, key: PRNGKeyArray
    ) -> tuple[MAMLState, Action]:
        """Remember the last step, adapt if it is time to, and act; see `Learner.step`."""
        state, logits = self.advance(state, timestep)
        noise = self.readout.noise(self.num_actions, logits.dtype, key=key)
        return state, self.readout.choose(logits, noise)

    def advance(
        self, state: MAMLState, timestep: TimeStep
    ) -> tuple[MAMLState, Float[Array, "B *parameters"]]:
        """The deterministic part of a step: the new state and the logits of the next action."""
        timestep.check_kind(self.continuous)
        experience, dtype = state.experience, state.experience.action.dtype
        action = self.readout.feedback(timestep.action, self.num_actions, dtype)
        experience = eqx.tree_at(lambda e: e.action, experience, action)
        experience = experience.add(timestep, state.steps)

        def adapt(networks: MAMLNetworks) -> MAMLNetworks:
            # What the actions were worth is a constant of this step, and not of the outer loop.
            rollout, mask = experience.transitions, experience.action_mask
            advantages, returns = self.judge(networks, rollout)
            gradient = jax.grad(self.loss)(networks, rollout, advantages, returns, mask)
            return jax.tree.map(lambda w, g: w - self.learning_rate * g, networks, gradient)

        # Of a counter and nothing else, so that it stays one condition for many lives.
        due = (state.steps > 0) & (state.steps % self.rollout == 0)
        networks = jax.lax.cond(due, adapt, lambda networks: networks, state.networks)
        observation = experience.see(timestep.observation)
        experience = eqx.tree_at(lambda e: e.observation, experience, observation)
        logits = self._logits(networks, observation, experience.action_mask)
        return MAMLState(networks, experience, state.steps + 1), logits

    def readout_of(self, state: MAMLState) -> Readout:
        """What the logits mean: the same in every life."""
        del state
        return self.readout

    def judge(
        self, networks: MAMLNetworks, rollout: Transitions
    ) -> tuple[Float[Array, " T"], Float[Array, " T"]]:
        """Generalised advantages of the actions of a rollout, and targets of the values.

        **Arguments:**

        - `networks`: whose values they are.
        - `rollout`: its steps, the oldest first.
        """
        value = jax.vmap(lambda o: networks.critic(o)[0])
        values = value(rollout.observations)
        advantages = rollout.advantages(
            values,
            value(rollout.final_observations),
            discount=self.discount,
            trace_decay=self.gae_lambda,
        )
        return advantages, advantages + values

    def loss(
        self,
        networks: MAMLNetworks,
        rollout: Transitions,
        advantages: Float[Array, " T"],
        returns: Float[Array, " T"],
        mask: Bool[Array, " B"] | None = None,
    ) -> Float[Array, ""]:
        """What a step of gradient descent makes smaller.

        **Arguments:**

        - `networks`: policy and value.
        - `rollout`: what was lived.
        - `advantages`, `returns`: as `judge` has them.
        - `mask`: which actions exist; `None` where all do.
        """

        def look(observation: Array, action: Array) -> tuple[Array, Array]:
            chosen = action if self.continuous else jnp.argmax(action)
            logits = self._logits(networks, observation, mask)
            return self.readout.log_prob(logits, chosen), networks.critic(observation)[0]

        log_probs, values = jax.vmap(look)(rollout.observations, rollout.actions)
        error = 0.5 * ((values - returns) ** 2).mean()
        return self.value_weight * error - (log_probs * advantages).mean()

    def _logits(
        self, networks: MAMLNetworks, observation: Array, mask: Bool[Array, " B"] | None
    ) -> Float[Array, "B *parameters"]:
        outgoing = networks.actor(observation)
        if self.continuous:
            outgoing = outgoing.reshape(self.num_actions, Gaussian.channels)
        return self.readout.logits(outgoing, mask)
