"""LPG: a learned rule that says how a policy, and predictions of its own making, shall change."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

import rl
from rl.classic import Adaptive, AdaptiveState, Perceptron, Transitions


class LPGNetworks(eqx.Module):
    """The learned variables of an LPG.

    - `actor`: from an observation to what an action is drawn by.
    - `predictor`: from an observation to the logits of a prediction, whose meaning is learned.
    """

    actor: Perceptron
    predictor: Perceptron


class UpdateRule(eqx.Module):
    """From a rollout to where policy and predictions shall go (Oh et al. 2020, arXiv:2007.08794,
    section 3.1).

    An LSTM goes through the rollout from its last step to its first, and forgets where an episode
    ended. At each step it reads the reward, whether the episode ended, the discount, how probable
    the action was, and what it makes of the predictions before and after.
    """

    embedding: Perceptron
    cell: eqx.nn.LSTMCell
    policy_head: eqx.nn.Linear
    prediction_head: eqx.nn.Linear

    def __init__(self, units: int, predictions: int, embedding: int, *, key: PRNGKeyArray):
        """**Arguments:**

        - `units`: of the LSTM.
        - `predictions`: entries of a prediction.
        - `embedding`: hidden units of what is made of a prediction: one number.
        - `key`: the random key of the parameters.
        """
        embedding_key, cell_key, policy_key, prediction_key = jr.split(key, 4)
        self.embedding = Perceptron((predictions, embedding, 1), relu=True, key=embedding_key)
        self.cell = eqx.nn.LSTMCell(6, units, key=cell_key)
        self.policy_head = eqx.nn.Linear(units, "scalar", key=policy_key)
        self.prediction_head = eqx.nn.Linear(units, predictions, key=prediction_key)

    def __call__(
        self,
        rollout: Transitions,
        probabilities: Float[Array, " T"],
        predictions: Float[Array, "T m"],
        next_predictions: Float[Array, "T m"],
        discount: float,
    ) -> tuple[Float[Array, " T"], Float[Array, "T m"]]:
        """How much more probable each action shall become, and what is to be predicted.

        **Arguments:**

        - `rollout`: `T` steps, the oldest first.
        - `probabilities`: of the actions.
        - `predictions`, `next_predictions`: for the observation of each step, and for where the
            step led, before any reset.
        - `discount`: per environment step.

        **Returns:**

        Numbers of either sign, and distributions over the entries.
        """
        embed = jax.vmap(lambda y: self.embedding(y)[0])
        after = jnp.where(rollout.terminated, 0.0, embed(next_predictions))
        ended = rollout.terminated | rollout.truncated
        discounts = jnp.full_like(rollout.rewards, discount)
        over = ended.astype(rollout.rewards.dtype)
        seen = (rollout.rewards, over, discounts, probabilities, embed(predictions), after)

        def back(
            later: tuple[Array, Array], now: tuple[Array, Array]
        ) -> tuple[tuple[Array, Array], Array]:
            x, over = now
            later = jax.tree.map(lambda s: jnp.where(over, 0.0, s), later)
            state = self.cell(x, later)
            return state, state[0]

        start = (jnp.zeros((self.cell.hidden_size,)), jnp.zeros((self.cell.hidden_size,)))
        _, hidden = jax.lax.scan(back, start, (jnp.stack(seen, -1), ended), reverse=True)
        hidden = jax.nn.relu(hidden)
        targets = jax.nn.softmax(jax.vmap(self.prediction_head)(hidden))
        return jax.vmap(self.policy_head)(hidden), targets


class LPG(Adaptive[LPGNetworks]):
    """A learned policy gradient (Oh et al. 2020, arXiv:2007.08794).

    Its meta-variables are those of an update rule, its learned variables a policy and predictions
    that begin at random in each life. Every `rollout` steps, both take a step: actions become more
    or less probable by as much as the rule says, and predictions come closer to what it names
    (equation 3). What predictions are about, the rule decides: nobody tells it of values.

    Any outer loop meta-trains it: `meta.ActorCritic` by gradients through its steps, as the paper
    does, or `meta.EvolutionStrategy`. The paper has discrete actions. With continuous ones, the
    rule reads the logistic function of the logarithm of the density in place of the probability.
    """

    rule: UpdateRule
    hidden_sizes: tuple[int, ...] = eqx.field(static=True)
    rollout: int = eqx.field(static=True)
    learning_rate: float = eqx.field(static=True)
    discount: float = eqx.field(static=True)
    prediction_weight: float = eqx.field(static=True)
    units: int = eqx.field(static=True)
    predictions: int = eqx.field(static=True)
    embedding: int = eqx.field(static=True)

    def __init__(
        self,
        hidden_sizes: tuple[int, ...] = (32, 32),
        *,
        rollout: int = 20,
        learning_rate: float = 0.1,
        discount: float = 0.95,
        prediction_weight: float = 0.5,
        units: int = 32,
        predictions: int = 8,
        embedding: int = 16,
        key: PRNGKeyArray,
    ):
        """In brackets what the paper has.

        **Arguments:**

        - `hidden_sizes`: of the policy and of the predictions, which share nothing.
        - `rollout`: environment steps from one step to the next (20).
        - `learning_rate`: of the steps, plain gradient descent.
        - `discount`: which the rule is told, per environment step.
        - `prediction_weight`: of the distance between predictions and what is to be predicted
            (0.5).
        - `units`: of the LSTM (256).
        - `predictions`: entries of a prediction (30).
        - `embedding`: hidden units of what the rule makes of a prediction (16).
        - `key`: the random key of the rule.

        **Raises:** `ValueError` for sizes and counts below one, or numbers out of range.
        """
        sizes = {f"hidden_sizes[{k}]": size for k, size in enumerate(hidden_sizes)}
        counts = {"rollout": rollout, "units": units, "predictions": predictions}
        for name, count in {**sizes, **counts, "embedding": embedding}.items():
            if count < 1:
                raise ValueError(f"`{name}` must be at least 1, got {count}.")
        if not 0.0 < learning_rate < float("inf"):
            raise ValueError(f"`learning_rate` must be a number above 0, got {learning_rate}.")
        if not 0.0 <= discount <= 1.0:
            raise ValueError(f"`discount` must be a number from 0 to 1, got {discount}.")
        if not 0.0 <= prediction_weight < float("inf"):
            raise ValueError(
                f"`prediction_weight` must be a number from 0, got {prediction_weight}."
            )
        self.rule = UpdateRule(units, predictions, embedding, key=key)
        self.hidden_sizes, self.rollout = tuple(hidden_sizes), rollout
        self.learning_rate, self.discount = float(learning_rate), float(discount)
        self.prediction_weight = float(prediction_weight)
        self.units, self.predictions, self.embedding = units, predictions, embedding

    def newborn(self, spaces: rl.Spaces, *, key: PRNGKeyArray) -> LPGNetworks:
        """Networks with random weights; see `Adaptive.newborn`."""
        actor_key, predictor_key = jr.split(key)
        layers = (spaces.observation_size, *self.hidden_sizes)
        outputs = spaces.num_actions * (rl.Gaussian.channels if spaces.continuous else 1)
        return LPGNetworks(
            Perceptron((*layers, outputs), last_scale=0.01, key=actor_key),
            Perceptron((*layers, self.predictions), key=predictor_key),
        )

    def outputs(self, networks: LPGNetworks, observation: Float[Array, " A"]) -> Float[Array, " O"]:
        """Those of the actor."""
        return networks.actor(observation)

    def adapt(self, state: AdaptiveState[LPGNetworks], rollout: Transitions) -> LPGNetworks:
        """One step of gradient descent, where the rule says; see `Adaptive.adapt`."""
        networks, predict = state.networks, lambda n: jax.vmap(n.predictor)

        def log_probs(networks: LPGNetworks) -> Float[Array, " T"]:
            return jax.vmap(lambda o, a: self.log_prob(networks, o, a, state))(
                rollout.observations, rollout.actions
            )

        probable = log_probs(networks)
        continuous = isinstance(state.readout, rl.Gaussian)
        gains, targets = self.rule(
            rollout,
            jax.nn.sigmoid(probable) if continuous else jnp.exp(probable),
            jax.nn.softmax(predict(networks)(rollout.observations)),
            jax.nn.softmax(predict(networks)(rollout.final_observations)),
            self.discount,
        )

        def loss(networks: LPGNetworks) -> Float[Array, ""]:
            """Equation 3, negated: what the rule names is a constant of this step."""
            logs = jax.nn.log_softmax(predict(networks)(rollout.observations))
            apart = (jnp.exp(logs) * (logs - jnp.log(targets + 1e-8))).sum(-1)
            return (self.prediction_weight * apart - log_probs(networks) * gains).mean()

        gradient = jax.grad(loss)(networks)
        return jax.tree.map(lambda w, g: w - self.learning_rate * g, networks, gradient)
