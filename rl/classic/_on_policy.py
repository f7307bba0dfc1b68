"""Learning from what the policy of now has just lived: the frame of REINFORCE, A2C, A3C and PPO."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .._learner import Action, Spaces
from ._agent import Agent, above_zero, at_least_one, from_zero, shares
from ._experience import Experience, joined
from ._moments import Moments
from ._networks import ActorCritic

_FARTHEST = 10.0  # deviations: normalised observations are clipped there


class Batch(eqx.Module):
    """What an update fits the networks to: the steps of all streams, one after another.

    - `observations`, `actions`: as in `Transitions`; observations as the networks see them.
    - `log_probs`: of the actions, under the policy that chose them.
    - `advantages`: of the actions, by generalised advantage estimation.
    - `returns`: advantages and values before the update together, targets of the values.
    - `action_masks`: which actions exist; `None` where all do.
    """

    observations: Float[Array, "T A"]
    actions: Float[Array, "T B"]
    log_probs: Float[Array, " T"]
    advantages: Float[Array, " T"]
    returns: Float[Array, " T"]
    action_masks: Bool[Array, "T B"] | None = None


class Policy(eqx.Module):
    """What an on-policy learner has learned.

    - `networks`: the weights of actor and critic.
    - `optimiser`: its state.
    - `observation_moments`: of all observations up to the last update; `None` if they are not
        normalised.
    """

    networks: ActorCritic
    optimiser: PyTree
    observation_moments: Moments | None


class OnPolicy(Agent[Policy]):
    """A learner that acts for `rollout` steps, and improves its policy by what came of them.

    Discrete actions are drawn from a categorical distribution, continuous ones from a Gaussian
    whose deviation does not depend on the observation, clipped to [-1, 1]. Steps that ended by a
    time limit count with the value of where they led.
    """

    hidden_sizes: tuple[int, ...] = eqx.field(static=True)
    rollout: int = eqx.field(static=True)
    learning_rate: float = eqx.field(static=True)
    discount: float = eqx.field(static=True)
    gae_lambda: float = eqx.field(static=True)
    entropy_weight: float = eqx.field(static=True)
    value_weight: float = eqx.field(static=True)
    max_gradient_norm: float = eqx.field(static=True)
    normalise_observations: bool = eqx.field(static=True)

    def __init__(
        self,
        hidden_sizes: tuple[int, ...],
        *,
        rollout: int,
        learning_rate: float,
        discount: float,
        gae_lambda: float,
        entropy_weight: float,
        value_weight: float,
        max_gradient_norm: float,
        normalise_observations: bool,
    ):
        """**Arguments:**

        - `hidden_sizes`: of the actor and of the critic, which share nothing.
        - `rollout`: environment steps from one update to the next.
        - `learning_rate`: of the optimiser.
        - `discount`: per environment step.
        - `gae_lambda`: the decay of generalised advantage estimation.
        - `entropy_weight`, `value_weight`: of the bonus for entropy and of half the squared error
            of the values.
        - `max_gradient_norm`: above which gradients are scaled down.
        - `normalise_observations`: whether the networks see observations less the mean and over
            the deviation of those up to the last update.

        **Raises:** `ValueError` for sizes and counts below one, or weights and rates out of range.
        """
        sizes = {f"hidden_sizes[{k}]": size for k, size in enumerate(hidden_sizes)}
        at_least_one({"rollout": rollout, **sizes})
        shares({"discount": discount, "gae_lambda": gae_lambda})
        above_zero({"learning_rate": learning_rate, "max_gradient_norm": max_gradient_norm})
        from_zero({"entropy_weight": entropy_weight, "value_weight": value_weight})
        self.hidden_sizes, self.rollout = tuple(hidden_sizes), rollout
        self.learning_rate, self.max_gradient_norm = float(learning_rate), float(max_gradient_norm)
        self.discount, self.gae_lambda = float(discount), float(gae_lambda)
        self.entropy_weight, self.value_weight = float(entropy_weight), float(value_weight)
        self.normalise_observations = normalise_observations

    @abc.abstractmethod
    def prepare(self, networks: ActorCritic) -> PyTree:
        """The state of the optimiser at birth."""

    @abc.abstractmethod
    def improve(
        self, networks: ActorCritic, optimiser: PyTree, batch: Batch, *, key: PRNGKeyArray
    ) -> tuple[ActorCritic, PyTree]:
        """Networks and the optimiser's state after one update.

        **Arguments:**

        - `networks`, `optimiser`: before it.
        - `batch`: what the networks had to do with, and what it was worth.
        - `key`: the random key of the update.
        """

    @property
    def period(self) -> int:
        """The rollout."""
        return self.rollout

    @property
    def memory(self) -> int:
        """The rollout."""
        return self.rollout

    def newborn(self, spaces: Spaces, *, key: PRNGKeyArray) -> Policy:
        """New networks; see `Agent.newborn`."""
        networks = ActorCritic(spaces, self.hidden_sizes, key=key)
        return Policy(
            networks=networks,
            optimiser=self.prepare(networks),
            observation_moments=(
                Moments(spaces.observation_size) if self.normalise_observations else None
            ),
        )

    def choose(
        self,
        knowledge: Policy,
        observation: Float[Array, " A"],
        action_mask: Bool[Array, " B"] | None,
        steps: Int[Array, ""],
        *,
        key: PRNGKeyArray,
    ) -> tuple[Action, Float[Array, " B"]]:
        """Draw an action from the policy; see `Agent.choose`."""
        del steps
        policy = knowledge.networks.policy(_normalised(knowledge, observation), action_mask)
        action = policy.sample(key=key)
        return jnp.clip(action, -1.0, 1.0) if action.ndim else action, policy.vector(action)

    def learn(
        self, knowledge: Policy, streams: Experience, steps: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Policy:
        """Improve the policy by full rollouts; see `Agent.learn`."""
        del steps
        return self.update(knowledge, streams, self.discount, self.gae_lambda, key=key)

    def update(
        self,
        policy: Policy,
        streams: Experience,
        discount: float | Float[Array, ""],
        trace_decay: float | Float[Array, ""],
        *,
        key: PRNGKeyArray,
    ) -> Policy:
        """The policy after an update by one rollout of each stream.

        **Arguments:** as of `batch`, and `key`: the random key of the update.
        """
        batch = self.batch(policy, streams, discount, trace_decay)
        learned = self.improve(policy.networks, policy.optimiser, batch, key=key)
        policy = eqx.tree_at(lambda p: (p.networks, p.optimiser), policy, learned)
        if policy.observation_moments is None:
            return policy
        # Not before: the policy that is improved is the one that saw them with the old moments.
        moments = policy.observation_moments.add(joined(streams.transitions.observations))
        return eqx.tree_at(lambda p: p.observation_moments, policy, moments)

    def batch(
        self,
        policy: Policy,
        streams: Experience,
        discount: float | Float[Array, ""],
        trace_decay: float | Float[Array, ""],
    ) -> Batch:
        """What rollouts say to networks that have not changed since they began.

        **Arguments:**

        - `policy`: by which they were lived.
        - `streams`: of `E` environments, each with one rollout.
        - `discount`, `trace_decay`: as of `generalised_advantages`.
        """

        def one(stream: Experience) -> Batch:
            rollout, networks = stream.transitions, policy.networks
            seen, led_to = (
                jax.vmap(lambda o: _normalised(policy, o))(observations)
                for observations in (rollout.observations, rollout.final_observations)
            )
            values = jax.vmap(networks.value)(seen)
            advantages = rollout.advantages(
                values,
                jax.vmap(networks.value)(led_to),
                discount=discount,
                trace_decay=trace_decay,
            )

            def log_prob(observation: Array, action: Array) -> Array:
                return networks.policy(observation, stream.action_mask).log_prob(action)

            log_probs = jax.vmap(log_prob)(seen, rollout.actions)
            mask = stream.action_mask
            if mask is not None:
                mask = jnp.broadcast_to(mask, (self.rollout, *mask.shape))
            returns = advantages + values
            return Batch(seen, rollout.actions, log_probs, advantages, returns, mask)

        return joined(jax.vmap(one)(streams))


def look(
    networks: ActorCritic, batch: Batch
) -> tuple[Float[Array, " T"], Float[Array, " T"], Float[Array, " T"]]:
    """Log probabilities of the actions of a batch, entropies, and values, as networks have them."""

    def now(observation: Array, action: Array, mask: Array | None) -> tuple[Array, Array, Array]:
        policy = networks.policy(observation, mask)
        return policy.log_prob(action), policy.entropy(), networks.value(observation)

    return jax.vmap(now)(batch.observations, batch.actions, batch.action_masks)


def _normalised(knowledge: Policy, observation: Float[Array, " A"]) -> Float[Array, " A"]:
    """An observation as the networks see it."""
    moments = knowledge.observation_moments
    if moments is None:
        return observation
    deviations = (observation - moments.mean) / moments.deviation
    return jnp.clip(deviations, -_FARTHEST, _FARTHEST)
