"""Intervals and tests against scipy, published values and simulated nulls."""

import functools
import math
import random
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, binomtest, fisher_exact, ttest_rel

from laif_helpers import origins, stats


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
    low, high = origins.interval(origins.paired(before, after), seed=0)
    items = rng.integers(0, 400, size=(4_000, 400))
    plain = (after[items].mean(axis=1) - before[items].mean(axis=1)).tolist()
    assert (low, high) == pytest.approx(tuple(np.percentile(plain, [2.5, 97.5])), abs=0.01)
    assert origins.interval(origins.paired(before, after), seed=0) == (low, high)
    wide = stats.wilson(0, 2)[1]  # no draw differs from another, and two items prove little
    assert origins.interval(origins.paired([1, 0], [1, 0]), seed=0) == (-wide, wide)
    assert origins.interval(origins.paired([1, 1], [0, 0]), seed=0) == (-1.0, wide - 1.0)
    assert origins.macro_interval([origins.paired([1, 0], [1, 0])] * 2, seed=0) == (0.0, -wide, wide)
    assert origins.share([1, 1, 1, 1], "aabb") == stats.wilson(2, 2), "variants of two questions count as two"


def test_paired_interval_refuses_other_items() -> None:
    with pytest.raises(ValueError, match="2 before and 1 after"):
        origins.paired([1, 0], [1])


def test_false_positives_stay_under_five_percent_and_intervals_cover() -> None:
    """2,000 comparisons of a model with itself: the exact test may be conservative, never generous."""
    rng = np.random.default_rng(0)
    n, false, covered = 300, 0, 0
    for trial in range(2_000):
        before, after = rng.random(n) < 0.7, rng.random(n) < 0.7
        fixed, broken = int((~before & after).sum()), int((before & ~after).sum())
        false += stats.mcnemar(fixed, broken) < 0.05
        if trial % 10 == 0:
            low, high = origins.interval(origins.paired(before, after), trial, 1_000)
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
    for items, share in ((1_200, 0.2), (60, 0.6)):  # Connor's equation; with few items the last term weighs
        d = stats.detectable(items, share)
        needed = stats.Z95 * np.sqrt(share) + stats.Z80 * np.sqrt(share - d * d)
        assert d == pytest.approx(needed / np.sqrt(items), rel=1e-6)
    assert stats.detectable(4 * n, changed) == pytest.approx(smallest / 2, rel=0.02)
    assert stats.detectable(20, 0.0) == 1.0
    assert stats.detectable(20, 0.05) == 1.0
    with pytest.raises(ValueError, match="n=0"):
        stats.detectable(0, 0.1)


def test_verdict_in_words() -> None:
    assert stats.verdict(0.05, 0.01) == "better"
    assert stats.verdict(-0.05, 0.01) == "worse"
    assert stats.verdict(0.0, None) == "baseline"
    shown = stats.verdict(0.01, 0.4, 0.023)
    assert shown == "no difference shown; the smallest these items reliably show is 2.3 points"
    assert stats.verdict(0.0, 1.0, 1.0) == "no difference shown; too few grades changed for any to show"
    assert stats.verdict(0.0, 1.0) == "no difference shown"


@pytest.mark.parametrize(("a", "n", "b", "m"), [(56, 70, 48, 80), (9, 10, 3, 10), (0, 10, 0, 20), (221, 300, 94, 126)])
def test_difference_of_two_groups_equals_statsmodels(a: int, n: int, b: int, m: int) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion", reason="statsmodels is not installed")
    expected = proportion.confint_proportions_2indep(a, n, b, m, method="newcomb")
    assert stats.difference(a, n, b, m) == pytest.approx(expected, abs=1e-9)
    assert stats.fisher(a, n, b, m) == pytest.approx(fisher_exact([[a, n - a], [b, m - b]]).pvalue)


def test_difference_with_an_empty_group_is_wide() -> None:
    low, high = stats.difference(3, 10, 0, 0)
    assert low < -0.2
    assert high > 0.2
    assert stats.fisher(3, 10, 0, 0) == 1.0


@pytest.mark.parametrize(("fixed", "broken"), [(0, 0), (3, 9), (20, 2), (150, 130)])
def test_mcnemar_equals_statsmodels(fixed: int, broken: int) -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables", reason="statsmodels is not installed")
    expected = tables.mcnemar([[50, broken], [fixed, 70]], exact=True).pvalue
    assert stats.mcnemar(fixed, broken) == pytest.approx(min(1.0, expected))


def test_holm_equals_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels is not installed")
    ps = np.random.default_rng(3).random(20) ** 3
    assert stats.holm(ps.tolist()) == pytest.approx(multitest.multipletests(ps, method="holm")[1])


def test_over_seeds_is_the_paired_t_test() -> None:
    a, b = np.array([0.93, 0.95, 0.92, 0.94, 0.96]), np.array([0.90, 0.93, 0.93, 0.91, 0.92])
    found, expected = stats.over_seeds((a - b).tolist()), ttest_rel(a, b)
    assert found["p"] == pytest.approx(expected.pvalue)
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected.confidence_interval()))
    assert np.isnan(stats.over_seeds([0.1])["p"])
    agreed = stats.over_seeds([-0.007, -0.007])  # two seeds that agree to the item by chance: no p of 0, no star
    assert agreed["sd"] == 0.0 and np.isnan(agreed["p"]) and np.isnan(agreed["low"])
    assert stats.over_seeds([0.0, 0.0])["p"] == 1.0


@pytest.mark.slow
def test_two_thousand_null_comparisons() -> None:
    """Two equal models on 1,200 items, 2,000 times: false positives at the level that the exact test really has, the
    bootstrap interval and the test over five seeds at 5 %."""
    rng, trials, n = np.random.default_rng(7), 2_000, 1_200
    counts = rng.multinomial(n, [0.05, 0.05, 0.9], trials)
    ps = np.array([stats.mcnemar(int(fixed), int(broken)) for fixed, broken, _ in counts])
    # the level of a discrete test is what its own distribution says, at most 5 %
    changed = counts[:, 0] + counts[:, 1]
    level = np.mean([_level(int(total)) for total in changed])
    error = 3 * np.sqrt(0.05 * 0.95 / trials)
    assert level <= 0.05
    assert abs((ps < 0.05).mean() - level) < error
    seeds = rng.normal(0, 0.01, (trials, 5))
    false = np.mean([stats.over_seeds(row.tolist())["p"] < 0.05 for row in seeds])
    assert abs(false - 0.05) < error
    draws = [rng.multinomial(n, row / n, 500) for row in counts]
    bounds = np.array([np.percentile(draw[:, 0] - draw[:, 1], [2.5, 97.5]) for draw in draws])
    assert abs(((bounds[:, 0] > 0) | (bounds[:, 1] < 0)).mean() - 0.05) < error + 0.01


@functools.cache
def _level(total: int) -> float:
    """The chance that McNemar's exact test rejects at 5 % when ``total`` items changed and nothing differs."""
    lowest = binom.ppf(0.025, total, 0.5)
    lowest = lowest if 2 * binom.cdf(lowest, total, 0.5) < 0.05 else lowest - 1
    return float(2 * binom.cdf(lowest, total, 0.5))


def test_macro_interval_weighs_benchmarks_alike() -> None:
    rng = np.random.default_rng(0)
    large, small = (rng.random(2_000) < 0.5, rng.random(2_000) < 0.5), (np.zeros(100, bool), np.ones(100, bool))
    parts = [origins.paired(*large), origins.paired(*small)]
    delta, low, high = origins.macro_interval(parts, seed=0)
    expected = ((large[1].mean() - large[0].mean()) + 1.0) / 2
    assert delta == pytest.approx(expected)
    assert low < delta < high
    assert origins.macro_interval(parts[:1], 1)[1:] == pytest.approx(origins.interval(parts[0], seed=1), abs=0.003)


# -- items that share an origin


def variants(rng: np.random.Generator, groups: int = 120, each: int = 8) -> origins.Paired:
    """Two equal models on ``each`` variants of a question: what one model knows better, it knows in all variants."""
    base, shift = rng.random(groups), rng.normal(0, 0.25, groups)
    old, new = np.clip(base + shift, 0, 1), np.clip(base - shift, 0, 1)
    origin = np.repeat(np.arange(groups), each)
    return origins.paired(rng.random(len(origin)) < old[origin], rng.random(len(origin)) < new[origin], origin.tolist())


def test_null_comparisons_of_clustered_items_keep_five_percent() -> None:
    """400 of the 2,000 simulated comparisons; counting variants as independent is wrong four times as often."""
    rng, trials = np.random.default_rng(12), 400
    false, naive, covered = 0, 0, 0
    for trial in range(trials):
        items = variants(rng)
        false += origins.p_value(items) < 0.05
        naive += stats.mcnemar(items.fixed, items.broken) < 0.05
        low, high = origins.interval(items, trial, 600) if trial % 4 == 0 else (0, 0)
        covered += low <= 0 <= high
    assert 0.02 < false / trials < 0.08
    assert naive / trials > 0.2
    assert (trials - covered) / (trials / 4) < 0.1
    assert items.test == "exact sign flips of 120 origins"


def test_origins_of_one_item_give_mcnemar() -> None:
    rng = np.random.default_rng(5)
    before, after = rng.random(250) < 0.6, rng.random(250) < 0.7
    items = origins.paired(before, after, [f"item {i}" for i in range(250)])
    assert items.test == "exact McNemar"
    assert origins.p_value(items) == stats.mcnemar(items.fixed, items.broken)
    flips = [1] * items.fixed + [-1] * items.broken
    assert origins.sign_flips(flips) == pytest.approx(stats.mcnemar(items.fixed, items.broken))
    assert origins.share(after) == stats.wilson(int(after.sum()), 250)
    assert origins.detectable(items) == pytest.approx(stats.detectable(250, float(np.mean(before != after))))


@pytest.mark.parametrize(
    ("sums", "p"), [([3, 3, -1], 4 / 8), ([2, 2, 2], 2 / 8), ([], 1.0), ([5], 1.0), ([1, -1], 1.0)]
)
def test_sign_flips_by_hand(sums: list[int], p: float) -> None:
    assert origins.sign_flips(sums) == pytest.approx(p)


def test_sign_flips_of_many_sizes_equal_their_enumeration() -> None:
    rng = random.Random(4)
    for n in (1, 2, 14):
        sums = [rng.randint(-999, 999) for _ in range(n)]
        far = [abs(sum(s * x for s, x in zip(signs, sums, strict=True))) for signs in product((1, -1), repeat=n)]
        assert origins.sign_flips(sums) == pytest.approx(
            sum(total >= abs(sum(sums)) for total in far) / 2**n, abs=1e-10
        )
    assert 0 < origins.sign_flips([7] * 60) < 1e-12


def test_copies_of_an_item_tell_nothing_new() -> None:
    """Every item eight times: interval, smallest effect and p as for the items once."""
    rng = np.random.default_rng(6)
    before, after = rng.random(200) < 0.5, rng.random(200) < 0.62
    once = origins.paired(before, after)
    eight = origins.paired(np.repeat(before, 8), np.repeat(after, 8), np.repeat(np.arange(200), 8).tolist())
    assert origins.p_value(eight) == pytest.approx(origins.p_value(once))
    assert origins.interval(eight, 0) == pytest.approx(origins.interval(once, 0), abs=0.01)
    assert origins.detectable(eight) == pytest.approx(origins.detectable(once), rel=0.03)
    repeated = origins.share(np.repeat(after, 8), np.repeat(np.arange(200), 8).tolist())
    assert repeated == pytest.approx(origins.share(after), abs=0.005)
    alone = origins.paired([1, 0, 1], [0, 0, 0], ["one"] * 3)
    assert (origins.p_value(alone), origins.interval(alone, 0)) == (1.0, (-1.0, 1.0)), "one origin tells nothing"
    assert origins.share([1, 0] * 10, ["one"] * 20) == stats.wilson(0.5, 1), "one origin counts as one"
    assert origins.detectable(origins.paired([1, 0] * 10, [0, 1, 1, 1] * 5, ["one"] * 20)) == 1.0


@pytest.mark.parametrize("count", [2, 3, 6])
def test_few_origins_are_not_surer_than_they_can_be(count: int) -> None:
    rng, held = np.random.default_rng(count), np.zeros(2)
    for trial in range(150):
        named, rates = np.repeat(np.arange(count), 10), np.repeat(rng.beta(4.5, 4.5, count), 10)
        before, after = rng.random(10 * count) < rates, rng.random(10 * count) < rates[::-1]
        low, high = origins.share(after, named.tolist())
        under, over = origins.interval(origins.paired(before, after, named.tolist()), trial, 500)
        held += [low <= 0.5 <= high, under <= 0 <= over]
    assert (held / 150 > 0.88).all(), f"95 % intervals of {count} origins hold the truth in {held / 150}"


def test_what_items_with_samples_would_show_agrees_with_their_test() -> None:
    rng = np.random.default_rng(0)
    before = rng.binomial(4, 0.5, 30) / 4
    items = origins.paired(before, np.clip(before + rng.choice([0, 0.25, 0.5], 30), 0, 1))
    difference = items.after - items.before
    assert origins.p_value(items) < 0.01 and items.delta > origins.detectable(items)
    assert origins.detectable(items) == pytest.approx(2.8 * math.sqrt((difference**2).mean() / 30), rel=0.25)


def test_samples_of_an_item_are_one_item() -> None:
    shares = origins.paired([0.25, 0.5, 1.0, 0.0], [0.75, 0.5, 0.75, 1.0])
    assert (shares.fixed, shares.broken, shares.delta) == (2, 1, pytest.approx(0.3125))
    assert origins.p_value(shares) == pytest.approx(origins.sign_flips([2, -1, 4]))
    seven_and_ten = origins.paired([5 / 7, 4 / 7, 5 / 7, 6 / 7], [0.8, 0.5, 0.7, 0.9])  # in seventieths: 6, -5, -1, 3
    assert origins.p_value(seven_and_ten) == pytest.approx(origins.sign_flips([6, -5, -1, 3]))
    low, high = origins.share([0.5] * 40)
    assert high - low < 0.31, "forty items half right are surer than forty coins"


def test_pass_at_k_and_majority() -> None:
    assert origins.pass_at(1, 10, 3) == pytest.approx(0.3)
    assert origins.pass_at(5, 10, 3) == pytest.approx(1 - 21 / 252)
    assert origins.pass_at(10, 10, 1) == 1.0
    with pytest.raises(ValueError, match="pass@5 of 4 samples"):
        origins.pass_at(5, 4, 1)
    assert origins.majority(["7", "8", "8", None, None], [True, False, False, False, False]) is False
    assert origins.majority(["8", "7", "7", "8"], [True, False, False, True]) is True
    assert origins.majority([None], [False]) is False


def test_a_difference_of_nothing_has_no_sign_of_less() -> None:
    assert stats.percent(-0.0001, -0.0004, 0.0004, sign="+") == "+0.0 [+0.0, +0.0]"
    assert stats.percent(-0.0006, sign="+") == "-0.1"
