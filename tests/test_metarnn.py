"""MetaRNN against an LSTM in NumPy, and what it is told."""

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest
from helpers import assert_trees_identical, close, make, parameter_count, quick_jit
from jaxtyping import Array
from probes import Script, live_from, script
from reference import sigmoid

import rl

SENSORS, ARMS, STEPS = 3, 4, 5
DEFAULT = {
    "hidden_size": 48,
    "ticks": 1,
    "ended_flag": True,
    "logit_scale": 1.0,
    "soft_clip": None,
}
CASES = {
    "default": DEFAULT | {"hidden_size": 6},
    "vsml": DEFAULT | {"hidden_size": 5, "ticks": 2, "soft_clip": 1.5, "ended_flag": False},
    "scaled": DEFAULT | {"hidden_size": 5, "logit_scale": 3.0},
}


def build(cls=rl.MetaRNN, sensors=SENSORS, arms=ARMS, **options):
    return make(cls, sensors, arms, **options)


@functools.cache
def learner_of(case):
    return build(**CASES[case])


def birth(learner, mask=None):
    spaces = rl.Spaces(learner.observation_size, learner.num_actions, action_mask=mask)
    return learner.init(spaces, key=jr.key(0))


def oracle(learner, options, happens, mask):
    """Hidden states, memories, logits and actions of a scripted life, in float64."""
    cell, head = learner.cell, learner.head
    arrays = (cell.weight_ih, cell.weight_hh, cell.bias, head.weight, head.bias)
    inward, own, bias, head_weight, head_bias = (np.asarray(x, np.float64) for x in arrays)
    h = c = np.zeros(options["hidden_size"])
    feedback, reward = np.zeros(ARMS), 0.0
    out = []
    for t, ended in enumerate(np.asarray(happens.ended)):
        told = [*np.asarray(happens.observations[t], np.float64), *feedback, reward]
        told += [float(ended)] * options["ended_flag"]
        for _ in range(options["ticks"]):
            i, f, g, o = np.split(inward @ np.array(told) + own @ h + bias, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        logits = options["logit_scale"] * (head_weight @ h + head_bias)
        if options["soft_clip"] is not None:
            logits = options["soft_clip"] * np.tanh(logits / options["soft_clip"])
        logits = np.where(mask, logits, -np.inf)
        action = int(np.argmax(logits + np.asarray(happens.gumbel[t], np.float64)))
        feedback, reward = np.eye(ARMS)[action], float(happens.rewards[t, action])
        out.append((h, c, logits, action))
    return [np.array(x) for x in zip(*out, strict=True)]


def assert_is_an_lstm(learner, options, mask=None):
    happens = script(STEPS, SENSORS, ARMS, seed=1)
    exists = np.ones(ARMS, bool) if mask is None else np.asarray(mask)
    states, logits, actions = live_from(learner, birth(learner, mask), happens)
    for found, wanted in zip(
        (states.h, states.c, logits, actions),
        oracle(learner, options, happens, exists),
        strict=True,
    ):
        close(found, wanted, dtype="float32")
    assert exists[np.asarray(actions)].all()
    return np.asarray(logits)


@pytest.mark.parametrize("case", CASES)
def test_lives_are_those_of_an_lstm(case):
    assert_is_an_lstm(learner_of(case), CASES[case])


def test_actions_that_do_not_exist_are_never_chosen():
    mask = jnp.asarray(np.array([False, True, False, True]))
    logits = assert_is_an_lstm(learner_of("default"), CASES["default"], mask)
    assert np.all(np.isneginf(logits) == ~np.asarray(mask)[None])


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("vsml", {"ticks": 1}),
        ("vsml", {"soft_clip": None}),
        ("scaled", {"logit_scale": 1.0}),
    ],
    ids=str,
)
def test_every_option_matters(case, options):
    with pytest.raises(AssertionError):
        assert_is_an_lstm(learner_of(case), CASES[case] | options)


FAULTS = ("none", "action", "reward", "ended", "observation", "gates")


class Faulty(rl.MetaRNN):
    """A twin of MetaRNN that is not told of something, or takes its gates for each other."""

    fault: Array

    def __init__(self, observation_size, num_actions, hidden_size=48, *, key):
        super().__init__(observation_size, num_actions, hidden_size, key=key)
        self.fault = jnp.asarray(0, jnp.int32)

    def advance(self, state, timestep):
        def unless(name, value, other):
            return jnp.where(self.fault == FAULTS.index(name), other, value)

        timestep = eqx.tree_at(
            lambda t: (t.action, t.reward, t.terminated, t.observation),
            timestep,
            (
                unless("action", timestep.action, -1),
                unless("reward", timestep.reward, 0.0),
                unless("ended", timestep.terminated, False),
                unless("observation", timestep.observation, 0.0),
            ),
        )
        rows = np.arange(4 * self.hidden_size).reshape(4, -1)
        swapped = np.ravel(rows[[0, 2, 1, 3]])
        cell = jax.tree.map(lambda x: unless("gates", x, x[swapped]), self.cell)
        return rl.MetaRNN.advance(eqx.tree_at(lambda m: m.cell, self, cell), state, timestep)


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_told_is_noticed(fault):
    learner = build(Faulty, hidden_size=6)
    index = jnp.asarray(FAULTS.index(fault), jnp.int32)
    learner = eqx.tree_at(lambda m: m.fault, learner, index)
    if fault == "none":
        assert_is_an_lstm(learner, CASES["default"])
    else:
        with pytest.raises(AssertionError):
            assert_is_an_lstm(learner, CASES["default"])


def test_the_order_of_sensors_matters():
    """What SymLA is for: an ordinary network does not know a sensor again in another place."""
    learner = learner_of("default")
    happens = script(STEPS, SENSORS, ARMS, seed=1)
    order = np.array([1, 2, 0])
    other = Script(happens.observations[:, order], happens.rewards, happens.gumbel, happens.ended)
    logits, permuted = (live_from(learner, birth(learner), s)[1] for s in (happens, other))
    assert np.abs(np.asarray(logits) - np.asarray(permuted)).max() > 1e-2


@pytest.mark.parametrize("flag", [True, False])
def test_either_end_of_an_episode_raises_the_flag(flag, getkey):
    learner = build(hidden_size=4, ended_flag=flag)
    key = getkey()

    @quick_jit
    def step(learner, terminated, truncated):
        now = rl.TimeStep.first(jnp.ones(SENSORS))
        now = eqx.tree_at(lambda t: (t.terminated, t.truncated), now, (terminated, truncated))
        state = birth(learner)
        gumbel = learner.readout.noise(ARMS, jnp.dtype("float32"), key=key)
        after, logits = learner.advance(state, now)
        by_hand = after, jnp.argmax(logits + gumbel).astype(jnp.int32)
        return learner.step(state, now, key=key), learner.act(state, now, gumbel), by_hand

    states = {}
    for flags in itertools.product([False, True], repeat=2):
        stepped, acted, by_hand = step(learner, *(jnp.asarray(f) for f in flags))
        assert_trees_identical(stepped, by_hand)
        assert_trees_identical(acted, by_hand)
        assert stepped[1].dtype == jnp.int32
        states[flags] = np.asarray(stepped[0].h)
    np.testing.assert_array_equal(states[True, False], states[False, True])
    np.testing.assert_array_equal(states[True, False], states[True, True])
    assert np.array_equal(states[False, False], states[True, True]) is not flag


def test_a_life_starts_at_zero():
    state = birth(learner_of("default"))
    assert state.h.shape == state.c.shape == (6,)
    assert not np.any(state.h)
    assert not np.any(state.c)


def test_defaults_and_parameter_counts():
    learner = eqx.filter_eval_shape(lambda: rl.MetaRNN(1, 2, key=jr.key(0)))
    assert {name: getattr(learner, name) for name in DEFAULT} == DEFAULT
    inputs = 1 + 2 + 1 + 1
    assert parameter_count(learner) == 4 * 48 * (inputs + 48 + 1) + 2 * (48 + 1) == 10_466
    larger = eqx.filter_eval_shape(lambda: rl.MetaRNN(1, 2, 128, key=jr.key(0)))  # choice 12
    assert parameter_count(larger) == 4 * 128 * (inputs + 128 + 1) + 2 * (128 + 1)


@pytest.mark.parametrize("sizes", [(SENSORS, 2), (2, ARMS)], ids=str)
def test_other_sizes_are_refused_in_plain_words(sizes):
    message = rf"made for 3 observations and 4 actions, but the task has {sizes[0]} and {sizes[1]}"
    with pytest.raises(ValueError, match=message):
        learner_of("default").init(rl.Spaces(*sizes), key=jr.key(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observation_size": 0}, "`observation_size` must be at least 1, got 0"),
        ({"num_actions": 0}, "`num_actions` must be at least 1, got 0"),
        ({"hidden_size": -1}, "`hidden_size` must be at least 1, got -1"),
        ({"ticks": 0}, "`ticks` must be at least 1, got 0"),
        ({"logit_scale": 0.0}, "`logit_scale` must be a number above 0, got 0.0"),
        ({"soft_clip": -1.0}, "`soft_clip` must be a number above 0, .*got -1.0"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_plain_words(options, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    options = {"observation_size": 2, "num_actions": 2} | options
    with pytest.raises(ValueError, match=message):
        eqx.filter_eval_shape(lambda: rl.MetaRNN(**options, key=jr.key(0)))
