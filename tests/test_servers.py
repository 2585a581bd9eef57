"""`laif run` against servers that others have made: one that runs already, and one that a recipe starts."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from laif_helpers import models
from laif_helpers.paths import NANO, ROOT, RunDir
from laif_helpers.records import Response, read_jsonl
from laif_helpers.runner import loop, plan

pytestmark = [pytest.mark.slow, pytest.mark.model]

sys.path.insert(0, str(ROOT / "data"))
servers = importlib.import_module("make_servers")  # a script and no package
COMMANDS = servers.COMMANDS
SERVERS = [
    pytest.param(
        name,
        marks=[
            pytest.mark.skipif(bool(wanted), reason=f"no server to try: {wanted}"),
            *[pytest.mark.thorough] * (name == "transformers"),  # make test asks it in test_evaluate_for_real
        ],
    )
    for name, wanted in ((name, servers.missing(name)) for name in COMMANDS)
]
REFUSE_LONG = {"llama.cpp", "vllm"}
"""These refuse a prompt that passes the model's context; transformers answers it."""
RECIPE = {"benchmarks": ["practice"], "in_domain": ["practice"], "limit": 8, "max_new_tokens": 48, "iterations": 0}
INSTRUCT = ROOT / "data" / "downloads" / "smollm2-135m-instruct"
CATS = "How many legs have {} cats? "


def laif_run(folder: Path, **values: Any) -> RunDir:
    """The run, made by the command in a process of its own; fails with its last words."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE | values))
    command = [sys.executable, "-m", "laif_helpers.cli", "run", str(recipe), "--name", "t"]
    env = os.environ | {"LAIF_RUNS": str(folder / "runs"), "HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, check=False, cwd=ROOT, env=env, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return RunDir(folder / "runs" / "t")


def answers(run: RunDir, benchmark: str = "practice", arm: str = "vanilla", iteration: int = 0) -> list[Response]:
    return read_jsonl(run.iteration(arm, iteration).responses(benchmark, "test"), Response)


def local_answers(rows: list[Response]) -> list[Any]:
    return models.generate(str(NANO), [row.messages for row in rows], max_new_tokens=48, progress=False)


def own_questions(folder: Path) -> str:
    """A user's own file; its first question is longer than the target's context."""
    questions = [CATS.format(4) * 120, CATS.format(3), CATS.format(2)]
    own = folder / "own.jsonl"
    own.write_text("\n".join(json.dumps({"question": text, "answer": "12"}) for text in questions))
    return str(own)


def check_own_answers(name: str, rows: list[Response]) -> None:
    long, *short = rows
    assert all(row.text and row.new_tokens for row in short)
    if name in REFUSE_LONG:
        assert (long.text, long.readable) == ("", False)
        assert long.reason.startswith("no answer:") and "512" in long.reason, "the server's own words"


@pytest.mark.thorough
@pytest.mark.parametrize("name", SERVERS)
def test_a_server_that_runs_already_is_a_target(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    own = own_questions(tmp_path)
    with models.serve(COMMANDS[name], str(NANO), log=tmp_path / "serve.log") as url:
        run = laif_run(tmp_path, target=f"server:{NANO}", target_url=url, benchmarks=["practice", own])
    rows = answers(run)
    local = local_answers(rows)
    assert [row.prompt_tokens for row in rows] == [found.prompt_tokens for found in local], "another template"
    assert sum(row.text == found.text for row, found in zip(rows, local, strict=True)) >= 7
    assert all(row.text and row.readable and not row.cut for row in rows)
    check_own_answers(name, answers(run, own))
    assert (run.compare / "report.html").is_file()


@pytest.mark.usefixtures("in_process", "no_pictures")
@pytest.mark.parametrize("name", SERVERS)
def test_a_recipe_starts_a_server_for_target_and_checkpoint(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    own = own_questions(tmp_path)
    training = {"arms": ["fine_tuning"], "iterations": 1, "budget": 16, "average": 1.0}
    training |= {"measure_errors": False, "map_iterations": False}
    asked = {"target": str(NANO), "serve": COMMANDS[name], "benchmarks": ["practice", own]}
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(RECIPE | asked | training))
    planned = plan.make(tmp_path / "t.yaml")
    assert loop.run(planned) == 0, (planned.run.path / "run.log").read_text()[-3000:]
    run = planned.run
    target, trained = answers(run), answers(run, arm="fine_tuning", iteration=1)
    local = local_answers(target)
    assert sum(row.text == found.text for row, found in zip(target, local, strict=True)) >= 7
    assert len(trained) == 8 and all(row.text and row.readable for row in trained)
    check_own_answers(name, answers(run, own))
    for arm, iteration in (("vanilla", 0), ("fine_tuning", 1)):
        assert (run.iteration(arm, iteration).path / "logs" / "serve.log").is_file()
    left = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert not [words for words in left if str(tmp_path) in " ".join(words)], "each server ended with its evaluation"


@pytest.mark.skipif(bool(servers.missing("llama.cpp")), reason="no server to try: pip install xllamacpp gguf")
def test_a_real_chat_model_s_gguf_file_is_served_by_llama_cpp(tmp_path: Path) -> None:
    """The quantised file itself, which llama.cpp computes with: its template and tokens are those of our folder."""
    made = importlib.import_module("make_smollm2")
    try:
        file = made.wheel_file()
    except SystemExit as absent:
        pytest.skip(str(absent))
    asked = [[{"role": "user", "content": CATS.format(number)}] for number in range(4)]
    with models.serve(COMMANDS["llama.cpp"], str(file), log=tmp_path / "serve.log") as url:
        found = models.generate("server:smollm2", asked, max_new_tokens=24, url=url, progress=False)
    assert all(len(answer.text.split()) > 3 and answer.new_tokens <= 24 for answer in found)
    if INSTRUCT.is_dir():
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(INSTRUCT)
        prompts = [
            tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False) for messages in asked
        ]
        assert [answer.prompt_tokens for answer in found] == [len(tokenizer(prompt)["input_ids"]) for prompt in prompts]
