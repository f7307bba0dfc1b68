"""The players of bandits against what can be computed exactly, and the figures of the papers."""

import math
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from typing import get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import optimised_jit

import rl
from rl.classic import (
    UCB1,
    BanditPlayer,
    BayesOptimal,
    GreedyPosteriorMean,
    PlayerState,
    RandomPlayer,
    ThompsonSampling,
    bayes_optimal_regret,
)
from rl.classic._optimal import position, solve_independent
from rl.envs import BanditKind, BernoulliBandits

KINDS = {"independent": 1.748, "uniform": 1.221, "easy": 0.625, "medium": 1.000, "hard": 2.312}
PLAYERS = [RandomPlayer(), ThompsonSampling(), GreedyPosteriorMean(), UCB1()]
LIVES = 2000

# Expected regrets in 100 pulls of independent arms. Two arms: exact, see `exact_regret`. Eight:
# the means of 100,000 lives in a NumPy program of its own, with standard errors below 0.04.
EXACT_TWO = {
    RandomPlayer: 100 * (2 / 3 - 1 / 2),
    ThompsonSampling: 2.7862,
    GreedyPosteriorMean: 2.6915,
    UCB1: 5.5810,
}
EIGHT = {
    RandomPlayer: 100 * (8 / 9 - 1 / 2),
    ThompsonSampling: 11.877,
    GreedyPosteriorMean: 10.312,
    UCB1: 24.295,
}


class ThompsonDeafToFailure(BanditPlayer):
    """A broken twin: its posterior counts no losses."""

    def scores(self, state, *, key):
        return jr.beta(key, 1.0 + state.wins, jnp.ones_like(state.wins))


def name(player):
    return type(player).__name__


@eqx.filter_jit
def live(player, bandits, lives, key, steps=100, record=()):
    """Many lives, each with a bandit of its own."""

    def one(key):
        task_key, life_key = jr.split(key)
        task = bandits.sample(key=task_key)
        return rl.lifetime(player, task, steps=steps, key=life_key, record=record)

    return jax.vmap(one)(jr.split(key, lives))


def deviation(regrets, expected):
    """How many standard errors the mean lies away from what is expected."""
    regrets = np.asarray(regrets, np.float64)
    return (regrets.mean() - expected) / (regrets.std() / len(regrets) ** 0.5)


def state_of(pulls, wins, mask=None):
    return PlayerState(jnp.array(pulls, jnp.int32), jnp.array(wins, jnp.float32), mask)


@cache
def all_states(horizon):
    """Pulls and wins of both arms in all states of fewer than `horizon` pulls, in order."""
    blocks = []
    for t in range(horizon):
        for n in range(t + 1):
            wins = np.indices((n + 1, t - n + 1)).reshape(2, -1)
            pulls = np.broadcast_to(np.array([[n], [t - n]]), wins.shape)
            blocks.append(np.stack([pulls, wins]))
    counts = np.concatenate(blocks, axis=2, dtype=np.int16)
    return counts[0].T, counts[1].T


def choices(player: BanditPlayer, horizon: int) -> np.ndarray:
    """The probability with which the player pulls arm 1 in each state, from its scores."""
    pulls, wins = all_states(horizon)

    @jax.jit
    def scores(pulls, wins):
        one = lambda n, s: player.scores(PlayerState(n, s, None), key=jr.key(0))  # noqa: E731
        return jax.vmap(one)(pulls, wins)

    found = np.asarray(scores(jnp.asarray(pulls, jnp.int32), jnp.asarray(wins, jnp.float32)))
    return np.where(found[:, 0] == found[:, 1], 0.5, found[:, 0] > found[:, 1])


def thompson_choices(horizon: int) -> np.ndarray:
    """The probability that the posterior of arm 1 gives the larger sample, in each state.

    It is the integral of a density times a distribution function, both polynomials, of less than
    degree `horizon + 1` together: Gauss-Legendre quadrature is exact.
    """
    x, weights = np.polynomial.legendre.leggauss(horizon // 2 + 2)
    x, weights = (x + 1) / 2, weights / 2
    density, cumulative = [], []
    for n in range(horizon):
        binomial = np.array([[math.comb(n, s) * x**s * (1 - x) ** (n - s)] for s in range(n + 1)])
        density.append((n + 1) * binomial[:, 0] * weights)
        more = [math.comb(n + 1, s) * x**s * (1 - x) ** (n + 1 - s) for s in range(n + 2)]
        cumulative.append(np.cumsum(more[::-1], axis=0)[-2::-1])
    blocks = [density[n] @ cumulative[t - n].T for t in range(horizon) for n in range(t + 1)]
    return np.concatenate([block.reshape(-1) for block in blocks])


def exact_regret(first: np.ndarray, horizon: int) -> float:
    """The expected regret of a player that pulls arm 1 with these probabilities.

    The chance of each state, from birth on: no maximisation, and no table of the package.
    """
    reached = {0: np.ones((1, 1))}
    reward, start = 0.0, 0
    for t in range(horizon):
        after = {n: np.zeros((n + 1, t - n + 2)) for n in range(t + 2)}
        for n, chance in reached.items():
            block = first[start : start + chance.size].reshape(chance.shape)
            start += chance.size
            mean1 = ((np.arange(n + 1) + 1) / (n + 2))[:, None]
            mean2 = ((np.arange(t - n + 1) + 1) / (t - n + 2))[None, :]
            pull1, pull2 = chance * block, chance * (1 - block)
            reward += (pull1 * mean1 + pull2 * mean2).sum()
            after[n + 1][1:] += pull1 * mean1
            after[n + 1][:-1] += pull1 * (1 - mean1)
            after[n][:, 1:] += pull2 * mean2
            after[n][:, :-1] += pull2 * (1 - mean2)
        reached = after
    return horizon * 2 / 3 - reward


def slow_regret(kind: BanditKind, horizon: int) -> float:
    """The best there is, by a recursion over the posterior that tries both arms everywhere."""
    low = {"easy": 0.1, "medium": 0.25, "hard": 0.4}.get(kind, 0.0)

    def means(n, s, m, r):
        if kind == "independent":
            return (s + 1) / (n + 2), (r + 1) / (m + 2)
        signs, total = s + m - r, n + m
        if kind == "uniform":
            mean = (signs + 1) / (total + 2)
        else:
            high = (1 - low) ** signs * low ** (total - signs)
            other = low**signs * (1 - low) ** (total - signs)
            mean = ((1 - low) * high + low * other) / (high + other)
        return mean, 1 - mean

    @cache
    def value(n, s, m, r):
        if n + m == horizon:
            return 0.0
        p, q = means(n, s, m, r)
        first = p * (1 + value(n + 1, s + 1, m, r)) + (1 - p) * value(n + 1, s, m, r)
        second = q * (1 + value(n, s, m + 1, r + 1)) + (1 - q) * value(n, s, m + 1, r)
        return max(first, second)

    best = {"independent": 2 / 3, "uniform": 3 / 4}.get(kind, 1 - low)
    return horizon * best - value(0, 0, 0, 0)


# ---- The optimum ----


def test_the_kinds_are_those_of_the_bandits():
    from rl.classic import _optimal

    assert get_args(_optimal.BanditKind) == get_args(BanditKind) == tuple(KINDS)


@pytest.mark.parametrize(("kind", "printed"), KINDS.items())
def test_bayes_optimal_regret_in_a_hundred_pulls(kind, printed):
    assert round(bayes_optimal_regret(kind, 100), 3) == printed


@pytest.mark.parametrize(
    ("kind", "once", "twice"), [("independent", 1 / 6, 1 / 4), ("easy", 0.4, 0.48)]
)
def test_bayes_optimal_regret_by_hand(kind, once, twice):
    # Independent: 2/3 - 1/2; then stay after a win (2/3) and switch after a loss (1/2).
    # Easy: 0.9 - 0.5; then the favoured arm is the better one with probability 0.9.
    np.testing.assert_allclose(bayes_optimal_regret(kind, 1), once)
    np.testing.assert_allclose(bayes_optimal_regret(kind, 2), twice)


@pytest.mark.parametrize("kind", KINDS)
def test_bayes_optimal_regret_is_that_of_a_slow_recursion(kind):
    for horizon in (3, 12):
        np.testing.assert_allclose(
            bayes_optimal_regret(kind, horizon), slow_regret(kind, horizon), rtol=1e-9
        )


def test_every_state_has_a_place_of_its_own():
    pulls, wins = all_states(20)
    places = [
        position(*map(int, (n[0], s[0], n[1], s[1]))) for n, s in zip(pulls, wins, strict=True)
    ]
    assert places == list(range(math.comb(23, 4)))
    value, decisions = solve_independent(20)
    assert decisions.shape == (len(places),)
    assert 10 < value < 20 * 2 / 3


@pytest.mark.parametrize("horizon", [1, 2, 9, 100])
def test_the_table_reaches_the_optimum(horizon):
    reached = exact_regret(choices(BayesOptimal("independent", horizon), horizon), horizon)
    np.testing.assert_allclose(reached, bayes_optimal_regret("independent", horizon), rtol=1e-9)


def test_a_table_for_another_horizon_does_not_reach_the_optimum():
    explores_too_much = choices(BayesOptimal("independent", 100), 20)
    assert exact_regret(explores_too_much, 20) > bayes_optimal_regret("independent", 20) + 1e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BayesOptimal("independent", 151), "states in 151 pulls.*at most 150"),
        (lambda: bayes_optimal_regret("independent", 151), "states in 151 pulls.*at most 150"),
        (lambda: BayesOptimal("easy", 0), "`horizon` must be at least 1 pull, got 0"),
        (lambda: bayes_optimal_regret("uniform", 0), "`horizon` must be at least 1 pull, got 0"),
    ],
)
def test_what_has_no_table_is_refused(call: Callable, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("kind", ["independent", "easy"])
def test_bayes_optimal_plays_two_arms_only(kind, getkey):
    task = BernoulliBandits(3).sample(key=getkey())
    with pytest.raises(ValueError, match="2 arms, got 3"):
        rl.lifetime(BayesOptimal(kind), task, steps=2, key=getkey())


def test_bayes_optimal_refuses_lives_beyond_its_horizon(getkey):
    player, first = BayesOptimal("independent", 6), rl.TimeStep.first(jnp.ones(1))
    player.step(state_of([2, 3], [1, 1]), first, key=getkey())
    with pytest.raises(eqx.EquinoxRuntimeError, match="knows how to play 6 pulls"):
        player.step(state_of([3, 3], [1, 1]), first, key=getkey())
    with pytest.raises(eqx.EquinoxRuntimeError, match="knows how to play 6 pulls"):
        jax.block_until_ready(live(player, BernoulliBandits(2), 3, getkey(), 7))


# ---- Regrets ----


def test_exact_regrets_on_two_arms():
    for player in (GreedyPosteriorMean(), UCB1()):
        np.testing.assert_allclose(
            exact_regret(choices(player, 100), 100), EXACT_TWO[type(player)], rtol=1e-4
        )
    thompson = exact_regret(thompson_choices(100), 100)
    np.testing.assert_allclose(thompson, EXACT_TWO[ThompsonSampling], rtol=1e-4)


@pytest.mark.parametrize("player", PLAYERS, ids=name)
@pytest.mark.parametrize(("arms", "expected"), [(2, EXACT_TWO), (8, EIGHT)], ids=["2", "8"])
def test_regrets_of_players(arms, expected, player, getkey):
    bandits = BernoulliBandits(arms)
    life = optimised_jit(partial(live, player, bandits, LIVES))(getkey())
    assert abs(deviation(life.totals["regret"], expected[type(player)])) < 4


def test_a_thompson_that_ignores_failures_does_not_pass(getkey):
    life = live(ThompsonDeafToFailure(), BernoulliBandits(2), LIVES // 4, getkey())
    assert abs(deviation(life.totals["regret"], EXACT_TWO[ThompsonSampling])) > 10


@pytest.mark.parametrize("kind", KINDS)
def test_bayes_optimal_reaches_its_regret(kind, getkey):
    # Where arms depend on each other there is no horizon to know of.
    player = BayesOptimal(kind, 100 if kind == "independent" else 1)
    life = live(player, BernoulliBandits(2, kind), LIVES, getkey())
    regrets = life.totals["regret"]
    assert abs(deviation(regrets, bayes_optimal_regret(kind))) < 4
    if kind == "independent":  # The best of the others would not pass.
        assert deviation(regrets, EXACT_TWO[GreedyPosteriorMean]) < -4


# ---- How they play ----


def test_players_have_no_meta_variables():
    for player in [*PLAYERS, BayesOptimal()]:
        assert jax.tree.leaves(player) == []


@pytest.mark.parametrize("player", [*PLAYERS, BayesOptimal()], ids=name)
def test_counting(player, getkey):
    state = player.init(rl.Spaces(1, 2), key=getkey())
    first = rl.TimeStep.first(jnp.ones(1))
    state, action = player.step(state, first, key=getkey())
    assert action.dtype == jnp.int32
    assert state.pulls.tolist() == [0, 0]
    assert state.wins.tolist() == [0, 0]
    for pulled, reward in [(1, 1.0), (1, 0.0), (0, 1.0), (1, 1.0)]:
        led_here = (jnp.int32(pulled), jnp.float32(reward))
        step = eqx.tree_at(lambda t: (t.action, t.reward), first, led_here)
        state, _ = player.step(state, step, key=getkey())
    assert state.pulls.tolist() == [1, 3]
    assert state.wins.tolist() == [1, 2]
    stray = eqx.tree_at(lambda t: t.reward, first, jnp.float32(1.0))
    state, _ = player.step(state, stray, key=getkey())
    assert state.wins.tolist() == [1, 2]


@pytest.mark.parametrize("player", PLAYERS, ids=name)
def test_ties_fall_on_all_existing_arms_alike(player, getkey):
    mask = jnp.array([True, False, True, True])
    state = player.init(rl.Spaces(1, 4, action_mask=mask), key=getkey())
    act = lambda k: player.step(state, rl.TimeStep.first(jnp.ones(1)), key=k)[1]  # noqa: E731
    counts = np.bincount(jax.jit(jax.vmap(act))(jr.split(getkey(), 6000)), minlength=4)
    assert counts[1] == 0
    assert np.abs(counts[[0, 2, 3]] - 2000).max() < 5 * (6000 * 2 / 9) ** 0.5


@pytest.mark.parametrize("player", PLAYERS, ids=name)
def test_masked_arms_are_never_pulled(player, getkey):
    rng = np.random.default_rng(0)
    masks = np.arange(5) < rng.integers(1, 6, (500, 1))
    pulls = rng.integers(0, 9, masks.shape) * masks
    wins = rng.integers(0, pulls + 1)

    def act(pulls, wins, mask, key):
        state = PlayerState(pulls, wins, mask)
        return player.step(state, rl.TimeStep.first(jnp.ones(1)), key=key)[1]

    counts = (jnp.asarray(pulls, jnp.int32), jnp.asarray(wins, jnp.float32), jnp.asarray(masks))
    actions = np.asarray(jax.jit(jax.vmap(act))(*counts, jr.split(getkey(), len(masks))))
    assert masks[np.arange(len(masks)), actions].all()
    assert set(actions.tolist()) == set(range(5))


def test_masked_arms_are_never_pulled_in_a_life(getkey):
    bandits, key = BernoulliBandits((1, 5)), getkey()
    life = live(UCB1(), bandits, 50, key, 20, ("actions",))
    # The task of each life of `live`.
    draw = jax.jit(jax.vmap(lambda k: bandits.sample(key=jr.split(k)[0]).action_mask))
    sizes = np.asarray(draw(jr.split(key, 50))).sum(1)
    assert set(sizes.tolist()) == {1, 2, 3, 4, 5}
    np.testing.assert_array_equal(np.asarray(life.actions).max(1), sizes - 1)
    assert (np.asarray(life.totals["regret"])[sizes == 1] == 0).all()


def test_ucb1_pulls_each_arm_once_first(getkey):
    life = live(UCB1(), BernoulliBandits(7), 20, getkey(), 7, ("actions",))
    actions = np.asarray(life.actions)
    assert (np.sort(actions, axis=1) == np.arange(7)).all()
    assert len({tuple(row) for row in actions.tolist()}) > 10


def test_scores_by_hand(getkey):
    state = state_of([3, 1, 0], [2, 0, 0])
    # 2/3 + sqrt(2 ln 4 / 3) and sqrt(2 ln 4); ln 4 = 1.386294.
    ucb = UCB1().scores(state_of([3, 1], [2, 0]), key=getkey())
    np.testing.assert_allclose(ucb, [0.6666667 + 0.9613514, 1.6651092], rtol=1e-6)
    assert UCB1().scores(state, key=getkey())[2] == jnp.inf
    greedy = GreedyPosteriorMean().scores(state, key=getkey())
    np.testing.assert_allclose(greedy, [3 / 5, 1 / 3, 1 / 2], rtol=1e-6)
    # A win of the first arm, and two losses of the second: three signs for the first.
    signs = BayesOptimal("hard").scores(state_of([2, 2], [1, 0]), key=getkey())
    np.testing.assert_array_equal(signs, [3, 1])


def test_thompson_samples_the_posterior(getkey):
    state, count = state_of([5, 0], [2, 0]), 10_000
    sample = lambda k: ThompsonSampling().scores(state, key=k)  # noqa: E731
    scores = np.asarray(jax.jit(jax.vmap(sample))(jr.split(getkey(), count)), np.float64)
    for column, (a, b) in zip(scores.T, [(3, 4), (1, 1)], strict=True):
        variance = a * b / ((a + b) ** 2 * (a + b + 1))
        assert abs(column.mean() - a / (a + b)) < 5 * (variance / count) ** 0.5
        assert abs(column.var() / variance - 1) < 0.08
    assert abs(np.corrcoef(scores[:, 0], scores[:, 1])[0, 1]) < 5 / count**0.5


def test_classic_needs_no_gymnax():
    code = "import sys, rl; rl.classic.UCB1; assert 'gymnax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
