"""The program of meta-training: generations of an evolution strategy over one device or many."""

import bisect
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, PyTree

import rl

from ._compile import compiler_options
from ._es import EvolutionStrategy, StrategyState
from ._evaluate import live
from ._hosts import Devices
from ._lesson import Fitness, Lesson, lessons_of

Records = dict[str, Array]
_MEMBERS = PartitionSpec("population")
_WHOLE = PartitionSpec()


class TrainState(eqx.Module):
    """Where a meta-training stands.

    - `generation`: how many generations are done.
    - `strategy`: the state of the evolution strategy.
    """

    generation: Int[Array, ""]
    strategy: StrategyState


class Portion(NamedTuple):
    """What one device does at once: so many members, each with so many of its lives.

    Lessons are lived one after another. One whose lives are not a multiple of `lives` takes on the
    next smaller number of which they are.
    """

    members: int
    lives: int


class Compiled(NamedTuple):
    """A compiled program of some generations.

    - `run`: takes the state of the training, and gives the new one and the records.
    - `bytes`: the memory it needs on each device.
    """

    run: Callable[[TrainState], tuple[TrainState, Records]]
    bytes: int


class Generations:
    """What every generation computes, and where.

    The members are shared out among the devices. Each device makes the noise of its own members
    and lives their lives; what devices exchange is the fitness of all members and the estimate of
    the gradient. Results do not depend on the devices but for the order of summation.

    All lessons are in one program, one after another, each as a scan of its own sizes.
    """

    def __init__(
        self,
        learner: rl.Learner,
        tasks: rl.TaskDistribution | Sequence[Lesson],
        strategy: EvolutionStrategy,
        *,
        steps: int | None = None,
        lives: int | None = None,
        key: PRNGKeyArray,
        fitness: Fitness | None = None,
        devices: Devices,
    ):
        """**Arguments:** as of `train`; `devices` are those of all processes.

        **Raises:** `ValueError` if the population cannot be shared out evenly, or for lessons
        that cannot be.
        """
        _check_shares(strategy, len(devices))
        self._params, self._static = eqx.partition(learner, eqx.is_inexact_array)
        self._lessons = lessons_of(tasks, steps, lives, fitness)
        self._strategy = strategy
        self._key_data, self._key_impl = np.asarray(jr.key_data(key)), jr.key_impl(key)
        self._mesh = Mesh(np.asarray(devices), ("population",))
        self._share = strategy.population // len(devices)

    def place(self, state: TrainState) -> TrainState:
        """The state as the compiled programs take it: on every device."""
        everywhere = NamedSharding(self._mesh, _WHOLE)

        def put(leaf: Array) -> Array:
            value = np.asarray(leaf)
            return jax.make_array_from_callback(value.shape, everywhere, lambda part: value[part])

        return jax.tree.map(put, state)

    def centre(self, state: TrainState) -> rl.Learner:
        """The learner at the centre of the search."""
        return eqx.combine(self._strategy.mean(state.strategy, self._params), self._static)

    def portions(self) -> list[Portion]:
        """All that a device could do at once, from the least to its whole share.

        A share is cut into groups of members first, and the lives of a member last, because those
        have their parameters in common.
        """
        pairs = self._strategy.common_random_numbers == "pair"
        members = [n for n in _divisors(self._share) if n == 1 or not pairs or n % 2 == 0]
        *fewer, lives = sorted({n for one in self._lessons for n in _divisors(one.lives)})
        few = [Portion(1, n) for n in fewer]
        return [*few, *(Portion(n, lives) for n in members)]

    def fit(self, state: TrainState, length: int, memory: int | None) -> tuple[Portion, Compiled]:
        """The largest portion whose program needs no more than `memory` bytes on each device.

        **Raises:** `ValueError` if not even one life of one member does.
        """
        portions = self.portions()
        found: dict[Portion, Compiled] = {}

        def needs(portion: Portion) -> int:
            found[portion] = self.compile(state, length, portion)
            return found[portion].bytes

        if memory is None or needs(portions[-1]) <= memory:
            whole = portions[-1]
            return whole, found.get(whole) or self.compile(state, length, whole)
        count = bisect.bisect_right(portions[:-1], memory, key=needs)
        if count == 0:
            least = found.get(portions[0]) or self.compile(state, length, portions[0])
            raise ValueError(
                f"`memory` of {memory:,} bytes is too little: one life of one member at a time "
                f"needs {least.bytes:,} bytes on each device, with all that comes with it."
            )
        return portions[count - 1], found[portions[count - 1]]

    def compile(
        self,
        state: TrainState,
        length: int,
        portion: Portion,
        options: dict[str, str | bool] | None = None,
    ) -> Compiled:
        """The program of `length` generations.

        **Arguments:**

        - `state`: one that `place` made.
        - `length`: generations in one run.
        - `portion`: one of `portions`.
        - `options`: of the compiler, `compiler_options` by default.
        """
        lowered = self._advance.lower(state, length=length, portion=portion)
        if options is None:
            options = compiler_options(self._mesh.devices.flat[0].platform)
        program = lowered.compile(compiler_options=options)
        size = program.memory_analysis()
        needed = 0
        if size is not None:
            needed = size.temp_size_in_bytes + size.output_size_in_bytes
            needed += size.argument_size_in_bytes
        return Compiled(program, needed)

    @functools.cached_property
    def _advance(self):
        def advance(
            state: TrainState, *, length: int, portion: Portion
        ) -> tuple[TrainState, Records]:
            step = functools.partial(self._generation, portion)
            return jax.lax.scan(step, state, None, length=length)

        everywhere = NamedSharding(self._mesh, _WHOLE)
        return jax.jit(advance, static_argnames=("length", "portion"), out_shardings=everywhere)

    def _generation(
        self, portion: Portion, state: TrainState, _: None
    ) -> tuple[TrainState, Records]:
        strategy = self._strategy
        run_key = jr.wrap_key_data(jnp.asarray(self._key_data), impl=self._key_impl)
        ask_key, life_key, tell_key = jr.split(jr.fold_in(run_key, state.generation), 3)
        members = strategy.ask(state.strategy, self._params, key=ask_key)
        keys = [life_key]
        if len(self._lessons) > 1:
            keys = [jr.fold_in(life_key, i) for i in range(len(self._lessons))]
        scores = jnp.stack(
            [
                self._scores(lesson, members, strategy.life_keys(lesson.lives, key=key), portion)
                / lesson.lives
                for lesson, key in zip(self._lessons, keys, strict=True)
            ]
        )
        # Every device learns the fitness of all: it ranks it, and follows from there by itself.
        scores = jax.lax.with_sharding_constraint(scores, NamedSharding(self._mesh, _WHOLE))
        if len(self._lessons) == 1:
            new = strategy.tell(state.strategy, members, scores[0], key=tell_key)
        else:
            weights = tuple(lesson.weight for lesson in self._lessons)
            new = strategy.tell(state.strategy, members, scores, key=tell_key, weights=weights)
        return TrainState(state.generation + 1, new), self._record(scores)

    def _record(self, scores: Float[Array, "lessons P"]) -> Records:
        """The fitness of the members: their mean over the lessons, and each for itself."""
        total = scores[0]
        if len(self._lessons) > 1:
            weights = [lesson.weight for lesson in self._lessons]
            total = jnp.stack([w * s for w, s in zip(weights, scores, strict=True)]).sum(0)
            total = total / sum(weights)
        finite = jnp.isfinite(total)
        record = {
            "fitness_mean": jnp.mean(total, where=finite),
            "fitness_std": jnp.std(total, where=finite),
            "fitness_max": jnp.max(total, where=finite, initial=-jnp.inf),
            "failed_members": (~finite).sum(),
        }
        if len(self._lessons) > 1:
            for lesson, own in zip(self._lessons, scores, strict=True):
                record[f"fitness_mean/{lesson.name}"] = jnp.mean(own, where=jnp.isfinite(own))
        return record

    def _scores(
        self,
        lesson: Lesson,
        members: PyTree,
        keys: Key[Array, "groups lives"],
        portion: Portion,
    ) -> Float[Array, " P"]:
        """The summed fitness of every member in a lesson, each on the device that made it."""
        fitting = max(n for n in _divisors(lesson.lives) if n <= portion.lives)
        score = functools.partial(
            score_by_portion,
            functools.partial(self._score, lesson),
            portion=portion._replace(lives=fitting),
        )
        return jax.shard_map(
            score,
            mesh=self._mesh,
            in_specs=(_MEMBERS, _WHOLE if keys.shape[0] == 1 else _MEMBERS),
            out_specs=_MEMBERS,
            check_vma=False,  # a life is a scan, whose carry begins with constants
        )(members, keys)

    def _score(
        self, lesson: Lesson, member: PyTree, life_keys: Key[Array, " lives"]
    ) -> Float[Array, ""]:
        learner = eqx.combine(member, self._static)

        def one(key: PRNGKeyArray) -> Float[Array, ""]:
            return lesson.fitness(live(learner, lesson.tasks, steps=lesson.steps, key=key))

        return jax.vmap(one)(life_keys).sum()


def score_by_portion(
    score: Callable[[PyTree, Array], Array],
    members: PyTree,
    keys: Key[Array, "groups lives"],
    *,
    portion: Portion,
) -> Float[Array, " members"]:
    """Score members a portion at a time: some members, then some of their lives, after others.

    **Arguments:**

    - `score`: of one member on some lives, the sum over them.
    - `members`: a tree of arrays with a leading axis, a whole number of portions.
    - `keys`: of the lives of each group of members, as `EvolutionStrategy.life_keys` has them.
    - `portion`: what is done at once.
    """
    count, lives = jax.tree.leaves(members)[0].shape[0], keys.shape[1]
    if portion == (count, lives):
        return _score_by_group(score, members, keys)

    def some_members(args: tuple[PyTree, Array]) -> Array:
        members, keys = args
        groups = keys.shape[0]
        parts = jnp.moveaxis(keys.reshape(groups, lives // portion.lives, portion.lives), 1, 0)
        return jax.lax.map(lambda part: _score_by_group(score, members, part), parts).sum(0)

    turns = count // portion.members
    cut = jax.tree.map(lambda x: x.reshape(turns, portion.members, *x.shape[1:]), members)
    if keys.shape[0] == 1:
        return jax.lax.map(lambda some: some_members((some, keys)), cut).reshape(-1)
    if keys.shape[0] < turns:  # a pair takes two turns
        keys = jnp.repeat(keys, turns // keys.shape[0], axis=0)
    return jax.lax.map(some_members, (cut, keys.reshape(turns, -1, lives))).reshape(-1)


def _score_by_group(
    score: Callable[[PyTree, Array], Array], members: PyTree, keys: Key[Array, "groups lives"]
) -> Float[Array, " members"]:
    """Score members that stand group by group, each on the lives of its group.

    Members of one group share keys that are not batched, so that what depends on the key alone
    (tasks, initial states, samples) is computed once for all of them.
    """
    groups = keys.shape[0]
    if groups == 1:
        return jax.vmap(score, in_axes=(0, None))(members, keys[0])
    members = jax.tree.map(lambda x: x.reshape(groups, -1, *x.shape[1:]), members)
    return jax.vmap(jax.vmap(score, in_axes=(0, None)))(members, keys).reshape(-1)


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _check_shares(strategy: EvolutionStrategy, devices: int) -> None:
    population, together = strategy.population, strategy.unit * devices
    if population % together:
        fewer = max(n for n in _divisors(population // strategy.unit) if n <= devices)
        more = -(-population // together) * together
        kind = " in whole pairs" if strategy.unit == 2 else ""
        raise ValueError(
            f"A population of {population} cannot be shared out evenly{kind} among {devices} "
            f"devices; take {fewer} of them, or a population of {more}."
        )
