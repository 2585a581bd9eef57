"""What an answer to a multiple-choice question looks like: patterns over the labels of its options."""

import functools
import re


@functools.cache
def patterns(labels: tuple[str, ...]) -> dict[str, "re.Pattern[str]"]:
    """Patterns over exactly these labels. A lone letter counts when it is closed off: "(B)", "B.", "B:", "B" + end."""
    letters = "|".join(re.escape(label) for label in labels)
    letter = rf"(?P<label>{letters})"
    # "A and B", "A, C and D": no choice; but "B, A is wrong" chooses
    several = (
        rf"[)\].]?(?:\s*,\s*(?:and\s+|or\s+)?|\s+and\s+|\s+or\s+|\s*[&/]\s*)\(?(?:[Oo]ption\s+)?(?-i:{letters})\b(?!')"
        r"(?!\)?\s+(?:is|has|does|was|can|would|cannot|describes|refers|seems)\b)"
    )
    after = r"[)\]}]|[.,:;!](?=\s|$)|(?=\s*$)|(?=\s*\n)|(?=\s*[(—/])|(?=\s+(?:[-–—]|because|since|as|and|is|in|with)\s)"
    closed = rf"[(\[{{]?\s*{letter}(?!{several})\s*(?:{after})"
    noun = r"(?:answer|choice|option|response|statement)"
    surely = (
        r"(?:(?:most likely|probably|likely|clearly|thus|indeed|therefore|definitely|certainly|actually|simply)\s+)?"
    )
    becomes = rf"(?:\b(?:is|would be|should be|must be|to be|seems to be|appears to be)\b|:|=)\s*:?\s*{surely}"
    good = r"(?:correct|right|best|accurate|appropriate|suitable|plausible|reasonable|likely)"
    # "none of A, B, C, or D is the correct answer" speaks for no letter
    the = r"(?:the\s+|a\s+|therefore\s+|most\s+|more\s+|only\s+)*"
    alone = r"(?<![\w'])(?<![A-Z1-9], )(?<![A-Z1-9],)(?<!or )(?<!and )"
    sources = {
        "answer": rf"\b(?:answer|ans|choice|solution|selection)s?\b"
        rf"(?:\s+(?:to|for|here|in|among)\b[^.:\n]{{0,80}}?)?\s*{becomes}(?:{noun}\s+)?{closed}"
        rf"|\bans(?:wer)?\b\.?(?=[( ])\s*\(?(?-i:(?P<short>{letters}))\b\)?(?=[.\s]*$)",
        "labelled": rf"^[ \t]*correct\s*:[ \t]*{closed}",
        "option": rf"\b{good}\s+{noun}\s+(?:{becomes})?(?:{noun}\s+)?{closed}",
        "closest": rf"\b(?:closest|nearest)\b(?:\s+\w+){{0,6}}?\s+(?:is|would be|to)\s+(?:{noun}\s+)?{closed}",
        "choose": rf"\b(?:choose|select|pick|go(?:ing)? with)\s+(?:{noun}\s+)?{closed}",
        "boxed": rf"\\(?:boxed|fbox)\s*\{{\s*[({{]?\s*{letter}\b",
        "line": rf"^[ \t]*[(\[]?{letter}[)\].:]*[ \t]*$",
        "leading": rf"\s*(?:{noun}\s+)?[(\[]?{letter}(?:[)\]]|[.,:](?=\s|$)|\s*$|\s*\n|\s+[-–—]\s)",
        "listed": rf"^[ \t]*[(\[]?({letters})[)\].:]\s",
    }
    word = rf"(?:\({letter}\)|(?!I\b){letter.replace('label', 'bare')})(?![\w'])(?!{several})"
    so = r"(?:[Tt]herefore|[Tt]hus|[Ss]o|[Hh]ence|leaves(?: us)?(?: with)?|left with|[Ii]t's|[Ii]t is|[Oo]nly)"
    # "a best answer" would be read as option A: these are read with capital letters only
    exact = {
        "is_answer": rf"\b[Oo]ption\s+\(?{letter}\)?\s+(?:is|would be|seems)\s+{the}{good}\b"
        rf"|{alone}\(?(?P<other>{letters})\)?(?!{several})(?:[.:,][^.\n]{{0,200}}?)?\s+(?:is|would be)\s+{the}{good}"
        r"\s+(?:answer|choice|option)\b",
        "correct": rf"{alone}(?:[Ss]tatement\s+)?\(?{letter}\)?\s*(?:[.:,][^.\n]{{0,200}}?)?\s+is\s+{the}{good}\b",
        "is_label": rf"\b(?:is|are|be)\s*:?\s*(?:[Oo]ption\s+)?\(?{letter}(?:\)|[.:](?=\s|$)|$)",
        "concludes": rf"(?:\b{so}[,:]?|->|→|=>)\s+(?:it\s+(?:is|must be|has to be)\s+)?(?:(?:the\s+)?{noun}\s+)?{word}"
        r"(?=[.,;:!]?\s*$|[.;!]\s|,\s+(?:because|since|as)\b"
        r"|\s+(?:must be|has to be|fits|(?:is|would be)\s+(?:the|correct|right))\b)",
        "instead": rf"\bnot\s+\(?(?:{letters})\)?[,;.]?\s+(?:but|it is|it's|it must be)\s+(?:rather\s+|actually\s+)?"
        rf"(?:{noun}\s+)?{word}",
        "item": rf"(?:^|(?<=[.,;]\s))[ \t]*(?:[Oo]ption\s+)?[(\[]?{letter}"
        r"(?:[)\].:](?=\s)|(?=\s+(?:is|was|seems|would|cannot|can)\b))",
        "several": several,
        "both": rf"\b(?:[Aa]nswers?|[Cc]hoices?)\s*(?:is|are|would be|:)\s*:?\s*\(?(?:{letters}){several}",
        "mention": rf"\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ss]ituation|[Ss]tatement|[Ss]cenario)\s+\(?({letters})\b"
        rf"|(?<=[\s(])\(({letters})\)(?!\w)",
    }
    found = {name: re.compile(source, re.IGNORECASE | re.MULTILINE) for name, source in sources.items()}
    return found | {name: re.compile(source, re.MULTILINE) for name, source in exact.items()}


def spaced(text: str) -> str:
    return re.sub(r"\s+", " ", text.casefold())


def normal(text: str) -> str:
    return re.sub(r"\s+", " ", text.casefold()).strip(" .'\"`")


def plain(text: str) -> str:
    """The text without bold, code, quote, list and LaTeX marks, which only decorate a letter."""
    text = re.sub(r"\\(?:text|textbf|mathbf|mathrm|textit)\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\*\*|__|[`“”\"]|\$|\\[()\[\]]", "", text)
    text = re.sub(r"</?[a-z]{2,20}>", "\n", text)
    text = re.sub(r"'([A-Z])'|<([A-Z])>", lambda match: match[1] or match[2], text)
    return re.sub(r"^[ \t]*(?:#{1,6}|[-*>•])[ \t]+", "", text, flags=re.MULTILINE)
