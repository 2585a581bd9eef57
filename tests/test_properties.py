"""Properties that hold for any text, any value and any byte of a cut: Hypothesis looks for what breaks them."""

import json
import os
import random
import re
import resource
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from laif_helpers import benchmarks, lessons, recipe
from laif_helpers.graders import latex
from laif_helpers.graders.second import second_grades
from laif_helpers.records import Example, Lesson, Response, read_jsonl, read_rows, sound_rows, write_jsonl
from laif_helpers.runner import plan

FULL = bool(os.environ.get("LAIF_FAULTS_FULL"))
"""Set by ``make faults``: a hundred times as many tries."""
QUICK = settings(deadline=None, max_examples=2_000 if FULL else 15, suppress_health_check=list(HealthCheck))
TEXT = st.text(st.characters(codec=None), max_size=80)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("properties")


@pytest.fixture
def one_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """One math-verify for all texts of a test: a child process, which takes a second to start."""
    monkeypatch.setattr(latex, "ask_all", lambda pairs: [latex.ask(*pair) for pair in pairs])


# -- records

ROWS = st.lists(
    st.builds(
        Response, TEXT, TEXT, TEXT, st.lists(st.fixed_dictionaries({"role": TEXT, "content": TEXT})), TEXT, TEXT,
        st.none() | TEXT, st.booleans(), st.booleans(), TEXT, st.integers(), st.integers(), TEXT,
        st.none() | st.booleans(), TEXT, st.integers(), TEXT, st.booleans(),
    ),
    max_size=4,
)  # fmt: skip


def whole(value: Any) -> Any:
    """A value as a file can hold it: half a surrogate pair becomes a question mark."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {whole(key): whole(inner) for key, inner in value.items()}
    return [whole(inner) for inner in value] if isinstance(value, list) else value


@QUICK
@given(ROWS)
def test_rows_come_back_from_a_file_as_they_went(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Response]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_jsonl(path, rows)
    assert read_jsonl(path, Response) == [Response(**whole(asdict(row))) for row in rows]


@pytest.mark.slow
@QUICK
@given(st.lists(st.dictionaries(TEXT, TEXT | st.integers() | st.none()), min_size=1, max_size=4), st.data())
def test_a_file_cut_anywhere_gives_the_rows_before_the_cut(
    place: Path, rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    path = place / "rows.jsonl"
    write_jsonl(path, rows)
    read, whole_file = list(read_rows(path)), path.read_bytes()
    for cut in range(len(whole_file) + 1):
        path.write_bytes(whole_file[:cut])
        lines = whole_file[:cut].count(b"\n")
        assert sound_rows(path, more=False) == read[:lines]
        assert sound_rows(path)[:lines] == read[:lines]
    at = data.draw(st.integers(0, len(whole_file) - 1))
    path.write_bytes(whole_file[:at] + b"\0" + whole_file[at + 1 :])
    spoilt = {whole_file[:at].count(b"\n"), whole_file[: at + 1].count(b"\n")}
    assert sound_rows(path) == [row for line, row in enumerate(read) if line not in spoilt]


# -- the lesson parser: mutated replies

MATH = """Diagnosis: It adds before it multiplies.

Sample 1:
Question: Ann has {a} pots and buys {b}. How many pots does she have?
Answer: Ann has {a} + {b} = {c} pots.
#### {c}

Sample 2:
Question: Ben has {a} boxes of {b} eggs. How many eggs has he?
Answer: {a} * {b} = {d} eggs.
#### {d}
"""
PIECES = [
    "\n", "####", "Question:", "Answer:", "Sample 3:", "**", "```", " = ", "+", "-", "*", "/", ",", ".", "1",
    "0", "7", "{", "}",
    "[", "]", '"', "\\", "$", "é", "٣", "\x00", "\ud800", "\u2028", "The answer is", "(A)", "%", "½", "1e9",
]  # fmt: skip


def as_json(a: int, b: int) -> str:
    samples = [
        {"question": f"Ann has {a} pots and buys {b}. How many pots does she have?", "answer": f"{a} + {b} = {a + b}"},
        {"question": f"Ben has {a} boxes of {b} eggs. How many eggs has he?", "answer": f"{a} * {b} = {a * b}"},
    ]
    finals = (a + b, a * b)
    rows = [sample | {"final": str(final)} for sample, final in zip(samples, finals, strict=True)]
    return json.dumps({"diagnosis": "x", "samples": rows})


def mutated(rng: random.Random) -> str:
    """A good reply with one to four things done to it that models, networks and servers do."""
    a, b = rng.randrange(2, 90), rng.randrange(2, 90)
    text = rng.choice([MATH.format(a=a, b=b, c=a + b, d=a * b), as_json(a, b)])
    for _ in range(rng.randrange(1, 5)):
        at, to = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        lines = text.split("\n")
        change = rng.randrange(7)
        if change == 0:
            text = text[:at] + rng.choice(PIECES) + text[at:]
        elif change == 1:
            text = text[:at] + text[at + 1 :]
        elif change == 2:
            text = text[:at]
        elif change == 3:
            text = text[:at] + text[at:to][:40] + text[at:]
        elif change == 4:
            rng.shuffle(lines)
            text = "\n".join(lines)
        elif change == 5:
            text = re.sub(r"\d", lambda found: rng.choice([found[0], found[0], str(rng.randrange(10))]), text)
        else:
            text = "\n".join(line for line in lines if rng.random() < 0.8)
        text = text or "x"
    return text


def true_equations(lesson: Lesson) -> bool:
    """A reader of its own: each plain ``a + b = c`` is true, and the last number is one that was calculated."""
    response = lesson.response.replace(",", "")
    found = re.findall(r"(?<![\d.+*/=-])(\d+) ([+*]) (\d+) = (\d+)(?![\d.]| [-+*/])", response)
    right = all(int(c) == (int(a) + int(b) if sign == "+" else int(a) * int(b)) for a, sign, b, c in found)
    final = response.rpartition("####")[2].strip()
    return right and (not found or not final.isdigit() or int(final) in {int(c) for *_, c in found})


def test_no_mutated_reply_raises_or_teaches_a_wrong_sum() -> None:
    rng = random.Random(20261126)
    tries, kept, blank = 100_000 if FULL else 200, 0, Lesson("", "practice", "", "", ["x"], "le", 1, "llm", "k" * 64)
    for start in range(0, tries, 200):
        found = [lesson for _ in range(200) for lesson in lessons.from_reply(mutated(rng), blank)]
        for lesson in lessons.verify(found, workers=1):
            kept += lesson.status == "kept"
            assert lesson.status != "kept" or true_equations(lesson), (start, lesson)
    assert kept > tries // 10, "mutations that spoil every lesson try nothing"


@QUICK
@given(st.text(max_size=300) | st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
@pytest.mark.parametrize("benchmark", ["practice", "mmlu", "mbpp"])
def test_any_text_at_all_is_read_as_lessons(benchmark: str, text: str) -> None:
    assert lessons.from_reply(text, Lesson("", benchmark, "", "", ["x"], "le", 1, "llm", "k" * 64))
    lessons.diagnosis(text)


# -- graders

FOUR = {"A": "one", "B": "two", "C": "three", "D": "four"}
EXAMPLES = {
    "gsm8k": Example("1", "gsm8k", "test", "How many eggs are 2 and 2?", "4"),
    "mmlu": Example("1", "mmlu", "test", "Which?", "B", fields={"options": FOUR}),
    "mbpp": Example(
        "1", "mbpp", "test", "f", "", fields={"entry_point": "f", "test": "assert f(1) == 1", "imports": []}
    ),
    "word_sorting": Example("1", "word_sorting", "test", "Sort: b a", "a b"),
    "date_understanding": Example("1", "date_understanding", "test", "Which?", "B", fields={"options": FOUR}),
}
MILLION, SECONDS, BYTES = 1_000_000, 1.0, 200 << 20
NOISE = 2.0
"""A core that other programs share takes so many times as long."""
UNITS = [
    "1,", "(", "1+", "1 + 1 = ", "a=b=", r"\boxed{", r"\boxed{1}", r"\frac{", r"\frac{1}{2}", r"\sqrt{", "\\",
    "####", "#### 1\n",
    "$", "$1 ", "**", "**A** ", "(A) ", "((A))", "A. x\n", "Answer: ", "The answer is (B). ", "the answer is ",
    "not (A), ",
    "Option A is wrong. ", '{"answer":', "[[", '"', "1.", "1/", "1-", "-", "5% ", "1e9", "1 000 ", "9",
    "<think>", "</think>",
    "<|im_end|>", "<b>", "```", "```python\n", "def f(x):\n", "if x:\n ", "=", "/", "٣", "五", "é", "\u0301",
    "\u200b", "\u202e",
    "\0", "\ud800", "A", "ab", "\n", " ", "\t", "Therefore, ", "so ", "Let x = ", "one hundred and ", "01/02/2003 ",
    "答案是五 Ответ: ٣ क ", "\nUser: ", "\nQ: x\nA: ", "The total is 5 apples. ", "True and not False ",
]  # fmt: skip


def judged(benchmark: str, text: str) -> float:
    """Both graders read the text; gives the seconds of processor time that the slower one took."""
    bench, example = benchmarks.get(benchmark), EXAMPLES[benchmark]
    times = [sum(os.times()[:4])]
    grade = bench.grade(example, text)
    times.append(sum(os.times()[:4]))
    assert isinstance(grade.correct, bool) and (grade.extracted is None or isinstance(grade.extracted, str))
    second_grades(bench, [example], [text], [grade])
    times.append(sum(os.times()[:4]))
    return max(times[1] - times[0], times[2] - times[1])


@QUICK
@given(st.text(max_size=300) | st.lists(st.sampled_from([*UNITS, "4", "B", "\n"]), max_size=40).map("".join))
@pytest.mark.parametrize("benchmark", sorted(EXAMPLES.keys() - {"mbpp"}))
def test_no_text_makes_a_grader_raise(one_judge: None, benchmark: str, text: str) -> None:
    judged(benchmark, text)


def worst(benchmark: str, units: list[str], pipe: int) -> None:
    """In a process of its own, which may not grow: units whose repetition takes too long, or raises."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + BYTES, resource.RLIM_INFINITY))
    found = {}
    for unit in units:
        text = (unit * (MILLION // len(unit) + 1))[:MILLION]
        try:
            took = judged(benchmark, text)
            if took > SECONDS * NOISE:
                found[unit] = f"{took:.1f} s"
        except BaseException as error:  # whatever it is: it is what this test looks for
            found[unit] = f"{type(error).__name__}: {error}"[:200]
    os.write(pipe, json.dumps(found).encode())


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", sorted(EXAMPLES))
def test_a_million_characters_take_no_grader_a_second_or_200_megabytes(benchmark: str) -> None:
    judged(benchmark, "4")  # what is loaded once is not the text's doing
    units = UNITS if FULL else random.Random(benchmark).sample(UNITS, 3)
    read, write = os.pipe()
    if not (child := os.fork()):
        try:
            worst(benchmark, units, write)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        found = pipe.read()
    os.waitpid(child, 0)
    assert json.loads(found or b'{"all": "the process ended"}') == {}


# -- recipes

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | TEXT.filter(lambda text: text.isprintable()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab", min_size=1, max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = sorted(recipe.Recipe.model_fields)


@settings(QUICK, max_examples=20_000 if FULL else 100)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=3))
def test_any_value_for_any_key_is_a_recipe_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("recipe") / "any.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8", errors="replace")
    try:
        planned = plan.make(path)
    except (ValueError, FileNotFoundError) as error:
        sentence = str(error)
        assert sentence and len(sentence) < 2_000, sentence
        assert "\n" not in sentence and "Traceback" not in sentence and "pydantic" not in sentence
    else:
        assert planned.stages


@pytest.mark.slow
@settings(QUICK, max_examples=5_000 if FULL else 60)
@example(b"?")
@example(b"1: 2")
@example(b"? [a]\n: b")
@example(b"seed: 2026-13-45")
@example(b"seed: !!bool x")
@example(b"seed: !!timestamp x")
@example(b"seed: &a [*a]")
@example(b"[" * 3_000)
@example(b"seed: " + b"9" * 5_000)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")))
def test_any_file_is_a_recipe_or_a_sentence(place: Path, data: bytes) -> None:
    path = place / "any.yaml"
    path.write_bytes(data)
    with suppress(ValueError, FileNotFoundError):
        plan.make(path)
