"""Finds the number of a response that is its answer: statements first, else the conclusion's last number."""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from laif_helpers.graders import fields, latex
from laif_helpers.graders.conclusion import choose, dozens_counted, in_asked_scale, settled, without_reason
from laif_helpers.graders.languages import CONCLUDES, english, small_words
from laif_helpers.graders.numbers import NONE, NUMBER, Number, equal, numbers, plain, shares
from laif_helpers.graders.separators import with_point
from laif_helpers.graders.turns import TAKEN_BACK, own_turn
from laif_helpers.graders.unanswerable import NO_ANSWER, UNANSWERABLE, UNKNOWN, denies
from laif_helpers.graders.units import in_unit, unit_of
from laif_helpers.records import Grade

TAIL = 8000  # characters at the end of a text that are read: the answer stands there, and no text makes it slow
MOST_STATEMENTS = 100  # the last ones of each kind: a model that loops states its answer a thousand times

_HASHES = re.compile(r"####[ \t]*(?:\n[ \t]*)?(.*)")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\}){1,200})\}")
_LINE = re.compile(  # "A: 10" before "B: 5" is a variable
    r"^[ \t*_>#]*(?:A(?!:[^\n]*\n+[B-Z]:)|Ans|TL;?DR"
    r"|(?:the |my )?(?:final |correct )?(?:answer|result))[*_]*\s*:[*_]*[ \t]*(.+)$",
    re.IGNORECASE | re.M,
)
_HEAD = re.compile(
    r"(?i)\banswer[*_]*(?:\s?[(\[][^()\[\]\n]{1,60}[)\]])?(?:\s+(?:to|for|in)\b[^.:\n]{0,80}?)?"
    r"\s*(?:\bis\b|\bwould be\b|\bshould be\b|\bmust be\b|\bequals\b|:|=)[ \t]*:?[*_]*"
)
_BEHIND = re.compile(r"[ \t]*(?=\S)(?![|>][-+]?$)(.{1,300})|[ \t]*[|>]?[-+]?\s*\n[\s`]*(.{1,30})$", re.MULTILINE)
# what exact fractions cannot express: roots, constants, functions, unknowns
SYMBOLIC = re.compile(
    r"\\(?:sqrt|pi|sin|cos|tan|log|ln|infty|binom|begin|left|e)(?![a-z])|\\[dt]?frac\s*\{(?!\s*-?[\d.,]+\s*\}\s*\{\s*[\d.,]+\s*\})"
    r"|[π√∞]|\bsqrt\b|\bpi\b|(?<![a-zA-Z\\])[a-zA-Z]\s?\^|\^\s?\{?[-(]?\d*[a-np-z](?![a-z])"
    r"|\d\s?[-+]\s?\d*\s?i\b|\d(?!e[-+]\d)[a-z]\b\s*[-+]|\(\s?\d*[a-z]\s?[-+]\s?\d+\s?\)|±|\\pm\b"
)
_HEADING = re.compile(
    r"(?i)(?:step|part|day|case|question|option|phase|solution|method|problem|explanation|conclusion|summary)\b|.*:\s*$"
)
# "75 minutes = 1.25 hours": the question tells which side answers it
_CONVERTS = re.compile(r"(?!.*\b(?:x|times)\b)[^-+*/×÷=]*\d\s?[a-z/]+\s*\(?=\s*\$?\d[\d.,]*\s?[a-z/]+\W*\Z", re.I)
_LIST = re.compile(r"\A\s*(-?[\d.]+)(?:,|\\text\s?\{,\})\s+(-?[\d.]+)\s*\Z")
_LISTED = re.compile(r"\d{1,2}[.)]\s+\S")
_LEADS = re.compile(
    r"(?i)[\s:*_`~≈(\[\"'<$=]*(?:(?:about|approx\w*|roughly|exactly|only|around|just|a total of)\s+)?[\s*_`(\[\"'$]*"
)
_ROUNDED = re.compile(
    r"(?i)≈|\\approx|\bround(?:s|ed|ing)?(?: it)?(?: (?:up|down|off))? to(?! the| \d+ (?:decimal|significant))"
    r"|\bbut (?:it|this|that)(?:'s| is) (?:actually|really|in fact)\b"
)
_SENTENCE = re.compile(
    r"(?<=[^\d\s][.!?])(?<!\bMr\.)(?<!\bMrs\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\bvs\.)\s+"
    r"|(?<=\d[.!?])\s+(?=[A-Z])|\n+"
)

_CONCLUDES = re.compile(
    rf"(?i)^\W*(?:therefore|thus|so|hence|in total|in conclusion|finally|altogether|this means)\b|=|^\W*(?:{CONCLUDES})"
)
_ASIDE = re.compile(
    r"(?i)^\W*(?:note|confidence|please|(?:(?:let me|let's|to|i can) )?(?:double[- ]?)?(?:check|verif)|assuming|p\.?s\b"
    r"|let me know|feel free|i hope|hope|remember|if you(?:'d| have| need| want| would| like| wish| still)\b"
    r"|for example|for instance|explanation|once\b|because\b[^,]*\Z|.*\?\W*\Z)"
)
_SUPPOSES = re.compile(
    r"(?i)^\W*(?:however,? )?(?:if|suppose|assuming|please|once|when|for example|(?:could|can) you)\b"
)
# "That's 50% more than in April." and "If she did this all week, she would make $126." behind an answer
_BESIDE = re.compile(r"(?i)^\W*(?:(?:that|this)(?:'s| is) [\d.]+\s?% (?:more|less|of)\b|if\b[^=]*\bwould\b[^=]*\Z)")
_EXPLAINS = re.compile(
    r"(?i)(?:\n|[.!] )[^\w\n]{0,20}_{0,3}(?:here(?:'s| is| are) (?:the|how|why|my|a)\b|explanation|reasoning"
    r"|breakdown|(?:notes|references|sources|working):|step[- ]by[- ]step"
    r"|(?:the |my )?(?:key |main |following )?steps\b[^\n]{0,60}:[ \t]*\n)"
    r"|(?<=\A)[\W_]*\d[\d.,]*(?: [a-z]+)?[.*\s]*\n[ \t]*\n"
)
# "$18. She has 16 - 7 = 9 eggs"; "18. She" may be the eighteenth of a list
_LEAD = re.compile(r"[\W_]*(?:\$\d(?:[\d.,]*\d)?\b|\d{3,}\b|\d[\d.,]* [a-z]+)[.!*]+\s+(?=[A-Z])")
_SAYS_SO = re.compile(r"(?i)\b(?:therefore|thus|so|hence|total|altogether|answer|leaves|leaving|which (?:is|means))\b")
_CONTINUES = re.compile(
    r"(?i)\b(?:which|that|this)\s+(?:is|equals|makes|gives|totals|comes to)\b|\bequals?\b|\bor\b|\bi\.e\.|→|⇒|=>|:"
)
_EXPRESSION = re.compile(r"[\s:*_`$(\[]*\$?\d[\d.,]*\s*(?:[-−+*/×÷]|\b(?:x|plus|minus|times)\b)\s*\$?\d")
_NOTHING = re.compile(
    r"(?i)\bno(?= (?:more )?(?:[a-z]+ ){1,2}(?:left|remain(?:s|ing)?)\b)|\bnothing(?= (?:is |was )?(?:left|remains)\b)"
    r"|(?:n't|\bnot) (?:have )?any(?= (?:[a-z]+ ){0,2}(?:left|remaining)\b)"
)
# "12, not 11"; "not 11, but 12"; "isn't 11, it's 12"; "The answer is not 11."
_REJECTED = re.compile(
    r"(\d[)*]*(?:\s+[^\W\d]+){0,2})\s*(?:,|\band\b|\bbut\b|\()[\s,]*not\s+\$?\d[\d.,]*(?<=\d)"
    r"|(?:n['’]t|\b(?:can)?not)(?: be| equal(?: to)?)?\s+\$?\d[\d.,]*(?<=\d)(?:\W*\Z|[.;!]\s"
    r"|(?:\s+[a-z]+){0,2}[,;]?\s+(?=but\s+\$?\d|(?:it|that)(?:['’]s| is)\b))"
)
_UNIT_DOT = re.compile(r"(?<=\d )(hrs?|mins?|ft|lbs?|yrs?)\.(?= \d)")
# "3. Give the total" is the third step of a list, unless the text begins with it
_LIST_MARK = re.compile(r"(?:\A(?=\W*1\b)|(?<=\n))[ \t]*(?:[-*•][ \t]+)?\**\d{1,2}[.)]\**[ \t]+(?=[^\s\d$=])")


@dataclass(frozen=True, slots=True)
class _Statement:
    """A place where the response states its answer. ``firm``: the number stands right where the answer belongs."""

    start: int
    end: int
    how: str
    number: Number | None
    firm: bool


def final(text: str, question: str = "", decimal: str = ".") -> tuple[Number | None, str]:
    """The number that a response ends on and how it was found.

    ``(None, "unanswerable")`` if it says that there is no answer, ``(None, "two")`` if it leaves two to choose from
    ("12, but it could be 15": whichever is read, a guess would be graded), ``(None, "")`` if nothing can be read.
    ``question`` decides which number of a sentence answers it. ``decimal``: "," if the text writes 1.234,5.
    """
    text = own_turn(text)
    found = _final(text[-TAIL:], question, decimal)
    # a model that loops behind its answer hides it from the end
    return found if found != (None, "") or len(text) <= TAIL else _final(text[:TAIL], question, decimal)


def _final(text: str, question: str, decimal: str) -> tuple[Number | None, str]:
    text = _REJECTED.sub(lambda found: found[1] or " ", _NOTHING.sub(" 0", small_words(english(text)[-TAIL:])))
    text = shares(dozens_counted(with_point(text) if decimal == "," else text, question), question)
    text, question = _UNIT_DOT.sub(r"\1", text), dozens_counted(question, question)
    stated = sorted(_statements(text, question), key=lambda found: (found.end, found.start))
    firm = [found for found in stated if found.firm]
    backs = [match.end() for match in TAKEN_BACK.finditer(text, firm[-1].start)] if firm else []
    if backs and numbers(text[backs[-1] :]):
        return _conclusion(text[backs[-1] :], question)
    if firm:
        return settled(firm[-1].number, firm[-1].how, text, firm[-1].start)
    # what is stated counts unless the reasoning goes on behind it, with numbers of its own
    if stated and not any(numbers(sentence) for sentence in _sentences(text[stated[-1].end :])):
        return settled(stated[-1].number, stated[-1].how, text, stated[-1].start)
    return _conclusion(text, question)


def _statements(text: str, question: str) -> Iterator[_Statement]:
    yield from _hashes(text, question)
    if field := fields.answer(text):
        value = re.sub(r"(?i)\A(?:null|none|n/a)?\Z", "None", field.value)
        if found := _read(value, 0, "answer field", question, sure=True):
            yield replace(found, start=field.end, end=field.end)
    for how, pattern in (("boxed", _BOXED), ("final line", _LINE)):
        for match in deque(pattern.finditer(text), MOST_STATEMENTS):
            segment = _LIST.sub(r"\1 or \2", match[1]) if how == "boxed" else match[1]
            if found := _read(segment, match.start(1), how, question, sure=how == "boxed"):
                yield found
    for head in deque(_HEAD.finditer(text), MOST_STATEMENTS):
        if behind := _BEHIND.match(text, head.end()):
            group = 1 if behind[1] is not None else 2
            if found := _read(behind[group], behind.start(group), "answer is", question, sure=False):
                yield found


def _hashes(text: str, question: str) -> Iterator[_Statement]:
    """Answers behind "####", which also opens headings; a question between two of them begins another item."""
    matches = [match for match in _HASHES.finditer(text) if not _HEADING.match(match[1])]
    listed = len([match for match in matches if _LISTED.match(match[1])]) > 1
    before = None
    for match in matches:
        if before is not None and re.search(r"\w[^\n?]{20,}\?", text[before : match.start()]):
            return
        if _LISTED.match(match[1]) and (listed or numbers(text[match.end() :])):
            continue
        if found := _read(match[1], match.start(1), "####", question, sure=True):
            yield found
            before = found.end


def _read(segment: str, start: int, how: str, question: str, sure: bool) -> _Statement | None:
    """What a segment behind an anchor states: a number, that there is none, or nothing."""
    sentence = _SENTENCE.split(segment, maxsplit=1)[0]
    end = start + len(sentence)
    number, leads = _in_sentence(sentence, question)
    if NO_ANSWER.match(sentence) or denies(sentence, number is not None):
        return _Statement(start, end, "unanswerable", None, True)
    number, how = settled(number, how, sentence)
    return _Statement(start, end, how, number, sure or leads) if number or how == "two" else None


def _in_sentence(sentence: str, question: str) -> tuple[Number | None, bool]:
    """The number that an anchored sentence gives and whether it stands right at its beginning."""
    if re.fullmatch(r"\W*\d{1,3}(?: \d{3})+\W*", sentence):
        sentence = sentence.replace(" ", "")
    found = numbers(sentence)
    if not found:
        return None, False
    opens = _LEADS.match(plain(sentence))
    leads = opens is not None and found[0].start <= opens.end()
    if (rounded := list(_ROUNDED.finditer(sentence))) and (behind := numbers(sentence[rounded[-1].end() :])):
        return behind[0], leads
    if "=" in sentence and not _CONVERTS.match(sentence):
        behind = numbers(sentence.rsplit("=", 1)[1])
        # "16 - 7 = 9" may be a step only; beside digits, words such as "one" or "half" seldom count what is asked for
        counted = [number for number in found if not number.spelled] or found
        return (behind[0] if behind else counted[-1]), False
    if _EXPRESSION.match(sentence):
        results = [numbers(sentence[match.end() :]) for match in _CONTINUES.finditer(sentence)]
        return next((result[0] for result in results if result), found[0]), leads
    return choose(sentence, question, leads), leads


def _sentences(text: str) -> list[str]:
    """Sentences without list marks, notes, checks and courtesies, unless there is nothing else."""
    found = [sentence for sentence in _SENTENCE.split(_LIST_MARK.sub("", text)) if sentence.strip()]
    return [sentence for sentence in found if not _ASIDE.match(sentence)] or found


def _conclusion(text: str, question: str) -> tuple[Number | None, str]:
    """Nothing is stated: the last sentence that says something, be it a number or that there is none."""
    sentences = _sentences(_opening(text[-4000:], question))
    if question and not re.search(r"(?i)%|percent|\bif\b|\bwould\b", question):
        others = [sentence for sentence in sentences if not _BESIDE.match(sentence)]
        sentences = others if any(map(numbers, others)) else sentences
    for sentence in reversed(sentences[-8:]):
        found = numbers(sentence)
        if denies(sentence, bool(found)):
            return None, "unanswerable"
        if NO_ANSWER.fullmatch(sentence.strip(" .*")) or (
            UNKNOWN.search(sentence) and not found and sentence is sentences[-1]
        ):
            return None, "unanswerable"
        if found and _CONCLUDES.search(sentence) and not _SUPPOSES.match(sentence):
            break
    cut_off = text.rstrip().endswith(":")
    for sentence in reversed(sentences):
        found = numbers(sentence)
        if found and not (cut_off and all(number.spelled for number in found)):
            return settled(_concluded(sentence, question), "last number", text, max(0, text.rfind(sentence)))
    return None, ""


def _opening(text: str, question: str) -> str:
    """The answer before its explanation, where it comes first and the explanation ends on no conclusion."""
    lead, last = _LEAD.match(text), _sentences(text)[-1:]
    if question and lead and last and not _SAYS_SO.search(last[0]):
        others = {number.value for number in numbers(f"{question} {text[lead.end() :]}")}
        if any(number.value not in others for number in numbers(lead[0])[:1]):
            return lead[0]
    match = _EXPLAINS.search(text)
    if match is None:
        return text
    before = text[: match.start() or match.end()]
    return before if numbers(before) and last and not _CONCLUDES.search(last[0]) else text


def _concluded(sentence: str, question: str) -> Number:
    """The number in bold, if only one is; else the one behind the last "=" or in the sentence that answers best."""
    sentence = without_reason(sentence)
    if len(bold := numbers(" ; ".join(re.findall(r"\*\*(.+?)\*\*", sentence)))) == 1:
        return bold[0]
    before, _, behind = ("", "", "") if _CONVERTS.match(sentence) else sentence.rpartition("=")
    return choose(f"= {behind}" if before and numbers(behind) else sentence, question)


def is_answer(gold: str) -> bool:
    """Whether a gold answer can be graded as a number or a formula: a number with at most a unit, or LaTeX."""
    return _is_number(gold) or SYMBOLIC.search(gold) is not None


def _is_number(gold: str) -> bool:
    unit = r"(?![ap]m\b)[a-z]{1,12}(?:[ /^]{1,3}[a-z]{1,12}){0,2}[²³]?|(?<=[\s°])(?![AP]M)[a-z]?[A-Z]{1,3}[a-z]?"
    return re.fullmatch(rf"\W*{NUMBER.pattern}\W*(?:(?:{unit})\W*)?", plain(gold)) is not None


def is_formula(gold: str) -> bool:
    """Whether a gold answer is a number in LaTeX, or a formula without words."""
    words = re.search(r"[^\W\d_]{3}", re.sub(r"\\[a-zA-Z]+(?:\{[a-z]*matrix\})?", "", gold))
    return ("\\" in gold and _is_number(gold)) or (SYMBOLIC.search(gold) is not None and not words)


def grade(gold: str, text: str, question: str = "", decimal: str = ".") -> Grade:
    """Grade an answer against a gold number, or against ``None`` if the question has no answer.

    Where the gold answer or what the response boxes is a formula, math-verify compares them.
    """
    if gold != NONE and SYMBOLIC.search(gold):
        return latex.grade(gold, text)
    if gold != NONE and any(SYMBOLIC.search(box[1]) for box in _BOXED.finditer(text[-TAIL:])):
        found = latex.grade(gold, text)
        if found.readable:
            return found
    if gold != NONE and decimal == "." and (name := unit_of(gold)):  # "180 minutes" for 3 hours
        text, question = in_unit(text, name), f"{question} In {name}?"
    number, how = final(text, question, decimal)
    if how == "unanswerable":  # "None are left." counts, "unknown" does not
        zero = re.search(r"\bnone\b", text[-TAIL:], re.IGNORECASE) and not UNANSWERABLE.search(text[-TAIL:])
        right = gold == NONE or bool(zero and equal(Number(Fraction(0), ""), gold))
        return Grade(right, NONE, True, "says that there is none or that it cannot be answered")
    if number is None:
        return Grade(False, None, False, "names two answers" if how == "two" else "no number found")
    if gold == NONE:
        return Grade(False, number.text, True, f"{how}: a number where the question has no answer")
    right = equal(number, gold) or equal(in_asked_scale(number, question), gold)
    reason = f"{how}: {number.text} {'=' if right else 'is not'} {gold}"
    return Grade(right, number.text, True, reason, sure=how == "####")
