"""PPO against hand computations, environments whose values are known, and CartPole."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import assert_trees_close, assert_trees_identical, close, quick_jit
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

import meta
import proofs
import rl
from proofs import laws
from rl.classic import PPO, Transitions, generalised_advantages
from rl.classic._moments import Moments
from rl.classic._networks import ActorCritic, Choice, Gaussian, Perceptron
from rl.classic._on_policy import Batch
from rl.classic._ppo import clipped_gain
from rl.envs import CartPole

pytestmark = pytest.mark.usefixtures("cheap_compilation")
make = quick_jit(ActorCritic)
TINY = PPO((4,), rollout=4, minibatches=2, epochs=2)


# ------------------------------------------------------------------------------ the objective


def test_the_clipped_objective_by_hand():
    ratios = jnp.asarray([1.5, 0.5, 1.5, 0.5, 1.1])
    advantages = jnp.asarray([2.0, 2.0, -2.0, -2.0, 1.0])
    # No gain above 1.2 or below 0.8, but losses without a bound: 2.4, 1, -3, -1.6 and 1.1.
    found = clipped_gain(jnp.log(0.3 * ratios), jnp.log(jnp.full(5, 0.3)), advantages, clip=0.2)
    close(found, np.asarray((2.4 + 1.0 - 3.0 - 1.6 + 1.1) / 5, np.float32))


def test_the_loss_by_hand():
    networks = make(rl.Spaces(2, 3), (4,), key=jr.key(0))
    networks = jax.tree.map(lambda x: x + 0.3, networks)
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(6, 2)).astype(np.float32)
    actions, advantages = np.asarray([0, 1, 2, 2, 1, 0]), rng.normal(size=6).astype(np.float32)
    old, returns = np.log(rng.uniform(0.2, 0.5, 6)).astype(np.float32), np.arange(6.0)
    batch = Batch(
        jnp.asarray(observations),
        jnp.asarray(np.eye(3)[actions], jnp.float32),
        jnp.asarray(old),
        jnp.asarray(advantages),
        jnp.asarray(returns, jnp.float32),
    )

    def layers(perceptron: Perceptron, x: np.ndarray) -> np.ndarray:
        (first, second), biases = perceptron.weights, perceptron.biases
        hidden = np.tanh(x @ np.asarray(first).T + np.asarray(biases[0]))
        return hidden @ np.asarray(second).T + np.asarray(biases[1])

    logits, values = layers(networks.actor, observations), layers(networks.critic, observations)
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    ratios = np.exp(log_probs[np.arange(6), actions] - old)
    normal = (advantages - advantages.mean()) / advantages.std()
    gain = np.minimum(ratios * normal, np.clip(ratios, 0.7, 1.3) * normal).mean()
    entropy = -(np.exp(log_probs) * log_probs).sum(1).mean()
    error = ((values[:, 0] - returns) ** 2).mean() / 2
    learner = PPO((4,), clip=0.3, value_weight=0.4, entropy_weight=0.1)
    found = quick_jit(learner.loss)(networks, batch)
    close(found, np.asarray(-gain + 0.4 * error - 0.1 * entropy), dtype="float32")


# -------------------------------------------------------------------------------- distributions


def test_actions_that_do_not_exist_have_no_probability():
    mask = jnp.asarray([True, False, True])

    def score(logits: Array) -> tuple[Array, Choice]:
        some = Choice(logits, mask)
        return some.log_prob(some.vector(jnp.asarray(2))) + some.entropy(), some

    @quick_jit
    def look(logits: Array, keys: Array) -> tuple:
        gradient, some = jax.grad(score, has_aux=True)(logits)
        other = Choice(logits[::2], None)
        drawn = jax.vmap(lambda k: some.sample(key=k))(keys)
        return (
            gradient,
            some.log_probs[::2],
            some.entropy(),
            other.log_probs,
            other.entropy(),
            drawn,
        )

    *found, drawn = look(jnp.asarray([1.0, 2.0, 3.0]), jr.split(jr.key(0), 2000))
    gradient, log_probs, entropy, other_log_probs, other_entropy = found
    close(log_probs, other_log_probs)
    close(entropy, other_entropy)
    assert set(np.unique(drawn)) == {0, 2}
    assert abs(float((np.asarray(drawn) == 2).mean()) - 1 / (1 + math.exp(-2))) < 0.03
    assert np.isfinite(gradient).all() and gradient[1] == 0.0


def test_a_gaussian_is_one():
    mean, std = np.asarray([0.5, -1.0, 3.0]), np.asarray([0.2, 2.0, 1.0])
    mask = jnp.asarray([True, True, False])
    mean32, log_std32 = (jnp.asarray(x, jnp.float32) for x in (mean, np.log(std)))
    gaussian = Gaussian(mean32, log_std32, mask)

    @quick_jit
    def look(gaussian: Gaussian, at: Array, keys: Array) -> tuple:
        drawn = jax.vmap(lambda k: gaussian.sample(key=k))(keys)
        return drawn, gaussian.log_prob(at), gaussian.entropy()

    found = look(gaussian, jnp.asarray([0.1, 1.0, 0.0]), jr.split(jr.key(0), 4000))
    drawn, log_prob, entropy = (np.asarray(x) for x in found)
    np.testing.assert_allclose(drawn.mean(0)[:2], mean[:2], atol=0.1)
    np.testing.assert_allclose(drawn.std(0)[:2], std[:2], rtol=0.05)
    assert (drawn[:, 2] == 0.0).all()
    z = (np.asarray([0.1, 1.0]) - mean[:2]) / std[:2]
    density = np.exp(-(z**2) / 2) / (std[:2] * math.sqrt(2 * math.pi))
    close(log_prob, np.asarray(np.log(density).sum()), dtype="float32")
    expected = np.asarray(np.log(std[:2] * math.sqrt(2 * math.pi * math.e)).sum())
    close(entropy, expected, dtype="float32")


def test_weights_begin_orthogonal_and_actions_about_as_likely():
    sizes = (3, 20, 20, 4)

    def born(key: Array) -> tuple[Perceptron, Array]:
        networks = ActorCritic(rl.Spaces(3, 4), (20, 20), key=key)
        policy = networks.policy(jnp.ones(3), None)
        assert isinstance(policy, Choice)
        return Perceptron(sizes, last_scale=3.0, key=key), jnp.exp(policy.log_probs)

    perceptron, probabilities = quick_jit(born)(jr.key(1))
    np.testing.assert_allclose(probabilities, 0.25, atol=0.01)
    squares = (2.0, 2.0, 9.0)
    for weight, bias, square in zip(perceptron.weights, perceptron.biases, squares, strict=True):
        wide = np.asarray(weight) if weight.shape[0] <= weight.shape[1] else np.asarray(weight).T
        np.testing.assert_allclose(wide @ wide.T, square * np.eye(len(wide)), atol=1e-5)
        assert not np.asarray(bias).any()


# ------------------------------------------------------------------------------- one life by hand


def moment_of(rng: np.random.Generator, size: int, action: Array | None) -> rl.TimeStep:
    """A time step of noise, now and then the last of an episode."""
    terminated, truncated = rng.random(2) < 0.3
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    return rl.TimeStep(
        draw(size),
        jnp.asarray(-1, jnp.int32) if action is None else action,
        draw(),
        jnp.asarray(terminated),
        jnp.asarray(truncated),
        draw(size),
    )


@pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
def test_a_rollout_is_what_was_lived_and_an_update_is_one_of_adam_on_it(continuous):
    learner = PPO((4,), rollout=4, minibatches=1, epochs=1, learning_rate=0.1, discount=0.9)
    spaces = rl.Spaces(3, 2, continuous=continuous)
    step = quick_jit(learner.step)
    born = state = quick_jit(learner.init)(spaces, key=jr.key(0))
    rng, action, lived, chosen = np.random.default_rng(2), None, [], []
    for k in range(4):
        if continuous and action is None:
            action = jnp.zeros(2)
        lived.append(moment_of(rng, 3, action))
        state, action = step(state, lived[-1], key=jr.key(k))
        chosen.append(state.stream.action)
        assert_trees_identical(state.knowledge, born.knowledge)
        assert np.abs(action).max() <= 1.0
    lived.append(moment_of(rng, 3, action))
    learned, _ = step(state, lived[-1], key=jr.key(4))
    for name in ("rewards", "terminated", "truncated"):
        expected = jnp.stack(
            [getattr(now, name[:-1] if name == "rewards" else name) for now in lived[1:]]
        )
        assert_trees_identical(getattr(learned.stream.transitions, name), expected)
    observations = jnp.stack([now.observation for now in lived[:-1]])
    finals = jnp.stack([now.final_observation for now in lived[1:]])
    assert_trees_identical(learned.stream.transitions.observations, observations)
    assert_trees_identical(learned.stream.transitions.final_observations, finals)
    assert_trees_identical(learned.stream.transitions.actions, jnp.stack(chosen))

    @quick_jit
    def by_hand(networks: ActorCritic, rollout: Transitions) -> ActorCritic:
        values, after = jax.vmap(networks.value)(observations), jax.vmap(networks.value)(finals)
        rewards, ends = rollout.rewards, (rollout.terminated, rollout.truncated)
        advantages = generalised_advantages(
            rewards, values, after, *ends, discount=0.9, trace_decay=learner.gae_lambda
        )
        log_prob = lambda o, a: networks.policy(o, None).log_prob(a)  # noqa: E731
        old = jax.vmap(log_prob)(observations, rollout.actions)
        batch = Batch(observations, rollout.actions, old, advantages, advantages + values)
        gradient = jax.grad(learner.loss)(networks, batch)
        shrink = jnp.minimum(1.0, 0.5 / optax.tree.norm(gradient))
        # The first step of Adam: without their bias, its moments are the gradient and its square.
        return jax.tree.map(
            lambda w, g: w - 0.1 * shrink * g / (jnp.abs(shrink * g) + 1e-5), networks, gradient
        )

    assert_trees_close(
        learned.knowledge.networks, by_hand(born.knowledge.networks, learned.stream.transitions)
    )


def test_sensors_that_do_not_exist_are_not_seen():
    spaces = rl.Spaces(2, 2, observation_mask=jnp.asarray([True, False]))
    rng = np.random.default_rng(0)
    now = [moment_of(rng, 2, jnp.asarray(0, jnp.int32)) for _ in range(5)]
    step, found = quick_jit(TINY.step), []
    for garbage in (0.0, jnp.nan):
        state = quick_jit(TINY.init)(spaces, key=jr.key(0))
        for k, moment in enumerate(now):
            hide = lambda x: x.at[1].set(garbage)  # noqa: B023, E731
            seen = eqx.tree_at(
                lambda t: (t.observation, t.final_observation), moment, replace_fn=hide
            )
            state, _ = step(state, seen, key=jr.key(k))
        found.append(state)
    assert_trees_identical(found[0], found[1])


# ------------------------------------------------------------------- environments with known values


QUICK = PPO((16,), rollout=32, minibatches=2, learning_rate=0.01, discount=0.5)


@pytest.fixture(scope="module")
def probed():
    """Values and policies, by sign and time, after a life in each probe."""
    return lived(QUICK, values_and_choices, 1300, [*PROBES])


@pytest.mark.parametrize(("name", "values", "times"), VALUES)
def test_values_become_what_they_are(probed, name, values, times):
    np.testing.assert_allclose(probed[name][0][:, :times], values, atol=0.1)


@pytest.mark.parametrize(("name", "best"), CHOICES)
def test_the_better_action_is_chosen(probed, name, best):
    np.testing.assert_allclose(probed[name][1], best, atol=0.1)


def test_continuous_actions_go_where_the_reward_is():
    task = rl.Task(Probe(continuous=True), ProbeParams(per_action=1.0))
    # Not QUICK: as the deviation shrinks, its steps are so large that some lives leave the optimum.
    calm = PPO((16,), rollout=64, minibatches=2, learning_rate=0.005, discount=0.5)
    life = rl.lifetime(calm, task, steps=4000, key=jr.key(0), record=("actions",))
    assert life.actions is not None and life.actions.shape == (4000, 1)
    assert -1.0 == life.actions.min() and life.actions.max() == 1.0
    networks = life.final.learner.knowledge.networks
    means = [float(networks.policy(jnp.stack([s, 0.0 * s]), None).mean[0]) for s in SIGNS]
    np.testing.assert_allclose(means, [-0.5, 0.5], atol=0.15)
    assert float(networks.log_std[0]) < -0.3


# ------------------------------------------------------------------------------- many lives at once


def conditions(jaxpr, inside: bool = False):
    """How many loops over epochs stand inside a condition, and how many outside."""
    found = np.zeros(2, int)
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "scan" and eqn.params["length"] == 7:
            found[int(inside)] += 1
        for value in eqn.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns"):
                    found += conditions(inner, inside or eqn.primitive.name == "cond")
    return found


def test_lives_side_by_side_update_only_when_a_rollout_is_full():
    learner = PPO((4,), rollout=4, minibatches=2, epochs=7)
    tasks = rl.FixedTask(rl.Task(Probe(), PROBES["reward"]))

    def evaluate(key: Array) -> Array:
        return meta.evaluate(learner, tasks, steps=9, lives=4, key=key, batch=2).rewards

    outside, inside = conditions(jax.make_jaxpr(evaluate)(jr.key(0)).jaxpr)
    assert (outside, inside) == (0, 1)

    # The detector sees what it should: with a counter of its own, each life would always update.
    def step(steps: Array) -> Array:
        state = learner.init(rl.Spaces(2, 2), key=jr.key(0))
        state = eqx.tree_at(lambda s: s.steps, state, steps)
        return learner.step(state, rl.TimeStep.first(jnp.zeros(2)), key=jr.key(1))[1]

    outside, inside = conditions(jax.make_jaxpr(jax.vmap(step))(jnp.arange(2)).jaxpr)
    assert (outside, inside) == (1, 0)


def test_it_runs_with_any_sensors_and_actions():
    laws.any_task(TINY)


@pytest.mark.slow
@pytest.mark.parametrize("law", [laws.life_in_parts, laws.lives_side_by_side])
def test_lives_keep_the_laws(law):
    law(TINY)


class Ordered(PPO):
    """A broken twin: the first sensors are louder than the others."""

    def step(self, state: Any, timestep: rl.TimeStep, *, key: Array) -> tuple:
        return super().step(state, louder_first(timestep), key=key)


def test_no_sensor_and_no_action_is_singled_out():
    # In law: over all initial weights. All of it: birth, objective, Adam, and the choice.
    assert proofs.certify(TINY, sweep=(), refute=False)
    twin = made(Ordered, (4,), rollout=4)
    assert not proofs.certify(twin, sweep=(), refute=False)


# ---------------------------------------------------------------------------------- normalisation


def test_moments_of_batches_are_those_of_all():
    seen = np.random.default_rng(0).normal(3.0, 2.0, (50, 2)).astype(np.float32)
    moments = Moments(2)
    close(moments.deviation, np.ones(2, np.float32))
    for part in np.split(seen, [1, 20]):
        moments = moments.add(jnp.asarray(part))
    close(moments.mean, seen.mean(0))
    close(moments.deviation, seen.std(0))


def test_observations_are_normalised_by_all_up_to_the_last_update():
    learner = PPO((4,), rollout=4, minibatches=2, normalise_observations=True)
    step, rng = quick_jit(learner.step), np.random.default_rng(0)
    state, lived = quick_jit(learner.init)(rl.Spaces(2, 2), key=jr.key(0)), []
    for k in range(10):
        lived.append(moment_of(rng, 2, jnp.asarray(0, jnp.int32)))
        state, _ = step(state, lived[-1], key=jr.key(k))
    moments = state.knowledge.observation_moments
    assert moments is not None
    seen = np.stack([now.observation for now in lived[:8]])
    close(moments.mean, seen.mean(0))
    close(moments.deviation, seen.std(0))


# ------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_sizes": (4, 0)}, r"`hidden_sizes\[1\]` must be at least 1, got 0"),
        ({"rollout": 0}, "`rollout` must be at least 1, got 0"),
        ({"epochs": 0}, "`epochs` must be at least 1, got 0"),
        ({"rollout": 10, "minibatches": 3}, "multiple of `minibatches`.* got 10 steps and 3"),
        ({"rollout": 4, "minibatches": 4}, "at least twice it; got 4 steps and 4"),
        ({"discount": 1.01}, "`discount` must be a number from 0 to 1, got 1.01"),
        ({"gae_lambda": -0.1}, "`gae_lambda` must be a number from 0 to 1, got -0.1"),
        ({"learning_rate": 0.0}, "`learning_rate` must be a number above 0, got 0.0"),
        ({"clip": math.inf}, "`clip` must be a number above 0, got inf"),
        ({"entropy_weight": math.nan}, "`entropy_weight` must be a number from 0, got nan"),
    ],
    ids=str,
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        PPO(**options)


# ------------------------------------------------------------------------------------- learning


@pytest.mark.slow
def test_it_learns_to_balance_a_pole():
    environment = CartPole()
    task = rl.Task(environment, environment.default_params)

    def live(key: Array) -> Array:
        life = rl.lifetime(PPO(), task, steps=5000, key=key, record=("terminated", "truncated"))
        assert life.terminated is not None and life.truncated is not None
        return life.terminated | life.truncated

    ended = np.asarray(jax.jit(jax.vmap(live))(jr.split(jr.key(1), 10)))
    first, last = (
        1000 / np.maximum(part.sum(1), 1) for part in (ended[:, :1000], ended[:, -1000:])
    )
    assert first.mean() < 80 and np.median(last) > 250
