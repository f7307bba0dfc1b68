"""Meta-tests against NumPy, and against single lives."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import assert_trees_identical, make, quick_jit
from jaxtyping import PRNGKeyArray
from toys import Oracles, Vector

import meta
import rl
from rl.envs import BernoulliBandits

LEARNER, BANDITS = rl.classic.ThompsonSampling(), BernoulliBandits(2)
STEPS, LIVES, KEY = 5, 7, jr.key(11)


def evaluate(
    batch: int = 1024,
    learner: rl.Learner = LEARNER,
    tasks: rl.TaskDistribution = BANDITS,
    lives: int = LIVES,
    key: PRNGKeyArray = KEY,
):
    return meta.evaluate(learner, tasks, steps=STEPS, lives=lives, key=key, batch=batch)


@pytest.fixture(scope="module")
def evaluation():
    return evaluate()


def test_mean_and_standard_error():
    rewards = np.asarray([1.0, 4.0, -2.0, 0.5], np.float32)
    regrets = np.asarray([3.0, 3.0, 5.0, 9.0], np.float32)
    result = meta.Evaluation(
        jnp.asarray(rewards), {"regret": jnp.asarray(regrets)}, jnp.zeros(STEPS)
    )
    for metric, values in ((None, rewards), ("regret", regrets)):
        assert result.mean(metric) == pytest.approx(values.mean())
        assert result.sem(metric) == pytest.approx(values.std(ddof=1) / np.sqrt(4))
        assert isinstance(result.mean(metric), float) and isinstance(result.sem(metric), float)


def test_one_life_has_no_standard_error():
    result = meta.Evaluation(jnp.ones(1), {}, jnp.zeros(STEPS))
    assert result.mean() == 1.0 and np.isnan(result.sem())


@pytest.mark.parametrize(
    ("totals", "known"),
    [({}, "it has: none"), ({"a": jnp.ones(2), "b": jnp.ones(2)}, "it has: a, b")],
)
def test_unknown_metrics(totals, known):
    result = meta.Evaluation(jnp.ones(2), totals, jnp.zeros(STEPS))
    for statistic in (result.mean, result.sem):
        with pytest.raises(ValueError, match=f"no metric 'return'; {known}"):
            statistic("return")


def test_lives_are_those_of_their_keys(evaluation):
    @quick_jit
    def alone(key):
        life = meta.live(LEARNER, BANDITS, steps=STEPS, key=key, record=("rewards",))
        return life.total_reward, life.totals, life.rewards

    lives = [alone(key) for key in jr.split(KEY, LIVES)]
    rewards, totals, curves = jax.tree.map(lambda *x: np.stack(x), *lives)
    np.testing.assert_array_equal(np.asarray(evaluation.total_rewards), rewards)
    assert set(evaluation.totals) == set(totals) == {"regret"}
    np.testing.assert_allclose(np.asarray(evaluation.totals["regret"]), totals["regret"], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(evaluation.rewards), curves.mean(0), rtol=1e-6)
    assert evaluation.total_rewards.shape == (LIVES,) and evaluation.rewards.shape == (STEPS,)
    assert len(np.unique(totals["regret"])) == LIVES  # every life has a task of its own


def test_a_life_is_that_of_its_task():
    @quick_jit
    def both(key):
        task_key, life_key = jr.split(key)
        task = BANDITS.sample(key=task_key)
        expected = rl.lifetime(LEARNER, task, steps=STEPS, key=life_key)
        return expected, meta.live(LEARNER, BANDITS, steps=STEPS, key=key, record=("actions",))

    expected, life = both(KEY)
    np.testing.assert_array_equal(np.asarray(life.actions), np.asarray(expected.actions))
    np.testing.assert_array_equal(np.asarray(life.total_reward), np.asarray(expected.total_reward))
    assert life.rewards is None and life.observations is None


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_the_batch_does_not_matter(batch):
    oracles, vector = Oracles(), make(Vector)
    whole = evaluate(1024, vector, oracles)
    parts = evaluate(batch, vector, oracles)
    for ours, theirs in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-6)
    assert len(np.unique(np.asarray(whole.total_rewards))) == LIVES


def test_the_key_decides(evaluation):
    assert_trees_identical(evaluate(), evaluation)
    other = evaluate(key=jr.key(12))
    assert not np.allclose(
        np.asarray(other.totals["regret"]), np.asarray(evaluation.totals["regret"])
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lives": 0}, "`lives` must be at least 1, got 0"),
        ({"lives": -3}, "`lives` must be at least 1, got -3"),
        ({"batch": 0}, "`batch` must be at least 1, got 0"),
    ],
)
def test_impossible_numbers(options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(**options)
    with pytest.raises(ValueError, match="`steps` must be at least 1"):
        meta.evaluate(LEARNER, BANDITS, steps=0, lives=1, key=KEY)


def test_parts_of_lives_are_means_of_the_recorded_steps():
    cut = meta.evaluate(LEARNER, BANDITS, steps=STEPS, lives=LIVES, key=KEY, parts=2)
    assert cut.by_part is not None and set(cut.by_part) == {"reward", "regret"}
    for i, key in enumerate(jr.split(KEY, LIVES)):
        life = meta.live(LEARNER, BANDITS, steps=STEPS, key=key, record=("rewards", "metrics"))
        assert life.metrics is not None and life.rewards is not None
        for name, course in (("reward", life.rewards), ("regret", life.metrics["regret"])):
            first, last = np.asarray(course)[:3].mean(), np.asarray(course)[3:].mean()
            np.testing.assert_allclose(cut.by_part[name][i], [first, last], rtol=1e-6)
    for metric in (None, "regret"):
        values = np.asarray(cut.by_part[metric or "reward"])
        change = values[:, 1] - values[:, 0]
        mean, error = cut.improvement(metric)
        assert mean == pytest.approx(change.mean(), abs=1e-6)
        assert error == pytest.approx(change.std(ddof=1) / np.sqrt(LIVES), rel=1e-5)


def test_improvement_needs_parts_and_a_known_metric(evaluation):
    with pytest.raises(ValueError, match=r"evaluate\(..., parts=10\)"):
        evaluation.improvement()
    cut = meta.evaluate(LEARNER, BANDITS, steps=STEPS, lives=1, key=KEY, parts=1)
    with pytest.raises(ValueError, match="no metric 'return'; it has: regret"):
        cut.improvement("return")
    mean, error = cut.improvement()
    assert mean == 0.0 and np.isnan(error)


@pytest.mark.parametrize("parts", [0, STEPS + 1])
def test_parts_must_fit_into_a_life(parts):
    with pytest.raises(ValueError, match=f"`parts` must be 1 to {STEPS}"):
        meta.evaluate(LEARNER, BANDITS, steps=STEPS, lives=1, key=KEY, parts=parts)
