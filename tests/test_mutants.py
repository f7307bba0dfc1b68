"""Are the tests of the certifier any good? Each way to weaken one of its rules must be noticed.

It is noticed if a random program contradicts the weaker certifier, or if it accepts one of the
functions of `test_unsound.py` that must be refused.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import test_unsound
import test_unsound_noise
import unsound
from mutants import MUTANTS, Mutant, mutated
from unsound import SIZES, Case

import proofs
from proofs import _fuzz, _rulebook, _spec
from proofs._fuzz import FuzzReport, Program, fuzz

pytestmark = pytest.mark.usefixtures("cheap_compilation")
PROGRAMS, NOISY = 100, 60

# The number of a program that notices.
BY_PROGRAMS = {
    "cumsum keeps a label": 63,
    "transpose forgets the order": 6,
    "reshape makes constants": 15,
    "constants win": 0,
    "two labels are one": 0,
    "a contraction is not checked": 3,
    "argmax is a number": 2,
    "sort keeps a label": 31,
    "arithmetic on positions gives positions": 2,
    "a number in a label": 41,
    "a point written in a constant": 3,
    "rounds are all alike": 15,
    "a carry is what it was": 13,
}
BY_PROGRAMS_IN_LAW = {"noise is another at each use": 6, "keys are split again": 51}
# Those that no random program is known to notice, and the others, are told apart by hand.
BY_CASES = (
    "argmax of a constant is a position",
    "positions wrap around",
    "fillers are positions",
    "any size can be indexed",
    "overwriting twice",
    "one round is enough",
    "numbers of undecided positions in noise",
    "keys of branches are never both used",
    "a row of keys is used again",
)


@functools.cache
def _traced(case: Case, size: int) -> Any:
    specs = [_spec.parse(text) for text in case.specs]
    return unsound.traced(case, SIZES | {"s": size}), specs


def _accepted(case: Case, randomness: Any, size: int = unsound.N) -> list[bool]:
    jaxpr, specs = _traced(case, size)
    sizes = SIZES | {"s": size}
    found = unsound.judge(jaxpr, specs, sizes, randomness=randomness)
    return [not isinstance(value, proofs.Fault) for value in found.outputs]


def noticed_by_cases(mutant: Mutant) -> bool:
    """Whether something that must be refused is accepted."""
    law, path = "exchangeable", "pathwise"
    noise = test_unsound_noise
    alone = [(case, law, 3) for case in noise.FIXED.values()]
    jointly = [(case, law, 3) for group in (noise.REUSED, noise.SHARED) for case in group.values()]
    if not mutant.noise:
        alone += [(case, path, 3) for case in test_unsound.ALL.values()]
        alone += [(case, path, n) for case in test_unsound.OTHER_SIZES.values() for n in (2, 4)]
    return any(any(_accepted(*one)) for one in alone) or any(
        all(_accepted(*one)) for one in jointly
    )


def noticed_by_programs(mutant: Mutant) -> bool:
    """Whether a random program is accepted that does something else."""
    reports: list[FuzzReport] = [] if mutant.noise else [fuzz(PROGRAMS)]
    if all(reports):
        reports.append(fuzz(NOISY, randomness="exchangeable"))
    return not all(reports)


@pytest.fixture(scope="module")
def _remembered() -> Iterator[None]:
    """What does not depend on the certifier is done once for all mutants."""
    patch = pytest.MonkeyPatch()
    known: dict[Any, Any] = {}

    class Remembered(_fuzz.Execution):
        def __init__(self, jaxpr: Any, outputs: Sequence[int], draws: Any):
            super().__init__(jaxpr, range(len(jaxpr.jaxpr.outvars)), draws)
            self.wanted, self.key = set(outputs), (id(jaxpr), frozenset(draws.items()))

        def run(self, program: Program, values: Any, permutations: Any) -> Any:
            key = *self.key, *(_fuzz.words(x).tobytes() for x in values)
            if key not in known:
                known[key] = super().run(program, values, permutations), self.unknown
            found, unknown = known[key]
            self.unknown = unknown & self.wanted
            return {index: found[index] for index in self.wanted if index in found}

    @functools.cache
    def made(seed: int, noise: bool) -> Program:
        return generate(seed, noise=noise)

    traced: dict[int, Any] = {}

    def jaxpr(self: Program, *args: Any, **options: Any) -> Any:
        if id(self) not in traced:
            traced[id(self)] = trace(self, *args, **options), self
        return traced[id(self)][0]

    generate, trace = _fuzz.generate, Program.jaxpr
    patch.setattr(_fuzz, "generate", lambda seed, *, noise, **_: made(seed, noise))
    patch.setattr(Program, "jaxpr", jaxpr)
    patch.setattr(_fuzz, "Execution", Remembered)
    patch.setattr(_fuzz, "_minimal", lambda trial, found: found)
    yield
    patch.undo()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_the_certifier_with_one_change_that_goes_away(name: str):
    before = dict(_rulebook.RULES)
    with mutated(MUTANTS[name]):
        pass
    assert before == _rulebook.RULES


@pytest.mark.parametrize("name", BY_PROGRAMS)
def test_a_random_program_notices(name: str):
    seed = BY_PROGRAMS[name]
    assert fuzz(1, seed)
    with mutated(MUTANTS[name]):
        assert not fuzz(1, seed)


@pytest.mark.parametrize("name", BY_PROGRAMS_IN_LAW)
def test_a_random_program_that_draws_notices(name: str):
    seed = BY_PROGRAMS_IN_LAW[name]
    assert fuzz(1, seed, randomness="exchangeable")
    with mutated(MUTANTS[name]):
        assert not fuzz(1, seed, randomness="exchangeable")


@pytest.mark.parametrize("name", BY_CASES)
def test_a_function_that_must_be_refused_notices(name: str):
    mutant = MUTANTS[name]
    assert not noticed_by_cases(mutant)
    with mutated(mutant):
        assert noticed_by_cases(mutant)


@pytest.mark.slow
@pytest.mark.usefixtures("_remembered")
def test_every_mutant_is_noticed():
    nobody = Mutant(None, "", "")
    assert not noticed_by_cases(nobody) and not noticed_by_programs(nobody)
    programs, cases = set(), set()
    for name, mutant in MUTANTS.items():
        with mutated(mutant):
            if noticed_by_cases(mutant):
                cases.add(name)
            if noticed_by_programs(mutant):
                programs.add(name)
    missed = set(MUTANTS) - programs - cases
    assert not missed, missed
    assert len(MUTANTS) >= 100
    # Random programs notice most mutants on their own, and some that nobody thought of.
    assert len(programs) >= 55, sorted(set(MUTANTS) - programs)
    assert programs - cases


def test_a_mutant_of_text_that_is_not_there_is_said():
    with (
        pytest.raises(ValueError, match="occurs 0 times in join"),
        mutated(MUTANTS["constants win"]._replace(old="no such text")),
    ):
        pass
