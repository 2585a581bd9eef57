"""How many of GSM8K's training items the symbolic instructor can vary, and why not the others.

    LAIF_DATA=… python bench/symbolic.py [EVERY]

Each item is asked about once as LE would, for three lessons; ``EVERY`` 10 takes every tenth item. Counted as varied is
an item with at least one lesson that passes the checks.
"""

import re
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from laif_helpers import benchmarks, instruct, lessons, recipe
from laif_helpers.instructors import symbolic
from laif_helpers.lessons import checks
from laif_helpers.records import Example

BENCH = benchmarks.get("gsm8k")
KEYS = {"in_domain": ["gsm8k"], "instructor": "symbolic", "target": "replay:none", "lessons_only": True}
WHY = re.compile(r"^.*No new numbers can be put into this problem: |['\"(].*|\d+.*")


def varied(item: Example) -> tuple[int, int, str]:
    """(lessons that pass, lessons written, why there is none)."""
    p = recipe.build(recipe.StageParameters, {"arm": "le", "iteration": 1, "benchmarks": ["gsm8k"]} | KEYS)
    study = instruct.Study(BENCH, [instruct.Answered(item, "#### 0")], [])
    asked = instruct.request(p, study, [study.wrong[0]], [], 3)
    reply = symbolic.answer(asked.messages, seed=int(asked.key[:8], 16))
    written = lessons.parse(reply, "math")
    passed = sum(not checks.check_math(answer) for _, answer in written)
    return passed, len(written), "" if written else WHY.sub("", lessons.diagnosis(reply))


def main(every: int) -> None:
    items = BENCH.load("train")[::every]
    start = time.perf_counter()
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(varied, items, chunksize=50))
    able = sum(passed > 0 for passed, _, _ in found)
    share, seconds = 100 * able / len(items), time.perf_counter() - start
    print(f"{able:,} of {len(items):,} items varied ({share:.1f} %), {seconds:.0f} s")
    written = sum(n_written for _, n_written, _ in found)
    print(f"{written:,} lessons, {written - sum(passed for passed, _, _ in found)} refused by the checks")
    for why, n in Counter(why for _, n_written, why in found if not n_written).most_common(8):
        print(f"{n:6,}  {why[:150]}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
