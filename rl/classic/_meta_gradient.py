"""Advantage actor-critic that tunes its own discount and bootstrapping while it learns."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .._learner import Action, Spaces
from ._a2c import A2C
from ._agent import Agent, above_zero, shares
from ._experience import Experience
from ._on_policy import Policy, look
from ._optimisers import begin, descend


class TunedPolicy(eqx.Module):
    """What a `MetaGradientA2C` has learned.

    - `policy`: as an A2C has it.
    - `before`: what it was before the last update.
    - `logits`: of the discount and of lambda, which are their logistic functions.
    - `tuner`: the state of the optimiser of these.
    """

    policy: Policy
    before: Policy
    logits: Float[Array, "2"]
    tuner: PyTree


class MetaGradientA2C(Agent[TunedPolicy]):
    """A2C with the meta-gradients of Xu et al. 2018 (arXiv:1805.09801).

    After each update it asks how the next rollout would have gone better if the update before had
    been made with another discount and another lambda: the policy gradient of that rollout, with
    a discount and a lambda that stay as they are, goes back through the update to both, and they
    follow it.
    Then it learns from that rollout with what they have become.

    What Xu et al. have besides is left out: networks that are told the discount and lambda.
    """

    hidden_sizes: tuple[int, ...] = eqx.field(static=True)
    rollout: int = eqx.field(static=True)
    learning_rate: float = eqx.field(static=True)
    discount: float = eqx.field(static=True)
    gae_lambda: float = eqx.field(static=True)
    meta_learning_rate: float = eqx.field(static=True)
    meta_discount: float = eqx.field(static=True)
    meta_gae_lambda: float = eqx.field(static=True)
    entropy_weight: float = eqx.field(static=True)
    value_weight: float = eqx.field(static=True)
    max_gradient_norm: float = eqx.field(static=True)
    normalise_advantages: bool = eqx.field(static=True)
    normalise_observations: bool = eqx.field(static=True)

    def __init__(
        self,
        hidden_sizes: tuple[int, ...] = (64, 64),
        *,
        rollout: int = 32,
        learning_rate: float = 3e-3,
        discount: float = 0.98,
        gae_lambda: float = 0.95,
        meta_learning_rate: float = 1e-2,
        meta_discount: float = 0.98,
        meta_gae_lambda: float = 1.0,
        entropy_weight: float = 0.0,
        value_weight: float = 0.5,
        max_gradient_norm: float = 0.5,
        normalise_advantages: bool = True,
        normalise_observations: bool = False,
    ):
        """**Arguments:** as of `A2C`, and

        - `discount`, `gae_lambda`: where both begin, above 0 and below 1.
        - `meta_learning_rate`: of Adam, for the logits of both.
        - `meta_discount`, `meta_gae_lambda`: what the meta-gradient judges by, for good.

        **Raises:** `ValueError` as `A2C` does, and for a discount or a `gae_lambda` of 0 or 1.
        """
        self.hidden_sizes, self.rollout = tuple(hidden_sizes), rollout
        self.learning_rate, self.max_gradient_norm = float(learning_rate), float(max_gradient_norm)
        self.discount, self.gae_lambda = float(discount), float(gae_lambda)
        self.entropy_weight, self.value_weight = float(entropy_weight), float(value_weight)
        self.normalise_advantages = normalise_advantages
        self.normalise_observations = normalise_observations
        self.meta_learning_rate = float(meta_learning_rate)
        _ = self.a2c  # which says what cannot be
        for name, share in {"discount": discount, "gae_lambda": gae_lambda}.items():
            if not 0.0 < share < 1.0:
                raise ValueError(
                    f"`{name}` must lie between 0 and 1, got {share}: from there, no gradient "
                    "leads anywhere."
                )
        above_zero({"meta_learning_rate": meta_learning_rate})
        shares({"meta_discount": meta_discount, "meta_gae_lambda": meta_gae_lambda})
        self.meta_discount, self.meta_gae_lambda = float(meta_discount), float(meta_gae_lambda)

    @property
    def a2c(self) -> A2C:
        """What is tuned."""
        return A2C(
            self.hidden_sizes,
            rollout=self.rollout,
            learning_rate=self.learning_rate,
            discount=self.discount,
            gae_lambda=self.gae_lambda,
            entropy_weight=self.entropy_weight,
            value_weight=self.value_weight,
            max_gradient_norm=self.max_gradient_norm,
            normalise_advantages=self.normalise_advantages,
            normalise_observations=self.normalise_observations,
        )

    @property
    def tuner(self) -> optax.GradientTransformation:
        """Adam."""
        return optax.adam(self.meta_learning_rate)

    @property
    def period(self) -> int:
        """The rollout."""
        return self.rollout

    @property
    def memory(self) -> int:
        """Two rollouts: the last, and that before it."""
        return 2 * self.rollout

    def newborn(self, spaces: Spaces, *, key: PRNGKeyArray) -> TunedPolicy:
        """New networks; see `Agent.newborn`."""
        policy, begun = self.a2c.newborn(spaces, key=key), (self.discount, self.gae_lambda)
        logits = jnp.asarray([math.log(share / (1.0 - share)) for share in begun])
        return TunedPolicy(policy, policy, logits, begin(self.tuner, logits))

    def choose(
        self,
        knowledge: TunedPolicy,
        observation: Float[Array, " A"],
        action_mask: Bool[Array, " B"] | None,
        steps: Int[Array, ""],
        *,
        key: PRNGKeyArray,
    ) -> tuple[Action, Float[Array, " B"]]:
        """Draw an action from the policy; see `Agent.choose`."""
        return self.a2c.choose(knowledge.policy, observation, action_mask, steps, key=key)

    def learn(
        self,
        knowledge: TunedPolicy,
        streams: Experience,
        steps: Int[Array, ""],
        *,
        key: PRNGKeyArray,
    ) -> TunedPolicy:
        """Tune, and then learn; see `Agent.learn`."""
        last, previous = self._rollouts(streams, steps)

        def tune(knowledge: TunedPolicy) -> TunedPolicy:
            gradient = jax.grad(self.hindsight)(
                knowledge.logits, knowledge.before, previous, last, key=key
            )
            moved = descend(self.tuner, knowledge.logits, knowledge.tuner, gradient)
            return eqx.tree_at(lambda k: (k.logits, k.tuner), knowledge, moved)

        knowledge = jax.lax.cond(steps >= self.memory, tune, lambda k: k, knowledge)
        before, (discount, decay) = knowledge.policy, jax.nn.sigmoid(knowledge.logits)
        policy = self.a2c.update(before, last, discount, decay, key=key)
        return TunedPolicy(policy, before, knowledge.logits, knowledge.tuner)

    def hindsight(
        self,
        logits: Float[Array, "2"],
        before: Policy,
        previous: Experience,
        last: Experience,
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        """What the last rollout says of the update before it: the loss of the policy that it made.

        **Arguments:**

        - `logits`: of the discount and the lambda of the update.
        - `before`: what there was to update.
        - `previous`: what it was updated by.
        - `last`: what was lived after it.
        - `key`: the random key of the update.
        """
        a2c, (discount, decay) = self.a2c, jax.nn.sigmoid(logits)
        updated = a2c.update(before, previous, discount, decay, key=key)
        batch = a2c.batch(updated, last, self.meta_discount, self.meta_gae_lambda)
        advantages = jax.lax.stop_gradient(a2c.advantages(batch))
        return -(look(updated.networks, batch)[0] * advantages).mean()

    def _rollouts(
        self, streams: Experience, steps: Int[Array, ""]
    ) -> tuple[Experience, Experience]:
        """The last rollout of all streams, and that before it."""
        first_is_last = (steps // self.rollout) % 2 == 1

        def half(last: bool) -> Experience:
            def pick(x: Array) -> Array:
                both = x.reshape(x.shape[0], 2, self.rollout, *x.shape[2:])
                return jnp.where(first_is_last == last, both[:, 0], both[:, 1])

            chosen = jax.tree.map(pick, streams.transitions)
            return eqx.tree_at(lambda s: s.transitions, streams, chosen)

        return half(last=True), half(last=False)
