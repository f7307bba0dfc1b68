import itertools
from typing import Any

import broken
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import reference
from helpers import (
    assert_states_close,
    at,
    close,
    grid_noise,
    life_of_layer,
    make,
    name,
    normal,
    pairwise,
    parameter_count,
    quick_jit,
    received,
    reference_state,
    reference_weights,
    run_layer,
    without_type_checks,
)

import vsml

# ------------------------------------------------------------------ values, against the reference

OPTIONS = {
    "cell": ("lstm", "gru"),
    "reduction": ("sum", "mean", "scaled"),
    "message_bias": ("once", "each", "none"),
    "recurrent": (True, False),
    "sizes": ((3, 2), (0, 2), (3, 0)),
    "context_size": (0, 2),
    "masked": (False, True),
}
CASES = pairwise(
    **OPTIONS,
    received_sizes=((None, None), (1, 2), (2, 0)),
    ticks=(1, 2),
    dtype=("float32", "float64"),
)


def check_values(kind: type[vsml.Layer], case: dict, shape: tuple[int, int] = (3, 4)) -> None:
    """Three steps of a layer are what the reference computes."""
    case = {"received_sizes": (None, None), "ticks": 1, "dtype": "float64"} | case
    with jax.enable_x64(case["dtype"] == "float64"):
        layer = make(
            kind,
            3,
            *case["sizes"],
            case["context_size"],
            cell=case["cell"],
            forget_bias=0.8,
            input_bias=-0.6,
            reduction=case["reduction"],
            recurrent=case["recurrent"],
            message_bias=case["message_bias"],
            forward_input_size=case["received_sizes"][0],
            backward_input_size=case["received_sizes"][1],
        )
        masks = {}
        if case["masked"]:
            masks["input_mask"] = jnp.asarray(np.arange(shape[0]) != 1)
            masks["output_mask"] = jnp.asarray(np.arange(shape[1]) != 0)
        messages = received(layer, *shape)
        (noise,) = grid_noise(layer, *shape)
        birth, states, sent = run_layer(layer, noise, messages, **masks, ticks=case["ticks"])
        weights, oracle = reference_weights(layer), reference_state(birth)
        for step in range(3):
            now = [np.asarray(x, np.float64) for x in at(messages, step)]
            oracle = reference.layer(weights, oracle, *now, ticks=case["ticks"])
            assert_states_close([at(states, step)], [oracle])
            close(at(sent, step).forward, oracle.forward)
            close(at(sent, step).backward, oracle.backward)


@pytest.mark.parametrize("case", CASES, ids=name)
def test_layers_compute_what_the_equations_say(case):
    check_values(vsml.Layer, case)


ALL = [dict(zip(OPTIONS, values, strict=True)) for values in itertools.product(*OPTIONS.values())]


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL, ids=name)
def test_all_layers_compute_what_the_equations_say(case):
    check_values(vsml.Layer, case)


PLAIN = {
    "cell": "lstm",
    "reduction": "mean",
    "message_bias": "each",
    "recurrent": True,
    "sizes": (3, 2),
    "context_size": 2,
    "masked": True,
}


@pytest.mark.parametrize(
    "twin",
    [
        broken.Amnesiac,
        broken.ContextBlind,
        broken.MaskBlind,
        broken.MaskMiscounted,
        broken.NeighbourReader,
        broken.PositionWeighted,
        broken.TickRefresher,
    ],
)
def test_wrong_values_are_noticed(twin):
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_values(twin, PLAIN | {"ticks": 2})


@pytest.mark.parametrize("shape", [(1, 1), (6, 1), (1, 5)])
def test_one_layer_serves_any_sizes(shape):
    check_values(vsml.Layer, PLAIN | {"masked": False}, shape)


# ---------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("build", "options", "count"),
    [
        (vsml.Layer.official, {}, 2_384),
        (vsml.Layer, {"forward_input_size": 1, "backward_input_size": 1}, 2_576),
        (
            vsml.Layer,
            {"hidden_size": 64, "forward_input_size": 1, "backward_input_size": 1},
            22_544,
        ),
        (vsml.Layer, {}, 3_472),
        (vsml.Layer, {"hidden_size": 64}, 26_128),
    ],
)
def test_parameter_counts(build, options, count):
    context = {} if build == vsml.Layer.official else {"context_size": 1}
    layer = eqx.filter_eval_shape(lambda: build(**options, **context, key=jr.key(0)))
    assert parameter_count(layer) == count


def test_the_bias_of_messages_is_a_parameter_unless_there_is_none():
    counts = {
        bias: parameter_count(make(vsml.Layer, 4, 3, 2, message_bias=bias))
        for bias in ("once", "each", "none")
    }
    assert counts["once"] == counts["each"] == counts["none"] + 3 + 2


def test_initial_parameters():
    layer = quick_jit(lambda key: vsml.Layer(12, 30, 20, 5, key=key))(jr.key(3))
    for affine in (layer.projection, layer.forward_head, layer.backward_head):
        np.testing.assert_array_equal(affine.bias, np.zeros_like(affine.bias))
    inputs = 30 + 20 + 20 + 30 + 5
    weights = {
        "projection": (layer.projection.weight, inputs + 12),
        "own": (layer.cell.recurrent, inputs + 12),
        "forward head": (layer.forward_head.weight, 12),
        "backward head": (layer.backward_head.weight, 12),
    }
    for what, (weight, fan_in) in weights.items():
        scaled = np.asarray(weight) * np.sqrt(fan_in)
        assert np.abs(scaled).max() <= 2.0 + 1e-6, what
        np.testing.assert_allclose(np.var(scaled), 0.7737, rtol=0.2, err_msg=what)
    assert layer.projection.weight.shape == (inputs, 48)
    first = {what: np.asarray(weight)[0, 0] for what, (weight, _) in weights.items()}
    assert len(set(first.values())) == 4, "the parts are drawn from one key"


# ------------------------------------------------------------------------------ states at birth


@quick_jit
def memory_at_birth(layer, inputs, outputs, key):
    state = layer.init(inputs, outputs, key=key)
    return state.cells, state.forward, state.backward


def memory(recipe: object, inputs: int = 25, outputs: int = 40, **options: Any) -> np.ndarray:
    """The memory `[A B N]` of new LSTM cells; their hidden state and messages must be zero."""
    layer = make(vsml.Layer, 8, 3, 2, initial_state=recipe, **options)
    cells, forward, backward = memory_at_birth(layer, inputs, outputs, jr.key(5))
    assert cells.c.shape == cells.h.shape == (inputs, outputs, 8)
    assert (forward.shape, backward.shape) == ((outputs, 3), (inputs, 2))
    for silent in (cells.h, forward, backward):
        assert not np.any(silent)
    return np.asarray(cells.c)


def check_independent(values: np.ndarray) -> None:
    """No two neighbours of the grid, and no two units of a cell, are correlated."""
    values = values.astype(np.float64)
    for axis in range(3):
        one = np.moveaxis(values, axis, 0)[:-1].ravel()
        other = np.moveaxis(values, axis, 0)[1:].ravel()
        assert abs(np.corrcoef(one, other)[0, 1]) < 5.0 / np.sqrt(one.size)
    assert len(np.unique(values)) > 0.99 * values.size


def check_official(values: np.ndarray, inputs: int) -> None:
    """Half of the units cut normal with standard deviation `1 / sqrt(inputs)`, half zero."""
    units = values.shape[-1]
    random, silent = values[..., : units // 2], values[..., units // 2 :]
    assert not np.any(silent)
    scaled = random * np.sqrt(inputs)
    assert 1.95 < np.abs(scaled).max() <= 2.0 + 1e-5
    np.testing.assert_allclose(np.mean(scaled), 0.0, atol=0.05)
    np.testing.assert_allclose(np.var(scaled), 0.7737, rtol=0.05)
    # Half of a standard normal number between -2 and 2 lies within 0.639 of zero.
    np.testing.assert_allclose(np.mean(np.abs(scaled) < 0.6390), 0.5, atol=0.03)
    check_independent(random)


def test_normal_states():
    values = memory("normal", state_scale=0.3)
    np.testing.assert_allclose(np.mean(values), 0.0, atol=0.015)
    np.testing.assert_allclose(np.std(values), 0.3, rtol=0.04)
    np.testing.assert_allclose(np.mean(np.abs(values) < 0.6745 * 0.3), 0.5, atol=0.03)
    check_independent(values)


def test_official_states():
    check_official(memory("official"), inputs=25)


def test_zero_states():
    assert not np.any(memory("zeros"))


def test_states_by_a_recipe_of_the_user():
    noise = {}

    def recipe(z, inputs):
        noise["shape"] = z.shape
        return jnp.exp(z) + inputs

    values = memory(recipe)
    assert noise["shape"] == (25, 40, 8)
    assert np.all(values > 25.0)
    np.testing.assert_allclose(np.median(values), 26.0, rtol=0.01)
    check_independent(values)


def test_wrong_states_are_noticed():
    (noise,) = grid_noise(make(vsml.Layer, 8), 25, 40)
    check_independent(np.asarray(noise))
    with pytest.raises(AssertionError):
        check_independent(np.asarray(broken.one_row(noise, jnp.asarray(25.0))))
    with pytest.raises(AssertionError, match="1.95"):
        check_official(np.asarray(broken.uncut(noise, jnp.asarray(25.0))), inputs=25)
    with pytest.raises(AssertionError):
        check_official(memory("official"), inputs=20)


def test_recipes_count_only_inputs_that_exist():
    def recipe(z, inputs):
        return z * 0.0 + inputs

    layer = make(vsml.Layer, 3, 1, 1, cell="gru", initial_state=recipe)
    (noise,) = grid_noise(layer, 5, 2)
    mask = jnp.array([True, False, True, True, False])
    np.testing.assert_array_equal(
        layer.init_from(noise, input_mask=mask).cells, np.full((5, 2, 3), 3)
    )
    np.testing.assert_array_equal(layer.init_from(noise).cells, np.full((5, 2, 3), 5))


def test_different_keys_give_different_states():
    layer = make(vsml.Layer, 8, 3, 2)
    one = memory_at_birth(layer, 25, 40, jr.key(0))[0].c
    other = memory_at_birth(layer, 25, 40, jr.key(1))[0].c
    assert not np.any(np.asarray(one) == np.asarray(other))


# ----------------------------------------------------------------------------------- gradients


def check_gradients(kind: type[vsml.Layer]) -> None:
    """The slope along one direction of parameter space is that of the reference."""
    with jax.enable_x64(True):
        layer, direction = make(kind, 3, 2, 2, 1), make(kind, 3, 2, 2, 1, seed=1)
        (noise,) = grid_noise(layer, 3, 2)
        messages = received(layer, 3, 2)

        @quick_jit
        def slopes(layer):
            def total(layer):
                birth, _, sent = life_of_layer(layer, noise, messages)
                return (sent.forward**2).sum() + (sent.backward**2).sum(), birth

            return jax.grad(total, has_aux=True)(layer)

        gradient, birth = slopes(layer)

        def along(step: float) -> float:
            moved = jax.tree.map(
                lambda x, d: jnp.asarray(np.asarray(x) + step * np.asarray(d)), layer, direction
            )
            state, total = reference_state(birth), 0.0
            for k in range(3):
                now = [np.asarray(x) for x in at(messages, k)]
                state = reference.layer(reference_weights(moved), state, *now, ticks=1)
                total += float((state.forward**2).sum() + (state.backward**2).sum())
            return total

        parts = jax.tree.map(lambda g, d: np.vdot(g, d), gradient, direction)
        expected = reference.directional_derivative(along)
        np.testing.assert_allclose(sum(jax.tree.leaves(parts)), expected, rtol=1e-6)


def test_gradients_are_those_of_the_equations():
    check_gradients(vsml.Layer)


def test_gradients_that_are_cut_are_noticed():
    with pytest.raises(AssertionError):
        check_gradients(broken.Detached)


# --------------------------------------------------------------------------- cells of the user


class Recorder(vsml.AbstractCell):
    """A raw cell: keeps its inputs and sends the first of them, more or less often."""

    hidden_size: int = eqx.field(static=True, default=7)
    drive_size: int | None = eqx.field(static=True, default=None)
    content_size: int | None = eqx.field(static=True, default=None)
    ahead: int = eqx.field(static=True, default=1)
    back: int = eqx.field(static=True, default=2)

    def init(self, values):
        return jnp.zeros_like(values)

    def __call__(self, state, drive):
        first = drive[:1]
        return drive, jnp.repeat(first, self.ahead), jnp.repeat(first, self.back)


def test_a_raw_cell_receives_its_inputs_in_the_order_of_the_protocol():
    layer = make(vsml.Layer, 1, 1, 2, 1, cell=Recorder(hidden_size=7))
    assert parameter_count(layer) == 0
    (noise,) = grid_noise(layer, 3, 2)
    messages = received(layer, 3, 2, steps=2)
    _, states, sent = run_layer(layer, noise, messages)
    forward, backward, context = at(messages, 1)
    before = at(sent, 0)
    for a in range(3):
        for b in range(2):
            expected = np.concatenate(
                [forward[a], before.backward[a], backward[b], before.forward[b], context]
            )
            np.testing.assert_array_equal(states.cells[1, a, b], expected)
    # Sent: each input once to every output, and to itself from every output.
    close(at(sent, 1).forward, np.full((2, 1), forward[:, 0].sum()))
    close(at(sent, 1).backward, 2.0 * forward[:, :1] * np.ones((1, 2)))


def test_a_cell_may_want_a_projection_and_no_heads():
    layer = make(
        vsml.Layer,
        forward_size=1,
        backward_size=1,
        cell=Recorder(hidden_size=5, drive_size=5, back=1),
        recurrent=False,
    )
    assert layer.forward_head is None and layer.backward_head is None
    (noise,) = grid_noise(layer, 3, 2)
    messages = received(layer, 3, 2, steps=1)
    _, states, sent = run_layer(layer, noise, messages)
    x = np.stack(
        [np.concatenate([messages.forward[0, 2], messages.backward[0, 1]])], dtype=np.float32
    )
    expected = x @ np.asarray(layer.projection.weight) + np.asarray(layer.projection.bias)
    close(states.cells[0, 2, 1], expected[0])
    close(sent.forward[0, :, 0], np.asarray(states.cells)[0, :, :, 0].sum(axis=0))


@pytest.mark.parametrize(("ahead", "back", "emitted"), [(3, 2, 3), (1, 4, 4)])
def test_a_cell_that_sends_messages_of_the_wrong_size_is_refused(ahead, back, emitted):
    cell = Recorder(hidden_size=6, ahead=ahead, back=back)
    layer = make(vsml.Layer, forward_size=1, backward_size=2, cell=cell)
    (noise,) = grid_noise(layer, 3, 2)
    with pytest.raises(ValueError, match=f"Recorder emits messages of size {emitted}.*made for"):
        run_layer(layer, noise, received(layer, 3, 2))


# ------------------------------------------------------------------------------- types, errors


@pytest.mark.parametrize(
    ("dtype", "initial_state"), [("float16", "normal"), ("bfloat16", "official")]
)
def test_states_and_messages_have_the_type_of_the_parameters(dtype, initial_state):
    layer = make(vsml.Layer, 3, 2, 2, 1, reduction="mean", initial_state=initial_state)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.dtype(dtype)), layer)

    def run(layer, key, mask):
        assert layer.dtype == jnp.dtype(dtype)
        state = layer.init(3, 2, input_mask=mask, key=key)
        messages = [jnp.zeros(shape, layer.dtype) for shape in ((3, 2), (2, 2), (1,))]
        return state.cells, layer(state, *messages)[1]

    with jax.enable_x64(True):
        out = jax.eval_shape(run, shapes, jr.key(0), jax.ShapeDtypeStruct((3,), bool))
    assert {x.dtype for x in jax.tree.leaves(out)} == {jnp.dtype(dtype)}


BAD_LAYERS = [
    ({"forward_size": -1}, "`forward_size` must be at least 0, got -1"),
    ({"backward_size": -2}, "`backward_size` must be at least 0, got -2"),
    ({"context_size": -1}, "`context_size` must be at least 0, got -1"),
    ({"forward_input_size": -3}, "`forward_input_size` must be at least 0, got -3"),
    ({"backward_input_size": -1}, "`backward_input_size` must be at least 0, got -1"),
    ({"hidden_size": 0}, "`hidden_size` must be at least 1, got 0"),
    ({"cell": "rnn"}, "`cell` must be one of lstm, gru; got 'rnn'"),
    ({"reduction": "max"}, "`reduction` must be one of sum, mean, scaled; got 'max'"),
    ({"message_bias": "twice"}, "`message_bias` must be one of once, each, none; got 'twice'"),
    ({"initial_state": "ones"}, "`initial_state` must be one of .*zeros or a function.*'ones'"),
]


@pytest.mark.parametrize(("options", "message"), BAD_LAYERS, ids=lambda x: str(x)[:40])
def test_bad_options_are_refused_in_plain_words(options, message):
    with pytest.raises(ValueError, match=message):
        without_type_checks().Layer(**options, key=jr.key(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forward": (4, 2)}, r"`forward` must have shape \(3, 2\).*got \(4, 2\)"),
        ({"forward": (3, 1)}, r"`forward` must have shape \(3, 2\).*got \(3, 1\)"),
        ({"backward": (3, 3)}, r"`backward` must have shape \(2, 3\).*got \(3, 3\)"),
        ({"context": (2,)}, r"`context` must have shape \(1,\).*got \(2,\)"),
        ({"context": None}, r"`context` must have shape \(1,\).*got \(0,\)"),
        ({"ticks": 0}, "`ticks` must be at least 1, got 0"),
    ],
    ids=str,
)
def test_arguments_that_do_not_fit_are_refused_in_plain_words(change, message):
    layer = make(without_type_checks().Layer, 4, 2, 3, 1)
    (noise,) = grid_noise(layer, 3, 2)
    arguments = {"forward": (3, 2), "backward": (2, 3), "context": (1,)} | change
    ticks = arguments.pop("ticks", 1)
    arrays = {
        k: None if s is None else jnp.asarray(np.zeros(s), float) for k, s in arguments.items()
    }
    with pytest.raises(ValueError, match=message):
        layer(layer.init_from(noise), **arrays, ticks=ticks)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 2), "`inputs` must be at least 1, got 0"),
        ((3, -1), "`outputs` must be at least 1, got -1"),
    ],
)
def test_layers_without_cells_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        make(vsml.Layer, 4).init(*sizes, key=jr.key(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": (3, 2, 5)}, r"`noise` must have shape \(3, 2, 4\).*got \(3, 2, 5\)"),
        ({"input_mask": (1,)}, r"`input_mask` must have shape \(3,\).*got \(1,\)"),
        ({"output_mask": (3,)}, r"`output_mask` must have shape \(2,\).*got \(3,\)"),
    ],
    ids=str,
)
def test_noise_and_masks_that_do_not_fit_are_refused_in_plain_words(change, message):
    layer = make(without_type_checks().Layer, 4)
    shapes = {"noise": (3, 2, 4), "input_mask": (3,), "output_mask": (2,)} | change
    noise = normal(np.random.default_rng(0), *shapes.pop("noise"))
    masks = {k: jnp.asarray(np.ones(shape, bool)) for k, shape in shapes.items()}
    with pytest.raises(ValueError, match=message):
        layer.init_from(noise, **masks)
