"""Runs one rank of a training: ``python -m laif_helpers.train.child CONFIG``."""

import os
import sys
from pathlib import Path

from laif_helpers import launch
from laif_helpers.records import read_json
from laif_helpers.train import lease
from laif_helpers.train.settings import Settings


def main(config: str) -> None:
    """Every rank of a training comes through here."""
    launch.tie_to_launcher()
    values = read_json(Path(config))
    values.pop("identity")
    settings = Settings(**values)
    if settings.hostfile:
        lease.hold(Path(settings.folder))
    from laif_helpers.train.child import sft

    sft.run(settings)
    if settings.report_to == "none" and not settings.hostfile:  # else a tracker or the lease has something to end
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # what it made lies on disk: Python would take seconds to take torch apart


if __name__ == "__main__":
    main(sys.argv[1])
