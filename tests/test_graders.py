"""Reading answers: what each grader takes for the answer, what it refuses to guess, and that no text breaks it."""

import random
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from laif_helpers import benchmarks, sandbox
from laif_helpers.graders import choice, final_number, latex, numbers, second
from laif_helpers.graders import code as code_answers
from laif_helpers.graders import text as free_text
from laif_helpers.records import Example, Grade

GSM8K = benchmarks.get("gsm8k")
GSM_PLUS = benchmarks.get("gsm_plus")
MMLU = benchmarks.get("mmlu")
ARC = benchmarks.get("arc_challenge")
MBPP = benchmarks.get("mbpp")
HUMANEVAL = benchmarks.get("humaneval")
BBH = benchmarks.get("bbh")

has_cage = pytest.mark.skipif(
    all(sandbox.why_not(name) for name in ("bubblewrap", "unshare")), reason="no cage works on this machine"
)


def number_item(gold: str) -> Example:
    return GSM_PLUS.from_row({"question": "How many?", "answer": gold, "perturbation_type": "distraction insertion"})


def choice_item(gold: str = "B", **options: str) -> Example:
    four = {"A": "a moss", "B": "a fern", "C": "a tree fern", "D": "a pine"} | options
    return MMLU.from_row({"question": "Which plant has fronds?", "answer": gold, "subject": "botany", **four})


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("She sells 9 and earns 9 * 2 = 18.\n#### 18", "18"),
        ("#### 1,080", "1080"),
        ("#### $18.50 a day", "18.5"),
        ("A: 18", "18"),
        ("**Answer:** 42", "42"),
        ("The answer is 3 + 4 = 7 apples.", "7"),
        ("Answer: In 3 days she makes $18.", "18"),
        ("so she has 12 apples left on day 3.", "12"),
        ("The final answer is:\n\n$1,200", "1200"),
        (r"Thus \boxed{\frac{3}{4}} remains.", "3/4"),
        (r"The answer is $\boxed{1{,}200}$.", "1200"),
        ("She keeps 4 1/2 pies", "4.5"),
        ("She keeps 2½ pies", "2.5"),
        ("It is 1.5 x 10^3 metres", "1500"),
        ("about 1e2", "100"),
        ("A loss of -$5", "-5"),
        ("The answer is negative five.", "-5"),
        ("10 - 5", "5"),
        ("twenty-one", "21"),
        ("two hundred and five", "205"),
        ("That makes 5 thousand.", "5000"),
        ("$1.2 million", "1200000"),
        ("The share is 72%.", "72"),
        ("The share is 72%.", "0.72"),
        ("The answer is 4.3333 feet", "4.33"),
        ("16 - 3 = <<16-3=13>>13", "13"),
        ("The answer is 18.", "18"),
        ("#### Step 1: take 5\n#### Step 2: add 4\nThe answer is 9", "9"),
        ("She sells 9 and earns $18. Let me double check: 18 / 2 = 9 sold, and 9 + 7 = 16. ✓", "18"),
        ("April: 48, May: 24 → 72", "72"),
        ("The initial number of apples is missing.", "None"),
        ("It depends on how many he had.", "None"),
        ("Il a soixante-douze pommes.", "72"),
        ("Er hat dreißig Äpfel.", "30"),
        ("Ha duecento mele.", "200"),
        ("Tiene doscientas treinta y cinco manzanas.", "235"),
        ("Il a vingt-six pommes.", "26"),
        ("Hij heeft vijfentwintig appels.", "25"),
        ("Dia punya delapan belas apel.", "18"),
        ("On zehn Uhr", "10"),
        ("사과는 이십오 개", "25"),
        ("答案是四分之三", "0.75"),
        ("两个半小时", "2.5"),
        ("12,5 €", "12.5"),
        ("Il y en a 1 000.", "1000"),
        ("Let us find the answer:\nFirst, we add 3 + 4 = 7 and then double it.\nSo she has 14.", "14"),
        ("None of them, so it cannot be determined.", "None"),
        ("There is not enough information to tell.", "None"),
        ("#### None", "None"),
    ],
)
def test_number_is_read(text: str, gold: str) -> None:
    grade = GSM_PLUS.grade(number_item(gold), text)
    assert grade.correct and grade.readable, grade


@pytest.mark.parametrize(
    ("question", "text", "gold"),
    [
        ("How many eggs are left?", "There are two dozen eggs left.", "24"),
        ("How many eggs are left?", "She has 2 dozen (24) eggs.", "24"),
        ("How many eggs are left?", "Half a dozen.", "6"),
        ("How many eggs are left?", "She has a dozen.", "12"),
        ("He buys 4 dozen eggs. How many eggs are white?", "Of the 4 dozen eggs, 7 are white.", "7"),
        ("How many dozen eggs are left?", "There are two dozen eggs left.", "2"),
        ("How many eggs are left?", "None of them is left.", "0"),
        ("How many eggs are left?", "There aren't any eggs left.", "0"),
        ("How many cups?", "two and three quarters cups", "2.75"),
        ("How many cups?", "2 and three-quarters cups", "2.75"),
        ("How many hours?", "an hour and a half", "1.5"),
        ("How many rooms?", "Rooms two and three are full, so one.", "1"),
        ("How much is it?", r"\boxed{-\frac{7}{3}}", "-7/3"),
        ("How much is it?", "-½", "-0.5"),
        ("How much is it?", r"\cfrac 1 2", "0.5"),
        ("How far is it?", r"3 \cdot 10^8 metres", "300000000"),
        ("What share is it?", "fifty percent", "0.5"),
        ("What share is it?", "25 per cent", "0.25"),
        ("How much is it?", "1.5 lakhs", "150000"),
        ("How much is it?", "$2bn", "2000000000"),
        ("How many minutes does it take?", "It takes 2h30m.", "150"),
        ("How many minutes does it take?", "It takes 2 hrs 30 min.", "150"),
        ("How many inches tall is he?", "He is 5'3\" tall.", "63"),
        ("How many grams are in it?", "It holds 2 kg 300 g.", "2300"),
        ("How much money does she have?", "She has $3 and 50 cents.", "3.5"),
        ("How much money does she have?", "three dollars and fifty cents", "3.5"),
        ("How much change does he get?", "He gets back 4 dollars and 50 cents.", "4.5"),
        ("How many are there?", "There are 1 000 000.", "1000000"),
        ("How many are there?", "1_000_000", "1000000"),
        ("How much is it?", "Elle gagne 1 260 €.", "1260"),
        ("How much is it?", "R$ 60,00", "60"),
        ("How much is it?", "1.260,50 €", "1260.5"),
        ("How much is it?", "총 3만 5천원입니다.", "35000"),
        ("How much is it?", "一共3万5000元。", "35000"),
        ("How much is it?", "1억 2천만", "120000000"),
        ("How much more?", "A gets $15 and B gets $10, a difference of $5.", "5"),
        ("How many minutes?", "It takes 1:15, or 75 minutes.", "75"),
        ("What is the probability?", "P = 1/6 ≈ 0.167", "1/6"),
        ("Wie viele Äpfel hat er?", "Er hat einundzwanzig Äpfel.", "21"),
        ("¿Cuántas manzanas tiene?", "Tiene veintidós manzanas.", "22"),
        ("¿Cuántas manzanas tiene?", "Tiene treinta y dos manzanas.", "32"),
        ("Combien de pommes ?", "Il a vingt-deux pommes.", "22"),
        ("Сколько яблок?", "У него осталось 12 яблок из 20.", "12"),
        ("How many are there?", "12. Here's why: there are 4 boys and twice as many girls, 8.", "12"),
        ("How many are there?", "The problem does not specify how many he had.", "None"),
        # an answer before its explanation, and what stands beside a result
        ("How much? 16 eggs at $2, 7 are used.", "$18. She has 9 eggs to sell, at $2 each.", "18"),
        ("How much? 16 eggs at $2, 7 are used.", "9 eggs are sold. At $2 each = $18.", "18"),
        ("How many altogether? 48 in April.", "24 in may. Then 48 + 24 = 72.", "72"),
        ("How many minutes does it last?", "It lasts 140 minutes, so it ends at 9:35.", "140"),
        ("How much money is left?", "$2 remains after spending $3.", "2"),
        ("How many altogether?", "It sold 72 altogether, which is 1.5 times April's 48.", "72"),
        # a correction counts, a check does not
        ("How many are there?", "The answer is 11... no wait, 12.", "12"),
        ("How many are there?", "The answer is 11.\n\nCorrection: there are 12.", "12"),
        ("How many are there?", "\\boxed{11}\n\nActually, that's incorrect. It should be 12.", "12"),
        ("How many are there?", "The answer is 11.\n\nWait, I made an error. 4 + 8 = 12.", "12"),
        ("How many are there?", "The answer is 12. Wait, let me check: 12 - 8 = 4. Yes.", "12"),
    ],
)
def test_words_and_units_as_people_write_them(question: str, text: str, gold: str) -> None:
    grade = final_number.grade(gold, text, question)
    assert grade.correct and grade.readable, grade


@pytest.mark.parametrize(
    ("text", "gold", "read"),
    [
        ("#### 17", "18", "17"),
        ("The first attempt gave 18. The answer is 17.", "18", "17"),
        ("#### 5", "None", "5"),
        ("It cannot be determined.", "5", "None"),
        ("The answer is 4.3", "4.33", "4.3"),
        ("__import__('os').system('true') or 18 + 1", "18", "1"),
    ],
)
def test_wrong_number(text: str, gold: str, read: str) -> None:
    grade = GSM_PLUS.grade(number_item(gold), text)
    assert (grade.correct, grade.readable, grade.extracted) == (False, True, read), grade


@pytest.mark.parametrize("text", ["", "I like turtles.", "????", "Room B12", "\ud800"])
def test_no_number(text: str) -> None:
    grade = GSM8K.grade(number_item("18"), text)
    assert (grade.correct, grade.readable, grade.extracted) == (False, False, None)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("b.", "B"),
        ("B. a fern\n\nExplanation: A and D bear seeds.", "B"),
        ("A fern has fronds, so the answer is B.", "B"),
        ("A and C are both wrong, so the answer is (B).", "B"),
        ("The answer is not A. The correct option is **B**.", "B"),
        ("At first I thought the answer is A. But the answer is B.", "B"),
        ("The answer is a fern.", "B"),
        ("It is a tree fern.", "C"),
        ("Option B is the most suitable answer. Statement A is correct but beside the point.", "B"),
        ("The plant is B. a fern.", "B"),
        (r"$\boxed{B}$", "B"),
        ("A. a moss - This is not right.\nB. a fern - Yes.\nC. a tree fern - no.\n\nI choose B.", "B"),
        ("None of the given options is correct.", "none"),
        ("The closest option is B.", "B"),
    ],
)
def test_choice_is_read(text: str, read: str) -> None:
    grade = MMLU.grade(choice_item(), text)
    assert (grade.extracted, grade.correct, grade.readable) == (read, read == "B", True), grade


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A ball rolls.",
        "I think that I know.",
        "A difficult question! Both a moss and a fern may do.",
        "Dunno, CABD.",
    ],
)
def test_a_capital_letter_is_no_choice(text: str) -> None:
    grade = MMLU.grade(choice_item(), text)
    assert (grade.correct, grade.readable) == (False, False), grade


def test_choices_with_other_labels() -> None:
    numbered = ARC.from_row(
        {"id": "x", "question": "q?", "answer": "3", "label": ["1", "2", "3"], "1": "ice", "2": "fog", "3": "rain"}
    )
    assert ARC.grade(numbered, "The answer is 3.").correct
    assert not ARC.grade(numbered, "The answer is 1. 3 things matter").correct
    assert ARC.grade(numbered, "C").correct and not ARC.grade(numbered, "B").correct
    assert ARC.chance(numbered) == pytest.approx(1 / 3)
    hub = ARC.from_row(
        {
            "question": "q?",
            "choices": {"text": ["a1", "b2", "c3", "d4", "e5"], "label": list("ABCDE")},
            "answerKey": "E",
        }
    )
    assert ARC.grade(hub, "(E)").correct


STUB = 'def double(n: int) -> int:\n    """ Double a number.\n    >>> double(2)\n    4\n    """\n'
CHECK = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n"


def code_item(**fields: Any) -> Example:
    return MBPP.from_row({"task_id": 1, "prompt": STUB, "test": CHECK, "entry_point": "double"} | fields)


GOOD = "def double(n):\n    return 2 * n"
CODE_ANSWERS = {
    "fenced": f"Here it is:\n```python\n{GOOD}\n```\nIt doubles.",
    "no language": f"```\n{GOOD}\n```",
    "bare": GOOD,
    "bare in prose": f"Sure, here you are:\n\n{GOOD}\n\nThis function doubles what it is given.",
    "never closed": f"```python\n{GOOD}\n",
    "tildes": f"~~~python\n{GOOD}\n~~~",
    "in a list": "1. The code:\n   ```python\n   def double(n):\n       return 2 * n\n   ```\n",
    "helper in a block of its own": (
        "```python\nimport math\ndef twice(n): return 2 * n\n```\nthen\n"
        "```python\ndef double(n):\n    return math.floor(twice(n))\n```"
    ),
    "example behind it": f"```python\n{GOOD}\n```\nUse it:\n```python\nprint(double(4))\n```",
    "better second version": f"```python\ndef double(n):\n    return n\n```\nWait, no:\n```python\n{GOOD}\n```",
    "body only": "    return 2 * n\n",
    "fenced body": "```python\n    return 2 * n\n```",
    "do not": f"```python\n{GOOD}\n```\nDon't write it like this:\n```python\ndef double(n):\n    return n\n```",
    "fixed": f"```\ndef double(n):\n    return n\n```\nDon't use this. Fixed version of bad code:\n```\n{GOOD}\n```",
    "fence behind the last line": f"```python\n{GOOD}```",
    "constant in a block of its own": "```python\nTWO = 2\n```\n```python\ndef double(n):\n    return TWO * n\n```",
    "usage in a block of its own": f"```python\n{GOOD}\n```\n```\nfrom solution import double\nprint(double(2))\n```",
    "body indented by five": "     m = 2 * n\n     return m",
    "body behind a stub's block": f"```python\n{STUB}```\n```python\n    return 2 * n\n```",
    "body with its demo": "    return 2 * n\n\nprint(double(int(input())))\n",
    "input before it": f"```python\nk = int(input())\n{GOOD}\nprint(double(k))\n```",
    "quoted": "[BEGIN]\n 'def double(n):\\r\\n    return 2 * n' \n[DONE]",
    "language on its own line": f"```\npython\n{GOOD}\n```",
    "behind the language": f"```python {GOOD}\n```",
    "full width": "```python\ndef double(n)：\n    return ２ ＊ n\n```",
    "numbered": "```python\n1 def double(n):\n2     return 2 * n\n```",
    "another module's": "```python\nclass M:\n    d = staticmethod(lambda n: 2 * n)\ndouble = M.d\n```",
    "second name": f"```python\n{GOOD.replace('double', 'twice')}\n\ndouble = twice  # as asked\n```",
    "partial": "```python\nfrom functools import partial\nimport operator\ndouble = partial(operator.mul, 2)\n```",
    "body with a tab": "\tm = 2 * n\n\treturn m",
    "as a web page sets it": "```python\ndef double(n):\n    “””Twice.”””\n    return n * 2 if n &lt; 9 else 0\n```",
    "HTML": "<p>So:</p>\n<pre><code>\ndef double(n):\n    return n * 2 if n &lt; 9 else n + n\n</code></pre>",
    "half of a character": f"```python\n# \ud800\n{GOOD}\n```",
    "carriage returns": f"```python\n{GOOD}\n```".replace("\n", "\r"),
    "form feed": f"```python\nSEP = 'a\u2028b'\n\x0c\n{GOOD}\n\x0c\nprint(double(int(input())))\n```",
    "main block": f"```python\n{GOOD}\n\nif __name__ == '__main__':\n    print(double(int(input())))\n```",
}


@pytest.mark.slow
@has_cage
@pytest.mark.parametrize("name", CODE_ANSWERS)
def test_code_is_found_and_passes(name: str) -> None:
    grade = MBPP.grade(code_item(), CODE_ANSWERS[name])
    assert grade.correct and grade.readable, grade


CHEATS = {
    "wrong": "def double(n):\n    return n",
    "exit": "def double(n):\n    import os\n    os._exit(0)",
    "sys.exit": "import sys\ndef double(n):\n    sys.exit(0)",
    "exit on import": "import os\ndef double(n):\n    return n\nos._exit(0)",
    "own equality": "class Yes:\n    def __eq__(self, other): return True\ndef double(n):\n    return Yes()",
    "own equality of a number": "class Yes(int):\n    def __eq__(self, o): return True\ndef double(n): return Yes()",
    "equals anything": "from unittest.mock import ANY\ndef double(n): return ANY",
    "lines skipped": (
        "import sys\ndef trace(frame, event, arg):\n    if frame.f_code.co_name == 'check' and event == 'line':\n"
        "        frame.f_lineno = frame.f_code.co_firstlineno + 2\n    return trace\nsys.settrace(trace)\n"
        "def double(n):\n    sys._getframe(2).f_trace = trace\n    sys.settrace(trace)\n    return -2 if n == -1 else 0"
    ),
    "own check": "def check(candidate):\n    pass\ndef double(n):\n    return 0",
    "patched built-ins": "import builtins\nbuiltins.AssertionError = None\nbuiltins.all = exit\ndef double(n): pass",
    "syntax": "def double(n):\n    return 2 * * n",
    "endless": "def double(n):\n    while True: pass",
}


@pytest.mark.slow
@has_cage
@pytest.mark.parametrize("name", CHEATS)
def test_code_that_must_not_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_answers, "CPU_S", 1.0)
    grade = MBPP.grade(code_item(), f"```python\n{CHEATS[name]}\n```")
    assert (grade.correct, grade.readable) == (False, True), grade


@has_cage
def test_an_answer_that_decides_itself_what_is_near() -> None:
    item = code_item(test="def check(candidate):\n    assert abs(candidate(2) - 4) < 1e-6\n")
    near = "class Near(float):\n    def __sub__(s, o): return 0\ndef double(n):\n    return Near(9)"
    assert [MBPP.grade(item, text).correct for text in (near, near.replace("Near(9)", "4.0"))] == [False, True]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("A is wrong, B is wrong and D is wrong, leaving C.", "C"),
        ("A. iron - rusts\nB. copper - green\nC. zinc - right!\nD. gold - no", "C"),
        ("- A: False\n- B: False\n- C: True\n- D: False", "C"),
        ("| Option | Verdict |\n|---|---|\n| A | ❌ |\n| B | ❌ |\n| C | ✅ |\n| D | ❌ |", "C"),
        ("A ✗ B ✗ C ✓ D ✗", "C"),
        ("The answer is <del>A</del> C", "C"),
        ("The answer is <b>C</b>", "C"),
        ("<final_answer>C</final_answer>", "C"),
        ("C because A is an alloy of copper", "C"),
        ("C seems right", "C"),
        ("only C is true", "C"),
        ("The third option is right, the first option is not.", "C"),
        ("It is the last choice.", "D"),
        ("We can eliminate A, B and D.", "C"),
        ("Options A, B, and D are incorrect.", "C"),
        ("A, B and D can be ruled out.", "C"),
        ("We can eliminate A and B.", None),
        ("We can eliminate A.", None),
        ("The question asks about A.", None),
        ("The fifth option.", None),
        ("No, they rust.", None),
        ("Zinc, since the others rust.", "C"),
        ("C makes the most sense.", "C"),
        ("The answer is A... no, C.", "C"),
        ("It holds zinc, not iron.", "C"),
        ("Doğru cevap C'dir.", "C"),
        ("A. iron\nB. copper\nC. zinc\nD. gold", None),
        ("A common answer is A. The correct one is C.", "C"),
        ("A. iron\nB. copper\n**C. zinc**\nD. gold", "C"),
        ("A. iron\nB. copper\nC. zinc <--\nD. gold", "C"),
        ("A项错误；B项错误；C项正确；D项错误。", "C"),
        ("只有选项C是对的", "C"),
        ("A项不正确，因为铁会生锈。", None),
        ("Is it A? No, iron rusts. Is it C? Yes.", "C"),
        ("I was going to say A, but it's actually C.", "C"),
        ("It can't be A, B or D.", "C"),
        ("Not A. Not B. Not D.", "C"),
        ("Only C works.", "C"),
        ("정답: ③", "C"),
        ("گزینه C", "C"),
        ("Cevap C şıkkıdır.", "C"),
        ("A. iron rusts\nB. right of copper\nC. zinc\nD. gold", "B"),
    ],
)
def test_options_judged_struck_out_or_named_by_their_place(text: str, read: str | None) -> None:
    assert choice.read(text, {"A": "iron", "B": "copper", "C": "zinc", "D": "gold"})[0] == read


@pytest.mark.parametrize(
    ("options", "text", "read"),
    [
        (("Yes", "No"), "No, it is not.", "B"),
        (("10 m/s", "10 m/s^2"), "The acceleration is 10 m/s².", "B"),
        (("10 m/s", "10 m/s^2"), r"\boxed{10\,\text{m/s}^2}", "B"),
        (("left ventricle", "right ventricle"), "A. left ventricle\nB. right ventricle", None),
        (("21", "12"), "21.5", None),
        (("It will rise.", "It will fall."), "The pressure rises.", "A"),
        (("rise", "fall"), "It does not rise; it falls.", "B"),
        (("Niels Bohr", "Isaac Newton"), "It was Newton.", "B"),
        (("True, True", "True, False"), "Both statements are true.", "A"),
        (("Wrong, Wrong", "Not wrong, Not wrong"), "Neither is wrong.", "B"),
        (("I and II", "I, II, and III"), "I and II are true, III is false.", "A"),
        (("True", "False"), "Not false.", "A"),
        (("iron", "zinc"), "Let's see. A. iron rusts, as all know. B. zinc protects what it covers. Hence zinc.", "B"),
        (("He sings.", "He sang."), "(A)\n\n(B) is wrong because of its tense.", "A"),
    ],
)
def test_an_option_is_its_words_however_they_are_set(options: tuple[str, str], text: str, read: str | None) -> None:
    assert choice.read(text, dict(zip("AB", options, strict=True)))[0] == read


@pytest.mark.parametrize(
    "text", ["", "I cannot do this.", "```python\ndef other(n): return n\n```", "```bash\nls\n```"]
)
def test_no_code(text: str) -> None:
    grade = MBPP.grade(code_item(), text)
    assert (grade.correct, grade.readable, grade.extracted) == (False, False, None)


@has_cage
def test_the_stub_serves_imports_and_helpers() -> None:
    stub = "from typing import List\n\ndef helper(n):\n    return 2 * n\n\n" + STUB.replace("n: int", "n: 'List'")
    grade = HUMANEVAL.grade(
        HUMANEVAL.from_row({"task_id": "Example/0", "prompt": stub, "test": CHECK, "entry_point": "double"}),
        "def double(n: List) -> List:\n    return helper(n)",
    )
    assert grade.correct, grade


@pytest.mark.parametrize(
    ("target", "question", "right", "wrong"),
    [
        ("(B)", "Which?\nOptions:\n(A) tea\n(B) milk", "So the answer is (B).", "So the answer is (A)."),
        ("True", "not False is", "That is True. So the answer is True.", "So the answer is False."),
        ("Yes", "Do you return?\nOptions:\n- Yes\n- No", "the answer is: yes", "No."),
        ("invalid", "Is it valid?", "So the answer is invalid.", "So the answer is valid."),
        ("invalid", "Is it valid?", "The answer is not valid.", "The answer is: deductively valid"),
        ("-50", "3 - 53 =", "So the answer is -50.", "So the answer is 50."),
        ("a bee cat", "Sort: cat a bee", "So the answer is a, bee, cat.", "So the answer is a cat bee."),
        ("] )", "Close: ( [", "So the answer is ] ).", "So the answer is ) ]."),
        ("] )", "Complete the rest. Input: ( [", "The whole sequence is ( [ ] ).", "( [ ) ]"),
        ("Yes", "Does Eve tell the truth?", "Since Al lies, Eve tells the truth.", "Eve is lying."),
        ("No", "Do you return?", "You do not return to the starting point.", "You are back where you started."),
        ("no", "Is it plausible?", "This is not a plausible sentence.", "This is a plausible sentence."),
        ("no", "Is it plausible?", "So the answer is no.\n\nQ: another\nA: So the answer is yes.", "yes"),
    ],
)
def test_bbh(target: str, question: str, right: str, wrong: str) -> None:
    example = BBH.from_row({"task": "t", "input": question, "target": target})
    assert BBH.grade(example, right).correct, BBH.grade(example, right)
    grade = BBH.grade(example, wrong)
    assert grade.readable and not grade.correct, grade


def test_yes_and_no_is_neither() -> None:
    example = BBH.from_row({"task": "t", "input": "Do you return?", "target": "Yes"})
    assert BBH.grade(example, "Yes, both do.").correct
    assert not BBH.grade(example, "Yes and no. It depends on the way.").readable
    assert BBH.grade(example, "I choose between yes and no. The answer is yes.").extracted == "yes"


# fmt: off
PARTS = [
    "-", "$", "/", ".", "{", "}", "^", "×", "½", "²", "٣", "Ⅷ",
    "```", "####", "<<", ">>", "A:", "B.", "(A)", "1,", "000", "1e", "10", "is",
    "not", "correct", "option", "twenty", "hundred", "closest",
    "the answer is", "none of the", "def double(", "```python\n", "\\boxed{", "\n", " ", "\x00", "\ud800",
]
# fmt: on


def texts() -> list[str]:
    rng = random.Random(0)
    mixed = ["".join(rng.choice(PARTS) for _ in range(rng.randrange(1, 60))) for _ in range(400)]
    noise = ["".join(chr(rng.randrange(0x110000)) for _ in range(rng.randrange(1, 60))) for _ in range(200)]
    return ["", *mixed, *noise]


def items() -> list[tuple[benchmarks.Benchmark, Example]]:
    targets = ["True", "5", "a b c", "] )", "invalid"]
    bbh = [(BBH, BBH.from_row({"task": "t", "input": "x", "target": target})) for target in targets]
    return [(GSM8K, number_item("18")), (GSM_PLUS, number_item("None")), (MMLU, choice_item(A="c(", D="\\d")), *bbh]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_no_text_breaks_a_grader() -> None:
    for text in texts():
        for benchmark, example in items():
            grade = benchmark.grade(example, text)
            assert grade.readable or (not grade.correct and grade.extracted is None), (text, grade)
        code_answers.find_code(text, "double")


LOOPS = [
    "```\n", "```python\nx = 1\n```\n", "\n", " ", "\t\n", "9", "1,", " 9", "9,999,", "**", "__", "<think>", "</think>",
    "\\boxed{", '{"answer": "', "<answer>", "<eos>", "<|channel|>analysis<|message|>", "#### ", "The answer is x. ",
    "\nWhat is next?\n\nA. x\n\nB. y", "\nQ: What is it?", "A and B ", "option A is ", "closest a ", "not ", "twenty ",
    "treinta y ", "No wait. ", "3만 5천 ", "1 000 ", "<",
    "答案是", "一", "万", "7 hours 3 ", "def double(n):\n", "def f():\n  x\n", "\nA) x", "<<1=", "information ", "(",
    '"\\', "> ", "\n+", "<a",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("family", ["number", "choice", "truth", "words", "brackets", "code", "second"])
def test_no_text_is_slow(family: str) -> None:
    """A linear scan takes a tenth of the limit; one that goes over the text once per character, ten times as much."""
    readers = {
        "number": lambda text: GSM_PLUS.grade(number_item("18"), text),
        "choice": lambda text: MMLU.grade(choice_item(), text),
        "code": lambda text: code_answers.find_code(text, "double"),
        "second": lambda text: second._vote("B", choice_item().fields["options"], second._answer(text)),
    }
    for kind, gold in (("truth", "yes"), ("words", "a b c"), ("brackets", "] )")):
        item = BBH.from_row({"task": "t", "input": "x", "target": gold})
        readers[kind] = lambda text, item=item: BBH.grade(item, text)
    read, size = readers[family], 60_000
    ends = ["Yes." + "\n" * size, "\n" * size + "Question:", "A" + " " * size + "x"]
    for text in [*(part * (size // len(part)) for part in LOOPS), *ends]:
        started = time.process_time()
        read(text)
        assert time.process_time() - started < 2, text[:30]


@pytest.mark.slow
def test_a_long_text_takes_little_memory() -> None:
    tracemalloc.start()
    try:
        for part in ("The answer is x. ", "答案是", "\nA) x", "{ "):
            text = part * (250_000 // len(part))
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            GSM_PLUS.grade(number_item("18"), text)
            MMLU.grade(choice_item(), text)
            BBH.grade(BBH.from_row({"task": "t", "input": "x", "target": "a b c"}), text)
            assert tracemalloc.get_traced_memory()[1] - before < 40 * 2**20, part
    finally:
        tracemalloc.stop()


def test_an_answer_before_a_long_loop_of_words_is_read() -> None:
    for words in ("I hope this helps. ", "word "):
        assert GSM_PLUS.grade(number_item("18"), "The answer is 18. " + words * 8000).correct


def test_rules_that_one_answer_each_needs() -> None:
    """Each line fails without one rule: percent of gold, rounded gold, bold, rounding in words, three of choices."""
    assert final_number.grade("12%", "It is 0.12").correct
    assert final_number.grade("4.33", "It is 4.3333").correct and not final_number.grade("4.3", "It is 4.3333").correct
    assert final_number.grade("8", "So each of the **8** friends got 5 pens for 3 days").correct
    assert final_number.grade("4", "The answer is 3.6, which rounds up to 4 bags of 2 kg").correct
    four = {"A": "a moss", "B": "a fern", "C": "a tree fern", "D": "a pine"}
    declined = "Without the picture, a fern may do. I cannot determine the answer."
    assert choice.read(declined, four) == (None, "declines to choose")
    field = '{"answer": "B", "why": "The answer is (C) for others."}'
    assert choice.read(field, four) == ("B", "answer field, stated")
    assert choice.read("It is 3 cats, so B.", {"A": "2 cats", "B": "3 cats"})[0] == "B"
    grown = {"A": "increase", "B": "large increase", "C": "fall", "D": "stay"}
    assert choice.read("We see a large increase", grown)[0] == "B"
    denied = "It is not A. a moss. Others such as B. a fern and C. a tree fern have fronds."
    assert choice.read(denied, four)[1] != "labelled option"


@has_cage
@pytest.mark.parametrize("dress", ["```tool_code\nCODE\n```", "```python\nCODE\n```"])
def test_code_in_a_tool_s_fence_and_with_spaces_of_a_web_page(dress: str) -> None:
    item = MBPP.from_row(
        {"task_id": 1, "text": "Double x.", "code": "def twice(x): return 2 * x", "test_list": ["assert twice(2) == 4"]}
    )
    assert MBPP.grade(item, dress.replace("CODE", "def twice(x):\n\xa0 \xa0 return 2\xa0* x")).correct


FOREIGN = ["คำตอบคือข้อ ข", "ข้อ ข", "ข", "الإجابة هي (ب)", "ب) y", "सही उत्तर ख है।", "정답은 ②번입니다.", "答案是Ⓑ"]


@pytest.mark.parametrize("text", FOREIGN)
def test_options_are_counted_in_other_scripts(text: str) -> None:
    letters, digits = "ABC", "123"
    labels = digits if "②" in text else letters
    assert choice.read(text, dict(zip(labels, ("x1", "x2", "x3"), strict=True)))[0] == labels[1]
    assert choice.read("ข้อสอบ بيت खत", dict(zip(letters, ("x1", "x2", "x3"), strict=True)))[0] is None


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ("กขค", "ตอบ ข."),
        ("أبج", "الإجابة هي ب"),
        ("АБВ", "В этом вопросе ответ Б."),
        ("①②③", "정답은 ②입니다."),
        ("①②③", "정답: 2"),
        ("アイウ", "答えはイです"),
        ("甲乙丙", "选乙"),
        ("가나다", "나는 압니다. 정답: 나"),
        ("가나다", "정답은 나입니다."),
    ],
)
def test_labels_of_an_item_s_own_script(labels: str, text: str) -> None:
    options = dict(zip(labels, ("x1", "x2", "x3"), strict=True))
    assert choice.read(text, options)[0] == labels[1]
    item = replace(choice_item(), gold=labels[1], fields={"options": options})
    assert second.second_grades(MMLU, [item], [text], [Grade(False, None, False, "")])[0][0] in (True, None)


@pytest.mark.parametrize(
    ("text", "two"),
    [
        ("I think it's 12, but it could be 15.", True),
        ("The answer is 12. However, it might be 15 if they rest.", True),
        ("#### 12 or 15", True),
        ('{"answer": "12 or 15"}', True),
        ("\\boxed{12} or \\boxed{15}", True),
        ("\\boxed{12 \\text{ or } 15}", True),
        ("\\boxed{12, 15}", True),
        ("12 apples, or 15 if you count the bad ones", True),
        ("The answer is between 12 and 15", True),
        ("It may be 15 or 12. It is even, so the answer is 12.", False),
        ("The answer is 12 minutes, or 720 seconds.", False),
        ("The answer is 12 or 1200%", False),
        ("The answer is 12 or 12.4", False),
        ("He can have 12 of the 3 or 4 kinds.", False),
    ],
)
def test_of_two_numbers_as_good_as_each_other_none_is_graded(text: str, two: bool) -> None:
    for gold in ("12", "15"):
        found = GSM8K.grade(number_item(gold), text)
        assert found.readable != two and found.correct == (not two and gold == "12"), found


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("Answer: ~~9~~ 7", "7"),
        ("He had 5 and ate 5. There are no apples left.", "0"),
        ("So the answer is 3 + 4 → 7", "7"),
        ("So the answer is 3 plus 4, i.e., 7.", "7"),
        ("It's 7 — 3 red ones and 4 blue ones.", "7"),
    ],
)
def test_corrections_nothing_and_sums(text: str, gold: str) -> None:
    found = GSM8K.grade(number_item(gold), text)
    assert found.correct, found


SHORT = [
    "👉 B",
    "Probably B",
    "B!",
    "Hmm... B?",
    "I'm not sure, but I think B.",
    "Letter: B",
    "Jibu ni B",
    "I select: B",
]
JUDGED = [
    "- A ❌\n- B ✅\n- C ❌",
    "A. No wait, B.",
    "While A may look right, B is the better answer.",
    "A - no\nB - yes\nC - no",
    "B is correct; A would be correct for a lighter one.",
    "A... wait, actually B.",
    "B (Confidence: high)",
    "| Option | Verdict |\n|---|---|\n| A | Incorrect |\n| B | **Correct** |\n| C | Incorrect |",
    "B would be my answer.",
    "B is the only one that fits.",
    "It is not a moss but a fern.",
    "Q: which?\nA: B",
]


@pytest.mark.parametrize("text", [*SHORT, *JUDGED, "{'selected_option': 'B'}", "Câu trả lời đúng là B.\nVì nó có lá."])
def test_a_letter_in_few_words_is_a_choice(text: str) -> None:
    assert choice.read(text, {"A": "a moss", "B": "a fern", "C": "a pine"})[0] == "B"


def test_a_denied_truth_is_the_other_option() -> None:
    assert choice.read("This is not true.", {"A": "True", "B": "False"})[0] == "B"


@pytest.mark.parametrize(
    "text", ["Vitamin B", "Not B.", "It isn't B", "A or rather hepatitis B", "Das ist nicht B.", "It is not a fern."]
)
def test_a_letter_of_another_word_or_denied_is_none(text: str) -> None:
    assert choice.read(text, {"A": "a moss", "B": "a fern", "C": "a pine"})[0] is None


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        ("a b c", '```json\n["a", "b", "c"]\n```'),
        ("a b c", "a | b | c"),
        ("3:30 PM", "3:30 pm"),
        ("x: y", "It is: x: y"),
        ("a b c", "1) a 2) b 3) c"),
        ("a b c", "(1) a\n(2) b\n(3) c"),
        ("a b c", "In alphabetical order they are a, b, and c."),
        ("a b c", "The sorted list:\n\n1. a\n2. b\n3. c\n\nThese words are sorted now."),
        ("a b c", "a、b、c"),
        ("a b c", "Final Answer:\n* a\n* b\n* c"),
        ("a b c", 'sorted_list = ["a", "b", "c"]'),
        ("a b c", "a b c\n\n(3 words in total)"),
        ("3:4", "The ratio is 3:4."),
        ("Paris", "The capital of France is Paris."),
        ("2, 3, 4", "n = 2, 3, 4"),
        ("Evelyn", r"Thus \boxed{\text{Evelyn}} ran fastest."),
        (r"(3,4]", r"So $x$ lies in $\boxed{(3, 4]}$."),
        ("a, b", r"They are \boxed{a} and \boxed{b}; the answer is a, b"),
        ("Paris", "\\boxed{5} towns are left.\nThe capital is Paris."),
        ("H2O", "$H_2O$"),
        ("False", "Not true."),
        ("] } ]", r"\boxed{] } ]}"),
        ("] } ]", r"$\boxed{]\}]}$"),
        ("] } ]", "] } ] (all three)\n\nExplanation: [ opens first."),
        (") >", "The answer is ) &gt;"),
        ("False", "It is false, not true."),
        ("True", "It is True since neither side is False."),
        ("Yes", "Yes, he did: most say yes, since no one else knew. There is no doubt."),
        ("Yes", "They say yes, because no other cause is named."),
        ("invalid", "Not a valid argument."),
        ("invalid", "It is **not** valid, and cannot be considered valid."),
        ("invalid", "Is it valid? No."),
        ("valid", "It is not only valid but sound."),
        ("yes", "So the sentence is perfectly plausible."),
        ("no", "It is not plausible."),
        ("no", "Implausible, as home runs are of baseball."),
    ],
)
def test_words_in_a_fence_between_bars_or_with_a_colon(gold: str, text: str) -> None:
    assert free_text.grade(gold, text).correct


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        ("A and C", "C"),
        ("A, B", "B"),
        ("Paris", "It is not Paris."),
        ("5", "It is 2:5."),
        ("12", "From 10 – 12"),
        ("París", "No es París."),
        ("巴黎", "首都不是巴黎。"),
        ("apollo 13", "apollo 11"),
        ("1 cup 2 spoons", "2 cup 1 spoons"),
        ("No", "No doubt: yes."),
        ("Evelyn", r"Not Evelyn: \boxed{Angela}"),
        ("true", "It's not true."),
        ("true", "It isn't true."),
        ("Paris", "The answer is Lyon, not Paris."),
        ("Paris", "Paris is not the capital."),
        ("Paris", "Paris is large, but the capital is Lyon."),
        ("Paris", "Lyon (not Paris)"),
        ("March 5, 2021", "March 6, 2021"),
        ("3:2", "2 to 3"),
        ("3:45 PM", "3:45 AM"),
    ],
)
def test_what_looks_like_a_mark_may_be_the_answer(gold: str, text: str) -> None:
    assert not free_text.grade(gold, text).correct


def test_numbers_are_exact() -> None:
    read = numbers.parse("0.1")
    assert read is not None and read.value * 3 == numbers.parse("0.3").value  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        ("Paris", "It is the capital.\n#### Paris"),
        ("Paris", "The answer is **Paris**!"),
        ("Zürich", "The answer is Zu\u0308rich."),
        ("Paris", "The answer is Ｐａｒｉｓ."),
        ("it's", "The answer is it’s."),
        ("IFN signature", "The answer is IFN-signature."),
        ("Dr. No", "The answer is Dr. No. He is a doctor."),
        ("東京", "答えは東京です。"),
        ("서울", "정답은 서울입니다."),
        ("París", "La capital de Francia es París."),
        ("Париж", "Столица Франции — Париж."),
        ("巴黎", "法国的首都是「巴黎」。"),
        ("パリ", "フランスの首都はパリです。"),
        ("서울", "한국의 수도는 서울입니다."),
        ("باريس", "عاصمة فرنسا هي باريس."),
        ("İzmir", "IZMIR".replace("I", "İ", 1)),
        ("दिल्ली", "उत्तर दिल्ली है।"),
        ("Paris", "The answer is Paris, not Lyon."),
        ("Paris", "Paris – not Lyon – is the capital."),
        ("Paris", "The answer is Paris because the parliament sits there."),
        ("Paris", "Die Hauptstadt ist Paris, weil dort das Parlament tagt."),
        ("Paris", "La capitale est Paris, et non Lyon."),
        ("carbon dioxide", "The answer is carbon dioxide (CO₂)."),
        ("Paris", "The capital is Paris, which lies on the Seine."),
        ("Paris", "Paris is the capital of France."),
        ("Paris", "The answer is Paris 🇫🇷"),
        ("Romeo and Juliet", "Romeo & Juliet"),
        ("false", "It's not true."),
        ("March 5, 2021", "The day is 5th March 2021."),
        ("2021-03-05", "The answer is March 5th, 2021."),
        ("3:2", "The answer is 3 to 2."),
        ("3-1", "The answer is 3–1."),
        ("3:45 PM", "The answer is 3.45 pm."),
        ("true", "It isn't false."),
    ],
)
def test_words_are_the_same_however_they_are_typed_or_stated(gold: str, text: str) -> None:
    assert free_text.grade(gold, text).correct and not free_text.grade("Rome", text).correct


@pytest.mark.slow
@pytest.mark.parametrize("stated", ["#### {}", "The answer is {}.", "So the answer: {}\nDone.", "\\boxed{{{}}}"])
@pytest.mark.parametrize(
    ("gold", "same", "other"),
    [
        ("x^2+1", "1+x^2", "x^2+2"),
        ("2\\sqrt{3}", "2√3", "2"),
        ("\\frac{\\pi}{2}", "π/2", "\\pi"),
        ("2\\pi", "2pi", "\\pi"),
        ("∞", "\\infty", "0"),
        ("1-\\frac{1}{\\mathrm{e}}", "1-\\frac{1}{e}", "1+\\frac{1}{e}"),
        ("\\frac{1}{2^{99}}", "2^{-99}", "\\frac{1}{2^{98}}"),
    ],
)
def test_a_formula_is_read_without_latex_s_marks(stated: str, gold: str, same: str, other: str) -> None:
    verdicts = [final_number.grade(gold, stated.format(text)).correct for text in (gold, same, other)]
    assert verdicts == [True, True, False]


@pytest.mark.parametrize(
    ("gold", "same", "other"),
    [
        ("2^{n} - 1", "2**n - 1", "2 \\cdot 2^{n} - 2"),
        ("x^{10} + 1", "x**10+1", "x^{20} + 1"),
        ("\\sin^{2}(x)", "sin(x)**2", "sin(2*x)"),
    ],
)
def test_a_formula_is_read_as_a_program_writes_it(gold: str, same: str, other: str) -> None:
    assert [final_number.grade(gold, f"The answer is {text}.").correct for text in (same, other)] == [True, False]


def test_a_system_that_limits_no_memory_still_reads_formulas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = "ValueError('current limit exceeds maximum limit')"  # as on macOS
    hook = f"import resource\ndef setrlimit(*_): raise {refusal}\nresource.setrlimit = setrlimit\n"
    (tmp_path / "sitecustomize.py").write_text(hook)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    judge = latex.Judge()
    assert judge.ask("12", "$12$").right
    judge.close()


@pytest.mark.parametrize("count", [9, 10, 18, 26])
def test_texts_without_a_choice_are_unreadable_among_any_number_of_options(count: int) -> None:
    options = {chr(ord("A") + n): f"word{'s' * n}" for n in range(count)}
    assert choice.read("So the answer is zebra", options) == (None, "no option named")


@pytest.mark.parametrize(
    ("gold", "question", "text", "right"),
    [
        ("42", "How many?", "More than 42.", False),
        ("42", "How many?", "There are fewer than 42 eggs.", False),
        ("42", "How many?", "40-42 eggs", False),
        ("42", "How many?", "2 more than 40 is 42.", True),
        ("-3", "4 - 7 =", "4 - 7 = -3", True),
        ("-150", "What is the profit?", "They made a loss of $150.", True),
        ("-150", "What is the change?", "It decreased by 150.", True),
        ("150", "What is the profit?", "They made a loss of $150.", False),
        ("150", "What is the profit?", "They made a loss of $150.\n#### 150", True),
        ("150", "What is the loss?", "They made a loss of $150.", True),
        ("50", "What is the profit?", "After a loss of $150, they made $200 and so a profit of $50.", True),
        ("3.5", "How many hours did it take?", "It took 210 minutes.", True),
        ("3.5", "How many hours did it take?", "It took 200 minutes.", False),
        ("0.75", "How many dollars is it?", "It is 75 cents.", True),
        ("14", "How many full boxes?", "98 / 7 = 14 remainder 2", True),
        ("2", "How many are left over?", "14 remainder 2", True),
        ("-15", "By how much did it change?", "It dropped 15 dollars.", True),
        ("36", "What is 15% of 240?", "36 is 15% of 240.", True),
        ("30", "It costs $40 and is discounted by 25%. What is the price?", "You save $10 and pay $30.", True),
        ("56", "Ann has 14. How many do they have?", "Tom has 42 and together they have 56.", True),
        ("56", "How many marbles?", "Together: 14 + 42 = 56 marbles. (Tom: 42, Ann: 14)", True),
        ("4", "How many red balls are there?", "4 red balls and 6 blue balls.", True),
        ("6", "How many blue balls are there?", "6 blue balls and 4 red balls.", True),
        ("4", "How many red balls are there?", "Red balls: 4, blue balls: 6.", True),
        ("4", "How many red balls are there?", "Red: 4\nBlue: 6", True),
        ("6", "How many apples are there?", "Bought: 10\nApples eaten: 4\nLeft: 6", True),
        ("2100", "How much does she make in a week?", "She makes $300 a day, $2,100 a week.", True),
        ("12", "Wie viele Äpfel hat er?", "Er hat nun 12 statt 5 Äpfel.", True),
        ("1.5", "12 muffins cost $18. How much is one?", "It is 150 cents.", True),
        ("1250.5", "How far?", "1 250.5 km", True),
        ("0.25", "What is the probability?", "It is one in four.", True),
        ("10", "How many ways?", "10 = 5!/(2!3!)", True),
        ("24", "How many?", "There are 24 [1][2].", True),
        ("0", "How many apples does she have?", "She has no apples.", True),
        ("91", "They eat every day. How many eggs in a week?", "They eat 13 eggs a day and 91 a week.", True),
        ("17", "How long did it take?", "The first part took 6 hours, the last part 8; in total 17 hours.", True),
        ("90", "It costs 3 times the lot. How much did the house cost?", "House: $90\nLot: $30", True),
        ("81", "Find a + b + c.", "Answer: 81 = 2*7+3*6+49", True),
        ("0.45", "Ten pens cost $4.50. How much is one?", "45¢", True),
        ("4000 ml", "How much is it?", "4 l", True),
        ("4000 ml", "How much is it?", "4000 l", False),
        ("1945", "When did it end?", "It ended before 1945.", False),
        ("42", "How many?", "42 is wrong.", False),
        ("42", "What is x?", "x > 42", False),
        ("42", "What is x?", "The answer is <42>", True),
        ("3 hours", "How long?", "not 3 hours", False),
    ],
)
def test_bounds_losses_units_and_remainders(gold: str, question: str, text: str, right: bool) -> None:
    assert final_number.grade(gold, text, question).correct is right


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I choose A. Actually, B.", "B"),
        ("I choose B. Actually, A.", "A"),
        ("It isn't A, C or D.", "B"),
        ("not the wren", None),
        ("B (not A)", "B"),
        ("A - 5%\nB - 85%\nC - 5%\nD - 5%", "B"),
        ("the 2nd one", "B"),
        ("option two", "B"),
        ("The wrong answer is B.", None),
        ("The least likely is B.", None),
        ("Anything but a wren.", None),
        ("A wren is not the answer.", None),
        ("I choose to skip B", None),
        ("Grade: B", None),
        ("It has feathers, and no other one has: B", "B"),
        ("A (10%), B (70%), C (15%), D (5%)", "B"),
        ("Confidence: A=0.1, B=0.7, C=0.1, D=0.1", "B"),
        ("B is correct. Had it asked for a fish, D would be correct.", "B"),
        ("Answer: B\n\nIf it had fins, the answer would be D.", "B"),
    ],
)
def test_options_taken_back_or_denied(text: str, label: str | None) -> None:
    assert choice.read(text, {"A": "a bat", "B": "a wren", "C": "a bee", "D": "a trout"})[0] == label


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        ("no", "Yes, wait, no.", "No, wait, yes."),
        ("Paris", "Paris is the capital today.", "Paris was the capital until 1940; today it is Lyon."),
        ("Paris", "I am sure that it is Paris.", "Sorry, I cannot say whether it is Paris."),
    ],
)
def test_words_taken_back_or_not_said(gold: str, right: str, wrong: str) -> None:
    assert free_text.grade(gold, right).correct and not free_text.grade(gold, wrong).correct


ABOVE = {"A": "iron", "B": "copper", "C": "zinc", "D": "All of the above"}
NONE_OF = ABOVE | {"D": "None of these"}
COUNTS = {"A": "12", "B": "15", "C": "18", "D": "21"}
CHINESE = {"A": "增加", "B": "减少", "C": "不变", "D": "无法确定"}


@pytest.mark.parametrize(
    ("options", "text", "label"),
    [
        (ABOVE, "A, B, and C", "D"),
        (ABOVE, "All of them are metals.", "D"),
        (ABOVE, "Iron, copper, and zinc are metals.", "D"),
        (ABOVE, "Only A and B.", None),
        (ABOVE, "Iron, copper and zinc are not metals.", None),
        (NONE_OF, "None of them is a gas.", "D"),
        (NONE_OF, "Neither iron, copper nor zinc is a gas.", "D"),
        (COUNTS, "1.8", None),
        (COUNTS, "15%", "B"),
        (COUNTS, "It is more than 15.", None),
        (CHINESE, "不会减少", None),
        (CHINESE, "不是B", None),
        (COUNTS, "12, 15 and 21 are wrong, so 18.", "C"),
        ({"A": "Yes", "B": "No"}, "Nope.", "B"),
        ({"A": "Yes", "B": "No"}, "No, yes would be wrong.", "B"),
        ({"1": "dog", "2": "cat", "3": "bird"}, "3번", "3"),
        ({"1": "dog", "2": "cat", "3": "bird"}, "#3", "3"),
        (CHINESE, "压强减少。", "B"),
        (CHINESE, "压强不增加。", None),
        (CHINESE, "综上所述，正确答案是B：因为温度降低了", "B"),
        (CHINESE, "只有C选项是对的", "C"),
    ],
)
def test_options_in_other_words(options: dict[str, str], text: str, label: str | None) -> None:
    assert choice.read(text, options)[0] == label


@pytest.mark.parametrize(
    ("question", "gold", "right", "wrong"),
    [
        ("Who wrote Hamlet?", "William Shakespeare", "It was written by William Shakespeare.", "Marlowe wrote it."),
        (
            "Who wrote Hamlet?",
            "William Shakespeare",
            "William Shakespeare wrote it.",
            "It was not by William Shakespeare.",
        ),
        ("Who found it?", "Ann Lee", "It was found in 1928 by Ann Lee.", "It was found in 1928 for Ann Lee."),
        ("Qui l'a écrit ?", "Hugo", "Il a été écrit par Hugo.", "Il n'a pas été écrit par Hugo."),
        ("Who wrote it?", "Mark Twain", "Mark Twain, the author of Roughing It", "Mark Twain's wife wrote it."),
        ("Where is the Eiffel Tower?", "Paris", "It's located in Paris, France.", "It is in Paris or London."),
        ("Which team beat the Bears?", "Packers", "The Packers beat the Bears.", "The Bears beat the Packers."),
        ("Which team beat the Bears?", "Packers", "The Packers, in 2006", "Did the Packers beat the Bears?"),
        ("What do plants take in?", "CO2", "Plants take in CO2 (a gas).", "Plants take in air and give off CO2."),
        ("中国的首都是哪里？", "北京", "北京是中国的首都。", "首都不是北京"),
        ("भारत की राजधानी?", "दिल्ली", "भारत की राजधानी दिल्ली है।", "भारत की राजधानी मुंबई है।"),
        ("Who is taller?", "Tom", "Tom is taller.", "Tom is shorter."),
        ("When?", "1914-1918", "from 1914 to 1918", "1914"),
        ("Which virus?", "COVID-19", "Covid 19", "COVID-18"),
        ("Which?", "\\text{(C)}", "\\boxed{C}", "\\boxed{D}"),
        ("Is it even?", "\\text{even}", "The function is even.", "The function is odd."),
        ("Can one say?", "Cannot be determined", "It cannot be determined.", "It can be determined."),
        ("Which site?", "https://a.org/b", "[https://a.org/b](https://a.org/b)", "https://a.org/c"),
        ("Is it positive?", "positive", "It is mostly positive.", "It is hardly positive."),
        ("Would it sink?", "no", "Nope.", "True."),
        ("Would it sink?", "yes", "Yep.", "I can't say yes"),
        ("Who was it?", "Marie Curie", "It was Marie Curie.", "I doubt it was Marie Curie."),
        ("Would it sink?", "no", "False.", "Not no."),
    ],
)
def test_an_answer_in_words_may_say_the_question_again(question: str, gold: str, right: str, wrong: str) -> None:
    assert free_text.grade(gold, right, question).correct and not free_text.grade(gold, wrong, question).correct
