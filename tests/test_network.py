import functools
from collections.abc import Callable

import broken
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import reference
from helpers import (
    Received,
    assert_states_close,
    assert_trees_close,
    at,
    close,
    grid_noise,
    life_of_network,
    make,
    name,
    pairwise,
    parameter_count,
    quick_jit,
    randomise,
    received,
    reference_state,
    reference_weights,
    run_layer,
    run_network,
    without_type_checks,
)
from hypothesis import given, strategies as st

import vsml

ORDERS: tuple[vsml.Order, ...] = ("simultaneous", "forward", "forward-backward")

# ------------------------------------------------------------------ values, against the reference


def shared_layer(kind: type[vsml.Layer] = vsml.Layer, seed: int = 0) -> vsml.Layer:
    return make(kind, 3, 2, 2, 1, seed=seed)


def distinct_layers() -> tuple[vsml.Layer, vsml.Layer]:
    """Two layers that differ in everything but what must fit."""
    first = make(vsml.Layer, 3, 2, 3, 1, forward_input_size=1, backward_input_size=4)
    second = make(
        vsml.Layer,
        5,
        1,
        4,
        1,
        cell="gru",
        reduction="mean",
        recurrent=False,
        forward_input_size=2,
        backward_input_size=2,
        seed=1,
    )
    return first, second


CASES = pairwise(
    order=ORDERS,
    refresh=(True, False),
    ticks=(1, 2),
    stack=("one", "shared", "distinct"),
    masked=(False, True),
    dtype=("float32", "float64"),
)


def check_values(kind: Callable[..., vsml.Network], case: dict) -> None:
    """Three steps of a network are what the reference computes."""
    with jax.enable_x64(case["dtype"] == "float64"):
        layers, sizes = {
            "one": lambda: (shared_layer(), (3, 2)),
            "shared": lambda: (shared_layer(), (3, 2, 4, 2)),
            "distinct": lambda: (distinct_layers(), (3, 4, 2)),
        }[case["stack"]]()
        options = {key: case[key] for key in ("ticks", "refresh", "order")}
        net = kind(layers, **options)
        depth = len(sizes) - 1
        stack = layers if isinstance(layers, tuple) else (layers,) * depth
        masks = {}
        if case["masked"]:
            masks["input_mask"] = jnp.asarray([True, False, True])
            masks["output_mask"] = jnp.asarray([False, True])
        noise = tuple(
            grid_noise(layer, *sizes[k : k + 2], seed=k)[0] for k, layer in enumerate(stack)
        )
        messages = received(stack[0], sizes[0], sizes[-1], last=stack[-1])
        birth, states, sent = run_network(net, noise, messages, **masks)
        weights = [reference_weights(layer) for layer in stack]
        oracle = [reference_state(state) for state in birth.layers]
        silent = [layer.backward_input_size for layer in stack]
        for step in range(3):
            now = [np.asarray(x, np.float64) for x in at(messages, step)]
            oracle = reference.network(weights, oracle, *now, **options, silent=silent)
            assert_states_close(at(states, step).layers, oracle)
            close(at(sent, step).forward, oracle[-1].forward)
            close(at(sent, step).backward, oracle[0].backward)


@pytest.mark.parametrize("case", CASES, ids=name)
def test_networks_compute_what_the_equations_say(case):
    check_values(vsml.Network, case)


@pytest.mark.parametrize(
    ("twin", "refresh"), [(broken.HiddenShift, True), (broken.AlwaysRefreshed, False)]
)
def test_wrong_values_are_noticed(twin, refresh):
    case = {
        "order": "simultaneous",
        "refresh": refresh,
        "ticks": 2,
        "stack": "distinct",
        "masked": False,
        "dtype": "float64",
    }
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_values(twin, case)


# ---------------------------------------------------------------------------------------- laws

SIZES = (3, 4, 3, 2)


def check_equivariance(network: vsml.Network, permutations: list[list[int]], seed: int) -> None:
    """Units of every interface may be exchanged: inputs, outputs, and all that is hidden."""
    moves = [np.asarray(p) for p in permutations]
    sizes = [len(p) for p in moves]
    layer = network.layers[0]
    noise = jax.device_get(grid_noise(layer, *sizes, seed=seed))
    forward, backward, context = jax.device_get(received(layer, sizes[0], sizes[-1]))
    _, states, sent = run_network(network, noise, Received(forward, backward, context))
    _, moved, moved_sent = run_network(
        network,
        tuple(z[p][:, q] for z, p, q in zip(noise, moves[:-1], moves[1:], strict=True)),
        Received(forward[:, moves[0]], backward[:, moves[-1]], context),
    )
    for k, state in enumerate(states.layers):
        p, q = moves[k], moves[k + 1]
        expected = jax.tree.map(lambda x, p=p, q=q: np.asarray(x)[:, p][:, :, q], state.cells)
        assert_trees_close(moved.layers[k].cells, expected)
    close(moved_sent.forward, np.asarray(sent.forward)[:, moves[-1]])
    close(moved_sent.backward, np.asarray(sent.backward)[:, moves[0]])


TEMPLATE = functools.cache(shared_layer)


@pytest.mark.parametrize("order", ORDERS)
@given(
    permutations=st.tuples(*(st.permutations(range(n)) for n in SIZES)), seed=st.integers(0, 999)
)
def test_units_of_all_interfaces_may_be_reordered(order, permutations, seed):
    network = vsml.Network(randomise(TEMPLATE(), seed), order=order)
    check_equivariance(network, permutations, seed)


def test_dependence_on_the_order_of_hidden_units_is_noticed():
    network = broken.HiddenShift(shared_layer())  # pyright: ignore[reportCallIssue]
    with pytest.raises(AssertionError):
        check_equivariance(network, [[0, 1, 2], [1, 0, 2, 3], [0, 1, 2], [0, 1]], seed=0)


def test_dependence_on_the_order_within_layers_is_noticed():
    network = vsml.Network(shared_layer(broken.PositionWeighted))
    with pytest.raises(AssertionError):
        check_equivariance(network, [[1, 0, 2], [0, 1, 2, 3], [0, 1, 2], [0, 1]], seed=0)


def check_loop(kind: Callable[..., vsml.Network], order: vsml.Order, ticks: int = 6) -> None:
    """Many ticks within a step are as many single steps with the same messages."""
    layer = shared_layer()
    noise, messages = grid_noise(layer, 2, 3, 2), jax.device_get(received(layer, 2, 2, steps=2))
    _, together, sent = run_network(kind(layer, ticks=ticks, order=order), noise, messages)
    repeated = jax.tree.map(lambda x: np.repeat(x, ticks, axis=0), messages)
    _, singly, _ = run_network(vsml.Network(layer, order=order), noise, repeated)
    for step in range(2):
        last = at(singly, (step + 1) * ticks - 1)
        assert_trees_close(at(together, step), last)
        close(at(sent, step).forward, last.layers[-1].forward)
        close(at(sent, step).backward, last.layers[0].backward)


@pytest.mark.parametrize("order", ORDERS)
def test_many_ticks_are_single_ticks(order):
    check_loop(vsml.Network, order)


def test_a_loop_that_loses_a_tick_is_noticed():
    with pytest.raises(AssertionError):
        check_loop(broken.ShortLoop, "simultaneous")


def check_held(kind: Callable[..., vsml.Network]) -> None:
    """Without refreshing, a network of one layer is that layer with as many ticks."""
    layer = shared_layer()
    noise, messages = grid_noise(layer, 3, 2), received(layer, 3, 2)
    _, states, sent = run_network(kind(layer, ticks=3, refresh=False), noise, messages)
    _, alone, alone_sent = run_layer(layer, noise[0], messages, ticks=3)
    assert_trees_close(states.layers[0], alone)
    assert_trees_close(sent, alone_sent)


def test_held_messages_are_those_of_a_layer():
    check_held(vsml.Network)


def test_held_messages_that_are_renewed_are_noticed():
    with pytest.raises(AssertionError):
        check_held(broken.AlwaysRefreshed)


def check_stored_once(network: vsml.Network, layer: vsml.Layer) -> None:
    assert parameter_count(network) == parameter_count(layer)


def check_tied(network: vsml.Network) -> None:
    """Whatever happens to the parameters, all depths have the same."""
    perturbed = randomise(network, seed=5)
    layer = perturbed.layers[0]
    noise, messages = grid_noise(layer, *SIZES), received(layer, SIZES[0], SIZES[-1])
    _, states, _ = run_network(perturbed, noise, messages)
    _, expected, _ = run_network(vsml.Network((layer,) * 3), noise, messages)
    assert_trees_close(states, expected)


def test_a_shared_layer_is_one_set_of_parameters():
    layer = shared_layer()
    check_stored_once(vsml.Network(layer, depth=3), layer)
    check_tied(vsml.Network(layer, depth=3))


def test_layers_that_are_not_tied_are_noticed():
    layer = shared_layer()
    with pytest.raises(AssertionError):
        check_stored_once(vsml.Network((layer,) * 3), layer)
    with pytest.raises(AssertionError):
        check_tied(vsml.Network((layer,) * 3))


def test_distinct_layers_keep_their_own_parameters():
    layers = distinct_layers()
    assert parameter_count(vsml.Network(layers)) == sum(map(parameter_count, layers))


def test_the_depth_of_a_shared_layer_comes_from_the_sizes():
    network = vsml.Network(shared_layer())
    for sizes in ((2, 3), (2, 3, 4), (2, 1, 1, 1, 3)):
        state = jax.eval_shape(lambda sizes=sizes: network.init(sizes, key=jr.key(0)))
        grids = [layer.cells.c.shape for layer in state.layers]
        assert grids == [(a, b, 3) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]


def test_masks_belong_to_the_ends_of_the_network():
    network = vsml.Network(shared_layer())
    ends = {"input_mask": jnp.asarray([True, False]), "output_mask": jnp.asarray([False, True])}
    noise = grid_noise(network.layers[0], 2, 3, 3, 2)
    first, middle, last = run_network(
        network, noise, received(network.layers[0], 2, 2, steps=1), **ends
    )[0].layers
    np.testing.assert_array_equal(first.input_mask, ends["input_mask"])
    np.testing.assert_array_equal(last.output_mask, ends["output_mask"])
    between = (first.output_mask, middle.input_mask, middle.output_mask, last.input_mask)
    assert between == (None,) * 4


def test_layers_are_born_with_different_states():
    @quick_jit
    def birth(key):
        state = vsml.Network(shared_layer()).init((3, 3, 3), key=key)
        return [layer.cells.c for layer in state.layers]

    one, other = birth(jr.key(0))
    assert not np.any(np.asarray(one) == np.asarray(other))


# ------------------------------------------------------------------------- propagation of messages

DELAYS = {
    "simultaneous": ([1, 2, 3], [3, 2, 1]),
    "forward": ([1, 1, 1], [3, 2, 1]),
    "forward-backward": ([1, 1, 1], [1, 1, 1]),
}


def check_delays(order: vsml.Order, expected: tuple[list[int], list[int]]) -> None:
    """In which sweep news from either end first changes the cells of each of three layers."""
    layer = shared_layer()
    network = vsml.Network(layer, order=order)
    noise, messages = grid_noise(layer, *SIZES), received(layer, SIZES[0], SIZES[-1], steps=4)
    _, states, _ = run_network(network, noise, messages)
    for way, sweeps in zip(("forward", "backward"), expected, strict=True):
        news = messages._replace(**{way: np.asarray(getattr(messages, way)) + 0.5})
        _, changed, _ = run_network(network, noise, news)
        first = []
        for before, after in zip(states.layers, changed.layers, strict=True):
            differs = np.asarray(before.cells.c != after.cells.c).any(axis=(1, 2, 3))
            first.append(1 + int(np.argmax(differs)) if differs.any() else None)
        assert first == sweeps, way


@pytest.mark.parametrize("order", ORDERS)
def test_messages_travel_as_the_order_says(order):
    check_delays(order, DELAYS[order])


@pytest.mark.parametrize(
    ("order", "other"), [("forward", "simultaneous"), ("forward-backward", "forward")]
)
def test_messages_that_travel_too_fast_are_noticed(order, other):
    with pytest.raises(AssertionError):
        check_delays(order, DELAYS[other])


# ------------------------------------------------------------------------------ transformations


def check_lives_are_separate(layer: vsml.Layer) -> None:
    network = vsml.Network(layer, ticks=2)
    lives = [grid_noise(layer, 2, 3, 2, seed=seed) for seed in range(3)]
    messages = received(layer, 2, 2, steps=2)
    stacked = jax.tree.map(lambda *x: np.stack(x), *lives)
    together = quick_jit(
        jax.vmap(lambda noise: life_of_network(network, noise, messages), axis_name="lives")
    )(stacked)
    for k, noise in enumerate(lives):
        assert_trees_close(at(together, k), run_network(network, noise, messages))


def test_lives_side_by_side_are_lives_one_by_one():
    check_lives_are_separate(shared_layer())


def test_lives_that_hear_each_other_are_noticed():
    with pytest.raises(AssertionError):
        check_lives_are_separate(shared_layer(broken.LifeMixer))


def test_gradients_pass_through_the_loop_of_ticks():
    layer = shared_layer()
    noise, messages = grid_noise(layer, 2, 3, 2), received(layer, 2, 2, steps=1)

    @quick_jit
    def slopes(layer):
        def total(layer):
            network = vsml.Network(layer, ticks=5)
            return life_of_network(network, noise, messages)[2].forward.sum()

        return jax.grad(total)(layer)

    for slope in jax.tree.leaves(slopes(layer)):
        assert np.all(np.isfinite(slope))
        assert np.any(np.asarray(slope) != 0.0)


# ------------------------------------------------------------------------------------- errors


def bad_networks() -> dict:
    plain = without_type_checks()

    def layer(*sizes, **options):
        return make(plain.Layer, *sizes, **options)

    one = layer(3, 2, 2)
    return {
        "at least one layer, got none": lambda: plain.Network(()),
        "`depth` is 3 but 2 layers were given": lambda: plain.Network((one, one), 3),
        "`depth` must be at least 1, got 0": lambda: plain.Network(one, 0),
        "`ticks` must be at least 1, got 0": lambda: plain.Network(one, ticks=0),
        "`order` must be one of simultaneous, forward, forward-backward; got 'back'": (
            lambda: plain.Network(one, order="back")
        ),
        "Between layers 1 and 2, forward messages are sent with size 5 and received with size 2": (
            lambda: plain.Network((layer(3, 5, 2), one))
        ),
        "Between layers 2 and 3, backward messages are sent with size 4 and received with size 2": (
            lambda: plain.Network((one, one, layer(3, 2, 4)))
        ),
        "Layers 1 and 2 have context sizes 0 and 1": (
            lambda: plain.Network((one, layer(3, 2, 2, 1)))
        ),
        "Between layers 1 and 2, forward messages are sent with size 2 and received with size 1": (
            lambda: plain.Network(layer(3, 2, 2, forward_input_size=1), 2)
        ),
        "needs 4 sizes .*got 3": lambda: plain.Network(one, 3).init((2, 2, 2), key=jr.key(0)),
        "needs 3 sizes .*got 2": lambda: plain.Network((one, one)).init((2, 2), key=jr.key(0)),
        "needs at least two sizes .*got 1": lambda: plain.Network(one).init((2,), key=jr.key(0)),
        "Every one of `sizes` must be at least 1, got": (
            lambda: plain.Network(one).init((2, 0, 2), key=jr.key(0))
        ),
        "`forward` must have shape": lambda: call_with_wrong_forward(plain, one),
    }


def call_with_wrong_forward(plain, layer) -> None:
    network = plain.Network(layer)
    state = network.init_from(grid_noise(layer, 2, 3, 2))
    network(state, jnp.asarray(np.zeros((3, 2)), float), jnp.asarray(np.zeros((2, 2)), float))


@pytest.mark.parametrize("message", bad_networks())
def test_what_does_not_fit_is_refused_in_plain_words(message):
    with pytest.raises(ValueError, match=message):
        bad_networks()[message]()


def test_a_shared_layer_that_does_not_fit_itself_is_refused_where_its_depth_is_known():
    network = vsml.Network(make(vsml.Layer, 3, 2, 2, forward_input_size=1))
    network.init_from(grid_noise(network.layers[0], 2, 2))  # alone it is welcome
    with pytest.raises(ValueError, match="Between layers 1 and 2, forward messages"):
        network.init_from(grid_noise(network.layers[0], 2, 2, 2))
