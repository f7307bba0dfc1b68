"""The best play of two-armed Bernoulli bandits whose prior is known, by dynamic programming."""

import math
from functools import lru_cache
from typing import Literal, TypeVar, get_args

import numpy as np
from jaxtyping import Array, Float64, Int, Int8

# The kinds of `rl.envs.BernoulliBandits`, which must not be imported here: it needs gymnax.
BanditKind = Literal["independent", "uniform", "easy", "medium", "hard"]
_CHOICES = {"easy": 0.1, "medium": 0.25, "hard": 0.4}

# Memory grows with the fourth power of the horizon: 4.4 MB for 100 pulls, 22 MB for 150.
MAX_HORIZON = 150
_TIE = 1e-9

Count = TypeVar("Count", int, Int[Array, ""])


def check(kind: BanditKind, horizon: int) -> None:
    """Refuse what there is no table of."""
    if kind not in get_args(BanditKind):
        raise ValueError(f"`kind` must be one of {', '.join(get_args(BanditKind))}; got {kind!r}.")
    if horizon < 1:
        raise ValueError(f"`horizon` must be at least 1 pull, got {horizon}.")
    if kind == "independent" and horizon > MAX_HORIZON:
        raise ValueError(
            f"Two independent arms have {math.comb(horizon + 3, 4):,} states in {horizon} pulls, "
            f"too many for a table: `horizon` can be at most {MAX_HORIZON}."
        )


def position(pulls1: Count, wins1: Count, pulls2: Count, wins2: Count) -> Count:
    """Where a state of two independent arms stands in the table of decisions.

    States are in lexicographic order of all pulls, the first arm's pulls, its wins and the
    second arm's wins. There are `(n + 1)(t - n + 1)` of them with `n` of `t` pulls for the first
    arm, and `C(t + 3, 3)` with `t` pulls.
    """
    t, n = pulls1 + pulls2, pulls1
    earlier = t * (t + 1) * (t + 2) * (t + 3) // 24
    row = (t + 2) * (n * (n + 1) // 2) - n * (n + 1) * (2 * n + 1) // 6
    return earlier + row + wins1 * (pulls2 + 1) + wins2


@lru_cache(maxsize=2)
def solve_independent(horizon: int) -> tuple[float, Int8[np.ndarray, " states"]]:
    """The best play of two arms with independent uniform priors.

    The value of a state with `s` wins in `n` pulls of each arm is that of the better arm, which
    wins with the probability `(s + 1) / (n + 2)` and leads to the state with that pull counted
    (Bellman's equation over the posteriors: Bradt, Johnson and Karlin 1956).

    **Arguments:**

    - `horizon`: pulls in a life.

    **Returns:**

    The expected total reward, and for each state (see `position`) the arm to pull: 0, 1, or 2
    where both are as good.
    """
    decisions = np.empty(math.comb(horizon + 3, 4), np.int8)
    # later[n][s1, s2]: what can still be won once one pull more has been made, n for arm 1.
    later = [np.zeros((n + 1, horizon - n + 1)) for n in range(horizon + 1)]
    for t in range(horizon - 1, -1, -1):
        now = []
        for n in range(t + 1):
            mean1, mean2 = _means(n)[:, None], _means(t - n)[None, :]
            value1 = mean1 * (1 + later[n + 1][1:]) + (1 - mean1) * later[n + 1][:-1]
            value2 = mean2 * (1 + later[n][:, 1:]) + (1 - mean2) * later[n][:, :-1]
            gap = value1 - value2
            best = np.where(np.abs(gap) < _TIE, 2, np.where(gap > 0, 0, 1))
            start = position(n, 0, t - n, 0)
            decisions[start : start + best.size] = best.reshape(-1)
            now.append(np.maximum(value1, value2))
        later = now
    decisions.flags.writeable = False
    return float(later[0][0, 0]), decisions


def bayes_optimal_regret(kind: BanditKind = "independent", horizon: int = 100) -> float:
    """The least expected regret that any player of a two-armed bandit can reach.

    It is exact, for the prior of `rl.envs.BernoulliBandits(2, kind)`. For 100 pulls it is 1.748
    (independent), 1.221 (uniform), 0.625 (easy), 1.000 (medium) and 2.312 (hard).

    **Arguments:**

    - `kind`: how the probabilities of the arms are drawn.
    - `horizon`: pulls in a life.

    **Returns:**

    The expected sum over a life of the best probability less that of the arm pulled.

    **Raises:** `ValueError` for an unknown kind, no pulls, or more than 150 pulls of independent
    arms, whose states are too many.
    """
    check(kind, horizon)
    if kind == "independent":
        return horizon * 2 / 3 - solve_independent(horizon)[0]
    # A loss of one arm tells as much as a win of the other. So what is learned does not depend
    # on the arm pulled, and the arm with the better posterior mean is the best.
    regret = 0.0
    if kind == "uniform":
        for t in range(horizon):
            mean = _means(t)
            regret += 3 / 4 - float(np.maximum(mean, 1 - mean).mean())
        return regret
    low, high = _CHOICES[kind], 1 - _CHOICES[kind]
    # The joint probabilities of the better arm (1 or 2) and the number of signs for arm 1.
    better1, better2 = np.array([0.5]), np.array([0.5])
    for _ in range(horizon):
        reward1, reward2 = high * better1 + low * better2, low * better1 + high * better2
        regret += high - float(np.maximum(reward1, reward2).sum())
        better1 = np.convolve(better1, [low, high])
        better2 = np.convolve(better2, [high, low])
    return regret


def _means(pulls: int) -> Float64[np.ndarray, " wins"]:
    """The posterior mean after each possible number of wins."""
    return (np.arange(pulls + 1) + 1) / (pulls + 2)
