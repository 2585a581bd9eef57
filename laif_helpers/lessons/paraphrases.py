"""Finds lessons that repeat a test question in other words, by the similarity of vectors and equal numbers."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from laif_helpers import benchmarks
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
        groups = self._groups(family)
        keys = [_key(text, family) for text in asked]
        mine = [at for at, key in enumerate(keys) if key in groups]
        found = [("", 0.0)] * len(asked)
        if not self.active or not mine:
            return found
        own, theirs = self._vectors([asked[at] for at in mine], groups, {keys[at] for at in mine})
        members: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for row, at in enumerate(mine):
            members[keys[at]].append(row)
        for key, rows in members.items():
            best, cosine = _best(own[rows], theirs[key])
            for row, which, close in zip(rows, best, cosine, strict=True):
                if close >= (self.threshold or SIMILARITY):
                    found[mine[row]] = self.questions[groups[key][which]][0], float(close)
        return found

    def _groups(self, family: str) -> dict[tuple[str, ...], list[int]]:
        """The family's test questions, those that a question of theirs may be compared with together."""
        groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for at, (name, text) in enumerate(self.questions):
            if benchmarks.get(name.partition(":")[0]).family == family:
                groups[_key(text, family)].append(at)
        return dict(groups)

    def _vectors(
        self, asked: Sequence[str], groups: dict[tuple[str, ...], list[int]], keys: set[tuple[str, ...]]
    ) -> tuple["np.ndarray", dict[tuple[str, ...], "np.ndarray"]]:
        """Vectors of the lessons' questions, and of the test questions of every group needed."""
        from laif_helpers import embeddings

        tests = [text for _, text in self.questions]
        wanted = sorted({at for key in keys for at in groups[key]})
        texts = [*asked, *(tests[at] for at in wanted)]
        vectors = embeddings.embed(texts, self.embedding, fit_on=tests, cache=self.cache)
        place = {at: len(asked) + i for i, at in enumerate(wanted)}
        return vectors[: len(asked)], {key: vectors[[place[at] for at in groups[key]]] for key in keys}


def _best(own: "np.ndarray", theirs: "np.ndarray") -> tuple["np.ndarray", "np.ndarray"]:
    """The nearest test question of each row, and its cosine."""
    from laif_helpers import embeddings

    nearest, distance = embeddings.nearest(own, theirs, 1)
    return nearest[:, 0], 1 - distance[:, 0] ** 2 / 2


def _key(text: str, family: str) -> tuple[str, ...]:
    return _numbers(text) if families.get(family).by_numbers else ()


def _numbers(text: str) -> tuple[str, ...]:
    """The numbers that a question and its rewording share, as a set: words for digits, repeats, and 1 and 2, which
    are said as ``both``, ``a pair``, ``once``, may differ (86 % of GSM-Plus' rewordings agree; 76 % as a multiset)."""
    found = numbers([NUMERALS.get(word, word) for word in words(text)])
    return tuple(sorted({number.rstrip("0").rstrip(".") if "." in number else number for number in found} - {"1", "2"}))
