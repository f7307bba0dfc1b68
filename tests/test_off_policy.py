"""Stretches drawn from a memory, and REINFORCE that learns from them."""

import importlib.util
import sys
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import assert_trees_close, close, optimised_jit, quick_jit
from jaxtyping import Array
from known import SIGNS, Probe, ProbeParams, segments_of

import proofs
import rl
from rl.classic import (
    TD3,
    Experience,
    Networks,
    OffPolicyREINFORCE,
    Segments,
    Training,
    Transitions,
    draw_segments,
    train,
)

pytestmark = pytest.mark.usefixtures("cheap_compilation")

PLANE = rl.Spaces(2, 3, continuous=True)


def small(cls: type[OffPolicyREINFORCE], *, every: int = 1, updates: int = 1) -> OffPolicyREINFORCE:
    return cls(
        (4,), capacity=8, warm_up=4, every=every, updates=updates, batch_size=3, segment_length=4
    )


# --------------------------------------------------------------------------------- what is drawn


def memories(held: int, lived: int) -> Experience:
    """Of three streams: step `t` of stream `s` has the reward `100 s + t`."""
    streams = jax.vmap(lambda _: Experience(PLANE, held))(jnp.arange(3))
    rewards = np.full((3, held), -1.0, np.float32)
    for t in range(lived):
        rewards[:, t % held] = 100 * np.arange(3) + t
    masks = jnp.asarray([[True, False, False], [True, True, False], [True, True, True]])
    rewards = jnp.asarray(rewards)
    led_to = jnp.stack([rewards + 0.5, -rewards], -1)
    return eqx.tree_at(
        lambda s: (s.transitions.rewards, s.transitions.final_observations, s.action_mask),
        streams,
        (rewards, led_to, masks),
        is_leaf=lambda x: x is None,
    )


@pytest.mark.parametrize(
    ("lived", "starts"),
    [
        (5, range(3)),  # less than is held
        (7, range(5)),  # as much
        (9, range(2, 7)),  # the newest is in the middle
        (14, range(7, 12)),  # the newest is at the end
        (3, range(1)),  # one stretch
    ],
)
def test_all_stretches_that_were_lived_are_drawn_alike(lived, starts):
    count = 3000
    steps, streams = jnp.asarray(lived, jnp.int32), memories(7, lived)
    drawn, masks = quick_jit(draw_segments)(streams, count, 3, steps, key=jr.key(lived))
    rewards = np.asarray(drawn.rewards)
    found, times = np.unique(rewards, axis=0, return_counts=True)
    expected = [[100 * s + t, 100 * s + t + 1, 100 * s + t + 2] for s in range(3) for t in starts]
    np.testing.assert_array_equal(found, expected)
    share = 1 / len(expected)
    assert (abs(times / count - share) < 5 * (share * (1 - share) / count) ** 0.5).all()
    # All that is known of a step comes along, and the mask of its stream.
    np.testing.assert_array_equal(drawn.final_observations[..., 0], rewards + 0.5)
    assert drawn.actions.shape == (count, 3, 3)
    assert masks is not None
    np.testing.assert_array_equal(np.asarray(masks).sum(1), 1 + rewards[:, 0] // 100)


def test_streams_without_masks_have_none():
    streams = jax.vmap(lambda _: Experience(PLANE, 4))(jnp.arange(2))
    found = jax.eval_shape(
        lambda: draw_segments(streams, 2, 2, jnp.asarray(3, jnp.int32), key=jr.key(0))
    )
    assert found[0].actions.shape == (2, 2, 3) and found[1] is None


# ---------------------------------------------------------------------------------- the objective


def advantages_of(segments: Segments, discount: float, decay: float) -> np.ndarray:
    """The sums of equation 16 of Schulman et al. as they are written, each broken off at an end."""
    rewards, terminated, truncated = (
        np.asarray(x, np.float64)
        for x in (
            segments.transitions.rewards,
            segments.transitions.terminated,
            segments.transitions.truncated,
        )
    )
    values, later = np.asarray(segments.values), np.asarray(segments.next_values)
    errors = rewards + discount * np.where(terminated, 0.0, later) - values
    result = np.zeros_like(errors)
    for n, t in np.ndindex(*errors.shape):
        for k in range(t, errors.shape[1]):
            result[n, t] += (discount * decay) ** (k - t) * errors[n, k]
            if terminated[n, k] or truncated[n, k]:
                break
    return result


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("normalise", [False, True])
def test_the_objective_by_hand(masked, reduction, normalise):
    segments = segments_of(6, masked)
    learner = OffPolicyREINFORCE(
        discount=0.9, gae_lambda=0.7, reduction=reduction, normalise_advantages=normalise
    )
    advantages = advantages_of(segments, 0.9, 0.7)
    if normalise:
        advantages = (advantages - advantages.mean()) / advantages.std()
    total = 0.0
    for n, t in np.ndindex(6, 5):
        exist = [True] * 3 if segments.action_mask is None else segments.action_mask[n]
        squares = [
            (float(segments.transitions.actions[n, t, d]) - float(segments.policy_actions[n, t, d]))
            ** 2
            for d in range(3)
            if exist[d]
        ]
        distance = sum(squares) / (len(squares) if reduction == "mean" else 1)
        total += distance * advantages[n, t] / 30
    close(quick_jit(learner.objective)(segments), np.asarray(total), dtype="float32")


def test_the_pull_of_each_action_where_episodes_end_within():
    """Discount and decay 1/2. The second step terminates, and the fourth is truncated."""
    line = lambda *x: jnp.asarray([x], jnp.float32)  # noqa: E731
    flags = lambda *x: jnp.asarray([x], bool)  # noqa: E731
    nothing = jnp.zeros((1, 5, 1))
    lived = Transitions(
        nothing,
        nothing + 1.0,
        line(1, 2, 3, 4, 5),
        flags(0, 1, 0, 0, 0),
        flags(0, 0, 0, 1, 0),
        nothing,
    )
    thought = line(1, 1, 2, 2, 3), line(1, 100, 2, 8, 6)
    segments = Segments(lived, *thought, nothing, None)
    # Errors: 1 + 1/2 - 1, 2 - 1, 3 + 1 - 2, 4 + 4 - 2, 5 + 3 - 3.
    advantages = np.asarray([0.5 + 1 / 4, 1.0, 2.0 + 6 / 4, 6.0, 5.0])
    learner = OffPolicyREINFORCE(discount=0.5, gae_lambda=0.5, normalise_advantages=False)
    slope = quick_jit(jax.grad(learner.objective, allow_int=True))(segments)
    # The objective is the mean of (1 - action)^2 times the advantage.
    close(slope.policy_actions[0, :, 0], -2 * advantages / 5, dtype="float32")


def networks() -> Networks:
    born = quick_jit(Networks)(PLANE, (4,), key=jr.key(0))
    return jax.tree.map(lambda x: x + 0.2, born)


@pytest.mark.parametrize("masked", [False, True])
def test_values_are_those_of_the_first_critic_for_the_policy(masked):
    given, now = segments_of(2, masked), networks()
    batch, mask = given.transitions, given.action_mask
    seen = quick_jit(OffPolicyREINFORCE().look)(now, batch, mask)
    policy, values = quick_jit(now.policy), quick_jit(now.values)
    for n, t in np.ndindex(2, 5):
        own = None if mask is None else mask[n]
        for observations, found in (
            (batch.observations, seen.values),
            (batch.final_observations, seen.next_values),
        ):
            action = policy(observations[n, t], own)
            close(found[n, t], values(observations[n, t], action)[0])
        close(seen.policy_actions[n, t], policy(batch.observations[n, t], own))
    assert seen.transitions is not None and not np.allclose(seen.values, seen.next_values)


def test_the_gradient_comes_through_the_actions_of_the_policy_only():
    given, now, learner = segments_of(3), networks(), OffPolicyREINFORCE((4,))
    batch = given.transitions
    slope = quick_jit(jax.grad(learner.policy_loss))(now, batch, None)
    assert all((np.asarray(x) == 0.0).all() for x in jax.tree.leaves(slope.critics))
    fixed = quick_jit(learner.look)(now, batch, None)

    def loss(actor) -> Array:
        changed = eqx.tree_at(lambda n: n.actor, now, actor)
        policy = lambda o: changed.policy(o, None)  # noqa: E731
        actions = jax.vmap(jax.vmap(policy))(batch.observations)
        return learner.objective(eqx.tree_at(lambda s: s.policy_actions, fixed, actions))

    assert_trees_close(slope.actor, quick_jit(jax.grad(loss))(now.actor))


# ----------------------------------------------------------------------------------- what is done


def streams_of(segments: Segments, held: int) -> Experience:
    """One stream for each stretch, which lived nothing else."""
    count = segments.values.shape[0]
    streams = jax.vmap(lambda _: Experience(PLANE, held))(jnp.arange(count))
    transitions = jax.tree.map(
        lambda all, some: all.at[:, : some.shape[1]].set(some),
        streams.transitions,
        segments.transitions,
    )
    return eqx.tree_at(
        lambda s: (s.transitions, s.action_mask),
        streams,
        (transitions, segments.action_mask),
        is_leaf=lambda x: x is None,
    )


def test_an_update_by_hand():
    """Critics learn from single steps as in TD3, and the policy from stretches, clipped."""
    learner = OffPolicyREINFORCE(
        (4,), capacity=9, warm_up=5, batch_size=3, segment_length=5, policy_delay=1, tau=0.25,
        max_gradient_norm=1e-3, normalise_advantages=False,
    )  # fmt: skip
    streams, steps = streams_of(segments_of(4, masked=True), 9), jnp.asarray(5, jnp.int32)
    born = quick_jit(learner.newborn)(PLANE, key=jr.key(0))
    learned = quick_jit(learner.learn)(born, streams, steps, key=jr.key(1))

    @quick_jit
    def drawn() -> tuple:
        draw_key, noise_key = jr.split(jr.split(jr.key(1), 1)[0])
        found = draw_segments(streams, 3, 5, steps, key=draw_key)
        return *found, jr.normal(noise_key, (15, 3))

    batch, masks, noise = jax.tree.map(np.asarray, drawn())
    assert len(np.unique(masks, axis=0)) > 1  # or their order would not matter
    singles = jax.tree.map(lambda x: np.stack([x[n, t] for n, t in np.ndindex(3, 5)]), batch)
    singles, own = jax.tree.map(jnp.asarray, (singles, np.repeat(masks, 5, 0)))
    batch, masks, noise = jax.tree.map(jnp.asarray, (batch, masks, noise))

    def error(critics) -> Array:
        now = eqx.tree_at(lambda n: n.critics, born.networks, critics)
        wanted = TD3((4,)).target(born.targets, singles, own, noise)
        values = jax.vmap(now.values)(singles.observations, singles.actions)
        return ((values - wanted[:, None]) ** 2).mean(0).sum()

    after = eqx.tree_at(lambda n: n.critics, born.networks, learned.networks.critics)
    slope, policy_slope = quick_jit(
        lambda: (
            jax.grad(error)(born.networks.critics),
            jax.grad(learner.policy_loss)(after, batch, masks).actor,
        )
    )()
    # Adam's first mean is a tenth of the gradient; that of the critics is not clipped.
    means = jax.tree.map(lambda m: 10 * m, learned.critic_optimiser[0].mu)
    assert_trees_close(means, slope)
    assert float(optax.tree.norm(slope)) > 1e-3
    shrink = 1e-3 / float(optax.tree.norm(policy_slope))
    assert shrink < 1.0
    means = jax.tree.map(lambda m: 1e4 * m, learned.actor_optimiser[1][0].mu)
    assert_trees_close(means, jax.tree.map(lambda g: 1e3 * shrink * g, policy_slope))
    moved = jax.tree.map(
        lambda slow, fast: 0.75 * slow + 0.25 * fast, born.targets, learned.networks
    )
    assert_trees_close(learned.targets, moved)


def test_it_moves_towards_better_actions():
    """Beyond the best ones, 1/2 of the sign: it knows which way to go, and not where to stop."""
    learner = OffPolicyREINFORCE(
        (16,), capacity=300, warm_up=100, batch_size=8, segment_length=8, learning_rate=0.005
    )
    task = rl.Task(Probe(continuous=True), ProbeParams(per_action=1.0))
    life = rl.lifetime(learner, task, steps=300, key=jr.key(0), record=())
    policy = quick_jit(life.final.learner.knowledge.networks.policy)
    actions = [float(policy(jnp.stack([s, 0.0 * s]), None)[0]) for s in SIGNS]
    assert actions[0] < -0.3 and actions[1] > 0.3


def test_it_learns_in_many_environments():
    agent = small(OffPolicyREINFORCE, every=2, updates=3)
    tasks = rl.FixedTask(rl.Task(Probe(continuous=True), ProbeParams(constant=1.0)))
    trained = train(agent, tasks, environments=2, steps=12, key=jr.key(0))
    np.testing.assert_array_equal(trained.rewards, np.ones(6))
    assert int(trained.knowledge.critic_optimiser[0].count) == 3 * 5  # all but the first time
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(trained.knowledge))


# ------------------------------------------------------------------------------------- symmetries


class Ordered(OffPolicyREINFORCE):
    """A broken twin: the first dimension of an action counts more than the others."""

    def objective(self, segments: Segments) -> Array:
        ramp = 1.0 / (1.0 + jnp.arange(segments.policy_actions.shape[-1], dtype=jnp.float32))
        louder = segments.policy_actions * ramp[None, None]
        return super().objective(eqx.tree_at(lambda s: s.policy_actions, segments, louder))


def test_no_sensor_and_no_action_is_singled_out():
    learner = small(OffPolicyREINFORCE)
    certificate = proofs.certify(proofs.continuous_actions(learner), sweep=(), refute=False)
    assert certificate.verdict == "PROVED"


def test_a_twin_that_singles_out_actions_is_not_certified():
    learner = small(Ordered)
    assert not proofs.certify(proofs.continuous_actions(learner), sweep=(), refute=False)


# --------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segment_length": 0}, "`segment_length` must be at least 1, got 0"),
        ({"capacity": 19}, "`capacity` must be at least `segment_length`, 20, .*; got 19"),
        ({"warm_up": 7}, "`warm_up` must be at least `segment_length`, 20, .*; got 7"),
        (
            {"critic_warm_up": 7},
            "`critic_warm_up` must be at least `segment_length`, 20, .*; got 7",
        ),
        ({"gae_lambda": 1.5}, "`gae_lambda` must be a number from 0 to 1, got 1.5"),
        ({"max_gradient_norm": 0.0}, "`max_gradient_norm` must be a number above 0, got 0.0"),
        ({"tau": 2.0}, "`tau` must be a number from 0 to 1, got 2.0"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        OffPolicyREINFORCE(**options)


def test_an_unknown_reduction_is_named():
    # In a copy of the module that the import hook of the tests, which would refuse it, misses.
    path = sys.modules[OffPolicyREINFORCE.__module__].__file__
    spec = importlib.util.spec_from_file_location("rl.classic.unchecked_off_policy", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(ValueError, match="`reduction` must be one of mean, sum; got 'max'"):
        module.OffPolicyREINFORCE(reduction="max")


def test_discrete_actions_are_refused():
    with pytest.raises(ValueError, match="OffPolicyREINFORCE has continuous actions only.*2 of th"):
        OffPolicyREINFORCE().init(rl.Spaces(3, 2), key=jr.key(0))


# --------------------------------------------------------------------------------------- learning


def late(trained: Training) -> float:
    """The mean return of the episodes in the last fifth of the updates."""
    count = len(trained.episodes) // 5
    episodes = np.asarray(trained.episodes)[-count:]
    returns = np.nan_to_num(np.asarray(trained.episode_returns))[-count:]
    return float((episodes * returns).sum() / episodes.sum())


@pytest.mark.slow
def test_it_swings_a_pendulum_up():
    """From -1200 to -156 in 5 runs of 5, as TD3 (-153), which gets there sooner."""
    tasks = rl.envs.Vary(rl.envs.Pendulum("gym"))
    agent = OffPolicyREINFORCE(updates=4)
    learn = partial(train, agent, tasks, environments=4, steps=4000)
    trained = optimised_jit(learn)(jr.key(1))
    assert late(trained) > -300
