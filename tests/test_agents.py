"""A2C, A3C, REINFORCE and TD3, and many environments with one knowledge."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import assert_trees_close, assert_trees_identical, close, optimised_jit, quick_jit
from jaxtyping import Array
from known import (
    CHOICES,
    PROBES,
    SIGNS,
    VALUES,
    Probe,
    ProbeParams,
    lived,
    louder_first,
    values_and_choices,
)
from toys import made

import proofs
import rl
from proofs import laws
from rl import classic
from rl.classic import A2C, A3C, PPO, REINFORCE, TD3, Experience, Settled, Transitions, train
from rl.classic._experience import draw
from rl.classic._networks import ActorCritic, Perceptron
from rl.classic._on_policy import Batch
from rl.classic._td3 import Networks

pytestmark = pytest.mark.usefixtures("cheap_compilation")

ON_POLICY = {
    "a2c": A2C((4,), rollout=4),
    "a3c": A3C((4,), rollout=4),
    "reinforce": REINFORCE((4,), rollout=4, value_steps=2),
}
SMALL = TD3((4,), capacity=8, warm_up=2, batch_size=3)
LINE = rl.Spaces(2, 1, continuous=True)
KNOWN = rl.FixedTask(rl.Task(Probe(), PROBES["reward"]))


def a_batch(seed: int = 0) -> tuple[ActorCritic, Batch]:
    """Networks of 2 sensors and 3 actions, and six steps."""
    networks = quick_jit(ActorCritic)(rl.Spaces(2, 3), (4,), key=jr.key(seed))
    networks = jax.tree.map(lambda x: x + 0.3, networks)
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    actions = jnp.eye(3)[jnp.asarray([0, 1, 2, 2, 1, 0])]
    return networks, Batch(draw(6, 2), actions, draw(6), draw(6), draw(6))


def by_hand(networks: ActorCritic, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log probabilities of the actions, entropies and values, by numpy."""

    def layers(perceptron) -> np.ndarray:
        (first, second), biases = perceptron.weights, perceptron.biases
        hidden = np.tanh(
            np.asarray(batch.observations) @ np.asarray(first).T + np.asarray(biases[0])
        )
        return hidden @ np.asarray(second).T + np.asarray(biases[1])

    logits = layers(networks.actor)
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    chosen = (log_probs * np.asarray(batch.actions)).sum(1)
    return chosen, -(np.exp(log_probs) * log_probs).sum(1), layers(networks.critic)[:, 0]


# ------------------------------------------------------------------------------------ A2C and A3C


@pytest.mark.parametrize("normalise", [False, True])
def test_the_loss_of_a2c_by_hand(normalise):
    networks, batch = a_batch()
    learner = A2C((4,), value_weight=0.4, entropy_weight=0.1, normalise_advantages=normalise)
    log_probs, entropies, values = by_hand(networks, batch)
    advantages = np.asarray(batch.advantages)
    if normalise:
        advantages = (advantages - advantages.mean()) / advantages.std()
    error = ((values - np.asarray(batch.returns)) ** 2).mean() / 2
    expected = -(log_probs * advantages).mean() + 0.4 * error - 0.1 * entropies.mean()
    close(quick_jit(learner.loss)(networks, batch), np.asarray(expected), dtype="float32")


def test_an_update_of_a2c_is_one_of_rmsprop():
    networks, batch = a_batch()
    learner = A2C((4,), learning_rate=0.1, max_gradient_norm=0.3)

    @quick_jit
    def update(networks: ActorCritic) -> tuple[ActorCritic, ActorCritic]:
        state = learner.prepare(networks)
        return (
            learner.improve(networks, state, batch, key=jr.key(0))[0],
            jax.grad(learner.loss)(networks, batch),
        )

    learned, gradient = update(networks)
    shrink = 0.3 / float(optax.tree.norm(gradient))
    assert shrink < 1.0
    # The first step: the mean square is a hundredth of the gradient's square.
    expected = jax.tree.map(
        lambda w, g: w - 0.1 * shrink * g / jnp.sqrt(0.01 * (shrink * g) ** 2 + 1e-5),
        networks,
        gradient,
    )
    assert_trees_close(learned, expected)


def test_a3c_is_a2c_with_generalised_advantages_and_a_bonus():
    a2c, a3c = A2C(), A3C()
    assert (a2c.gae_lambda, a2c.entropy_weight) == (1.0, 0.0)
    assert (a3c.gae_lambda, a3c.entropy_weight) == (0.95, 0.01)
    networks, batch = a_batch()
    like = A2C(gae_lambda=0.95, entropy_weight=0.01)
    close(quick_jit(a3c.loss)(networks, batch), quick_jit(like.loss)(networks, batch))


# -------------------------------------------------------------------------------------- REINFORCE


def test_the_loss_of_reinforce_by_hand():
    networks, batch = a_batch()
    log_probs, entropies, _ = by_hand(networks, batch)
    advantages = np.asarray(batch.advantages)
    advantages = (advantages - advantages.mean()) / advantages.std()
    expected = -(log_probs * advantages).mean() - 0.1 * entropies.mean()
    learner = REINFORCE((4,), entropy_weight=0.1)
    close(quick_jit(learner.loss)(networks, batch), np.asarray(expected), dtype="float32")


def test_an_update_of_reinforce_is_one_step_of_the_policy_and_several_of_the_value():
    networks, batch = a_batch()
    learner = REINFORCE((4,), learning_rate=0.1, value_learning_rate=0.02, value_steps=3)

    @quick_jit
    def update(networks: ActorCritic) -> tuple[ActorCritic, ActorCritic]:
        state = learner.prepare(networks)
        return (
            learner.improve(networks, state, batch, key=jr.key(0))[0],
            jax.grad(learner.loss)(networks, batch),
        )

    learned, gradient = update(networks)
    step = lambda w, g: w - 0.1 * g / (jnp.abs(g) + 1e-5)  # noqa: E731
    assert_trees_close(learned.actor, jax.tree.map(step, networks.actor, gradient.actor))

    @quick_jit
    def approach(critic: Perceptron) -> Perceptron:
        adam = optax.adam(0.02, eps=1e-5)
        state = adam.init(eqx.filter(critic, eqx.is_array))

        def error(critic) -> Array:
            values = jax.vmap(critic)(batch.observations)[:, 0]
            return ((values - batch.returns) ** 2).mean() / 2

        with jax.numpy_dtype_promotion("standard"):
            for _ in range(3):
                change, state = adam.update(jax.grad(error)(critic), state)
                critic = eqx.apply_updates(critic, change)
        return critic

    assert_trees_close(learned.critic, approach(networks.critic))


# ------------------------------------------------------------------------------ what they find out

QUICK = {
    "a2c": A2C((16,), rollout=16, learning_rate=0.02, discount=0.5),
    "reinforce": REINFORCE((16,), rollout=32, learning_rate=0.05, discount=0.5),
}


@pytest.fixture(scope="module", params=QUICK)
def probed(request):
    return lived(QUICK[request.param], values_and_choices, 2600, [*PROBES])


@pytest.mark.parametrize(("name", "values", "times"), VALUES)
def test_values_become_what_they_are(probed, name, values, times):
    np.testing.assert_allclose(probed[name][0][:, :times], values, atol=0.15)


@pytest.mark.parametrize(("name", "best"), CHOICES)
def test_the_better_action_is_chosen(probed, name, best):
    np.testing.assert_allclose(probed[name][1], best, atol=0.15)


# -------------------------------------------------------------------------------------------- TD3


def transitions(count: int, seed: int = 0) -> Transitions:
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    ended = jnp.asarray(rng.random(count) < 0.5)
    return Transitions(
        draw(count, 2), jnp.tanh(draw(count, 1)), draw(count), ended, ~ended, draw(count, 2)
    )


def test_the_target_of_td3_by_hand():
    """The smaller of two values of a disturbed action, and none after the end."""
    targets = quick_jit(Networks)(LINE, (4,), key=jr.key(0))
    targets = jax.tree.map(lambda x: x + 0.2, targets)
    learner = TD3((4,), discount=0.9, target_noise=0.3, target_noise_clip=0.4)
    batch, noise = transitions(6), np.asarray([[0.1], [-0.5], [9.0], [-9.0], [1.0], [0.0]])

    def layers(x, weights, biases):
        x = np.maximum(x, 0.0)
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            x = np.maximum(x @ np.asarray(weight).T + bias, 0.0)
        return x @ np.asarray(weights[-1]).T + np.asarray(biases[-1])

    seen, actor = np.asarray(batch.final_observations), targets.actor
    first = seen @ np.asarray(actor.weights[0]).T + np.asarray(actor.biases[0])
    action = np.tanh(layers(first, actor.weights[1:], actor.biases[1:]))
    action = np.clip(action + np.clip(0.3 * noise, -0.4, 0.4), -1.0, 1.0)
    values = []
    for k in range(2):
        critic = jax.tree.map(lambda x: np.asarray(x[k]), targets.critics)  # noqa: B023
        first = seen @ critic.observation_weights.T + action @ critic.action_weights.T
        values.append(layers(first + critic.bias, critic.rest.weights, critic.rest.biases)[:, 0])
    assert (np.argmin(values, 0) == 0).any() and (np.argmin(values, 0) == 1).any()
    ended = np.asarray(batch.terminated)
    assert ended.any() and not ended.all()
    expected = np.asarray(batch.rewards) + 0.9 * np.where(ended, 0.0, np.min(values, 0))
    found = quick_jit(learner.target)(targets, batch, None, jnp.asarray(noise, jnp.float32))
    close(found, expected, dtype="float32")


def test_a_memory_holds_the_last_steps():
    stream, add = Experience(LINE, 5), quick_jit(lambda stream, *now: stream.add(*now))
    for k in range(8):  # time step k tells what step k - 1 led to
        now = rl.TimeStep.first(jnp.zeros(2), LINE)
        now = eqx.tree_at(lambda t: t.reward, now, jnp.asarray(float(k)))
        stream = add(stream, now, jnp.asarray(k, jnp.int32))
    np.testing.assert_array_equal(stream.transitions.rewards, [6, 7, 3, 4, 5])
    # Twice in the same place changes nothing.
    now = eqx.tree_at(lambda t: t.reward, rl.TimeStep.first(jnp.zeros(2), LINE), jnp.asarray(7.0))
    assert_trees_identical(add(stream, now, jnp.asarray(7, jnp.int32)), stream)


def test_what_is_drawn_was_lived_in_any_stream():
    streams = jax.vmap(lambda _: Experience(LINE, 6))(jnp.arange(3))
    numbered = jnp.arange(18.0).reshape(3, 6)
    streams = eqx.tree_at(lambda s: s.transitions.rewards, streams, numbered)
    for steps, expected in ((4, [0, 1, 2, 3, 6, 7, 8, 9, 12, 13, 14, 15]), (9, range(18))):
        drawn, masks = quick_jit(draw)(streams, 2000, jnp.asarray(steps, jnp.int32), key=jr.key(0))
        assert masks is None
        counts = np.unique(np.asarray(drawn.rewards), return_counts=True)
        np.testing.assert_array_equal(counts[0], [*expected])
        share = 1 / len(expected)
        assert (abs(counts[1] / 2000 - share) < 5 * (share * (1 - share) / 2000) ** 0.5).all()


@pytest.mark.parametrize(("warm_up", "critic_warm_up"), [(2, None), (5, 2)])
def test_policy_and_targets_follow_every_second_update(warm_up, critic_warm_up):
    warm_ups = {"warm_up": warm_up, "critic_warm_up": critic_warm_up}
    learner = TD3((4,), capacity=8, **warm_ups, batch_size=3, tau=0.25)
    step, state = quick_jit(learner.step), quick_jit(learner.init)(LINE, key=jr.key(0))
    rng, history = np.random.default_rng(0), []
    for k in range(7):
        now = rl.TimeStep(
            jnp.asarray(rng.normal(size=2), jnp.float32),
            jnp.zeros(1),
            jnp.asarray(rng.normal(), jnp.float32),
            jnp.asarray(False),
            jnp.asarray(False),
            jnp.asarray(rng.normal(size=2), jnp.float32),
        )
        state, action = step(state, now, key=jr.key(k))
        assert action.shape == (1,) and abs(float(action[0])) <= 1.0
        history.append(state.knowledge)

    def moved(part, k):
        one, two = (jax.tree.leaves(part(history[j])) for j in (k - 1, k))
        return any((np.asarray(x) != np.asarray(y)).any() for x, y in zip(one, two, strict=True))

    # Step k learns from k steps lived: from 2 on, and every second time the policy as well.
    assert [moved(lambda h: h.networks.critics, k) for k in range(1, 7)] == [False] + 5 * [True]
    second = [False, True, False, True, False, True]
    assert [moved(lambda h: h.targets, k) for k in range(1, 7)] == second
    # Critics may learn first.
    expected = [due and k >= warm_up for k, due in enumerate(second, 1)]
    assert [moved(lambda h: h.networks.actor, k) for k in range(1, 7)] == expected
    assert [moved(lambda h: h.actor_optimiser, k) for k in range(1, 7)] == expected
    expected = jax.tree.map(
        lambda slow, fast: 0.75 * slow + 0.25 * fast, history[3].targets, history[4].networks
    )
    assert_trees_close(history[4].targets, expected)


def test_random_actions_come_first_and_then_those_of_the_policy():
    learner = TD3((4,), capacity=60, warm_up=40, batch_size=3, exploration_noise=0.0)
    task = rl.Task(Probe(continuous=True), ProbeParams(per_action=1.0))
    life = rl.lifetime(learner, task, steps=41, key=jr.key(0), record=("actions", "observations"))
    assert life.actions is not None and life.observations is not None
    early = np.asarray(life.actions)[:40, 0]
    assert early.std() > 0.4 and abs(early.mean()) < 0.4 and abs(early).max() <= 1.0
    networks = life.final.learner.knowledge.networks
    close(life.actions[40], quick_jit(networks.policy)(life.observations[40], None))


def test_td3_finds_the_best_continuous_action():
    learner = TD3((16,), capacity=1000, warm_up=100, batch_size=32, learning_rate=0.005, tau=0.05)
    task = rl.Task(Probe(continuous=True), ProbeParams(per_action=1.0))
    life = rl.lifetime(learner, task, steps=1000, key=jr.key(0), record=())
    networks = life.final.learner.knowledge.networks
    see = lambda s: jnp.stack([s, 0.0 * s])  # noqa: E731
    actions = [float(quick_jit(networks.policy)(see(s), None)[0]) for s in SIGNS]
    np.testing.assert_allclose(actions, [-0.5, 0.5], atol=0.15)
    values = [quick_jit(networks.values)(see(s), jnp.asarray([0.5 * s])) for s in SIGNS]
    np.testing.assert_allclose(values, np.zeros((2, 2)), atol=0.1)


def test_td3_refuses_discrete_actions():
    with pytest.raises(ValueError, match="continuous actions only.*2 of them.*such as PPO"):
        TD3().init(rl.Spaces(3, 2), key=jr.key(0))


# ------------------------------------------------------------------------------------ symmetries


@pytest.mark.parametrize("name", ON_POLICY)
def test_they_run_with_any_sensors_and_actions(name):
    laws.any_task(ON_POLICY[name])


class Ordered(A2C):
    """A broken twin: the first sensors are louder than the others."""

    def step(self, state: Any, timestep: rl.TimeStep, *, key: Array) -> tuple:
        return super().step(state, louder_first(timestep), key=key)


@pytest.mark.parametrize("name", ON_POLICY)
def test_no_sensor_and_no_action_is_singled_out(name):
    assert proofs.certify(ON_POLICY[name], sweep=(), refute=False)


def test_a_twin_that_singles_out_sensors_is_not_certified():
    assert not proofs.certify(made(Ordered, (4,), rollout=4), sweep=(), refute=False)


# ------------------------------------------------------------------------ many environments at once


@pytest.mark.parametrize("agent", [PPO((4,), rollout=4, minibatches=2), A2C((4,), rollout=4)])
def test_episodes_and_rewards_are_counted(agent):
    """The probe pays 1 in each step, which is an episode."""
    trained = train(agent, KNOWN, environments=3, steps=12, key=jr.key(0))
    np.testing.assert_array_equal(trained.episodes, [12, 12, 12])
    np.testing.assert_array_equal(trained.rewards, [1.0, 1.0, 1.0])
    np.testing.assert_array_equal(trained.episode_returns, [1.0, 1.0, 1.0])


def test_updates_are_those_of_what_all_environments_lived():
    """Two updates, each put together again from lives of the settled agent."""
    agent, tasks = A2C((4,), rollout=4), rl.FixedTask(rl.Task(Probe(), PROBES["reward of both"]))
    trained = train(agent, tasks, environments=3, steps=8, key=jr.key(5))
    birth, tasks_key, start, life, update = jr.split(jr.key(5), 5)
    del tasks_key
    task, knowledge = tasks.task, agent.newborn(tasks.spaces, key=birth)
    lives = [rl.begin(Settled(agent, knowledge, 0), task, key=k) for k in jr.split(start, 3)]
    for k in range(2):
        player = Settled(agent, knowledge)
        lives = [
            rl.lifetime(player, task, steps=4, key=own, start=begun).final
            for own, begun in zip(jr.split(life, 3), lives, strict=True)
        ]
        streams = [now.learner[0].add(now.timestep, now.learner[1]) for now in lives]
        together = jax.tree.map(lambda *x: jnp.stack(x), *streams)
        assert np.asarray(together.transitions.rewards).any()
        knowledge = quick_jit(agent.learn)(
            knowledge, together, jnp.asarray(4 * k + 4, jnp.int32), key=jr.fold_in(update, k)
        )
    assert_trees_close(trained.knowledge, knowledge)


def test_td3_remembers_what_all_environments_lived():
    agent = TD3((4,), capacity=8, warm_up=4, every=2, updates=3, batch_size=3)
    tasks = rl.FixedTask(rl.Task(Probe(continuous=True), ProbeParams(constant=1.0)))
    trained = train(agent, tasks, environments=2, steps=12, key=jr.key(0))
    assert trained.rewards.shape == (6,)
    np.testing.assert_array_equal(trained.rewards, np.ones(6))
    born = agent.newborn(tasks.spaces, key=jr.split(jr.key(0), 5)[0])
    count = trained.knowledge.critic_optimiser[0].count
    assert int(count) == 3 * 5  # all but the first time, when there were 2 steps only
    assert (trained.knowledge.networks.critics.bias != born.networks.critics.bias).any()


def test_a_settled_agent_lives_like_any_learner():
    trained = train(A2C((4,), rollout=4), KNOWN, environments=2, steps=4, key=jr.key(0))
    player = Settled(A2C((4,), rollout=4), trained.knowledge)
    life = rl.lifetime(player, KNOWN.task, steps=20, key=jr.key(1))
    assert float(life.total_reward) == 20.0
    assert_trees_identical(player.knowledge, trained.knowledge)


def test_a_settled_td3_does_not_begin_with_random_actions():
    agent = TD3((4,), capacity=8, warm_up=20, batch_size=3, exploration_noise=0.0)
    task = rl.Task(Probe(continuous=True), ProbeParams(per_action=1.0))
    knowledge = agent.newborn(task.spaces, key=jr.key(0))
    record = ("actions", "observations")
    life = rl.lifetime(Settled(agent, knowledge), task, steps=3, key=jr.key(1), record=record)
    assert life.actions is not None and life.observations is not None
    policy = quick_jit(jax.vmap(lambda o: knowledge.networks.policy(o, None)))
    close(life.actions, policy(life.observations))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: A2C(gae_lambda=1.5), "`gae_lambda` must be a number from 0 to 1, got 1.5"),
        (lambda: A3C(rollout=0), "`rollout` must be at least 1, got 0"),
        (lambda: REINFORCE(value_steps=0), "`value_steps` must be at least 1, got 0"),
        (lambda: REINFORCE(value_learning_rate=0.0), "`value_learning_rate` must be a number abo"),
        (lambda: TD3(()), r"`len\(hidden_sizes\)` must be at least 1, got 0"),
        (lambda: TD3(tau=2.0), "`tau` must be a number from 0 to 1, got 2.0"),
        (lambda: TD3(target_noise=-1.0), "`target_noise` must be a number from 0, got -1.0"),
        (lambda: TD3(capacity=0), "`capacity` must be at least 1, got 0"),
        (lambda: TD3(critic_warm_up=0), "`critic_warm_up` must be at least 1, got 0"),
        (
            lambda: TD3(critic_warm_up=501),
            "`critic_warm_up` must be at most `warm_up`, 500; got 501",
        ),
        (
            lambda: train(A2C(rollout=8), KNOWN, steps=20, key=jr.key(0)),
            "a multiple of the 8 environment steps from one update of A2C to the next, got 20",
        ),
        (
            lambda: train(A2C(), KNOWN, environments=0, steps=32, key=jr.key(0)),
            "`environments` must be at least 1, got 0",
        ),
    ],
)
def test_mistakes_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# ---------------------------------------------------------------------------------------- learning


def last(trained: classic.Training, share: float = 0.2) -> float:
    """The mean return of the episodes in the last share of the updates."""
    count = int(len(trained.episodes) * share)
    episodes = np.asarray(trained.episodes)[-count:]
    returns = np.nan_to_num(np.asarray(trained.episode_returns))[-count:]
    return float((episodes * returns).sum() / episodes.sum())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("agent", "steps"),
    [
        (A2C(), 9600),
        (A3C(), 9600),
        (REINFORCE(), 9600),
        (PPO(rollout=128, minibatches=8, discount=0.99, gae_lambda=0.97), 9600),
    ],
)
def test_they_learn_to_balance_a_pole(agent, steps):
    tasks = rl.envs.Vary(rl.envs.CartPole("gym"))
    runs = jax.vmap(lambda key: train(agent, tasks, environments=16, steps=steps, key=key))
    trained = jax.jit(runs)(jr.split(jr.key(1), 3))
    scores = [last(jax.tree.map(lambda x: x[k], trained)) for k in range(3)]  # noqa: B023
    assert np.mean(scores) > 450, scores


@pytest.mark.slow
def test_td3_swings_a_pendulum_up():
    """From -1200; single runs end between -143 and -285. `benchmarks.learners` has the mean."""
    tasks = rl.envs.Vary(rl.envs.Pendulum("gym"))
    learn = partial(train, TD3(updates=4), tasks, environments=4, steps=3000)
    trained = optimised_jit(learn)(jr.key(1))
    assert last(trained) > -450
