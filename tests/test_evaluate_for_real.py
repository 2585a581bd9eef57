"""Stage 1 with nothing stood in for: a real server that the recipe names, and a disk that is full."""

import resource
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from laif_helpers import evaluate, recipe
from laif_helpers.paths import NANO
from laif_helpers.records import Response, read_jsonl

VALUES = {"run": "t", "benchmarks": ["practice"], "in_domain": [], "target": str(NANO), "max_new_tokens": 48}


def stage(**values: Any) -> recipe.StageParameters:
    return recipe.build(recipe.StageParameters, VALUES | values)


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("fastapi"), reason="needs transformers[serving] (the extra serve)")
def test_transformers_serve_gives_the_texts_of_local_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The pitfall: this server answers /v1/models with 500 as long as the hub's cache folder is missing.
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "no-such-hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = {}
    command = "transformers serve {model} --host 127.0.0.1 --port {port} --device cpu"
    for name, serve in (("local", ""), ("served", command)):
        monkeypatch.setenv("LAIF_RUNS", str(tmp_path / name))
        rows[name] = read_jsonl(evaluate.evaluate(stage(serve=serve, limit=8))[0], Response)
    assert [row.text for row in rows["served"]] == [row.text for row in rows["local"]]
    assert [row.correct for row in rows["served"]] == [row.correct for row in rows["local"]]
    assert sum(row.correct for row in rows["local"]) >= 4
    left = [child.cmdline() for child in psutil.Process().children(recursive=True)]
    assert not [words for words in left if "serve" in words], "the server ended with the evaluation"


@pytest.mark.model
def test_a_full_disk_is_told_and_costs_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))  # no file may grow past 4,000 bytes
    try:
        with pytest.raises(OSError, match="File too large"):
            evaluate.evaluate(stage(limit=64))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    capsys.readouterr()
    files = evaluate.evaluate(stage(limit=64))
    printed = capsys.readouterr().out
    kept = int(printed.partition("(")[2].partition(" kept")[0])
    assert 5 < kept < 64, printed
    assert len(read_jsonl(files[0], Response)) == 64
