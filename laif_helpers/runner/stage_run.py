"""Runs one notebook in a process of its own: ``python -m laif_helpers.runner.stage_run JOB.json`` (the runner's child).

The job file names the notebook, its parameters and where the copy, the metrics and the result belong. What is
printed goes to the run's one log. The result file is this process's word on how it went; without it the runner
takes the stage for killed.
"""

import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

from laif_helpers import launch
from laif_helpers.paths import ROOT
from laif_helpers.records import read_json, write_json
from laif_helpers.runner import notebook, scratch
from laif_helpers.terminal import plain

IPC_LIMIT = 40  # characters of a folder name; with the socket's name after it, Unix allows 107


def execute(job: dict[str, Any], private: Path) -> dict[str, Any]:
    """Run the job's notebook with papermill and say how it went: ``status``, ``reason`` ….

    Any exception of papermill's or the kernel's is a failed stage, which the result reports.
    """
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [str(private), os.environ.get("JUPYTER_PATH")]))
    os.environ["JUPYTER_RUNTIME_DIR"] = str(private)
    # start-up files and settings of the user's own IPython, Jupyter and matplotlib are for other work
    os.environ |= {"IPYTHONDIR": str(private), "JUPYTER_CONFIG_DIR": str(private), "MATPLOTLIBRC": str(private / "rc")}
    (private / "rc").touch()
    _write_kernelspec(private)
    papermill = notebook.import_papermill()
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    _log_as(job["stage"])
    try:
        papermill.execute_notebook(
            _plain(job["notebook"]),
            _plain(job["output"]),
            parameters=job["parameters"],
            kernel_name="python3",
            cwd=_plain(str(ROOT)),
            progress_bar=False,
            log_output=True,
            coalesce_streams=True,
            # its cells are through, and what they wrote lies on disk: Python would take seconds to take torch apart
            shutdown_kernel="immediate",
            config=Config(KernelManager=_transport(private)),
        )
    except PapermillExecutionError as error:
        return _failed(f"{error.ename}: {error.evalue}", error.source, error.traceback)
    except Exception as error:  # a dead kernel, a time-out, a full disk: reported, never lost
        return _failed(f"{type(error).__name__}: {error}" + _dead_kernel_hint(error))
    return _outcome(job)


def _plain(path: str) -> str:
    """A path as it is for papermill, which takes what stands in braces for a parameter's name."""
    return path.replace("{", "{{").replace("}", "}}")


def _write_kernelspec(folder: Path) -> None:
    """A ``python3`` kernelspec for this very interpreter (one installed elsewhere may be another Python), whose kernel
    ends with this process."""
    # -P keeps the working directory off sys.path; ipykernel_launcher would take a PYTHONPATH of that name with it
    python = [sys.executable, "-P", "-m"]
    argv = [*python, "laif_helpers.launch", str(os.getpid()), *python, "ipykernel", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Python 3 (laif)", "language": "python"}
    write_json(folder / "kernels" / "python3" / "kernel.json", spec)


def _transport(private: Path) -> dict[str, str]:
    """Sockets in a private folder: two kernels that start together can be given one and the same TCP port.

    The folder is named because jupyter_client's default for ``ipc`` lies in the working directory, where two
    kernels take each other's sockets (measured: of 24 started in pairs, 2 never answered).
    """
    # else it lies in the folder for temporary files, and stays there if this process is killed
    settings = {"connection_file": str(private / "connection.json")}
    if len(str(private)) > IPC_LIMIT or sys.platform == "win32":
        return settings | {"transport": "tcp"}
    return settings | {"transport": "ipc", "ip": str(private / "kernel")}


def _outcome(job: dict[str, Any]) -> dict[str, Any]:
    """A stage is done when its last cell has written the metrics: ``sys.exit()`` in a cell looks like success."""
    metrics = Path(job["metrics"])
    if not metrics.is_file():
        return _failed(f"the notebook ended early: its last cell did not write metrics/{metrics.name}")
    ended = read_json(metrics).get("ended")
    return {"status": "ended", "reason": str(ended)} if ended else {"status": "done"}


def _failed(message: str, source: str = "", traceback: list[str] | None = None) -> dict[str, Any]:
    return {"status": "failed", "reason": message, "source": source, "traceback": traceback or []}


def _dead_kernel_hint(error: Exception) -> str:
    if type(error).__name__ != "DeadKernelError":
        return ""
    return " (killed from outside; most often memory ran out: lower batch_size or workers)"


class _Prefixed(logging.Formatter):
    """Every line with its stage in front: several stages share one log, which people read in a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        lines = record.getMessage().rstrip("\n").splitlines() or [""]
        head = f"{self.formatTime(record, '%H:%M:%S')} {record.name} | "
        return "\n".join(head + plain(line) for line in lines)


def _log_as(stage: str) -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Prefixed())
    log = logging.getLogger("papermill")
    log.name, log.propagate = stage, False
    log.addHandler(handler)
    log.setLevel(logging.INFO)


def main(path: str, parent: int = 0) -> None:
    launch.die_with_parent(parent)
    job = read_json(Path(path))
    with scratch.alone(Path(path)), scratch.folder(Path(path)) as private:
        result = execute(job, private) | {"host": socket.gethostname()}
    write_json(job["result"], result)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)
