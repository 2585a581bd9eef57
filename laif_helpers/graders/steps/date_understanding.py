"""Date understanding: from a date that is given, through one to five relations, to one of five or six options.

A question reads ``The concert was on June 18, 2019. The exam was 10 days after the concert. Today is one week before
the exam. What is the date tomorrow in MM/DD/YYYY?`` and lists options. Each line of its answer works one relation out,
from the date before it. Dates are real ones of the Gregorian calendar, 1900 to 2099.
"""

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

from laif_helpers.graders import steps
from laif_helpers.graders.steps import FINAL, Fault, Step
from laif_helpers.graders.steps.long_way import added, through

MONTHS = list(calendar.month_name)
_NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "a": 1}
_AMOUNT = re.compile(r"(one|two|three|four|five|six|a|\d{1,3}) (day|week|month|year)s? (before|after|ago|from)\b")
_OPTION = re.compile(r"^\(([A-F])\) (\d\d/\d\d/\d{4})$", re.MULTILINE)
_NUMERIC = re.compile(r"\b(\d{1,2})/(\d{1,2})/(\d{4})\b")
_NAMED = re.compile(rf"\b({'|'.join(MONTHS[1:])}) (\d{{1,2}}), (\d{{4}})\b")
_ASKED = re.compile(r"What is (the date .+?) in MM/DD/YYYY\?")
_STEP = re.compile(r"(.+) \((\d\d?/\d\d?/\d{4})\), so it is (\d\d?/\d\d?/\d{4})\.?")
_ANSWER = re.compile(r"So the answer is \(([A-Z])\)\.?")


@dataclass(frozen=True, slots=True)
class Relation:
    """One step: what is dated, its distance, and what it is counted from."""

    subject: str
    amount: int
    unit: str
    anchor: str

    def apply(self, day: date) -> date:
        """Raises ValueError for a date outside the calendar's years, and for months that lack the day."""
        if self.unit in ("day", "week"):
            return _in_range(day + timedelta(days=self.amount * (7 if self.unit == "week" else 1)))
        months = day.year * 12 + day.month - 1 + self.amount * (12 if self.unit == "year" else 1)
        return _in_range(date(months // 12, months % 12 + 1, day.day))

    @property
    def distance(self) -> str:
        """``10 days after``."""
        size = abs(self.amount)
        return f"{size} {self.unit}{'s' * (size != 1)} {'after' if self.amount > 0 else 'before'}"

    def __str__(self) -> str:
        """``The exam is 10 days after the concert``."""
        return f"{self.subject} is {self.distance} {self.anchor}"


def _in_range(day: date) -> date:
    if not 1900 <= day.year <= 2099:
        raise ValueError(f"the year {day.year} is outside 1900 to 2099")
    return day


@dataclass(frozen=True, slots=True)
class Item:
    """A question as read: the given date, the relations from it to what is asked, and the options."""

    given: date
    relations: tuple[Relation, ...]
    options: dict[str, str]


def read(question: str) -> Item:
    """Raises ValueError for a text that is no item of this task, with an impossible date or without options."""
    body, mark, _ = question.partition("Options:")
    asked = _ASKED.search(body)
    listed = _OPTION.findall(question)
    if not mark or not asked or not 2 <= len(listed) == len(dict(listed)):
        raise ValueError("not a question about a date with options in MM/DD/YYYY, each under a letter of its own")
    sentences = [part.strip() for part in re.split(r"(?<=\w)\. ", body[: asked.start()].strip() + " ") if part.strip()]
    if not sentences:
        raise ValueError("no date is given")
    known, given = _given(sentences[0])
    relations, dated = [], {known}
    for sentence in sentences[1:]:
        relations.append(_relation(sentence, known))
        known = relations[-1].subject.lower()
        if known in dated:
            raise ValueError(f"{known} is dated twice")
        dated.add(known)
    relations.append(_asked(asked[1], known))
    return Item(given, tuple(relations), dict(listed))


def _given(sentence: str) -> tuple[str, date]:
    """What the first sentence dates, and its date. Of two people only the one who is right counts."""
    disputed = re.fullmatch(r"(\w+) thinks (.+?) is (\S+), but (\w+) thinks it is (\S+), and (\w+) is right", sentence)
    if disputed:
        first, subject, date_by_first, second, date_by_second, right = disputed.groups()
        thought = {first: date_by_first, second: date_by_second}
        if right not in thought or first == second:
            raise ValueError(f"{right} thinks nothing that others do not")
        return subject.lower(), day_of(thought[right])
    plain = re.fullmatch(r"(.+?) (?:is|was|is on|was on) ((?:\S+ \d+, |)\S+)", sentence)
    if not plain:
        raise ValueError(f"no date is given in {sentence[:60]!r}")
    return plain[1].lower(), day_of(plain[2])


def day_of(text: str) -> date:
    """``6/18/2019``, ``06/18/2019`` or ``June 18, 2019``. Raises ValueError for a date that does not exist."""
    if match := _NUMERIC.fullmatch(text):
        month, day, year = map(int, match.groups())
    elif match := _NAMED.fullmatch(text):
        month, day, year = MONTHS.index(match[1]), int(match[2]), int(match[3])
    else:
        raise ValueError(f"{text[:40]!r} is no date")
    return _in_range(date(year, month, day))


def _relation(sentence: str, known: str) -> Relation:
    match = re.fullmatch(r"(.+?) (?:is|was) (.+)", sentence)
    amount = _AMOUNT.match(match[2]) if match else None
    if not match or not amount or match[2][amount.end() :].strip().lower() != known:
        raise ValueError(f"no relation to {known} in {sentence[:60]!r}")
    return Relation(match[1], _signed(amount), amount[2], known)


def _asked(text: str, known: str) -> Relation:
    """``the date tomorrow``, ``the date 10 days ago``, ``the date one week from today``."""
    if known != "today":
        raise ValueError("the question does not say which day is today")
    when = text.removeprefix("the date ")
    fixed = {"today": 0, "tomorrow": 1, "yesterday": -1}
    if when in fixed:
        return Relation("The date asked for", fixed[when], "day", "today")
    amount = _AMOUNT.match(when)
    if not amount or when[amount.end() :].strip() not in ("", "today", "now"):
        raise ValueError(f"the date asked for is not understood: {text[:60]!r}")
    return Relation("The date asked for", _signed(amount), amount[2], "today")


def _signed(amount: re.Match[str]) -> int:
    size = _NUMBERS.get(amount[1]) or int(amount[1])
    return -size if amount[3] in ("before", "ago") else size


def solve(item: Item) -> list[Step]:
    """The canonical answer. Raises ValueError if a relation leads nowhere or no option holds the date."""
    solved, day = [], item.given
    for at, relation in enumerate(item.relations, start=1):
        reached = relation.apply(day)
        text = f"{relation} ({write(day)}), so it is {write(reached)}."
        solved.append(Step(str(at), text, (relation, day, reached)))
        day = reached
    letters = [letter for letter, option in item.options.items() if option == write(day)]
    if len(letters) != 1:
        raise ValueError(f"{len(letters)} options hold the date {write(day)}")
    return [*solved, Step(FINAL, f"So the answer is ({letters[0]}).", letters[0])]


def write(day: date) -> str:
    return f"{day.month:02}/{day.day:02}/{day.year}"


def judge(item: Item, want: Step, text: str) -> Fault | None:
    """What is wrong with a line that differs from the canonical one."""
    if want.label == FINAL:
        return _judge_option(item, want.data, text)
    match = _STEP.fullmatch(text)
    if not match:
        return Fault("format", text, "the line is no relation with two dates", False)
    relation, start, reached = want.data
    if " ".join(match[1].split()).lower() != str(relation).lower():
        return Fault("relation", match[1], "the question has another relation here")
    for found, right, kind in ((match[2], start, "base_date"), (match[3], reached, "date_arithmetic")):
        try:
            day = day_of(found)
        except ValueError:
            return Fault("impossible_date", found, f"{found} is no date")
        if day != right:
            why = f"{relation.anchor} is {write(right)}" if kind == "base_date" else "the calendar gives another date"
            return Fault(kind, found, why)
    return None


def _judge_option(item: Item, letter: str, text: str) -> Fault | None:
    match = _ANSWER.fullmatch(text)
    if not match:
        return Fault("format", text, "the line gives no option as the answer", False)
    if match[1] not in item.options:
        return Fault("no_such_option", f"({match[1]})", f"there is no option ({match[1]})")
    reason = f"option ({match[1]}) is {item.options[match[1]]}, not the date of the step before"
    return None if match[1] == letter else Fault("final_answer", f"({match[1]})", reason)


def working(item: Item, found: list[str]) -> Iterator[str]:
    """Each step's date, counted the long way and held against the one that the line has, part by part, up to the first
    that differs; of the final response, each option held against the last date: ``(1) 3 days after 01/30/1993: (30+3)
    0+3=3 3+0=3 33, 01 has 31, (33-31) 3-1=2 3-3=0 2, 02/02/1993: 02=02 02=02 1993=1993 yes``."""
    for line, want in zip(found, solve(item), strict=False):
        label, _, text = line.removeprefix("(").partition(") ")
        if label == want.label == FINAL:
            yield f"({FINAL}) {options_compared(item, want.data, text)}"
        match = _STEP.fullmatch(text)
        if label != want.label or not match:
            return
        relation, start, reached = want.data
        asked = f"({want.label}) {relation.distance} {write(start)}"
        if " ".join(match[1].split()).lower() != str(relation).lower():
            yield f"{asked} / {match[1]} no"
            return
        if not compared(write(start), match[2])[1]:
            yield f"{asked} / {match[2]} no"
            return
        beside, same = compared(write(reached), match[3])
        yield f"{asked}: {counted(relation, start)}, {write(reached)}: {beside}"
        if not same:
            return


def compared(day: str, text: str) -> tuple[str, bool]:
    """Month, day and year beside those of ``text``, up to the first that differs (``02=02 28=27 no``), and whether all
    are equal."""
    said = []
    for right, written in zip(day.split("/"), text.split("/"), strict=True):
        said.append(f"{right}={written.zfill(2)}")
        if int(right) != int(written):
            return f"{' '.join(said)} no", False
    return f"{' '.join(said)} yes", True


def options_compared(item: Item, letter: str, text: str) -> str:
    """Each option held against the last date, up to the one that is equal, and that one against the chosen one."""
    said = []
    for each, option in item.options.items():
        said.append(f"({each}) {compared(option, item.options[letter])[0]}")
        if each == letter:
            break
    if chosen := _ANSWER.fullmatch(text):
        said.append(f"({letter})=({chosen[1]}) {'yes' if chosen[1] == letter else 'no'}")
    return ", ".join(said)


def counted(relation: Relation, day: date) -> str:
    """How the relation's date is counted from ``day`` with one-digit facts, and months by their lengths."""
    amount, unit = abs(relation.amount), relation.unit
    if unit == "year":
        return added(day.year, relation.amount)
    if unit == "month":
        return ", ".join(through(day.month, relation.amount, lambda at: ("a year", 12)))
    parts = [f"{amount}*7={amount * 7}"] if unit == "week" else []
    months = day.year * 12 + day.month - 1

    def length(at: int) -> tuple[str, int]:
        year, month = divmod(months + at, 12)
        days = calendar.monthrange(year, month + 1)[1]
        return f"{month + 1:02}{f'/{year}' if month == 1 else ''}", days

    return ", ".join([*parts, *through(day.day, relation.amount * (7 if unit == "week" else 1), length)])


check = partial(steps.verify, read, solve, judge)
"""Of a question and an attempt: the first wrong step, or that all is right; see ``steps.Verdict``. Never raises."""
