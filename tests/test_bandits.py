"""The bandits: what they pay, what they show, and how their arms are drawn."""

from typing import get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import rl
from rl.classic import UCB1, RandomPlayer
from rl.envs import BanditKind, BanditParams, BernoulliBandit, BernoulliBandits

KINDS = get_args(BanditKind)


def sample(bandits, count, key):
    """The probabilities and masks of many lives."""
    tasks = eqx.filter_jit(jax.vmap(lambda k: bandits.sample(key=k)))(jr.split(key, count))
    return np.asarray(tasks.params.probs, np.float64), tasks.action_mask


def live(player, task, steps, key, record=("rewards", "actions", "truncated", "metrics")):
    return rl.lifetime(player, task, steps=steps, key=key, record=record)


def avals(tree):
    """Shapes, dtypes and weak types: what must not change from step to step."""
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)


def test_the_interface_of_gymnax(getkey):
    environment = BernoulliBandit(3, constant=0.5)
    params = environment.default_params
    assert environment.name == "BernoulliBandit"
    assert environment.num_actions == environment.action_space(params).n == 3
    np.testing.assert_allclose(params.probs, [0.1, 0.5, 0.9], rtol=1e-6)
    observation, state = environment.reset(getkey(), params)
    space = environment.observation_space(params)
    assert observation.shape == space.shape == (1,)
    assert observation.dtype == space.dtype
    assert space.contains(observation)
    assert not space.contains(observation + 1)
    action = environment.action_space(params).sample(getkey())
    observation, state, reward, terminated, truncated, info = environment.step(
        getkey(), state, action, params
    )
    assert space.contains(observation)
    assert int(state.time) == 1
    assert reward.shape == terminated.shape == truncated.shape == ()
    assert terminated.dtype == truncated.dtype == bool
    assert not terminated
    assert not truncated
    assert info["final_observation"].shape == (1,)
    default, _ = environment.reset(getkey())
    assert space.contains(default)


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_has_the_types_of_the_first(kind, getkey):
    task = BernoulliBandits(2, kind).sample(key=getkey())
    environment = task.environment
    observation, state = jax.eval_shape(environment.reset, getkey(), task.params)
    after = jax.eval_shape(environment.step, getkey(), state, jnp.int32(0), task.params)
    assert avals(after[:2]) == avals((observation, state))
    assert after[2].dtype == observation.dtype
    # Tasks of all kinds are one type to the compiler.
    other = jax.eval_shape(lambda k: BernoulliBandits(2).sample(key=k).params.probs, getkey())
    assert avals(jax.eval_shape(lambda: task.params.probs)) == avals(other)


def test_the_arms_outlive_the_episodes(getkey):
    task = BernoulliBandits(3).sample(key=getkey())
    probs = jnp.array([0.0, 1.0, 0.0])
    short = BanditParams(probs=probs, max_steps_in_episode=3)
    task = eqx.tree_at(lambda t: t.params, task, short)
    life = live(RandomPlayer(), task, 30, getkey())
    assert int(life.episodes) == 10
    np.testing.assert_array_equal(life.truncated, np.arange(1, 31) % 3 == 0)
    assert life.actions is not None
    np.testing.assert_array_equal(life.rewards, np.asarray(life.actions) == 1)
    assert len(set(np.asarray(life.actions).tolist())) == 3


def test_ends_of_episodes_change_nothing_for_a_player(getkey):
    task, key = BernoulliBandits(3).sample(key=getkey()), getkey()
    short = BanditParams(probs=task.params.probs, max_steps_in_episode=7)
    endless = live(UCB1(), task, 50, key)
    cut = live(UCB1(), eqx.tree_at(lambda t: t.params, task, short), 50, key)
    assert int(endless.episodes) == 0
    assert int(cut.episodes) == 7
    np.testing.assert_array_equal(endless.actions, cut.actions)
    np.testing.assert_array_equal(endless.rewards, cut.rewards)


def test_the_regret_is_what_the_arm_pulled_falls_short_of(getkey):
    task = BernoulliBandits(5).sample(key=getkey())
    life = live(RandomPlayer(), task, 60, getkey())
    probs = np.asarray(task.params.probs)
    assert life.metrics is not None
    expected = probs.max() - probs[np.asarray(life.actions)]
    np.testing.assert_allclose(life.metrics["regret"], expected, rtol=1e-6)
    np.testing.assert_allclose(life.totals["regret"], expected.sum(), rtol=1e-5)


def test_arms_pay_as_often_as_they_should(getkey):
    environment, params = BernoulliBandit(3), BanditParams(probs=jnp.array([0.2, 0.5, 0.9]))
    _, state = environment.reset(getkey(), params)
    count = 20_000

    @jax.jit
    def pull(action, key):
        return environment.step(key, state, action, params)[2]

    for action, prob in enumerate([0.2, 0.5, 0.9]):
        keys = jr.split(getkey(), count)
        rewards = np.asarray(jax.vmap(pull, in_axes=(None, 0))(jnp.int32(action), keys))
        assert set(rewards.tolist()) == {0.0, 1.0}
        assert abs(rewards.mean() - prob) < 5 * (prob * (1 - prob) / count) ** 0.5


@pytest.mark.parametrize(("kind", "low"), [("easy", 0.1), ("medium", 0.25), ("hard", 0.4)])
def test_the_categorical_kinds_have_two_values(kind, low, getkey):
    count = 4000
    probs, mask = sample(BernoulliBandits(2, kind), count, getkey())
    assert mask is None
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(np.unique(probs[:, 0]), [low, 1 - low], rtol=1e-6)
    assert abs((probs[:, 0] < 0.5).sum() - count / 2) < 5 * (count / 4) ** 0.5


@pytest.mark.parametrize(("kind", "arms"), [("uniform", 2), ("independent", 2), ("independent", 6)])
def test_the_continuous_kinds_are_uniform(kind, arms, getkey):
    count = 4000
    probs, mask = sample(BernoulliBandits(arms, kind), count, getkey())
    assert mask is None
    assert probs.shape == (count, arms)
    for arm in range(arms):  # The distance of Kolmogorov and Smirnov; beyond 2.2 once in 16000.
        distance = np.abs(np.sort(probs[:, arm]) - (np.arange(count) + 0.5) / count).max()
        assert distance * count**0.5 < 2.2
    correlation = np.corrcoef(probs[:, 0], probs[:, 1])[0, 1]
    if kind == "uniform":
        np.testing.assert_allclose(probs.sum(1), 1, atol=1e-6)
    else:
        assert abs(correlation) < 5 / count**0.5


def test_mixed_sizes_are_uniform_and_masked(getkey):
    bandits = BernoulliBandits((2, 12))
    assert bandits.max_arms == bandits.sample(key=getkey()).spaces.num_actions == 12
    count = 11_000
    probs, mask = sample(bandits, count, getkey())
    mask = np.asarray(mask)
    sizes = mask.sum(1)
    np.testing.assert_array_equal(mask, np.arange(12) < sizes[:, None])
    assert (probs[~mask] == 0).all()
    assert mask[np.arange(count), probs.argmax(1)].all()
    values, counts = np.unique(sizes, return_counts=True)
    assert values.tolist() == list(range(2, 13))
    assert np.abs(counts - count / 11).max() < 5 * (count / 11) ** 0.5


def test_padding_leaves_the_arms_as_they_are(getkey):
    probs, mask = sample(BernoulliBandits(2, "hard", max_arms=5), 100, getkey())
    assert mask is not None
    assert (np.asarray(mask) == [True, True, False, False, False]).all()
    np.testing.assert_allclose(probs[:, :2].sum(1), 1, atol=1e-6)
    assert (probs[:, 2:] == 0).all()
    _, mask = sample(BernoulliBandits(5, max_arms=5), 3, getkey())
    assert mask is None


def test_the_constant_is_what_is_seen(getkey):
    task = BernoulliBandits(2, constant=0.25).sample(key=getkey())
    life = live(RandomPlayer(), task, 5, getkey(), record=("observations",))
    np.testing.assert_array_equal(life.observations, np.full((5, 1), 0.25))
    # One instance for all tasks of a size: another would be compiled anew.
    again = BernoulliBandits(2, "easy", constant=0.25).sample(key=getkey())
    assert again.environment is task.environment


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arms": 0}, "at least 1.*got 0"),
        ({"arms": (3, 2)}, r"least, most.*\(3, 2\)"),
        ({"arms": (0, 2)}, r"least, most.*\(0, 2\)"),
        ({"arms": 3, "kind": "uniform"}, "'uniform' has exactly 2 arms, got 3"),
        ({"arms": (2, 3), "kind": "hard"}, r"'hard' has exactly 2 arms, got \(2, 3\)"),
        ({"arms": 4, "max_arms": 3}, "`max_arms` must be at least 4, got 3"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        BernoulliBandits(**arguments)


def test_a_bandit_needs_an_arm():
    with pytest.raises(ValueError, match="`arms` must be at least 1, got 0"):
        BernoulliBandit(0)
