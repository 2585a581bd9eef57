"""Lessons for ``bench/lessons.py``: right ones without end, and what is planted in the others."""

import random
import re
from collections.abc import Callable, Iterator

from laif_helpers import lessons
from laif_helpers.benchmarks import practice
from laif_helpers.instructors import symbolic
from laif_helpers.records import Example

KINDS = {
    "metal": "iron copper zinc tin nickel lead silver chromium platinum cobalt",
    "fruit": "apple plum pear cherry peach quince fig mango apricot papaya",
    "bird": "heron owl robin crow stork finch swan gull wren lark",
    "tool": "hammer chisel pliers wrench drill rasp plane trowel spade awl",
}
NAMES = [
    "Ada",
    "Bo",
    "Cleo",
    "Dag",
    "Edda",
    "Finn",
    "Gro",
    "Hal",
    "Ida",
    "Jon",
    "Kaja",
    "Leif",
    "Mona",
    "Nils",
    "Ola",
    "Pia",
]
PROGRAMS = (
    ("add_to_each", "{k} added to every number", "[n + {k} for n in numbers]"),
    ("times_each", "every number multiplied by {k}", "[n * {k} for n in numbers]"),
    ("above", "how many numbers are greater than {k}", "sum(n > {k} for n in numbers)"),
    ("multiples", "the sum of the numbers that {k} divides", "sum(n for n in numbers if n % {k} == 0)"),
    ("every", "every number at a place that {k} divides", "numbers[::{k}]"),
    ("nearest_to", "the number nearest to {k}, the smaller of two", "min(sorted(numbers), key=lambda n: abs(n - {k}))"),
)


# -- right lessons: (question, response) without end


def from_practice(rng: random.Random, tests: set[str]) -> Iterator[tuple[str, str]]:
    """Lessons of the practice world; those that are a test item with another name in it are no right lessons."""
    while True:
        problem = practice.draw(rng)
        if sums(problem.rationale) not in tests:
            yield problem.question, problem.response


def sums(rationale: str) -> str:
    return "".join(re.findall(r"[\d*/+=-]+", rationale))


def from_gsm8k(rng: random.Random, items: list[Example]) -> Iterator[tuple[str, str]]:
    while True:
        item = rng.choice(items)
        text = (
            f"### Question to vary\n{item.question}\n\n### Correct answer\n{item.fields['annotated']}\n#### {item.gold}"
        )
        asked = [{"role": "user", "content": f"{text}\n\n### Task\nWrite 1 new question."}]
        yield from lessons.parse(symbolic.answer(asked, seed=rng.randrange(10**6)), "math")


def choices(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Sums with four results, and kinds of things with one of each kind; the reason says which it is."""
    while True:
        letter = rng.choice("ABCD")
        if rng.random() < 0.5:
            problem = practice.draw(rng)
            right = int(problem.response.rsplit("#### ", 1)[1])
            others = rng.sample([n for n in range(max(right - 9, 1), right + 10) if n != right], 4)
            options = {option: str(right if option == letter else others.pop()) for option in "ABCD"}
            question, reason = problem.question, problem.rationale
        else:
            (kind, members), *rest = rng.sample(list(KINDS.items()), 4)
            thing = rng.choice(members.split())
            more = [rng.choice(words.split()) for _, words in rest]
            options = {option: f"the {thing}" if option == letter else f"the {more.pop()}" for option in "ABCD"}
            question = f"A box holds four things that belong to {rng.choice(NAMES)}. Which of them is a {kind}?"
            reason = f"Only the {thing} is a {kind}."
        listed = "\n".join(f"{option}. {text}" for option, text in options.items())
        yield f"{question}\n{listed}", f"{reason}\n\nThe answer is {letter}."


def programs(rng: random.Random) -> Iterator[tuple[str, str]]:
    while True:
        name, words, body = rng.choice(PROGRAMS)
        k = rng.randint(2, 60)
        shown, samples = body.format(k=k), [[rng.randint(0, 90) for _ in range(rng.randint(3, 6))] for _ in range(2)]
        run = eval(f"lambda numbers: {shown}")  # noqa: S307  our own templates
        examples = "".join(f"    >>> {name}_{k}({sample})\n    {run(sample)!r}\n" for sample in samples)
        head = f"def {name}_{k}(numbers):"
        yield (
            f'{head}\n    """ Return {words.format(k=k)}.\n{examples}    """\n',
            f"```python\n{head}\n    return {shown}\n```",
        )


# -- what is wrong with the others


def wrong_sum(rng: random.Random, question: str, response: str) -> tuple[str, str]:
    """One result of the rationale is another number."""
    body, mark, final = response.rpartition("\n#### ") if "####" in response else response.rpartition("\n\nThe answer")
    spots = list(re.finditer(r"=\s*\$?\s?(\d[\d,]*(?:\.\d+)?)(?!.*\bx\b)", body))
    spot = rng.choice(spots)
    old = float(spot[1].replace(",", ""))
    new = f"{max(old + rng.choice([-3, -2, -1, 1, 2, 3, 10]), 0.5) + (0.5 if old < 3 else 0):g}"
    return question, body[: spot.start(1)] + new + body[spot.start(1) + len(spot[1].rstrip(",")) :] + mark + final


def wrong_final(rng: random.Random, question: str, response: str) -> tuple[str, str]:
    body, _, final = response.rpartition("\n#### ")
    return question, f"{body}\n#### {float(final.replace(',', '')) + rng.choice([-1, 1, 2, 5, 10]):g}"


def wrong_letter(rng: random.Random, question: str, response: str) -> tuple[str, str]:
    other = rng.choice([letter for letter in "ABCD" if letter != response[-2]])
    return question, response[:-2] + other + "."


def wrong_form(rng: random.Random, question: str, response: str) -> tuple[str, str]:
    """A letter beyond the options, an option twice, one left out, or no letter."""
    lines = question.splitlines()
    return rng.choice(
        [
            (question, response[:-2] + "F."),
            ("\n".join([*lines[:-1], f"D. {lines[-2][3:]}"]), response),
            ("\n".join(line for line in lines if not line.startswith("B. ")), response),
            (question, response[:-2] + "one of them."),
        ]
    )


def failing(rng: random.Random, question: str, response: str) -> tuple[str, str]:
    """Another result, another name, an exception, code that does not parse."""
    return question, rng.choice(
        [
            re.sub(r"return (.*)", r"return [\1, 0]", response),
            re.sub(r"def (\w+)", r"def my_\1", response),
            re.sub(r"return ", "return missing or ", response),
            response.replace("):", ")"),
        ]
    )


Spoil = Callable[[random.Random, str, str], tuple[str, str]]
SPOILS: dict[str, dict[str, Spoil]] = {
    "math": {"wrong sum": wrong_sum, "wrong final answer": wrong_final},
    "choice": {"wrong letter": wrong_letter, "wrong form": wrong_form},
    "code": {"failing program": failing},
}
COPIES = ("verbatim test question", "reworded test question")
