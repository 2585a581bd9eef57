"""Finds the option that a response names by its words: alone, with its letter beside it, or inside a sentence."""

import re

from laif_helpers.graders.choice_patterns import normal, spaced

_PREDICATE = (
    r"(?:=|\b(?:is|are|be|was|called)(?: more| most| likely| typically| usually| generally| associated with)*:?) ?"
    r"(?:the |a |an )?"
)


def with_label(text: str, options: dict[str, str]) -> list[str]:
    """Options that stand with their letter beside them: "D. Agriculture", "a liverwort (B)"."""
    whole, found = spaced(text), []
    for label, option in options.items():
        words, mark = re.escape(normal(option)), re.escape(label.casefold())
        if re.search(rf"(?<!\w)\(?{mark}\s?[.):]+ {words}(?!\w)|(?<!\w){words}\W? \((?:option )?{mark}\)", whole):
            found.append(label)
    return found


def whole_text(text: str, options: dict[str, str]) -> str | None:
    """The option that is the whole response, or what its last equation equals."""
    wanted = {normal(text), normal(text.strip().rsplit("\n", 1)[-1].rpartition("=")[2])}
    fitting = [label for label, option in options.items() if normal(option) in wanted]
    return fitting[0] if len(fitting) == 1 else None


def options_named(text: str, options: dict[str, str], predicate: bool) -> list[str]:
    """Options whose text occurs; with ``predicate`` only right behind "is", "are", "called" and the like.

    A bare number or one letter is too common a word to count elsewhere. "increase" inside "large increase" does not
    count if both are options.
    """
    whole = spaced(text)
    spans: dict[str, list[tuple[int, int]]] = {}
    for label, option in options.items():
        words = normal(option)
        common = len(words) < 3 or re.fullmatch(r"[-\d.,]+", words) is not None
        if words and (predicate or not common):
            before = _PREDICATE if predicate else ""
            after = r"(?!\w)(?![.,-]\w)" + (r"(?! ?[-/*+^(=])" if common else "")
            pattern = rf"{before}(?<!\w)(?<!\w[-.])(?P<words>{re.escape(words)}){after}"
            spans[label] = [match.span("words") for match in re.finditer(pattern, whole)]
    taken = [span for places in spans.values() for span in places]
    return [label for label, places in spans.items() if any(not _within(span, taken) for span in places)]


def _within(span: tuple[int, int], taken: list[tuple[int, int]]) -> bool:
    return any(start <= span[0] and span[1] <= end and (start, end) != span for start, end in taken)


_ARTICLES = ("that ", "the ", "a ", "an ")


def _opens(text: str, words: str) -> bool:
    """Whether ``text`` begins with these whole words."""
    following = text[len(words) : len(words) + 1]
    return text.startswith(words) and not (following.isalnum() or following == "_")


def starts_with(text: str, options: dict[str, str]) -> str | None:
    """The label of the longest option that ``text`` begins with."""
    start = normal(text)
    starts = [start, *(start.removeprefix(word) for word in _ARTICLES if start.startswith(word))]
    fitting = [
        (len(words), label)
        for label, option in options.items()
        if (words := normal(option)) and any(_opens(begin, words) for begin in starts)
    ]
    fitting.sort(reverse=True)
    if not fitting or (len(fitting) > 1 and fitting[0][0] == fitting[1][0]):
        return None
    return fitting[0][1]
