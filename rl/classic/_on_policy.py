"""Learning from what the policy of now has just lived: the frame of REINFORCE, A2C, A3C and PPO."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .._learner import Action, Spaces, TimeStep
from ._agent import Agent, AgentState, above_zero, at_least_one, existing, from_zero, shares
from ._moments import Moments
from ._networks import ActorCritic
from ._returns import generalised_advantages

_FARTHEST = 10.0  # deviations: normalised observations are clipped there


class Rollout(eqx.Module):
    """What happened in the last `T` steps: all that the next update learns from.

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


class Batch(eqx.Module):
    """What an update fits the networks to: the steps of all streams, one after another.

    - `observations`, `actions`: of the rollouts; observations as the networks see them.
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


class Experience(eqx.Module):
    """One stream of experience.

    - `rollout`: what has been lived since the last update, over what was before.
    - `observation`, `action`: the last action, as in `Rollout`, and what it was chosen on.
    - `observation_mask`, `action_mask`: which sensors and actions exist; `None` where all do.
    """

    rollout: Rollout
    observation: Float[Array, "*E A"]
    action: Float[Array, "*E B"]
    observation_mask: Bool[Array, "*E A"] | None
    action_mask: Bool[Array, "*E B"] | None


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


OnPolicyState = AgentState[Policy, Experience]


class OnPolicy(Agent[Policy, Experience]):
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

    def begin(self, spaces: Spaces) -> Experience:
        """An empty rollout; see `Agent.begin`."""
        observation = jnp.zeros((spaces.observation_size,))
        action = jnp.zeros((spaces.num_actions,))
        flag = jnp.asarray(False)
        moment = Rollout(observation, action, jnp.zeros(()), flag, flag, observation)
        return Experience(
            rollout=jax.tree.map(lambda x: jnp.broadcast_to(x, (self.rollout, *x.shape)), moment),
            observation=observation,
            action=action,
            observation_mask=spaces.observation_mask,
            action_mask=spaces.action_mask,
        )

    def remember(self, stream: Experience, timestep: TimeStep, steps: Int[Array, ""]) -> Experience:
        """The last step in its place in the rollout. At birth, that is overwritten later."""
        moment = Rollout(
            stream.observation,
            stream.action,
            timestep.reward.astype(stream.rollout.rewards.dtype),
            timestep.terminated,
            timestep.truncated,
            existing(timestep.final_observation, stream.observation_mask, stream.observation),
        )
        place = (steps - 1) % self.rollout
        rollout = jax.tree.map(
            lambda all, one: jax.lax.dynamic_update_index_in_dim(all, one, place, 0),
            stream.rollout,
            moment,
        )
        return eqx.tree_at(lambda s: s.rollout, stream, rollout)

    def act(
        self,
        knowledge: Policy,
        stream: Experience,
        observation: Float[Array, " A"],
        steps: Int[Array, ""],
        *,
        key: PRNGKeyArray,
    ) -> tuple[Experience, Action]:
        """Draw an action from the policy; see `Agent.act`."""
        del steps
        observation = existing(observation, stream.observation_mask, stream.observation)
        policy = knowledge.networks.policy(_normalised(knowledge, observation), stream.action_mask)
        action = policy.sample(key=key)
        chosen = (observation, policy.vector(action))
        stream = eqx.tree_at(lambda s: (s.observation, s.action), stream, chosen)
        return stream, jnp.clip(action, -1.0, 1.0) if action.ndim else action

    def learn(
        self, knowledge: Policy, streams: Experience, steps: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Policy:
        """Improve the policy by full rollouts; see `Agent.learn`."""
        del steps
        batch = self.batch(knowledge, streams)
        learned = self.improve(knowledge.networks, knowledge.optimiser, batch, key=key)
        knowledge = eqx.tree_at(lambda k: (k.networks, k.optimiser), knowledge, learned)
        if knowledge.observation_moments is None:
            return knowledge
        # Not before: the policy that is improved is the one that saw them with the old moments.
        moments = knowledge.observation_moments.add(_joined(streams.rollout.observations))
        return eqx.tree_at(lambda k: k.observation_moments, knowledge, moments)

    def batch(self, knowledge: Policy, streams: Experience) -> Batch:
        """What rollouts say to networks that have not changed since they began."""

        def one(stream: Experience) -> Batch:
            rollout, networks = stream.rollout, knowledge.networks
            seen, led_to = (
                jax.vmap(lambda o: _normalised(knowledge, o))(observations)
                for observations in (rollout.observations, rollout.final_observations)
            )
            values = jax.vmap(networks.value)(seen)
            advantages = generalised_advantages(
                rollout.rewards,
                values,
                jax.vmap(networks.value)(led_to),
                rollout.terminated,
                rollout.truncated,
                discount=self.discount,
                trace_decay=self.gae_lambda,
            )

            def log_prob(observation: Array, action: Array) -> Array:
                return networks.policy(observation, stream.action_mask).log_prob(action)

            log_probs = jax.vmap(log_prob)(seen, rollout.actions)
            mask = stream.action_mask
            if mask is not None:
                mask = jnp.broadcast_to(mask, (self.rollout, *mask.shape))
            returns = advantages + values
            return Batch(seen, rollout.actions, log_probs, advantages, returns, mask)

        return jax.tree.map(_joined, jax.vmap(one)(streams))


def descend(
    optimiser: optax.GradientTransformation, networks: PyTree, state: PyTree, gradient: PyTree
) -> tuple[PyTree, PyTree]:
    """Networks and the optimiser's state after one step along a gradient."""
    with jax.numpy_dtype_promotion("standard"):  # optax mixes whole numbers and fractions
        change, state = optimiser.update(gradient, state)
    return eqx.apply_updates(networks, change), state


def look(
    networks: ActorCritic, batch: Batch
) -> tuple[Float[Array, " T"], Float[Array, " T"], Float[Array, " T"]]:
    """Log probabilities of the actions of a batch, entropies, and values, as networks have them."""

    def now(observation: Array, action: Array, mask: Array | None) -> tuple[Array, Array, Array]:
        policy = networks.policy(observation, mask)
        return policy.log_prob(action), policy.entropy(), networks.value(observation)

    return jax.vmap(now)(batch.observations, batch.actions, batch.action_masks)


def normal(advantages: Float[Array, " T"]) -> Float[Array, " T"]:
    """Advantages with zero mean and unit deviation."""
    return (advantages - advantages.mean()) / (advantages.std() + 1e-8)


def _joined(x: Array) -> Array:
    """The steps of all streams, one after another."""
    return x.reshape(-1, *x.shape[2:])


def _normalised(knowledge: Policy, observation: Float[Array, " A"]) -> Float[Array, " A"]:
    """An observation as the networks see it."""
    moments = knowledge.observation_moments
    if moments is None:
        return observation
    deviations = (observation - moments.mean) / moments.deviation
    return jnp.clip(deviations, -_FARTHEST, _FARTHEST)
