"""Proximal policy optimisation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ._agent import above_zero, at_least_one
from ._networks import ActorCritic
from ._on_policy import Batch, OnPolicy, look
from ._optimisers import begin, clipped, descend
from ._returns import normalised_advantages


class PPO(OnPolicy):
    """Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347).

    It acts for `rollout` steps, and then climbs the clipped objective (equation 7) by several
    epochs of Adam over what it has lived; it has no meta-variables. There is one stream of
    experience, so that its score can be compared with that of a learner that was meta-trained.
    Discrete actions are drawn from a categorical distribution, continuous ones from a Gaussian
    whose deviation does not depend on the observation, clipped to [-1, 1].

    `clip`, `epochs` and Adam are Schulman et al.'s for continuous control, with a higher rate. The
    short rollout, that rate, `discount` and `gae_lambda` were chosen for lives of 5,000 steps with
    `rl.envs.CartPole()`; some neighbours score as well, within the standard error. With seeds that
    the choice never saw, an episode lasts 150 steps on average, and 443 of at most 500 in the last
    fifth of the life. In 20 lives of 50,000 steps with CartPole-v1 no pole fell in the last fifth.
    Pendulum prefers longer rollouts: 256 steps, 4 minibatches, a discount of 0.95 and a
    `gae_lambda` of 0.95. Many environments at once want a rollout of 128, 8 minibatches, a
    discount of 0.99 and a `gae_lambda` of 0.97.
    """

    epochs: int = eqx.field(static=True)
    minibatches: int = eqx.field(static=True)
    clip: float = eqx.field(static=True)

    def __init__(
        self,
        hidden_sizes: tuple[int, ...] = (64, 64),
        *,
        rollout: int = 32,
        epochs: int = 10,
        minibatches: int = 2,
        learning_rate: float = 1e-3,
        discount: float = 0.98,
        gae_lambda: float = 0.9,
        clip: float = 0.2,
        entropy_weight: float = 0.0,
        value_weight: float = 0.5,
        max_gradient_norm: float = 0.5,
        normalise_observations: bool = False,
    ):
        """**Arguments:**

        - `hidden_sizes`: of the actor and of the critic, which share nothing. Two layers of 64
            with tanh are Schulman et al.'s.
        - `rollout`: environment steps from one update to the next.
        - `epochs`: how often an update goes through the rollout.
        - `minibatches`: into how many parts each epoch cuts it, in random order.
        - `learning_rate`: of Adam, with epsilon 1e-5.
        - `discount`: per environment step.
        - `gae_lambda`: the decay of generalised advantage estimation.
        - `clip`: how far the ratio of probabilities may leave 1 and still be rewarded.
        - `entropy_weight`, `value_weight`: of the bonus for entropy and of half the squared error
            of the values.
        - `max_gradient_norm`: above which gradients are scaled down (0.5 in Andrychowicz et al.
            2021, arXiv:2006.05990).
        - `normalise_observations`: whether the networks see observations less the mean and over
            the deviation of those up to the last update.

        **Raises:** `ValueError` for sizes and counts below one, a rollout that cannot be cut into
        minibatches of two steps or more, or weights and rates out of range.
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
        at_least_one({"epochs": epochs, "minibatches": minibatches})
        if rollout % minibatches or rollout // minibatches < 2:
            raise ValueError(
                f"`rollout` must be a multiple of `minibatches`, and at least twice it; got "
                f"{rollout} steps and {minibatches} minibatches."
            )
        above_zero({"clip": clip})
        self.epochs, self.minibatches, self.clip = epochs, minibatches, float(clip)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam on clipped gradients."""
        return clipped(optax.adam(self.learning_rate, eps=1e-5), self.max_gradient_norm)

    def prepare(self, networks: ActorCritic) -> PyTree:
        """Of the optimiser; see `OnPolicy.prepare`."""
        return begin(self.optimiser, networks)

    def improve(
        self, networks: ActorCritic, optimiser: PyTree, batch: Batch, *, key: PRNGKeyArray
    ) -> tuple[ActorCritic, PyTree]:
        """Several epochs over the batch, each in minibatches; see `OnPolicy.improve`."""

        def minibatch(carry: tuple, part: Int[Array, " t"]) -> tuple[tuple, None]:
            networks, optimiser = carry
            chosen = jax.tree.map(lambda x: x[part], batch)
            gradient = jax.grad(self.loss)(networks, chosen)
            return descend(self.optimiser, networks, optimiser, gradient), None

        def epoch(carry: tuple, epoch_key: PRNGKeyArray) -> tuple[tuple, None]:
            order = jr.permutation(epoch_key, batch.advantages.shape[0])
            return jax.lax.scan(minibatch, carry, order.reshape(self.minibatches, -1))[0], None

        return jax.lax.scan(epoch, (networks, optimiser), jr.split(key, self.epochs))[0]

    def loss(self, networks: ActorCritic, batch: Batch) -> Float[Array, ""]:
        """The objective to minimise: equation 9 of the paper with the sign turned.

        **Arguments:**

        - `networks`: actor and critic.
        - `batch`: a minibatch. Its advantages are normalised here.
        """
        advantages = normalised_advantages(batch.advantages)
        log_probs, entropies, values = look(networks, batch)
        gain = clipped_gain(log_probs, batch.log_probs, advantages, clip=self.clip)
        error = 0.5 * ((values - batch.returns) ** 2).mean()
        return -gain + self.value_weight * error - self.entropy_weight * entropies.mean()


def clipped_gain(
    log_probs: Float[Array, " T"],
    old_log_probs: Float[Array, " T"],
    advantages: Float[Array, " T"],
    *,
    clip: float,
) -> Float[Array, ""]:
    """The clipped objective, equation 7 of Schulman et al.: what a policy gains over the old one.

    **Arguments:**

    - `log_probs`, `old_log_probs`: of the actions that were taken, under either policy.
    - `advantages`: of these actions.
    - `clip`: how far the ratio of the probabilities may leave 1 and still be rewarded.
    """
    ratios = jnp.exp(log_probs - old_log_probs)
    within = jnp.clip(ratios, 1.0 - clip, 1.0 + clip)
    return jnp.minimum(ratios * advantages, within * advantages).mean()
