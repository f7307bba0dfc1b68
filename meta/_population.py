"""The program of `CriticGradient`: a population of agents that live on, and their objective."""

import math
from collections.abc import Sequence
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, PyTree

import rl
from rl.classic import (
    Actors,
    Experience,
    Networks,
    OffPolicyGradient,
    Settled,
    Transitions,
    draw_segments,
    live_on,
)

from ._actor_critic import follow
from ._critic_gradient import CriticGradient
from ._hosts import Devices
from ._lesson import Lesson
from ._program import Portion, Program, Records

_AGENTS = PartitionSpec("agents")


class Population(eqx.Module):
    """The agents of a lesson; all arrays have an axis of agents first.

    - `tasks`: in which they live, for good.
    - `lives`: where their lives stand; `lives.learner` holds what they remember and how many
        environment steps they have lived.
    - `knowledge`: networks and optimisers.
    - `limits`: after how many environment steps they begin anew.
    - `births`: how often they have begun.
    """

    tasks: rl.Task
    lives: rl.LifeState
    knowledge: Actors
    limits: Int[Array, "*agents"]
    births: Int[Array, "*agents"]


class CriticGradientState(eqx.Module):
    """Where a meta-training by `CriticGradient` stands.

    - `generation`: how many generations are done.
    - `params`: the arrays of the learner.
    - `optimizer`: the state of its optimiser.
    - `populations`: one for each lesson.
    """

    generation: Int[Array, ""]
    params: PyTree
    optimizer: PyTree
    populations: tuple[Population, ...]


class PopulationGenerations(Program[CriticGradientState]):
    """What every generation of `CriticGradient` computes, and where.

    Devices share the agents, and exchange gradients.
    """

    def __init__(
        self,
        learner: rl.Learner,
        lessons: Sequence[Lesson],
        strategy: CriticGradient,
        *,
        key: PRNGKeyArray,
        devices: Devices,
    ):
        """**Arguments:** as of `train`; `devices` are those of all processes.

        **Raises:** `ValueError` if agents cannot be shared out evenly, or for what the strategy
        cannot meta-train.
        """
        super().__init__(devices, "agents", key=key)
        strategy.check(learner, lessons)
        assert isinstance(learner, OffPolicyGradient)  # it was checked
        for lesson in lessons:
            if lesson.lives % len(devices):
                raise ValueError(
                    f"`lives` must be a multiple of the {len(devices)} devices, which share the "
                    f"agents; got {lesson.lives} in {lesson.name}."
                )
        self._params, self._static = eqx.partition(learner, eqx.is_inexact_array)
        self._lessons, self._strategy = tuple(lessons), strategy

    def init(self, *, key: PRNGKeyArray) -> CriticGradientState:
        """The state before the first generation."""

        @eqx.filter_jit
        def born(i: int, key: PRNGKeyArray) -> Population:
            keys = jr.split(jr.fold_in(key, i), self._lessons[i].lives)
            count = jnp.zeros((), jnp.int32)
            return jax.vmap(lambda key: self._born(i, key, count))(keys)

        return CriticGradientState(
            jnp.asarray(0, jnp.int32),
            self._params,
            self._strategy.optimizer.init(self._params),
            tuple(born(i, key) for i in range(len(self._lessons))),
        )

    def centre(self, state: CriticGradientState) -> OffPolicyGradient:
        """The learner with its objective of now."""
        return eqx.combine(state.params, self._static)

    def portions(self) -> list[Portion]:
        """All agents at once: they are never taken on one after another."""
        return [Portion(1, max(lesson.lives for lesson in self._lessons))]

    def _born(self, lesson: int, key: PRNGKeyArray, births: Int[Array, ""]) -> Population:
        """A new agent of a lesson, with a task of its own."""
        learner = eqx.combine(self._params, self._static)
        task_key, birth_key, life_key, limit_key = jr.split(key, 4)
        task = self._lessons[lesson].tasks.sample(key=task_key)
        knowledge = learner.newborn(task.spaces, key=birth_key)
        life = rl.begin(Settled(learner, knowledge, 0), task, key=life_key)
        limit = jnp.asarray(jnp.iinfo(jnp.int32).max, jnp.int32)
        if self._strategy.restarts is not None:
            least, most = self._strategy.restarts
            limit = jr.randint(limit_key, (), least, most + 1)
        return Population(task, life, knowledge, limit, births + 1)

    def _generation(
        self, portion: Portion, state: CriticGradientState, *, key: PRNGKeyArray
    ) -> tuple[CriticGradientState, Records]:
        del portion
        birth_key, life_key, tick_key = jr.split(key, 3)
        where, born = NamedSharding(self._mesh, _AGENTS), state.generation
        populations = tuple(
            jax.lax.with_sharding_constraint(
                self._renewed(i, population, key=jr.fold_in(birth_key, i)), where
            )
            for i, population in enumerate(state.populations)
        )
        state = eqx.tree_at(lambda s: s.populations, state, populations)

        def tick(
            state: CriticGradientState, count: Int[Array, ""]
        ) -> tuple[CriticGradientState, tuple[list[rl.Life], Records]]:
            key = jr.fold_in(jr.fold_in(tick_key, born), count)
            state, lives = self._live(state, key=life_key)
            state, seen = self._learn(state, count, key=key)
            return state, (lives, seen)

        ticks = jnp.arange(self._lessons[0].steps // self.centre(state).every)
        state, (lives, seen) = jax.lax.scan(tick, state, ticks)
        state = eqx.tree_at(lambda s: s.generation, state, state.generation + 1)
        return state, self._record(lives, seen)

    def _renewed(self, lesson: int, population: Population, *, key: PRNGKeyArray) -> Population:
        """The agents, of which those that have lived long enough have begun anew."""
        if self._strategy.restarts is None:
            return population
        over = population.lives.steps >= population.limits

        def renew(population: Population) -> Population:
            keys = _keys(key, population.births)
            fresh = jax.vmap(lambda k, births: self._born(lesson, k, births))(
                keys, population.births
            )
            return _chosen(over, fresh, population)

        return jax.lax.cond(over.any(), renew, lambda p: p, population)

    def _live(
        self, state: CriticGradientState, *, key: PRNGKeyArray
    ) -> tuple[CriticGradientState, list[rl.Life]]:
        """All agents after they have lived up to where they learn, and what they lived."""
        learner, lives, populations = self.centre(state), [], []

        def one(
            knowledge: Actors, task: rl.Task, start: rl.LifeState, key: PRNGKeyArray
        ) -> rl.Life:
            return live_on(Settled(learner, knowledge, 0), task, start, key)

        for i, population in enumerate(state.populations):
            keys = _keys(jr.fold_in(key, i), population.births)
            life = jax.vmap(one)(population.knowledge, population.tasks, population.lives, keys)
            populations.append(eqx.tree_at(lambda p: p.lives, population, life.final))
            lives.append(eqx.tree_at(lambda x: x.final, life, None))
        return eqx.tree_at(lambda s: s.populations, state, tuple(populations)), lives

    def _learn(
        self, state: CriticGradientState, count: Int[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[CriticGradientState, Records]:
        """Critics, policies and the objective after one time of learning."""
        learner, found = self.centre(state), []
        for update in range(learner.updates):
            update_key, batches, knowledge = jr.fold_in(key, update), [], []
            for i, population in enumerate(state.populations):
                keys = jr.split(jr.fold_in(update_key, i), population.births.shape[0])
                fit = partial(self._fit_critics, learner)
                fitted, batch = jax.vmap(fit)(population.knowledge, population.lives, keys)
                batches.append(batch)
                knowledge.append(fitted)
            state = _taught(state, knowledge)
            turn = (count * learner.updates + update) % learner.policy_delay
            so_far = state.generation * self._lessons[0].steps + (count + 1) * learner.every
            improve = partial(self._improve, state, batches, so_far, update_key)
            # Only what changes goes through, so that nothing that is remembered is copied.
            (params, optimizer, knowledge), seen = jax.lax.cond(
                turn == learner.policy_delay - 1,
                improve,
                lambda state=state, knowledge=knowledge: (
                    (state.params, state.optimizer, knowledge),
                    _nothing(),
                ),
            )
            state = eqx.tree_at(
                lambda s: (s.params, s.optimizer), _taught(state, knowledge), (params, optimizer)
            )
            found.append(seen)
        return state, jax.tree.map(lambda *parts: jnp.stack(parts), *found)

    def _fit_critics(
        self,
        learner: OffPolicyGradient,
        knowledge: Actors,
        life: rl.LifeState,
        key: PRNGKeyArray,
    ) -> tuple[Actors, tuple[Transitions, Bool[Array, "n B"] | None]]:
        """One agent after an update of its critics, and what it learned from."""
        draw_key, noise_key = jr.split(key)
        stream, steps = life.learner
        batch, masks = learner.sample(_alone(stream), steps, key=draw_key)
        fitted = learner.fit_critics(knowledge, batch, masks, key=noise_key)
        return _chosen(steps >= learner.learns_from, fitted, knowledge), (batch, masks)

    def _improve(
        self,
        state: CriticGradientState,
        batches: list[tuple],
        so_far: Int[Array, ""],
        key: PRNGKeyArray,
    ) -> tuple[tuple[PyTree, PyTree, list[Actors]], Records]:
        """Policies one step down the objective, and the objective one step down its own loss.

        **Returns:** the arrays of the learner, the state of its optimiser, and what agents know.
        """
        learner, strategy = self.centre(state), self._strategy
        share = strategy.share(so_far - learner.warm_up)
        count = (strategy.inner_steps + 1) * learner.batch_size

        def one(
            knowledge: Actors,
            batch: tuple[Transitions, Bool[Array, "n B"] | None],
            life: rl.LifeState,
            key: PRNGKeyArray,
        ) -> tuple[Actors, PyTree, Float[Array, ""], Bool[Array, ""]]:
            stream, steps = life.learner
            ready = steps >= learner.warm_up

            def annealed(networks: Networks) -> Float[Array, ""]:
                ours, critics = (
                    f(networks, *batch) for f in (learner.policy_loss, learner.value_loss)
                )
                return share * ours + (1.0 - share) * critics

            improved = learner.fit_policy(knowledge, *batch, annealed, moves=ready)
            drawn = draw_segments(_alone(stream), count, learner.segment_length, steps, key=key)

            def loss(params: PyTree) -> Float[Array, ""]:
                now = eqx.combine(params, self._static)
                return strategy.loss(now, knowledge.networks, *drawn)

            value, gradient = jax.value_and_grad(loss)(state.params)
            norm = optax.tree.norm(gradient)
            scale = jnp.minimum(1.0, strategy.max_gradient_norm / (norm + 1e-12))
            gradient = jax.tree.map(lambda g: jnp.where(ready, scale * g, 0.0), gradient)
            began = steps >= learner.learns_from
            return _chosen(began, improved, knowledge), gradient, value, ready

        gradients, losses, weights, known = [], [], [], []
        for i, (lesson, population, batch) in enumerate(
            zip(self._lessons, state.populations, batches, strict=True)
        ):
            keys = jr.split(jr.fold_in(key, len(batches) + i), lesson.lives)
            knowledge, gradient, loss, ready = jax.vmap(one)(
                population.knowledge, batch, population.lives, keys
            )
            number = ready.sum(dtype=loss.dtype)
            mean = jnp.maximum(number, 1.0)
            weights.append(jnp.where(number > 0.0, lesson.weight, 0.0))
            gradients.append(jax.tree.map(lambda g, n=mean: g.sum(0) / n, gradient))
            losses.append(jnp.where(ready, loss, 0.0).sum() / mean)
            known.append(knowledge)
        total = sum(weights[1:], weights[0])
        shares = [weight / jnp.maximum(total, 1e-12) for weight in weights]
        gradient = jax.tree.map(
            lambda *g: jnp.stack([w * x for w, x in zip(shares, g, strict=True)]).sum(0),
            *gradients,
        )
        params, optimizer, norm = follow(
            strategy.optimizer, math.inf, state.params, state.optimizer, gradient
        )
        # Before anyone has begun to learn, there is nothing to follow.
        params, optimizer = _chosen(
            total > 0.0, (params, optimizer), (state.params, state.optimizer)
        )
        loss = jnp.stack([w * x for w, x in zip(shares, losses, strict=True)]).sum()
        seen = {"objective_loss": loss, "gradient_norm": norm}
        seen = {name: jnp.where(total > 0.0, x, jnp.nan) for name, x in seen.items()}
        return (params, optimizer, known), seen

    def _record(self, lives: list[rl.Life], seen: Records) -> Records:
        """What a generation was worth, over all lessons by their weights, and each for itself."""
        shares = [one.weight / sum(x.weight for x in self._lessons) for one in self._lessons]
        rewards = [life.total_reward.sum(0) for life in lives]  # of each agent
        finite = [jnp.isfinite(r) for r in rewards]
        means = [jnp.mean(r, where=f) for r, f in zip(rewards, finite, strict=True)]
        spreads = [jnp.std(r, where=f) for r, f in zip(rewards, finite, strict=True)]
        record = {
            "fitness_mean": jnp.stack([w * m for w, m in zip(shares, means, strict=True)]).sum(),
            "fitness_std": jnp.stack([w * s for w, s in zip(shares, spreads, strict=True)]).sum(),
            "failed_lives": jnp.stack([(~f).sum() for f in finite]).sum(),
        }
        for lesson, life, mean in zip(self._lessons, lives, means, strict=True):
            if len(lives) > 1:
                record[f"fitness_mean/{lesson.name}"] = mean
            assert life.episode_returns is not None
            record[f"episode_return/{lesson.name}"] = jnp.nanmean(life.episode_returns)
        return record | {name: jnp.nanmean(values) for name, values in seen.items()}


def _keys(key: PRNGKeyArray, births: Int[Array, " agents"]) -> Key[Array, " agents"]:
    """A key for each agent, and another one after each time that it began anew."""
    places = jnp.arange(births.shape[0])
    return jax.vmap(lambda place, born: jr.fold_in(jr.fold_in(key, place), born))(places, births)


def _taught(state: CriticGradientState, knowledge: list[Actors]) -> CriticGradientState:
    """The state, in which the agents of each lesson know something else."""
    return eqx.tree_at(lambda s: [p.knowledge for p in s.populations], state, knowledge)


def _alone(stream: Experience) -> Experience:
    """One stream as many that are one."""
    return jax.tree.map(lambda x: x[None], stream)


def _chosen(condition: Bool[Array, "*agents"], new: PyTree, old: PyTree) -> PyTree:
    """The new arrays where the condition holds."""

    def choose(n: Array, o: Array) -> Array:
        return jnp.where(
            condition.reshape(condition.shape + (1,) * (n.ndim - condition.ndim)), n, o
        )

    return jax.tree.map(choose, new, old)


def _nothing() -> Records:
    return {name: jnp.asarray(jnp.nan) for name in ("objective_loss", "gradient_norm")}
