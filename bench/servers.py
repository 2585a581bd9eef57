"""Answers per second of three servers beside the local loop: the same model, the same prompts, one run.

    python bench/servers.py [ITEMS] [--model FOLDER] [--new-tokens 48] [--only vllm llama.cpp] [--gguf FILE]

Each server is started by its `serve` command, asked for two answers, then for all of them, and ended. Seconds of
computing are those of the server with all its processes, and of the client beside it: on a machine with other work they
are what can be compared. Texts differ a little, because each server computes in a precision of its own. ``--gguf``: the
same model quantised, such as SmolLM2's own file, which llama.cpp serves too: fewer bytes a weight, another precision.
"""

import argparse
import functools
import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from laif_helpers import benchmarks, models
from laif_helpers.models import gguf
from laif_helpers.paths import NANO, ROOT
from laif_helpers.records import Completion, Message

Ask = Callable[[list[list[Message]]], list[Completion]]


def computed() -> float:
    """Seconds of computing so far, of this process and of every one below it."""
    here = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (here, *here.children(recursive=True)))


def timed(name: str, ask: Ask, asked: list[list[Message]], local: list[Completion] | None) -> list[Completion]:
    ask(asked[:2])  # loading and first steps are nobody's speed
    start, busy = time.perf_counter(), computed()
    found = ask(asked)
    seconds, busy = time.perf_counter() - start, computed() - busy
    tokens = sum(one.new_tokens for one in found)
    same = sum(one.text == other.text for one, other in zip(found, local or found, strict=True))
    answered = sum(not one.unanswered for one in found)
    print(
        f"{name:<14} {len(asked) / seconds:7.2f} items/s {tokens / seconds:7.0f} tokens/s "
        f"{len(asked) / busy:7.2f} items/CPU-s   {answered}/{len(asked)} answered, {same} texts as local",
        flush=True,
    )
    return found


def main() -> None:
    sys.path.insert(0, str(ROOT / "data"))
    servers = importlib.import_module("make_servers")
    parser = argparse.ArgumentParser()
    parser.add_argument("items", type=int, nargs="?", default=32)
    parser.add_argument("--model", default=str(NANO))
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--only", nargs="+", default=list(servers.COMMANDS), choices=list(servers.COMMANDS))
    given = parser.parse_args()
    bench = benchmarks.get("practice")
    asked = [bench.messages(example) for example in bench.load("test", limit=given.items)]
    options = {"max_new_tokens": given.new_tokens, "progress": False}
    local = timed("local loop", lambda part: models.generate(given.model, part, **options), asked, None)
    served = [(name, name, given.model) for name in given.only]
    if given.gguf:
        served.append(("llama.cpp", f"llama.cpp {gguf.read_header(given.gguf).quantisation}", str(given.gguf)))
    for server, name, model in served:
        if wanted := servers.missing(server):
            print(f"{name:<14} not here: {wanted}")
            continue
        log = Path(tempfile.gettempdir()) / f"serve-{server}.log"
        with models.serve(servers.COMMANDS[server], model, log=log) as url:
            ask = functools.partial(models.generate, f"server:{model}", url=url, **options)
            timed(name, ask, asked, local)


if __name__ == "__main__":
    main()
