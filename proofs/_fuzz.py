"""Is the certifier right? Random programs, executed exactly under random permutations."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from . import _spec
from ._fuzz_execution import Execution, primitives, words
from ._fuzz_noise import Noise, repeated
from ._fuzz_ops import generate
from ._fuzz_program import Program
from ._judge import Randomness, judge
from ._rulebook import RULES
from ._tags import Fixed, Label, Uni, Value

# Inputs tried for an output before it is given up as one that always meets ties.
SAMPLES = 4
REUSED = "two draws for its outputs were made with the same key"
DIFFERS = "the permuted inputs give something else than the permuted output"


@dataclass(frozen=True)
class Contradiction:
    """A program that the certifier accepts and that an execution refutes.

    - `seed`: what `proofs.fuzz` made the program of.
    - `source`: the program, without the lines that do not matter.
    - `output`: which of its outputs, and the type that was inferred for it.
    - `inputs`, `permutations`: the case, by name; floating numbers as integers modulo 2^32.
    - `expected`, `got`: the permuted output, and the output for permuted inputs.
    - `reason`: what is wrong, in words.
    """

    seed: int
    source: str
    output: str
    inputs: dict[str, np.ndarray]
    permutations: dict[str, np.ndarray]
    expected: np.ndarray | None
    got: np.ndarray | None
    reason: str

    def __str__(self) -> str:
        case = {**self.inputs, **{f"permutation of {k}": v for k, v in self.permutations.items()}}
        lines = [f"Program {self.seed} is certified, but {self.reason}: output {self.output}"]
        lines += [self.source, *(f"{name} = {value.tolist()}" for name, value in case.items())]
        if self.expected is not None and self.got is not None:
            lines += [f"expected {self.expected.tolist()}", f"got      {self.got.tolist()}"]
        return "\n".join(lines)


@dataclass
class FuzzReport:
    """What came of random programs; truthy if nothing contradicts the certifier.

    - `programs`: how many were made.
    - `outputs`: how many values they returned, of which
    - `accepted`: were given a type, of which
    - `executed`: were compared under permutations, and
    - `void`: were not, because every execution met ties;
    - `unknown`: were not, because they have no exact meaning.
    - `primitives`: in how many executed outputs each primitive had a part.
    - `emitted`: in how many programs it occurred.
    - `contradictions`: what was found.
    """

    programs: int = 0
    outputs: int = 0
    accepted: int = 0
    executed: int = 0
    void: int = 0
    unknown: int = 0
    primitives: Counter = field(default_factory=Counter)
    emitted: Counter = field(default_factory=Counter)
    contradictions: list[Contradiction] = field(default_factory=list)

    def __bool__(self) -> bool:
        return not self.contradictions

    def __str__(self) -> str:
        numbers = (
            f"{self.programs} programs, {self.outputs} outputs, {self.accepted} accepted, "
            f"{self.executed} executed, {self.void} void, {self.unknown} without an exact meaning, "
            f"{len(self.primitives)} primitives, {len(self.contradictions)} contradictions"
        )
        return "\n\n".join([numbers, *map(str, self.contradictions)])


def fuzz(
    programs: int = 100,
    seed: int = 0,
    *,
    randomness: Randomness = "pathwise",
    rules: Mapping[str, Any] | None = None,
    templates: Sequence[str] = (),
    names: Mapping[str, Any] | None = None,
    symbolic: bool = False,
    stop: int = 1,
) -> FuzzReport:
    """Try the certifier on random programs: what it says of them must hold in every execution.

    The programs use most of `jax.lax`. Each is certified, and run in exact arithmetic on random
    inputs and on the permuted ones. That nothing is found proves nothing about rules that no
    program reaches: see `primitives` of the report.

    **Arguments:**

    - `programs`: how many.
    - `seed`: the first of their numbers; the same number makes the same program.
    - `randomness`: as for `proofs.certify`. If `"exchangeable"`, the programs draw random numbers,
        and the draws are permuted too.
    - `rules`: in place of the certifier's own, to try one of yours.
    - `templates`: further statements for the programs, such as `"my_op({x:f1}, {x.axis})"`:
        `{x:f1}` becomes a float variable of rank 1 at least, `{x.axis}` one of its axes.
    - `names`: what they speak of, such as `{"my_op": my_op}`.
    - `symbolic`: whether to certify the programs at a symbolic size, once for all, and run them at
        a concrete one; those that cannot be traced so are left out. Pathwise only.
    - `stop`: how many contradictions are enough.

    **Returns:**

    A `FuzzReport`, truthy if there is no contradiction.
    """
    report = FuzzReport()
    options = {"noise": randomness == "exchangeable", "templates": templates, "names": names}
    for number in range(seed, seed + programs):
        program = generate(number, **options)
        trial = Trial(program, number, randomness, rules, names, symbolic)
        found = trial.run(report)
        if found is not None:
            report.contradictions.append(_minimal(trial, found))
            if len(report.contradictions) >= stop:
                break
    return report


class Trial:
    """One program that is put to the certifier and to the exact evaluator."""

    def __init__(
        self,
        program: Program,
        seed: int = 0,
        randomness: Randomness = "pathwise",
        rules: Mapping[str, Any] | None = None,
        names: Mapping[str, Any] | None = None,
        symbolic: bool = False,
    ):
        self.program, self.seed, self.names, self.symbolic = program, seed, names, symbolic
        self.randomness: Randomness = randomness
        self.rules = rules

    def run(self, report: FuzzReport) -> Contradiction | None:
        """Compare what was inferred with what happens; counts go into the report."""
        program = self.program
        jaxpr = program.jaxpr(names=self.names)
        sizes = program.sizes
        noise = Noise()
        rules = noise.watched(RULES if self.rules is None else self.rules)
        judged = jaxpr
        if self.symbolic:
            n = _spec.symbolic_sizes(["n"], min_size=3)["n"]
            sizes = dict.fromkeys(sizes, n)
            try:
                judged = program.jaxpr(n, self.names)
            except Exception:  # noqa: BLE001 - sizes that cannot be compared, in many ways
                return None
        found = judge(judged, program.specs, sizes, randomness=self.randomness, rules=rules)
        report.programs += 1
        report.outputs += len(found.outputs)
        report.emitted.update(primitives(jaxpr.jaxpr))
        pending = {
            index: value for index, value in enumerate(found.outputs) if isinstance(value, Value)
        }
        report.accepted += len(pending)
        draws = noise.draws() if self.randomness == "exchangeable" else {}
        execution = Execution(jaxpr, list(pending), draws)
        for attempt in range(SAMPLES if pending else 0):
            case = Case(program, execution, SAMPLES * self.seed + attempt)
            for index in [index for index in pending if index in case.outcomes]:
                if case.outcomes[index].tied:
                    continue
                value = pending.pop(index)
                reason = case.wrong(index, value)
                if reason is not None:
                    return case.contradiction(self.seed, index, value, reason)
                report.executed += 1
                report.primitives.update(primitives(execution.parts[index][0].jaxpr))
            if not pending:
                break
        report.unknown += len(execution.unknown)
        report.void += len(pending) - len(execution.unknown)
        return None

    def of(self, program: Program, shift: int = 0) -> "Trial":
        """The same with another program, and on other inputs."""
        rest = self.randomness, self.rules, self.names, self.symbolic
        return Trial(program, self.seed + shift, *rest)


class Case:
    """The execution of a program on random inputs, and on permuted ones."""

    def __init__(self, program: Program, execution: Execution, seed: int):
        self.program = program
        generator = np.random.default_rng(seed)
        values = _spec.draw(program.specs, program.sizes, seed)
        # Also numbers below zero.
        self.values = [
            value - generator.integers(0, 4)
            if spec.kind == "int" and spec.positions is None
            else value
            for spec, value in zip(program.specs, values, strict=True)
        ]
        self.permutations = _spec.permutations(program.labels, program.sizes, seed)
        self.outcomes = execution.run(program, self.values, self.permutations)
        drawn = {path: bits for one in self.outcomes.values() for path, bits in one.drawn.items()}
        self.reused = repeated(bits for many in drawn.values() for bits in many)

    def wrong(self, index: int, value: Value) -> str | None:
        """What is wrong with the inferred type of an output, in words."""
        outcome, sizes = self.outcomes[index], self.program.sizes
        got = outcome.before
        for axis, tag in enumerate(value.tags):
            if isinstance(tag, Label) and got.shape[axis] != sizes[tag.name]:
                return f"axis {axis} has another size than {tag}"
            if isinstance(tag, Uni) and np.any(got != np.take(got, [0], axis)):
                return f"it is not constant along axis {axis}"
            if not isinstance(tag, Label | Uni | Fixed):
                return f"the tag of axis {axis} is not decided"
        if isinstance(value.positions, Label):
            if got.size and got.max() >= sizes[value.positions.name]:
                return f"some entries are beyond the last position along {value.positions}"
            if got.size and got.min() < 0 and not value.optional:
                return "some entries that should be positions are negative"
        elif value.positions is not None:
            return "what its entries are is not decided"
        if value.known is not None and np.any(got != value.known):
            return f"not all entries are {value.known}"
        if self.reused and outcome.drawn:
            return REUSED
        if outcome.uneven:
            return "the permuted program draws more often, or less"
        if not np.array_equal(self.expected(index, value), outcome.after):
            return DIFFERS
        return None

    def expected(self, index: int, value: Value) -> np.ndarray:
        """The output as the permutation should change it."""
        labels = [tag.name if isinstance(tag, Label) else None for tag in value.tags]
        axes = tuple(_spec.Axis(label or "t", label) for label in labels)
        positions = value.positions.name if isinstance(value.positions, Label) else None
        spec = _spec.Spec(axes, positions, value.optional)
        return np.asarray(_spec.act(spec, self.outcomes[index].before, self.permutations))

    def contradiction(self, seed: int, index: int, value: Value, reason: str) -> Contradiction:
        """The case as it is reported."""
        inputs = zip(self.program.inputs, map(words, self.values), strict=True)
        return Contradiction(
            seed=seed,
            source=self.program.source,
            output=f"{self.program.outputs[index]}: {value}",
            inputs=dict(inputs),
            permutations=self.permutations,
            expected=self.expected(index, value) if reason == DIFFERS else None,
            got=self.outcomes[index].after,
            reason=reason,
        )


def _minimal(trial: Trial, found: Contradiction) -> Contradiction:
    """The contradiction without the lines of the program that do not matter."""
    name = found.output.partition(":")[0]
    program = trial.program
    if found.reason != REUSED:
        program = replace(program, outputs=(name,))

    def fails(smaller: Program) -> Contradiction | None:
        again = trial.of(smaller)
        try:
            return next(
                (
                    problem
                    for shift in range(3)
                    if (problem := again.of(smaller, shift).run(FuzzReport())) is not None
                ),
                None,
            )
        except Exception:  # noqa: BLE001 - what is left need not make sense
            return None

    best = fails(program) or found
    for _ in range(3):
        before = program
        for index in reversed(range(len("\n".join(program.lines).split("\n")))):
            smaller = program.without(index)
            problem = smaller and fails(smaller)
            if smaller and problem:
                program, best = smaller, problem
        if program == before:
            break
    used = set(re.findall(r"\w+", "\n".join((*program.lines, *program.outputs))))
    inputs = {name: spec for name, spec in program.inputs.items() if name in used}
    smaller = replace(program, inputs=inputs)
    return replace(fails(smaller) or best, seed=found.seed)
