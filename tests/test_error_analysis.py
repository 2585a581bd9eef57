"""Clusters find what the errors share, without labels; small and odd cases say so."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from laif_helpers import benchmarks, cluster_names, error_analysis, paths, recipe
from laif_helpers.embeddings import embed
from laif_helpers.error_analysis import places, profile
from laif_helpers.error_analysis import tables as error_tables
from laif_helpers.records import Example, Response, read_jsonl, write_json, write_jsonl

BAD = "#### -999999"


def answer(example: Example, correct: bool) -> Response:
    bench = benchmarks.get(example.benchmark)
    text = bench.gold_response(example) if correct else BAD
    grade = bench.grade(example, text or "")
    shown = {"messages": bench.messages(example), "gold": example.gold, "text": text, "model": "fake"}
    counts = {"prompt_tokens": 1, "new_tokens": 1}
    graded = {name: getattr(grade, name) for name in ("correct", "extracted", "readable", "reason")}
    return Response(id=example.id, benchmark=example.benchmark, split=example.split, **graded, **shown, **counts)


def parameters(run: Path, **values: Any) -> recipe.StageParameters:
    return recipe.build(recipe.StageParameters, {"run": str(run), **values})


def wrong_on_gaps(run: Path, limit: int = 0, slips: float = 0.03) -> recipe.StageParameters:
    """A target that fails on the planted gaps and slips now and then elsewhere."""
    p = parameters(run, limit=limit)
    rng = random.Random(0)
    examples = benchmarks.get("practice").load("train", None, limit or None)
    rows = [answer(e, rng.random() < (0.05 if e.fields["gap"] else 1 - slips)) for e in examples]
    write_jsonl(p.folder.responses("practice", "train"), rows)
    return p


@pytest.fixture(scope="module")
def located(tmp_path_factory: pytest.TempPathFactory) -> tuple[recipe.StageParameters, pd.DataFrame]:
    p = wrong_on_gaps(tmp_path_factory.mktemp("run"), limit=1_200)
    items = error_analysis.collect(p)
    return p, error_analysis.locate(items, embed(items["question"].tolist()), p.seed)


@pytest.mark.slow
def test_collect_joins_and_puts_wrong_first(located: tuple[recipe.StageParameters, pd.DataFrame]) -> None:
    _, points = located
    assert len(points) == 1_200
    assert points["correct"].is_monotonic_increasing
    assert points["question"].str.len().min() > 10


def test_clusters_are_weaknesses_found_without_labels(located: tuple[recipe.StageParameters, pd.DataFrame]) -> None:
    _, points = located
    found = error_analysis.found_gaps(points)
    assert found["precision"] >= 0.7
    assert found["recall"] >= 0.8
    # Labels that lie change the score, not the clusters.
    lied = points.assign(fields=[{"gap": False, "concept": "x"}] * len(points))
    assert error_analysis.found_gaps(lied)["precision"] == 0.0
    assert error_analysis.table(lied).equals(error_analysis.table(points))


def test_table_counts_add_up(located: tuple[recipe.StageParameters, pd.DataFrame]) -> None:
    _, points = located
    table = error_analysis.table(points)
    assert table["wrong"].sum() == (~points["correct"]).sum()
    assert table["wrong"].sum() + table["right_nearby"].sum() == len(points)
    clusters = table[table["cluster"] >= 0]
    assert clusters["cluster"].tolist() == list(range(len(clusters)))
    assert ((table["ci_low"] <= table["error_rate"]) & (table["error_rate"] <= table["ci_high"])).all()


def test_same_seed_same_map(located: tuple[recipe.StageParameters, pd.DataFrame]) -> None:
    p, points = located
    items = error_analysis.collect(p)
    again = error_analysis.locate(items, embed(items["question"].tolist()), p.seed)
    assert np.array_equal(points["x"], again["x"])
    assert points["cluster"].equals(again["cluster"])


@pytest.mark.slow
def test_files_of_the_stage(located: tuple[recipe.StageParameters, pd.DataFrame]) -> None:
    p, points = located
    error_analysis.save(p, points)
    error_analysis.draw(p, points)
    for name in ("error_map.png", "error_map.pdf", "error_map.html", "errors.parquet"):
        assert (p.folder.path / name).stat().st_size > 1_000
    back = pd.read_parquet(p.folder.errors)
    wanted = {
        "id",
        "benchmark",
        "split",
        "x",
        "y",
        "cluster",
        "cluster_name",
        "correct",
        "question",
        "gold",
        "extracted",
    }
    assert wanted <= set(back.columns)
    assert json.loads(back["fields"].iloc[0])["concept"]
    metrics = error_analysis.metrics(points)
    assert metrics["wrong"] == (~points["correct"]).sum()
    json.dumps(metrics)
    assert "weaknesses" in error_tables.observation(points, error_analysis.table(points))
    assert "<script" not in error_tables.examples(points, error_analysis.table(points))


@pytest.mark.slow
def test_later_iterations_keep_places_numbers_and_colours(located: tuple[recipe.StageParameters, pd.DataFrame]) -> None:
    p, points = located
    error_analysis.save(p, points)
    later = parameters(Path(p.run), limit=1_200, arm="le", iteration=1)
    repaired = points["cluster"].eq(0).to_numpy()
    rows = {row.id: row for row in read_jsonl(p.folder.responses("practice", "train"), Response)}
    fixed = set(points.loc[repaired, "id"])
    bench = {e.id: e for e in benchmarks.get("practice").load("train", None, 1_200)}
    write_jsonl(
        later.folder.responses("practice", "train"),
        [answer(bench[id], True) if id in fixed else row for id, row in rows.items()],
    )
    items = error_analysis.collect(later)
    assert set(items["flip"]) == {"fixed", "still_wrong", "still_right"}
    assert (items["flip"] == "fixed").sum() == len(fixed)
    for folder, graders in ((p.folder, "aaaa"), (later.folder, "bbbb")):
        write_json(paths.stamp_of(folder.responses("practice", "train")), {"graders": graders})
    with pytest.raises(ValueError, match=r"le, iteration 1: practice, train: graded by another version"):
        error_analysis.collect(later)
    paths.stamp_of(p.folder.responses("practice", "train")).unlink()
    vectors = embed(items["question"].tolist())
    again = error_analysis.locate(items, vectors, later.seed, places.of_untouched(later))
    both = again.merge(points, on="id", suffixes=("_now", "_then"))
    assert both["x_now"].equals(both["x_then"])
    known = both[(both["cluster_now"] >= 0) & (both["cluster_then"] >= 0)]
    assert (known["cluster_now"] == known["cluster_then"]).mean() > 0.8
    assert 0 not in set(again["cluster"]), "what was repaired is no cluster any more, and its number is not given away"
    error_analysis.metrics(again)


def test_weakness_profile_ranks_and_compares(located: tuple[recipe.StageParameters, pd.DataFrame]) -> None:
    p, points = located
    error_analysis.save(p, points.assign(question=points["question"] + " <script>alert(1)</script>"))
    found = profile.write(p, points)
    excess = [row["wrong"] - found["error_rate"] * row["n"] for row in found["weaknesses"]]
    assert excess == sorted(excess, reverse=True)
    assert all(len(row["ids"]) == row["n"] and len(row["examples"]) == 3 for row in found["weaknesses"])
    text = (p.folder.path / "weaknesses.md").read_text()
    assert text.startswith("# What this model cannot do")
    table = profile.side_by_side(p.folder, p.folder)
    assert len(table) == len(found["weaknesses"])
    assert not profile.weaknesses(found).empty
    assert error_analysis.texts(points, "both")[0] == f"{points['question'][0]}\n{points['text'][0]}"


def test_profile_without_clusters(tmp_path: Path) -> None:
    p, points = small(tmp_path, wrong=3)
    found = profile.write(p, points)
    assert found["weaknesses"] == []
    assert "No cluster" in (p.folder.path / "weaknesses.md").read_text()
    assert error_tables.hover(p, points) is None


def small(tmp_path: Path, wrong: int) -> tuple[recipe.StageParameters, pd.DataFrame]:
    p = parameters(tmp_path, limit=60)
    examples = benchmarks.get("practice").load("train", None, 60)
    write_jsonl(p.folder.responses("practice", "train"), [answer(e, i >= wrong) for i, e in enumerate(examples)])
    items = error_analysis.collect(p)
    return p, error_analysis.locate(items, embed(items["question"].tolist()), 0)


def test_few_errors_are_listed_not_mapped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    p, points = small(tmp_path, wrong=14)
    p.folder.error_map.write_text("of an earlier run")
    shown = error_analysis.draw(p, points)
    assert isinstance(shown, pd.DataFrame)
    assert len(shown) == 14
    assert "14 wrong of 60" in capsys.readouterr().out
    assert not p.folder.error_map.exists()
    error_analysis.save(p, points)
    assert error_analysis.metrics(points)["clusters"] == 0
    assert "14 wrong" in error_tables.observation(points, error_analysis.table(points))


def test_all_right_is_a_success(tmp_path: Path) -> None:
    p, points = small(tmp_path, wrong=0)
    table = error_analysis.table(points)
    assert table.empty
    assert "success" in error_tables.observation(points, table)
    assert error_analysis.found_gaps(points)["claims"] == []
    error_tables.gap_observation(error_analysis.found_gaps(points))
    assert "None" in error_tables.examples(points, table)
    assert len(error_analysis.draw(p, points)) == 0


def test_all_wrong_still_maps(tmp_path: Path) -> None:
    _, points = small(tmp_path, wrong=60)
    assert points["x"].notna().all()
    assert error_analysis.table(points)["wrong"].sum() == 60


def test_identical_and_wordless_questions(tmp_path: Path) -> None:
    _, points = small(tmp_path, wrong=60)
    for question in ("the same words", "", "12 + 7"):
        alike = points.assign(question=question)
        again = error_analysis.locate(alike, embed(alike["question"].tolist()), 0)
        assert not again["x"].notna().any()
        assert again["cluster"].eq(-1).all()


def test_contrast_removes_what_right_items_share() -> None:
    items = pd.DataFrame({"correct": [False, True, True, True], "benchmark": "practice"})
    vectors = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]], dtype="f4")
    space = error_analysis.contrast(items, vectors, k=2)
    assert space[0] == pytest.approx([0, 1, 0])
    assert space[1] == pytest.approx([0, 0, 0])


def test_names_of_people_name_no_cluster() -> None:
    people = ["Ivy", "Rosa", "Finn", "Tara", "Sam"]
    asked = [f"{people[k % 5]} has {k} spiders. How many legs?" for k in range(20)]
    asked += [f"How many cents in {k} dimes? asks {people[k % 3]}." for k in range(20)]
    asked += [f"In which year was Kant {verb}?" for verb in ("born", "ill", "old", "young", "famous") * 2]
    points = pd.DataFrame({"question": asked, "cluster": [0] * 20 + [1] * 20 + [2] * 10})
    assert cluster_names.persons(points) >= {"ivy", "rosa", "finn", "tara", "sam"}
    names = cluster_names.name(points)
    assert not [word for word in people if word.lower() in " ".join(names.values())]
    assert "kant" in names[2], "a name that a cluster is about stays"
    assert "legs" in names[0] and "cents" in names[1]


def test_names_where_words_have_no_spaces() -> None:
    asked = ["氢的原子序数是多少？", "氧的原子序数是多少？"] * 5 + ["法国是哪一年独立的？", "德国是哪一年独立的？"] * 5
    names = cluster_names.name(pd.DataFrame({"question": asked, "cluster": [0] * 10 + [1] * 10}))
    assert set("原子序数") & set(names[0])
    assert not set("原子序数") & set(names[1])
    assert len(set(names[0].replace(", ", ""))) == len(names[0].replace(", ", "")), "no character twice"


def test_function_words_of_other_languages_name_nothing() -> None:
    asked = [f"Wie viele {what} hat {k} Hans?" for k in range(5) for what in ("Äpfel", "Birnen")]
    asked += [f"Quelle est la capitale de {where} ?" for k in range(5) for where in ("Rome", "Lima")]
    asked += ["法国的首都是哪里？", "埃及的首都是什么？"] * 5
    names = cluster_names.name(pd.DataFrame({"question": asked, "cluster": [0] * 10 + [1] * 10 + [2] * 10}))
    assert "birnen" in names[0] and not {"wie", "viele"} & set(names[0].split(", "))
    assert "capitale" in names[1] and not {"quelle", "la", "de"} & set(names[1].split(", "))
    assert "首都" in names[2] and not set("的是哪什么") & set(names[2])


def test_vectors_that_see_nothing_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = pd.DataFrame({"question": ["?"] * 40, "correct": [False] * 20 + [True] * 20, "benchmark": "x"})
    points = error_analysis.locate(items, np.zeros((40, 1), dtype=np.float32), 0)
    assert points["x"].isna().all()
    assert "sees no word in 40 of 40 texts, which then lie nowhere: set EMBEDDING" in capsys.readouterr().out


def test_missing_and_foreign_answers_are_refused(tmp_path: Path) -> None:
    p = parameters(tmp_path, limit=60)
    with pytest.raises(FileNotFoundError, match="run 01_evaluate"):
        error_analysis.collect(p)
    examples = benchmarks.get("practice").load("train", None, 61)
    write_jsonl(p.folder.responses("practice", "train"), [answer(e, True) for e in examples])
    with pytest.raises(ValueError, match=r"LIMIT = 60 takes 60 items of practice's split 'train', .* holds 61 answers"):
        error_analysis.collect(p)
    write_jsonl(p.folder.responses("practice", "train"), [answer(replace(examples[0], id="stranger"), True)])
    with pytest.raises(ValueError, match=r"1 of 1 answers \(first: stranger\) have no question"):
        error_analysis.collect(p)
    with pytest.raises(ValueError, match="in_domain is empty"):
        error_analysis.collect(parameters(tmp_path, in_domain=[]))
