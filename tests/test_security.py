"""What SECURITY.md claims: text of models is data, recipes stay in their folder, keys stay in the environment."""

import ast
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from conftest import Toy, write_toy
from hypothesis import given
from hypothesis import strategies as st

from laif_helpers import cli, models, recipe
from laif_helpers.compare import verdicts
from laif_helpers.paths import ROOT
from laif_helpers.runner import plan, stage_run
from laif_helpers.runner import report as report_run
from laif_helpers.terminal import plain

SEQUENCES = [
    "\x1b]0;you have mail\x07",
    "\x1b]52;c;cm0gLXJmIH4=\x1b\\",
    "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "\x1b[2J\x1b[H",
    "\x1b[?1049h",
    "\x1bP+q544e\x1b\\",
    "\x1bc",
    "\x9b2J",
    "\x9d0;title\x9c",
    "all good\rFAILED  ",
    "\x08\x08\x08",
    "\x07",
    "\u202egnp.exe\u202c",
]
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
HOSTILE = "The sum is 12." + "".join(SEQUENCES) + "end"


@given(st.text() | st.lists(st.sampled_from([*SEQUENCES, "\x1b", "\x1b[", "x", "\n"])).map("".join))
def test_no_text_reaches_a_terminal_with_a_control(text: str) -> None:
    shown = plain(text)
    assert not FORBIDDEN.search(shown)
    if not FORBIDDEN.search(text) and not set(text) & {"\u200e", "\u200f"}:
        assert shown == text


def test_words_between_sequences_stay_and_a_million_of_them_take_no_second() -> None:
    assert plain("a\x1b[1mb\x1b[0m\tc\r\nd") == "ab\tc\nd"
    assert plain("\x1b]0;" * 1 + "x\x07y") == "y"
    for unit in ("\x1b]", "\x1b[", "\x9b", "\x1b[31m", "\r"):
        assert not FORBIDDEN.search(plain(unit * 300_000))


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_run_status_and_log_show_no_control_sequence_of_a_model(
    toy: Toy, capfd: pytest.CaptureFixture[str], sequence: str
) -> None:
    write_toy(toy.notebooks, "03_instruct_LE", f"raise ValueError('its reply begins: ' + {sequence!r} + 'end')")
    assert toy.run(arms=["le"])[0] == 1
    print(report_run.status_table(toy.plan(), []))
    shown = capfd.readouterr()
    assert "its reply begins" in shown.out and not FORBIDDEN.search(shown.out)


def test_the_log_of_a_run_holds_no_control_sequence() -> None:
    record = stage_run.logging.LogRecord("s", 20, "", 0, f"answers: 4%\ranswers: 5%\n{HOSTILE}", None, None)
    lines = stage_run._Prefixed().format(record).split("\n")
    assert len(lines) >= 3 and not any(FORBIDDEN.search(line) for line in lines)
    assert any(line.endswith("answers: 5%") for line in lines), "a bar's refresh is a line of its own"


def test_compare_and_error_sentences_show_no_control_sequence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verdicts, "compare", lambda *_, **__: (HOSTILE, False))
    for command in (["compare", "a", "b"], ["status", HOSTILE]):
        monkeypatch.setattr(sys, "argv", ["laif", *command])
        with pytest.raises(SystemExit):
            cli.app()
    shown = capsys.readouterr()
    assert "The sum is 12." in shown.out and "The sum is 12." in shown.err
    assert not FORBIDDEN.search(shown.out) and not FORBIDDEN.search(shown.err)


# -- paths


@pytest.mark.parametrize("split", ["../../../evil", "/etc/evil", "a/b", "..", "a\\..\\b", "x\n"])
def test_a_split_of_a_users_file_does_not_lead_out_of_the_run(tmp_path: Path, split: str) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"question": "2 + 2?", "answer": "4", "split": split}) + "\n")
    values = {"benchmarks": [str(path)], "in_domain": [], "test_split": split}
    with pytest.raises(ValueError, match="name it with letters"):
        recipe.build(recipe.Recipe, values)


@pytest.mark.parametrize("key", ["error_split", "test_split", "arms", "seed", "benchmarks"])
@pytest.mark.parametrize("value", ["../../evil", "/tmp/evil", "..", "a/../../b"])
def test_no_value_of_a_recipe_leads_out_of_the_run(toy: Toy, key: str, value: str) -> None:
    """Either the recipe is refused, or every folder that the plan would write lies in the run's."""
    toy.values[key] = value if key.endswith("split") else [value]
    try:
        planned = toy.plan()
    except (ValueError, FileNotFoundError):
        return
    run = planned.run.path.resolve()
    places = [stage.folder.path for stage in planned.stages]
    places += [stage.folder.responses("practice", planned.settings.test_split) for stage in planned.stages]
    assert all(place.resolve().is_relative_to(run) for place in places)


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/b", "..", ".x", "x\n"])
def test_a_run_has_a_plain_name(toy: Toy, name: str) -> None:
    toy.plan()
    with pytest.raises(ValueError, match="run name"):
        plan.make(toy.root / "toy.yaml", name, notebooks=toy.notebooks)


# -- code in data


def test_yaml_of_a_recipe_makes_no_objects(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"target: !!python/object/apply:os.system ['touch {tmp_path}/ran']\n")
    with pytest.raises(ValueError, match="not valid YAML"):
        recipe.load(path)
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the embedded target."""
    return Path(shutil.copytree(ROOT / "data" / "nano", tmp_path / "model"))


@pytest.mark.model
def test_a_model_folder_with_code_of_its_own_runs_none_of_it(copied: Path, tmp_path: Path) -> None:
    """``auto_map`` asks for code from the folder; without trust_remote_code, which nothing here sets, none runs."""
    config = json.loads((copied / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.Evil"}}
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').write('x')\nclass EvilConfig: pass\n")
    with pytest.raises(ValueError):
        models.generate(str(copied), [[{"role": "user", "content": "2 + 2?"}]])
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_no_module_asks_for_remote_code_or_reads_pickles() -> None:
    """Names that would run what a file holds occur nowhere in the package."""
    unsafe = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}
    for path in (ROOT / "laif_helpers").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            # joblib counts cores too, so it may be imported whole
            names = {alias.name for alias in node.names} - {"joblib"} if isinstance(node, ast.Import) else set()
            names |= {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
            assert not names & unsafe, path
            if isinstance(node, ast.keyword):
                refused = isinstance(node.value, ast.Constant) and node.value.value is False
                assert refused or node.arg not in ("trust_remote_code", "allow_pickle"), path
            loads = ("torch.load", "joblib.load", "yaml.load", "yaml.unsafe_load")
            assert not (isinstance(node, ast.Call) and ast.unparse(node.func) in loads), f"{path}: {ast.unparse(node)}"


@pytest.mark.model
def test_weights_that_are_a_pickle_run_nothing(copied: Path, tmp_path: Path) -> None:
    """In place of safetensors a pickle is read with weights_only, which refuses what would run."""
    import torch

    class Runs:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(tmp_path / "ran"), "w")

    (copied / "model.safetensors").unlink()
    torch.save({"model.embed_tokens.weight": Runs()}, copied / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"(?i)weights|safetensors|unsupported|pickle"):
        models.generate(str(copied), [[{"role": "user", "content": "2 + 2?"}]])
    assert not (tmp_path / "ran").exists()


@pytest.mark.model
def test_deepspeed_reads_its_states_without_running_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    from laif_helpers.train.child import zero

    class Runs:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(tmp_path / "ran"), "w")

    class Looked:
        def __init__(self, *of: object) -> None:
            self.of = of

        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return getattr, self.of

    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    engine = TorchCheckpointEngine()
    torch.save({"optimizer": Runs()}, tmp_path / "state.pt")
    engine.load(str(tmp_path / "state.pt"))
    assert (tmp_path / "ran").exists(), "what DeepSpeed does by itself"
    (tmp_path / "ran").unlink()

    zero.states_hold_only_data()
    with pytest.raises(Exception, match="Weights only load failed"):
        engine.load(str(tmp_path / "state.pt"))
    assert not (tmp_path / "ran").exists()

    dynamic = DynamicLossScaler(2**16, 1000, 1, 1, False, dtype=torch.float16)
    scalers = [LossScaler(2.0), dynamic]
    own = {"scalers": scalers, "stage": ZeroStageEnum.weights, "at": fragment_address(numel=3, start=4)}
    torch.save(own, tmp_path / "own.pt")
    assert engine.load(str(tmp_path / "own.pt"))["at"].start == 4

    # Python 3.11.0 to 3.11.3, Debian 12's among them, pickle a member of an enum so
    torch.save({"stage": Looked(ZeroStageEnum, "weights")}, tmp_path / "stage.pt")
    assert engine.load(str(tmp_path / "stage.pt"))["stage"] is ZeroStageEnum.weights
    torch.save({"stage": Looked(LossScaler, "__subclasses__")}, tmp_path / "stage.pt")
    with pytest.raises(Exception, match="Weights only load failed"):
        engine.load(str(tmp_path / "stage.pt"))


# -- keys


def test_no_key_is_left_in_a_run(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-planted-in-the-environment-0123456789"
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, key)
    assert toy.run()[0] == 0
    files = [path for path in toy.run_dir.path.rglob("*") if path.is_file()]
    assert files and not [path for path in files if key in path.read_text(errors="replace")]


@pytest.mark.parametrize("name", ["api_key", "Authorization", "API-KEY"])
def test_a_recipe_holds_no_key(name: str) -> None:
    options = yaml.safe_dump({"target": {"add": {name: "sk-1"}}})
    with pytest.raises(ValueError, match="keys come from the environment"):
        recipe.build(recipe.Recipe, {"request_options": options})
