"""Starts a stage's kernel with this interpreter, without orphans, and records the time of imports.

A ``python3`` kernel installed elsewhere on the machine may be another Python; the runner's stages start their
kernel through this module instead, so that a notebook always runs in the Python that ``laif`` itself runs in.
"""

import builtins
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from laif_helpers.launch import die_with_parent

IMPORT_LOG = "LAIF_IMPORT_LOG"


def write_kernelspec(folder: Path) -> None:
    """A ``python3`` kernelspec for this very interpreter under ``folder/kernels`` (for ``JUPYTER_PATH``)."""
    spec = {
        # -P keeps the working directory off sys.path, as ipykernel's own launcher does
        "argv": [sys.executable, "-P", "-m", "laif_helpers.runner.kernel", "-f", "{connection_file}"],
        "display_name": "Python 3 (laif)",
        "language": "python",
    }
    target = folder / "kernels" / "python3"
    target.mkdir(parents=True)
    (target / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")


def log_imports(path: Path) -> None:
    """Append ``<time> <seconds> <module>`` to ``path`` for each import statement of the main thread over 50 ms.

    Only the outermost of nested imports counts, so the seconds add up. What a library loads lazily, without an
    import statement, is not seen: the sum is a lower bound.
    """
    original = builtins.__import__
    main, depth = threading.main_thread().ident, 0

    def timed(name: str, *args: Any, **kwargs: Any) -> Any:
        nonlocal depth
        if depth or threading.get_ident() != main:
            return original(name, *args, **kwargs)
        depth, begin = 1, time.perf_counter()
        try:
            return original(name, *args, **kwargs)
        finally:
            depth, seconds = 0, time.perf_counter() - begin
            if seconds > 0.05:
                with path.open("a", encoding="utf-8") as handle:
                    handle.write(f"{time.time():.3f} {seconds:.3f} {name}\n")

    builtins.__import__ = timed


def main() -> None:
    die_with_parent()
    if path := os.environ.pop(IMPORT_LOG, ""):
        log_imports(Path(path))
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()


if __name__ == "__main__":
    main()
