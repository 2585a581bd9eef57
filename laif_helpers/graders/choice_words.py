"""Finds the option that is named by its words: alone, with its letter beside it, in a sentence, or in other words."""

import re
import unicodedata

from laif_helpers.graders import final_number
from laif_helpers.graders.numbers import UNITS, equal
from laif_helpers.graders.text import truth_said
from laif_helpers.graders.turns import own_turn


def spaced(text: str) -> str:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text).casefold())


def normal(text: str) -> str:
    return spaced(text).strip(" .'\"`")


_PLACES = ("first", "second", "third", "fourth", "fifth")
_ORDINAL = re.compile(r"\b(1st|2nd|3rd|4th|5th)\b", re.IGNORECASE)
_PLACE = re.compile(
    rf"\b({'|'.join(_PLACES)}|last) (?:answer )?(?:option|choice|answer|alternative|ending|one)\b"
    rf"|\A\W*(?:the )?({'|'.join(_PLACES)}|last)(?=\W*\Z)",
    re.IGNORECASE,
)
_COUNTED = re.compile(r"\b(?:option|choice) (one|two|three|four|five)\b", re.IGNORECASE)
_TRUTHS = {"yes": True, "true": True, "correct": True, "no": False, "false": False, "incorrect": False}
_WHOLE = re.compile(
    r"(?P<none>none|neither)\b(?: of (?:the (?:above|options|choices|answers)|these|them|those))?"
    r"|all\b(?: of)? (?:the above|these|them|of them|options|choices|answers|(?:the )?statements|are (?:correct|true))"
)
"""An option that speaks of the others: "All of the above", "None of these"."""
_ALL = re.compile(r"\ball (?:of )?(?:them|these|those|two|three|four|five|the (?:above|options|statements|choices))\b")
_NOT_ONE = re.compile(r"\b(?:none|neither) of (?:them|these|those|the)\b|\bneither\b")
_BUT = re.compile(r"\b(?:not|except|but|however|only|wrong|incorrect|false|unlike)\b|n['’]t\b")
_OUT = r"(?:eliminat|exclud|discard|reject|rul)(?:e[ds]?|ing|ed)(?: out)?|incorrect|wrong|false"
_ROMANS = r"\b(?:I{1,3}|IV|V)\b(?!['’]| (?:think|believe|would|will|am|have|choose|chose|can|know|got|need)\b)"
_DENIED_ROMANS = re.compile(rf"{_ROMANS}(?:(?:,? and|,) {_ROMANS})* (?:is|are) (?:not|false|incorrect|wrong)\b")
_VERDICTS = r"\b(?:[Nn]ot (?:morally )?)?(?i:true|false|wrong)\b"
_FILLED = re.compile(r"(?:[\s,.]|\b(?:and|or|only|both|statements?)\b)*", re.IGNORECASE)


def _verdicts(pattern: str, text: str) -> list[str]:
    """ "I, II" or "false, true", as an option or a sentence says it."""
    said = [found.casefold().replace("morally ", "") for found in re.findall(pattern, text)]
    return [{"not true": "false", "not false": "true"}.get(word, word) for word in said]


def _stemmed(text: str) -> str:
    """Without pronouns and auxiliary verbs, and without the s of a third person."""
    text = re.sub(r"\b(?:it|they|this|that|there|will|would)\b", "", spaced(text))
    return spaced(re.sub(r"(?<=[a-z]{3})(?<!s)s\b", "", text)).strip(" .")


def _squeezed(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"(?<!\d)\.|\.(?!\d)|[^\w.+*/^=<>%±-]|_", "", text)  # 1.8 is not 18


def as_good_as(text: str, options: dict[str, str]) -> str | None:
    """The option that a response names in other words: its marks left out, its verdicts in sentences, its number."""
    whole, kept = _squeezed(text), _squeezed(_REJECTED.sub("", spaced(text)))
    found = [label for label, option in options.items() if _squeezed(option) in kept]
    found = found if len(found) == 1 and len(_squeezed(options[found[0]])) > 11 else []
    found = found or [label for label, option in options.items() if _squeezed(option) == whole]
    part = re.compile(rf"(?<!\w){re.escape(_bare(text))}(?!\w)")
    if len(_bare(text)) > 3:  # "blue" for "blue ball"
        found = found or [label for label, option in options.items() if part.search(_bare(option))]
    for pattern in (_ROMANS, _VERDICTS):
        if not found and all(_FILLED.fullmatch(re.sub(pattern, "", option)) for option in options.values()):
            meant = _DENIED_ROMANS.sub("", text)
            said = [_verdicts(pattern, part) for part in (meant, re.split(r"(?<=[.!?])\s", meant.strip())[-1])]
            if len(said[0]) == 1 and (all_of := re.search(r"(?i)\b(?:both|neither)\b", text)):
                said = [[("not " if all_of[0].casefold() == "neither" else "") + said[0][0]] * 2]
            found = [label for label, option in options.items() if _verdicts(pattern, option) in said]
    stems = {label: _stemmed(option) for label, option in options.items()}
    if (
        not found and " " in text.strip() and all(len(stem) > 3 for stem in stems.values())
    ):  # "The pressure decreases." for "It will decrease"
        found = options_named(_stemmed(_REJECTED.sub("", spaced(text))), stems, False)
    last = {label: option.split()[-1] for label, option in options.items()}
    if not found and all(re.fullmatch(r"(?:[A-Z][\w.'-]+ ?){2,3}", option) for option in options.values()):
        found = [
            label for label, name in last.items() if re.search(rf"\b{re.escape(name)}\b", text)
        ]  # "It was Newton."
    values = {label: option.rpartition("=")[2].casefold() for label, option in options.items()}
    single = all(map(final_number.is_answer, values.values())) and not re.search(r"±|\\pm\b", text)
    if not found and single and (number := final_number.final(text)[0]):
        found = [label for label, value in values.items() if not final_number.is_vague(text) and equal(number, value)]
    return found[0] if len(found) == 1 else None


def by_place(text: str, options: dict[str, str]) -> str:
    """The text with "option C" for "the third option"; the option that is named in other words, or that is left if
    all others are eliminated."""
    if label := as_good_as(text, options):
        return f"The answer is {label}."
    named = dict(zip(_PLACES, options, strict=False)) | {"last": [*options][-1]}
    text = _ORDINAL.sub(lambda match: _PLACES[int(match[1][0]) - 1], text)
    text = _COUNTED.sub(lambda match: f"{_PLACES[UNITS.index(match[1].lower()) - 1]} option", text)
    label = rf"\(?(?:{'|'.join(map(re.escape, options))})\)?(?![\w'])"
    row = rf"{label}(?:(?:,? and|,? or|,) {label}){{0,25}}"
    denied = rf"(?i:(?:\b(?:{_OUT}|not)|n't(?: be)?)) (?:options? |choices? )?{row}"
    rows = re.findall(rf"{denied}|{row} (?:is|are|(?:can|may) be) (?:all )?(?:{_OUT})", text)
    out = set(re.findall(rf"(?<!\w){label}", " ".join(rows)))
    left = [option for option in options if option not in {name.strip("()") for name in out}]
    if rows and len(left) == 1:
        return f"The answer is {left[0]}."
    return _PLACE.sub(lambda match: f"option {named.get((match[1] or match[2]).lower(), '')}", text)


def by_confidence(text: str, options: dict[str, str]) -> str | None:
    """The option with the highest share, if each has one: "A: 10%, B: 85%, C: 5%"."""
    if any("%" in option for option in options.values()):
        return None
    label = rf"(?<![\w'])({'|'.join(map(re.escape, options))})\b"
    for share in (r"[^\n%]{1,200}?(\d{1,3}(?:\.\d+)?)\s?\\?%", r"\s?[:=]\s?(0?\.\d+|[01](?:\.0+)?)(?![\d.])"):
        shares = re.findall(label + share, text)
        if [name for name, _ in shares] == [*options]:
            first, second = sorted(shares, key=lambda pair: float(pair[1]))[:-3:-1]
            return first[0] if float(first[1]) > float(second[1]) else None
    return None


def of_all(text: str, options: dict[str, str]) -> str | None:
    """The option "All of the above", or "None of them", if a response says so in other words or names all others."""
    speaks = {label: found for label, option in options.items() if (found := _WHOLE.fullmatch(normal(option)))}
    if len(speaks) != 1:
        return None
    text = own_turn(text)[-6000:]
    (label, found), whole = next(iter(speaks.items())), spaced(text)
    others = [name for name in options if name != label]
    if found["none"]:
        return label if _NOT_ONE.search(whole) and not _ALL.search(whole) else None
    row = re.search(r"(?<![\w'])" + r"\W{1,4}(?:and\W{1,3})?".join(map(re.escape, others)) + r"(?![\w'])", text)
    named = all(normal(options[name]) in whole for name in others)
    return label if (row or named or _ALL.search(whole)) and not _BUT.search(whole) else None


def by_truth(text: str, options: dict[str, str]) -> str | None:
    """The option "No" for "Nope." and "No, yes would be wrong.", if the options are two truth values."""
    values = {label: _TRUTHS.get(normal(option)) for label, option in options.items()}
    said = truth_said(spaced(text)) if sorted(values.values(), key=str) == [False, True] else None
    return next((label for label, value in values.items() if value is said), None) if said is not None else None


_LONE = re.compile(r"[^\n]{0,40}?(?<![\w'-])([A-J])\W{0,5}")
_BEFORE_NAME = re.compile(
    r"(?<![\w'])(?-i:[A-HJ])(?![\w'])|(?:\b(?:(?:can)?not|never|nicht|kein|pas|non|não|no es|не|vitamin|type|plan"
    r"|hepatitis|about|eliminate|exclude|skip|不是|不选|不選|except|(?<!none )but|besides|group|class|grade|figure"
    r"|part|team|blood|section)|n['’]t)(?: (?:be|choose|pick|select))?(?: (?:option|choice|answer))?\W*$",
    re.IGNORECASE,
)
"""What makes a letter no choice: a second one, a denial, or a word that it belongs to."""


def lone_letter(text: str, options: dict[str, str]) -> str | None:
    found = _LONE.fullmatch(text.strip())
    return found[1] if found and found[1] in options and not _BEFORE_NAME.search(text[: found.start(1)]) else None


_PREDICATE = (
    r"(?:=|\b(?:is|are|be|was|called)(?: more| most| likely| typically| usually| generally| associated with)*:?) ?"
    r"(?:the |a |an )?"
)


def without_list(text: str, options: dict[str, str]) -> str:
    """The text without the item's own options, repeated one below the other; unless it holds nothing else."""
    rows = (rf"[ \t]*\(?{re.escape(label)}[).:][ \t]*{re.escape(words.strip())}" for label, words in options.items())
    left = re.sub("^" + r"[ \t]*\n".join(rows) + r"[ \t]*$", "", text, flags=re.MULTILINE)
    return left if re.search(r"\w", left) else text


def with_label(text: str, options: dict[str, str]) -> list[str]:
    """Options that stand with their letter beside them: "D. Agriculture", "a liverwort (B)"."""
    whole, found = spaced(text), []
    for label, option in options.items():
        words, mark = re.escape(normal(option)), re.escape(label.casefold())
        if re.search(rf"(?<!\w)\(?{mark}\s?[.):]+ {words}(?!\w)|(?<!\w){words}\W? \((?:option )?{mark}\)", whole):
            found.append(label)
    return found


def _bare(text: str) -> str:
    """The text without its article, which models leave out."""
    return re.sub(r"\A(?:an?|the) (?=\w)", "", normal(text))


def whole_text(text: str, options: dict[str, str]) -> str | None:
    """The option that is the whole response, or what its last equation equals."""
    wanted = {_bare(text), _bare(text.strip().rsplit("\n", 1)[-1].rpartition("=")[2])}
    fitting = [label for label, option in options.items() if _bare(option) in wanted]
    return fitting[0] if len(fitting) == 1 else None


def text_first(text: str, options: dict[str, str]) -> str | None:
    """The option whose text opens a response, before a comma or a stop, if no other one is named behind it."""
    label = whole_text(re.split(r"[,;.!](?:\s|$)|\n", text.strip())[0], options)
    rest = _REJECTED.sub("", spaced(text))
    others = "|".join(re.escape(normal(option)) for name, option in options.items() if name != label)
    return None if label is None or re.search(rf"(?<![\w.-])(?:{others})(?![\w-]|\.\d)", rest) else label


_REJECTED = re.compile(
    r"\Anot (?:(?:an?|the|in|on|at) )*\w+|[^.?!;:,]{1,80}\? no(?:pe)?\b\W*|\b(?:do|does|did|will|would)(?: not|n't) \w+"
    r"|\b(?:anything|everything|any|all) (?:but|except) (?:an? |the )?\w+"
    r"|[^.?!;:,]{1,80}\b(?:is|are)(?: not|n['’]t) (?:the |an? )?(?:right|correct|answer|best|true)\b"
    r"|,? (?:rather than|instead of)\b[^,.;]*|, (?:and |but )?not\b[^,.;]*"
    r"|\b(?:(?:is|are|was|were|['’]s) not|(?:is|are|was|were)n't) (?!only\b|just\b)(?:an? |the )?\w+"
)


def options_named(text: str, options: dict[str, str], predicate: bool) -> list[str]:
    """Options whose text occurs; with ``predicate`` only right behind "is", "are", "called" and the like.

    A bare number or one letter is too common a word to count elsewhere. "increase" inside "large increase" does not
    count if both are options.
    """
    whole = _REJECTED.sub("", spaced(text))
    others = "|".join(re.escape(normal(option)) for option in options.values() if normal(option))
    spans: dict[str, list[tuple[int, int]]] = {}
    for label, option in options.items():
        words = normal(option)
        common = not _UNSPACED.fullmatch(words) and re.fullmatch(r"[-\d.,]+|..?", words) is not None
        if words and (predicate or not common):
            before = _PREDICATE if predicate else ""
            after = r"(?!\w)(?![.,-]\w)" + (r"(?! ?[-/*+^(=])" if common else "")
            after += rf"(?!,? (?:and |or )?(?:{others})(?![\w'-]))" if predicate else ""  # one of a list of them
            if _UNSPACED.fullmatch(words):  # "压强减少" for 减少, but not 不减少
                before, after = f"{before}(?<![不没沒非未无無])(?<!没有)(?<!沒有)(?<!不[会會能再是])", ""
            else:
                before += r"(?<!\w)(?<!\w[-.])"
            pattern = rf"{before}(?P<words>{re.escape(words)}){after}"
            spans[label] = [match.span("words") for match in re.finditer(pattern, whole)]
    taken = [span for places in spans.values() for span in places]
    inner = {span for span in taken for a, b in taken if a <= span[0] and span[1] <= b and (a, b) != span}
    return [label for label, places in spans.items() if not inner.issuperset(places)]


_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff]{2,}")
_ARTICLES = ("that ", "the ", "a ", "an ")


def _opens(text: str, words: str) -> bool:
    """Whether ``text`` begins with these whole words."""
    following = text[len(words) : len(words) + 1]
    return text.startswith(words) and not (following.isalnum() or following == "_")


def starts_with(text: str, options: dict[str, str]) -> str | None:
    """The label of the longest option that ``text`` begins with."""
    start = normal(text)
    starts = [start, *(start.removeprefix(word) for word in _ARTICLES if start.startswith(word))]
    fitting = [
        (len(words), label)
        for label, option in options.items()
        if (words := normal(option)) and any(_opens(begin, words) for begin in starts)
    ]
    fitting.sort(reverse=True)
    if not fitting or (len(fitting) > 1 and fitting[0][0] == fitting[1][0]):
        return None
    return fitting[0][1]
