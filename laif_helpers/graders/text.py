"""Grades answers in words, by the kind of the gold answer: a truth value, a list of words, a row of brackets."""

import functools
import html
import re
import string
import unicodedata

from laif_helpers.graders import fields
from laif_helpers.graders.languages import TABLE, english
from laif_helpers.graders.restated import on_topic, restates
from laif_helpers.graders.turns import own_turn
from laif_helpers.records import Grade

TAIL = 8000
"""Characters at the end of a text that are read."""

_HEAD = re.compile(
    r"\b(?:answer(?:\s+(?:to|for)\s+(?:this|the|your|that)\b[^.:?\n]{0,80}?)?|result|output)"
    r"(?:\s?\([^()\n]{1,60}\))?(?:\s+is|\s{0,3}:)[*_]*[ \t]{0,3}:?[*_]*[ \t]{0,9}"
    r"|^####[ \t]{1,9}(?=[^\n]*\Z)|^[ \t#*]{0,9}(?:final |sorted )?(?:answer|list)[*_]*[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_EXPLAINS = re.compile(
    r"\n[^\w\n]{0,20}_{0,3}(?:explanation|reasoning|note|confidence|here(?:'s| is) (?:the|how|why)"
    r"|(?:i )?hope (?:this|that|it)|let me know|feel free)\b[^\n]*",
    re.IGNORECASE,
)
_DRESS = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathtt|boxed|fbox)\s?\{((?:[^{}\\]|\\.)*)\}")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])|\n+")
_STOP = re.compile(r"(?<=\w)(?<!\b[DJMS]r)(?<!\bMs)(?<!\bMrs)(?<!\bSt)\.\s+(?=[A-Z])")
_TRUTH = {"true": "false", "yes": "no", "valid": "invalid"}
_PAIRS = [frozenset(pair) for pair in _TRUTH.items()]
_BRACKETS = re.compile(r"[()<>{}\[\]](?:[\s,\"'`]*[()<>{}\[\]])*")
_SET = re.compile(r"\\(?:text|mathrm|mathtt|boxed|fbox)\s?\{(.*)\}")
"""As ``_DRESS``, around brackets: its own last brace is the line's last one."""
_NO = re.compile(
    r"\bno (?!(?:way|because|since|as|it|he|she|they|the|this|that|you|we|i|not|there|an?|in|for|if|when|and|or|but"
    r"|to|by|with|yes)\b)(?=[a-z])"
)
"""A "no" that belongs to a noun: "no one", "no doubt", "no intention"."""
_DENIED = (
    r"(?:\bnever|\bhardly|\bnor|\bnon-?|not|n't|\bfails? to)\s*"
    r"(?:(?:an?|be|is|it|this|that|the|argument|say|claim|conclude|considered|(?!only|merely)\w+ly)\s+){0,6}"
)
_SUPPOSED = re.compile(
    r"\bto be (?:true|false|valid|invalid), (?:it|we|there)\b[^.\n]*"
    r"|\(?\bhad [^.()\n]{1,200} would (?:be|have been)\b[^.\n]*"
    r"|\b(?:it|this|that) (?:would|could|might)(?: only)? (?:be|have been) `?(?:true|false|valid|invalid)`?"
    r" (?:if|had)\b[^.\n]*|[^.?\n]{1,300}\?(?=\s{1,9}\S)"
)
"""What an answer says about another case, or asks itself."""
_SAME = re.compile(
    r"\W*(?:(?:it|that|this)(?: is|['’]s) )?(?:(?P<good>yes|true|yep|yeah|yup|correct)|no|false|nope|nah|incorrect)\b"
    r"(?!\s(?:to|for|that|if|and no)\b)"
)
_UNWILLING = re.compile(
    r"\b(?:can(?:['’]t|not)|won['’]t|would(?:n['’]t| not)|(?:wrong|hard) to) say (?:yes|no|true|false|(?:in)?valid)\b"
)
_AGAIN = re.compile(r"(?:[.!?…,;—–]\s|\n)\W{0,200}(?:but )?(?:wait\b|hm+\b|let me re\w+)")
_PLAUSIBLE = re.compile(
    r"(?:\b(?:sentence|statement|this|that) is|\bit(?: is|'s| isn't)|\A\W*)(?:\s*\bnot)?(?:\s+an?\b)?\s*"
    r"(?:\w+ly\s+)?(?:im)?plausible\b(?! that|\?)"
)
_SPELLED = str.maketrans("’‘‐‑–−", "''----")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH, _DAY = rf"({'|'.join(_MONTHS)})[a-z]{{0,6}}\.?", r"(\d{1,2})(?:st|nd|rd|th)?"
_DATE = re.compile(rf"\b(?:{_MONTH} {_DAY},? (\d{{4}})|{_DAY} (?:of )?{_MONTH},? (\d{{4}}))\b")
_CLOCK = re.compile(r"\b(1[0-2]|0?[1-9])(?::([0-5]\d))? ?([ap])\.? ?m\b\.?")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d|(?<![\d:])\d{1,2}:[0-5]\d(?![\d:])")
_ANOTHER_TIME = re.compile(r"\b(?:not|never|before|after|until|since)\b|n't\b")
_PICTURES = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\ufe0f]+")
_COPULA = re.compile(TABLE["copula"])
_SENTENCE_BEHIND = re.compile(r"\n\n[A-Z][^\n]*\s[^\n]*[.!]\s*\Z")
_ARTICLE = re.compile(r"\A(?:an?|the) (?=\w{2,}(?: \w+)?\Z)")  # of a few words: a list of words has none, nor "A and C"
_BESIDE = re.compile(
    r"(?s)(?<=\w)(?:,? (?:because|since|rather than|instead of|which|who|where|as (?:it|he|she|they|this|the))\b"
    r"|, (?:the|an?) (?=[a-z\d][^,]*\b(?:of|who|which|that|from)\b)"
    rf"|(?:, ?| |(?<=[\u3040-\ud7a3]))(?:{TABLE['words']['because']})(?![a-zà-ÿ])|[*_\"”]* \([^()]*\)\W*\Z"
    rf"|[,;]? [–—-] ?not\b|[,;] ?(?:and |but )?(?:not|{TABLE['words'][', not ']})(?![a-zà-ÿ])).*"
)
"""What an answer in words adds: "Paris, not Lyon", "carbon dioxide (CO2)", "oxygen because plants give it off"."""
_SUBJECT = re.compile(
    r" (?:is|are|was|were) (?!.*(?:\b(?:not|never|but|no|however|although|until|formerly|once)|n't)\b)[^.!?;\n]+"
)
"""What stands behind the answer in "Paris is the capital of France." """
_LINK = re.compile(r"\[([^\[\]\n]{1,300})\]\((?:https?://|/)[^\s()]{1,300}\)")
_UNSAID = re.compile(r"\b(?:whether|doubt|unlikely|cannot|(?:ca|do|would)n't|unsure|not (?:sure|certain|know|say))\b")
_LEADS = re.compile(r"\A(?:(?:it|this|that|they|he|she|from|in|on|at|by) )?(?:the )?(?=\S)")
_SURELY = r"(?:(?:mostly|overall|clearly|definitely|actually|generally|largely|primarily|therefore|thus|very) )?"
_YES_OR_NO = frozenset(TABLE["yes or no"].split())
_NAMED = re.compile(r"\A[a-z]\w* ?= ?\[?(?=[-\w])")
_SAYS = re.compile(
    r"(?P<denied>(?:\bnot|n't|\bnever)\s(?:\w+\s){0,2}?)?(?:(?P<no>\b(?:lies|lying|liar)\b)"
    r"|\b(?:tells?|telling) the truth\b|\btruthful\b"
    r"|\b(?:return|back|end)\w*\b[^.\n]{0,20}\b(?:where you|at the|to the|to your) start\w*)"
)
"""Yes in other words: who tells the truth, that a way leads back; ``no``: who lies."""
_ITEM = re.compile(r"^[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]+", re.MULTILINE)


def truth_said(text: str) -> bool | None:
    """What a text (in lower case) opens with: "yep", "correct", "true"; or "nope", "false"; None for neither."""
    said = _SAME.match(text)
    return bool(said["good"]) if said else None


def is_truth(gold: str) -> bool:
    """Whether the gold answer is one of two truth values, which a blind guess meets half of the time."""
    return any(gold.casefold() in pair for pair in _PAIRS)


def grade(gold: str, text: str, question: str = "") -> Grade:
    """Exact match with ``gold``, blind to case, commas, list marks and decoration; or ``question`` with it in it."""
    text = _LINK.sub(r"\1", english(own_turn(text)[-2 * TAIL :])[-TAIL:])
    field = fields.answer(text)
    brackets = _BRACKETS.fullmatch(gold.strip()) is not None
    before, box, behind = ("", "", "") if field or brackets else fields.boxed(text)
    alone = not fields.boxed(before.rpartition("\n")[2])[1]
    closing = alone and not _HEAD.search(behind) and "\n" not in behind.strip()
    text = field.value if field else _undressed(text, _SET if brackets else _DRESS)
    if is_truth(gold):
        return _truth(gold.casefold(), text)
    read = _brackets(text) if brackets else _undressed(box) if box and closing else _words(text)
    if not read:
        return Grade(False, None, False, "no answer found")
    exact = normal(text) == normal(gold) or _meets(gold, read, question)
    right = exact or _meets(gold, _BESIDE.sub("", read.strip()), question)
    right = right or restates(_undressed(gold), _STOP.split(read.strip())[-1], question)
    return Grade(right, read[:500], True, "exact match" if right else f"is not {gold[:80]!r}", sure=exact)


def _meets(gold: str, read: str, question: str) -> bool:
    """Whether these words are the gold answer, or a sentence that says no more than that it is."""
    said, wanted = normal(read), normal(_undressed(gold))
    said = said if "=" in gold else _NAMED.sub("", said)  # n = 2, 3, 4 or sorted_list = [a, b]
    opens = said.split(" ")[0]
    if wanted in _YES_OR_NO and opens in _YES_OR_NO:  # "Ja, das ist richtig."
        return opens == wanted
    if _MOMENT.fullmatch(wanted) and {*_MOMENT.findall(said)} == {wanted} and not _ANOTHER_TIME.search(said):
        return True  # "It was signed on July 4, 1776."
    last = normal(_STOP.split(read.strip())[-1])  # "The capital is Paris." for Paris
    last = "" if _UNSAID.search(last) else last
    return (
        said in (wanted, _stated(gold))
        or re.search(rf"{TABLE['is']}{_SURELY}{re.escape(wanted)}(?: است)?\Z", last) is not None
        or _ARTICLE.sub("", said) == _ARTICLE.sub("", wanted)
        or _LEADS.sub("", said) == _LEADS.sub("", wanted)
        or (
            (said.startswith(wanted) and _SUBJECT.fullmatch(said, len(wanted)) is not None)
            and on_topic(said[len(wanted) :], question)
        )
    )


@functools.lru_cache(maxsize=4096)
def _stated(gold: str) -> str:
    """A gold answer as it is read where a response states it: a sentence, or words in LaTeX, have more than that."""
    return normal(_words(_undressed(english(f"The answer is {gold}."[-TAIL:])))) or normal(gold)


def _undressed(text: str, dress: "re.Pattern[str]" = _DRESS) -> str:
    """``text`` without fences and the commands that set words in LaTeX; three deep, as in \\\\boxed{\\\\text{…}}."""
    text = re.sub(r"^[ \t]*```\w*[ \t]*$", "", text, flags=re.MULTILINE)
    for _ in range(3):
        text = dress.sub(r"\1", text)
    return text


def normal(text: str) -> str:
    """Case, spacing, commas between words, list marks, quotes, the final stop and how a letter is composed do not
    count; brackets do."""
    bare = _PICTURES.sub("", text).strip()
    text = (
        unicodedata.normalize("NFKC", html.unescape(bare or text))
        .casefold()
        .replace("i\u0307", "i")
        .translate(_SPELLED)
    )
    text = _DATE.sub(_numbered, re.sub(r"(?<=\s)&(?=\s)", "and", text))
    text = re.sub(r"(?<=\d)(?:\s?(?::|\bto\b)\s?(?=\d)|\.(?=[0-5]\d ?[ap]\.?m\b))", ":", text)
    text = re.sub(r"(?<![\d-])(\d+) ?- ?(\d+)(?![\d-])", r"\1:\2", text)  # 1914-1918, 1914 to 1918
    text = _CLOCK.sub(_in_24_hours, text)
    marks = re.findall(r"(?<!\S)\(?(\d{1,3}|[a-z])[.):]+(?=\s+[^\W\d])", text)
    if len(marks) > 1 and marks in ([str(n + 1) for n in range(len(marks))], [*string.ascii_lowercase[: len(marks)]]):
        text = re.sub(r"(?<!\S)\(?(?:\d{1,3}|[a-z])[.):]+(?=\s)", "", text)
    text = _ITEM.sub("", text)
    text = re.sub(r",?\s+and\s+(?=\S+\s*\Z)", " ", text)
    text = re.sub(r"(?<=[a-z)])_\{?(\d+)\}?", r"\1", text)  # H_2O
    text = _COPULA.sub("", re.sub(r"[*`\"“”«»「」『』$\\]", "", text).strip().rstrip(".!").strip())
    text = re.sub(r"\A(?:\(\s?([a-z])\s?\)|<(\w+:\S+)>)\Z", r"\1\2", text)
    if re.fullmatch(r"[\s()<>{}\[\],]+", text):
        return re.sub(r"[\s,]+", "", text)
    text = re.sub(r"(?<=\d)\s(?=[a-zµ°%])|(?<=\w)\s(?==)|(?<==)\s", "", re.sub(r"\b([ap])\.\s?m\b\.?", r"\1m", text))
    text = re.sub(
        r"(?<!\w)'|'(?!\w)|(?<=[^\W\d_])-(?=[^\W\d_])|(?<=[^\W\d_]{2})-(?=\d)|^\[|\]$|\s(?:->|<|→)\s|[,;|、•·]",
        " ",
        text,
    )
    return " ".join(text.split())


def _numbered(date: "re.Match[str]") -> str:
    """2021-03-05 for March 5th, 2021 and 5 March 2021."""
    month, day, year = date.group(1, 2, 3) if date[1] else date.group(5, 4, 6)
    return f"{year}-{_MONTHS.index(month) + 1:02}-{int(day):02}"


def _in_24_hours(time: "re.Match[str]") -> str:
    """15:30 for 3:30 p.m."""
    return f"{int(time[1]) % 12 + 12 * (time[3] == 'p')}:{time[2] or '00'}"


def _tail(text: str) -> str | None:
    """What follows the last "the answer is"; None without one."""
    heads = list(_HEAD.finditer(text))
    return text[heads[-1].end() :] if heads else None


def _words(text: str) -> str:
    """The words of an answer: behind the last statement, else the last paragraph or what a colon in it announces."""
    text = re.sub(r"^[ \t]*>[ \t]?", "", text, flags=re.MULTILINE)
    if (tail := _tail(text)) and tail.strip():
        line, _, rest = tail.partition("\n")
        return _STOP.split(line)[0] if line.strip(" .*:") else rest.strip().split("\n\n")[0]
    text = re.sub(r"\n\n\([^()\n]*\)\s*\Z", "", _EXPLAINS.split(text)[0]).strip() or text.strip()
    *before, last = text.split("\n\n")
    row = before and (len(_ITEM.findall(before[-1])) > 1 or re.fullmatch(r"[a-z][^.!?:\n]* [^.!?:\n]*", before[-1]))
    if row and _SENTENCE_BEHIND.search(text):
        last = before[-1]  # "These words are sorted now." stands behind the list
    last = last.strip()
    head, *behind = re.split(r":(?=\s)|\b(?:sorted|order|list)(?:\s\w+){0,3}\s(?:is|are):?\s", last, maxsplit=1)
    # "The sorted list is: a, b, c"
    return behind[0].strip() if behind and behind[0].strip() and "\n" not in head else last


def _brackets(text: str) -> str:
    """The first brackets behind the last statement that has any; without a statement the last of all."""
    text = re.sub(r"\([^()\n]{0,80}\w[^()\n]{0,80}\)", "", html.unescape(_EXPLAINS.split(text)[0].replace("\\", "")))
    heads = [head.end() for head in _HEAD.finditer(text)]
    for start, end in reversed(list(zip(heads, [*heads[1:], len(text)], strict=False))):
        if found := _BRACKETS.findall(text[start:end].lstrip().partition("\n\n")[0]):
            return str(found[0])
    if not heads and (found := _BRACKETS.findall(text)):
        return str(found[-1])
    return text.strip().rsplit("\n", 1)[-1]


def _truth(wanted: str, text: str) -> Grade:
    """The value that is stated behind "the answer is", else opens the response, else closes it."""
    pair = next(pair for pair in _PAIRS if wanted in pair)
    text = _EXPLAINS.split(_affirmed(text.casefold()))[0]
    words = re.compile(rf"\b(?:{'|'.join(sorted(pair))})\b")
    if re.search(r"\A\W*yes and no\b|\byes and no\W*\Z", text):  # not "Of yes and no, the answer is yes."
        return Grade(False, None, False, "says yes and no")
    for shorter in (_SUPPOSED.sub(" ", text), *(text[back.end() :] for back in _AGAIN.finditer(text))):
        text = shorter if words.search(shorter) else text
    tail = (_tail(text) or "").strip()
    first = re.split(r"→|⇒|=>|=", _SENTENCE.split(tail, maxsplit=1)[0])
    stated = words.search(first[-1]) or words.search(first[0]) or words.match(tail.strip(" *\n-\"'"))
    opening = re.match(rf"[\W_]*(?:\([a-z]\)\s*|option:\s*)?({words.pattern})(?![^\n=]{{0,200}}=)", text)
    sentences = [re.split(r"(?<=\w),? (?:since|because) ", part)[0] for part in _SENTENCE.split(text)]
    closing = (found[-1] for sentence in reversed(sentences) if (found := words.findall(sentence)))
    read = stated[0] if stated else opening[1] if opening else next(closing, "")
    says = [found for sentence in sentences for found in _SAYS.finditer(sentence)] if "yes" in pair and not read else []
    if says:
        read = "no" if bool(says[-1]["no"]) != bool(says[-1]["denied"]) else "yes"
    if not read and "valid" not in pair and (other := truth_said(tail or text)) is not None:  # "True." for yes
        read = next(word for word in pair if (word in ("yes", "true")) is other)
    if not read:
        return Grade(False, None, False, f"neither {' nor '.join(sorted(pair))} read")
    return Grade(read == wanted, read, True, f"read {read}, gold {wanted}")


def _affirmed(text: str) -> str:
    """Denials as what they come to: "not deductively valid" is invalid, "not invalid" is valid."""
    text = _NO.sub("", text.replace("*", ""))
    text = _PLAUSIBLE.sub(
        lambda found: " yes" if bool(re.search(r"\bnot\b|n't", found[0])) == ("implausible" in found[0]) else " no",
        text,
    )
    text = _UNWILLING.sub(" ", text)
    text = re.sub(r"\bnot\s+(true|false|yes|no|valid|invalid)\b[,;]?\s+(?=(?:it|but)\b)", "", text)
    text = re.sub(
        r"\b(true|false|yes|no|valid|invalid)\W{0,3}[,(;—–-]\s*not\s+(?:true|false|yes|no|valid|invalid)\b", r"\1", text
    )
    text = re.sub(rf"{_DENIED}valid\b|\bvalid\?\W{{0,5}}no\b", " invalid", text)
    text = re.sub(rf"{_DENIED}invalid\b", " valid", text)
    denied = r"(?:(?:(?<=is )|(?<=was )|(?<=['’]s )|(?<=: )|^\W*)not|(?<=s)n['’]t) (true|false)\b(?! ?(?:=|and|or|is))"
    text = re.sub(r"\A\W*not (yes|no)\W*\Z", lambda match: " no" if match[1] == "yes" else " yes", text)
    return re.sub(denied, lambda match: f" {_TRUTH.get(match[1], 'true')}", text, flags=re.MULTILINE)
