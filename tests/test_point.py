"""A point in a box of any dimension: its steps, rewards and goals."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from known import Constant

import rl
from experiments._builders import make_tasks
from proofs import laws
from rl.envs import PointRobot, Vary

pytestmark = pytest.mark.usefixtures("cheap_compilation")

KEY = jr.key(0)


def state_of(position, goal):
    environment = PointRobot(dimensions=len(position))
    start = environment.reset_env(KEY, environment.default_params)[1]
    parts = {"position": jnp.asarray(position), "goal": jnp.asarray(goal)}
    return dataclasses.replace(start, **parts)


@pytest.mark.parametrize(
    ("goal", "dense", "sparse", "gym"),
    [
        ((-1.0, -1.0), 1.0, 1.0, 0.0),  # there
        ((1.0, 1.0), -1.0, 0.0, -8.0),  # as far as can be
        ((-1.0, -0.86), 0.901005, 1.0, -0.0196),  # within 0.1 sqrt(2) = 0.1414
        ((-0.85, -1.0), 0.893934, 0.0, -0.0225),  # not quite
    ],
)
def test_rewards_by_hand(goal, dense, sparse, gym):
    """At rest in a corner."""
    state, still = state_of((-1.0, -1.0), goal), jnp.zeros(2)
    pays = {PointRobot(): dense, PointRobot("sparse"): sparse, PointRobot("gym"): gym}
    for environment, expected in pays.items():
        found = environment.step_env(KEY, state, still, environment.default_params)
        np.testing.assert_allclose(found[2], expected, atol=1e-5)
        assert float(found[4]["reached"]) == sparse
        assert not found[3]


def test_a_step_by_hand():
    """Velocities are bounded and scaled, and walls hold."""
    environment = PointRobot(dimensions=3)
    params = dataclasses.replace(environment.default_params, speed=jnp.float32(0.2))
    state, action = state_of((0.0, 0.5, -0.9), (0.1, 0.2, 0.3)), jnp.asarray([3.0, -0.5, -1.0])
    seen, after, *_ = environment.step_env(KEY, state, action, params)
    np.testing.assert_allclose(after.position, [0.2, 0.4, -1.0], rtol=1e-6)
    np.testing.assert_allclose(seen, [0.2, 0.4, -1.0, 0.1, 0.2, 0.3], rtol=1e-6)
    assert int(after.time) == 1


def test_starts_and_goals_fill_the_box():
    environment = PointRobot()
    begin = jax.jit(jax.vmap(lambda key: environment.reset_env(key, environment.default_params)[1]))
    starts = begin(jr.split(jr.key(1), 2000))
    for places in (np.asarray(starts.position), np.asarray(starts.goal)):
        assert np.abs(places).max() <= 1.0 and np.abs(places.mean(0)).max() < 0.06
        np.testing.assert_allclose(places.std(0), 3**-0.5, atol=0.03)
    assert abs(np.corrcoef(starts.position[:, 0], starts.goal[:, 0])[0, 1]) < 0.1


@pytest.mark.parametrize("dimensions", [1, 4])
def test_it_keeps_the_laws_of_environments(dimensions, getkey):
    task = Vary(PointRobot(dimensions=dimensions), speed=(0.05, 0.2)).sample(key=getkey())
    laws.check(task)
    assert task.spaces == rl.Spaces(2 * dimensions, dimensions, continuous=True)
    assert task.metrics == ("reached",)
    life = rl.lifetime(Constant(), task, steps=250, key=getkey())
    assert int(life.episodes) == 2 and -250 <= float(life.total_reward) <= 250


def test_equal_ones_are_equal():
    assert PointRobot() == PointRobot(dimensions=2) != PointRobot(dimensions=3)
    assert PointRobot() != PointRobot("sparse") and hash(PointRobot()) == hash(PointRobot())
    with pytest.raises(ValueError, match="`dimensions` must be at least 1, got 0"):
        PointRobot(dimensions=0)


def test_the_command_line_has_it():
    tasks = make_tasks("point:dimensions=3,reward=gym,speed=0.1..0.3")
    assert tasks.spaces == rl.Spaces(6, 3, continuous=True)
