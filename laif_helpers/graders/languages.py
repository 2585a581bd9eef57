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

_TABLE: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("languages.yaml").read_text(encoding="utf-8"))


def _compounds() -> Iterator[tuple[str, int]]:
    """Words that join ones and tens: einundzwanzig, tweeëntwintig, ventuno, trettiofem."""
    for how, (ones, tens) in _TABLE["joined"].items():
        pairs = itertools.product(enumerate(ones.split(), 1), enumerate(tens.split(), 2))
        for (n, one), (t, ten) in pairs:
            if how in ("und", "en"):
                yield f"{one}{'ën' if how == 'en' and one[-1] == 'e' else how}{ten}", 10 * t + n
            else:
                yield f"{ten[:-1] if how == 'Italian' and one[0] in 'uo' else ten}{one}", 10 * t + n


_VALUES = (*range(2, 21), *range(30, 101, 10))
_PAIRS = [pair for row in _TABLE["counted"] for pair in zip(row.split(), _VALUES, strict=True)]
_PAIRS += [(word, value) for value, row in _TABLE["worth"].items() for word in row.split()]
_PAIRS += _compounds()
_ANY = {word.strip("?").replace("_", " "): value for word, value in _PAIRS}
COUNTED = {word.replace("_", " "): value for word, value in _PAIRS if not word.endswith("?")}
"""Numbers in words. They count in texts without digits, in which they can put no other number aside."""
_KOREAN = {
    word: n
    for row in ("하나 둘 셋 넷 다섯 여섯 일곱 여덟 아홉", "한 두 세 네")
    for n, word in enumerate(row.split(), 1)
}
_SINO = str.maketrans("일이삼사오육칠팔구십백천만", "一二三四五六七八九十百千万")
_SINO_RUN = re.compile(
    "(?<![가-힣])(?=[^십백천만]?[십백천만])[일이삼사오육칠팔구십백천만]+(?= ?(?:개|원|명|살|분|시간|달러|입니다|$))"
)
_KOREAN_TENS = {"열": 10, "스물": 20, "스무": 20, "서른": 30, "마흔": 40, "쉰": 50}
_LABEL = r"(?-i:[A-J])(?![A-Za-zÀ-ÿ\d_'])"
_IS_RIGHT = re.compile(
    r"(?:(?:选项|選項|選択肢)\s*|(?:antwort|option|l'option|opción|alternativa|opção|opzione|вариант|odpowiedź)\s+"
    rf"|(?<![\w']))({_LABEL})\s*"
    r"(?:[项項]?(?:是|为|為)?(?:正确|正確|[对對]的)|(?:です|が正解|が正しい)|\s(?:ist\s+(?:richtig|korrekt)|est\s+(?:correcte?|la\s+bonne)"
    r"|es\s+(?:la\s+)?correcta|está\s+(?:correta|certa)|è\s+(?:corretta|giusta)|(?:правильный|верный|верно)"
    r"|jest\s+(?:poprawna|prawidłowa))\b)",
    re.IGNORECASE,
)
_IS_WRONG = re.compile(rf"(?<![\w'])({_LABEL})\s*[项項]?(?:是|为|為)?(?:[错錯](?:[误誤])?|不正[确確]|不[对對])的?")
CONCLUDES = "|".join(_TABLE["concludes"])
"""What opens a conclusion or names a total, in these languages."""
_word, _more = ("|".join(sorted((w for w in _ANY if _ANY[w] > n), key=len, reverse=True)) for n in (0, 1))
_BETWEEN = r"(?:(?:[\s-]|\s(?:et|y|e|und)\s){1,3}|(?<=hundert)(?:und)?|(?<=cento)|(?=(?:hundert|cento|tausend)))"
_NUMBER_WORDS = re.compile(
    rf"(?<![\w-])(?:{_more})(?:{_BETWEEN}(?:{_word})){{0,8}}(?![\w-])(?!\s(?:et|y|e)\s)"
    rf"|(?<!\w)({'|'.join(_KOREAN_TENS)})?({'|'.join(_KOREAN)})?\s?(?=(?:개|명|마리|권|살|시간|송이|자루|대|번)(?!\w*\d))",
    re.IGNORECASE,
)


def _phrases(kind: str) -> str:
    """All languages' phrases of a kind as one expression."""
    return "|".join(f"(?:{phrase})" for row in _TABLE[kind].values() for phrase in row).replace("{label}", _LABEL)


_ANNOUNCED = re.compile(_phrases("answer"), re.IGNORECASE)
_CHOSEN = re.compile(_phrases("option"), re.IGNORECASE | re.MULTILINE)
_BEFORE_LABEL = re.compile(
    r"(?<=the answer is )\W{0,3}(?:\b(?:la|el|le|a|o|die|der|das|option|opción|opção|letra|lettre|alternativa"
    r"|вариант|буква)\b\s*|l'|选项|選項|選択肢|ข้อ){1,3}\s*(?=\(?[A-J](?![\w']))",
    re.IGNORECASE,
)
_SHARED_LETTERS = re.compile(
    r"\b(?:antwort|lösung|ergebnis|réponse|respuesta|resposta|risposta|korrekte?|richtige?|correcta|corretta|letra"
    r"|alternativa|c'est|es la|antwoord|jawaban\w*|cevap)\b",
    re.IGNORECASE,
)
_BRACKETS = str.maketrans("「『」』", "(())")
_LETTERS = "\u0590-\u06ff\u0900-\u097f\u0e00-\u0e7f\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Ranges of scripts that put numbers and Latin letters beside their own letters without a space."""
_BESIDE = re.compile(rf"(?<=[{_LETTERS}])(?=[A-Za-z\d$-])|(?<=[A-Za-z\d%])(?=[{_LETTERS}])")
_OPTION_BEFORE = re.compile(rf"(?<![\w'])([A-J]|(?<=the answer is )\d(?= ?(?:번|입니다|番|です)))(?= ?[{_LETTERS}])")
_LABEL_FIRST = re.compile(r"^\s*([A-J])、", re.MULTILINE)
_STOPS = {ord(sign): f"{stop}\n" for sign, stop in zip("。।！？؟", "..!??", strict=True)}
_STOPS |= {0xFE0F: "", 0x20E3: ""}  # what makes a key of a digit, as in 1️⃣
_ZEROS = "\u0660\u06f0\u0966\u09e6\u0a66\u0ae6\u0b66\u0be6\u0c66\u0ce6\u0d66\u0e50\u0ed0\u1040\u17e0\uff10"
_PLAIN = {ord(zero) + n: str(n) for zero in _ZEROS for n in range(10)}
_PLAIN |= {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | {
    0x3000: " ",
    0x66B: ".",
    0x66C: ",",
    0x66A: "%",
}


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
        text = re.sub(rf"(?<!{beside}){re.escape(label)}(?!{beside})", letter, text) if label in text else text
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
        return str(_KOREAN_TENS.get(words[1], 0) + _KOREAN.get(words[2], 0)) + " "
    row, total = re.findall(_word, words[0].lower()), 0
    sure = [word for word in row if word in COUNTED]
    for value in (_ANY[word] for word in row):
        if value in (100, 1000) and 1 < total < 100:
            total *= value
        elif any(total % size == 0 and value < size for size in (10, 100, 1000, 10_000)) or (
            total % 100 in (60, 80) and 9 < value < 20  # soixante-douze
        ):
            total += value
        else:
            return words[0].lower().replace(sure[0], str(COUNTED[sure[0]])) if len(sure) == 1 else words[0]
    return str(total) if sure else words[0]


def english(text: str, options: bool = False, labels: Mapping[str, str] = MappingProxyType({})) -> str:
    """``text`` with ASCII signs, sentences that end on a full stop, and "the answer is" for each language's phrase.

    ``options``: a letter directly before a script without spaces is closed off, as "B." is in "選Bです". ``labels``:
    the item's own labels in another script with the letters to write for them.
    """
    if not options and not re.search(r"\d", text):
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
