"""The executions of random programs: exact, on random inputs and on permuted ones."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Var

from . import _spec
from ._exact import evaluate, to_exact
from ._exact_rules import subjaxprs
from ._fuzz_noise import Draw, Draws, Path
from ._fuzz_program import Program
from ._keys import is_key

# Compiling is most of the time, as every program runs a few times only.
_CHEAP = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


class Outcome(NamedTuple):
    """What came of one output.

    - `before`, `after`: its value for the inputs, and for the permuted ones.
    - `tied`: whether either depends on the order of equals.
    - `drawn`: the bits that were drawn for it, by the equations that draw them.
    - `uneven`: whether the permuted program draws more often, or less.
    """

    before: np.ndarray
    after: np.ndarray
    tied: bool
    drawn: Mapping[Path, list[np.ndarray]]
    uneven: bool


class Execution:
    """The parts of a program that its outputs depend on, each on its own."""

    def __init__(self, jaxpr: ClosedJaxpr, outputs: Sequence[int], draws: Mapping[Path, Draw]):
        self.draws = draws
        self.parts = {index: part(jaxpr, index) for index in outputs}
        # Which have no exact meaning; known once they were run.
        self.unknown: set[int] = set()
        self._compiled = jax.jit(self._all, compiler_options=_CHEAP)

    def run(self, program: Program, values: Sequence[Any], permutations: Any) -> dict[int, Outcome]:
        """What comes of each output."""
        given = [_exact(value) for value in values]
        moved = [_exact(value) for value in _spec.act(program.specs, list(values), permutations)]
        if any(draw.nested for draw in self.draws.values()):
            return self._run_in_steps(given, moved, permutations)
        nothing = {path: np.zeros(d.shape, d.dtype) for path, d in self.draws.items()}
        first = self._compiled(given, False, nothing)
        drawn = {path: bits for _, _, seen in first.values() for path, bits in seen.items()}
        replay = {path: self.draws[path].act(bits, permutations) for path, bits in drawn.items()}
        second = self._compiled(moved, True, nothing | replay)
        found = {}
        for index, (before, tied, seen) in first.items():
            after, tied_again, _ = second[index]
            unclear = any(not self.draws[path].clear for path in seen)
            found[index] = Outcome(
                before=np.asarray(before),
                after=np.asarray(after),
                tied=bool(tied) or bool(tied_again) or unclear,
                drawn={path: [np.asarray(bits)] for path, bits in seen.items()},
                uneven=False,
            )
        return found

    def _all(self, arguments: list, replaying: Any, replay: dict) -> dict[int, tuple]:
        """Each output, whether it met ties, and the bits that were drawn for it."""
        found = {}
        for index, (jaxpr, kept) in self.parts.items():
            seen = {}

            def draw(path: Path, bits: Any, kept: list = kept, seen: dict = seen) -> Any:
                path = (kept[path[0]], *path[1:])
                if path in self.draws:
                    bits = seen[path] = jnp.where(replaying, replay[path], bits)
                return bits

            try:
                result = evaluate(jaxpr, arguments, on_draw=draw)
            except NotImplementedError:
                self.unknown.add(index)
                continue
            found[index] = result.outputs[0], result.ties, seen
        return found

    def _run_in_steps(self, given: list, moved: list, permutations: Any) -> dict[int, Outcome]:
        """Loops one round at a time, so that each draw of theirs can be replayed."""
        found = {}
        for index, (jaxpr, kept) in self.parts.items():

            def outside(path: Path, kept: list = kept) -> Path:
                return (kept[path[0]], *path[1:])

            places = {old: new for new, old in enumerate(kept)}
            draws: dict[Path, Draw] = {
                (places[path[0]], *path[1:]): draw
                for path, draw in self.draws.items()
                if path[0] in places
            }
            first = Draws(draws)
            try:
                with jax.disable_jit():
                    before = evaluate(jaxpr, given, on_draw=first.record)
                    second = first.again(permutations)
                    after = evaluate(jaxpr, moved, on_draw=second.replay)
            except NotImplementedError:
                self.unknown.add(index)
                continue
            unclear = any(not draws[path].clear for path in first.seen)
            found[index] = Outcome(
                before=np.asarray(before.outputs[0]),
                after=np.asarray(after.outputs[0]),
                tied=bool(before.ties) or bool(after.ties) or unclear,
                drawn=dict(zip(map(outside, first.seen), first.seen.values(), strict=True)),
                uneven=second.uneven or any(second.waiting.values()),
            )
        return found


def _exact(value: Any) -> Any:
    return value if is_key(value.dtype) else to_exact(value)


def words(value: Any) -> np.ndarray:
    """An input in exact arithmetic; keys as the words that they hold."""
    return np.asarray(jax.random.key_data(value) if is_key(value.dtype) else to_exact(value))


def primitives(jaxpr: Jaxpr) -> set[str]:
    """The names of all primitives in a program."""
    found = set()
    for equation in jaxpr.eqns:
        found.add(equation.primitive.name)
        for inner in subjaxprs(equation):
            found |= primitives(inner.jaxpr)
    return found


def part(jaxpr: ClosedJaxpr, output: int) -> tuple[ClosedJaxpr, list[int]]:
    """The equations that one output depends on, and what their numbers were."""
    program = jaxpr.jaxpr
    result = program.outvars[output]
    needed = {result} if isinstance(result, Var) else set()
    kept = []
    for index in reversed(range(len(program.eqns))):
        equation = program.eqns[index]
        if needed.intersection(equation.outvars):
            kept.append(index)
            needed.update(v for v in equation.invars if isinstance(v, Var))
    kept.reverse()
    smaller = program.replace(
        eqns=[program.eqns[index] for index in kept],
        outvars=[result],
        debug_info=program.debug_info.with_unknown_names(),
    )
    return ClosedJaxpr(smaller, jaxpr.consts), kept
