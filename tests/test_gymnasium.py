"""Lives in the environments of Gymnasium."""

from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest
from helpers import make
from jaxtyping import Array
from small_metagenrl import small

import rl
from rl.envs import Gymnasium, gymnasium

EVERYTHING = (
    "rewards",
    "actions",
    "observations",
    "terminated",
    "truncated",
    "episode_returns",
)


class Scripted(rl.Learner):
    """Acts as it is told to, and writes down what it sees, is paid and how episodes end."""

    actions: Array

    def init(self, spaces, *, key):
        steps = self.actions.shape[0]
        pages = jnp.full((steps, 2 * spaces.observation_size + 4), jnp.nan)
        return pages, jnp.asarray(0, jnp.int32)

    def step(self, state, timestep, *, key):
        (pages, count), t = state, timestep
        action = t.action.astype(jnp.float32).reshape(-1)[:1]
        ends = jnp.stack([t.terminated, t.truncated]).astype(jnp.float32)
        page = jnp.concatenate([t.observation, t.final_observation, action, t.reward[None], ends])
        return (pages.at[count].set(page), count + 1), self.actions[count]


def lived(host: Gymnasium, learner: rl.Learner, steps: int, key: Array, *record: Any) -> Any:
    """A life, of which the type checker knows nothing: what was asked for is there."""
    return host.lifetime(learner, steps, key, *record)


def scripted(actions: object) -> Scripted:
    return Scripted(jnp.asarray(actions))


class Stub(gym.Env):
    """Shows the number of the step and the last action; an episode has three steps."""

    def __init__(
        self,
        actions: gym.Space | None = None,
        sensors: gym.Space | None = None,
        truncates: bool = False,
    ):
        self.action_space = gym.spaces.Discrete(3, start=5) if actions is None else actions
        self.observation_space = gym.spaces.Box(-9, 9, (2, 1), np.float64)
        if sensors is not None:
            self.observation_space = sensors
        self.truncates, self.taken, self.seeds = truncates, [], []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        self.time = 0
        return self.sight(), {}

    def step(self, action):
        self.taken.append(action)
        self.time += 1
        ended = self.time == 3
        number = float(np.sum(action))
        return self.sight(), number, ended and not self.truncates, ended and self.truncates, {}

    def sight(self):
        space = self.observation_space
        if isinstance(space, gym.spaces.Discrete):
            return self.time
        return np.full(space.shape or (), self.time, space.dtype)


def test_a_scripted_life_is_a_plain_loop():
    """Real CartPole: what came of it, and what the learner was told."""
    actions = np.random.default_rng(1).integers(0, 2, 60).astype(np.int32)
    key = jr.key(3)
    life = lived(gymnasium("CartPole-v1"), scripted(actions), 60, key, EVERYTHING)
    twin = rl.envs.CartPole()
    seed = int(jr.randint(jr.split(jr.split(key)[0])[1], (), 0, 2**31 - 1))
    environment = gym.make("CartPole-v1")
    scale = np.asarray(twin.observation_scale, np.float32)
    before, _ = environment.reset(seed=seed)
    now = [*(before / scale), *(before / scale), -1, 0, 0, 0]
    told, returns, running = [], [], np.zeros(2)
    for action in actions:
        told.append(now)
        after, raw, terminated, truncated, _ = environment.step(action)
        arguments = map(jnp.asarray, (before, after, action, terminated))
        reward = float(twin.skill_reward(*arguments))
        running = running + (reward, float(raw))
        before = after
        if terminated or truncated:
            before, _ = environment.reset()
            returns.append(running)
            running = np.zeros(2)
        now = [*(before / scale), *(after / scale), action, reward, terminated, truncated]
    told = np.asarray(told, np.float32)
    np.testing.assert_allclose(life.learner[0], told, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(life.observations, told[:, :4], rtol=1e-5)
    np.testing.assert_array_equal(life.actions, actions)
    np.testing.assert_array_equal(life.raw_rewards, np.ones(60))
    np.testing.assert_allclose(life.rewards[:-1], told[1:, -3], rtol=1e-5)
    ended = life.terminated | life.truncated
    assert life.episodes == ended.sum() == len(returns) > 1
    np.testing.assert_allclose(life.episode_returns[ended], [r[0] for r in returns], rtol=1e-4)
    np.testing.assert_array_equal(life.raw_episode_returns[ended], [r[1] for r in returns])
    assert np.all(np.isnan(life.episode_returns[~ended]))
    np.testing.assert_allclose(life.total_reward, life.rewards.sum())
    assert life.raw_total_reward == 60.0


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("CartPole-v1", rl.envs.CartPole),
        ("Acrobot-v1", rl.envs.Acrobot),
        ("MountainCar-v0", rl.envs.MountainCar),
        ("Pendulum-v1", rl.envs.Pendulum),
        ("MountainCarContinuous-v0", rl.envs.MountainCarContinuous),
    ],
)
def test_what_is_known_has_the_constants_of_our_own(name, twin):
    host, own = gymnasium(name), twin()
    task = rl.Task(own, own.default_params)
    assert host.spaces == task.spaces
    raw = np.asarray(gym.make(name).reset(seed=0)[0], np.float32)
    np.testing.assert_allclose(
        (raw - host.shift) / host.scale, own.normalised(jnp.asarray(raw)), rtol=1e-5
    )
    plain = gymnasium(name, observation_scale=2.0, reward="gym")
    np.testing.assert_array_equal(plain.scale, np.full(raw.size, 2.0))
    np.testing.assert_array_equal(plain.shift, np.zeros(raw.size))


def test_a_pendulum_gets_its_torque_and_pays_its_skill():
    torques = np.asarray([[1.0], [-1.0], [0.25], [0.0]], np.float32)
    host = gymnasium("Pendulum-v1", reward="gym")
    life = lived(host, scripted(torques), 4, jr.key(0))
    np.testing.assert_allclose(life.rewards, life.raw_rewards, rtol=1e-4)
    np.testing.assert_array_equal(life.actions, torques)
    shaped = lived(gymnasium("Pendulum-v1"), scripted(torques), 4, jr.key(0))
    np.testing.assert_array_equal(shaped.raw_rewards, life.raw_rewards)
    greatest = np.pi**2 + 0.1 * 64 + 0.001 * 4
    np.testing.assert_allclose(shaped.rewards, 1 + 2 * life.raw_rewards / greatest, atol=1e-4)


def test_the_key_decides_everything():
    learner, host = make(rl.SymLA, 4, 3, 2), gymnasium("CartPole-v1")
    lives = [lived(host, learner, 30, jr.key(seed), EVERYTHING) for seed in (0, 1, 0)]
    for name in EVERYTHING:
        np.testing.assert_array_equal(getattr(lives[0], name), getattr(lives[2], name))
    assert np.any(lives[0].observations[0] != lives[1].observations[0])
    assert np.any(lives[0].actions != lives[1].actions)


def test_a_learner_gets_the_keys_of_any_life():
    class Dice(rl.Learner):
        def init(self, spaces, *, key):
            return jr.uniform(key)

        def step(self, state, timestep, *, key):
            return state, jr.randint(key, (), 0, 2, jnp.int32)

    life = lived(gymnasium("CartPole-v1"), Dice(), 20, jr.key(8))
    environment = rl.envs.CartPole()
    task = rl.Task(environment, environment.default_params)
    own = rl.lifetime(Dice(), task, steps=20, key=jr.key(8))
    np.testing.assert_array_equal(life.actions, own.actions)
    assert life.learner == own.final.learner


def test_a_step_is_compiled_once():
    traces = []

    class Counted(Scripted):
        def step(self, state, timestep, *, key):
            traces.append(None)
            return super().step(state, timestep, key=key)

    learner = Counted(jnp.zeros(7, jnp.int32))
    for seed in range(2):
        lived(gymnasium(Stub()), learner, 7, jr.key(seed))
    assert len(traces) == 1


def test_only_the_first_episode_is_seeded():
    stub = Stub()
    life = lived(gymnasium(stub), scripted(jnp.zeros(7, jnp.int32)), 7, jr.key(0))
    assert life.episodes == 2
    assert isinstance(stub.seeds[0], int)
    assert stub.seeds[1:] == [None, None]


@pytest.mark.parametrize("truncates", [False, True])
def test_the_two_ends_of_an_episode_are_told_apart(truncates):
    learner = scripted(jnp.asarray([0, 1, 2, 0, 1], jnp.int32))
    host = gymnasium(Stub(truncates=truncates))
    life = lived(host, learner, 5, jr.key(0), ("terminated", "truncated"))
    ends = np.array([False, False, True, False, False])
    np.testing.assert_array_equal(life.truncated if truncates else life.terminated, ends)
    assert not np.any(life.terminated if truncates else life.truncated)
    assert life.rewards is life.raw_rewards is life.actions is life.episode_returns is None
    # observation, final observation, action, reward, ends; `start` is added for Gymnasium only
    last = [0, 0, 3, 3, 2, 7, not truncates, truncates]
    np.testing.assert_array_equal(life.learner[0][3], last)


@pytest.mark.parametrize(
    ("sensors", "expected"),
    [
        (gym.spaces.Discrete(4), [[1, 0, 0, 0], [0, 1, 0, 0]]),
        (gym.spaces.Box(0, 255, (2,), np.uint8), [[0, 0], [1, 1]]),
        (gym.spaces.MultiBinary(2), [[0, 0], [1, 1]]),
    ],
    ids=["one-hot", "integers", "booleans"],
)
def test_observations_become_floats(sensors, expected):
    life = lived(
        gymnasium(Stub(sensors=sensors)),
        scripted(jnp.zeros(2, jnp.int32)),
        2,
        jr.key(0),
        ("observations",),
    )
    assert life.observations.dtype == np.float32
    np.testing.assert_array_equal(life.observations, expected)


def test_actions_are_scaled_to_their_box():
    low, high = np.array([[0.0], [-4.0]]), np.array([[1.0], [2.0]])
    stub = Stub(gym.spaces.Box(low, high, dtype=np.float64))
    host = gymnasium(stub)
    assert host.spaces == rl.Spaces(2, 2, continuous=True)
    lived(host, scripted([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.5], [3.0, -3.0]]), 4, jr.key(0))
    expected = [[0.0, -4.0], [1.0, 2.0], [0.5, 0.5], [1.0, -4.0]]
    np.testing.assert_allclose(np.asarray(stub.taken)[..., 0], expected)
    assert all(action.shape == (2, 1) and action.dtype == np.float64 for action in stub.taken)


def test_discrete_actions_begin_at_the_start():
    stub = Stub()
    lived(gymnasium(stub), scripted(jnp.asarray([0, 2, 1], jnp.int32)), 3, jr.key(0))
    assert stub.taken == [5, 7, 6]


def test_the_reward_may_be_a_function():
    seen = []

    def reward(previous, observation, action, terminated, raw):
        seen.append((previous[0], observation[0], int(action), terminated))
        return 10.0 * raw

    learner = scripted(jnp.asarray([0, 1, 2, 0], jnp.int32))
    life = lived(
        gymnasium(Stub(), reward=reward, observation_scale=[2.0, 4.0]),
        learner,
        4,
        jr.key(0),
        ("rewards", "observations"),
    )
    assert seen == [(0, 1, 0, False), (1, 2, 1, False), (2, 3, 2, True), (0, 1, 0, False)]
    np.testing.assert_array_equal(life.rewards, [50, 60, 70, 50])
    np.testing.assert_array_equal(life.raw_rewards, [5, 6, 7, 5])
    np.testing.assert_array_equal(life.observations[1], [0.5, 0.25])


def test_what_was_wrapped_is_not_taken_for_what_is_known():
    wrapped = gym.wrappers.TransformReward(
        gym.make("CartPole-v1"), lambda reward: 3.0 * float(reward)
    )
    life = lived(gymnasium(wrapped), scripted(jnp.zeros(3, jnp.int32)), 3, jr.key(0))
    np.testing.assert_array_equal(life.rewards, [3.0, 3.0, 3.0])
    np.testing.assert_array_equal(gymnasium(wrapped).scale, np.ones(4))
    neutral = gym.wrappers.RecordEpisodeStatistics(gym.make("CartPole-v1"))
    np.testing.assert_array_equal(gymnasium(neutral).scale, gymnasium("CartPole-v1").scale)


def test_arguments_are_passed_on_to_gymnasium():
    learner = scripted(jnp.zeros(5, jnp.int32))
    life = lived(
        gymnasium("CartPole-v1", max_episode_steps=2), learner, 5, jr.key(0), ("truncated",)
    )
    np.testing.assert_array_equal(life.truncated, [False, True, False, True, False])


def test_a_continuous_learner_lives_there():
    life = lived(gymnasium("MountainCarContinuous-v0"), make(rl.SymLA, 4, 3, 2), 5, jr.key(0))
    assert life.actions.shape == (5, 1)
    assert np.all(np.isfinite(life.rewards))
    assert life.learner.continuous


@pytest.mark.parametrize(
    ("body", "sizes"),
    [("HalfCheetah", (17, 6)), ("Hopper", (11, 3)), ("Walker2d", (17, 6)), ("Ant", (105, 8))],
)
def test_bodies_of_mujoco_are_there(body, sizes):
    host = gymnasium(f"{body}-v5")
    assert (host.spaces.observation_size, host.spaces.num_actions) == sizes
    assert host.spaces.continuous


def test_an_objective_trains_an_agent_in_mujoco():
    learner = small(warm_up=8, exploration_noise=0.0)
    host, key = gymnasium("Hopper-v5"), jr.key(0)
    life = lived(host, learner, 40, key)
    newborn = learner.init(host.spaces, key=jr.split(jr.split(key)[0])[0])
    before, after = (
        jax.tree.leaves(state.knowledge.networks.actor) for state in (newborn, life.learner)
    )
    assert [x.shape for x in before] == [x.shape for x in after]
    assert not any(np.array_equal(*pair) for pair in zip(before, after, strict=True))
    assert np.all(np.isfinite(life.rewards)) and np.all(np.abs(life.actions) <= 1.0)
    assert life.episodes > 0  # it falls, and begins anew


def lives(host, steps=3, record=("rewards",)):
    return lived(host, scripted(jnp.zeros(3, jnp.int32)), steps, jr.key(0), record)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: gymnasium("CartPoel-v1"), "cannot make 'CartPoel-v1': .*CartPole.* Check the id"),
        (lambda: gymnasium("nowhere.here:Any-v0"), "cannot make 'nowhere.here:Any-v0'.*nowhere"),
        (lambda: gymnasium("nowhere.here:Any-v0"), r"MuJoCo's bodies need .*'symla\[gym\]'"),
        (lambda: gymnasium("CartPole-v1", mass=2), "cannot make 'CartPole-v1'.*'mass'"),
        (lambda: gymnasium(Stub(), mass=2), "mass: arguments of `gymnasium.make` need an id"),
        (
            lambda: gymnasium(Stub(gym.spaces.MultiDiscrete([2, 2]))),
            r"Discrete or a Box of floats, got MultiDiscrete\(\[2 2\]\)",
        ),
        (lambda: gymnasium(Stub(gym.spaces.Box(0, 5, (2,), np.int32))), "Box of floats, got Box"),
        (
            lambda: gymnasium(Stub(gym.spaces.Box(-np.inf, 1, (2,)))),
            "finite bounds to be scaled from .-1, 1., got Box",
        ),
        (
            lambda: gymnasium(Stub(sensors=gym.spaces.Sequence(gym.spaces.Discrete(2)))),
            "Observations must be a Box, Discrete or made of them, got Sequence",
        ),
        (
            lambda: gymnasium(Stub(), observation_scale=[1.0, 2.0, 3.0]),
            r"`observation_scale` must be a number above 0, or 2 of them; got \[1.0, 2.0, 3.0\]",
        ),
        (lambda: gymnasium(Stub(), observation_scale=0.0), "a number above 0.*; got 0.0"),
        (
            lambda: gymnasium(Stub(), reward="dense"),
            "a function or one of gym here .*CartPole-v1.*; got 'dense'",
        ),
        (lambda: gymnasium("CartPole-v1", reward="big"), "or one of dense, sparse, .*'big'"),
        (lambda: lives(gymnasium(Stub()), steps=0), "`steps` must be at least 1, got 0"),
        (
            lambda: lives(gymnasium(Stub()), record=("metrics",)),
            "`record` can hold rewards, actions, .*; got metrics",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_plain_words(mistake, message, monkeypatch):
    # As users call it: nothing checks types before the library does itself.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message) as caught:
        mistake()
    assert "\n" not in str(caught.value)
