"""What is timed: compiled programs of whole generations, or of lives alone."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.experimental.compilation_cache.compilation_cache import reset_cache

import meta
import rl

from .cases import Case
from .machine import Devices
from .same import search_of

_CACHE = "jax_enable_compilation_cache"


@dataclasses.dataclass
class Program:
    """A compiled program, ready to be run again and again.

    - `run`: run it once, to the end.
    - `steps`: environment steps of one run.
    - `compile_seconds`: tracing, lowering and compiling.
    - `peak_bytes`: what it holds at once on one device: arguments, results and temporaries.
    """

    run: Callable[[], None]
    steps: int
    compile_seconds: float
    peak_bytes: int


def ours(
    case: Case,
    learner: rl.Learner,
    devices: Devices,
    generations: int,
    *,
    options: dict[str, str | bool] | None = None,
    members_at_once: int | None = None,
) -> Program:
    """Generations as `meta.train` runs them: its own program, with its compiler options.

    **Arguments:**

    - `case`, `learner`, `devices`, `generations`: what is run, where and how often.
    - `options`: other options of the compiler.
    - `members_at_once`: fewer members at once on a device than it has.
    """
    program = meta.Generations(
        learner,
        case.tasks,
        case.strategy,
        steps=case.steps,
        lives=case.lives,
        key=jr.key(1),
        fitness=meta.total_reward,
        devices=devices,
    )
    params = eqx.filter(learner, eqx.is_inexact_array)
    first = case.strategy.init(params, key=jr.key(0))
    state = program.place(meta.TrainState(jnp.asarray(0, jnp.int32), first))
    with _compiling() as seconds:
        portion = program.portions()[-1]
        if members_at_once is not None:
            portion = portion._replace(members=members_at_once)
        compiled = program.compile(state, generations, portion, options)
    return Program(
        lambda: jax.block_until_ready(compiled.run(state)) and None,
        generations * case.environment_steps,
        seconds(),
        compiled.bytes,
    )


def rival(case: Case, generations: int) -> Program:
    """Generations of the rival, one call each."""
    search = search_of(case)
    start = search.init(key=jr.key(0))
    program = _program(search.generation, (start, jr.key(1)), case.environment_steps)
    once = program.run

    def run() -> None:
        for _ in range(generations):
            once()

    return dataclasses.replace(program, run=run, steps=generations * case.environment_steps)


def lives(case: Case, learner: rl.Learner) -> Program:
    """The lives of one generation without evolution, as `meta.evaluate` runs them."""
    count, tasks, key = case.members * case.lives, case.tasks, jr.key(1)
    evaluate: Any = meta.evaluate  # which has `lower`, as what Equinox compiles has
    with _compiling() as seconds:
        compiled = evaluate.lower(learner, tasks, steps=case.steps, lives=count, key=key).compile()

    def run() -> None:
        result = compiled(learner, tasks, steps=case.steps, lives=count, key=key)
        jax.block_until_ready(result.total_rewards)

    return Program(run, case.environment_steps, seconds(), 0)


def _program(function: Callable, arguments: tuple, steps: int) -> Program:
    with _compiling() as seconds:
        compiled = jax.jit(function).lower(*arguments).compile()
    memory: Any = compiled.memory_analysis()
    peak = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return Program(
        lambda: jax.block_until_ready(compiled(*arguments)) and None, steps, seconds(), peak
    )


@contextlib.contextmanager
def _compiling() -> Iterator[Callable[[], float]]:
    """Time a compilation, which must not be answered from the cache of compiled programs."""
    before = jax.config.values[_CACHE]
    jax.config.update(_CACHE, False)
    reset_cache()
    ended = began = time.perf_counter()
    try:
        yield lambda: ended - began
        ended = time.perf_counter()
    finally:
        jax.config.update(_CACHE, before)
        reset_cache()
