"""Starts a stage's kernel with this interpreter, without orphans.

A ``python3`` kernel installed elsewhere on the machine may be another Python; the runner's stages start their
kernel through this module instead, so that a notebook always runs in the Python that ``laif`` itself runs in.
"""

import json
import sys
from pathlib import Path

from laif_helpers.launch import die_with_parent


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


def main() -> None:
    die_with_parent()
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()


if __name__ == "__main__":
    main()
