"""The bodies of brax: beside brax itself, and with other masses, motors and grounds."""

import contextlib
import dataclasses
import functools
import importlib.util
import io
from typing import Any, get_args

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import optimised_jit
from known import Constant

import rl
from proofs import laws
from rl.classic import PPO, train
from rl.envs import Brax, BraxBody, Vary, _brax

BODIES = {"hopper": ("generalized", 11, 3), "ant": ("spring", 27, 8)}
bodies = pytest.mark.parametrize("body", [pytest.param(b, marks=pytest.mark.slow) for b in BODIES])


@functools.cache
def environment(body):
    return Brax(body, backend=BODIES[body][0])


@functools.cache
def programs(body):
    """Compiled once: the first step of an episode, and the next one."""
    one = environment(body)
    return jax.jit(one.reset_env), jax.jit(one.step_env)


def actions_of(body, steps):
    return jr.uniform(jr.key(1), (steps, BODIES[body][2]), minval=-1.0)


def played(body: str, steps: int = 5, **changes: float):
    """Observations, rewards and the last state of an episode with known actions."""
    reset, step = programs(body)
    params = dataclasses.replace(environment(body).default_params, **changes)
    params = jax.tree.map(jnp.asarray, params)
    observation, state = reset(jr.key(0), params)
    seen, rewards = [observation], []
    for action in actions_of(body, steps):
        observation, state, reward, _, _ = step(jr.key(2), state, action, params)
        seen.append(observation)
        rewards.append(reward)
    return np.stack(seen), np.stack(rewards), state


@bodies
def test_it_is_what_brax_computes(body):
    theirs = _brax._load(body, BODIES[body][0])
    with _brax._as_brax_computes():
        step = jax.jit(theirs.step)
        state = jax.jit(theirs.reset)(jr.key(0))
        seen, rewards = [state.obs], []
        for action in actions_of(body, 5):
            state = step(state, action)
            seen.append(state.obs)
            rewards.append(state.reward)
    ours = played(body)
    np.testing.assert_allclose(ours[0], np.stack(seen), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours[1], np.stack(rewards), rtol=1e-4, atol=1e-4)


@bodies
def test_sizes_are_those_of_the_body(body):
    backend, sensors, motors = BODIES[body]
    task = Vary(environment(body), mass=(0.5, 2.0)).sample(key=jr.key(0))
    assert task.spaces == rl.Spaces(sensors, motors, continuous=True)
    assert task.metrics == ("falls",)
    assert 0.5 <= float(task.params.mass) <= 2.0 and float(task.params.strength) == 1.0
    same = Brax(body, backend=backend)
    assert same == environment(body) and hash(same) == hash(environment(body))
    assert same != Brax(body, backend="positional")
    assert repr(same) == f"Brax({body!r}, backend={backend!r})"


@bodies
def test_every_parameter_changes_how_it_moves(body):
    plain = played(body)[0]
    np.testing.assert_array_equal(plain, played(body)[0])
    changes: dict[str, Any] = {"mass": 2.0, "strength": 0.5, "gravity": 4.0, "slope": 0.3}
    for name, value in changes.items():
        assert np.abs(played(body, **{name: value})[0] - plain).max() > 1e-2, name
    # Friction takes hold where a foot slides: a body that falls onto a slope does.
    rough, slippery = (
        played(body, steps=40, slope=0.5, friction=friction)[0] for friction in (1.0, 0.05)
    )
    assert np.abs(rough - slippery).max() > 1e-2


@pytest.mark.slow
def test_uphill_is_where_it_is_paid_to_go():
    up, down = (played("ant", steps=40, slope=slope, friction=0.05)[1] for slope in (0.5, -0.5))
    assert up.mean() < down.mean()


@pytest.mark.slow
def test_gravity_turns_with_the_slope_and_keeps_its_size():
    params = dataclasses.replace(
        jax.tree.map(jnp.asarray, environment("ant").default_params),
        gravity=jnp.float32(5.0),
        slope=jnp.float32(0.75),
    )
    gravity = environment("ant")._built(params).sys.gravity
    np.testing.assert_allclose(gravity, [-3.0, 0.0, -4.0], rtol=1e-6)


@pytest.mark.slow
def test_falls_end_episodes_and_time_cuts_them_off():
    tasks = Vary(environment("hopper"), steps_in_episode=7)
    record = ("terminated", "truncated", "episode_returns", "observations")
    life = rl.lifetime(
        Constant(), tasks.sample(key=jr.key(0)), steps=30, key=jr.key(1), record=record
    )
    assert np.asarray(life.truncated).sum() >= 3 and not np.asarray(life.terminated)[:7].any()
    # What begins anew does not begin where the first episode did.
    starts = np.asarray(life.observations)[[0, 7]]
    assert np.asarray(life.truncated)[6] and np.abs(starts[0] - starts[1]).max() > 1e-4
    assert np.abs(starts).max() < 2.0
    fallen = rl.lifetime(
        Constant(),
        Vary(environment("hopper"), gravity=30.0).sample(key=jr.key(0)),
        steps=200,
        key=jr.key(1),
    )
    assert float(fallen.totals["falls"]) == int(fallen.episodes) > 0


@pytest.mark.slow
def test_they_keep_the_laws_of_environments():
    laws.check(Vary(environment("ant")).sample(key=jr.key(0)))


@pytest.mark.slow
def test_a_hopper_learns_to_hop():
    """From 80 to 300; what more steps bring is told by `benchmarks.learners`."""
    agent = PPO(
        rollout=128, minibatches=8, discount=0.99, gae_lambda=0.95, normalise_observations=True
    )
    tasks = Vary(Brax("hopper", backend="spring"))
    learn = functools.partial(train, agent, tasks, environments=64, steps=1536)
    trained = optimised_jit(learn)(jr.key(1))
    episodes, returns = np.asarray(trained.episodes), np.nan_to_num(trained.episode_returns)
    assert episodes.shape == (12,)  # a part for each update

    def mean_return(part: slice) -> float:
        return (episodes[part] * returns[part]).sum() / episodes[part].sum()

    first, last = mean_return(slice(0, 1)), mean_return(slice(-3, None))
    assert first < 120 and last > 200, (first, last)


def test_unknown_bodies_and_backends_are_named():
    with pytest.raises(ValueError, match="one of ant, .*; got 'hoper'. Did you mean 'hopper'?"):
        Brax("hoper")
    with pytest.raises(ValueError, match="one of generalized, positional, spring; got 'mjx'"):
        Brax("ant", backend="mjx")


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'symla\[brax\]'"):
        Brax("ant")


@pytest.mark.slow
def test_all_bodies_of_brax_are_known():
    with _brax._as_brax_computes(), contextlib.redirect_stdout(io.StringIO()):
        from brax import envs
    assert set(envs._envs) == set(get_args(BraxBody))
