"""Writes the prompt of a multiple-choice question, and reads the chosen letter from a response.

The reader takes the last explicit statement, else a leading letter, else an option's text. A capital letter that
merely occurs ("A ball …") is never taken for an answer.
"""

import itertools
import re
import string
from collections.abc import Iterable, Iterator

from laif_helpers.graders import fields
from laif_helpers.graders.choice_patterns import DECLINES, DENIAL, DENIED, NONE, RIGHT, WRONG, patterns, plain
from laif_helpers.graders.choice_words import (
    by_confidence,
    by_place,
    by_truth,
    lone_letter,
    normal,
    of_all,
    options_named,
    starts_with,
    text_first,
    whole_text,
    with_label,
    without_list,
)
from laif_helpers.graders.languages import english, latin_labels
from laif_helpers.graders.turns import own_turn
from laif_helpers.records import Example, Grade, Message

INSTRUCTION = (
    "Answer this multiple-choice question. You may reason first; close with a line "
    '"The answer is X.", where X is the letter of the right option.'
)
SEVERAL = "several"
"""What a statement reads as that names more than one option."""
NO_OPTION = "none"
"""What a response reads as that says that no option is right."""
_STATEMENTS = ("answer", "option", "labelled", "closest", "choose", "boxed", "line")
_NEXT_OPTIONS = re.compile(
    r"\n[^\n]{0,2000}\?[ \t]*\n{1,3}[ \t]*\(?A[).:][ \t]*(\S[^\n]{0,2000})\n{1,3}[ \t]*\(?B[).:]"
)
_CIRCLED = re.compile("[①-⑨]")
_TAIL = 6000
"""Characters at the end of a long text that are read; statements of the answer stand there."""


def question_text(example: Example) -> str:
    """The question with one line per option, ``A. …``; alone if it has none."""
    options: dict[str, str] = example.fields["options"]
    # an option of several lines, so that no line of it looks like an option of its own
    indented = ((label, text.strip().replace("\n", "\n   ")) for label, text in options.items())
    return "\n".join([example.question, *(f"{label}. {text}" for label, text in indented)])


def messages_for(text: str) -> list[Message]:
    return [{"role": "user", "content": f"{INSTRUCTION}\n\n{text}"}]


def gold_response(example: Example) -> str | None:
    """The right option's text, closed by the statement that the prompt asks for."""
    return f"{example.fields['options'][example.gold]}\n\nThe answer is {example.gold}."


def chance(example: Example) -> float:
    """Of a guess among the options; 0 for an item without any."""
    options = example.fields.get("options")
    return 1 / len(options) if options else 0.0


def grade(example: Example, text: str) -> Grade:
    """The label that ``text`` chooses among ``example.fields['options']``, compared with the gold label."""
    label, how = read(text, example.fields["options"])
    return Grade(label == example.gold, label, bool(label), f"{how}: {label}, gold {example.gold}" if label else how)


def read(text: str, options: dict[str, str]) -> tuple[str | None, str]:
    """The label that a response chooses and how it was found; (None, why) if it chooses none or several. A response
    that says that no option is right reads as ``none``."""
    letters = latin_labels(options)
    label, how = (None, "no option named") if letters else _read(text, options)
    if label is None and (label := of_all(text, options)):
        return label, "all or none of the others"
    numbered = "".join(options).isdigit()  # "B" for the second of numbered ones, "option 2" for B
    counted = len(text) < 100 and not re.search(r"\d", "".join(options.values()))
    signs = string.ascii_uppercase if numbered else string.digits[1:]
    if letters or (how == "no option named" and (numbered or counted) and len(options) <= len(signs)):
        given = letters or dict(zip(options, signs, strict=False))
        label, how = _read(text, {given[label]: option for label, option in options.items()}, letters)
        label = {letter: label for label, letter in given.items()}.get(label or "", label)
    return label, how


def _read(text: str, options: dict[str, str], letters: dict[str, str] | None = None) -> tuple[str | None, str]:
    text = _own_answer(text, options)[-2 * _TAIL :]
    if "A" in options and len(set(_CIRCLED.findall(text))) == 1 and not _CIRCLED.search("".join(options.values())):
        text = _CIRCLED.sub(lambda sign: string.ascii_uppercase[ord(sign[0]) - ord("①")], text)
    text = english(text, options=True, labels=letters or {})
    if field := fields.answer(text):
        label, how = _read(field.value, options, letters)
        if label:
            return label, f"answer field, {how}"
    text = plain(text)[-_TAIL:]
    options = {label: plain(option) for label, option in options.items()}
    for how, reader in (
        ("stated", _stated),
        ("most likely", by_confidence),
        ("leading letter", _leading),
        ("only option called correct", _judged),
        # weaker statements, which may speak of something else: "D is correct", "the likely outcome is D. …"
        ("stated in passing", lambda text, of: max(_matches(text, of, ("correct", "is_label")), default=(0, None))[1]),
        ("labelled option", _labelled),
    ):
        if label := reader(text, options):
            return (None, "chooses several options") if label == SEVERAL else (label, how)
    return _by_text(text, options)


def _stated(text: str, options: dict[str, str]) -> str | None:
    """The label of the last statement such as "the answer is (B)" or "option C is the best choice"."""
    # "so 3." counts more often than it chooses where the options are numbers
    counts = next(iter(options)).isdigit() and any(re.search(r"\d", option) for option in options.values())
    found = _matches(text, options, _STATEMENTS if counts else (*_STATEMENTS, "concludes", "instead"))
    found = [(place, label) for place, label in found if not _begins_list(text, place, label, options)]
    found += _matches(text, options, ("is_answer",))
    found = [(place, SEVERAL if _goes_on(text[place:], label, options) else label) for place, label in found]
    found += [(match.end(), SEVERAL) for match in patterns(tuple(options))["both"].finditer(text)]
    places = {place for place, _ in found}
    for start, rest in _statements(text):
        if start not in places and not re.match(r"not\b", rest) and (label := starts_with(rest, options)):
            found.append((start, label))
    if not any(re.search(r"\b(?:none|neither|no)\b", option, re.IGNORECASE) for option in options.values()):
        found += [(match.end(), NO_OPTION) for match in NONE.finditer(text)]
    return max(found)[1] if found else None


def _begins_list(text: str, place: int, label: str, options: dict[str, str]) -> bool:
    """Whether a letter at the beginning of a line is one of a list: the next letter, or the last, stands likewise.

    "The answers:\\nA. …\\nB. …" chooses nothing, nor does the "D." that ends a list cut off.
    """
    line = text.rfind("\n", 0, place) + 1
    if text[line:place].strip(" \t(["):
        return False
    labels = list(options)
    at = labels.index(label)
    sides = (
        (labels[at + 1 : at + 2], text[place : place + 1500].split("\n")[1:4]),
        (labels[max(0, at - 1) : at], text[max(0, place - 1500) : line].rstrip().split("\n")[-1:]),
    )
    return any(
        re.match(rf"[ \t]*[(\[]?{re.escape(option)}[)\].:][ \t]+\S", found)
        for neighbours, lines in sides
        for option in neighbours
        for found in lines
    )


def _goes_on(rest: str, label: str, options: dict[str, str]) -> bool:
    """Whether a statement names a second option behind the first: "(C) iron or (D) copper", "(B) water (E) wood"."""
    others = "|".join(re.escape(other) for other in options if other != label)
    words = rest[len(label) :].lstrip(")].: \t")
    option = options[label].strip().rstrip(".")
    words = words[len(option) :] if option and words.casefold().startswith(option.casefold()) else words
    joined = (
        rf"\W{{0,3}}(?:(?:,|and|or|&|/|both)\s*){{0,2}}[(\[](?:{others})[)\]]|\s*[,&/]\s*(?:{others})\s*[)}}\]]"
        rf"|\W{{0,3}}(?:and|or)\s+(?:{others})(?![\w'])"
    )
    far = rf"(?:[ \t]+[a-z][\w-]*){{1,4}},?[ \t]+(?:and|or)[ \t]+\((?:{others})\)"
    stop = r"(?!\s+(?:is|are|was|were|has|does|can|would|cannot)\b)"
    return re.match(rf"(?:{joined}|{far}){stop}", words) is not None


def _judged(text: str, options: dict[str, str]) -> str | None:
    """The only option that is called correct if a response discusses every option: "A. a moss - incorrect. B. …"."""
    parts = list(patterns(tuple(options))["item"].finditer(text))
    ends = [*(part.start() for part in parts[1:]), len(text)][: len(parts)]
    verdicts: dict[str, bool] = {}
    for part, end in zip(parts, ends, strict=True):
        words = text[part.end() : end].replace(options[part["label"]], "")[:200]
        if (wrong := WRONG.search(words)) or RIGHT.search(words):
            verdicts[part["label"]] = not wrong
    listed, right = {part["label"] for part in parts}, [label for label, verdict in verdicts.items() if verdict]
    enough = len(verdicts) >= min(3, len(options)) or (right and len(listed) == len(options))
    right = right or list(listed - verdicts.keys())
    return right[0] if len(right) == 1 and enough else None


def _matches(text: str, options: dict[str, str], names: Iterable[str]) -> list[tuple[int, str]]:
    known = patterns(tuple(options))
    found = [match for name in names for match in known[name].finditer(text)]
    return [(match.start(match.lastgroup), _own(match[match.lastgroup], options)) for match in found if match.lastgroup]


def _own(found: str, options: dict[str, str]) -> str:
    """A label as the item writes it."""
    return next(label for label in options if label.casefold() == found.casefold())


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """What follows each "the answer is", to the end of its line (or the next line, if that line is empty); boxes."""
    for match in re.finditer(r"\\(?:boxed|fbox)\s*\{([^{}]{1,600})\}", text):
        yield match.start(1), match[1]
    for match in re.finditer(r"\banswer\b[^.:\n]{0,60}?(?:\bis|:)\s*:?\s*(.{1,600})", text, re.IGNORECASE):
        yield match.start(1), match[1]


def _leading(text: str, options: dict[str, str]) -> str | None:
    known = patterns(tuple(options))
    match = known["leading"].match(text)
    if match is None:
        return None
    if known["several"].match(text, match.end("label")) or _goes_on(
        text[match.start("label") :], _own(match["label"], options), options
    ):
        return SEVERAL if not re.match(r"[\w\s,]*?\b(?:is|are|can|may)\b", text[match.end() :]) else None
    # "(a) The power is … (b) The current is …" answers the parts of a question
    parts = {"a": "b", "i": "ii"}.get(match["label"])
    if parts and re.search(rf"(?<![\w']){parts}[).]", text[match.end() :]):
        return None
    # going through the options in their order chooses none; "(A)" on its own line before "(B) is wrong" does
    listed = list(dict.fromkeys(found["label"] for found in known["item"].finditer(text)))
    alone = re.match(r"\W*\n", text[match.end("label") :]) and len(known["line"].findall(text)) == 1
    denied = len(listed) > 2 and DENIED.match(text, match.end("label"))
    return None if (listed[:3] == list(options)[:3] and not alone) or denied else _own(match["label"], options)


def _labelled(text: str, options: dict[str, str]) -> str | None:
    """The only option named with its letter ("D. Agriculture"), or that of the first sentence with any, undenied."""
    everywhere = with_label(text, options)
    if len(everywhere) == 1:
        return everywhere[0]
    if everywhere == [*options] and len(text) < sum(len(option) + 9 for option in options.values()):
        return SEVERAL  # the list and nothing else
    if everywhere == [*options] and re.search(r"[.\n]\s(?:Hence|Thus|Therefore|So),? [^.\n]+\W*\Z", text):
        return None  # what a walk through all of them ends on counts
    for sentence in _sentences(text):
        if named := with_label(sentence, options):
            return named[0] if len(named) == 1 and not DENIAL.search(sentence) else None
    return None


def _sentences(text: str) -> list[str]:
    # not behind the point of "B. Agriculture"
    return [part for part in re.split(r"(?<=\w\w[.!?])\s+|\n+", text.strip()) if part.strip()]


def _by_text(text: str, options: dict[str, str]) -> tuple[str | None, str]:
    """The one option whose text the conclusion repeats, or the first sentence, or else the whole response."""
    if label := whole_text(text, options):
        return label, "option's text alone"
    if label := by_truth(text, options):
        return label, "yes or no"
    sentences = [part for part in _sentences(text) if not part.endswith("?")] or [""]
    concluding = [part for part in sentences if re.match(r"(?:therefore|thus|so|hence|in conclusion)\b", part, re.I)]
    mentioned = {_own(max(groups), options) for groups in patterns(tuple(options))["mention"].findall(text)}
    if len(mentioned) == 1:
        return mentioned.pop(), "the only letter mentioned"
    if DECLINES.search(" ".join(sentences[-2:])):
        return None, "declines to choose"
    for how, part in [
        ("option's text in the conclusion", concluding[-1] if concluding else ""),
        ("option's text in the first sentence", sentences[0]),
        ("option's text", "" if mentioned else text),
    ]:
        for predicate in (True, False):
            if len(named := options_named(part, options, predicate)) == 1:
                return named[0], how
    if label := lone_letter(text, options):
        return label, "the only letter of a few words"
    several = options_named(text, options, False)
    if not several and (label := text_first(text, options)):
        return label, "option's text first"
    if (lettered := by_place(text, options)) != text:
        return _read(lettered, options)
    return None, "names several options and settles on none" if several else "no option named"


def _own_answer(text: str, options: dict[str, str]) -> str:
    """The text up to a question of the model's own: a list of options that are not this item's, behind an answer."""
    text, first = without_list(own_turn(text), options), normal(next(iter(options.values())))
    others = (match for match in _NEXT_OPTIONS.finditer(text) if not first.startswith(normal(match[1][:200])[:8]))
    # the places of a few suffice: a model that goes on with questions has answered before the first of them
    for match in itertools.islice(others, 3):
        before = plain(text[max(0, match.start() - _TAIL) : match.start()])
        if _leading(before, options) or _stated(before, options):
            return text[: match.start()]
    return text
