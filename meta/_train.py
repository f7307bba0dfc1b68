"""Meta-training: generations of an outer loop, watched, saved and resumed."""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray

import rl

from . import _checkpoint, _hosts, _report
from ._criterion import Reached
from ._es import EvolutionStrategy
from ._evaluate import evaluate
from ._hosts import Devices
from ._lesson import Fitness, Lesson, lessons_of
from ._program import Portion
from ._store import header_of, save
from ._strategy import State, Strategy, program_of


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What came of a meta-training.

    - `learner`: the learner that came of it; for evolution, that at the centre of the search.
    - `state`: where the training stands.
    - `history`: one record for each generation of this run, as in `metrics.jsonl`.
    - `tests`: one record for each meta-test of this run.
    - `compile_seconds`: spent compiling, in this run.
    - `seconds`: spent in all, in this run.
    - `finished`: whether nothing is left to do, because all generations are done or the criterion
        is met; otherwise, run it again with the same `out` to go on.
    - `devices`: how many shared the population, or its lives.
    - `portion`: how many members, with how many lives each, a device took on at once; `None` if
        nothing was left to do.
    - `memory`: the bytes that the program needs on each device; `None` likewise.
    - `reached`: whether the criterion was met; `None` without one.
    - `stopped`: whether a signal or the callback ended it.
    """

    learner: rl.Learner
    state: State
    history: list[dict]
    tests: list[dict]
    compile_seconds: float
    seconds: float
    finished: bool
    devices: int
    portion: Portion | None
    memory: int | None
    reached: bool | None
    stopped: bool


def train(
    learner: rl.Learner,
    tasks: rl.TaskDistribution | Lesson | Sequence[Lesson],
    strategy: Strategy | None = None,
    *,
    steps: int | None = None,
    lives: int | None = None,
    generations: int,
    key: PRNGKeyArray,
    fitness: Fitness | None = None,
    devices: Devices | None = None,
    memory: int | None = None,
    out: str | os.PathLike | None = None,
    chunk: int = 10,
    tests: Mapping[str, rl.TaskDistribution] | None = None,
    test_every: int = 0,
    test_lives: int = 100,
    until: Reached | None = None,
    callback: Callable[[State, rl.Learner, dict], bool | None] | None = None,
    progress: bool = False,
    tensorboard: bool = False,
) -> TrainResult:
    """Meta-train a learner: change its arrays so that its lives go well.

    Every generation depends only on the key, its number and the state before it. A run that was
    stopped anywhere and resumed therefore equals one that never was, bit for bit on the same
    machine and versions. Devices, processes and memory decide how fast it goes, and change results
    by no more than the order of summation: any training can be resumed with others.

    With `jax.distributed`, all processes call this function with the same arguments. The first
    one writes, shows progress, and decides where to resume.

    **Arguments:**

    - `learner`: where the search starts.
    - `tasks`: the tasks to train on; or lessons, all of which members live in each generation.
    - `strategy`: the outer loop: an `EvolutionStrategy`, which is the default, or an `ActorCritic`,
        which follows gradients through the lives of one member, the learner itself.
    - `steps`: environment steps of a life. Lessons have their own, and their own `lives` and
        `fitness`.
    - `lives`: lives of each member in each generation.
    - `generations`: how many in all, those of earlier runs in `out` included.
    - `key`: the random key of the whole training.
    - `fitness`: of a life, higher is better; a member's is the mean over its lives.
        `total_reward` by default, and always where gradients are followed.
    - `devices`: what shares the population (or the lives of the one member), for example
        `jax.devices()`. By default JAX's first device; with several processes, all devices of all
        of them.
    - `memory`: bytes that the program may need on each device. Members and lives that do not fit
        side by side are lived one after another. By default, all are lived at once.
    - `out`: a folder for `checkpoint.symla`, `learner.symla` and `metrics.jsonl`. If it holds
        a checkpoint of the same training, that one is resumed. `None`: nothing is written.
    - `chunk`: generations compiled into one call; the host reports, saves and can stop between
        two of them.
    - `tests`: held-out tasks by name, which are lived in every `test_every` generations (and at
        the end) with `test_lives` lives each, always from the same keys. They are as long as those
        of training (of its longest lesson).
    - `until`: a criterion that ends the training as soon as it is met. It is tested every
        `test_every` generations and at the end. It is no part of what makes a training this one.
    - `callback`: called after every chunk with the state, the learner at the centre and the
        last record; training stops after the chunk if it returns `True`.
    - `progress`: show a progress bar on the terminal.
    - `tensorboard`: also write TensorBoard's event files into `out` (extra `tb`).

    **Returns:**

    A `TrainResult`. An interrupt (Ctrl-C, SIGTERM) ends it after the chunk that runs; in one
    process, it ends all of them.

    **Raises:** `ValueError` for a number below one, lessons that cannot be, a learner without
    arrays, a population that the devices cannot share evenly, too little memory, or, with an
    `out`, a learner that cannot be saved or a folder that holds another training.
    `LostProcessError` if another process ended.
    """
    strategy = EvolutionStrategy() if strategy is None else strategy
    lessons = lessons_of(tasks, steps, lives, fitness)
    for name, value in {
        "generations": generations,
        "chunk": chunk,
        "test_lives": test_lives,
    }.items():
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    if memory is not None and memory < 1:
        raise ValueError(f"`memory` must be at least 1, got {memory}.")
    if test_every < 0:
        raise ValueError(f"`test_every` must be at least 0 (never), got {test_every}.")
    if until is not None and test_every == 0:
        raise ValueError("`until` is tested every `test_every` generations; give at least 1.")
    if tensorboard and out is None:
        raise ValueError("`tensorboard` writes into `out`; give a folder.")
    params = eqx.filter(learner, eqx.is_inexact_array)
    if not jax.tree.leaves(params):
        raise ValueError(
            f"{type(learner).__name__} has no arrays, so there is nothing to meta-train."
        )
    if devices is None:
        devices = jax.devices() if jax.process_count() > 1 else jax.devices()[:1]
    _hosts.check_devices(devices)
    folder = None if out is None else Path(out)
    init_key, run_key, test_key = jr.split(key, 3)
    program = program_of(learner, lessons, strategy, key=run_key, devices=devices)
    state = program.init(key=init_key)
    identity = {}
    if folder is not None:
        header_of(learner)  # what cannot be saved shall not be trained first
        identity = _checkpoint.identity_of(learner, lessons, strategy, key)
    state = program.place(_checkpoint.resume(folder, state, identity, generations))
    folder = folder if _hosts.is_first() else None  # the others write nothing
    began = int(state.generation)

    started, compile_seconds = time.perf_counter(), 0.0
    compiled, portion, history, test_history, stopped = {}, None, [], [], False
    longest = max(lesson.steps for lesson in lessons)
    steps_of_member = sum(one.lives * strategy.steps(one) for one in lessons)
    per_generation = strategy.population * steps_of_member
    with (
        _report.Reporter(
            folder,
            began,
            generations,
            progress=progress and _hosts.is_first(),
            tensorboard=tensorboard and _hosts.is_first(),
        ) as reporter,
        _report.deferred_interrupts() as interrupted,
    ):
        reached = None
        if until is not None:
            # Its number is in the metrics already, as tests come before checkpoints.
            tested = began == generations or (began > 0 and began % test_every == 0)
            centre = program.centre(_on_one_device(state))
            reached = tested and _hosts.any_of(until.measure(centre, key=test_key)[1])
        while (done := int(state.generation)) < generations and not (stopped or reached):
            length = min(chunk, generations - done)
            if until is not None:
                length = min(length, test_every - done % test_every)
            if length not in compiled:
                reporter.status("compiling")
                tick = time.perf_counter()
                if portion is None:
                    portion, compiled[length] = program.fit(state, length, memory)
                else:
                    compiled[length] = program.compile(state, length, portion)
                compile_seconds += time.perf_counter() - tick
            tick = time.perf_counter()
            with _hosts.exchange():
                state, records = jax.block_until_ready(compiled[length].run(state))
            seconds = time.perf_counter() - tick
            rows = _rows(done, records, seconds / length, per_generation)
            history += rows
            reporter.generations(rows)
            now = done + length
            local = _on_one_device(state)
            centre = program.centre(local)
            if _crosses(done, now, test_every) or now == generations:
                row: dict = {"generation": now}
                if until is not None:
                    value, reached = until.measure(centre, key=test_key)
                    reached = _hosts.any_of(reached)
                    row[f"until/{until.metric}"] = _number(value)
                row |= _test(centre, tests or {}, longest, test_lives, test_key)
                if len(row) > 1:
                    test_history.append(row)
                    reporter.test(row)
            if folder is not None:
                _checkpoint.write(folder, local, identity)
            if callback is not None:
                stopped = bool(callback(local, centre, rows[-1]))
            stopped = _hosts.any_of(stopped or interrupted())
        if reached is False and int(state.generation) >= generations:
            reporter.status(f"ended without {until}")
    state = _on_one_device(state)
    final = program.centre(state)
    finished = int(state.generation) >= generations or bool(reached)
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
        len(devices),
        portion,
        max((one.bytes for one in compiled.values()), default=None),
        reached,
        stopped,
    )


def _on_one_device(state: State) -> State:
    """The state as plain arrays, with which anything can be done."""
    return jax.tree.map(lambda x: jnp.asarray(_hosts.whole(x)), state)


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
    steps: int,
    lives: int,
    key: PRNGKeyArray,
) -> dict:
    row: dict = {}
    for name, tasks in tests.items():
        result = evaluate(learner, tasks, steps=steps, lives=lives, key=key)
        row[f"{name}/reward"] = _number(result.mean())
        for metric in result.totals:
            row[f"{name}/{metric}"] = _number(result.mean(metric))
    return row
