"""The evolution strategy against NumPy, and against what must hold for any fitness."""

import importlib.util
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from compilation import OPTIMISED
from evosax.algorithms import Open_ES
from helpers import assert_trees_identical, make, parameter_count, quick_jit
from hypothesis import given, strategies as st

import rl
from meta import EvolutionStrategy, shape_fitness

NAN, INF = float("nan"), float("inf")
SHAPINGS = ("rank", "zscore", "none")
PARAMS = {"weight": jnp.asarray([[0.3, -1.2], [2.0, 0.7]]), "bias": jnp.asarray([0.1, -0.4])}


compiled_shape_fitness = quick_jit(shape_fitness)


def shaped(fitness, shaping):
    return np.asarray(compiled_shape_fitness(jnp.asarray(fitness, jnp.float32), shaping))


def flat(tree, axes=0):
    """The arrays of a tree side by side, in float64, but for their first axes."""
    leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(tree)]
    return np.concatenate([x.reshape(*x.shape[:axes], -1) for x in leaves], axis=-1)


def search(strategy, start, fitness_of, *keys):
    """A generation for each key: the members, their fitness, and the centre after each."""

    @quick_jit
    def run(keys):
        def one(state, key):
            members = strategy.ask(state, start, key=key)
            fitness = jax.vmap(fitness_of)(members)
            state = strategy.tell(state, members, fitness, key=key)
            return state, (members, fitness, strategy.mean(state, start))

        return jax.lax.scan(one, strategy.init(start, key=keys[0]), keys)[1]

    return run(jnp.stack(keys))


def vector(tree):
    return jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree)])


def vector_sum(tree):
    return vector(tree).sum()


# Shaping


@pytest.mark.parametrize(
    ("fitness", "expected"),
    [
        ([3, 1, 2, 1000], [1 / 6, -0.5, -1 / 6, 0.5]),
        ([1, 1, 2, 0], [0.0, 0.0, 0.5, -0.5]),
        ([9, 4, 4, 4], [0.5, -1 / 6, -1 / 6, -1 / 6]),
        ([5, NAN, 1, 3], [0.5, -1 / 3, -1 / 3, 1 / 6]),
        ([5, INF, 1, -INF], [0.5, -1 / 6, -1 / 6, -1 / 6]),
    ],
)
def test_ranks(fitness, expected):
    np.testing.assert_allclose(shaped(fitness, "rank"), expected, atol=1e-7)


@pytest.mark.parametrize(
    ("fitness", "as_if"),
    [
        ([5, NAN, 1, 3], [5, 1, 1, 3]),
        ([5, INF, -1, -INF], [5, -1, -1, -1]),
        ([NAN, NAN, NAN, 2], [2, 2, 2, 2]),
        ([NAN, INF, -INF, NAN], [0, 0, 0, 0]),
    ],
)
@pytest.mark.parametrize("shaping", SHAPINGS)
def test_what_is_not_finite_counts_as_the_worst_finite(fitness, as_if, shaping):
    np.testing.assert_array_equal(shaped(fitness, shaping), shaped(as_if, shaping))


def test_zscore_and_none():
    fitness = np.asarray([3.0, -1.0, 2.5, 0.0])
    expected = (fitness - fitness.mean()) / fitness.std()
    np.testing.assert_allclose(shaped(fitness, "zscore"), expected, rtol=1e-6)
    np.testing.assert_array_equal(shaped(fitness, "none"), fitness.astype(np.float32))


@pytest.mark.parametrize("shaping", ["rank", "zscore"])
@pytest.mark.parametrize("members", [2, 7, 64])
def test_constant_fitness_has_no_weight_at_all(members, shaping):
    # What the compiler's optimiser makes of a division is the danger.
    compiled = jax.jit(shape_fitness, static_argnums=1, compiler_options=OPTIMISED)
    for value in (0.0, 0.1, -1 / 3, 1e6 / 7, 3e38, 1e-30, 2e-38):
        weights = compiled(jnp.full(members, value, jnp.float32), shaping)
        np.testing.assert_array_equal(np.asarray(weights), np.zeros(members))


integers = st.lists(st.integers(-1000, 1000), min_size=6, max_size=6)
INCREASING = {
    "affine": lambda x: 3.0 * x - 50.0,
    "cube": lambda x: x**3,
    "exp": lambda x: np.exp(x / 100.0),
    "arctan": lambda x: np.arctan(x / 1000.0),
}


@given(integers, st.sampled_from(sorted(INCREASING)))
def test_ranks_see_the_order_only(values, name):
    values = np.asarray(values, np.float64)
    np.testing.assert_array_equal(shaped(INCREASING[name](values), "rank"), shaped(values, "rank"))


def test_zscores_see_more_than_the_order():
    # The law above is not one that everything has.
    values = np.asarray([0.0, 1.0, 2.0, 5.0, -3.0, 4.0])
    assert not np.allclose(shaped(values**3, "zscore"), shaped(values, "zscore"), atol=0.01)
    assert not np.allclose(shaped(values**3, "none"), shaped(values, "none"), atol=0.01)


@given(integers, st.permutations(range(6)), st.sampled_from(SHAPINGS))
def test_shaping_follows_the_members_and_the_sign(values, order, shaping):
    values = np.asarray(values, np.float32)
    weights = shaped(values, shaping)
    np.testing.assert_allclose(shaped(values[order], shaping), weights[order], atol=1e-6)
    np.testing.assert_allclose(shaped(-values, shaping), -weights, atol=1e-6)
    np.testing.assert_array_equal(
        np.argsort(weights, kind="stable"), np.argsort(values, kind="stable")
    )


@given(
    st.lists(st.floats(width=32, allow_subnormal=False), min_size=6, max_size=6),
    st.sampled_from(SHAPINGS),
)
def test_weights_are_finite_whatever_the_fitness(values, shaping):
    weights = shaped(values, shaping)
    assert np.isfinite(weights).all()
    if shaping != "none":
        assert abs(weights.astype(np.float64).sum()) < 1e-5
        assert np.abs(weights).max() <= 3.0  # sqrt(5) for one of six, 0.5 for ranks


@pytest.mark.parametrize(
    "values", [[3e38, 3e38, 1, -3e38], [1e-30, 2e-30, 3e-30, 4e-30], [3e38, 1.0, 2.0, 3.0]]
)
def test_zscore_neither_overflows_nor_underflows(values):
    values = np.asarray(values, np.float64)
    expected = (values - values.mean()) / values.std()
    np.testing.assert_allclose(shaped(values, "zscore"), expected, atol=1e-5)


# One generation


@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize("shaping", SHAPINGS)
def test_a_step_is_the_formula(getkey, shaping, antithetic):
    std, rate, count = 0.2, 0.7, 10
    strategy = EvolutionStrategy(
        count, std, optax.sgd(rate), shaping=shaping, antithetic=antithetic
    )
    target = jnp.arange(6.0)
    members, fitness, means = search(
        strategy, PARAMS, lambda p: -((vector(p) - target) ** 2).sum(), getkey()
    )
    noise = (flat(members, 2)[0] - flat(PARAMS)) / std
    weights = np.asarray(fitness[0], np.float64)
    if shaping == "rank":
        weights = np.argsort(np.argsort(weights)) / (count - 1) - 0.5
    elif shaping == "zscore":
        weights = (weights - weights.mean()) / weights.std()
    gradient = (weights[:, None] * noise).sum(0) / (count * std)
    expected = flat(PARAMS) + rate * gradient
    np.testing.assert_allclose(flat(means, 1)[0], expected, rtol=2e-4, atol=2e-5)
    assert np.abs(gradient).max() > 0.05


@pytest.mark.parametrize("shaping", ["rank", "none"])
def test_converges_on_a_quadratic(getkey, shaping):
    target = jnp.asarray([1.0, -2.0, 0.5])
    strategy = EvolutionStrategy(32, 0.1, optax.adam(0.05), shaping=shaping)
    keys = jr.split(getkey(), 150)
    _, fitness, means = search(strategy, jnp.zeros(3), lambda x: -((x - target) ** 2).sum(), *keys)
    np.testing.assert_allclose(np.asarray(means[-1]), np.asarray(target), atol=0.1)
    assert fitness[-1].mean() > fitness[0].mean() + 3.0


def test_antithetic_members_mirror_each_other(getkey):
    noise = {}
    for antithetic in (True, False):
        strategy = EvolutionStrategy(8, 0.5, antithetic=antithetic)
        members, _, _ = search(strategy, PARAMS, lambda p: p["bias"][0], getkey())
        noise[antithetic] = flat(members, 2)[0] - flat(PARAMS)
    np.testing.assert_allclose(noise[True][::2], -noise[True][1::2], atol=1e-6)
    assert len(np.unique(np.abs(noise[True]).round(5), axis=0)) == 4
    assert len(np.unique(np.abs(noise[False]).round(5), axis=0)) == 8


def test_perturbations_are_normal_with_the_given_deviation(getkey):
    strategy = EvolutionStrategy(4000, 0.3)
    members, _, _ = search(strategy, PARAMS, lambda p: p["bias"][0], getkey())
    noise = ((flat(members, 2)[0] - flat(PARAMS)) / 0.3)[::2]
    np.testing.assert_allclose(noise.mean(0), 0.0, atol=6 / 2000**0.5)
    np.testing.assert_allclose((noise**2).mean(0), 1.0, atol=6 * (2 / 2000) ** 0.5)
    np.testing.assert_allclose((noise**4).mean(0), 3.0, atol=6 * (96 / 2000) ** 0.5)
    products = noise.T @ noise / 2000 - np.diag((noise**2).mean(0))
    np.testing.assert_allclose(products, 0.0, atol=6 / 2000**0.5)


@pytest.mark.parametrize("shaping", SHAPINGS)
def test_no_step_without_a_finite_member(getkey, shaping):
    strategy = EvolutionStrategy(6, 0.2, optax.sgd(100.0), shaping=shaping)
    _, fitness, means = search(
        strategy, PARAMS, lambda p: jnp.where(p["bias"][0] > 0.1, jnp.nan, -jnp.inf), getkey()
    )
    assert not np.isfinite(np.asarray(fitness)).any()
    np.testing.assert_array_equal(flat(means, 1)[0], flat(PARAMS))


def test_failed_members_pull_as_the_worst(getkey):
    strategy, key = EvolutionStrategy(6, 0.2, optax.sgd(1.0)), getkey()

    @quick_jit
    def after(fitness):
        state = strategy.init(PARAMS, key=key)
        members = strategy.ask(state, PARAMS, key=key)
        return strategy.mean(strategy.tell(state, members, fitness, key=key), PARAMS)

    failed = after(jnp.asarray([3.0, jnp.nan, 1.0, -jnp.inf, 4.0, jnp.inf]))
    assert_trees_identical(failed, after(jnp.asarray([3.0, 1.0, 1.0, 1.0, 4.0, 1.0])))
    assert not np.allclose(flat(failed), flat(after(jnp.asarray([3.0, 9.0, 1.0, 1.0, 4.0, 1.0]))))


# Schedules


def halving(generation):
    return 0.4 * 0.5**generation


def test_the_schedule_of_the_deviation_belongs_to_its_generation(getkey):
    strategy, key = EvolutionStrategy(4, halving, optax.sgd(0.0)), getkey()
    members, _, means = search(strategy, jnp.ones(3), lambda x: x.sum(), *[key] * 5)
    noise = np.asarray(members[:, 0] - means)  # the same at each generation, but for its size
    np.testing.assert_allclose(
        noise, noise[0] * 0.5 ** np.arange(5.0)[:, None], rtol=1e-3, atol=1e-6
    )
    np.testing.assert_array_equal(np.asarray(means), np.ones((5, 3)))


def test_evosax_alone_would_lag_by_one(getkey):
    # Once this fails, `EvolutionStrategy.tell` need no longer correct it.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        es = Open_ES(4, jnp.zeros(3), optimizer=optax.sgd(0.0), std_schedule=halving)

        @quick_jit
        def deviations(key):
            state, seen = es.init(key, jnp.zeros(3), es.default_params), []
            for _ in range(4):
                seen.append(state.std)
                members, state = es.ask(key, state, es.default_params)
                state, _ = es.tell(key, members, members.sum(1), state, es.default_params)
            return seen

        seen = np.asarray(deviations(getkey()))
    np.testing.assert_allclose(seen, [0.4, 0.4, 0.2, 0.1], rtol=1e-6)


def test_the_estimate_uses_the_deviation_of_its_generation(getkey):
    strategy = EvolutionStrategy(
        6, lambda g: jnp.where(g == 0, 0.4, 0.1), optax.sgd(1.0), shaping="none"
    )
    members, fitness, means = search(
        strategy, jnp.zeros(2), lambda x: x[0] - 2.0 * x[1], getkey(), getkey(), getkey()
    )
    members, fitness, means = (np.asarray(x, np.float64) for x in (members, fitness, means))
    before = np.zeros(2)
    for generation, std in enumerate((0.4, 0.1, 0.1)):
        noise = (members[generation] - before) / std
        gradient = (fitness[generation][:, None] * noise).sum(0) / (6 * std)
        np.testing.assert_allclose(means[generation], before + gradient, rtol=1e-3, atol=1e-4)
        before = means[generation]


def test_the_learning_rate_follows_its_schedule(getkey):
    rates = optax.piecewise_constant_schedule(1.0, {1: 0.1, 2: 0.0})  # 1, 0.1, 0, 0
    key, moved = getkey(), []
    for rate in (rates, 1.0):
        strategy = EvolutionStrategy(6, 0.1, optax.sgd(rate))
        # By rank, and with the same noise: the same gradient in each generation.
        _, _, means = search(strategy, jnp.zeros(2), lambda x: x.sum(), *[key] * 4)
        moved.append(np.diff(np.asarray(means), axis=0, prepend=0.0))
    factors = np.asarray([1.0, 0.1, 0.0, 0.0])[:, None]
    np.testing.assert_allclose(moved[0], moved[1] * factors, atol=1e-5)
    assert np.abs(moved[1]).min() > 0.1


# Lives


@pytest.mark.parametrize(("shared", "groups"), [("population", 1), ("pair", 4), ("none", 8)])
def test_the_groups_of_common_random_numbers(getkey, shared, groups):
    strategy = EvolutionStrategy(8, common_random_numbers=shared)
    key = getkey()
    keys = strategy.life_keys(3, key=key)
    assert keys.shape == (groups, 3)
    data = np.asarray(jr.key_data(keys)).reshape(groups * 3, -1)
    assert len(np.unique(data, axis=0)) == groups * 3
    again = strategy.life_keys(3, key=key)
    np.testing.assert_array_equal(np.asarray(jr.key_data(again)).reshape(groups * 3, -1), data)


# Parameters


def test_the_search_starts_at_the_parameters(getkey):
    learner = make(rl.SymLA, 4, 2, 2)
    params, _ = eqx.partition(learner, eqx.is_inexact_array)
    strategy = EvolutionStrategy(4)
    assert_trees_identical(strategy.mean(strategy.init(params, key=getkey()), params), params)


def test_members_depend_on_the_key_alone(getkey):
    strategy, keys = EvolutionStrategy(4), (getkey(), getkey())
    first = search(strategy, PARAMS, vector_sum, *keys)
    assert_trees_identical(search(strategy, PARAMS, vector_sum, *keys), first)
    second, third = flat(first[0], 2)
    assert not np.allclose(second, third, atol=1e-3)


def test_layers_that_share_a_cell_still_share_it(getkey):
    deep = make(rl.SymLA, 4, 2, 2, hidden_sizes=(3, 3))
    params, static = eqx.partition(deep, eqx.is_inexact_array)
    members, _, means = search(EvolutionStrategy(4), params, vector_sum, getkey())
    one = jax.tree.map(lambda x: x[0, 0], members)
    for tree in (one, jax.tree.map(lambda x: x[0], means)):
        learner = eqx.combine(tree, static)
        assert learner.network.depth == 3 and len(learner.network.layers) == 1
        assert parameter_count(tree) == parameter_count(params)
        assert not np.allclose(flat(tree), flat(params), atol=1e-3)


def test_pairs_can_be_counted():
    assert EvolutionStrategy(8).population == 8
    assert EvolutionStrategy(8, population_counts="pairs").population == 16
    assert EvolutionStrategy(3, population_counts="pairs").population == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"population": 0}, "at least 2, got 0"),
        ({"population": -4}, "at least 2, got -4"),
        ({"population": 7}, "even .* got 7; try 8"),
        ({"population": 7, "antithetic": False}, "even"),
        ({"std": 0.0}, "`std` must be above 0, got 0.0"),
        ({"std": -0.1}, "`std` must be above 0, got -0.1"),
        ({"std": NAN}, "`std` must be above 0, got nan"),
        (
            {"population": 4, "population_counts": "pairs", "antithetic": False},
            "needs `antithetic=True`",
        ),
        ({"common_random_numbers": "pair", "antithetic": False}, "needs `antithetic=True`"),
    ],
)
def test_impossible_strategies(options, message):
    with pytest.raises(ValueError, match=message):
        EvolutionStrategy(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shaping": "ranks"}, "`shaping` must be one of rank, zscore, none; got 'ranks'"),
        ({"common_random_numbers": "pairs"}, "one of population, pair, none; got 'pairs'"),
        ({"population_counts": "people"}, "must be members or pairs; got 'people'"),
    ],
)
def test_unknown_options_are_named(options, message):
    # In a copy of the module that the import hook of the tests, which would refuse them, misses.
    path = sys.modules["meta._es"].__file__
    spec = importlib.util.spec_from_file_location("meta.unchecked_es", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(ValueError, match=message):
        module.EvolutionStrategy(**options)
