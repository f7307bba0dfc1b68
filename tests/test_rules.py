"""Every rule of the certifier: what it makes of a use that is right, and of one that is not.

All axes have the same size, so that only what the rules know of them can tell them apart.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import pytest
import rule_cases
import rule_cases_flow
from jax import lax
from jax.experimental import io_callback
from jax.extend import core
from rule_cases import (
    ARE_NUMBERS,
    BAD,
    OK,
    PRIMITIVES,
    SIZES,
    Case,
    judged,
    law,
    look,
    sized,
    traced,
    used,
    words,
)

import proofs
from proofs import _spec
from proofs._judge import judge
from proofs._rulebook import RULES, Fault

# --------------------------------------------------------------------------------------- the table

# Primitives that do the same to all numbers, or only move what is there: nothing can be wrong.
HARMLESS = """
    acos acosh asin asinh atan atanh bessel_i0e bessel_i1e broadcast_in_dim cbrt ceil conj copy cos
    cosh device_put digamma dim_as_value erf erf_inv erfc exp exp2 expm1 floor imag iota is_finite
    lgamma log log1p log2 logistic name one_minus_square optimization_barrier real reduce_precision
    round rsqrt sharding_constraint sin sinh sqrt squeeze stop_gradient tan tanh transpose
""".split()
CALLS = """
    jit closed_call call eval_jaxpr remat2 custom_jvp_call custom_vjp_call
""".split()
# The releases of JAX that are supported do not all have the same primitives.
ONLY_IN_SOME = {
    "0.10": {"call", "closed_call"},
    "0.11": {"log2", "one_minus_square"},
}

accepted = [(name, case) for name, cases in OK.items() for case in cases]
refused = [(name, case) for name, cases in BAD.items() for case in cases]


def titles(table: list) -> list[str]:
    return [f"{name}-{case.ins}" for name, case in table]


@pytest.mark.parametrize(("name", "case"), accepted, ids=titles(accepted))
def test_right_uses_are_accepted(name, case):
    program = traced(case)
    assert name in used(program.jaxpr)
    outputs, _ = judged(case, program)
    assert ", ".join(map(words, outputs)) == case.expected


@pytest.mark.parametrize(("name", "case"), refused, ids=titles(refused))
def test_wrong_uses_are_refused_at_the_primitive_with_the_reason(name, case):
    outputs, _ = look(case)
    reason = case.expected.removeprefix("unknown: ")
    for output in outputs:
        assert isinstance(output, Fault), words(output)
        assert output.primitive == name
        assert re.search(reason, output.reason), output.reason
        assert output.breaks == (reason == case.expected)
        for module in (rule_cases, rule_cases_flow):
            if case.fn.__module__ == module.__name__:
                assert str(module.__file__) in output.where and output.source


def test_every_rule_has_cases():
    called = {"log2", "one_minus_square", *CALLS}
    assert set(RULES) - set(OK) <= called and set(OK) <= set(RULES)
    assert set(RULES) - set(BAD) - set(CALLS) == set(HARMLESS)


def test_every_rule_is_for_a_primitive_of_jax():
    version = jax.__version__[:4]
    others = set().union(*(names for release, names in ONLY_IN_SOME.items() if release != version))
    assert set(RULES) - set(PRIMITIVES) <= others


def renamed(program: core.ClosedJaxpr, name: str, **params: Any) -> core.ClosedJaxpr:
    """A program of one equation, of a primitive of another name."""
    (equation,) = program.jaxpr.eqns
    found = equation.replace(primitive=core.Primitive(name), params=params or equation.params)
    return core.ClosedJaxpr(program.jaxpr.replace(eqns=[found]), program.consts)


@pytest.mark.parametrize("name", ["log2", "one_minus_square"])
def test_functions_that_other_releases_have(name):
    program = renamed(jax.make_jaxpr(lax.log)(jnp.ones(3)), name)
    assert str(judge(program, [_spec.parse("A")], SIZES).outputs[0]) == "[A]"


@pytest.mark.parametrize("parameter", ["jaxpr", "call_jaxpr", "fun_jaxpr", "function"])
@pytest.mark.parametrize("name", CALLS)
def test_calls_are_followed_whatever_they_are_called(name, parameter):
    outer = jax.make_jaxpr(jax.jit(lambda x: (lax.sin(x), lax.cumsum(x))))(jnp.ones(3))
    inner = outer.jaxpr.eqns[0].params["jaxpr"]
    sine, sums = judge(
        renamed(outer, name, **{parameter: inner}), [_spec.parse("A")], SIZES
    ).outputs
    if parameter == "function":
        assert isinstance(sine, Fault) and "the program that it calls was not found" in sine.reason
        assert sine.primitive == name and not sine.breaks
    else:
        assert str(sine) == "[A]" and isinstance(sums, Fault) and sums.primitive == "cumsum"


# -------------------------------------------------------------------------- what no rule is for


UNKNOWN = {
    "fft": jnp.fft.fft,
    "cholesky": lambda x: jnp.linalg.cholesky(x[:, None] * x[None]),
    "reduce_window_sum": lambda x: lax.reduce_window(x, 0.0, lax.add, (2,), (1,), "SAME"),
    "reduce": lambda x: lax.reduce(x, 1.0, lambda a, b: a * b + 1.0, (0,)),
    "pure_callback": lambda x: jax.pure_callback(lambda y: y, x, x),
    "conv_general_dilated": lambda x: lax.conv(x[None, None], x[None, None], (1,), "SAME"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_no_rule_is_for_is_not_accepted_on_a_label(name):
    outputs, _ = look(Case(UNKNOWN[name], "A", ""))
    for output in outputs:
        assert isinstance(output, Fault) and output.primitive == name and not output.breaks
        assert output.reason == "there is no rule for it, and an operand is permuted"


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_no_rule_is_for_is_a_function_of_what_stays(name):
    case = Case(lambda x, y: jnp.sum(jnp.real(UNKNOWN[name](x))) * y, "t, A", "")
    assert words(look(case)[0][0]) == "[A]"


def test_effects_are_not_followed():
    def shouted(x):
        jax.debug.print("{}", x)
        return x

    assert words(look(Case(shouted, "A", ""))[0][0]) == "[A]"
    told = look(Case(lambda x: io_callback(lambda y: y, x, x), "t", ""))[0][0]
    assert isinstance(told, Fault) and "effects" in told.reason and not told.breaks


def test_positions_are_not_given_to_what_no_rule_is_for():
    output = look(Case(lambda i: jax.pure_callback(lambda j: j, i, i), "t @A", ""))[0][0]
    assert isinstance(output, Fault) and ARE_NUMBERS in output.reason


def test_random_keys_are_not_given_to_what_no_rule_is_for():
    output = look(law(lambda k: jr.normal(jr.clone(k)), "key", ""))[0][0]
    assert isinstance(output, Fault) and output.primitive == "random_clone" and not output.breaks


# ------------------------------------------------------------------------- branches within loops


def alternating(of_the_round: bool, split: bool):
    """Noise along A in some rounds of a loop, noise in order in others."""

    def run(key, x, choices):
        always, many = jr.split(key)
        keys = jr.split(many, choices.shape[0])

        def body(carry, now):
            free, ordered = carry
            used, choice = now
            used = used if of_the_round else always
            one, other = jr.split(used) if split else (used, used)
            return lax.cond(
                choice,
                lambda: (free + x * jr.normal(one, (3,)), ordered),
                lambda: (free, ordered + jnp.arange(3.0) * jr.normal(other, (3,))),
            ), None

        return lax.scan(body, (jnp.zeros(3), jnp.zeros(3)), (keys, choices))[0]

    return law(run, "key, A, bool t", "")


@pytest.mark.parametrize("of_the_round", [True, False])
def test_branches_in_a_loop_need_keys_of_their_own(of_the_round):
    """In two rounds both branches may be taken, and their noise be one and the same."""
    outputs, _ = look(alternating(of_the_round, split=False))
    assert any(isinstance(output, Fault) for output in outputs)
    assert list(map(words, look(alternating(of_the_round, split=True))[0])) == ["[A]", "[.]"]


def test_keys_that_a_loop_hands_on_are_not_fresh_if_they_are_always_the_same():
    """In the second and the third round the noise is one and the same, in different branches."""

    def run(key, other, x, choices):
        def body(carry, choice):
            key, free, ordered = carry
            free, ordered = lax.cond(
                choice,
                lambda: (free + x * jr.normal(key, (3,)), ordered),
                lambda: (free, ordered + jnp.arange(3.0) * jr.normal(key, (3,))),
            )
            return (other, free, ordered), None

        return lax.scan(body, (key, jnp.zeros(3), jnp.zeros(3)), choices)[0][1:]

    outputs, _ = look(law(run, "key, key, A, bool t", ""))
    assert any(isinstance(output, Fault) for output in outputs)


# ---------------------------------------------------------------------------- what it all rests on


ASSUMED = {
    "`argmax` meets no ties": (lambda x: x.argmax(), "A"),
    "`argmin` meets no ties": (lambda x: x.argmin(), "A"),
    "`sort` meets no ties among its keys": (lambda x: x.argsort(), "A"),
    "`top_k` meets no ties": (lambda x: lax.top_k(x, 2), "A"),
    "`scatter` writes nothing twice, as `unique_indices` says": (
        lambda x, i: x.at[i].set(0.0, unique_indices=True),
        "A, C @A",
    ),
}


@pytest.mark.parametrize("text", ASSUMED)
def test_what_is_assumed_is_told_with_its_line(text):
    fn, ins = ASSUMED[text]
    _, (assumption,) = look(Case(fn, ins, ""))
    assert assumption.startswith(text)
    assert __file__ in assumption


@pytest.mark.parametrize(
    ("fn", "ins"),
    [(jnp.argmax, "t"), (jnp.argsort, "t"), (jnp.sort, "A"), (lambda x: lax.top_k(x, 2), "A t")],
)
def test_nothing_is_assumed_where_there_is_no_need(fn, ins):
    assert look(Case(fn, ins, ""))[1] == ()


def test_labels_of_size_one_are_not_permuted():
    outputs, _ = look(sized(lambda x, y: (lax.cumsum(x), x + jnp.arange(1.0)), "A, B", "", A=1))
    assert list(map(words, outputs)) == ["[~]", "[~]"]


def test_faults_do_no_harm_where_they_are_not_used():
    def careful(x):
        lax.cumsum(x)
        return x, lax.cumsum(x)

    kept, lost = look(Case(careful, "A", ""))[0]
    assert words(kept) == "[A]" and isinstance(lost, Fault)


def test_every_label_of_a_claim_is_checked():
    program = traced(Case(lambda x: x.sum(0), "A B", ""))
    for claim, right in {"B": True, "A": False, "t": False, ".B": False, "B @A": False}.items():
        (output,) = judge(
            program.jaxpr, program.ins, program.sizes, claims=[_spec.parse(claim)]
        ).outputs
        assert isinstance(output, Fault) != right
        if isinstance(output, Fault):
            assert output.primitive == "return" and f"claimed to be '{claim}'" in output.reason


def test_what_may_be_none_must_be_claimed_so():
    program = traced(Case(lambda p, i: jnp.where(p, i, -1), "bool, @A", ""))
    for claim, right in {"@A?": True, "@A": False, "int": False}.items():
        (output,) = judge(
            program.jaxpr, program.ins, program.sizes, claims=[_spec.parse(claim)]
        ).outputs
        assert isinstance(output, Fault) != right


def test_a_rule_of_its_own_can_be_given():
    """`proofs.rule` is how a primitive that no rule is for is taught to the certifier."""
    program = traced(Case(jnp.fft.fft, "A", ""))
    assert isinstance(judge(program.jaxpr, program.ins, SIZES).outputs[0], Fault)
    rules = RULES | {"fft": proofs.Rule(lambda judge, equation, values: judge.out(values[0].tags))}
    assert str(judge(program.jaxpr, program.ins, SIZES, rules=rules).outputs[0]) == "[A]"
    with pytest.raises(ValueError, match="There is a rule for sin already"):
        proofs.rule("sin")(lambda *_: None)
