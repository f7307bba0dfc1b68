"""Persistent evolution strategies: lives in parts, and a gradient that sees through the cuts."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import assert_trees_identical, on_devices, quick_jit
from jaxtyping import Array, Float, PRNGKeyArray, PyTree
from toys import GENERATIONS, KEY, STRATEGY, VECTOR, Oracle, Oracles, closeness, made, train

import meta
import rl
from meta import EvolutionStrategy, Lesson, PersistentES, _program

pytestmark = pytest.mark.usefixtures("cheap_compilation")
ROOT = Path(__file__).parent.parent
# As `toys.STRATEGY`, in two parts of one step each.
TWO = PersistentES(
    STRATEGY.population,
    STRATEGY.std,
    STRATEGY.optimizer,
    parts=2,
    common_random_numbers=STRATEGY.common_random_numbers,
)
TOLD: list[np.ndarray] = []


class Watching(PersistentES):
    """It writes down the fitness that it is told."""

    def tell(self, state, members, fitness, *, key, weights=None):
        jax.debug.callback(lambda f: TOLD.append(np.asarray(f)), fitness)
        return super().tell(state, members, fitness, key=key, weights=weights)


class Truncated(PersistentES):
    """Broken: it forgets the perturbations of the parts before."""

    def tell(self, state, members, fitness, *, key, weights=None):
        new = EvolutionStrategy.tell(self, state, members, fitness, key=key, weights=weights)
        return new._replace(accumulated=state.accumulated)


def told(parts, generations):
    """The fitness `[generations lessons members]` that a strategy of so many parts is told."""
    TOLD.clear()
    result = train(
        strategy=made(Watching, 6, 0.5, parts=parts, common_random_numbers="none"),
        tasks=[
            # The rewards of an oracle are luck: a function of the keys of the task and of the life.
            Lesson(Oracles(), 6, 2, name="luck"),
            # The learned variables of a vector are its parameters at birth.
            Lesson(Oracles(), 6, 1, fitness=lambda life: life.final.learner[0], name="birth"),
            Lesson(
                Oracles(), 3, 2, fitness=lambda life: life.final.steps.astype(float), name="steps"
            ),
        ],
        **dict.fromkeys(("steps", "lives", "fitness")),
        generations=generations,
        chunk=1,
    )
    jax.effects_barrier()
    return np.stack(TOLD), result


@pytest.fixture(scope="module")
def three(cheap_compilation):
    """What is told of three parts, for two lives."""
    return told(3, 6)


# What a generation lives


def test_one_part_is_the_plain_strategy():
    options = {n: getattr(STRATEGY, n) for n in ("std", "optimizer", "common_random_numbers")}
    one = train(strategy=PersistentES(STRATEGY.population, parts=1, **options), chunk=1)
    plain = train(chunk=1)
    assert_trees_identical(one.learner, plain.learner)
    assert isinstance(one.state, meta.TrainState) and isinstance(plain.state, meta.TrainState)
    assert_trees_identical(one.state.strategy.es, plain.state.strategy.es)
    assert [row["fitness_mean"] for row in one.history] == [
        row["fitness_mean"] for row in plain.history
    ]


def test_the_parts_make_the_lives_of_the_plain_strategy(three):
    luck, whole = three[0][:, 0], told(1, 2)[0][:, 0]
    np.testing.assert_allclose(luck.reshape(2, 3, 6).sum(1), whole, rtol=1e-5)
    assert len(np.unique(whole.round(4))) == 12


def test_the_learned_variables_outlive_a_part_and_end_with_the_life(three):
    birth = three[0][:, 1].reshape(2, 3, 6)
    np.testing.assert_array_equal(birth, birth[:, [0, 0, 0]])
    assert not np.isclose(birth[1], birth[0]).any()


def test_lessons_are_cut_each_for_itself(three):
    steps, result = three[0][:, 2], three[1]
    np.testing.assert_array_equal(steps, np.tile([[1], [2], [3]], (2, 6)))
    for row in result.history:
        lived = 6 * (2 * 2 + 1 * 2 + 2 * 1)
        assert row["steps_per_second"] == pytest.approx(lived / row["seconds"], rel=0.01)


def test_members_live_one_after_another_where_memory_is_little(monkeypatch):
    program, state = generations(TWO)
    one, pair, all_of_them = program.portions()
    assert (one, pair, all_of_them) == ((1, 3), (2, 3), (4, 3))
    some, whole = (
        program.compile(state, 3, portion).run(state)[0] for portion in (one, all_of_them)
    )
    for ours, expected in zip(jax.tree.leaves(some), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    compiled = _program.Compiled(lambda state: (state, {}), 100, lambda: "")
    monkeypatch.setattr(meta.Generations, "compile", lambda *_: compiled)
    with pytest.raises(ValueError, match="too little: a part of 3 lives of one member at a time"):
        program.fit(state, 3, 99)


def generations(strategy, **options):
    """A program of generations, and where it begins."""
    usual: dict = dict(learner=VECTOR, tasks=Oracles(), steps=2, lives=3, fitness=closeness)
    usual |= dict(strategy=strategy, key=KEY, devices=jax.devices()[:1])
    program = meta.Generations(**{**usual, **options})
    return program, program.place(program.init(key=KEY))


# The estimate


def test_perturbations_are_summed_since_the_life_began_each_over_its_variance():
    def std(generation):
        return 0.5 / (1.0 + generation)

    strategy = PersistentES(6, std, optax.sgd(1.0), parts=3, shaping="none")
    start, rng = {"x": jnp.asarray([1.0, -2.0])}, np.random.default_rng(0)

    @quick_jit
    def generation(state, key, fitness):
        members = strategy.ask(state, start, key=key)
        new = strategy.tell(state, members, fitness, key=key)
        return new, (strategy.mean(state, start)["x"], members["x"], strategy.mean(new, start)["x"])

    state, accumulated = strategy.init(start, key=KEY), np.zeros((6, 2))
    for number in range(5):
        fitness = rng.normal(size=6).astype(np.float32)
        state, found = generation(state, jr.fold_in(KEY, number), jnp.asarray(fitness))
        mean, members, moved = (np.asarray(x, np.float64) for x in found)
        if number % 3 == 0:
            accumulated[:] = 0
        accumulated += (members - mean) / std(number) ** 2
        np.testing.assert_allclose(moved - mean, fitness @ accumulated / 6, rtol=1e-4, atol=1e-4)


class Debt(rl.Learner):
    """It borrows at birth, with a probability that is its only parameter."""

    logit: Float[Array, ""]

    def __init__(self, *, key: PRNGKeyArray):
        del key
        self.logit = jnp.asarray(0.0)

    def init(self, spaces: rl.Spaces, *, key: PRNGKeyArray) -> Array:
        del spaces
        return jr.bernoulli(key, jax.nn.sigmoid(self.logit)).astype(jnp.int32)

    def step(self, state: Array, timestep: rl.TimeStep, *, key: PRNGKeyArray) -> tuple:
        del timestep, key
        return state, state


@dataclasses.dataclass(frozen=True)
class Bank(Oracle):
    """Its first step pays 1 for action 1, and its second takes 3 for it. It keeps a random key."""

    def reset(self, key: PRNGKeyArray, params: Array) -> tuple:
        del params
        return jnp.ones(1), (key, jnp.asarray(0, jnp.int32), jnp.asarray(0, jnp.int32))

    def step(self, key: PRNGKeyArray, state: PyTree, action: Array, params: Array) -> tuple:
        del key, params
        secret, time, owed = state
        reward = jnp.where(time == 0, action, -3 * owed)
        owed = jnp.where(time == 0, action, owed).astype(jnp.int32)
        ended, sight = jnp.asarray(False), jnp.ones(1)
        state = jr.fold_in(secret, 1), time + 1, owed
        return sight, state, reward, ended, ended, {"final_observation": sight}


BANK = rl.FixedTask(rl.Task(Bank(), params=jnp.zeros(())))  # pyright: ignore[reportArgumentType]


def estimated(kind, lives=16):
    """The gradient that a strategy estimates over so many lives of two parts."""
    strategy = made(
        kind, 4096, 0.5, optax.sgd(1e-4), parts=2, shaping="none", common_random_numbers="none"
    )
    learner = Debt(key=KEY)
    program, state = generations(
        strategy, learner=learner, tasks=BANK, lives=1, fitness=meta.total_reward
    )
    done, _ = program.compile(state, 2 * lives, program.portions()[-1]).run(state)
    (logit,) = jax.tree.leaves(program.centre(done))
    return float(logit) / 1e-4 / lives


def test_what_an_early_action_costs_in_a_later_part_is_seen():
    # A life earns -2 if it borrows. The mean slope of the sigmoid under the perturbations, by
    # quadrature; the estimate has a standard error of about 0.02.
    z, weights = np.polynomial.hermite_e.hermegauss(20)
    slope = (weights / weights.sum()) @ (0.25 / np.cosh(0.25 * z) ** 2)
    assert estimated(PersistentES) == pytest.approx(-2 * slope, abs=0.08)
    assert estimated(Truncated) == pytest.approx(slope, abs=0.08)


# Checkpoints


def test_a_training_that_stops_within_a_life_goes_on_bit_for_bit(tmp_path):
    # The state of this environment has a random key in it.
    strategy = PersistentES(8, 1.0, STRATEGY.optimizer, parts=2, common_random_numbers="none")
    options: dict = dict(strategy=strategy, learner=Debt(key=KEY), tasks=BANK, chunk=1)
    options["fitness"] = meta.total_reward
    whole = train(**options)
    half = train(**options, out=tmp_path, callback=lambda state, *_: int(state.generation) >= 3)
    assert not half.finished and int(half.state.generation) == 3
    rest = train(**options, out=tmp_path)
    for name in ("generation", "fitness_mean"):
        assert [row[name] for row in rest.history] == [row[name] for row in whole.history[3:]]
    assert_trees_identical(rest.state, whole.state)
    assert_trees_identical(rest.learner, whole.learner)


def test_parts_are_part_of_what_a_training_is(tmp_path):
    train(generations=1, chunk=1, out=tmp_path / "plain")
    train(strategy=TWO, generations=1, chunk=1, out=tmp_path / "two")
    # A checkpoint of the plain strategy holds what it ever held.
    held = meta.read_header(tmp_path / "plain" / "checkpoint.symla")
    assert len(held["arrays"]) == len(jax.tree.leaves((0, STRATEGY.init(VECTOR, key=KEY))))
    assert "parts" not in held["training"]["strategy"]
    for folder, strategy in (("plain", TWO), ("two", STRATEGY)):
        with pytest.raises(ValueError, match="another training .*strategy: .*'parts': 2"):
            train(strategy=strategy, out=tmp_path / folder)


# Devices

DEVICES = """
import json, re, sys
sys.path.insert(0, sys.argv[1])
import jax, numpy as np
jax.config.update("jax_disable_most_optimizations", True)
import toys
from meta import PersistentES
from test_persistent import TWO, generations

strategy = PersistentES(16, 0.2, parts=2, common_random_numbers="pair")
program, state = generations(
    strategy, learner=toys.Vector(1000, key=toys.KEY), devices=jax.devices()
)
compiled = program.compile(state, 3, program.portions()[-1])
end = compiled.run(state)[0]
per_member = jax.tree.leaves((end.strategy.accumulated, end.lives))
moved = re.findall(
    r"= (.*?) (?:all-reduce|all-gather|all-to-all|collective-\\w+|reduce-scatter)(?:-start)?\\(",
    compiled.text(),
)
shapes = [re.findall(r"\\w+\\[([\\d,]*)\\]", kinds) for kinds in moved]
sizes = [sum(int(np.prod([int(n) for n in x.split(",") if n])) for x in one) for one in shapes]
toys.train(out="run", strategy=TWO, chunk=1, devices=jax.devices(),
           callback=lambda state, *_: int(state.generation) >= 3)
print(json.dumps({"shares": sorted({len(s.data) for x in per_member for s in x.addressable_shards}),
                  "moved": sorted(sizes)}))
"""


@pytest.mark.slow
def test_two_devices_keep_the_lives_of_their_own_members(tmp_path):
    found = on_devices(DEVICES, 2, tmp_path)
    assert found["shares"] == [8]
    # The fitness of 16 members, and the gradient of 1000 parameters.
    assert max(found["moved"]) == 1000 and sum(found["moved"]) <= 2 * (1000 + 16)
    # One goes on with the lives that two began.
    rest, whole = train(strategy=TWO, chunk=1, out=tmp_path / "run"), train(strategy=TWO, chunk=1)
    assert [row["generation"] for row in rest.history] == list(range(4, GENERATIONS + 1))
    for ours, expected in zip(
        jax.tree.leaves(rest.state), jax.tree.leaves(whole.state), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


# Mistakes


@pytest.mark.parametrize(
    ("parts", "steps", "message"),
    [
        (0, 2, "`parts` must be at least 1, got 0"),
        (3, 500, "`steps` .* `parts`, but a life of 500 steps .* 3 equal parts; take 498 or 501"),
        (4, 3, "a life of 3 steps cannot be cut into 4 equal parts; take 4[.]"),
    ],
)
def test_mistakes_are_refused_before_anything_is_lived(parts, steps, message):
    with pytest.raises(ValueError, match=message):
        train(strategy=PersistentES(4, parts=parts), steps=steps)
    with pytest.raises(ValueError, match="`population` must be even"):
        PersistentES(5, parts=2)
