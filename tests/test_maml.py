"""MAML: one step of gradient descent by hand, gradients through it, and what they are good for."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import assert_trees_close, assert_trees_identical, close, make, quick_jit
from jaxtyping import Array
from known import PROBES, Probe

import meta
import proofs
import rl
from proofs import laws
from rl.classic import MAML, MAMLNetworks

pytestmark = pytest.mark.usefixtures("cheap_compilation")
SMALL = {"hidden_sizes": (4,), "rollout": 4, "learning_rate": 0.3, "discount": 0.9}


def small(continuous: bool = False, **options) -> MAML:
    return make(MAML, 2, 1 if continuous else 2, **{**SMALL, **options}, continuous=continuous)


def moments(count: int, continuous: bool, seed: int = 0) -> list[rl.TimeStep]:
    """What a learner is told: birth, and then what its actions led to."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    told = [rl.TimeStep.first(draw(2), rl.Spaces(2, 1 if continuous else 2, continuous=continuous))]
    for k in range(1, count):
        action = jnp.tanh(draw(1)) if continuous else jnp.asarray(rng.integers(2), jnp.int32)
        flags = jnp.asarray(k == 2), jnp.asarray(k == 3)
        told.append(rl.TimeStep(draw(2), action, draw(), *flags, draw(2)))
    return told


@pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
def test_a_rollout_ends_with_one_step_of_gradient_descent(continuous):
    learner = small(continuous, gae_lambda=0.8, value_weight=0.4)
    told = moments(6, continuous)
    spaces = rl.Spaces(2, learner.num_actions, continuous=continuous)
    state, advance = learner.init(spaces, key=jr.key(0)), quick_jit(learner.advance)
    states = []
    for now in told:
        state, logits = advance(state, now)
        states.append((state.networks, logits))
    for networks, _ in states[:4]:
        assert_trees_identical(networks, learner.networks)

    actions = jnp.stack([now.action for now in told[1:5]])
    rewards = np.asarray([now.reward for now in told[1:5]])
    observations = jnp.stack([now.observation for now in told[:4]])
    finals = jnp.stack([now.final_observation for now in told[1:5]])

    @quick_jit
    def by_hand(networks: MAMLNetworks) -> MAMLNetworks:
        values = [networks.critic(o)[0] for o in observations]
        after = [networks.critic(o)[0] for o in finals]
        # The second step terminates and the third is truncated; the fourth is the last.
        last = rewards[3] + 0.9 * after[3] - values[3]
        third = rewards[2] + 0.9 * after[2] - values[2]
        second = rewards[1] - values[1]
        first = rewards[0] + 0.9 * (0.2 * after[0] + 0.8 * rewards[1]) - values[0]
        advantages = jax.lax.stop_gradient(jnp.stack([first, second, third, last]))
        targets = jax.lax.stop_gradient(advantages + jnp.stack(values))

        def loss(networks: MAMLNetworks) -> Array:
            total = jnp.zeros(())
            for o, a, advantage, target in zip(
                observations, actions, advantages, targets, strict=True
            ):
                out = networks.actor(o)
                if continuous:
                    mean = jnp.tanh(out[0])
                    spread = np.log(0.05) * (1.0 - jax.nn.sigmoid(out[1]))
                    z = (a[0] - mean) / jnp.exp(spread)
                    log_prob = -0.5 * z**2 - spread - 0.5 * np.log(2 * np.pi)
                else:
                    log_prob = jax.nn.log_softmax(out)[a]
                error = (networks.critic(o)[0] - target) ** 2
                total = total + 0.4 * 0.5 * error - log_prob * advantage
            return total / 4

        return jax.tree.map(lambda w, g: w - 0.3 * g, networks, jax.grad(loss)(networks))

    expected = by_hand(learner.networks)
    assert_trees_close(states[4][0], expected)
    assert_trees_identical(states[5][0], states[4][0])
    outputs = quick_jit(lambda n, o: n.actor(o))(expected, told[4].observation)
    if not continuous:
        close(states[4][1], outputs)


def test_the_actions_of_a_life_come_from_the_weights_of_now():
    """At birth both actions are about as likely; what pays is done more often from then on."""
    learner = small(rollout=16, learning_rate=3.0)
    task = rl.Task(Probe(), PROBES["reward of the action"])
    life = rl.lifetime(learner, task, steps=160, key=jr.key(0), record=("actions",))
    assert life.actions is not None
    assert 0.2 < np.asarray(life.actions)[:16].mean() < 0.8
    assert np.asarray(life.actions)[80:].mean() > 0.95


@pytest.mark.parametrize(
    "continuous",
    [False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["discrete", "continuous"],
)
def test_gradients_go_through_the_adaptation(continuous):
    """Of what is done after it, against finite differences in double precision."""
    learner, told = small(continuous), moments(7, continuous)
    spaces = rl.Spaces(2, learner.num_actions, continuous=continuous)
    with jax.enable_x64(True):
        precise = lambda x: x.astype(jnp.float64) if eqx.is_inexact_array(x) else x  # noqa: E731
        learner, told = jax.tree.map(precise, (learner, told))
        arrays, rest = eqx.partition(learner, eqx.is_inexact_array)

        @jax.jit
        def later(arrays) -> Array:
            """How probable the last actions are."""
            learner = eqx.combine(arrays, rest)
            state = learner.init(spaces, key=jr.key(0))
            score = jnp.zeros(())
            for k, now in enumerate(told[:-1]):
                state, logits = learner.advance(state, now)
                if k >= 4:
                    score = score + state.readout.log_prob(logits, told[k + 1].action)
            return score

        gradient = jax.jit(jax.grad(later))(arrays)
        noise = jax.tree.map(lambda x: jr.normal(jr.key(1), x.shape, x.dtype), arrays)
        along = sum((g * n).sum() for g, n in zip(*map(jax.tree.leaves, (gradient, noise))))  # noqa: B905
        ends = [later(jax.tree.map(lambda x, n: x + s * n, arrays, noise)) for s in (1e-5, -1e-5)]  # noqa: B023
        np.testing.assert_allclose(along, (ends[0] - ends[1]) / 2e-5, rtol=1e-5)
        # The critic acts on nothing, but what it says of the first steps changes the policy.
        assert any(np.abs(g).max() > 1e-6 for g in jax.tree.leaves(gradient.networks.critic))


def test_lives_side_by_side_adapt_at_the_same_steps():
    learner = small()

    def step(state, timestep):
        return learner.advance(state, timestep)[1]

    states = jax.vmap(lambda key: learner.init(rl.Spaces(2, 2), key=key), out_axes=None)
    state, told = states(jr.split(jr.key(0), 2)), moments(1, False)[0]
    many = jax.vmap(step, in_axes=(None, 0))
    both = jax.tree.map(lambda x: jnp.stack([x, x]), told)
    assert "cond[" in str(jax.make_jaxpr(many)(state, both))


def test_it_is_no_black_box_and_has_no_symmetry():
    assert not proofs.black_box(small())
    certificate = proofs.certify(small())
    assert not certificate and certificate.verdict == "REFUTED"


@pytest.mark.parametrize("law", [laws.life_in_parts, laws.lives_side_by_side])
def test_lives_keep_the_laws(law):
    law(make(MAML, 3, 4, **SMALL))


def test_other_sizes_are_refused():
    with pytest.raises(
        ValueError, match="This MAML was made for 2 observations and 2 actions, but"
    ):
        small().init(rl.Spaces(3, 2), key=jr.key(0))
    with pytest.raises(ValueError, match="made for discrete actions, but those of the task are co"):
        small().init(rl.Spaces(2, 2, continuous=True), key=jr.key(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rollout": 0}, "`rollout` must be at least 1, got 0"),
        ({"hidden_sizes": (0,)}, r"`hidden_sizes\[0\]` must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "`learning_rate` must be a number above 0, got 0.0"),
        ({"discount": 2.0}, "`discount` must be a number from 0 to 1, got 2.0"),
        ({"value_weight": -1.0}, "`value_weight` must be a number from 0, got -1.0"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        MAML(2, 2, **options, key=jr.key(0))


@pytest.mark.slow
def test_it_learns_to_adapt():
    """One sensor, whose sign tells which action is right; which it is differs between lives."""
    tasks = rl.envs.ContextualBandits(1)
    learner = MAML(1, 2, (16,), rollout=10, learning_rate=0.5, key=jr.key(0))
    result = meta.train(
        learner,
        tasks,
        meta.ActorCritic(optax.adam(2e-2), discount=0.9),
        steps=30,
        lives=32,
        generations=50,
        chunk=50,
        key=jr.key(0),
    )
    right = []
    for one in (learner, result.learner):
        test = meta.evaluate(one, tasks, steps=30, lives=500, key=jr.key(1), parts=3)
        assert test.by_part is not None
        right.append(test.by_part["right"].mean(0))
    assert abs(right[1][0] - 0.5) < 0.05  # nobody can know before the first rollout is over
    assert right[1][2] > 0.8 > right[0][2] + 0.1  # with 5 seeds 0.87, and 0.67 to 0.68 before
