"""Evolution strategies: the outer loop that needs no gradient through a life."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from evosax.algorithms import Open_ES
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, PyTree

import rl

from ._evaluate import live
from ._lesson import Lesson

Shaping = Literal["rank", "zscore", "none"]
CommonRandomNumbers = Literal["population", "pair", "none"]
Schedule = Callable[[Int[Array, ""] | int], ArrayLike]


class StrategyState(NamedTuple):
    """Where a strategy stands.

    - `es`: the state of evosax's `Open_ES`: mean, standard deviation, optimiser, counter.
    - `params`: its parameters (none in use, kept for evosax).
    - `accumulated`: what a strategy keeps of each member from one generation to the next, arrays
        with a leading axis of members; `None` if nothing.
    """

    es: PyTree
    params: PyTree
    accumulated: PyTree = None


class _PairsSideBySide(Open_ES):
    """evosax's algorithm for a population that many devices share.

    The members of a pair stand next to each other, and not in two halves of the population: so a
    device makes its members, pairs and all, from its own part of the noise. The best member so far
    is not kept: it would have to be fetched from the device that holds it.
    """

    def _ask(self, key: PRNGKeyArray, state: Any, params: Any) -> tuple[Array, Any]:
        if not self.use_antithetic_sampling:
            return super()._ask(key, state, params)
        noise = jr.normal(key, (self.population_size // 2, self.num_dims))
        noise = jnp.stack([noise, -noise], axis=1).reshape(self.population_size, self.num_dims)
        return state.mean + state.std * noise, state

    def tell(
        self, key: PRNGKeyArray, population: PyTree, fitness: Array, state: Any, params: Any
    ) -> tuple[Any, dict]:
        members = jax.vmap(self._ravel_solution)(population)
        state = self._tell(key, members, fitness, state, params)
        return state.replace(generation_counter=state.generation_counter + 1), {}


class EvolutionStrategy(eqx.Module):
    """Natural evolution strategies with a fixed isotropic Gaussian (Salimans et al. 2017,
    arXiv:1703.03864; equation 10 of SymLA), through evosax's `Open_ES`.

    Every generation lives whole lives. A subclass can live others: `begin`, `live`, `steps` and
    `life` say what a generation lives, and `ask` and `tell` what it makes of that.

    Fitness is maximised. The default is the setting of SymLA's control experiments; for its
    bandits the paper has `std=0.2, optimizer=optax.adam(0.2)`.
    """

    population: int = eqx.field(static=True)
    std: float | Schedule = eqx.field(static=True)
    optimizer: optax.GradientTransformation = eqx.field(static=True)
    shaping: Shaping = eqx.field(static=True)
    antithetic: bool = eqx.field(static=True)
    common_random_numbers: CommonRandomNumbers = eqx.field(static=True)

    def __init__(
        self,
        population: int = 512,
        std: float | Schedule = 0.035,
        optimizer: optax.GradientTransformation | None = None,
        *,
        shaping: Shaping = "rank",
        antithetic: bool = True,
        common_random_numbers: CommonRandomNumbers = "population",
        population_counts: Literal["members", "pairs"] = "members",
    ):
        """**Arguments:**

        - `population`: how many members are evaluated in each generation.
        - `std`: the standard deviation of the perturbations: a number, or a schedule (a
            function of the generation, as optax makes them).
        - `optimizer`: what follows the estimated gradient; `optax.adam(1e-2)` by default. A
            learning rate may be a schedule of the generation, too.
        - `shaping`: `"rank"` (centred ranks in -0.5 to 0.5), `"zscore"` or `"none"` (the code of
            VSML has none).
        - `antithetic`: whether members come in pairs with opposite perturbations.
        - `common_random_numbers`: which members live the same lives (tasks, states, samples):
            the whole `"population"`, the members of a `"pair"`, or `"none"`.
        - `population_counts`: whether `population` counts `"members"`, or antithetic `"pairs"`
            as the code of VSML does.

        **Raises:** `ValueError` for a population that cannot be, a standard deviation that is
        not positive, or an unknown option.
        """
        if population_counts not in ("members", "pairs"):
            raise ValueError(
                f"`population_counts` must be members or pairs; got {population_counts!r}."
            )
        if population_counts == "pairs":
            if not antithetic:
                raise ValueError("`population_counts='pairs'` needs `antithetic=True`.")
            population = 2 * population
        if population < 2:
            raise ValueError(f"`population` must be at least 2, got {population}.")
        if population % 2:
            raise ValueError(
                f"`population` must be even (evosax samples in halves), got {population}; "
                f"try {population + 1}."
            )
        if not callable(std) and not std > 0:
            raise ValueError(f"`std` must be above 0, got {std}.")
        if shaping not in get_args(Shaping):
            raise ValueError(
                f"`shaping` must be one of {', '.join(get_args(Shaping))}; got {shaping!r}."
            )
        if common_random_numbers not in get_args(CommonRandomNumbers):
            raise ValueError(
                "`common_random_numbers` must be one of "
                f"{', '.join(get_args(CommonRandomNumbers))}; got {common_random_numbers!r}."
            )
        if common_random_numbers == "pair" and not antithetic:
            raise ValueError("`common_random_numbers='pair'` needs `antithetic=True`.")
        self.population, self.std = population, std
        self.optimizer = optax.adam(1e-2) if optimizer is None else optimizer
        self.shaping, self.antithetic = shaping, antithetic
        self.common_random_numbers = common_random_numbers

    @property
    def unit(self) -> int:
        """How many members belong together: 2 where they come in pairs, 1 otherwise."""
        return 2 if self.antithetic else 1

    @property
    def schedules(self) -> dict[str, Callable[[int], float]]:
        """What may change with the generations, by name."""
        return {"std": self.std_at}

    def std_at(self, generation: int) -> float:
        """The standard deviation of the perturbations in a generation, counted from 0."""
        return float(np.asarray(self.std(generation))) if callable(self.std) else self.std

    def _algorithm(self, solution: PyTree) -> Open_ES:
        schedule = self.std if callable(self.std) else optax.constant_schedule(self.std)
        return _PairsSideBySide(
            self.population,
            solution,
            use_antithetic_sampling=self.antithetic,
            optimizer=self.optimizer,
            std_schedule=lambda generation: jnp.asarray(schedule(generation), jnp.float32),
        )

    def init(self, params: PyTree[Array], *, key: PRNGKeyArray) -> StrategyState:
        """The state of a search that starts at `params`, a tree of float arrays."""
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            algorithm = self._algorithm(params)
            return StrategyState(
                algorithm.init(key, params, algorithm.default_params), algorithm.default_params
            )

    def ask(self, state: StrategyState, like: PyTree[Array], *, key: PRNGKeyArray) -> PyTree[Array]:
        """The members of a generation.

        **Arguments:**

        - `state`: the state of the search.
        - `like`: a tree with the shapes of one member.
        - `key`: the random key of the perturbations.

        **Returns:**

        A tree like `like` whose arrays have a leading axis of `population`; with antithetic
        sampling, members `2 i` and `2 i + 1` are a pair.
        """
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return self._algorithm(like).ask(key, state.es, state.params)[0]

    def tell(
        self,
        state: StrategyState,
        members: PyTree[Array],
        fitness: Float[Array, "*lessons P"],
        *,
        key: PRNGKeyArray,
        weights: Sequence[float] | None = None,
    ) -> StrategyState:
        """The state after a generation.

        **Arguments:**

        - `state`: the state of the search.
        - `members`: what `ask` returned.
        - `fitness`: of each member; higher is better. A member whose fitness is not finite
            counts as the worst finite one, and a generation without any changes nothing but
            the momentum of the optimiser.
            With several lessons, of each member in each lesson: every lesson is shaped for
            itself, and the mean of the shaped fitness is followed.
        - `key`: unused by `Open_ES`, passed on to evosax.
        - `weights`: how much each of several lessons counts in that mean; all alike by default.

        **Raises:** `ValueError` for weights that are not one for each lesson.
        """
        losses = -self._shaped(fitness, weights)
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            one = jax.tree.map(lambda x: x[0], members)
            es, _ = self._algorithm(one).tell(key, members, losses, state.es, state.params)
        if callable(self.std):
            # evosax reads the schedule before it counts the generation, so it would lag by one.
            es = es.replace(std=jnp.asarray(self.std(es.generation_counter), jnp.float32))
        return StrategyState(es, state.params)

    def _shaped(
        self, fitness: Float[Array, "*lessons P"], weights: Sequence[float] | None
    ) -> Float[Array, " P"]:
        if fitness.ndim == 1:
            return shape_fitness(fitness, self.shaping)
        weights = [1.0] * len(fitness) if weights is None else weights
        if len(weights) != len(fitness):
            raise ValueError(
                f"`weights` must be one for each of the {len(fitness)} lessons, got {len(weights)}."
            )
        shaped = [w * shape_fitness(f, self.shaping) for w, f in zip(weights, fitness, strict=True)]
        return jnp.stack(shaped).sum(0) / sum(weights)

    def mean(self, state: StrategyState, like: PyTree[Array]) -> PyTree[Array]:
        """The centre of the search, the parameters to use: a tree like `like`."""
        return self._algorithm(like).get_mean(state.es)

    def life_keys(self, lives: int, *, key: PRNGKeyArray) -> Key[Array, "groups lives"]:
        """The keys of all lives of a generation.

        **Returns:**

        Keys of shape `[groups, lives]`. There is 1 group of all members, one for each pair, or one
        for each member, for common random numbers `"population"`, `"pair"` and `"none"`; the
        members of a group stand next to each other.
        """
        groups = {"population": 1, "pair": self.population // 2, "none": self.population}
        return jr.split(key, (groups[self.common_random_numbers], lives))

    @property
    def persistent(self) -> bool:
        """Whether members hand on their lives, unfinished, to the next generation."""
        return False

    def life(self, generation: Int[Array, ""]) -> Int[Array, ""]:
        """The number of the lives that a generation lives. It decides on their keys."""
        return generation

    def steps(self, lesson: Lesson) -> int:
        """The environment steps that a generation lives of each life of a lesson.

        **Raises:** `ValueError` for a lesson that this strategy cannot live.
        """
        return lesson.steps

    def begin(self, learner: rl.Learner, lesson: Lesson, *, key: PRNGKeyArray) -> PyTree:
        """What `live` is handed in the first generation.

        **Returns:**

        Arrays `[population, lives, ...]`; `None` unless the strategy is `persistent`.
        """
        del learner, lesson, key

    def live(
        self,
        learner: rl.Learner,
        lesson: Lesson,
        start: PyTree,
        *,
        generation: Int[Array, ""],
        key: PRNGKeyArray,
    ) -> tuple[Float[Array, ""], PyTree]:
        """What a member lives of one life in one generation.

        **Arguments:**

        - `learner`: the member.
        - `lesson`: what it lives in.
        - `start`: what this life handed on in the generation before.
        - `generation`: the number of the generation, counted from 0.
        - `key`: of the life and of its task, the same in all generations of one life.

        **Returns:**

        The fitness, and what this life hands on to the next generation.
        """
        del start, generation
        return lesson.fitness(live(learner, lesson.tasks, steps=lesson.steps, key=key)), None


def shape_fitness(fitness: Float[Array, " P"], shaping: Shaping) -> Float[Array, " P"]:
    """Turn fitness into the weights of a gradient estimate; higher stays better.

    **Arguments:**

    - `fitness`: of each member; members that are not finite count as the worst finite one.
    - `shaping`: `"rank"`: ranks from -0.5 to 0.5, ties sharing their mean; `"zscore"`: zero mean
        and unit deviation; `"none"`: as it is.

    **Returns:**

    The weights; all zero if no member is finite or, but for `"none"`, if all are equal.
    """
    finite = jnp.isfinite(fitness)
    worst = jnp.min(jnp.where(finite, fitness, jnp.inf))
    fitness = jnp.where(finite, fitness, jnp.where(finite.any(), worst, 0.0))
    if shaping == "none":
        return fitness
    if shaping == "zscore":
        # Between -1 and 1, so that squares neither overflow nor vanish; nor may 1 / peak.
        fitness = jnp.clip(fitness, -1e30, 1e30)
        peak = jnp.abs(fitness).max()
        fitness = fitness / jnp.where(peak > 0.0, peak, 1.0)
        centred = fitness - fitness.mean()
        # Rounding can leave a constant fitness a hair's breadth from its mean.
        spread = jnp.where(fitness.max() > fitness.min(), jnp.std(fitness), jnp.inf)
        return centred / spread
    # In this order, all is exact but the division: equal ranks are exactly zero.
    ranks = jax.scipy.stats.rankdata(fitness).astype(fitness.dtype)
    return (2.0 * ranks - (fitness.shape[0] + 1)) / (2 * (fitness.shape[0] - 1))
