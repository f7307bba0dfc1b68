from collections.abc import Callable

import broken
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import reference
from helpers import (
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
    run_network,
    without_type_checks,
)

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


# ----------------------------------------------------------------------------------- parameters

SIZES = (3, 4, 3, 2)


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


# ----------------------------------------------------------------------------------- gradients


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
