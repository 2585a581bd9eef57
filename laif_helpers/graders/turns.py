"""Cuts the answer out of a text: outside the thought, before the end of the turn, before a next question.

Every step is one scan over the text, so a text of a million characters costs no more than its length.
"""

import re
from typing import NamedTuple

_NAMES = (
    r"(?!think_off>)(?:[\w-]{1,20}[:_|-])?(?:think(?:ing)?|thoughts?|reason(?:ing)?|scratchpad|reflection|analysis|antthinking|cot(?!_budget)|rationale"
    r"|internal|inner_?(?:thoughts?|monologue))(?:[_:]\w{1,40})?"
)
_PIPED = r"(?:thinking|think|thoughts?|reasoning|reason|cot|inner)"
_OF_MAKER = r"(?::(?!end|suffix)\w{1,20})?\|>"
_CALL = r"(?:[|｜]?\w{1,20}[:_|｜])?(?:tool|function)_?calls?(?::\w{1,40})?>"
_PIPED_CALL = r"(?:tool|function)[_▁](?:call|request)s?(?:_section)?"
_MARK = re.compile(
    rf"(?:(?<=```)|(?<![`'\"]))(?!<[|｜]?[<>])(?:(?P<opens><\s?{_NAMES}(?:\s[\w-]{{1,20}}=[^<>\n]{{1,80}}|\s)?>|&lt;{_NAMES}&gt;"
    rf"|\[think(?:ing)?\]|◁think▷"
    rf"|<\|(?:\w{{1,20}}:)?(?:(?:begin|start)?_?(?:of_?)?{_PIPED}|{_PIPED}[_:](?:start|begin|prefix)){_OF_MAKER}|<unused94>"
    r"|\[unused16\]|<\|channel>thought"
    r"|<details(?: type=.reasoning[^<>]{0,99})?>"
    r"(?:\s{0,9}<summary>\s{0,9}(?:thinking|thought|reasoning)[^<>]{0,99}</summary>)"
    rf"|(?P<call><(?!end_){_CALL}|<function(?:=|\sname=)[^<>\n]{{1,80}}>|\[tool_calls?\]"
    rf"|<[|｜](?:(?:\w{{1,20}}:begin_)?{_PIPED_CALL}(?:[_▁](?:begin|start))?|start_action"
    r"|(?:tools|action|python)_(?:prefix|start|tag))(?::\w{1,20})?[|｜]?>))"
    rf"|(?P<pair></details>|</{_CALL}|</function>|<end_function_call>|<tool_call\|>"
    rf"|<[|｜]/?(?:(?:\w{{1,20}}:end_)?{_PIPED_CALL}(?:[_▁]end)?|end_action|(?:tools|action|python)_(?:suffix|end))"
    r"(?::\w{1,20})?[|｜]>)"
    rf"|<\s?\\?/\s?{_NAMES}\s?>|&lt;/{_NAMES}&gt;|\[/think(?:ing)?\]|◁/think▷|<unused95>|<channel\|>"
    rf"|\[unused17\]|<\|(?:\w{{1,20}}:)?(?:/{_PIPED}|end_?(?:of_?)?{_PIPED}|{_PIPED}[_:](?:end|suffix)){_OF_MAKER}"
    r"|\[BEGIN FINAL RESPONSE\])",
    re.IGNORECASE,
)
"""Marks around what is no answer: a thought, as DeepSeek, Qwen, Magistral, Kimi, Command, Seed, Gemma, Pangu, Apriel,
web interfaces and others write it, or a ``call`` of a tool. ``pair``: means nothing without its first mark."""
_IN_MARKS = (
    *("think", "thought", "reason", "scratchpad", "reflection", "analysis", "cot", "rationale", "inner", "internal"),
    *("call", "function", "unused", "channel", "details", "action", "tools", "python", "final"),
)
"""One of these words is in each mark; a text without any, such as one of 500,000 "<", takes no time then."""
_CHANNEL = re.compile(
    r"<\|channel\|>\s*(\w+)[^<\n]{0,80}(?:<\|constrain\|>[^<\n]{0,20})?<\|message\|>|<\|im_start\|>(think|answer)\n"
    r"|\bto=(self|user)<\|message\|>|<\|begin\|>assistant<\|(content)\|>|<\|content_(thinking|text)\|>"
    r"|<\|open\|>(think|response)<\|sep\|>|\A\s*(?:<\|im_start\|>assistant)?/think\n(?s:.*?)<\|im_end\|>\s*<\|im_start\|>(assistant)\n"
)
_FINAL = ("final", "answer", "user", "content", "text", "response", "assistant")
"""Channels that hold an answer: harmony's, and those of s1, Muse, Solar, Inkling, Kimi K3 and HyperCLOVA X."""
_HEADED = re.compile(
    r"\s*(?:(?P<dots>thinking\.\.\.\n)|(?P<here>here(?:'s| is) my thought process:)"
    r"|[*_#]{0,3}\s?thinking(?: process)?[*_]*:)",
    re.IGNORECASE,
)
_HEADED_ENDS = {
    "dots": re.compile(r"^\.\.\.done thinking\.", re.IGNORECASE | re.MULTILINE),
    "here": re.compile(r"\bhere(?:'s| is) my response:", re.IGNORECASE),
    None: re.compile(r"^(?=[*_#]{0,3}[ ]?(?:final )?(?:answer|response)[*_]*:)", re.IGNORECASE | re.MULTILINE),
}
"""What begins and ends a thought that only words set off."""
_ANSWER_TAG = re.compile(
    r"<\|?(?P<shut>/?)(?:final_?)?answer\|?>|(?-i:\[(?P<close>/?)(?:FINAL_)?ANSWER\](?!:))", re.IGNORECASE
)
_WRAPPER = re.compile(
    r"<\|(?:(?:begin|end)_of_(?:solution|box)|(?:start|end)_(?:response|text))\|>|\[END FINAL RESPONSE\]|<s>|\ufeff"
    r"|\A\s*<(?:response|output)>|</(?:response|output)>\s*\Z",
    re.IGNORECASE,
)
_END = (
    r"<[|｜]?(?:\w{1,20}[:|])?(?:im_end|im_start|eot_id|eom_id|eot|(?:hy_)?eos|eos_token|special_12|endoftext|end_of_text|end|return|call|user|start"
    r"|start_header_id|end_of_turn|start_of_turn|end_of_turn_token|end_of_utterance|endofturn|pad|role_end|start_of_role"
    r"|eod|eom|human|system|separator|observation|endofmessage|endofresponse|end_message|flush|assistant_end|calls"
    r"|end_of_msg|message_sep)(?::\w{1,20})?[|｜]?>|</assistant>|\[e~\[|\[\|endofturn\|\]"
    r"|<\|(?:bom|assistant|close|plamo:tag)\|>"
    r"|</s>|\[/?INST\]|\[EOS\]|<turn\|>|<[|｜]end▁of▁sentence[|｜]>"
)
_END_OF_TURN = re.compile(rf"(?!<[|｜]?<)(?:{_END})", re.IGNORECASE)
_BEFORE_ANY = re.compile(rf"(?:\s|{_END})*", re.IGNORECASE)
# "Question 2: …" may be a step of the model's own; a bare "Question:" or "User:" opens another item. "Q:" does, if a
# question stands behind it: "P: 10 dollars, Q: 5 dollars" are two variables.
_NEXT_ITEM = re.compile(
    r"\n[ \t]*(?:[#>*]+[ \t]*)?"
    r"(?:Q[ \t]*(?:\*\*)?:(?=[^\n]*\?|[^\n]{25}|[^\n]*\n{0,3}[ \t]*A:|[ \t]*(?:[A-Z][^\n\d]{0,25})?\Z)"
    r"|(?:Question|User|Human|Instruction|(?:New |Next )(?:question|problem|task))[ \t]*(?:\*\*)?:)"
)
_NEXT_TASK = re.compile(
    r"\n[ \t]*(?:[#>*]+[ \t]*)?(?:(?:Question|Problem|Exercise|Example|Task|Input|Passage)[ \t]*#?\d{0,3}"
    r"|Q[ \t]*#?\d{1,3})[ \t]*(?:\*\*)?[:.)]"
)
_ANSWERED = re.compile(
    r"####[ \t]*\S|\b(?:answer|choice|option)\b[^.\n]{0,40}?(?:\bis\b|:)|\\boxed\{|^[ \t]*A:",
    re.IGNORECASE | re.MULTILINE,
)
_ANSWERS = re.compile(r"\d|\bNone\b|\bcannot\b|not enough|^[ \t]*\(?[A-J][).:]?(?=\s|$)", re.MULTILINE)
TAKEN_BACK = re.compile(
    r"(?:[.!?…]\s|\n)\W{0,8}(?:(?:wait|no|actually|hm+|oh|oops|sorry|but)\b\W{0,5}){0,4}"
    r"(?:correction\b|(?<=no )wait\b|(?<=no, )wait\b|let me re(?:count|calculate)\b"
    r"|I(?: have|'ve)? (?:(?:forgot(?:ten)?|missed|overlooked)\b"
    r"|made an? (?:\w{1,15} )?(?:mistake|error)|mis\w{3,12}ed)\b"
    r"|(?:that|this|it)(?:'s| is| was) (?:wrong|incorrect|not (?:right|correct))[.,;:!—])",
    re.IGNORECASE,
)
"""What takes an answer back at the beginning of a sentence; what stands behind it is the new one."""
_OF_OTHERS = re.compile(
    r"^\W*(?:your|the student's|student's|given|submitted) answer\b[^\n:]{0,20}:[^\n]*$", re.I | re.M
)
"""Somebody else's answer, which the response corrects."""
_BLOCK_TAG = re.compile(r"</?(?:p|div|br|li|[uo]l|h[1-6]|tr|table)(?:\s[^<>\n]{0,200})?/?>", re.IGNORECASE)
_EMPHASIS = re.compile(r"(?<![\w\\])_(?=\S)([^_\n]{1,200})(?<=\S)_(?!\w)")
_OPENS_AS_QUESTION = re.compile(r"\s*(?:[#>*]+\s*)?(?:Q|Question)\b")


class Parts(NamedTuple):
    """A text without its marks. ``open``: the thought never ends, so nothing of the text is an answer."""

    thought: str
    answer: str
    open: bool = False


def split(text: str) -> Parts:
    """Thought and answer of a response, whatever sets the thought off; all of it is the answer if nothing does."""
    thought, answer, is_open = _by_channels(text) or _by_marks(text)
    if not is_open:
        headed, answer, is_open = _by_headings(answer)
        thought = f"{thought}\n{headed}"
    return Parts(thought.strip(), "" if is_open else _WRAPPER.sub("", _tagged(answer)), is_open)


def is_mark(token: str) -> bool:
    """Whether a token sets a thought off, alone or with its channel's name."""
    return any(_MARK.fullmatch(token + name) for name in ("", "thought"))


def opened(prompt: str) -> str:
    """The mark by which a prompt opens a thought at its very end, with the space behind it; "" if it opens none."""
    for mark in _MARK.finditer(prompt):
        if mark["opens"] and not prompt[mark.end() :].strip():
            return prompt[mark.start() :]
    return ""


def closes_alone(text: str) -> bool:
    """Whether a text ends a thought that it never began: the template did."""
    first = _MARK.search(text)
    return bool(first and not first["opens"] and not first["pair"])


def own_turn(text: str) -> str:
    """The answer of ``text``, cut at the end of the turn or at the beginning of a new question.

    A question counts only behind an answer: a text that opens by repeating its question keeps all of it.
    """
    text = _squeezed(end_of_turn(text))
    firm = _ANSWERED.search(text)
    loose = None if _OPENS_AS_QUESTION.match(text) else _ANSWERS.search(text)
    found = [match.end() for match in (firm, loose) if match]
    cuts = []
    if found and (item := _NEXT_ITEM.search(text, min(found))):
        cuts.append(item.start())
    if firm and (task := _NEXT_TASK.search(text, firm.end())):
        cuts.append(task.start())
    return text[: min(cuts, default=len(text))]


def end_of_turn(text: str) -> str:
    """The answer of ``text``, without its thought, up to the first mark that ends a turn."""
    text = split(text).answer
    if ">" not in text and "]" not in text and "[" not in text:
        return text
    begins = _BEFORE_ANY.match(text)
    end = _END_OF_TURN.search(text, begins.end() if begins else 0)
    return text[: end.start() if end else len(text)]


def _squeezed(text: str) -> str:
    """``text`` without what is struck out, italics, and long runs of spaces and empty lines, which cost time; each
    block of HTML on lines of its own."""
    if "orrect answer" in text:
        text = _OF_OTHERS.sub("", text)
    text = re.sub(r"~~[^~\n]{1,200}~~|<(del|strike)>[^<\n]{1,200}</\1>", "", text)
    text = _EMPHASIS.sub(r"\1", _BLOCK_TAG.sub("\n", text))
    return re.sub(r"(?:[^\S\n]*\n){3,}", "\n\n", re.sub(r"[^\S\n]{3,}", "  ", text))


def _by_marks(text: str) -> tuple[str, str, bool]:
    """Text outside ``<think> … </think>``. A thought may lack its first mark, which some templates write. An answer
    stands, though a call or another thought behind it never ends."""
    lowered = text.casefold()
    if not any(word in lowered for word in _IN_MARKS):
        return "", text, False
    thoughts: list[str] = []
    answers: list[str] = []
    place, inside, closed, call = 0, False, False, False
    for mark in _MARK.finditer(text):
        if mark["pair"] and not inside:
            continue
        piece, opens = text[place : mark.start()], mark["opens"] is not None
        call = call if inside else mark["call"] is not None
        if opens or (closed and not inside and _BEFORE_ANY.fullmatch(text, mark.end())):
            (thoughts if inside else answers).append(piece)
        else:
            thoughts += [piece] if inside else [*answers, piece]
            answers = answers if inside else []
        inside, closed, place = opens, closed or not opens, mark.end()
    (thoughts if inside else answers).append(text[place:])
    answers = [part for part in answers if part.strip()]
    is_open = inside and not (answers and (closed or call))
    return "\n".join(thoughts), "\n".join(answers) if thoughts else text, is_open


def _by_channels(text: str) -> tuple[str, str, bool] | None:
    """Harmony, with its marks or with the marks stripped: only the final channel is an answer."""
    channels = list(_CHANNEL.finditer(text))
    finals = [channel for channel in channels if channel[channel.lastindex or 1] in _FINAL]
    if channels:
        at = finals[-1] if finals else None
        return (text[: at.start()], text[at.end() :], False) if at else (text, "", True)
    before, mark, behind = text.rpartition("assistantfinal")
    if mark:
        return before.strip().removeprefix("analysis"), behind, False
    if re.match(r"\s*(?:assistant)?analysis(?![\s.,:;!?)/—-]|\Z)", text):
        return text.strip().removeprefix("analysis"), "", True
    return ("", text.strip()[5:], False) if re.match(r"\s*final(?![\sa-z.,:;!?)/—-]|\Z)", text) else None


def _by_headings(text: str) -> tuple[str, str, bool]:
    """A thought under a heading of words ("Thinking: … Answer: …"). Only two headings can be nothing else: a text that
    never comes to their end is all thought."""
    head = _HEADED.match(text)
    if not head:
        return "", text, False
    if end := _HEADED_ENDS[head.lastgroup].search(text, head.end()):
        return text[head.end() : end.start()], text[end.end() :], False
    return (text, "", True) if head.lastgroup else ("", text, False)


def _tagged(text: str) -> str:
    """What stands in the last ``<answer> … </answer>`` that holds anything; else all of the text."""
    end = len(text)
    for tag in reversed(list(_ANSWER_TAG.finditer(text))):
        shut = tag["shut"] or tag["close"]
        if not shut and text[tag.end() : end].strip():
            return text[tag.end() : end]
        end = tag.start() if shut else end
    return text
