"""Means that outliers do not move, and how sure they are.

After Agarwal et al. 2021 (arXiv:2108.13264).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Statistic = Callable[[Float[np.ndarray, "*batch values"]], Float[np.ndarray, "*batch"]]
_BLOCK = 2**22  # numbers resampled at once, which bounds the memory


class Interval(NamedTuple):
    """A statistic of some values, and the ends of its interval of confidence."""

    value: float
    low: float
    high: float


def interquartile_mean(values: Float[np.ndarray, "*batch values"]) -> Float[np.ndarray, "*batch"]:
    """The mean of the middle half: without the lowest and the highest quarter of the values.

    Of `n` values, `n // 4` are left out at each end, as by `scipy.stats.trim_mean(values, 0.25)`.
    """
    count = values.shape[-1]
    cut = count // 4
    if cut:
        values = np.partition(values, (cut, count - cut - 1), -1)[..., cut : count - cut]
    return np.asarray(values.mean(-1))


def stratified_bootstrap(
    strata: Sequence[Float[np.ndarray, "_values"]],
    statistic: Statistic = interquartile_mean,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A statistic of all values, with its percentile bootstrap interval.

    Each resample draws from every stratum as many values as it has, with replacement. So the
    interval tells the spread within the strata, given these strata.

    **Arguments:**

    - `strata`: the values that are alike: the lives of one learner in one task.
    - `statistic`: of the values of all strata together.
    - `resamples`: how many.
    - `confidence`: how much of them lies in the interval.
    - `seed`: of the resamples; the same seed gives the same interval.

    **Raises:** `ValueError` for no values, no resamples or a confidence that is no share.
    """
    if not strata or not all(len(values) for values in strata):
        raise ValueError("There must be at least one stratum, and a value in each.")
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(
            "`resamples` must be at least 1 and `confidence` between 0 and 1, got "
            f"{resamples} and {confidence}."
        )
    strata = [np.asarray(values, np.float64) for values in strata]
    generator, count = np.random.default_rng(seed), sum(map(len, strata))
    drawn, block = [], max(1, _BLOCK // count)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        picked = [
            values[generator.integers(len(values), size=(size, len(values)))] for values in strata
        ]
        drawn.append(statistic(np.concatenate(picked, -1)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(drawn), (tail, 1 - tail))
    return Interval(float(statistic(np.concatenate(strata))), float(low), float(high))


def normalised(interval: Interval, zero: float, one: float) -> Interval | None:
    """An interval on the scale from `zero` to `one`; `None` if `one` is no higher."""
    if not one > zero:
        return None
    return Interval(*((number - zero) / (one - zero) for number in interval))
