"""What a user has set for other programs breaks no stage: start-up files, matplotlib, locale, warnings, home, keys."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Toy, write_toy

from laif_helpers import launch, machine
from laif_helpers.models import connecting
from laif_helpers.paths import NANO, ROOT
from laif_helpers.runner import attempts, executors, manifest

DRAWS = """
import locale, os, sys, warnings
warnings.warn("of a library", DeprecationWarning)
if not __debug__:  # an assertion would be left out
    raise RuntimeError("PYTHONOPTIMIZE reached the stage")
if sys.dont_write_bytecode:
    raise RuntimeError("every stage compiles its libraries anew")
assert not hasattr(sys, "started_up")
assert locale.setlocale(locale.LC_ALL, "") and float("1.5") == 1.5 and locale.localeconv()["decimal_point"] == "."
import matplotlib.pyplot
matplotlib.pyplot.figure()
assert not matplotlib.rcParams["text.usetex"]
from laif_helpers.figures import style
with style.canvas() as (figure, axes):
    axes[0, 0].plot([0, 1], [0.5, 1], label="a_b $x")
    axes[0, 0].legend()
style.save(figure, p.folder.path / "figures" / "drawn")
assert os.environ["PYTHONPATH"] in sys.path, sys.path
print("é → 中")
"""


@pytest.mark.slow
def test_a_stage_runs_whatever_the_user_has_set(
    toy: Toy, real_kernels: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real_kernels()
    (tmp_path / "runs").rmdir()
    (tmp_path / "{ARM} {x} %d ä").mkdir()  # papermill takes what stands in braces for a parameter
    (tmp_path / "runs").symlink_to("{ARM} {x} %d ä")
    monkeypatch.setenv("LAIF_RUNS", str((tmp_path / "runs").resolve()))
    start = tmp_path / "ipython" / "profile_default" / "startup"
    start.mkdir(parents=True)
    (start / "00.py").write_text("import sys\nsys.started_up = 1\nraise SystemExit('a start-up file')\n")
    (start.parent / "ipython_config.py").write_text("raise RuntimeError('a profile')\n")
    (tmp_path / "startup.py").write_text("import sys\nsys.started_up = 2\n")
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nbackend: TkAgg\nfigure.dpi: none\n")
    strange = {
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "ipython"),
        "PYTHONSTARTUP": str(tmp_path / "startup.py"),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
        "PYTHONOPTIMIZE": "2",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "module://no_such_backend",
        "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
        "LC_ALL": "C",
        "LC_NUMERIC": "de_DE.UTF-8",
        "HOME": "/proc",
        "http_proxy": "http://127.0.0.1:1",
        "https_proxy": "http://127.0.0.1:1",
    }
    for name, value in strange.items():
        monkeypatch.setenv(name, value)
    write_toy(toy.notebooks, "01_evaluate", work=DRAWS)
    code, _ = toy.run(iterations=0)
    rows = manifest.latest(toy.run_dir)
    assert code == 0, rows
    assert (toy.run_dir.iteration("vanilla", 0).path / "figures" / "drawn.png").is_file()


def test_the_command_prints_to_a_terminal_of_another_encoding() -> None:
    code = "import importlib.metadata, sys; importlib.metadata.version = lambda name: '→'\n"
    code += "from laif_helpers import cli; sys.argv = ['laif', '--version']; cli.app()"
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (0, b"?\n"), done.stderr


def test_the_command_runs_with_its_descriptors_closed(tmp_path: Path) -> None:
    """As a service starts it. A file that is opened later must not be what a library prints into."""
    file = tmp_path / "file"
    code = (
        "import sys; from laif_helpers import cli\nfrom tqdm.auto import tqdm\n"
        f"def commands():\n    file = open({str(file)!r}, 'w'); print('out'); tqdm(range(3), disable=None)\n"
        "    file.write(f'{file.fileno() > 2}')\n"
        "cli.commands = commands; cli.app()"
    )
    closed = ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", sys.executable, "-c", code]
    assert subprocess.run(closed, check=False).returncode == 0
    assert file.read_text() == "True"


def test_a_stage_counts_and_writes_the_same_in_every_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.ISO-8859-1")
    monkeypatch.setenv("PYTHONUTF8", "0")
    given = executors.environment(3)
    assert (given["LC_ALL"], given["PYTHONUTF8"], given["OMP_NUM_THREADS"]) == (
        "C.UTF-8",
        "1",
        os.environ.get("OMP_NUM_THREADS", "3"),
    )


def test_variables_of_another_launcher_reach_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a shell of torchrun or of a SLURM script a training waited for ranks that never came, and accelerate's
    precision took the place of the recipe's."""
    strange = "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT GROUP_RANK ROLE_WORLD_SIZE PMI_SIZE"
    strange += " ACCELERATE_MIXED_PRECISION ACCELERATE_USE_FSDP FSDP_VERSION TORCHELASTIC_RUN_ID OMPI_COMM_WORLD_SIZE"
    for name in strange.split():
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("SLURM_JOB_ID", "2")
    for given in (executors.environment(1), launch.environment(1)):
        assert not given.keys() & set(strange.split()) and given["SLURM_JOB_ID"] == "2"


def test_a_home_folder_that_can_be_written_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "NUMBA_CACHE_DIR" not in set(executors.environment(1)) - set(os.environ)
    monkeypatch.setenv("HOME", "/proc")
    place = Path(executors.environment(1)["NUMBA_CACHE_DIR"])
    assert place.is_dir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / place.name).symlink_to(tmp_path)
    with pytest.raises(ValueError, match="is another user's; set HOME"):
        executors.environment(1)


@pytest.mark.parametrize("value", ["sk-a\nb", "sk-ä", "sk a", "“sk”", "'sk-a'"])
def test_a_key_with_stray_characters_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", value)
    with pytest.raises(ValueError, match=r"variable OPENAI_API_KEY holds .* at place .; set it again") as refused:
        machine.secret("OPENAI_API_KEY")
    assert value not in str(refused.value) and "sk" not in str(refused.value)


def test_an_account_s_name_with_stray_characters_is_told_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1\n")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-’")
    with pytest.raises(ValueError, match="variable OPENAI_PROJECT_ID holds a character that is not plain ASCII"):
        connecting.connect("http://127.0.0.1:9/v1", "target")
    monkeypatch.setenv("OPENAI_PROJECT_ID", " p ")
    client = connecting.connect("http://127.0.0.1:9/v1", "target")
    assert (client.organization, client.project) == ("org-1", "p")


def test_white_space_around_a_key_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " sk-1\r\n")
    assert machine.secret("OPENAI_API_KEY") == "sk-1"
    monkeypatch.delenv("OPENAI_API_KEY")
    assert machine.secret("OPENAI_API_KEY") == ""


def test_stages_at_the_same_time_are_spread_over_the_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2,5")
    tell = tmp_path / "tell"
    tell.write_text('#!/bin/sh\necho "$CUDA_VISIBLE_DEVICES $LAIF_GPU_SHARE"\ncat > /dev/null\n')
    tell.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tell))
    monkeypatch.setattr(machine, "cores", lambda: 6)  # six stages of one thread: two share a GPU
    monkeypatch.setattr(subprocess, "DEVNULL", subprocess.PIPE)  # a stage ends when the test closes its input
    engine, handles, logs = executors.Local(), [], [tmp_path / f"{at}.log" for at in range(7)]

    def start(gpus: int) -> None:
        handles.append(engine.start(tmp_path / "job", logs[len(handles)], 1, gpus))

    for gpus in (1, 1, 2, 1):
        start(gpus)
    handles[1].communicate()  # the GPU of a stage that has ended is free
    for gpus in (1, 0, 4):  # no model: no GPU of its own; more than there are: the training says so
        start(gpus)
    for handle in handles:
        handle.communicate()
    told = ["0 0.5", "2 0.5", "5,0 0.5", "2 0.5", "2 0.5", "0,2,5", "0,2,5"]
    assert [log.read_text().strip() for log in logs] == told


@pytest.mark.model
def test_answers_take_no_more_than_their_share_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """One stage's answers once took 76 of 79 GB, and fourteen stages beside it failed."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from laif_helpers.models import local

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**33, 2**34))
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(NANO))
    monkeypatch.setattr(type(model), "device", torch.device("cuda"))
    monkeypatch.setattr(local, "MAX_ROWS_GPU", 10**9)
    rows = local.rows_that_fit(model, 2048)
    monkeypatch.setenv("LAIF_GPU_SHARE", "0.125")
    assert abs(local.rows_that_fit(model, 2048) - rows / 4) <= 1, "an eighth of 16 GiB is a quarter of the free 8"


@pytest.mark.model
@pytest.mark.parametrize("kind", ["allocator", "driver"])
def test_a_gpu_that_is_full_is_one_sentence(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    import torch

    from laif_helpers.models import local

    error = torch.OutOfMemoryError("CUDA out of memory") if kind == "allocator" else RuntimeError("CUDA error: …")
    error.error_code = 2  # as torch.AcceleratorError has it

    def to(self: Any, place: str) -> None:
        raise error

    monkeypatch.setattr(local, "_gpu", lambda: True)
    monkeypatch.setenv("LAIF_GPU_SHARE", "0.25")
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (2**25, 2**36))
    monkeypatch.setattr(torch.nn.Module, "to", to)
    with pytest.raises(MemoryError, match=r": 0.0 of 64.0 GiB are free, and this stage may take 16.0; .* set fewer"):
        local._load(str(NANO), "full", "float32")


@pytest.mark.parametrize(
    "files, ids",
    [
        ((), []),
        (
            ("nvidiactl", "nvidia-uvm", "nvidia0", "nvidia3"),
            ["0", "1"],
        ),  # a container got two of four
        (("dxg",), ["0"]),
        (("kfd", "dri/card0", "dri/renderD128", "dri/renderD129"), ["0", "1"]),
        (("dri/renderD128",), []),  # draws pictures only
    ],
)
def test_gpus_of_every_make_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: tuple[str, ...], ids: list[str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert launch.gpus(tmp_path) == ids
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", " 3, GPU-7a ,-1")
    assert launch.gpus(tmp_path) == ["3", "GPU-7a"]


def test_a_stage_asks_for_the_gpus_that_it_uses(toy: Toy) -> None:
    def wanted(**values: Any) -> dict[str, int]:
        return {stage.notebook[:2]: attempts.gpus_of(stage) for stage in toy.plan(num_processes=4, **values).stages}

    assert wanted() == {"01": 1, "02": 0, "03": 0, "05": 4, "06": 0}
    serve = "vllm serve {model} --port {port} --tensor-parallel-size 4"
    assert wanted(serve=serve)["01"] == 4, "a server may spread over as many as a training"
