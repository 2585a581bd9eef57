"""Reads numbers as people and models write them: digits, words, LaTeX, fractions, units; compared by exact fractions.

No ``eval``. ``final_number`` decides which of a text's numbers is its answer.
"""

import functools
import math
import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from laif_helpers.graders import eastern, separators

TOLERANCE = Fraction(1, 10_000)  # the papers' tolerance: |answer - gold| <= 1e-4
NONE = "None"
"""GSM-Plus' gold answer of a question that cannot be answered; also what an answer that says so reads as."""
_NO_END = 99  # decimals of a fraction: as many as one likes

_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
UNITS, TENS = f"{_UNITS} seventeen eighteen nineteen".split(), _TENS.split()
WORDS = {word: value for value, word in enumerate(UNITS)} | {word: 20 + 10 * n for n, word in enumerate(TENS)}
"""Number words from 0 to 90; this module holds the only table of them."""
NUMERALS = {word: str(value) for word, value in WORDS.items() if value > 1}
"""Number words as digits. "one" is a pronoun more often than a number."""
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
PARTS = {"half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7}
PARTS |= {"eighth": 8, "ninth": 9, "tenth": 10, "twelfth": 12, "twentieth": 20}
_INDIAN = {"लाख": 10**5, "करोड़": 10**7, "lakh": 10**5, "crore": 10**7}
_LETTERS = {"k": 1000, "m": 10**6, "b": 10**9, "t": 10**12, "la": 10**5, "cr": 10**7, "md": 10**9}
_SHORT = r"[kKMB]| ?(?:bl?n|ml?n|Mds?|lacs?)"
_SHORT_MONEY = rf"{_SHORT}| ?(?:[kKmMbBT]|MM|trn?|tn|bil|Cr)(?![^$\n]{{0,60}}\$(?!\d))"  # $5m$ is five metres in LaTeX

# 1,234.5 | 1'234.5 (Swiss) | 1,23,456 (Indian) | 1234.5 | .5 — at most 400 digits, so that no text makes it slow
_PLAIN = (
    r"(?:\d{1,3}(?:(?:,\d{3})+|(?:['’]\d{3})+)(?!\d)|\d{1,2}(?:,\d\d)+,\d{3}(?!\d)|\d{1,400})(?:\.\d{1,400})?"
    r"|\.\d{1,400}"
)
_PART = "|".join(sorted(PARTS, key=len, reverse=True))
_AND_PART = rf"\s+and\s+(?P<parts>an?|{'|'.join(UNITS[1:10])})[\s-](?P<part>{_PART})s?\b"
_PERCENT = r"(?P<percent>\s*(?:%|\\%|per\s?cent\b))?"
_CODE = r"(?-i:[A-Z]{3}|RM|KSh|Ksh|Tk|Bs|R(?=\d[\d.,]))(?=\d)"  # USD12, R1,200
_CURRENCY = rf"(?P<money>(?:US)?\$|€|£|¥|₹|R[sp]\.?\s?|{_CODE})?"
NUMBER = re.compile(
    rf"(?<![\w.])(?P<sign>(?:[-−–]\s?|\+|\b(?:negative|minus)\s+)?){_CURRENCY}(?P<minus>[-−]?)"
    rf"(?P<first>{_PLAIN})(?::(?P<minutes>[0-5]\d)(?::(?P<seconds>[0-5]\d))?(?!\d))?"
    r"(?:(?:\s*/\s*(?P<below>\d{1,30})(?!\d|\.\d|/))|(?:(?:\s+(?:and\s+)?|-(?=\d/\d{1,2} [a-z]))"
    rf"(?P<above>\d{{1,9}})\s*/\s*(?P<of>[1-9]\d{{0,8}})(?!\d))|{_AND_PART})?"
    r"(?:[eE](?P<exponent>[-+]?\d{1,3})(?!\d)|\s?(?:[x×*·]|\\times|\\cdot)\s?10\s?(?:\^|\*\*)\s?\{?(?P<power>[-−]?\d{1,3})\}?"
    r"|\s?\^\s?\{?(?P<raised>[-−]?\d{1,2})\}?)?"
    rf"(?:(?P<letter>(?-i:(?(money)(?:{_SHORT_MONEY})|(?:{_SHORT}| ?[kmMbB](?=\s?[€£¥]|\sUSD|\sEUR))))\b)"
    r"|\s*(?P<scale>hundred|thousand|million|billion|trillion)s?\b"
    r"|\s?(?P<east>[百천千]?[万萬亿億만억]|[百千천](?![克米瓦卡分])|लाख|करोड़|lakhs?\b|crores?\b))?"
    rf"{_PERCENT}",
    re.IGNORECASE,
)
_WORD = "|".join(sorted([*WORDS, *SCALES], key=len, reverse=True))
_SPELLED = re.compile(
    rf"\b(?:(?P<negative>negative|minus)\s+)?"
    rf"(?:(?P<words>(?:an?\s+(?=(?:{'|'.join(SCALES)})\b))?(?:{_WORD})(?:(?:\s+|-|(?<=red|and|ion)\s+and\s+"
    rf"|(?<=sand|lion),\s+(?=(?:{_WORD})(?:[\s-](?:{_WORD}))?\s(?:hundred|thousand)))(?:{_WORD}))*)"
    rf"(?:(?P<of>[\s-](?:{_PART})s?)|{_AND_PART}"
    rf"|\s+point(?P<digits>(?:[\s-](?:{'|'.join(UNITS)}))+))?"
    rf"|(?P<more>(?:an?|one)\s+\w+\s+and\s+)?(?P<alone>(?:an?|one)[\s-](?:{_PART})|half))\b{_PERCENT}",
    re.IGNORECASE,
)
_LATEX = re.compile(r"(-?)\\[dtc]?frac\s*(?:\{\s*(-?[\d.,]{1,40})\s*\}|(\d))\s*(?:\{\s*([\d.,]{1,40})\s*\}|(\d))")
_LATEX_SPACE = re.compile(r"\\[,!](?:\s(?=\d{3}))?|(?<=\d)\\[ ;:](?=\d{3}(?!\d))")
_REPEATING = re.compile(
    r"(?<!\d)(\d{1,40})\.(?:(\d{0,40})\s?(?:\\(?:overline|bar|overbar|dot)\s?\{?(\d{1,40})\}?|\((\d{1,9})\)(?![\w(]))"
    r"|(\d{0,9}?)(\d{1,9}?)\6{1,9}(?:\.\.\.|…))"
)
# "一共" (in total), "第一" (the first), "百分之" (percent) and the like name no number
_CHINESE = re.compile(
    r"(?<![第统統唯万萬\d])(?!一[共起样樣定些般直切旦致方旁边邊半下会會]|一[点點](?![零〇一二三四五六七八九])|十分|百分|三角|四边|四邊)"
    r"[零〇一二两兩三四五六七八九十百千万萬亿億]{1,30}(?:[点點](?P<decimals>[零〇一二三四五六七八九]{1,20}))?"
)
_ROUGHLY = re.compile(r"(\d{1,30}\s?/\s?\d{1,30})\s{0,3}≈\s{0,3}\d{0,30}\.\d{2,30}(?!\d|\s?%)")
_UNIT_POWER = re.compile(r"(?<=[A-Za-z}])\s?\^\s?\{?(?:-?[23]|-1)\}?")
_BELOW_ZERO = re.compile(
    rf"(?<![\w.-])((?:\d{{1,9}}(?:\.\d)?|(?i:{'|'.join(WORDS)})(?:-[a-z]+)?)"
    r"(?:\s?°\s?[CF]?|\s+degrees?(?: \w{1,12})?)?)\s+below (?:zero|0)\b"
)
_SCALED_HALF = re.compile(rf"\b({'|'.join(UNITS[1:])}) and a half (?={'|'.join(SCALES)})", re.IGNORECASE)
_LABEL = re.compile(r"\b(?:day|week|month|year|step|part|room|question|number|no\.|grade|chapter|page)\s*#?$", re.I)


@dataclass(frozen=True, slots=True)
class Number:
    """A number read from a text.

    ``text``: the words it was read from, at ``start`` of the (``plain``) text. ``decimals``: digits behind the point.
    ``style`` (which only the symbolic instructor tells apart): digits, word, fraction, spoken (two thirds), ordinal,
    clock, scaled (5 thousand).
    """

    value: Fraction
    text: str
    percent: bool = False
    decimals: int = 0
    start: int = 0
    spelled: bool = False
    style: str = "digits"
    money: bool = False

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def kind(self) -> str:
        """Numbers of one kind can be compared: percent, money or count."""
        return "percent" if self.percent else "money" if self.money else "count"


def numbers(text: str) -> list[Number]:
    """All numbers of a text in reading order, spelled-out ones included."""
    text = plain(text)
    found = [number for match in NUMBER.finditer(text) if (number := _digits(match))]
    # "on day 3" names a day, it counts nothing; unless it is all there is
    counted = [number for number in found if not _LABEL.search(text[: number.start].rstrip()[-12:])]
    found = counted or found
    found += [number for match in _SPELLED.finditer(text) if (number := _spelled(match))]
    found += [] if text.isascii() else [number for match in _CHINESE.finditer(text) if (number := _chinese(match))]
    kept: list[Number] = []
    end = -1
    for number in sorted(found, key=lambda number: number.start):
        # "5 thousand" is one number: the word is part of what the digits already took in
        if number.start > end:
            kept.append(number)
            end = number.end - 1
    return kept


def equal(number: Number, gold: str) -> bool:
    """Equal within the tolerance; a gold that is rounded itself (two decimals or more) allows more precision."""
    wanted = parse(gold)
    if wanted is None:
        return False
    values = [number.value, number.value / 100] if number.percent and not wanted.percent else [number.value]
    if wanted.percent and not number.percent:
        values.append(number.value * 100)
    near = min(TOLERANCE, abs(wanted.value) / 1000) or TOLERANCE  # 1e-7 is not 1e-6
    if any(abs(value - wanted.value) <= near for value in values):
        return True
    half = Fraction(1, 2 * 10**wanted.decimals)
    return wanted.decimals >= 2 and number.decimals > wanted.decimals and abs(values[0] - wanted.value) <= half


@functools.lru_cache(maxsize=4096)  # one gold answer is held against many numbers of a response
def parse(gold: str) -> Number | None:
    """A gold answer such as ``1,080``, ``-3``, ``4.33``, ``5/8`` or ``12%``."""
    found = numbers(gold)
    return found[0] if found else None


def plain(text: str) -> str:
    """The text without what only decorates numbers: LaTeX, bold, narrow spaces, calculator marks, powers of units."""
    text = re.sub(r"<<[^<>\n]{0,4000}=[^<>\n]{0,4000}>>", "", text)
    text = _REPEATING.sub(lambda match: f" {_repeating(*(part for part in match.groups() if part is not None))} ", text)
    text = _LATEX.sub(lambda match: f" {match[1]}{match[2] or match[3]}/{match[4] or match[5]} ", text)
    text = _LATEX_SPACE.sub("", text.replace("\\$", "$").replace("{,}", ",")).replace("~", " ")
    text = re.sub(r"\\(?:text|textbf|mathrm|mathbf|[mh]box)\s*\{([^{}]*)\}", r" \1", text)
    text = _UNIT_POWER.sub("", text)
    text = re.sub(r"(\d)(?:['′]| ?ft\.? )(\d{1,2})(?:[\"″]| ?in\b)", r"\1 feet \2 inches", text)
    text = re.sub(r"(?<=\d)h(?=\d)", " h ", re.sub(r"(?<=\d)h(\d\d)(?!\d|\s?m)", r" h \1 min", text))
    text = _SCALED_HALF.sub(lambda match: f"{WORDS[match[1].lower()]}.5 ", text)
    text = re.sub(r"(?<![\d.])(\d{1,2})\.(?=[0-5]\d ?[AaPp]\.?[Mm]\b)", r"\1:", text)
    text = _BELOW_ZERO.sub(r"minus \1", re.sub(r"\b[Aa]n(?= hour and \d)", "1", text))
    text = re.sub("-?[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒]", lambda match: f" {unicodedata.normalize('NFKC', match[0])} ", text)
    text = text.replace("\N{FRACTION SLASH}", "/").replace("¢", " cents")
    text = re.sub(r"10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda match: f"10^{unicodedata.normalize('NFKC', match[1])}", text)
    text = re.sub("[\u00a0\u2009\u202f]", " ", re.sub("(?<=\\d)[\u00a0\u2009\u202f_](?=\\d{3}(?!\\d))", "", text))
    text = separators.plain(text)
    text = text if text.isascii() else eastern.plain(_ROUGHLY.sub(r"\1", text))
    text = re.sub(r"(?<![^\W_])_{1,40}(?=[-$\d])|(?<=\d)_{1,40}(?![^\W_])", "", text)
    return re.sub(r"\*\*(?!\s?\d)|__|`|(?<!\d)\*\*", "", text)


def _repeating(whole: str, fixed: str, repeated: str) -> Fraction:
    """15.\\overline{3} as 46/3."""
    ninths = Fraction(int(repeated), 10 ** len(repeated) - 1) / 10 ** len(fixed)
    return Fraction(f"{whole}.{fixed or 0}") + ninths


def _digits(match: "re.Match[str]") -> Number | None:
    first = re.sub("[,'’]", "", match["first"])
    try:
        value = _scaled(match, _with_fraction(match, Fraction(first)))
    except (ValueError, ZeroDivisionError):
        return None
    negative = _is_minus(match)
    if match["minus"] or negative:
        value = -value
    start = match.start() if negative or not match["sign"] else match.end("sign")
    text = match.string[start : match.end()].strip()
    decimals = _NO_END if match["below"] or match["of"] or match["part"] else len(first.partition(".")[2])
    return Number(value, text, bool(match["percent"]), decimals, start)


def _with_fraction(match: "re.Match[str]", value: Fraction) -> Fraction:
    if match["below"]:
        return value / Fraction(match["below"])
    if match["above"]:
        return value + Fraction(int(match["above"]), int(match["of"]))
    if match["part"]:
        return value + _part(match)
    return value + Fraction(60 * int(match["minutes"] or 0) + int(match["seconds"] or 0), 3600)


def _scaled(match: "re.Match[str]", value: Fraction) -> Fraction:
    if match["raised"] and value < 10**9:
        return value ** int(match["raised"].replace("−", "-"))
    if power := match["exponent"] or match["power"]:
        value *= Fraction(10) ** int(power.replace("−", "-"))
    if match["letter"]:
        short = match["letter"].strip().lower()
        return value * (_LETTERS.get(short[:2]) or _LETTERS[short[0]])
    if east := match["east"]:
        return value * (
            _INDIAN.get(east.lower().removesuffix("s")) or math.prod(eastern.EASTERN[sign] for sign in east)
        )
    return value * SCALES[match["scale"].lower()] if match["scale"] else value


def _is_minus(match: "re.Match[str]") -> bool:
    """``-5`` is negative; the dash of ``10 - 5`` or ``10-5`` takes away, the dash of a list item lists."""
    sign = match["sign"]
    before = match.string[: match.start()].rstrip()[-1:]
    apart = len(sign or "") == 2 and sign[-1].isspace() and before != "="
    return bool(sign) and sign != "+" and not apart and before not in {*"0123456789)]"}


def _spelled(match: "re.Match[str]") -> Number | None:
    sign = -1 if match["negative"] else 1
    if match["alone"]:
        word = match["alone"].lower().replace("-", " ").split()[-1]
        value = Fraction(sign, PARTS[word]) + bool(match["more"])
        return Number(value, match.group(0), bool(match["percent"]), _NO_END, match.start(), True)
    value = Fraction(_value(match["words"].lower()))
    if value < 0:
        return None
    if match["of"]:
        value /= part_of(match["of"][1:].lower())
    if match["part"]:
        value += _part(match)
    digits = "".join(str(WORDS[word]) for word in (match["digits"] or "").lower().replace("-", " ").split())
    value += Fraction(f"0.{digits or 0}")
    decimals = _NO_END if match["of"] else len(digits)
    return Number(sign * value, match.group(0), bool(match["percent"]), decimals, match.start(), True)


def _part(match: "re.Match[str]") -> Fraction:
    """The fraction of "two and three quarters"."""
    return Fraction(WORDS.get(match["parts"].lower(), 1), PARTS[match["part"].lower()])


def part_of(word: str) -> int:
    """3 for "third" and "thirds"."""
    return PARTS.get(word) or PARTS[word.removesuffix("s")]


def _chinese(match: "re.Match[str]") -> Number | None:
    decimals = "".join(str(eastern.DIGITS[sign]) for sign in match["decimals"] or "")
    value = eastern.value_of(re.split("[点點]", match[0])[0])
    if value is None:
        return None
    percent = match.string.startswith("%", match.end())
    sign = -1 if match.string[: match.start()].rstrip().endswith("minus") else 1
    exact = value + Fraction(f"0.{decimals or 0}")
    return Number(sign * exact, match[0], percent, len(decimals), match.start(), True)


def _value(text: str) -> int:
    """The value of number words; -1 if they name none ("hundreds", a bare "million")."""
    total = current = 0
    words = re.findall(rf"\b(?:{_WORD}|an?)\b", text)
    if words[0] in SCALES:
        return -1
    for word in words:
        if word in ("a", "an"):
            current = 1
        elif word in WORDS:
            current += WORDS[word]
        elif word == "hundred":
            current = (current or 1) * 100
        else:
            total, current = total + (current or 1) * SCALES[word], 0
    return total + current
