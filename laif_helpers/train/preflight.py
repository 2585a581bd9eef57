"""Checks a training before it costs anything: does it fit, what does it learn from, how much disk.

``before_loading`` runs in the training child once the samples are tokens and before the model is loaded: it writes
``preflight.json`` and stops what cannot work. ``of_recipe`` checks a recipe alone (``laif doctor --recipe``).
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from laif_helpers.launch import environment
from laif_helpers.models.adapters import base_of
from laif_helpers.paths import existing, runs_dir
from laif_helpers.recipe import Recipe, local_target
from laif_helpers.records import Row, write_json
from laif_helpers.target import Target
from laif_helpers.train import memory
from laif_helpers.train.memory import GIB, Need
from laif_helpers.train.settings import SHARES, Settings

STAGES = ("none", "zero1", "zero2", "zero3", "zero3_offload")
SMALL = 200e6
_MARK = "preflight| "


def size(settings: Settings) -> memory.Shape | str:
    """The base's shape, or why it is unknown. Call this before the Trainer's arguments exist.

    From then on ZeRO-3 changes every model that is created, also one without data.
    """
    try:
        return memory.shape(base_of(settings.base))
    except ValueError as error:
        return str(error)


def before_loading(settings: Settings, model: memory.Shape | str, shares: Row, arguments: Any) -> Row:
    """Write ``preflight.json`` (rank 0) and raise ValueError if a row says ``stop``; return the figures."""
    rows = _samples(shares, settings) + _steps(shares, settings, arguments) + _choice(settings)
    figures: Row = {}
    if isinstance(model, str):
        rows.append(_row("memory", model, "look"))
    else:
        device = str(arguments.device)
        learned = shares["loss_token_share"] if settings.signal == "answers" else 1.0
        lengths = {"longest": shares["longest"], "learned": learned, "beginning": shares.get("beginning", 0)}
        needed = memory.need(model, settings, gpu=device != "cpu", **lengths)
        free, total = free_memory(device)
        rows += [_fits(settings, needed, free, total, device), _disk(needed, Path(settings.folder))]
        figures = {"needed_mb": needed.device >> 20, "free_mb": free >> 20, "weights": model.weights}
    if arguments.process_index == 0:
        write_json(Path(settings.folder) / "preflight.json", rows)
    if stops := [row["found"] for row in rows if row["verdict"] == "stop"]:
        raise ValueError("; ".join(stops))
    return figures


def _row(check: str, found: str, verdict: str = "fine") -> Row:
    return {"check": check, "found": found, "verdict": verdict}


def _samples(shares: Row, settings: Settings) -> list[Row]:
    """Lengths, and the share that carries loss."""
    total = shares["samples"] + shares["left_out"]
    long = (
        f"{shares['left_out']} of {total} over {settings.max_length} tokens, left out; longest kept {shares['longest']}"
    )
    share = shares["loss_token_share"]
    return [
        _row("samples", long, "look" if shares["left_out"] > 0.05 * total else "fine"),
        _row("loss", f"{share:.0%} of the tokens carry loss", "fine" if 0.02 < share < 0.98 else "look"),
    ]


def _steps(shares: Row, settings: Settings, arguments: Any) -> list[Row]:
    batch = settings.batch_size * settings.gradient_accumulation * arguments.world_size
    steps = int(settings.epochs * -(-shares["samples"] // batch))
    warm = arguments.get_warmup_steps(steps)
    found = f"{steps}, each of up to {batch} samples ({arguments.world_size} process(es)), {warm} of them to warm up"
    return [_row("steps", found, "look" if steps < 10 else "fine")]


def _choice(settings: Settings) -> list[Row]:
    if settings.average != "auto":
        return []
    answers = len(SHARES) * len(settings.held_out)
    return [_row("average", f"{answers:,} answers to held-out items choose how far to go; average: 1.0 asks none")]


def free_memory(device: str) -> tuple[int, int]:
    """Bytes free and in all: of the GPU that this process got, or of the machine."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)
    import psutil

    machine = psutil.virtual_memory()
    return machine.available, machine.total


def _fits(settings: Settings, needed: Need, free: int, total: int, device: str) -> Row:
    """A stop only if the model's states alone do not fit; activations are an estimate."""
    ranks = 1 if device.startswith("cuda") else settings.num_processes
    wanted, states = needed.device * ranks, needed.states * ranks
    place = "this machine" if device == "cpu" else f"GPU {device.removeprefix('cuda:')}"
    found = (
        f"about {wanted / GIB:.1f} GiB needed on {place} ({states / GIB:.1f} without activations), "
        f"{free / GIB:.1f} of {total / GIB:.1f} free"
    )
    if states <= free:
        if wanted <= 0.95 * free:
            return _row("memory", found, "fine")
        less = "lower batch_size and raise gradient_accumulation by the same factor, or use fewer workers"
        return _row("memory", f"{found}: {less}", "look")
    if states <= total:
        return _row("memory", f"{found}: another process fills it; end that one (nvidia-smi, top) or wait", "stop")
    return _row("memory", f"{found}: {_smaller(settings)}", "stop")


def _smaller(settings: Settings) -> str:
    order = [stage for stage in STAGES if stage not in ("none", "zero1")]
    left = order[order.index(settings.deepspeed) + 1 :] if settings.deepspeed in order else order
    steps = [f"deepspeed: {left[0]}"] if left else []
    return "try " + " or ".join([*steps, "more num_processes", "lora_rank: 16"])


def _disk(needed: Need, folder: Path) -> Row:
    free = shutil.disk_usage(folder).free
    found = f"up to {needed.disk / GIB:.1f} GiB for states and checkpoint, {free / GIB:.1f} free"
    if needed.disk < free:
        return _row("disk", found)
    return _row("disk", f"{found} in {folder}; free some, or set LAIF_RUNS to a larger disk", "stop")


def of_recipe(settings: Settings) -> list[str]:
    """Lines on a recipe's training: memory a process for every ZeRO stage, disk. Imports torch: for a child process."""
    import torch

    gpus = torch.cuda.device_count()
    if isinstance(model := size(settings), str):
        return [f"training: {model}: no memory estimate; everything else of the recipe was checked"]
    origin = " (from the table of known models; its config cannot be read here)" if model.guessed else ""
    lines = [f"model: {model.weights / 1e9:.2f} billion weights{origin}"]
    here = "GPU" if gpus or model.weights > 1e8 else "process"
    for stage in dict.fromkeys([settings.deepspeed, *STAGES]):
        needed = memory.need(
            model, settings.model_copy(update={"deepspeed": stage}), gpu=here == "GPU", longest=settings.max_length
        )
        mark = "  <- the recipe" if stage == settings.deepspeed else ""
        host = f", {needed.host / GIB:.0f} GiB of host memory" if stage == "zero3_offload" else ""
        each = f"{needed.device / GIB:6.1f} GiB on each of {settings.num_processes} {here}(s)"
        lines.append(f"memory: {stage:<13} {each}{host}{mark}")
    free = shutil.disk_usage(existing(Path(settings.folder))).free
    needed = memory.need(model, settings, gpu=here == "GPU", longest=settings.max_length)
    lines.append(f"disk: up to {needed.disk / GIB:.0f} GiB while one training runs, {free / GIB:.0f} GiB free")
    return [*lines, *_have(needed, gpus, settings)]


def _have(needed: Need, gpus: int, settings: Settings) -> list[str]:
    if not gpus:
        return ["device: no GPU here"]
    free, total = free_memory("cuda:0")
    enough = "enough" if needed.device < free else "NOT enough"
    short = f"; the recipe asks for {settings.num_processes}" if gpus < settings.num_processes else ""
    return [f"device: {gpus} GPU(s) with {free / GIB:.0f} of {total / GIB:.0f} GiB free: {enough}{short}"]


def ask(recipe: Recipe) -> list[str]:
    """``of_recipe`` in a process of its own, so that this one stays free of torch; one line if nothing is trained.

    A local target below 200 MB trains on any machine and costs no process either.
    """
    base = local_target(recipe.target)
    if not recipe.iterations or not recipe.arms or recipe.stops_early or not Target.of(recipe.target).local:
        return ["training: none"]
    size = sum(file.stat().st_size for file in Path(base).glob("*.safetensors"))
    if 0 < size < SMALL and not (Path(base) / "adapter_config.json").is_file():
        return [f"training: a target of {size / 1e6:.0f} MB fits any machine"]
    if Target.of(recipe.target).kind == "gguf" and not (Path(base) / "config.json").is_file():
        return ["training: no memory estimate before the first stage has written the .gguf file as a plain folder"]
    settings = Settings.of(recipe, folder=str(runs_dir()), base=base)
    argv = [sys.executable, "-m", "laif_helpers.train.preflight", settings.model_dump_json()]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, check=False)
    lines = [line.removeprefix(_MARK) for line in done.stdout.splitlines() if line.startswith(_MARK)]
    return lines or [f"training: could not be checked: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}"]


if __name__ == "__main__":
    for line in of_recipe(Settings(**json.loads(sys.argv[1]))):
        print(_MARK + line)
