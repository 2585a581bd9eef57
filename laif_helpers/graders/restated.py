"""Tells whether a sentence says its question again with an answer in it: "Hamlet was written by William Shakespeare."

Only words of the question, and words that name nothing, may stand beside the answer, which must have the place that the
question leaves open: "The Bears beat the Packers." does not say that the Packers beat the Bears.
"""

import re

from laif_helpers.graders.languages import TABLE

_PLAIN = frozenset(TABLE["plain words"].split())
"""Words that name nothing; signs of scripts without spaces count one by one."""
_SIGN = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]|(?:[^\W_]|[\u0900-\u0dff])+(?:['’]t)?")
_ASKS = re.compile(r"\b(?:who|whom|what|which|where|when|how|why)\b(.*)", re.DOTALL)
_AUXILIARY = re.compile(r"\b(?:do|does|did|ha[sd]|have|can|could|will|would|should)\b")
_COPULA = re.compile(r"\b(?:is|are|was|were|where|when)\b")
_BY = re.compile(
    r"\b(?:is|are|was|were|been|été|fut|fue|sido|foi|stat[oaie])(?: \w+ly)? \w+(?: (?:in|on|around) [\w ]{1,20})?"
    r" (?:by|par|por|da|pel[oa]) (?:the )?\Z"
)
_CUT = re.compile(
    r",? (?:with|during|around|in|on|at|after|before|for|since|because|as) |,? (?:which|who|where|when)\b|[;(—]"
)
_PLACE = re.compile(r"\b(?:where|city|town|capital|village|born|located)\b")
_WITHIN = re.compile(r", [A-Z][\w .'-]+")
_ELSE = re.compile(r"\b(?:or|not|never|nor|maybe|perhaps|no)\b|n['’]t\b|\?")


def restates(wanted: str, sentence: str, question: str) -> bool:
    """Whether ``sentence`` answers ``question`` by ``wanted`` and says nothing else."""
    asked, wanted = question.casefold(), wanted.strip(" .").casefold().removeprefix("the ")
    sentence = re.sub(r"[*`\"“”]", "", sentence)
    place = re.search(rf"(?<![^\W_\u3040-\u9fff]){re.escape(wanted)}(?![^\W_\u3040-\u9fff]|['’]s)", sentence.casefold())
    if not place or wanted in asked or _ELSE.search(sentence.casefold()):
        return False
    before, after = sentence[: place.start()].casefold(), sentence[place.end() :].strip(" .!*\"'”`。")
    if _PLACE.search(asked) and _WITHIN.fullmatch(after):  # "Paris, France"
        after = ""
    cut = _CUT.search(f" {after}")
    after = after[: max(0, cut.start() - 1)] if cut else after
    by = _BY.search(before)
    sides = [_words(before[: by.start()] if by else before), _words(after.casefold())]
    known = _words(asked)
    if not asked or not all(any(map(word.startswith, _stems(known))) for side in sides for word in side):
        return False
    tail = found[1] if (found := _ASKS.search(asked)) else ""
    if by or _COPULA.search(asked) or not tail:
        return True
    return not (sides[1] if _AUXILIARY.search(tail) else sides[0])


def on_topic(predicate: str, question: str) -> bool:
    """Whether a predicate has a word of the question, if that has any: "Tom is shorter." for "Who is taller?"."""
    known = _stems(_words(question.casefold()))
    return not known or any(map(predicate.startswith, known)) or any(f" {stem}" in predicate for stem in known)


def _words(text: str) -> list[str]:
    return [word for word in _SIGN.findall(text) if word not in _PLAIN]


def _stems(words: list[str]) -> list[str]:
    """ "scor" of scored, "open" of opens: what words of one kind begin with."""
    return [word if len(word) < 4 else word[: max(3, len(word) - 3)] for word in words]
