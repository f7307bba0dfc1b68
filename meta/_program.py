"""What the programs of all outer loops have in common: how they are compiled, and where."""

import abc
import bisect
import functools
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.random as jr
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PRNGKeyArray, PyTree

import rl

from ._compile import compiler_options
from ._hosts import Devices

Records = dict[str, Array]
State = TypeVar("State", bound=PyTree)
WHOLE = PartitionSpec()


class Portion(NamedTuple):
    """What one device does at once: so many members, each with so many of its lives.

    Lessons are lived one after another. One whose lives are not a multiple of `lives` takes on the
    next smaller number of which they are. Lives that members hand on to the next generation are
    not divided: a member lives all of them at once.
    """

    members: int
    lives: int


class Compiled(NamedTuple):
    """A compiled program of some generations.

    - `run`: takes the state of the training, and gives the new one and the records.
    - `bytes`: the memory it needs on each device.
    - `text`: gives what the compiler made of it.
    """

    run: Callable[[Any], tuple[Any, Records]]
    bytes: int
    text: Callable[[], str | None]


class Program(abc.ABC, Generic[State]):
    """What every generation computes, and where: a step from one state of training to the next."""

    def __init__(self, devices: Devices, axis: str, *, key: PRNGKeyArray):
        """**Arguments:**

        - `devices`: those of all processes.
        - `axis`: the name of what they share.
        - `key`: the random key of all generations.
        """
        self._mesh = Mesh(np.asarray(devices), (axis,))
        self._key_data, self._key_impl = self._put(jr.key_data(key), WHOLE), jr.key_impl(key)

    @abc.abstractmethod
    def init(self, *, key: PRNGKeyArray) -> State:
        """The state before the first generation."""

    @abc.abstractmethod
    def centre(self, state: State) -> rl.Learner:
        """The learner that a state of the training stands for."""

    @abc.abstractmethod
    def portions(self) -> list[Portion]:
        """All that a device could do at once, from the least to its whole share."""

    @abc.abstractmethod
    def _generation(
        self, portion: Portion, state: State, *, key: PRNGKeyArray
    ) -> tuple[State, Records]:
        """One generation; `key` is that of all generations."""

    def place(self, state: State) -> State:
        """The state as the compiled programs take it: on every device."""
        return jax.tree.map(functools.partial(self._put, spec=WHOLE), state)

    def _put(self, leaf: Array, spec: PartitionSpec) -> Array:
        """An array on all devices, or shared out among them."""
        value, sharding = np.asarray(leaf), NamedSharding(self._mesh, spec)
        return jax.make_array_from_callback(value.shape, sharding, lambda part: value[part])

    def fit(self, state: State, length: int, memory: int | None) -> tuple[Portion, Compiled]:
        """The largest portion whose program needs no more than `memory` bytes on each device.

        **Raises:** `ValueError` if not even the smallest portion does.
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
            lives = "one life" if portions[0].lives == 1 else f"a part of {portions[0].lives} lives"
            raise ValueError(
                f"`memory` of {memory:,} bytes is too little: {lives} of one member at a time "
                f"needs {least.bytes:,} bytes on each device, with all that comes with it."
            )
        return portions[count - 1], found[portions[count - 1]]

    def compile(
        self,
        state: State,
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
        lowered = self.lower(state, length, portion)
        if options is None:
            options = compiler_options(self._mesh.devices.flat[0].platform)
        program = lowered.compile(compiler_options=options)
        size = program.memory_analysis()
        needed = 0
        if size is not None:
            needed = size.temp_size_in_bytes + size.output_size_in_bytes
            needed += size.argument_size_in_bytes
        return Compiled(lambda state: program(state, self._key_data), needed, program.as_text)

    def lower(self, state: State, length: int, portion: Portion) -> jax.stages.Lowered:
        """The program of `length` generations, before it is compiled.

        Neither the random key nor the state is a part of it: where compiled programs are kept
        (`JAX_COMPILATION_CACHE_DIR`), a training with another seed compiles nothing.
        """

        def advance(state: State, key_data: Array) -> tuple[State, Records]:
            key = jr.wrap_key_data(key_data, impl=self._key_impl)
            return jax.lax.scan(
                lambda state, _: self._generation(portion, state, key=key),
                state,
                None,
                length=length,
            )

        places = jax.tree.map(lambda leaf: leaf.sharding, state)
        everywhere = NamedSharding(self._mesh, WHOLE)
        return jax.jit(advance, out_shardings=(places, everywhere)).lower(state, self._key_data)


def divisors(number: int) -> list[int]:
    """All of them, from 1 to the number itself."""
    return [n for n in range(1, number + 1) if number % n == 0]
