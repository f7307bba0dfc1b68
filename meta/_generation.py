"""The program of meta-training: generations of an evolution strategy over one device or many."""

import functools
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, PyTree

import rl

from ._es import EvolutionStrategy, StrategyState
from ._hosts import Devices
from ._lesson import Fitness, Lesson, lessons_of
from ._program import WHOLE, Portion, Program, Records, divisors

_MEMBERS = PartitionSpec("population")


class TrainState(eqx.Module):
    """Where a meta-training stands.

    - `generation`: how many generations are done.
    - `strategy`: the state of the evolution strategy.
    - `lives`: of each lesson, what the lives of members hand on to the next generation; empty
        unless the strategy is `persistent`.
    """

    generation: Int[Array, ""]
    strategy: StrategyState
    lives: tuple[PyTree, ...] = ()


class Generations(Program[TrainState]):
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
        super().__init__(devices, "population", key=key)
        _check_shares(strategy, len(devices))
        self._params, self._static = eqx.partition(learner, eqx.is_inexact_array)
        self._lessons = lessons_of(tasks, steps, lives, fitness)
        self._strategy = strategy
        for lesson in self._lessons:
            strategy.steps(lesson)  # refuses a lesson that it cannot live
        self._share = strategy.population // len(devices)

    def init(self, *, key: PRNGKeyArray) -> TrainState:
        """The state of a training that begins at the learner."""
        lives = ()
        if self._strategy.persistent:
            learner = eqx.combine(self._params, self._static)
            lives = tuple(self._strategy.begin(learner, one, key=key) for one in self._lessons)
        strategy = self._strategy.init(self._params, key=key)
        return TrainState(jnp.asarray(0, jnp.int32), strategy, lives)

    def place(self, state: TrainState) -> TrainState:
        """The state as the compiled programs take it: what belongs to a member on its device, and
        the rest on every device.
        """
        whole = functools.partial(jax.tree.map, functools.partial(self._put, spec=WHOLE))
        shared = functools.partial(jax.tree.map, functools.partial(self._put, spec=_MEMBERS))
        es, params, accumulated = state.strategy
        strategy = StrategyState(whole(es), whole(params), shared(accumulated))
        return TrainState(whole(state.generation), strategy, shared(state.lives))

    def centre(self, state: TrainState) -> rl.Learner:
        """The learner at the centre of the search."""
        return eqx.combine(self._strategy.mean(state.strategy, self._params), self._static)

    def portions(self) -> list[Portion]:
        """All that a device could do at once, from the least to its whole share.

        A share is cut into groups of members first, and the lives of a member last, because those
        have their parameters in common. Lives that are handed on are not cut.
        """
        pairs = self._strategy.common_random_numbers == "pair"
        members = [n for n in divisors(self._share) if n == 1 or not pairs or n % 2 == 0]
        *fewer, lives = sorted({n for one in self._lessons for n in divisors(one.lives)})
        few = [] if self._strategy.persistent else [Portion(1, n) for n in fewer]
        return [*few, *(Portion(n, lives) for n in members)]

    def _generation(
        self, portion: Portion, state: TrainState, *, key: PRNGKeyArray
    ) -> tuple[TrainState, Records]:
        strategy = self._strategy
        ask_key, _, tell_key = jr.split(jr.fold_in(key, state.generation), 3)
        _, life_key, _ = jr.split(jr.fold_in(key, strategy.life(state.generation)), 3)
        members = strategy.ask(state.strategy, self._params, key=ask_key)
        keys = [life_key]
        if len(self._lessons) > 1:
            keys = [jr.fold_in(life_key, i) for i in range(len(self._lessons))]
        starts = state.lives or (None,) * len(self._lessons)
        found = [
            self._scores(
                lesson,
                portion,
                (members, start),
                strategy.life_keys(lesson.lives, key=key),
                state.generation,
            )
            for lesson, key, start in zip(self._lessons, keys, starts, strict=True)
        ]
        lives = tuple(handed_on for _, handed_on in found) if state.lives else ()
        scores = jnp.stack(
            [score / one.lives for one, (score, _) in zip(self._lessons, found, strict=True)]
        )
        # Every device learns the fitness of all: it ranks it, and follows from there by itself.
        scores = jax.lax.with_sharding_constraint(scores, NamedSharding(self._mesh, WHOLE))
        if len(self._lessons) == 1:
            new = strategy.tell(state.strategy, members, scores[0], key=tell_key)
        else:
            weights = tuple(lesson.weight for lesson in self._lessons)
            new = strategy.tell(state.strategy, members, scores, key=tell_key, weights=weights)
        return TrainState(state.generation + 1, new, lives), self._record(scores)

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
        portion: Portion,
        members: tuple[PyTree, PyTree],
        keys: Key[Array, "groups lives"],
        generation: Int[Array, ""],
    ) -> tuple[Float[Array, " P"], PyTree]:
        """The summed fitness of every member in a lesson, and what its lives hand on, each on the
        device that made it.
        """
        portion = portion._replace(
            lives=max(n for n in divisors(lesson.lives) if n <= portion.lives)
        )

        def scores(members: PyTree, keys: Array, generation: Array) -> PyTree:
            score = functools.partial(self._score, lesson, generation)
            return score_by_portion(score, members, keys, portion=portion)

        return jax.shard_map(
            scores,
            mesh=self._mesh,
            in_specs=(_MEMBERS, WHOLE if keys.shape[0] == 1 else _MEMBERS, WHOLE),
            out_specs=_MEMBERS,
            check_vma=False,  # a life is a scan, whose carry begins with constants
        )(members, keys, generation)

    def _score(
        self,
        lesson: Lesson,
        generation: Int[Array, ""],
        member: tuple[PyTree, PyTree],
        life_keys: Key[Array, " lives"],
    ) -> tuple[Float[Array, ""], PyTree]:
        params, starts = member
        live = functools.partial(
            self._strategy.live, eqx.combine(params, self._static), lesson, generation=generation
        )
        fitness, handed_on = jax.vmap(lambda start, key: live(start, key=key))(starts, life_keys)
        return fitness.sum(), handed_on


def score_by_portion(
    score: Callable[[PyTree, Array], PyTree],
    members: PyTree,
    keys: Key[Array, "groups lives"],
    *,
    portion: Portion,
) -> PyTree[Array]:
    """Score members a portion at a time: some members, then some of their lives, after others.

    **Arguments:**

    - `score`: of one member on some lives, the sum over them; or, if lives are not cut, any arrays.
    - `members`: a tree of arrays with a leading axis, a whole number of portions.
    - `keys`: of the lives of each group of members, as `EvolutionStrategy.life_keys` has them.
    - `portion`: what is done at once.

    **Returns:**

    What `score` returns, with a leading axis of members.
    """
    count, lives = jax.tree.leaves(members)[0].shape[0], keys.shape[1]
    if portion == (count, lives):
        return _score_by_group(score, members, keys)

    def some_members(args: tuple[PyTree, Array]) -> PyTree:
        members, keys = args
        if portion.lives == lives:
            return _score_by_group(score, members, keys)
        groups = keys.shape[0]
        parts = jnp.moveaxis(keys.reshape(groups, lives // portion.lives, portion.lives), 1, 0)
        sums = jax.lax.map(lambda part: _score_by_group(score, members, part), parts)
        return jax.tree.map(lambda x: x.sum(0), sums)

    turns = count // portion.members
    cut = jax.tree.map(lambda x: x.reshape(turns, portion.members, *x.shape[1:]), members)
    if keys.shape[0] == 1:
        return _joined(jax.lax.map(lambda some: some_members((some, keys)), cut))
    if keys.shape[0] < turns:  # a pair takes two turns
        keys = jnp.repeat(keys, turns // keys.shape[0], axis=0)
    return _joined(jax.lax.map(some_members, (cut, keys.reshape(turns, -1, lives))))


def _score_by_group(
    score: Callable[[PyTree, Array], PyTree], members: PyTree, keys: Key[Array, "groups lives"]
) -> PyTree[Array]:
    """Score members that stand group by group, each on the lives of its group.

    Members of one group share keys that are not batched, so that what depends on the key alone
    (tasks, initial states, samples) is computed once for all of them.
    """
    groups = keys.shape[0]
    if groups == 1:
        return jax.vmap(score, in_axes=(0, None))(members, keys[0])
    members = jax.tree.map(lambda x: x.reshape(groups, -1, *x.shape[1:]), members)
    return _joined(jax.vmap(jax.vmap(score, in_axes=(0, None)))(members, keys))


def _joined(tree: PyTree[Array]) -> PyTree[Array]:
    """The first two axes of every array as one."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def _check_shares(strategy: EvolutionStrategy, devices: int) -> None:
    population, together = strategy.population, strategy.unit * devices
    if population % together:
        fewer = max(n for n in divisors(population // strategy.unit) if n <= devices)
        more = -(-population // together) * together
        kind = " in whole pairs" if strategy.unit == 2 else ""
        raise ValueError(
            f"A population of {population} cannot be shared out evenly{kind} among {devices} "
            f"devices; take {fewer} of them, or a population of {more}."
        )
