"""MAML: initial weights from which a few steps of policy gradient go far."""

import equinox as eqx
import jax
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from .._learner import Spaces
from .._readout import Gaussian
from ._adaptive import Adaptive, AdaptiveState
from ._agent import above_zero, at_least_one, from_zero, shares
from ._experience import Transitions
from ._networks import Perceptron


class MAMLNetworks(eqx.Module):
    """The weights that a MAML begins with, or has come to.

    - `actor`: from an observation to what an action is drawn by.
    - `critic`: from an observation to the discounted return to be expected.
    """

    actor: Perceptron
    critic: Perceptron


class MAML(Adaptive[MAMLNetworks]):
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
        outputs = num_actions * (Gaussian.channels if continuous else 1)
        actor_key, critic_key = jr.split(key)
        layers = (observation_size, *self.hidden_sizes)
        self.networks = MAMLNetworks(
            Perceptron((*layers, outputs), last_scale=0.01, key=actor_key),
            Perceptron((*layers, 1), key=critic_key),
        )

    def newborn(self, spaces: Spaces, *, key: PRNGKeyArray) -> MAMLNetworks:
        """The initial weights; see `Adaptive.newborn`.

        **Raises:** `ValueError` for other sizes or another kind of actions than it was made for.
        """
        del key
        spaces.check_fixed(self, self.observation_size, self.num_actions, self.continuous)
        return self.networks

    def outputs(
        self, networks: MAMLNetworks, observation: Float[Array, " A"]
    ) -> Float[Array, " O"]:
        """Those of the actor."""
        return networks.actor(observation)

    def adapt(self, state: AdaptiveState[MAMLNetworks], rollout: Transitions) -> MAMLNetworks:
        """One step of gradient descent; see `Adaptive.adapt`."""
        # What the actions were worth is a constant of this step, and not of the outer loop.
        advantages, returns = self.judge(state.networks, rollout)
        gradient = jax.grad(self.loss)(state.networks, rollout, advantages, returns, state)
        return jax.tree.map(lambda w, g: w - self.learning_rate * g, state.networks, gradient)

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
        state: AdaptiveState[MAMLNetworks],
    ) -> Float[Array, ""]:
        """What a step of gradient descent makes smaller.

        **Arguments:**

        - `networks`: policy and value.
        - `rollout`: what was lived.
        - `advantages`, `returns`: as `judge` has them.
        - `state`: which has the mask of the actions, and what outputs mean.
        """

        def look(observation: Array, action: Array) -> tuple[Array, Array]:
            log_prob = self.log_prob(networks, observation, action, state)
            return log_prob, networks.critic(observation)[0]

        log_probs, values = jax.vmap(look)(rollout.observations, rollout.actions)
        error = 0.5 * ((values - returns) ** 2).mean()
        return self.value_weight * error - (log_probs * advantages).mean()
