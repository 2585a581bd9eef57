"""A language-model instructor under faults: requests a second, and what a `kill -9` in the middle costs.

    python bench/instruction.py [REQUESTS]

The practice server runs in a process of its own, on a real socket, and refuses 2 % of the calls (429), fails 1 % (500),
drops 1 % and answers 1 % out of format. A first run is killed half way, a second goes on from the ledger. Counted is
what the server answered: what a paid endpoint would have charged for.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from laif_helpers import benchmarks, instruct, lessons, recipe
from laif_helpers.instructors import ledger, llm
from laif_helpers.paths import ROOT
from laif_helpers.records import Lesson

FAULTS = "rate_limit=0.02,server_error=0.01,drop=0.01,malformed=0.01"
RETRY_AFTER_S = "0.1"
MODEL = "practice"


def parameters(url: str) -> recipe.StageParameters:
    values = {"run": "bench", "arm": "le", "iteration": 1, "instructor": "llm", "instructor_model": MODEL}
    values |= {"instructor_url": url, "max_usd": 1_000, "prices": {MODEL: {"input": 1, "output": 4}}}
    return recipe.build(recipe.StageParameters, values)


def requests(p: recipe.StageParameters, n: int) -> list[instruct.Request]:
    """``n`` different requests: every training item with a wrong answer, asked for 1, 2, 3 … lessons."""
    bench = benchmarks.get("practice")
    items = [instruct.Answered(example, "#### 0") for example in bench.load("train")]
    study = instruct.Study(bench, items, [])
    return [instruct.request(p, study, [items[at % len(items)]], [], 1 + at // len(items)) for at in range(n)]


def ask(url: str, n: int) -> None:
    """One client: ask for what the ledger lacks."""
    p = parameters(url)
    asked = requests(p, n)
    with ledger.open_ledger(p.folder.replies(p.arm), {"instructor": "llm"}, {}) as calls:
        known = calls.replies(request.key for request in asked)
        llm.ask([request for request in asked if request.key not in known], p, calls)


def stats(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url.replace("/v1", "/stats")) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def client(url: str, n: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--ask", url, str(n)], stderr=subprocess.DEVNULL)


def report(url: str, n: int, kept: int, in_flight: int, seconds: float, asked_again: int) -> None:
    p = parameters(url)
    keys = {request.key: request for request in requests(p, n)}
    with ledger.open_ledger(p.folder.replies(p.arm), {}, {}) as calls:
        replies = calls.replies(keys)
        spent = calls.spent()
    read = [
        lessons.from_reply(reply.text, Lesson("", "practice", "", "", [], "le", 1, MODEL, key))
        for key, reply in replies.items()
    ]
    bad = sum(all(lesson.status == "unparsable" for lesson in parsed) for parsed in read)
    found = stats(url)
    print(f"{n} requests, faults {FAULTS}")
    print(f"killed with {kept} replies in the ledger and {in_flight} requests in flight")
    print(f"rerun: {n - kept} requests in {seconds:.1f} s, {(n - kept) / seconds:.0f} requests/s, start included")
    print(f"replies {len(replies)}, lost {n - len(replies)}, of them out of format (kept, not asked again) {bad}")
    print(f"server: {found}")
    print(f"answered again after the kill {asked_again} (at most {in_flight}), in the rerun itself "
          f"{found['answered_again'] - asked_again}; dollars {spent:.2f}")  # fmt: skip


def main(n: int) -> None:
    command = [sys.executable, "-m", "bench.practice_server", "--port", "0", "--faults", FAULTS]
    server = subprocess.Popen([*command, "--retry-after", RETRY_AFTER_S], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert server.stdout
        url = server.stdout.readline().strip()
        first = client(url, n)
        while stats(url)["answered"] < n // 2 and first.poll() is None:
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
        first.wait()
        time.sleep(1)  # what was in flight is answered to nobody
        p = parameters(url)
        with ledger.open_ledger(p.folder.replies(p.arm), {}, {}) as calls:
            answered = len(calls.replies(request.key for request in requests(p, n)))
            in_flight = calls.base.execute("SELECT COUNT(*) FROM calls WHERE status = 'sent'").fetchone()[0]
        unseen = stats(url)["answered"] - answered
        start = time.perf_counter()
        assert client(url, n).wait() == 0
        report(url, n, answered, in_flight, time.perf_counter() - start, unseen)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ask"]:
        ask(sys.argv[2], int(sys.argv[3]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["LAIF_RUNS"] = str(Path(folder))
            main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
