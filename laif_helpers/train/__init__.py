"""Stage 5: fine-tunes the target on the lessons, in a child process.

``launch`` runs in the notebook's kernel: it checks what can be checked without torch, starts the child (one
process, or DeepSpeed ranks), draws its progress and judges the outcome. ``python -m laif_helpers.train.child CONFIG``
is the child; what it does is in ``sft.py``. The kernel imports no trl and makes no call to CUDA.

Settings follow the papers if these give a value (cosine, no weight decay, clipping at 1.0, loss on the response
only, betas 0.9 and 0.95); sizes and rates come from the recipe.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from laif_helpers import launch as processes
from laif_helpers import locks
from laif_helpers.paths import IterationDir
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Row, read_json, rows_of, sound_rows, write_json, write_jsonl
from laif_helpers.train import lease, measured, snapshots
from laif_helpers.train.settings import Settings, finished, make_settings

KILLED = (-9, 137, 247)
"""What SIGKILL leaves: of the child itself, through a shell, and through DeepSpeed's launcher."""
KILLED_HINT = (
    " (killed from outside; most often memory ran out: set fewer workers or a smaller batch_size; the same command "
    "goes on from the last whole state)"
)


def launch(p: StageParameters) -> Row:
    """Train ``p.base_model`` on ``p.folder.training_set`` into ``p.folder.checkpoint``; return the metrics.

    A checkpoint that the same settings, base and training set made is kept, and its metrics returned. Writes
    ``train_config.json``, ``train.out``, ``train_log.jsonl``, ``train_metrics.json`` and ``probe.jsonl`` into
    ``p.folder``.

    Raises ValueError (FileNotFoundError, PermissionError) with a sentence for bad input, RuntimeError with the
    end of the log where the training broke.
    """
    settings = make_settings(p)
    if not finished(settings):
        with _alone(settings.files.path):
            _train(settings, p.folder)
    shutil.rmtree(settings.snapshots, ignore_errors=True)  # a kill may have come before they were thrown away
    _grade_probe(p)
    return read_json(p.folder.train_metrics)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder: two trainings there would go on from each other's states. The second waits for the first."""
    lock = folder / ".lock.train"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.touch()
    except OSError as error:
        raise _unwritable(folder, error) from None
    if who := locks.holder(lock):
        print(f"process {who['pid']} trains in {folder} already; this one waits for it")
    with locks.hold(lock, wait=True):
        yield


def _unwritable(folder: Path, error: OSError) -> PermissionError:
    why = f"cannot write to {folder} ({error.strerror})"
    return PermissionError(f"{why}; choose a run folder that you may write to, with room in it")


def _train(settings: Settings, folder: IterationDir) -> None:
    if finished(settings):
        return  # by the process that was waited for
    config = _fresh_folder(settings)
    log = folder.path / "train.out"
    begin = time.perf_counter()
    with _progress(folder) as progress:
        status = _run(settings, config, log, progress)
    _judge(settings, status, log)
    metrics = read_json(folder.train_metrics) | {"child_seconds": round(time.perf_counter() - begin, 2)}
    write_json(folder.train_metrics, metrics)


def _run(settings: Settings, config: Path, log: Path, progress: Callable[[], None]) -> int:
    """Start the ranks and wait; once more on another port if another process took ours before its use."""
    for _ in range(3):
        argv = processes.command(
            "laif_helpers.train.child",
            str(config),
            processes=settings.num_processes,
            distributed=settings.deepspeed != "none",
            hostfile=settings.hostfile,
        )
        env = processes.environment(0 if settings.hostfile else settings.num_processes)
        with lease.granted(Path(settings.folder)) if settings.hostfile else nullcontext(lambda: None) as renew:

            def on_wait(renew: Callable[[], None] = renew) -> None:
                renew()
                progress()

            status = processes.run(argv, log, env=env, on_wait=on_wait)
        if status == 0 or not processes.port_was_taken(log):
            break
    return status


def _fresh_folder(settings: Settings) -> Path:
    """Clear what an earlier attempt left half-written, and write the child's configuration.

    Whole states of a training with these very settings stay, and the log up to them: the child goes on from there.
    """
    folder = Path(settings.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(settings.unfinished, ignore_errors=True)
        for name in ("train_error.json", "train_metrics.json", "probe.jsonl", "preflight.json"):
            (folder / name).unlink(missing_ok=True)
        _, note = snapshots.prepare(settings)
        write_json(folder / "train_config.json", settings.model_dump() | {"identity": settings.identity})
    except OSError as error:
        raise _unwritable(folder, error) from None
    if note:
        print(note)
    return folder / "train_config.json"


def _judge(settings: Settings, status: int, log: Path) -> None:
    """Success is exit status 0 and a sentinel that these settings wrote; everything else raises."""
    sentence = Path(settings.folder) / "train_error.json"
    if sentence.is_file():
        raise ValueError(read_json(sentence)["sentence"])
    if status == 0 and finished(settings):
        return
    if processes.port_was_taken(log):
        raise RuntimeError("three free ports in a row were taken before the ranks could use them; run it again")
    ended = f"training ended with status {status} and no whole checkpoint{KILLED_HINT if status in KILLED else ''}"
    raise RuntimeError(f"{ended}. End of {log}:\n{processes.tail(log)}")


@contextmanager
def _progress(folder: IterationDir) -> Iterator[Callable[[], None]]:
    """Follows ``train_log.jsonl``: a bar over optimiser steps. Gives a function that looks once a second at most, for
    on a CPU the training needs the cores that looking takes."""
    from tqdm.auto import tqdm

    due = 0.0
    with tqdm(desc="loading", unit="step") as bar:

        def look() -> None:
            nonlocal due
            due = time.monotonic() + 1.0
            rows = sound_rows(folder.train_log, more=False)
            if rows and rows[-1]["step"] > bar.n:
                bar.total = rows[-1]["of"]
                bar.set_description(f"loss {rows[-1]['loss']:.3f}", refresh=False)
                bar.update(rows[-1]["step"] - bar.n)

        yield lambda: look() if time.monotonic() >= due else None
        look()


def _grade_probe(p: StageParameters) -> None:
    """Say of each probed answer whether it is right now; the child only generates."""
    if all("after_correct" in row for row in rows_of(p.folder.probe)):
        return  # graded, before a kill or long ago
    probed = measured.probed(p)
    write_jsonl(
        p.folder.probe, [row | {"after_correct": b.grade(item, row["after"]).correct} for row, b, item in probed]
    )
