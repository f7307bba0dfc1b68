"""What a learner offers to gradients: the probabilities of its actions."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import make

import rl

SMALL = {"hidden_size": 3, "forward_size": 2, "backward_size": 2}


def mask(*exists):
    return jnp.asarray(np.array(exists))


def test_the_probabilities_of_choices():
    readout = rl.Categorical(2.0)
    logits = readout.logits(jnp.asarray([0.5, -1.0, 0.2]), None)
    chances = np.exp([1.0, -2.0, 0.4]) / np.exp([1.0, -2.0, 0.4]).sum()
    told = [readout.log_prob(logits, jnp.asarray(i)) for i in range(3)]
    np.testing.assert_allclose(told, np.log(chances), rtol=1e-5)
    entropy = -(chances * np.log(chances)).sum()
    np.testing.assert_allclose(readout.entropy(logits), entropy, rtol=1e-5)


def test_choices_that_do_not_exist_have_no_part():
    readout = rl.Categorical()

    def told(messages, which):
        logits = readout.logits(messages, which)
        return readout.log_prob(logits, jnp.asarray(2)), readout.entropy(logits)

    messages = jnp.asarray([0.3, 9.0, -0.2])
    few = told(messages[jnp.asarray([0, 0, 2])], mask(True, False, True))
    np.testing.assert_allclose(told(messages, mask(True, False, True)), few, rtol=1e-6)
    two = np.exp([0.3, -0.2]) / np.exp([0.3, -0.2]).sum()
    np.testing.assert_allclose(few, [np.log(two[1]), -(two * np.log(two)).sum()], rtol=1e-5)
    for i in (0, 1):
        gradient = jax.grad(lambda m, i=i: told(m, mask(True, False, True))[i])(messages)
        assert np.all(np.isfinite(gradient)) and gradient[1] == 0.0 and gradient[0] != 0.0


@pytest.mark.parametrize("mean", [-0.9, 0.1, 2.0])
def test_the_probabilities_of_numbers_add_up_to_one(mean):
    readout = rl.Gaussian()
    logits = jnp.asarray([[mean, math.log(0.4)]])

    @jax.vmap
    def density(action):
        return jnp.exp(readout.log_prob(logits, action[None]))

    count = 20_001
    inside = np.asarray(density(jnp.linspace(-0.99999, 0.99999, count)), np.float64)
    area = (inside[1:] + inside[:-1]).sum() / count
    edges = np.asarray(density(jnp.asarray([-1.0, 1.0])), np.float64)
    assert edges[1] == pytest.approx(0.5 * math.erfc((1.0 - mean) / 0.4 / 2**0.5), rel=1e-4)
    assert area + edges.sum() == pytest.approx(1.0, abs=1e-3)


def test_the_undecidedness_of_numbers():
    readout = rl.Gaussian()
    logits = jnp.asarray([[0.3, math.log(0.5)], [0.0, math.log(0.2)]])
    expected = sum(0.5 * math.log(2 * math.pi * math.e * s**2) for s in (0.5, 0.2))
    assert float(readout.entropy(logits)) == pytest.approx(expected, rel=1e-5)


def test_numbers_that_do_not_exist_have_no_part():
    readout = rl.Gaussian()
    action = jnp.asarray([0.4, 0.0])

    def told(messages):
        logits = readout.logits(messages, mask(True, False))
        return readout.log_prob(logits, action), readout.entropy(logits)

    messages = jnp.asarray([[0.3, 0.1], [9.0, 9.0]])
    one = readout.logits(messages[:1], None)
    expected = (readout.log_prob(one, action[:1]), readout.entropy(one))
    np.testing.assert_allclose(told(messages), expected, rtol=1e-6)
    for i in (0, 1):
        gradient = jax.grad(lambda m, i=i: told(m)[i])(messages)
        assert np.all(np.isfinite(gradient)) and np.all(gradient[1] == 0.0) and gradient[0, 1] != 0


def test_gradients_stay_finite_far_from_the_mean():
    readout = rl.Gaussian()
    for action in (-1.0, -0.5, 1.0):
        gradient = jax.grad(
            lambda m, a=action: readout.log_prob(readout.logits(m, None), jnp.asarray([a]))
        )(jnp.asarray([[50.0, -50.0]]))
        assert np.all(np.isfinite(gradient))


def test_who_is_differentiable():
    symla, metarnn = make(rl.SymLA, **SMALL), make(rl.MetaRNN, 2, 3, 4)
    learners = (symla, metarnn, rl.classic.RandomPlayer(), rl.Frozen(symla, 3))
    assert [isinstance(x, rl.Differentiable) for x in learners] == [True, True, False, False]
    for continuous, kind in ((False, rl.Categorical), (True, rl.Gaussian)):
        state = symla.init(rl.Spaces(2, 3, continuous=continuous), key=jr.key(0))
        assert isinstance(symla.readout_of(state), kind)
    state = metarnn.init(rl.Spaces(2, 3), key=jr.key(0))
    assert metarnn.readout_of(state) is metarnn.readout
