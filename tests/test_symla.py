"""SymLA against algorithm 1 in NumPy, its symmetries, its masks and its options."""

import dataclasses
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
    assert_trees_close,
    assert_trees_identical,
    at,
    close,
    make,
    parameter_count,
    quick_jit,
    reference_state,
    reference_weights,
)
from probes import life_by_hand, live, script

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
BUILD = {"ours": rl.SymLA, "paper": rl.SymLA.paper, "official": rl.SymLA.official}
SMALL = {"hidden_size": 4, "forward_size": 3, "backward_size": 2}
STEPS = 4


def shape_of(build=rl.SymLA, **options):
    return eqx.filter_eval_shape(lambda: build(**options, key=jr.key(0)))


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
    fields = {f.name for f in dataclasses.fields(learner)} - {"network", "readout"}
    assert fields == set(OURS)
    assert {name: getattr(learner, name) for name in fields} == PRESETS[preset]
    assert shape_of(BUILD[preset], hidden_size=64).hidden_size == 64


def test_all_arrays_are_meta_variables():
    leaves = jax.tree.leaves(rl.SymLA(**SMALL, key=jr.key(0)))
    assert {x.dtype for x in leaves} == {jnp.dtype("float32")}
    assert sum(bool(np.any(np.asarray(x))) for x in leaves) == 4  # weights; the 3 biases are zero


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


def oracle(learner, options, noise, happens, sensors=None, arms=None):
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
    exists = [np.ones(size, bool) for size in sizes]
    seen = np.ones(happens.observations.shape[1], bool) if sensors is None else sensors
    if options["projection_size"] is None:
        exists[0] = seen
    exists[-1] = np.ones(sizes[-1], bool) if arms is None else arms
    states = []
    for k, z in enumerate(noises):
        memory = oracle_recipe(options, z.copy(), exists[k].sum())
        cell = {"lstm": lambda c: (np.zeros_like(c), c), "gru": lambda c: (c,)}[options["cell"]]
        states.append(
            reference.State(
                [[cell(c) for c in row] for row in memory],
                np.zeros((sizes[k + 1], options["forward_size"])),
                np.zeros((sizes[k], options["backward_size"])),
                exists[k],
                exists[k + 1],
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
            deviation = np.sqrt(2.0 / (seen.sum() + options["projection_size"]))
            sight = sight[seen] @ (deviation * np.asarray(noise.projection, np.float64)[seen])
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
        logits = np.where(exists[-1], logits, -np.inf)
        action = int(np.argmax(logits + np.asarray(happens.gumbel[t], np.float64)))
        reward = float(happens.rewards[t, action])
        memories.append(states)
        all_logits.append(logits)
        actions.append(action)
    return memories, np.array(all_logits), np.array(actions)


def assert_algorithm_1(learner, options, sensors=3, arms=2, sensor_mask=None, arm_mask=None):
    """A scripted life is that of the oracle. Returns its logits."""
    masks = [None if m is None else np.asarray(m) for m in (sensor_mask, arm_mask)]
    spaces = rl.Spaces(sensors, arms, *(None if m is None else jnp.asarray(m) for m in masks))
    noise, happens = noise_for(learner, sensors, arms), script(STEPS, sensors, arms, seed=1)
    _, (states, logits, actions) = live(learner, spaces, noise, happens)
    memories, expected, chosen = oracle(learner, options, noise, happens, *masks)
    close(logits, expected)
    np.testing.assert_array_equal(actions, chosen)
    for t, oracle_states in enumerate(memories):
        for state, wanted in zip(at(states.network.layers, t), oracle_states, strict=True):
            found = reference_state(state)
            live_cells = np.ix_(wanted.input_mask, wanted.output_mask)
            for part in range(len(wanted.cells[0][0])):
                close(
                    found.part(part)[live_cells], wanted.part(part)[live_cells], dtype="float32"
                )
    return np.asarray(logits)


# Every option on its own, from ours; some only show beside another.
CHANGES = [
    {"reduction": "sum"},  # choice 1
    {"reduction": "scaled"},
    {"forget_bias": 5.0},  # choice 2
    {"input_bias": -5.0},
    {"initial_state": "official"},  # choice 3
    {"initial_state": "zeros"},
    {"state_scale": 1.0},
    {"refresh": False},  # choice 4
    {"output_channel": 1},  # choice 5
    {"soft_clip": 1.5},
    {"logit_scale": 1.0},
    {"normalise": "running"},  # choice 10
    {"projection_size": 2},  # choice 11
    {"message_bias": "none"},
    {"message_bias": "each", "reduction": "sum"},
    {"ticks": 1},
    {"cell": "gru"},
    {"recurrent": False},
    {"ended_flag": True},
    {"pad_messages": True},
    {"hidden_sizes": (3,)},
    {"hidden_sizes": (3,), "order": "forward"},
    {"hidden_sizes": (2, 3), "order": "forward-backward", "ended_flag": True},
]
# Without names: they are the parameters, in one order, so that equal shapes get equal numbers.
TOGETHER = [
    PAPER | SMALL,
    OFFICIAL | SMALL,
    OURS | SMALL | {"normalise": "running", "projection_size": 2, "ended_flag": True},
]


@pytest.fixture(scope="module")
def default_logits():
    options = OURS | SMALL
    return assert_algorithm_1(make(rl.SymLA, **options), options)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_option_does_what_algorithm_1_says_and_matters(change, default_logits):
    options = OURS | SMALL | change
    logits = assert_algorithm_1(make(rl.SymLA, **options), options)
    assert np.abs(logits - default_logits).max() > 1e-3
    # The first observation is all that is known of the sensors then: it says nothing.
    assert np.all(np.isfinite(logits))


@pytest.mark.parametrize("options", TOGETHER, ids=["paper", "official", "sensing"])
def test_options_together_do_what_algorithm_1_says(options):
    assert_algorithm_1(make(rl.SymLA, **options), options, sensors=2, arms=3)


@pytest.mark.parametrize("preset", PRESETS)
def test_masked_options_do_what_algorithm_1_says(preset):
    options = PRESETS[preset] | SMALL | {"projection_size": 3 if preset == "paper" else None}
    learner = make(rl.SymLA, **options)
    assert_algorithm_1(
        learner, options, 3, 4, sensor_mask=[True, False, True], arm_mask=[False, True, True, True]
    )


def test_no_backward_messages_are_needed():
    options = OURS | SMALL | {"backward_size": 0}
    assert_algorithm_1(make(rl.SymLA, **options), options)


# Twins of SymLA with one fault each. They look like the real one to the oracle.


class ActionDeaf(rl.SymLA):
    """It is not told of its last action."""

    def advance(self, state, timestep):
        return super().advance(state, eqx.tree_at(lambda t: t.action, timestep, jnp.asarray(-1)))


class RewardDeaf(rl.SymLA):
    """It is not told of the reward."""

    def advance(self, state, timestep):
        reward = jnp.zeros_like(timestep.reward)
        return super().advance(state, eqx.tree_at(lambda t: t.reward, timestep, reward))


class RewardOnceEnded(rl.SymLA):
    """The reward of the last step of an episode is lost."""

    def advance(self, state, timestep):
        reward = jnp.where(timestep.ended, 0.0, timestep.reward)
        return super().advance(state, eqx.tree_at(lambda t: t.reward, timestep, reward))


class ForgetsAtEnds(rl.SymLA):
    """Its cells' messages are reset at the ends of episodes."""

    def advance(self, state, timestep):
        network = jax.tree.map(
            lambda x: jnp.where(timestep.ended, jnp.zeros_like(x), x), state.network
        )
        return super().advance(eqx.tree_at(lambda s: s.network, state, network), timestep)


class SensorWeighted(rl.SymLA):
    """Sensors are weighted by their position."""

    def advance(self, state, timestep):
        weights = 1.0 + 0.1 * jnp.arange(timestep.observation.shape[0]).astype(jnp.float32)
        observation = timestep.observation * weights
        return super().advance(state, eqx.tree_at(lambda t: t.observation, timestep, observation))


class ActionWeighted(rl.SymLA):
    """Logits are weighted by their position."""

    def advance(self, state, timestep):
        state, logits = super().advance(state, timestep)
        return state, logits * (1.0 + 0.1 * jnp.arange(logits.shape[0]).astype(logits.dtype))


class MaskBlind(rl.SymLA):
    """It takes everything for real."""

    def init_from(self, spaces, noise):
        return super().init_from(rl.Spaces(spaces.observation_size, spaces.num_actions), noise)


class SensorMaskBlind(rl.SymLA):
    """It takes all sensors for real."""

    def init_from(self, spaces, noise):
        spaces = eqx.tree_at(lambda s: s.observation_mask, spaces, None)
        return super().init_from(spaces, noise)


@pytest.mark.parametrize(
    "twin", [ActionDeaf, RewardDeaf, RewardOnceEnded, ForgetsAtEnds, SensorWeighted, ActionWeighted]
)
def test_other_algorithms_are_noticed(twin):
    options = OURS | SMALL
    with pytest.raises(AssertionError):
        assert_algorithm_1(make(twin, **options), options)


# ---- birth ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def projecting():
    """A learner with everything random at birth."""
    options = {**SMALL, "projection_size": 50, "hidden_sizes": (3,), "normalise": "running"}
    return make(rl.SymLA, **options)


def test_birth_is_made_of_its_noise(projecting, getkey):
    spaces = rl.Spaces(300, 2)
    key = getkey()
    noise = projecting.draw(spaces, key=key)
    assert_trees_identical(projecting.init(spaces, key=key), projecting.init_from(spaces, noise))
    shapes = [z.shape for z in noise.cells]
    assert shapes == [(50, 3, 4), (3, 2, 4)]
    first, second = (np.asarray(z).ravel() for z in noise.cells)
    assert len(np.unique(np.concatenate([first, second]))) == first.size + second.size
    np.testing.assert_allclose([first.mean(), first.std()], [0.0, 1.0], atol=0.16)


def test_the_projection_is_glorot_normal(projecting, getkey):
    projection = np.asarray(projecting.init(rl.Spaces(300, 2), key=getkey()).projection)
    assert projection.shape == (300, 50)
    np.testing.assert_allclose(projection.var(), 2 / (300 + 50), rtol=0.06)
    np.testing.assert_allclose(projection.mean(), 0.0, atol=5 * np.sqrt(2 / 350 / 15_000))
    # A quarter of normal numbers is beyond 1.15 standard deviations.
    beyond = np.mean(np.abs(projection) > 1.1503 * np.sqrt(2 / 350))
    np.testing.assert_allclose(beyond, 0.25, atol=0.02)


def test_the_projection_of_existing_sensors_is_glorot_normal(projecting, getkey):
    mask = np.arange(300) % 3 == 0
    spaces = rl.Spaces(300, 2, observation_mask=jnp.asarray(mask))
    projection = np.asarray(projecting.init(spaces, key=getkey()).projection)
    assert not np.any(projection[~mask])
    np.testing.assert_allclose(projection[mask].var(), 2 / (100 + 50), rtol=0.1)


@pytest.mark.parametrize("shared", [False, True])
def test_the_projection_is_one_for_each_life_unless_shared(shared, getkey):
    learner = make(rl.SymLA, **SMALL, projection_size=3, projection_shared=shared)
    one, other = (learner.init(rl.Spaces(2, 2), key=getkey()) for _ in range(2))
    assert np.array_equal(one.projection, other.projection) is shared
    cells = [s.network.layers[0].cells.c for s in (one, other)]
    assert not np.any(np.asarray(cells[0]) == np.asarray(cells[1]))


def test_different_keys_are_different_births(getkey):
    learner = make(rl.SymLA, **SMALL)
    one, other = (learner.draw(rl.Spaces(2, 3), key=getkey()).cells[0] for _ in range(2))
    assert not np.any(np.asarray(one) == np.asarray(other))


def test_a_recipe_of_the_user_is_used(getkey):
    def recipe(noise, inputs):
        return jnp.full_like(noise, 7.0) * inputs

    learner = make(rl.SymLA, **SMALL, initial_state=recipe)
    mask = jnp.asarray([True, True, False])
    state = learner.init(rl.Spaces(3, 2, observation_mask=mask), key=getkey())
    np.testing.assert_array_equal(state.network.layers[0].cells.c, 14.0)


# ---- a step ---------------------------------------------------------------------------------


def test_a_step_is_advance_and_a_choice(getkey):
    learner = make(rl.SymLA, **SMALL)
    spaces = rl.Spaces(2, 3)
    key = getkey()

    @quick_jit
    def both(learner, noise, key):
        state = learner.init_from(spaces, noise)
        now = rl.TimeStep.first(jnp.asarray([0.3, -0.7]))
        gumbel = learner.readout.noise(3, jnp.dtype("float32"), key=key)
        whole = learner.step(state, now, key=key)
        advanced, logits = learner.advance(state, now)
        return whole, learner.act(state, now, gumbel), (advanced, jnp.argmax(logits + gumbel))

    whole, acted, by_hand = both(learner, noise_for(learner, 2, 3), key)
    assert_trees_identical(whole, acted)
    assert_trees_identical(whole, by_hand)
    assert whole[1].dtype == jnp.int32


def test_running_moments_are_those_of_the_life():
    learner = make(rl.SymLA, **SMALL, normalise="running")
    happens = script(8, 3, 2, seed=4)
    scales = jnp.asarray([0.01, 1.0, 100.0])[None]
    observations = happens.observations * scales + 3.0 * scales
    happens = eqx.tree_at(lambda s: s.observations, happens, observations)
    birth, (states, _, _) = live(learner, rl.Spaces(3, 2), noise_for(learner, 3, 2), happens)
    assert not np.any(birth.mean) and not np.any(birth.spread) and birth.count == 0
    for t in range(8):
        past = np.asarray(observations[: t + 1], np.float64)
        assert states.count[t] == t + 1
        np.testing.assert_allclose(states.mean[t], past.mean(axis=0), rtol=1e-5)
        variance = np.asarray(states.spread[t]) / (t + 1)
        np.testing.assert_allclose(variance, past.var(axis=0), rtol=1e-4, atol=1e-9)


def test_moments_are_kept_only_if_needed(getkey):
    state = make(rl.SymLA, **SMALL).init(rl.Spaces(2, 2), key=getkey())
    assert state.count is state.mean is state.spread is state.projection is None


def test_soft_clip_bounds_the_logits():
    options = OURS | SMALL | {"logit_scale": 1e6}
    free = assert_algorithm_1(make(rl.SymLA, **options), options)
    bound = assert_algorithm_1(
        make(rl.SymLA, **options | {"soft_clip": 2.0}), options | {"soft_clip": 2.0}
    )
    assert np.abs(free).min() > 100.0
    np.testing.assert_allclose(np.abs(bound), 2.0, rtol=1e-6)


def test_both_ends_of_episodes_raise_the_flag():
    learner = make(rl.SymLA, **SMALL, ended_flag=True)
    noise = noise_for(learner, 2, 2)

    @quick_jit
    def logits(terminated, truncated):
        state = learner.init_from(rl.Spaces(2, 2), noise)
        now = rl.TimeStep.first(jnp.ones(2))
        flags = lambda t: (t.terminated, t.truncated)  # noqa: E731
        return learner.advance(state, eqx.tree_at(flags, now, (terminated, truncated)))[1]

    flags = jnp.asarray([False, True])
    neither, truncated = logits(flags[0], flags[0]), logits(flags[0], flags[1])
    np.testing.assert_array_equal(truncated, logits(flags[1], flags[0]))
    np.testing.assert_array_equal(truncated, logits(flags[1], flags[1]))
    assert np.abs(neither - truncated).max() > 1e-3


# ---- symmetry -------------------------------------------------------------------------------

SYMMETRIC = {
    "ours": OURS,
    "paper": PAPER,
    "official": OFFICIAL,
    "deep": OURS | {"hidden_sizes": (3,), "ended_flag": True},
    "sensing": OURS | {"normalise": "running", "projection_size": 3},
}


def assert_equivariant(learner, sensors=4, arms=5, draws=6):
    """Permuted sensors, actions and hidden units are only other names for the same life."""
    spaces = rl.Spaces(sensors, arms)
    noise, happens = noise_for(learner, sensors, arms), script(STEPS, sensors, arms, seed=2)
    _, (states, logits, actions) = live(learner, spaces, noise, happens)
    assert len(np.unique(actions)) > 1
    rng = np.random.default_rng(3)
    for _ in range(draws):
        rows, columns = rng.permutation(sensors), rng.permutation(arms)
        hidden = [rng.permutation(n) for n in learner.hidden_sizes]
        inputs = rows if learner.projection_size is None else np.arange(learner.projection_size)
        order = [inputs, *hidden, columns]
        renamed = rl.SymLANoise(
            tuple(z[a][:, b] for z, a, b in zip(noise.cells, order[:-1], order[1:], strict=True)),
            None if noise.projection is None else noise.projection[rows],
        )
        other = eqx.tree_at(
            lambda s: (s.observations, s.rewards, s.gumbel),
            happens,
            (
                happens.observations[:, rows],
                happens.rewards[:, columns],
                happens.gumbel[:, columns],
            ),
        )
        _, (new_states, new_logits, new_actions) = live(learner, spaces, renamed, other)
        close(new_logits, logits[:, columns])
        np.testing.assert_array_equal(columns[np.asarray(new_actions)], actions)
        layers = zip(states.network.layers, new_states.network.layers, strict=True)
        for (before, after), a, b in zip(layers, order[:-1], order[1:], strict=True):
            assert_trees_close(
                after.cells, jax.tree.map(lambda x, a=a, b=b: x[:, a][:, :, b], before.cells)
            )
        if states.mean is not None:
            close(new_states.mean, states.mean[:, rows])


@pytest.mark.parametrize("options", SYMMETRIC.values(), ids=SYMMETRIC)
def test_sensors_and_actions_may_be_reordered(options):
    assert_equivariant(make(rl.SymLA, **options | SMALL))


@pytest.mark.parametrize("twin", [SensorWeighted, ActionWeighted])
def test_dependence_on_the_order_is_noticed(twin):
    with pytest.raises(AssertionError):
        assert_equivariant(make(twin, **OURS | SMALL))


# ---- sizes and masks ------------------------------------------------------------------------

SIZES = [((1,), (0, 1)), ((0, 2), (3, 5, 11)), ((0, 1, 2), tuple(range(11)))]
MASKED = {
    "ours": OURS,
    "paper": PAPER,
    "official": OFFICIAL,
    "sensing": OURS | {"normalise": "running", "projection_size": 2},
}


def assert_masks_are_smaller_sizes(learner, most=(3, 12), sizes=SIZES):
    """Padded and masked, a learner lives as it would alone in the smaller task."""
    noise, happens = noise_for(learner, *most), script(STEPS, *most, seed=5)
    for rows, columns in sizes:
        rows, columns = np.asarray(rows), np.asarray(columns)
        sensors, arms = np.isin(np.arange(most[0]), rows), np.isin(np.arange(most[1]), columns)
        # What a sensor that does not exist says, and the noise of such an action, is no matter.
        wild = eqx.tree_at(
            lambda s: (s.observations, s.gumbel, s.rewards),
            happens,
            (
                jnp.where(sensors[None], happens.observations, 1e3),
                jnp.where(arms[None], happens.gumbel, 1e3),
                jnp.where(arms[None], happens.rewards, jnp.nan),
            ),
        )
        spaces = rl.Spaces(*most, jnp.asarray(sensors), jnp.asarray(arms))
        _, (states, logits, actions) = live(learner, spaces, noise, wild)
        alone = rl.Spaces(len(rows), len(columns))
        projected = learner.projection_size is not None
        inputs = np.arange(learner.projection_size) if projected else rows
        part = rl.SymLANoise(
            (noise.cells[0][inputs][:, columns],),
            noise.projection[rows] if projected else None,
        )
        fewer = eqx.tree_at(
            lambda s: (s.observations, s.rewards, s.gumbel),
            happens,
            (
                happens.observations[:, rows],
                happens.rewards[:, columns],
                happens.gumbel[:, columns],
            ),
        )
        _, (small_states, small_logits, small_actions) = live(learner, alone, part, fewer)
        close(logits[:, columns], small_logits)
        assert np.all(np.isneginf(logits[:, ~arms]))
        np.testing.assert_array_equal(actions, columns[np.asarray(small_actions)])
        (layer,), (small,) = states.network.layers, small_states.network.layers
        cells = jax.tree.map(lambda x, a=inputs, b=columns: x[:, a][:, :, b], layer.cells)
        assert_trees_close(cells, small.cells)
        close(layer.forward[:, columns], small.forward)
        close(layer.backward[:, inputs], small.backward)


@pytest.mark.parametrize("options", MASKED.values(), ids=MASKED)
def test_a_masked_learner_is_the_learner_of_the_smaller_task(options):
    assert_masks_are_smaller_sizes(make(rl.SymLA, **options | SMALL))


@pytest.mark.parametrize("twin", [MaskBlind, SensorMaskBlind])
def test_masks_that_are_not_kept_are_noticed(twin):
    with pytest.raises(AssertionError):
        assert_masks_are_smaller_sizes(make(twin, **OURS | SMALL), sizes=SIZES[1:2])


def test_one_set_of_parameters_fits_all_sizes():
    options = OURS | SMALL
    learner = make(rl.SymLA, **options)
    for sensors, arms in ((1, 1), (5, 3)):
        assert_algorithm_1(learner, options, sensors, arms)


def test_gradients_reach_all_parameters():
    learner = make(rl.SymLA, **SMALL)
    mask = jnp.asarray([True, True, False])
    spaces = rl.Spaces(2, 3, action_mask=mask)
    noise, happens = noise_for(learner, 2, 3), script(STEPS, 2, 3)

    @quick_jit
    @eqx.filter_grad
    def gradients(learner):
        _, logits, actions = life_by_hand(learner, learner.init_from(spaces, noise), happens)
        chances = jax.nn.log_softmax(logits)
        return jnp.take_along_axis(chances, actions[:, None], axis=1).sum()

    for leaf in jax.tree.leaves(gradients(learner)):
        assert np.all(np.isfinite(leaf)) and np.any(leaf)


# ---- what cannot be ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_channel": 8}, "`output_channel` must be .* 0 to 7; got 8"),
        ({"output_channel": -1}, "`output_channel` must be .* 0 to 7; got -1"),
        ({"forward_size": 0}, "`output_channel` must be a channel of the forward message"),
        ({"normalise": "always"}, "`normalise` must be none or running; got 'always'"),
        ({"projection_size": 0}, "`projection_size` must be at least 1, got 0"),
        ({"logit_scale": 0.0}, "`logit_scale` must be above 0, got 0.0"),
        ({"logit_scale": float("nan")}, "`logit_scale` must be above 0, got nan"),
        ({"soft_clip": 0.0}, "`soft_clip` must be above 0, or None for no bound; got 0.0"),
        ({"hidden_sizes": (3, 0)}, r"`hidden_sizes` must all be at least 1, got \(3, 0\)"),
        ({"backward_size": 0, "pad_messages": True}, "`backward_size` must be at least 1 with"),
        ({"backward_size": 0, "hidden_sizes": (2,)}, "`backward_size` must be at least 1 with"),
        ({"backward_size": -1}, "`backward_size` must be at least 0, got -1"),
        ({"hidden_size": 0}, "`hidden_size` must be at least 1, got 0"),
        ({"ticks": 0}, "`ticks` must be at least 1, got 0"),
        ({"reduction": "max"}, "`reduction` must be one of sum, mean, scaled; got 'max'"),
        ({"cell": "rnn"}, "`cell` must be one of lstm, gru; got 'rnn'"),
        ({"order": "backward"}, "`order` must be one of .*got 'backward'"),
        ({"initial_state": "ones"}, "`initial_state` must be one of .*'ones'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_plain_words(options, message, monkeypatch):
    # As users import it: nothing checks types before the library does itself.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        shape_of(**options)
