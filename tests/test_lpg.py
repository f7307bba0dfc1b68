"""LPG: the rule by hand, the step that it leads to, and gradients through it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import assert_trees_close, assert_trees_identical, quick_jit
from known import PROBES, Probe

import meta
import proofs
import rl
from meta import LPG
from rl.classic import Transitions

pytestmark = pytest.mark.usefixtures("cheap_compilation")

SMALL = {"hidden_sizes": (4,), "rollout": 4, "units": 3, "predictions": 2, "embedding": 2}


def small(cls: type[LPG] = LPG, **options) -> LPG:
    return cls(**{**SMALL, **options}, key=jr.key(1))


def told(count: int, continuous: bool = False) -> list[rl.TimeStep]:
    """Birth, and then what actions led to; the second step terminates, the third is cut off."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    found = [rl.TimeStep.first(draw(2), rl.Spaces(2, 2, continuous=continuous))]
    for k in range(1, count):
        action = jnp.tanh(draw(2)) if continuous else jnp.asarray(rng.integers(2), jnp.int32)
        flags = jnp.asarray(k == 2), jnp.asarray(k == 3)
        found.append(rl.TimeStep(draw(2), action, draw(), *flags, draw(2)))
    return found


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def linear(layer, x):
    return np.asarray(layer.weight, float) @ x + np.asarray(layer.bias, float)


def rule_by_hand(rule, rollout, probabilities, predictions, next_predictions, discount):
    """Step by step, from the last to the first."""

    def embed(y):
        first, second = rule.embedding.weights
        hidden = np.maximum(np.asarray(first, float) @ y + np.asarray(rule.embedding.biases[0]), 0)
        return (np.asarray(second, float) @ hidden + np.asarray(rule.embedding.biases[1]))[0]

    gains, targets = [], []
    h, c = np.zeros(rule.cell.hidden_size), np.zeros(rule.cell.hidden_size)
    for t in reversed(range(len(rollout.rewards))):
        ended = bool(rollout.terminated[t] | rollout.truncated[t])
        if ended:
            h, c = 0.0 * h, 0.0 * c
        after = 0.0 if rollout.terminated[t] else embed(np.asarray(next_predictions[t], float))
        x = [float(rollout.rewards[t]), float(ended), discount, float(probabilities[t])]
        x = np.asarray([*x, embed(np.asarray(predictions[t], float)), after])
        gates = np.asarray(rule.cell.weight_ih, float) @ x + np.asarray(rule.cell.bias, float)
        gates = gates + np.asarray(rule.cell.weight_hh, float) @ h
        into, forget, cell, out = np.split(gates, 4)
        c = sigmoid(forget) * c + sigmoid(into) * np.tanh(cell)
        h = sigmoid(out) * np.tanh(c)
        gains.append(linear(rule.policy_head, np.maximum(h, 0.0))[0])
        targets.append(softmax(linear(rule.prediction_head, np.maximum(h, 0.0))))
    return np.stack(gains[::-1]), np.stack(targets[::-1])


def rollout_of(count: int) -> tuple:
    rng = np.random.default_rng(3)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    steps = np.arange(count)
    rollout = Transitions(
        draw(count, 2),
        jax.nn.one_hot(jnp.asarray(rng.integers(2, size=count)), 2),
        draw(count),
        jnp.asarray(steps == 2),
        jnp.asarray(steps == 4),
        draw(count, 2),
    )
    predictions = jax.nn.softmax(draw(2, count, 2))
    probabilities = jnp.asarray(rng.random(count), jnp.float32)
    return rollout, probabilities, predictions[0], predictions[1], 0.9


def test_the_rule_is_what_the_paper_says():
    rule, given = small().rule, rollout_of(6)
    found = quick_jit(lambda rule, given: rule(*given))(rule, given)
    expected = rule_by_hand(rule, *given)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1].sum(1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
def test_a_rollout_ends_with_a_step_where_the_rule_says(continuous):
    learner, now = small(learning_rate=0.3, prediction_weight=0.4), told(6, continuous)
    state = learner.init(rl.Spaces(2, 2, continuous=continuous), key=jr.key(0))
    advance, states = quick_jit(learner.advance), []
    for timestep in now:
        state, _ = advance(state, timestep)
        states.append(state)
    born = states[0].networks
    for k in range(4):
        assert_trees_identical(states[k].networks, born)
    assert_trees_identical(states[5].networks, states[4].networks)

    observations = [t.observation for t in now[:4]]
    finals = [t.final_observation for t in now[1:5]]

    @quick_jit
    def by_hand(networks):
        def log_prob(networks, t):
            action, out = now[t + 1].action, networks.actor(observations[t])
            if not continuous:
                return jax.nn.log_softmax(out)[action]
            return rl.Gaussian().log_prob(rl.Gaussian().logits(out.reshape(2, 2), None), action)

        probable = jnp.stack([log_prob(networks, t) for t in range(4)])
        rollout = Transitions(
            jnp.stack(observations),
            jnp.zeros((4, 2)),
            jnp.stack([t.reward for t in now[1:5]]),
            jnp.stack([t.terminated for t in now[1:5]]),
            jnp.stack([t.truncated for t in now[1:5]]),
            jnp.stack(finals),
        )
        predict = lambda n, o: jax.nn.softmax(n.predictor(o))  # noqa: E731
        gains, targets = learner.rule(
            rollout,
            jax.nn.sigmoid(probable) if continuous else jnp.exp(probable),
            jnp.stack([predict(networks, o) for o in observations]),
            jnp.stack([predict(networks, o) for o in finals]),
            0.95,
        )

        def loss(networks):
            total = jnp.zeros(())
            for t in range(4):
                y = predict(networks, observations[t])
                apart = (y * (jnp.log(y) - jnp.log(targets[t]))).sum()
                total = total + 0.4 * apart - gains[t] * log_prob(networks, t)
            return total / 4

        return jax.tree.map(lambda w, g: w - 0.3 * g, networks, jax.grad(loss)(networks))

    assert_trees_close(states[4].networks, by_hand(born))
    after = states[4].networks
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), after, born)
    assert all(size > 0 for size in jax.tree.leaves(moved))


@pytest.mark.parametrize(
    "continuous",
    [False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["discrete", "continuous"],
)
def test_gradients_go_through_the_rule(continuous):
    """Of what is done after it, against finite differences in double precision."""
    learner, moments = small(), told(7, continuous)
    spaces = rl.Spaces(2, 2, continuous=continuous)
    with jax.enable_x64(True):
        precise = lambda x: x.astype(jnp.float64) if eqx.is_inexact_array(x) else x  # noqa: E731
        learner, moments = jax.tree.map(precise, (learner, moments))
        arrays, rest = eqx.partition(learner, eqx.is_inexact_array)

        @jax.jit
        def later(arrays):
            """How probable the last actions are."""
            learner = eqx.combine(arrays, rest)
            state = jax.tree.map(precise, learner.init(spaces, key=jr.key(0)))
            score = jnp.zeros(())
            for k, now in enumerate(moments[:-1]):
                state, logits = learner.advance(state, now)
                if k >= 4:
                    score = score + state.readout.log_prob(logits, moments[k + 1].action)
            return score

        gradient = jax.jit(jax.grad(later))(arrays)
        noise = jax.tree.map(lambda x: jr.normal(jr.key(1), x.shape, x.dtype), arrays)
        pairs = zip(*map(jax.tree.leaves, (gradient, noise)), strict=True)
        along = sum((g * n).sum() for g, n in pairs)
        up, down = (
            later(jax.tree.map(lambda x, n, s=s: x + s * n, arrays, noise)) for s in (1e-5, -1e-5)
        )
        assert abs(along) > 1e-8
        np.testing.assert_allclose(along, (up - down) / 2e-5, rtol=1e-4)


class Ordered(LPG):
    """A broken twin: the first action is made more probable than others, whatever it brings."""

    def outputs(self, networks, observation):
        outputs = super().outputs(networks, observation)
        return outputs + jnp.arange(outputs.shape[0], dtype=outputs.dtype)


@pytest.mark.parametrize(("cls", "proved"), [(LPG, True), (Ordered, False)])
def test_no_sensor_and_no_action_is_singled_out(cls, proved):
    certificate = proofs.certify(small(cls), sweep=(), refute=False)
    assert (certificate.verdict == "PROVED") == proved


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rollout": 0}, "`rollout` must be at least 1, got 0"),
        ({"units": 0}, "`units` must be at least 1, got 0"),
        ({"hidden_sizes": (3, 0)}, r"`hidden_sizes\[1\]` must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "`learning_rate` must be a number above 0, got 0.0"),
        ({"discount": 1.5}, "`discount` must be a number from 0 to 1, got 1.5"),
        ({"prediction_weight": -1.0}, "`prediction_weight` must be a number from 0, got -1.0"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.slow
def test_a_rule_is_learned_that_trains_newborn_policies():
    """Both outer loops find one; a rule at random leads nowhere."""
    task = rl.FixedTask(rl.Task(Probe(), PROBES["reward of both"]))
    learner = LPG((8,), rollout=10, learning_rate=1.0, units=8, predictions=4, key=jr.key(2))

    def reward(learner: rl.Learner) -> float:
        """Of the second half of lives of 100 steps; 1 is the most, 0 is chance."""
        lives = meta.evaluate(learner, task, steps=100, lives=64, key=jr.key(9), parts=2)
        assert lives.by_part is not None
        return float(np.asarray(lives.by_part["reward"])[:, 1].mean())

    before = reward(learner)
    for strategy, generations in (
        (meta.ActorCritic(optax.adam(3e-3), discount=0.9, across_episodes=True), 120),
        (meta.EvolutionStrategy(32, 0.1, optax.adam(0.03)), 60),
    ):
        trained = meta.train(
            learner, task, strategy, steps=100, lives=16, generations=generations, key=jr.key(3)
        ).learner
        assert reward(trained) > before + 0.3
