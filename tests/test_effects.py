"""The ledger follows an error from the instructor to the next answer; gains and seeds say what that was worth."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from laif_helpers import benchmarks, compare, lessons, recipe, stats
from laif_helpers.answers import joined
from laif_helpers.compare import effects, gains, sweeps
from laif_helpers.paths import RunDir, stamp_of
from laif_helpers.records import Example, Lesson, Response, write_json, write_jsonl

N = 200
WRONG = range(0, 80)
ITEMS = benchmarks.get("practice").load("train", None, N)


def parameters(run: Path, **values: Any) -> recipe.StageParameters:
    defaults = {"run": str(run), "benchmarks": ["practice"], "arms": ["le"], "iterations": 1, "limit": N}
    return recipe.build(recipe.StageParameters, defaults | values)


def responses(items: list[Example], right: set[int]) -> list[Response]:
    bench = benchmarks.get("practice")
    rows = []
    for i, e in enumerate(items):
        text = str(bench.gold_response(e)) if i in right else "#### -1"
        shown = {"messages": [], "gold": e.gold, "text": text, "model": "fake", "prompt_tokens": 1, "new_tokens": 1}
        grade = bench.grade(e, text)
        shown |= {name: getattr(grade, name) for name in ("correct", "extracted", "readable", "reason")}
        rows.append(Response(id=e.id, benchmark="practice", split=e.split, **shown))
    return rows


def lesson(at: int, source: Example, status: str = "kept") -> Lesson:
    about = {"arm": "le", "iteration": 1, "instructor": "scripted", "request_key": f"key{source.id}"}
    texts = {"question": source.question, "response": "#### 1"}
    return Lesson(id=f"le1-{at}", benchmark="practice", source_ids=[source.id], status=status, **texts, **about)


@pytest.fixture
def run(tmp_path: Path) -> recipe.StageParameters:
    """80 of 200 wrong; the instructor saw those not held out; all shown are fixed, held-out ones stay; 5 are broken."""
    p = parameters(tmp_path)
    folder = RunDir(tmp_path)
    shown = [i for i in WRONG if not joined.held_out(p, "practice", ITEMS[i].id)]
    write_jsonl(folder.iteration("vanilla", 0).responses("practice", "train"), responses(ITEMS, {*range(80, N)}))
    after = {*range(85, N), *shown}
    le = folder.iteration("le", 1)
    write_jsonl(le.responses("practice", "train"), responses(ITEMS, after))
    request = {"arm": "le", "benchmark": "practice", "n": 2, "messages": [], "neighbour_ids": ["right-one"]}
    write_jsonl(le.requests("le"), [request | {"key": f"key{i}", "source_ids": [ITEMS[i].id]} for i in shown])
    diagnoses = [{"request_key": f"key{ITEMS[i].id}", "diagnosis": "does not know dozen"} for i in shown]
    write_jsonl(le.path / "instruct" / "le.diagnoses.jsonl", diagnoses)
    learned = [lesson(2 * i, ITEMS[i]) for i in shown] + [lesson(2 * i + 1, ITEMS[i], "duplicate") for i in shown]
    write_jsonl(le.lessons("le"), learned)
    write_jsonl(le.training_set, lessons.mix(learned, ITEMS[80:], budget=20, replay_fraction=0.5, seed=0))
    tests = benchmarks.get("practice").load("test", None, N)
    write_jsonl(folder.iteration("vanilla", 0).responses("practice", "test"), responses(tests, {*range(100)}))
    write_jsonl(le.responses("practice", "test"), responses(tests, {*range(130)}))
    write_json(le.train_metrics, {"seconds": 1800, "world_size": 2})
    return p


def test_an_error_is_followed_to_its_repair(run: recipe.StageParameters) -> None:
    table = effects.collect(run)
    assert tuple(table.columns) == effects.COLUMNS
    assert len(table) == N
    shown = table[table["asked"]]
    assert shown["flip"].eq("fixed").all()
    assert not shown["held_out"].any()
    assert shown["diagnosis"].eq("does not know dozen").all()
    assert shown["neighbour_ids"].map(list).map(len).eq(1).all()
    assert shown["lessons"].eq(2).all()
    assert shown["kept"].eq(1).all()
    assert table["trained"].sum() == 10
    assert table["replayed"].sum() == 10
    assert (table["flip"] == "broken").sum() == 5
    assert table["cluster"].eq(-1).all(), "no map yet"


def test_fix_rates_tell_learning_from_memorising(run: recipe.StageParameters) -> None:
    row = effects.fix_rates(effects.collect(run)).iloc[0]
    held = sum(joined.held_out(run, "practice", ITEMS[i].id) for i in WRONG)
    assert (row["shown_n"], row["held_out_n"], row["rest_n"]) == (80 - held, held, 0)
    assert (row["shown_rate"], row["held_out_rate"], row["difference"]) == (1.0, 0.0, 1.0)
    assert row["difference_low"] > 0.5
    assert row["p_value"] < 1e-6


def test_clusters_come_from_the_untouched_targets_map(run: recipe.StageParameters) -> None:
    near = np.where(np.arange(N) < 100, 0, 1)
    places = pd.DataFrame({"id": [e.id for e in ITEMS], "benchmark": "practice", "near": near, "cluster_name": "dozen"})
    places.to_parquet(RunDir.named(run.run).iteration("vanilla", 0).errors)
    table = effects.collect(run)
    clusters = effects.by_cluster(table).set_index("cluster")
    assert clusters.loc[0, "n"] == 100
    assert clusters[["fixed", "broken", "still_wrong", "still_right"]].to_numpy().sum() == N
    assert not clusters["forgot"].any()
    broken = table.assign(flip=["broken"] * 60 + ["still_right"] * 140)
    assert effects.by_cluster(broken).set_index("cluster").loc[0, "forgot"]


def test_gold_answers_trained_on_count_as_shown(run: recipe.StageParameters) -> None:
    """fine_tuning asks no instructor: an item whose own gold answer was trained on is shown all the same."""
    folder = RunDir.named(run.run).iteration("fine_tuning", 1)
    gold = [lesson(k, ITEMS[k]) for k in range(12)]
    write_jsonl(folder.lessons("fine_tuning"), gold)
    write_jsonl(
        folder.training_set,
        [{"id": example.id, "source": "gold", "benchmark": "practice", "messages": []} for example in gold]
        + [{"id": ITEMS[100].id, "source": "replay", "benchmark": "practice", "messages": []}],
    )
    write_jsonl(folder.responses("practice", "train"), responses(ITEMS, {*range(N)}))
    table = effects.collect(run.model_copy(update={"arms": ["fine_tuning"]}))
    assert set(table.loc[table["asked"], "id"]) == {item.id for item in ITEMS[:12]}
    assert table["replayed"].sum() == 1
    assert effects.fix_rates(table).iloc[0]["shown_n"] == 12


def test_one_bad_cluster_of_many_is_chance(run: recipe.StageParameters) -> None:
    """Six broken of six: p 0.03 alone, 0.6 after Holm over twenty clusters."""
    table = effects.collect(run).assign(cluster=[k % 20 for k in range(N)], cluster_name="x", flip="still_right")
    table.loc[[0, 20, 40, 60, 80, 100], "flip"] = "broken"
    clusters = effects.by_cluster(table).set_index("cluster")
    assert clusters.loc[0, "p_value"] < 0.05 < clusters.loc[0, "p_holm"]
    assert not clusters["forgot"].any()
    assert effects.by_cluster(table[table["cluster"] == 0])["forgot"].all(), "the only cluster: an alarm"


def test_lessons_are_ranked_by_what_lies_next_to_them(run: recipe.StageParameters) -> None:
    table = effects.collect(run)
    ranked = effects.lessons_ranked(run, table)
    assert len(ranked) == 10
    assert ranked["net"].is_monotonic_decreasing
    assert ranked["source_flip"].eq("fixed").all()
    assert ranked[["fixed", "still_wrong"]].to_numpy().sum() == 80
    effects.write(run, table, ranked)
    folder = RunDir.named(run.run).compare
    assert len(pd.read_parquet(folder / "effects.parquet")) == N
    assert {path.name for path in folder.glob("*.csv")} == {"effects.csv", "fix_rates.csv", "lessons.csv"}


def test_gains_come_with_an_advice(run: recipe.StageParameters) -> None:
    row = gains.gains(run, compare.collect(run)[0]).iloc[0]
    assert row["points"] == pytest.approx(15.0)
    assert row["advice"].startswith("go on")


@pytest.mark.parametrize(
    ("points", "earlier", "shown", "advice"),
    [
        (1.0, 4.0, 2.0, "stop: 0.2"),
        (-1.0, None, 2.0, "stop: this"),
        (6.0, 8.0, 2.0, "go on: 4.5"),
        (1, 1, 100, "unclear"),
    ],
)
def test_advice(points: float, earlier: float | None, shown: float, advice: str) -> None:
    assert gains._outlook(points, earlier, shown)["advice"].startswith(advice)


def test_nothing_answered_after_training_is_an_empty_ledger(tmp_path: Path) -> None:
    p = parameters(tmp_path)
    table = effects.collect(p)
    assert table.empty
    assert effects.fix_rates(table).empty
    assert effects.by_cluster(table).empty
    assert effects.lessons_ranked(p, table).empty
    effects.write(p, table, effects.lessons_ranked(p, table))


def test_other_items_after_training_are_refused(run: recipe.StageParameters) -> None:
    path = RunDir.named(run.run).iteration("le", 1).responses("practice", "train")
    write_jsonl(path, responses(ITEMS[:150], set()))
    with pytest.raises(ValueError, match=r"le, iteration 1 answered other items of practice, train .*50 in one only"):
        effects.collect(run)


def test_other_graders_after_training_are_refused(run: recipe.StageParameters) -> None:
    for arm, iteration, graders in (("vanilla", 0, "aaaa"), ("le", 1, "bbbb")):
        path = RunDir.named(run.run).iteration(arm, iteration).responses("practice", "train")
        write_json(stamp_of(path), {"graders": graders})
    with pytest.raises(ValueError, match=r"^le, iteration 1: practice, train: graded by another version"):
        effects.collect(run)


def test_averages_name_micro_and_macro(run: recipe.StageParameters) -> None:
    answers, _ = compare.collect(run)
    assert gains.averages(answers, ["practice"], 0).empty, "one benchmark needs no average"
    more = answers[answers["id"].isin(answers["id"].unique()[:50])].assign(benchmark="practice_plus")
    table = gains.averages(pd.concat([answers, more]), ["practice"], 0)
    assert set(table["group"]) == {"all"}
    after = table[table["arm"] == "le"].iloc[0]
    assert after["n"] == 250
    assert after["micro"] == pytest.approx((130 + 50) / 250)
    assert after["macro"] == pytest.approx((130 / 200 + 1) / 2)
    assert after["macro_delta"] == pytest.approx(0.075)


def sweep(arms: dict[str, float], n: int = 5) -> pd.DataFrame:
    rng, rows = np.random.default_rng(0), []
    for seed in range(n):
        for arm, mean in ({"vanilla": 0.77} | arms).items():
            accuracy = mean + (rng.normal(0, 0.005) if arm != "vanilla" else 0.0)
            row = {"budget": 600, "seed": seed, "arm": arm, "iteration": int(arm != "vanilla"), "benchmark": "practice"}
            rows.append(
                row | {"split": "test", "accuracy": accuracy, "delta": accuracy - 0.77 if arm != "vanilla" else None}
            )
    return pd.DataFrame(rows)


def test_seeds_give_mean_sd_and_a_test() -> None:
    results = sweep({"auggpt": 0.90, "le": 0.95, "lec": 0.9505})
    table = sweeps.summary(results).set_index("arm")
    values = results[results["arm"] == "le"]["accuracy"]
    assert table.loc["le", "mean"] == pytest.approx(values.mean())
    assert table.loc["le", "sd"] == pytest.approx(values.std(ddof=1))
    assert table.loc["le", "p"] == pytest.approx(stats.over_seeds((values - 0.77).tolist())["p"])
    pairs = sweeps.versus(results).set_index(["arm", "against"])
    assert pairs.loc[("le", "auggpt"), "verdict"] == "better"
    assert pairs.loc[("le", "lec"), "verdict"] == "no difference shown"
    text = sweeps.as_text(sweeps.summary(results))
    assert text.columns.tolist() == ["iteration", "benchmark", "vanilla", "auggpt", "le", "lec"]
    assert text.loc[0, "vanilla"] == "77.0"
    assert text.loc[0, "le"] == f"{100 * values.mean():.1f} ± {100 * values.std(ddof=1):.1f}*"


def test_arms_are_paired_by_seed() -> None:
    """Seeds that are hard are hard for both arms: the difference within a seed is what counts."""
    rows = sweep({"auggpt": 0.0, "le": 0.0})
    hard = {seed: 0.8 + 0.04 * seed for seed in range(5)}
    gain = {0: 0.010, 1: 0.011, 2: 0.009, 3: 0.012, 4: 0.008}
    after = rows["arm"] != "vanilla"
    rows.loc[after, "accuracy"] = [
        hard[row.seed] + (gain[row.seed] if row.arm == "le" else 0.0) for row in rows[after].itertuples()
    ]
    pair = sweeps.versus(rows.iloc[::-1]).set_index(["arm", "against"]).loc[("le", "auggpt")]
    assert pair["difference"] == pytest.approx(0.01)
    assert pair["sd"] == pytest.approx(np.std(list(gain.values()), ddof=1))
    assert pair["p"] < 0.001, "unpaired the seeds' own spread of six points would hide it"


def test_macro_counts_benchmarks_alike_for_the_untouched_target_too(run: recipe.StageParameters) -> None:
    answers, _ = compare.collect(run)
    few = answers[answers["id"].isin(answers["id"].unique()[95:105])].assign(benchmark="practice_plus")
    table = gains.averages(pd.concat([answers, few]), ["practice", "practice_plus"], 0)
    start = table[(table["arm"] == "vanilla") & (table["group"] == "in-domain")].iloc[0]
    assert start["macro"] == pytest.approx((100 / 200 + 5 / 10) / 2)
    after = table[(table["arm"] == "le") & (table["group"] == "in-domain")].iloc[0]
    assert after["macro_delta"] == pytest.approx((30 / 200 + 5 / 10) / 2)
    assert after["macro_low"] < after["macro_delta"] < after["macro_high"]
    assert after["micro_delta"] == pytest.approx(35 / 210)


def test_one_seed_is_no_test() -> None:
    assert sweeps.versus(sweep({"auggpt": 0.9, "le": 0.95}, 1))["verdict"].str.startswith("no test").all()


def test_lineage_survives_a_missing_file(run: recipe.StageParameters) -> None:
    folder = RunDir.named(run.run).iteration("le", 1)
    folder.requests("le").unlink()
    folder.training_set.unlink()
    table = effects.collect(run)
    assert not table["asked"].any()
    assert table["trained"].sum() == 0
