"""What `certify` says of the objects of the library, of their broken twins, and of functions."""

import dataclasses
import itertools

import broken
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest
from helpers import make, name, pairwise
from jax import lax
from jaxtyping import Array, Float
from toys import made

import proofs
import rl
import rl.classic
import vsml
from proofs import _exact, _spec
from proofs._rulebook import Fault
from rl.envs import BernoulliBandit

SMALL = {"hidden_size": 3, "forward_size": 2, "backward_size": 2}
pytestmark = pytest.mark.usefixtures("cheap_compilation")


def proved(*args, **options) -> bool:
    """Whether it is proved for symbolic sizes: the sweep has tests of its own."""
    certificate = proofs.certify(*args, **{"sweep": (), "refute": False, **options})
    assert bool(certificate) == (certificate.verdict == "PROVED")
    return bool(certificate)


def faults(certificate: proofs.Certificate) -> str:
    return "\n".join(str(fault) for _, fault in certificate.faults)


# ----------------------------------------------------------------------------------------- layers


class Product(vsml.AbstractCell[Array]):
    """A cell of a user's: a number, whose emissions are whole messages."""

    hidden_size: int = eqx.field(static=True, default=2)
    drive_size: int = eqx.field(static=True, default=3)
    content_size: None = eqx.field(static=True, default=None)

    def init(self, values: Float[Array, " N"]) -> Array:
        return values.prod()

    def __call__(self, state: Array, drive: Float[Array, " D"]) -> tuple[Array, Array, Array]:
        state = jnp.tanh(state + drive.sum())
        return state, state * drive[:2], jnp.stack([state, drive.max()])


LAYERS = pairwise(
    cell=("lstm", "gru", Product()),
    reduction=("sum", "mean", "scaled"),
    recurrent=(True, False),
    message_bias=("once", "each", "none"),
    initial_state=("normal", "official", "zeros", broken.uncut),
    context_size=(0, 2),
)


@pytest.mark.parametrize("case", LAYERS, ids=[str(i) for i in range(len(LAYERS))])
def test_layers_are_equivariant_whatever_their_options(case):
    assert proved(make(vsml.Layer, **SMALL, **case))


SIZES = {
    "silent forward": {"forward_size": 0},
    "silent backward": {"backward_size": 0},
    "silent": {"forward_size": 0, "backward_size": 0, "context_size": 1},
    "narrow input": {"forward_input_size": 1, "backward_input_size": 1},
    "wide input": {"forward_input_size": 4, "backward_input_size": 0},
}


@pytest.mark.parametrize("case", SIZES)
def test_layers_are_equivariant_whatever_their_messages(case):
    assert proved(make(vsml.Layer, **{**SMALL, **SIZES[case]}))


def test_the_official_layer_and_backpropagation_are_equivariant():
    assert proved(make(vsml.Layer.official, 4, 2))
    cell = vsml.BackpropCell(0.1)
    assert proved(make(vsml.Layer, 1, 1, 1, cell=cell, recurrent=False, message_bias="none"))


HARMLESS = (
    "ContextBlind",
    "Amnesiac",
    "TickRefresher",
    "MaskBlind",
    "MaskMiscounted",
    "TraceAware",
)


@pytest.mark.parametrize("twin", HARMLESS)
def test_twins_that_break_another_law_are_equivariant(twin):
    assert proved(make(getattr(broken, twin), **SMALL))


TWINS = {
    "PositionWeighted": (
        lambda: make(broken.PositionWeighted, **SMALL),
        "`mul`",
        "content * jnp.expand_dims(weights",
    ),
    "NeighbourReader": (
        lambda: make(broken.NeighbourReader, **SMALL),
        "`slice`",
        "jnp.roll(row, 1, axis=0)",
    ),
    "HiddenShift": (
        lambda: made(broken.HiddenShift, make(vsml.Layer, **SMALL), 3),
        "`slice`",
        "jnp.roll(states[0].forward, 1, axis=0)",
    ),
    "one_row": (
        lambda: make(vsml.Layer, **SMALL, initial_state=broken.one_row),
        "`gather`",
        "jnp.broadcast_to(noise[:1], noise.shape)",
    ),
}


@pytest.mark.parametrize("twin", TWINS)
def test_broken_twins_are_refuted_and_the_line_is_named(twin):
    target, primitive, line = TWINS[twin]
    certificate = proofs.certify(target())
    assert certificate.verdict == "REFUTED" and not certificate
    text = str(certificate)
    assert primitive in text and line in text and str(broken.__file__) in text
    assert "Witness:" in text and certificate.witness is not None
    assert certificate.witness.differing > 0


def test_messages_on_the_wrong_axis_are_seen_though_every_shape_fits():
    class Crossed(vsml.Layer):
        def _drive(self, row, column, context):
            return super()._drive(column, row, context)

    layer = make(Crossed, **SMALL)
    certificate = proofs.certify(layer, sizes={"A": 3, "B": 3})
    assert certificate.verdict == "REFUTED"
    assert "'A' meets" in faults(certificate) or "permuted with 'A'" in faults(certificate)


# --------------------------------------------------------------------------------------- networks

NETWORKS = pairwise(
    order=("simultaneous", "forward", "forward-backward"),
    ticks=(1, 2, 6),
    refresh=(True, False),
    depth=(1, 2, 3),
)


@pytest.mark.parametrize("case", NETWORKS, ids=name)
def test_networks_are_equivariant_at_every_interface(case):
    certificate = proofs.certify(vsml.Network(make(vsml.Layer, **SMALL), **case), sweep=())
    assert certificate, certificate
    assert len(certificate.claim.signature.labels) == case["depth"] + 1


def test_networks_of_different_layers_and_of_any_depth_are_equivariant():
    one, other = make(vsml.Layer, **SMALL), make(vsml.Layer, 4, 2, 2, cell="gru")
    assert proved(vsml.Network([one, other]))
    certificate = proofs.certify(vsml.Network(one), sweep=())
    assert certificate and certificate.claim.title == "Network of 3 layers"
    assert certificate.claim.signature.labels == ["A", "H1", "H2", "B"]


# --------------------------------------------------------------------------------------- learners

LEARNERS = {
    "default": {},
    "several layers": {"hidden_sizes": (3,)},
    "running": {"normalise": "running"},
    "projected": {"projection_size": 4},
    "told of ends": {"ended_flag": True, "pad_messages": True},
    "clipped": {"soft_clip": 3.0, "output_channel": 1},
}


@pytest.mark.parametrize("case", LEARNERS)
def test_symla_is_equivariant_in_law(case):
    assert proved(make(rl.SymLA, **SMALL, **LEARNERS[case]))


def test_symla_as_printed_and_as_in_the_code_of_vsml_is_equivariant_in_law():
    certificate = proofs.certify(make(rl.SymLA.paper, 3), sweep=())
    assert certificate and certificate.claim.randomness == "exchangeable"
    text = "PROVED: SymLA is equivariant in law under all permutations of A and B, at all sizes."
    assert str(certificate).startswith(text)
    assert proved(make(rl.SymLA.official, 3))


def test_a_projection_that_all_lives_share_singles_sensors_out():
    certificate = proofs.certify(
        make(rl.SymLA, **SMALL, projection_size=4, projection_shared=True), sweep=(), refute=False
    )
    assert certificate.verdict == "UNKNOWN"
    assert "come from `random_bits`" in faults(certificate)
    assert "observation @ state.projection" in faults(certificate)


def test_metarnn_is_refuted():
    certificate = proofs.certify(make(rl.MetaRNN, 3, 2, 4))
    assert certificate.verdict == "REFUTED"
    assert certificate.claim.sizes == {"A": 3, "B": 2, "t": 3}
    assert "at A=3, B=2, t=3." in str(certificate)
    assert "jnp.concatenate(parts)" in faults(certificate)
    witness = certificate.witness
    assert witness is not None and "logits" in witness.place and witness.sizes["A"] == 3


PLAYERS = ("RandomPlayer", "UCB1", "ThompsonSampling", "GreedyPosteriorMean")


@pytest.mark.parametrize("player", PLAYERS)
def test_the_players_of_bandits_are_equivariant_in_law(player):
    assert proved(getattr(rl.classic, player)())


def test_a_learner_for_certain_sizes_only_is_not_proved_for_all():
    certificate = proofs.certify(rl.classic.BayesOptimal(), refute=False)
    assert certificate.verdict == "UNKNOWN"
    assert "Bayes-optimal play is available for 2 arms" in certificate.reason


# ------------------------------------------------------------------------------------ whole lives


def bandit(probs: Array) -> rl.Task:
    environment = BernoulliBandit(probs.shape[0])
    params = environment.default_params.replace(probs=probs)  # pyright: ignore
    return rl.Task(environment, params)


@pytest.mark.parametrize("learner", ["SymLA", *PLAYERS])
def test_lives_with_a_bandit_do_not_depend_on_the_order_of_the_arms(learner):
    player = make(rl.SymLA, **SMALL) if learner == "SymLA" else getattr(rl.classic, learner)()
    certificate = proofs.certify(proofs.closed_loop(player, bandit, ("B",)), sweep=(2, 4))
    assert certificate, certificate
    assert f"the life of {learner} is equivariant in law" in str(certificate)
    assert certificate.swept == ({"B": 2}, {"B": 4})


def test_the_length_of_a_life_does_not_matter_to_its_proof():
    lives = [
        proofs.closed_loop(rl.classic.UCB1(), bandit, ("B",), steps=steps) for steps in (2, 500)
    ]
    short, long = (proofs.certify(life, sweep=()) for life in lives)
    assert short and long and short.equations == long.equations


def test_lives_whose_rewards_know_the_number_of_the_arm_are_not_proved():
    def biased(probs: Array) -> rl.Task:
        task = bandit(probs)
        weights = 0.01 * ramp(probs)
        params = task.params.replace(probs=probs + weights)  # pyright: ignore
        return rl.Task(task.environment, params)

    claim = proofs.closed_loop(rl.classic.UCB1(), biased, ("B",))
    certificate = proofs.certify(claim, sweep=())
    assert not certificate and "probs + weights" in faults(certificate)


def test_a_life_of_a_metarnn_is_not_proved():
    claim = proofs.closed_loop(make(rl.MetaRNN, 1, 2, 4), bandit, ("B",))
    assert not proved(claim, sizes={"B": 2})


# ------------------------------------------------------------------------------- the certificate


def softly(x: Array) -> Array:
    return jax.nn.softmax(x)


def backwards(x: Array) -> Array:
    return x[::-1]


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
    assert fault.source == "return x[::-1]" and __file__ in fault.where
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
    layer = make(vsml.Layer, **SMALL)
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


# ------------------------------------------------------------------------------------- signatures


def test_the_decorator_leaves_the_function_as_it_is():
    def double(x: Array) -> Array:
        return 2.0 * x

    code = double.__code__
    decorated = proofs.equivariant("A -> A")(double)
    assert decorated is double and decorated.__code__ is code
    signature, randomness = double.__equivariance__  # pyright: ignore
    assert str(signature) == "[A] -> [A]" and randomness == "pathwise"
    certificate = proofs.certify(double, sweep=(2,))
    assert certificate and certificate.claim.title.endswith("double")


def test_the_decorator_takes_the_kind_of_randomness():
    @proofs.equivariant("key, A -> A", randomness="exchangeable")
    def noisy(key: Array, x: Array) -> Array:
        return x + jr.normal(key, x.shape)

    assert proofs.claim_of(noisy).randomness == "exchangeable"
    assert proved(noisy)


def test_wrong_decorations_are_found():
    @proofs.equivariant("A t -> t")
    def wrong(x: Array) -> Array:
        return x[0]

    assert proofs.certify(wrong).verdict == "REFUTED"


def test_compiled_functions_can_be_decorated():
    assert proved(proofs.equivariant("A -> A")(jax.jit(lambda x: 2.0 * x)))


def test_a_class_of_ones_own_can_be_registered():
    class Scale(eqx.Module):
        factor: Array

        def __call__(self, x: Array) -> Array:
            return self.factor * x

    with pytest.raises(ValueError, match="What Scale should be equivariant to"):
        proofs.certify(Scale(jnp.ones(())))

    @proofs.claim_of.register
    def _(scale: Scale) -> proofs.Claim:
        return proofs.Claim(scale, proofs.claim_of(softly_claimed).signature, "Scale")

    certificate = proofs.certify(Scale(jnp.ones(())), sweep=(2,))
    assert certificate and certificate.claim.title == "Scale"


@proofs.equivariant("A -> A")
def softly_claimed(x: Array) -> Array:
    return softly(x)


def test_a_claim_certifies_itself():
    claim = proofs.claim_of(softly_claimed)
    assert proofs.claim_of(claim) is claim
    assert proved(claim) and proved(dataclasses.replace(claim, title="another"))


def test_trees_of_arrays_go_in_and_come_out():
    def step(state: dict, messages: tuple) -> dict:
        a, b = messages
        cells = jnp.tanh(state["cells"] + a[:, None] + b[None])
        return {"cells": cells, "sums": (cells.sum(1), cells.sum(0))}

    ins = ({"cells": "A B"}, ("A", "B"))
    assert proved(step, ins, {"cells": "A B", "sums": ("A", "B")})
    assert proved(step, ins, {"cells": "A B", "sums": ...})
    with pytest.raises(ValueError, match=r"result at \['sums'\]\[0\] has shape \(A,\)"):
        proofs.certify(step, ins, {"cells": "A B", "sums": ("B", "A")})


# ----------------------------------------------------------------------- parameters and constants


class Biased(eqx.Module):
    """A number for each place: zeros at first, but they will be learned."""

    bias: Array

    def __call__(self, x: Array) -> Array:
        return x + self.bias

    def apply(self, x: Array) -> Array:
        return self(x)


def test_parameters_may_have_any_values():
    for method in (Biased(jnp.zeros(3)), Biased(jnp.zeros(3)).apply):
        certificate = proofs.certify(method, "A -> A", sizes={"A": 3})
        assert certificate.verdict == "UNKNOWN", "these values are a special case"
        assert "come from the order of the parameter" in faults(certificate)
        assert "bias" in faults(certificate)
    certificate = proofs.certify(Biased(jnp.arange(3.0)), "A -> A", sizes={"A": 3})
    assert certificate.verdict == "REFUTED"
    assert proved(Biased(jnp.zeros(())), "A -> A")
    assert proved(Biased(jnp.zeros(4)[None]), "A 4 -> A 4")


def test_constants_that_a_function_has_captured_are_ordered():
    weights = jnp.ones(3)
    certificate = proofs.certify(lambda x: x * weights, "A -> A", sizes={"A": 3})
    assert certificate.verdict == "UNKNOWN"
    assert "come from a captured constant of shape (3,)" in faults(certificate)
    counts = np.arange(3, dtype=np.float32)
    assert proofs.certify(lambda x: x * counts, "A -> A", sizes={"A": 3}).verdict == "REFUTED"
    assert proved(lambda x: x * weights[None], "A 3 -> A 3")
    assert proved(lambda x: x * jnp.ones(3), "A -> A", sizes={"A": 3}), "made here: all alike"


# --------------------------------------------------------------------- what JAX does to functions


def ramp(x: Array) -> Array:
    return jnp.arange(x.shape[0], dtype=x.dtype)


def right(x: Array) -> Array:
    return jnp.tanh(x) * x.sum()


def wrong(x: Array) -> Array:
    return jnp.tanh(x) * ramp(x)


def summed(f):
    return lambda x: f(x).sum()


TRANSFORMS = {
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "grad": lambda f: jax.grad(summed(f)),
    "value_and_grad": lambda f: lambda x: jax.value_and_grad(summed(f))(x)[1],
    "grad of checkpoint": lambda f: jax.grad(summed(jax.checkpoint(f))),
    "grad of jit": lambda f: jax.grad(summed(jax.jit(f))),
    "jvp": lambda f: lambda x: jax.jvp(f, (x,), (jnp.ones_like(x),))[1],
    "vjp": lambda f: lambda x: jax.vjp(f, x)[1](jnp.ones_like(x))[0],
    "scan": lambda f: lambda x: lax.scan(lambda c, _: (f(c), None), x, None, length=3)[0],
    "while": lambda f: lambda x: lax.while_loop(lambda c: c.sum() < 3.0, f, x),
    "cond": lambda f: lambda x: lax.cond(x.sum() > 0, f, jnp.sin, x),
    "filter_jit": eqx.filter_jit,
    "grad of scan": lambda f: jax.grad(
        lambda x: lax.scan(lambda c, _: (f(c), c.sum()), x, None, length=2)[1].sum()
    ),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transformed_functions_are_as_good_as_what_was_transformed(transform):
    function = TRANSFORMS[transform]
    assert proved(function(right), "A -> A")
    certificate = proofs.certify(function(wrong), "A -> A", refute=False)
    assert not certificate and certificate.faults
    assert "come from `iota`" in faults(certificate)


def test_mapped_functions_are_equivariant_along_the_axis_they_are_mapped_over():
    assert proved(jax.vmap(right), "A B -> A B")
    assert proved(jax.vmap(lambda x: jnp.cumsum(x)), "A t -> A t")
    assert proved(
        jax.vmap(jax.vmap(lambda x, w: jnp.tanh(x @ w), (0, None)), (0, None)),
        "A B 3, 3 2 -> A B 2",
    )
    assert not proved(jax.vmap(lambda x: jnp.cumsum(x)), "A B -> A B")
    assert proved(jax.hessian(lambda x: (x**3).sum() ** 2), "A -> A A", sizes={"A": 3})
    assert proved(jax.jacobian(right), "A -> A A")


def test_derivatives_made_by_hand_are_looked_at_where_they_are_used():
    @jax.custom_vjp
    def total(x: Array) -> Array:
        return x.sum()

    total.defvjp(lambda x: (x.sum(), x), lambda x, g: (g * x[::-1],))
    assert proved(total, "A -> ")
    assert proofs.certify(jax.grad(total), "A -> A").verdict == "REFUTED"

    @jax.custom_jvp
    def other(x: Array) -> Array:
        return x.sum()

    other.defjvp(lambda p, t: (other(*p), (t[0] * ramp(p[0])).sum()))
    assert proved(other, "A -> ")
    assert not proved(jax.grad(other), "A -> A")

    @jax.custom_vjp
    def good(x: Array) -> Array:
        return jnp.sin(x)

    good.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.exp(x),))
    assert proved(good, "A -> A") and proved(jax.grad(summed(good)), "A -> A")


def test_learning_by_gradients_is_equivariant():
    def loss(w: Array, x: Array, y: Array) -> Array:
        return ((jnp.tanh(x @ w) - y) ** 2).mean()

    def descend(w: Array, x: Array, y: Array) -> Array:
        return lax.fori_loop(0, 5, lambda _, v: v - 0.1 * jax.grad(loss)(v, x, y), w)

    assert proved(descend, "A B, t A, t B -> A B")
    assert not proved(descend, "A B, t A, t B -> B A", sizes={"A": 3, "B": 3, "t": 2})


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
