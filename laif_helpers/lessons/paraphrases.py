"""Finds lessons that repeat a test question in other words, by the similarity of vectors and equal numbers."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from laif_helpers import benchmarks, embeddings
from laif_helpers.graders.numbers import NUMERALS
from laif_helpers.lessons import families
from laif_helpers.lessons.text import numbers, words

if TYPE_CHECKING:
    import numpy as np

SIMILARITY = 0.8
"""Cosine of two questions on the same numbers from which one tells the other in other words. Measured with minilm on
GSM-Plus' rewordings of GSM8K's test (docs/LOG.md)."""


@dataclass(frozen=True)
class Paraphrases:
    """The test questions, as vectors. ``questions``: (benchmark:id, text).

    TF-IDF knows words, not meanings, and a template's words are the same in every item; the mean of BERT's vectors
    finds any two questions alike. These two judge only if a threshold is set.
    """

    questions: Sequence[tuple[str, str]]
    embedding: str = "tfidf"
    threshold: float = 0.0
    cache: Path | None = None

    @property
    def active(self) -> bool:
        coarse = self.embedding == "tfidf" or self.embedding.startswith("bert-mean")
        return bool(self.questions) and (not coarse or self.threshold > 0)

    def closest(self, asked: Sequence[str], family: str) -> list[tuple[str, float]]:
        """(test item's name, cosine) for each question; ("", 0.0) if none is similar enough.

        Math questions are compared with those on the same numbers alone, since a problem with other numbers is
        another problem; only those few are embedded.
        """
        found = [("", 0.0)] * len(asked)
        by_numbers = families.get(family).by_numbers
        groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for at, (name, text) in enumerate(self.questions):
            if benchmarks.get(name.partition(":")[0]).family == family:
                groups[_numbers(text) if by_numbers else ()].append(at)
        members: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for at, text in enumerate(asked):
            if (key := _numbers(text) if by_numbers else ()) in groups:
                members[key].append(at)
        if not self.active or not members:
            return found
        own, theirs = self._vectors(asked, [*chain(*members.values())], [*chain(*(groups[key] for key in members))])
        for key, rows in members.items():
            tests = groups[key]
            best, distance = embeddings.nearest(own[: len(rows)], theirs[: len(tests)], 1)
            own, theirs = own[len(rows) :], theirs[len(tests) :]
            for row, which, far in zip(rows, best[:, 0], distance[:, 0], strict=True):
                if (cosine := 1 - float(far) ** 2 / 2) >= (self.threshold or SIMILARITY):
                    found[row] = self.questions[tests[which]][0], cosine
        return found

    def _vectors(
        self, asked: Sequence[str], rows: Sequence[int], tests: Sequence[int]
    ) -> tuple["np.ndarray", "np.ndarray"]:
        """Vectors of these lessons' questions, and of these test questions."""
        questions = [text for _, text in self.questions]
        texts = [*(asked[row] for row in rows), *(questions[test] for test in tests)]
        vectors = embeddings.embed(texts, self.embedding, fit_on=questions, cache=self.cache)
        return vectors[: len(rows)], vectors[len(rows) :]


def _numbers(text: str) -> tuple[str, ...]:
    """The numbers that a question and its rewording share, as a set: words for digits, repeats, and 1 and 2, which
    are said as ``both``, ``a pair``, ``once``, may differ (86 % of GSM-Plus' rewordings agree; 76 % as a multiset)."""
    found = numbers([NUMERALS.get(word, word) for word in words(text)])
    return tuple(sorted({number.rstrip("0").rstrip(".") if "." in number else number for number in found} - {"1", "2"}))
