"""The symbolic instructor: new numbers through a gold solution's own steps, right by construction."""

import ast
import random
import re
from collections import Counter
from fractions import Fraction

import pytest

from laif_helpers.instructors import symbolic
from laif_helpers.instructors.symbolic.chain import understand
from laif_helpers.instructors.symbolic.numbers import find, plain, replace, spell
from laif_helpers.instructors.symbolic.program import NotVariable, parse, worth
from laif_helpers.instructors.symbolic.vary import Variator
from laif_helpers.lessons import structured as lesson_text
from laif_helpers.paths import data_dirs
from laif_helpers.records import read_rows

ORCHARD = (
    "Wilma picks 36 pears in an 8-hour day, and Otto picks three times as many. They pack all the pears into "
    "boxes of 12. How many boxes do they fill?",
    "Otto picks 36 x 3 = <<36*3=108>>108 pears.\nTogether they pick 36 + 108 = <<36+108=144>>144 pears.\n"
    "They fill 144 / 12 = <<144/12=12>>12 boxes.\n#### 12",
)
LAMP = (
    "A lamp costs $40. In the sale it is 25% cheaper, and Nils buys 3 lamps. How much does he pay?",
    "The lamp is 40*.25=$<<40*.25=10>>10 cheaper.\nIt costs 40-10=$<<40-10=30>>30.\n"
    "He pays 30*3=$<<30*3=90>>90.\n#### 90",
)


def _request(problem: tuple[str, str], n: int = 3, *, student: str = "It is 5.\n#### 5", right: tuple[str, ...] = ()):
    text = ""
    if right:
        listed = "\n\n".join(f"{i}. {question}" for i, question in enumerate(right, start=1))
        text += f"### Questions the student answers correctly\n{listed}\n\n"
    text += f"### Question the student got wrong\n{problem[0]}\n\n### The student's answer\n{student}\n\n"
    text += f"### Correct answer\n{problem[1]}\n\n### Task\nWrite {n} new questions with their answers."
    return [{"role": "system", "content": "You write practice."}, {"role": "user", "content": text}]


def _samples(reply: str) -> list[tuple[str, str]]:
    return re.findall(r"Sample \d+:\nQuestion: (.*?)\nAnswer: (.*?)(?=\n\nSample|\n*\Z)", reply, re.DOTALL)


def _compute(expression: str) -> Fraction:
    """An evaluator of the tests' own, through Python's parser, to check the module's against."""

    def go(node: ast.AST) -> Fraction:
        if isinstance(node, ast.BinOp):
            a, b = go(node.left), go(node.right)
            return {"Add": a.__add__, "Sub": a.__sub__, "Mult": a.__mul__, "Div": a.__truediv__}[
                type(node.op).__name__
            ](b)
        if isinstance(node, ast.UnaryOp):
            return -go(node.operand)
        assert isinstance(node, ast.Constant)
        return Fraction(str(node.value))

    return go(ast.parse(expression, mode="eval").body)


_SUM = re.compile(
    r"(?<![\d*/+–)x-] )(?<![\w.,*/+($-])(\$?\d[\d,.]*(?:\s?[-+*/x–]\s?\$?[\d.][\d,.]*)+)\s?=\s?\$?(\d[\d,]*(?:\.\d+)?)"
)


def _false_sums(text: str) -> list[str]:
    false = []
    for left, right in _SUM.findall(text):
        clean = re.sub(r"[$,\s]", "", left).replace("x", "*").replace("–", "-")
        if _compute(re.sub(r"(?<![\d.])0+(?=\d)", "", clean)) != Fraction(right.replace(",", "")):
            false.append(f"{left} = {right}")
    return false


def test_a_reply_has_the_format_and_recomputes() -> None:
    reply = symbolic.answer(_request(ORCHARD, 4), seed=1)
    assert reply.startswith("Diagnosis: ")
    samples = _samples(reply)
    assert len(samples) == 4 == len({question for question, _ in samples})
    for question, response in samples:
        pears, _, times, box = [number.value for number in find(question)]
        assert question != ORCHARD[0] and "<<" not in response
        assert Fraction(response.rsplit("#### ")[1]) == (pears + times * pears) / box
        assert _false_sums(response) == [] and len(_SUM.findall(response)) == 3
        assert "an 8-hour day" in question, "a number the solution does not use stays"
    assert len(lesson_text.parse(reply, "math")) == 4


def test_the_same_request_and_seed_give_the_same_reply() -> None:
    assert symbolic.answer(_request(LAMP), seed=3) == symbolic.answer(_request(LAMP), seed=3)
    assert symbolic.answer(_request(LAMP), seed=3) != symbolic.answer(_request(LAMP), seed=4)


def test_percentages_stay_percentages_and_words_stay_words() -> None:
    for question, response in _samples(symbolic.answer(_request(LAMP, 8), seed=0)):
        price, percent, lamps = [number.value for number in find(question)]
        assert 0 < percent < 100 and percent.denominator == 1
        assert Fraction(response.rsplit("#### ")[1]) == price * (1 - percent / 100) * lamps
    for question, _ in _samples(symbolic.answer(_request(ORCHARD, 8), seed=0)):
        assert re.search(r"picks (two|three|four|five|six) times as many", question)


def test_order_sums_and_the_total_of_a_question_stay_true() -> None:
    problem = (
        "A jar holds 30 marbles: 12 green ones and 18 blue ones. Ada loses 4 of the green ones and gives half of "
        "the blue ones away. How many marbles are left in the jar of 30?",
        "She keeps 12-4=<<12-4=8>>8 green ones.\nShe keeps 18/2=<<18/2=9>>9 blue ones.\n"
        "There are 8+9=<<8+9=17>>17 marbles left.\n#### 17",
    )
    samples = _samples(symbolic.answer(_request(problem, 6), seed=2))
    assert samples
    for question, _ in samples:
        total, green, blue, lost, again = [number.value for number in find(question)]
        assert total == again == green + blue and lost < green < blue


def test_lec_names_the_boundary_and_varies_what_lies_beyond_it() -> None:
    right = ("A box holds 6 eggs. How many eggs are in 4 boxes?", "A tram ticket costs $3. What do 5 tickets cost?")
    student = "The lamp is 40*.25=10 cheaper.\nHe pays 10*3=30.\n#### 30"
    reply = symbolic.answer(_request(LAMP, 6, student=student, right=right), seed=0)
    first = reply.splitlines()[0]
    assert "can handle" in first and "fails where the question adds" in first and "percentages" in first
    assert first.index("money") < first.index("fails"), "money is what the neighbours share"
    assert "step 3 of 3" in first, "30 and 10 are in the answer, 90 is not"
    changed = [
        tuple(n.value != old.value for n, old in zip(find(q), find(LAMP[0]), strict=True)) for q, _ in _samples(reply)
    ]
    counts = Counter(changed)
    assert counts[(False, True, False)] + counts[(False, True, True)] >= 3, "the percentage's clause, not the price"
    assert any(price and not percent for price, percent, _ in changed), "every third sample varies the shared part"


def test_auggpt_needs_no_student() -> None:
    text = _request(LAMP)[1]["content"]
    text = re.sub(r"### The student's answer.*?(?=### Correct)", "", text, flags=re.DOTALL)
    text = text.replace("### Question the student got wrong", "### Question to vary")
    assert len(_samples(symbolic.answer([{"role": "user", "content": text}], seed=0))) == 3


@pytest.mark.parametrize(
    ("solution", "reason"),
    [
        ("She has 4.\n#### 4", "no equation"),
        ("He sees 9 + 14 = <<9+14=23>>23 birds.\n#### 23", "unaccounted"),
        ("Let x be the birds.\n2x = 14\nx = <<7=7>>7\n#### 7", "algebra"),
        ("He sees 14 / 4 = <<14/4=3.6>>3.6 birds.\n#### 3.6", "exactly"),
        ("He sees about 14 / 4 = <<14/4=3.5>>3.5, rounded 4.\n#### 4", "rounds"),
        ("He sees 14 + 4 = 18 + 14 = <<18+14=32>>32 birds.\n#### 32", "runs on"),
        ("14 birds", "no worked solution"),
    ],
)
def test_what_cannot_be_varied_gives_the_reason_and_no_sample(solution: str, reason: str) -> None:
    question = "Ole sees 14 birds on each of 4 roofs. How many birds does he see?"
    reply = symbolic.answer(_request((question, solution)), seed=0)
    assert reply.startswith("Diagnosis: No new numbers") and reason in reply and "Sample" not in reply
    assert lesson_text.parse(reply, "math") == []


@pytest.mark.parametrize(
    ("question", "solution", "stays"),
    [
        # "her 4 friends" and herself are the solution's five, and so is nobody else's 5
        ("Ida and her 4 friends share 60 nuts, and then Ida eats 5. How many nuts has Ida?",
         "Each of them gets 60/5=<<60/5=12>>12 nuts.\nIda has 12-5=<<12-5=7>>7.\n#### 7", "Ida eats 5"),
        ("A spider has 8 legs. How many legs have 15 spiders?",
         "They have 15*8=<<15*8=120>>120 legs.\n#### 120", "has 8 legs"),
        ("Jo runs 6 miles a day for 7 days. How many miles is that?",
         "That is 6*7=<<6*7=42>>42 miles.\n#### 42", "7 days"),
        ("Three friends, Al, Bea and Cy, share 45 plums. How many plums has each of the three friends?",
         "Each has 45/3=<<45/3=15>>15 plums.\n#### 15", "Three friends"),
        ("In 2019 a firm had 90 desks; it bought 15 more in 2021. How many desks has it?",
         "It has 90+15=<<90+15=105>>105 desks.\n#### 105", "In 2019"),
    ],
)  # fmt: skip
def test_what_the_wording_fixes_stays(question: str, solution: str, stays: str) -> None:
    samples = _samples(symbolic.answer(_request((question, solution), 5), seed=1))
    assert samples and all(stays in new for new, _ in samples)


def test_a_condition_keeps_its_outcome() -> None:
    problem = (
        "Rolf saves $21 in May and $46 in June. His aunt adds $30 if he saves more than $80. How much has he?",
        "He saves 21+46=$<<21+46=67>>67.\nThat is not more than $80, so he has $67.\n#### 67",
    )
    samples = _samples(symbolic.answer(_request(problem, 12), seed=0))
    assert samples
    for question, _ in samples:
        may, june, _, bar = [number.value for number in find(question)]
        assert may + june < bar


def test_numbers_of_a_text_are_found_and_rewritten_in_their_style() -> None:
    text = "An 8-inch pie at $1,250.50, 3/4 of twenty-five, two-thirds of 2 1/2, at 5:30 on the 3rd, 20% off. Six eggs."
    numbers = find(text)
    values = [8, "1250.5", "3/4", 25, "2/3", "5/2", 5, 3, 20, 6]
    assert [n.value for n in numbers] == [Fraction(value) for value in values]
    assert [n.style for n in numbers][2:8] == ["fraction", "word", "spoken", "fraction", "clock", "ordinal"]
    new = [(n, n.value * 2 if n.text in ("8", "1,250.50", "Six") else n.value) for n in numbers]
    assert replace(text, new).startswith("A 16-inch pie at $2,501.00, 3/4 of twenty-five,")
    assert replace(text, new).endswith("20% off. Twelve eggs.")
    assert replace("a 7-day tour", [(find("a 7-day tour")[0], Fraction(18))]) == "an 18-day tour"
    assert spell(42) == "forty-two" and plain(Fraction(-5, 4)) == "-1.25" and plain(12345, commas=True) == "12,345"


def test_the_parser_agrees_with_python_and_refuses_the_rest() -> None:
    rng = random.Random(0)
    for _ in range(300):
        terms = [f"{rng.randrange(1, 99)}{rng.choice(['', '.5'])}" for _ in range(4)]
        a, b, c = (rng.choice("+-*/") for _ in range(3))
        expression = f"{terms[0]}{a}({terms[1]}{b}{terms[2]}){c}{terms[3]}"
        if _compute(f"{terms[1]}{b}{terms[2]}"):
            assert worth(parse(expression)) == _compute(expression)
    assert worth(parse("50%*8")) == 4
    for bad in ("__import__('os')", "2**3", "3 +", "4 5", "(2", ""):
        with pytest.raises(NotVariable):
            worth(parse(bad))


def test_a_number_with_two_readings_is_frozen() -> None:
    question = "Lea has 6 cats and 3 dogs. She gets 2 more dogs, then doubles her cats. How many animals has she?"
    solution = "She has 3+2=<<3+2=5>>5 dogs.\nShe has 6*2=<<6*2=12>>12 cats.\nThat is 12+5=<<12+5=17>>17.\n#### 17"
    read = understand(question, solution)
    leaves = read.program.leaves
    assert [leaves[i] for i in sorted(read.frozen)] == [2], "2 more dogs, or double?"
    assert {leaves[i] for i in Variator(read).free} == {3, 6}


def test_a_count_of_the_solutions_own_is_no_quantity_of_the_question() -> None:
    question = (
        "A mat is 3 inches thick. Folding doubles that, and 5 such piles of 2 foldings lie there. How high are they?"
    )
    solution = (
        "After 1 folding it is 3*2=<<3*2=6>>6 inches.\nAfter 2 foldings it is 6*2=<<6*2=12>>12 inches.\n"
        "After all 3 steps I add 5 piles: 12*5=<<12*5=60>>60 inches.\n#### 60"
    )
    samples = _samples(symbolic.answer(_request((question, solution), 4), seed=0))
    assert samples and all("all 3 steps" in response and "3 inches" in new for new, response in samples)


def test_a_malformed_request_is_refused_with_a_sentence() -> None:
    request = _request(LAMP)
    for label, name in (("### Correct answer", "Correct answer"), ("### Task", "Task")):
        broken = [{"role": "user", "content": request[1]["content"].replace(label, "### Something")}]
        with pytest.raises(ValueError, match=f"no block '### {name}'"):
            symbolic.answer(broken, seed=0)
    wordy = [{"role": "user", "content": request[1]["content"].replace("Write 3 new", "Write some new")}]
    with pytest.raises(ValueError, match="must name a number"):
        symbolic.answer(wordy, seed=0)


@pytest.mark.real
def test_real_problems_vary_and_recompute() -> None:
    paths = [folder / "gsm8k" / "train.jsonl" for folder in data_dirs()]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        pytest.skip("GSM8K's train.jsonl is in none of the data folders (LAIF_DATA)")
    rows = random.Random(7).sample(list(read_rows(path)), 200)
    counts = symbolic.coverage((row["question"], row["answer"]) for row in rows)
    assert counts["varied"] >= 100, counts
    checked, sums = 0, 0
    for row in rows[:100]:
        for question, response in _samples(symbolic.answer(_request((row["question"], row["answer"]), 2), seed=5)):
            old, new = find(row["question"]), find(question)
            assert [n.style for n in new] == [n.style for n in old] and [n.value for n in new] != [n.value for n in old]
            assert "<<" not in response and _false_sums(response) == [], response
            body, _, final = response.rpartition("#### ")
            assert Fraction(final.strip()) in {n.value for n in find(body, fractions=False)}
            # every changed number of the question is one the solution speaks of, and no old one is left over
            gone = {n.value for n in old} - {n.value for n in new}
            kept = {n.value for n in find(body, fractions=False)}
            came = {n.value for n in new} - {n.value for n in old}
            assert not came or came & kept or {c / 100 for c in came} & kept, (gone, question, response)
            checked += 1
            sums += len(_SUM.findall(response))
    assert checked >= 100 and sums >= checked
