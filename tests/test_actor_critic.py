"""Meta-training by gradients: what is followed, that it helps, and that it can be resumed."""

import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import assert_trees_close, assert_trees_identical, logged, make, quick_jit
from jaxtyping import Array, Float, PRNGKeyArray
from toys import VECTOR, Box

import meta
import rl
from meta import ActorCritic, Lesson
from meta._actor_critic import Batch, follow
from meta._gradient_life import Experience
from meta._strategy import program_of
from rl.envs import BernoulliBandits

# Most of the time here is spent in the compiler.
pytestmark = pytest.mark.usefixtures("cheap_compilation")

KEY = jr.key(5)


class Coin(rl.Learner):
    """A leaky memory of its rewards makes it prefer the first of two actions."""

    values: Float[Array, " 2"]
    rate: float = eqx.field(static=True)

    def __init__(self, rate: float = 0.5, *, key: PRNGKeyArray):
        self.rate, self.values = rate, rate * jr.normal(key, (2,))

    def init(self, spaces: rl.Spaces, *, key: PRNGKeyArray) -> Array:
        del spaces, key
        return jnp.asarray(1.0)

    def advance(self, state: Array, timestep: rl.TimeStep) -> tuple[Array, Array]:
        leak, gain = self.values
        state = leak * state + timestep.reward
        return state, jnp.stack([gain * state, jnp.zeros_like(state)])

    def readout_of(self, state: Array) -> rl.Categorical:
        del state
        return rl.Categorical()

    def step(self, state: Array, timestep: rl.TimeStep, *, key: PRNGKeyArray) -> tuple:
        state, logits = self.advance(state, timestep)
        noise = rl.Categorical().noise(2, jnp.dtype("float32"), key=key)
        return state, rl.Categorical().choose(logits, noise)


@dataclasses.dataclass(frozen=True)
class Lever:
    """It pays its parameter for action 0, nothing for 1; or, for a number, how near that is."""

    continuous: bool = False
    num_actions: int = 2

    def observation_space(self, params: Array) -> Box:
        del params
        return Box((1,))

    def action_space(self, params: Array):
        del params
        return _Range() if self.continuous else _Two()

    def reset(self, key: PRNGKeyArray, params: Array) -> tuple:
        del key, params
        return jnp.ones(1), jnp.asarray(0, jnp.int32)

    def step(self, key: PRNGKeyArray, state: Array, action: Array, params: Array) -> tuple:
        del key
        pay = -((action[0] - params) ** 2) if self.continuous else jnp.where(action == 0, params, 0)
        terminated, sight = (state + 1) % 3 == 0, jnp.ones(1)
        info = {"final_observation": 2.0 * sight}
        return sight, state + 1, pay, terminated, jnp.asarray(False), info


class _Two:
    n = 2


class _Range:
    low, high, shape = -1.0, 1.0, (1,)


def levers(pay=1.0, *, continuous=False):
    return rl.FixedTask(rl.Task(Lever(continuous), jnp.asarray(pay)))


COIN = make(Coin)


def train(**options) -> meta.TrainResult:
    usual: dict = dict(
        learner=COIN,
        tasks=levers(),
        strategy=EVERYTHING,
        steps=5,
        lives=4,
        generations=4,
        chunk=2,
        key=KEY,
    )
    return meta.train(**{**usual, **options})


# A strategy with all the state there is: moments, schedules, several updates in random order.
EVERYTHING = ActorCritic(
    optax.adam(optax.exponential_decay(0.05, 3, 0.8)),
    entropy_weight=optax.linear_schedule(0.1, 0.0, 4),
    critic_size=3,
    clip=0.2,
    epochs=2,
    minibatches=2,
)


# What is followed


def experience_of(actions, rewards):
    """A life of a coin, as it was told."""
    steps, told = len(actions), jnp.asarray([0.0, *rewards])
    first = rl.TimeStep.first(jnp.ones(1))
    timesteps = eqx.tree_at(
        lambda t: (t.reward, t.action),
        jax.tree.map(lambda x: jnp.broadcast_to(x, (steps + 1, *x.shape)), first),
        (told, jnp.asarray([-1, *actions], jnp.int32)),
    )
    never = jnp.zeros(steps, bool)
    return Experience(
        timesteps, jnp.asarray(actions, jnp.int32), told[1:], never, never, told.sum()
    )


ACTIONS, REWARDS, ADVANTAGES = [0, 1, 1, 0, 1], [1.0, 0.0, 0.5, 1.0, 0.0], [0.3, -1.0, 2.0, 0.5, 1]


def gradient_by_hand(leak, gain, entropy_weight, truncation):
    """Of the loss with regard to leak and gain, in NumPy: forward, with derivatives."""
    state, derivative, found = 1.0, 0.0, np.zeros(2)
    for t, told in enumerate([0.0, *REWARDS[:-1]]):
        if truncation and t % truncation == 0:
            derivative = 0.0
        derivative = state + leak * derivative
        state = leak * state + told
        logit, of_logit = gain * state, np.array([gain * derivative, state])
        chance = 1.0 / (1.0 + math.exp(-logit))
        of_log_prob = (1.0 - chance) if ACTIONS[t] == 0 else -chance
        of_entropy = -logit * chance * (1.0 - chance)
        found -= (ADVANTAGES[t] * of_log_prob + entropy_weight * of_entropy) * of_logit
    return found / len(ACTIONS)


@pytest.mark.parametrize(
    ("options", "entropy_weight"),
    [({}, 0.0), ({"truncation": 2}, 0.3), ({"rematerialise": False, "clip": 0.2}, 0.3)],
    ids=str,
)
def test_the_gradient_is_that_by_hand(options, entropy_weight):
    strategy, lesson = ActorCritic(**options), Lesson(levers(), 5, 2)
    life = experience_of(ACTIONS, REWARDS)
    two = jax.tree.map(lambda x: jnp.stack([x, x]), life)
    advantages = jnp.asarray([ADVANTAGES, ADVANTAGES])
    coin = eqx.tree_at(lambda c: c.values, COIN, jnp.asarray([0.7, -0.4]))
    before = None
    if strategy.clip is not None:
        # As they were when the lives were lived: then nothing is clipped yet.
        before = strategy._replay(coin, lesson, KEY, life)[0]
        before = jnp.stack([before, before])
    batch = Batch(jr.split(KEY, 2), two, advantages, advantages, before)
    gradient = quick_jit(
        jax.grad(lambda c: strategy.policy_loss(c, lesson, batch, entropy_weight)[0])
    )(coin)
    expected = gradient_by_hand(0.7, -0.4, entropy_weight, options.get("truncation"))
    np.testing.assert_allclose(gradient.values, expected, rtol=1e-4)


def critic_of(strategy, steps, bias=0.0):
    """A critic that expects the same mean reward always."""
    critic = strategy.critic(Lesson(levers(), steps, 1), key=KEY)
    return eqx.tree_at(lambda c: c.head.bias, critic, jnp.asarray([bias]))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # Values 2 (steps left); nothing after the last step.
        ({"discount": 1.0, "gae_lambda": 1.0}, [-5, -4, -4, -1]),
        ({"discount": 1.0, "gae_lambda": 0.0}, [-1, 0, -3, -1]),
        # Values of the next steps by half, 2 (1, 1.5, 1.75, 1.875) from the end.
        ({"gae_lambda": 0.0}, [1 + 1.75 - 3.75, 2 + 1.5 - 3.5, -1 + 1.0 - 3.0, 1 - 2.0]),
        # Step 1 terminates: nothing after it. Step 2 is truncated: what would follow counts.
        (
            {"across_episodes": False, "gae_lambda": 1.0},
            [1 + 0.5 * 2 - 3.75, 2 - 3.5, -1 + 1.0 - 3.0, 1 - 2.0],
        ),
        # Values 4 always, after the last step, too.
        ({"endless": True, "gae_lambda": 0.0}, [1 + 2 - 4, 2 + 2 - 4, -1 + 2 - 4, 1 + 2 - 4]),
        (
            {"endless": True, "across_episodes": False, "gae_lambda": 0.0},
            [1 + 2 - 4, 2 - 4, -1 + 2 - 4, 1 + 2 - 4],
        ),
    ],
    ids=str,
)
def test_advantages_by_hand(options, expected):
    strategy = ActorCritic(**{"discount": 0.5, **options})
    life = dataclasses.replace(
        experience_of([0] * 4, [1.0, 2.0, -1.0, 1.0]),
        terminated=jnp.asarray(np.array([False, True, False, False])),
        truncated=jnp.asarray(np.array([False, False, True, False])),
    )
    critic = critic_of(strategy, 4, 2.0)
    advantages, returns = strategy.judge(critic, life)
    np.testing.assert_allclose(advantages, expected, rtol=1e-6)
    np.testing.assert_allclose(returns - advantages, critic.values(life.timesteps)[:-1], rtol=1e-6)


def test_after_an_episode_its_last_observation_counts():
    strategy, ends = ActorCritic(), [3, 5]
    life = experience_of([0, 1] * 4, np.arange(8.0))
    critic = critic_of(strategy, 8)
    critic = eqx.tree_at(lambda c: c.head.weight, critic, jnp.ones_like(critic.head.weight))
    ended = jnp.zeros(9, bool).at[jnp.asarray(ends)].set(True)
    told = eqx.tree_at(
        lambda t: (t.truncated, t.observation, t.final_observation),
        life.timesteps,
        (ended, jnp.ones((9, 1)), jnp.where(ended[:, None], -2.0, 1.0)),
    )
    values_of = quick_jit(critic.values)
    values, next_values = values_of(told), quick_jit(critic.next_values)(told)
    for t in range(8):
        if t + 1 in ends:
            went_on = eqx.tree_at(
                lambda s, t=t: (s.truncated, s.observation),
                told,
                (told.truncated.at[t + 1].set(False), told.observation.at[t + 1].set(-2.0)),
            )
            expected = values_of(went_on)[t + 1]
            assert abs(float(expected - values[t + 1])) > 0.01
        else:
            expected = values[t + 1]
        np.testing.assert_allclose(next_values[t], expected, rtol=1e-5)


def test_a_gradient_is_clipped_and_one_that_is_not_finite_is_skipped():
    optimizer, params = optax.adam(0.1), {"a": jnp.asarray([1.0, 2.0]), "b": jnp.asarray(0.0)}
    state = optimizer.init(params)
    for bad in (jnp.nan, jnp.inf):
        gradient = {"a": jnp.asarray([1.0, bad]), "b": jnp.asarray(1.0)}
        new, moved, norm = follow(optimizer, 1.0, params, state, gradient)
        assert not np.isfinite(norm)
        assert_trees_identical((new, moved), (params, state))
    plain = optax.sgd(1.0)
    gradient = {"a": jnp.asarray([0.0, 3.0]), "b": jnp.asarray(4.0)}
    for most, scale in ((1.0, 0.2), (10.0, 1.0)):
        new, _, norm = follow(plain, most, params, plain.init(params), gradient)
        np.testing.assert_allclose(new["a"], [1.0, 2.0 - 3.0 * scale], rtol=1e-6)
        np.testing.assert_allclose([new["b"], norm], [-4.0 * scale, 5.0], rtol=1e-6)


# Training


@pytest.fixture(scope="module")
def whole():
    """The uninterrupted training."""
    return train()


def timeless(rows):
    return [{k: v for k, v in r.items() if k not in ("seconds", "steps_per_second")} for r in rows]


def test_the_result(whole):
    assert whole.finished and int(whole.state.generation) == 4
    assert isinstance(whole.state, meta.ActorCriticState)
    assert whole.portion == (1, 2)  # of a minibatch
    assert not np.allclose(whole.learner.values, COIN.values, atol=0.01)
    assert [row["generation"] for row in whole.history] == [1, 2, 3, 4]
    for row in whole.history:
        assert row["steps_per_second"] == pytest.approx(20 / row["seconds"], rel=0.01)
        assert (row["skipped_updates"], row["failed_lives"]) == (0, 0)
        assert 0 <= row["fitness_mean"] <= 5 and 0 < row["entropy"] <= math.log(2.0) + 1e-6
        assert row["gradient_norm"] > 0 and row["value_loss"] > 0
    # Four updates in each generation.
    counts = [x for x in jax.tree.leaves(whole.state.optimizer) if x.dtype == jnp.int32]
    assert counts and all(int(x) == 16 for x in counts)


def test_a_training_that_was_stopped_goes_on_as_if_it_never_was(whole, tmp_path):
    first = train(out=tmp_path, callback=lambda state, learner, row: int(state.generation) >= 2)
    assert not first.finished and int(first.state.generation) == 2
    with pytest.raises(ValueError, match="holds another training .*entropy_weight") as caught:
        train(out=tmp_path, strategy=ActorCritic(critic_size=3, clip=0.2, epochs=2, minibatches=2))
    assert "\n" not in str(caught.value)
    result = train(out=tmp_path)
    assert_trees_identical(result.state, whole.state)
    assert timeless(logged(tmp_path)) == timeless(whole.history)
    assert_trees_identical(meta.load(tmp_path / "learner.symla", whole.learner), whole.learner)


def test_generations_and_their_portions():
    strategy, devices = ActorCritic(optax.sgd(1.0), rematerialise=False), jax.devices()[:1]
    program = program_of(COIN, [Lesson(levers(), 5, 4)], strategy, key=KEY, devices=devices)
    assert program.portions() == [(1, 1), (1, 2), (1, 4)]
    start = program.place(program.init(key=KEY))
    whole, half = (program.compile(start, 1, meta.Portion(1, lives)).run for lives in (4, 2))
    (at_once, _), (halves, _) = whole(start), half(start)
    assert isinstance(at_once, meta.ActorCriticState)
    assert not np.allclose(at_once.params.values, COIN.values, atol=1e-3)
    assert_trees_close(halves, at_once)
    # The next generation lives other lives, and learns something else from them.
    later = program.place(eqx.tree_at(lambda s: s.generation, start, jnp.asarray(1, jnp.int32)))
    other = whole(later)[0]
    assert isinstance(other, meta.ActorCriticState)
    assert not np.allclose(other.params.values, at_once.params.values, atol=1e-3)


def test_rewards_that_are_not_numbers_leave_the_learner_as_it_was():
    strategy = ActorCritic(critic_size=3, rematerialise=False)
    result = train(tasks=levers(jnp.nan), strategy=strategy)
    assert_trees_identical(result.learner, COIN)
    for row in result.history:
        assert (row["skipped_updates"], row["failed_lives"]) == (1, 4)
        assert row["fitness_mean"] is None and row["gradient_norm"] is None


@pytest.mark.slow
def test_symla_learns_in_lessons_of_all_kinds_at_once():
    learner = make(rl.SymLA, hidden_size=3, forward_size=2, backward_size=2)
    lessons = [
        Lesson(levers(), 4, 2, weight=2.0, name="choice"),
        Lesson(levers(0.5, continuous=True), 3, 4, name="number"),
    ]
    strategy = ActorCritic(optax.sgd(1.0), truncation=2, across_episodes=False, rematerialise=False)
    result = train(
        learner=learner, tasks=lessons, steps=None, lives=None, strategy=strategy, generations=1
    )
    for old, new in zip(jax.tree.leaves(learner), jax.tree.leaves(result.learner), strict=True):
        assert np.all(np.isfinite(new)) and np.all(old != new)
    (row,) = result.history
    of_each = row["fitness_mean/choice"], row["fitness_mean/number"]
    assert row["fitness_mean"] == pytest.approx((2 * of_each[0] + of_each[1]) / 3, rel=1e-5)
    assert isinstance(result.state, meta.ActorCriticState)
    assert [critic.num_actions for critic in result.state.critics] == [2, 1]


def test_a_metarnn_becomes_better():
    learner, tasks = make(rl.MetaRNN, 1, 2, 3), BernoulliBandits(2, "easy")
    arm = rl.FixedTask(tasks.sample(key=jr.key(3)))
    result = train(
        learner=learner,
        tasks=arm,
        strategy=ActorCritic(optax.adam(0.05), critic_size=4),
        steps=10,
        lives=16,
        generations=30,
        chunk=30,
    )
    found = np.array([row["fitness_mean"] for row in result.history])
    noise = math.sqrt(10 * 0.25 / (5 * 16)) * math.sqrt(2)
    assert found[-5:].mean() > found[:5].mean() + 4 * noise


@pytest.mark.slow
@pytest.mark.parametrize("name", ["metarnn", "symla"])
def test_learners_learn_to_learn(name):
    tasks = BernoulliBandits(2, "easy")
    build = {"metarnn": lambda: rl.MetaRNN(1, 2, 16, key=KEY), "symla": lambda: rl.SymLA(key=KEY)}
    result = meta.train(
        build[name](),
        tasks,
        ActorCritic(optax.adam(1e-2), discount=0.9),
        steps=30,
        lives=64,
        generations=150,
        key=KEY,
    )
    test = meta.evaluate(result.learner, tasks, steps=30, lives=500, key=jr.key(1), parts=3)
    gain, error = test.improvement()
    assert gain > 5 * error and test.mean("regret") < 0.5 * 0.4 * 30


# What cannot be


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "`epochs` must be at least 1, got 0"),
        ({"truncation": 0}, "`truncation` must be at least 1, got 0"),
        ({"discount": 1.5}, "`discount` must be a number from 0 to 1, got 1.5"),
        ({"gae_lambda": -0.1}, "`gae_lambda` must be a number from 0 to 1, got -0.1"),
        ({"clip": 0.0}, "`clip` must be a number above 0, got 0.0"),
        ({"max_gradient_norm": math.inf}, "`max_gradient_norm` must be a number above 0, got inf"),
        ({"entropy_weight": -1.0}, "`entropy_weight` must be a number from 0, got -1.0"),
        ({"endless": True, "discount": 1.0}, "`endless` needs a `discount` below 1"),
        ({"epochs": 4}, "4 epochs of 1 minibatches .* needs `clip`"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        ActorCritic(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learner": VECTOR}, "Vector does not tell .*`advance` and `readout_of`"),
        ({"fitness": meta.negative_regret}, "follows the rewards .*`fitness`"),
        ({"lives": 3}, r"`lives` must be a multiple of 2 \(2 minibatches, 1 devices\), got 3"),
        (
            {
                "learner": make(rl.SymLA, continuous="deterministic", hidden_size=2),
                "tasks": levers(continuous=True),
            },
            "this SymLA are deterministic, .*`continuous='gaussian'`",
        ),
    ],
    ids=["learner", "fitness", "lives", "actions"],
)
def test_trainings_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        train(**options)
    assert "\n" not in str(caught.value)


def test_a_curriculum_refuses_them_before_its_first_stage():
    stage = meta.Stage(Lesson(levers(), 5, 3), 1, EVERYTHING)
    with pytest.raises(ValueError, match=r"Stage 0 \(FixedTask\) cannot be: `lives` must be"):
        meta.train_curriculum(COIN, meta.Curriculum([stage]), key=KEY)


DEVICES = """
import sys, jax, numpy as np
sys.path.insert(0, "tests")
import test_actor_critic as t
found = [t.train(generations=2, devices=jax.devices()[:n], chunk=2, strategy=t.ActorCritic())
         for n in (1, 2)]
assert [r.devices for r in found] == [1, 2] and found[1].portion == (1, 2)
one, two = (np.asarray(r.learner.values) for r in found)
np.testing.assert_allclose(one, two, rtol=1e-4)
assert not np.allclose(one, t.COIN.values, atol=1e-3)
"""


@pytest.mark.slow
def test_two_devices_find_what_one_finds():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", DEVICES],
        cwd=root,
        env={**os.environ, **flags},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
