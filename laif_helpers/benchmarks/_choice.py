"""Multiple choice: the prompt, and a reader that takes the last explicit statement, then a leading letter, then an
option's text. A capital letter that merely occurs ("A ball …") is never taken for an answer.
"""

import functools
import re
from collections.abc import Iterable, Iterator

from laif_helpers.records import Example, Grade, Message

INSTRUCTION = (
    "Answer this multiple-choice question. You may reason first; close with a line "
    '"The answer is X.", where X is the letter of the right option.'
)
NO_OPTION = "none"
"""What a response reads as that says that no option is right."""
_NONE = re.compile(
    r"\b(?:none|neither) of (?:(?:the|these) (?:options?|choices?|answers?|statements?|above)"
    r"|the (?:given|above|provided|listed) \w+)\b[^.\n]{0,60}"
    r"|\bno (?:suitable|correct|right|valid) (?:answer|option|choice)s? (?:among|is|are|listed|provided|given)\b"
    r"|\banswer (?:is|:)\s*:?\s*none\b|\b(?:answer|option) is not (?:among|included|listed|provided)\b",
    re.IGNORECASE,
)
_DENIAL = re.compile(
    r"\(\w\)[^.]{0,25}\b(?:not|incorrect|wrong|false|cannot)\b"
    r"|\b(?:this|it|which) (?:is|was|would be) (?:not|incorrect|wrong|false)\b|n't\b",
    re.IGNORECASE,
)
_DECLINES = re.compile(
    r"\b(?:impossible|not possible|cannot|can't|unable|difficult)\b[^.]{0,40}?"
    r"\b(?:determine|answer|choose|say|provide|tell|know)\b",
    re.IGNORECASE,
)
_PREDICATE = (
    r"\b(?:is|are|be|was|called)(?: more| most| likely| typically| usually| generally| associated with)*:? "
    r"(?:the |a |an )?"
)
_TAIL = 6000
"""Characters at the end of a long text that are read; statements of the answer stand there."""


def question_text(example: Example) -> str:
    """The question with one line per option, ``A. …``."""
    options: dict[str, str] = example.fields["options"]
    return "\n".join([example.question, *(f"{label}. {text}" for label, text in options.items())])


def messages_for(text: str) -> list[Message]:
    return [{"role": "user", "content": f"{INSTRUCTION}\n\n{text}"}]


def messages(example: Example) -> list[Message]:
    return messages_for(question_text(example))


def gold_response(example: Example) -> str | None:
    """The right option's text, closed by the statement that the prompt asks for."""
    return f"{example.fields['options'][example.gold]}\n\nThe answer is {example.gold}."


def chance(example: Example) -> float:
    return 1 / len(example.fields["options"])


def grade(example: Example, text: str) -> Grade:
    label, how = read(text, example.fields["options"])
    if label is None:
        return Grade(False, None, False, how)
    return Grade(label == example.gold, label, True, f"{how}: {label}, gold {example.gold}")


def read(text: str, options: dict[str, str]) -> tuple[str | None, str]:
    """The label that a response chooses and how it was found; (None, why) where it chooses none or several.

    A response that says that no option is right reads as ``none``.
    """
    text = _plain(text)[-_TAIL:]
    for how, reader in (
        ("stated", _stated),
        ("leading letter", _leading),
        ("stated in passing", _in_passing),
        ("labelled option", _labelled),
    ):
        if label := reader(text, options):
            return label, how
    return _by_text(text, options)


def _stated(text: str, options: dict[str, str]) -> str | None:
    """The label of the last statement such as "the answer is (B)" or "option C is the best choice"."""
    found = _matches(text, options, ("answer", "option", "is_answer", "closest", "choose", "boxed", "line"))
    places = {place for place, _ in found}
    for start, rest in _statements(text):
        if start not in places and (label := _starts_with_option(rest, options)):
            found.append((start, label))
    if not any(re.search(r"\b(?:none|neither|no)\b", option, re.IGNORECASE) for option in options.values()):
        found += [(match.end(), NO_OPTION) for match in _NONE.finditer(text)]
    return max(found)[1] if found else None


def _in_passing(text: str, options: dict[str, str]) -> str | None:
    """Weaker statements, which may speak of something else: "D is correct", "the likely outcome is D. …"."""
    found = _matches(text, options, ("correct", "is_label"))
    return max(found)[1] if found else None


def _matches(text: str, options: dict[str, str], names: Iterable[str]) -> list[tuple[int, str]]:
    patterns = _patterns(tuple(options))
    found = [match for name in names for match in patterns[name].finditer(text)]
    return [(match.start(match.lastgroup), match[match.lastgroup].upper()) for match in found if match.lastgroup]


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """What follows each "the answer is", to the end of its line (or the next line, where that one is empty)."""
    for match in re.finditer(r"\banswer\b[^.:\n]{0,60}?(?:\bis|:)\s*:?\s*(.{1,600})", text, re.IGNORECASE):
        yield match.start(1), match[1]


def _leading(text: str, options: dict[str, str]) -> str | None:
    patterns = _patterns(tuple(options))
    match = patterns["leading"].match(text)
    # A response that goes through the options in their order begins with the first letter without choosing it.
    listed = [label.upper() for label in patterns["listed"].findall(text)]
    return match["label"].upper() if match and listed[:3] != list(options)[:3] else None


def _labelled(text: str, options: dict[str, str]) -> str | None:
    """The option that is named with its letter beside it, "D. Agriculture" or "a liverwort (B)": the only one of the
    response, or the only one of the first sentence that names any and denies nothing."""
    everywhere = _with_label(text, options)
    if len(everywhere) == 1:
        return everywhere[0]
    for sentence in _sentences(text):
        if named := _with_label(sentence, options):
            return named[0] if len(named) == 1 and not _DENIAL.search(sentence) else None
    return None


def _with_label(text: str, options: dict[str, str]) -> list[str]:
    whole, named = _spaced(text), []
    for label, option in options.items():
        words, mark = re.escape(_normal(option)), re.escape(label.casefold())
        if re.search(rf"(?<!\w)\(?{mark}\s?[.):]+ {words}(?!\w)|(?<!\w){words}\W? \((?:option )?{mark}\)", whole):
            named.append(label)
    return named


def _sentences(text: str) -> list[str]:
    # not behind the point of "B. Agriculture"
    return [part for part in re.split(r"(?<=\w\w[.!?])\s+|\n+", text.strip()) if part.strip()]


def _by_text(text: str, options: dict[str, str]) -> tuple[str | None, str]:
    """The one option whose text the conclusion repeats, or the first sentence, or else the whole response."""
    sentences = _sentences(text) or [""]
    concluding = [part for part in sentences if re.match(r"(?:therefore|thus|so|hence|in conclusion)\b", part, re.I)]
    mentioned = {max(groups).upper() for groups in _patterns(tuple(options))["mention"].findall(text)}
    if len(mentioned) == 1:
        return mentioned.pop(), "the only letter mentioned"
    if _DECLINES.search(" ".join(sentences[-2:])):
        return None, "declines to choose"
    for how, part in [
        ("option's text in the conclusion", concluding[-1] if concluding else ""),
        ("option's text in the first sentence", sentences[0]),
        ("option's text", "" if mentioned else text),
    ]:
        for predicate in (True, False):
            if len(named := _named(part, options, predicate)) == 1:
                return named[0], how
    return None, "names several options and settles on none" if _named(text, options, False) else "no option named"


def _named(text: str, options: dict[str, str], predicate: bool) -> list[str]:
    """Options whose text occurs; with ``predicate`` only right behind "is", "are", "called" and the like.

    A bare number or one letter is too common a word to count elsewhere. "increase" inside "large increase" does not
    count where both are options.
    """
    whole = _spaced(text)
    spans: dict[str, list[tuple[int, int]]] = {}
    for label, option in options.items():
        words = _normal(option)
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


def _starts_with_option(text: str, options: dict[str, str]) -> str | None:
    """The label of the longest option that ``text`` begins with."""
    start = _normal(text)
    fitting = [
        (len(_normal(option)), label)
        for label, option in options.items()
        if _normal(option) and re.match(rf"(?:that |the |a |an )?{re.escape(_normal(option))}(?!\w)", start)
    ]
    fitting.sort(reverse=True)
    if not fitting or (len(fitting) > 1 and fitting[0][0] == fitting[1][0]):
        return None
    return fitting[0][1]


def _spaced(text: str) -> str:
    return re.sub(r"\s+", " ", text.casefold())


def _normal(text: str) -> str:
    return re.sub(r"\s+", " ", text.casefold()).strip(" .'\"`")


def _plain(text: str) -> str:
    """The text without bold, code and quote marks, which only decorate a letter."""
    return re.sub(r"\*\*|__|[`“”\"]|\\text\s*(?=\{)|\$", "", text)


@functools.cache
def _patterns(labels: tuple[str, ...]) -> dict[str, "re.Pattern[str]"]:
    """Patterns over exactly these labels. A lone letter counts when it is closed off: "(B)", "B.", "B:", "B" + end."""
    letters = "|".join(re.escape(label) for label in labels)
    letter = rf"(?P<label>{letters})"
    after = r"[)\]}]|[.,:;](?=\s|$)|(?=\s*$)|(?=\s*\n)|(?=\s+\()|(?=\s+(?:[-–—]|because|since|as|and|is|in|with)\s)"
    closed = rf"[(\[{{]?\s*{letter}\s*(?:{after})"
    noun = r"(?:answer|choice|option|response|statement)"
    becomes = r"(?:\bis\b|\bwould be\b|\bshould be\b|\bmust be\b|:|=)\s*:?\s*"
    good = r"(?:correct|right|best|accurate|appropriate|suitable|plausible|reasonable|likely)"
    # "none of A, B, C, or D is the correct answer" speaks for no letter
    the = r"(?:the\s+|a\s+|therefore\s+|most\s+|more\s+|only\s+)*"
    alone = r"(?<![\w'])(?<!, )(?<!,)(?<!or )(?<!and )"
    sources = {
        "answer": rf"\b(?:answer|choice|solution)s?\b(?:\s+(?:to|for|here|in|among)\b[^.:\n]{{0,80}}?)?\s*{becomes}"
        rf"(?:{noun}\s+)?{closed}",
        "option": rf"\b{good}\s+{noun}\s+(?:{becomes})?(?:{noun}\s+)?{closed}",
        "closest": rf"\b(?:closest|nearest)\b(?:\s+\w+){{0,6}}?\s+(?:is|would be|to)\s+(?:{noun}\s+)?{closed}",
        "choose": rf"\b(?:choose|select|pick|go with)\s+(?:{noun}\s+)?{closed}",
        "boxed": rf"\\(?:boxed|fbox)\s*\{{\s*[({{]?\s*{letter}\b",
        "line": rf"^[ \t]*[(\[]?{letter}[)\].:]*[ \t]*$",
        "leading": rf"\s*(?:{noun}\s+)?[(\[]?{letter}(?:[)\]]|[.,:](?=\s|$)|\s*$|\s*\n|\s+[-–—]\s)",
        "listed": rf"^[ \t]*[(\[]?({letters})[)\].:]\s",
    }
    # "a best answer" would be read as option A: these are read with capital letters only
    exact = {
        "is_answer": rf"\b[Oo]ption\s+\(?{letter}\)?\s+(?:is|would be|seems)\s+{the}{good}\b"
        rf"|{alone}\(?(?P<other>{letters})\)?(?:[.:,][^.\n]{{0,200}}?)?\s+(?:is|would be)\s+{the}{good}"
        r"\s+(?:answer|choice|option)\b",
        "correct": rf"{alone}(?:[Ss]tatement\s+)?\(?{letter}\)?\s*(?:[.:,][^.\n]{{0,200}}?)?\s+is\s+{the}{good}\b",
        "is_label": rf"\b(?:is|are|be)\s*:?\s*(?:[Oo]ption\s+)?\(?{letter}(?:\)|[.:](?=\s|$)|$)",
        "mention": rf"\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ss]ituation|[Ss]tatement|[Ss]cenario)\s+\(?({letters})\b"
        rf"|(?<=[\s(])\(({letters})\)(?!\w)",
    }
    patterns = {name: re.compile(source, re.IGNORECASE | re.MULTILINE) for name, source in sources.items()}
    return patterns | {name: re.compile(source, re.MULTILINE) for name, source in exact.items()}
