"""EPG: its loss by hand, and the steps of Adam down it."""

from typing import Any

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
from meta import EPG
from rl.classic import Transitions

pytestmark = pytest.mark.usefixtures("cheap_compilation")

SMALL: dict[str, Any] = {"hidden_sizes": (4,), "rollout": 8, "buffer": 24, "learning_rate": 0.01}


def small(continuous: bool = False, **options: Any) -> EPG:
    return EPG(2, 2, **{**SMALL, **options}, continuous=continuous, key=jr.key(1))


def told(count: int, continuous: bool) -> list[rl.TimeStep]:
    """Birth, and then what actions led to."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    found = [rl.TimeStep.first(draw(2), rl.Spaces(2, 2, continuous=continuous))]
    for k in range(1, count):
        action = jnp.tanh(draw(2)) if continuous else jnp.asarray(rng.integers(2), jnp.int32)
        flags = jnp.asarray(k % 7 == 2), jnp.asarray(k % 7 == 5)
        found.append(rl.TimeStep(draw(2), action, draw(), *flags, draw(2)))
    return found


def leaky(x):
    return np.where(x > 0, x, 0.01 * x)


def convolved(layer, x, kernel, stride):
    """Over time, without padding: `[steps channels]`."""
    weight, bias = np.asarray(layer.weight, float), np.asarray(layer.bias, float)
    count = (len(x) - kernel) // stride + 1
    return np.stack(
        [
            [
                (weight[f] * x[stride * t : stride * t + kernel].T).sum() + bias[f, 0]
                for f in range(len(weight))
            ]
            for t in range(count)
        ]
    )


def test_the_loss_is_what_the_paper_says():
    loss, rng = small().loss, np.random.default_rng(2)
    steps, some = rng.normal(size=(24, 8)), rng.normal(size=(3, 8))
    x = leaky(convolved(loss.first, steps, 6, 5))
    x = leaky(convolved(loss.second, x, 4, 2))
    linear = lambda layer, x: np.asarray(layer.weight, float) @ x + np.asarray(layer.bias, float)  # noqa: E731
    context = linear(loss.context, x.mean(0))
    numbers = [
        linear(loss.output, leaky(linear(loss.hidden, np.concatenate([one, context]))))
        for one in some
    ]
    found = quick_jit(lambda loss, steps, some: loss(some, loss.summary(steps)))(
        loss, jnp.asarray(steps, jnp.float32), jnp.asarray(some, jnp.float32)
    )
    np.testing.assert_allclose(found, np.mean(numbers), rtol=1e-4)


@pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
def test_adam_goes_once_through_the_newest_steps(continuous):
    """After 32 steps, of which 24 are remembered: the memory has begun to overwrite itself."""
    learner, moments = small(continuous), told(33, continuous)
    spaces = rl.Spaces(2, 2, continuous=continuous)
    state, advance, states = learner.init(spaces, key=jr.key(0)), quick_jit(learner.advance), []
    for now in moments:
        state, _ = advance(state, now)
        states.append(state)
    changed = [
        k
        for k in range(1, 33)
        if not np.array_equal(
            states[k].networks.actor.weights[0], states[k - 1].networks.actor.weights[0]
        )
    ]
    assert changed == [8, 16, 24, 32]

    def feedback(action):
        return action if continuous else jax.nn.one_hot(action, 2)

    def stacked(first: int) -> Transitions:
        """Steps from the first on, counted from 0, up to the 32nd."""
        led = moments[first + 1 :]
        return Transitions(
            jnp.stack([t.observation for t in moments[first:32]]),
            jnp.stack([feedback(t.action) for t in led]),
            jnp.stack([t.reward for t in led]),
            jnp.stack([t.terminated for t in led]),
            jnp.stack([t.truncated for t in led]),
            jnp.stack([t.final_observation for t in led]),
        )

    @quick_jit
    def by_hand(networks):
        optimiser, actor, adam = networks.optimiser, networks.actor, optax.adam(0.01)

        def known(actor, steps):
            rows = []
            for t in range(len(steps.rewards)):
                out = actor(steps.observations[t])
                if continuous:
                    out = rl.Gaussian().logits(out.reshape(2, 2), None).reshape(-1)
                else:
                    out = jax.nn.log_softmax(out)
                ended = (steps.terminated[t] | steps.truncated[t]).astype(jnp.float32)
                parts = [steps.observations[t], steps.actions[t], steps.rewards[t][None]]
                rows.append(jnp.concatenate([*parts, ended[None], out]))
            return jnp.stack(rows)

        context = learner.loss.summary(known(actor, stacked(8)))
        for first in (24, 28):
            some = jax.tree.map(lambda x, n=first - 24: x[n : n + 4], stacked(24))
            gradient = jax.grad(lambda actor, some=some: learner.loss(known(actor, some), context))
            with jax.numpy_dtype_promotion("standard"):
                change, optimiser = adam.update(gradient(actor), optimiser)
            actor = jax.tree.map(jnp.add, actor, change)
        return actor

    assert_trees_close(states[32].networks.actor, by_hand(states[31].networks))
    assert_trees_identical(states[31].networks, states[30].networks)


def test_actions_that_do_not_exist_change_nothing():
    mask = jnp.asarray([True, False])
    learner, spaces = small(), rl.Spaces(2, 2, action_mask=mask)
    state, advance = learner.init(spaces, key=jr.key(0)), quick_jit(learner.advance)
    logits = jnp.zeros(2)
    for now in told(9, False):
        now = eqx.tree_at(lambda t: t.action, now, jnp.zeros_like(now.action))
        state, logits = advance(state, now)
    assert np.isneginf(logits[1]) and np.isfinite(logits[0])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.networks))


def test_its_sizes_are_fixed_and_it_is_no_black_box():
    with pytest.raises(ValueError, match="EPG was made for 2 observations and 2 actions"):
        small().init(rl.Spaces(3, 2), key=jr.key(0))
    with pytest.raises(ValueError, match="made for discrete actions"):
        small().init(rl.Spaces(2, 2, continuous=True), key=jr.key(0))
    assert not proofs.black_box(small())
    assert not proofs.certify(small(), sweep=(), refute=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rollout": 0}, "`rollout` must be at least 1, got 0"),
        ({"hidden_sizes": (0,)}, r"`hidden_sizes\[0\]` must be at least 1, got 0"),
        ({"buffer": 16}, "`buffer` must be a multiple of `rollout`, 8, and at least 21.*; got 16"),
        ({"buffer": 25}, "`buffer` must be a multiple of `rollout`, 8, .*; got 25"),
        ({"minibatches": 3}, "`rollout` must be a multiple of `minibatches`, 3; got 8"),
        ({"learning_rate": 0.0}, "`learning_rate` must be a number above 0, got 0.0"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.slow
def test_a_loss_is_evolved_that_trains_newborn_policies():
    task = rl.FixedTask(rl.Task(Probe(), PROBES["reward of both"]))
    learner = EPG(2, 2, (8,), rollout=8, buffer=24, learning_rate=0.05, key=jr.key(2))

    def reward(learner: rl.Learner) -> float:
        """Of the second half of lives of 120 steps; 1 is the most, 0 is chance."""
        lives = meta.evaluate(learner, task, steps=120, lives=64, key=jr.key(9), parts=2)
        assert lives.by_part is not None
        return float(np.asarray(lives.by_part["reward"])[:, 1].mean())

    strategy = meta.EvolutionStrategy(64, 0.1, optax.adam(0.03))
    trained = meta.train(
        learner, task, strategy, steps=120, lives=8, generations=60, key=jr.key(3)
    ).learner
    assert reward(trained) > 0.95
    others = [
        EPG(2, 2, (8,), rollout=8, buffer=24, learning_rate=0.05, key=jr.key(k)) for k in range(8)
    ]
    assert np.mean([reward(other) for other in others]) < 0.7
