"""Logical deduction: three, five or seven objects in a fixed order, given by clues that leave one order.

A question names the objects behind a colon, gives the clues, and lists options that say who has one place. Its answer
writes every clue as a pattern (``??``: any number of objects, ``?``: exactly one), fills the places from the first to
the last, and picks the option. The solver counts the orders that the clues allow; it accepts a question only if there
is exactly one. The clues of BIG-Bench Hard's tasks of the same name are read as well.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from laif_helpers.graders import steps
from laif_helpers.graders.steps import FINAL, Fault, Step

BEFORE = ("to the left of", "above", "older than", "less expensive than", "ahead of", "lighter than", "earlier than")
AFTER = ("to the right of", "below", "newer than", "more expensive than", "behind", "heavier than", "later than")
FIRST = ("leftmost", "first", "oldest", "cheapest", "lightest", "earliest")
LAST = ("rightmost", "last", "newest", "most expensive", "heaviest", "latest")
ORDINALS = ("", "first", "second", "third", "fourth", "fifth", "sixth", "seventh")
_CLUE = re.compile(r"(?:The )?(\S.*?) (?:is|are|finished|comes) (.+)")
_COUNTED = re.compile(r"(second|third|fourth|fifth|sixth)(?:-to-|-| from the )(.+)")
_OPTION = re.compile(r"^\(([A-G])\) (.+?)\.?$", re.MULTILINE)
_PLACE = re.compile(r"Place (\d): (.+?)\.?")
_ANSWER = re.compile(r"(.+)\. So the answer is \(([A-Z])\)\.?")


@dataclass(frozen=True, slots=True)
class Clue:
    """``other`` set: the object stands before it. Else the object has ``place``, from 1; negative: from the end."""

    text: str
    subject: str
    other: str = ""
    place: int = 0

    @property
    def pattern(self) -> str:
        if self.other:
            return f"?? {self.subject} ?? {self.other} ??"
        singles = ["?"] * (abs(self.place) - 1)
        return " ".join([*singles, self.subject, "??"] if self.place > 0 else ["??", self.subject, *singles])


@dataclass(frozen=True, slots=True)
class Item:
    """A question as read."""

    objects: tuple[str, ...]
    clues: tuple[Clue, ...]
    options: dict[str, str]


def read(question: str) -> Item:
    """Raises ValueError for a text that is no item of this task, or has a clue that cannot be read."""
    body, mark, rest = question.partition("Options:")
    _, colon, tail = body.partition(":")
    listed, stop, clues = tail.partition(".")
    names = re.split(r", and |, | and ", " ".join(listed.split()))
    objects = tuple(re.sub(r"^(?:an?|the) ", "", name) for name in names if name)
    if not mark or not colon or not stop or not 3 <= len(objects) <= 7 or len(set(objects)) < len(objects):
        raise ValueError("not a question about the order of 3 to 7 named objects with options")
    sentences = [sentence.strip() for sentence in re.split(r"\.\s", clues.strip() + " ") if sentence.strip()]
    found = tuple(read_clue(sentence, objects) for sentence in sentences)
    options = _OPTION.findall(rest)
    if len(dict(options)) < len(options):
        raise ValueError("two options have one letter")
    return Item(objects, found, dict(options))


def read_clue(text: str, objects: tuple[str, ...]) -> Clue:
    """Raises ValueError for a sentence that places none of the objects."""
    match = _CLUE.fullmatch(text)
    if match and (subject := match[1]) in objects:
        for phrases, forward in ((BEFORE, True), (AFTER, False)):
            for phrase in phrases:
                other = match[2].removeprefix(phrase).strip().removeprefix("the ")
                if match[2].startswith(phrase) and other in objects and other != subject:
                    return Clue(text, subject, other) if forward else Clue(text, other, subject)
        if place := _place(match[2].removeprefix("the "), len(objects)):
            return Clue(text, subject, place=place)
    raise ValueError(f"the clue {text[:60]!r} is not understood")


def _place(text: str, n: int) -> int:
    """1 for the first place, -1 for the last, 2 for the second from the front …; 0 if the text names none."""
    if text in FIRST or text in LAST:
        return 1 if text in FIRST else -1
    if text in ORDINALS[1 : n + 1]:
        return ORDINALS.index(text)
    counted = _COUNTED.fullmatch(text)
    if not counted:
        return 0
    number = ORDINALS.index(counted[1])
    front, back = (*FIRST, "left"), (*LAST, "right")
    if number > n or counted[2] not in front + back:
        return 0
    return number if counted[2] in front else -number


def orders(objects: tuple[str, ...], clues: tuple[Clue, ...]) -> Iterator[tuple[str, ...]]:
    """Every order that the clues allow. Places are filled from the front, so a dead end shows at its first object."""
    n = len(objects)
    fixed: dict[int, str] = {}
    before: dict[str, set[str]] = {name: set() for name in objects}
    for clue in clues:
        if clue.other:
            before[clue.other].add(clue.subject)
        else:
            place = clue.place if clue.place > 0 else n + 1 + clue.place
            if fixed.setdefault(place, clue.subject) != clue.subject:
                return
    if len(set(fixed.values())) < len(fixed):
        return
    bound = {name: place for place, name in fixed.items()}
    stack: list[tuple[str, ...]] = [()]
    while stack:
        row = stack.pop()
        if len(row) == n:
            yield row
            continue
        place = len(row) + 1
        candidates = [fixed[place]] if place in fixed else [name for name in objects if name not in bound]
        stack += [(*row, name) for name in candidates if name not in row and before[name].issubset(row)]


def solve(item: Item) -> list[Step]:
    """The canonical answer. Raises ValueError unless the clues leave one order and one option is true in it."""
    found = orders(item.objects, item.clues)
    order = next(found, None)
    if order is None:
        raise ValueError("the clues contradict each other")
    if next(found, None) is not None:
        raise ValueError("the clues allow several orders")
    solved = [Step(str(at), f'{clue.text}: "{clue.pattern}".', clue) for at, clue in enumerate(item.clues, start=1)]
    after = len(item.clues) + 1
    solved += [Step(str(at + after), f"Place {at + 1}: {name}.", order[: at + 1]) for at, name in enumerate(order)]
    solved.append(Step(str(after + len(order)), f"So the order is {', '.join(order)}.", order))
    true = [letter for letter, text in item.options.items() if holds(text, order)]
    if len(true) != 1:
        raise ValueError(f"{len(true)} options are true in the order that the clues leave")
    return [*solved, Step(FINAL, f"{item.options[true[0]]}. So the answer is ({true[0]}).", true[0])]


def holds(text: str, order: tuple[str, ...]) -> bool:
    """Whether a statement of an option is true. Raises ValueError for one that is not understood."""
    clue = read_clue(text, order)
    if clue.other:
        return order.index(clue.subject) < order.index(clue.other)
    return order[clue.place - 1 if clue.place > 0 else clue.place] == clue.subject


def judge(item: Item, want: Step, text: str) -> Fault | None:
    """What is wrong with a line that differs from the canonical one."""
    if want.label == FINAL:
        return _judge_option(item, want.data, text)
    if isinstance(want.data, Clue):
        return _judge_clue(item, want.data, text)
    if text.startswith("So the order is "):
        return _judge_order(item, want, text)
    return _judge_place(item, want.data, text)


def _judge_clue(item: Item, clue: Clue, text: str) -> Fault | None:
    match = re.fullmatch(r'([^":]+): "([^"]*)"\.?', text)
    if not match:
        return Fault("format", text, "the line is no clue with its pattern", False)
    if match[1] != clue.text:
        return Fault("clue", match[1], "the question has another clue here")
    strange = [word for word in re.split(r"\s*\?+\s*", match[2]) if word and word not in item.objects]
    if strange:
        return Fault("unknown_object", strange[0], f"there is no {strange[0]}")
    same = match[2].split() == clue.pattern.split()
    return None if same else Fault("pattern", match[2], "the pattern does not say what the clue says")


def _judge_place(item: Item, order: tuple[str, ...], text: str) -> Fault | None:
    match = _PLACE.fullmatch(text)
    if not match:
        return Fault("format", text, "the line fills no place", False)
    if int(match[1]) != len(order):
        return Fault("place_number", f"Place {match[1]}", f"place {len(order)} comes next")
    if match[2] not in item.objects:
        return Fault("unknown_object", match[2], f"there is no {match[2]}")
    if match[2] in order[:-1]:
        return Fault("placed_twice", match[2], f"the {match[2]} has a place already")
    if match[2] == order[-1]:
        return None
    return Fault("placement", match[2], _broken_clue(item, (*order[:-1], match[2])))


def _broken_clue(item: Item, row: tuple[str, ...]) -> str:
    """Which clue forbids the last object of a row that was right before it."""
    place, name, n = len(row), row[-1], len(item.objects)
    for at, clue in enumerate(item.clues, start=1):
        fixed = 0 if clue.other else clue.place if clue.place > 0 else n + 1 + clue.place
        early = clue.other == name and clue.subject not in row
        if early or (fixed and (clue.subject == name) != (fixed == place)):
            return f"step ({at}) does not allow it"
    return "the clues together do not allow it"


def _judge_order(item: Item, want: Step, text: str) -> Fault | None:
    order: tuple[str, ...] = want.data
    if not want.text.startswith("So the order is "):
        return Fault("place_number", text, f"place {len(order)} comes next")
    found = text.removeprefix("So the order is ").removesuffix(".").split(", ")
    return None if tuple(found) == order else Fault("order_line", ", ".join(found), "the places before it differ")


def _judge_option(item: Item, letter: str, text: str) -> Fault | None:
    match = _ANSWER.fullmatch(text)
    if not match:
        return Fault("format", text, "the line gives no statement and option as the answer", False)
    if match[2] not in item.options:
        return Fault("no_such_option", f"({match[2]})", f"there is no option ({match[2]})")
    if match[2] != letter:
        return Fault("final_answer", f"({match[2]})", f"option ({match[2]}) is not true in the order found")
    same = match[1] == item.options[letter]
    return None if same else Fault("statement", match[1], f"option ({letter}) says something else")


check = partial(steps.verify, read, solve, judge)
"""Of a question and an attempt: the first wrong step, or that all is right; see ``steps.Verdict``. Never raises."""
