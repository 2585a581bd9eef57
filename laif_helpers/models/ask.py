"""Asks several models one question: shows their answers side by side, graded, with the first differing step."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from laif_helpers import models as own
from laif_helpers.records import Grade, Message

PAGE = Path(__file__).with_name("ask.html.j2")
_STEP = re.compile(r"\n+|(?<=[.!?]) +")
_MARKED = "background:#fbe7c6;color:#111"


@dataclass(frozen=True)
class Question:
    """What is asked. ``grade`` reads an answer; None for a question of one's own, which has no gold answer."""

    text: str
    messages: list[Message]
    grade: Callable[[str], Grade] | None = None


def answers(models: Mapping[str, str], question: Question, **options: Any) -> dict[str, str]:
    """What each model (label -> folder, hub name or ``server:``) answers, one after another, greedily.

    ``options``: of ``models.generate``.
    """
    return {
        label: own.generate(model, [question.messages], progress=False, **options)[0].text
        for label, model in models.items()
    }


def steps(text: str) -> list[str]:
    """The lines of an answer, and the sentences in a line."""
    return [step for step in _STEP.split(text.strip()) if step.strip()]


def first_difference(texts: Sequence[str]) -> int | None:
    """The first step that is not the same in all texts, counted from 0; None if all are the same."""
    together = zip_longest(*map(steps, texts))
    return next((at for at, found in enumerate(together) if len(set(found)) > 1), None)


def page(question: Question, texts: Mapping[str, str]) -> str:
    """Answers by label beside each other as HTML, each with its grade, the first differing step marked. Escaped."""
    from laif_helpers.figures import html

    answered = {label: (steps(text), _verdict(question, text)) for label, text in texts.items()}
    at = first_difference(list(texts.values()))
    return html.render(PAGE, question=question.text, answers=answered, at=at, marked=_MARKED)


def _verdict(question: Question, text: str) -> str:
    if question.grade is None:
        return "not graded: a question of your own has no gold answer"
    grade = question.grade(text)
    read = f" (read: {grade.extracted})" if grade.extracted is not None else ""
    return ("right" if grade.correct else "wrong" if grade.readable else "unreadable") + read


def widget(
    models: Mapping[str, str], questions: Sequence[Question], write: Callable[[str], list[Message]], **options: Any
) -> Any:
    """A list of questions and a field for one's own above ``page``; the models are asked when one is chosen.

    ``write`` makes the prompt of one's own question. Results go into an HTML widget: what a callback prints is lost
    with ipykernel 7.
    """
    import html

    import ipywidgets

    # the first row is a question too: a list whose chosen value is None shows an empty line in its place
    listed = [("choose a question", Question("", [])), *((question.text[:80], question) for question in questions)]
    choice = ipywidgets.Dropdown(options=listed, layout={"width": "44em"})
    own = ipywidgets.Text(placeholder="or write your own, and press Enter", continuous_update=False)
    own.layout = choice.layout
    shown = ipywidgets.HTML()

    def ask(question: Question) -> None:
        if not question.text.strip():
            return
        shown.value = "<p>asking …</p>"
        try:
            shown.value = page(question, answers(models, question, **options))
        except (OSError, ValueError) as error:
            shown.value = f"<p>{html.escape(str(error))}</p>"

    choice.observe(lambda change: ask(change["new"]), names="value")
    own.observe(lambda change: ask(Question(change["new"], write(change["new"]))), names="value")
    return ipywidgets.VBox([choice, own, shown])
