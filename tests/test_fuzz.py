"""The fuzzer of the certifier: that it is right, that it reaches the rules, and what it finds."""

import dataclasses
import os
import re
from typing import Any

import jax
import numpy as np
import pytest

import proofs
from proofs import _fuzz, _fuzz_templates
from proofs._fuzz import Trial, fuzz, primitives
from proofs._fuzz_ops import Impossible, generate
from proofs._fuzz_program import NAMES, Program
from proofs._rulebook import RULES
from proofs._tags import UNI, Label

pytestmark = pytest.mark.usefixtures("cheap_compilation")
THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
PART = 10 if THOROUGH else 4  # tenths of the programs that a thorough run tries

# Primitives with a rule that no random program holds, and why.
NOT_EMITTED = {
    "call": "JAX makes it no more",
    "closed_call": "made inside of derivatives of older versions of JAX only",
    "eval_jaxpr": "made where exported programs are called",
    "complex": "the exact evaluator knows no complex numbers",
    "conj": "as complex",
    "imag": "as complex",
    "real": "as complex",
    "dim_as_value": "made at symbolic sizes only: see the symbolic programs",
    "eq_to": "made inside of the comparators of sorts only",
    "log2": "only in some of the releases of JAX",
    "lt_to": "made inside of the comparators of sorts only",
    "one_minus_square": "as log2",
    "random_gamma": "its sampler rejects, in a loop of its own for each number",
    "random_seed": "the draws of keys that are made in the function are directed tests",
    "random_unwrap": "keys that are taken apart are directed tests",
    "random_wrap": "keys that are put together are directed tests",
    "sharding_constraint": "needs several devices",
}

# Those that some releases of JAX have.
NEWER = {"log2", "one_minus_square"}

# What makes arguments of kinds that are rare.
FEED = (
    "{x:i}.astype(jnp.{int8|uint8|uint32})",
    "jnp.broadcast_to(jnp.expand_dims({x:fi}, {x.gap}), ({n},) * ({x}.ndim + 1))",
    "jnp.{sum|max}({x:fib1}, axis={x.axis})",
    "{x:f}.astype(jnp.int32)",
)


def statements() -> list[str]:
    """Every statement of the grammar, with each of its choices once."""
    found = []
    for _, templates in (*_fuzz_templates.PLAIN, *_fuzz_templates.NOISE):
        for template in templates:
            choices = [word.split("|") for word in re.findall(r"\{([^{}]*\|[^{}]*)\}", template)]
            for i in range(max(map(len, choices), default=1)):
                picked = iter([words[i % len(words)] for words in choices])
                found.append(re.sub(r"\{[^{}]*\|[^{}]*\}", lambda _, p=picked: next(p), template))
    return found


def test_every_statement_can_be_made_and_together_they_reach_every_rule():
    found, failed = set(), []
    for statement in statements():
        for seed in range(30):
            try:
                program = generate(seed, noise="{q" in statement, templates=FEED, last=statement)
            except Impossible:
                continue
            found |= primitives(program.jaxpr().jaxpr)
            break
        else:
            failed.append(statement)
    assert not failed
    missing, known = set(RULES) - found, set(NOT_EMITTED)
    assert missing - known == set()
    assert known - missing <= NEWER


def test_a_program_is_made_of_its_number_and_is_python_that_can_be_read():
    program = generate(3)
    assert program == generate(3)
    assert program.source != generate(4).source
    assert program.source.startswith("# x0: '")
    space: dict[str, Any] = {**NAMES, "n": program.size}
    exec(program.source, space)
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        jaxpr = jax.make_jaxpr(space["program"])(*(s.aval(program.sizes) for s in program.specs))
    assert str(jaxpr) == str(program.jaxpr())


def test_all_axes_of_the_arguments_have_one_size():
    for seed in range(50):
        program = generate(seed)
        assert program.labels
        shapes = {n for spec in program.specs for n in spec.shape(program.sizes)}
        assert shapes <= {program.size}


def test_random_programs_do_not_contradict_the_certifier():
    report = fuzz(70, seed=0)
    assert report, report
    assert report.programs == 70 and report.accepted > 150
    assert report.executed > 0.85 * report.accepted
    assert report.executed + report.void + report.unknown == report.accepted
    assert len(report.primitives) > 60
    assert str(report).startswith("70 programs, ")


def test_random_programs_that_draw_do_not_contradict_it_in_law():
    report = fuzz(25, seed=0, randomness="exchangeable")
    assert report, report
    assert report.executed > 60 and "random_bits" in report.primitives


def test_programs_of_a_symbolic_size_do_not_contradict_it():
    report = fuzz(12, seed=500, symbolic=True)
    assert report, report
    assert report.programs > 6 and report.executed > 15


@pytest.mark.slow
@pytest.mark.parametrize("first", [10_000, 11_000, 12_000] if THOROUGH else [10_000])
def test_many_programs_do_not_contradict_the_certifier(first: int):
    report = fuzz(1000 * PART // 10, seed=first)
    assert report, report
    assert report.executed > 250 * PART, report


@pytest.mark.slow
def test_many_programs_that_draw_do_not_contradict_it_in_law():
    report = fuzz(400 * PART // 10, seed=10_000, randomness="exchangeable")
    assert report, report
    assert report.executed > 100 * PART, report


@pytest.mark.slow
def test_many_programs_of_a_symbolic_size_do_not_contradict_it():
    report = fuzz(400 * PART // 10, seed=10_000, symbolic=True)
    assert report, report
    assert report.executed > 100 * PART, report


# ------------------------------------------------------------------- rules that users add


def _as_it_was(judge: object, equation: object, values: list) -> list:
    return [values[0]]


def test_a_rule_of_a_user_that_is_wrong_is_found_and_the_program_made_small():
    rules = dict(RULES) | {"rev": proofs.Rule(_as_it_was)}
    report = fuzz(60, seed=0, rules=rules, templates=("jnp.flip({x:f1}, 0)",))
    assert not report
    (found,) = report.contradictions
    assert "jnp.flip" in found.source and len(found.source.splitlines()) == 4, found
    assert found.expected is not None and found.got is not None
    assert not np.array_equal(found.expected, found.got)
    message = str(found)
    for part in (f"Program {found.seed} is certified, but", found.source, "permutation of", "got"):
        assert part in message


def test_statements_of_a_user_are_part_of_the_programs():
    def half(x: jax.Array) -> jax.Array:
        return 0.5 * x

    seen = generate(0, templates=("half({x:f1})",), names={"half": half})
    assert "half(" in seen.source
    assert fuzz(5, templates=("half({x:f1})",), names={"half": half})


# -------------------------------------------------------------------- what counts as wrong


def trial(lines: str, **inputs: str) -> Trial:
    program = Program(inputs, tuple(lines.split("; ")), ("v",), 3)
    return Trial(program)


def verdict(test: Trial, **changes: object) -> str | None:
    """What the fuzzer says if the certifier says something else of the output."""
    original = _fuzz.judge

    def judge(*args: object, **options: object) -> object:
        found = original(*args, **options)  # pyright: ignore[reportArgumentType]
        (value,) = found.outputs
        return found._replace(outputs=[dataclasses.replace(value, **changes)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_fuzz, "judge", judge)
        problem = test.run(_fuzz.FuzzReport())
    return None if problem is None else problem.reason


def test_what_the_certifier_infers_is_compared_with_what_happens():
    a, b = Label("A"), Label("B")
    square = trial("v = x * y", x="A B", y="A B")
    assert verdict(square) is None
    assert "permuted output" in (verdict(square, tags=(b, a)) or "")
    assert "not constant along axis 1" in (verdict(square, tags=(a, UNI)) or "")
    best = trial("v = jnp.argmax(x, axis=0)", x="A 3")
    assert verdict(best) is None
    assert "permuted output" in (verdict(best, positions=None) or "")
    part = trial("v = x[:2]", x="3 A")
    assert "another size" in (verdict(part, tags=(a, a)) or "")
    number = trial("v = 0 * x - 5", x="int 3")
    assert "negative" in (verdict(number, positions=a) or "")
    assert verdict(number, known=-5) is None
    assert "not all entries are 5" in (verdict(number, known=5) or "")
    assert "beyond" in (verdict(trial("v = 0 * x + 7", x="int A"), positions=a) or "")
