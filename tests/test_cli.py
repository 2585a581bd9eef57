"""The ``laif`` command as a person types it: sentences on standard error, exit status, no traceback."""

import contextlib
import importlib.metadata
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Toy

from laif_helpers import benchmarks, cli, launch, target
from laif_helpers.paths import ROOT, data_dirs
from laif_helpers.records import Lesson, Response, write_jsonl
from laif_helpers.runner import attempts, doctor, forecast, loop, plan, run_lock, scratch, watch

LAIF = [sys.executable, "-c", "from laif_helpers.cli import app; app()"]
QUICK = "papermill_runs/quickstart.yaml"


def call(monkeypatch: pytest.MonkeyPatch, toy: Toy, *words: str) -> int:
    """Exit status of ``laif WORDS`` in this process, on the toy notebooks."""
    make = plan.make
    monkeypatch.setattr(plan, "make", lambda *args: make(*args, notebooks=toy.notebooks))
    monkeypatch.setattr(sys, "argv", ["laif", *words])
    with pytest.raises(SystemExit) as stop:
        cli.app()
    monkeypatch.setattr(plan, "make", make)
    return int(stop.value.code or 0)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--set", "budgt=3"], "unknown recipe key 'budgt'; did you mean 'budget'?"),
        (["--set", "budget"], "--set 'budget': write KEY=VALUE"),
        (["--set", "seed=!!bool x"], "seed: Input should be a valid integer"),
        (["--set", "arms=lee"], "unknown arm 'lee'"),
        (["--executor", "pbs"], "unknown executor 'pbs'"),
        (["--name", "../up"], "run name '../up'"),
    ],
)
def test_mistakes_are_told_in_one_sentence(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("LAIF_RUNS", str(toy.root / "runs"))
    toy.plan()
    assert call(monkeypatch, toy, "run", str(toy.root / "toy.yaml"), *words) == 2
    printed = capsys.readouterr().err.strip()
    assert printed.startswith("laif: ")
    assert sentence in printed
    assert "\n" not in printed


def test_a_file_in_a_folder_s_place_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setattr(sys, "argv", ["laif", "figures", "--out", str(place)])
        with pytest.raises(SystemExit, match="2"):
            cli.app()
        assert "a folder is needed there, and a file stands in its way" in capsys.readouterr().err


def test_the_version_is_that_of_the_package() -> None:
    told = subprocess.run([*LAIF, "--version"], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout.strip()) == (0, importlib.metadata.version("laif-helpers"))


@pytest.mark.slow
def test_missing_recipe_as_a_process() -> None:
    done = subprocess.run([*LAIF, "run", "no.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip() == "laif: recipe no.yaml does not exist; the recipes lie in papermill_runs/*.yaml"


def test_dry_run_runs_nothing_then_run_and_status(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.plan()
    path = str(toy.root / "toy.yaml")
    assert call(monkeypatch, toy, "run", path, "--dry-run") == 0
    assert "run        vanilla/iter0/01_evaluate  (not done yet)" in capsys.readouterr().out
    assert toy.engine.ran == []
    assert call(monkeypatch, toy, "run", path, "--set", "arms=fine_tuning", "--name", "other") == 0
    assert toy.engine.ran[0] == "vanilla/iter0/01_evaluate"
    assert "arms: [fine_tuning]  # --set" in (toy.root / "runs" / "other" / "recipe.yaml").read_text()
    capsys.readouterr()
    assert call(monkeypatch, toy, "status", "other") == 0
    out = capsys.readouterr().out
    assert out.count("done") == len(toy.engine.ran)
    assert call(monkeypatch, toy, "run", path, "--name", "other", "--set", "arms=fine_tuning", "--dry-run") == 0
    assert "not done yet" not in capsys.readouterr().out


def test_watch_shows_place_progress_and_speed_of_what_runs(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = toy.plan(iterations=0)
    assert loop.run(made) == 0
    first = made.stages[0]
    partial = first.folder.responses("practice", "test").with_name(".practice.test.partial")
    partial.write_text("{}\n" * 3)
    seen: dict[str, watch._Seen] = {}
    with run_lock.lock(made.run) as say, scratch.alone(attempts.job_of(made, first)):
        say([first.key])
        watch.table(made, seen)
        partial.write_text("{}\n" * 1003)
        rows = watch.table(made, seen)
    assert rows[0][:4] == (first.key, "running", f"{socket.gethostname()}:{os.getpid()}", "1,003")
    assert float(rows[0][4]) > 0
    assert [row[1] for row in rows[1:]] == ["done", "done"]
    monkeypatch.chdir(toy.root)
    watch.watch(made)
    assert "1,003" not in (text := capsys.readouterr().out) and text.count("done") >= 3


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["run", "ctrl-c"])
def test_watch_in_a_terminal_ends_with_the_run_or_on_ctrl_c(toy: Toy, ends: str) -> None:
    made = toy.plan(iterations=0)
    assert loop.run(made) == 0
    code = (
        "import sys; from pathlib import Path; from laif_helpers.runner import plan, watch\n"
        "made = plan.make(Path(sys.argv[1]), notebooks=Path(sys.argv[2]))\nwatch.watch(made, 0.1)\nprint('left')"
    )
    master, slave = pty.openpty()
    argv = [sys.executable, "-c", code, str(toy.root / "toy.yaml"), str(toy.notebooks)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "160"}
    seen: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while more := os.read(master, 4096):
                seen.append(more)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    with run_lock.lock(made.run) as say:
        say([made.stages[0].key])
        process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        while b"waiting" not in b"".join(seen):
            time.sleep(0.05)
            assert process.poll() is None, seen
        if ends == "ctrl-c":
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
    assert process.wait(60) == 0
    reader.join(60)
    assert b"left" in b"".join(seen) and b"Traceback" not in b"".join(seen)


def test_status_of_no_run(toy: Toy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, toy, "status", "nobody") == 2
    assert "no run 'nobody'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a: [1", "not valid YAML"),
        ("", "an empty file"),
        ("- a\n", "not a list"),
        ("\udc9b", "not UTF-8"),
        ("gone: 1\n", "unknown recipe key"),
    ],
)
def test_a_run_whose_recipe_is_damaged_is_told_and_its_answers_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: str, sentence: str
) -> None:
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path))
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "recipe.yaml").write_bytes(content.encode(errors="surrogateescape"))
    answers = {"r/a/iter1": True, "s/a/iter1": False}
    for name, right in answers.items():
        row = Response("1", "practice", "test", [], "7", "7", "7", right, True, "", 1, 1, name)
        write_jsonl(tmp_path / name / "responses" / "practice.test.jsonl", [row])
    lesson = Lesson("1", "practice", "q", "7", ["1"], "a", 1, "scripted", "k")
    write_jsonl(tmp_path / "r" / "a" / "iter1" / "lessons" / "a.jsonl", [lesson])
    for words, status in ((["status", "r"], 2), (["export", "r", "--arm", "a"], 0), (["compare", "r", "s"], 0)):
        monkeypatch.setattr(sys, "argv", ["laif", *words])
        with pytest.raises(SystemExit) as stop:
            cli.app()
        printed = capsys.readouterr().err.strip()
        assert int(stop.value.code or 0) == status, printed
        assert "\n" not in printed and (sentence in printed if status else True)


def test_params_are_papermill_s(toy: Toy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    toy.plan()
    path = str(toy.root / "toy.yaml")
    assert call(monkeypatch, toy, "params", path, "--set", "learning_rate=5e-6") == 0
    values = yaml.safe_load(capsys.readouterr().out)
    assert values["LEARNING_RATE"] == 5e-6
    assert values["RUN"] == "toy"
    assert call(monkeypatch, toy, "params", path, "--notebook", "05", "--set", "packing=true") == 0
    values = yaml.safe_load(capsys.readouterr().out)
    assert values.keys() >= {"RUN", "ARM", "PACKING", "TARGET"} and not values.keys() & {"INSTRUCTOR", "WORKERS"}
    assert call(monkeypatch, toy, "params", path, "--notebook", "08") == 2
    assert "--notebook '08': the run has 01_evaluate" in capsys.readouterr().err
    assert call(monkeypatch, toy, "params", path, "--set", "budget=[1,2]") == 2
    assert "is a sweep (budget: [1, 2])" in capsys.readouterr().err


def test_data_list_names_what_is_missing(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call(monkeypatch, toy, "data", "list", "--data-dir", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "practice         made by this project" in out
    assert [line.split()[0] for line in out.splitlines() if "made by this project" in line] == [
        name for name in benchmarks.names() if not (benchmarks.get(name).sources or name == "bbh")
    ]
    assert f"missing: no folder 'gsm8k' in {tmp_path}" in out


@pytest.mark.parametrize("ids, told", [(["0"], "1 of this machine cannot be used; install torch for CUDA"), ([], "")])
def test_doctor_says_that_torch_cannot_use_a_gpu(monkeypatch: pytest.MonkeyPatch, ids: list[str], told: str) -> None:
    monkeypatch.setattr(launch, "gpus", lambda: ids)
    monkeypatch.setattr(doctor, "ASK_GPUS", """print('{"names": [], "cuda": null}')""")
    found = doctor._gpus()
    assert found.startswith("none (torch for processors)") and (told in found if told else found.endswith(")"))


@pytest.mark.slow
def test_doctor_knows_files_of_one_s_own_and_a_target_that_is_not_there(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = toy.root / "sums.jsonl"
    rows = [{"id": split, "question": "1 + 1?", "answer": "2", "split": split} for split in ("train", "test")]
    own.write_text("".join(json.dumps(row) + "\n" for row in rows))
    make = plan.make
    monkeypatch.setattr(plan, "make", lambda path, **_: make(path, notebooks=toy.notebooks))
    toy.plan(benchmarks=[str(own), "practice", "gsm8k"], in_domain=[str(own)], arms=["fine_tuning"])
    monkeypatch.setattr(doctor, "_target", lambda name: [f"problem: {name} is broken"])
    found = list(doctor._recipe(toy.root / "toy.yaml"))
    assert [line for line in found if "recipe needs" in line] == [found[1]] and "gsm8k: missing" in found[1]
    assert "model is broken" in "\n".join(found)
    assert [doctor.place(name)[0] for name in (str(own), "practice")] == ["found", "made"]
    toy.plan(target="someone/model")
    monkeypatch.setattr(target, "unreachable", lambda text: f"{text} cannot be had")
    assert "someone/model cannot be had" in "\n".join(doctor._recipe(toy.root / "toy.yaml"))


@pytest.mark.slow
def test_doctor_tells_what_a_broken_target_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was told if the tokenizer could not be read either."""
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (found,) = doctor._target(str(tmp_path))
    assert found.startswith(f"problem: {tmp_path}: no weights")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert doctor._target(str(tmp_path)) == [f"problem: {tmp_path} could not be checked: no answer"]


def test_folders_of_the_environment_start_where_the_command_is_called_and_a_recipes_at_the_project(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LAIF_DATA", "~/data")
    monkeypatch.setenv("LAIF_RUNS", "mine")
    assert call(monkeypatch, toy, "status", "nope") == 2
    assert f"no run 'nope': {tmp_path}/mine/nope" in capsys.readouterr().err
    assert (os.environ["LAIF_RUNS"], os.environ["LAIF_DATA"]) == (f"{tmp_path}/mine", f"{tmp_path}/home/data")
    assert [*data_dirs("data/x"), *data_dirs("~/x")] == [ROOT / "data/x", tmp_path / "home/x"]
    assert call(monkeypatch, toy, "data", "list", "--data-dir", "here") == 0
    assert f"no folder 'gsm8k' in {tmp_path}/here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"max_usd": 0.001}, r"max_usd 0.001 is smaller than one request"),
        ({"request_options": {"instructor": {"leave_out": ["max_tokens"]}}}, "alone bounds what a reply costs"),
        (
            {"prices": {"m": {"input": 0.00015, "output": 0.0006}}},
            r"million tokens: 0\.0006 .* 1,000 tokens, write 0\.6",
        ),
        ({"prices": {"m": {"input": 0, "output": 0}}, "max_usd": 0}, ""),
    ],
)
def test_money_that_will_not_do_is_told_before_the_run(toy: Toy, more: dict[str, Any], told: str) -> None:
    """Stage 3 stopped at it, after every answer had been asked for; a price for 1,000 tokens was never noticed."""
    paid = {"instructor": "llm", "instructor_model": "m", "instructor_url": "http://127.0.0.1:9/v1", "arms": ["le"]}
    plan = toy.plan(**paid | {"prices": {"m": {"input": 1, "output": 2}}, "max_usd": 5} | more)
    found = [line for line in forecast.warnings(plan.stages) if "nothing listens" not in line]
    assert re.search(told, "".join(found)) and bool(found) == bool(told)


def test_a_server_that_does_not_listen_is_told_before_the_run(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody, asked = "http://127.0.0.1:9/v1", {"instructor": "llm", "instructor_model": "m", "arms": ["le"]}
    asked |= {"instructor_url": nobody, "prices": {"m": {"input": 0, "output": 0}}}
    remote = {"target": "server:m", "target_url": nobody, "lessons_only": True, "iterations": 1}
    found = [line for line in forecast.warnings(toy.plan(**asked, **remote).stages) if "nothing listens" in line]
    assert [(line[:7], line[-17:].split()[-1]) for line in found] == [
        ("stage 1", "target_url"),
        ("stage 3", "instructor_url"),
    ]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        here = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        assert forecast.warnings(toy.plan(**asked | remote | {"target_url": here, "instructor_url": here}).stages) == []
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        (found,) = forecast.warnings(toy.plan(**asked | remote | {"target_url": here, "instructor_url": ""}).stages)
    assert found.startswith("stage 3 will stop") and "needs a key: set the environment variable OPENAI_API_KEY" in found
    served = {"target": str(toy.root / "model"), "serve": "vllm serve {model} --port {port}", "quote_only": True}
    assert forecast.warnings(toy.plan(**asked | served | {"target_url": ""}).stages) == [], "what the run starts itself"
    others = {"instructor": "scripted", "quote_only": False, "lessons_only": False, "target_url": nobody}
    unasked = [line for line in forecast.warnings(toy.plan(**others).stages) if "is not asked" in line]
    assert [line.split()[0] for line in unasked] == ["target_url", "instructor_model"]


@pytest.mark.slow
def test_a_package_without_its_checkout_compares_and_says_what_it_lacks(tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(ROOT / "laif_helpers", site / "laif_helpers", ignore=shutil.ignore_patterns("__pycache__"))
    for name, right in (("a", True), ("b", False)):
        rows = [{"id": str(n), "correct": right or n > 3} for n in range(9)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    env = {key: value for key, value in os.environ.items() if key != "LAIF_RUNS"} | {"PYTHONPATH": str(site)}

    def laif(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*LAIF, *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    done, refused = laif("compare", "a.jsonl", "b.jsonl"), laif("run", QUICK)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "papermill_runs" / "compared" / "a-against-b").is_dir(), "where it was called"
    assert refused.returncode == 2 and "pip install -e ." in refused.stderr


def test_doctor_names_a_split_that_is_not_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "train.jsonl").write_text('{"question": "1 + 1?", "answer": "#### 2"}\n')
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("target: data/nano\nbenchmarks: [gsm8k]\nin_domain: [gsm8k]\narms: [fine_tuning]\n")
    monkeypatch.setenv("LAIF_DATA", str(tmp_path))
    assert f"gsm8k: test not in {tmp_path}" in "\n".join(doctor._recipe(recipe))
    (line,) = [line for line in doctor._data() if line.startswith("gsm8k ")]
    assert "train: " in line and line.endswith("; not here: test")
