"""Tasks, what they say of their sizes, and where they come from."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gymnax.environments.classic_control.cartpole import CartPole
from helpers import assert_trees_identical
from probes import CLOCKS, Clock, cart_pole_params, clock

import rl
from rl.envs import BernoulliBandits


class Poles(rl.TaskDistribution):
    """Cart-poles with poles of random length."""

    cart_pole: CartPole = eqx.field(static=True)

    def sample(self, *, key):
        length = jr.uniform(key, minval=0.3, maxval=0.7)
        params = cart_pole_params(length=length, x_threshold=2.0 * length)
        mask = jr.uniform(key, (4,)) < 0.5
        return rl.Task(self.cart_pole, params, observation_mask=mask)


@pytest.mark.parametrize(("form", "size"), [("vector", 2), ("integers", 3), ("image", 12)])
def test_observations_of_any_shape_are_counted(form, size):
    spaces = clock(form).spaces
    assert (spaces.observation_size, spaces.num_actions) == (size, 3)
    assert spaces.observation_mask is spaces.action_mask is None
    assert isinstance(spaces.num_actions, int)


def test_masks_are_passed_on():
    sensors, arms = (jnp.asarray(np.array(m)) for m in ([True, False], [True, True, False]))
    task = clock()
    task = rl.Task(task.environment, task.params, observation_mask=sensors, action_mask=arms)
    assert task.spaces.observation_mask is sensors
    assert task.spaces.action_mask is arms
    assert task.metrics == ()


def test_masks_of_another_size_are_refused():
    task = clock()
    task = rl.Task(task.environment, task.params, action_mask=jnp.ones(2, bool))
    with pytest.raises(ValueError, match=r"`action_mask` must have shape \(3,\), got \(2,\)"):
        _ = task.spaces


def test_environments_of_gymnax_are_environments():
    assert isinstance(CartPole(), rl.Environment)
    assert isinstance(Clock(), rl.Environment)
    assert not isinstance(object(), rl.Environment)


def test_parameters_are_dynamic_and_the_rest_is_not():
    task = clock(terminates_at=4, truncates_at=9)
    assert [int(x) for x in jax.tree.leaves(task)] == [9, 4]
    assert jax.tree.structure(clock()) == jax.tree.structure(task)
    assert jax.tree.structure(clock("image")) != jax.tree.structure(task)
    other = rl.Task(CLOCKS["vector"], task.params)
    assert jax.tree.structure(other) != jax.tree.structure(task)  # no metrics


def test_spaces_are_known_where_parameters_are_traced():
    cart_pole = CartPole()

    @jax.jit
    def sizes(length):
        task = rl.Task(cart_pole, cart_pole_params(length=length, x_threshold=length))
        return jnp.zeros((task.spaces.observation_size, task.spaces.num_actions))

    assert sizes(0.5).shape == (4, 2)


def test_a_fixed_task_is_always_the_same(getkey):
    task = clock(terminates_at=4)
    fixed = rl.FixedTask(task)
    for _ in range(2):
        assert_trees_identical(fixed.sample(key=getkey()), task)
    assert fixed.spaces == rl.Spaces(2, 3)


@pytest.mark.parametrize(
    ("tasks", "sizes"),
    [
        (BernoulliBandits(3), (1, 3)),
        (BernoulliBandits((2, 12)), (1, 12)),
        (BernoulliBandits(2, max_arms=5), (1, 5)),
        (Poles(CartPole()), (4, 2)),
        (rl.FixedTask(rl.Task(CartPole(), cart_pole_params())), (4, 2)),
        (rl.FixedTask(rl.Task(CartPole(), cart_pole_params(x_threshold=jnp.asarray(2.4)))), (4, 2)),
        (rl.FixedTask(clock("image")), (12, 3)),
    ],
    ids=["bandits", "mixed", "padded", "poles", "cart-pole", "cart-pole of arrays", "clock"],
)
def test_a_distribution_has_the_sizes_of_all_its_tasks(tasks, sizes):
    spaces = tasks.spaces
    assert (spaces.observation_size, spaces.num_actions) == sizes
    # Which of them exist is up to each task.
    assert spaces.observation_mask is spaces.action_mask is None


def test_a_distribution_needs_sample():
    with pytest.raises(TypeError, match="abstract"):
        rl.TaskDistribution()  # pyright: ignore[reportAbstractUsage]
