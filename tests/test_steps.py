"""The step by step tasks: what they hold, and that their verifiers accept what is right and name what is wrong."""

import contextlib
import importlib
import random
import re
from collections import Counter
from datetime import date, timedelta
from typing import Any

import pytest
from step_mutations import mutants

from laif_helpers import benchmarks
from laif_helpers.benchmarks._reasoning import SPLITS
from laif_helpers.graders import arithmetic, steps
from laif_helpers.graders.steps import logical_deduction, long_way, word_sorting
from laif_helpers.paths import ROOT
from laif_helpers.tripost.trajectories import feedback

SUMS = "((7 - -1 + -1 + -4) - (-7 + 7 * 3 * -9)) ="
RIGHT = """(1) This equation can be written as "(A - B)", where A = (7 - -1 + -1 + -4) and B = (-7 + 7 * 3 * -9).
(2) Let's calculate A = (7 - -1 + -1 + -4) = (((7 - -1) + -1) + -4) = ((8 + -1) + -4) = (7 + -4) = 3.
(3) Let's calculate B = (-7 + 7 * 3 * -9) = (-7 + ((7 * 3) * -9)) = (-7 + (21 * -9)) = (-7 + -189) = -196.
(4) Then, the final equation is (A - B) = (3 - -196) = 199.
(Final response) So the answer is 199."""


def check(name: str, question: Any, attempt: Any) -> steps.Verdict:
    verdict = steps.task(name).check(question, attempt)
    assert isinstance(verdict, steps.Verdict)
    return verdict


@pytest.mark.parametrize("name", steps.TASKS)
def test_splits_share_no_paragraph_and_unseen_buckets_are_in_the_test_split_alone(name: str) -> None:
    bench = benchmarks.get(name)
    paragraphs = [e.question.partition("\nOptions:")[0] for split in SPLITS for e in bench.load(split)]
    assert len(set(paragraphs)) == len(paragraphs)
    assert bench.splits == (*SPLITS, "test_seen")
    assert [e.id for e in bench.load("test_seen")] == [e.id for e in bench.load("test") if e.fields["seen"]]
    assert {e.split for e in bench.load("test_seen", limit=3)} == {"test_seen"}
    seen = {e.fields["bucket"] for split in ("train", "validation") for e in bench.load(split)}
    assert all(e.fields["seen"] == (e.fields["bucket"] in seen) for e in bench.load("test"))
    assert len({e.fields["bucket"] for e in bench.load("test")}) > len(seen)


@pytest.mark.parametrize("dress", ["<think>\nHm.\n</think>\n{}", "```text\n{}\n```", "\ufeff{}<|im_end|>", "{}</s>"])
def test_marks_around_an_attempt_are_no_step(dress: str) -> None:
    assert check("multistep_arithmetic", SUMS, dress.format(RIGHT)).correct


@pytest.mark.slow
@pytest.mark.parametrize("name", steps.TASKS)
def test_gold_is_right_as_an_answer_and_in_every_step_and_a_fixed_answer_is_wrong(name: str) -> None:
    bench = benchmarks.get(name)
    items = bench.load("train")[:60] + bench.load("test")[:120]
    for example in items:
        assert check(name, example.question, bench.gold_response(example)).correct
        assert bench.grade(example, example.rationale).extracted == example.gold
        assert bench.grade(example, example.rationale).correct
        assert not bench.grade(example, "(Final response) So the answer is Q.").correct
        assert bench.from_row({"question": example.question, "answer": example.gold}).id == example.id


@pytest.mark.slow
@pytest.mark.parametrize("name", steps.TASKS)
def test_every_mutant_is_refused_at_its_step_with_its_kind_and_repaired(name: str) -> None:
    rng, module = random.Random(5), steps.task(name)
    named: Counter[bool] = Counter()
    kinds = set()
    for example in benchmarks.get(name).load("test")[:60]:
        for mutant in mutants(name, example.question, rng):
            verdict = check(name, example.question, mutant.text)
            assert not verdict.correct, mutant
            named[(verdict.kind, verdict.step) == (mutant.kind, mutant.step)] += 1
            kinds.add(mutant.kind)
            kept = steps.lines(mutant.text)[: verdict.kept]
            repaired = steps.repair(module, example.question, mutant.text, verdict)
            assert steps.lines(repaired)[: verdict.kept] == kept
            assert check(name, example.question, repaired).correct
    assert len(kinds) >= 8
    assert named[True] / named.total() >= 0.95


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script that drew all items."""
    monkeypatch.syspath_prepend(str(ROOT / "data"))
    return importlib.import_module("make_reasoning")


@pytest.mark.parametrize("name", steps.TASKS)
def test_the_items_are_those_that_the_script_draws(name: str, made: Any) -> None:
    bench = benchmarks.get(name)
    items = [(split, example.question) for split in SPLITS for example in bench.load(split)]
    assert [(row["split"], row["question"]) for row in made.world(name)] == items


def solved(module: Any, draw: Any, rng: random.Random, cell: str) -> tuple[str, str]:
    """A question of a cell and its canonical answer; one whose numbers pass 10^12 is drawn again."""
    while True:
        question = draw(rng, cell)
        with contextlib.suppress(ValueError):
            return question, steps.write(module.solve(module.read(question)))


WHOLE = pytest.mark.thorough


@pytest.mark.slow
@pytest.mark.parametrize("golds_wanted, mutants_wanted", [(2_000, 1_000), pytest.param(20_000, 10_000, marks=WHOLE)])
@pytest.mark.parametrize("name", steps.TASKS)
def test_every_gold_answer_is_right_and_no_mutant_is(
    name: str, golds_wanted: int, mutants_wanted: int, made: Any
) -> None:
    module, rng = steps.task(name), random.Random(3)
    cells = sorted({cell for sizes in made.SIZES[name].values() for cell in sizes})
    drawn = (solved(module, made.DRAW[name], rng, cells[at % len(cells)]) for at in range(golds_wanted))
    questions, golds = zip(*drawn, strict=True)
    assert all(module.check(question, gold).correct for question, gold in zip(questions, golds, strict=True))
    chosen = questions[: mutants_wanted * 12 // 100]  # each has eight mutants and more
    verdicts = [(m, module.check(q, m.text)) for q in chosen for m in mutants(name, q, rng)]
    assert len(verdicts) >= mutants_wanted
    assert not any(verdict.correct for _, verdict in verdicts)
    assert sum(verdict.kind == mutant.kind for mutant, verdict in verdicts) >= 0.95 * len(verdicts)


HOLES = {
    "a combination left out, with a wrong answer": (
        RIGHT.replace("(4) Then, the final equation is (A - B) = (3 - -196) = 199.\n", "").replace("199.", "7."),
        ("Final response", "missing_step"),
    ),
    "a step without working": (
        RIGHT.replace(RIGHT.splitlines()[1], "(2) Let's calculate A = 3."),
        ("2", "no_working"),
    ),
    "another expression computed": (
        RIGHT.replace(
            "A = (7 - -1 + -1 + -4) = (((7 - -1) + -1) + -4) = ((8", "A = (7 - -1 + -5) = ((7 - -1) + -5) = ((8"
        ),
        ("2", "expression"),
    ),
    "errors that compensate": (RIGHT.replace("(7 + -4) = 3.", "(7 + -4) = 4 = 3."), ("2", "arithmetic")),
    "errors that compensate in one part": (RIGHT.replace("((8 + -1)", "((9 + -2)"), ("2", "invented")),
    "steps out of order": (
        "\n".join(RIGHT.splitlines()[at] for at in (0, 2, 1, 3, 4)),
        ("3", "order"),
    ),
    "numbers that are code": (RIGHT.replace("(3 - -196) = 199", "(3 - -196) = 9**9**9 = 199"), ("4", "malformed")),
    "a number beyond the task": (RIGHT.replace("= 199.", f"= {10**15}."), ("4", "too_large")),
}


@pytest.mark.parametrize("hole", HOLES)
def test_holes_are_closed(hole: str) -> None:
    assert check("multistep_arithmetic", SUMS, RIGHT).correct
    attempt, (step, kind) = HOLES[hole]
    verdict = check("multistep_arithmetic", SUMS, attempt)
    assert (verdict.correct, verdict.step, verdict.kind) == (False, step, kind)


def test_a_right_way_that_is_not_the_canonical_one_is_right() -> None:
    other = RIGHT.replace("(((7 - -1) + -1) + -4) = ((8 + -1) + -4) = (7 + -4) = 3", "8 + -1 - 4 = 7 - 4 = 3")
    assert check("multistep_arithmetic", SUMS, other).correct
    question = "Sort the following words alphabetically:\nList: cart car camp"
    gold = steps.write(word_sorting.solve(word_sorting.read(question)))
    moved = gold.replace('(3) ["cart" ? "car" ? "camp"]', '(3) ["camp" ? "cart" ? "car"]')
    assert moved != gold
    assert check("word_sorting", question, moved).correct


def test_a_word_stands_before_those_that_continue_it() -> None:
    question = "Sort the following words alphabetically:\nList: cart car"
    gold = steps.write(word_sorting.solve(word_sorting.read(question)))
    assert '"car"="" (0)' in gold
    assert gold.endswith("So the answer is: car cart.")
    assert check("word_sorting", question, gold).correct


QUESTIONS = {
    "apostrophe": ("word_sorting", "Sort the following words alphabetically:\nList: o'clock noon"),
    "upper case": ("word_sorting", "Sort the following words alphabetically:\nList: Noon dawn"),
    "beyond a to z": ("word_sorting", "Sort the following words alphabetically:\nList: señor café"),
    "twice": ("word_sorting", "Sort the following words alphabetically:\nList: noon noon"),
    "impossible date": (
        "date_understanding",
        "Today is 02/30/2019. What is the date tomorrow in MM/DD/YYYY?\nOptions:\n(A) 03/01/2019\n(B) 03/03/2019",
    ),
    "contradiction": (
        "logical_deduction",
        "Here are three: a cup, a jug, and a pot. The cup is the leftmost. The jug is the leftmost.\n"
        "Options:\n(A) The cup is the leftmost\n(B) The jug is the leftmost",
    ),
    "several orders": (
        "logical_deduction",
        "Here are three: a cup, a jug, and a pot. The cup is the leftmost.\n"
        "Options:\n(A) The jug is the rightmost\n(B) The pot is the rightmost",
    ),
    "a third person is right": (
        "date_understanding",
        "Mia thinks today is 06/18/2019, but Tom thinks it is 06/19/2019, and Karl is right. "
        "What is the date tomorrow in MM/DD/YYYY?\nOptions:\n(A) 06/19/2019\n(B) 06/20/2019",
    ),
    "dated twice": (
        "date_understanding",
        "Today is 06/18/2019. The exam was 3 days after today. Today is one day after the exam. "
        "What is the date tomorrow in MM/DD/YYYY?\nOptions:\n(A) 06/19/2019\n(B) 06/23/2019",
    ),
    "two dates under one letter": (
        "date_understanding",
        "Today is 06/18/2019. What is the date tomorrow in MM/DD/YYYY?\n"
        "Options:\n(A) 06/20/2019\n(A) 06/19/2019\n(B) 06/21/2019",
    ),
    "two statements under one letter": (
        "logical_deduction",
        "Here are three: a cup, a jug, and a pot. The cup is the leftmost. The jug is the rightmost.\n"
        "Options:\n(A) The pot is the leftmost\n(A) The cup is the leftmost\n(B) The jug is the leftmost",
    ),
    "large": ("multistep_arithmetic", f"(({10**13} + 1) - (2 * 3)) ="),
    "no expression": ("multistep_arithmetic", "What is love?"),
}


@pytest.mark.parametrize("why", QUESTIONS)
def test_a_question_that_is_no_item_is_a_class_of_its_own(why: str) -> None:
    name, question = QUESTIONS[why]
    for attempt in (RIGHT, "(Final response) So the answer is (A).", ""):
        verdict = check(name, question, attempt)
        assert (verdict.correct, verdict.readable, verdict.kind) == (False, False, "question")


LISTED = "Sort the following words alphabetically:\nList: noon dawn"
SORTED = steps.write(word_sorting.solve(word_sorting.read(LISTED)))
ATTEMPTS = {
    "another format": ("multistep_arithmetic", SUMS, "The answer is 199.", "format", False),
    "endless": ("multistep_arithmetic", SUMS, RIGHT + "\nand so on" * 3000, "endless", False),
    "periodic": ("multistep_arithmetic", SUMS, "\n".join(RIGHT.splitlines()[:2] * 40), "repeated_step", True),
    "cut off": ("multistep_arithmetic", SUMS, "\n".join(RIGHT.splitlines()[:3]), "unfinished", False),
    "beyond 10^12": ("multistep_arithmetic", SUMS, RIGHT.replace("= 199.", f"= {-(10**12) - 1}."), "too_large", False),
    "a thousand numbers": (
        *("multistep_arithmetic", SUMS, RIGHT.replace("= ((8 + -1)", f"= {'+'.join('1' * 995)} = ((8 + -1)")),
        *("malformed", True),
    ),
    "digits of another script": (
        "multistep_arithmetic",
        *(SUMS, RIGHT.replace("is 199", "is \u0661\u0669\u0669"), "format", False),
    ),
    "apostrophe": ("word_sorting", LISTED, SORTED.replace("dawn", "da'wn"), "format", False),
    "upper case": ("word_sorting", LISTED, SORTED.replace("dawn", "Dawn"), "format", False),
    "beyond a to z": ("word_sorting", LISTED, SORTED.replace("dawn", "dåwn"), "format", False),
}


@pytest.mark.parametrize("why", ATTEMPTS)
def test_a_bad_attempt_has_a_kind_of_its_own(why: str) -> None:
    name, question, attempt, kind, readable = ATTEMPTS[why]
    verdict = check(name, question, attempt)
    assert (verdict.correct, verdict.kind, verdict.readable) == (False, kind, readable)


def test_an_impossible_date_in_an_attempt_is_a_wrong_step() -> None:
    example = benchmarks.get("date_understanding").load("test")[0]
    day = re.findall(r"so it is (\S+)\.", example.rationale)[0]
    verdict = check(
        "date_understanding", example.question, example.rationale.replace(f"so it is {day}", "so it is 02/30/1999")
    )
    assert (verdict.step, verdict.kind, verdict.readable) == ("1", "impossible_date", True)


@pytest.mark.parametrize("name", steps.TASKS)
def test_digits_of_another_script_are_unreadable(name: str) -> None:
    """``int`` reads them, and no answer has them."""
    example = benchmarks.get(name).load("test")[0]
    for digit in re.finditer(r"(?<=[ (/])\d", example.rationale):
        other = example.rationale[: digit.start()] + chr(0xFF10 + int(digit[0])) + example.rationale[digit.end() :]
        verdict = check(name, example.question, other)
        assert (verdict.correct, verdict.readable) == (False, False)


HOSTILE: list[Any] = [
    "",
    "\n\n",
    "42",
    "(1) " * 5000,
    "(1) a\n" * 50_000,
    "(Final response)",
    "(Final response) So the answer is ٣.",
    "(1)" + "(" * 3000 + ")" * 3000,
    '(1) This equation can be written as "", where .\n(2) Let\'s calculate A = .',
    "(1.1.1.1.1.1.1.1.1.1.1.1.1) x",
    "(99999999999999999999) x",
    "\x00\ud800(1) \u202e",
    None,
    7,
    ["(1) a"],
]


@pytest.mark.parametrize("name", steps.TASKS)
def test_hostile_attempts_are_never_right_and_never_raise(name: str) -> None:
    question = benchmarks.get(name).load("test")[0].question
    for attempt in HOSTILE:
        assert not check(name, question, attempt).correct
        assert not check(name, attempt, attempt).correct
    rng = random.Random(1)
    gold = benchmarks.get(name).load("test")[0].rationale
    for _ in range(300):
        cut = sorted(rng.sample(range(len(gold)), 2))
        broken = gold[: cut[0]] + "".join(rng.sample(gold[cut[0] : cut[1]], cut[1] - cut[0])) + gold[cut[1] :]
        if " ".join(broken.split()) != " ".join(gold.split()) and (verdict := check(name, question, broken)).correct:
            assert benchmarks.get(name).grade(benchmarks.get(name).load("test")[0], broken).correct, verdict


@pytest.mark.parametrize("name", steps.TASKS)
def test_feedback_says_what_the_verdict_says_and_is_read_back(name: str) -> None:
    example, rng = benchmarks.get(name).load("test")[1], random.Random(2)
    good = check(name, example.question, example.rationale)
    assert steps.read_feedback(steps.feedback(example.rationale, good)).correct is True
    for mutant in mutants(name, example.question, rng):
        verdict = check(name, example.question, mutant.text)
        read = steps.read_feedback(steps.feedback(mutant.text, verdict))
        assert (read.correct, read.step) == (False, verdict.step)
    for unreadable in ("", "It is correct.", "In step (2) something is off.", "correct " * 1000):
        assert steps.read_feedback(unreadable).correct is None


@pytest.mark.slow
def test_each_operation_worked_out_the_long_way_ends_in_its_value() -> None:
    rng = random.Random(4)
    for _ in range(3000):
        left, right = (rng.randint(-(10 ** rng.randint(1, 4)), 10 ** rng.randint(1, 4)) for _ in "ab")
        found = long_way.Operation(left, rng.choice("+-*"), right, written=7)
        facts = re.findall(r"(?<![-(\d])([\d+*-]+)=(\d+)", found.checked)
        assert all(arithmetic.worth(arithmetic.parse(sum)) == int(value) for sum, value in facts), found.checked
        assert found.checked.endswith(f"{found.value} / 7 {'yes' if found.value == 7 else 'no'}")
        large = max(abs(left), abs(right)) > 9 and 0 not in (left, right)
        assert bool(facts) == (large and not (found.operator == "*" and 1 in (abs(left), abs(right))))
    assert long_way.work(86, "*", -67).startswith("-(86*67) 6*7=42 8*7+4=60 602, 6*6=36 8*6+3=51 5160, 2+0=2")
    assert long_way.work(11, "+", -40) == "-(40-11) 10-1=9 3-1=2"


def test_a_worked_check_goes_as_far_as_the_first_wrong_step_and_stands_before_the_verdict() -> None:
    sums, lists = steps.task("multistep_arithmetic"), steps.task("word_sorting")
    wrong = RIGHT.replace("(21 * -9)) = (-7 + -189) = -196", "(21 * -9)) = (-7 + -179) = -186")
    worked = steps.worked(sums, SUMS, wrong, check("multistep_arithmetic", SUMS, wrong))
    assert worked.splitlines() == [
        "(2) (7 - -1): 8 / 8 yes, (8 + -1): 7 / 7 yes, (7 + -4): 3 / 3 yes",
        "(3) (7 * 3): 21 / 21 yes, (21 * -9): -(21*9) 1*9=9 2*9=18 -189 / -179 no",
    ]
    whole = steps.worked(sums, SUMS, RIGHT, check("multistep_arithmetic", SUMS, RIGHT))
    assert whole.endswith("(4) (3 - -196): (3+196) 3+6=9 0+9=9 0+1=1 199 / 199 yes")
    question = "Sort the following words alphabetically:\nList: hawk range silver"
    attempt = '(1) The first letter: "hawk"="h" (8), "range"="r" (18), "silver"="s" (19).\n'
    attempt += '(2) We now have: (8) "hawk" < (18) "range" < (18) "range".'
    found = steps.worked(lists, question, attempt, check("word_sorting", question, attempt))
    assert found == '(2) "hawk" yes, "range" no'


def test_a_date_is_counted_through_the_months_and_each_option_is_held_against_it() -> None:
    dates = steps.task("date_understanding")
    question = "The exam was on January 31, 1992. Today is 30 days after the exam. What is the date yesterday in "
    question += "MM/DD/YYYY?\nOptions:\n(A) 02/29/1992\n(B) 02/28/1992\n(C) 03/01/1992"
    attempt = "(1) Today is 30 days after the exam (01/31/1992), so it is 03/01/1992.\n"
    attempt += "(2) The date asked for is 1 day before today (03/01/1992), so it is 02/{}/1992.\n"
    attempt += "(Final response) So the answer is ({})."
    counted = "(1) 30 days after 01/31/1992: (31+30) 1+0=1 3+3=6 61, 01 has 31, (61-31) 1-1=0 6-3=3 30, "
    counted += "02/1992 has 29, (30-29) 10-9=1 2-2=0 1, 03 has 31, 03/01/1992: 03=03 01=01 1992=1992 yes"
    back = "(2) 1 day before 03/01/1992: 1-1=0, 02/1992 has 29, 29+0=29, 02/29/1992: 02=02 29="
    chosen = "(Final response) (A) 02=02 29=29 1992=1992 yes, (A)=(C) no"
    for day, last in (("28", [f"{back}28 no"]), ("29", [f"{back}29 1992=1992 yes", chosen])):
        text = attempt.format(day, "C")
        verdict = check("date_understanding", question, text)
        assert steps.worked(dates, question, text, verdict).splitlines() == [counted, *last]


@pytest.mark.slow
def test_a_counted_date_is_the_calendars() -> None:
    rng, dates = random.Random(5), steps.task("date_understanding")
    for _ in range(3000):
        day = date(1950, 1, 1) + timedelta(days=rng.randrange(36500))
        unit, most = rng.choice([("day", 400), ("week", 60), ("month", 30), ("year", 40)])
        relation = dates.Relation("Today", rng.choice((1, -1)) * rng.randint(1, most), unit, "the exam")
        try:
            reached = relation.apply(day)
        except ValueError:
            continue
        said = dates.counted(relation, day)
        facts = re.findall(r"(?<![(\d])(\d+(?:[-+*]\d+)+)=(\d+)", said)
        assert all(arithmetic.worth(arithmetic.parse(sum)) == int(value) for sum, value in facts), said
        last = int(re.findall(r"\d+", re.sub(r", (?:[\d/]+|a year) has \d+$", "", said))[-1])
        assert last == {"year": reached.year, "month": reached.month}.get(unit, reached.day), (said, reached)


@pytest.mark.parametrize("name", ["multistep_arithmetic", "word_sorting", "date_understanding"])
def test_a_worked_check_says_no_where_the_verdict_does_and_is_read_back(name: str) -> None:
    module, found = steps.task(name), Counter[bool]()
    for example in benchmarks.get(name).load("test")[:12]:
        praise = feedback("worked", name, example.question, example.rationale)
        assert steps.read_feedback(praise).correct is True and not re.search(r" no$", praise, re.M)
        for mutant in mutants(name, example.question, random.Random(3)):
            verdict = module.check(example.question, mutant.text)
            said = feedback("worked", name, example.question, mutant.text)
            assert (steps.read_feedback(said).correct, steps.read_feedback(said).step) == (False, verdict.step)
            lines = said.splitlines()[:-1]
            assert not any(line.endswith(" no") for line in lines[:-1])
            found[bool(lines) and lines[-1].endswith(" no") and lines[-1].startswith(f"({verdict.step})")] += 1
    assert found[True] > 10


def test_a_wrong_product_is_wrong_although_zero_times_it_is_right() -> None:
    question = "((5 * -1 * 0 - -4) - (2 + 1 + 1)) ="
    gold = steps.write(steps.task("multistep_arithmetic").solve(steps.task("multistep_arithmetic").read(question)))
    verdict = check("multistep_arithmetic", question, gold.replace("((-5 * 0) - -4)", "((-2 * 0) - -4)"))
    assert (verdict.correct, verdict.step, verdict.quote) == (False, "2", "(5 * -1) = -2")


def test_the_solver_agrees_with_every_public_item_that_it_reads() -> None:
    """BIG-Bench Hard's logical deduction: its clues are read, and leave the order that its labels say."""
    row = {
        "input": "The following paragraphs each describe a set of three objects arranged in a fixed order. The "
        "statements are logically consistent within each paragraph. In a race, there were three runners: Ada, Bo, and "
        "Cy. Ada finished above Bo. Cy finished second-to-last.\nOptions:\n(A) Ada finished first\n(B) Bo finished "
        "first\n(C) Cy finished first",
        "target": "(A)",
    }
    example = benchmarks.get("logical_deduction").from_row(row)
    assert (example.gold, example.fields["bucket"]) == ("A", "3")
    assert logical_deduction.solve(logical_deduction.read(example.question))[-2].data == ("Ada", "Cy", "Bo")
