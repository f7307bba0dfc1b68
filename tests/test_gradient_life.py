"""Lives that are gone through again: what is kept of them, and how far gradients reach."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import assert_trees_identical, close, make, quick_jit
from probes import Witness, clock

import meta
import rl
from meta._gradient_life import live_through, replay, unroll
from rl.envs import BernoulliBandits

STEPS = 12
SMALL = {"hidden_size": 3, "forward_size": 2, "backward_size": 2}


def test_all_that_the_learner_was_told_is_kept():
    task = clock(terminates_at=5, truncates_at=3)
    tasks = rl.FixedTask(task)
    witness = Witness(STEPS + 1)
    experience = live_through(witness, tasks, steps=STEPS, key=jr.key(0))
    birth_key, life_key = jr.split(jr.key(0))
    start = rl.begin(witness, task, key=jr.split(birth_key)[1])
    # One step more, so that the last time step is told, too.
    life = rl.lifetime(witness, task, steps=STEPS + 1, key=life_key, start=start)
    assert life.rewards is not None and life.actions is not None
    entries = life.final.learner.entries
    assert_trees_identical(experience.timesteps, entries)
    np.testing.assert_array_equal(experience.actions, life.actions[:-1])
    np.testing.assert_array_equal(experience.rewards, life.rewards[:-1])
    np.testing.assert_array_equal(experience.truncated, np.arange(STEPS) % 3 == 2)
    assert not experience.terminated.any()
    assert float(experience.total_reward) == float(life.rewards[:-1].sum())


LEARNERS = {
    "metarnn": lambda: make(rl.MetaRNN, 1, 3, 4),
    "symla": lambda: make(rl.SymLA, **SMALL),
}


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_life_gone_through_again_is_the_same_life(learner):
    learner, tasks = LEARNERS[learner](), BernoulliBandits((2, 3))
    both = quick_jit(
        lambda key: (
            experience := live_through(learner, tasks, steps=STEPS, key=key),
            replay(learner, tasks, experience, key=key),
        )
    )
    experience, (log_probs, entropies) = both(jr.key(3))
    task_key, begin_key = jr.split(jr.split(jr.key(3))[0])
    task = tasks.sample(key=task_key)
    state = rl.begin(learner, task, key=begin_key).learner
    advance = quick_jit(learner.advance)
    for t in range(STEPS):
        timestep = jax.tree.map(lambda x, t=t: x[t], experience.timesteps)
        state, logits = advance(state, timestep)
        logits = np.asarray(logits, np.float64)
        chances = np.exp(logits) / np.exp(logits).sum()
        close(log_probs[t], np.log(chances[int(experience.actions[t])]))
        seen = chances[chances > 0]
        close(entropies[t], -(seen * np.log(seen)).sum())


def leak(state, given):
    """A leaky integrator with a weight, and a counter that has no gradient."""
    weight, level, count = state
    level = weight * level + given
    return (weight, level, count + 1), level


def levels(weight, birth, inputs, **options):
    state = (weight, birth, jnp.asarray(0, jnp.int32))
    return unroll(leak, state, inputs, **options)


@pytest.mark.parametrize("rematerialise", [True, False])
@pytest.mark.parametrize("length", [1, 2, 7, 9, 10])
def test_unrolling_is_a_scan(length, rematerialise):
    inputs, marks = jnp.arange(1.0, length + 1.0), jnp.cos(jnp.arange(float(length)))
    weight, birth = jnp.asarray(0.7), jnp.asarray(2.0)

    def plain(weight, birth):
        state = (weight, birth, jnp.asarray(0, jnp.int32))
        return (marks * jax.lax.scan(leak, state, inputs)[1]).sum()

    def ours(weight, birth):
        return (marks * levels(weight, birth, inputs, rematerialise=rematerialise)).sum()

    close(levels(weight, birth, inputs, rematerialise=rematerialise).shape, (length,))
    for theirs, mine in zip(
        jax.value_and_grad(plain, (0, 1))(weight, birth),
        jax.value_and_grad(ours, (0, 1))(weight, birth),
        strict=True,
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)


@pytest.mark.parametrize("rematerialise", [True, False])
def test_a_truncated_gradient_reaches_back_to_the_last_cut(rematerialise):
    # The gradient of a level with regard to an input is a power of the weight, if no cut is
    # between the two; birth comes before the first cut.
    inputs, weight = jnp.arange(1.0, 8.0), jnp.asarray(0.5)

    def ours(inputs, birth):
        return levels(weight, birth, inputs, truncation=3, rematerialise=rematerialise)

    of_inputs, of_birth = jax.jacobian(ours, (0, 1))(inputs, jnp.asarray(1.0))
    expected = np.zeros((7, 7))
    for later in range(7):
        for earlier in range(later + 1):
            if later // 3 == earlier // 3:
                expected[later, earlier] = 0.5 ** (later - earlier)
    np.testing.assert_allclose(of_inputs, expected, rtol=1e-6)
    np.testing.assert_array_equal(of_birth, np.zeros(7))


def temporary_bytes(steps):
    """What the gradient of the loss on one life of a learner needs while it is computed."""
    learner, tasks = make(rl.MetaRNN, 1, 3, 32), BernoulliBandits(3)
    strategy, lesson = meta.ActorCritic(), meta.Lesson(tasks, steps, 1)
    critic = eqx.filter_eval_shape(lambda key: strategy.critic(lesson, key=key), jr.key(0))
    keys = eqx.filter_eval_shape(lambda key: jr.split(key, 1), jr.key(0))
    batch = eqx.filter_eval_shape(
        lambda critic, keys: strategy.live(learner, critic, lesson, keys), critic, keys
    )

    def gradient(learner, batch):
        return jax.grad(lambda m: strategy.policy_loss(m, lesson, batch, 0.0)[0])(learner)

    program = jax.jit(gradient).lower(learner, batch).compile()
    needed = program.memory_analysis()
    assert needed is not None
    return needed.temp_size_in_bytes


def test_memory_grows_far_slower_than_lives():
    assert temporary_bytes(512) < 6 * temporary_bytes(32)  # and not 16 times as much
