"""Translates phrases that state an answer from other languages into English, and digits into ASCII.

``english`` translates nothing but the phrases that announce an answer, so that one reader serves every language.
"""

import itertools
import re
import string
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from laif_helpers.graders import eastern

TABLE: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("languages.yaml").read_text(encoding="utf-8"))


def _compounds() -> Iterator[tuple[str, int]]:
    """Words that join ones and tens: einundzwanzig, tweeëntwintig, ventuno, trettiofem."""
    for how, (ones, tens) in TABLE["joined"].items():
        pairs = itertools.product(enumerate(ones.split(), 1), enumerate(tens.split(), 2))
        for (n, one), (t, ten) in pairs:
            if how in ("und", "en"):
                yield f"{one}{'ën' if how == 'en' and one[-1] == 'e' else how}{ten}", 10 * t + n
            else:
                yield f"{ten[:-1] if how == 'Italian' and one[0] in 'uo' else ten}{one}", 10 * t + n


_VALUES = (*range(2, 21), *range(30, 101, 10))
_PAIRS = [pair for row in TABLE["counted"] for pair in zip(row.split(), _VALUES, strict=True)]
_PAIRS += [(word, value) for value, row in TABLE["worth"].items() for word in row.split()]
_PAIRS += _compounds()
_ANY = {word.strip("?").replace("_", " "): value for word, value in _PAIRS}
COUNTED = {word.replace("_", " "): value for word, value in _PAIRS if not word.endswith("?")}
"""Numbers in words. They count in texts without digits, in which they can put no other number aside."""
_KOREAN = {word: n for row in ("ones", "before a noun") for n, word in enumerate(TABLE["Korean"][row].split(), start=1)}
_SINO = str.maketrans("일이삼사오육칠팔구십백천만", "一二三四五六七八九十百千万")
_SINO_RUN = re.compile(
    "(?<![가-힣])(?=[^십백천만]?[십백천만])[일이삼사오육칠팔구십백천만]+(?= ?(?:개|원|명|살|분|시간|달러|입니다|$))"
)
_LABEL = r"(?-i:[A-J])(?![A-Za-zÀ-ÿ\d_'])"
_IS_RIGHT = re.compile(
    rf"(?:(?:{TABLE['noun']})\s*|(?<![A-Za-zÀ-ÿ\d_']))({_LABEL})\s*?(?:[选選])?(?:{'|'.join(TABLE['right'])})",
    re.IGNORECASE,
)
_IS_WRONG = re.compile(rf"(?<![\w'])({_LABEL})\s*[项項]?(?:是|为|為)?(?:[错錯](?:[误誤])?|不正[确確]|不[对對])的?")
CONCLUDES = "|".join(TABLE["concludes"])
"""What opens a conclusion or names a total, in these languages."""
_word, _more = ("|".join(sorted((w for w in _ANY if _ANY[w] > n), key=len, reverse=True)) for n in (0, 1))
_JOINS = r"hundert|tausend|cento|mila|mille|honderd|duizend|hundra|tusen"
# Turkish for a thousand where more of the number follows; "bin" alone is German, and a word for where waste goes
_BIN = re.compile(
    r"\bbin(?= (?:iki|üç|dört|beş|altı|yedi|sekiz|dokuz|yirmi|otuz|kırk|elli|altmış|yetmiş|seksen|doksan|yüz)\b)"
)
_BETWEEN = (
    rf"(?:(?:(?<=\bmil),)?(?:[\s-]|\s(?:et|y|e|und|lẻ|linh)\s){{1,3}}|(?={_JOINS})"
    rf"|(?:{'|'.join(f'(?<={word})' for word in _JOINS.split('|'))})(?:und|en)?)"
)
_WHOLE = re.compile(rf"(?:{_word})(?={_BETWEEN}(?:{_word})|\Z)")  # not "trece", thirteen, of "trecento"
_NUMBER_WORDS = re.compile(
    rf"(?<![\w-])(?:{_more})(?:{_BETWEEN}(?:{_word})){{0,8}}(?![\w-])(?!\s(?:et|y|e)\s)"
    rf"|(?<!\w)({'|'.join(TABLE['Korean']['tens'])})?({'|'.join(_KOREAN)})?\s?(?=(?:개|명|마리|권|살|시간|송이|자루|대|번)(?!\w*\d))",
    re.IGNORECASE,
)


def _phrases(kind: str) -> str:
    """All languages' phrases of a kind as one expression."""
    return "|".join(f"(?:{phrase})" for row in TABLE[kind].values() for phrase in row).replace("{label}", _LABEL)


_ANNOUNCED = re.compile(_phrases("answer"), re.IGNORECASE)
_CHOSEN = re.compile(_phrases("option"), re.IGNORECASE | re.MULTILINE)
_BEFORE_LABEL = re.compile(
    rf"(?<=the answer is )\W{{0,3}}(?:{TABLE['before a label']}){{1,3}}\s*(?=\(?[A-J](?![\w']))", re.IGNORECASE
)
_SHARED_LETTERS = re.compile(rf"\b(?:{TABLE['shared letters']})\b", re.IGNORECASE)
_BRACKETS = str.maketrans({"「": "(", "『": "(", "」": ")", "』": ")", "，": ", "})
_LETTERS = "\u0590-\u06ff\u0900-\u097f\u0e00-\u0e7f\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Ranges of scripts that put numbers and Latin letters beside their own letters without a space."""
_BESIDE = re.compile(rf"(?<=[{_LETTERS}])(?=[A-Za-z\d$-])|(?<=[A-Za-z\d%])(?=[{_LETTERS}])")
_OPTION_BEFORE = re.compile(rf"(?<![\w'])([A-J]|(?<=the answer is )\d(?= ?(?:번|입니다|番|です)))(?= ?[{_LETTERS}])")
_LABEL_FIRST = re.compile(r"(?<![A-Za-zÀ-ÿ\d_'])([A-J])(?:：|(?:(?<=^.)|(?<=[是为為选選].))、)", re.MULTILINE)
_STOPS = {ord(sign): f"{stop}\n" for sign, stop in zip("。।！？؟", "..!??", strict=True)}
_STOPS |= {0xFE0F: "", 0x20E3: ""}  # what makes a key of a digit, as in 1️⃣
_ZEROS = "\u0660\u06f0\u0966\u09e6\u0a66\u0ae6\u0b66\u0be6\u0c66\u0ce6\u0d66\u0e50\u0ed0\u1040\u17e0\uff10"
_PLAIN = {ord(zero) + n: str(n) for zero in _ZEROS for n in range(10)}
_PLAIN |= {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_PLAIN |= dict.fromkeys((0x2010, 0x2011, 0x2012, 0xFE63), "-")  # hyphens that break no line, as in twenty‑four
_PLAIN |= {0x3000: " ", 0x66B: ".", 0x66C: ",", 0x66A: "%"}
_SERIES = ("ΑΒ", "กขคงจ", "أبجده", "ابجده", "कखगघङ", "अबसद", "কখগঘঙ", "ⒶⒷⒸⒹⒺ", "ⓐⓑⓒⓓⓔ")
_FOREIGN = {letter: "ABCDE"[place] for row in _SERIES for place, letter in enumerate(row)}
_FOREIGN |= {chr(ord("①") + n): str(n + 1) for n in range(9)}
"""What counts options in Thai, Arabic, Hindi, Bengali and in circles, and the sign that stands for each."""
_JOINED = r"[\w\u0640\u064b-\u0652\u0900-\u0903\u093a-\u094f\u0981-\u0983\u09bc-\u09cd\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]"
"""What makes a word of a letter beside it; marks of vowels and tones are no ``\\w``."""


def latin_labels(labels: Iterable[str]) -> dict[str, str]:
    """An ASCII label for each label of an item, in their order; {} if all of them are ASCII."""
    labels = list(labels)
    plain = [unicodedata.normalize("NFKC", label) for label in labels]
    plain = plain if "".join(plain).isascii() and "".join(plain).isalnum() else list(string.ascii_uppercase)
    return {} if "".join(labels).isascii() else dict(zip(labels, plain, strict=False))


def _lettered(text: str, letters: Mapping[str, str]) -> str:
    """``text`` with other letters for the labels that stand alone in it; kana also stand alone beside other kana."""
    for label, letter in letters.items():
        beside = r"[\u30a0-\u30ff]" if "\u30a0" < label < "\u30ff" else "(?!)" if not label.isalpha() else _JOINED
        if label in text:
            text = re.sub(rf"(?<!{beside}){re.escape(label)}(?!(?!입니다|번|항){beside})", letter, text)
    return text


def ascii_signs(text: str) -> str:
    """Full-width signs and the digits of other scripts as ASCII."""
    return text if text.isascii() else text.translate(_PLAIN)


def spaced(text: str) -> str:
    """A space between letters of scripts without spaces and the numbers or Latin letters beside them."""
    return text if text.isascii() else _BESIDE.sub(" ", ascii_signs(text))


def _digits(words: "re.Match[str]") -> str:
    """A number word in digits, and words that make one number together ("treinta y dos", "deux cent six"); other words
    in a row are left: none is sure."""
    if words[1] or words[2]:
        return str(TABLE["Korean"]["tens"].get(words[1], 0) + _KOREAN.get(words[2], 0)) + " "
    row, total, part = _WHOLE.findall(words[0].lower()), 0, 0
    sure = [word for word in row if word in COUNTED]
    for value in (_ANY[word] for word in row):
        if value == 1000 and not total:
            total, part = 1000 * (part or 1), 0
        elif value == 100 and 1 < part < 10:
            part *= value
        elif value < 1000 and (
            any(part % size == 0 and value < size for size in (10, 100, 1000))
            or (part % 100 in (60, 80) and 9 < value < 20)  # soixante-douze
        ):
            part += value
        else:
            return words[0].lower().replace(sure[0], str(COUNTED[sure[0]])) if len(sure) == 1 else words[0]
    scaled = len(row) > 1 and any(_ANY[word] >= 100 and not word.startswith("cent") for word in row)
    return str(total + part) if sure or scaled else words[0]


def _rows(kind: str, before: str) -> list[tuple["re.Pattern[str]", str]]:
    """What is written in other languages for each English word of a kind, as whole words behind ``before``."""
    end, rows = "(?:(?<![A-Za-zÀ-ӿ])|(?![A-Za-zÀ-ӿ]))", TABLE[kind].items()
    return [(re.compile(f"{before}(?:{words}){end}", re.IGNORECASE), f" {word.strip()} ") for word, words in rows]


_RUN = "零〇一二两兩三四五六七八九十百半"
_WORDS = _rows("words", "(?<![A-Za-zÀ-ӿ])")
_UNITS = _rows("units", rf"(?:(?<=[\d{_RUN}])|(?<=how many ))[ \u00a0]{{0,2}}(?:[个個] ?)?")
_IN_ENGLISH = re.compile(
    r"\b(?:and|so|she|they|has|with|from|each|the(?! answer is)|how|what|which|there)\b", re.IGNORECASE
)
_HALF = re.compile(
    rf"(?<![\d.,])(\d{{1,9}}|[{_RUN[:-1]}]{{1,9}})((?: (?:{'|'.join(TABLE['units'])}))?) *({TABLE['half']})",
    re.IGNORECASE,
)


def _and_half(found: "re.Match[str]") -> str:
    count = found[1] if found[1].isdigit() else eastern.value_of(found[1])
    return found[0] if count is None or (found[3] in "半반" and not found[2]) else f"{count}.5{found[2]}"


def small_words(text: str) -> str:
    """An ``english`` text with the words and units in English that tell which of its numbers is meant."""
    if text.replace("’", "'").isascii() and _IN_ENGLISH.search(text):
        return text
    for pattern, word in (*_WORDS, *_UNITS):
        text = pattern.sub(word, text)
    return _HALF.sub(_and_half, text)


def english(text: str, options: bool = False, labels: Mapping[str, str] = MappingProxyType({})) -> str:
    """``text`` with ASCII signs, sentences that end on a full stop, and "the answer is" for each language's phrase.

    ``options``: a letter directly before a script without spaces is closed off, as "B." is in "選Bです". ``labels``:
    the item's own labels in another script with the letters to write for them.
    """
    if not options and not re.search(r"\d", text):
        text = _BIN.sub("tusen", text)
        text = _NUMBER_WORDS.sub(_digits, _SINO_RUN.sub(lambda run: run[0].translate(_SINO), text))
    if text.isascii() and not _SHARED_LETTERS.search(text):
        return text
    # "B'dir" is Turkish for "is B"
    text = re.sub(r"(?<![\w'])([A-J])(?:['’][dt][iı]r|\s(?:şıkk|seçene)\w+)\b", r"\1.", text)
    text, labels = text.translate(_STOPS), labels or _FOREIGN
    if options:
        text = _lettered(text, labels)  # once more below, because a phrase may have touched its label
        text = _IS_WRONG.sub(r" \1 is wrong. ", _IS_RIGHT.sub(r" the answer is \1. ", text))
        text = _LABEL_FIRST.sub(r"\1. ", _CHOSEN.sub(" the answer is ", text.translate(_BRACKETS)))
    text = _ANNOUNCED.sub(" the answer is ", text)
    text = spaced(_lettered(text, labels) if options else text)
    return _OPTION_BEFORE.sub(r"\1.", _BEFORE_LABEL.sub(" ", text)) if options else text
