"""The comparison is paired, refuses what cannot be paired, and shows what there is."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml

from laif_helpers import benchmarks, compare, paths, recipe, stats
from laif_helpers.answers import joined
from laif_helpers.compare import effects, gains, report
from laif_helpers.compare import tables as compare_tables
from laif_helpers.figures import html as safe_html
from laif_helpers.figures import markup
from laif_helpers.paths import RunDir
from laif_helpers.records import Response, write_json, write_jsonl, write_text
from laif_helpers.runner import notebook

N = 80
SCRIPT = "<script>alert('the model wrote this')</script>"


def responses(right: set[int], n: int = N, benchmark: str = "practice") -> list[Response]:
    rows = []
    for i, e in enumerate(benchmarks.get(benchmark).load("test", None, n)):
        text = f"#### {e.gold}" if i in right else f"{SCRIPT}\n#### -1"
        shown = {"messages": [], "gold": e.gold, "text": text, "model": "fake", "prompt_tokens": 1, "new_tokens": 1}
        grade = {"extracted": e.gold if i in right else "-1", "correct": i in right, "readable": True, "reason": ""}
        rows.append(Response(id=e.id, benchmark=benchmark, split="test", **grade, **shown))
    return rows


def parameters(run: Path, **values: Any) -> recipe.StageParameters:
    defaults = {"run": str(run), "benchmarks": ["practice"], "arms": ["le", "lec"], "limit": N}
    return recipe.build(recipe.StageParameters, defaults | values)


def answer(run: Path, arm: str, iteration: int, right: set[int], **options: Any) -> None:
    rows = responses(right, **options)
    write_jsonl(RunDir(run).iteration(arm, iteration).responses(rows[0].benchmark, "test"), rows)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Untouched: 40 right. le: forgets. lec: fixes 20, breaks 2 in its second iteration."""
    answer(tmp_path, "vanilla", 0, set(range(40)))
    answer(tmp_path, "le", 1, set(range(20)))
    answer(tmp_path, "le", 2, set(range(22)))
    answer(tmp_path, "lec", 1, set(range(45)))
    answer(tmp_path, "lec", 2, set(range(2, 60)))
    return tmp_path


@pytest.mark.slow
def test_results_are_paired_with_exact_columns(run: Path) -> None:
    p = parameters(run, seed=3)
    answers, missing = compare.collect(p)
    table = compare.results(answers, p.seed)
    assert missing == []
    compare.write(p, table, compare.slices(answers))
    read = pd.read_csv(run / "compare" / "results.csv")
    assert ",".join(read.columns) == "arm,iteration,benchmark,split,n,accuracy,ci_low,ci_high,delta,p_value,p_holm,seed"
    assert read["arm"].tolist() == ["vanilla", "le", "le", "lec", "lec"]
    assert read["seed"].eq(3).all()
    assert read.loc[0, ["delta", "p_value", "p_holm"]].isna().all()
    last = table.iloc[-1]
    assert (last["fixed"], last["broken"], last["still_wrong"], last["still_right"]) == (20, 2, 20, 38)
    assert last["delta"] == pytest.approx(18 / N)
    assert last["p_value"] == pytest.approx(stats.mcnemar(20, 2))
    assert last["delta_low"] < last["delta"] < last["delta_high"]
    assert read["p_holm"].tolist()[1:] == pytest.approx(stats.holm(table["p_value"].tolist())[1:])


def test_variants_of_one_question_are_one_unit(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = compare.results(compare.collect(parameters(run))[0], 0).iloc[-1]
    place = {e.id: i // 8 for i, e in enumerate(benchmarks.get("practice").load("test", None, N))}
    monkeypatch.setattr(joined, "origin", lambda example: f"seed question {place[example.id]}")
    table = compare.results(compare.collect(parameters(run))[0], 0)
    last = table.iloc[-1]
    assert (plain["test"], last["test"]) == ("exact McNemar", "exact sign flips of 10 origins")
    assert (last["delta"], last["fixed"], last["broken"]) == (plain["delta"], 20, 2)
    assert last["p_value"] > 20 * plain["p_value"], "ten questions, not eighty"
    assert last["delta_high"] - last["delta_low"] > 1.4 * (plain["delta_high"] - plain["delta_low"])
    assert last["detectable"] > plain["detectable"]


def test_samples_of_an_item_count_once(run: Path) -> None:
    """Four answers to each item: N stays the number of items, accuracy is the mean over all answers."""
    four = [replace(row, sample=k) for row in responses(set(range(40))) for k in range(4)]
    write_jsonl(RunDir(run).iteration("vanilla", 0).responses("practice", "test"), four)
    better = [replace(row, correct=row.correct or row.sample > 1) for row in four]
    write_jsonl(RunDir(run).iteration("le", 1).responses("practice", "test"), better)
    table = compare.results(compare.collect(parameters(run, arms=["le"], iterations=1))[0], 0)
    assert table["n"].tolist() == [N, N]
    assert table["accuracy"].tolist() == [0.5, 0.75]
    assert (table.iloc[1]["fixed"], table.iloc[1]["broken"], table.iloc[1]["delta"]) == (40, 0, 0.25)


def test_verdicts_in_words(run: Path) -> None:
    answers, _ = compare.collect(parameters(run))
    table = compare.results(answers, 0)
    verdicts = dict(zip(table["arm"] + table["iteration"].astype(str), table["verdict"], strict=True))
    assert verdicts["vanilla0"] == "baseline"
    assert verdicts["le1"] == "worse"
    assert verdicts["lec2"] == "better"
    assert verdicts["lec1"].startswith("no difference shown; the smallest these items reliably show is ")
    assert "untouched 50.0 %" in compare_tables.sentences(table)[0]
    assert compare_tables.verdict_table(table).shape[0] == 4


def test_order_of_rows_does_not_matter(run: Path) -> None:
    before = compare.results(compare.collect(parameters(run))[0], 0)
    path = RunDir(run).iteration("lec", 2).responses("practice", "test")
    write_jsonl(path, responses(set(range(2, 60)))[::-1])
    assert compare.results(compare.collect(parameters(run))[0], 0).equals(before)


def test_other_items_are_refused(run: Path) -> None:
    answer(run, "le", 2, set(range(22)), n=70)
    with pytest.raises(ValueError, match=r"le, iteration 2 answered other items of practice, test .*10 in one only"):
        compare.collect(parameters(run))


def test_other_gold_is_refused(run: Path) -> None:
    rows = [replace(row, gold="7") if i == 5 else row for i, row in enumerate(responses(set()))]
    write_jsonl(RunDir(run).iteration("le", 2).responses("practice", "test"), rows)
    with pytest.raises(ValueError, match="le, iteration 2: 1 items of practice, test were graded against another gold"):
        compare.collect(parameters(run))


def stamp(run: Path, arm: str, iteration: int, **stamped: Any) -> None:
    write_json(paths.stamp_of(RunDir(run).iteration(arm, iteration).responses("practice", "test")), stamped)


def test_other_graders_are_refused(run: Path) -> None:
    stamp(run, "vanilla", 0, graders="aaaa", audit=True)
    stamp(run, "lec", 2, graders="aaaa", audit=False)
    assert compare.collect(parameters(run))[1] == [], "answers without a stamp, and those of the same graders, pass"
    stamp(run, "lec", 2, graders="bbbb", audit=True)
    sentence = r"^lec, iteration 2: practice, test: graded by .* \(bbbb\) .*\(aaaa, vanilla/iter0\).*"
    with pytest.raises(ValueError, match=f"{sentence} run 01_evaluate again on both"):
        compare.collect(parameters(run))


def test_missing_arms_are_named_and_left_out(run: Path) -> None:
    p = parameters(run, arms=["auggpt", "lec"], benchmarks=["practice", "practice_plus"])
    answers, missing = compare.collect(p)
    assert set(answers["arm"]) == {"vanilla", "lec"}
    never = "never trained: run 05_train_deepspeed with ARM='auggpt', ITERATION=1 first"
    assert f"auggpt, iteration 1: {never}" in missing
    assert "lec, iteration 2: has not answered practice_plus" in missing
    assert "vanilla has not answered practice_plus, test" in missing
    assert never in compare_tables.observation(compare.results(answers, 0), missing)
    write_json(RunDir(run).iteration("auggpt", 1).train_metrics, {"steps": 3})
    trained = "auggpt, iteration 1: trained, not evaluated: run 01_evaluate with ARM='auggpt', ITERATION=1"
    assert trained in compare.collect(p)[1]


def test_another_limit_than_01_is_named(run: Path) -> None:
    stamp(run, "vanilla", 0, graders="aaaa")
    for limit, takes in ((N - 30, "50"), (N + 20, "100")):
        sentence = rf"LIMIT = {limit} takes {takes} items .* holds 80 answers: set LIMIT as 01_evaluate had it"
        with pytest.raises(ValueError, match=sentence):
            compare.collect(parameters(run, limit=limit))


def test_questions_and_answers_are_read_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two arms and two turns ask for the same split five times."""
    loads: list[str] = []
    practice = benchmarks.get("practice")
    train = practice.load("train", None, N)

    def load(split: str, *options: Any) -> list[Any]:
        loads.append(split)
        return practice.load(split, *options)

    for arm, k in (("vanilla", 0), ("le", 1), ("le", 2), ("lec", 1), ("lec", 2)):
        rows = [replace(row, id=item.id, split="train") for row, item in zip(responses(set()), train, strict=True)]
        write_jsonl(RunDir(run).iteration(arm, k).responses("practice", "train"), rows)
    joined._responses.cache_clear()
    joined._examples.cache_clear()
    monkeypatch.setattr(benchmarks, "get", lambda name: replace(practice, load=load))
    compare.collect(parameters(run))
    effects.collect(parameters(run))
    compare.collect(parameters(run))
    assert loads == ["test", "train"]
    monkeypatch.undo()
    answer(run, "lec", 2, set(range(3)))
    assert compare.collect(parameters(run))[0].query("arm == 'lec' and iteration == 2")["correct"].sum() == 3


@pytest.mark.slow
def test_only_the_untouched_target(tmp_path: Path) -> None:
    answer(tmp_path, "vanilla", 0, set(range(40)))
    p = parameters(tmp_path, iterations=0)
    answers, missing = compare.collect(p)
    table, sliced = compare.results(answers, 0), compare.slices(answers)
    assert missing == []
    assert table["verdict"].tolist() == ["baseline"]
    drawn = compare.draw(p, sliced)
    assert list(drawn) == ["iteration_lines"]
    assert compare_tables.verdict_table(table).empty
    assert compare.repaired(answers).empty
    assert compare.forgotten(sliced).empty
    compare.write(p, table, sliced)
    ledger = effects.collect(p)
    found = {"averages": gains.averages(answers, p.in_domain, 0), "effects": ledger, "gains": gains.gains(p, answers)}
    found |= {"by_cluster": effects.by_cluster(ledger), "ranked": effects.lessons_ranked(p, ledger)}
    found |= {"results": table, "slices": sliced}
    report.write(p, found, {"Repaired": compare.repaired(answers)}, drawn, missing)
    assert compare_tables.fix_rate_table(effects.fix_rates(ledger)).empty
    json.dumps(effects.metrics(ledger, found["gains"]))
    json.dumps(compare.metrics(table, sliced, missing))


def test_nothing_evaluated_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run 01_evaluate first"):
        compare.collect(parameters(tmp_path))


@pytest.mark.slow
def test_slices_and_forgetting_alarm(run: Path) -> None:
    answers, _ = compare.collect(parameters(run))
    sliced = compare.slices(answers)
    whole = sliced[sliced["facet"] == "all"].set_index(["arm", "iteration"])
    parts = sliced[sliced["facet"] == "gap"].groupby(["arm", "iteration"])[["n", "fixed", "broken"]].sum()
    assert whole["n"].equals(parts["n"].loc[whole.index])
    assert whole["broken"].equals(parts["broken"].loc[whole.index])
    assert set(sliced.loc[sliced["facet"] == "gap", "value"]) == {"gaps", "practised"}
    alarms = compare.forgotten(sliced)
    assert set(alarms["arm"]) == {"le"}
    assert (alarms["broken"] > alarms["fixed"]).all()
    assert compare.panels(sliced)["panel"].drop_duplicates().tolist() == [
        "practice",
        "practice: gaps",
        "practice: practised",
    ]
    by_concept = compare.flip_table(sliced, "practice", "concept", "lec")
    assert by_concept["n"].sum() == N


def test_one_bad_label_of_many_is_chance(tmp_path: Path) -> None:
    """A label that lost six of six raises no alarm among many labels (Holm over the values), but does alone."""
    concepts = [e.fields["concept"] for e in benchmarks.get("practice").load("test", None, 600)]
    counts = pd.Series(concepts).value_counts()
    broken = [place for place, concept in enumerate(concepts) if concept == counts.index[0]][:6]
    answer(tmp_path, "vanilla", 0, set(range(600)), n=600)
    answer(tmp_path, "le", 1, set(range(600)) - set(broken), n=600)
    answers, _ = compare.collect(parameters(tmp_path, arms=["le"], iterations=1, limit=600))
    sliced = compare.slices(answers)
    label = sliced[
        (sliced["arm"] == "le") & (sliced["facet"] == "concept") & (sliced["value"] == counts.index[0])
    ].iloc[0]
    assert label["p_value"] < 0.05 < label["p_holm"]
    assert not label["forgot"]
    alone = sliced[(sliced["arm"] == "le") & (sliced["facet"] == "all")].iloc[0]
    assert alone["forgot"], "the same six of all items: one test, so an alarm"


def test_tables_escape_for_their_language() -> None:
    table = pd.DataFrame({"a_b": ["x|y", "50 % & < 1"]})
    assert "x\\|y" in markup.as_markdown(table)
    latex = markup.as_latex(table)
    assert r"a\_b" in latex
    assert r"50 \% \& $<$ 1" in latex
    assert SCRIPT not in safe_html.escaped(pd.DataFrame({"text": [SCRIPT]}))
    assert "…" in safe_html.escaped(pd.DataFrame({"text": ["a" * 900]}))


@pytest.mark.slow
def test_a_stage_that_ran_twice_is_one_stage_and_a_spoilt_line_is_passed_over(tmp_path: Path) -> None:
    row = {"stage": "vanilla/iter0/01_evaluate", "seconds": 2.0, "versions": {"torch": "2.13.0"}}
    lines = [row | {"status": status} for status in ("running", "failed", "done", "done")]
    text = "\n".join([*map(json.dumps, lines), '{"stage": "vani', ""])
    (tmp_path / "manifest.jsonl").write_text(text)
    assert report.environment(RunDir(tmp_path)).values.tolist() == [["stages", "1, 4 s in all"], ["torch", "2.13.0"]]


@pytest.mark.slow
def test_report_is_one_safe_small_page(run: Path) -> None:
    p = parameters(run)
    trained = {"steps": 57, "tokens": 73456, "tokens_per_s": 5012.2, "seconds": 14.7, "loss_token_share": 0.44}
    write_json(RunDir(run).iteration("lec", 1).train_metrics, trained)
    funnel = {"requested": 640, "kept": 300}
    write_json(RunDir(run).iteration("lec", 1).metrics("04_instruct_LEC"), {"funnel": funnel})
    counts = {"practice.test": {"n": 1200, "cut": 61}, "practice.train": {"n": 1200, "cut": 60}}
    write_json(RunDir(run).iteration("lec", 2).metrics("01_evaluate"), {"results": counts})
    answers, missing = compare.collect(p)
    table, sliced = compare.results(answers, 0), compare.slices(answers)
    examples = {"Repaired": compare.repaired(answers, "fixed", 2), "Broken": compare.repaired(answers, "broken", 2)}
    assert SCRIPT in examples["Repaired"]["before"].iloc[0]
    examples["Broken"] = examples["Broken"].assign(**{"practice_plus kept (of 3)": 1, "still_wrong": 1})
    path = report.write(p, {"results": table, "slices": sliced}, examples, compare.draw(p, sliced), missing)
    page = path.read_text(encoding="utf-8")
    assert path == run / "compare" / "report.html"
    assert path.stat().st_size < 5e6
    assert "<p>lec, iteration 2, practice.test: 61 of 1,200 answers were cut at the token limit" in page
    assert "practice.train: 60" not in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert page.count("data:image/png;base64,") == 4
    listed, present = re.findall(r'href="#([^"]+)"', page), re.findall(r'class="place" id="([^"]+)"', page)
    assert "arm learned from: le (lessons on errors), lec (lessons on errors beside right answers)." in page
    assert "<th>practice_plus kept (of 3)</th>" in page and "<th>still wrong</th>" in page
    assert listed == present and "paired-verdicts" in present and "learned-or-memorised" not in present
    for text in ("5,012", "640", "Not there", "learning_rate", "better", "worse"):
        assert (text in page) == (text != "Not there"), text


@pytest.mark.slow
def test_points_of_a_sweep(tmp_path: Path) -> None:
    for budget in (150, 300):
        for seed in (0, 1):
            point = tmp_path / "points" / f"budget{budget}_seed{seed}"
            answer(point, "vanilla", 0, set(range(40)))
            answer(point, "le", 1, set(range(40 + budget // 20 + seed)))
            p = parameters(point, arms=["le"], iterations=1, seed=seed)
            answers, _ = compare.collect(p)
            compare.write(p, compare.results(answers, seed), compare.slices(answers))
            (point / "recipe.yaml").write_text(yaml.safe_dump({"budget": budget, "seed": seed, "k": 3}))
    table = compare.collect_points(tmp_path)
    assert table.columns[:3].tolist() == ["budget", "seed", "arm"]
    assert len(table) == 8
    best = table[(table["budget"] == 300) & (table["seed"] == 1) & (table["arm"] == "le")]
    assert best["accuracy"].item() == pytest.approx(56 / N)
    folder = tmp_path / "compare"
    assert (folder / "budget_curves.png").is_file()
    assert (folder / "budget_curves.pdf").is_file()
    assert len(pd.read_csv(folder / "results.csv")) == 8
    assert not (folder / "learned_kept.csv").is_file(), "two budgets are no seeds of one another"
    for point in (tmp_path / "points").glob("budget150*"):
        shutil.rmtree(point)
    compare.collect_points(tmp_path)
    learned = pd.read_csv(folder / "learned_kept.csv").iloc[0]
    assert (learned["arm"], learned["seeds"]) == ("le", 2) and (folder / "learned_kept.png").is_file()
    assert learned["learned"] == pytest.approx((15 + 16) / 2 / (N - 40)) and learned["kept"] == 1.0


def test_no_points_yet(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no point of the sweep"):
        compare.collect_points(tmp_path)


def test_sortable_tables_show_script_as_text() -> None:
    page = safe_html.sortable(pd.DataFrame({"a": [SCRIPT, "<b>x</b>" * 200], "n": [1, 2]}))
    assert SCRIPT not in page
    assert "&lt;script&gt;alert" in page
    assert "(1,600 characters)" in page
    assert safe_html.sortable(pd.DataFrame()) == "<p>None.</p>"


def by_hand(run: Path, **values: Any) -> dict[str, Any]:
    """Notebook 06, cell by cell, as JupyterLab runs it with its defaults but for ``values``."""
    space: dict[str, Any] = {}
    for cell in notebook.read(paths.NOTEBOOKS / "06_compare.ipynb")["cells"]:
        if cell["cell_type"] == "code":
            exec(compile(notebook.source(cell), "06_compare", "exec"), space)
            if "parameters" in cell["metadata"].get("tags", ()):
                space |= {"RUN": str(run), "LIMIT": N, "BENCHMARKS": ["practice"]} | values
    return space


@pytest.mark.slow
@pytest.mark.parametrize("state", ["nothing trained", "trained, not evaluated", "errors not measured", "no iterations"])
def test_notebook_06_by_hand(tmp_path: Path, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laif_helpers.compare.published.draw", lambda *_: [])
    monkeypatch.setattr("laif_helpers.figures.save", lambda _, stem: write_text(stem.with_suffix(".png"), "drawn"))
    handle = SimpleNamespace(update=lambda _: None)
    monkeypatch.setattr("IPython.display.display", lambda *_, **options: handle if options else None)
    answer(tmp_path, "vanilla", 0, set(range(40)))
    if state == "trained, not evaluated":
        write_json(RunDir(tmp_path).iteration("le", 1).train_metrics, {"steps": 3, "seconds": 1.0})
    if state == "errors not measured":
        answer(tmp_path, "le", 1, set(range(50)))
    space = by_hand(tmp_path, ITERATIONS=0 if state == "no iterations" else 1)
    page = (tmp_path / "compare" / "report.html").read_text()
    assert space["ledger"].empty and "Learned or memorised" not in page
    wanted = {"trained, not evaluated": "run 01_evaluate with ARM=&#39;le&#39;, ITERATION=1"}
    assert wanted.get(state, "practice, N = 80: untouched 50.0 %") in page
    assert len(space["missing"]) == {"errors not measured": 3, "no iterations": 0}.get(state, 4)


def test_costs_are_read_without_powers_of_ten() -> None:
    table = pd.DataFrame({"arm": ["le"], "usd": [0.0012], "points_per_usd": [-16666.7], "points": [-20.0]})
    assert report._gains(table).iloc[0].tolist() == ["le", "-20", "0.0012", "-16,667"]
