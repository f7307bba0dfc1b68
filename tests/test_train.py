"""Meta-training: what it computes, and what it tells."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import assert_trees_identical, logged, make
from toys import GENERATIONS, KEY, VECTOR, Oracles, Vector, closeness, made, train

import meta
import rl
from meta import EvolutionStrategy
from rl.envs import BanditParams, BernoulliBandit, BernoulliBandits

# Most of the time here is spent in the compiler.
pytestmark = pytest.mark.usefixtures("cheap_compilation")


def values(learner):
    """The parameters of a `Vector`."""
    (array,) = jax.tree.leaves(learner)
    return np.asarray(array)


@pytest.fixture(scope="module")
def whole():
    """The uninterrupted training."""
    return train(chunk=GENERATIONS)


# Results


def test_the_result(whole):
    assert whole.finished and int(whole.state.generation) == GENERATIONS
    assert [row["generation"] for row in whole.history] == list(range(1, GENERATIONS + 1))
    assert whole.tests == []
    assert 0 < whole.compile_seconds < whole.seconds
    assert jax.tree.structure(whole.learner) == jax.tree.structure(VECTOR)
    assert not np.allclose(values(whole.learner), values(VECTOR), atol=0.01)
    steps = 4 * 3 * 2  # of the population, in their lives
    for row in whole.history:
        assert row["steps_per_second"] == pytest.approx(steps / row["seconds"], rel=0.01)
        assert row["fitness_std"] > 0 and row["fitness_max"] > row["fitness_mean"]
        assert row["failed_members"] == 0


def test_the_key_decides(whole):
    assert_trees_identical(train(chunk=GENERATIONS).state, whole.state)
    other = train(chunk=GENERATIONS, key=jr.key(6)).learner
    assert not np.allclose(values(other), values(whole.learner))


class Watching(EvolutionStrategy):
    """It writes down the fitness that it is told."""

    def tell(self, state, members, fitness, *, key, weights=None):
        jax.debug.callback(lambda f: TOLD.append(np.asarray(f)), fitness)
        return super().tell(state, members, fitness, key=key, weights=weights)


TOLD: list[np.ndarray] = []


@pytest.mark.parametrize("shared", ["population", "pair", "none"])
def test_members_of_a_group_live_the_same_lives(shared):
    # The rewards of an oracle are luck: a function of the keys of the task and of the life.
    TOLD.clear()
    strategy = made(Watching, 6, 0.5, common_random_numbers=shared)
    train(strategy=strategy, fitness=meta.total_reward, generations=2, lives=2)
    jax.effects_barrier()
    assert len(TOLD) == 2
    for fitness in TOLD:
        different = len(np.unique(fitness))
        assert different == {"population": 1, "pair": 3, "none": 6}[shared]
        if shared == "pair":
            np.testing.assert_array_equal(fitness[::2], fitness[1::2])
    assert not set(TOLD[0]) & set(TOLD[1])  # other lives in each generation


def test_fitness_is_the_mean_over_lives():
    TOLD.clear()
    train(
        strategy=made(Watching, 8, common_random_numbers="none"),
        fitness=lambda life: (life.total_reward > 3.0).astype(jnp.float32),
        generations=4,
        lives=4,
    )
    jax.effects_barrier()
    quarters = 4 * np.concatenate(TOLD)
    assert set(quarters) <= {0.0, 1.0, 2.0, 3.0, 4.0} and set(quarters) & {1.0, 2.0, 3.0}


def test_negative_regret():
    life = meta.live(
        rl.classic.RandomPlayer(), BernoulliBandits(3), steps=20, key=KEY, record=("metrics",)
    )
    assert life.metrics is not None
    regret = float(np.asarray(life.metrics["regret"], np.float64).sum())
    assert float(meta.negative_regret(life)) == pytest.approx(-regret, rel=1e-5) and regret > 0
    assert float(meta.total_reward(life)) == float(life.total_reward)


# Improvement


class Backwards(EvolutionStrategy):
    """A broken twin: it is told the opposite."""

    def tell(self, state, members, fitness, *, key, weights=None):
        return super().tell(state, members, -fitness, key=key, weights=weights)


def test_training_makes_learners_better():
    bandit = BernoulliBandit(2)
    task = rl.Task(bandit, BanditParams(probs=jnp.asarray([0.1, 0.9])), metrics=("regret",))
    learner = make(rl.MetaRNN, 1, 2, 3)
    options: dict = dict(steps=10, lives=8, generations=30, chunk=30, key=KEY)
    gains = {}
    for twin in (EvolutionStrategy, Backwards):
        strategy = made(twin, 16, 0.3, optax.adam(0.1))
        result = meta.train(learner, rl.FixedTask(task), strategy, **options)
        fitness = [row["fitness_mean"] for row in result.history]
        gains[twin] = np.mean(fitness[-5:]) - np.mean(fitness[:5])
    # A life is worth 1 to 9.
    assert gains[EvolutionStrategy] > 1.5
    assert gains[Backwards] < -1.5


# Telling


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    train(generations=1)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_the_callback_sees_the_state_and_the_learner(whole):
    seen = []
    train(callback=lambda *args: seen.append(args))
    assert [int(state.generation) for state, _, _ in seen] == [3, 6, 7]
    assert [row["generation"] for _, _, row in seen] == [3, 6, 7]
    assert all(type(learner) is Vector for _, learner, _ in seen)
    assert_trees_identical(seen[-1][0], whole.state)
    assert_trees_identical(seen[-1][1], whole.learner)


class Trial(Oracles):
    """A task of which nobody is told."""


def test_meta_tests_are_from_the_same_keys(tmp_path):
    # The reward of an oracle does not depend on the learner: it shows the keys of the lives.
    result = train(
        out=tmp_path,
        chunk=3,
        generations=7,
        tests={"near": Oracles(), "far": Trial(10.0)},
        test_every=3,
        test_lives=5,
    )
    rows = result.tests
    assert [row["generation"] for row in rows] == [3, 6, 7]
    names = {f"{task}/{number}" for task in ("near", "far") for number in ("reward", "omen")}
    assert all(set(row) == {"generation", *names} for row in rows)
    assert len({row["near/reward"] for row in rows}) == 1
    assert rows[0]["far/omen"] == pytest.approx(10 * rows[0]["near/omen"], rel=1e-5)
    assert [x for x in logged(tmp_path) if "test" in x] == [{**row, "test": True} for row in rows]
    assert [x["generation"] for x in logged(tmp_path) if "test" not in x] == list(range(1, 8))


def test_without_a_number_of_generations_they_are_at_the_end(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorboardX", reason="needs the extra `tb`")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "120")
    result = train(
        out=tmp_path,
        progress=True,
        tensorboard=True,
        tests={"near": Oracles()},
        test_lives=5,
    )
    assert [row["generation"] for row in result.tests] == [GENERATIONS]
    output = capsys.readouterr().out
    assert "7/7" in output and "fitness" in output and "generation 7: near/reward" in output
    events = b"".join(p.read_bytes() for p in tmp_path.glob("events.out.tfevents.*"))
    assert events.count(b"fitness_mean") == GENERATIONS and events.count(b"near/reward") == 1


# Failures


def strict_lines(folder):
    """The metrics as strict JSON, which has no NaN."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in text]


def test_a_meta_test_that_is_not_a_number(tmp_path):
    row = {"generation": 1, "t/reward": None, "t/omen": None}
    result = train(out=tmp_path, generations=1, chunk=1, tests={"t": Oracles(float("nan"))})
    assert result.tests == [row] and strict_lines(tmp_path)[1] == {**row, "test": True}


def test_failed_members_do_not_poison_the_search():
    start = eqx.tree_at(lambda v: v.values, VECTOR, jnp.asarray([0.1, 2.0, -1.0]))
    result = train(
        learner=start,
        strategy=EvolutionStrategy(8, 0.2, optax.adam(0.1)),
        fitness=lambda life: jnp.where(life.final.learner[0] < 0, jnp.nan, closeness(life)),
        generations=60,
        chunk=60,
    )
    assert sum(row["failed_members"] for row in result.history) > 5
    np.testing.assert_allclose(values(result.learner), 0.5, atol=0.35)
    for row in result.history:
        assert row["failed_members"] == 8 or np.isfinite(row["fitness_mean"])


def test_generations_without_a_finite_member_change_nothing(tmp_path):
    def hopeless(life):
        first, second, _ = life.final.learner
        worst = jnp.where(second > VECTOR.values[1], jnp.inf, -jnp.inf)
        return jnp.where(first > VECTOR.values[0], jnp.nan, worst)

    result = train(fitness=hopeless, generations=3, out=tmp_path)
    assert_trees_identical(result.learner, VECTOR)
    assert strict_lines(tmp_path) == result.history
    for row in result.history:
        assert row["failed_members"] == 4
        assert row["fitness_mean"] is row["fitness_std"] is row["fitness_max"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "`steps` must be at least 1, got 0"),
        ({"lives": 0}, "`lives` must be at least 1, got 0"),
        ({"generations": 0}, "`generations` must be at least 1, got 0"),
        ({"chunk": -1}, "`chunk` must be at least 1, got -1"),
        ({"test_lives": 0}, "`test_lives` must be at least 1, got 0"),
        ({"test_every": -1}, "`test_every` must be at least 0 .never., got -1"),
        ({"tensorboard": True}, "`tensorboard` writes into `out`; give a folder"),
        ({"learner": rl.classic.RandomPlayer()}, "RandomPlayer has no arrays.*nothing to meta-t"),
    ],
)
def test_impossible_trainings(options, message):
    with pytest.raises(ValueError, match=message):
        train(**options)


class Unnamed(Vector):
    """It does not keep its argument."""

    def __init__(self, amount: int, *, key: jax.Array):
        super().__init__(amount, key=key)


def test_what_cannot_be_saved_is_refused_before_it_is_trained(tmp_path):
    odd = make(rl.SymLA, 4, 2, 2, initial_state=lambda noise, inputs: noise)
    with pytest.raises(ValueError, match="initial_state=.* of SymLA cannot be saved"):
        train(learner=odd, out=tmp_path)
    with pytest.raises(ValueError, match="Unnamed does not keep its argument"):
        train(learner=make(Unnamed, 3), out=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert train(learner=make(Unnamed, 3), generations=1).finished  # nothing is to be saved here
