"""Word sorting: the words of a list in alphabetical order, letter by letter.

The first letters sort the words into groups; a group of several words is sorted by the next letter in a part of its
own, ``(3)``, ``(3.1)`` …, and so on. Letters are numbered from a = 1; the place behind a word's end is written
``""`` and numbered 0, so that a word stands before those that continue it.
"""

import operator
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise, takewhile

from laif_helpers.graders import steps
from laif_helpers.graders.steps import FINAL, Fault, Step

ORDINALS = (
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"),
    *("eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth"),
    *("nineteenth", "twentieth"),
)
_LETTER = re.compile(r'"([a-z]+)"="([a-z]?)" \((-?\d+)\)')
_GROUP = re.compile(r'\((-?\d+)\) (?:"([a-z]+)"|\[("[a-z]+"(?: \? "[a-z]+")+)\])')
_ANSWER = re.compile(r"So the answer is: ([a-z ]+?)\.?")


@dataclass(frozen=True, slots=True)
class Part:
    """What a step is about: the kind of its line, the words, in canonical order, and the letter (0: the first)."""

    kind: str
    words: tuple[str, ...]
    letter: int = 0


def read(question: str) -> tuple[str, ...]:
    """The words of a question. Raises ValueError for a list that is not this task's, and says why."""
    before, mark, listed = question.partition("List:")
    words = tuple(listed.split())
    if not mark or "alphabetical" not in before or not 2 <= len(words) <= 40:
        raise ValueError(f"not a list of 2 to 40 words to sort: {question[:60]!r}")
    for word in words:
        if not re.fullmatch(rf"[a-z]{{1,{len(ORDINALS) - 1}}}", word):
            raise ValueError(f"the word {word[:40]!r} has other letters than a to z, or more than {len(ORDINALS) - 1}")
    if len(set(words)) < len(words):
        raise ValueError("a word stands twice in the list")
    return words


def solve(words: tuple[str, ...]) -> list[Step]:
    """The canonical answer."""
    solved = [Step("1", f"The first letter: {_letters(words, 0)}.", Part("letters", words))]
    solved.append(Step("2", f"We now have: {_groups(words, 0)}.", Part("groups", words)))
    number = 3
    for tied in _tied(words, 0):
        solved += _subpart(tied, 1, str(number))
        number += 1
    ordered = tuple(sorted(words))
    solved.append(Step(str(number), f"Hence, we have {_joined(ordered)}.", Part("hence", ordered)))
    return [*solved, Step(FINAL, f"So the answer is: {' '.join(ordered)}.", Part("final", ordered))]


def _subpart(words: tuple[str, ...], letter: int, label: str) -> list[Step]:
    """The part that sorts words alike in all letters before ``letter``."""
    solved, number = list[Step](), 0
    while True:
        text = f"{_heading(words, letter)} {_letters(words, letter)}."
        solved.append(Step(f"{label}.{number}" if number else label, text, Part("subpart", words, letter)))
        text = f"We now have: {_groups(words, letter)}."
        solved.append(Step(f"{label}.{number + 1}", text, Part("groups", words, letter)))
        number += 2
        if _tied(words, letter) != [words]:
            break
        letter += 1  # all still alike: the next letter, in the same part
    for tied in _tied(words, letter):
        solved += _subpart(tied, letter + 1, f"{label}.{number}")
        number += 1
    ordered = tuple(sorted(words))
    return [*solved, Step(f"{label}.{number}", f"Hence, we have {_joined(ordered)}.", Part("hence", ordered))]


def key(word: str, letter: int) -> int:
    return ord(word[letter]) - 96 if letter < len(word) else 0


def _grouped(words: tuple[str, ...], letter: int) -> list[tuple[int, list[str]]]:
    """Words by the number of a letter, ascending; inside a group as they came."""
    ordered = sorted(words, key=lambda word: key(word, letter))
    return [(number, list(group)) for number, group in groupby(ordered, key=lambda word: key(word, letter))]


def _tied(words: tuple[str, ...], letter: int) -> list[tuple[str, ...]]:
    return [tuple(group) for _, group in _grouped(words, letter) if len(group) > 1]


def _letters(words: tuple[str, ...], letter: int) -> str:
    return ", ".join(f'"{word}"="{word[letter : letter + 1]}" ({key(word, letter)})' for word in words)


def _heading(words: tuple[str, ...], letter: int) -> str:
    listed = " ? ".join(f'"{word}"' for word in words)
    return f"Now sort this subpart [{listed}] by looking at their {ORDINALS[letter]} letters:"


def _groups(words: tuple[str, ...], letter: int) -> str:
    return " < ".join(_group(number, group) for number, group in _grouped(words, letter))


def _group(number: int, words: list[str]) -> str:
    listed = " ? ".join(f'"{word}"' for word in words)
    return f"({number}) [{listed}]" if len(words) > 1 else f"({number}) {listed}"


def _joined(words: tuple[str, ...]) -> str:
    return " < ".join(f'"{word}"' for word in words)


def judge(words: tuple[str, ...], want: Step, text: str) -> Fault | None:
    """What is wrong with a line that differs from the canonical one. Words may stand in another order in a list."""
    part: Part = want.data
    judges = {"letters": _judge_letters, "subpart": _judge_letters, "groups": _judge_groups}
    return judges.get(part.kind, _judge_order)(part, want, text)


def _judge_letters(part: Part, want: Step, text: str) -> Fault | None:
    head, mark, rest = text.partition(":")
    expected = want.text.partition(":")[0]
    if head != expected and (fault := _judge_heading(part, expected, head)):
        return fault
    found = _LETTER.findall(rest)
    if not mark or rest.strip().rstrip(".") != ", ".join(f'"{w}"="{c}" ({n})' for w, c, n in found):
        return Fault("format", rest.strip(), 'the letters are not listed as "word"="letter" (number)', False)
    if fault := _judge_words([word for word, _, _ in found], part.words):
        return fault
    for word, letter, number in found:
        quote, ordinal = f'"{word}"="{letter}" ({number})', ORDINALS[part.letter]
        if letter != word[part.letter : part.letter + 1]:
            right = word[part.letter : part.letter + 1]
            return Fault("letter", quote, f'the {ordinal} letter of "{word}" should be "{right}"')
        if int(number) != key(word, part.letter):
            return Fault("letter_number", quote, f'the number of "{letter}" should be {key(word, part.letter)}')
    return None


def _judge_heading(part: Part, expected: str, head: str) -> Fault | None:
    """A heading may name its words in another order, and nothing else may differ."""
    shape = re.compile(r'\["[a-z]+"(?: \? "[a-z]+")*\]')
    if part.kind == "letters" or not shape.search(head):
        return Fault("format", head, f"the line does not begin with {expected.partition('[')[0].strip()!r}", False)
    if fault := _judge_words(re.findall(r'"([a-z]+)"', head), part.words):
        return Fault("subpart", fault.quote, fault.reason)
    if shape.sub("", head, count=1) != shape.sub("", expected, count=1):
        ordinal = next((o for o in ORDINALS if f"their {o} letters" in head), "")
        if ordinal:
            return Fault("letter_index", f"{ordinal} letters", f"the {ORDINALS[part.letter]} letters come next")
        return Fault("format", head, "the line does not say which letters are looked at", False)
    return None


def _judge_groups(part: Part, want: Step, text: str) -> Fault | None:
    head, mark, rest = text.partition("We now have:")
    rest = rest.strip().rstrip(".")
    found = [(int(n), re.findall("[a-z]+", many) if many else [single]) for n, single, many in _GROUP.findall(rest)]
    if head or not mark or " < ".join(_group(n, words) for n, words in found) != rest:
        return Fault("format", text, 'the groups are not written as (number) "word" < (number) ["word" ? …]', False)
    if fault := _judge_words([word for _, group in found for word in group], part.words):
        return fault
    for number, group in found:
        for word in group:
            if number != key(word, part.letter):
                return Fault("group", f'({number}) "{word}"', f'the number of "{word}" is {key(word, part.letter)}')
    numbers = [number for number, _ in found]
    for before, after in pairwise(numbers):
        if before >= after:
            return Fault("not_ascending", f"({before}) < ({after})", "the groups are not in ascending order")
    return None


def _judge_order(part: Part, want: Step, text: str) -> Fault | None:
    """A line with an order, or the final response: it must be the one order there is."""
    if part.kind == "final":
        match = _ANSWER.fullmatch(text)
        found = match[1].split() if match else []
    else:
        match = re.fullmatch(r'Hence, we have ("[a-z]+"(?: < "[a-z]+")+)\.?', text)
        found = re.findall("[a-z]+", match[1]) if match else []
    if not match:
        unsorted = "?" in text
        return Fault("unsorted" if unsorted else "format", text, "the line gives no order of all the words", unsorted)
    if fault := _judge_words(found, part.words):
        return fault
    kind = "final_answer" if part.kind == "final" else "word_order"
    for before, after in pairwise(found):
        if before > after:
            quote = f"{before} {after}" if kind == "final_answer" else f'"{before}" < "{after}"'
            return Fault(kind, quote, f'"{after}" comes before "{before}"')
    return None


def _judge_words(found: list[str], wanted: tuple[str, ...]) -> Fault | None:
    """Whether these are the wanted words, each of them one time."""
    for word in found:
        if word not in wanted:
            return Fault("unknown_word", f'"{word}"', f'the word "{word}" does not belong here')
        if found.count(word) > 1:
            return Fault("duplicated_word", f'"{word}"', f'the word "{word}" is duplicated')
    if left := [word for word in wanted if word not in found]:
        listed = ", ".join(f'"{word}"' for word in left)
        return Fault("missing_word", " ".join(found), f"the words {listed} are missing")
    return None


def working(words: tuple[str, ...], found: list[str]) -> Iterator[str]:
    """For each line that orders words, whether each word that belongs there stands in it once, up to the first that
    does not: ``(2) "hawk" yes, "range" no``."""
    parts = {step.label: step.data for step in solve(words) if step.data.kind in ("groups", "hence", "final")}
    for line in found:
        label, _, text = line.removeprefix("(").partition(") ")
        if label in parts:
            there = Counter(re.findall("[a-z]+", text.partition(":" if ":" in text else "have")[2]))
            wrong = next((word for word in parts[label].words if there[word] != 1), None)
            right = takewhile(partial(operator.ne, wrong), parts[label].words)
            said = [f'"{word}" yes' for word in right] + [f'"{wrong}" no'] * bool(wrong)
            yield f"({label}) {', '.join(said)}"
            if wrong:
                return


check = partial(steps.verify, read, solve, judge)
"""Of a question and an attempt: the first wrong step, or that all is right; see ``steps.Verdict``. Never raises."""
