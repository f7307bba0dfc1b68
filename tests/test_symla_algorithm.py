"""The lives of SymLA are those of algorithm 1, in NumPy."""

import dataclasses

import numpy as np
import pytest
import reference
import scipy.special
from helpers import assert_states_close, at, close, reference_weights
from probes import live, script
from symla_cases import (
    ARMS,
    CASES,
    FAULTS,
    OURS,
    SENSORS,
    SMALL,
    STEPS,
    learner_of,
    noise_for,
    rejects,
)

import rl


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


@pytest.mark.parametrize("fault", FAULTS[1:8])
def test_other_algorithms_are_noticed(fault):
    rejects(lambda learner: assert_algorithm_1(learner, CASES["ours"]), fault)
