"""The objective of MetaGenRL: what it computes, and what it cannot tell apart."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import parameter_count, quick_jit
from known import segments_of
from small_metagenrl import KEY, PLANE, SMALL, randomised, small

import proofs
import rl
from meta import CriticGradient, MetaGenRL, NeuralObjective
from rl.classic import Networks

pytestmark = pytest.mark.usefixtures("cheap_compilation")


# ---------------------------------------------------------------------------------- the objective


def test_sizes_are_those_of_the_paper():
    """15,497 for the objective, and 385,004 for policy and critics on the lander."""
    for preset in (MetaGenRL.paper, MetaGenRL.official):
        learner = eqx.filter_eval_shape(partial(preset, key=KEY))
        assert parameter_count(learner) == 15_497
        spaces = rl.envs.Vary(rl.envs.LunarLander(continuous=True)).spaces
        known = eqx.filter_eval_shape(partial(learner.newborn, spaces, key=KEY))
        assert parameter_count(known.networks) == 385_004


def test_presets_differ_in_what_the_page_says():
    paper, official = (preset(key=KEY) for preset in (MetaGenRL.paper, MetaGenRL.official))
    told = [vars(learner) for learner in (paper, official)]
    different = {
        name: tuple(one[name] for one in told)
        for name in told[0]
        if name != "neural_objective" and told[0][name] != told[1][name]
    }
    assert different == {
        "time_input": ("inclusive", "exclusive"),
        "padding": ("masked", "counted"),
        "terminal_bonus": (0.0, 1.0),
    }
    strategy = CriticGradient.paper()
    assert (strategy.annealing, strategy.restarts) == (10_000, None)


def layer_by_hand(layer, x):
    x = np.asarray(layer.weight, float) @ x + np.asarray(layer.bias, float)
    half = len(x) // 2
    x = np.concatenate([np.maximum(x[:half], 0.0), x[half:] ** 2])
    if layer.norm is None:
        return x
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    return x * np.asarray(layer.norm.weight, float) + np.asarray(layer.norm.bias, float)


def through(layers, x):
    for layer in layers:
        x = layer_by_hand(layer, x)
    return x


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def objective_by_hand(objective, segments, discount):
    """Step by step, stretch by stretch: the text of the paper, in double precision."""
    lived = segments.transitions
    rewards, values, later = (
        np.asarray(x, float) for x in (lived.rewards, segments.values, segments.next_values)
    )
    terminated = np.asarray(lived.terminated)
    ended = terminated | np.asarray(lived.truncated)
    later = np.where(terminated, 0.0, later)
    actions, policy = (np.asarray(x, float) for x in (lived.actions, segments.policy_actions))
    count, steps = rewards.shape
    kept = np.ones_like(ended)
    if objective.padding != "none":
        for i, t in zip(*np.nonzero(ended), strict=True):
            kept[i, t + 1 :] = False
        rewards, values, later = (np.where(kept, x, 0.0) for x in (rewards, values, later))
        actions, policy = (np.where(kept[..., None], x, 0.0) for x in (actions, policy))
    counted = kept if objective.padding == "masked" else np.ones_like(kept)

    def normal(x, of):
        x = (x - of.mean()) / np.sqrt(of.var() + 1e-8)
        return np.where(counted, x, 0.0)

    errors = rewards + discount * later - values
    errors = normal(errors, errors[counted])
    both = np.concatenate([values[counted], later[counted]])
    rewards = normal(rewards, rewards[counted])
    values, later = normal(values, both), normal(later, both)
    found = np.zeros((count, steps))
    weights = [np.asarray(x, float) for x in (objective.cell.weight_ih, objective.cell.weight_hh)]
    for i in range(count):
        mask = segments.action_mask
        exists = np.ones(actions.shape[-1], bool) if mask is None else np.asarray(mask[i])
        h, c = np.zeros(objective.cell.hidden_size), np.zeros(objective.cell.hidden_size)
        for t in reversed(range(steps)):
            if ended[i, t] and objective.padding != "counted":
                h, c = 0.0 * h, 0.0 * c
            second = policy[i, t]
            if objective.action_input == "difference":
                second = 3.0 * (second - actions[i, t])
            pairs = np.stack([actions[i, t], second], -1)
            signs = (1.0, -1.0) if objective.mirrored else (1.0,)
            seen = np.mean(
                [through(objective.action_layers, s * p) for p in pairs[exists] for s in signs], 0
            )
            time = {"exclusive": t / steps, "inclusive": t / (steps - 1), "none": 0.0}
            scalars = [
                rewards[i, t],
                time[objective.time_input],
                later[i, t] if objective.value_input == "both" else 0.0,
                values[i, t] if objective.value_input != "none" else 0.0,
                *([errors[i, t]] if objective.error_input else []),
            ]
            x = through(objective.scalar_layers, np.asarray(scalars))
            x = np.asarray(objective.scalar_weight, float) @ x + np.asarray(objective.scalar_bias)
            gates = weights[0] @ np.concatenate([seen, x]) + weights[1] @ h
            into, forget, cell, out = np.split(gates + np.asarray(objective.cell.bias), 4)
            c = sigmoid(forget) * c + sigmoid(into) * np.tanh(cell)
            h = sigmoid(out) * np.tanh(c)
            end = through(objective.head_layers, h) @ np.asarray(objective.head_weight, float)
            found[i, t] = 1000.0 * np.tanh((end + float(objective.head_bias)) / 1000.0)
    return found, kept


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"time_input": "inclusive", "value_input": "current", "padding": "masked"},
        {"time_input": "none", "value_input": "none", "padding": "counted"},
        {"mirrored": True, "action_input": "difference", "error_input": True},
        {"padding": "masked", "error_input": True},
    ],
)
def test_it_is_what_the_paper_says(options, masked):
    objective, segments = NeuralObjective(4, **options, key=KEY), segments_of(3, masked)
    objective = randomised(objective)
    expected, kept = objective_by_hand(objective, segments, 0.7)
    assert not kept.all() or objective.padding == "none"
    both = quick_jit(lambda objective, s: (objective.steps(s, 0.7), objective(s, 0.7)))
    found = both(objective, segments)
    if objective.padding == "none":
        np.testing.assert_allclose(found[0], expected, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(found[1], expected[kept].mean(), rtol=2e-4, atol=2e-4)


def test_mirrored_objectives_know_no_sign_of_an_action():
    """Of any dimension by itself; others do."""
    given = segments_of(3)
    signs = jnp.ones_like(given.policy_actions).at[..., 0].set(-1.0)
    turned = eqx.tree_at(
        lambda s: (s.transitions.actions, s.policy_actions), given, replace_fn=lambda x: signs * x
    )
    value = quick_jit(lambda objective, s: objective.steps(s))
    for mirrored in (True, False):
        objective = randomised(NeuralObjective(4, mirrored=mirrored, key=KEY))
        change = np.abs(value(objective, turned) - value(objective, given)).max()
        assert bool(change < 1e-5) == mirrored


def test_what_comes_after_an_end_does_not_count():
    """And what comes after a step within an episode does, as it goes backwards."""
    objective, given = randomised(NeuralObjective(4, key=KEY)), segments_of(1, seed=3)
    ends = jnp.asarray([[False, False, True, False, False]])
    given = eqx.tree_at(
        lambda s: (s.transitions.terminated, s.transitions.truncated), given, (ends, ends & False)
    )

    def step(actions, t):
        segments = eqx.tree_at(lambda s: s.policy_actions, given, actions)
        return objective.steps(segments)[0, t]

    for t, reached in ((0, [1, 1, 1, 0, 0]), (2, [0, 0, 1, 0, 0]), (3, [0, 0, 0, 1, 1])):
        gradient = quick_jit(jax.grad(step))(given.policy_actions, t)
        np.testing.assert_array_equal(np.abs(gradient[0]).max(-1) > 0, np.asarray(reached, bool))


def test_it_is_bounded():
    objective = NeuralObjective(4, key=KEY)
    objective = eqx.tree_at(lambda o: o.head_bias, objective, jnp.asarray(1e9))
    found = objective.steps(segments_of(2))
    assert np.abs(found).max() <= 1000.0 and np.abs(found).max() > 999.0


def test_the_order_and_the_number_of_actions_do_not_matter():
    objective, given = randomised(NeuralObjective(4, key=KEY)), segments_of(2, seed=1)
    value = quick_jit(lambda s: objective.steps(s))
    turned = jax.tree.map(lambda x: x, given)
    for where in (lambda s: s.transitions.actions, lambda s: s.policy_actions):
        turned = eqx.tree_at(where, turned, where(given)[..., jnp.asarray([2, 0, 1])])
    np.testing.assert_allclose(value(turned), value(given), rtol=1e-4, atol=1e-4)
    # A mean over dimensions: each of them twice is the same.
    doubled = given
    for where in (lambda s: s.transitions.actions, lambda s: s.policy_actions):
        doubled = eqx.tree_at(where, doubled, jnp.concatenate([where(given)] * 2, -1))
    np.testing.assert_allclose(value(doubled), value(given), rtol=1e-4, atol=1e-4)


class Ordered(MetaGenRL):
    """A broken twin: the first dimension of an action counts more than the others."""

    def objective(self, segments):
        ramp = 1.0 / (1.0 + jnp.arange(segments.policy_actions.shape[-1], dtype=jnp.float32))
        louder = segments.policy_actions * ramp[None, None]
        return super().objective(eqx.tree_at(lambda s: s.policy_actions, segments, louder))


@pytest.mark.parametrize(("cls", "proved"), [(MetaGenRL, True), (Ordered, False)])
def test_no_sensor_and_no_action_is_singled_out(cls, proved):
    learner = cls((4,), **SMALL, key=jr.key(1))
    certificate = proofs.certify(proofs.continuous_actions(learner), sweep=(), refute=False)
    assert (certificate.verdict == "PROVED") == proved


def test_the_terminal_bonus_is_for_ends_only():
    learner, given = small(terminal_bonus=1.0), segments_of(3)
    steps = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), given.transitions)
    networks = Networks(PLANE, (4,), key=KEY)
    noise = jnp.zeros(steps.actions.shape)
    with_bonus, plain = (one.target(networks, steps, None, noise) for one in (learner, small()))
    np.testing.assert_allclose(with_bonus - plain, steps.terminated, atol=1e-5)
