"""Tabular decision processes: what they pay, where they lead, and who plays them how well."""

import itertools
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import optimised_jit

import meta
import proofs.laws as laws
import rl
from rl.classic import PSRL, RandomPlayer, backward_induction, policy_value
from rl.envs import TabularMDP, TabularMDPs, TabularParams, TabularState

pytestmark = pytest.mark.usefixtures("cheap_compilation")


def drawn(key, states=3, actions=2):
    """The transitions and rewards of one process."""
    params = TabularMDPs(states, actions).sample(key=key).params
    return np.asarray(params.transitions, np.float64), np.asarray(params.rewards, np.float64)


def ring(states, actions, **arguments):
    """Each action `a` leads from `s` to `s + a`, and pays `10 s + a` without noise."""
    s, a = np.meshgrid(np.arange(states), np.arange(actions), indexing="ij")
    transitions = np.eye(states)[(s + a) % states]
    return TabularParams(
        transitions=jnp.asarray(transitions, jnp.float32),
        rewards=jnp.asarray(10 * s + a, jnp.float32),
        reward_std=0.0,
        **arguments,
    )


# ------------------------------------------------------------------------------- the environment


def test_the_interface_of_gymnax(getkey):
    environment = TabularMDP(4, 3)
    params = environment.default_params
    assert environment.name == "TabularMDP"
    assert environment.num_actions == environment.action_space(params).n == 3
    observation, state = environment.reset(getkey(), params)
    space = environment.observation_space(params)
    np.testing.assert_array_equal(observation, [1, 0, 0, 0])
    assert space.shape == (4,) and observation.dtype == space.dtype
    np.testing.assert_allclose(params.transitions.sum(-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(params.rewards, np.ones((4, 3)))
    for number in range(10):
        assert int(state.time) == number
        action = environment.action_space(params).sample(getkey())
        observation, state, reward, terminated, truncated, info = environment.step(
            getkey(), state, action, params
        )
        assert space.contains(observation) and observation.sum() == 1
        assert reward.shape == () and not terminated
        assert bool(truncated) == (number == 9)
        assert info["final_observation"].sum() == info["discount"] == 1
    np.testing.assert_array_equal(observation, [1, 0, 0, 0])


def test_the_laws_of_environments(getkey):
    task = TabularMDPs(4, 3).sample(key=getkey())
    assert task.spaces.observation_size == 4 and task.spaces.num_actions == 3
    assert [law.name for law in laws.check(task)] == ["steady_types"]
    # One instance for all processes of a size: another would be compiled anew.
    assert TabularMDPs(4, 3).sample(key=getkey()).environment is task.environment


def test_every_action_leads_and_pays_as_its_parameters_say(getkey):
    """All states and actions of a process in which nothing is left to chance."""
    environment, params = TabularMDP(5, 3), ring(5, 3)
    for state, action in itertools.product(range(5), range(3)):
        start = TabularState(time=jnp.int32(0), state=jnp.int32(state))
        look, after, reward, *_ = environment.step(getkey(), start, jnp.int32(action), params)
        assert float(reward) == 10 * state + action
        assert int(after.state) == int(look.argmax()) == (state + action) % 5


def test_chance_is_as_the_parameters_say(getkey):
    count = 20_000
    chances = np.array([0.1, 0.0, 0.6, 0.3])
    transitions = jnp.full((4, 2, 4), 0.25).at[2, 1].set(jnp.asarray(chances, jnp.float32))
    rewards = jnp.zeros((4, 2)).at[2, 1].set(-3.0)
    params = TabularParams(transitions=transitions, rewards=rewards, reward_std=2.0)
    start = TabularState(time=jnp.int32(0), state=jnp.int32(2))
    environment = TabularMDP(4, 2)

    def step(key):
        _, after, reward, *_ = environment.step(key, start, jnp.int32(1), params)
        return after.state, reward

    reached, rewards = jax.jit(jax.vmap(step))(jr.split(getkey(), count))
    often = np.bincount(np.asarray(reached), minlength=4)
    errors = 5 * np.sqrt(count * chances * (1 - chances))
    assert (np.abs(often - count * chances) <= errors).all()
    rewards = np.asarray(rewards, np.float64)
    assert abs(rewards.mean() + 3) < 5 * 2 / count**0.5
    assert abs(rewards.std() - 2) < 5 * 2 / (2 * count) ** 0.5
    for state, times in enumerate(often):  # rewards tell nothing of where it goes
        if times:
            assert abs(rewards[np.asarray(reached) == state].mean() + 3) < 5 * 2 / times**0.5


def test_processes_are_drawn_as_the_paper_says(getkey):
    count, shape = 500, (10, 5)
    tasks = jax.jit(jax.vmap(lambda key: TabularMDPs().sample(key=key).params))(
        jr.split(getkey(), count)
    )
    rewards = np.asarray(tasks.rewards, np.float64)
    assert rewards.shape == (count, *shape)
    assert abs(rewards.mean() - 1) < 5 / rewards.size**0.5
    assert abs(rewards.std() - 1) < 5 / (2 * rewards.size) ** 0.5
    chances = np.asarray(tasks.transitions, np.float64)
    np.testing.assert_allclose(chances.sum(-1), 1, rtol=1e-5)
    # Each number of a flat Dirichlet of ten is Beta(1, 9): mean 1/10, variance 9 / (100 * 11).
    np.testing.assert_allclose(chances.mean((0, 1, 2)), 0.1, atol=0.003)
    np.testing.assert_allclose(chances.var((0, 1, 2)), 9 / 1100, rtol=0.06)
    assert (tasks.max_steps_in_episode == 10).all() and (tasks.reward_std == 1).all()


def test_a_process_outlives_its_episodes(getkey):
    task = rl.Task(TabularMDP(5, 2), ring(5, 2, max_steps_in_episode=4))

    class Onwards(RandomPlayer):
        """It always takes the last action."""

        def scores(self, state, *, key):
            return jnp.arange(2.0)

    record = ("rewards", "truncated", "terminated", "observations", "final_observations")
    life = rl.lifetime(Onwards(), task, steps=12, key=getkey(), record=record)
    assert life.observations is not None and life.final_observations is not None
    np.testing.assert_array_equal(life.rewards, [1, 11, 21, 31] * 3)
    np.testing.assert_array_equal(life.truncated, np.arange(1, 13) % 4 == 0)
    assert life.terminated is not None and not life.terminated.any()
    np.testing.assert_array_equal(life.observations.argmax(1), [0, 1, 2, 3] * 3)
    np.testing.assert_array_equal(life.final_observations.argmax(1), [1, 2, 3, 4] * 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TabularMDPs(0), "`states` must be at least 1, got 0"),
        (lambda: TabularMDP(2, 0), "`actions` must be at least 1, got 0"),
        (lambda: TabularMDPs(episode_steps=0), "`episode_steps` must be at least 1, got 0"),
        (lambda: PSRL(0), "`horizon` must be at least 1 environment step, got 0"),
        (lambda: PSRL(concentration=0.0), "`concentration` must be above 0, got 0"),
        (lambda: PSRL(prior_std=-1.0), "`prior_std` must be above 0, got -1"),
        (lambda: backward_induction(jnp.ones((1, 1, 1)), jnp.ones((1, 1)), 0), "`horizon` must"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# -------------------------------------------------------------------------------------- planning


def policies(states, actions, horizon):
    """All that can be done, at each step and in each state."""
    one = list(itertools.product(range(actions), repeat=states))
    return itertools.product(one, repeat=horizon)


def worth(transitions, rewards, plan):
    """What a plan pays from each state, step by step from the first one."""
    states = len(rewards)
    total, where = np.zeros(states), np.eye(states)  # where[s, x]: from s, now at x
    for actions in plan:
        now = np.arange(states)
        total = total + where @ rewards[now, list(actions)]
        where = where @ transitions[now, list(actions)]
    return total


def test_backward_induction_finds_the_best_of_all_plans(getkey):
    drawn_ones = [drawn(getkey()) for _ in range(6)]
    found = jax.vmap(lambda p, r: backward_induction(p, r, 3))(
        *(jnp.asarray(np.stack(parts), jnp.float32) for parts in zip(*drawn_ones, strict=True))
    )
    plans = np.asarray(found[1])
    assert (plans[:, 0] != plans[:, 2]).any()  # how long an episode still is matters
    for (transitions, rewards), values, plan in zip(drawn_ones, found[0], plans, strict=True):
        best = np.max([worth(transitions, rewards, any_plan) for any_plan in policies(3, 2, 3)], 0)
        np.testing.assert_allclose(values, best, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(worth(transitions, rewards, plan), best, rtol=1e-4, atol=1e-5)


def test_actions_that_do_not_exist_are_never_planned(getkey):
    transitions, rewards = drawn(getkey(), actions=4)
    mask = jnp.array([True, False, True, False])
    some = backward_induction(jnp.asarray(transitions), jnp.asarray(rewards), 4, action_mask=mask)
    fewer = backward_induction(jnp.asarray(transitions[:, ::2]), jnp.asarray(rewards[:, ::2]), 4)
    np.testing.assert_allclose(some[0], fewer[0], rtol=1e-6)
    np.testing.assert_array_equal(some[1], 2 * np.asarray(fewer[1]))


def test_the_value_of_a_policy_is_the_mean_over_what_it_may_do(getkey):
    transitions, rewards = drawn(getkey())
    values = policy_value(
        jnp.asarray(transitions), jnp.asarray(rewards), jnp.array([[0.3, 0.7]] * 3), 2
    )
    expected = np.zeros(3)
    for plan in policies(3, 2, 2):
        chance = np.prod([[0.3, 0.7][action] for actions in plan for action in actions])
        expected += chance * worth(transitions, rewards, plan)
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_a_random_player_earns_what_its_policy_is_worth(getkey):
    tasks, lives = TabularMDPs(4, 3, episode_steps=5), 2000
    found = meta.evaluate(RandomPlayer(), tasks, steps=5, lives=lives, key=getkey())
    uniform = jnp.full((4, 3), 1 / 3)

    def value(key):
        params = tasks.sample(key=key).params
        return policy_value(params.transitions, params.rewards, uniform, 5)[0]

    values = np.asarray(jax.jit(jax.vmap(value))(jr.split(getkey(), lives)))
    error = (found.sem() ** 2 + values.var() / lives) ** 0.5
    assert abs(values.mean() - 5) < 5 * values.std() / lives**0.5
    assert abs(found.mean() - values.mean()) < 5 * error


# ---------------------------------------------------------------------------- posterior sampling


def told(state, action, reward, reached, after=None, states=3):
    """What a learner hears: where its action led, and from where it goes on (a new episode)."""

    def look(number):
        return jnp.eye(states)[number]

    return rl.TimeStep(
        observation=look(reached if after is None else after),
        action=jnp.int32(action),
        reward=jnp.float32(reward),
        terminated=jnp.asarray(False),
        truncated=jnp.asarray(after is not None),
        final_observation=look(reached),
    )


def test_it_counts_what_it_did_where_it_was(getkey):
    player = PSRL(horizon=2)
    state = player.init(rl.Spaces(3, 2), key=getkey())
    state, first = player.step(state, rl.TimeStep.first(jnp.eye(3)[0]), key=getkey())
    assert state.visits.sum() == state.earned.sum() == 0
    plan = np.asarray(state.plan)
    assert int(first) == plan[0, 0]
    state, second = player.step(state, told(0, 1, 2.5, reached=2), key=getkey())
    assert int(second) == plan[1, 2] and int(state.time) == 1
    np.testing.assert_array_equal(state.plan, plan)  # it keeps to it until the episode ends
    # The episode ends in state 1; the next begins in state 0.
    state, third = player.step(state, told(2, 0, -1.0, reached=1, after=0), key=getkey())
    expected, earned = np.zeros((3, 2, 3)), np.zeros((3, 2))
    expected[0, 1, 2] = expected[2, 0, 1] = 1
    earned[0, 1], earned[2, 0] = 2.5, -1.0
    np.testing.assert_array_equal(state.visits, expected)
    np.testing.assert_array_equal(state.earned, earned)
    assert int(state.time) == 0 and int(third) == state.plan[0, 0]


def test_it_plans_anew_where_an_episode_begins(getkey):
    player = PSRL(horizon=4)
    states = jax.vmap(lambda key: player.init(rl.Spaces(3, 2), key=key))(jr.split(getkey(), 40))
    state = jax.tree.map(lambda x: x[0], states)
    state, _ = player.step(state, rl.TimeStep.first(jnp.eye(3)[0]), key=getkey())
    same, others = told(0, 0, 1.0, reached=1), told(0, 0, 1.0, reached=1, after=0)

    def plan(timestep, key):
        return player.step(state, timestep, key=key)[0].plan

    keys = jr.split(getkey(), 40)
    kept = jax.vmap(plan, in_axes=(None, 0))(same, keys)
    anew = jax.vmap(plan, in_axes=(None, 0))(others, keys)
    assert (np.asarray(kept) == np.asarray(state.plan)[None]).all()
    assert len({np.asarray(x).tobytes() for x in anew}) > 20
    # Side by side with one that begins, one that does not keeps its plan.
    both = jax.tree.map(lambda x, y: jnp.stack([x, y]), same, others)
    together = jax.vmap(plan)(both, keys[:2])
    np.testing.assert_array_equal(together[0], state.plan)
    np.testing.assert_array_equal(together[1], anew[1])


def test_it_draws_from_its_posterior(getkey):
    player = PSRL(concentration=0.5, prior_mean=2.0, prior_std=0.5, reward_std=2.0)
    visits = jnp.zeros((2, 2, 2)).at[0, 1].set(jnp.array([3.0, 5.0]))
    earned = jnp.zeros((2, 2)).at[0, 1].set(40.0)
    keys = jr.split(getkey(), 4000)
    transitions, rewards = jax.jit(
        jax.vmap(lambda key: player.posterior_sample(visits, earned, key=key))
    )(keys)
    # Beta(3.5, 5.5) and Beta(0.5, 0.5); a precision of 1 / 0.5^2, and 1 / 2^2 for each visit.
    error = 5 / 4000**0.5
    chances = np.asarray(transitions[:, :, :, 0], np.float64)
    np.testing.assert_allclose(chances.mean(0), [[0.5, 3.5 / 9], [0.5, 0.5]], atol=0.36 * error)
    spread = (3.5 * 5.5 / (81 * 10)) ** 0.5
    np.testing.assert_allclose(chances[:, 0, 1].std(), spread, rtol=error)
    rewards = np.asarray(rewards, np.float64)
    precision = 4 + 8 / 4
    mean = (4 * 2 + 40 / 4) / precision
    np.testing.assert_allclose(rewards[:, 0, 1].mean(), mean, atol=error * precision**-0.5)
    np.testing.assert_allclose(rewards[:, 0, 1].std(), precision**-0.5, rtol=error)
    np.testing.assert_allclose(rewards[:, 1, 0].mean(), 2.0, atol=error * 0.5)
    np.testing.assert_allclose(rewards[:, 1, 0].std(), 0.5, rtol=error)


def test_it_learns_one_process_by_heart(getkey):
    """With many episodes and little noise it plays as if it knew the process."""
    tasks = TabularMDPs(3, 2, episode_steps=4)
    params = tasks.sample(key=getkey()).params.replace(reward_std=0.1)
    task = rl.Task(TabularMDP(3, 2), params)
    best = float(backward_induction(params.transitions, params.rewards, 4)[0][0])

    @eqx.filter_jit
    def earned(key):
        life = rl.lifetime(PSRL(4, reward_std=0.1), task, steps=800, key=key)
        assert life.episode_returns is not None
        return life.episode_returns[400:]

    late = np.asarray(jax.vmap(earned)(jr.split(getkey(), 20)))
    late = late[np.isfinite(late)]
    assert abs(late.mean() - best) < 5 * late.std() / late.size**0.5 + 0.02 * abs(best)


@pytest.mark.slow
def test_it_scores_as_published(getkey):
    """Duan et al. 2016 (table 2) have 138.1 for ten episodes; a random policy has 100.

    The paper does not say which prior its posterior sampling has. One with a mean of 0 explores
    less than the distribution's own mean of 1, and scores as published; that one has 134.7 (1,000
    lives).
    """

    def lived(mean):
        live = partial(meta.evaluate, PSRL(prior_mean=mean), TabularMDPs(), steps=100, lives=80)
        return optimised_jit(live)(getkey())

    scores = {mean: lived(mean) for mean in (0.0, 1.0)}
    for mean, expected in ((0.0, 138.1), (1.0, 134.7)):
        assert abs(scores[mean].mean() - expected) < 4 * scores[mean].sem() < 16.0


def test_continuous_actions_are_refused(getkey):
    with pytest.raises(ValueError, match="PSRL has discrete actions only"):
        PSRL().init(rl.Spaces(2, 2, continuous=True), key=getkey())
