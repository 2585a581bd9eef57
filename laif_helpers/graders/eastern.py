"""Values of numbers as Chinese, Japanese and Korean write them: 三万五千, 3만 5천."""

import re

_POWERS = (("百", 100), ("千천", 1000), ("万萬만", 10**4), ("亿億억", 10**8))
EASTERN = {sign: value for signs, value in _POWERS for sign in signs} | {"十": 10}
DIGITS = {sign: value for value, sign in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "兩": 2}
MIXED = re.compile(
    r"(?<![\d.,])(?:\d{1,4} ?[亿億억万萬만千천百백][万萬만]? ?){1,4}"
    r"(?:\d{1,4} ?[万萬만千천百백][万萬만]?|(?<=[万萬만千천百백])\d{1,4}|(?<=[万萬만] )\d{3,4})(?![\d.])"
)
"""Digits with signs between them, as in 3만5000; the signs may stand apart by a space."""


_RUN = r"(\d{1,9}|[零〇一二两兩三四五六七八九十百]{1,9})"
_PER_CENT = re.compile(rf"百分之\s?([\d.]+|{_RUN[1:-1]})")
_FRACTION = re.compile(rf"{_RUN}\s?(?:分之|分の|분의)\s?{_RUN}")
_HALVED = "(?= ?(?:小时|小時|钟|鐘|月|hours|minutes|months))"
_AND_HALF = re.compile(rf"{_RUN}[个個]半{_HALVED}")
_HALF = re.compile(rf"(?<![\d个個])半[个個]?{_HALVED}")


_INFORMAL = str.maketrans("壹贰貳叁參肆伍陆陸柒捌玖拾佰仟", "一二二三三四五六六七八九十百千")
_FORMAL = re.compile("[壹贰貳叁參肆伍陆陸柒捌玖][壹贰貳叁參肆伍陆陸柒捌玖拾佰仟万萬零]+|[壹贰貳叁]")
"""Numerals of cheques and banknotes."""


def plain(text: str) -> str:
    """三万五千 with digits in it as 35000, 百分之五 as 5%, 四分之三 as 3/4, 两个半小时 as 2.5小时."""
    text = _FORMAL.sub(lambda run: run[0].translate(_INFORMAL), text).replace("廿", "二十").replace("卅", "三十")
    text = _PER_CENT.sub(r"\1%", MIXED.sub(in_digits, text))
    text = _FRACTION.sub(lambda found: f"{_whole(found[2])}/{_whole(found[1])}", text)
    return _HALF.sub(" 0.5", _AND_HALF.sub(lambda found: f" {_whole(found[1])}.5", text))


def _whole(words: str) -> int | str:
    found = None if words.isdigit() else value_of(words)
    return words if found is None else found


def in_digits(run: "re.Match[str]") -> str:
    """3만 5천 and 3万5000 as 35000, each written in parts from the largest on."""
    total = part = 0
    for digits, sign in re.findall(r"(\d*)(\D?)", run[0].replace(" ", "")):
        scale, value = EASTERN.get(sign, 1), int(digits or 0)
        if scale < 10**4:
            part += value * scale
        else:
            total, part = total + (part + value) * scale, 0
    return str(total + part)


def value_of(words: str) -> int | None:
    """三万五千 is 35000, 二〇二四 is 2024; a scale without a number before it (千, 万) names none, but 十 is 10."""
    for scale, signs in ((10**8, "亿億"), (10**4, "万萬")):
        at = next((place for place, sign in enumerate(words) if sign in signs), None)
        if at is not None:
            above, below = value_of(words[:at]), value_of(words[at + 1 :] or "零")
            return None if not words[:at] or above is None or below is None else above * scale + below
    if all(sign in DIGITS for sign in words):
        return int("".join(str(DIGITS[sign]) for sign in words) or 0)
    total = current = 0
    for place, sign in enumerate(words):
        if sign in DIGITS:
            current = DIGITS[sign]
        elif not place and sign != "十":
            return None
        else:
            total, current = total + (current or 1) * EASTERN[sign], 0
    return total + current
