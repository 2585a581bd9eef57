"""Replies by JSON schema, whole, cut and wrong, and that both formats end in the same lesson."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from laif_helpers import lessons
from laif_helpers.lessons import families, structured
from laif_helpers.records import Lesson, read_jsonl, write_jsonl

MATH = {"question": "Ann has 3 pots and buys 2. How many?", "answer": "3 + 2 = 5 pots", "final": "5"}
CHOICE = {
    "question": "Which is a metal?",
    "options": {"A": "Sulphur", "B": "Iron", "C": "Neon", "D": "Argon"},
    "letter": "B",
    "why": "Iron conducts.",
}
CODE = {
    "question": 'def twice(n: int) -> int:\n    """ Twice n.\n    >>> twice(2)\n    4\n    """',
    "answer": "def twice(n: int) -> int:\n    return 2 * n",
}
TEXT = {
    "math": "Sample 1:\nQuestion: Ann has 3 pots and buys 2. How many?\nAnswer: 3 + 2 = 5 pots\n#### 5",
    "choice": "Sample 1:\nQuestion: Which is a metal?\n"
    "A. Sulphur\nB. Iron\nC. Neon\nD. Argon\nAnswer: B - Iron conducts.",
    "code": f"Sample 1:\nQuestion:\n```python\n{CODE['question']}\n```\nAnswer:\n```python\n{CODE['answer']}\n```",
}
SAMPLE: dict[str, dict[str, Any]] = {"math": MATH, "choice": CHOICE, "code": CODE}


def reply(*samples: Any, diagnosis: str = "It guesses.") -> str:
    return json.dumps({"diagnosis": diagnosis, "samples": list(samples)})


@pytest.mark.parametrize("family", ["math", "choice", "code"])
def test_both_formats_read_alike(family: str) -> None:
    by_schema = structured.samples(reply(SAMPLE[family]), family)
    assert by_schema == structured.samples(TEXT[family], family)
    assert len(by_schema) == 1 and by_schema[0][2] == ""
    fenced = f"```json\n{reply(SAMPLE[family])}\n```"
    assert structured.samples(fenced, family) == by_schema
    assert structured.diagnosis(fenced) == lessons.diagnosis(f"Diagnosis: It guesses.\n{TEXT[family]}") == "It guesses."


@pytest.mark.parametrize("family", ["math", "choice", "code"])
def test_schemas_are_what_strict_endpoints_take(family: str) -> None:
    def objects(node: Any) -> list[dict[str, Any]]:
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
        mine = [node] if isinstance(node, dict) and node.get("type") == "object" else []
        return mine + [found for part in inner for found in objects(part)]

    found = objects(structured.schema(family))
    assert len(found) >= 2
    for node in found:
        assert node["additionalProperties"] is False and sorted(node["required"]) == sorted(node["properties"])
    assert "minLength" not in json.dumps(found) and '"title"' not in json.dumps(found)
    families.get(family).sample.model_validate(SAMPLE[family])


def test_a_cut_reply_gives_its_whole_samples() -> None:
    whole = reply(MATH, MATH | {"question": "Another?"})
    read = [structured.samples(whole[:end], "math") for end in range(len(whole))]
    good = [[sample for sample in found if not sample[2]] for found in read]
    assert [len(found) for found in good] == sorted(len(found) for found in good), "never less from a longer piece"
    assert {len(found) for found in good} == {0, 1, 2}
    assert all(sample[2] for found in read for sample in found if sample not in good[-1]), "the rest says what it lacks"


@pytest.mark.parametrize(
    ("sample", "family", "problem"),
    [
        ({"question": "x"}, "math", "answer: field required"),
        (MATH | {"final": "five"}, "math", "no final number"),
        (MATH | {"final": ""}, "math", "final: "),
        (CHOICE | {"letter": "E"}, "choice", "letter: "),
        (CHOICE | {"options": {"A": "1"}}, "choice", "options.B: field required"),
        ("not an object", "math", "sample: "),
    ],
)
def test_a_bad_sample_costs_itself_and_says_why(sample: Any, family: str, problem: str) -> None:
    checked = lessons.from_reply(
        reply(sample, SAMPLE[family]),
        Lesson("", {"math": "practice", "choice": "arc_challenge"}[family], "", "", ["e"], "le", 1, "m", "k" * 12),
    )
    assert [lesson.status for lesson in checked] == ["unparsable", "kept"]
    assert problem in checked[0].reason


def test_labels_inside_a_text_split_nothing() -> None:
    tricky = MATH | {"question": "Read this:\nQuestion: what?\nAnswer: nothing.\nHow many pots are 3 and 2?"}
    assert structured.samples(reply(tricky), "math")[0][0] == tricky["question"]


@pytest.mark.parametrize("text", ["", "{", "{}", "[1]", '{"a": 1}', "{broken", "null"])
def test_what_is_no_reply_is_left_to_the_text_parser(text: str) -> None:
    assert structured.samples(text, "math") == [] and structured.diagnosis(text) == ""


def test_a_lesson_checks_its_types(tmp_path: Path) -> None:
    row = {"id": "l", "benchmark": "practice", "question": 3, "response": "r", "source_ids": [], "arm": "le"}
    write_jsonl(tmp_path / "x.jsonl", [row | {"iteration": 1, "instructor": "i", "request_key": "k"}])
    with pytest.raises(ValueError, match=r"row 1: .*question"):
        read_jsonl(tmp_path / "x.jsonl", Lesson)


@pytest.mark.parametrize(
    "dress",
    [
        "<think>\nQuestion 1: Zoe has 5 cows.\nAnswer: 5 + 4 = 8\n#### 8\nNo, wrong.\n</think>\n\n{}",
        '<think>{{"diagnosis": "x", "samples": [{{"question": "q", "answer": "a", "final": "3"}}]}}</think>{}',
        "Here is the JSON you asked for:\n\n```json\n{}\n```\nLet me know if you need more.",
        "Sure! {} I hope this helps.",
        "\ufeff{}\n",
    ],
)
def test_a_thought_and_words_around_the_json_are_passed_over(dress: str) -> None:
    text = dress.format(reply(MATH))
    assert structured.samples(text, "math") == structured.samples(reply(MATH), "math")
    assert structured.diagnosis(text) == "It guesses."


def test_a_number_that_is_no_string_and_a_field_too_many_cost_nothing() -> None:
    loose = {"question": MATH["question"], "answer": MATH["answer"], "final": 5, "difficulty": "easy"}
    assert structured.samples(reply(loose), "math") == structured.samples(reply(MATH), "math")
    with_break = reply(MATH).replace("3 + 2", "First,\n3 + 2")
    assert structured.samples(with_break, "math")[0][1].startswith("First,\n3 + 2"), "a bare line break in a string"


PRETTY = json.dumps(json.loads(reply(MATH)), indent=2)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"thinking": "It {guesses}.", "diagnosis": "It guesses.", "samples": [MATH]}),
        json.dumps({"reply": json.loads(reply(MATH))}),
        json.dumps([json.loads(reply(MATH))]),
        json.dumps(reply(MATH)),
        json.dumps({"Diagnosis": "It guesses.", "Samples": [{key.title(): value for key, value in MATH.items()}]}),
        json.dumps({"diagnosis": "It guesses.", "lessons": {"1": MATH}}),
        json.dumps({"diagnosis": "It guesses.", "sample_1": MATH}),
        json.dumps({"diagnosis": "It guesses.", "samples": [json.dumps(MATH)]}),
        reply(MATH) + json.dumps({"diagnosis": "none", "samples": []}),
        PRETTY.replace('"5"', '"5",'),
        PRETTY.replace('"samples"', '// three of them\n"samples"'),
        repr(json.loads(reply(MATH))),
        PRETTY.replace("  ", "\u00a0 "),
        reply(MATH).replace('"', "&quot;"),
        re.sub('"([^"]*)"', "“\\1”", reply(MATH)),
        reply({"problem": MATH["question"], "solution": MATH["answer"], "final_answer": "5"}),
        reply({"question": MATH["question"], "rationale": MATH["answer"], "answer": "5"}),
        reply({"sample": MATH}),
        reply(MATH | {"final": 5.0}),
        reply(MATH | {"final": "\\boxed{5} pots"}),
        reply(MATH | {"answer": [MATH["answer"]]}),
        reply({"question": MATH["question"], "answer": MATH["answer"] + "\n#### 5"}),
        reply({"question": MATH["question"], "answer": MATH["answer"] + "\n\\boxed{5}"}),
        json.dumps({"diagnosis": "It guesses.", "samples": json.dumps([MATH])}),
        json.dumps({"diagnosis": "It guesses.", "samples": [[MATH]]}),
        json.dumps({"diagnosis": "It guesses.", "1": MATH}),
        json.dumps({"diagnosis": "It guesses.", "practice_problems": [MATH]}),
        reply({"q": MATH["question"], "a": MATH["answer"], "final": "5"}),
        reply(MATH | {"answer": [{"step": 1, "text": MATH["answer"]}]}),
        reply(MATH | {"question": {"text": MATH["question"]}}),
        reply({"id": 1, "sample": MATH, "difficulty": "easy"}),
        *(
            reply({asked: MATH["question"], said: MATH["answer"], "final": "5"})
            for asked, said in (("problem_statement", "solution_steps"), ("user", "assistant"))
        ),
        f"<tool_call>\n{json.dumps({'name': 'lessons', 'arguments': json.loads(reply(MATH))})}\n</tool_call>",
    ],
)
def test_json_of_another_shape_or_with_slips_loses_no_sample(text: str) -> None:
    assert structured.samples(text, "math") == structured.samples(reply(MATH), "math")
    assert structured.diagnosis(text) == "It guesses."


OPTIONS = CHOICE["options"]


@pytest.mark.parametrize(
    "change",
    [
        {"letter": CHOICE["letter"].lower()},
        {"letter": f"({CHOICE['letter']}) is right"},
        {"options": list(OPTIONS.values())},
        {"options": [{"label": label, "text": text} for label, text in OPTIONS.items()]},
        {"letter": "Option B"},
        {"letter": "Iron"},
        {"options": {f"({key.lower()})": f"{key}. {text}" for key, text in OPTIONS.items()}},
        {"options": {f"option_{key.lower()}": text for key, text in OPTIONS.items()}},
        {"options": {str(at): text for at, text in enumerate(OPTIONS.values(), 1)}},
        *({"options": sign.join(f"{key}. {text}" for key, text in OPTIONS.items())} for sign in (", ", "; ", " ")),
        *({"letter": said} for said in ("iron.", "The answer is B", "Answer: B", "\\boxed{B}", "choice B")),
        {"question": "\n".join([CHOICE["question"], *(f"{key}. {text}" for key, text in OPTIONS.items())])},
    ],
)
def test_options_and_letters_in_other_forms_lose_no_sample(change: dict[str, Any]) -> None:
    assert structured.samples(reply(CHOICE | change), "choice") == structured.samples(reply(CHOICE), "choice")
    renamed = {"question": CHOICE["question"], "choices": OPTIONS, "correct_answer": CHOICE["letter"]}
    renamed["explanation"] = CHOICE["why"]
    assert structured.samples(reply(renamed), "choice") == structured.samples(reply(CHOICE), "choice")
    renamed["answer_key"], renamed["answer_options"] = renamed.pop("correct_answer"), renamed.pop("choices")
    assert structured.samples(reply(renamed), "choice") == structured.samples(reply(CHOICE), "choice")


@pytest.mark.parametrize("text", [json.dumps([MATH, CHOICE]), f"Here:\n{json.dumps(MATH)}\n{json.dumps(CHOICE)}"])
def test_samples_alone_are_read_each_by_itself(text: str) -> None:
    good, bad = structured.samples(text, "math")
    assert good == structured.samples(reply(MATH), "math")[0] and bad[2] == "answer: field required"


@pytest.mark.parametrize(
    "text",
    [
        '{"diagnosis": "d", "samples": [A], "samples": [B]}',
        '{"diagnosis": "d", "sample": A, "sample": B}',
        '{"diagnosis": "d", "samples": {"sample": A, "sample": B}}',
    ],
)
def test_of_a_key_given_twice_all_samples_are_read(text: str) -> None:
    other = MATH | {"question": "Another?"}
    read = structured.samples(text.replace("A", json.dumps(MATH)).replace("B", json.dumps(other)), "math")
    assert read == structured.samples(reply(MATH, other), "math")


def test_of_two_texts_under_one_key_neither_is_taught() -> None:
    twice = json.dumps(MATH).replace('"final":', '"final": "99", "final":')
    assert structured.samples(f'{{"diagnosis": "d", "samples": [{twice}]}}', "math")[0][2].startswith("final: ")
    same = json.dumps(MATH).replace('"final":', f'"final": {json.dumps(MATH["final"])}, "final":')
    assert structured.samples(f'{{"diagnosis": "d", "samples": [{same}]}}', "math")[0][2] == ""


def test_a_backslash_that_json_does_not_know_costs_nothing() -> None:
    text = reply(MATH | {"answer": "It is PRICE.\n3 + 2 = 5"}).replace("PRICE", "\\$5")
    assert structured.samples(text, "math")[0][1] == "It is \\$5.\n3 + 2 = 5\n#### 5"


def test_many_openings_take_no_time() -> None:
    for text in ('{"' * 10_000, '[{"a": ' * 10_000, '{"diagnosis": "x", ' * 5_000, "{'a': [" * 5_000 + "]"):
        start = time.process_time()
        assert structured.samples(text, "math") == []
        assert time.process_time() - start < 5


ASKED = "Ann has 4 pots and buys 2. How many?"


@pytest.mark.parametrize(
    "form",
    [
        "Q: {q}\nA: {a}\n#### 6\n\nQ: {q}\nAnswer: {a}\n#### 6",
        "**Q1:** {q}\n\n**A1:** {a}\n#### 6\n\n**Q2:** {q}\n\n**A2:** {a}\n#### 6",
        "### Question 1\n{q}\n\n### Answer 1\n{a}\n#### 6\n\n## Question\n{q}\n\n## Answer\n{a}\n#### 6",
        "User: {q}\nAssistant: {a}\n#### 6\n\n问题：{q}\n答案：{a}\n#### 6",
        "<samples><sample><question>{q}</question><answer>{a}</answer><final>6</final></sample>\n"
        "<sample>\n<question>\n{q}\n</question>\n<answer>\n{a}\n#### 6\n</answer>\n</sample></samples>",
        "```yaml\ndiagnosis: d\nsamples:\n"
        + '  - question: "{q}"\n    answer: |\n      {a}\n    final: 6\n' * 2
        + "```",
        "["
        + ", ".join(['{{"input": "{q}", "completion": "{a} #### 6"}}', '{{"query": "{q}", "output": "{a} #### 6"}}'])
        + "]",
        '{{"instruction": "{q}", "output": "{a} #### 6"}}\n{{"prompt": "{q}", "completion": "{a} #### 6"}}',
    ],
)
def test_labels_tags_and_names_of_other_makes_lose_no_sample(form: str) -> None:
    found = structured.parse(form.format(q=ASKED, a="4 + 2 = 6"), "math")
    assert [(question, answer.split()[-1]) for question, answer in found] == [(ASKED, "6")] * 2


def test_an_option_a_is_no_answer() -> None:
    reply = "Question: What melts ice?\nA: heat\nB: cold\nC: wind\nd) dark\nCorrect answer: A. Heat melts it."
    ((question, answer),) = structured.parse(reply, "choice")
    assert question.endswith("A. heat\nB. cold\nC. wind\nD. dark") and answer.endswith("The answer is A.")


PAIR = [
    ("Ann has 3 pots and buys 2. How many?", "3 + 2 = 5 pots", "5"),
    ("Bob has 9 pens and loses 4. How many?", "9 - 4 = 5 pens", "5"),
]
ENDED = [(question, f"{steps}\n#### {final}") for question, steps, final in PAIR]
BOTH = [{"question": question, "answer": steps, "final": final} for question, steps, final in PAIR]


@pytest.mark.parametrize(
    "reply",
    [
        "| # | Question | Solution | Final answer |\n|:-:|---|---|--:|\n"
        + "\n".join(f"| {n} | {' | '.join(row)} |" for n, row in enumerate(PAIR)),
        "| Question | Answer |\n|---|---|\n" + "\n".join(f"| {q} | {a}<br>#### {f} |" for q, a, f in PAIR),
        "```csv\nquestion,answer,final\n" + "\n".join(f'"{q}","{a}",{f}' for q, a, f in PAIR) + "\n```",
        "question\tanswer\tfinal\n" + "\n".join("\t".join(row) for row in PAIR),
        json.dumps([{"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]} for q, a in ENDED]),
        "\n".join(
            json.dumps({"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]})
            for q, a in ENDED
        ),
        json.dumps({f"{name}s": [sample[name] for sample in BOTH] for name in BOTH[0]}),
        json.dumps({f"{name}_{n}": sample[name] for n, sample in enumerate(BOTH) for name in sample}),
        "Question | Answer | Final\n---|:-:|---\n" + "\n".join(" | ".join(row) for row in PAIR),
        "\n\n".join(f"### Question\n\n{q}\n\n### Answer\n\n{a}\n\n### Final\n\n{f}" for q, a, f in PAIR),
        "\n\n".join(f"> **Question:** {q}\n>\n> **Answer:** {a}\n>\n> #### {f}" for q, a, f in PAIR),
        "".join(f"<question><![CDATA[{q}]]></question><answer><![CDATA[{a}]]></answer><final>{f}</final>"
                for q, a, f in PAIR),
        json.dumps({"question": [q for q, _, _ in PAIR], "answer": [a for _, a, _ in PAIR], "final": ["5", "5"]}),
        json.dumps([{"newQuestion": q, "chain_of_thought": a, "finalAnswer": f} for q, a, f in PAIR]),
        json.dumps([{"question": q, "answer": {"explanation": a, "value": int(f)}} for q, a, f in PAIR]),
        json.dumps({"errors": [{"diagnosis": "x", "samples": [sample]} for sample in BOTH]}),
        "\n".join(f'- question: "{q}"\n  answer: "{a}"\n  final: {f}' for q, a, f in PAIR),
        "".join(f'<question id="1">{q}</question><solution>{a}</solution><final_answer>{f}</final_answer>'
                for q, a, f in PAIR),
        "```xml\n" + "".join(f"<question>\n{q}\n</question>\n<answer>\n{a}\n</answer>\n" for q, a in ENDED) + "```",
        "\n\n".join(f"{n}. {q}\nAnswer: {a}" for n, (q, a) in enumerate(ENDED, 1)),
        "\n\n".join(f"❓ Question: {q}\n✅ Answer: {a}\nFinal: {f}" for q, a, f in PAIR),
        "\n".join(f"Вопрос: {q}\nОтвет: {a}" for q, a in ENDED),
        "\n".join(f"質問：{q}\n回答：{a}" for q, a in ENDED),
        "\n\n".join(f"[Question]\n{q}\n[Answer]\n{a}" for q, a in ENDED),
        "\n\n".join(f"Question\n--------\n{q}\n\nAnswer\n------\n{a}" for q, a in ENDED),
        "".join(f'<question>{q}</question><reasoning>{a}</reasoning><final_number>{f}</final_number>'
                for q, a, f in PAIR),
        "\n\n".join(f"**Practice Problem {n}:** {q}\n**Step-by-Step Solution:** {a}\n**Final number:** {f}"
                    for n, (q, a, f) in enumerate(PAIR, 1)),
        "\n\n".join(f"Problem: {q}\nSolution: {a}\nAnswer: {f}" for q, a, f in PAIR)
        + "\n\nThese two problems target the weakness in step 2.",
        "\n\n".join(f"Problem: {q}\nSolution: {a}\nAnswer: {f}" for q, a, f in PAIR) + "\n\nGood luck!",
    ],
)  # fmt: skip
def test_forms_that_no_schema_asked_for(reply: str) -> None:
    assert structured.parse(reply, "math") == ENDED


def test_latex_whose_backslash_json_takes_for_a_sign_is_taught_as_latex() -> None:
    text = reply(MATH | {"answer": "SLASHfrac{6}{2} SLASHtimes 1SLASHnext"}).replace("SLASH", "\\")
    assert structured.samples(text, "math")[0][1] == "\\frac{6}{2} \\times 1\next\n#### 5"
    code = reply(CODE | {"answer": "def twice(n: int) -> int:\n\te = 2\ne = 2\n\ttext = 3\n\treturn e * n"})
    assert structured._object(code)["samples"][0]["answer"] == json.loads(code)["samples"][0]["answer"]  # type: ignore[index]


def test_half_a_surrogate_pair_inside_json_costs_no_sample() -> None:
    told = {"diagnosis": "It \U0001f600 guesses \ud83d.", "samples": [MATH]}
    reply = json.dumps(told).replace("pots", r"pots \udc00")
    assert structured.diagnosis(reply) == "It \U0001f600 guesses \ufffd."
    ((question, _),) = structured.parse(reply, "math")
    assert question == "Ann has 3 pots \ufffd and buys 2. How many?"


def test_a_task_and_what_it_is_about_are_one_question() -> None:
    text = reply({"instruction": "Solve it.", "input": MATH["question"], "output": "3 + 2 = 5\n#### 5"})
    assert structured.parse(text, "math") == [(f"Solve it.\n{MATH['question']}", "3 + 2 = 5\n#### 5")]


def test_a_quote_inside_a_text_costs_no_sample_behind_it() -> None:
    slip = reply(*BOTH).replace("3 pots", '3 "clay" pots')
    assert [question for question, _ in structured.parse(slip, "math")] == [
        'Ann has 3 "clay" pots and buys 2. How many?',
        PAIR[1][0],
    ]


@pytest.mark.parametrize(
    "reply",
    [
        json.dumps([{"q": "Which?", "A": "tin", "B": "air", "C": "tea", "D": "ink", "answer": "B", "why": "Gas."}]),
        json.dumps([{"question": "Which?\nA) tin\nB) air\nC) tea\nD) ink", "letter": "B", "why": "Gas."}]),
        "| Question | A | B | C | D | Answer | Why |\n|-|-|-|-|-|-|-|\n| Which? | tin | air | tea | ink | B | Gas. |",
        "Question: Which? (A) tin (B) air (C) tea (D) ink\nAnswer: B. Gas.",
        "Question: Which?\nA. tin B. air C. tea D. ink\nAnswer: B. Gas.",
        "Question: Which?\nA. tin\nB. air\nC. tea\nD. ink\nExplanation: Gas.\nAnswer: B",
        "Question: Which?\nA. tin\nB. air\nC. tea\nD. ink\nAnswer: Gas. The answer is B.",
        "Question: Which?\nOptions:\nA. tin\nB. air \u2705\nC. tea\nD. ink\nAnswer: B. Gas.",
        "<question>Which?</question><options>A. tin\nB. air\nC. tea\nD. ink</options>"
        "<answer>B</answer><explanation>Gas.</explanation>",
        json.dumps([{"question": "Which?\nA. tin\nB. air\nC. tea\nD. ink", "answer": "B", "explanation": "Gas."}]),
    ],
)  # fmt: skip
def test_options_beside_one_another_and_letters_behind_their_reason(reply: str) -> None:
    assert structured.parse(reply, "choice") == [("Which?\nA. tin\nB. air\nC. tea\nD. ink", "Gas.\n\nThe answer is B.")]


def test_tests_behind_a_function_are_not_the_lesson() -> None:
    behind = f"{TEXT['code']}\nTests:\n```python\nassert twice(2) == 4\n```"
    assert structured.parse(behind, "code") == structured.parse(TEXT["code"], "code")
    commented = f"Question: Write twice.\nAnswer:\n# doubles\n{CODE['answer']}"
    assert "# doubles" in structured.parse(commented, "code")[0][1]


@pytest.mark.parametrize("sign", ["\n", "❓", "#"])
def test_a_row_of_signs_costs_no_time(sign: str) -> None:
    started = time.process_time()
    assert structured.samples(sign * 16_000, "math") == []
    assert time.process_time() - started < 2
