"""Defines how an option is named by its label: the patterns over the labels of its item's options."""

import functools
import re
from dataclasses import dataclass

_NOUN = r"(?:answer|choice|option|response|statement|ending)"
_SURELY = r"(?:(?:most likely|probably|likely|clearly|thus|indeed|therefore|definitely|certainly|actually|simply)\s+)?"
_BECOMES = rf"(?:['’]s\b|\b(?:is|would be|should be|must be|to be|seems to be|appears to be)\b|:|=)\s*:?\s*{_SURELY}"
_GOOD = r"(?:correct|right|best|better|accurate|appropriate|suitable|plausible|reasonable|likely)"
_THE = r"(?:the\s+|a\s+|therefore\s+|most\s+|more\s+|only\s+)*"
# "none of A, B, C, or D is the correct answer" speaks for no letter
_ALONE = r"(?<![\w'])(?<![A-Z1-9], )(?<![A-Z1-9],)(?<!or )(?<!and )(?<!through )(?<!to )(?<![-–])"
_CLOSES = (
    r"[)\]}]|[.,:;!](?=\s|$)|(?=\s*$)|(?=\s*\n)|(?=\s*(?:[(—/|]|--))"
    r"|(?=\s+(?:[-–—]|because|since|as|and|is|in|with|rather|not)\s)"
)
_OTHERS = "(?<!students )(?<!people )(?<!many )(?<!some )(?<!others )(?<!mistake is to )(?<!not )(?<!n't )"
_GAP = r"(?:[.:,](?! but\b|\s+\(?[A-J]\)?\s+(?:is|seems|looks|would|must)\b)[^.\n]{0,200}?)?"
_SO = r"(?:[Tt]herefore|[Tt]hus|[Ss]o|[Hh]ence|(?:leaves|leaving)(?: us)?(?: with)?|left with|[Ii]t's|[Ii]t is|[Oo]nly)"


NONE = re.compile(
    r"\b(?:none|neither) of (?:(?:the|these) (?:options?|choices?|answers?|statements?|above)"
    r"|the (?:given|above|provided|listed) \w+)\b[^.\n]{0,60}"
    r"|\bno (?:suitable|correct|right|valid) (?:answer|option|choice)s? (?:among|is|are|listed|provided|given)\b"
    r"|\banswer (?:is|:)\s*:?\s*none\b|\b(?:answer|option) is not (?:among|included|listed|provided)\b",
    re.IGNORECASE,
)
DENIAL = re.compile(
    r"\(\w\)[^.]{0,25}\b(?:not|incorrect|wrong|false|cannot)\b"
    r"|\b(?:this|it|which) (?:is|was|would be) (?:not|incorrect|wrong|false)\b|n't\b",
    re.IGNORECASE,
)
DECLINES = re.compile(
    r"\b(?:impossible|not possible|cannot|can't|unable|difficult)\b[^.]{0,40}?"
    r"\b(?:determine|answer|choose|say|provide|tell|know)\b",
    re.IGNORECASE,
)
WRONG = re.compile(
    r"\b(?:incorrect[oa]?|wrong|false|no|not|n't|falsch|faux|fals[oa])\b|[✗✘❌×错錯]|不[正对對]|오답|틀", re.IGNORECASE
)
DENIED = re.compile(r"[):. -]*(?:no|false|wrong|incorrect)\W*\n", re.IGNORECASE)
RIGHT = re.compile(r"\b(?:correct[oae]?|right|true|yes|richtig|vrai)\b|[✓✔✅]|正[确確]|[对對]$|정답|맞", re.IGNORECASE)


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
        "answer": rf"(?<!common )(?<!wrong )(?<!incorrect )(?<!popular )"
        rf"\b(?:answer|ans|choice|solution|selection|pick|vote|verdict)s?(?:\b|(?=['’]s\b))"
        rf"(?:\s+(?:to|for|here|in|among)\b[^.:\n]{{0,80}}?)?\s*{_BECOMES}(?:{_NOUN}\s+)?{of.closed}"
        rf"|\bans(?:wer)?\b\.?(?=[( ])\s*\(?(?-i:(?P<short>{of.any}))\b\)?(?=[.\s]*$)"
        rf"|\bans\b[.:\s-]*\((?P<shut>{of.any})\)",
        "labelled": rf"^[ \t]*correct\s*:[ \t]*{of.closed}",
        "option": rf"\b{_GOOD}\s+{_NOUN}\s+(?:{_BECOMES})?(?:{_NOUN}\s+)?{of.closed}",
        "closest": rf"\b(?:closest|nearest)\b(?:\s+\w+){{0,6}}?\s+(?:is|would be|to)\s+(?:{_NOUN}\s+)?{of.closed}",
        "choose": rf"{_OTHERS}\b(?:choose|select|pick|go(?:ing)? with|I(?:'d| would) (?:say|guess))\s+"
        rf"(?:{_NOUN}\s+)?{of.closed}",
        "boxed": rf"\\(?:boxed|fbox)\s*\{{\s*[({{]?\s*{of.named}\b",
        "line": rf"^[ \t]*(?:A:[ \t]*)?(?:[(\[]{{1,2}}{of.named}[)\]]|(?-i:(?P<bare>{of.any}))[)\].:]*)[ \t]*$",
        "leading": rf"\s*(?:A:[ \t]*(?=[(\[]?(?-i:{of.any})(?:[)\].:]|[ \t]*$)))?(?:{_NOUN}\s+)?"
        rf"[(\[]{{0,2}}{of.named}(?!\)?\s+(?:(?:is|was|does|has)(?:n't| not)|is (?:incorrect|wrong|false)|cannot)\b)"
        r"(?:[)\]]|[.,:](?=\s|$)|\s*$|\s*\n|\s+(?:[-–—]|because|since)\s|\s+\((?:confidence|\d|[^()\n]*\)\W*\Z))",
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
        "is_label": rf"(?<!not )(?<!n['’]t )\b(?:is|are|be)\s*:?\s*(?:[Oo]ption\s+)?\(?{of.named}(?:\)|[.:](?=\s|$)|$"
        r"|(?=,\s+(?:though|although|but|even|because|since)\b))",
        "concludes": rf"(?:\b{_SO}[,:]?|->|→|=>)\s+(?:it\s+(?:is|must be|has to be)\s+)?(?:actually\s+)?"
        rf"(?:(?:the\s+)?{_NOUN}\s+)?{of.word}(?=[.,;:!]?\s*$|[.;!]\s|,\s+(?:because|since|as|not|rather)\b"
        r"|\s+(?:must be|has to be|fits|works|remains|(?:is|would be)\s+(?:the|correct|right|true))\b)",
        "instead": rf"(?:\b[Nn]ot\s+\(?(?:{of.any})\)?[,;.]?\s+(?:but|it is|it's|it must be)\s+"
        r"(?:rather\s+|actually\s+)?"
        r"|\b(?:[Ww]ait|[Cc]orrection|[Aa]ctually,?\s+no)[,:.…—-]*\s+"
        r"(?:(?:no|wait|actually|it's|it is|I mean)[,:]?\s+){0,2})"
        rf"(?:{_NOUN}\s+)?{of.word}"
        rf"|(?:(?<=[a-z][.!] )|(?<=\? ))(?:\((?P<shut>{of.any})\)|(?P<last>{of.any})(?=[.!]))[.!]?(?=\s*\Z)"
        rf"|(?:[^\s:]+ ){{4}}[^\n:]{{0,200}}: \(?(?P<end>{of.any})\)?(?=[.!]?\s*\Z)"
        rf"|(?:(?:\.\.\.|…|[—,-])[ \t]*no,|[.!?][ \t]+[Aa]ctually,)[ \t]+(?:it's[ \t]+)?"
        rf"\(?(?P<other>{of.any})\)?(?=[.!]?\s*$)",
        "item": rf"(?:^|(?<=[.,;✗✘❌✓✔✅]\s))[ \t]*(?:[Oo]ption\s+)?[(\[]?{of.named}"
        r"(?:[)\].:](?=\s)|(?=\s+(?:is|was|seems|would|cannot|can)\b|\s[-–—|]\s)|(?=[\s|]{0,3}[✗✘❌✓✔✅]))",
        "several": of.several,
        "both": rf"\b(?:[Aa]nswers?|[Cc]hoices?|[Oo]ptions?)\s*(?:is|are|would be|(?:could|may|might|can) be|:)\s*:?\s*"
        rf"(?:both |either )?\(?(?P<label>{of.any}){of.several}",
        "mention": r"(?<![Nn]ot )(?<!ot be )(?<!n['’]t be )"
        r"(?:\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ss]ituation|[Ss]tatement|[Ss]cenario)\s+"
        rf"\(?({of.any})\b|(?<=[\s(])\(({of.any})\)(?!\w))",
    }


_MARKED = r"^[ \t]*(?:[-*•] +)?(?:\[{0}\]|\({0}\)|[{1}]\ufe0f?)[ \t]*((?:\*\*)?\(?[A-J1-9](?:[).:][^\n]*|(?:\*\*)?$))"
_OTHERWISE = (
    r"((?:\b(?i:answer)(?: is)?:? \(?[A-J]\b|(?<![\w'])[A-J]\)? is (?:the )?(?:correct|right|best))"
    r"[^\n]{0,300}[.)\n]\s*)"
    r"(?:If|Had|Were)\b[^.\n]{1,200}\bwould (?:be|have been)\b[^.\n]*"
)
_ASKS = r"(?<![\w'])(?:(?:[Ii]s|[Cc]ould) it (?:be )?)?\(?([A-J])\)?\? "
_LISTED = re.compile(r"^[ \t]*(?:[-*] )?\(?[A-J][).:] [^*\n]*$", re.MULTILINE)
_BOLD = re.compile(r"^[ \t]*(?:[-*] )?\*\*\(?([A-J])[).:][^*\n]*\*\*[ \t]*$", re.MULTILINE)
_POINTED = re.compile(r"^[ \t]*\(?([A-J])[).:][^\n]*(?:<-+|←|\(correct\))[ \t]*$", re.MULTILINE)
_OTHER = r"\(?[A-J]\)?(?![\w'])"
_THAN = r"(?:rather than|instead of|as opposed to|over|and not|but not|not)"
_DECORATION = (
    # "B rather than A", "Unlike C, B …", "Between B and C, B …", "B > A > C"
    (re.compile(rf"(?<![\w'])(\(?[A-J]\)?)[,;]? {_THAN} {_OTHER}(?! (?:is|but)\b)"), r"\1"),
    (re.compile(rf"(?i:\b(?:rather than|instead of|unlike|contrary to)) {_OTHER},? "), ""),
    # "The wrong answer is B."
    (
        re.compile(rf"(?i:\b(?:wrong|incorrect|worst|least \w+)(?: (?:answer|option|choice|one))? is):? ({_OTHER})"),
        r"\1 is wrong",
    ),
    (re.compile(rf"\b(?:[Bb]etween|[Oo]f|[Aa]mong) {_OTHER}(?:, {_OTHER})*,? (?:and|or) {_OTHER},? "), ""),
    (re.compile(r"\A\s*([A-J])(?: > [A-J])+\s*\Z"), r"\1"),
    (re.compile(r"\A\s*(?:#|[Nn](?:o\.|umber) ?)?([A-J1-9])(?: ?번)?(?=\W*\Z)"), r"\1"),
    # "While A seems right at first, B …"
    (
        re.compile(rf"(?i:\b(?:while|although|though|despite) (?:option )?){_OTHER}[^,.;\n]{{0,150}}, (?=\S)"),
        "",
    ),
    # boxes beside one another
    (re.compile(r"(?<=\S)[ \t]+(?=[☑☒☐] ?\(?[A-J](?!\w))"), "\n"),
    # a box or mark before an option is its verdict
    (re.compile(_MARKED.format("[xX✓]", "☑☒●◉✅✓✔➡👉"), re.MULTILINE), r"\1 ✓"),
    (re.compile(_MARKED.format(" ?", "☐○❌✗✘"), re.MULTILINE), r"\1 ✗"),
    (re.compile(_OTHERWISE), r"\1"),
    (re.compile(rf"{_ASKS}[Yy]es\b[.,!]?"), r"The answer is \1."),
    (re.compile(rf"{_ASKS}[Nn]o\b"), r"\1 is wrong"),
    (re.compile(r"\\(?:text|textbf|mathbf|mathrm|textit)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"(?<=[A-Za-z)])\^\{?(\d)\}?"), r"\1"),
    (re.compile("[²³]"), lambda match: "23"["²³".index(match[0])]),
    (re.compile(r"(?i:\b(option|choice|answer|ending))(?:-| (?:number|no\.|#) ?)(?=[A-J1-9](?!\w))"), r"\1 "),
    (re.compile(r"<([biu])>([^<\n]{1,300})</\1>"), r"\2"),
    (re.compile(r"\\[,;:! ]"), " "),
    (re.compile(r"\*\*|__|[`“”\"]|\$|\\[()\[\]]"), ""),
    (re.compile(r"</?[a-z]{2,20}>"), "\n"),
    (re.compile(r"'([A-Z])'|<([A-Z])>"), lambda match: match[1] or match[2]),
    (re.compile(r"^[ \t]*(?:#{1,6}|[-*>•])[ \t]+|^[ \t]*\|[ \t]*|[ \t]*\|[ \t]*$", re.MULTILINE), ""),
)


def plain(text: str) -> str:
    """The text without bold, code, quote, list and LaTeX marks, which only decorate a letter, unless they mark one
    option of a list."""
    marked = _BOLD.findall(text) + _POINTED.findall(text)
    if len(marked) == 1 and len(_LISTED.findall(text)) > 1:
        text = f"{text}\nThe answer is {marked[0]}."
    for pattern, instead in _DECORATION:
        text = pattern.sub(instead, text)
    return text
