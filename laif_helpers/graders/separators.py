"""Reads the decimal commas and the thousands of other languages: 12,5 and 1.234,56, R$ 1.260,50, 1 260 €, 2.500.000."""

import re

# 1 000 000 and 1 260 €; 60,00 €, R$ 1.260,50 and 2.500.000
_GROUPS = re.compile("(?<![\\d.,])\\d{1,3}(?:[ \u00a0\u2009\u202f]\\d{3})+(?!\\d)")
_CENTS = r"\d{1,3}(?:(?:[. ]?\d{3}){0,4},\d\d?|(?:\.\d{3})+)"
_MONEY = r"(?:[€₽₺₫đ]|EUR\b|[Ee]uros?\b|reais\b|zł|kr\b|krono?r\b|kroner\b|руб|Kč|TL\b|lira\b|rupiah\b|đồng|грн)"
_EUROPEAN = re.compile(
    rf"(?:R\$|[€₺]|\bEUR|\bkr\.?|\bRp\.?) ?{_CENTS}(?![\d,.]*\d)"
    rf"|(?<![\d.,])(?:\d{{1,3}}(?:\.\d{{3}}){{2,4}}(?![\d.,]*\d)|{_CENTS}(?= ?{_MONEY}))"
)
_SPACED = re.compile(
    rf"(?<![\d.,/])\d{{1,3}}(?:(?: \d{{3}}){{2,}}|(?:(?<=[$€£R]\d)|(?<=[$€£R]\d\d)|(?<=[$€£R]\d\d\d)) \d{{3}}"
    rf"| \d{{3}}(?=[.,]\d|(?:[.,]\d\d?)? ?(?:\$|{_MONEY}|dollars\b|USD\b)|\W*\Z))(?!\d)"
)
# 12,5 and 1.234,56, but not (3,5), which is a point, and not 3,5,7
_COMMA = re.compile(
    r"(?<![\d.,:/^])(?<!\\\{)(?:(?<![(\[])|(?!\d+,\d+\s?[)\]]))"
    r"(?:\d{1,9},\d\d?|0,\d{3,9}|\d{1,3}(?:\.\d{3}){1,4},\d\d?)(?![\d.,]*\d|\s?[)\]]\d)"
)

_SEPARATED = re.compile(r"\d(?:,\d|[. ]\d{3})")
"""What all of these numbers hold, and most texts do not."""


def with_point(text: str) -> str:
    """A text that writes 1.234,5 or 1 234,5 as one that writes 1,234.5 or 1234.5."""
    text = _GROUPS.sub(lambda found: re.sub(r"\s", "", found[0]), text)
    return re.sub(r"(?<=\d)[.,](?=\d)", lambda sign: "." if sign[0] == "," else ",", text)


def plain(text: str) -> str:
    """Numbers that can only be written with a decimal comma, or beside a currency, with a point and without spaces."""
    if not _SEPARATED.search(text):
        return text
    text = _SPACED.sub(lambda match: match[0].replace(" ", ""), _EUROPEAN.sub(lambda match: with_point(match[0]), text))
    return _COMMA.sub(lambda match: with_point(match[0]), text)
