"""TriPosT's verifiers and its collection of trajectories, measured: `python bench/tripost.py`.

Verifiers: attempts a second on one core, on gold answers and on mutants of every cell. Collection: one batched call and
the scripted improver, against the original's scheme on the same target (transformers' ``generate`` in batches of four,
verified and edited one by one), in the same run. Any target that knows the step format will do: `--target PATH`.
With `--delay SECONDS` both schemes are edited by a paid language model, as the original is: the practice server, which
writes what the script would, after so many seconds; ours asks it in parallel, the original one request at a time.
"""

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from typing import Any

from laif_helpers import models, recipe, tripost
from laif_helpers.graders import steps
from laif_helpers.paths import ROOT
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Example
from laif_helpers.tripost import feedback_budgets
from laif_helpers.tripost.trajectories import conversation

sys.path.insert(0, str(ROOT / "data"))
from make_reasoning import DRAW, SIZES
from step_mutations import mutants


def _solved(name: str, rng: random.Random, cell: str) -> tuple[str, str]:
    """A question with its gold answer. One whose numbers are too large to be read is drawn again."""
    module = steps.task(name)
    while True:
        question = DRAW[name](rng, cell)
        with contextlib.suppress(ValueError):
            return question, steps.write(module.solve(module.read(question)))


def verifiers(n: int) -> dict[str, dict[str, float]]:
    """Gold answers accepted, mutants refused and named right, and the rate, for each task."""
    found = {}
    for name in steps.TASKS:
        module, sizes = steps.task(name), SIZES[name]
        rng = random.Random(11)
        cells = sorted({cell for cells in sizes.values() for cell in cells})
        pairs = [_solved(name, rng, cells[at % len(cells)]) for at in range(n)]
        began = time.process_time()
        accepted = sum(module.check(*pair).correct for pair in pairs)
        rate = n / (time.process_time() - began)
        wrong = [(question, mutant) for question, _ in pairs[: n // 15] for mutant in mutants(name, question, rng)]
        verdicts = [(mutant, module.check(question, mutant.text)) for question, mutant in wrong]
        found[name] = {
            **{"gold": n, "accepted": accepted, "attempts_a_second": round(rate), "mutants": len(wrong)},
            "refused": sum(not verdict.correct for _, verdict in verdicts),
            "kind_right": round(sum(verdict.kind == mutant.kind for mutant, verdict in verdicts) / len(verdicts), 4),
            "kinds": len({mutant.kind for mutant, _ in verdicts}),
        }
    return found


@contextlib.contextmanager
def improver(delay: float) -> Iterator[dict[str, Any]]:
    """Keys of a recipe: the scripted improver, or with a ``delay`` the practice server, for as long as it is used."""
    if not delay:
        yield {"instructor": "scripted"}
        return
    command = [sys.executable, "-m", "bench.practice_server", "--port", "0", "--delay", str(delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        try:
            url = server.stdout.readline().strip() if server.stdout else ""
            paid = {"prices": {"practice": {"input": 1.0, "output": 4.0}}, "max_usd": 100}
            yield {"instructor": "llm", "instructor_model": "practice", "instructor_url": url, **paid}
        finally:
            server.terminate()


def collection(target: str, limit: int, delay: float) -> dict[str, float]:
    """Seconds for the same attempts, feedback and edits in both schemes."""
    values = {"arm": "tripost", "iteration": 1, "target": target, "limit": limit, "holdout_fraction": 0}
    names = ["word_sorting", "multistep_arithmetic"]
    seconds, edited = {}, {}
    with improver(delay) as written_by:
        p = recipe.build(StageParameters, {**values, **written_by, "benchmarks": names, "in_domain": names})
        items = tripost.questions(p)
        models.generate(p.base_model, [conversation(names[0], items[names[0]][0].question)], max_new_tokens=8)  # load
        for scheme in (_batched, _serial):
            with tempfile.TemporaryDirectory() as runs:  # an earlier trial's answers would be taken, not drawn
                os.environ["LAIF_RUNS"] = runs
                began = time.perf_counter()
                edited[scheme] = scheme(p, items)
                seconds[scheme] = time.perf_counter() - began
    return {
        **{"attempts": p.attempts * sum(map(len, items.values())), "delay": delay},
        **{"edited": edited[_batched], "edited_serially": edited[_serial]},
        **{"seconds": round(seconds[_batched], 1), "serial_seconds": round(seconds[_serial], 1)},
        "times": round(seconds[_serial] / seconds[_batched], 1),
    }


def _batched(p: StageParameters, items: dict[str, list[Example]]) -> int:
    return sum(bool(each.updates) for each in tripost.edit(tripost.collect(p, items), p))


def _serial(p: StageParameters, items: dict[str, list[Example]]) -> int:
    """Passes over all questions in batches of four, by plain ``generate`` and with the original's limits of new tokens;
    each attempt is checked by the model and edited by itself."""
    import torch

    edited, local = 0, models.local.load(str(p.base_model))
    for name, listed in items.items():
        limit, said = {"word_sorting": 1024}.get(name, 512), max(feedback_budgets(listed, p.feedback))
        for sample, at in product(range(p.attempts), range(0, len(listed), 4)):
            torch.manual_seed(sample * len(listed) + at)
            batch = listed[at : at + 4]
            texts = _plain(local, [conversation(name, item.question) for item in batch], limit, p.attempt_temperature)
            for item, text in zip(batch, texts, strict=True):
                _plain(local, [conversation(name, item.question, text)], said, 0.0)
                edited += bool(tripost.edit([tripost.judged(name, item, sample, text)], p)[0].updates)
    return edited


def _plain(local: Any, conversations: list[Any], limit: int, temperature: float) -> list[str]:
    """What transformers' ``generate`` writes for one batch, padded to the left."""
    rows = {"input_ids": models.local.prompt_ids(local, conversations)}
    given = local.tokenizer.pad(rows, padding_side="left", return_tensors="pt")
    drawn = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    stops = {"eos_token_id": local.stop_ids, "pad_token_id": local.tokenizer.pad_token_id}
    with contextlib.redirect_stderr(None):
        out = local.model.generate(**given, **drawn, **stops, max_new_tokens=limit)
    return local.tokenizer.batch_decode(out[:, given["input_ids"].shape[1] :], skip_special_tokens=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gold", type=int, default=20_000, help="gold answers a task")
    parser.add_argument("--target", default="", help="collect with this model too")
    parser.add_argument("--limit", type=int, default=64, help="questions a benchmark for the collection")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that a paid improver takes; 0: the script")
    given = parser.parse_args()
    print(json.dumps({"verifiers": verifiers(given.gold)}, indent=1))
    if given.target:
        print(json.dumps({"collection": collection(given.target, given.limit, given.delay)}, indent=1))


if __name__ == "__main__":
    main()
