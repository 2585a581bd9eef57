"""Finds the number of a concluding sentence that answers the question.

An example: "It takes 20 hours to install the other 4 windows." Every number is weighed: what is counted behind it, what
stands in front of it, and whether the question contains it already.
"""

import re
from dataclasses import replace

from laif_helpers.graders.asked import Asked
from laif_helpers.graders.asked import asked as asked_by
from laif_helpers.graders.numbers import SCALES, Number, numbers, plain
from laif_helpers.graders.units import UNITS, stem
from laif_helpers.graders.units import unit as unit_at

_MONEY = UNITS["dollar"]
_BEHIND = re.compile(r"[\s*-]*((?:[^\W\d_][\w'-]*[ \t]+){0,3}[^\W\d_][\w'-]*)?")
_GIVEN = re.compile(
    r"(?i)(?:\b(?:the|all|these|those|remaining|other|another|his|their|its|each|every|full|first|last|next|same"
    r"|(?<!costs )(?<!cost )(?<!leaves )her|both|per|than)|#|\bno\.|\bnumber)\s*$"
)
_ADJUNCT = re.compile(
    r"\b(?:over|after|in|within|during|for|per|every|throughout|of|at|on|by|each|across|with|from|among|between|into|if"
    r"|en|von|aus|из|за|por|pro|par|su|out of|before|until|when|because|since|while|whose|who|which|plus|minus|times"
    r"|instead of|rather than|compared (?:to|with)|versus|statt|au lieu de|en (?:lugar|vez) de|вместо)"
    r"\s+(?:(?:the|th[oe]se|that|this|all|his|her|their|its|an?|only|each|of|there are|s?he has|\w+ing)\s+){0,3}\$?$",
    re.IGNORECASE,
)
_TOTAL = re.compile(
    r"\b(?:total|sum|combined|average|maximum|minimum|amount|rest)(?: \w+)? (?:of|is|to)\s+"
    r"(?:about |only |exactly )?\$?$",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"(?:\b(?:is|are|was|were|be|equals?|has|have|had|makes?|made|needs?|gets?|got|costs?|paid|pays?|spends?|spent|earns?"
    r"|earned|takes?|took|left|saves?|saved|be|only|approximately|about|exactly|to)|[=:≈])\s*\$?$",
    re.IGNORECASE,
)
_SO = re.compile(
    r"(?i)\b(?:so|therefore|thus|hence|means|meaning|leaving|leaves|then|for a total of|gives|makes it)\b|→|⇒|=>"
)
_THEREFORE = re.compile(
    r"\b(?:so(?! (?:that|far|many|much))|therefore|thus|hence|which means|that means|meaning|leaving|making|will leave"
    r"|(?:(?<=[,;] )|\band )(?:(?:al)?together|in (?:total|all))"
    r"|(?:\bfor|[,;:—–]) a (?:\w+ )?(?:total|profit|balance|difference|cost|loss) of)\b",
    re.IGNORECASE,
)
"""What stands behind it in a sentence is the conclusion, what stands before it is not."""
_MAIN = re.compile(
    r"^\W*(?:since|because|if|as|when|given|assuming|having|after|with)\b[^.;]*,\s+(?:then\s+)?"
    r"(?=(?:he|she|it|they|we|you|I|there|the|his|her|their|[A-Z][\w']+)\b)",
    re.IGNORECASE,
)
"""A sentence's subordinate clause and what lies before the main one, whose numbers are given and not found."""
_CLAUSE = re.compile(
    r"(?:^|[,;])\W*(?:since|if|to|having|as|because|when|given|assuming|while|after|with)\b[^,;]*$|\b(?:because|since|if)\b[^,;]*$",
    re.IGNORECASE,
)
_STATES = re.compile(r"(?:[a-z]:|\b(?:is|are|was|be|equals?))\s*\$?$", re.IGNORECASE)
_LAST = re.compile(r"(?:\s+[a-z][\w-]*){0,2}\W*$", re.IGNORECASE)
_CLOCK = re.compile(r"\s?(?:[ap]\.?m\b|o'clock)|(?<=\d:\d\d)(?!\d)", re.IGNORECASE)
_RATE = re.compile(r"(?:\s[a-z]+){0,2}?\s(?:an?|per|each|every)\s(minute|hour|day|week|month|year)\b", re.IGNORECASE)
_LABEL = re.compile(r"(?:\A|[,;|(]\s?|\band )\W*((?:[^\W\d_][\w'-]*\s){0,3}?[^\W\d_][\w'-]*)\s?[:=|]\s?[$*]*\Z")
"""What names a number in front of it: "red balls: 4, blue balls: 6"."""
_ROW = re.compile(r"[\s*|-]*((?:[^\W\d_]|['-])+(?: (?:[^\W\d_]|['-])+){0,2})[\s*]*[:=|][\s*]*\$?\d[\d.,]*[\s*|.]*")
_TIMES = re.compile(r" times (?:as|more|that|\w+'s)\b")
_ENDS = re.compile(
    r"\s+(?:[\w-]+\s+){0,3}?(?:more|left|in total|altogether|in all|total|remaining|each)\b", re.IGNORECASE
)
_DIGITS = r"(?<![\d,.:])[-−]?[$€£]?\d[\d,]*(?:\.\d+)?(?:\s?%)?"
_UNIT = r"(?:\s(?!(?:if|when|depending|as|because|in|for|but|and|or|is|was|with)\b)[a-z]+)?"
_EITHER = re.compile(
    rf"(?i)(?P<between>\bbetween\s+)?(?<!and )(?<!hours )(?<!hour )(?<!feet )"
    rf"(?P<one>{_DIGITS})[}}$*]*(?P<unit>{_UNIT})(?:(?(between)\s+and|,?\s+(?:\\text\{{\s?)?or\b(?:\s?\}})?)"
    r"(?:\s+(?:maybe|perhaps|possibly|even))?|,?\s+(?:maybe|perhaps|possibly)|[.,;]?\s+(?:but|though|although|or|and"
    r"|however,)\s+(?:it|this|that|the answer)\s+(?:could|might|may)\s+(?:\w+\s+)?be)"
    rf"\s+(?:[$*]|\\boxed\{{)*(?P<other>{_DIGITS})(?![\d'′])[}}$*]*(?P<its>{_UNIT})",
)
"""Two numbers between which an answer does not choose: "12 or 15", "between 12 and 15", "12, but it could be 15"."""
_OWNER = re.compile(r"(?<!than )(?<!as )\b([A-Z][a-z]+)\b(?:['’]s \w+)?(?: [a-z]+){0,2}[\s:=$]*\Z")
_SAVES = re.compile(r"\b(?:sav(?:e[sd]?|ing)|discount(?: of)?)\s*(?:of\s*)?\$?$", re.IGNORECASE)
_REASON = re.compile(r"\s\((?:since|because|as|check)\b[^()]*\)|[;,] (?:since|because|check)\b[^;]*\Z", re.IGNORECASE)
MOST_NUMBERS = 80
_SCALE_ASKED = re.compile(rf"\b(?:how many|what number of|in) ({'|'.join(SCALES)})s?\b[^.?]*\?", re.IGNORECASE)


def settled(number: Number | None, how: str, text: str, start: int = 0) -> tuple[Number | None, str]:
    """A number stated from ``start`` on and how it was found; (None, "two") if another one is given as just as good."""
    for pair in _EITHER.finditer(text, max(0, start - 40)) if number else ():
        first, other = (found[0] for found in (numbers(pair["one"]), numbers(pair["other"])))
        same_unit = not (pair["unit"] and pair["its"]) or pair["unit"] == pair["its"]
        same_sign = first.percent == other.percent and ("$" in pair["one"]) == ("$" in pair["other"])
        whole = first.value.denominator == other.value.denominator == 1  # "3.6 or 4" is rounded
        differ = first.value != other.value and number and number.value in (first.value, other.value)
        if differ and pair.end() > start and same_unit and same_sign and whole:
            return None, "two"
    return number, how


def without_reason(sentence: str) -> str:
    """A concluding sentence without the reason behind its answer, if it has numbers without it."""
    shorter = _REASON.sub("", sentence)
    return shorter if numbers(shorter) else sentence


def asked_row(sentences: list[str], question: str) -> str:
    """Of lines such as "Red: 4" and "Blue: 6" at the end, the one that the question names; "" if none alone."""
    asked, found = asked_by(question), []
    for row in map(_ROW.fullmatch, reversed(sentences)):
        if row is None:
            break
        found.append((len({*map(stem, row[1].casefold().split())} - {*(asked.counted or asked.clause)}), row))
    fitting = [row[0] for others, row in found if not others]
    return fitting[0] if len(fitting) == 1 < len(found) else ""


def none_counted(sentence: str, question: str) -> bool:
    """Whether a sentence without numbers says that there is none of what the question counts: "She has no apples."."""
    counted = asked_by(question).counted
    nothing = rf"(?i)(?:\bno|n['’]t any) (?:more )?(?:\w+ )?{re.escape(counted[-1])}" if counted else "(?!)"
    return not numbers(sentence) and re.search(nothing, sentence) is not None


def in_asked_scale(number: Number, question: str) -> Number:
    """3.5 for "3.5 million" where the question asks how many million."""
    scale = _SCALE_ASKED.search(question)
    return replace(number, value=number.value / SCALES[scale[1].lower()]) if scale else number


def dozens_counted(text: str, question: str) -> str:
    """ "half a dozen" as 6 if the question counts other things than dozens; "a dozen" as 12 if no digit rivals it."""
    asked = asked_by(question)
    if "dozen" not in text.casefold() or "dozen" in asked.words or not asked.counted:
        return text
    text = plain(re.sub(r"\bhalf a(?= dozen)", "1/2", text, flags=re.IGNORECASE))
    text = text if re.search(r"\d", text) else re.sub(r"\ba(?= dozen)", "1", text, flags=re.IGNORECASE)
    for number in reversed(numbers(text)):
        if dozen := re.compile(r"[\s-]dozens?\b", re.IGNORECASE).match(text, number.end):
            text = f"{text[: number.start]}{12 * number.value}{text[dozen.end() :]}"
    return text


def choose(sentence: str, question: str, leading: bool = False) -> Number:
    """The number of ``sentence`` (it has one at least) that answers ``question``; the last of equals.

    ``leading``: the sentence follows "the answer is", so that the number at its beginning is the answer unless
    another one has the unit that is asked for.
    """
    bare, asked = plain(sentence), asked_by(question)
    found = _merged(numbers(sentence), bare, asked)
    if len(found) == 1:
        return found[0]
    if len(found) > MOST_NUMBERS:  # the first and the last ones: those can be the answer
        found = [found[0], *found[1 - MOST_NUMBERS :]]
    so, therefore = (
        max((match.end() for match in pattern.finditer(bare) if match.end() <= found[-1].start), default=0)
        for pattern in (_SO, _THEREFORE)
    )
    begins = _MAIN.match(bare)
    main = begins.end() if begins and begins.end() <= found[-1].start else 0
    weights = [
        _weight(number, found, bare, asked)
        + 3.5 * (number.start >= so > 0)
        + 4.0 * (number.start >= therefore > 0)
        + 3.0 * (number.start >= main > 0)
        + 2.5 * owner
        for number, owner in zip(found, _owners(found, bare, asked), strict=True)
    ]
    if leading:
        weights[0] += 4
    parts = re.search(r"[:—]|\bof which\b|\bincluding\b|\bmade up of\b", bare[found[0].end : found[1].start])
    if parts and found[0].value == sum(number.value for number in found[1:]):
        weights[0] += 2  # "7 apples: 3 red and 4 green"
    return found[max(range(len(found)), key=lambda place: (weights[place], place))]


def _owners(found: list[Number], text: str, asked: Asked) -> list[int]:
    """1 for a number of the one whom the question asks about, -1 for another one's: "Ben is 12, Ana is 24."; all 0 if
    not both are there."""
    begins = zip([0, *(number.end for number in found)], found, strict=False)
    named = [set(_OWNER.findall(text[begin : number.start])) for begin, number in begins]
    owners = [bool(asked.names & name) - bool(asked.others & name) for name in named]
    return owners if {1, -1} <= set(owners) else [0] * len(found)


def _merged(found: list[Number], text: str, asked: Asked) -> list[Number]:
    """Numbers with the likes of "7 hours 32 minutes" as one, in the unit that is asked for."""
    merged: list[Number] = []
    for number in found:
        end = number.start + len(number.text)
        unit, before = unit_at(text, end), merged[-1] if merged else None
        between = text[before.start + len(before.text) : number.start] if before else ""
        larger = unit_at(between, 0) or (_MONEY if before and "$" in before.text else None)
        joined = re.fullmatch(r"[\s-]?[a-zA-Z]+,?\s*(?:(?:and|&|und|et|y|e|en|och|i|и)\s+)?", between)
        wanted = asked.unit or (_MONEY if asked.money else None)
        if joined and before and unit and larger and wanted and _parts(larger, unit, wanted):
            value = (before.value * larger[1] + number.value * unit[1]) / wanted[1]
            words = " ".join([text[before.start : end], *text[end : end + 20].split()[:1]])
            merged[-1] = replace(before, value=value, text=words[: len(text) - before.start])
        else:
            merged.append(number)
    return merged


def _parts(larger: tuple[str, int], smaller: tuple[str, int], asked: tuple[str, int]) -> bool:
    """Whether two units measure what is asked for, the larger one first."""
    return larger[0] == smaller[0] == asked[0] and smaller[1] < larger[1]


def _weight(number: Number, found: list[Number], text: str, asked: Asked) -> float:
    before, end = text[max(0, number.start - 60) : number.start], number.start + len(number.text)
    behind = _BEHIND.match(text, end)
    words = [stem(word) for word in (behind[1] or "").casefold().split()] if behind else []
    compound = (
        " " in number.text
        and number.value not in asked.values
        and unit_at(number.text, len(number.text.split()[0])) is not None
    )
    weight = -(2.0 if number.value <= 2 else 3.0) * (number.value in asked.values) - 2.5 * (
        number.spelled and any(not other.spelled for other in found)
    )
    weight += _place(before, text, end, asked)
    label = _LABEL.search(before)
    named = set(map(stem, label[1].casefold().split()) if label else words[:3]).intersection(asked.counted)
    if named:
        weight += (3.0 if asked.counted[-1] in named else 1.5) + 0.5 * (len(named) - 1)
    elif asked.words.intersection(words):
        weight += 0.4
    if (rate := _RATE.match(text, end)) and asked.rates:
        weight += 1.5 if rate[1].lower() in asked.rates else -2.0
    dollars = "$" in number.text or before.endswith("$")
    unit = _MONEY if dollars else unit_at(text, end)
    if asked.unit and unit and unit[0] == asked.unit[0]:
        weight += 2.5 if unit == asked.unit or compound else -2.0
    elif (asked.money and unit and unit[0] == "money") or (asked.long and unit and unit[0] in ("time", "age")):
        weight += 2.5
    if number.percent:
        weight += 4.0 if asked.percent else -1.5
    if _LAST.match(text, end) and _STATES.search(before) and not (label and named):
        weight += 2.5
    depth = text.count("(", 0, number.start) - text.count(")", 0, number.start)
    if _SAVES.search(before):
        wanted = asked.money and number.value not in asked.values
        weight += 3.0 * wanted if re.search(r"\bsav|discount", " ".join(asked.words)) else -3.0
    return weight - (2.0 if depth > 0 and not (asked.unit and unit == asked.unit) else 0.0)


def _place(before: str, text: str, end: int, asked: Asked) -> float:
    """What the words beside a number say about it, apart from what it counts."""
    weight = 0.0
    if _TOTAL.search(before):
        weight += 2.0
    elif _ADJUNCT.search(before):
        weight -= 2.0
    if _GIVEN.search(before) or _CLAUSE.search(before):
        weight -= 2.0
    elif _VERB.search(before):
        weight += 1.0
    if text[end : end + 1] == "-" or (_CLOCK.match(text, end) and not asked.clock) or _TIMES.match(text, end):
        weight -= 3.0
    return weight + 0.5 * (_ENDS.match(text, end) is not None)
