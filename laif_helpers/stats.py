"""Computes the statistics behind every verdict: intervals, paired tests, and what a test set can show at all.

Shares are fractions in [0, 1] throughout; tables turn them into percent when they print them.
"""

import math
from collections.abc import Sequence

Z95 = 1.959963984540054
"""97.5 % quantile of the normal distribution: half-width of a two-sided 95 % interval in standard errors."""

Z80 = 0.8416212335729143
"""80 % quantile: the power that the smallest detectable effect is stated for."""


def wilson(correct: float, n: float) -> tuple[float, float]:
    """95 % Wilson score interval of a share (Wilson 1927). ``n == 0`` knows nothing: (0, 1). Counts may be fractions,
    as they are for items that share an origin (``origins.share``).

    Raises ValueError unless 0 <= correct <= n.
    """
    if not 0 <= correct <= n:
        raise ValueError(f"wilson: {correct} correct of {n}; correct must lie between 0 and n")
    if n == 0:
        return 0.0, 1.0
    share, z2 = correct / n, Z95 * Z95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At 0 and n the bound is exactly 0 or 1; rounding would leave 1e-17.
    return (0.0 if correct == 0 else centre - half), (1.0 if correct == n else centre + half)


def mcnemar(fixed: int, broken: int) -> float:
    """Two-sided exact McNemar test: p of so uneven a split of the items whose grade changed (McNemar 1947).

    ``fixed``: wrong before, right after; ``broken``: the reverse. No item changed: 1.0.
    """
    if fixed < 0 or broken < 0:
        raise ValueError(f"mcnemar: counts must not be negative (fixed {fixed}, broken {broken})")
    if fixed + broken == 0:
        return 1.0
    from scipy.special import bdtr

    # Both tails of a symmetric binomial are alike; scipy's binomtest gives the same, thirty times slower.
    return min(1.0, 2 * float(bdtr(min(fixed, broken), fixed + broken, 0.5)))


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (Holm 1979), in the order given; None and NaN (no test) stay as they are."""
    tested = [index for index, p in enumerate(ps) if p is not None and not math.isnan(p)]
    tested.sort(key=lambda index: ps[index] or 0.0)
    adjusted, highest = list(ps), 0.0
    for rank, index in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * float(ps[index] or 0.0)))
        adjusted[index] = highest
    return adjusted


def difference(first: int, of_first: int, second: int, of_second: int) -> tuple[float, float]:
    """95 % interval of first/of_first - second/of_second for two *different* groups of items.

    Newcombe's hybrid score interval (1998, method 10): Wilson's bounds of both shares, squared and added. A group
    of no items knows nothing: the interval is then as wide as the other group leaves it.
    """
    shares = [count / n if n else 0.5 for count, n in ((first, of_first), (second, of_second))]
    (low1, high1), (low2, high2) = wilson(first, of_first), wilson(second, of_second)
    gap = shares[0] - shares[1]
    below = math.hypot(shares[0] - low1, high2 - shares[1])
    above = math.hypot(high1 - shares[0], shares[1] - low2)
    return gap - below, gap + above


def fisher(first: int, of_first: int, second: int, of_second: int) -> float:
    """Two-sided p of Fisher's exact test that two groups of items share one rate; 1.0 if a group is empty."""
    from scipy.stats import fisher_exact

    table = [[first, of_first - first], [second, of_second - second]]
    return float(fisher_exact(table).pvalue) if of_first and of_second else 1.0


def over_seeds(differences: Sequence[float]) -> dict[str, float]:
    """Differences of one comparison, one per seed: n, mean, sd (n - 1), 95 % interval low and high, p.

    The paired t-test over seeds (``scipy.stats.ttest_1samp`` of the differences against 0): the seed is the unit,
    so it says whether the next seed would show it too. One seed has no spread: sd, bounds and p are NaN. So are bounds
    and p of seeds that agree to the item: accuracies are counts, and two seeds agree by chance. All 0: p is 1.
    """
    import numpy as np
    from scipy.stats import ttest_1samp

    values = np.asarray(differences, dtype=float)
    n, mean = len(values), float(values.mean()) if len(values) else math.nan
    found = {"n": float(n), "mean": mean} | dict.fromkeys(("sd", "low", "high", "p"), math.nan)
    if n < 2:
        return found
    sd = float(values.std(ddof=1))
    if sd < 1e-12:
        return found | {"sd": 0.0, "p": 1.0 if abs(mean) < 1e-12 else math.nan}
    test = ttest_1samp(values, 0.0)
    low, high = map(float, test.confidence_interval(0.95))
    return found | {"sd": sd, "low": low, "high": high, "p": float(test.pvalue)}


def detectable(n: float, changed: float) -> float:
    """Smallest true difference that a paired test on n items shows 4 times in 5 (alpha 5 %, power 80 %).

    ``changed``: share of items whose grade changes either way, as observed. Connor (1987): solves
    d = (z_alpha sqrt(c) + z_power sqrt(c - d²)) / sqrt(n). Never more than ``changed`` itself can give: where
    even one-sided change would not show, 1.0 is returned. At ``changed == 0`` nothing can be estimated: 1.0.
    """
    if n <= 0 or not 0 <= changed <= 1:
        raise ValueError(f"detectable: n must be positive and changed a share, got n={n}, changed={changed}")
    if changed == 0 or changed * n < Z95**2:
        return 1.0
    found = Z95 * math.sqrt(changed * n) + Z80 * math.sqrt(changed * (n - Z95**2 + Z80**2))
    return min(changed, found / (n + Z80**2))


def percent(share: float, *interval: float, sign: str = "", digits: int = 1, unit: str = "") -> str:
    """A share in per cent, with its interval if that is given: ``86.1 [84.0, 88.0]``. ``sign`` "+": a difference."""
    shown, *ends = (f"{100 * value:{sign}z.{digits}f}" for value in (share, *interval))
    return f"{shown}{unit} [{', '.join(ends)}]" if ends else shown + unit


def verdict(delta: float, p_holm: float | None, smallest: float | None = None) -> str:
    """A paired test in words: better, worse or no difference shown, with the least that its items would show.

    ``smallest``: what ``detectable`` says, a share; 1.0 if so few grades changed that nothing could show.
    """
    if p_holm is None or math.isnan(p_holm):
        return "baseline"
    if p_holm < 0.05:
        return "better" if delta > 0 else "worse"
    if smallest is None:
        return "no difference shown"
    if smallest >= 1:
        return "no difference shown; too few grades changed for any to show"
    return f"no difference shown; the smallest these items reliably show is {100 * smallest:.1f} points"
