"""Finds the number of a response that is its answer: statements first, else the conclusion's last number."""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from laif_helpers.graders import fields, latex
from laif_helpers.graders import final_number_patterns as patterns
from laif_helpers.graders import text as free_text
from laif_helpers.graders.asked import shares
from laif_helpers.graders.conclusion import (
    asked_row,
    choose,
    dozens_counted,
    in_asked_scale,
    none_counted,
    settled,
    without_reason,
)
from laif_helpers.graders.languages import english, small_words
from laif_helpers.graders.numbers import NONE, NUMBER, Number, equal, numbers, plain
from laif_helpers.graders.separators import with_point
from laif_helpers.graders.turns import TAKEN_BACK, own_turn
from laif_helpers.graders.unanswerable import NO_ANSWER, UNANSWERABLE, UNKNOWN, denies
from laif_helpers.graders.units import asked_unit, contrary, in_unit, unit_of
from laif_helpers.records import Grade

TAIL = 8000
"""Characters at the end of a text that are read; the answer stands there, and no text makes the reader slow."""
MOST_STATEMENTS = 100
"""The last ones of each kind are read: a model that loops states its answer a thousand times."""


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
    text = patterns.NOTHING.sub(" 0", small_words(english(patterns.CITES.sub("", text))[-TAIL:]))
    text = patterns.REJECTED.sub(lambda found: found[1] or " ", text)
    text = text if re.search(r"(?i)\bremain|\bleft", question) else patterns.REMAINDER.sub("", text)
    text = shares(dozens_counted(with_point(text) if decimal == "," else text, question), question)
    text, question = patterns.UNIT_DOT.sub(r"\1", text), dozens_counted(question, question)
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
    for how, pattern in (("boxed", patterns.BOXED), ("final line", patterns.LINE)):
        for match in deque(pattern.finditer(text), MOST_STATEMENTS):
            segment = match[1]
            if how == "boxed":
                segment = re.sub(r"\A\s*([-−])\s+", r"\1", patterns.LIST.sub(r"\1 or \2", segment))
            if found := _read(segment, match.start(1), how, question, sure=how == "boxed"):
                yield found
    for head in deque(patterns.HEAD.finditer(text), MOST_STATEMENTS):
        if behind := patterns.BEHIND.match(text, head.end()):
            group = 1 if behind[1] is not None else 2
            if found := _read(behind[group], behind.start(group), "answer is", question, sure=False):
                yield found


def _hashes(text: str, question: str) -> Iterator[_Statement]:
    """Answers behind "####", which also opens headings; a question between two of them begins another item."""
    matches = [match for match in patterns.HASHES.finditer(text) if not patterns.HEADING.match(match[1])]
    listed = len([match for match in matches if patterns.LISTED.match(match[1])]) > 1
    before = None
    for match in matches:
        if before is not None and re.search(r"\w[^\n?]{20,}\?", text[before : match.start()]):
            return
        if patterns.LISTED.match(match[1]) and (listed or numbers(text[match.end() :])):
            continue
        if found := _read(match[1], match.start(1), "####", question, sure=True):
            yield found
            before = found.end


def _read(segment: str, start: int, how: str, question: str, sure: bool) -> _Statement | None:
    """What a segment behind an anchor states: a number, that there is none, or nothing."""
    sentence = patterns.SENTENCE.split(segment, maxsplit=1)[0]
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
    opens = patterns.LEADS.match(plain(sentence))
    leads = opens is not None and found[0].start <= opens.end()
    if (rounded := list(patterns.ROUNDED.finditer(sentence))) and (behind := numbers(sentence[rounded[-1].end() :])):
        return behind[0], leads
    if "=" in sentence and not patterns.CONVERTS.match(sentence):
        behind = numbers(sentence.rsplit("=", 1)[1])
        # "16 - 7 = 9" may be a step only; beside digits, words such as "one" or "half" seldom count what is asked for
        counted = [number for number in found if not number.spelled] or found
        return (behind[0] if behind else counted[-1]), False
    if patterns.EXPRESSION.match(sentence):
        results = [numbers(sentence[match.end() :]) for match in patterns.CONTINUES.finditer(sentence)]
        return next((result[0] for result in results if result), found[0]), leads
    return choose(sentence, question, leads), leads


def _sentences(text: str) -> list[str]:
    """Sentences without list marks, notes, checks and courtesies, unless there is nothing else."""
    found = [sentence for sentence in patterns.SENTENCE.split(patterns.LIST_MARK.sub("", text)) if sentence.strip()]
    return [sentence for sentence in found if not patterns.ASIDE.match(sentence)] or found


def _conclusion(text: str, question: str) -> tuple[Number | None, str]:
    """Nothing is stated: the last sentence that says something, be it a number or that there is none."""
    sentences = _sentences(_opening(text[-4000:], question))
    if question and not re.search(r"(?i)%|percent|\bif\b|\bwould\b", question):
        others = [sentence for sentence in sentences if not patterns.BESIDE.match(sentence)]
        sentences = others if any(map(numbers, others)) else sentences
    for sentence in reversed(sentences[-8:]):
        found = numbers(sentence)
        if denies(sentence, bool(found)):
            return None, "unanswerable"
        if NO_ANSWER.fullmatch(sentence.strip(" .*")) or (
            UNKNOWN.search(sentence) and not found and sentence is sentences[-1]
        ):
            return None, "unanswerable"
        if found and patterns.CONCLUDES.search(sentence) and not patterns.SUPPOSES.match(sentence):
            break
    if sentences and none_counted(sentences[-1], question):
        return Number(Fraction(0), "no"), "last number"
    if row := asked_row(sentences, question):
        return numbers(row)[0], "last number"
    cut_off = text.rstrip().endswith(":")
    for sentence in reversed(sentences):
        found = numbers(sentence)
        if found and not (cut_off and all(number.spelled for number in found)):
            return settled(_concluded(sentence, question), "last number", text, max(0, text.rfind(sentence)))
    return None, ""


def _opening(text: str, question: str) -> str:
    """The answer before its explanation, where it comes first and the explanation ends on no conclusion."""
    lead, last = patterns.LEAD.match(text), _sentences(text)[-1:]
    if question and lead and last and not patterns.SAYS_SO.search(last[0]):
        others = {number.value for number in numbers(f"{question} {text[lead.end() :]}")}
        if any(number.value not in others for number in numbers(lead[0])[:1]):
            return lead[0]
    match = patterns.EXPLAINS.search(text)
    if match is None:
        return text
    before = text[: match.start() or match.end()]
    return before if numbers(before) and last and not patterns.CONCLUDES.search(last[0]) else text


def _concluded(sentence: str, question: str) -> Number:
    """The number in bold, if only one is; else the one behind the last "=" or in the sentence that answers best."""
    sentence = without_reason(sentence)
    if len(bold := numbers(" ; ".join(re.findall(r"\*\*(.+?)\*\*", sentence)))) == 1:
        return bold[0]
    before, _, behind = ("", "", "") if patterns.CONVERTS.match(sentence) else sentence.rpartition("=")
    return choose(f"= {behind}" if before and numbers(behind) else sentence, question)


def is_answer(gold: str) -> bool:
    """Whether a gold answer can be graded as a number or a formula: a number with at most a unit, or LaTeX."""
    return _is_number(gold) or is_formula(gold) or patterns.SYMBOLIC.search(gold) is not None


def _is_number(gold: str) -> bool:
    unit = r"(?![ap]m\b)[a-z]{1,12}(?:[ /^]{1,3}[a-z]{1,12}){0,2}[²³]?|(?<=[\s°])(?![AP]M)[a-z]?[A-Z]{1,3}[a-z]?"
    return re.fullmatch(rf"\W*{NUMBER.pattern}\W*(?:(?:{unit})\W*)?", plain(gold)) is not None


def is_formula(gold: str) -> bool:
    """Whether a gold answer is a number in LaTeX, some numbers, or a formula without words."""
    if latex.is_list(gold) or ("\\" in gold and _is_number(gold)):
        return "\\" in gold or not _is_number(gold)
    words = re.search(r"[^\W\d_]{3}", re.sub(r"\\[a-zA-Z]+(?:\{[a-z]*matrix\})?", "", gold))
    return not words and (patterns.SYMBOLIC.search(gold) is not None or is_relation(gold))


def is_relation(gold: str) -> bool:
    """Whether a gold answer says more than a number: x > 3, (2, 3), 1000_2, 5!"""
    found = patterns.FORMULA.search(gold)
    return found is not None and (not _is_number(gold) or re.search(r"\d(?:!|_\{?\d+\}?)\Z", gold) is not None)


def is_vague(text: str) -> bool:
    """Whether the last line is a bound or a range, from a smaller number to a larger one."""
    said = patterns.VAGUE.fullmatch(text.strip().rpartition("\n")[2])
    return said is not None and (said[1] is None or int(said[1]) < int(said[2]))


def _signed(number: Number, text: str, gold: str, question: str) -> Number:
    """ "a loss of $150" as -150 where a profit is asked for, or the gold answer is below zero."""
    down = patterns.DOWN if gold[:1] in ("-", "−") else patterns.LOSS if patterns.GAIN_ASKED.search(question) else ""
    below = down and number.value > 0 and re.search(rf"(?i){down}{re.escape(number.text.lstrip('$€£'))}", text)
    return replace(number, value=-number.value) if below else number


def grade(gold: str, text: str, question: str = "", decimal: str = ".") -> Grade:
    """Grade an answer against a gold number, or against ``None`` if the question has no answer.

    Where the gold answer or what the response boxes is a formula, math-verify compares them.
    """
    if gold != NONE and latex.is_list(gold) and not _is_number(gold):
        return latex.grade_list(gold, text, question)
    if gold != NONE and (patterns.SYMBOLIC.search(gold) or (is_relation(gold) and is_formula(gold))):
        found = latex.grade(gold, text)
        in_words = "!" not in gold and free_text.grade(gold, text).correct
        return replace(found, correct=found.correct or in_words)
    boxes = [box[1] for box in patterns.BOXED.finditer(text[-TAIL:])] if gold != NONE else []
    if any(patterns.SYMBOLIC.search(box) or patterns.UNWORKED.match(box) for box in boxes):
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
    if number is None or is_vague(text):
        return Grade(False, None, False, "names two answers" if how == "two" else "no number found")
    if how == "last number":  # stated by itself, it has the sign that is stated
        number = _signed(number, text[-TAIL:], gold, question)
    if gold == NONE:
        return Grade(False, number.text, True, f"{how}: a number where the question has no answer")
    right = equal(number, gold) or equal(in_asked_scale(number, question), gold)
    if not right and (name := asked_unit(question)) and (other := in_unit(text[-TAIL:], name)) != text[-TAIL:]:
        again = final(other, question, decimal)[0]  # "210 minutes" where hours are asked for
        number, right = (again, True) if again and equal(again, gold) else (number, False)
    if right and not gold.replace(".", "").isdigit() and contrary(gold, text[-TAIL:]):
        return Grade(False, number.text, True, f"{how}: {number.text} is not {gold}")
    reason = f"{how}: {number.text} {'=' if right else 'is not'} {gold}"
    return Grade(right, number.text, True, reason, sure=how == "####")
