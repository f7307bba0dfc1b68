"""Meta-training: generations of an evolution strategy, watched, saved and resumed."""

import dataclasses
import functools
import hashlib
import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, PyTree

import rl

from . import _archive, _report
from ._es import EvolutionStrategy, StrategyState
from ._evaluate import evaluate, live
from ._store import header_of, hyperparameters, save

_PROBES = (0, 1, 100, 1000)  # generations at which schedules are compared
Fitness = Callable[[rl.Life], Float[Array, ""]]


def total_reward(life: rl.Life) -> Float[Array, ""]:
    """The undiscounted sum of the rewards of a life, the objective of SymLA."""
    return life.total_reward


def negative_regret(life: rl.Life) -> Float[Array, ""]:
    """Minus the expected regret of the actions taken, for tasks that have the metric.

    Up to a constant of the task it has the mean of the total reward and less noise: the luck of
    the draws is left out.
    """
    return -life.totals["regret"]


class TrainState(eqx.Module):
    """Where a meta-training stands.

    - `generation`: how many generations are done.
    - `strategy`: the state of the evolution strategy.
    """

    generation: Int[Array, ""]
    strategy: StrategyState


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What came of a meta-training.

    - `learner`: the learner with the parameters at the centre of the search.
    - `state`: where the search stands.
    - `history`: one record for each generation of this run, as in `metrics.jsonl`.
    - `tests`: one record for each meta-test of this run.
    - `compile_seconds`: spent compiling, in this run.
    - `seconds`: spent in all, in this run.
    - `finished`: `False` if it was interrupted; run it again with the same `out` to go on.
    """

    learner: rl.Learner
    state: TrainState
    history: list[dict]
    tests: list[dict]
    compile_seconds: float
    seconds: float
    finished: bool


def train(
    learner: rl.Learner,
    tasks: rl.TaskDistribution,
    strategy: EvolutionStrategy | None = None,
    *,
    steps: int,
    lives: int,
    generations: int,
    key: PRNGKeyArray,
    fitness: Fitness = total_reward,
    out: str | os.PathLike | None = None,
    chunk: int = 10,
    tests: Mapping[str, rl.TaskDistribution] | None = None,
    test_every: int = 0,
    test_lives: int = 100,
    callback: Callable[[TrainState, rl.Learner, dict], bool | None] | None = None,
    progress: bool = False,
    tensorboard: bool = False,
) -> TrainResult:
    """Meta-train a learner: evolve its arrays so that its lives go well.

    Every generation depends only on the key, its number and the state before it. A run that was
    stopped anywhere and resumed therefore equals one that never was, bit for bit on the same
    machine and versions.

    **Arguments:**

    - `learner`: where the search starts.
    - `tasks`: the tasks to train on.
    - `strategy`: the outer loop, `EvolutionStrategy()` by default.
    - `steps`: environment steps of a life.
    - `lives`: lives of each member in each generation.
    - `generations`: how many in all, those of earlier runs in `out` included.
    - `key`: the random key of the whole training.
    - `fitness`: of a life, higher is better; a member's is the mean over its lives.
    - `out`: a folder for `checkpoint.symla`, `learner.symla` and `metrics.jsonl`. If it holds
        a checkpoint of the same training, that one is resumed. `None`: nothing is written.
    - `chunk`: generations compiled into one call; the host reports, saves and can stop between
        two of them.
    - `tests`: held-out tasks by name, which are lived in every `test_every` generations (and at
        the end) with `test_lives` lives each, always from the same keys.
    - `callback`: called after every chunk with the state, the learner at the centre and the
        last record; training stops after the chunk if it returns `True`.
    - `progress`: show a progress bar on the terminal.
    - `tensorboard`: also write TensorBoard's event files into `out` (extra `tb`).

    **Returns:**

    A `TrainResult`. An interrupt (Ctrl-C, SIGTERM) ends it after the chunk that runs.

    **Raises:** `ValueError` for a number below one, a learner without arrays, or, with an `out`,
    a learner that cannot be saved or a folder that holds another training.
    """
    strategy = EvolutionStrategy() if strategy is None else strategy
    for name, value in {
        "steps": steps,
        "lives": lives,
        "generations": generations,
        "chunk": chunk,
        "test_lives": test_lives,
    }.items():
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    if test_every < 0:
        raise ValueError(f"`test_every` must be at least 0 (never), got {test_every}.")
    if tensorboard and out is None:
        raise ValueError("`tensorboard` writes into `out`; give a folder.")
    params, static = eqx.partition(learner, eqx.is_inexact_array)
    if not jax.tree.leaves(params):
        raise ValueError(
            f"{type(learner).__name__} has no arrays, so there is nothing to meta-train."
        )
    init_key, run_key, test_key = jr.split(key, 3)
    state = TrainState(jnp.asarray(0, jnp.int32), strategy.init(params, key=init_key))
    folder, identity = None if out is None else Path(out), {}
    if folder is not None:
        header_of(learner)  # what cannot be saved shall not be trained first
        identity = _identity(learner, tasks, strategy, steps, lives, key, fitness)
        state = _resume(folder, state, identity)
    began = int(state.generation)
    if began > generations:
        raise ValueError(
            f"{folder} already holds {began} generations, more than the {generations} asked for."
        )

    def member_fitness(member: PyTree, life_keys: Key[Array, " lives"]) -> Float[Array, ""]:
        full = eqx.combine(member, static)
        one = lambda k: fitness(live(full, tasks, steps=steps, key=k))  # noqa: E731
        return jax.vmap(one)(life_keys).mean()

    def generation(state: TrainState, _: None) -> tuple[TrainState, dict[str, Array]]:
        ask_key, life_key, tell_key = jr.split(jr.fold_in(run_key, state.generation), 3)
        members = strategy.ask(state.strategy, params, key=ask_key)
        keys = strategy.life_keys(lives, key=life_key)
        scores = _by_group(member_fitness, members, keys)
        new = strategy.tell(state.strategy, members, scores, key=tell_key)
        finite = jnp.isfinite(scores)
        record = {
            "fitness_mean": jnp.mean(scores, where=finite),
            "fitness_std": jnp.std(scores, where=finite),
            "fitness_max": jnp.max(scores, where=finite, initial=-jnp.inf),
            "failed_members": (~finite).sum(),
        }
        return TrainState(state.generation + 1, new), record

    @functools.partial(jax.jit, static_argnames="length")
    def advance(state: TrainState, *, length: int) -> tuple[TrainState, dict[str, Array]]:
        return jax.lax.scan(generation, state, None, length=length)

    def centre(state: TrainState) -> rl.Learner:
        return eqx.combine(strategy.mean(state.strategy, params), static)

    started, compile_seconds = time.perf_counter(), 0.0
    compiled, history, test_history, stopped = {}, [], [], False
    per_generation = strategy.population * lives * steps
    with (
        _report.Reporter(
            folder, began, generations, per_generation, progress=progress, tensorboard=tensorboard
        ) as reporter,
        _report.deferred_interrupts() as interrupted,
    ):
        while (done := int(state.generation)) < generations and not stopped:
            length = min(chunk, generations - done)
            if length not in compiled:
                reporter.status("compiling")
                tick = time.perf_counter()
                compiled[length] = advance.lower(state, length=length).compile()
                compile_seconds += time.perf_counter() - tick
            tick = time.perf_counter()
            state, records = jax.block_until_ready(compiled[length](state))
            seconds = time.perf_counter() - tick
            rows = _rows(done, records, seconds / length, per_generation)
            history += rows
            reporter.generations(rows)
            now = done + length
            if tests and (_crosses(done, now, test_every) or now == generations):
                row = _test(centre(state), tests, now, steps, test_lives, test_key)
                test_history.append(row)
                reporter.test(row)
            if folder is not None:
                _save_checkpoint(folder, state, identity)
            if callback is not None:
                stopped = bool(callback(state, centre(state), rows[-1]))
            stopped = stopped or interrupted()
    final = centre(state)
    finished = int(state.generation) >= generations
    if folder is not None:
        save(folder / "learner.symla", final, {"generations": int(state.generation)})
    return TrainResult(
        final,
        state,
        history,
        test_history,
        compile_seconds,
        time.perf_counter() - started,
        finished,
    )


def _by_group(
    score: Callable[[PyTree, Array], Array], members: PyTree, keys: Key[Array, "groups lives"]
) -> Float[Array, " P"]:
    """Score every member on the lives of its group: member `i` belongs to group `i % groups`.

    Members of one group share keys that are not batched, so that what depends on the key alone
    (tasks, initial states, samples) is computed once for all of them.
    """
    groups = keys.shape[0]
    members = jax.tree.map(lambda x: x.reshape((-1, groups, *x.shape[1:])), members)
    if groups == 1:
        members = jax.tree.map(lambda x: x[:, 0], members)
        return jax.vmap(score, in_axes=(0, None))(members, keys[0])
    return jax.vmap(jax.vmap(score), in_axes=(0, None))(members, keys).reshape(-1)


def _rows(done: int, records: dict[str, Array], seconds: float, per_generation: int) -> list[dict]:
    length = len(records["fitness_mean"])
    return [
        {
            "generation": done + i + 1,
            **{name: _number(values[i].item()) for name, values in records.items()},
            "seconds": round(seconds, 6),
            "steps_per_second": round(per_generation / seconds),
        }
        for i in range(length)
    ]


def _number(value: int | float) -> int | float | None:
    """A number that JSON can hold; `None` for one that is not finite."""
    return value if math.isfinite(value) else None


def _crosses(before: int, now: int, every: int) -> bool:
    return every > 0 and before // every != now // every


def _test(
    learner: rl.Learner,
    tests: Mapping[str, rl.TaskDistribution],
    generation: int,
    steps: int,
    lives: int,
    key: PRNGKeyArray,
) -> dict:
    row: dict = {"generation": generation}
    for name, tasks in tests.items():
        result = evaluate(learner, tasks, steps=steps, lives=lives, key=key)
        row[f"{name}/reward"] = _number(result.mean())
        for metric in result.totals:
            row[f"{name}/{metric}"] = _number(result.mean(metric))
    return row


def _identity(
    learner: rl.Learner,
    tasks: rl.TaskDistribution,
    strategy: EvolutionStrategy,
    steps: int,
    lives: int,
    key: PRNGKeyArray,
    fitness: Fitness,
) -> dict:
    """What makes a training this one and no other, for `_resume` to compare."""
    arrays = b"".join(
        a.tobytes() for a in _archive.leaves_of(eqx.filter((learner, tasks), eqx.is_array))
    )
    return {
        "learner": f"{type(learner).__name__}({_plain(hyperparameters(learner))})",
        "initial": hashlib.sha256(arrays).hexdigest(),
        "tasks": _plain(eqx.filter(tasks, eqx.is_array, inverse=True)),
        "strategy": _plain(
            {k: v for k, v in vars(strategy).items() if k not in ("optimizer", "std")}
        ),
        "std": [
            float(np.asarray(strategy.std(g))) if callable(strategy.std) else strategy.std
            for g in _PROBES
        ],
        "optimizer": _optimizer_steps(strategy.optimizer),
        "steps": steps,
        "lives": lives,
        "key": jr.key_data(key).tolist(),
        "fitness": getattr(fitness, "__name__", type(fitness).__name__),
    }


def _optimizer_steps(optimizer: optax.GradientTransformation) -> list[float]:
    """What an optimiser, which is two functions, makes of certain gradients, in four digits."""
    gradients = np.random.default_rng(0).normal(size=_PROBES[-1] + 1).astype(np.float32)
    with jax.numpy_dtype_promotion("standard"):
        params = jnp.ones(())

        def step(state: PyTree, gradient: Array) -> tuple[PyTree, Array]:
            update, state = optimizer.update(gradient, state, params)
            return state, jnp.asarray(update)

        _, updates = jax.lax.scan(step, optimizer.init(params), jnp.asarray(gradients))
    return [float(f"{updates[i]:.4g}") for i in _PROBES]


def _plain(value: object) -> str:
    """A text of a value without the addresses that `repr` gives to functions."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _save_checkpoint(folder: Path, state: TrainState, identity: dict) -> None:
    header = {
        "kind": "checkpoint",
        "generation": int(state.generation),
        "training": identity,
    }
    _archive.write(folder / "checkpoint.symla", header, _archive.leaves_of(state))


def _resume(folder: Path, state: TrainState, identity: dict) -> TrainState:
    """The state in the folder's checkpoint, or `state` if there is none."""
    path = folder / "checkpoint.symla"
    if not path.exists():
        return state
    header, arrays = _archive.read(path)
    if header.get("kind") != "checkpoint":
        raise _archive.ArchiveError(f"{path} is not a checkpoint but a {header.get('kind')!r}.")
    saved = header.get("training", {})
    identity = json.loads(json.dumps(identity))
    different = [k for k in identity if saved.get(k) != identity[k]]
    if different:
        changes = "; ".join(f"{k}: {saved.get(k)} there, {identity[k]} now" for k in different)
        raise ValueError(
            f"{folder} holds another training ({changes}). Choose another folder, or the same "
            "settings to resume it."
        )
    return _archive.fill(state, arrays, path)
