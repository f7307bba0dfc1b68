"""Planted bugs: each is rejected with the line that is to blame, and refuted by a witness."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import planted
import pytest
from jaxtyping import Array, PRNGKeyArray

import proofs

pytestmark = pytest.mark.usefixtures("cheap_compilation")
ROLLOUT = ("A B 4", "t A", "t")
RECURRENT = ("4", "A", "B", ""), ("4", "B")


class Bug(NamedTuple):
    """Which primitives may be blamed, and the sizes at which it exists, if not all."""

    primitives: str
    sizes: Mapping[str, int] | None = None


BUGS = {
    "1": Bug("add"),
    "1b": Bug("add"),
    "2": Bug("add", {"A": 4, "B": 3, "t": 2}),
    "3": Bug("slice gather dynamic_slice"),
    "4": Bug("cumsum"),
    "5": Bug("add"),
    "5b": Bug("scatter"),
    "6": Bug("add"),
    "6b": Bug("add"),
    "6c": Bug("eq"),
    "7": Bug("scan"),
    "8": Bug("dot_general", {"A": 4, "B": 3}),
    "8'": Bug("concatenate", {"A": 4, "B": 3}),
    "9": Bug("add", {"A": 3, "B": 3, "t": 2}),
    "10": Bug("reshape", {"A": 4, "B": 3, "t": 2}),
}


def certified(name: str, **options: Any) -> proofs.Certificate:
    if name.startswith("8"):
        return proofs.certify(
            planted.dense if name == "8" else planted.gated, *RECURRENT, **options
        )
    return proofs.certify(functools.partial(planted.rollout, bug=name), ROLLOUT, "t B", **options)


def test_the_learner_without_a_bug_is_proved():
    certificate = certified("")
    assert certificate.verdict == "PROVED", certificate
    assert "argmax" in str(certificate), "the assumption that there are no ties is listed"
    step = proofs.certify(planted.step, (planted.STATE, "A", "B", ""), (planted.STATE, "B"))
    assert step.verdict == "PROVED", step
    for bug in BUGS.values():
        if bug.sizes is not None and "t" in bug.sizes:
            assert certified("", sizes=bug.sizes).verdict == "PROVED"


def test_the_learner_without_a_bug_is_proved_in_law_with_its_noise_and_its_actions_drawn():
    def life(seen: Array, arms: Array, *, key: PRNGKeyArray) -> Array:
        cells, keys = jr.split(key)
        state = planted.birth(jr.normal(cells, (seen.shape[1], arms.shape[0], planted.HIDDEN)))

        def live(carry: tuple, now: tuple) -> tuple:
            state, done = carry
            paid = jnp.sum(done * arms)
            state, logits = planted.step(state, now[0], done, paid)
            return (state, jax.nn.one_hot(jr.categorical(now[1], logits), arms.shape[0])), logits

        start = state, jnp.zeros(arms.shape[0])
        return jax.lax.scan(live, start, (seen, jr.split(keys, seen.shape[0])))[1]

    def call(key: PRNGKeyArray, seen: Array, arms: Array) -> Array:
        return life(seen, arms, key=key)

    specs = ("key", "t A", "B"), "t B"
    in_law = proofs.certify(call, *specs, randomness="exchangeable")
    assert in_law.verdict == "PROVED", in_law
    assert not proofs.certify(call, *specs), "the same key does not give the same path"


@pytest.mark.parametrize("name", BUGS)
def test_each_planted_bug_is_rejected_where_it_is_and_refuted(name: str):
    bug = BUGS[name]
    certificate = certified(name, sizes=bug.sizes)
    assert not certificate
    assert certificate.verdict == "REFUTED", certificate
    assert certificate.witness is not None
    blamed = [(fault.primitive, fault.where) for _, fault in certificate.faults]
    line = planted.line_of(name)
    here = [primitive for primitive, where in blamed if f"planted.py:{line} (" in where]
    assert here, f"{blamed} names no line {line}"
    assert set(here) <= set(bug.primitives.split()), blamed
    assert f"# BUG {name}" in str(certificate), "the message shows the line"


def test_messages_on_the_wrong_axis_do_not_even_trace_if_the_sizes_differ():
    for sizes in (None, {"A": 4, "B": 3, "t": 2}):
        certificate = certified("9", sizes=sizes)
        assert not certificate
        assert "cannot be traced" in certificate.reason and "shape" in certificate.reason


def test_a_message_says_where_fixed_positions_came_from():
    for name, origin in (("1", "iota"), ("2", "captured constant of shape (4,)")):
        certificate = certified(name, sizes=BUGS[name].sizes, refute=False)
        assert certificate.verdict == "UNKNOWN"
        assert origin in str(certificate)
        assert "which come from" in str(certificate)


def test_the_certifier_says_which_labels_met():
    certificate = certified("9", sizes=BUGS["9"].sizes, refute=False)
    assert "'A'" in str(certificate) and "'B'" in str(certificate)
