"""Defines how an option is named: the patterns over the labels of its item's options, and its own words."""

import functools
import re
import unicodedata
from dataclasses import dataclass

from laif_helpers.graders import final_number
from laif_helpers.graders.numbers import equal

_NOUN = r"(?:answer|choice|option|response|statement)"
_SURELY = r"(?:(?:most likely|probably|likely|clearly|thus|indeed|therefore|definitely|certainly|actually|simply)\s+)?"
_BECOMES = rf"(?:\b(?:is|would be|should be|must be|to be|seems to be|appears to be)\b|:|=)\s*:?\s*{_SURELY}"
_GOOD = r"(?:correct|right|best|better|accurate|appropriate|suitable|plausible|reasonable|likely)"
_THE = r"(?:the\s+|a\s+|therefore\s+|most\s+|more\s+|only\s+)*"
# "none of A, B, C, or D is the correct answer" speaks for no letter
_ALONE = r"(?<![\w'])(?<![A-Z1-9], )(?<![A-Z1-9],)(?<!or )(?<!and )(?<!through )(?<!to )(?<![-–])"
_CLOSES = (
    r"[)\]}]|[.,:;!](?=\s|$)|(?=\s*$)|(?=\s*\n)|(?=\s*(?:[(—/|]|--))"
    r"|(?=\s+(?:[-–—]|because|since|as|and|is|in|with|rather|not)\s)"
)
_OTHERS = "(?<!students )(?<!people )(?<!many )(?<!some )(?<!others )(?<!mistake is to )(?<!not )(?<!n't )"
_GAP = r"(?:[.:,](?! but\b)[^.\n]{0,200}?)?"
_SO = r"(?:[Tt]herefore|[Tt]hus|[Ss]o|[Hh]ence|(?:leaves|leaving)(?: us)?(?: with)?|left with|[Ii]t's|[Ii]t is|[Oo]nly)"


@dataclass(frozen=True)
class _Letters:
    """Pieces of patterns about one set of labels.

    Attributes:
        any: one of the labels; ``named``: the same, as the group ``label``.
        several: what follows a letter that is one of several: "A and B", "A, C and D" choose nothing.
        closed: a letter that counts although it stands alone, since it is closed off: "(B)", "B.", "B:", "B" + end.
        word: a letter as a word of a sentence.
    """

    any: str
    named: str
    several: str
    closed: str
    word: str


def _letters(labels: tuple[str, ...]) -> _Letters:
    letters = "|".join(re.escape(label) for label in labels)
    letter = rf"(?P<label>{letters})"
    # "B, A is wrong" chooses
    several = (
        rf"[)\].]?(?:\s*,\s*(?:and\s+|or\s+)?|\s+and\s+|\s+or\s+|\s*[&/]\s*)\(?(?:[Oo]ption\s+)?(?-i:{letters})\b(?!')"
        r"(?!\)?\s+(?:is|has|does|was|can|would|cannot|describes|refers|seems)\b)"
    )
    closed = rf"[(\[{{]{{0,2}}\s*{letter}(?!{several})\s*(?:{_CLOSES})"
    word = rf"(?:\({letter}\)|(?!I\b){letter.replace('label', 'bare')})(?![\w'])(?!{several})"
    return _Letters(letters, letter, several, closed, word)


@functools.cache
def patterns(labels: tuple[str, ...]) -> dict[str, "re.Pattern[str]"]:
    """Patterns over exactly these labels, by what they find."""
    letters = _letters(labels)
    found = {name: re.compile(source, re.IGNORECASE | re.MULTILINE) for name, source in _in_any_case(letters).items()}
    return found | {name: re.compile(source, re.MULTILINE) for name, source in _as_written(letters).items()}


def _in_any_case(of: _Letters) -> dict[str, str]:
    return {
        "answer": rf"\b(?:answer|ans|choice|solution|selection)s?\b"
        rf"(?:\s+(?:to|for|here|in|among)\b[^.:\n]{{0,80}}?)?\s*{_BECOMES}(?:{_NOUN}\s+)?{of.closed}"
        rf"|\bans(?:wer)?\b\.?(?=[( ])\s*\(?(?-i:(?P<short>{of.any}))\b\)?(?=[.\s]*$)",
        "labelled": rf"^[ \t]*correct\s*:[ \t]*{of.closed}",
        "option": rf"\b{_GOOD}\s+{_NOUN}\s+(?:{_BECOMES})?(?:{_NOUN}\s+)?{of.closed}",
        "closest": rf"\b(?:closest|nearest)\b(?:\s+\w+){{0,6}}?\s+(?:is|would be|to)\s+(?:{_NOUN}\s+)?{of.closed}",
        "choose": rf"{_OTHERS}\b(?:choose|select|pick|go(?:ing)? with)\s+(?:{_NOUN}\s+)?{of.closed}",
        "boxed": rf"\\(?:boxed|fbox)\s*\{{\s*[({{]?\s*{of.named}\b",
        "line": rf"^[ \t]*(?:A:[ \t]*)?(?:[(\[]{{1,2}}{of.named}[)\]]|(?-i:(?P<bare>{of.any}))[)\].:]*)[ \t]*$",
        "leading": rf"\s*(?:A:[ \t]*(?=[(\[]?(?-i:{of.any})(?:[)\].:]|[ \t]*$)))?(?:{_NOUN}\s+)?"
        rf"[(\[]{{0,2}}{of.named}(?!\)?\s+(?:(?:is|was|does|has)(?:n't| not)|is (?:incorrect|wrong|false)|cannot)\b)"
        r"(?:[)\]]|[.,:](?=\s|$)|\s*$|\s*\n|\s+(?:[-–—]|because|since)\s|\s+\((?:confidence|\d))",
        "listed": rf"^[ \t]*[(\[]?({of.any})[)\].:]\s",
    }


def _as_written(of: _Letters) -> dict[str, str]:
    """Read with capital letters only: "a best answer" would be option A."""
    return {
        "is_answer": rf"\b[Oo]ption\s+\(?{of.named}\)?\s+(?:is|would be|seems)\s+{_THE}{_GOOD}\b"
        rf"|{_ALONE}\(?(?P<other>{of.any})\)?(?!{of.several}){_GAP}\s+(?:is|would be)\s+{_THE}"
        rf"(?:{_GOOD}\s+(?:answer|choice|option)|(?<=the )(?:final\s+)?answer)\b",
        "correct": rf"{_ALONE}(?:[Ss]tatement\s+)?\(?{of.named}\)?\s*{_GAP}\s+"
        rf"(?:(?:is|seems|looks|would be|must be)\s+{_THE}{_GOOD}\b(?! (?:if|had|for an?)\b)|best\s+[a-z]+s\b|fits best"
        r"|makes the most sense|it is(?=[.!]|\s*$)|wins\b"
        r"|(?:is|would be) (?:the (?:only )?one|my (?:answer|choice|pick)|what I)\b)",
        "is_label": rf"\b(?:is|are|be)\s*:?\s*(?:[Oo]ption\s+)?\(?{of.named}(?:\)|[.:](?=\s|$)|$)",
        "concludes": rf"(?:\b{_SO}[,:]?|->|→|=>)\s+(?:it\s+(?:is|must be|has to be)\s+)?(?:actually\s+)?"
        rf"(?:(?:the\s+)?{_NOUN}\s+)?{of.word}(?=[.,;:!]?\s*$|[.;!]\s|,\s+(?:because|since|as|not|rather)\b"
        r"|\s+(?:must be|has to be|fits|works|remains|(?:is|would be)\s+(?:the|correct|right|true))\b)",
        "instead": rf"(?:\b[Nn]ot\s+\(?(?:{of.any})\)?[,;.]?\s+(?:but|it is|it's|it must be)\s+"
        r"(?:rather\s+|actually\s+)?"
        r"|\b(?:[Ww]ait|[Cc]orrection)[,:.…—-]*\s+(?:(?:no|wait|actually|it's|it is|I mean)[,:]?\s+){0,2})"
        rf"(?:{_NOUN}\s+)?{of.word}"
        rf"|(?:\.\.\.|…|[—,-])[ \t]*no,[ \t]+(?:it's[ \t]+)?\(?(?P<other>{of.any})\)?(?=[.!]?\s*$)",
        "item": rf"(?:^|(?<=[.,;✗✘❌✓✔✅]\s))[ \t]*(?:[Oo]ption\s+)?[(\[]?{of.named}"
        r"(?:[)\].:](?=\s)|(?=\s+(?:is|was|seems|would|cannot|can)\b|\s[-–—|]\s)|(?=[\s|]{0,3}[✗✘❌✓✔✅]))",
        "several": of.several,
        "both": rf"\b(?:[Aa]nswers?|[Cc]hoices?|[Oo]ptions?)\s*(?:is|are|would be|(?:could|may|might|can) be|:)\s*:?\s*"
        rf"(?:both |either )?\(?(?P<label>{of.any}){of.several}",
        "mention": rf"\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ss]ituation|[Ss]tatement|[Ss]cenario)\s+\(?({of.any})\b"
        rf"|(?<=[\s(])\(({of.any})\)(?!\w)",
    }


_MARKED = r"^[ \t]*(?:[-*•] +)?(?:\[{0}\]|\({0}\)|[{1}]\ufe0f?)[ \t]*((?:\*\*)?\(?[A-J1-9](?:[).:][^\n]*|(?:\*\*)?$))"
_OTHERWISE = r"(\banswer is:? \(?[A-J]\b[^\n]{0,300}[.)]\s+)If\b[^.\n]{1,200}\banswer would (?:be|have been)\b[^.\n]*"
_ASKS = r"(?<![\w'])(?:(?:[Ii]s|[Cc]ould) it (?:be )?)?\(?([A-J])\)?\? "
_DECORATION = (
    # a box or mark before an option is its verdict
    (re.compile(_MARKED.format("[xX✓]", "☑☒●◉✅✓✔➡👉"), re.MULTILINE), r"\1 ✓"),
    (re.compile(_MARKED.format(" ?", "☐○❌✗✘"), re.MULTILINE), r"\1 ✗"),
    (re.compile(_OTHERWISE), r"\1"),
    (re.compile(rf"{_ASKS}[Yy]es\b[.,!]?"), r"The answer is \1."),
    (re.compile(rf"{_ASKS}[Nn]o\b"), r"\1 is wrong"),
    (re.compile(r"\\(?:text|textbf|mathbf|mathrm|textit)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"(?<=[A-Za-z)])\^\{?(\d)\}?"), r"\1"),
    (re.compile("[²³]"), lambda match: "23"["²³".index(match[0])]),
    (re.compile(r"<([biu])>([^<\n]{1,300})</\1>"), r"\2"),
    (re.compile(r"\\[,;:! ]"), " "),
    (re.compile(r"\*\*|__|[`“”\"]|\$|\\[()\[\]]"), ""),
    (re.compile(r"</?[a-z]{2,20}>"), "\n"),
    (re.compile(r"'([A-Z])'|<([A-Z])>"), lambda match: match[1] or match[2]),
    (re.compile(r"^[ \t]*(?:#{1,6}|[-*>•])[ \t]+|^[ \t]*\|[ \t]*|[ \t]*\|[ \t]*$", re.MULTILINE), ""),
)


def spaced(text: str) -> str:
    return re.sub(r"\s+", " ", text.casefold())


def normal(text: str) -> str:
    return spaced(text).strip(" .'\"`")


def plain(text: str) -> str:
    """The text without bold, code, quote, list and LaTeX marks, which only decorate a letter."""
    for pattern, instead in _DECORATION:
        text = pattern.sub(instead, text)
    return text


_PLACES = ("first", "second", "third", "fourth", "fifth")
_PLACE = re.compile(rf"\b({'|'.join(_PLACES)}|last) (?:answer )?(?:option|choice|answer|alternative|one)\b", re.I)
_OUT = r"(?:eliminat|exclud|discard|reject|rul)(?:e[ds]?|ing|ed)(?: out)?|incorrect|wrong|false"
_ROMANS = r"\b(?:I{1,3}|IV|V)\b(?!['’]| (?:think|believe|would|will|am|have|choose|chose|can|know|got|need)\b)"
_VERDICTS = r"\b(?:[Nn]ot (?:morally )?)?(?i:true|false|wrong)\b"
_FILLED = re.compile(r"(?:[\s,.]|\b(?:and|or|only|both|statements?)\b)*", re.IGNORECASE)


def _verdicts(pattern: str, text: str) -> list[str]:
    """ "I, II" or "false, true", as an option or a sentence says it."""
    said = [found.casefold().replace("morally ", "") for found in re.findall(pattern, text)]
    return [{"not true": "false", "not false": "true"}.get(word, word) for word in said]


def _squeezed(text: str) -> str:
    return re.sub(r"[^\w+*/^=<>%-]|_", "", unicodedata.normalize("NFKC", text).casefold())


def as_good_as(text: str, options: dict[str, str]) -> str | None:
    """The option that a response names in other words: its marks left out, its verdicts in sentences, its number."""
    whole = _squeezed(text)
    found = [label for label, option in options.items() if _squeezed(option) in whole]
    found = found if len(found) == 1 and len(_squeezed(options[found[0]])) > 11 else []
    found = found or [label for label, option in options.items() if _squeezed(option) == whole]
    part = re.compile(rf"(?<!\w){re.escape(_bare(text))}(?!\w)")
    if len(_bare(text)) > 3:  # "blue" for "blue ball"
        found = found or [label for label, option in options.items() if part.search(_bare(option))]
    for pattern in (_ROMANS, _VERDICTS):
        if not found and all(_FILLED.fullmatch(re.sub(pattern, "", option)) for option in options.values()):
            said = [_verdicts(pattern, part) for part in (text, re.split(r"(?<=[.!?])\s", text.strip())[-1])]
            found = [label for label, option in options.items() if _verdicts(pattern, option) in said]
    values = {label: option.rpartition("=")[2].casefold() for label, option in options.items()}
    if not found and all(map(final_number.is_answer, values.values())) and (number := final_number.final(text)[0]):
        found = [label for label, value in values.items() if equal(number, value)]
    return found[0] if len(found) == 1 else None


def by_place(text: str, options: dict[str, str]) -> str:
    """The text with "option C" for "the third option"; the option that is named in other words, or that is left if
    all others are eliminated."""
    if label := as_good_as(text, options):
        return f"The answer is {label}."
    named = dict(zip(_PLACES, options, strict=False)) | {"last": [*options][-1]}
    label = rf"\(?(?:{'|'.join(map(re.escape, options))})\)?(?![\w'])"
    row = rf"{label}(?:(?:,? and|,? or|,) {label}){{0,25}}"
    denied = rf"(?i:(?:\b(?:{_OUT}|not)|n't be)) (?:options? |choices? )?{row}"
    rows = re.findall(rf"{denied}|{row} (?:is|are|(?:can|may) be) (?:all )?(?:{_OUT})", text)
    out = set(re.findall(rf"(?<!\w){label}", " ".join(rows)))
    left = [option for option in options if option not in {name.strip("()") for name in out}]
    if rows and len(left) == 1:
        return f"The answer is {left[0]}."
    return _PLACE.sub(lambda match: f"option {named.get(match[1].lower(), '')}", text)


# -- options named by their words: alone, with the letter beside them, or inside a sentence

_LONE = re.compile(r"[^\n]{0,40}?(?<![\w'-])([A-J])\W{0,5}")
_BEFORE_NAME = re.compile(
    r"(?<![\w'])(?-i:[A-HJ])(?![\w'])|(?:\b(?:not|never|nicht|kein|pas|non|não|no es|не|vitamin|type|plan|hepatitis"
    r"|about|eliminate|exclude|group|class|grade|figure|part|team|blood|section)|n't)\W*$",
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


_REJECTED = re.compile(
    r",? (?:rather than|instead of)\b[^,.;]*|, (?:and |but )?not\b[^,.;]*"
    r"|\b(?:(?:is|are|was|were) not|(?:is|are|was|were)n't) (?!only\b|just\b)(?:an? |the )?\w+"
)


def options_named(text: str, options: dict[str, str], predicate: bool) -> list[str]:
    """Options whose text occurs; with ``predicate`` only right behind "is", "are", "called" and the like.

    A bare number or one letter is too common a word to count elsewhere. "increase" inside "large increase" does not
    count if both are options.
    """
    whole = _REJECTED.sub("", spaced(text))
    spans: dict[str, list[tuple[int, int]]] = {}
    for label, option in options.items():
        words = normal(option)
        common = len(words) < 3 or re.fullmatch(r"[-\d.,]+", words) is not None
        if words and (predicate or not common):
            before = _PREDICATE if predicate else ""
            after = r"(?!\w)(?![.,-]\w)" + (r"(?! ?[-/*+^(=])" if common else "")
            pattern = rf"{before}(?<!\w)(?<!\w[-.])(?P<words>{re.escape(words)}){after}"
            spans[label] = [match.span("words") for match in re.finditer(pattern, whole)]
    taken = [span for places in spans.values() for span in places]
    return [label for label, places in spans.items() if any(not _within(span, taken) for span in places)]


def _within(span: tuple[int, int], taken: list[tuple[int, int]]) -> bool:
    return any(start <= span[0] and span[1] <= end and (start, end) != span for start, end in taken)


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
