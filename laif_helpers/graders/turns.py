"""What of a text is the answer: behind the thinking, and before a question that the model goes on to ask itself."""

import re

_THOUGHT = re.compile(r"</(?:think|thinking|reasoning|scratchpad)>", re.IGNORECASE)
_END_OF_TURN = re.compile(
    r"<\|?(?:im_end|im_start|eot_id|eom_id|endoftext|end_of_text|end|user|start_header_id|end_of_turn)\|?>"
    r"|</s>|\[/?INST\]|<(?:start|end)_of_turn>",
    re.IGNORECASE,
)
# "Question 2: …" may be a step of the model's own; a bare "Question:" or "User:" opens another item.
_NEXT_ITEM = re.compile(
    r"\n[ \t]*(?:[#>*]+[ \t]*)?"
    r"(?:Q|Question|User|Human|Instruction|(?:New |Next )(?:question|problem|task))[ \t]*(?:\*\*)?:"
)
_NEXT_TASK = re.compile(
    r"\n[ \t]*(?:[#>*]+[ \t]*)?"
    r"(?:Q|Question|Problem|Exercise|Example|Task|Input|Passage)[ \t]*#?\d{0,3}[ \t]*(?:\*\*)?[:.)]"
)
_ANSWERED = re.compile(
    r"####\s*\S|\b(?:answer|choice|option)\b[^.\n]{0,40}?(?:\bis\b|:)|\\boxed\{|^[ \t]*A:", re.IGNORECASE | re.MULTILINE
)


_ANSWERS = re.compile(r"\d|\bNone\b|\bcannot\b|not enough|^\s*\(?[A-J][).:]?\s*(?:$|\s)", re.MULTILINE)


def own_turn(text: str) -> str:
    """``text`` without a chain of thought in tags, cut where the turn ends or where a new question begins.

    A question counts only behind an answer: a text that opens by repeating its question keeps all of it.
    """
    text = end_of_turn(text)
    for pattern, needs_answer in ((_NEXT_ITEM, False), (_NEXT_TASK, True)):
        for match in pattern.finditer(text):
            before = text[: match.start()]
            if _ANSWERED.search(before) or (not needs_answer and _is_answer(before)):
                text = before
                break
    return text


def end_of_turn(text: str) -> str:
    """``text`` without a chain of thought in tags, up to the first mark that ends a turn."""
    thought = [match.end() for match in _THOUGHT.finditer(text)]
    if thought and text[thought[-1] :].strip():
        text = text[thought[-1] :]
    marks = (match.start() for match in _END_OF_TURN.finditer(text))
    return text[: next((mark for mark in marks if text[:mark].strip()), len(text))]


def _is_answer(text: str) -> bool:
    """Something that can be an answer, and no question put first: "20", "B. a fern", a line of code."""
    opens = re.match(r"\s*(?:[#>*]+\s*)?(?:Q|Question)\b", text)
    return opens is None and _ANSWERS.search(text) is not None
