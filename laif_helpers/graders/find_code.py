"""Finds the program in a response: fenced, bare, a body that continues the stub, or a method, without its demo."""

import ast
import contextlib
import html
import itertools
import json
import re
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from laif_helpers.graders.turns import end_of_turn

_LONGEST = 50_000
"""Characters of an answer that are searched for code: the first ones, or the last ones if code is only there."""
_FENCE = re.compile(r"^[ \t]*(?:(?:[-*+]|\d{1,2}[.)])[ \t]+)?(```|~~~)[ \t]*(.*)$", re.MULTILINE)
_LANGUAGE = re.compile(r"\{?\.?([\w+#-]*)")
_PYTHON = {"", "python", "py", "python3", "python2", "code", "ipython", "pycon", "tool_code"}
_ASKS = re.compile(r"'(?:input|stdin)'")
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.?)*+(?:"|\Z)', re.DOTALL)
_STARTS = re.compile(r"\s*(?:from\s+\S+\s+import|import\s|def\s|class\s|@|async\s+def\s)")
_KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_SHUNNED = re.compile(
    r"^(?!.*\b(?:fix\w*|correct\w*|instead|updated)\b).*\b(?:(?:(?:don't|do not|never) \w+\b.*|avoid )\b(?:this"
    r"|following)\b|common (?:mistake|error|bug)\b|(?:wrong|incorrect|buggy|bad) (?:version|way|code|solution)\b"
    r"|(?:your|the) original (?:code|version|function)\b|(?:is|was|would be) (?:wrong|incorrect|buggy):\W*$)",
    re.IGNORECASE,
)
"""What announces a block that shows how not to do it."""
_TYPED = str.maketrans("“”„‘’−\u3000", '"""\'\'- ') | {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}

# What the parser thinks of a model's style is no concern of the reader's.
warnings.filterwarnings("ignore", module="<answer>")


@dataclass(frozen=True, slots=True)
class Found:
    """Code read from a response: ``code`` defines the entry point (``whole``) or is a body that continues a stub."""

    code: str
    whole: bool
    readable: bool
    reason: str


def find_code(text: str, entry_point: str, inner: bool = False) -> Found:
    """The code of a response: the last fenced block that defines ``entry_point``, with the imports and definitions of
    the other blocks; else bare code that defines it; else what JSON, a quote, a diff or markup holds of these (unless
    the text is such an ``inner`` one already); else a body that continues the stub."""
    text = re.sub("\r\n?", "\n", text.encode("utf-8", "replace").decode())
    text = end_of_turn(text.replace("\xa0", " ").replace("\u200b", ""))
    text = re.sub(rf"^from [\w.]+ import {re.escape(entry_point)}[ \t]*$", "", text, flags=re.MULTILINE)
    text = text[:_LONGEST] if defines(text[:_LONGEST], entry_point) else text[-_LONGEST:]
    if len(_FENCE.findall(text)) % 2:
        text = re.sub(r"(?<=[^\s`])```[ \t]*$", "\n```", text, flags=re.MULTILINE)  # it closes behind the last line
    unfenced = _FENCE.split(text, maxsplit=1)[0]
    if len(_FENCE.findall(text)) % 2 and defines(unfenced, entry_point):
        text = f"```python\n{text}"  # the prompt opened the fence that the response closes
        unfenced = ""
    blocks = list(_blocks(text))
    defining = [number for number, block in enumerate(blocks) if defines(block, entry_point)]
    if defining:
        # a later block that does not compile or does nothing is an aside ("…"), not a better answer
        good = [n for n in defining if _works(blocks[n], entry_point)]
        for n, block in enumerate([] if good else blocks):
            if n > defining[-1] and (body := _body(block, entry_point)):  # a stub, then its body
                blocks[defining[-1]] += f"\n{body}"
        good = good or [n for n in defining if compiles(blocks[n])] or defining
        return _whole(blocks, good[-1], entry_point, "fenced block")
    if defines(unfenced, entry_point):
        if "<code" in unfenced and re.search(r"&(?:[lg]t|amp|quot|#\d\d);", unfenced):
            unfenced = html.unescape(re.sub(r"</?(?:pre|code)\b[^<>\n]{0,80}>", "\n", unfenced))
        return _whole([_bare(unfenced), *blocks], 0, entry_point, "bare code")
    for undressed in () if inner else _undressed(text):
        if defines(undressed, entry_point):
            inside = find_code(undressed, entry_point, inner=True)
            if inside.readable and compiles(inside.code):
                return inside
    for body in [*blocks[:1], unfenced]:
        if found := _body(body, entry_point):
            return Found(found, False, True, "a body that continues the stub")
    return Found("", False, False, f"no code that defines {entry_point}")


def _undressed(text: str) -> Iterator[str]:
    """The text without what may stand around code: JSON's strings, marks of quotes and of diffs, tags."""
    strings = list[str]()
    for string in _JSON_STRING.finditer(text):
        with contextlib.suppress(ValueError):
            strings.append(json.loads(string[0], strict=False))
    yield from strings
    yield "\n".join(string.removesuffix("\n") for string in strings)
    if quoted := re.search(r"'((?:import|from|def|class)\s.*)'", text, re.DOTALL):  # [BEGIN] 'def f(x): …' [DONE]
        yield quoted[1].replace("\\r", "").replace("\\n", "\n")
    yield _without_prompts(text[text.find(">>> ") :])
    yield re.sub(r"^[ \t]*(?:>[ \t]?)+", "", text, flags=re.MULTILINE)
    # numbered lines
    yield re.sub(r"^[ \t]*(?:\d{1,3}[ \t]?[:|]?|In \[\d+\]:|\.{3}:)[ \t]", "", text, flags=re.MULTILINE)
    yield re.sub(r"^-.*\n|^(?:\+\+\+|@@|```).*|^[+ ]", "", text, flags=re.MULTILINE)
    yield html.unescape(re.sub(r"<[^<>\n]{1,80}>|\[/?(?:code|[A-Z]{4,})\]|`", "\n", text))


def defines(code: str, entry_point: str) -> bool:
    name, value = re.escape(entry_point), r"(?:lambda\b|[\w.]+\s*(?:#.*)?$|functools\.|partial\b)"
    pattern = rf"^[ \t]*(?:(?:async\s+)?def\s+{name}\s*\(|{name}\s*(?::[^=\n]+)?=\s*{value})"
    return re.search(pattern, code, re.MULTILINE) is not None


def _blocks(text: str) -> Iterator[str]:
    """Fenced Python, dedented. A fence inside a docstring does not end a block that compiles only with what follows."""
    fences = list(_FENCE.finditer(text))
    place = 0
    while place < len(fences):
        opening = fences[place]
        language = _LANGUAGE.match(opening[2].strip().lower())
        same = (n for n in range(place + 1, len(fences)) if fences[n][1] == opening[1])
        closings = list(itertools.islice(same, 6))
        wanted = language is not None and language[1] in _PYTHON
        end = next((n for n in closings if compiles(_inside(text, opening, fences[n]))), None) if wanted else None
        end = end if end is not None else (closings[0] if closings else None)
        before = text[max(0, opening.start() - 300) : opening.start()].rstrip()
        if wanted and not (place and _SHUNNED.search(re.split(r"[.!?\n]\s*(?=\S)", before)[-1])):
            yield _inside(text, opening, fences[end] if end is not None else None)
        place = end + 1 if end is not None else len(fences)


def _inside(text: str, opening: "re.Match[str]", closing: "re.Match[str] | None") -> str:
    code = text[opening.end() + 1 : closing.start() if closing else len(text)]
    if re.match(r"\w+[ \t]+(?:from|import|def|class)\b", opening[2]):  # "```python def f(x):"
        code = f"{opening[2].split(None, 1)[1]}\n{code}"
    code = _without_prompts(_dedented(re.sub(r"\A\s*python\n", "", code)))
    typed = html.unescape(code).translate(_TYPED)  # as a web page or a word processor sets it
    return typed if typed != code and compiles(typed) and not compiles(code) else code


def _without_prompts(code: str) -> str:
    """What was typed in an interactive session (``>>>``), without its output; else without a notebook's commands."""
    if not code.lstrip().startswith(">>> "):
        return code if compiles(code) else re.sub(r"^[!%].*\n?", "", code, flags=re.MULTILINE)
    lines = [line for line in _lines(code) if re.match(r"\s*(?:>>>|\.\.\.)", line)]
    return "\n".join(re.sub(r"^\s*(?:>>>|\.\.\.) ?", "", line) for line in lines)


def _whole(blocks: list[str], chosen: int, entry_point: str, how: str) -> Found:
    code = shorter if defines(shorter := _cut(blocks[chosen]), entry_point) else blocks[chosen]
    tree = _parsed(code)
    needed, taken = (_needed(tree), set().union(*map(_bound, tree.body))) if tree else (set(), set())
    before = [_definitions(block, needed) for block in blocks[:chosen]]
    behind = [_definitions(block, needed, taken | {entry_point}) for block in blocks[chosen + 1 :]]
    parts = [*before, _answer_alone(code, entry_point), *behind]
    return Found("\n\n".join(part for part in parts if part), True, True, how)


def _answer_alone(code: str, entry_point: str) -> str:
    """The code without what demonstrates it: statements that define nothing it needs, behind the entry point or asking
    for input.

    A method is given the entry point's name. Code that does not parse is left as it is.
    """
    tree = _parsed(code)
    if tree is None:
        return code
    places = [number for number, node in enumerate(tree.body) if entry_point in _bound(node)]
    if not places:
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        methods = [(each.name, part.name) for each in classes for part in each.body if isinstance(part, _FUNCTION)]
        owner = next((name for name, method in methods if method == entry_point), None)
        return f"{code}\n\n{entry_point} = {owner}().{entry_point}" if owner else code
    used = _needed(tree) | {entry_point}
    idle = [node for node in tree.body if not isinstance(node, _KEPT) and not _bound(node) & used]
    dropped = [node for node in idle if node.lineno > tree.body[places[0]].lineno or _ASKS.search(ast.dump(node))]
    if not dropped:
        return code
    gone = {number for node in dropped for number in range(node.lineno - 1, node.end_lineno or node.lineno)}
    kept = "\n".join(line for number, line in enumerate(_lines(code)) if number not in gone).rstrip()
    return kept if compiles(kept) else code


def _needed(tree: ast.Module) -> set[str]:
    """Names that functions and classes read and do not set themselves."""
    tops = [node for node in tree.body if isinstance(node, (*_FUNCTION, ast.ClassDef))]
    names = [node for top in tops for node in ast.walk(top) if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    given = {node.arg for top in tops for node in ast.walk(top) if isinstance(node, ast.arg)}
    return read - given - {node.id for node in names if isinstance(node.ctx, ast.Store)}


def _bound(node: ast.stmt) -> set[str]:
    """Names that a top-level statement defines or assigns."""
    if isinstance(node, (*_FUNCTION, ast.ClassDef)):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        return {name.id for target in targets if target for name in ast.walk(target) if isinstance(name, ast.Name)}
    return set()


def _works(code: str, entry_point: str) -> bool:
    """Whether the entry point is more than a signature with a docstring, ``pass`` or ``...``."""
    tree = _parsed(code)
    if tree is None:
        return False
    functions = [node for node in ast.walk(tree) if isinstance(node, _FUNCTION) and node.name == entry_point]
    return not functions or any(
        not isinstance(part.value if isinstance(part, ast.Expr) else part, (ast.Pass, ast.Raise, ast.Constant))
        for part in functions[-1].body
    )


def _bare(text: str) -> str:
    """Bare code without the prose before it: from the first import or definition on."""
    if re.match(r"\s*[A-Za-z_]\w*\s*=[^=]", text) and compiles(text):
        return text  # a constant that the function needs stands first
    lines = _lines(text)
    starts = [number for number, line in enumerate(lines) if _STARTS.match(line)]
    return _dedented("\n".join(lines[starts[0] if starts else 0 :]))


def _cut(code: str, before: str = "") -> str:
    """The code up to the last line that compiles behind ``before``."""
    for _ in range(50):
        if (error_line := _broken_at(before + code)) is None:
            return code
        code = "\n".join(_lines(code)[: max(0, error_line - 1 - before.count("\n"))])
    return ""


def _body(text: str, entry_point: str) -> str:
    """Lines that continue a stub, indented as its body; "" if the text is none. Its first line may have lost its
    indentation, or all lines may have, or they are indented otherwise than by four spaces."""
    lines = _lines(re.sub(r"^\t+", lambda tabs: "    " * len(tabs[0]), text.strip("\n"), flags=re.MULTILINE))
    if not any(lines):
        return ""
    inside = list(itertools.takewhile(lambda line: not line.strip() or line[0] == " ", lines))
    variants = [lines, _indented(inside)] if re.match(r" {2,}", lines[0]) else []
    sure = len(variants)
    if re.match(r"\s|\Z", next((line for line in lines[1:] if line.strip()), "")):
        variants.append([f"    {lines[0].strip()}", *lines[1:]])
    head = f"def {entry_point}():\n    0\n"
    for number, variant in enumerate([*variants, _indented(lines)]):
        kept = _cut("\n".join(variant), head)
        if re.search(r"^[ \t]+(?:return|yield)\b", kept, re.MULTILINE) or (kept.strip() and number < sure):
            return _answer_alone(head + kept, entry_point)[len(head) :] + "\n"
    return ""


def _indented(lines: list[str]) -> list[str]:
    return _lines(textwrap.indent(textwrap.dedent("\n".join(lines)), "    "))


def _definitions(block: str, needed: set[str], without: "set[str] | frozenset[str]" = frozenset()) -> str:
    """Imports, functions, classes and ``needed`` constants of a block, without the statements that would run."""
    tree = _parsed(block)
    kept = [n for n in (tree.body if tree else []) if isinstance(n, _KEPT) or _bound(n) & needed]
    return "\n".join(ast.unparse(node) for node in kept if not _bound(node) & without)


def _dedented(code: str) -> str:
    """The code without the indentation that all of it shares (a block inside a list item); doctest text untouched."""
    lines = _lines(code.strip("\n"))
    filled = [line for line in lines if line.strip()]
    if not filled:
        return code
    margin = len(filled[0]) - len(filled[0].lstrip())
    if margin and all(not line[:margin].strip() for line in filled) and _STARTS.match(filled[0]):
        return "\n".join(line[margin:] for line in lines)
    if _STARTS.match(lines[0]):
        return "\n".join([line if number else line.lstrip() for number, line in enumerate(lines)])
    return "\n".join(lines)


def _lines(code: str) -> list[str]:
    """As Python counts them: a form feed ends no line, nor does U+2028 in a string."""
    return re.split("\r\n?|\n", code)


def compiles(code: str) -> bool:
    return _broken_at(code) is None


def _parsed(code: str) -> ast.Module | None:
    return ast.parse(code, "<answer>") if compiles(code) else None


def _broken_at(code: str) -> int | None:
    """The line at which ``code`` stops being Python, None if all of it is."""
    try:
        ast.parse(code, "<answer>")
    except SyntaxError as error:
        return max(1, error.lineno or 1)
    except (ValueError, RecursionError, MemoryError, OverflowError):
        return 1
    return None
