"""Meta-gradients of discount and lambda: by finite differences, by hand, and what they find."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import assert_trees_close, assert_trees_identical, close, quick_jit
from jaxtyping import Array
from known import Box, Discrete, louder_first
from toys import made

import proofs
import rl
from proofs import laws
from rl.classic import A2C, Experience, MetaGradientA2C

pytestmark = pytest.mark.usefixtures("cheap_compilation")
OPTIONS = {"rollout": 4, "learning_rate": 0.05, "discount": 0.8, "gae_lambda": 0.6}
SMALL = MetaGradientA2C((4,), meta_learning_rate=0.1, **OPTIONS)
SPACES = rl.Spaces(2, 2)


def lives(steps: int, learner: rl.Learner = SMALL) -> list[Any]:
    """The states of a life of random time steps."""
    rng, action = np.random.default_rng(0), None
    step, state, states = quick_jit(learner.step), learner.init(SPACES, key=jr.key(0)), []
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    for k in range(steps):
        now = rl.TimeStep.first(draw(2), SPACES)
        if action is not None:
            flags = jnp.asarray(k % 5 == 0), jnp.asarray(k % 7 == 0)
            now = rl.TimeStep(now.observation, action, draw(), *flags, draw(2))
        state, action = step(state, now, key=jr.key(k))
        states.append(state)
    return states


def test_the_first_update_is_that_of_a2c():
    tuned, plain = lives(5)[-1], lives(5, A2C((4,), **OPTIONS))[-1]
    # An update of both is from the same rollout, in the first half of two.
    assert_trees_identical(
        jax.tree.map(lambda x: x[:4], tuned.stream.transitions), plain.stream.transitions
    )
    assert_trees_close(tuned.knowledge.policy, plain.knowledge)
    close(jax.nn.sigmoid(tuned.knowledge.logits), np.asarray([0.8, 0.6], np.float32))
    assert_trees_identical(tuned.knowledge.before, lives(4)[-1].knowledge.policy)


def test_later_ones_tune_first_and_learn_with_what_came_of_it():
    states = lives(13)
    a2c = A2C((4,), **OPTIONS)
    for steps in (8, 12):
        before, after = states[steps - 1].knowledge, states[steps].knowledge
        ring = states[steps].stream.transitions
        order = slice(4, 8) if steps == 8 else slice(0, 4)
        other = slice(0, 4) if steps == 8 else slice(4, 8)

        def stream(part: slice, steps: int = steps, ring: Any = ring) -> Experience:
            whole = states[steps].stream
            some = jax.tree.map(lambda x: x[part], ring)
            return jax.tree.map(
                lambda x: x[None], eqx.tree_at(lambda s: s.transitions, whole, some)
            )

        last, previous = stream(order), stream(other)
        hindsight = quick_jit(jax.grad(SMALL.hindsight))
        gradient = hindsight(before.logits, before.before, previous, last, key=jr.key(0))
        assert (np.abs(gradient) > 1e-7).all()
        if steps == 8:  # the first step of Adam
            close(after.logits, before.logits - 0.1 * np.sign(gradient), dtype="float32")
        shares = jax.nn.sigmoid(after.logits)
        update = quick_jit(lambda p, s, d, t: a2c.update(p, s, d, t, key=jr.key(0)))
        assert_trees_close(after.policy, update(before.policy, last, shares[0], shares[1]))
        assert_trees_identical(after.before, before.policy)


def test_the_gradient_is_that_of_finite_differences():
    # A critic that does not learn: what the last rollout was worth is the same after any update.
    learner = MetaGradientA2C((4,), value_weight=0.0, **OPTIONS)
    state = lives(9, learner)[-1]
    with jax.enable_x64(True):
        precise = lambda x: x.astype(jnp.float64) if eqx.is_inexact_array(x) else x  # noqa: E731
        knowledge, stream = jax.tree.map(precise, (state.knowledge, state.stream))
        streams = jax.tree.map(lambda x: x[None], stream)
        last, previous = learner._rollouts(streams, jnp.asarray(8))
        of = jax.jit(
            lambda logits: learner.hindsight(
                logits, knowledge.before, previous, last, key=jr.key(0)
            )
        )
        gradient = jax.jit(jax.grad(of))(knowledge.logits)
        small = 1e-5 * jnp.eye(2)
        found = [(of(knowledge.logits + d) - of(knowledge.logits - d)) / 2e-5 for d in small]
        np.testing.assert_allclose(gradient, np.asarray(found), rtol=1e-5)


@dataclasses.dataclass(frozen=True)
class Later:
    """What is done first pays at the end of an episode of three steps; nothing else does."""

    num_actions: int = 2

    def observation_space(self, params: Any) -> Box:
        return Box((2,))

    def action_space(self, params: Any) -> Discrete:
        return Discrete(2)

    def reset(self, key: Array, params: Any) -> tuple[Array, Array]:
        return jnp.asarray([1.0, 0.0]), jnp.zeros(2)

    def step(self, key: Array, state: Array, action: Array, params: Any) -> tuple:
        time, first = state
        first = jnp.where(time == 0.0, action.astype(jnp.float32), first)
        over = time == 2.0
        reward = jnp.where(over, 2.0 * first - 1.0, 0.0)
        moved = jnp.where(over, jnp.zeros(2), jnp.stack([time + 1.0, first]))
        seen = jnp.where(moved[0] == 0.0, jnp.asarray([1.0, 0.0]), jnp.asarray([0.0, 1.0]))
        info = {"final_observation": jnp.asarray([0.0, 1.0])}
        return seen, moved, reward, over, jnp.asarray(False), info


def test_it_looks_farther_where_that_pays():
    """With a lambda of 0.05, what is done first is hardly credited."""
    options = {"rollout": 12, "discount": 0.95, "normalise_advantages": False}
    learner = MetaGradientA2C((8,), gae_lambda=0.05, meta_learning_rate=0.05, **options)
    task = rl.Task(Later(), jnp.zeros(()))
    runs = jax.jit(
        jax.vmap(lambda key: rl.lifetime(learner, task, steps=600, key=key, record=()).final)
    )
    logits = runs(jr.split(jr.key(0), 8)).learner.knowledge.logits
    assert float(jax.nn.sigmoid(logits[:, 1]).mean()) > 0.1


def test_it_runs_with_any_sensors_and_actions():
    laws.any_task(SMALL)


class Ordered(MetaGradientA2C):
    """A broken twin: the first sensors are louder than the others."""

    def step(self, state: Any, timestep: rl.TimeStep, *, key: Array) -> tuple:
        return super().step(state, louder_first(timestep), key=key)


def test_no_sensor_and_no_action_is_singled_out():
    assert proofs.certify(SMALL, sweep=(), refute=False)
    twin = made(Ordered, (4,), rollout=4)
    assert not proofs.certify(twin, sweep=(), refute=False)


def test_many_environments_have_one_discount():
    tasks = rl.FixedTask(rl.Task(Later(), jnp.zeros(())))
    trained = rl.classic.train(SMALL, tasks, environments=3, steps=12, key=jr.key(0))
    logits = trained.knowledge.logits
    assert logits.shape == (2,) and (logits != SMALL.newborn(SPACES, key=jr.key(0)).logits).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"discount": 1.0}, "`discount` must lie between 0 and 1, got 1.0"),
        ({"gae_lambda": 0.0}, "`gae_lambda` must lie between 0 and 1, got 0.0"),
        ({"rollout": 0}, "`rollout` must be at least 1, got 0"),
        ({"meta_learning_rate": 0.0}, "`meta_learning_rate` must be a number above 0, got 0.0"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        MetaGradientA2C(**options)


@pytest.mark.slow
def test_it_learns_to_balance_a_pole():
    tasks = rl.envs.Vary(rl.envs.CartPole("gym"))
    agent = MetaGradientA2C()
    trained = rl.classic.train(agent, tasks, environments=16, steps=9600, key=jr.key(1))
    episodes, returns = np.asarray(trained.episodes)[-60:], np.asarray(trained.episode_returns)
    assert (episodes * np.nan_to_num(returns[-60:])).sum() / episodes.sum() > 450
