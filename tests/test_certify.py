"""What `certify` says of the objects of the library, and of their broken twins."""

import broken
import equinox as eqx
import jax.numpy as jnp
import pytest
from claims import faults, proved, ramp
from helpers import make, name, pairwise
from jaxtyping import Array, Float
from toys import made

import proofs
import rl
import rl.classic
import vsml
from rl.envs import BernoulliBandit

SMALL = {"hidden_size": 3, "forward_size": 2, "backward_size": 2}
pytestmark = pytest.mark.usefixtures("cheap_compilation")


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
