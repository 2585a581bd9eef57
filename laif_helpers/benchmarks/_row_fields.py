"""Reads the fields of a row of a user's own file: what is asked, the options, the accepted answers and how to grade.

Each function raises ValueError with a sentence that names the field; who reads the file adds its name and the row.
"""

import functools
import math
import re
import unicodedata
from decimal import Decimal
from typing import Any

from laif_helpers.benchmarks._files import field
from laif_helpers.graders import final_number, numbers
from laif_helpers.graders.families import GRADINGS
from laif_helpers.graders.fields import boxed
from laif_helpers.graders.separators import with_point
from laif_helpers.graders.units import unit_of

_LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LABELLED = re.compile(r"\(?(\w{1,3})[).:] *(\S.*)", re.DOTALL)
EMPTY_CELLS = frozenset(("nan", "n/a", "na", "#n/a", "null", "none", "-", "?", "<na>", "inf"))
"""How spreadsheets and programs write a cell without a value."""
_UNSEEN = (
    *("context", "passage", "paragraph", "image", "images", "document", "article"),
    *("input", "instruction", "instructions", "system", "system_prompt"),
    *("premise", "hypothesis", "dialogue", "messages"),
    *("table", "story", "background", "body", "history", "conversation", "conversations", "text", "paragraphs"),
    *("sentence", "audio", "video", "few_shot", "demonstrations", "equation", "scenario", "snippet", "figure"),
)
"""What other data sets ask about beside the question."""
_OPTION = re.compile(
    r"(?:(?:opt(?:ion)?|choice|ending|sol(?:ution)?|distractor|candidate|op|(?:(?:incorrect|wrong|false)[ _]?)?answer)"
    r"[ _]?)?([a-j]|(?<=[a-z _])\d)",
    re.I,
)
_OPTIONS = {"endings", "candidates", "distractors", "incorrect_answers", "wrong_answers"}
"""How other data sets call options."""
_FURTHER = re.compile(r"(?:(?:answer|accepted|possible|correct|all|gold|valid|normalized)_?)?(?:answers|aliases)", re.I)
_OTHER_NAMES = {
    "choices": "options",
    "question": "question prompt problem input query questionstem stem instruction goal sentence ctx text",
    "answer": "answer correctanswer bestanswer answerkey answeridx answernumber target ideal output completion correct "
    "gold reference expected solution answers label correctoption correctchoice",
    "split": "split",
    "grading": "grading",
}
"""How other data sets call a field, without case and marks; the likeliest first."""
_CLOSES = re.compile(
    r"[.!?\n]\s*(?:(?:so|thus|therefore|hence),? )?(?:the|my) (?:final )?answer is:?\s*([^\n]{1,80}?)\.?\s*\Z", re.I
)
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.0+)?(?:Z|\+00:00)?")
_ONE_A_LINE = "write one object with 'question' and 'answer' a line (pandas: orient='records', lines=True)"
_DAY_MS = 86_400_000
_SPACES = re.compile(r"(?<=\d)[ \u00a0\u2009\u202f](?=\d{3}(?!\d))")
"""Between the thousands of a number, as French, Russian and others write them."""


def graded_by(row: dict[str, Any]) -> str:
    """The row's grading if the row names one or has choices; "" if the file decides."""
    given = row.get("grading")
    if given is not None and given not in GRADINGS:
        raise ValueError(f"field 'grading' is {given!r}; choose one of {', '.join(GRADINGS)}")
    if not row.get("choices") and (given == "choice" or row.get("choices") is not None):
        raise ValueError("field 'choices' is missing or empty; write the options, or leave 'choices' and 'grading' out")
    return given or ("choice" if row.get("choices") else "")


def is_number(accepted: list[str]) -> bool:
    """Whether all accepted answers are one number, at least once alone or with a unit that converts ("12", "twelve"),
    or formulas: such a row is graded by its value in a file of words, too. A leading zero is a code's."""
    if all(map(final_number.is_formula, accepted)):
        return True
    read = [(each, numbers.parse(each)) for each in accepted if not re.match(r"0\d", each)]
    alone = [each for each, number in read if number and (number.text == each or unit_of(each))]
    return bool(alone) and len({value and value.value for value in map(numbers.parse, accepted)}) == 1


def question_of(row: dict[str, Any]) -> str:
    _named_otherwise(row)
    lettered = {name: found[1].casefold() for name in row if (found := _OPTION.fullmatch(name))}
    first = [label for label in lettered.values() if label in "ab0123"]  # a lone I or E says nothing
    if "choices" not in row and (first[1:] or _OPTIONS & row.keys()):
        names = ", ".join([*lettered, *(_OPTIONS & row.keys())])
        raise ValueError(f"fields {names} look like options; write them as one list, 'choices'")
    seen = str(row.get("question"))
    unseen = [name for name, value in row.items() if name.strip().casefold() in _UNSEEN and value]
    if unseen := [name for name in unseen if str(row[name]).strip() not in seen]:
        raise ValueError(f"field {unseen[0]!r} would not be seen by the model; write it into 'question', or rename it")
    known = row["answer"] if isinstance(row.get("answer"), list) else [row.get("answer")]
    lists = [name for name in row if _FURTHER.fullmatch(name) and "answer" in row and isinstance(row[name], list)]
    if further := [name for name in lists if not {*map(str, row[name])} <= {*map(str, known)}]:
        raise ValueError(f"field {further[0]!r} holds further answers; write all accepted ones as one list, 'answer'")
    return scalar(row.get("question"), "question", field(row, "question").strip(), {})


def _named_otherwise(row: dict[str, Any]) -> None:
    """Raises ValueError for a row whose question, answer or options stand under another name, or deeper in it."""
    bare = {_bare_name(name): name for name in reversed(row) if row[name] not in ("", None)}
    for wanted, names in _OTHER_NAMES.items():
        known = {wanted} | ({"answer_index"} if wanted == "answer" else set())
        if known & row.keys():
            continue
        if found := next((bare[name] for name in names.split() if name in bare), ""):
            raise ValueError(f"field {found!r}: call it {wanted!r}")
        holds = (name for name, value in row.items() if isinstance(value, dict) and wanted in value)
        inner = next(holds, "data" if isinstance(row.get("data"), list) else "")
        if inner and wanted in ("question", "answer"):
            raise ValueError(f"the items stand inside field {inner!r}; {_ONE_A_LINE}")


@functools.lru_cache(maxsize=1000)  # a file has the same names in all its rows
def _bare_name(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()


def solution_of(row: dict[str, Any]) -> str:
    """The worked solution; "" if there is none. An ``answer`` may hold both: ``… #### 12``, ``… \\boxed{12}.``"""
    answer = row["answer"] if isinstance(row.get("answer"), str) else ""
    worked = answer.rpartition("####")[0] or (answer if _worked(answer) else "")
    return str(row.get("solution") or re.sub(r"<<[^<>]*>>", "", worked).strip())


def _worked(answer: str) -> str:
    """What a text boxes last or closes on, if it says more than that, as MATH's and MetaMath's solutions do."""
    before, inside, _ = boxed(answer)
    closes = _CLOSES.search(answer)
    return inside.strip() if re.search(r"[^\s$.]", before) else closes[1] if closes else ""


def accepted_answers(row: dict[str, Any]) -> list[str]:
    """The answers that a row accepts, one at least; numbers with a decimal point, whatever the file writes."""
    answer = row.get("answer")
    if answer is None and row.get("answer_index") is not None:
        return [counted(row)]
    if isinstance(answer, bool) and not row.get("choices"):
        return [str(answer), "yes" if answer else "no"]
    if not isinstance(answer, list):
        return [scalar(answer, "answer", _bare(field(row, "answer")), row)]
    if not answer:
        raise ValueError("field 'answer' is an empty list; write the accepted answers")
    return [scalar(each, "answer", _bare(str(each)), row) for each in answer]


def counted(row: dict[str, Any]) -> str:
    """The label of the option that ``answer_index`` counts to, from 0."""
    labels = list(read_options(row))
    place = re.fullmatch(r"(\d+)(?:\.0)?", str(row["answer_index"]))  # data frames make 1.0 of 1
    if not place or int(place[1]) >= len(labels):
        raise ValueError(f"field 'answer_index' is {row['answer_index']!r}, expected 0 to {len(labels) - 1}")
    return labels[int(place[1])]


def check_counted(row: dict[str, Any], label: str) -> None:
    """Raises ValueError if a number in ``answer`` is the text of one option and counts to another, as MMLU counts."""
    answer, texts = row.get("answer"), [*map(str, row["choices"])] if isinstance(row["choices"], list) else []
    if type(answer) is int and str(answer) in texts and 0 <= answer < len(texts) and texts[answer] != str(answer):
        raise ValueError(
            f"field 'answer' is {answer}, the text of option {label}, and counted from 0 it is option "
            f"{_LABELS[answer]}; write the letter, or call the field 'answer_index'"
        )


def _bare(answer: str) -> str:
    """A gold answer without its worked solution, its unknown and the box or the dollars around all of it."""
    answer = (
        answer.rpartition("####")[2].strip().split("\n")[0] if "####" in answer else _worked(answer) or answer.strip()
    )
    while found := re.fullmatch(r"\\boxed\s?\{(.*)\}|\$([^$]*)\$", answer, re.DOTALL):
        answer = next(filter(None, found.groups()), "").strip()
    if found := _MOMENT.fullmatch(answer):  # a day, as data frames write it
        return found[1] if found[2] == "00:00:00" else f"{found[1]} {found[2]}"
    return re.sub(r"\A[a-zA-Z]\s?=\s?(?=(?:[-−$\d.,/{}\s]|\\[dt]?frac)*\Z)", "", answer)  # x = 2


def scalar(value: Any, name: str, text: str, row: dict[str, Any]) -> str:
    if isinstance(value, (dict, list)) or value is None:
        kinds: dict[type, str] = {dict: "an object", list: "a list inside a list" if name == "answer" else "a list"}
        kind = kinds.get(type(value), "null")
        accepted = ", or a list of accepted answers" if name == "answer" else ""
        fix = _ONE_A_LINE if (kind, name) == ("an object", "question") else f"write a text or a number{accepted}"
        raise ValueError(f"field {name!r} holds {kind}; {fix}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"field {name!r} is {value} (an empty cell?); write the answer, or leave the row out")
    if not text:
        raise ValueError(f"field {name!r} is empty")
    if name == "answer" and re.fullmatch(r"""\[\s*(["']).*\1\s*\]""", text, re.DOTALL) and not row.get("grading"):
        raise ValueError(
            'field \'answer\' is a list that was written as a text; write a list, or give "grading": "exact"'
        )
    if isinstance(value, float):  # 12 for 12.0, as data frames write whole numbers; never 1e+22
        return f"{Decimal(text).quantize(Decimal(1)) if value.is_integer() else Decimal(text):f}"
    if (
        name == "answer"
        and isinstance(value, int)
        and 1e10 < abs(value) < 4e12
        and value % _DAY_MS == 0
        and not row.get("grading")
    ):
        raise ValueError(
            f"field 'answer' is {value}, which looks like a day in milliseconds; write the day (pandas: "
            'date_format=\'iso\'), or give "grading": "numeric"'
        )
    if row.get("decimal") == "," and isinstance(value, str):
        if re.search(r"\d,\d+\.\d", text):
            raise ValueError(
                f"field {name!r} is {text!r}, and the file settles that its decimal sign is ','; write 1.234,5"
            )
        return with_point(text)
    grouped = name == "answer" and re.fullmatch(rf"\D{{0,3}}\d{{1,3}}(?:{_SPACES.pattern}\d{{3}})+[^\w ]*\d*\W*", text)
    return _SPACES.sub("", text) if grouped else text


def plain_number(answer: str) -> str:
    """A gold number without marks of thousands. Raises ValueError for a comma that marks none."""
    if not re.fullmatch(r"-?[\d,.'’]+", answer) or not re.search("[,'’]", answer) or final_number.is_formula(answer):
        return answer  # "1,2,3" are three
    if not re.fullmatch(r"-?(?:\d{1,3}((,\d{3})+|(['’]\d{3})+)|\d{1,2}(,\d\d)+,\d{3})(\.\d+)?", answer):
        raise ValueError(
            f"field 'answer' is {answer!r}, whose comma marks no thousands; write a decimal point, or declare the "
            'comma by a first row {"settings": {"decimal": ","}}'
        )
    return re.sub("[,'’]", "", answer)


def read_options(row: dict[str, Any]) -> dict[str, str]:
    """Labels with their texts. Hub data sets write ``{"text": […], "label": […]}`` or a list of such pairs."""
    pairs = _pairs(row["choices"])
    if len(pairs) < 2 or any(not str(text).strip() for _, text in pairs):
        raise ValueError("field 'choices' needs at least two options, none of them empty")
    if any(label == "0" for label, _ in pairs):
        raise ValueError("field 'choices' has an option '0'; number the options from 1, or use letters")
    if odd := next((pair for pair in pairs if len(pair[0]) > 3), None):
        raise ValueError(
            f"field 'choices' maps {odd[0]!r} to {odd[1]!r}; map A, B, … to the texts, or write a list of them"
        )
    letters = all(len(label) == 1 for label, _ in pairs)
    options = {
        label.upper() if letters and label.isascii() else label: scalar(text, "choices", str(text), {})
        for label, text in pairs
    }
    if len(options) < len(pairs):
        raise ValueError(f"field 'choices' has a label twice: {', '.join(label for label, _ in pairs)}")
    labelled = [(label, _LABELLED.fullmatch(text)) for label, text in options.items()]
    own = {found[1].upper(): found[2] for _, found in labelled if found}
    if own.keys() == {label.upper() for label in options}:  # "A. a bat", "B. a wren", in whatever order
        return dict(sorted(own.items())) if letters else {label: found[2] for label, found in labelled if found}
    return options


def _pairs(choices: Any) -> list[tuple[str, Any]]:
    if isinstance(choices, dict) and choices.keys() == {"text", "label"} and isinstance(choices["text"], list):
        labelled = list(zip(choices["label"], choices["text"], strict=False))
    elif isinstance(choices, dict):
        labelled = [pair for pair in choices.items() if pair[1] is not None]  # a table has each label in all its rows
    elif not isinstance(choices, list):
        raise ValueError(f"field 'choices' is {type(choices).__name__}; write a list, or labels with their texts")
    elif all(isinstance(option, dict) and {"label", "text"} <= option.keys() for option in choices):
        labelled = [(option["label"], option["text"]) for option in choices]
    elif len(choices) <= len(_LABELS):
        labelled = list(zip(_LABELS, choices, strict=False))
    else:
        raise ValueError(f"field 'choices' has {len(choices)} options; at most {len(_LABELS)} have a letter")
    return [(_bare_label(str(label)), text) for label, text in labelled]


def _bare_label(label: str) -> str:
    """B for "(B)", "B.", "option_b" and "Option B", each in its own case."""
    bare = label.strip("()[].*$'\"` ")
    return re.sub(r"(?i)\A(?:option|choice|answer|opt?|ans)[ _:.-]*(?=[a-z1-9]\Z)", "", bare)


def label_of(answer: str, options: dict[str, str], is_list: bool) -> str:
    """The option that a gold answer means: its label, its text, or both (``B. a wren``). Raises ValueError."""
    bare = _bare_label(answer)
    if label := next((label for label in (answer, bare, bare.upper()) if label in options), ""):
        if is_list and any(text == answer for name, text in options.items() if name != label):
            raise ValueError(
                f"field 'answer' is {answer!r}, a label and the text of another option; give 'answer_index'"
            )
        return label
    head, text = (found[1], found[2]) if (found := _LABELLED.fullmatch(answer)) else ("", "")
    if (label := head if head in options else head.upper()) in options and _same(options[label], text):
        return label
    by_text = [label for label, text in options.items() if text.strip() == answer]
    by_text = by_text or [label for label, text in options.items() if _same(text, answer)]
    if len(by_text) > 1:
        raise ValueError(f"field 'answer' is {answer!r}, the text of options {', '.join(by_text)}; write a label")
    if not by_text:
        count = "; 'answer_index' counts the options from 0" if is_list and answer.isdigit() else ""
        known = ", ".join(options)
        raise ValueError(f"field 'answer' is {answer!r}, neither a label ({known}) nor an option's text{count}")
    return by_text[0]


def _same(option: str, text: str) -> bool:
    first, second = (unicodedata.normalize("NFC", words).casefold().split() for words in (option, text))
    return first == second
