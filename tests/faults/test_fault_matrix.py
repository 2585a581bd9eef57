"""The fault matrix: ``make faults`` runs every cell and writes docs/faults.md; ``make test`` runs a seed of it."""

import json
import os
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import cells
import pytest
import table
import world as worlds

from laif_helpers.paths import ROOT

TABLE = table.all_cells()
FOLDER = ROOT / "build" / "faults"
RECORD = FOLDER / "record.jsonl"
HEAD = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]


@pytest.fixture(scope="session")
def folder() -> Path:
    """Where the undisturbed runs lie: one for each test process, since each has servers on ports of its own."""
    return FOLDER / worlds.source_hash() / os.environ.get("PYTEST_XDIST_WORKER", "alone")


def recorded() -> set[str]:
    rows = [json.loads(line) for line in RECORD.read_text().splitlines()] if RECORD.is_file() else []
    return {row["cell"] for row in rows if row["ok"]}


@pytest.mark.faults
@pytest.mark.parametrize("cell", TABLE, ids=[cell.name for cell in TABLE])
def test_cell(cell: cells.Cell, folder: Path) -> None:
    if cell.name in recorded():
        pytest.skip("recorded; remove build/faults to run it again")
    world = worlds.make(cell.world, folder)
    begin, before = time.monotonic(), sum(os.times()[:4])
    found, ok = "", False
    try:
        found = cell.act(world)
        ok = True
    except BaseException as error:
        found = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
        raise
    finally:
        commit = subprocess.run(HEAD, check=False, cwd=ROOT, capture_output=True, text=True)
        row = {"cell": cell.name, "ok": ok, "found": found, "seconds": round(time.monotonic() - begin, 1)}
        row |= {"cpu": round(sum(os.times()[:4]) - before, 1)}  # but for processes whose parent was killed
        row |= {"date": datetime.now(UTC).date().isoformat(), "commit": commit.stdout.strip()}
        with RECORD.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")


SEED = [cell for cell in TABLE if cell.seed]


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> worlds.World:
    """The small world, made by its stages alone: no notebook, no kernel."""
    return worlds.make("small", tmp_path_factory.mktemp("worlds"), (cells.ANSWER, cells.TEACH))


@pytest.mark.slow
@pytest.mark.parametrize("cell", SEED, ids=[cell.name for cell in SEED])
def test_seed(cell: cells.Cell, small: worlds.World) -> None:
    cell.act(small)
