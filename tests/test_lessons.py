"""Several families of tasks in one generation: what is lived, what is followed, what is told."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import assert_trees_identical, logged
from toys import KEY, STRATEGY, VECTOR, Oracles, closeness, made, train

import meta
from meta import EvolutionStrategy, Generations, Lesson, _checkpoint, _lesson
from rl.envs import BernoulliBandits, ContextualBandits

pytestmark = pytest.mark.usefixtures("cheap_compilation")
PLAIN = {"steps": None, "lives": None, "fitness": None, "generations": 2, "chunk": 2}


def learn(*lessons, **options):
    """A training on lessons."""
    return train(tasks=lessons, **{**PLAIN, **options})


def near(target, scale=1.0):
    """A fitness of the parameters alone."""
    return lambda life: scale * -((life.final.learner - target) ** 2).sum()


class Watching(EvolutionStrategy):
    """It writes down the fitness that it is told."""

    def tell(self, state, members, fitness, *, key, weights=None):
        jax.debug.callback(lambda f: TOLD.append(np.asarray(f)), fitness)
        return super().tell(state, members, fitness, key=key, weights=weights)


TOLD: list[np.ndarray] = []


def test_one_lesson_is_a_training_as_ever(tmp_path):
    lesson = Lesson(Oracles(), 2, 3, weight=7.0, fitness=closeness, name="any")
    plain = train(generations=2, chunk=2, out=tmp_path)
    result = learn(lesson)
    assert_trees_identical(result.state, plain.state)
    assert [set(row) for row in result.history] == [set(row) for row in plain.history]
    # To its checkpoint, it is the same training; and it needs no tuple around it.
    assert train(**{**PLAIN, "tasks": lesson, "out": tmp_path}).history == []


def test_each_lesson_has_its_own_steps_lives_and_keys():
    TOLD.clear()
    result = learn(
        Lesson(Oracles(), 2, 4, fitness=lambda life: (life.total_reward > 3.0).astype(float)),
        Lesson(Oracles(), 5, 3, fitness=lambda life: life.final.steps.astype(float), name="steps"),
        Lesson(Oracles(), 2, 1),
        Lesson(Oracles(), 2, 1, name="again"),
        strategy=made(Watching, 8, common_random_numbers="none"),
    )
    jax.effects_barrier()
    assert [told.shape for told in TOLD] == [(4, 8)] * 2
    for quarters, steps, once, again in TOLD:
        assert set(4 * quarters) <= {0.0, 1.0, 2.0, 3.0, 4.0}
        assert set(steps) == {5.0}
        assert len(set(once) | set(again)) == 16
    per_generation = 8 * (2 * 4 + 5 * 3 + 2 + 2)
    for row in result.history:
        expected = per_generation / row["seconds"]
        assert row["steps_per_second"] == pytest.approx(expected, rel=0.01)


def test_records_tell_of_each_lesson_and_of_their_mean():
    TOLD.clear()
    options: dict = dict(strategy=made(Watching, 6, 0.1), generations=1)
    lessons = (Lesson(Oracles(), 1, 2, 3.0, near(0.0), "a"), Lesson(Oracles(), 2, 2, name="b"))
    (row,) = learn(*lessons, **options).history
    jax.effects_barrier()
    ((a, b),) = np.asarray(TOLD, np.float64)
    assert len(set(a)) == 6 and len(set(b)) == 1  # all members live the same lives
    total = (3 * a + b) / 4
    expected = {
        "fitness_mean": total.mean(),
        "fitness_std": total.std(),
        "fitness_max": total.max(),
        "fitness_mean/a": a.mean(),
        "fitness_mean/b": b.mean(),
    }
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name


# What is followed


@pytest.mark.parametrize("shaping", ["rank", "zscore"])
def test_the_search_follows_the_mean_of_the_shaped_fitness(shaping):
    options: dict = dict(optimizer=optax.sgd(1.0))
    ours, plain = (EvolutionStrategy(6, shaping=s, **options) for s in (shaping, "none"))
    state = ours.init(jnp.zeros(3), key=KEY)
    members = ours.ask(state, jnp.zeros(3), key=KEY)
    fitness = jnp.stack([members[:, 0], 1e3 * members[:, 1] ** 2])
    for weights in ((1.0, 1.0), (3.0, 1.0)):
        shaped = [meta.shape_fitness(f, shaping) for f in fitness]
        mean = (weights[0] * shaped[0] + weights[1] * shaped[1]) / sum(weights)
        found = ours.tell(state, members, fitness, weights=weights, key=KEY)
        expected = plain.tell(state, members, mean, key=KEY)
        np.testing.assert_allclose(found.es.mean, expected.es.mean, rtol=1e-5, atol=1e-7)
    alike = ours.tell(state, members, fitness, key=KEY)
    assert_trees_identical(alike, ours.tell(state, members, fitness, weights=(2.0, 2.0), key=KEY))
    with pytest.raises(ValueError, match="one for each of the 2 lessons, got 3"):
        ours.tell(state, members, fitness, weights=(1.0, 1.0, 1.0), key=KEY)


def test_no_scale_of_rewards_drowns_another():
    start = eqx.tree_at(lambda v: v.values, VECTOR, jnp.zeros(3))

    def learned(scale, weight=1.0):
        lessons = (
            Lesson(Oracles(), 1, 1, weight, near(jnp.asarray([1.0, 0.0, 0.0])), "a"),
            Lesson(Oracles(), 1, 1, 1.0, near(jnp.asarray([0.0, 0.0, 1.0]), scale), "b"),
        )
        strategy = EvolutionStrategy(32, 0.2, optax.sgd(0.3))
        result = learn(*lessons, learner=start, strategy=strategy, generations=40, chunk=40)
        return np.asarray(jax.tree.leaves(result.learner)[0])

    plain = learned(1.0)
    np.testing.assert_array_equal(learned(1024.0), plain)
    np.testing.assert_allclose(plain, [0.5, 0.0, 0.5], atol=0.2)  # between the two
    heavy = learned(1024.0, 5.0)
    assert heavy[0] > plain[0] + 0.15 and heavy[2] < plain[2] - 0.15


def test_a_member_that_fails_in_one_lesson_counts_as_its_worst_there():
    def fitness(life):
        return jnp.where(life.final.learner[0] > VECTOR.values[0], jnp.nan, 0.0)

    lessons = (Lesson(Oracles(), 1, 1, fitness=fitness), Lesson(Oracles(), 1, 1, name="fine"))
    result = learn(*lessons, generations=1)
    assert result.history[0]["failed_members"] == 2
    assert result.history[0]["fitness_mean/Oracles"] == 0.0
    assert np.isfinite(np.concatenate([x.ravel() for x in jax.tree.leaves(result.learner)])).all()


def test_lessons_of_different_sizes_are_one_program():
    result = learn(
        Lesson(BernoulliBandits((2, 3)), 3, 2, fitness=meta.negative_regret),
        Lesson(ContextualBandits(3, 2), 4, 1),
    )
    names = {n for n in result.history[0] if "/" in n}
    assert names == {"fitness_mean/BernoulliBandits", "fitness_mean/ContextualBandits"}


# Portions


def test_portions_of_lessons_with_different_lives():
    lessons = [Lesson(Oracles(), 1, 4, name="a"), Lesson(Oracles(), 1, 6, name="b")]
    options: dict = dict(key=jr.key(0), devices=jax.devices()[:1])
    program = Generations(VECTOR, lessons, EvolutionStrategy(4), **options)
    few = [(1, n) for n in (1, 2, 3, 4)]
    assert program.portions() == [*few, (1, 6), (2, 6), (4, 6)]


def test_smaller_portions_give_the_same_result(monkeypatch):
    lessons = (
        Lesson(Oracles(), 2, 4, fitness=closeness),
        Lesson(Oracles(), 3, 6, fitness=closeness, name="b"),
    )
    whole = learn(*lessons)
    assert whole.portion == (4, 6)
    chosen = [meta.Portion(1, 3)]
    monkeypatch.setattr(Generations, "portions", lambda self: chosen)
    result = learn(*lessons)
    assert result.portion == (1, 3)
    for ours, expected in zip(
        jax.tree.leaves(result.state), jax.tree.leaves(whole.state), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


# Stop and go


LESSONS = (Lesson(Oracles(), 1, 1, fitness=closeness, name="a"), Lesson(Oracles(), 2, 2, name="b"))


def test_a_training_on_lessons_is_resumed(tmp_path):
    whole = learn(*LESSONS, chunk=1, tests={"held-out": Oracles()}, test_lives=2)
    learn(*LESSONS, chunk=1, out=tmp_path, callback=lambda *_: True)
    result = learn(*LESSONS, chunk=1, out=tmp_path)
    assert [row["generation"] for row in result.history] == [2]
    assert_trees_identical(result.state, whole.state)
    rows = logged(tmp_path)
    assert [row["fitness_mean/b"] for row in rows] == [
        row["fitness_mean/b"] for row in whole.history
    ]
    # Held-out lives are as long as the longest lesson's: two rewards of 0 to 3.
    assert whole.tests[0]["held-out/omen"] < whole.tests[0]["held-out/reward"] < 6


A, B = LESSONS


@pytest.mark.parametrize(
    ("lessons", "message"),
    [
        ((A,), "tasks: None there, Oracles.. now"),
        ((B, A), r"lessons: \['a', 'b'\] there, \['b', 'a'\] now"),
        ((A, B, Lesson(Oracles(), 1, 1, name="c")), r"lessons: .*now"),
        ((A, Lesson(Oracles(), 3, 2, name="b")), "b/steps: 2 there, 3 now"),
        ((A, Lesson(Oracles(), 2, 3, name="b")), "b/lives: 2 there, 3 now"),
        ((A, Lesson(Oracles(), 2, 2, 0.5, name="b")), "b/weight: 1.0 there, 0.5 now"),
        ((A, Lesson(Oracles(2.0), 2, 2, name="b")), r"b/tasks: .*scale=2.0"),
        ((A, Lesson(Oracles(), 2, 2, fitness=closeness, name="b")), "b/fitness: total_reward"),
    ],
)
def test_lessons_are_told_apart(lessons, message, tmp_path):
    state = meta.TrainState(jnp.asarray(0), STRATEGY.init(VECTOR, key=KEY))

    def identity(lessons):
        return _checkpoint.identity_of(VECTOR, lessons, STRATEGY, KEY)

    _checkpoint.write(tmp_path, state, identity(LESSONS))
    assert_trees_identical(_checkpoint.resume(tmp_path, state, identity(LESSONS), 1), state)
    with pytest.raises(ValueError, match=f"holds another training .*{message}"):
        _checkpoint.resume(tmp_path, state, identity(lessons), 1)


def test_lessons_without_a_name_get_one():
    tasks = Oracles()
    lessons = _lesson.lessons_of(
        [Lesson(tasks, 1, 1, name="Oracles"), Lesson(tasks, 1, 1), Lesson(tasks, 1, 1)]
    )
    assert [x.name for x in lessons] == ["Oracles", "Oracles-2", "Oracles-3"]


# Mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ()}, "at least one lesson, got none"),
        ({"tasks": (A, A)}, "Two lessons are called 'a'; give each a `name` of its own"),
        ({"tasks": LESSONS, "steps": 3}, "leave out `steps`"),
        ({"tasks": LESSONS, "lives": 3, "fitness": closeness}, "leave out `lives`, `fitness`"),
        ({"tasks": Oracles()}, "`steps` and `lives` must be given with tasks"),
        ({"tasks": Oracles(), "steps": 3}, "^`lives` must be given with tasks"),
        ({"tasks": Oracles(), "steps": 0, "lives": 1}, "`steps` must be at least 1, got 0"),
    ],
)
def test_lessons_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        train(**{**PLAIN, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "`steps` must be at least 1, got 0"),
        ({"lives": -1}, "`lives` must be at least 1, got -1"),
        ({"weight": 0.0}, "`weight` must be above 0 and finite, got 0.0"),
        ({"weight": float("nan")}, "`weight` must be above 0"),
        ({"weight": float("inf")}, "`weight` must be above 0"),
        ({"name": " "}, "`name` must not be empty"),
    ],
)
def test_a_lesson_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Lesson(**{"tasks": Oracles(), "steps": 1, "lives": 1, **options})
