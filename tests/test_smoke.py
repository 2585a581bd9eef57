"""The whole cycle at its smallest: 01 to 06 in real kernels on the embedded target, then a call that does nothing."""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

from laif_helpers.paths import ROOT
from laif_helpers.runner import loop, manifest, plan

pytestmark = [pytest.mark.smoke, pytest.mark.slow]

RECIPE = ROOT / "papermill_runs" / "smoke.yaml"
LESS = {"arms": ["le+lec"], "benchmarks": ["practice"]}
"""This arm passes through every notebook of the cycle. fine_tuning runs in ``test_servers.py``, several arms in
``test_league_run.py``, two benchmarks in ``test_by_hand.py``."""
COLUMNS = ["arm", "iteration", "benchmark", "split", "n", "accuracy", "ci_low", "ci_high"]
COLUMNS += ["delta", "p_value", "p_holm", "seed"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[plan.RunPlan, int]:
    """The smoke recipe with one of its arms and benchmarks, run once for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAIF_RUNS", str(tmp_path_factory.mktemp("runs")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        planned = plan.make(RECIPE, overrides=LESS)
        return planned, loop.run(planned)


def test_every_stage_is_done_and_left_its_files(finished: tuple[plan.RunPlan, int]) -> None:
    planned, code = finished
    log = planned.run.path / "run.log"
    assert code == 0, log.read_text()[-3000:]
    rows = manifest.latest(planned.run)
    assert set(rows) == {stage.key for stage in planned.stages}
    assert {row["status"] for row in rows.values()} == {"done"}
    for row in rows.values():
        assert all((planned.run.path / path).exists() for path in row["outputs"])
    for stage in planned.stages:
        assert (stage.folder.notebooks / f"{stage.notebook}.ipynb").is_file()
        assert json.loads(stage.metrics.read_text())


def test_results_hold_every_arm_and_iteration(finished: tuple[plan.RunPlan, int]) -> None:
    planned, _ = finished
    with (planned.run.compare / "results.csv").open() as handle:
        table = list(csv.DictReader(handle))
    assert list(table[0]) == COLUMNS
    settings = planned.settings
    wanted = {("vanilla", 0)} | {(arm, k) for arm in settings.arms for k in range(1, settings.iterations + 1)}
    for benchmark in settings.benchmarks:
        rows = [row for row in table if row["benchmark"] == benchmark]
        assert {(row["arm"], int(row["iteration"])) for row in rows} >= wanted
        assert all(int(row["n"]) == settings.limit for row in rows)
        assert all(0 <= float(row["ci_low"]) <= float(row["accuracy"]) <= float(row["ci_high"]) <= 1 for row in rows)
    assert (planned.run.compare / "report.html").stat().st_size <= 5 * 2**20


def test_effects_are_broken_down_by_the_clusters_of_the_error_map(finished: tuple[plan.RunPlan, int]) -> None:
    planned, _ = finished
    effects = pd.read_parquet(planned.run.compare / "effects.parquet")
    assert effects["cluster"].max() >= 0, "06 ran before 02 had written the map"


def test_turns_trained_on_equally_many_items(finished: tuple[plan.RunPlan, int]) -> None:
    planned, _ = finished
    samples = {
        (arm, k): len(planned.run.iteration(arm, k).training_set.read_text().splitlines())
        for arm in planned.settings.arms
        for k in range(1, planned.settings.iterations + 1)
    }
    assert set(samples.values()) == {planned.settings.budget}, samples


def test_no_training_item_is_a_test_item(finished: tuple[plan.RunPlan, int]) -> None:
    planned, _ = finished
    vanilla = planned.run.iteration("vanilla", 0)
    tests = set()
    for name in planned.settings.benchmarks:
        rows = map(json.loads, vanilla.responses(name, "test").read_text().splitlines())
        tests |= {row["messages"][-1]["content"] for row in rows}
    for arm in planned.settings.arms:
        rows = map(json.loads, planned.run.iteration(arm, 1).training_set.read_text().splitlines())
        assert not tests & {row["messages"][-2]["content"] for row in rows}


def test_second_call_does_nothing(finished: tuple[plan.RunPlan, int], monkeypatch: pytest.MonkeyPatch) -> None:
    planned, _ = finished
    monkeypatch.setenv("LAIF_RUNS", str(planned.run.path.parent))
    stamps = {path: path.stat().st_mtime_ns for path in files(planned.run.path)}
    rows = manifest.rows(planned.run)
    assert loop.run(plan.make(RECIPE, overrides=LESS)) == 0
    assert manifest.rows(planned.run) == rows
    changed = {p.name for p in files(planned.run.path) if p.stat().st_mtime_ns != stamps.get(p)}
    assert changed <= {".lock", "recipe.yaml", "recipe-params.yaml"}


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
