"""The program of meta-training by gradients: generations of lives over one device or many."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

import rl

from ._actor_critic import ActorCritic, Batch, follow
from ._gradient_critic import Critic
from ._hosts import Devices
from ._lesson import Lesson
from ._program import Portion, Program, Records, divisors

_TURNS = PartitionSpec(None, "lives")


class ActorCriticState(eqx.Module):
    """Where a meta-training by gradients stands.

    - `generation`: how many generations are done.
    - `params`: the arrays of the learner.
    - `optimizer`: the state of its optimiser.
    - `critics`: one for each lesson.
    - `critic_optimizers`: the state of the optimiser of each critic.
    """

    generation: Int[Array, ""]
    params: PyTree
    optimizer: PyTree
    critics: tuple[Critic, ...]
    critic_optimizers: tuple[PyTree, ...]


class GradientGenerations(Program[ActorCriticState]):
    """What every generation of `ActorCritic` computes, and where.

    The lives are shared out among the devices, which exchange gradients. Lives that do not fit
    side by side are lived, and gone through backwards, one portion after another. Neither changes
    results but for the order of summation.
    """

    def __init__(
        self,
        learner: rl.Learner,
        lessons: Sequence[Lesson],
        strategy: ActorCritic,
        *,
        key: PRNGKeyArray,
        devices: Devices,
    ):
        """**Arguments:** as of `train`; `devices` are those of all processes.

        **Raises:** `ValueError` if lives cannot be shared out evenly, or for what gradients cannot
        meta-train.
        """
        super().__init__(devices, "lives", key=key)
        strategy.check(learner, lessons)
        for lesson in lessons:
            if lesson.lives % (strategy.minibatches * len(devices)):
                raise ValueError(
                    f"`lives` must be a multiple of {strategy.minibatches * len(devices)} "
                    f"({strategy.minibatches} minibatches, {len(devices)} devices), got "
                    f"{lesson.lives}."
                )
        self._params, self._static = eqx.partition(learner, eqx.is_inexact_array)
        self._lessons, self._strategy = tuple(lessons), strategy
        self._devices = len(devices)

    def init(self, *, key: PRNGKeyArray) -> ActorCriticState:
        """The state before the first generation."""
        strategy = self._strategy
        critics = tuple(
            strategy.critic(lesson, key=jr.fold_in(key, i))
            for i, lesson in enumerate(self._lessons)
        )
        return ActorCriticState(
            jnp.asarray(0, jnp.int32),
            self._params,
            strategy.optimizer.init(self._params),
            critics,
            tuple(
                strategy.critic_optimizer.init(eqx.filter(critic, eqx.is_array))
                for critic in critics
            ),
        )

    def centre(self, state: ActorCriticState) -> rl.Learner:
        """The learner with its parameters of now."""
        return eqx.combine(state.params, self._static)

    def portions(self) -> list[Portion]:
        """All numbers of lives that a device could take on at once, of the only member."""
        together = self._strategy.minibatches * self._devices
        numbers = {n for one in self._lessons for n in divisors(one.lives // together)}
        return [Portion(1, n) for n in sorted(numbers)]

    def _generation(
        self, portion: Portion, state: ActorCriticState, *, key: PRNGKeyArray
    ) -> tuple[ActorCriticState, Records]:
        strategy = self._strategy
        life_key, order_key = jr.split(jr.fold_in(key, state.generation))
        learner, batches = self.centre(state), []
        for i, (lesson, critic) in enumerate(zip(self._lessons, state.critics, strict=True)):
            keys = self._in_turns(jr.split(jr.fold_in(life_key, i), lesson.lives), portion)

            def live(keys: Array, lesson: Lesson = lesson, critic: Critic = critic) -> Batch:
                return strategy.live(learner, critic, lesson, keys)

            lived = _each(live, keys)
            batches.append(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), lived))
        record = self._record(batches)
        if strategy.normalise_advantages:
            batches = [
                b._replace(advantages=rl.classic.normalised_advantages(b.advantages))
                for b in batches
            ]
        weight = strategy.entropy_weight
        weight = jnp.asarray(weight(state.generation) if callable(weight) else weight, jnp.float32)

        def update(
            state: ActorCriticState, chosen: tuple[Int[Array, " _some"], ...]
        ) -> tuple[ActorCriticState, Records]:
            some = [
                jax.tree.map(lambda x, lives=lives: x[lives], batch)
                for batch, lives in zip(batches, chosen, strict=True)
            ]
            return self._update(state, some, weight, portion)

        orders = tuple(
            self._orders(lesson.lives, key=jr.fold_in(order_key, i))
            for i, lesson in enumerate(self._lessons)
        )
        state, seen = jax.lax.scan(update, state, orders)
        record["skipped_updates"] = seen.pop("skipped").sum()
        record |= {name: values.mean() for name, values in seen.items()}
        return eqx.tree_at(lambda s: s.generation, state, state.generation + 1), record

    def _orders(self, lives: int, *, key: PRNGKeyArray) -> Int[Array, "updates some"]:
        """Which lives each update of a generation learns from."""
        strategy = self._strategy
        if strategy.epochs * strategy.minibatches == 1:
            return jnp.arange(lives)[None]
        orders = [jr.permutation(k, lives) for k in jr.split(key, strategy.epochs)]
        return jnp.concatenate(orders).reshape(strategy.epochs * strategy.minibatches, -1)

    def _in_turns(self, lives: PyTree[Array], portion: Portion) -> PyTree[Array]:
        """Lives cut into the turns that the devices take at them together."""
        share = jax.tree.leaves(lives)[0].shape[0] // self._devices
        at_once = max(n for n in divisors(share) if n <= portion.lives) * self._devices
        where = NamedSharding(self._mesh, _TURNS)

        def cut(x: Array) -> Array:
            return jax.lax.with_sharding_constraint(x.reshape(-1, at_once, *x.shape[1:]), where)

        return jax.tree.map(cut, lives)

    def _update(
        self,
        state: ActorCriticState,
        batches: list[Batch],
        entropy_weight: Float[Array, ""],
        portion: Portion,
    ) -> tuple[ActorCriticState, Records]:
        """Learner and critics after they learnt from some lives of each lesson."""
        strategy = self._strategy
        total = sum(lesson.weight for lesson in self._lessons)
        gradients, entropies, critics, optimizers, value_losses = [], [], [], [], []
        for i, (lesson, batch) in enumerate(zip(self._lessons, batches, strict=True)):
            critic, turns = state.critics[i], self._in_turns(batch, portion)

            def policy_loss(params: PyTree, some: Batch, lesson: Lesson = lesson) -> tuple:
                learner = eqx.combine(params, self._static)
                return strategy.policy_loss(learner, lesson, some, entropy_weight)

            def learn(some: Batch, critic: Critic = critic, policy_loss: Callable = policy_loss):
                gradient, entropy = jax.grad(policy_loss, has_aux=True)(state.params, some)
                return gradient, entropy, jax.value_and_grad(strategy.value_loss)(critic, some)

            # Turns are of one size: the mean of their means is the mean of all.
            means = jax.tree.map(lambda x: x.mean(0), _each(learn, turns))
            gradient, entropy, (value_loss, critic_gradient) = means
            critic, optimizer, _ = follow(
                strategy.critic_optimizer,
                strategy.max_gradient_norm,
                critic,
                state.critic_optimizers[i],
                critic_gradient,
            )
            share = lesson.weight / total
            gradients.append(jax.tree.map(lambda g, share=share: share * g, gradient))
            entropies.append(share * entropy)
            value_losses.append(share * value_loss)
            critics.append(critic)
            optimizers.append(optimizer)
        params, optimizer, norm = follow(
            strategy.optimizer,
            strategy.max_gradient_norm,
            state.params,
            state.optimizer,
            jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *gradients),
        )
        record = {
            "entropy": sum(entropies[1:], entropies[0]),
            "value_loss": sum(value_losses[1:], value_losses[0]),
            "gradient_norm": norm,
            "skipped": ~jnp.isfinite(norm),
        }
        new = ActorCriticState(
            state.generation, params, optimizer, tuple(critics), tuple(optimizers)
        )
        return new, record

    def _record(self, batches: list[Batch]) -> Records:
        """What the lives were worth: over the lessons, by their weights, and each for itself."""
        rewards = [batch.experience.total_reward for batch in batches]
        shares = [
            lesson.weight / sum(one.weight for one in self._lessons) for lesson in self._lessons
        ]
        means = [jnp.mean(r, where=jnp.isfinite(r)) for r in rewards]
        spreads = [jnp.std(r, where=jnp.isfinite(r)) for r in rewards]
        record = {
            "fitness_mean": jnp.stack([w * m for w, m in zip(shares, means, strict=True)]).sum(),
            "fitness_std": jnp.stack([w * s for w, s in zip(shares, spreads, strict=True)]).sum(),
            "failed_lives": jnp.stack([(~jnp.isfinite(r)).sum() for r in rewards]).sum(),
        }
        if len(self._lessons) > 1:
            for lesson, mean in zip(self._lessons, means, strict=True):
                record[f"fitness_mean/{lesson.name}"] = mean
        return record


def _each(do: Callable[[PyTree], PyTree], turns: PyTree[Array]) -> PyTree[Array]:
    """What is done in each turn, one after another."""
    if jax.tree.leaves(turns)[0].shape[0] == 1:
        done = do(jax.tree.map(lambda x: x[0], turns))
        return jax.tree.map(lambda x: x[None], done)
    return jax.lax.map(do, turns)
