"""MetaGenRL: what follows its objective, and the critics that it is meta-trained by."""

import re
import shutil
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import assert_trees_close, assert_trees_identical, logged, quick_jit
from known import Probe, ProbeParams, segments_of
from small_metagenrl import KEY, PLANE, SMALL, randomised, small

import meta
import proofs
import rl
from meta import CriticGradient, MetaGenRL, NeuralObjective
from rl.classic import Experience, Networks

pytestmark = pytest.mark.usefixtures("cheap_compilation")


class Continuous(MetaGenRL):
    """It does not have discrete actions."""

    discrete = False


def continuous_only() -> MetaGenRL:
    make: Any = Continuous
    return make((4,), **SMALL, key=jr.key(1))


# ----------------------------------------------------------------------------------- the gradients


def moving(**options: Any):
    """A learner, an agent's networks, and stretches of its memory."""
    batch = jax.tree.map(lambda x: x[:, :4], segments_of(9, seed=2).transitions)
    return small(**options), Networks(PLANE, (4,), layer_norm=True, key=jr.key(5)), batch


def directional(f, at):
    """The derivative along a random direction, by gradients and by finite differences."""
    noise = jax.tree.map(lambda x: jr.normal(jr.key(1), x.shape, x.dtype), at)
    gradient = jax.jit(jax.grad(f))(at)
    along = sum(
        (g * n).sum() for g, n in zip(*map(jax.tree.leaves, (gradient, noise)), strict=True)
    )
    value = jax.jit(f)
    # Normalised layers bend within a thousandth of their inputs: hence so small a difference.
    ends = [value(jax.tree.map(lambda x, n, s=s: x + s * n, at, noise)) for s in (1e-7, -1e-7)]
    return along, (ends[0] - ends[1]) / 2e-7


# Values are constants of each step, so that differences would see more after the first step.
@pytest.mark.parametrize(
    ("steps", "reduction", "rate", "values"),
    [
        (1, "sum", 0.01, "both"),
        pytest.param(2, "mean", 0.1, "none", marks=pytest.mark.slow),
        (1, "normalised", 0.01, "both"),
    ],
)
def test_gradients_of_the_objective_are_those_of_finite_differences(steps, reduction, rate, values):
    made = moving(value_input=values)
    with jax.enable_x64(True):
        precise = lambda x: x.astype(jnp.float64) if eqx.is_inexact_array(x) else x  # noqa: E731
        learner, networks, batch = jax.tree.map(precise, made)
        strategy = CriticGradient(inner_steps=steps, inner_rate=rate, inner_reduction=reduction)
        arrays, rest = eqx.partition(learner, eqx.is_inexact_array)
        batch = jax.tree.map(lambda x: x[: 3 * (steps + 1)], batch)

        def loss(arrays):
            return strategy.loss(eqx.combine(arrays, rest), networks, batch, None)

        along, slope = directional(loss, arrays)
        assert abs(along) > 1e-6
        np.testing.assert_allclose(along, slope, rtol=1e-4)


def test_steps_go_down_the_objective_on_stretches_of_their_own():
    learner = small()
    strategy = CriticGradient(inner_steps=2, inner_rate=0.1, inner_reduction="sum")
    networks = Networks(PLANE, (4,), key=jr.key(5))
    batch = jax.tree.map(lambda x: x[:, :4], segments_of(9, seed=2).transitions)
    moved = networks
    for k in range(2):
        some = jax.tree.map(lambda x, k=k: x[3 * k : 3 * k + 3], batch)

        def value(actor, moved=moved, some=some):
            return learner.policy_loss(eqx.tree_at(lambda n: n.actor, moved, actor), some, None)

        gradient = quick_jit(jax.grad(value))(moved.actor)
        # The sum over 3 stretches of 4 steps.
        actor = jax.tree.map(lambda w, g: w - 0.1 * 12 * g, moved.actor, gradient)
        moved = eqx.tree_at(lambda n: n.actor, moved, actor)
    expected = -np.mean(
        [
            moved.values(o, moved.policy(o, None))[0]
            for stretch in batch.observations
            for o in stretch
        ]
    )
    np.testing.assert_allclose(
        quick_jit(strategy.loss)(learner, networks, batch, None), expected, rtol=1e-4, atol=1e-5
    )
    mean = CriticGradient(inner_steps=2, inner_rate=1.2, inner_reduction="mean")
    np.testing.assert_allclose(
        quick_jit(mean.loss)(learner, networks, batch, None), expected, rtol=1e-4, atol=1e-5
    )


def test_normalised_steps_have_one_length_whatever_the_scale_of_the_objective():
    """And lead where the others lead."""
    learner, networks = small(), Networks(PLANE, (4,), key=jr.key(5))
    batch = jax.tree.map(lambda x: x[:, :4], segments_of(6, seed=2).transitions)
    own = jax.tree.map(lambda x: x[:3], batch)

    def value(actor):
        return learner.policy_loss(eqx.tree_at(lambda n: n.actor, networks, actor), own, None)

    gradient = quick_jit(jax.grad(value))(networks.actor)
    leaves = [np.asarray(g) for g in jax.tree.leaves(gradient)]
    scale = np.sqrt(np.mean(np.concatenate([g.ravel() for g in leaves]) ** 2))
    actor = jax.tree.map(lambda w, g: w - 0.01 * g / scale, networks.actor, gradient)
    value_loss = quick_jit(learner.value_loss)
    expected = value_loss(eqx.tree_at(lambda n: n.actor, networks, actor), batch, None)
    normalised = CriticGradient(inner_rate=0.01, inner_reduction="normalised")
    loss = quick_jit(normalised.loss)
    ten = eqx.tree_at(
        lambda x: x.neural_objective.head_weight, learner, replace_fn=lambda w: 10.0 * w
    )
    for one in (learner, ten):
        np.testing.assert_allclose(loss(one, networks, batch, None), expected, rtol=1e-4)
    flat = eqx.tree_at(
        lambda x: x.neural_objective.head_weight, learner, replace_fn=lambda w: 0.0 * w
    )
    still = loss(flat, networks, batch, None)
    np.testing.assert_allclose(still, value_loss(networks, batch, None), rtol=1e-5)
    plain = CriticGradient(inner_rate=0.01, inner_reduction="sum")
    assert abs(quick_jit(plain.loss)(ten, networks, batch, None) - expected) > 1e-3


def test_nothing_flows_into_critics_nor_through_values():
    learner = small()
    networks = Networks(PLANE, (4,), key=jr.key(5))
    batch = jax.tree.map(lambda x: x[:, :4], segments_of(6, seed=2).transitions)
    for value in (
        lambda n: learner.policy_loss(n, batch, None),
        lambda n: CriticGradient().loss(learner, n, batch, None),
    ):
        gradient = quick_jit(jax.grad(value))(networks)
        assert all(not np.abs(g).any() for g in jax.tree.leaves(gradient.critics))
    policy = quick_jit(jax.grad(lambda n: learner.policy_loss(n, batch, None)))(networks).actor
    assert any(np.abs(g).any() for g in jax.tree.leaves(policy))


# ------------------------------------------------------------------------------------ the training


def lessons(steps: int = 4, lives: int = 2) -> list[meta.Lesson]:
    """One number, and two of them."""
    one = rl.FixedTask(rl.Task(Probe(continuous=True), ProbeParams(per_action=1.0)))
    two = rl.envs.Vary(rl.envs.Reacher())
    return [
        meta.Lesson(one, steps, lives, name="one"),
        meta.Lesson(two, steps, lives, weight=0.5, name="two"),
    ]


def train(generations: int = 6, **options) -> Any:
    given = {"strategy": CriticGradient(restarts=(8, 14), annealing=4), **options}
    return meta.train(
        small(), given.pop("lessons", lessons()), generations=generations, key=KEY, chunk=2, **given
    )


HALF = 2


@pytest.fixture(scope="module")
def half_and_whole(tmp_path_factory):
    """The state and the folder of a training on its way, and all of it."""
    out = tmp_path_factory.mktemp("whole")
    states, kept = [], tmp_path_factory.mktemp("half") / "run"

    def keep(state, learner, row) -> None:
        if int(state.generation) == HALF:
            states.append(state)
            shutil.copytree(out, kept)

    result = train(out=out, callback=keep)
    return (*states, kept), result


@pytest.fixture(scope="module")
def half(half_and_whole):
    return half_and_whole[0]


@pytest.fixture(scope="module")
def whole(half_and_whole):
    return half_and_whole[1]


@pytest.mark.slow
def test_all_that_learns_moves(half, whole):
    for before, after in zip(half[0].populations, whole.state.populations, strict=True):
        for part in ("networks", "targets"):
            old, new = (getattr(p.knowledge, part) for p in (before, after))
            for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True):
                assert np.abs(np.asarray(a) - np.asarray(b)).max() > 0
    changed = [
        np.abs(a - b).max() > 0
        for a, b in zip(jax.tree.leaves(small()), jax.tree.leaves(whole.learner), strict=True)
    ]
    assert all(changed)


@pytest.mark.slow
def test_what_is_recorded(whole):
    assert [row["generation"] for row in whole.history] == [1, 2, 3, 4, 5, 6]
    for row in whole.history:
        assert row["failed_lives"] == 0
        # A whole number, of which a busy machine has few.
        speed = pytest.approx(16 / row["seconds"], rel=0.01, abs=0.5)
        assert row["steps_per_second"] == speed
        assert {"episode_return/one", "episode_return/two"} <= set(row)
    # An update every second step, once agents have begun to learn.
    assert whole.history[0]["gradient_norm"] is not None
    assert all(row["gradient_norm"] > 0 for row in whole.history[1:])
    assert all(row["objective_loss"] is not None for row in whole.history[1:])
    # Episodes of the probe last one step, those of the arm much longer.
    assert whole.history[-1]["episode_return/one"] <= 0
    assert whole.history[0]["episode_return/two"] is None


@pytest.mark.slow
def test_agents_begin_anew(whole):
    births = [np.asarray(p.births) for p in whole.state.populations]
    ages = [np.asarray(p.lives.steps) for p in whole.state.populations]
    limits = [np.asarray(p.limits) for p in whole.state.populations]
    for born, age, limit in zip(births, ages, limits, strict=True):
        assert (born >= 2).all() and (born <= 3).all()
        assert ((8 <= limit) & (limit <= 14)).all() and (age <= 16).all()


def timeless(rows):
    return [{k: v for k, v in row.items() if "second" not in k} for row in rows]


@pytest.mark.slow
def test_a_training_that_was_stopped_goes_on_as_if_it_never_was(half, whole):
    _, out = half
    assert not (out / "learner.symla").exists()
    with pytest.raises(ValueError, match="holds another training .*strategy"):
        train(out=out, strategy=CriticGradient(restarts=(8, 14), annealing=5))
    result = train(out=out)
    assert [row["generation"] for row in result.history] == [3, 4, 5, 6]
    assert_trees_identical(result.state, whole.state)
    assert timeless(logged(out)) == timeless(whole.history)
    assert_trees_identical(meta.load(out / "learner.symla", whole.learner), whole.learner)


@pytest.mark.slow
def test_agents_have_tasks_keys_and_memories_of_their_own(whole):
    one, two = whole.state.populations
    for population in (one, two):
        rewards = np.asarray(population.lives.learner[0].transitions.observations)
        assert np.abs(rewards[0] - rewards[1]).max() > 0
        weights = np.asarray(population.knowledge.networks.actor.weights[0])
        assert np.abs(weights[0] - weights[1]).max() > 0


@pytest.mark.slow
def test_discrete_and_continuous_lessons_share_one_objective():
    discrete = rl.FixedTask(rl.Task(Probe(), ProbeParams(per_action=1.0)))
    both = [meta.Lesson(discrete, 4, 2, name="discrete"), lessons()[1]]
    learner, strategy = small(), CriticGradient(annealing=0)
    result: Any = meta.train(learner, both, strategy, generations=4, key=KEY)
    for before, after in zip(
        jax.tree.leaves(learner), jax.tree.leaves(result.learner), strict=True
    ):
        assert np.isfinite(after).all() and np.abs(before - after).max() > 0
    for population in result.state.populations:
        assert (np.asarray(population.births) == 1).all()
        last = np.asarray(population.knowledge.networks.actor.weights[-1])
        assert np.isfinite(last).all() and np.abs(last[0] - last[1]).max() > 0
    assert all(row["gradient_norm"] > 0 for row in result.history[1:])


@pytest.mark.parametrize(
    ("annealing", "steps", "share"), [(10, 0, 0.0), (10, 5, 0.5), (10, 20, 1.0), (0, 0, 1.0)]
)
def test_the_objective_takes_the_place_of_the_critic(annealing, steps, share):
    assert float(CriticGradient(annealing=annealing).share(jnp.asarray(steps))) == share


@pytest.mark.slow
def test_before_it_counts_policies_follow_the_critic():
    """With an annealing that never ends, agents are TD3's, whatever the objective is."""
    wild = randomised(small())
    strategy: Any = CriticGradient(optax.sgd(0.0), annealing=2**30)
    found: Any = [
        meta.train(learner, lessons(4)[:1], strategy, generations=6, key=KEY).state
        for learner in (small(), wild)
    ]
    one, other = (state.populations[0] for state in found)
    assert_trees_close(one.knowledge.networks, other.knowledge.networks)
    # Without `restarts`, nobody begins anew.
    for population in (one, other):
        np.testing.assert_array_equal(population.births, [1, 1])
        np.testing.assert_array_equal(population.lives.steps, [24, 24])
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(population.knowledge))


class Later(CriticGradient):
    """Policies follow critics for the first 8 steps of a meta-training, and nobody after that."""

    def share(self, steps):
        return (steps > 8 - SMALL["warm_up"]).astype(jnp.float32)


@pytest.mark.slow
def test_policies_follow_critics_first_and_who_begins_anew_later_does_not():
    """The objective takes their place once in a meta-training, and not in each life of an agent."""
    make: Any = Later
    strategy = make(optax.sgd(0.0), annealing=1, restarts=(8, 8))
    found: dict[int, list[Any]] = {2: [], 4: []}
    for learner in (small(), randomised(small())):

        def keep(state, learner, row) -> None:
            found.get(row["generation"], []).append(state.populations[0])

        meta.train(
            learner, lessons(4)[:1], strategy, generations=4, key=KEY, chunk=2, callback=keep
        )
    one, other = found[2]
    assert_trees_close(one.knowledge.networks, other.knowledge.networks)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(one.knowledge))
    one, other = found[4]
    np.testing.assert_array_equal(one.births, [2, 2])
    np.testing.assert_array_equal(one.lives.steps, [8, 8])
    policies = [jax.tree.leaves(p.knowledge.networks.actor) for p in (one, other)]
    assert max(np.abs(a - b).max() for a, b in zip(*policies, strict=True)) > 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner_steps": 0}, "`inner_steps` must be at least 1, got 0"),
        ({"inner_rate": 0.0}, "`inner_rate` must be a number above 0, got 0.0"),
        ({"max_gradient_norm": -1.0}, "`max_gradient_norm` must be a number above 0, got -1.0"),
        ({"annealing": -1}, "`annealing` must be at least 0 .none., got -1"),
        ({"restarts": (5, 3)}, "`restarts` must be .least, most., .*; got .5, 3."),
    ],
)
def test_mistakes_of_the_outer_loop_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        CriticGradient(**options)


def test_an_odd_number_of_units_is_named():
    with pytest.raises(ValueError, match="`units` must be an even number from 2, got 3"):
        NeuralObjective(3, key=KEY)


def test_agents_of_a_test_need_not_be_those_of_the_training():
    trained = randomised(small(mirrored=True, value_input="current"))
    tested = trained.with_agents(hidden_sizes=(7, 5), warm_up=6, discount=0.5)
    assert jax.tree.structure(tested.neural_objective) == jax.tree.structure(
        trained.neural_objective
    )
    for one, other in zip(jax.tree.leaves(tested), jax.tree.leaves(trained), strict=True):
        np.testing.assert_array_equal(one, other)
    actor = tested.newborn(PLANE, key=KEY).networks.actor
    assert [x.shape[0] for x in jax.tree.leaves(actor) if x.ndim == 2] == [7, 5, 3]
    changed = {"hidden_sizes": (7, 5), "warm_up": 6, "discount": 0.5}
    assert meta.hyperparameters(tested) == {**meta.hyperparameters(trained), **changed}
    with pytest.raises(ValueError, match="mirrored, size: agents have no such options, but hidden"):
        trained.with_agents(size=3, mirrored=False)
    with pytest.raises(ValueError, match="`tau` must be"):
        trained.with_agents(tau=2.0)


def test_what_it_cannot_meta_train_is_named():
    one = lessons(4)[:1]

    def begin(learner=None, given=None, devices=None):
        meta.train(
            learner or small(),
            given or one,
            CriticGradient(),
            generations=1,
            key=KEY,
            devices=devices,
        )

    with pytest.raises(ValueError, match="MetaRNN has no critics .*EvolutionStrategy"):
        begin(rl.MetaRNN(2, 1, continuous=True, key=KEY))
    with pytest.raises(ValueError, match="same `steps`; got 4, 8"):
        begin(given=[one[0], meta.Lesson(one[0].tasks, 8, 2, name="longer")])
    with pytest.raises(ValueError, match="`steps` times `updates` must be a multiple of 2"):
        begin(given=meta.Lesson(one[0].tasks, 3, 2))
    discrete = rl.FixedTask(rl.Task(Probe(), ProbeParams(per_action=1.0)))
    with pytest.raises(ValueError, match="continuous actions only.*lesson FixedTask are discrete"):
        begin(continuous_only(), meta.Lesson(discrete, 4, 2))
    with pytest.raises(ValueError, match="a `fitness` of whole lives"):
        begin(given=meta.Lesson(one[0].tasks, 4, 2, fitness=meta.negative_regret))


# ------------------------------------------------------------------------------------- the learner


def test_without_discrete_actions_they_are_refused():
    with pytest.raises(ValueError, match="Continuous has continuous actions only"):
        continuous_only().init(rl.Spaces(2, 2), key=KEY)


def test_a_discrete_policy_is_a_distribution():
    networks = Networks(rl.Spaces(2, 3), (4,), key=KEY)
    logits = np.asarray(networks.actor(jnp.asarray([0.3, -0.4])), float)
    expected = np.exp(logits) / np.exp(logits).sum()
    found = networks.policy(jnp.asarray([0.3, -0.4]), None)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    expected[1] = 0.0
    masked = networks.policy(jnp.asarray([0.3, -0.4]), jnp.asarray([True, False, True]))
    np.testing.assert_allclose(masked, expected / expected.sum(), rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "right"),
    [(Networks.values, True), (Networks.values_of_done, False)],
    ids=["ours", "twin"],
)
def test_what_is_expected_of_a_distribution_is_a_mean_over_actions(values, right):
    """The twin asks critics for what lies between the one-hots that they know."""
    networks, seen = Networks(rl.Spaces(2, 3), (8,), key=KEY), jnp.asarray([0.3, -0.4])
    policy = networks.policy(5.0 * seen, jnp.asarray([True, False, True]))
    each = np.stack([networks.values_of_done(seen, one) for one in jnp.eye(3)])
    expected = np.asarray(policy) @ each
    assert np.allclose(values(networks, seen, policy), expected, rtol=1e-4) is right
    assert np.allclose(networks.value(seen, policy), expected[0], rtol=1e-4)
    for action in jnp.eye(3):
        done = networks.values_of_done(seen, action)
        np.testing.assert_allclose(networks.values(seen, action), done, rtol=1e-5)


def test_discrete_actions_are_drawn_from_the_policy_and_now_and_then_from_all():
    learner, mask = small(exploration_noise=0.3), jnp.asarray([True, True, False])
    spaces = rl.Spaces(2, 3, action_mask=mask)
    knowledge = learner.newborn(spaces, key=jr.key(7))
    sure = jnp.asarray([2.0, 0.0, 5.0])  # e^2 : 1, and the third does not exist
    knowledge = eqx.tree_at(lambda k: k.networks.actor.biases[-1], knowledge, sure)
    knowledge = eqx.tree_at(
        lambda k: k.networks.actor.weights[-1], knowledge, replace_fn=jnp.zeros_like
    )

    def shares(steps: int) -> np.ndarray:
        choose = lambda key: learner.choose(  # noqa: E731
            knowledge, jnp.zeros(2), mask, jnp.asarray(steps), key=key
        )
        actions, vectors = jax.jit(jax.vmap(choose))(jr.split(KEY, 4000))
        np.testing.assert_array_equal(np.asarray(vectors).argmax(1), actions)
        np.testing.assert_array_equal(np.asarray(vectors).sum(1), 1.0)
        return np.asarray(vectors).mean(0)

    np.testing.assert_allclose(shares(0), [0.5, 0.5, 0.0], atol=0.04)  # before warm_up is over
    policy = np.exp(2.0) / (np.exp(2.0) + 1.0)
    expected = [0.7 * policy + 0.15, 0.7 * (1.0 - policy) + 0.15, 0.0]
    np.testing.assert_allclose(shares(100), expected, atol=0.04)


def test_discrete_actions_are_not_singled_out():
    assert proofs.certify(small(), sweep=(), refute=False).verdict == "PROVED"


@pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
def test_it_is_a_learner_like_any_other(continuous):
    task = rl.Task(Probe(continuous=continuous), ProbeParams(per_action=1.0))
    life = rl.lifetime(small(), task, steps=60, key=KEY)
    assert np.isfinite(life.total_reward)
    stream: Experience = life.final.learner.stream
    assert stream.transitions.rewards.shape == (40,)
    moved = jax.tree.leaves(life.final.learner.knowledge.networks)
    assert all(np.isfinite(x).all() for x in moved)


@pytest.mark.slow
def test_the_example_of_the_page_runs():
    page = (Path(__file__).parent.parent / "docs" / "objectives.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for large, tiny in {
        "lives=4": "lives=1",
        "steps=50": "steps=2",
        "generations=400": "generations=2",
        "steps=100_000": "steps=3",
    }.items():
        assert large in block
        block = block.replace(large, tiny)
    names: dict[str, Any] = {}
    exec(compile(block, "docs/objectives.md", "exec"), names)
    assert np.isfinite(names["life"].total_reward)
