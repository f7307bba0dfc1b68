import numpy as np
import pytest
from scipy import stats

from experiments._statistics import (
    Interval,
    interquartile_mean,
    normalised,
    stratified_bootstrap,
)


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).gamma(2.0, size=shape)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 100, 301])
def test_the_interquartile_mean_is_scipys_trimmed_mean(count):
    values = drawn(count)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25))


def test_it_is_taken_along_the_last_axis_and_heeds_no_outlier():
    values = drawn(3, 2, 40)
    expected = stats.trim_mean(values, 0.25, axis=-1)
    np.testing.assert_allclose(interquartile_mean(values), expected)
    values[..., 0] = 1e9
    assert interquartile_mean(values).max() < 10
    assert interquartile_mean(np.asarray([-100.0, 1.0, 3.0, 100.0])) == 2.0


def test_the_interval_of_one_stratum_is_scipys():
    values = drawn(60)
    ours = stratified_bootstrap([values], resamples=20_000)
    theirs = stats.bootstrap(
        (values,),
        interquartile_mean,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert ours.value == pytest.approx(stats.trim_mean(values, 0.25))
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


def test_strata_are_not_mixed():
    # Each stratum is constant, so that resampling within them changes nothing.
    strata = [np.full(10, 1.0), np.full(30, 5.0)]
    assert stratified_bootstrap(strata, lambda x: x.mean(-1)) == Interval(4.0, 4.0, 4.0)
    mixed = stratified_bootstrap([np.concatenate(strata)], lambda x: x.mean(-1))
    assert mixed.low < 3.7 and mixed.high > 4.3


def test_the_interval_of_a_mean_of_strata_has_the_spread_within_them():
    strata = [drawn(200), drawn(150) + 100.0]
    found = stratified_bootstrap(strata, lambda x: x.mean(-1), resamples=4000)
    variances = [x.var() / len(x) * (len(x) / 350) ** 2 for x in strata]
    expected = 2 * 1.96 * sum(variances) ** 0.5
    assert found.high - found.low == pytest.approx(expected, rel=0.06)


def test_it_is_seeded_and_its_blocks_do_not_show(monkeypatch):
    values = [drawn(20)]
    one = stratified_bootstrap(values, seed=3)
    assert one == stratified_bootstrap(values, seed=3) != stratified_bootstrap(values, seed=4)
    monkeypatch.setattr("experiments._statistics._BLOCK", 2**9)
    assert one.low == pytest.approx(stratified_bootstrap(values, seed=3).low)
    narrow = stratified_bootstrap(values, seed=3, confidence=0.5)
    assert one.low < narrow.low < narrow.high < one.high


def test_what_has_no_interval():
    for strata in ([], [np.zeros(0)], [np.ones(2), np.zeros(0)]):
        with pytest.raises(ValueError, match="at least one stratum, and a value in each"):
            stratified_bootstrap(strata)
    with pytest.raises(ValueError, match="`resamples` must be at least 1"):
        stratified_bootstrap([np.ones(2)], resamples=0)
    with pytest.raises(ValueError, match="`confidence` between 0 and 1, got 2000 and 1.0"):
        stratified_bootstrap([np.ones(2)], confidence=1.0)


def test_a_score_between_two_others():
    assert normalised(Interval(3.0, 2.0, 6.0), 2.0, 4.0) == Interval(0.5, 0.0, 2.0)
    assert normalised(Interval(3.0, 2.0, 6.0), 4.0, 4.0) is None
    assert normalised(Interval(3.0, 2.0, 6.0), float("nan"), 4.0) is None
