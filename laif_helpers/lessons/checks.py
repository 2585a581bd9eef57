"""Is a lesson right? Sums are recomputed, letters looked up, code is run; nothing a model wrote is evaluated."""

import ast
import functools
import itertools
import re
from fractions import Fraction

_MARK = re.compile(r"<<([^<>]*)>>")
_BULLET = re.compile(r"^\s*(?:[-*•]\s+|\(?\d{1,2}[.)]\s+|step\s+\d+\s*[:.)-]\s*)", re.I)
_SPOKEN = (
    (re.compile(r"(?<=[\d)%])\s*(?:[×·∙⋅]|\\times|\\cdot|x(?=\s*[\d($]))\s*|\s+x\s+(?=[\d$(])"), " * "),
    (re.compile(r"(?<=[\d)%])\s+(?:times|multiplied by)\s+(?=[\d$(])"), " * "),
    (re.compile(r"(?<=[\d)%])\s+plus\s+(?=[\d$(])"), " + "),
    (re.compile(r"(?<=[\d)%])\s+minus\s+(?=[\d$(])"), " - "),
    (re.compile(r"(?<=[\d)%])\s+divided by\s+(?=[\d$(])"), " / "),
    (re.compile(r"\s+(?:equals|is equal to)\s+(?=[\d$(])"), " = "),
)
_MIXED = re.compile(r"(?<![\d./])\b(\d+) (?:and )?(\d+/\d+)(?![\d/])")
_TIGHT = re.compile(r"(?<=[/*] )(\d+/\d+)(?!\d|/)")
_NO_UNIT = r"(?!(?:because|so|and|then|is|are|or|if|but|since|from|of|in|means|gives|that|by|the)\b)"
_UNIT = re.compile(
    rf"(?<=[\d%)])(?:\s+|\s*-|\s*/\s*)?{_NO_UNIT}[A-Za-z]{{2,}}(?:(?:\s|\s?[/-]\s?){_NO_UNIT}[A-Za-z]{{2,}}){{0,3}}\.?"
    r"\s*(?=[-+*/=)]\s*(?:[\d($.=)*/+-]|$))"
)
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_WHOLE = r"(?!\d|[.,]\d|[A-Za-z_](?![A-Za-z]))"  # not a part of a number, nor of "2x"; "5kg" is a number and a unit
_TERM = rf"[(\s]*(?:(?<!\w)-)?[(\s]*(?:{_NUMBER}){_WHOLE}%?[)\s]*"
_BEFORE = re.compile(rf"(?:^|(?<=[^\w.,)%]))({_TERM}(?:(?:\*\*|[-+*/^])\s*{_TERM})*)$")
_AFTER = re.compile(rf"^\s*({_TERM}(?:(?:\*\*|[-+*/^])\s*{_TERM})*)")
_GOES_ON = re.compile(r"\s*(?:[*^+]|/(?!\s?[A-Za-z]{2})|-[A-Za-z(]|(?!a\b)[A-Za-z]\b)")
_TOKEN = re.compile(rf"\s*(?:((?:{_NUMBER})%?)|(\*\*|[-+*/^()]))")
_OPERATOR = re.compile(r"[\d)%]\s*(?:\*\*|[-+*/^])")
_FINAL = re.compile(r"####\s*(.+?)\s*$")

Problem = str
"""Why a lesson is wrong, in one sentence; "" where nothing was found."""


def check(family: str, question: str, response: str, *, timeout_s: float = 10.0) -> Problem:
    """The first thing wrong with a lesson, "" where it holds. Families: math, choice, code."""
    if family == "math":
        return check_math(response)
    return check_choice(question, response) if family == "choice" else check_code(question, response, timeout_s)


# -- math: every equation again, in exact rational arithmetic


def check_math(response: str) -> Problem:
    """Every equation of the rationale must hold, and the final number be the value computed last.

    A right-hand side written with two or more decimals may be the rounded value; ``%`` may stand for a
    hundredth or for a unit. An equation that holds words (``x = 5``, ``cost - 2 = 3``) is not read; a
    rationale without any that can be read is not accepted, because nothing in it was checked.
    """
    marked = _FINAL.search(response)
    final = _value(marked[1]) if marked else None
    if marked is None or final is None:
        return "no final number after ####"
    last, checked = "", False
    for line in response[: marked.start()].splitlines():
        for left, right, holds in equations(line):
            if not holds:
                return f"{left} = {right} does not hold"
            last, checked = right, checked or bool(_OPERATOR.search(left) or _OPERATOR.search(right))
    if not checked:
        return "no equation that can be recomputed"
    if final in (_value(last, percent=True), _value(last)):
        return ""
    return f"the final number {marked[1]} is not the last value computed ({last})"


def equations(line: str) -> list[tuple[str, str, bool]]:
    """Equations in one line of text as ``(left, right, holds)``; ``a = b = c`` gives two.

    A GSM8K calculator mark (``<<6*4=24>>``) counts as an equation of its own.
    """
    if "=" not in line and "equal" not in line:
        return []
    marks = [pair for mark in _MARK.findall(line) for pair in itertools.pairwise(mark.split("="))]
    found = [(left, right, _holds(left, right)) for left, right in marks if _value(left) is not None]
    pieces = re.split(r"(?<![<>=!≈~])=(?!=)", _readable(line))
    sums_only = not any(char.isalpha() for char in line)
    read = (_equation(left, right, bare=sums_only) for left, right in itertools.pairwise(pieces))
    return found + [equation for equation in read if equation]


def _readable(line: str) -> str:
    """The line without marks, currency and units, its operators as ``+ - * / ^``."""
    text = _BULLET.sub("", _MARK.sub("", line))
    for symbol, plain in (("$", ""), ("€", ""), ("£", ""), ("÷", "/"), ("−", "-"), ("–", "-"), ("**", "^")):
        text = text.replace(symbol, plain)
    if any(char.isalpha() or char in "×·∙⋅" for char in text):
        for spoken, operator in _SPOKEN:
            text = spoken.sub(operator, text)
        text = _UNIT.sub(" ", text)
    # "1 1/2" is one number, and so is the divisor of "6 / 1/3"
    return _TIGHT.sub(r"(\1)", _MIXED.sub(r"(\1+\2)", text.replace("\\", "")))


def _equation(before: str, after: str, *, bare: bool) -> tuple[str, str, bool] | None:
    """The two sides that stand around one ``=``, None where a side holds a word or nothing is computed."""
    left, right = _BEFORE.search(before), _AFTER.match(after)
    if not left or not right or _GOES_ON.match(after, right.end()):
        return None
    a, b = _opened(left[1].strip()), _closed(right[1].strip())
    lead = before[: left.start(1)].rstrip()
    if lead.endswith(tuple("-+*/^")) or re.match(r"[+*/^]|-\s", a) or a.count("(") != a.count(")"):
        return None  # an operand is a word: "price - 5 = 3", "(x - 2) * 3 = 63"
    if a.startswith("-") and re.search(r"\b[A-Za-z]$", lead):
        return None
    if re.search(r"\d:$", before[: left.start(1)]):
        return None  # a time of day
    if _OPERATOR.search(a) or (bare and not lead and _OPERATOR.search(b)):
        return a, b, _holds(a, b)
    return None  # "1 dozen = 12" and "9 books a week = 45 / 5" state, they do not compute


def _opened(text: str) -> str:
    """Without parentheses that open before the sum does, as in ``(so 3 + 4 = 7)``."""
    surplus = max(text.count("(") - text.count(")"), 0)
    return text.replace("(", "", surplus).strip()


def _closed(text: str) -> str:
    while text.endswith(")") and text.count(")") > text.count("("):
        text = text[:-1].rstrip()
    return text


def _holds(left: str, right: str) -> bool:
    for percent in (True, False):
        a, b = _value(left, percent=percent), _value(right, percent=percent)
        if a is None or b is None:
            return False
        if a == b or _rounded(a, b, right, percent=percent) or _rounded(b, a, left, percent=percent):
            return True
    return False


def _rounded(exact: Fraction, shown: Fraction, text: str, *, percent: bool = False) -> bool:
    """Whether ``text`` shows ``exact`` to the two or more decimals that it writes."""
    places = _decimals(text)
    if places < 2 or _OPERATOR.search(text):
        return False
    unit = Fraction(1, 10**places) / (100 if percent and "%" in text else 1)
    return abs(exact - shown) < unit


def _decimals(text: str) -> int:
    match = re.search(r"\.(\d+)", text)
    return len(match[1]) if match else 0


@functools.lru_cache(maxsize=65536)  # small numbers come back often: a third of the time of 100,000 lessons
def _value(text: str, *, percent: bool = False) -> Fraction | None:
    """Value of an arithmetic expression of numbers, ``+ - * / ^`` and parentheses; None where it has none."""
    text = text.replace("$", "").replace("**", "^").strip()
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            return None
        tokens.append(match[1] or match[2])
        at = match.end()
        if at < len(text) and not text[at:].strip():
            break
    try:
        value, rest = _sum(tokens, 0, percent)
    except (ValueError, ZeroDivisionError, IndexError, RecursionError):
        return None
    return value if rest == len(tokens) else None


def _sum(tokens: list[str], at: int, percent: bool) -> tuple[Fraction, int]:
    value, at = _product(tokens, at, percent)
    while at < len(tokens) and tokens[at] in "+-":
        other, after = _product(tokens, at + 1, percent)
        value, at = (value + other if tokens[at] == "+" else value - other), after
    return value, at


def _product(tokens: list[str], at: int, percent: bool) -> tuple[Fraction, int]:
    value, at = _power(tokens, at, percent)
    while at < len(tokens) and tokens[at] in "*/":
        other, after = _power(tokens, at + 1, percent)
        value, at = (value * other if tokens[at] == "*" else value / other), after
    return value, at


def _power(tokens: list[str], at: int, percent: bool) -> tuple[Fraction, int]:
    if tokens[at] == "-":
        value, at = _power(tokens, at + 1, percent)
        return -value, at
    if tokens[at] == "(":
        value, at = _sum(tokens, at + 1, percent)
        if tokens[at] != ")":
            raise ValueError("unbalanced")
        at += 1
    else:
        number = tokens[at].replace(",", "")
        value = Fraction(number.rstrip("%")) / (100 if percent and number.endswith("%") else 1)
        at += 1
    if at < len(tokens) and tokens[at] == "^":
        exponent, at = _power(tokens, at + 1, percent)
        if exponent.denominator != 1 or abs(exponent) > 64:
            raise ValueError("exponent out of reach")
        value = value ** int(exponent)
    return value, at


# -- choice: the letter is one of the options, and they differ


def check_choice(question: str, response: str) -> Problem:
    """Two or more distinct options, lettered from A without a gap, and an answer among them."""
    options = re.findall(r"^([A-J])\. (.+)$", question, re.M)
    letters = [letter for letter, _ in options]
    texts = [" ".join(text.casefold().split()).rstrip(".") for _, text in options]
    if len(options) < 2:
        return f"{len(options)} option(s); a choice needs two"
    if letters != list("ABCDEFGHIJ"[: len(letters)]):
        return f"options are lettered {', '.join(letters)}"
    if len(set(texts)) < len(texts):
        return "two options are the same"
    match = re.search(r"The answer is ([A-J])\.\s*$", response)
    if not match or match[1] not in letters:
        return f"the answer {match[1] if match else response[:20]!r} is not among the options {', '.join(letters)}"
    return ""


# -- code: it parses, defines what was asked, and passes its own examples in the cage


def check_code(question: str, response: str, timeout_s: float = 10.0) -> Problem:
    """The solution parses, defines the function asked for, and passes the doctest examples, where it has any.

    The question's examples count; the solution's own docstring only where the question has none.
    """
    source = response.removeprefix("```python\n").removesuffix("```")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"the code does not parse: {error.args[0] if error.args else error}"
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    asked = re.findall(r"^\s*(?:async\s+)?def\s+(\w+)", question, re.M)
    if not defined or (asked and asked[-1] not in defined):
        return f"the code defines {', '.join(defined) or 'no function'}, asked for was {asked[-1] if asked else 'one'}"
    docstrings = [ast.get_docstring(node) or "" for node in tree.body if isinstance(node, ast.FunctionDef)]
    examples = question if ">>>" in question else "\n".join(text for text in docstrings if ">>>" in text)
    return _run_examples(source, examples, timeout_s) if ">>>" in examples else ""


def _run_examples(source: str, examples: str, timeout_s: float) -> Problem:
    from laif_helpers import sandbox

    text = examples.replace('"""', "\n").replace("'''", "\n")
    program = (
        f"{source}\nimport doctest as _doctest\n"
        f"_test = _doctest.DocTestParser().get_doctest({text!r}, globals(), 'lesson', None, 0)\n"
        "_result = _doctest.DocTestRunner(verbose=False).run(_test)\n"
        "assert _result.attempted and not _result.failed, f'{_result.failed} of {_result.attempted} examples fail'\n"
    )
    result = sandbox.run_python(program, timeout_s=timeout_s)
    if result.status == "passed":
        return ""
    said = (result.stderr.strip().splitlines() or [""])[-1]
    return f"run on its examples: {result.status}" + (f" ({said[:120]})" if said else "")
