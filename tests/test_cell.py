import broken
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import reference
from helpers import close, make, normal, parameter_count

import vsml


@eqx.filter_jit
def tick(cell, state, drive):
    return cell(state, drive)


def check_lstm(kind: type[vsml.LSTMCell]) -> None:
    cell = make(kind, 5, forget_bias=0.7, input_bias=-0.4)
    rng = np.random.default_rng(0)
    h, c, drive = normal(rng, 5), normal(rng, 5), normal(rng, 20)
    state, ahead, back = tick(cell, vsml.LSTMState(h=h, c=c), drive)
    gates = np.asarray(drive, np.float64) + np.asarray(h) @ np.asarray(cell.recurrent, np.float64)
    expected_h, expected_c = reference.lstm(np.asarray(c), gates, 0.7, -0.4)
    close(state.c, expected_c)
    for sent in (state.h, ahead, back):
        close(sent, expected_h)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_lstm_ticks_by_its_equations(dtype):
    with jax.enable_x64(dtype == "float64"):
        check_lstm(vsml.LSTMCell)


def test_exchanged_gate_biases_are_noticed():
    with pytest.raises(AssertionError):
        check_lstm(broken.SwappedGates)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gru_ticks_by_its_equations(dtype):
    with jax.enable_x64(dtype == "float64"):
        cell = make(vsml.GRUCell, 4, update_bias=0.6)
        rng = np.random.default_rng(0)
        h, drive = normal(rng, 4), normal(rng, 12)
        state, ahead, back = tick(cell, h, drive)
        own = np.asarray(cell.recurrent, np.float64)
        (expected,) = reference.gru(np.asarray(h), np.asarray(drive), own, 0.6)
        for sent in (state, ahead, back):
            close(sent, expected)


def test_the_official_gate_biases_keep_the_memory():
    cell = make(vsml.LSTMCell, 3, forget_bias=5.0, input_bias=-5.0)
    zeros, memory = jnp.zeros(3), jnp.array([1.0, -2.0, 0.5])
    state, _, _ = tick(cell, vsml.LSTMState(h=zeros, c=memory), jnp.zeros(12))
    close(state.c, np.asarray(memory) / (1.0 + np.exp(-5.0)))
    full_write = jnp.asarray(np.repeat([0.0, 100.0, 0.0, 0.0], 3), dtype=float)  # tanh(g) = 1
    state, _, _ = tick(cell, vsml.LSTMState(h=zeros, c=zeros), full_write)
    close(state.c, np.full(3, 1.0 / (1.0 + np.exp(5.0))))


def test_states_at_birth():
    values = jnp.array([1.0, -2.0, 3.0])
    state = make(vsml.LSTMCell, 3).init(values)
    np.testing.assert_array_equal(state.h, np.zeros(3))
    np.testing.assert_array_equal(state.c, values)
    np.testing.assert_array_equal(make(vsml.GRUCell, 3).init(values), values)
    assert vsml.BackpropCell(0.1).init(jnp.array([7.0])) == 7.0


def test_what_the_cells_declare():
    lstm, gru = make(vsml.LSTMCell, 6), make(vsml.GRUCell, 6)
    assert (lstm.hidden_size, lstm.drive_size, lstm.content_size) == (6, 24, 6)
    assert (gru.hidden_size, gru.drive_size, gru.content_size) == (6, 18, 6)
    assert parameter_count(lstm) == 6 * 24
    assert parameter_count(gru) == 6 * 18
    backprop = vsml.BackpropCell(0.1)
    assert (backprop.hidden_size, backprop.drive_size, backprop.content_size) == (1, None, None)
    assert parameter_count(backprop) == 1


@pytest.mark.parametrize(
    ("kind", "fan_in", "scale"), [(vsml.LSTMCell, None, 8.0), (vsml.GRUCell, 50, 50.0)]
)
def test_initial_weights_are_cut_normal_numbers_scaled_by_the_fan_in(kind, fan_in, scale):
    @jax.jit
    def draws(key):
        return jax.vmap(lambda k: kind(8, fan_in=fan_in, key=k).recurrent)(jr.split(key, 40))

    scaled = np.asarray(draws(jr.key(0))).ravel() * np.sqrt(scale)
    assert 1.95 < np.abs(scaled).max() <= 2.0 + 1e-6
    # The variance of a standard normal number between -2 and 2 is 0.7737.
    assert abs(np.mean(scaled)) < 0.04
    np.testing.assert_allclose(np.var(scaled), 0.7737, rtol=0.04)


def test_a_backprop_cell_ticks_by_equations_1_to_3():
    weight, ahead, back = tick(vsml.BackpropCell(0.5), jnp.asarray(2.0), jnp.array([3.0, -1.0]))
    assert ahead == 6.0
    assert back == -2.0
    assert weight == 2.0 + 0.5 * 3.0


def test_the_protocol_alone_is_no_cell():
    with pytest.raises(TypeError):
        vsml.AbstractCell()  # type: ignore[abstract]


@pytest.mark.parametrize("kind", [vsml.LSTMCell, vsml.GRUCell])
def test_all_parameters_inputs_and_states_of_a_cell_matter(kind):
    cell = make(kind, 3)
    state = cell.init(jnp.array([0.3, -0.2, 0.9]))
    drive = normal(np.random.default_rng(0), cell.drive_size)

    def two_ticks(inputs):
        cell, state, drive = inputs
        state, _, _ = cell(state, drive)
        _, ahead, _ = cell(state, drive)
        return jnp.sum(jnp.sin(ahead))

    for slope in jax.tree.leaves(jax.jit(jax.grad(two_ticks))((cell, state, drive))):
        assert np.all(np.isfinite(slope))
        assert np.all(np.asarray(slope) != 0.0)
