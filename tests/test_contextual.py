"""Contextual bandits: which action is right, when its reward comes, and how rules are drawn."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import rl
from proofs import laws
from rl.classic import RandomPlayer
from rl.envs import ContextualBandit, ContextualBandits, ContextualParams

pytestmark = pytest.mark.usefixtures("cheap_compilation")


class Seer(rl.Learner):
    """It knows the weights, and is right as often as it can be."""

    weights: jax.Array
    mask: jax.Array

    def init(self, spaces, *, key):
        del spaces, key
        return jnp.zeros(())

    def step(self, state, timestep, *, key):
        del key
        scores = jnp.where(self.mask, self.weights @ timestep.observation, -jnp.inf)
        return state, scores.argmax()


def lives(tasks, steps, count, key, player=None):
    """The rewards and the metric of many lives, each `[lives L]`."""

    def one(key):
        task = tasks.sample(key=key)
        who = Seer(task.params.weights, task.params.action_mask) if player is None else player
        life = rl.lifetime(who, task, steps=steps, key=key, record=("rewards", "metrics"))
        assert life.metrics is not None
        return life.rewards, life.metrics["right"]

    return tuple(np.asarray(x) for x in eqx.filter_jit(jax.vmap(one))(jr.split(key, count)))


@eqx.filter_jit
def drawn(tasks, count, key):
    """The parameters of many lives."""
    return jax.vmap(lambda k: tasks.sample(key=k).params)(jr.split(key, count))


@eqx.filter_jit
def sample(tasks, key):
    return tasks.sample(key=key)


def test_the_interface_of_gymnax(getkey):
    environment = ContextualBandit(3, 4, max_delay=2)
    params = environment.default_params
    assert environment.num_actions == environment.action_space(params).n == 4
    observation, state = environment.reset(getkey(), params)
    space = environment.observation_space(params)
    assert observation.shape == space.shape == (3,)
    assert observation.dtype == space.dtype
    assert environment.metrics == sample(ContextualBandits(), getkey()).metrics == ("right",)
    after = environment.step(getkey(), state, jnp.int32(0), params)
    assert after[5]["final_observation"].shape == (3,)
    assert int(after[1].time) == 1 and not after[3] and not after[4]
    np.testing.assert_array_equal(params.weights, np.eye(4, 3) + np.eye(4, 3, -3))


def test_by_hand():
    environment = ContextualBandit(2, 3)
    params = dataclasses.replace(
        environment.default_params,
        weights=jnp.asarray([[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]),
        action_mask=jnp.asarray([True, True, False]),
    )
    _, state = environment.reset(jr.key(0), params)
    for sensors, right in (([0.5, 0.2], 0), ([-0.5, 0.2], 1), ([-0.5, -0.6], 0)):
        state = state.replace(sensors=jnp.asarray(sensors))
        for action in (0, 1, 2):  # the third would be right if it existed
            _, _, reward, _, _, info = environment.step(jr.key(1), state, action, params)
            assert float(info["right"]) == (action == right)
            assert float(reward) == (1 if action == right else -1)


def test_one_sensor_of_two_actions_has_a_random_sign(getkey):
    weights = np.asarray(drawn(ContextualBandits(), 600, getkey()).weights)
    np.testing.assert_array_equal(weights[:, 0], -weights[:, 1])
    first = weights[:, 0]
    np.testing.assert_allclose(np.sort(np.abs(first)), [[0, 0, 0, 1]] * 600, atol=1e-6)
    # Four sensors and two signs: each pair once in eight.
    counts = np.unique(first.round(), axis=0, return_counts=True)[1]
    assert len(counts) == 8 and np.abs(counts - 75).max() < 5 * 75**0.5


def test_who_knows_the_weights_is_always_right(getkey):
    for tasks in (ContextualBandits(), ContextualBandits((2, 6), (2, 5), (2, 4))):
        rewards, right = lives(tasks, 20, 20, getkey())
        assert (right == 1).all() and (rewards == 1).all()


def test_a_late_reward_is_the_same_reward(getkey):
    tasks, key = ContextualBandits(2, delay=(0, 3)), getkey()
    rewards, right = lives(tasks, 30, 16, key, RandomPlayer())
    late = np.asarray(drawn(tasks, 16, key).delay)
    assert set(late.tolist()) == {0, 1, 2, 3}
    for reward, was_right, steps in zip(rewards, right, late, strict=True):
        expected = np.concatenate([np.zeros(steps), 2 * was_right - 1])[:30]
        np.testing.assert_array_equal(reward, expected)
    assert (np.asarray(drawn(ContextualBandits(2, delay=3), 16, key).delay) == 3).all()


def test_noise_flips_rewards_and_not_what_is_right(getkey):
    rewards, right = lives(ContextualBandits(2, noise=0.2), 100, 100, getkey())
    assert (right == 1).all() and set(np.unique(rewards)) == {-1.0, 1.0}
    assert abs((rewards < 0).mean() - 0.2) < 5 * (0.2 * 0.8 / 10_000) ** 0.5


@pytest.mark.parametrize("sizes", [(4, 5, 3), (6, 4, 3), ((2, 7), (2, 6), (2, 7))])
def test_all_actions_are_right_equally_often_in_every_life(sizes, getkey):
    sensors, actions, relevant = sizes
    tasks = ContextualBandits(sensors, actions, relevant)
    count, steps = 200, 500
    params = drawn(tasks, count, getkey())
    shape = (count, steps, params.sensor_mask.shape[1])
    seen = np.where(params.sensor_mask[:, None], jr.normal(getkey(), shape), 0.0)
    scores = np.einsum("lba,lta->ltb", params.weights, seen)
    scores = np.where(np.asarray(params.action_mask)[:, None], scores, -np.inf)
    often = np.eye(scores.shape[-1])[scores.argmax(-1)].mean(1)
    chance = np.asarray(1 / params.action_mask.sum(1))[:, None]
    error = np.where(params.action_mask, often - chance, 0.0) / (chance * (1 - chance)) ** 0.5
    # Beyond 5 standard errors once in a million, and as a whole no more than by chance.
    assert np.abs(error).max() * steps**0.5 < 5
    assert ((error**2).sum(1) * steps / (1 / chance[:, 0])).mean() < 1.15


def test_sizes_are_uniform_and_masked(getkey):
    tasks = ContextualBandits((2, 5), (2, 4), (2, 3))
    task = sample(tasks, getkey())
    assert (task.spaces.observation_size, task.spaces.num_actions) == (5, 4)
    params = drawn(tasks, 1200, getkey())
    for mask, sizes in ((params.sensor_mask, 4), (params.action_mask, 3)):
        count = np.asarray(mask.sum(1))
        np.testing.assert_array_equal(mask, np.arange(mask.shape[1]) < count[:, None])
        often = np.unique(count, return_counts=True)[1]
        assert len(often) == sizes and np.abs(often - 1200 / sizes).max() < 5 * 300**0.5
    np.testing.assert_array_equal(task.observation_mask, task.params.sensor_mask)
    np.testing.assert_array_equal(task.action_mask, task.params.action_mask)
    weights = np.asarray(params.weights)
    assert (weights[~np.asarray(params.action_mask)] == 0).all()
    matters = np.asarray((np.abs(weights) > 1e-6).any(1))
    assert not (matters & ~np.asarray(params.sensor_mask)).any()
    many = np.asarray(params.sensor_mask.sum(1))
    assert (matters.sum(1)[many == 2] == 2).all() and set(matters.sum(1)[many > 2]) == {2, 3}
    # Every sensor that exists is as likely to matter as any other.
    five = matters[many == 5].mean(0)
    assert np.abs(five - five.mean()).max() < 5 * (0.25 / (many == 5).sum()) ** 0.5
    life = rl.lifetime(RandomPlayer(), task, steps=5, key=getkey(), record=("observations",))
    seen = np.asarray(life.observations)
    assert ((seen != 0) == np.asarray(task.params.sensor_mask)).all()


def test_tasks_of_a_size_share_one_environment(getkey):
    plain, noisy = ContextualBandits(3), ContextualBandits(3, noise=0.1, delay=0)
    assert sample(plain, getkey()).environment is sample(noisy, getkey()).environment
    assert sample(plain, getkey()).observation_mask is None


@pytest.mark.parametrize(
    "tasks", [ContextualBandits(3, 3, 2, noise=0.1), ContextualBandits((2, 4), 2, delay=(0, 2))]
)
def test_the_laws_of_environments(tasks):
    kept = {law.name for law in laws.check(tasks, seed=1)}
    assert {"permuted_environment", "steady_types"} <= kept


class Crooked(ContextualBandit):
    """A broken twin: its sensors stay in their order while the weights move."""

    def permuted(self, params: ContextualParams, sensors, actions):
        moved = super().permuted(params, sensors, actions)
        return dataclasses.replace(moved, sensor_order=params.sensor_order)


def test_a_broken_twin_is_noticed():
    environment = Crooked(3, 2)
    task = rl.Task(environment, environment.default_params, metrics=("right",))
    with pytest.raises(AssertionError, match="permuted_environment"):
        laws.check(task, seed=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sensors": 0}, "`sensors` must be at least 1.*got 0"),
        ({"actions": 1}, "`actions` must be at least 2.*got 1"),
        ({"actions": (3, 2)}, r"`actions` must be .*\(least, most\) of them; got \(3, 2\)"),
        ({"relevant": 0}, "`relevant` must be at least 1"),
        ({"delay": -1}, "`delay` must be at least 0"),
        ({"delay": (2, 1)}, r"`delay` must be .*got \(2, 1\)"),
        ({"noise": 0.5}, "`noise` must be from 0 to below 0.5, got 0.5"),
        ({"noise": float("nan")}, "`noise` must be"),
        ({"relevant": 5}, r"`relevant` must be at most `sensors` \(4\), got 5"),
        ({"actions": 3}, "One relevant sensor can tell only two actions apart"),
        ({"actions": 3, "sensors": (1, 4), "relevant": 2}, "One relevant sensor can tell only"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ContextualBandits(**options)


@pytest.mark.parametrize("arguments", [(0, 2), (2, 0), (2, 2, -1)])
def test_so_is_an_environment_without_a_size(arguments):
    with pytest.raises(ValueError, match="must be at least"):
        ContextualBandit(*arguments)
