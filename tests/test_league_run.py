"""The league at its smallest: own answers, rollouts that a teacher scores, lessons used that way. No kernels."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from laif_helpers.runner import loop, manifest, plan

pytestmark = [pytest.mark.slow, pytest.mark.model]


@pytest.mark.usefixtures("in_process")
def test_every_kind_of_arm_runs_to_its_costs(tmp_path: Path) -> None:
    values = {"arms": ["rft", "rft_errors", "opd_contrast", "sdft"], "iterations": 1, "benchmarks": ["practice"]}
    # nano as its own teacher has nothing to teach; what is tested is the way there
    values |= {"teacher": "data/nano", "limit": 80, "budget": 24, "epochs": 1, "max_new_tokens": 64, "attempts": 1}
    # one answer at a temperature near greedy: nothing that was failed is answered right, so that rft_errors ends well
    values |= {"attempt_temperature": 0.01, "map_iterations": False, "measure_errors": False, "average": 1.0}
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(values))
    planned = plan.make(path)
    assert loop.run(planned) == 0, (planned.run.path / "run.log").read_text()[-3000:]
    ended = {key for key, row in manifest.latest(planned.run).items() if row["status"] == "ended"}
    assert ended == {"rft_errors/iter1/09_self_training"}
    costs = pd.read_csv(planned.run.compare / "costs.csv").set_index("arm")
    assert costs.index.tolist() == ["rft", "opd_contrast", "sdft"]
    assert (costs[["items", "questions", "training_tokens", "generated_tokens", "train_seconds"]] > 0).all().all()
    assert (costs["teacher_tokens"] > 0).tolist() == [False, True, True]
    page = (planned.run.compare / "report.html").read_text()
    assert "What each arm took" in page and "learned kept" in page
