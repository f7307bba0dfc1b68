"""Advantage actor-critic, in its two usual forms."""

import equinox as eqx
import jax
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ._networks import ActorCritic
from ._on_policy import Batch, OnPolicy, look
from ._optimisers import begin, clipped, descend
from ._returns import normalised_advantages


class A2C(OnPolicy):
    """Advantage actor-critic with Monte Carlo advantages (Mnih et al. 2016, arXiv:1602.01783).

    Every `rollout` steps it makes one step of RMSProp along the gradient of `log pi(a | o)` times
    the advantage: the discounted rewards up to the end of the episode, or of the rollout with the
    value of where it led, less the value. That is generalised advantage estimation with a
    `gae_lambda` of 1. Actor and critic share nothing.
    """

    normalise_advantages: bool = eqx.field(static=True)

    def __init__(
        self,
        hidden_sizes: tuple[int, ...] = (64, 64),
        *,
        rollout: int = 32,
        learning_rate: float = 3e-3,
        discount: float = 0.98,
        gae_lambda: float = 1.0,
        entropy_weight: float = 0.0,
        value_weight: float = 0.5,
        max_gradient_norm: float = 0.5,
        normalise_advantages: bool = True,
        normalise_observations: bool = False,
    ):
        """**Arguments:**

        - `hidden_sizes`: of the actor and of the critic, which share nothing.
        - `rollout`: environment steps from one update to the next.
        - `learning_rate`: of RMSProp, with decay 0.99 and epsilon 1e-5 within the root.
        - `discount`: per environment step.
        - `gae_lambda`: the decay of generalised advantage estimation; 1 for Monte Carlo.
        - `entropy_weight`, `value_weight`: of the bonus for entropy and of half the squared error
            of the values.
        - `max_gradient_norm`: above which gradients are scaled down.
        - `normalise_advantages`: whether those of an update get zero mean and unit deviation.
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
            value_weight=value_weight,
            max_gradient_norm=max_gradient_norm,
            normalise_observations=normalise_observations,
        )
        self.normalise_advantages = normalise_advantages

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """RMSProp on clipped gradients."""
        return clipped(
            optax.rmsprop(self.learning_rate, decay=0.99, eps=1e-5), self.max_gradient_norm
        )

    def prepare(self, networks: ActorCritic) -> PyTree:
        """Of the optimiser; see `OnPolicy.prepare`."""
        return begin(self.optimiser, networks)

    def improve(
        self, networks: ActorCritic, optimiser: PyTree, batch: Batch, *, key: PRNGKeyArray
    ) -> tuple[ActorCritic, PyTree]:
        """One step along one gradient; see `OnPolicy.improve`."""
        del key
        gradient = jax.grad(self.loss)(networks, batch)
        return descend(self.optimiser, networks, optimiser, gradient)

    def loss(self, networks: ActorCritic, batch: Batch) -> Float[Array, ""]:
        """The objective to minimise.

        **Arguments:**

        - `networks`: actor and critic.
        - `batch`: the rollouts.
        """
        log_probs, entropies, values = look(networks, batch)
        error = 0.5 * ((values - batch.returns) ** 2).mean()
        bonus = self.entropy_weight * entropies.mean()
        gain = (log_probs * self.advantages(batch)).mean()
        return self.value_weight * error - gain - bonus

    def advantages(self, batch: Batch) -> Float[Array, " T"]:
        """Of a batch, as the loss has them: normalised if that is wanted."""
        if self.normalise_advantages:
            return normalised_advantages(batch.advantages)
        return batch.advantages


class A3C(A2C):
    """Advantage actor-critic with generalised advantages and a bonus for entropy.

    Its parallel actors are the environments of `rl.classic.train`; they are synchronous, which
    changes nothing in what is learned from and leaves out its age (Mnih et al. 2016,
    arXiv:1602.01783, whose actors do not wait for each other). In one life it has one actor.
    """

    def __init__(
        self,
        hidden_sizes: tuple[int, ...] = (64, 64),
        *,
        rollout: int = 32,
        learning_rate: float = 3e-3,
        discount: float = 0.98,
        gae_lambda: float = 0.95,
        entropy_weight: float = 0.01,
        value_weight: float = 0.5,
        max_gradient_norm: float = 0.5,
        normalise_advantages: bool = True,
        normalise_observations: bool = False,
    ):
        """**Arguments:** as of `A2C`; only `gae_lambda` and `entropy_weight` begin elsewhere.

        **Raises:** `ValueError` as `A2C` does.
        """
        super().__init__(
            hidden_sizes,
            rollout=rollout,
            learning_rate=learning_rate,
            discount=discount,
            gae_lambda=gae_lambda,
            entropy_weight=entropy_weight,
            value_weight=value_weight,
            max_gradient_norm=max_gradient_norm,
            normalise_advantages=normalise_advantages,
            normalise_observations=normalise_observations,
        )
