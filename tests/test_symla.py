"""SymLA: its parameters, options, birth and steps, and what it refuses."""

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest
from helpers import assert_trees_identical, make, parameter_count, quick_jit
from probes import live, script
from symla_cases import ARMS, OURS, PRESETS, SENSORS, SMALL, STEPS, learner_of, noise_for, shape_of

import rl

BUILD = {"ours": rl.SymLA, "paper": rl.SymLA.paper, "official": rl.SymLA.official}


# ---- parameters ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 2_576),
        ({"hidden_size": 64}, 22_544),
        ({"pad_messages": True}, 3_472),
        ({"hidden_size": 64, "pad_messages": True}, 26_128),
        ({"hidden_sizes": (5, 3)}, 3_472),  # one layer, shared by all depths
        ({"ended_flag": True}, 2_576 + 64),
    ],
    ids=str,
)
def test_parameter_counts(options, count):
    assert parameter_count(shape_of(**options)) == count


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_what_they_say(preset):
    learner = shape_of(BUILD[preset])
    fields = {f.name for f in dataclasses.fields(learner)} - {
        "network",
        "readout",
        "continuous_readout",
    }
    assert fields == set(OURS)
    assert {name: getattr(learner, name) for name in fields} == PRESETS[preset]
    assert shape_of(BUILD[preset], hidden_size=64).hidden_size == 64


def test_all_arrays_are_meta_variables():
    leaves = jax.tree.leaves(shape_of(**SMALL))
    assert len(leaves) == 7  # of the cell one; of its inputs and two messages, weight and bias
    assert {x.dtype for x in leaves} == {jnp.dtype("float32")}


def test_a_kernel_computes_the_same():
    spaces = rl.Spaces(2, 3, action_mask=jnp.asarray([True, False, True]))
    timestep = rl.TimeStep.first(jnp.asarray([0.3, -0.4]))
    found = []
    for kernel in ("plain", "pallas", "interpret"):
        learner = rl.SymLA(4, 3, 2, kernel=kernel, key=jax.random.key(0))
        state = learner.init(spaces, key=jax.random.key(1))
        found.append(jax.tree.leaves(eqx.filter_jit(learner.advance)(state, timestep)))
    for other in found[1:]:
        for x, y in zip(found[0], other, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


# ---- birth ----------------------------------------------------------------------------------


@quick_jit
def born(learner, spaces, key):
    """What is drawn at birth, made of it or of the key."""
    noise = learner.draw(spaces, key=key)
    return noise, learner.init_from(spaces, noise), learner.init(spaces, key=key)


SENSING = SMALL | {"projection_size": 50, "hidden_sizes": (30,), "normalise": "running"}


@pytest.fixture(scope="module")
def births():
    """Two births of a learner with everything random, and one with a third of its sensors."""
    learner = make(rl.SymLA, **SENSING)
    all_of_them = jnp.ones(300, bool)
    third = jnp.asarray(np.arange(300) % 3 == 0)
    return [
        born(learner, rl.Spaces(300, 2, observation_mask=mask), jr.key(seed))
        for mask, seed in ((all_of_them, 1), (all_of_them, 2), (third, 3))
    ]


def test_birth_is_made_of_its_noise(births):
    for noise, made, drawn in births:
        assert_trees_identical(made, drawn)
        assert [z.shape for z in noise.cells] == [(50, 30, 4), (30, 2, 4)]
        numbers = np.concatenate([np.ravel(z) for z in (*noise.cells, noise.projection)])
        assert len(np.unique(numbers)) > 0.99 * numbers.size
        assert abs(numbers.mean()) < 5 / np.sqrt(numbers.size)
        np.testing.assert_allclose(numbers.std(), 1.0, rtol=5 / np.sqrt(2 * numbers.size))
    one, other = (np.ravel(births[i][0].cells[0]) for i in range(2))
    assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(one.size)


def test_nothing_but_cells_and_projection_is_there_at_birth(births):
    _, state, _ = births[0]
    for layer in state.network.layers:
        for silent in (layer.cells.h, layer.forward, layer.backward):
            assert not np.any(silent)
    assert not np.any(state.mean)
    assert not np.any(state.spread)
    assert state.count == 0


def test_the_projection_is_glorot_normal(births):
    projections = [np.asarray(state.projection) for _, state, _ in births]
    exists = np.arange(300) % 3 == 0
    assert not np.any(projections[2][~exists])
    for projection, sensors in (
        (projections[0], 300),
        (projections[1], 300),
        (projections[2][exists], 100),
    ):
        assert projection.shape == (sensors, 50)
        deviation = np.sqrt(2 / (sensors + 50))
        numbers = np.ravel(projection) / deviation
        assert abs(numbers.mean()) < 5 / np.sqrt(numbers.size)
        np.testing.assert_allclose(numbers.std(), 1.0, rtol=5 / np.sqrt(2 * numbers.size))
        # A quarter of normal numbers is beyond 1.15 standard deviations.
        np.testing.assert_allclose(np.mean(np.abs(numbers) > 1.1503), 0.25, atol=0.03)
    assert not np.any(projections[0] == projections[1])


@pytest.mark.parametrize("shared", [False, True])
def test_the_projection_is_one_for_each_life_unless_shared(shared):
    learner = make(rl.SymLA, **SMALL, projection_size=3, projection_shared=shared)
    one, other = (born(learner, rl.Spaces(2, 2), jr.key(seed))[1] for seed in range(2))
    assert np.array_equal(one.projection, other.projection) is shared
    cells = [np.asarray(state.network.layers[0].cells.c) for state in (one, other)]
    assert not np.any(cells[0] == cells[1])


def test_a_recipe_of_the_user_is_used():
    def recipe(noise, inputs):
        return jnp.full_like(noise, 7.0) * inputs

    learner = shape_of(**SMALL, initial_state=recipe)
    noise = noise_for(learner, 3, 2)
    mask = jnp.asarray(np.array([True, True, False]))
    state = make(rl.SymLA, **SMALL, initial_state=recipe).init_from(
        rl.Spaces(3, 2, observation_mask=mask), noise
    )
    np.testing.assert_array_equal(state.network.layers[0].cells.c, 14.0)


def test_moments_and_projection_are_kept_only_if_needed():
    learner = shape_of(**SMALL)
    state = eqx.filter_eval_shape(learner.init, rl.Spaces(2, 2), key=jr.key(0))
    assert state.count is state.mean is state.spread is state.projection is None


# ---- a step ---------------------------------------------------------------------------------


def test_a_step_is_advance_and_a_choice(getkey):
    learner = make(rl.SymLA, **SMALL, ended_flag=True)
    spaces = rl.Spaces(2, 3)
    noise, key = noise_for(learner, 2, 3), getkey()

    @quick_jit
    def both(learner, noise, terminated, truncated):
        state = learner.init_from(spaces, noise)
        now = rl.TimeStep.first(jnp.asarray([0.3, -0.7]))
        now = eqx.tree_at(lambda t: (t.terminated, t.truncated), now, (terminated, truncated))
        gumbel = learner.readout.noise(3, jnp.dtype("float32"), key=key)
        state_after, logits = learner.advance(state, now)
        by_hand = state_after, jnp.argmax(logits + gumbel).astype(jnp.int32)
        return learner.step(state, now, key=key), learner.act(state, now, gumbel), by_hand, logits

    logits = {}
    for terminated, truncated in itertools.product([False, True], repeat=2):
        flags = jnp.asarray(terminated), jnp.asarray(truncated)
        step, act, by_hand, logits[terminated, truncated] = both(learner, noise, *flags)
        assert_trees_identical(step, by_hand)
        assert_trees_identical(act, by_hand)
        assert step[1].dtype == jnp.int32
    # With the flag, either end of an episode is told alike.
    assert np.abs(logits[False, False] - logits[True, False]).max() > 1e-3
    np.testing.assert_array_equal(logits[True, False], logits[False, True])
    np.testing.assert_array_equal(logits[True, False], logits[True, True])


def test_running_moments_are_those_of_the_life():
    learner = learner_of("sensing")
    happens = script(STEPS, SENSORS, ARMS, seed=4)
    scales = jnp.asarray([0.01, 1.0, 100.0])[None]
    observations = (happens.observations + 3.0) * scales
    happens = eqx.tree_at(lambda s: s.observations, happens, observations)
    noise = noise_for(learner, SENSORS, ARMS)
    _, (states, _, _) = live(learner, rl.Spaces(SENSORS, ARMS), noise, happens)
    for t in range(STEPS):
        past = np.asarray(observations[: t + 1], np.float64)
        assert states.count[t] == t + 1
        np.testing.assert_allclose(states.mean[t], past.mean(axis=0), rtol=1e-5)
        variance = np.asarray(states.spread[t]) / (t + 1)
        np.testing.assert_allclose(variance, past.var(axis=0), rtol=1e-4, atol=1e-9)


# ---- what cannot be ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_channel": 8}, "`output_channel` must be .* 0 to 7; got 8"),
        ({"output_channel": -1}, "`output_channel` must be .* 0 to 7; got -1"),
        ({"forward_size": 0}, "`output_channel` must be a channel of the forward message"),
        ({"normalise": "always"}, "`normalise` must be none or running; got 'always'"),
        ({"continuous": "beta"}, "`continuous` must be gaussian or deterministic; got 'beta'"),
        ({"projection_size": 0}, "`projection_size` must be at least 1, got 0"),
        ({"logit_scale": 0.0}, "`logit_scale` must be a number above 0, got 0.0"),
        ({"logit_scale": float("nan")}, "`logit_scale` must be a number above 0, got nan"),
        ({"soft_clip": 0.0}, "`soft_clip` must be a number above 0, or None .*got 0.0"),
        ({"soft_clip": float("inf")}, "`soft_clip` must be a number above 0, .*got inf"),
        ({"hidden_sizes": (3, 0)}, r"`hidden_sizes` must all be at least 1, got \(3, 0\)"),
        ({"backward_size": 0, "pad_messages": True}, "`backward_size` must be at least 1 with"),
        ({"backward_size": 0, "hidden_sizes": (2,)}, "`backward_size` must be at least 1 with"),
        ({"backward_size": -1}, "`backward_size` must be at least 0, got -1"),
        ({"hidden_size": 0}, "`hidden_size` must be at least 1, got 0"),
        ({"ticks": 0}, "`ticks` must be at least 1, got 0"),
        ({"reduction": "max"}, "`reduction` must be one of sum, mean, scaled; got 'max'"),
        ({"cell": "rnn"}, "`cell` must be one of lstm, gru; got 'rnn'"),
        ({"order": "backward"}, "`order` must be one of .*got 'backward'"),
        ({"kernel": "triton"}, "`kernel` must be one of plain, pallas, interpret; got 'triton'"),
        ({"kernel": "pallas", "hidden_sizes": (3,)}, "is for one layer .* got depth 2"),
        ({"initial_state": "ones"}, "`initial_state` must be one of .*'ones'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_plain_words(options, message, monkeypatch):
    # As users import it: nothing checks types before the library does itself.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        shape_of(**options)
