"""An arm of any number of joints: its steps, rewards and targets."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gymnax.environments.misc import reacher
from known import Constant

import rl
from proofs import laws
from rl.envs import Reacher, Vary

pytestmark = pytest.mark.usefixtures("cheap_compilation")


KEY = jr.key(0)


def state_of(angles, speeds, goal):
    start = Reacher(joints=len(angles)).reset_env(KEY, Reacher().default_params)[1]
    parts = (jnp.asarray(x, jnp.float32) for x in (angles, speeds, goal))
    return dataclasses.replace(
        start, **dict(zip(("angles", "angle_vels", "goal_xy"), parts, strict=True))
    )


def test_one_step_is_gymnaxs():
    """Which shows observations of two joints only."""
    rng, joints = np.random.default_rng(0), 2
    ours, theirs = Reacher("gym"), reacher.Reacher()
    params = ours.default_params
    for _ in range(5):
        state = state_of(rng.normal(size=joints), rng.normal(size=joints), rng.normal(size=2))
        torques = jnp.asarray(rng.uniform(-1, 1, joints))
        seen, after, reward, terminated, info = ours.step_env(KEY, state, torques, params)
        with jax.numpy_dtype_promotion("standard"):
            expected = theirs.step_env(KEY, state, torques, params)
        np.testing.assert_allclose(after.angles, expected[1].angles, rtol=1e-6)
        np.testing.assert_allclose(after.angle_vels, expected[1].angle_vels, rtol=1e-6)
        np.testing.assert_allclose(reward, expected[2], rtol=1e-5)
        scale = np.asarray(ours.observation_scale)
        np.testing.assert_allclose(seen * scale, expected[0], rtol=1e-5, atol=1e-6)
        assert not terminated and info["reached"].shape == ()


@pytest.mark.parametrize(
    ("goal", "dense", "sparse", "gym"),
    [
        ((2.0, 0.0), 1.0, 1.0, 1.0),  # there
        ((-2.0, 0.0), -1.0, 0.0, math.exp(-16.0)),  # as far as can be
        ((2.0, 0.19), 0.905, 1.0, math.exp(-(0.19**2))),  # within a tenth of the arm
        ((2.0, 0.21), 0.895, 0.0, math.exp(-(0.21**2))),  # not quite
    ],
)
def test_rewards_by_hand(goal, dense, sparse, gym):
    """A stretched arm of two links, at rest."""
    state, still = state_of([0.0, 0.0], [0.0, 0.0], goal), jnp.zeros(2)
    pays = {Reacher(): dense, Reacher("sparse"): sparse, Reacher("gym"): gym}
    for environment, expected in pays.items():
        found = environment.step_env(KEY, state, still, environment.default_params)
        np.testing.assert_allclose(found[2], expected, atol=1e-5)
        assert float(found[4]["reached"]) == sparse


def test_five_joints_by_hand():
    rng, environment = np.random.default_rng(1), Reacher("gym", joints=5)
    angles, speeds, goal, torques = (rng.uniform(-1, 1, n) for n in (5, 5, 2, 5))
    seen, after, reward, *_ = environment.step_env(
        KEY, state_of(angles, speeds, goal), jnp.asarray(torques), environment.default_params
    )
    speeds = speeds + 0.05 * torques
    angles = angles + 0.05 * speeds
    np.testing.assert_allclose(after.angles, angles, rtol=1e-5)
    tip = np.array([np.cos(angles).sum(), np.sin(angles).sum()])
    np.testing.assert_allclose(reward, np.exp(-((tip - goal) ** 2).sum()), rtol=1e-4)
    expected = np.concatenate([np.cos(angles), np.sin(angles), speeds / 2, goal / 5])
    np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-6)


def test_torques_are_bounded_and_scaled():
    environment, state = Reacher(), state_of([0.0, 0.0], [0.0, 0.0], [1.0, 0.0])
    params = dataclasses.replace(environment.default_params, torque_scale=jnp.float32(4.0))
    after = environment.step_env(KEY, state, jnp.asarray([3.0, -0.5]), params)[1]
    np.testing.assert_allclose(after.angle_vels, [0.2, -0.1], rtol=1e-6)
    np.testing.assert_allclose(after.angles, [0.01, -0.005], rtol=1e-6)


def test_targets_fill_the_disc_within_reach():
    environment = Reacher(joints=3)
    begin = jax.jit(jax.vmap(lambda key: environment.reset_env(key, environment.default_params)[1]))
    starts = begin(jr.split(jr.key(1), 2000))
    radius = np.linalg.norm(starts.goal_xy, axis=1) / 3
    assert radius.max() <= 1.0 and abs((radius < 0.5).mean() - 0.25) < 0.05
    assert abs(np.asarray(starts.goal_xy).mean()) < 0.1
    assert np.abs(starts.angles).max() <= math.pi and np.abs(starts.angle_vels).max() <= 1.0


@pytest.mark.parametrize("joints", [1, 4])
def test_it_keeps_the_laws_of_environments(joints, getkey):
    task = Vary(Reacher(joints=joints), torque_scale=(0.5, 2.0)).sample(key=getkey())
    laws.check(task)
    assert task.spaces == rl.Spaces(3 * joints + 2, joints, continuous=True)
    assert task.metrics == ("reached",)
    life = rl.lifetime(Constant(), task, steps=250, key=getkey())
    assert int(life.episodes) == 2 and -250 <= float(life.total_reward) <= 250


def test_equal_ones_are_equal():
    assert Reacher() == Reacher(joints=2) != Reacher(joints=3)
    assert Reacher() != Reacher("sparse") and hash(Reacher()) == hash(Reacher(joints=2))
    assert repr(Reacher("gym", joints=3)) == "Reacher(reward='gym', joints=3)"
    with pytest.raises(ValueError, match="`joints` must be at least 1, got 0"):
        Reacher(joints=0)
