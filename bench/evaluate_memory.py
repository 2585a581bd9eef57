"""Peak memory and time of stage 1 on 100,000 short items from a file, without a model.

A stand-in answers at once, so that what is measured is loading, keeping, grading, auditing and writing.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def answer(model: str, conversations: list[Any], on_done: Callable[[int, Any], None], **options: Any) -> list[Any]:
    """Right to four of five, wrong to the fifth."""
    from laif_helpers.records import Completion

    for place, turns in enumerate(conversations):
        a, b = (int(word) for word in turns[-1]["content"].split() if word.isdigit())
        on_done(place, Completion(f"{a} + {b} = {a + b}\n#### {a + b + (place % 5 == 4)}", 20, 12))
    return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    items = parser.parse_args().items
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LAIF_RUNS"] = folder
        data = Path(folder) / "sums.jsonl"
        rows = ({"question": f"What is {n} + {n % 97} ?", "answer": str(n + n % 97)} for n in range(items))
        data.write_text("\n".join(json.dumps(row) for row in rows))
        from laif_helpers import evaluate, models, recipe

        models.generate, models.fingerprint = answer, lambda model: "stand-in"  # type: ignore[assignment]
        values = {"run": "memory", "benchmarks": [str(data)], "in_domain": [], "iterations": 0}
        p = recipe.build(recipe.StageParameters, values)
        before, started = peak_mb(), time.perf_counter()
        evaluate.evaluate(p)
        seconds = time.perf_counter() - started
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"{items:,} items in {seconds:.1f} s; peak {peak_mb():,.0f} MB ({before:,.0f} MB before), "
              f"largest child {children:,.0f} MB", file=sys.stdout)  # fmt: skip


if __name__ == "__main__":
    main()
