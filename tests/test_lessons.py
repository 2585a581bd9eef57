"""Lessons: what is read from replies, what is refused and why, and what a training set is mixed from."""

import importlib
import itertools
import json
import random
import sys
from types import ModuleType

import pytest

from laif_helpers import benchmarks, lessons, paths
from laif_helpers.benchmarks import practice
from laif_helpers.lessons import checks as lesson_checks
from laif_helpers.lessons.equations import equations, unknowns
from laif_helpers.lessons.structured import samples
from laif_helpers.lessons.text import as_stub, normalise, numbers, words
from laif_helpers.records import Lesson

PRACTICE = benchmarks.get("practice")


def lesson(question: str, response: str = "1 + 1 = 2\n#### 2", benchmark: str = "practice", **more: object) -> Lesson:
    values = {
        "id": f"le1-{abs(hash(question))}",
        "source_ids": ["e1"],
        "arm": "le",
        "iteration": 1,
        "instructor": "scripted",
        "request_key": "k",
    }
    return Lesson(benchmark=benchmark, question=question, response=response, **(values | more))  # type: ignore[arg-type]


# -- parse

MATH_FORMS = {
    "plain": "Diagnosis: It adds.\n\nSample 1:\nQuestion: Two and three?\nAnswer: 2 + 3 = 5\n#### 5\n\n"
    "Sample 2:\nQuestion: Four and four?\nAnswer: 4 + 4 = 8\n#### 8",
    "bold": "**Diagnosis:** It adds.\n\n**Sample 1:**\n**Question:** Two and three?\n**Answer:** 2 + 3 = 5\n"
    "**#### 5**\n\n**Sample 2:**\n**Question:** Four and four?\n**Answer:** 4 + 4 = 8\n#### **8**",
    "headings": "### Sample 1\n#### Question:\nTwo and three?\n#### Answer:\n2 + 3 = 5\n#### 5\n---\n### Sample 2\n"
    "#### Question:\nFour and four?\n#### Answer:\n4 + 4 = 8\n#### 8",
    "numbered": "1. Question: Two and three?\n   Answer: 2 + 3 = 5\n#### 5\n2. Question: Four and four?\n"
    "   Answer: 4 + 4 = 8\n#### 8",
    "question n": "Question 1: Two and three?\nSolution 1: 2 + 3 = 5\nThe answer is 5.\n\nQuestion 2: Four and four?\n"
    "Solution 2: 4 + 4 = 8\nFinal answer: 8",
    "bold lines": "### Problem 1\n**Question**\nTwo and three?\n\n**Answer**\n2 + 3 = 5\n#### 5\n\n### Problem 2\n"
    "**Question**\nFour and four?\n\n**Answer**\n4 + 4 = 8\n\\boxed{8}",
    "boxed steps": "Question: Two and three?\nAnswer: 2 + 3 = \\boxed{5}\n\nQuestion: Four and four?\n"
    "Answer: 4 + 4 = 8\nSo it is \\boxed{8}",
    "windows": "Sample 1:\r\nQuestion: Two and three?\r\nAnswer: 2 + 3 = 5\r\n#### 5\r\n\r\nSample 2:\r\n"
    "Question: Four and four?\r\nAnswer: 4 + 4 = 8\r\n#### 8\r\n",
}


@pytest.mark.parametrize("form", MATH_FORMS)
def test_every_form_of_a_reply_gives_the_same_lessons(form: str) -> None:
    assert lessons.parse(MATH_FORMS[form], "math") == [
        ("Two and three?", "2 + 3 = 5\n#### 5"),
        ("Four and four?", "4 + 4 = 8\n#### 8"),
    ]


@pytest.mark.parametrize("written", ["-5", "3.5", "1,234", "$1,234.50", "−5", "0", ".5"])
def test_final_numbers_survive(written: str) -> None:
    ((_, response),) = lessons.parse(f"Sample 1:\nQuestion: How much?\nAnswer: So it is.\n#### {written}", "math")
    assert response.splitlines()[-1] == "#### " + written.replace("$", "").replace("−", "-")


def test_multi_line_question_and_a_product_sign_survive() -> None:
    ((question, response),) = lessons.parse("Question: First.\nSecond 2*3?\nAnswer: 2*3 = 6\n#### 6", "math")
    assert (question, response) == ("First.\nSecond 2*3?", "2*3 = 6\n#### 6")


def test_choice_options_and_letter() -> None:
    text = (
        "Sample 1:\nQuestion: Which is a metal?\n(A) Oxygen\n(B) Iron,\nthe element\nC) Neon\n**D.** Argon\n"
        "**Answer:** (B) - iron conducts."
    )
    ((question, response),) = lessons.parse(text, "choice")
    assert question == "Which is a metal?\nA. Oxygen\nB. Iron, the element\nC. Neon\nD. Argon"
    assert response == "iron conducts.\n\nThe answer is B."
    assert not lesson_checks.check_choice(question, response)


STUB = 'def double(n: int) -> int:\n    """ Twice n.\n    >>> double(2)\n    4\n    """\n'
CODE = "def double(n: int) -> int:\n    return 2 * n"


def test_code_with_stub_or_words() -> None:
    fenced = f"Sample 1:\nQuestion:\n```python\n{STUB}```\nAnswer:\n```python\n{CODE}\n```"
    ((question, response),) = lessons.parse(fenced, "code")
    assert question == STUB
    assert response == f"```python\n{CODE}\n```"
    ((question, response),) = lessons.parse(f"Question: Twice a number.\n```python\n{CODE}\n```", "code")
    assert question == 'def double(n: int) -> int:\n    """ Twice a number.\n    """\n'
    assert as_stub("words", "no code (") == as_stub("words", "n = 1") == "words"


def test_labels_inside_code_are_no_samples() -> None:
    code = 'def f():\n    """\n    Question: not one\n    Answer: nor this\n    """\n    return 1'
    reply = f"Question:\n```python\ndef f():\n    ...\n```\nAnswer:\n```python\n{code}\n```"
    assert len(lessons.parse(reply, "code")) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "empty reply"),
        ("I cannot help with that.", "no sample"),
        ("Sample 1:\nQuestion: Two and three?\nAnswer: five", "no final number"),
        ("Sample 1:\nQuestion: Two and three?", "without an answer"),
    ],
)
def test_what_cannot_be_read_keeps_its_text_and_says_why(text: str, sentence: str) -> None:
    (each,) = lessons.from_reply(text, Lesson("", "practice", "", "", ["e1"], "le", 1, "x", "abc"))
    assert (each.status, each.source_ids, each.request_key) == ("unparsable", ["e1"], "abc")
    assert sentence in each.reason
    assert each.response in text


def test_a_cut_reply_loses_only_its_last_sample() -> None:
    reply = MATH_FORMS["plain"] + "\n\nSample 3:\nQuestion: Five and"
    found = samples(reply, "math")
    assert [bool(problem) for *_, problem in found] == [False, False, True]
    assert lessons.diagnosis(reply) == "It adds."


def test_unknown_family_is_refused() -> None:
    with pytest.raises(ValueError, match="family 'text'"):
        lessons.parse("Question: a", "text")


# -- verify

RIGHT = [
    "6 * 4 = 24\n#### 24",
    "She has 6 * 4 = 24 eggs.\nShe sells 24 - 3 = 21 eggs.\n#### 21",
    "It costs $1,200 + $34.50 = $1,234.50.\n#### 1,234.50",
    "20 * 50% = 10\n#### 10",
    "100% - 30% = 70%\n#### 70",
    "10 / 3 = 3.33\n#### 3.33",
    "5 apples + 3 apples = 8 apples\n#### 8",
    "2 * (3 + 4) = 2 * 7 = 14\n#### 14",
    "1. First, 3 x 4 = 12\n2. Then 12 ÷ 2 = 6\n#### 6",
    "- 7 + 1 = 8\n#### 8",
    "4 - 9 = -5\n#### -5",
    "1 1/2 * 4 = 6\n#### 6",
    "6 / 1/3 = 18\n#### 18",
    "1 dozen = 12\n12 * 2 = 24\n#### 24",
    "48/2 = <<48/2=24>>24 clips\n#### 24",
    "2 times 3 equals 6\n#### 6",
    "$30/day - $2/day = $28/day\n#### 28",
    "He pays 6*5=$30 a year.\nThat is 30*2=60kg\n#### 60",
    "1260/700=1.8Mb per minute\n#### 1.8",
    "Let x be 5, so x = 5. Then 5 + 1 = 6\n#### 6",
]
WRONG = {
    "6 * 4 = 25\n#### 25": "6 * 4 = 25",
    "6 * 4 = 24\n24 - 3 = 20\n#### 20": "24 - 3 = 20",
    "6 * 4 = 24\n#### 25": "not the last value",
    "2 * 7 = 12 + 2 = 15\n#### 15": "= 15",
    "She has 24.\n#### 24": "no equation",
    "x = 24\n#### 24": "no equation",
    "6 * 4 = 24": "no final number",
    "6 / 0 = 6\n#### 6": "6 / 0",
    "48/2 = <<48/2=25>>24\n#### 24": "48/2 = 25",
    "10 / 3 = 3\n#### 3": "10 / 3",
    "$30/day - $2/day = $27/day\n#### 27": "30 - 2 = 27",
    "1260/700=1.9Mb per minute\n#### 1.9": "1260 / 700 = 1.9",
    "2x + 4 = 10\n3x = 9\n#### 3": "no equation",
    "9 ^ 999999999 = 1\n#### 1": "9 ^ 999999999",
}


@pytest.mark.parametrize("response", RIGHT)
def test_right_sums_hold(response: str) -> None:
    assert lesson_checks.check_math(response) == ""


@pytest.mark.parametrize("response", WRONG)
def test_wrong_sums_are_named(response: str) -> None:
    assert WRONG[response] in lesson_checks.check_math(response)


def test_every_gold_rationale_of_the_practice_world_holds() -> None:
    items = PRACTICE.load("train") + benchmarks.get("practice_plus").load("test")
    problems = {e.id: lesson_checks.check_math(str(PRACTICE.gold_response(e))) for e in items}
    assert not {id: problem for id, problem in problems.items() if problem}


def test_planted_mistakes_in_the_practice_world_are_found() -> None:
    rng, missed = random.Random(0), []
    for example in PRACTICE.load("train")[:500]:
        gold = str(PRACTICE.gold_response(example))
        at = rng.choice([i for i, char in enumerate(gold) if char.isdigit() and "####" not in gold[:i]])
        spoilt = gold[:at] + str((int(gold[at]) + rng.randint(1, 9)) % 10) + gold[at + 1 :]
        missed += [spoilt] if not lesson_checks.check_math(spoilt) else []
    assert len(missed) <= 10, missed[:3]


@pytest.mark.real
def test_most_gold_rationales_of_gsm8k_hold() -> None:
    path = next(
        (d / "gsm8k" / "train.jsonl" for d in paths.data_dirs() if (d / "gsm8k" / "train.jsonl").exists()), None
    )
    if path is None:
        pytest.skip("GSM8K is not here: set LAIF_DATA to a folder that holds gsm8k/train.jsonl")
    answers = [json.loads(line)["answer"] for line in path.read_text(encoding="utf-8").splitlines()[:1500]]
    assert sum(not lesson_checks.check_math(answer) for answer in answers) >= 0.95 * len(answers)


def test_choices_are_looked_up() -> None:
    four = "Which?\nA. one\nB. two\nC. three\nD. four"
    assert lesson_checks.check_choice(four, "Because.\n\nThe answer is D.") == ""
    assert "'E'" in lesson_checks.check_choice(four, "The answer is E.")
    assert "same" in lesson_checks.check_choice("Which?\nA. one\nB. One.", "The answer is A.")
    assert "lettered" in lesson_checks.check_choice("Which?\nA. one\nC. two", "The answer is A.")
    assert "needs two" in lesson_checks.check_choice("Which?\nA. one", "The answer is A.")


def test_code_is_run_on_its_examples() -> None:
    assert lesson_checks.check_code(STUB, f"```python\n{CODE}\n```") == ""
    wrong = lesson_checks.check_code(STUB, f"```python\n{CODE.replace('2', '3')}\n```")
    assert "failed" in wrong and "1 of 1" in wrong
    assert "asked for was double" in lesson_checks.check_code(STUB, "```python\ndef triple(n):\n    return 3 * n\n```")
    assert "parse" in lesson_checks.check_code(STUB, "```python\ndef double(n:\n```")
    quits = "```python\nimport os\ndef double(n):\n    os._exit(0)\n```"
    assert "run on its examples" in lesson_checks.check_code(STUB, quits)


# -- duplicates and contamination


def test_equal_and_nearly_equal_questions_are_duplicates_other_numbers_are_not() -> None:
    long = "Mia has 3 boxes with 12 pens in every box and gives 5 of the pens to her brother Tom. How many are left?"
    candidates = [
        lesson(long),
        lesson(long.upper()),
        lesson(long.replace("left?", "left now?")),
        lesson(long.replace("12", "13")),
        lesson("Ann has 12 cows, 5 pigs and 3 dogs. How many animals are there?"),
        lesson(long.replace("3 boxes", "5 boxes").replace("gives 5", "gives 3")),
    ]
    checked = lessons.deduplicate(candidates)
    assert [each.status for each in checked] == ["kept", "duplicate", "duplicate", "kept", "kept", "kept"]
    assert "same question" in checked[1].reason and "nearly" in checked[2].reason


def test_test_questions_are_quarantined() -> None:
    test = PRACTICE.load("test")[7]
    text = PRACTICE.question_text(test)
    name = text.split()[0]
    copies = [text, f"  {text.lower()} ", f"{text} Think well before you answer."]
    candidates = [lesson(copy) for copy in copies] + [
        lesson("Zed stacks 4 dozen plates and breaks 9. How many stay whole?")
    ]
    index = lessons.TestIndex.of([("practice:" + test.id, text)])
    checked = lessons.decontaminate(candidates, index)
    assert [each.status for each in checked] == ["contaminated"] * 3 + ["kept"]
    assert test.id in checked[0].reason
    new_number = next(token for token in text.split() if token.isdigit())
    assert lessons.decontaminate([lesson(text.replace(new_number, "987"))], index)[0].status == "kept", name


LONG = (
    "Mia and her brother Tom pack pens for the school fair on Monday morning before the first bell rings. Mia has 3 "
    "boxes with 12 pens in every box, and she gives 5 of the pens to Tom, who puts them into a green bag. How many "
    "pens are left in the boxes of Mia when all of the bags are closed?"
)


def test_one_other_number_makes_another_question_however_long_the_rest_is() -> None:
    other = LONG.replace("12 pens", "13 pens")
    triples = [{tuple(tokens[i : i + 3]) for i in range(len(tokens) - 2)} for tokens in map(words, (LONG, other))]
    assert len(triples[0] & triples[1]) / len(triples[0] | triples[1]) > 0.8, "by its words alone it is a repetition"
    assert [each.status for each in lessons.deduplicate([lesson(LONG), lesson(other)])] == ["kept", "kept"]
    reworded = LONG.replace("green bag", "blue bag")
    assert [each.status for each in lessons.deduplicate([lesson(LONG), lesson(reworded)])] == ["kept", "duplicate"]


@pytest.mark.parametrize("other", [LONG, LONG.replace("green bag", "blue bag")])
def test_a_question_may_serve_two_benchmarks_whose_prompts_differ(other: str) -> None:
    checked = lessons.deduplicate([lesson(LONG), lesson(other, benchmark="gsm8k")])
    assert [each.status for each in checked] == ["kept", "kept"]


@pytest.mark.parametrize(
    ("shared", "benchmark", "status"),
    [(7, "practice", "kept"), (8, "practice", "contaminated"), (12, "mmlu", "kept"), (13, "mmlu", "contaminated")],
)
def test_so_many_words_in_a_row_on_the_same_numbers_are_a_copy(shared: int, benchmark: str, status: str) -> None:
    test = "In a garden of 7 rows every row holds 9 old pear trees that bear fruit in autumn"
    others = ["green", "hats", "walk", "over", "silent", "bridges", "while", "nobody", "counts", "them", "today"]
    copy = " ".join([*test.split()[:shared], *others])
    copy += f" {' '.join(number for number in ('7', '9') if number not in copy.split())}"
    index = lessons.TestIndex.of([(f"{benchmark}:t", test)])
    assert lessons.decontaminate([lesson(copy, benchmark=benchmark)], index)[0].status == status


@pytest.mark.parametrize("text", ["7 + 9 = ?", "Why?", LONG])
def test_an_equal_text_is_a_copy_however_short(text: str) -> None:
    index = lessons.TestIndex.of([("practice:t", text)])
    assert lessons.decontaminate([lesson(f" {text.upper()}")], index)[0].status == "contaminated"


def test_the_recipes_similarity_decides_what_counts_as_the_same_in_other_words() -> None:
    asked = "How many pens stay in the boxes of Mia, if she has 3 boxes of 12 pens and hands 5 pens to Tom?"
    (found,) = lessons.TestIndex.of([("practice:t", LONG)], threshold=0.01).reworded.closest([asked], "math")
    cosine = found[1]
    assert 0.05 < cosine < 0.79

    def status(threshold: float, question: str = asked) -> str:
        index = lessons.TestIndex.of([("practice:t", LONG)], threshold=threshold)
        return lessons.decontaminate([lesson(question)], index)[0].status

    assert status(cosine - 0.01) == "contaminated" and status(cosine + 0.01) == "kept"
    assert status(0) == "kept", "TF-IDF judges only by a threshold of the recipe's"
    assert status(cosine - 0.01, asked.replace("12", "14")) == "kept", "on other numbers it is another problem"


def test_a_lesson_too_long_for_training_is_refused_by_the_checks() -> None:
    long = lesson(LONG, "2 + 2 = 4 pens.\n" * 30 + "#### 4")
    index = lessons.TestIndex.of([])
    assert [each.status for each in lessons.check([long], index, max_length=64)] == ["too_long"]
    assert [each.status for each in lessons.check([long], index, max_length=512)] == ["kept"]


@pytest.mark.parametrize(
    ("budget", "fraction", "parts"),
    [
        (10, 0.25, (8, 2)),
        (3, 0.5, (1, 2)),
        (600, 0.25, (450, 150)),
        (7, 0.0, (7, 0)),
        (16, 0.99, (1, 15)),
        (1, 0.9, (1, 0)),
    ],
)
def test_a_budget_is_shared_to_the_nearest_whole_item(budget: int, fraction: float, parts: tuple[int, int]) -> None:
    assert lessons.shares(budget, fraction) == parts


def test_a_gold_lesson_that_a_test_split_holds_too_is_never_kept() -> None:
    train = PRACTICE.load("train")[:12]
    tests = [(f"practice:{example.id}", PRACTICE.question_text(example)) for example in train[:5]]
    candidates = lessons.gold_lessons({"practice": train}, tests, 7, seed=0)
    kept_ids = {each.source_ids[0] for each in candidates if each.status == "kept"}
    assert kept_ids == {example.id for example in train[5:]}
    assert {each.status for each in candidates} == {"kept", "contaminated"}
    assert (
        len([each for each in lessons.gold_lessons({"practice": train}, [], 7, seed=0) if each.status == "kept"]) == 7
    )


def test_length_and_number_needed() -> None:
    candidates = [lesson(f"Question {i} on {i}?", source_ids=[f"e{i % 5}"], id=f"l{i}") for i in range(20)]
    checked = lessons.sample(candidates, 10, seed=1)
    kept = [each for each in checked if each.status == "kept"]
    assert len(kept) == 10
    assert sorted(each.source_ids[0] for each in kept) == sorted(2 * [f"e{i}" for i in range(5)])
    assert checked == lessons.sample(candidates, 10, seed=1) != lessons.sample(candidates, 10, seed=2)
    assert lessons.fit([lesson("long " * 100)], 100)[0].status == "too_long"


def test_the_funnel_counts_every_loss_once() -> None:
    statuses = ["kept"] * 3 + list(lessons.STATUSES[1:])
    candidates = [lesson(f"q{i}", status=status) for i, status in enumerate(statuses)]
    assert lessons.funnel(candidates, 12) == {
        "requested": 12, "returned": 9, "parsed": 8, "verified": 7, "unique": 6, "clean": 4, "kept": 3,
    }  # fmt: skip


def test_words_and_numbers() -> None:
    assert normalise("  Has SHE\n1,234 eggs? ") == "has she 1,234 eggs"
    assert numbers(words("1,234 eggs, 3.5 l and 3 pans")) == ("1234", "3", "3.5")


def test_cost_grows_with_the_number_of_lessons() -> None:
    """Twice the lessons, about twice the calls of functions (quadratic work would be four times)."""
    rng = random.Random(0)
    index = lessons.TestIndex.of([("t", PRACTICE.question_text(e)) for e in PRACTICE.load("test")])
    drawn = [practice.draw(rng) for _ in range(1000)]
    candidates = [
        lesson(problem.question, f"{problem.rationale}\n#### 0", id=str(i)) for i, problem in enumerate(drawn)
    ]

    def calls(n: int) -> int:
        counted = itertools.count()
        sys.setprofile(lambda frame, event, argument: next(counted) and None)
        try:
            lessons.decontaminate(lessons.deduplicate(lessons.sample(candidates[:n], n, 0)), index)
        finally:
            sys.setprofile(None)
        return next(counted)

    calls(100)  # what is computed once
    small, large = calls(500), calls(1000)
    assert 500 < small < large < 2.5 * small


# -- the training set


def kept(n: int) -> list[Lesson]:
    return [lesson(f"Lesson number {i} of many?", id=f"l{i}") for i in range(n)]


def test_every_arm_gets_the_same_mix() -> None:
    train = PRACTICE.load("train")
    gold = lessons.from_gold(train, "practice", 30, seed=0)
    for chosen in (kept(50), gold):
        rows = lessons.mix(chosen, train, budget=40, replay_fraction=0.25, seed=0)
        assert [sum(row["source"] == source for row in rows) for source in ("replay",)] == [10]
        assert len(rows) == 40
        assert not lessons.shortfalls(rows, 40, 0.25)
        assert all(row["messages"][-1]["role"] == "assistant" and row["weight"] == 1.0 for row in rows)
        prompts = [row["messages"][-2]["content"] for row in rows]
        assert len(set(prompts)) == 40
    assert rows == lessons.mix(gold, train, budget=40, replay_fraction=0.25, seed=0)


@pytest.mark.parametrize("name", ["word_sorting", "multistep_arithmetic", "date_understanding", "logical_deduction"])
def test_tasks_with_step_verifiers_have_gold_lessons_and_lose_copies_of_test_questions(name: str) -> None:
    bench = benchmarks.get(name)
    train, tests = bench.load("train", limit=30), bench.load("test", limit=1)
    found = lessons.gold_lessons({name: [*train, tests[0]]}, [(name, tests[0].question)], 31, seed=0)
    status = {lesson.question == tests[0].question: lesson.status for lesson in found}
    assert status == {False: "kept", True: "contaminated"} and len(found) == 31


def test_gold_lessons_are_graded_right_and_training_text_equals_the_evaluation_prompt() -> None:
    train = {e.id: e for e in PRACTICE.load("train")}
    (each,) = lessons.from_gold(list(train.values()), "practice", 1, seed=3, iteration=2)
    example = train[each.source_ids[0]]
    assert PRACTICE.grade(example, each.response).correct
    (row,) = lessons.mix([each], [], budget=1, replay_fraction=0, seed=0)
    assert row["source"] == "gold" and row["messages"][:-1] == PRACTICE.messages(example)


def test_too_few_lessons_are_told_or_refused() -> None:
    rows = lessons.mix(kept(5), PRACTICE.load("train")[:3], budget=40, replay_fraction=0.25, seed=0)
    assert len(rows) == 8
    lacking = lessons.shortfalls(rows, 40, 0.25)
    assert len(lacking) == 2 and "5 lessons of the 30" in lacking[0]


def test_a_test_question_never_trains() -> None:
    test = PRACTICE.load("test")[0]
    leaked = lesson(PRACTICE.question_text(test).upper())
    with pytest.raises(ValueError, match=f"is test item practice:{test.id}"):
        lessons.mix([leaked], [], budget=1, replay_fraction=0, seed=0, tests=[(f"practice:{test.id}", test.question)])


def test_a_benchmark_without_worked_answers_is_named() -> None:
    mbpp = benchmarks.get("mbpp")
    row = {
        "task_id": 1,
        "prompt": STUB,
        "test": "def check(candidate):\n    assert candidate(2) == 4\n",
        "entry_point": "double",
    }
    with pytest.raises(ValueError, match="'mbpp' has no worked answer"):
        lessons.from_gold([mbpp.from_row(row)], "mbpp", 1, seed=0)


# -- planted mistakes, paraphrases, agreement

UNITS = {
    "Ann has 6$6 + 75 = 141 pots.": False,  # a mutated reply: a currency sign inside of a number
    "Ann has 6\\6 + 75 = 141 pots.": False,
    "She pays $66 + 75$ = $141.": True,
    "$5 * 3 apples = 15": True,
    "$5 * 3 apples = 16": False,
    "1/2 x 6 = 3": True,
    "20% of 50 = 10": True,
    "20% of 50 = 12": False,
    "Macy hit the ball 40 times + Piper's 100 hits = 140 total hits.": True,
    "Macy hit the ball 40 times + Piper's 100 hits = 139 total hits.": False,
    "18 hours from New Orleans to New York + 30 hours in New York = 48 hours": True,
    "10 cards * $550/card = $5510": False,
    "Male ants: 60(0.35) = 21": True,
    "$176 fine / $8 for each mile per hour over = 22": True,
    "18 minutes x 2 trips (to and from school) = 36 minutes": True,
    "100 / 3 = 33.333...": True,
}


@pytest.mark.parametrize("line", UNITS)
def test_words_between_numbers_hide_no_sum(line: str) -> None:
    assert [holds for _, _, holds in equations(line)] == [UNITS[line]]


@pytest.mark.parametrize(
    "line", ["price - 5 = 3", "3x = 21", "x - 2 * 4 = 10", "1 dozen = 12", "1/3 of Solomon = 66 / 3"]
)
def test_what_cannot_be_recomputed_is_not_read(line: str) -> None:
    assert equations(line, unknowns(f"{line}\nx = 7")) == []


def test_an_earlier_result_is_final_where_the_conclusion_says_so() -> None:
    sums = "Job one pays 3 * 90 = 270.\nJob two pays 2 * 60 = 120.\n"
    assert lesson_checks.check_math(sums + "The most he can earn is $270.\n#### 270") == ""
    assert "not the last" in lesson_checks.check_math(sums + "So he takes the better job.\n#### 270")


def test_a_letter_against_its_own_reason() -> None:
    sums, metals = "What is 3 * 4?\nA. 12\nB. 13", "Which is a metal?\nA. Oxygen\nB. Iron\nC. Neon"
    for question, response, problem in (
        (sums, "3 * 4 = 12\n\nThe answer is A.", ""),
        (sums, "3 * 4 = 12\n\nThe answer is B.", "option A"),
        (sums, "3 * 4 = 13\n\nThe answer is B.", "3 * 4 = 13 does not hold"),
        (metals, "Only iron conducts.\n\nThe answer is B.", ""),
        (metals, "Only iron conducts.\n\nThe answer is C.", "option B"),
        (metals, "Iron it cannot be, which rusts.\n\nThe answer is C.", ""),
        (metals, "Both neon and iron are elements.\n\nThe answer is C.", ""),
    ):
        found = lesson_checks.check_choice(question, response)
        assert problem in found and bool(problem) == bool(found), (response, found)


@pytest.fixture(scope="module")
def planter() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:  # a script and no package
        patch.syspath_prepend(str(paths.ROOT / "bench"))
        return importlib.import_module("lessons")


@pytest.mark.slow
def test_planted_mistakes_are_refused_and_right_lessons_kept(
    planter: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        planter, "at_hand", lambda name, split: benchmarks.get(name).load(split) if "pract" in name else []
    )
    candidates = planter.planted(160)
    kinds = {each.kind for each in candidates}
    assert kinds == {
        "",
        "wrong sum",
        "wrong final answer",
        "wrong letter",
        "wrong form",
        "failing program",
        planter.COPIES[0],
    }
    checked = planter.judged(candidates, planter.index())
    passed = [
        each.kind for each, lesson in zip(candidates, checked, strict=True) if each.kind and lesson.status == "kept"
    ]
    lost = [
        lesson.reason
        for each, lesson in zip(candidates, checked, strict=True)
        if not each.kind and lesson.status != "kept"
    ]
    assert not passed and len(lost) <= 2, (passed, lost)
    assert planter.planted(160) == candidates


def test_a_test_question_in_other_words_is_quarantined_on_the_same_numbers_only() -> None:
    test = ("practice:t1", "Mia has 3 boxes with 12 pens in each box. How many pens does Mia have?")
    others = [(f"practice:o{i}", f"Ben rides {i} miles on {i + 7} days. How far does he ride?") for i in range(30, 60)]
    reworded = "There are 12 pens in each of the three boxes that Mia has. How many pens does Mia have in all?"
    candidates = [
        lesson(reworded),
        lesson(reworded.replace("12", "13")),
        lesson("Ann eats 12 figs on 3 days. How many a day?"),
    ]
    index = lessons.TestIndex.of([test, *others], embedding="tfidf", threshold=0.6)
    checked = lessons.decontaminate(candidates, index)
    assert [each.status for each in checked] == ["contaminated", "kept", "kept"]
    assert "practice:t1 in other words (similarity 0." in checked[0].reason
    off = lessons.TestIndex.of([test, *others], embedding="tfidf")
    assert [each.status for each in lessons.decontaminate(candidates, off)] == ["kept"] * 3


def test_choices_are_kept_where_independent_answers_agree() -> None:
    question = "Which is a metal?\nA. Oxygen\nB. Iron"
    right, wrong = (lesson(question, f"It conducts.\n\nThe answer is {x}.", "arc_challenge") for x in "BA")
    texts = ["The answer is B.", "B. Iron", "I think it is (B)."]
    checked = lessons.confirm_letters([right, wrong, lesson("Sum?")], lambda asked: [texts] * len(asked))
    assert [each.status for each in checked] == ["kept", "wrong", "kept"]
    assert checked[1].reason == "0 of 3 independent answers agree with A: B, B, B"
    sums = [lesson("Sum?")]
    assert lessons.confirm_letters(sums, lambda asked: 1 / 0) == sums, "no choice lesson: nothing is asked"
