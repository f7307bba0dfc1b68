"""Witnesses against wrong claims."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from claims import backwards, ramp, softly
from jaxtyping import Array

import proofs
from proofs import _exact, _spec

pytestmark = pytest.mark.usefixtures("cheap_compilation")


# -------------------------------------------------------------------------------------- witnesses

RIGHT = {
    "softmax": (softly, "A -> A"),
    "argmax": (lambda x: jnp.argmax(x), "A -> @A"),
    "gather": (lambda x, i: x[i], "A B, t @A -> t B"),
    "sum": (lambda x: x.sum(0), "A B -> B"),
    "rank": (lambda x: jnp.argsort(jnp.argsort(x)), "A -> int A"),
    "twice": (lambda x: x[::-1][::-1], "A -> A"),
    "no claim": (backwards, "A", ...),
}


@pytest.mark.parametrize("case", RIGHT)
def test_functions_that_are_right_have_no_witness(case):
    assert proofs.refute(*RIGHT[case]) is None


WRONG = {
    "backwards": (backwards, "A -> A"),
    "first": (lambda x: x[0], "A t -> t"),
    "wrong label": (lambda x, y: x @ y, "A B, B C -> C A"),
    "next position": (lambda x: (jnp.argmax(x) + 1) % x.shape[0], "A -> @A"),
    "number of a position": (lambda i: i.astype(jnp.float32), "t @A -> t"),
    "hidden": (
        lambda x, y: (x.sum(), (x + 1e-6 * ramp(x)) * y.sum()),
        "A, B -> , A",
    ),
    "running sum": (jnp.cumsum, "A -> A"),
}


@pytest.mark.parametrize("case", WRONG)
def test_functions_that_are_wrong_have_a_witness_which_is_one(case):
    fn, signature = WRONG[case]
    witness = proofs.refute(fn, signature)
    assert isinstance(witness, proofs.Witness)
    before = exactly(fn, list(witness.inputs.values()))
    ins, out = (part.strip() for part in signature.split("->"))
    specs = [part.strip() for part in ins.split(",")]
    moved = _spec.act(specs, list(witness.inputs.values()), witness.permutations)
    after = exactly(fn, moved)
    number = int(witness.place.strip("[]") or 0)
    expected = _spec.act(witness.claim, before[number], witness.permutations)
    assert witness.claim == str(_spec.parse(out.split(",")[number]))
    assert expected[witness.index] == witness.expected
    assert after[number][witness.index] == witness.found != witness.expected
    assert witness.differing == np.sum(expected != after[number])
    assert witness.total == expected.size
    for label, order in witness.permutations.items():
        np.testing.assert_array_equal(np.sort(order), np.arange(witness.sizes[label]))
    for text in (str(witness.found), str(witness.expected), "permutation g = ", "for sizes "):
        assert text in str(witness)


def exactly(fn, inputs: list) -> list[np.ndarray]:
    """The outputs of a function in exact arithmetic."""
    program = jax.make_jaxpr(fn)(*inputs)
    outputs = _exact.evaluate(program, [_exact.to_exact(x) for x in inputs]).outputs
    return [np.asarray(x) for x in outputs]


def test_a_witness_is_one_for_floating_numbers_as_well():
    witness = proofs.refute(backwards, "A t -> A t")
    assert witness is not None
    (x,) = witness.inputs.values()
    x, g = jnp.asarray(x), witness.permutations
    assert not np.array_equal(backwards(_spec.act("A t", x, g)), _spec.act("A t", backwards(x), g))


def test_small_witnesses_are_found_first_and_sizes_can_be_given():
    assert proofs.refute(jnp.cumsum, "A -> A").sizes == {"A": 2}  # pyright: ignore
    # The only permutation of two is to turn them round.
    assert proofs.refute(backwards, "A -> A").sizes == {"A": 3}  # pyright: ignore
    found = proofs.refute(backwards, "A t -> A t", sizes={"A": 5, "t": 1})
    assert found is not None and found.sizes == {"A": 5, "t": 1}
    assert proofs.refute(backwards, "A -> A", sizes={"A": 1}) is None, "there is one order only"

    def late(x: Array) -> Array:
        return backwards(x) if x.shape[0] >= 4 else x

    assert proofs.refute(late, "A -> A").sizes == {"A": 4}  # pyright: ignore


def test_witnesses_are_the_same_for_the_same_seed():
    one, again = (proofs.refute(backwards, "A -> A", seed=3) for _ in range(2))
    assert str(one) == str(again) != str(proofs.refute(backwards, "A -> A", seed=4))


def test_samples_with_ties_show_nothing():
    assert proofs.refute(lambda x: jnp.argmax(0.0 * x), "A -> @A") is None
    certificate = proofs.certify(lambda x: jnp.argmax(0.0 * x), "A -> @A", sweep=())
    assert certificate and any("no ties" in text for text in certificate.assumptions)


def test_in_law_only_what_no_draw_influences_can_be_refuted():
    def noisy(key: Array, x: Array) -> tuple[Array, Array]:
        return x[::-1] + jr.normal(key, x.shape), x[::-1]

    first = proofs.refute(noisy, "key, A -> A, A")
    assert first is not None and first.place == "[0]"
    second = proofs.refute(noisy, "key, A -> A, A", randomness="exchangeable")
    assert second is not None and second.place == "[1]"
    assert proofs.refute(noisy, "key, A", ("A", ...), randomness="exchangeable") is None


def test_every_swap_is_tried():
    """A function that only one transposition of one label changes."""
    swaps = itertools.permutations(range(3))

    def guarded(x: Array, y: Array) -> Array:
        return jnp.where(y[0] > y[1], x, x)

    assert len(list(swaps)) == 6 and proofs.refute(guarded, "A, B -> A") is None
    witness = proofs.refute(lambda x, y: jnp.where(y[0] > y[1], x, 2.0 * x), "A, B -> A")
    assert witness is not None
    np.testing.assert_array_equal(witness.permutations["A"], np.arange(witness.sizes["A"]))


def test_functions_that_do_not_say_what_they_take_are_called_all_the_same():
    certificate = proofs.certify(max, "A, A -> A", sweep=())
    assert certificate.verdict == "UNKNOWN" and "cannot be traced" in certificate.reason
