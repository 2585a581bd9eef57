"""The scripted instructor: what it may read, what it concludes, and that its lessons are right."""

import inspect
import random
import re

import pytest

from laif_helpers import benchmarks
from laif_helpers.benchmarks import practice
from laif_helpers.benchmarks.practice.reading import recognise
from laif_helpers.instructors import scripted
from laif_helpers.instructors.prompts import LABELS
from laif_helpers.records import Example, Message

SYSTEM = {"role": "system", "content": "You study a student's wrong answer and write practice for it."}
QUESTION = "Mia has 3 dozen eggs. She loses 4 eggs. How many eggs does Mia have now?"
STUDENT = "Mia has 3 * 2 = 6 eggs.\nMia has 6 - 4 = 2 eggs.\n#### 2"
CORRECT = "Mia has 3 * 12 = 36 eggs.\nMia has 36 - 4 = 32 eggs.\n#### 32"
NEIGHBOURS = [
    "Tom has 5 pairs of eggs. He loses 6 eggs. How many eggs does Tom have now?",
    "Ana has 4 boxes of 6 eggs each. She keeps half of the eggs. How many eggs does Ana end up with?",
]


def request(n: int = 6, right: list[str] | None = None, vary: str = "", wrong: str = QUESTION, student: str = STUDENT):
    blocks = []
    if right is not None:
        listed = "\n\n".join(f"{i}. {question}" for i, question in enumerate(right, start=1))
        blocks.append(f"### {LABELS['right']}\n{listed}")
    if vary:
        blocks += [f"### {LABELS['vary']}\n{vary}"]
    else:
        blocks += [f"### {LABELS['wrong']}\n{wrong}", f"### {LABELS['student']}\n{student}"]
    blocks += [f"### {LABELS['gold']}\n{CORRECT}", f"### {LABELS['task']}\nWrite {n} new questions for the student."]
    return [SYSTEM, {"role": "user", "content": "\n\n".join(blocks)}]


def parse(reply: str) -> tuple[str, list[tuple[str, str]]]:
    head, *samples = re.split(r"^Sample \d+:\n", reply, flags=re.MULTILINE)
    pairs = [re.fullmatch(r"Question: (.*?)\nAnswer: (.*)", s.rstrip("\n"), re.DOTALL) for s in samples]
    assert head.startswith("Diagnosis: ") and all(pairs)
    return head.removeprefix("Diagnosis: ").strip(), [(p.group(1), p.group(2)) for p in pairs if p]


def concepts(lessons: list[tuple[str, str]]) -> list[tuple[str, ...]]:
    return [recognise(question).concepts for question, _ in lessons]


def test_it_sees_the_chat_and_nothing_else() -> None:
    parameters = inspect.signature(scripted.answer).parameters
    assert list(parameters) == ["messages", "seed"]
    source = inspect.getsource(scripted)
    assert ".fields" not in source and "GAPS" not in source and "PRACTISED" not in source
    # The same text about a practised concept is treated alike: it knows of no list of gaps.
    student = "Mia has 3 * 3 = 9 eggs.\nMia has 9 - 4 = 5 eggs.\n#### 5"
    wrong = QUESTION.replace("dozen", "pairs of")
    _, lessons = parse(scripted.answer(request(wrong=wrong, student=student), seed=0))
    assert all("pair" in chain for chain in concepts(lessons))


def test_le_teaches_the_step_that_failed() -> None:
    diagnosis, lessons = parse(scripted.answer(request(n=12), seed=0))
    assert "'dozen'" in diagnosis and "3 * 2 = 6" in diagnosis and "3 * 12 = 36" in diagnosis
    assert len(lessons) == 12 and all("dozen" in chain for chain in concepts(lessons))
    student = "Mia has 3 * 12 = 36 eggs.\nMia has 36 + 4 = 40 eggs.\n#### 40"
    diagnosis, lessons = parse(scripted.answer(request(n=12, student=student), seed=0))
    assert "'lose'" in diagnosis and all("lose" in chain for chain in concepts(lessons))


def test_le_varies_numbers_wording_and_partners() -> None:
    _, lessons = parse(scripted.answer(request(n=40), seed=1))
    problems = [recognise(question) for question, _ in lessons]
    steps = [step for p in problems for step in p.steps if step.concept == "dozen"]
    assert len({step.phrasing for step in steps}) == 3
    assert len({step.equation.left for step in steps}) >= 5
    assert len({partner for p in problems for partner in p.concepts} - {"dozen"}) >= 5
    assert not any("/plus" in step.phrasing for p in problems for step in p.steps)


def test_lec_teaches_the_boundary_two_thirds_to_one() -> None:
    diagnosis, lessons = parse(scripted.answer(request(n=9, right=NEIGHBOURS), seed=0))
    assert re.search(r"can do 'pair' and 'lose' and 'box' and 'half', but fails when 'dozen' is involved", diagnosis)
    chains = concepts(lessons)
    assert sum("dozen" in chain for chain in chains[:6]) == 6
    assert all(set(chain) & {"pair", "lose", "box", "half"} for chain in chains[6:])


def test_lec_keeps_its_shares_over_many_small_requests() -> None:
    lessons = [parse(scripted.answer(request(n=2, right=NEIGHBOURS), seed=s))[1] for s in range(300)]
    focused = [("dozen" in chain) for pair in lessons for chain in concepts(pair)]
    assert sum(focused) / len(focused) == pytest.approx(2 / 3, abs=0.07)


def test_lec_trusts_the_contrast_over_the_first_slip() -> None:
    # The slip is at 'lose', which a neighbour shows the student can do; only 'dozen' is new.
    student = "Mia has 3 * 12 = 36 eggs.\nMia has 36 + 4 = 40 eggs.\n#### 40"
    diagnosis, lessons = parse(scripted.answer(request(n=6, right=NEIGHBOURS[:1], student=student), seed=0))
    assert "fails when 'dozen' is involved" in diagnosis
    assert all("dozen" in chain for chain in concepts(lessons)[:4])


def test_lec_without_a_boundary_keeps_to_the_failed_step() -> None:
    same = [QUESTION.replace("Mia", "Eva").replace("3", "4")]
    diagnosis, _ = parse(scripted.answer(request(right=same), seed=0))
    assert "fails when 'dozen' is involved" in diagnosis and "can do 'lose'" in diagnosis


def test_auggpt_varies_the_question_and_keeps_its_concepts() -> None:
    diagnosis, lessons = parse(scripted.answer(request(n=8, vary=QUESTION), seed=0))
    assert set(concepts(lessons)) == {("dozen", "lose")}
    assert len({question for question, _ in lessons}) == 8
    assert "fails" not in diagnosis


@pytest.mark.parametrize("student", ["", "I do not know.", "#### 7", "3 dozen eggs, 4 lost", "\x00🤷 = = 12 * = 3"])
def test_an_answer_without_equations_is_no_obstacle(student: str) -> None:
    _, lessons = parse(scripted.answer(request(student=student), seed=0))
    assert len(lessons) == 6


def test_factors_in_another_order_are_no_mistake() -> None:
    mistake = scripted.find_mistake(recognise(QUESTION), "12 * 3 = 36\n4 - 36 = 32")
    assert mistake.concept == "lose"


def test_same_messages_and_seed_same_reply() -> None:
    assert scripted.answer(request(), seed=3) == scripted.answer(request(), seed=3)
    assert scripted.answer(request(), seed=3) != scripted.answer(request(), seed=4)
    other = request(wrong=QUESTION.replace("Mia", "Eva"))
    assert scripted.answer(request(), seed=3) != scripted.answer(other, seed=3)


def ask(example: Example, arm: str, rng: random.Random, pool: list[Example]) -> list[Message]:
    if arm == "auggpt":
        return request(n=3, vary=example.question)
    right = [e.question for e in rng.sample(pool, 3)] if arm == "lec" else None
    return request(n=3, right=right, wrong=example.question, student=f"It is 1 + 1 = 2.\n#### {rng.randint(1, 99)}")


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["le", "lec", "auggpt"])
def test_lessons_on_real_items_are_right_and_never_copies(arm: str) -> None:
    rng = random.Random(0)
    train = benchmarks.get("practice").load("train")
    for example in [*train[::12], *benchmarks.get("practice_plus").load("test")[::12]]:
        _, lessons = parse(scripted.answer(ask(example, arm, rng, train), seed=1))
        assert len(lessons) == 3
        for question, response in lessons:
            assert question != example.question
            lesson = practice.BENCHMARKS["practice"].from_row({"question": question, "answer": response})
            assert benchmarks.get("practice").grade(lesson, response).correct
            assert str(recognise(question).answer) == lesson.gold
            equations = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", response)
            assert [f"{a} {s} {b} = {c}" for a, s, b, c in equations] == list(map(str, recognise(question).equations))
            for a, sign, b, c in equations:
                a, b, c = int(a), int(b), int(c)
                assert {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[sign] == c


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([SYSTEM], "'### Task' must name a number"),
        ([{"role": "user", "content": "### Task\nWrite many new questions"}], "'### Task' must name a number"),
        ([{"role": "user", "content": "### Task\nWrite 3 new questions"}], "has none of the blocks"),
        (request(wrong="What is the capital of France?"), "practice"),
        (request(right=["Why is the sky blue?"]), "practice"),
    ],
)
def test_a_request_it_cannot_read_is_refused(messages: list[Message], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        scripted.answer(messages, seed=0)
