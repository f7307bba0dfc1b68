"""`Layer.official` is the dense layer of the code of VSML, transcribed in `reference`."""

import broken
import equinox as eqx
import numpy as np
import pytest
import reference
from helpers import grid_noise, make, parameter_count, received, run_layer

import vsml

STEPS, INPUTS, OUTPUTS = 20, 4, 3


def check_official(layer, *, ticks: int = 2) -> None:
    (noise,) = grid_noise(layer, INPUTS, OUTPUTS)
    messages = received(layer, INPUTS, OUTPUTS, steps=STEPS)
    birth, states, sent = run_layer(layer, noise, messages, ticks=ticks)
    memory = np.asarray(birth.cells.c, np.float64)
    assert not np.any(birth.cells.h)
    assert not np.any(memory[..., 8:]) and np.all(np.abs(memory[..., :8]) <= 2 / np.sqrt(INPUTS))
    forward, backward, end = reference.official_code(
        np.concatenate([layer.projection.weight, layer.cell.recurrent]).astype(np.float64),
        np.asarray(layer.projection.bias, np.float64),
        (np.asarray(layer.forward_head.weight), np.asarray(layer.forward_head.bias)),
        (np.asarray(layer.backward_head.weight), np.asarray(layer.backward_head.bias)),
        memory,
        np.asarray(messages.forward, np.float64),
        np.asarray(messages.backward, np.float64),
    )
    assert np.abs(forward).max() > 0.1 and np.abs(end - memory).max() > 0.1
    np.testing.assert_allclose(sent.forward, forward, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(sent.backward, backward, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(states.cells.c[-1], end, rtol=1e-5, atol=1e-5)


def test_the_official_layer_over_twenty_steps():
    layer = make(vsml.Layer.official)
    assert parameter_count(layer) == 2_384
    check_official(layer)


OFFICIAL = {
    "forget_bias": 5.0,
    "input_bias": -5.0,
    "reduction": "mean",
    "recurrent": False,
    "message_bias": "each",
    "initial_state": "official",
}


def test_what_the_official_options_are():
    check_official(make(vsml.Layer, **OFFICIAL))


@pytest.mark.parametrize(
    "change",
    [
        {"forget_bias": 0.0},
        {"input_bias": 0.0},
        {"reduction": "sum"},
        {"initial_state": "normal"},
    ],
    ids=str,
)
def test_other_options_are_noticed(change):
    layer = make(vsml.Layer, **OFFICIAL | change)
    with pytest.raises(AssertionError):
        check_official(layer)


def test_a_single_tick_is_noticed():
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_official(make(vsml.Layer.official), ticks=1)


def test_exchanged_gates_are_noticed():
    cell = make(broken.SwappedGates, 16, forget_bias=5.0, input_bias=-5.0)
    twin = eqx.tree_at(lambda layer: layer.cell, make(vsml.Layer.official), cell)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_official(twin)
