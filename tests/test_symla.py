"""SymLA against algorithm 1 in NumPy, its symmetries, its masks and its options."""

import dataclasses
import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest
import reference
import scipy.special
from helpers import (
    assert_states_close,
    assert_trees_close,
    assert_trees_identical,
    at,
    close,
    make,
    parameter_count,
    quick_jit,
    reference_weights,
)
from jaxtyping import Array
from probes import Script, life_by_hand, live, script

import rl

# What the docstrings promise, in full and by hand.
OURS = {
    "hidden_size": 16,
    "forward_size": 8,
    "backward_size": 8,
    "hidden_sizes": (),
    "ticks": 2,
    "refresh": True,
    "order": "simultaneous",
    "cell": "lstm",
    "forget_bias": 1.0,
    "input_bias": -1.0,
    "reduction": "mean",
    "recurrent": True,
    "message_bias": "once",
    "initial_state": "normal",
    "state_scale": 0.5,
    "pad_messages": False,
    "ended_flag": False,
    "output_channel": 0,
    "logit_scale": 5.0,
    "soft_clip": None,
    "normalise": "none",
    "projection_size": None,
    "projection_shared": False,
    "continuous": "gaussian",
    "kernel": "plain",
}
PAPER = OURS | {
    "forget_bias": 0.0,
    "input_bias": 0.0,
    "reduction": "sum",
    "message_bias": "each",
    "state_scale": 1.0,
    "logit_scale": 1.0,
}
OFFICIAL = OURS | {
    "refresh": False,
    "forget_bias": 5.0,
    "input_bias": -5.0,
    "message_bias": "each",
    "initial_state": "official",
    "pad_messages": True,
    "output_channel": 1,
    "logit_scale": 1.0,
    "soft_clip": 100.0,
}
PRESETS = {"ours": OURS, "paper": PAPER, "official": OFFICIAL}
# Every option has each of its values somewhere, in sizes that are all different.
SMALL = {"hidden_size": 4, "forward_size": 3, "backward_size": 2}
CASES = {name: options | SMALL for name, options in PRESETS.items()} | {
    "sensing": OURS
    | SMALL
    | {
        "normalise": "running",
        "projection_size": 2,
        "ticks": 1,
        "soft_clip": 1.5,
        "message_bias": "none",
        "input_bias": -5.0,
    },
    "gru": OURS
    | SMALL
    | {
        "cell": "gru",
        "reduction": "scaled",
        "initial_state": "zeros",
        "hidden_sizes": (5,),
        "order": "forward",
        "ended_flag": True,
        "ticks": 3,
    },
    "deep": OURS
    | SMALL
    | {
        "hidden_sizes": (2, 5),
        "order": "forward-backward",
        "recurrent": False,
        "refresh": False,
        "reduction": "sum",
        "message_bias": "each",
        "output_channel": 2,
        "state_scale": 1.0,
        "forget_bias": 0.0,
    },
    "no backward messages": OURS | SMALL | {"backward_size": 0, "logit_scale": 2.0},
}
BUILD = {"ours": rl.SymLA, "paper": rl.SymLA.paper, "official": rl.SymLA.official}
SENSORS, ARMS, STEPS = 3, 4, 5


def shape_of(build=rl.SymLA, /, **options):
    return eqx.filter_eval_shape(lambda: build(**options, key=jr.key(0)))


@functools.cache
def learner_of(case):
    return make(rl.SymLA, **CASES[case])


def noise_for(learner, sensors, actions, seed=0):
    """Noise of one birth, from NumPy."""
    rng = np.random.default_rng(seed)
    sizes = (learner.projection_size or sensors, *learner.hidden_sizes, actions)
    cells = tuple(
        jnp.asarray(rng.normal(size=(a, b, learner.hidden_size)), jnp.float32)
        for a, b in itertools.pairwise(sizes)
    )
    projection = None
    if learner.projection_size is not None:
        shape = (sensors, learner.projection_size)
        projection = jnp.asarray(rng.normal(size=shape), jnp.float32)
    return rl.SymLANoise(cells, projection)


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


# ---- algorithm 1 in NumPy -------------------------------------------------------------------


def oracle_recipe(options, noise, inputs):
    """The memory of cells at birth, from standard normal noise."""
    if options["initial_state"] == "zeros":
        return np.zeros_like(noise)
    if options["initial_state"] == "normal":
        return options["state_scale"] * noise
    low, high = scipy.special.ndtr([-2.0, 2.0])
    cut = scipy.special.ndtri(low + scipy.special.ndtr(noise) * (high - low))
    cut[..., noise.shape[-1] // 2 :] = 0.0
    return cut / np.sqrt(inputs)


def oracle(learner, options, noise, happens):
    """The memories, logits and actions of a scripted life, in float64 and from the equations.

    The parameters are the learner's, every option is what `options` say.
    """
    layer = learner.network.layers[0]
    weights = dataclasses.replace(
        reference_weights(layer),
        kind=options["cell"],
        **{
            name: options[name]
            for name in ("forget_bias", "input_bias", "reduction", "message_bias", "recurrent")
        },
    )
    noises = [np.asarray(z, np.float64) for z in noise.cells]
    sizes = [z.shape[0] for z in noises] + [noises[-1].shape[1]]
    states = []
    for k, z in enumerate(noises):
        memory = oracle_recipe(options, z.copy(), sizes[k])
        cell = {"lstm": lambda c: (np.zeros_like(c), c), "gru": lambda c: (c,)}[options["cell"]]
        states.append(
            reference.State(
                [[cell(c) for c in row] for row in memory],
                np.zeros((sizes[k + 1], options["forward_size"])),
                np.zeros((sizes[k], options["backward_size"])),
                np.ones(sizes[k], bool),
                np.ones(sizes[k + 1], bool),
            )
        )
    padded = options["pad_messages"] or options["hidden_sizes"]
    forward_size = options["forward_size"] if padded else 1
    backward_size = options["backward_size"] if padded else 1
    observations = np.asarray(happens.observations, np.float64)
    action, reward = None, 0.0
    memories, all_logits, actions = [], [], []
    for t, ended in enumerate(np.asarray(happens.ended)):
        forward, backward = np.zeros((sizes[0], forward_size)), np.zeros((sizes[-1], backward_size))
        sight = observations[t]
        if options["normalise"] == "running":
            past = observations[: t + 1]
            sight = (sight - past.mean(axis=0)) / np.sqrt(past.var(axis=0) + 0.01)
        if options["projection_size"] is not None:
            deviation = np.sqrt(2.0 / (len(sight) + options["projection_size"]))
            sight = sight @ (deviation * np.asarray(noise.projection, np.float64))
        forward[:, 0] = sight
        if action is not None:
            backward[action, 0] = 1.0
        context = np.array([reward, float(ended)] if options["ended_flag"] else [reward])
        states = reference.network(
            [weights] * len(states),
            states,
            forward,
            backward,
            context,
            ticks=options["ticks"],
            refresh=options["refresh"],
            order=options["order"],
            silent=[backward_size] * len(states),
        )
        logits = options["logit_scale"] * states[-1].forward[:, options["output_channel"]]
        if options["soft_clip"] is not None:
            logits = options["soft_clip"] * np.tanh(logits / options["soft_clip"])
        action = int(np.argmax(logits + np.asarray(happens.gumbel[t], np.float64)))
        reward = float(happens.rewards[t, action])
        memories.append(states)
        all_logits.append(logits)
        actions.append(action)
    return memories, np.array(all_logits), np.array(actions)


def assert_algorithm_1(learner, options, sensors=SENSORS, arms=ARMS):
    """A scripted life is that of the oracle."""
    noise, happens = noise_for(learner, sensors, arms), script(STEPS, sensors, arms, seed=1)
    _, (states, logits, actions) = live(learner, rl.Spaces(sensors, arms), noise, happens)
    memories, expected, chosen = oracle(learner, options, noise, happens)
    close(logits, expected)
    np.testing.assert_array_equal(actions, chosen)
    for t, oracle_states in enumerate(memories):
        assert_states_close(at(states.network.layers, t), oracle_states)


@pytest.mark.parametrize("case", CASES)
def test_lives_are_those_of_algorithm_1(case):
    assert_algorithm_1(learner_of(case), CASES[case])


# With another of these, the same parameters are another learner. The other options change the
# shapes of the parameters, or are needed by another option of their case.
FREE = (
    "ticks",
    "refresh",
    "order",
    "forget_bias",
    "input_bias",
    "reduction",
    "initial_state",
    "state_scale",
    "output_channel",
    "logit_scale",
    "soft_clip",
    "normalise",
)
REVERTED = [
    (case, option)
    for case, options in CASES.items()
    for option in FREE
    if options[option] != OURS[option]
    and (case, option) != ("official", "soft_clip")  # logits far below 100 do not show it
]


@pytest.mark.parametrize(("case", "option"), REVERTED, ids=str)
def test_every_option_matters_where_it_is_tested(case, option):
    """Had the library ignored the option, it would have been far from the oracle."""
    learner = learner_of(case)
    noise, happens = noise_for(learner, SENSORS, ARMS), script(STEPS, SENSORS, ARMS, seed=1)
    _, right, _ = oracle(learner, CASES[case], noise, happens)
    _, wrong, _ = oracle(learner, CASES[case] | {option: OURS[option]}, noise, happens)
    assert np.abs(right - wrong).max() > 1e-3


def test_every_option_is_tested():
    shapes = {"cell", "recurrent", "message_bias", "pad_messages", "ended_flag", "backward_size"}
    sizes = {"hidden_size", "forward_size", "hidden_sizes", "projection_size"}
    by_draw, by_kernel, elsewhere = {"projection_shared"}, {"kernel"}, {"continuous"}
    assert {option for _, option in REVERTED} == set(FREE)
    assert set(FREE) | shapes | sizes | by_draw | by_kernel | elsewhere == set(OURS)
    for option in shapes | sizes:
        assert len({options[option] for options in CASES.values()}) > 1 or option in SMALL


def test_one_set_of_parameters_fits_all_sizes():
    for sensors, arms in ((1, 2), (2, 11)):
        assert_algorithm_1(learner_of("ours"), CASES["ours"], sensors, arms)


FAULTS = (
    "none",
    "not told of its last action",
    "not told of rewards",
    "not told of the rewards that end episodes",
    "cells reset at the ends of episodes",
    "first step like the others",
    "sensors weighted by position",
    "logits weighted by position",
    "existing sensors only, no mask",
    "existing actions only, no mask",
)


class Faulty(rl.SymLA):
    """A twin of SymLA with one fault. Which one is an array: one program for all."""

    fault: Array

    def __init__(self, **options):
        super().__init__(**options)
        self.fault = jnp.asarray(0, jnp.int32)

    def has(self, fault):
        return self.fault == FAULTS.index(fault)

    def init_from(self, spaces, noise):
        masks = spaces.observation_mask, spaces.action_mask
        faults = FAULTS[-2:]
        observation_mask, action_mask = (
            None if mask is None else mask | self.has(fault)
            for mask, fault in zip(masks, faults, strict=True)
        )
        sizes = spaces.observation_size, spaces.num_actions
        return super().init_from(rl.Spaces(*sizes, observation_mask, action_mask), noise)

    def advance(self, state, timestep):
        deaf = self.has("not told of rewards") | (
            self.has("not told of the rewards that end episodes") & timestep.ended
        )
        first = self.has("first step like the others") & (timestep.action < 0)
        action = jnp.where(self.has("not told of its last action"), -1, timestep.action)
        observation = timestep.observation
        weights = 1.0 + 0.1 * jnp.arange(observation.shape[0]).astype(jnp.float32)
        timestep = eqx.tree_at(
            lambda t: (t.action, t.reward, t.observation),
            timestep,
            (
                jnp.where(first, 0, action),
                jnp.where(deaf, 0.0, timestep.reward),
                jnp.where(
                    self.has("sensors weighted by position"), observation * weights, observation
                ),
            ),
        )
        reset = self.has("cells reset at the ends of episodes") & timestep.ended
        cells = jax.tree.map(
            lambda x: jnp.where(reset, jnp.zeros_like(x), x), state.network.layers[0].cells
        )
        state = eqx.tree_at(lambda s: s.network.layers[0].cells, state, cells)
        state, logits = super().advance(state, timestep)
        weights = 1.0 + 0.1 * jnp.arange(logits.shape[0]).astype(jnp.float32)
        weigh = self.has("logits weighted by position")
        return state, jnp.where(weigh, logits * weights, logits)


def twin(fault):
    learner = make(Faulty, **CASES["ours"])
    return eqx.tree_at(lambda m: m.fault, learner, jnp.asarray(FAULTS.index(fault), jnp.int32))


def rejects(check, fault):
    """The check takes the twin without a fault and refuses the one with it."""
    check(twin("none"))
    with pytest.raises(AssertionError):
        check(twin(fault))


@pytest.mark.parametrize("fault", FAULTS[1:8])
def test_other_algorithms_are_noticed(fault):
    rejects(lambda learner: assert_algorithm_1(learner, CASES["ours"]), fault)


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


# ---- symmetry -------------------------------------------------------------------------------


def selected(noise, happens, rows, columns, hidden=(), projected=False):
    """The noise and the script of these sensors, hidden units and actions alone."""
    inputs = slice(None) if projected else rows
    order = [inputs, *hidden, columns]
    cells = tuple(z[a][:, b] for z, a, b in zip(noise.cells, order[:-1], order[1:], strict=True))
    projection = None if noise.projection is None else noise.projection[rows]
    happens = Script(
        happens.observations[:, rows],
        happens.rewards[:, columns],
        happens.gumbel[:, columns],
        happens.ended,
    )
    return rl.SymLANoise(cells, projection), happens, order


def assert_same_life(part, whole, order, rows):
    """The states and logits of some units in some order are those that they have in the whole."""
    (states, logits, actions), (all_states, all_logits, all_actions) = part, whole
    columns = order[-1]
    close(logits, np.asarray(all_logits)[:, columns])
    np.testing.assert_array_equal(columns[np.asarray(actions)], all_actions)
    layers = zip(states.network.layers, all_states.network.layers, strict=True)
    for (layer, of_all), a, b in zip(layers, order[:-1], order[1:], strict=True):
        cells = jax.tree.map(lambda x, a=a, b=b: np.asarray(x)[:, a][:, :, b], of_all.cells)
        assert_trees_close(layer.cells, cells)
        close(layer.forward, np.asarray(of_all.forward)[:, b])
        close(layer.backward, np.asarray(of_all.backward)[:, a])
    if states.mean is not None:
        close(states.mean, np.asarray(all_states.mean)[:, rows])
        close(states.spread, np.asarray(all_states.spread)[:, rows])


def assert_equivariant(learner, permutations=6):
    """Permuted sensors, actions and hidden units are only other names for the same life."""
    spaces = rl.Spaces(SENSORS, ARMS)
    noise, happens = noise_for(learner, SENSORS, ARMS), script(STEPS, SENSORS, ARMS, seed=2)
    _, whole = live(learner, spaces, noise, happens)
    assert len(np.unique(whole[2])) > 1
    rng = np.random.default_rng(3)
    for _ in range(permutations):
        rows, *hidden, columns = (
            rng.permutation(n) for n in (SENSORS, *learner.hidden_sizes, ARMS)
        )
        renamed, other, order = selected(
            noise, happens, rows, columns, hidden, learner.projection_size is not None
        )
        assert_same_life(live(learner, spaces, renamed, other)[1], whole, order, rows)


@pytest.mark.parametrize("case", CASES)
def test_sensors_actions_and_hidden_units_may_be_reordered(case):
    assert_equivariant(learner_of(case))


@pytest.mark.parametrize("fault", FAULTS[5:8])
def test_dependence_on_the_order_is_noticed(fault):
    rejects(assert_equivariant, fault)


# ---- masks ------------------------------------------------------------------------------------


def assert_masked_is_smaller(learner, rows=(0, 1, 3), columns=(2, 3, 7, 11), most=(4, 12)):
    """Padded and masked, a learner lives as it would alone in the smaller task."""
    rows, columns = np.asarray(rows), np.asarray(columns)
    noise, happens = noise_for(learner, *most), script(STEPS, *most, seed=5)
    sensors, arms = np.isin(np.arange(most[0]), rows), np.isin(np.arange(most[1]), columns)
    # What a sensor that does not exist says, and the noise of such an action, is no matter.
    wild = Script(
        jnp.where(sensors[None], happens.observations, 1e3),
        jnp.where(arms[None], happens.rewards, jnp.nan),
        jnp.where(arms[None], happens.gumbel, 1e3),
        happens.ended,
    )
    spaces = rl.Spaces(*most, observation_mask=jnp.asarray(sensors), action_mask=jnp.asarray(arms))
    _, whole = live(learner, spaces, noise, wild)
    assert np.all(np.isneginf(whole[1][:, ~arms]))
    assert np.all(arms[np.asarray(whole[2])])
    hidden = [np.arange(n) for n in learner.hidden_sizes]
    projected = learner.projection_size is not None
    part, fewer, order = selected(noise, happens, rows, columns, hidden, projected)
    _, alone = live(learner, rl.Spaces(len(rows), len(columns)), part, fewer)
    assert_same_life(alone, whole, order, rows)


@pytest.mark.parametrize("case", CASES)
def test_a_masked_learner_is_the_learner_of_the_smaller_task(case):
    assert_masked_is_smaller(learner_of(case))


@pytest.mark.parametrize(
    ("rows", "columns"), [((2,), (0, 1)), ((1, 3), tuple(range(11)))], ids=["1 by 2", "2 by 11"]
)
def test_one_padded_program_serves_all_sizes(rows, columns):
    assert_masked_is_smaller(learner_of("ours"), rows, columns)


@pytest.mark.parametrize("fault", FAULTS[-2:])
def test_masks_that_are_not_kept_are_noticed(fault):
    rejects(assert_masked_is_smaller, fault)


def test_gradients_reach_all_parameters():
    learner = learner_of("ours")
    spaces = rl.Spaces(2, 3, action_mask=jnp.asarray(np.array([True, True, False])))
    noise, happens = noise_for(learner, 2, 3), script(3, 2, 3)

    @quick_jit
    @eqx.filter_grad
    def gradients(learner):
        _, logits, actions = life_by_hand(learner, learner.init_from(spaces, noise), happens)
        chances = jax.nn.log_softmax(logits)
        return jnp.take_along_axis(chances, actions[:, None], axis=1).sum()

    for leaf in jax.tree.leaves(gradients(learner)):
        assert np.all(np.isfinite(leaf))
        assert np.any(leaf)


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
