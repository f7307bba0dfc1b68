"""Actor-critic: the outer loop that follows gradients through whole lives."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PRNGKeyArray, PyTree

import rl

from ._es import Schedule
from ._gradient_critic import Critic
from ._gradient_life import Experience, live_through, replay
from ._lesson import Lesson, total_reward


class Batch(NamedTuple):
    """Lives, and what there is to learn from them.

    - `keys`: of the lives.
    - `experience`: what happened in them.
    - `advantages`: of the actions.
    - `returns`: what the values should have been.
    - `old_log_probs`: of the actions, when they were chosen; `None` where nobody asks.
    """

    keys: Key[Array, " lives"]
    experience: Experience
    advantages: Float[Array, "lives L"]
    returns: Float[Array, "lives L"]
    old_log_probs: Float[Array, "lives L"] | None


class ActorCritic(eqx.Module):
    """Advantage actor-critic over whole lives, the outer loop of RL2 (Duan et al. 2016,
    arXiv:1611.02779; Wang et al. 2016, arXiv:1611.05763), for any `rl.Differentiable` learner.

    In each generation the learner lives some lives. Then its parameters follow the gradient of the
    probability of what it did, weighted by how much better that was than expected (generalised
    advantage estimation), back through its learned variables to its birth. A recurrent
    critic of each lesson says what was to be expected. With `clip`, the objective is that of
    proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347).

    Memory grows with the square root of the steps of a life (but for what happened in it).
    """

    optimizer: optax.GradientTransformation = eqx.field(static=True)
    discount: float = eqx.field(static=True)
    gae_lambda: float = eqx.field(static=True)
    across_episodes: bool = eqx.field(static=True)
    endless: bool = eqx.field(static=True)
    entropy_weight: float | Schedule = eqx.field(static=True)
    normalise_advantages: bool = eqx.field(static=True)
    max_gradient_norm: float = eqx.field(static=True)
    truncation: int | None = eqx.field(static=True)
    rematerialise: bool = eqx.field(static=True)
    critic_size: int = eqx.field(static=True)
    critic_optimizer: optax.GradientTransformation = eqx.field(static=True)
    clip: float | None = eqx.field(static=True)
    epochs: int = eqx.field(static=True)
    minibatches: int = eqx.field(static=True)

    def __init__(
        self,
        optimizer: optax.GradientTransformation | None = None,
        *,
        discount: float = 0.95,
        gae_lambda: float = 0.95,
        across_episodes: bool = True,
        endless: bool = False,
        entropy_weight: float | Schedule = 0.01,
        normalise_advantages: bool = True,
        max_gradient_norm: float = 1.0,
        truncation: int | None = None,
        rematerialise: bool = True,
        critic_size: int = 32,
        critic_optimizer: optax.GradientTransformation | None = None,
        clip: float | None = None,
        epochs: int = 1,
        minibatches: int = 1,
    ):
        """**Arguments:**

        - `optimizer`: what follows the gradient; `optax.adam(3e-3)` by default. A learning rate
            may be a schedule of the updates.
        - `discount`: per environment step.
        - `gae_lambda`: the decay of generalised advantage estimation.
        - `across_episodes`: whether what an action is worth goes on beyond the end of its episode,
            as in RL2: exploring in one episode then pays in the next. Otherwise it ends with the
            episode: after a truncated one, the value of where it led stands in for the rest.
        - `endless`: whether a life is a window on one without an end, so that a value stands in
            for what follows its last step. Otherwise nothing counts after the last step.
        - `entropy_weight`: of the bonus for undecided choices: a number, or a schedule (a
            function of the generation, as optax makes them).
        - `normalise_advantages`: whether the advantages in a generation (in each of its lessons)
            are brought to zero mean and unit deviation.
        - `max_gradient_norm`: above which a gradient is scaled down.
        - `truncation`: environment steps after which gradients reach back no further; `None`:
            to the birth.
        - `rematerialise`: whether to compute lives once more on the way back instead of keeping
            all of them; more time for much less memory.
        - `critic_size`: hidden units of a critic.
        - `critic_optimizer`: of the critics, `optax.adam(3e-3)` by default. They share no
            parameters with the learner, so there is no weight between the two losses.
        - `clip`: how far the ratio of probabilities may leave 1 and still be rewarded, as 0.2;
            `None`: the plain policy gradient.
        - `epochs`: how often a generation's lives are learned from; above 1 with `clip` only.
        - `minibatches`: into how many parts each epoch cuts them, in random order.

        **Raises:** `ValueError` for counts below one, weights and rates out of range, or settings
        that exclude each other.
        """
        counts = {"critic_size": critic_size, "epochs": epochs, "minibatches": minibatches}
        counts |= {} if truncation is None else {"truncation": truncation}
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"`{name}` must be at least 1, got {count}.")
        for name, share in {"discount": discount, "gae_lambda": gae_lambda}.items():
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"`{name}` must be a number from 0 to 1, got {share}.")
        above = {"max_gradient_norm": max_gradient_norm} | ({} if clip is None else {"clip": clip})
        for name, number in above.items():
            if not 0.0 < number < math.inf:
                raise ValueError(f"`{name}` must be a number above 0, got {number}.")
        if not callable(entropy_weight) and not 0.0 <= entropy_weight < math.inf:
            raise ValueError(f"`entropy_weight` must be a number from 0, got {entropy_weight}.")
        if endless and discount == 1.0:
            raise ValueError("`endless` needs a `discount` below 1: all values would be infinite.")
        if clip is None and epochs * minibatches > 1:
            raise ValueError(
                f"{epochs} epochs of {minibatches} minibatches learn from lives that the learner "
                "would not live any more; that needs `clip`, for example 0.2."
            )
        self.optimizer = optax.adam(3e-3) if optimizer is None else optimizer
        self.discount, self.gae_lambda = float(discount), float(gae_lambda)
        self.across_episodes, self.endless = across_episodes, endless
        self.entropy_weight, self.normalise_advantages = entropy_weight, normalise_advantages
        self.max_gradient_norm = float(max_gradient_norm)
        self.truncation, self.rematerialise = truncation, rematerialise
        self.critic_size = critic_size
        self.critic_optimizer = optax.adam(3e-3) if critic_optimizer is None else critic_optimizer
        self.clip, self.epochs, self.minibatches = clip, epochs, minibatches

    @property
    def population(self) -> int:
        """How many members live in a generation: 1, the learner itself."""
        return 1

    def steps(self, lesson: Lesson) -> int:
        """The environment steps of a life of a lesson in one generation: all of them."""
        return lesson.steps

    @property
    def schedules(self) -> dict[str, Callable[[int], float]]:
        """What may change with the generations, by name."""
        return {"entropy_weight": self.entropy_weight_at}

    def entropy_weight_at(self, generation: int) -> float:
        """The weight of the bonus for entropy in a generation, counted from 0."""
        weight = self.entropy_weight
        return float(np.asarray(weight(generation))) if callable(weight) else weight

    def critic(self, lesson: Lesson, *, key: PRNGKeyArray) -> Critic:
        """A new critic for a lesson."""
        return Critic(
            lesson.tasks.spaces,
            self.critic_size,
            steps=lesson.steps,
            discount=self.discount,
            endless=self.endless,
            key=key,
        )

    def live(
        self,
        learner: rl.Learner,
        critic: Critic,
        lesson: Lesson,
        keys: Key[Array, " lives"],
    ) -> Batch:
        """Live some lives of a lesson, and say what there is to learn from them.

        The advantages are as they come, not normalised.
        """

        def one(key: PRNGKeyArray) -> tuple[Experience, Array, Array, Array | None]:
            experience = live_through(learner, lesson.tasks, steps=lesson.steps, key=key)
            advantages, returns = self.judge(critic, experience)
            before = None
            if self.clip is not None:
                before = self._replay(learner, lesson, key, experience)[0]
            return experience, advantages, returns, before

        return Batch(keys, *jax.vmap(one)(keys))

    def judge(
        self, critic: Critic, experience: Experience
    ) -> tuple[Float[Array, " L"], Float[Array, " L"]]:
        """How much better the actions of a life were than expected, and targets of the values."""
        values = critic.values(experience.timesteps)
        terminated, truncated = experience.terminated, experience.truncated
        if self.across_episodes:
            next_values = values[1:]
            terminated, truncated = jnp.zeros_like(terminated), jnp.zeros_like(truncated)
        else:
            next_values = critic.next_values(experience.timesteps)
        advantages = rl.classic.generalised_advantages(
            experience.rewards,
            values[:-1],
            next_values,
            terminated,
            truncated,
            discount=self.discount,
            trace_decay=self.gae_lambda,
        )
        return advantages, advantages + values[:-1]

    def policy_loss(
        self,
        learner: rl.Learner,
        lesson: Lesson,
        batch: Batch,
        entropy_weight: Float[Array, ""] | float,
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """What the learner minimises on some lives, and the mean entropy of its choices."""

        def one(key: PRNGKeyArray, experience: Experience) -> tuple[Array, Array]:
            return self._replay(learner, lesson, key, experience)

        log_probs, entropies = jax.vmap(one)(batch.keys, batch.experience)
        if self.clip is None or batch.old_log_probs is None:
            gain = (log_probs * batch.advantages).mean()
        else:
            gain = rl.classic.clipped_gain(
                *(x.reshape(-1) for x in (log_probs, batch.old_log_probs, batch.advantages)),
                clip=self.clip,
            )
        entropy = entropies.mean()
        return -gain - entropy_weight * entropy, entropy

    def value_loss(self, critic: Critic, batch: Batch) -> Float[Array, ""]:
        """Half the squared error of the values per step that is left."""

        def one(timesteps: rl.TimeStep) -> Array:
            return critic.values(
                timesteps, truncation=self.truncation, rematerialise=self.rematerialise
            )

        values = jax.vmap(one)(batch.experience.timesteps)[:, :-1]
        errors = (values - batch.returns) / critic.horizons()[None, :-1]
        return 0.5 * (errors**2).mean()

    def _replay(
        self, learner: rl.Learner, lesson: Lesson, key: PRNGKeyArray, experience: Experience
    ) -> tuple[Array, Array]:
        return replay(
            learner,
            lesson.tasks,
            experience,
            key=key,
            truncation=self.truncation,
            rematerialise=self.rematerialise,
        )

    def check(self, learner: rl.Learner, lessons: Sequence[Lesson]) -> None:
        """Refuse what gradients cannot meta-train.

        **Raises:** `ValueError` for a learner that does not tell the probabilities of its
        actions, or a fitness of one's own.
        """
        name = type(learner).__name__
        if not isinstance(learner, rl.Differentiable):
            raise ValueError(
                f"{name} does not tell the probabilities of its actions (`advance` and "
                "`readout_of`), which `ActorCritic` needs: meta-train it by `EvolutionStrategy`."
            )
        for lesson in lessons:
            if lesson.fitness is not total_reward:
                raise ValueError(
                    "`ActorCritic` follows the rewards of the steps; a `fitness` of whole lives is "
                    "for `EvolutionStrategy`."
                )

        def deterministic(lesson: Lesson) -> bool:
            readouts = []

            def born(key: PRNGKeyArray) -> None:
                state = rl.begin(learner, lesson.tasks.sample(key=key), key=key).learner
                readouts.append(learner.readout_of(state))

            jax.eval_shape(born, jax.random.key(0))
            return isinstance(readouts[0], rl.Deterministic)

        if any(map(deterministic, lessons)):
            raise ValueError(
                f"The continuous actions of this {name} are deterministic, so there is no gradient "
                "of their probability: make it with `continuous='gaussian'`."
            )


def follow(
    optimizer: optax.GradientTransformation,
    max_norm: float,
    params: PyTree,
    state: PyTree,
    gradient: PyTree,
) -> tuple[PyTree, PyTree, Float[Array, ""]]:
    """One update; none, not even of the optimiser, along a gradient that is not finite.

    **Returns:**

    The parameters, the state of the optimiser, and the norm of the gradient before it was clipped.
    """
    norm = optax.tree.norm(gradient)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        clipped = jax.tree.map(lambda g: g * jnp.minimum(1.0, max_norm / (norm + 1e-12)), gradient)
        change, moved = optimizer.update(clipped, state, params)
        new = (optax.apply_updates(params, change), moved)
    finite = jnp.isfinite(norm)
    kept = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, (params, state))
    return *kept, norm
