"""The league: what an arm took beside what it gained, learned against kept, arms against their counterparts."""

import importlib
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from laif_helpers import benchmarks, compare, figures, lessons, recipe, stats
from laif_helpers.compare import drawing, effects, gains, sweeps
from laif_helpers.instructors import ledger
from laif_helpers.instructors.ledger import Reply, open_ledger
from laif_helpers.paths import NANO, ROOT, IterationDir, RunDir
from laif_helpers.records import Lesson, write_json, write_jsonl, write_text
from laif_helpers.train import mix


def row(id: str, source: str = "lesson", question: str = "What is 1 + 1?") -> dict[str, Any]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": "2\n#### 2"}]
    return {"id": id, "benchmark": "practice", "source": source, "messages": turns}


def test_an_arm_is_charged_for_all_that_it_took(tmp_path: Path) -> None:
    folder = RunDir(tmp_path).iteration("opd", 1)
    criticised = row("c", question="And 2 + 2?")
    criticised["messages"] += [{"role": "user", "content": "Is that right?"}, {"role": "assistant", "content": "Yes."}]
    criticised["messages"][1]["weight"] = criticised["messages"][3]["weight"] = 1.0
    again = criticised | {"id": "b", "messages": [row("a")["messages"][0], *criticised["messages"][1:]]}
    write_jsonl(folder.training_set, [again | {"id": "a"}, again, criticised])
    write_json(folder.train_metrics, {"tokens": 900, "generated_tokens": 300, "teacher_tokens": 800, "seconds": 30.0})
    write_json(folder.metrics("10_distil"), {"generated_tokens": 50, "teacher_tokens": 60, "seconds": 4.0})
    with open_ledger(folder.replies("opd"), {"arm": "opd"}, {}) as calls:
        calls.reserve("k", "", 0.5)
        calls.record(Reply("k", "text", prompt_tokens=70, new_tokens=30, usd=0.5), reserved=0.5)
        calls.note(ledger.SECONDS, "2.5")
    took = gains.spent(folder, "opd", "10_distil")
    assert took == {
        **{"items": 3, "questions": 2, "training_tokens": 900, "generated_tokens": 350, "teacher_tokens": 860},
        **{"instructor_tokens": 100, "usd": 0.5, "teach_seconds": 6.5, "train_seconds": 30.0},
    }
    table = gains.rates(pd.DataFrame([{"arm": "opd", "points": 3.0} | took]))
    rates = {"points_per_100_items": 100.0, "points_per_million_tokens": 3e6 / 2210, "points_per_usd": 6.0}
    for name, value in (rates | {"points_per_minute": 3 * 60 / 36.5}).items():
        assert table[name].iloc[0] == pytest.approx(value)
    free = gains.rates(pd.DataFrame([{"arm": "le", "points": 3.0} | took | {"usd": 0.0}]))
    assert pd.isna(free["points_per_usd"].iloc[0]), "nothing was paid: no gain for a dollar"


def slice_row(arm: str, seed: int, fixed: int, broken: int, iteration: int = 1) -> dict[str, Any]:
    about = {"arm": arm, "seed": seed, "iteration": iteration, "benchmark": "practice", "facet": "all"}
    return about | {"fixed": fixed, "still_wrong": 25 - fixed, "still_right": 75 - broken, "broken": broken}


def test_learned_and_kept_are_shares_of_what_was_wrong_and_right() -> None:
    rows = [slice_row("vanilla", 0, 0, 0, 0), slice_row("le", 0, 3, 9), slice_row("le", 0, 10, 15, 2)]
    one = drawing.learned_kept(pd.DataFrame(rows), "practice").iloc[0]
    assert (one["iteration"], one["learned"], one["kept"]) == (2, 0.4, 0.8)
    assert one["learned_low"] < 0.4 < one["learned_high"] and one["kept_low"] < 0.8 < one["kept_high"]
    two = drawing.learned_kept(pd.DataFrame([*rows, slice_row("le", 1, 20, 15, 2)]), "practice").iloc[0]
    assert (two["learned_low"], two["learned_high"]) == stats.wilson(15, 25), "of two seeds Student's t spans all"
    rows += [slice_row("le", seed, 10 + seed, 15, 2) for seed in (1, 2)]
    over = drawing.learned_kept(pd.DataFrame(rows), "practice").iloc[0]
    assert over["seeds"] == 3 and over["learned"] == pytest.approx(0.44)
    assert over["learned_low"] == pytest.approx(stats.over_seeds([0.4, 0.44, 0.48])["low"]), "the seed is the unit"
    assert (over["kept_low"], over["kept_high"]) == stats.wilson(60, 75), "equal counts are no certainty"
    ended = drawing.learned_kept(pd.DataFrame([*rows, slice_row("rft", 0, 5, 0)]), "practice").set_index("arm")
    assert ended.loc["rft", ["iteration", "learned"]].tolist() == [1, 0.2], "an arm that ended early has its last turn"
    figure = figures.learned_kept(drawing.learned_kept(pd.DataFrame(rows), "practice"), "practice")
    assert len(figure.axes[0].containers) == 1


def accuracy(arm: str, seed: int, value: float) -> dict[str, Any]:
    return {"arm": arm, "seed": seed, "iteration": 1, "benchmark": "practice", "accuracy": value}


def test_arms_are_set_against_their_counterparts_seed_by_seed() -> None:
    rows = [accuracy(arm, seed, value + seed / 100) for seed in range(3) for arm, value in (
        ("auggpt", 0.80 + (seed - 1) / 1000), ("lec", 0.90), ("opd", 0.85), ("self", 0.5))]  # fmt: skip
    rows += [accuracy("opd_contrast", seed, value) for seed, value in enumerate((0.86, 0.85, 0.89))]
    table = sweeps.against_counterparts(pd.DataFrame(rows)).set_index("arm")
    assert table.index.tolist() == ["lec", "opd_contrast"], "pairs that the run holds"
    lec = table.loc["lec"]
    assert (lec["against"], lec["seeds"]) == ("auggpt", 3)
    assert lec["difference"] == pytest.approx(0.1) and lec["error_ratio"] == pytest.approx(0.09 / 0.19)
    assert lec["p"] < 0.001 and table.loc["opd_contrast", "p_holm"] > 0.05


@pytest.mark.slow
def test_the_document_is_made_of_the_run_and_then_of_what_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path / "runs"))
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import refresh

    (tmp_path / "figures").mkdir()
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(refresh, "ROOT", tmp_path)
    planned = {"arms": ["rft", "opd", "opd_contrast"], "seed": [0, 1, 2], "iterations": 1}
    write_text(tmp_path / "papermill_runs" / "league_practice.yaml", yaml.safe_dump(planned))
    for seed in range(2):
        point = RunDir(tmp_path / "runs" / "league_practice" / "points" / f"seed{seed}")
        compared = {"split": "test", "n": 100, "p_value": None, "delta": 0.1}
        scores = {"vanilla": 0.75, "opd": 0.85, "opd_contrast": 0.95}
        exact = {arm: value + seed / 1000 * (arm == "opd_contrast") for arm, value in scores.items()}
        results = [accuracy(arm, seed, value) | compared for arm, value in exact.items()]
        results[0] |= {"iteration": 0, "delta": None}
        write_text(point.compare / "results.csv", pd.DataFrame(results).to_csv(index=False))
        slices = [slice_row(arm, seed, 9, 3) for arm in scores]
        slices += [row | {"facet": "gap", "value": "gaps", "n": 100, "accuracy": scores[row["arm"]]} for row in slices]
        slices = [row | {"iteration": int(row["arm"] != "vanilla")} for row in slices]
        write_text(point.compare / "slices.csv", pd.DataFrame(slices).to_csv(index=False))
        took = [{"arm": arm, "iteration": 1, "points": 10.0} | dict.fromkeys(gains.COLUMNS, 60) for arm in scores][1:]
        write_text(point.compare / "costs.csv", pd.DataFrame(took).to_csv(index=False))
        write_text(point.recipe, f"seed: {seed}\nbudget: 300\nin_domain: [practice]\n")
    compare.collect_points(tmp_path / "runs" / "league_practice")
    refresh.league()
    page = (tmp_path / "docs" / "league.md").read_text()
    assert "| 1 | practice | opd_contrast | opd | 0.33 | +10.1 [+9.4, +10.7] | 0.003 |" in page
    assert "| arm | practice, gaps, turn 1 |" in page and "| opd_contrast | 95.0 ± 0.0 |" in page
    assert "| vanilla | 75.0 |" in page and "| opd | 10 | 60 | 60 |" in page
    assert "Run: 2 of 3 seeds, 1 of 1 iterations. Not run: rft." in page
    assert (tmp_path / "figures" / "league_practice.png").is_file()
    shutil.rmtree(tmp_path / "runs")
    (tmp_path / "docs" / "league.md").unlink()
    refresh.league()
    assert (tmp_path / "docs" / "league.md").read_text() == page, "the tables that are tracked are enough"


def test_two_sweeps_are_paired_within_what_both_vary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """practice_forgetting.yaml sweeps kl_weight: each value is set against itself, never against the other."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    tuning = importlib.import_module("tuning")
    for name, better in (("a", 0.1), ("b", 0.0)):
        rows = [
            {
                "budget": 300,
                "seed": seed,
                "kl_weight": kl,
                "arm": arm,
                "iteration": int(arm == "le"),
                "benchmark": "practice",
            }
            | {"accuracy": 0.5 + (arm == "le") * (better + kl / 5 + seed / 100)}
            for seed in range(3)
            for kl in (0.0, 1.0)
            for arm in ("vanilla", "le")
        ]
        (tmp_path / name / "compare").mkdir(parents=True)
        pd.DataFrame(rows).to_csv(tmp_path / name / "compare" / "results.csv", index=False)
    tuning.against(str(tmp_path / "a"), str(tmp_path / "b"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" more")[0] for line in lines] == [
        f"kl_weight {kl}, le, iteration 1, practice, 3 seeds: +10.0 [+10.0, +10.0]" for kl in (0.0, 1.0)
    ]
    one = pd.read_csv(tmp_path / "b" / "compare" / "results.csv").query("kl_weight == 0").drop(columns="kl_weight")
    one.to_csv(tmp_path / "b" / "compare" / "results.csv", index=False)
    with pytest.raises(ValueError, match="varies kl_weight alone"):
        tuning.against(str(tmp_path / "a"), str(tmp_path / "b"))


def test_trained_weights_follow_from_those_on_the_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    curve = importlib.import_module("forgetting_curve")
    start, trained = ({"w": torch.randn(3, 4)} for _ in range(2))
    kept = {"w": start["w"].lerp(trained["w"], 0.4)}
    for at, wanted in ((0.4, kept["w"]), (1.0, trained["w"]), (0.2, start["w"].lerp(trained["w"], 0.2))):
        torch.testing.assert_close(curve.between(start, kept, 0.4, at)["w"], wanted)


def test_one_seed_is_no_test() -> None:
    table = sweeps.against_counterparts(pd.DataFrame([accuracy("auggpt", 0, 0.8), accuracy("lec", 0, 0.9)]))
    assert table["error_ratio"].iloc[0] == pytest.approx(0.5) and pd.isna(table["p_holm"].iloc[0])


def asked(folder: IterationDir, arm: str) -> set[tuple[str, str]]:
    return {key for key, item in effects.lineages(folder, arm).items() if item["asked"]}


def test_questions_that_were_rolled_out_and_own_answers_count_as_shown(tmp_path: Path) -> None:
    folder = RunDir(tmp_path).iteration("opd", 1)
    write_jsonl(folder.training_set, [row("q1", "rollout"), row("q2", "replay")])
    assert asked(folder, "opd") == {("practice", "q1")}
    folder = RunDir(tmp_path).iteration("rft", 1)
    about: dict[str, Any] = {"arm": "rft", "iteration": 1, "instructor": "self", "request_key": ""}
    write_jsonl(folder.lessons("rft"), [Lesson("rft1-q1-0", "practice", "Q?", "A", ["q1"], **about)])
    write_jsonl(folder.training_set, [row("rft1-q1-0"), row("q2", "replay")])
    assert asked(folder, "rft") == {("practice", "q1")}


def test_an_arm_without_lessons_ranks_none(tmp_path: Path) -> None:
    about = {"arm": "opd", "iteration": 1, "benchmark": "practice", "id": "q1", "question": "Q?", "flip": "fixed"}
    ranked = effects.lessons_ranked(parameters(run=str(tmp_path)), pd.DataFrame([about | {"lesson_ids": []}]))
    assert ranked.empty


# -- equal tokens


def parameters(**more: Any) -> recipe.StageParameters:
    values = {"run": "r", "arm": "le", "iteration": 1, "target": str(NANO), "budget": 40, "match": "tokens"}
    values |= {"limit": 50, "holdout_fraction": 0.0}
    return recipe.build(recipe.StageParameters, values | more)


@pytest.mark.model
def test_tokens_are_held_equal_whatever_the_rows_length() -> None:
    from transformers import AutoTokenizer

    tokenizer, items = AutoTokenizer.from_pretrained(NANO), benchmarks.get("practice").load("train", limit=50)
    p = parameters()
    short = [row(f"s{at}") for at in range(900)] + [row(f"r{at}", "replay") for at in range(900)]
    long = [row(f"l{at}", question="Ann has 3 pots. " * 12) for at in range(100)]
    rollouts = [row(f"q{at}", "rollout") | {"answer_tokens": 30} for at in range(20)]
    sums = []
    for rows, replay in ((short, 0.25), (long, 0.0), (rollouts, 0.25)):
        p = parameters(replay_fraction=replay)
        fitted, missing = mix.fit(p, rows)
        assert not missing
        sizes = dict.fromkeys(("lesson", "replay", "rollout"), 0)
        for each in fitted:
            sizes[each["source"]] += mix.size(tokenizer, each)
        sums.append(sum(sizes.values()))
        if rows is short:
            assert sizes["replay"] / sums[-1] == pytest.approx(0.25, abs=0.01)
            assert len(fitted) > 2 * p.budget, "short rows are more rows"
    gold = lessons.from_gold(items, "practice", 50, 0)
    whole = [{"messages": [*benchmarks.get("practice").messages_for(g.question), {"role": "assistant", "content": g.response}]} for g in gold]  # fmt: skip # noqa: E501
    mean = sum(mix.size(tokenizer, each) for each in whole) / 50
    few, missing = mix.fit(p, long[:3])
    assert len(few) == 3 and "tokens of the" in missing[0]
    assert sums == pytest.approx([40 * mean] * 3, rel=0.03)
