"""Proximal policy optimisation as a learner: one stream of experience, learned from as it lives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .._learner import Learner, Spaces, TimeStep
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
    """What an update fits the networks to.

    - `observations`, `actions`: of the rollout; observations as the networks see them.
    - `log_probs`: of the actions, under the policy that chose them.
    - `advantages`: of the actions, by generalised advantage estimation.
    - `returns`: advantages and values before the update together, targets of the values.
    """

    observations: Float[Array, "T A"]
    actions: Float[Array, "T B"]
    log_probs: Float[Array, " T"]
    advantages: Float[Array, " T"]
    returns: Float[Array, " T"]


class PPOState(eqx.Module):
    """The learned variables of a PPO.

    - `networks`: the weights of actor and critic.
    - `optimiser`: the state of Adam.
    - `rollout`: what has been lived since the last update, over what was before.
    - `observation_moments`: of all observations up to the last update; `None` if they are not
        normalised.
    - `observation`, `action`: the last action, as in `Rollout`, and what it was chosen on.
    - `observation_mask`, `action_mask`: which sensors and actions exist; `None` where all do.
    - `steps`: environment steps lived.
    """

    networks: ActorCritic
    optimiser: PyTree
    rollout: Rollout
    observation_moments: Moments | None
    observation: Float[Array, " A"]
    action: Float[Array, " B"]
    observation_mask: Bool[Array, " A"] | None
    action_mask: Bool[Array, " B"] | None
    steps: Int[Array, ""]


class PPO(Learner[PPOState]):
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
    `gae_lambda` of 0.95.

    An update takes far longer than a step. Lives that are begun side by side update at the same
    steps, and `jax.vmap` keeps the condition; it does not if lives are gone on with from a `start`
    that is mapped, for then each could have lived another number of steps.
    """

    hidden_sizes: tuple[int, ...] = eqx.field(static=True)
    rollout: int = eqx.field(static=True)
    epochs: int = eqx.field(static=True)
    minibatches: int = eqx.field(static=True)
    learning_rate: float = eqx.field(static=True)
    discount: float = eqx.field(static=True)
    gae_lambda: float = eqx.field(static=True)
    clip: float = eqx.field(static=True)
    entropy_weight: float = eqx.field(static=True)
    value_weight: float = eqx.field(static=True)
    max_gradient_norm: float = eqx.field(static=True)
    normalise_observations: bool = eqx.field(static=True)

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
        counts = {"rollout": rollout, "epochs": epochs, "minibatches": minibatches}
        counts |= {f"hidden_sizes[{k}]": size for k, size in enumerate(hidden_sizes)}
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"`{name}` must be at least 1, got {count}.")
        if rollout % minibatches or rollout // minibatches < 2:
            raise ValueError(
                f"`rollout` must be a multiple of `minibatches`, and at least twice it; got "
                f"{rollout} steps and {minibatches} minibatches."
            )
        for name, share in {"discount": discount, "gae_lambda": gae_lambda}.items():
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"`{name}` must be a number from 0 to 1, got {share}.")
        above = {"learning_rate": learning_rate, "max_gradient_norm": max_gradient_norm}
        for name, number in (above | {"clip": clip}).items():
            if not 0.0 < number < float("inf"):
                raise ValueError(f"`{name}` must be a number above 0, got {number}.")
        weights = {"entropy_weight": entropy_weight, "value_weight": value_weight}
        for name, weight in weights.items():
            if not 0.0 <= weight < float("inf"):
                raise ValueError(f"`{name}` must be a number from 0, got {weight}.")
        self.hidden_sizes = tuple(hidden_sizes)
        self.rollout, self.epochs, self.minibatches = rollout, epochs, minibatches
        self.learning_rate, self.max_gradient_norm = float(learning_rate), float(max_gradient_norm)
        self.discount, self.gae_lambda, self.clip = float(discount), float(gae_lambda), float(clip)
        self.entropy_weight, self.value_weight = float(entropy_weight), float(value_weight)
        self.normalise_observations = normalise_observations

    def init(self, spaces: Spaces, *, key: PRNGKeyArray) -> PPOState:
        """New networks, and nothing lived yet; see `Learner.init`."""
        networks = ActorCritic(spaces, self.hidden_sizes, key=key)
        observation = jnp.zeros((spaces.observation_size,))
        action = jnp.zeros((spaces.num_actions,))
        flag = jnp.asarray(False)
        moment = Rollout(observation, action, jnp.zeros(()), flag, flag, observation)
        return PPOState(
            networks=networks,
            optimiser=self._optimiser.init(eqx.filter(networks, eqx.is_array)),
            rollout=jax.tree.map(lambda x: jnp.broadcast_to(x, (self.rollout, *x.shape)), moment),
            observation_moments=(
                Moments(spaces.observation_size) if self.normalise_observations else None
            ),
            observation=observation,
            action=action,
            observation_mask=spaces.observation_mask,
            action_mask=spaces.action_mask,
            steps=jnp.asarray(0, jnp.int32),
        )

    def step(
        self, state: PPOState, timestep: TimeStep, *, key: PRNGKeyArray
    ) -> tuple[PPOState, Int[Array, ""] | Float[Array, " B"]]:
        """Remember the last step, learn if the rollout is full, and act; see `Learner.step`."""
        update_key, action_key = jr.split(key)
        state = self._remember(state, timestep)
        # Of a counter and nothing else, so that it stays one condition for many lives.
        full = (state.steps > 0) & (state.steps % self.rollout == 0)
        state = jax.lax.cond(full, self._update, lambda state, key: state, state, update_key)
        observation = _existing(state, timestep.observation)
        policy = state.networks.policy(_normalised(state, observation), state.action_mask)
        action = policy.sample(key=action_key)
        state = eqx.tree_at(
            lambda s: (s.observation, s.action, s.steps),
            state,
            (observation, policy.vector(action), state.steps + 1),
        )
        return state, jnp.clip(action, -1.0, 1.0) if action.ndim else action

    @property
    def _optimiser(self) -> optax.GradientTransformation:
        return optax.chain(
            optax.clip_by_global_norm(self.max_gradient_norm),
            optax.adam(self.learning_rate, eps=1e-5),
        )

    def _remember(self, state: PPOState, timestep: TimeStep) -> PPOState:
        """The last step in its place in the rollout. At birth, that is overwritten later."""
        moment = Rollout(
            state.observation,
            state.action,
            timestep.reward.astype(state.rollout.rewards.dtype),
            timestep.terminated,
            timestep.truncated,
            _existing(state, timestep.final_observation),
        )
        place = (state.steps - 1) % self.rollout
        rollout = jax.tree.map(
            lambda all, one: jax.lax.dynamic_update_index_in_dim(all, one, place, 0),
            state.rollout,
            moment,
        )
        return eqx.tree_at(lambda s: s.rollout, state, rollout)

    def _update(self, state: PPOState, key: PRNGKeyArray) -> PPOState:
        """Learn from a full rollout."""
        batch = self._batch(state)

        def minibatch(carry: tuple, part: Int[Array, " t"]) -> tuple[tuple, None]:
            networks, optimiser = carry
            chosen = jax.tree.map(lambda x: x[part], batch)
            gradient = jax.grad(self.loss)(networks, chosen, state.action_mask)
            with jax.numpy_dtype_promotion("standard"):  # optax mixes whole numbers and fractions
                change, optimiser = self._optimiser.update(gradient, optimiser)
            return (eqx.apply_updates(networks, change), optimiser), None

        def epoch(carry: tuple, epoch_key: PRNGKeyArray) -> tuple[tuple, None]:
            order = jr.permutation(epoch_key, self.rollout).reshape(self.minibatches, -1)
            return jax.lax.scan(minibatch, carry, order)[0], None

        learned = (state.networks, state.optimiser)
        learned = jax.lax.scan(epoch, learned, jr.split(key, self.epochs))[0]
        state = eqx.tree_at(lambda s: (s.networks, s.optimiser), state, learned)
        if state.observation_moments is None:
            return state
        # Not before: the policy that is improved is the one that saw them with the old moments.
        moments = state.observation_moments.add(state.rollout.observations)
        return eqx.tree_at(lambda s: s.observation_moments, state, moments)

    def _batch(self, state: PPOState) -> Batch:
        """What the rollout says to networks that have not changed since it began."""
        rollout, networks = state.rollout, state.networks
        seen, led_to = (
            jax.vmap(lambda o: _normalised(state, o))(observations)
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
            return networks.policy(observation, state.action_mask).log_prob(action)

        log_probs = jax.vmap(log_prob)(seen, rollout.actions)
        return Batch(seen, rollout.actions, log_probs, advantages, advantages + values)

    def loss(
        self, networks: ActorCritic, batch: Batch, action_mask: Bool[Array, " B"] | None = None
    ) -> Float[Array, ""]:
        """The objective to minimise: equation 9 of the paper with the sign turned.

        **Arguments:**

        - `networks`: actor and critic.
        - `batch`: a minibatch. Its advantages are normalised here.
        - `action_mask`: which actions exist; `None` where all do.
        """
        spread = batch.advantages - batch.advantages.mean()
        advantages = spread / (batch.advantages.std() + 1e-8)

        def now(observation: Array, action: Array) -> tuple[Array, Array, Array]:
            policy = networks.policy(observation, action_mask)
            return policy.log_prob(action), policy.entropy(), networks.value(observation)

        log_probs, entropies, values = jax.vmap(now)(batch.observations, batch.actions)
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


def _existing(state: PPOState, observation: Float[Array, " A"]) -> Float[Array, " A"]:
    """An observation in the type of the networks, zero where a sensor does not exist."""
    observation = observation.astype(state.observation.dtype)
    mask = state.observation_mask
    return observation if mask is None else jnp.where(mask, observation, 0.0)


def _normalised(state: PPOState, observation: Float[Array, " A"]) -> Float[Array, " A"]:
    """An observation as the networks see it."""
    moments = state.observation_moments
    if moments is None:
        return observation
    deviations = (observation - moments.mean) / moments.deviation
    return jnp.clip(deviations, -_FARTHEST, _FARTHEST)
