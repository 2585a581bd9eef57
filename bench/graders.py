"""How often the graders' verdicts differ from recorded labels, beside a naive grader on the same answers.

    LAIF_DATA=… python bench/graders.py
    python bench/graders.py LOG …        # recorded answers of your own with their labels, read as replay: does

A recorded label is what the authors' own grader said, so a difference is not yet a mistake; each one is printed with
``--show``. The naive graders are what many scripts use: the last number of a text, its first capital letter A to D.
Sets: the answers of GPT-3 end on a fixed line, which any grader reads; the same answers without that line, and worked
solutions whose last sentence holds the result, are those on which a grader can fail.
"""

import argparse
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import partial

from laif_helpers import benchmarks
from laif_helpers.answers import replay
from laif_helpers.graders.numbers import equal, numbers
from laif_helpers.paths import data_dirs
from laif_helpers.records import Example, read_rows

Answer = tuple[Example, str, bool]
"""An item, what was answered, and whether the recorded label says that it is right."""


def rows(name: str) -> Iterator[dict]:
    place = next((folder / name for folder in data_dirs() if (folder / name).is_file()), None)
    if place is None:
        raise SystemExit(f"{name} is in none of {', '.join(map(str, data_dirs()))}; set LAIF_DATA")
    return read_rows(place)


def gpt3(final_line: bool) -> Iterator[Answer]:
    gsm8k = benchmarks.get("gsm8k")
    for row in rows("recorded/gpt3-gsm8k/example_model_solutions.jsonl"):
        for model in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
            text = row[model]["solution"]
            text = text if final_line else re.sub(r"<<[^<>]*>>", "", text.rpartition("\nA:")[0])
            yield gsm8k.from_row(row), text, bool(row[model]["is_correct"])


def math_eval(model: str) -> Iterator[Answer]:
    gsm8k = benchmarks.get("gsm8k")
    for row in rows(f"recorded/{model}/gsm8k.jsonl"):
        item = gsm8k.from_row({"question": row["question"], "answer": row["answer"]})
        yield item, row["code"][0], bool(row["score"][0])


def sentences(split: str) -> Iterator[Answer]:
    """The last sentence of GSM8K's worked solutions, without its calculation: "She sells 9 eggs for $18 a day.".

    Left out are those from which the calculation took more ("She had 44 marbles 54 marbles.", no result at all).
    """
    gsm8k = benchmarks.get("gsm8k")
    for row in rows(f"gsm8k/{split}.jsonl"):
        item = gsm8k.from_row(row)
        last = item.fields["annotated"].rsplit("\n", 1)[-1]
        sentence = re.sub(
            r"[-\d$.,%/+*x×()= ]*<<[^<>]*>>", lambda m: "\0$" if "$" in m[0].split("<<")[0] else "\0", last
        )
        broken = re.search(r"[-+*/=×%–−÷]|\bx\b|\bbecause \0|\d[\w.,]*(?:\s+[^\W\d]+){0,3}\s*\0\$?\d", sentence)
        sentence = sentence.replace("\0", " ")
        if last.count("<<") == 1 and not broken and any(equal(number, item.gold) for number in numbers(sentence)):
            yield item, sentence, True


def mmlu() -> Iterator[Answer]:
    bench = benchmarks.get("mmlu")
    for label in ("right", "wrong"):
        for row in rows(f"recorded/mistral-7b-instruct-v0.2/mmlu/train_{label}.jsonl"):
            yield bench.from_row(row), row["response"], label == "right"


def recorded(log: str) -> Iterator[Answer]:
    for answer in replay.load(log):
        if answer.label is not None:
            yield answer.example, answer.text, answer.label


def naive(item: Example, text: str) -> bool | None:
    """The last number of the text, or the first capital letter that is an option's; None for other answers."""
    if options := item.fields.get("options"):
        return re.findall(rf"\b[{''.join(options)}]\b", text)[:1] == [item.gold]
    if not re.fullmatch(r"-?\d+(?:\.\d+|/\d+)?", item.gold):
        return None
    found = re.findall(r"-?\d[\d,]*(?:\.\d+)?", text)
    return bool(found) and Fraction(found[-1].replace(",", "")) == Fraction(item.gold)


SETS = {
    "GPT-3, final line": lambda: gpt3(True),
    "GPT-3, without it": lambda: gpt3(False),
    "Rho-Math-1B": lambda: math_eval("rho-1b"),
    "Qwen2.5-3B": lambda: math_eval("math-eval/qwen2.5-3b-instruct"),
    "Qwen2.5-3B, RL": lambda: math_eval("math-eval/qwen2.5-3b-rlft"),
    "full sentences, train": lambda: sentences("train"),
    "full sentences, test": lambda: sentences("test"),
    "Mistral-7B, MMLU": mmlu,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="print every answer on which verdict and label differ")
    parser.add_argument("logs", nargs="*", help="recorded answers to grade again; none: the sets above")
    given = parser.parse_args()
    sets = {log: partial(recorded, log) for log in given.logs} or SETS
    print(f"{'answers':24}{'n':>7}{'differ':>9}{'%':>7}{'naive':>9}{'%':>7}")
    for name, answers in sets.items():
        n = ours = theirs = 0
        read = False
        for item, text, label in answers():
            bench = benchmarks.get(item.benchmark)
            n, right = n + 1, bench.grade(item, text).correct
            ours += right != label
            theirs += naive(item, text) not in (label, None)
            read = read or naive(item, text) is not None
            if given.show and right != label:
                print(f"  {item.id}: label {label}, {bench.grade(item, text).reason}: {text[-200:]!r}")
        if not n:
            raise SystemExit(f"{name}: no answer has a label")
        beside = f"{theirs:9}{100 * theirs / n:7.2f}" if read else f"{'–':>9}{'–':>7}"
        print(f"{name[-24:]:24}{n:7}{ours:9}{100 * ours / n:7.2f}{beside}")


if __name__ == "__main__":
    main()
