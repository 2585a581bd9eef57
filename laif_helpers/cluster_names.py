"""Names each cluster by its most distinctive words, and joins clusters whose first word is the same."""

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from laif_helpers.embeddings import unspaced, words

if TYPE_CHECKING:
    import pandas as pd

_LITTLE = (
    "0 a all also an and any are as at be been but by did do does for from had has have he her him his how i if in is "
    "it its much not of on or s she so some than that the their them then there these they this those to was we were "
    "what when where which who will with would you your"
)
TERMS = 3
"""In a name, at most."""
_OTHERS: dict[str, str] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
FUNCTION_WORDS = frozenset(" ".join([_LITTLE, *_OTHERS.values()]).split())
"""Words that name nothing; a cluster's name is made of terms that hold another word."""


def merged(points: "pd.DataFrame") -> np.ndarray:
    """The column ``cluster`` with clusters of one leading word made one, numbered by size, the largest first.

    Dense places are often the phrasings of one weakness: three ways to say "dozen" ask for the same lesson.
    """
    leading = {number: _content(title.split(",")[0]) for number, title in name(points).items()}
    keys = points["cluster"].map(lambda number: "|".join(sorted(leading.get(number, ()))))
    sizes = keys[keys != ""].value_counts(sort=False)
    ranks = {key: rank for rank, key in enumerate(sizes.sort_values(ascending=False, kind="stable").index)}
    return keys.map(lambda key: ranks.get(key, -1)).to_numpy(dtype=int)


def name(points: "pd.DataFrame") -> dict[int, str]:
    """A name for every cluster: the words and word pairs that mark it off from all other items, right ones too.

    A class-based TF-IDF (after Grootendorst 2022): the share of the cluster's items that hold a term, times the
    logarithm of how many times larger that is than the term's share in all other items.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    count = int(points["cluster"].max()) + 1
    if count == 0:
        return {}
    vectorizer = CountVectorizer(tokenizer=words, token_pattern=None, lowercase=False, ngram_range=(1, 2), binary=True)
    try:
        matrix = vectorizer.fit_transform(points["question"])
    except ValueError:  # no text holds a word
        return dict.fromkeys(range(count), "(no words)")
    vocabulary = vectorizer.get_feature_names_out()
    named = persons(points)
    speaking = np.array([not named & set(term.split()) for term in vocabulary])
    names = {}
    for number in range(count):
        inside = (points["cluster"] == number).to_numpy()
        within, outside = (np.asarray(matrix[rows].mean(axis=0)).ravel() for rows in (inside, ~inside))
        # One per cent is added to both shares, so that a term met twice does not win by being rare.
        weights = within * np.log((within + 0.01) / (outside + 0.01))
        names[number] = _top_terms(vocabulary, np.where(speaking, weights, 0))
    return names


def persons(points: "pd.DataFrame") -> set[str]:
    """Words that name a person in a question, in lower case: always written with a capital, and spread over clusters.

    A capital word stays if a cluster is about it: it has most of the word's mentions, in half of its items or more.
    """
    small: set[str] = set()
    mentions: dict[str, Counter[int]] = {}
    for question, number in zip(points["question"], points["cluster"], strict=True):
        for word in set(re.findall(r"[^\W\d_]+", question)):
            if word.istitle():
                mentions.setdefault(word.lower(), Counter())[int(number)] += 1
            else:
                small.add(word.lower())
    sizes = Counter(points["cluster"].tolist())

    def topic(counts: Counter[int]) -> bool:
        number, most = counts.most_common(1)[0]
        return number >= 0 and 2 * most > counts.total() and 2 * most >= sizes[number]

    return {word for word, counts in mentions.items() if word not in small and not topic(counts)}


def _top_terms(vocabulary: np.ndarray, weights: np.ndarray) -> str:
    """The heaviest terms that say something and share no such word with a heavier one."""
    chosen: list[str] = []
    used: set[str] = set()
    for index in np.argsort(-weights, kind="stable")[:200]:
        parts = _content(vocabulary[index])
        if weights[index] > 0 and parts and not parts & used:
            term = vocabulary[index].removeprefix("0 ").removesuffix(" 0")
            first, _, second = term.partition(" ")
            # a pair of overlapping character pairs is the three characters that they are
            overlap = second and unspaced(first) and first[-1] == second[0]
            chosen.append(first + second[1:] if overlap else term)
            used |= parts
        if len(chosen) == TERMS:
            break
    return ", ".join(chosen) or "(no words)"


def _content(term: str) -> set[str]:
    """The parts of a term that name something: its words, or its characters where a script has no spaces."""
    parts = [word for word in term.split() if len(word) > 1]
    if any(unspaced(word) and FUNCTION_WORDS & {word, *word} for word in parts):
        return set()
    return {part for word in parts for part in (word if unspaced(word) else [word])} - FUNCTION_WORDS
