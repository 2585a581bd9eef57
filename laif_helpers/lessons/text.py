"""Reads text: an instructor's reply into samples, and a question into the keys that find duplicates."""

import ast
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable

Sample = tuple[str, str]
"""One lesson as (question, response)."""

# bounded, because a row of these signs would be read anew from each of them
_DECORATION = "[\\s#>*_`~•\\[【\u2190-\u2bff\ufe0f\U0001f300-\U0001faff-]{0,60}"
_LABEL_ENDS = r"(?:[*_]*\s*[:：\]】][*_]*\s*(?P<text>.*)|\W*)$"
"""A colon or a bracket, or a line of its own."""
_ASKS = (
    "frage|aufgabe|pregunta|problema|domanda|pergunta|vraag|pytanie|soru|вопрос|задача|问题|题目|问|質問|問題"
    "|질문|문제|السؤال"
)
_SAYS = (
    "antwort|lösung|réponse|respuesta|solución|risposta|resposta|antwoord|odpowiedź|cevap|ответ|решение|答案|解答|答|回答"
    "|답변|풀이|الإجابة"
)
_SAMPLE = re.compile(rf"^{_DECORATION}(?:sample|example|exercise|lesson|item)\s*(?:no\.?|number|#)?\s*\d+\W*$", re.I)
_QUESTION = re.compile(
    rf"^{_DECORATION}(?:\(?\d+[.)]\s*)?{_DECORATION}(?:(?:sample|example|exercise|lesson)\s*\d+\W+)?(?:(?:new|practice)\s+)?"
    rf"(?:(?:question|problem|task|exercise|instruction|user|human|{_ASKS})\s*(?:no\.?|number|#)?|(?P<q>q))"
    rf"\s*\d*{_LABEL_ENDS}",
    re.I,
)
_ANSWER = re.compile(
    rf"^{_DECORATION}(?:step[- ]by[- ]step\s+)?(?:(?:correct\s+)?answer|solution|response|rationale|explanation"
    rf"|reasoning|code|assistant|{_SAYS})\s*\d*{_LABEL_ENDS}",
    re.I,
)
_A = re.compile(rf"^{_DECORATION}a\s*\d*[*_]*\s*[:：][*_]*\s*(?P<text>.*)$", re.I)
"""Answers a ``Q:`` alone, because it begins an option too."""
_DIAGNOSIS = re.compile(rf"^{_DECORATION}diagnosis[*_]*\s*[:：][*_]*\s*(.*)$", re.I)
_FENCE = re.compile(r"^\s*```")
_BLOCK = re.compile(r"```[\w+-]*[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)", re.S)
_OPTION = re.compile(rf"^{_DECORATION}\(?([A-J]|[a-j](?=\)))[*_]*[.):][*_]*\s+(.*\S)\s*$")
_LETTER = re.compile(
    r"^\W*(?:(?:the\s+)?(?:correct\s+)?(?:answer|option|choice)\s*(?:is|:)?\s*)?\(?([A-Ja-j])\b[).:]*", re.I
)
_NUMBER = r"[-+−]?\s?[$€£]?\s?[-−]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:\s?/\s?\d+)?"
_NUMBER_BELOW = re.compile(
    rf"^(\W{{0,20}}(?:final|answer|result)(?: \w+)?[^\w\n]*)\n+(?={_NUMBER}\W*$)", re.I | re.MULTILINE
)
"""A heading with the final number on a line of its own."""
_MARKED = re.compile(rf"^{_DECORATION}(?:(?:final\s+)?answer\s*[:：])?\W*?####+[\s*_]*({_NUMBER})", re.I)
_STATED = re.compile(
    rf"(?:final\s+answer|answer\s+is|^{_DECORATION}(?:answer|final(?:[\s_]+number)?|result)|\\boxed\{{)"
    rf"\W*?({_NUMBER})",
    re.I,
)
_COUNTED = re.compile(r"^[^\w\n]{0,20}\d{1,3}[.)]\W{0,4}(\S[^\n]*\?)[*_]*[ \t]*$", re.MULTILINE)
_LAST = re.compile(r"\b(?:the\s+)?(?:correct\s+)?(?:answer|option|choice)\s*(?:is|:)\s*\(?([A-J])\b\)?[\s.*]*\Z", re.I)
_BESIDE = re.compile(r"(?<=\S)\s+(?=\(?[B-J][).]\s)")
_DEFINES = re.compile(r"^\s*(?:async\s+)?def (?!test|check|main)", re.M)
_RULE = re.compile(r"^\s*(?:[-*_=]\s*){3,}$")
_CLOSING = re.compile(
    r"\n[ \t]*\n[^\w\n]{0,9}(?:i hope|let me know|feel free|(?:these|both|each)(?: \w+){0,4}"
    r" (?:samples?|questions?|problems?|examples?|lessons?|targets?))\b[^\n]*\s*\Z",
    re.I,
)
"""What a reply adds behind its last sample, which is no part of it."""
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d]+")


# -- questions as duplicates see them


def normalise(text: str) -> str:
    """Text without differences of case, width and white space: what "the same question" means."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(" .?!:")


def words(text: str) -> list[str]:
    """Words and numbers of a text, in order; ``1,234`` reads ``1234``."""
    return [word.replace(",", "") for word in _WORD.findall(normalise(text))]


def numbers(tokens: Iterable[str]) -> tuple[str, ...]:
    """The multiset of numbers among ``words``, as a sorted tuple. Two problems on other numbers are two problems."""
    return tuple(sorted(token for token in tokens if token[0].isdigit()))


# -- a reply as samples


def diagnosis(text: str) -> str:
    """What the instructor says is wrong: the ``Diagnosis:`` paragraph of a reply, "" if it has none."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if match := _DIAGNOSIS.match(line):
            more = itertools.takewhile(
                lambda below: below.strip() and not (_SAMPLE.match(below) or _QUESTION.match(below)), lines[at + 1 :]
            )
            return " ".join([match[1], *map(str.strip, more)]).strip()
    return ""


def samples(
    text: str, read: Callable[[list[str], list[str]], Sample | None], needed: str
) -> list[tuple[str, str, str]]:
    """Every sample that a reply begins, in order: ``(question, response, problem)``.

    Read are numbered samples with plain, bold or heading labels, ``####`` answers, fenced code and option
    lines. The response is put into one form per family: math ends in ``#### <number>`` (as written, without
    currency), choice ends in ``The answer is B.`` after its reason, code is one fenced block. ``problem`` says what
    could not be read; question and response are then the raw text.
    """
    found, text = [], _CLOSING.sub("", text)
    # questions that only a number counts are read where none has a label
    for asked, answered in _split(text) or _split(_COUNTED.sub(r"Question: \1", text)):
        sample = read(asked, answered)
        raw = ("\n".join(asked).strip(), "\n".join(answered).strip())
        missing = [name for name, part in zip(("a question", "an answer"), raw, strict=True) if not part]
        found.append((*sample, "") if sample else (*raw, f"a sample without {missing[0]}" if missing else needed))
    return found


def _split(text: str) -> list[tuple[list[str], list[str]]]:
    """Reply -> (question lines, answer lines) of each sample; nothing inside fenced code is taken for a label."""
    samples: list[tuple[list[str], list[str]]] = []
    part: list[str] | None = None
    short = fenced = False
    for line in text.replace("\r\n", "\n").split("\n"):
        fence = bool(_FENCE.match(line))
        if not fenced and not fence:
            if match := _QUESTION.match(line):
                samples[-1:] = [
                    *(sample for sample in samples[-1:] if any(sample)),
                    ([match["text"]] if match["text"] else [], []),
                ]
                part, short = samples[-1][0], bool(match["q"])
                continue
            if _SAMPLE.match(line) or _RULE.match(line):
                part = part if part is not None and not any(part) and _RULE.match(line) else None  # underlines a label
                continue
            if (
                samples
                and part is samples[-1][0]
                and (match := _ANSWER.match(line) or (_A.match(line) if short else None))
            ):
                part = samples[-1][1]
                part.append(match["text"] or "")
                continue
        fenced ^= fence
        if part is not None:
            part.append(line)
    return samples


def _plain(lines: Iterable[str]) -> list[str]:
    """Lines without Markdown emphasis (a ``*`` between spaces or digits is a product and stays)."""
    text = "\n".join(lines).replace("**", "").replace("__", "")
    return text.strip().splitlines()


def math(question: list[str], answer: list[str]) -> Sample | None:
    """A word problem: the steps, then ``#### <number>``; None if no number ends the answer."""
    asked = "\n".join(_plain(question)).strip()
    text = re.sub(r"(?<=[\w.)%!]) +####", "\n####", "\n".join(map(str.rstrip, _plain(answer))))
    lines = _NUMBER_BELOW.sub(r"\1 ", text).split("\n")
    final, at = _final_number(lines)
    rationale = re.sub(r"\\boxed\{([^{}]*)\}", r"\1", "\n".join(lines[:at])).strip()
    return (asked, f"{rationale}\n#### {final}".strip()) if asked and final else None


def _final_number(lines: list[str]) -> tuple[str, int]:
    """The final answer as written and how many lines are steps: those before the first ``####``, else before the line
    that states it last, or with it if a calculation stands in it too."""
    for at, line in enumerate(lines):
        if match := _MARKED.match(line):
            return _tidy(match[1]), at
    for at in range(len(lines) - 1, -1, -1):
        match = _STATED.search(lines[at])
        if match or re.search(r"\d", lines[at]):
            steps = match and re.search("[.=]", lines[at][: match.start()])
            return (_tidy(match[1]), at + bool(steps)) if match else ("", at)
    return "", len(lines)


def _tidy(number: str) -> str:
    return re.sub(r"[\s$€£+]", "", number).replace("−", "-").rstrip(",")


def choice(question: list[str], answer: list[str]) -> Sample | None:
    """A question with its options: the reason, then ``The answer is B.``; None without options or letter."""
    stem: list[str] = []
    options: list[str] = []
    # a tick behind an option tells the answer
    lines = [re.sub("[ \u2705\u2713\u2714\u2611\ufe0f]+$", "", line) for line in _plain(question)]
    if not any(re.match(r"\W*B[).]", line) for line in lines):  # the options stand side by side
        lines = _BESIDE.sub("\n", re.sub(r"\s+(?=\(?A[).]\s)", "\n", "\n".join(lines))).split("\n")
    for line in (line.strip() for line in lines if line.strip()):
        if match := _OPTION.match(line):
            options.append(f"{match[1].upper()}. {match[2]}")
        elif options:
            options[-1] += f" {line}"
        elif not re.fullmatch(r"\W*(?:options|choices)\W*", line, re.I):
            stem.append(line)
    wording = "\n".join(_plain(answer)).strip()
    last = _LAST.search(wording)
    match = _LETTER.match(wording) or last
    if not stem or not options or not match:
        return None
    why = wording[: match.start()] if match is last else wording[match.end() :].lstrip(" \t\n-–—:.,)")
    why = re.sub(r"\A(?:explanation|reason(?:ing)?):\s*", "", why.strip(), flags=re.I)
    return "\n".join([*stem, *options]), f"{why}\n\nThe answer is {match[1].upper()}.".strip()


def code(question: list[str], answer: list[str]) -> Sample | None:
    """A function to write, and one fenced block; None if there is no code."""
    asked, wording = "\n".join(question).strip(), "\n".join(answer).strip()
    blocks = _BLOCK.findall(wording or asked)
    if blocks:
        source = next((block for block in reversed(blocks) if _DEFINES.search(block)), blocks[-1])
    elif wording.lstrip().startswith(("def ", "import ", "from ", "#", "@")) and _DEFINES.search(wording):
        source = wording
    else:
        return None
    if not wording:
        asked = asked[: asked.rfind("```", 0, asked.rfind(source))].strip()
    if stub := _BLOCK.search(asked):
        asked = stub[1]
    return (as_stub(asked, source), f"```python\n{source.strip()}\n```") if asked.strip() else None


def as_stub(asked: str, source: str) -> str:
    """A code question as signature and docstring, the form that code benchmarks ask in.

    A question in words becomes the docstring of the solution's own signature; where the solution does not
    parse, the words stay as they are (and the check that follows rejects the lesson).
    """
    if re.search(r"^\s*(?:async\s+)?def ", asked, re.M):
        return asked.strip("\n") + "\n"
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return asked
    defined = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    if not defined:
        return asked
    imports = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    function = defined[-1]
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    wording = ast.get_docstring(function) or asked.strip()
    body = wording.replace('"""', "'''").replace("\n", "\n    ")
    head = f"def {function.name}({ast.unparse(function.args)}){returns}:"
    return "\n".join([*imports, *([""] if imports else []), head, f'    """ {body}\n    """', ""])
