"""Computes paired statistics of items that share an origin: variants of one question, or several samples of one item.

Such items are no independent draws. Everything here takes the *origin* as the unit: whole origins are drawn by the
bootstrap and change sign in the test. If every item is an origin of its own, the results are those of ``stats``.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from laif_helpers import stats

MCNEMAR = "exact McNemar"


@dataclass(frozen=True)
class Paired:
    """The same items answered twice. ``before``, ``after``: shares of right answers, one for each item."""

    before: np.ndarray
    after: np.ndarray
    origins: np.ndarray
    """Number of the origin of each item, 0, 1, …"""

    @property
    def count(self) -> int:
        """Origins: the independent units."""
        return int(self.origins.max()) + 1 if len(self.origins) else 0

    @property
    def independent(self) -> bool:
        """Every item is its own origin and has one answer: the plain tests of counts hold."""
        whole = np.isin(self.before, (0.0, 1.0)).all() and np.isin(self.after, (0.0, 1.0)).all()
        return self.count == len(self.origins) and bool(whole)

    @property
    def delta(self) -> float:
        return float((self.after - self.before).mean())

    @property
    def fixed(self) -> int:
        """Items whose share of right answers rose."""
        return int((self.after > self.before).sum())

    @property
    def broken(self) -> int:
        return int((self.after < self.before).sum())

    @property
    def test(self) -> str:
        """The name of the test behind ``p_value``."""
        return MCNEMAR if self.independent else f"exact sign flips of {self.count:,} origins"

    def sums(self, values: np.ndarray) -> np.ndarray:
        """``values`` of the items, summed over each origin."""
        return np.bincount(self.origins, weights=values, minlength=self.count)


def paired(before: Sequence[Any], after: Sequence[Any], origins: Sequence[Hashable] | None = None) -> Paired:
    """``before``, ``after``: right or not (or a share of right samples) for each item, the same order; ``origins``:
    what each item comes from, by default itself. Raises ValueError when the lengths differ or are 0.
    """
    old, new = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    if old.shape != new.shape or old.size == 0:
        raise ValueError(f"paired: needs the same items twice, got {old.size} before and {new.size} after")
    numbers: dict[Hashable, int] = {}
    named = range(old.size) if origins is None else origins
    return Paired(old, new, np.array([numbers.setdefault(origin, len(numbers)) for origin in named]))


def share(values: Sequence[Any], origins: Sequence[Hashable] | None = None) -> tuple[float, float]:
    """95 % interval of a mean of shares: Wilson's for as many independent items as the origins are worth."""
    items = paired(values, values, origins)
    mean, n = float(items.after.mean()), len(items.after)
    if items.independent:
        return stats.wilson(round(mean * n), n)
    alone = mean * (1 - mean) * n  # all right or all wrong: nothing says how alike items of one origin are
    worth = _worth(items, items.after, alone) if alone > 0 else items.count
    return stats.wilson(mean * worth, worth)


def interval(items: Paired, seed: int, resamples: int = 10_000) -> tuple[float, float]:
    """95 % percentile interval of the mean difference by the paired bootstrap: whole origins are drawn.

    One origin alone gives no information about others: (-1, 1).
    """
    if items.count < 2:
        return -1.0, 1.0
    return _bounds(_resampled(items, np.random.default_rng(seed), resamples), [items])


def macro_interval(benchmarks: Sequence[Paired], seed: int, resamples: int = 10_000) -> tuple[float, float, float]:
    """Mean over benchmarks of their differences, each counting alike, and its 95 % percentile bootstrap interval:
    origins are drawn within their own benchmark. Returns (delta, low, high).
    """
    rng = np.random.default_rng(seed)
    draws = np.mean([_resampled(items, rng, resamples) for items in benchmarks], axis=0)
    return sum(items.delta for items in benchmarks) / len(benchmarks), *_bounds(draws, benchmarks)


def _bounds(draws: np.ndarray, drawn: Sequence[Paired]) -> tuple[float, float]:
    """The middle 95 % of ``draws``. Where all items changed alike, no draw differs from another; what so few origins do
    not exclude is then Wilson's bound of a share of which none was met."""
    low, high = map(float, np.percentile(draws, [2.5, 97.5]))
    wide = np.mean([stats.wilson(0, items.count)[1] for items in drawn]) if np.ptp(draws) < 1e-12 else 0.0
    return max(-1.0, low - float(wide)), min(1.0, high + float(wide))


def _resampled(items: Paired, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """Mean differences of ``resamples`` draws of the origins, with replacement."""
    if items.independent:  # drawing items draws counts of fixed and broken: the same at a cost that does not grow
        n, fixed, broken = len(items.after), items.fixed, items.broken
        counts = rng.multinomial(n, [fixed / n, broken / n, 1 - (fixed + broken) / n], resamples)
        return (counts[:, 0] - counts[:, 1]) / n
    sums, sizes = items.sums(items.after - items.before), items.sums(np.ones(len(items.after)))
    means = []
    for start in range(0, resamples, 500):  # 500 draws at a time: 20 MB if there are 5,000 origins
        drawn = rng.integers(0, items.count, (min(500, resamples - start), items.count))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    spread = _students(items.count) * math.sqrt(items.count / (items.count - 1)) if items.count > 1 else 1.0
    return items.delta + (np.concatenate(means) - items.delta) * spread


def p_value(items: Paired) -> float:
    """Two-sided p of no difference: exact McNemar for independent items, else the exact test that flips the sign of
    each origin's difference (Fisher's randomisation test; with origins of one item it *is* McNemar's).
    """
    if items.independent:
        return stats.mcnemar(items.fixed, items.broken)
    steps = np.rint(items.sums((items.after - items.before) * _denominator(items))).astype(int)
    return sign_flips(steps[steps != 0].tolist())


def tested(items: Paired, seed: int) -> dict[str, Any]:
    """All that a table says of a difference: counts of changed items, delta with its interval, p, the smallest
    difference that these items would show, and the test's name."""
    low, high = interval(items, seed)
    row = {"fixed": items.fixed, "broken": items.broken, "delta": items.delta, "delta_low": low, "delta_high": high}
    return row | {"p_value": p_value(items), "detectable": detectable(items), "test": items.test}


def _denominator(items: Paired) -> int:
    """A number that turns all shares into whole numbers: 1, the number of samples, the least common multiple of two
    numbers of samples; 1,000 if the test would become slow with it."""
    shares = np.unique(np.concatenate([items.before, items.after])).tolist()
    exact = math.lcm(*(Fraction(share).limit_denominator(1_000).denominator for share in shares))
    return exact if exact * len(items.before) <= 10**6 else 1_000


def sign_flips(sums: Sequence[int]) -> float:
    """Share of all sign patterns whose total is at least as far from 0 as that of ``sums``.

    Exact but for rounding (1e-12): the distribution of the total is the inverse Fourier transform of its characteristic
    function, the product of the cosines of all sums. Convolving them takes a minute if items have many samples.
    """
    from scipy.fft import irfft, next_fast_len

    total, length = abs(sum(sums)), next_fast_len(2 * sum(map(abs, sums)) + 1, real=True)
    cosines, at = np.cos(2 * np.pi / length * np.arange(length)), np.arange(length // 2 + 1)
    waves = np.ones(len(at))
    for size, times in Counter(map(abs, sums)).items():
        waves *= cosines[size * at % length] ** times
    share = float(irfft(waves, length)[total : length - total + 1].sum())  # totals below 0 stand at the end
    return min(1.0, max(share, 2.0 ** (1 - max(1, len(sums)))))


def detectable(items: Paired) -> float:
    """``stats.detectable`` for as many independent items as the origins are worth."""
    difference = items.after - items.before
    changed = float(np.abs(difference).mean())
    if items.independent or not changed:
        return stats.detectable(len(difference), changed)
    # As many whole answers as have the same variance: a share that changes by a half varies less than they do.
    worth = _worth(items, difference, float(((difference - difference.mean()) ** 2).sum()))
    return stats.detectable(worth * changed / float(np.mean(difference**2)), changed)


def _worth(items: Paired, values: np.ndarray, alone: float) -> float:
    """As how many independent items the mean of ``values`` counts (Kish); fewer for few origins (Korn, Graubard 1998).

    ``alone``: the sum of squares that independent items would have. Items with several samples can be worth more.
    """
    n = len(values)
    off = items.sums(values) - values.mean() * items.sums(np.ones(n))
    worth = min(n * alone / max(float((off**2).sum()), 1e-12) if alone > 0 else n, n * _denominator(items))
    return worth / _students(items.count) ** 2 if items.count > 1 else 1.0


def _students(count: int) -> float:
    """How much wider Student's 95 % interval of ``count`` origins is than the normal one."""
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, 0.975)) / stats.Z95


# -- several samples of one item


def pass_at(k: int, n: int, right: int) -> float:
    """The chance that k of an item's n samples hold a right one, unbiased (Chen et al. 2021, HumanEval).

    Raises ValueError unless 0 <= right <= n and 1 <= k <= n.
    """
    if not (0 <= right <= n and 1 <= k <= n):
        raise ValueError(f"pass@{k} of {n} samples, {right} right: k must lie between 1 and the number of samples")
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def majority(answers: Sequence[str | None], right: Sequence[bool]) -> bool:
    """Whether the answer given most often is right; of two given equally often the one given first counts. Samples that
    could not be read (None) do not vote.
    """
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return False
    chosen = votes.most_common(1)[0][0]
    return bool(right[list(answers).index(chosen)])
