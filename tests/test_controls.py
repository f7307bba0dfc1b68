"""Controls: they take away what a learner learns from, and nothing else."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import assert_trees_close, close, make
from jaxtyping import Array
from test_continuous import reach

import rl
import rl.classic
from rl.envs import BernoulliBandits

STEPS = 60
pytestmark = pytest.mark.usefixtures("cheap_compilation")


def life(learner, task, steps=STEPS, seed=0) -> Any:
    return rl.lifetime(learner, task, steps=steps, key=jr.key(seed))


def bandit(*probs):
    task = BernoulliBandits(len(probs)).sample(key=jr.key(0))
    return eqx.tree_at(lambda t: t.params.probs, task, jnp.asarray(probs))


FAR = rl.Task(reach().environment, -jnp.ones(4))


class Listener(rl.Learner):
    """Writes down the rewards that it is told of, and acts 0 and 1 in turn."""

    capacity: int = eqx.field(static=True, default=STEPS)

    def init(self, spaces, *, key):
        return jnp.full((self.capacity,), jnp.nan), jnp.asarray(0, jnp.int32)

    def step(self, state: tuple[Array, Array], timestep, *, key):
        told, count = state
        return (told.at[count].set(timestep.reward), count + 1), count % 2


LEARNERS = {
    "continuous": (lambda: make(rl.SymLA, 4, 3, 2), reach()),
    "UCB1": (rl.classic.UCB1, bandit(0.2, 0.8)),
}


# ---- frozen -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", LEARNERS)
def test_a_frozen_learner_lives_as_before_and_learns_no_more(case):
    build, task = LEARNERS[case]
    learner, after = build(), 7
    frozen, plain = life(rl.Frozen(learner, after), task, 20), life(learner, task, 20)
    # The action of a step follows from the state before it: the first that may differ is later.
    close(frozen.actions[: after + 1], plain.actions[: after + 1])
    short, state = life(learner, task, after), frozen.final.learner.learner
    assert_trees_close(state, short.final.learner)
    with pytest.raises(AssertionError):
        assert_trees_close(state, plain.final.learner)


def test_lessons_after_the_freeze_are_lost():
    """Frozen at birth, UCB1 knows its last pull at most; frozen later, it keeps its skill."""
    task, keys = bandit(0.0, 1.0), jr.split(jr.key(3), 8)
    found = []
    for after in (0, 40):
        learner = rl.Frozen(rl.classic.UCB1(), after)
        lives = jax.vmap(lambda k, one=learner: rl.lifetime(one, task, steps=200, key=k))(keys)
        found.append(np.asarray(lives.rewards)[:, 100:].mean())
    assert found[0] < 0.6
    assert found[1] > 0.9


def test_before_the_freeze_nothing_is_changed():
    build, task = LEARNERS["continuous"]
    frozen, plain = life(rl.Frozen(build(), 20), task, 20), life(build(), task, 20)
    assert_trees_close(frozen.final.learner.learner, plain.final.learner)
    close(frozen.actions, plain.actions)


def test_freezing_at_birth_is_allowed_and_before_it_is_not():
    frozen = life(rl.Frozen(Listener(), 0), bandit(0.5, 0.5), 5)
    np.testing.assert_array_equal(frozen.actions, np.zeros(5))
    with pytest.raises(ValueError, match="`after` must be at least 0 environment steps, got -1"):
        rl.Frozen(Listener(), -1)


# ---- shuffled rewards ---------------------------------------------------------------------------


def heard(memory: int, task: rl.Task, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The rewards that were told, and those that were true, in the order of steps."""
    told = life(rl.ShuffledRewards(Listener(), memory), task, seed=seed)
    listened = np.asarray(told.final.learner.learner[0])
    assert listened[0] == 0.0
    return listened[1:], np.asarray(told.rewards)[:-1]


class Clock(rl.Learner):
    """Acts with a number that grows from step to step, so that every reward in `FAR` is less."""

    inner: Listener = Listener()

    def init(self, spaces, *, key):
        return self.inner.init(spaces, key=key)

    def step(self, state, timestep, *, key):
        state, _ = self.inner.step(state, timestep, key=key)
        return state, jnp.full((4,), state[1] / STEPS, jnp.float32)


def test_told_rewards_are_some_of_those_so_far():
    learner = rl.ShuffledRewards(Clock(), STEPS)
    found = life(learner, FAR)
    told, true = np.asarray(found.final.learner.learner[0])[1:], np.asarray(found.rewards)[:-1]
    assert len(np.unique(true)) == STEPS - 1
    index = np.array([int(np.flatnonzero(true == x)[0]) for x in told])
    assert np.all(index <= np.arange(STEPS - 1))
    assert index[0] == 0
    share = index[10:] / np.arange(10, STEPS - 1)  # about uniform in [0, 1]
    assert abs(share.mean() - 0.5) < 5 * np.sqrt(1 / 12 / share.size)
    assert share.min() < 0.2 and share.max() > 0.8


def test_a_small_memory_is_a_sample_of_the_whole_life():
    """Algorithm R: each reward is kept with the same chance, early or late."""
    task, keys = FAR, jr.split(jr.key(5), 400)
    learner = rl.ShuffledRewards(Clock(), 6)
    lives = jax.jit(jax.vmap(lambda k: rl.lifetime(learner, task, steps=STEPS, key=k)))(keys)
    kept = np.asarray(lives.final.learner.rewards)
    true = np.asarray(lives.rewards)[0, :-1]
    counts = (kept[:, :, None] == true).sum((0, 1)) / len(keys)
    assert kept.shape == (400, 6)
    np.testing.assert_allclose(counts.sum(), 6.0)
    chance = 6 / (STEPS - 1)
    assert np.abs(counts - chance).max() < 5 * np.sqrt(chance * (1 - chance) / len(keys))


def test_rewards_keep_their_distribution_and_lose_their_cause():
    """Actions alternate between an arm that never pays and one that always does."""
    told, true = heard(STEPS, bandit(0.0, 1.0))
    np.testing.assert_array_equal(true, np.arange(STEPS - 1) % 2)
    assert abs(told.mean() - true.mean()) < 5 * 0.5 / np.sqrt(STEPS)
    assert 0.2 < (told == true)[10:].mean() < 0.8


def test_a_learner_falls_to_chance():
    task, keys = bandit(0.0, 1.0), jr.split(jr.key(4), 32)
    found = []
    for learner in (rl.classic.UCB1(), rl.ShuffledRewards(rl.classic.UCB1(), 100)):
        lives = jax.vmap(lambda k, one=learner: rl.lifetime(one, task, steps=100, key=k))(keys)
        found.append(np.asarray(lives.rewards)[:, 50:].mean())
    assert found[0] > 0.85
    assert abs(found[1] - 0.5) < 0.15


@pytest.mark.parametrize("case", LEARNERS)
def test_any_learner_can_be_misled(case):
    build, task = LEARNERS[case]
    control = rl.ShuffledRewards(rl.Frozen(build(), 5), 10)
    keys = jr.split(jr.key(0), 2)
    lives = jax.vmap(lambda key: rl.lifetime(control, task, steps=12, key=key))(keys)
    assert np.all(np.isfinite(np.asarray(lives.rewards)))
    one, other = np.asarray(lives.actions)
    assert np.any(one != other)


def test_no_memory_is_refused():
    with pytest.raises(ValueError, match="`memory` must be at least 1 reward, got 0"):
        rl.ShuffledRewards(Listener(), 0)
