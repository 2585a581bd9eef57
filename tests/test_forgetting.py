"""What an arm kept of the untouched target's right answers, and how far training moved it."""

import json
from pathlib import Path

import pandas as pd
import pytest
from test_compare import answer, parameters, run  # noqa: F401  the fixture: le forgets, lec fixes 20 and breaks 2

from laif_helpers import compare, stats
from laif_helpers.compare import forgetting, report
from laif_helpers.paths import RunDir
from laif_helpers.records import write_json
from laif_helpers.stats import percent


@pytest.fixture
def sliced(run: Path) -> pd.DataFrame:  # noqa: F811
    return compare.slices(compare.collect(parameters(run))[0])


def whole(sliced: pd.DataFrame, arm: str, iteration: int) -> pd.Series:
    rows = sliced[(sliced["facet"] == "all") & (sliced["arm"] == arm) & (sliced["iteration"] == iteration)]
    return rows.iloc[0]


@pytest.mark.slow
def test_kept_is_the_share_of_right_answers_that_stay_right(sliced: pd.DataFrame) -> None:
    """Of 40 right answers lec keeps 38; the 20 that it fixed count for nothing here."""
    lec = whole(sliced, "lec", 2)
    assert (lec["right_before"], lec["kept"]) == (40, pytest.approx(38 / 40))
    assert (lec["kept_low"], lec["kept_high"]) == pytest.approx(stats.wilson(38, 40))
    assert whole(sliced, "le", 1)["kept"] == pytest.approx(0.5)
    assert pd.isna(whole(sliced, "vanilla", 0)["kept"])
    parts = sliced[(sliced["facet"] == "gap") & (sliced["arm"] == "lec") & (sliced["iteration"] == 2)]
    assert parts["right_before"].sum() == 40
    assert (parts["kept"] * parts["right_before"]).sum() == pytest.approx(38)


@pytest.mark.slow
def test_a_part_without_right_answers_keeps_nothing_and_says_so(run: Path) -> None:  # noqa: F811
    answer(run, "vanilla", 0, set())
    sliced = compare.slices(compare.collect(parameters(run))[0])
    assert sliced["right_before"].eq(0).all() and sliced["kept"].isna().all() and not sliced["lost"].any()
    shown = forgetting.table(sliced, forgetting.drift(RunDir(run)))
    assert shown.loc[0, "practice kept (of 0)"] == "–"


@pytest.mark.slow
def test_the_alarm_rings_for_what_was_gained_at_a_price(run: Path) -> None:  # noqa: F811
    """As many fixed as broken: no difference, and yet a quarter of what it knew is gone."""
    answer(run, "lec", 2, set(range(10, 50)))
    alarms = compare.forgotten(compare.slices(compare.collect(parameters(run))[0]))
    found = alarms[(alarms["arm"] == "lec") & (alarms["facet"] == "all")].iloc[0]
    assert (found["fixed"], found["broken"], found["kept"], found["alarm"]) == (10, 10, 0.75, "under 90% kept")
    assert "more broken than fixed" in set(alarms.loc[alarms["arm"] == "le", "alarm"])


@pytest.mark.slow
def test_no_alarm_for_a_part_that_was_hardly_known(run: Path) -> None:  # noqa: F811
    """5 of the items were right, 3 of them are wrong now, and 38 others are right."""
    answer(run, "vanilla", 0, set(range(5)))
    answer(run, "lec", 2, set(range(3, 43)))
    lec = whole(compare.slices(compare.collect(parameters(run))[0]), "lec", 2)
    assert lec["right_before"] == 5 and lec["kept_high"] < compare.KEEPS and not lec["lost"]


@pytest.mark.slow
def test_drift_stands_beside_what_was_kept(run: Path, sliced: pd.DataFrame) -> None:  # noqa: F811
    moved = {"nats_before": 3.25, "nats_after": 3.5, "kl": 0.12, "answers": 32}
    metrics = RunDir(run).iteration("lec", 1).train_metrics
    write_json(metrics, {"steps": 4, "drift": moved, "average": {"share": 0.4, "curve": []}})
    write_json(RunDir(run).iteration("le", 1).train_metrics, {"steps": 4})
    drift = forgetting.drift(RunDir(run))
    assert drift.to_dict("records") == [
        {"arm": "lec", "iteration": 1, "nats_before": 3.25, "nats_after": 3.5, "kl": 0.12, "share": 0.4}
    ]
    shown = forgetting.table(sliced, drift).set_index(["arm", "iteration"])
    assert shown.loc[("lec", 1), "loss on neutral text (nats)"] == "3.25 → 3.50 (+0.25)"
    assert shown.loc[("le", 1), "loss on neutral text (nats)"] == "–"
    assert shown.loc[("lec", 2), "practice kept (of 40)"].startswith("95.0 [83")
    recorded = json.loads(json.dumps(forgetting.metrics(sliced, drift)))
    assert recorded["kept"]["practice.lec.2"] == 0.95 and recorded["drift"]["lec.1"]["share"] == 0.4


@pytest.mark.slow
def test_the_alarm_rings_for_a_model_that_moved_far_and_stands_in_the_report(run: Path, sliced: pd.DataFrame) -> None:  # noqa: F811
    for arm, after, kl in (("le", 3.3, 0.05), ("lec", 3.5, None)):
        moved = {"drift": {"nats_before": 3.25, "nats_after": after, "kl": kl}}
        write_json(RunDir(run).iteration(arm, 1).train_metrics, {"steps": 4} | moved)
    write_json(
        RunDir(run).iteration("lec", 2).train_metrics, {"drift": dict(zip(moved["drift"], (3, 3, 0.2), strict=True))}
    )
    found = forgetting.alarms(compare.forgotten(sliced), forgetting.drift(RunDir(run)))
    rows = found[found["benchmark"].isin(["neutral text", "own right answers"])]
    assert rows[["arm", "iteration", "delta"]].values.tolist() == [["lec", 1, 0.25], ["lec", 2, 0.2]]
    assert len(found) == len(compare.forgotten(sliced)) + 2
    p = parameters(run)
    table = compare.results(compare.collect(p)[0], 0)
    page = report.write(p, {"results": table, "slices": sliced, "alarms": found}, {}, {}, []).read_text("utf-8")
    assert "<h2>Forgetting alarm</h2>" in page and "loss rose (nats a token)" in page and ">nan<" not in page
    assert ">+0.25 nats<" in page and ">&lt; 0.001<" in page
    assert "<th>kept</th>" in page and percent(38 / 40, *stats.wilson(38, 40)) in page, "of each part too"


def test_an_untouched_target_alone_has_nothing_to_keep(tmp_path: Path) -> None:
    answer(tmp_path, "vanilla", 0, set(range(40)))
    sliced = compare.slices(compare.collect(parameters(tmp_path, arms=[], iterations=0))[0])
    shown = forgetting.table(sliced, forgetting.drift(RunDir(tmp_path)))
    assert shown.empty
    compare.save(RunDir(tmp_path), kept=shown)
    assert forgetting.metrics(sliced, forgetting.drift(RunDir(tmp_path))) == {"kept": {}, "drift": {}}
