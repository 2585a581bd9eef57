"""Intervals and tests against scipy, published values and simulated nulls."""

import numpy as np
import pytest
from scipy.stats import binomtest

from laif_helpers import stats


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (1, 3), (730, 1200), (5, 1319)])
def test_wilson_equals_scipy(correct: int, n: int) -> None:
    expected = binomtest(correct, n).proportion_ci(method="wilson")
    assert stats.wilson(correct, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_edges() -> None:
    assert stats.wilson(0, 0) == (0.0, 1.0)
    assert stats.wilson(0, 50)[0] == 0.0
    assert stats.wilson(50, 50)[1] == 1.0
    with pytest.raises(ValueError, match="3 correct of 2"):
        stats.wilson(3, 2)


def test_mcnemar_known_values() -> None:
    assert stats.mcnemar(0, 0) == 1.0
    assert stats.mcnemar(5, 5) == 1.0
    assert stats.mcnemar(1, 9) == pytest.approx(2 * (1 + 10) / 2**10)
    assert stats.mcnemar(9, 1) == stats.mcnemar(1, 9)
    with pytest.raises(ValueError, match="negative"):
        stats.mcnemar(-1, 2)


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([0.2, None, 0.9]) == [pytest.approx(0.4), None, pytest.approx(0.9)]
    assert stats.holm([0.6, 0.9]) == [1.0, 1.0]
    assert stats.holm([]) == []


def test_paired_interval_is_the_item_bootstrap() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.random(400) < 0.6, rng.random(400) < 0.7
    low, high = stats.paired_interval(before, after, seed=0)
    items = rng.integers(0, 400, size=(4_000, 400))
    plain = (after[items].mean(axis=1) - before[items].mean(axis=1)).tolist()
    assert (low, high) == pytest.approx(tuple(np.percentile(plain, [2.5, 97.5])), abs=0.01)
    assert stats.paired_interval(before, after, seed=0) == (low, high)
    assert stats.paired_interval([1, 0], [1, 0], seed=0) == (0.0, 0.0)


def test_paired_interval_refuses_other_items() -> None:
    with pytest.raises(ValueError, match="2 before and 1 after"):
        stats.paired_interval([1, 0], [1], seed=0)


def test_false_positives_stay_under_five_percent_and_intervals_cover() -> None:
    """2,000 comparisons of a model with itself: the exact test may be conservative, never generous."""
    rng = np.random.default_rng(0)
    n, false, covered = 300, 0, 0
    for trial in range(2_000):
        before, after = rng.random(n) < 0.7, rng.random(n) < 0.7
        fixed, broken = int((~before & after).sum()), int((before & ~after).sum())
        false += stats.mcnemar(fixed, broken) < 0.05
        if trial % 10 == 0:
            low, high = stats.paired_interval(before, after, seed=trial, resamples=1_000)
            covered += low <= 0 <= high
    assert 0.02 < false / 2_000 < 0.06
    assert covered >= 180


def test_detectable_has_its_stated_power() -> None:
    n, changed = 1_200, 0.2
    smallest = stats.detectable(n, changed)
    rng = np.random.default_rng(0)
    counts = rng.multinomial(n, [(changed + smallest) / 2, (changed - smallest) / 2, 1 - changed], 600)
    power = np.mean([stats.mcnemar(int(fixed), int(broken)) < 0.05 for fixed, broken, _ in counts])
    assert 0.72 < power < 0.88
    assert stats.detectable(4 * n, changed) == pytest.approx(smallest / 2, rel=0.02)
    assert stats.detectable(20, 0.0) == 1.0
    assert stats.detectable(20, 0.05) == 1.0
    with pytest.raises(ValueError, match="n=0"):
        stats.detectable(0, 0.1)


def test_verdict_in_words() -> None:
    assert stats.verdict(0.05, 0.01) == "better"
    assert stats.verdict(-0.05, 0.01) == "worse"
    assert stats.verdict(0.0, None) == "baseline"
    assert "2.3 points" in stats.verdict(0.01, 0.4, 0.023)
