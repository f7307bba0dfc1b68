"""Persistent evolution strategies: an estimate of the gradient from parts of lives."""

from collections.abc import Sequence
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

import rl

from ._es import CommonRandomNumbers, EvolutionStrategy, Schedule, Shaping, StrategyState
from ._lesson import Lesson


class PersistentES(EvolutionStrategy):
    """Persistent evolution strategies (Vicol, Metz & Sohl-Dickstein 2021, arXiv:2112.13835,
    algorithm 2).

    Lives are cut into equal parts, and every generation lives one part of each life: so the search
    moves several times in a life. Members keep their lives from one generation to the next,
    while their parameters move with the search and are perturbed anew. After the last part, all
    begin new lives.

    What a member earns in a part is due to all its perturbations since the life began, so it is
    their sum that the estimate of the gradient weighs with the fitness. With `shaping="none"`, the
    estimate has then no bias from cutting lives; its variance grows with the number of parts. With
    ranks or z-scores it has: each part counts alike, whatever there is to earn in it.

    The fitness of a lesson is asked of each part, as if that were a life, and has to be a sum over
    environment steps, as `total_reward` and `negative_regret` are. Records are of parts, too.
    The state of the training holds the lives of all members, each device those of its own; where
    memory is little, some members can live after others, but a member's lives are not divided.
    With one part, this is `EvolutionStrategy`.
    """

    parts: int = eqx.field(static=True)

    def __init__(
        self,
        population: int = 512,
        std: float | Schedule = 0.035,
        optimizer: optax.GradientTransformation | None = None,
        *,
        parts: int,
        shaping: Shaping = "rank",
        antithetic: bool = True,
        common_random_numbers: CommonRandomNumbers = "population",
        population_counts: Literal["members", "pairs"] = "members",
    ):
        """**Arguments:** as of `EvolutionStrategy`, and

        - `parts`: into how many generations a life is divided. The environment steps of every
            lesson must be a multiple of it.

        **Raises:** `ValueError` for less than one part, and as `EvolutionStrategy`.
        """
        if parts < 1:
            raise ValueError(f"`parts` must be at least 1, got {parts}.")
        super().__init__(
            population,
            std,
            optimizer,
            shaping=shaping,
            antithetic=antithetic,
            common_random_numbers=common_random_numbers,
            population_counts=population_counts,
        )
        self.parts = parts

    def init(self, params: PyTree[Array], *, key: PRNGKeyArray) -> StrategyState:
        """The state of a search that starts at `params`, a tree of float arrays."""
        nothing = jax.tree.map(lambda x: jnp.zeros((self.population, *x.shape), x.dtype), params)
        return super().init(params, key=key)._replace(accumulated=nothing)

    def tell(
        self,
        state: StrategyState,
        members: PyTree[Array],
        fitness: Float[Array, "*lessons P"],
        *,
        key: PRNGKeyArray,
        weights: Sequence[float] | None = None,
    ) -> StrategyState:
        """The state after a generation; see `EvolutionStrategy.tell`.

        A member is as far from the mean, to the estimate, as its perturbations of this life take
        it together. Each counts over its own variance, which is that of this generation unless
        `std` is a schedule.
        """
        begins = self._begins(state.es.generation_counter)
        mean = self.mean(state, jax.tree.map(lambda x: x[0], members))
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            variance = state.es.std**2
            before = jax.tree.map(lambda a: jnp.where(begins, 0.0, a), state.accumulated)
            moved = jax.tree.map(lambda x, a: (x + variance * a).astype(x.dtype), members, before)
            accumulated = jax.tree.map(
                lambda a, x, m: (a + (x - m) / variance).astype(a.dtype), before, members, mean
            )
        new = super().tell(state, moved, fitness, key=key, weights=weights)
        return new._replace(accumulated=accumulated)

    @property
    def persistent(self) -> bool:
        """Whether members hand on their lives, unfinished, to the next generation."""
        return self.parts > 1

    def life(self, generation: Int[Array, ""]) -> Int[Array, ""]:
        """The number of the lives of which a generation lives a part."""
        return generation // self.parts

    def steps(self, lesson: Lesson) -> int:
        """The environment steps of a part of a life.

        **Raises:** `ValueError` if a life of the lesson cannot be cut into equal parts.
        """
        steps, rest = divmod(lesson.steps, self.parts)
        if rest:
            fewer = f"{steps * self.parts} or " if steps else ""
            raise ValueError(
                f"`steps` must be a multiple of `parts`, but a life of {lesson.steps} steps cannot "
                f"be cut into {self.parts} equal parts; take {fewer}{(steps + 1) * self.parts}."
            )
        return steps

    def begin(self, learner: rl.Learner, lesson: Lesson, *, key: PRNGKeyArray) -> PyTree:
        """Room for the unfinished lives of all members; see `EvolutionStrategy.begin`."""

        def end_of_a_part(key: PRNGKeyArray) -> PyTree:
            task = lesson.tasks.sample(key=key)
            return _data_of(rl.lifetime(learner, task, steps=1, key=key, record=()).final)

        shapes = eqx.filter_eval_shape(end_of_a_part, key)
        lead = (self.population, lesson.lives)
        return jax.tree.map(lambda x: jnp.zeros((*lead, *x.shape), x.dtype), shapes)

    def live(
        self,
        learner: rl.Learner,
        lesson: Lesson,
        start: PyTree,
        *,
        generation: Int[Array, ""],
        key: PRNGKeyArray,
    ) -> tuple[Float[Array, ""], PyTree]:
        """A part of a life; see `EvolutionStrategy.live`."""
        if not self.persistent:
            return super().live(learner, lesson, start, generation=generation, key=key)
        # The keys of `meta.live` and `rl.lifetime`, so that the parts make the whole.
        task_key, life_key = jr.split(key)
        task = lesson.tasks.sample(key=task_key)
        birth = rl.begin(learner, task, key=jr.split(life_key)[0])
        begins = self._begins(generation)
        start = jax.lax.cond(begins, lambda: _data_of(birth), lambda: start)
        life = rl.lifetime(
            learner,
            task,
            steps=self.steps(lesson),
            key=life_key,
            record=(),
            start=_with_data(birth, start),
        )
        return lesson.fitness(life), _data_of(life.final)

    def _begins(self, generation: Int[Array, ""]) -> Array:
        """Whether lives begin in a generation."""
        return generation % self.parts == 0


def _is_key(x: Array) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _data_of(tree: PyTree[Array]) -> PyTree[Array]:
    """A tree in which random keys are numbers, as every other array is."""
    return jax.tree.map(lambda x: jr.key_data(x) if _is_key(x) else x, tree)


def _with_data(like: PyTree[Array], data: PyTree[Array]) -> PyTree[Array]:
    """The tree that `_data_of` made `data` of, with keys where `like` has them."""
    return jax.tree.map(
        lambda x, d: jr.wrap_key_data(d, impl=jr.key_impl(x)) if _is_key(x) else d, like, data
    )
