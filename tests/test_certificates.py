"""What a certificate says, of which sizes, and which questions have no answer."""

import claims
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest
from claims import backwards, proved, ramp, softly
from helpers import make
from jax import lax
from jaxtyping import Array

import proofs
import vsml
from proofs._rulebook import Fault

pytestmark = pytest.mark.usefixtures("cheap_compilation")


# ------------------------------------------------------------------------------- the certificate


def mixed(x: Array) -> tuple[Array, Array, Array]:
    return x, jnp.cumsum(x), x + jnp.cumsum(x)


def test_a_certificate_of_a_right_function():
    certificate = proofs.certify(softly, "A -> A")
    assert certificate.verdict == "PROVED" and certificate
    assert certificate.claim.fn is softly and certificate.claim.title == "softly"
    assert certificate.claim.randomness == "pathwise" and certificate.claim.sizes is None
    assert certificate.faults == () and certificate.witness is None and certificate.reason == ""
    assert certificate.equations > 3 and certificate.seconds > 0
    assert certificate.swept == tuple({"A": n} for n in (1, 2, 3, 4, 5, 8))
    lines = str(certificate).splitlines()
    assert lines[0] == ("PROVED: softly is equivariant under all permutations of A, at all sizes.")
    assert lines[1] == "  [A] -> [A]"
    assert lines[2] == "Assumptions:" and len(lines) == 3 + len(certificate.assumptions)
    scope, exact = certificate.assumptions
    assert "1, 2, 3, 4, 5, 8" in scope and "numbers are exact" in exact


def test_a_certificate_of_a_wrong_function():
    certificate = proofs.certify(backwards, "A -> A")
    assert certificate.verdict == "REFUTED" and not certificate
    (place, fault) = certificate.faults[0]
    assert isinstance(fault, Fault) and fault.primitive == "gather" and fault.breaks
    assert fault.source == "return x[::-1]" and claims.__file__ in fault.where
    text = str(certificate)
    assert text.startswith("REFUTED: backwards is not equivariant")
    assert "`gather` breaks the symmetry: it reads at a fixed position of 'A'" in text
    assert f"Output {place}:" in text and "Assumptions" not in text
    assert "for sizes A=3 and the permutation g = A: (0 1)" in text


def test_a_certificate_of_what_is_not_known():
    certificate = proofs.certify(lambda x: jnp.argsort(jnp.argsort(x)), "A -> int A")
    assert certificate.verdict == "UNKNOWN" and not certificate and certificate.witness is None
    text = str(certificate)
    assert (
        text.startswith("UNKNOWN: whether ") and "positions along 'A' are used as numbers" in text
    )


def test_faults_are_those_of_the_outputs_that_are_claimed_each_cause_once():
    certificate = proofs.certify(mixed, "A", ("A", "A", "A"), refute=False)
    (fault,) = certificate.faults
    assert fault[0] == "[1]" and fault[1].primitive == "cumsum"
    assert proved(mixed, "A", ("A", ..., ...))


def test_assumptions_are_listed_with_the_line_that_needs_them():
    def best(x: Array) -> Array:
        return jnp.argmax(x)

    assumptions = proofs.certify(best, "A -> @A", sweep=()).assumptions
    (ties,) = [text for text in assumptions if "ties" in text]
    assert __file__ in ties and "return jnp.argmax(x)" in ties


def test_certificates_in_law_say_so():
    def noisy(key: Array, x: Array) -> Array:
        return x + jr.normal(key, x.shape)

    certificate = proofs.certify(noisy, "key, A -> A", randomness="exchangeable", sweep=())
    assert "is equivariant in law under" in str(certificate)
    assert any("draws are ideal" in text for text in certificate.assumptions)


def test_pathwise_and_in_law_are_different_claims():
    def noisy(key: Array, x: Array) -> Array:
        return x + jr.normal(key, x.shape)

    def ordered(key: Array, x: Array) -> Array:
        return x + jr.normal(key, x.shape) + ramp(x)

    assert proofs.certify(noisy, "key, A -> A", sweep=()).verdict == "REFUTED"
    assert proved(noisy, "key, A -> A", randomness="exchangeable")
    assert not proved(ordered, "key, A -> A", randomness="exchangeable")
    # With a key of its own for each row, the claim holds for each choice of keys.
    assert proved(lambda keys, x: x + jax.vmap(jr.normal)(keys), "key A, A -> A")
    # With the noise as an argument, too.
    assert proved(lambda noise, x: x + noise, "A, A -> A")


# ------------------------------------------------------------------------------------------- sizes


def test_a_branch_of_python_on_one_size_is_found_by_the_sweep():
    def sly(x: Array) -> Array:
        return backwards(x) if x.shape[0] == 5 else x

    assert proofs.certify(sly, "A -> A", sweep=range(1, 5))
    certificate = proofs.certify(sly, "A -> A")
    assert certificate.verdict == "REFUTED" and certificate.witness is not None
    assert certificate.witness.sizes == {"A": 5}
    assert "It is another program at A=5 than at symbolic sizes" in certificate.reason


def test_a_branch_of_python_that_fails_at_one_size_is_found_by_the_sweep():
    def picky(x: Array) -> Array:
        if x.shape[0] == 3:
            raise RuntimeError("not three")
        return x

    certificate = proofs.certify(picky, "A -> A")
    assert certificate.verdict == "UNKNOWN"
    assert certificate.reason == "It cannot be traced at A=3: RuntimeError: not three"


def test_a_branch_of_python_on_two_sizes_is_found_if_the_sweep_has_them():
    def sly(x: Array, y: Array) -> Array:
        return backwards(x) if (x.shape[0], y.shape[0]) == (2, 3) else x

    assert not proofs.certify(sly, "A, B -> A")
    swept = proofs.certify(lambda x, y: x, "A, B -> A", sweep=(2, 3, 4)).swept
    assert swept[:3] == ({"A": 2, "B": 3}, {"A": 3, "B": 4}, {"A": 4, "B": 2})
    assert {"A": 3, "B": 3} in swept, "equal sizes are tried as well"


def test_sizes_that_are_given_are_the_only_ones():
    def only_three(x: Array, t: Array) -> Array:
        return x * jnp.ones(3) + t.sum()

    certificate = proofs.certify(only_three, "A, t -> A", sizes={"A": 3, "t": 2})
    assert certificate and certificate.swept == ()
    assert certificate.claim.sizes == {"A": 3, "t": 2}
    assert "at A=3, t=2." in str(certificate)
    assert certificate.assumptions[0] == "the sizes given"
    assert not proofs.certify(only_three, "A, t -> A")


def test_functions_that_need_two_are_proved_from_two_on():
    certificate = proofs.certify(lambda x: lax.top_k(x, 2)[0], "A -> 2", sweep=range(1, 5))
    assert certificate and certificate.swept == ({"A": 2}, {"A": 3}, {"A": 4})
    assert "2 to 4; they are at least 2" in certificate.assumptions[0]


def test_what_cannot_be_traced_is_not_known_and_the_reason_is_told():
    def picky(x: Array) -> Array:
        raise RuntimeError("I want numbers")

    certificate = proofs.certify(picky, "A -> A")
    assert certificate.verdict == "UNKNOWN" and certificate.faults == ()
    assert "It cannot be traced at symbolic sizes: RuntimeError: I want numbers" in str(certificate)


def test_what_cannot_be_traced_at_given_sizes_is_not_known_either():
    def picky(x: Array) -> Array:
        raise RuntimeError("I want numbers")

    certificate = proofs.certify(picky, "A -> A", sizes={"A": 3})
    assert certificate.verdict == "UNKNOWN" and "I want numbers" in certificate.reason


def test_what_needs_concrete_sizes_is_refuted_there_or_proved_there():
    def many(x: Array) -> Array:
        return x[np.arange(int(x.shape[0]))[::-1]]

    certificate = proofs.certify(many, "A -> A")
    assert certificate.verdict == "REFUTED" and "symbolic sizes" in certificate.reason
    assert proved(lambda x: x * np.ones(int(x.shape[0])), "A -> A", sizes={"A": 1})


def test_nothing_is_sought_unless_it_is_asked_for():
    certificate = proofs.certify(backwards, "A -> A", refute=False)
    assert certificate.verdict == "UNKNOWN" and certificate.faults


@pytest.fixture
def flag():
    """Whether jaxtyping is switched off: it is not, before and after a test."""
    jaxtyping.config.update("jaxtyping_disable", False)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_types_are_checked_again_afterwards(flag):
    assert proved(softly, "A -> A")
    assert jaxtyping.config.jaxtyping_disable is False
    layer = make(vsml.Layer, 3, 2, 2)
    assert proved(layer)
    with pytest.raises(Exception, match="(?i)type"):
        layer.init_from(jnp.zeros(3))


def test_types_are_checked_again_after_a_failure(flag):
    def boom(x: Array) -> Array:
        raise RuntimeError("boom")

    proofs.certify(boom, "A -> A")
    assert jaxtyping.config.jaxtyping_disable is False


# ---------------------------------------------------------------------------------- wrong questions


def identity(x: Array) -> Array:
    return x


ERRORS = {
    "Nothing is permuted in .t. -> .t.": lambda: proofs.certify(identity, "t -> t"),
    "`sizes` lacks A; got {'B': 3}": lambda: proofs.certify(identity, "A -> A", sizes={"B": 3}),
    "`sizes` lacks t; got": lambda: proofs.certify(identity, "A t -> A t", sizes={"A": 3}),
    "'A-' is not an axis": lambda: proofs.certify(identity, "A -> A-"),
    "The result holds 2 arrays at": lambda: proofs.certify(lambda x: (x, x), "A -> A"),
    "The result holds 0 arrays at": lambda: proofs.certify(lambda x: None, "A -> A"),
    "has the structure .* Give a specification for each": lambda: proofs.certify(
        lambda x: (x, x), "A -> A, A, A"
    ),
    "The result has the structure": lambda: proofs.certify(lambda x: {"a": x}, "A", {"b": "A"}),
    "has shape .A,., which does not fit the specification 'A B'": lambda: proofs.certify(
        identity, "A -> A B"
    ),
    "identity cannot be called with 2 arguments": lambda: proofs.certify(identity, "A, A -> A"),
    "cannot be called with 0 arguments": lambda: proofs.certify(identity, (), "A"),
    "cannot be called with 1 arguments": lambda: proofs.certify(3, "A -> A"),
    "Say what comes out": lambda: proofs.certify(identity, "A"),
    "says what comes out; leave `out` out": lambda: proofs.certify(identity, "A -> A", "A"),
    "`ins` must hold one specification for each argument, got None": lambda: proofs.certify(
        identity, out="A"
    ),
    "`ins` must hold one specification for each .* {'x'": lambda: proofs.certify(
        identity, {"x": "A"}, "A"
    ),
    "What identity should be equivariant to is not known": lambda: proofs.certify(identity),
    "What int should be equivariant to is not known. Give `ins` and": lambda: proofs.certify(3),
    "In 'A [.]', '[.]' is not an axis": lambda: proofs.equivariant("A . -> A"),
}


@pytest.mark.parametrize("pattern", ERRORS)
def test_questions_that_make_no_sense_are_refused(pattern):
    with pytest.raises(ValueError, match=pattern):
        ERRORS[pattern]()


WRONG_SIZES = {
    "another size": (lambda x: x[:, :2], "A t -> A 7"),
    "the size of another label": (lambda x, y: jnp.zeros_like(y), "A, B -> A"),
    "a constant of another size": (lambda x: jnp.zeros(7), "A -> A"),
}


@pytest.mark.parametrize("case", WRONG_SIZES)
def test_outputs_must_have_the_sizes_that_are_claimed(case):
    with pytest.raises(ValueError, match="has shape .* does not fit the specification 'A"):
        proofs.certify(*WRONG_SIZES[case])


@pytest.mark.parametrize("kind", ["int", "bool", "key"])
def test_outputs_must_have_the_types_that_are_claimed(kind):
    certificate = proofs.certify(identity, f"A -> {kind} A", sweep=(), refute=False)
    ((_, fault),) = certificate.faults
    assert not certificate and fault.primitive == "return" and fault.breaks


def test_kinds_of_randomness_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="randomness"):
        proofs.certify(identity, "A -> A", randomness="ideal")  # pyright: ignore


def test_arguments_without_a_type_are_refused():
    with pytest.raises(ValueError, match="[.][.][.]"):
        proofs.certify(lambda x, y: y, (..., "A"), "A")


def test_functions_that_the_exact_arithmetic_does_not_know_are_not_refuted():
    certificate = proofs.certify(lambda x: jnp.fft.fft(x).real, "A -> A")
    assert certificate.verdict == "UNKNOWN"
    assert "No witness could be looked for" in certificate.reason
    with pytest.raises(NotImplementedError, match="cannot be evaluated exactly"):
        proofs.refute(lambda x: jnp.fft.fft(x).real, "A -> A")
