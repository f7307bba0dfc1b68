"""REINFORCE with a baseline."""

import equinox as eqx
import jax
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ._agent import above_zero, at_least_one
from ._networks import ActorCritic, Perceptron
from ._on_policy import Batch, OnPolicy, look
from ._optimisers import begin, clipped, descend
from ._returns import normalised_advantages


class REINFORCE(OnPolicy):
    """REINFORCE (Williams 1992) with generalised advantages, as MetaGenRL compares with (equation
    3 of Kirsch et al. 2020, arXiv:1910.04098).

    Every `rollout` steps, the policy makes one step along the gradient of `log pi(a | o)` times the
    advantage, and the value `value_steps` steps towards the returns. The rollout is longer than
    those of actor-critics, for what was lived is learned from once and then forgotten.
    """

    value_steps: int = eqx.field(static=True)
    value_learning_rate: float = eqx.field(static=True)

    def __init__(
        self,
        hidden_sizes: tuple[int, ...] = (64, 64),
        *,
        rollout: int = 128,
        learning_rate: float = 3e-3,
        value_learning_rate: float = 3e-3,
        value_steps: int = 20,
        discount: float = 0.99,
        gae_lambda: float = 0.97,
        entropy_weight: float = 0.0,
        max_gradient_norm: float = 10.0,
        normalise_observations: bool = False,
    ):
        """**Arguments:**

        - `hidden_sizes`: of the policy and of the value, which share nothing.
        - `rollout`: environment steps from one update to the next.
        - `learning_rate`, `value_learning_rate`: of Adam, for the policy and the value.
        - `value_steps`: of the value in each update.
        - `discount`: per environment step.
        - `gae_lambda`: the decay of generalised advantage estimation.
        - `entropy_weight`: of the bonus for entropy.
        - `max_gradient_norm`: above which the gradients of either network are scaled down.
        - `normalise_observations`: whether the networks see observations less the mean and over
            the deviation of those up to the last update.

        **Raises:** `ValueError` for sizes and counts below one, or weights and rates out of range.
        """
        super().__init__(
            hidden_sizes,
            rollout=rollout,
            learning_rate=learning_rate,
            discount=discount,
            gae_lambda=gae_lambda,
            entropy_weight=entropy_weight,
            value_weight=1.0,
            max_gradient_norm=max_gradient_norm,
            normalise_observations=normalise_observations,
        )
        at_least_one({"value_steps": value_steps})
        above_zero({"value_learning_rate": value_learning_rate})
        self.value_steps, self.value_learning_rate = value_steps, float(value_learning_rate)

    def _optimiser(self, rate: float) -> optax.GradientTransformation:
        """Adam on clipped gradients."""
        return clipped(optax.adam(rate, eps=1e-5), self.max_gradient_norm)

    def prepare(self, networks: ActorCritic) -> PyTree:
        """One optimiser for the policy and one for the value; see `OnPolicy.prepare`."""
        return (
            begin(self._optimiser(self.learning_rate), _policy_of(networks)),
            begin(self._optimiser(self.value_learning_rate), networks.critic),
        )

    def improve(
        self, networks: ActorCritic, optimiser: PyTree, batch: Batch, *, key: PRNGKeyArray
    ) -> tuple[ActorCritic, PyTree]:
        """One step of the policy and several of the value; see `OnPolicy.improve`."""
        del key
        policy_state, value_state = optimiser
        gradient = _policy_of(jax.grad(self.loss)(networks, batch))
        policy, policy_state = descend(
            self._optimiser(self.learning_rate), _policy_of(networks), policy_state, gradient
        )

        def error(critic: Perceptron) -> Float[Array, ""]:
            values = jax.vmap(critic)(batch.observations)[:, 0]
            return 0.5 * ((values - batch.returns) ** 2).mean()

        def approach(carry: tuple, _: None) -> tuple[tuple, None]:
            critic, state = carry
            rate = self._optimiser(self.value_learning_rate)
            return descend(rate, critic, state, jax.grad(error)(critic)), None

        (critic, value_state), _ = jax.lax.scan(
            approach, (networks.critic, value_state), None, length=self.value_steps
        )
        learned = eqx.tree_at(lambda n: (n.actor, n.critic), networks, (policy[0], critic))
        if networks.log_std is not None:
            learned = eqx.tree_at(lambda n: n.log_std, learned, policy[1])
        return learned, (policy_state, value_state)

    def loss(self, networks: ActorCritic, batch: Batch) -> Float[Array, ""]:
        """The objective that the policy minimises.

        **Arguments:**

        - `networks`: actor and critic.
        - `batch`: the rollouts. Their advantages are normalised here.
        """
        log_probs, entropies, _ = look(networks, batch)
        bonus = self.entropy_weight * entropies.mean()
        return -(log_probs * normalised_advantages(batch.advantages)).mean() - bonus


def _policy_of(networks: ActorCritic) -> tuple[Perceptron, Array | None]:
    return networks.actor, networks.log_std
