"""Stage 1: rows in order, nothing asked twice, nothing lost by a kill, and answers that somebody already has."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from laif_helpers import benchmarks, evaluate, models, paths, recipe
from laif_helpers.evaluate import grading, jobs
from laif_helpers.evaluate import recorded as evaluate_recorded
from laif_helpers.models import local
from laif_helpers.models.server import ServerError
from laif_helpers.records import Completion, Example, Message, Response, read_jsonl, read_rows, write_jsonl
from tests.test_models import make_tokenizer

LIMIT = 12


class Target:
    """Stands in for ``models.generate``: right answers, except to every third question; may die after some."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.asked: list[list[Message]] = []
        self.calls: list[dict[str, Any]] = []
        self.dies_after = 10**9
        self.name = "first"
        monkeypatch.setattr(models, "generate", self.generate)
        monkeypatch.setattr(models, "fingerprint", lambda model: self.name)
        practice = benchmarks.get("practice")
        items = [*practice.load("train"), *practice.load("test"), *benchmarks.get("practice_plus").load("test")]
        self.gold = {json.dumps(practice.messages(e)): practice.gold_response(e) or "" for e in items}

    def generate(self, model: str, conversations: list[list[Message]], **options: Any) -> list[Completion]:
        self.calls.append({"model": model, **options})
        order = list(range(len(conversations)))[::-1]  # answers never come in the order of the questions
        for done, index in enumerate(order):
            if done == self.dies_after:
                raise KeyboardInterrupt
            self.asked.append(conversations[index])
            options["on_done"](index, self.answer(conversations[index]))
        return []

    def answer(self, turns: list[Message]) -> Completion:
        gold, place = self.gold[json.dumps(turns)], list(self.gold).index(json.dumps(turns))
        if place % 12 == 3:
            return Completion("", 900, 0, "error: prompt of 900 tokens exceeds the context of 512")
        if place % 3 == 0:
            return Completion("I do not know", 20, 4, "stop")
        return Completion(gold, 20, 9, "length" if place % 3 == 1 else "stop")


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Target:
    return Target(monkeypatch)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., recipe.StageParameters]:
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path / "runs"))

    def build(**values: Any) -> recipe.StageParameters:
        return recipe.build(recipe.StageParameters, {"run": "t", "limit": LIMIT, "benchmarks": ["practice"]} | values)

    return build


def texts(files: list[Path]) -> list[bytes]:
    return [path.read_bytes() for path in files]


@pytest.mark.slow
def test_parts_ask_what_one_stage_would_and_the_files_are_the_same(
    target: Target, stage: Callable[..., recipe.StageParameters]
) -> None:
    whole = texts(evaluate.evaluate(stage(run="whole", temperature=0.5, samples=2)))
    once = sorted(map(json.dumps, target.asked))
    target.asked.clear()
    p = stage(temperature=0.5, samples=2)
    answered = [evaluate.answer_part(p, part, 3) for part in (1, 2)]
    assert answered[0] == {"practice, test": 8, "practice, train": 8}
    target.dies_after = 3
    with pytest.raises(KeyboardInterrupt):
        evaluate.answer_part(p, 3, 3)
    target.dies_after = 10**9
    evaluate.answer_part(p, 3, 3)
    evaluate.answer_part(p, 3, 3)
    assert sorted(map(json.dumps, target.asked)) == once, "each question once over all parts, also after a kill"
    assert texts(evaluate.evaluate(p)) == whole
    assert not list(p.folder.path.rglob(".*.partial"))
    assert sorted(map(json.dumps, target.asked)) == once, "01 asks nothing that the parts have asked"


@pytest.mark.slow
def test_what_a_server_fails_on_is_asked_again_and_most_of_it_stops_the_run(
    target: Target, stage: Callable[..., recipe.StageParameters], capsys: pytest.CaptureFixture[str]
) -> None:
    p = stage(target="server:m", target_url="http://127.0.0.1:1/v1", in_domain=[], benchmarks=["practice"])
    practice = benchmarks.get("practice")
    asked = [json.dumps(practice.messages(item)) for item in practice.load("test", limit=LIMIT)]
    broken, right = asked[-7:], Completion("7", 20, 1)
    target.answer = lambda turns: (  # type: ignore[method-assign]
        Completion("", 0, 0, "error: broken") if json.dumps(turns) in broken else right
    )
    with pytest.raises(ServerError, match=r"answered only 0 of 7 items of practice, test .*: broken.*request_options"):
        evaluate.evaluate(p)
    del broken[1:]
    target.asked.clear()
    (path,) = evaluate.evaluate(p)
    assert len(target.asked) == LIMIT, "no failure was kept as an answer"
    assert "1 of 12 items were not answered (the first: broken)" in capsys.readouterr().out
    assert [row["unanswered"] for row in read_rows(path)] == [
        json.dumps(row["messages"]) in broken for row in read_rows(path)
    ]
    broken.clear()
    evaluate.evaluate(p)
    assert len(target.asked) == LIMIT + 1
    assert not any(row["unanswered"] for row in read_rows(path))


def test_an_old_question_with_a_new_id_or_split_keeps_its_answer(
    target: Target, stage: Callable[..., recipe.StageParameters], tmp_path: Path
) -> None:
    target.answer = lambda turns: Completion("#### 7", 20, 1)  # type: ignore[method-assign]
    rows = [{"question": f"{n} + 4 = ?", "answer": "7", "split": ("train", "test")[n % 2]} for n in range(6)]
    mine = tmp_path / "mine.jsonl"
    renamed = [{"id": f"a{n}", **row} for n, row in enumerate(rows)]
    moved = [{**row, "split": "test"} if row["id"] == "a2" else row for row in renamed]
    for asked, now in ((12, rows), (12, renamed), (12, moved), (14, [*moved, {**moved[0], "question": "New?"}])):
        write_jsonl(mine, now)
        p = stage(benchmarks=[str(mine)], in_domain=[str(mine)], samples=2, temperature=0.5)
        wanted = [(row.get("id"), sample) for row in now if row["split"] == "test" for sample in (0, 1)]
        got = [(row["id"], row["sample"]) for row in read_rows(evaluate.evaluate(p)[0])]
        assert (len(target.asked), len(got)) == (asked, len(wanted))
        assert "id" not in now[0] or got == wanted


@pytest.mark.slow
def test_01_asks_what_a_failed_part_left_out(target: Target, stage: Callable[..., recipe.StageParameters]) -> None:
    p = stage()
    evaluate.answer_part(p, 2, 2)
    evaluate.evaluate(p)
    assert len(target.asked) == 2 * LIMIT
    target.name = "another"
    evaluate.answer_part(p, 1, 2)
    target.asked.clear()
    evaluate.evaluate(p)
    assert len(target.asked) == LIMIT, "the other half came from the part, and nothing from the model before"


@pytest.mark.slow
def test_rows_are_whole_in_order_and_graded(
    target: Target, stage: Callable[..., recipe.StageParameters], capsys: pytest.CaptureFixture[str]
) -> None:
    p = stage()
    files = evaluate.evaluate(p)
    assert "of 12 items were not answered (the first: prompt of 900 tokens exceeds" in capsys.readouterr().out
    assert [path.name for path in files] == ["practice.test.jsonl", "practice.train.jsonl"]
    rows = list(read_rows(files[0]))
    examples = benchmarks.get("practice").load("test", limit=LIMIT)
    assert [row["id"] for row in rows] == [example.id for example in examples]
    assert [list(row) for row in rows] == [list(Response.__dataclass_fields__)] * LIMIT
    for row in rows:
        expected = target.answer(row["messages"])
        assert row["text"] == expected.text and row["new_tokens"] == expected.new_tokens
        assert row["correct"] == expected.text.startswith(target.gold[json.dumps(row["messages"])])
        assert row["reason"].endswith(grading.CUT) == (expected.finish == "length")
    refused = [row for row in rows if row["reason"].startswith(grading.NO_ANSWER)]
    assert refused and all(not row["readable"] and not row["correct"] for row in refused)
    assert refused[0]["reason"] == "no answer: prompt of 900 tokens exceeds the context of 512"
    wrong = [row for row in rows if not row["correct"]]
    assert [Response(**row).is_error for row in wrong] == [row not in refused for row in wrong], "it teaches nothing"
    assert {row["model"] for row in rows} == {"data/nano"}
    hidden = {path.suffix for path in files[0].parent.iterdir() if path.name.startswith(".")}
    assert hidden == {".made"}, "no partial file is left"


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    target: Target, stage: Callable[..., recipe.StageParameters]
) -> None:
    whole = texts(evaluate.evaluate(stage(run="whole")))
    target.asked.clear()
    target.dies_after = 7
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate(stage())
    assert not stage().folder.responses("practice", "test").exists()
    partial = next(stage().folder.path.glob("responses/.*.partial"))
    partial.write_bytes(partial.read_bytes()[:-9])  # killed while it wrote the last line
    target.dies_after = 10**9
    assert texts(evaluate.evaluate(stage())) == whole
    seen = [json.dumps(turns) for turns in target.asked]
    assert len(seen) == 2 * LIMIT + 1 and len(set(seen)) == 2 * LIMIT, "only the torn line was asked again"


@pytest.mark.slow
def test_a_partial_file_of_another_model_or_setting_is_not_used(
    target: Target, stage: Callable[..., recipe.StageParameters]
) -> None:
    target.dies_after = 7
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate(stage())
    target.dies_after = 10**9
    target.asked.clear()
    target.name = "second"
    evaluate.evaluate(stage())
    assert len(target.asked) == 2 * LIMIT
    evaluate.evaluate(stage(max_new_tokens=99))
    assert len(target.asked) == 4 * LIMIT and target.calls[-1]["max_new_tokens"] == 99


@pytest.mark.slow
def test_finished_files_are_left_alone_and_grow_with_the_limit(
    target: Target, stage: Callable[..., recipe.StageParameters], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = evaluate.evaluate(stage())
    before, times = texts(files), [path.stat().st_mtime_ns for path in files]
    target.asked.clear()
    evaluate.evaluate(stage())
    refused = [row for path in files for row in read_rows(path) if row["reason"].startswith(grading.NO_ANSWER)]
    assert len(target.asked) == len(refused), "prompts that did not fit are looked at again, nothing else"
    assert [path.stat().st_mtime_ns for path in files] == times
    target.asked.clear()
    monkeypatch.setattr(jobs, "graders_hash", lambda: "newer graders")
    evaluate.evaluate(stage())
    assert [path.stat().st_mtime_ns for path in files] != times and texts(files) == before
    target.asked.clear()
    files = evaluate.evaluate(stage(limit=LIMIT + 5))
    assert len(target.asked) == 2 * 5 + len(refused)
    assert len(read_jsonl(files[0], Response)) == LIMIT + 5
    whole, refused = texts(files), [row for path in files for row in read_rows(path) if row["unanswered"]]
    assert [len(read_jsonl(path, Response)) for path in evaluate.evaluate(stage(limit=2))] == [2, 2]
    target.asked.clear()
    assert texts(evaluate.evaluate(stage(limit=LIMIT + 5))) == whole
    assert len(target.asked) == len(refused), "answers beyond a lower limit are kept"
    assert not list(files[0].parent.glob(".*.partial"))


def test_splits_that_an_iteration_needs(stage: Callable[..., recipe.StageParameters]) -> None:
    both = {"benchmarks": ["practice", "practice_plus"]}
    tests = [("practice", "test"), ("practice_plus", "test")]
    errors = [("practice", "test"), ("practice", "train"), ("practice_plus", "test")]
    for values, expected in [
        ({"iteration": 0, "iterations": 2}, errors),
        ({"iteration": 0, "iterations": 0}, errors),
        ({"arm": "le", "iteration": 1, "iterations": 2}, errors),
        ({"arm": "le", "iteration": 2, "iterations": 2}, errors),
        ({"arm": "le", "iteration": 2, "iterations": 2, "measure_errors": False}, tests),
        ({"iteration": 0, "error_split": "test"}, tests),
        ({"iteration": 0, "in_domain": []}, tests),
    ]:
        assert evaluate.splits_needed(stage(**both, **values)) == expected
    with pytest.raises(ValueError, match="test_split 'validation': benchmark 'practice_plus' has the splits test"):
        evaluate.splits_needed(stage(**both, test_split="validation"))


def test_serve_starts_the_command_for_the_checkpoint_only_when_something_is_asked(
    target: Target, stage: Callable[..., recipe.StageParameters], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, str]] = []

    @contextmanager
    def serve(command: str, model: str, log: Path) -> Iterator[str]:
        started.append((command, model))
        yield "http://127.0.0.1:1/v1"

    monkeypatch.setattr(models, "serve", serve)
    monkeypatch.setattr(target, "answer", lambda turns: Completion("#### 1", 5, 2))
    p = stage(serve="engine {model} {port}")
    evaluate.evaluate(p)
    evaluate.evaluate(p)
    assert started == [("engine {model} {port}", p.model)]
    assert {(call["model"], call["url"]) for call in target.calls} == {(f"server:{p.model}", "http://127.0.0.1:1/v1")}
    assert next(read_rows(p.folder.responses("practice", "test")))["model"] == "data/nano"


def test_a_served_folder_neither_steers_answers_nor_writes_today_s_date(tmp_path: Path) -> None:
    """vLLM and transformers take a folder's generation config for each request (8 of 10 texts were the local ones)."""
    (folder := tmp_path / "model").mkdir()
    for name in ("config.json", "chat_template.jinja"):
        (folder / name).write_text("{}")
    with models.as_here(str(folder)) as served:
        assert served == str(folder), "nothing to change"
    asks = {"eos_token_id": [1, 2], "repetition_penalty": 1.3, "top_k": 20, "top_p": 1.0, "max_new_tokens": 9}
    (folder / "generation_config.json").write_text(json.dumps(asks))
    (folder / "chat_template.jinja").write_text("{% set d = strftime_now('%d %b %Y') %}")
    with models.as_here(str(folder)) as served:
        left = json.loads(Path(served, "generation_config.json").read_text())
        assert left == {"eos_token_id": [1, 2], "top_p": 1.0}
        assert Path(served, "chat_template.jinja").read_text() == "{% set d = '26 Jul 2024' %}"
        assert Path(served, "config.json").samefile(folder / "config.json")
    assert json.loads((folder / "generation_config.json").read_text()) == asks and not Path(served).exists()
    (folder / "chat_template.jinja").unlink()
    old = {"chat_template": '{{ strftime_now("%d %b %Y") }} "x"'}  # where transformers 4 keeps it
    (folder / "tokenizer_config.json").write_text(json.dumps(old))
    with models.as_here(str(folder)) as served:
        left = json.loads(Path(served, "tokenizer_config.json").read_text())
        assert left == {"chat_template": "{{ '26 Jul 2024' }} \"x\""}


def test_a_served_folder_ends_answers_where_they_end_here(tmp_path: Path) -> None:
    """Llama 3's end of a turn is named by its template alone: answers ran on into the next turn, here and served."""
    from transformers import AutoTokenizer

    make_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": 0, "top_p": 1.0}))
    named = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del named["extra_special_tokens"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(named))
    assert local.turn_end(AutoTokenizer.from_pretrained(tmp_path)) == 4
    with models.as_here(str(tmp_path)) as served:
        left = json.loads(Path(served, "generation_config.json").read_text())
        assert left == {"eos_token_id": [0, 4], "top_p": 1.0}
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [4]}))
    with models.as_here(str(tmp_path)) as served:
        assert served == str(tmp_path)


def test_a_hub_s_model_is_served_as_a_folder_is(tmp_path: Path, cache: Callable[..., Path]) -> None:
    (folder := tmp_path / "model").mkdir()
    (folder / "config.json").write_text("{}")
    cache("acme/plain", folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 1, "repetition_penalty": 1.3}))
    cache("acme/steered", folder)
    with models.as_here("acme/steered", "engine {model}") as served:
        assert json.loads(Path(served, "generation_config.json").read_text()) == {"eos_token_id": 1}
        assert Path(served, "config.json").read_text() == "{}"
    with models.as_here("acme/plain") as served:
        assert served == "acme/plain"
    with models.as_here("acme/steered", "engine {model} --revision old") as served:
        assert served == "acme/steered", "its files are others"


def test_a_missing_checkpoint_is_told(stage: Callable[..., recipe.StageParameters]) -> None:
    with pytest.raises(FileNotFoundError, match=r"checkpoint .*iter1/checkpoint does not exist; run 05_train"):
        evaluate.evaluate(stage(arm="le", iteration=1))


@pytest.mark.slow
def test_tables_count_everything(target: Target, stage: Callable[..., recipe.StageParameters]) -> None:
    p = stage()
    evaluate.evaluate(p)
    df = evaluate.labelled(evaluate.load_responses(p.folder), p)
    table = evaluate.summary(df).set_index("split").loc["test"]
    rows = [row for row in df.to_dict("records") if row["split"] == "test"]
    assert table["n"] == LIMIT and table["correct"] == sum(row["correct"] for row in rows)
    assert table["unreadable"] == sum(not row["readable"] for row in rows) > 0
    assert table["ci_low"] < table["accuracy"] < table["ci_high"] and table["chance"] == 0
    facets = evaluate.by_facet(df, {"practice": ("gap",)})
    assert set(facets["value"]) <= {"True", "False"} and facets["n"].sum() == 2 * LIMIT
    worst = evaluate.weakest(facets, n=1, at_least=1)
    assert worst["split"].tolist() == ["test", "train"] and worst["accuracy"].max() <= facets["accuracy"].max()
    assert evaluate.weakest(evaluate.by_facet(df, {"practice": ()})).empty, "a benchmark without labels"
    found = evaluate.metrics(df, p)
    assert found["results"]["practice.test"]["n"] == LIMIT
    assert found["accuracy"]["practice.test"] == pytest.approx(table["accuracy"])
    json.dumps(found)
    assert f"{LIMIT} right" in evaluate.observation(evaluate.summary(df))
    with pytest.raises(FileNotFoundError, match="holds no answers; run 01_evaluate"):
        evaluate.load_responses(stage(run="other").folder)


def test_one_answer_is_traced_from_question_to_grade() -> None:
    row = {"id": "q1", "benchmark": "practice", "question": "What is 1 + 1?", "gold": "2", "extracted": "3"}
    row |= {"messages": [{"role": "user", "content": "Q: 1 + 1"}], "text": "<b>3</b>", "reason": "3 is not 2"}
    rows = [row | {"id": "q0", "correct": True, "readable": True}, row | {"correct": False, "readable": True}]
    page = evaluate.traced(pd.DataFrame([each | {"second_read": "3"} for each in rows]))
    order = [
        "q1 of practice",
        "What is 1 + 1?",
        "Q: 1 + 1",
        "&lt;b&gt;3&lt;/b&gt;",
        "The gold answer",
        "wrong, because",
    ]
    places = [page.index(text) for text in [*order, "3 is not 2", "a second grader"]]
    assert places == sorted(places)
    assert evaluate.traced(pd.DataFrame(columns=list(rows[0]))) == "<p>No answer.</p>"


@pytest.mark.parametrize(("others", "correct"), [("Or 7?</think>\n#### 5", False), ("#### 5", True)])
def test_a_thought_that_a_server_s_template_opens_and_the_limit_cuts_is_no_answer(others: str, correct: bool) -> None:
    """Qwen 3 and DeepSeek R1 behind a server without a reader of thoughts."""
    bench = benchmarks.get("gsm8k")
    item = Example("a", "gsm8k", "test", "How many?", "12")
    done = [Completion("So #### 12, or is it", 1, 9, "length"), *(Completion(others, 1, 9) for _ in range(3))]
    cut = grading.to_responses(bench, [item] * 4, done, "m", "test", audit=True)[0]
    assert (cut.correct, cut.readable, cut.second_correct) == (correct, correct, True if correct else None)
    assert ("never ends" in cut.reason) != correct


def test_the_gallery_shows_model_text_without_running_it() -> None:
    bad = "<script>alert('x')</script> costs $5 & $6 " + "z" * 5000
    row = {
        "id": "<b>", "messages": [], "question": bad, "gold": "1", "text": bad, "reason": bad, "extracted": float("nan")
    }  # fmt: skip
    kinds = [{"correct": True, "readable": True}, {"correct": False, "readable": True}] * 4
    page = evaluate.gallery(pd.DataFrame([row | kind for kind in kinds]), n=3)
    assert "<script" not in page and "mathjax_ignore" in page and "<b>&lt;" not in page
    assert "&lt;script&gt;" in page and "characters)" in page and "<b>read</b> nothing ·" in page
    assert "right: 3 of 4" in page and "unreadable: 0 of 0" in page
    assert page == evaluate.gallery(pd.DataFrame([row | kind for kind in kinds]), n=3), "the same draw every time"
    assert "right: 0 of 0" in evaluate.gallery(pd.DataFrame(columns=[*row, "correct", "readable"]))


def test_a_low_share_of_read_answers_is_a_warning() -> None:
    row = {"benchmark": "mmlu", "split": "test", "n": 100, "accuracy": 0.2, "ci_low": 0.1, "ci_high": 0.3}
    text = evaluate.observation(pd.DataFrame([row | {"chance": 0.25, "unreadable": 30}]))
    assert "not shown to be above chance (25.0 %)" in text and "too much to trust" in text
    text = evaluate.observation(pd.DataFrame([row | {"chance": 0.05, "unreadable": 0}]))
    assert ", above chance (5.0 %)" in text and "Every answer could be read" in text
    text = evaluate.observation(pd.DataFrame([row | {"chance": 0.0, "unreadable": 0, "cut": cut} for cut in (5, 85)]))
    assert text.count("cut at the token limit") == 1 and "85 (85.0 %)" in text and "raise max_new_tokens" in text


# -- answers somebody already has


def recording(path: Path, *model_names: str) -> Path:
    """A recording in our own format: practice test items; the label of the second item is false."""
    rows = []
    for name in model_names:
        for place, example in enumerate(benchmarks.get("practice").load("test", limit=6)):
            right = place != 3
            text = benchmarks.get("practice").gold_response(example) if right else "#### -1"
            rows.append(
                Response(
                    example.id, "practice", "test", benchmarks.get("practice").messages(example), example.gold,
                    str(text), None, right and place != 1, True, "", 0, 0, name,
                )
            )  # fmt: skip
    write_jsonl(path, rows)
    return path


def test_recorded_answers_are_graded_again_and_compared(
    tmp_path: Path, stage: Callable[..., recipe.StageParameters], capsys: pytest.CaptureFixture[str]
) -> None:
    path = recording(tmp_path / "recorded.jsonl", "one", "two")
    p = stage(target=f"replay:{path}#two", quote_only=True, limit=0)
    files = evaluate.evaluate(p)
    assert "practice, train: no recorded answers, left out" in capsys.readouterr().out
    rows = read_jsonl(files[0], Response)
    assert len(files) == 1 and {row.model for row in rows} == {"two"}
    assert [row.correct for row in rows] == [True, True, True, False, True, True], "our grade, not the recorded label"
    df = evaluate.labelled(evaluate.load_responses(p.folder), p)
    table, differences = evaluate_recorded.agreement(p, df)
    assert table["model"].tolist() == ["one", "two"], "all models of the file, though one is the target"
    assert table["n"].tolist() == [6, 6] and table["agree"].tolist() == [5, 5]
    assert table["only_ours_right"].tolist() == [1, 1] and table["only_recorded_right"].tolist() == [0, 0]
    assert differences["id"].nunique() == 1 and differences["ours"].all() and not differences["recorded"].any()
    assert "agree with the recorded labels; 2 do not: 2 are right by ours alone" in evaluate_recorded.observation(table)
    page = evaluate_recorded.listing(p, differences.assign(reason="<script>$1"))
    assert "<script>" not in page and "mathjax_ignore" in page and page.count("&lt;script&gt;") == 2
    assert len(pd.read_csv(p.folder.path / "disagreements.csv")) == 2
    before = files[0].stat().st_mtime_ns
    assert evaluate.evaluate(p) == files and files[0].stat().st_mtime_ns == before, "graded once"
    assert evaluate.metrics(df, p, table)["agreement"][0]["share"] == pytest.approx(5 / 6)


def test_answers_that_repeat_an_item_are_told_and_numbered_ones_are_samples(
    tmp_path: Path, stage: Callable[..., recipe.StageParameters], capsys: pytest.CaptureFixture[str]
) -> None:
    item = {"question": "How many jars?", "answer": "6 * 4 = 24\n#### 24"}
    write_jsonl(tmp_path / "gsm8k" / "test.jsonl", [item])
    about = {"benchmarks": ["gsm8k"], "in_domain": [], "quote_only": True, "data_dir": str(tmp_path), "limit": 0}
    for numbered, kept in ((False, 1), (True, 3)):
        rows = [item | {"response": "#### 24"} | ({"sample": at} if numbered else {}) for at in range(3)]
        write_jsonl(tmp_path / f"{numbered}.jsonl", rows)
        (file,) = evaluate.evaluate(stage(target=f"replay:{tmp_path / f'{numbered}.jsonl'}", **about))
        assert [row["sample"] for row in read_rows(file)] == list(range(kept))
        assert ("gsm8k, test: 2 answers repeat an item and are left out" in capsys.readouterr().out) != numbered


def test_a_recording_of_several_models_asks_to_pick_one(
    tmp_path: Path, stage: Callable[..., recipe.StageParameters]
) -> None:
    path = recording(tmp_path / "recorded.jsonl", "one", "two")
    with pytest.raises(ValueError, match=r"holds the answers of 2 models \(one, two\); pick one with '#'.*#one"):
        evaluate.evaluate(stage(target=f"replay:{path}", quote_only=True))
    p = stage(target=f"replay:{path}#one", quote_only=True, error_split="train", test_split="train")
    with pytest.raises(ValueError, match="holds no answers to practice, train; it holds practice, test"):
        evaluate.evaluate(p)


@pytest.mark.slow
def test_no_recording_no_agreement(target: Target, stage: Callable[..., recipe.StageParameters]) -> None:
    p = stage()
    evaluate.evaluate(p)
    table, differences = evaluate_recorded.agreement(p, evaluate.load_responses(p.folder))
    assert table.empty and differences.empty and evaluate_recorded.listing(p, differences) == ""
    assert "nothing to compare with" in evaluate_recorded.observation(table)


@pytest.mark.real
@pytest.mark.parametrize("limit", [330, pytest.param(0, marks=pytest.mark.thorough)])
def test_recorded_gsm8k_answers(stage: Callable[..., recipe.StageParameters], limit: int) -> None:
    name = "recorded/gpt3-gsm8k/example_model_solutions.jsonl"
    if not any((folder / name).is_file() for folder in paths.data_dirs()):
        pytest.skip(f"{name} is in no data folder (LAIF_DATA)")
    values = {"benchmarks": ["gsm8k"], "in_domain": ["gsm8k"], "error_split": "test", "quote_only": True}
    p = stage(target=f"replay:{name}#175b_verification", limit=limit, **values)
    files = evaluate.evaluate(p)
    df = evaluate.labelled(evaluate.load_responses(p.folder), p)
    assert [path.name for path in files] == ["gsm8k.test.jsonl"] and len(df) == (limit or 1319)
    table, differences = evaluate_recorded.agreement(p, df)
    assert len(table) == 4 and table["n"].sum() == 4 * len(df)
    assert table["share"].min() > 0.99 and len(differences) == 4 * len(df) - table["agree"].sum()


def test_several_answers_to_an_item_are_one_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten samples an item: avg@n, pass@k without bias and majority, with as many items as there are questions."""
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path))
    p = recipe.build(recipe.StageParameters, {"run": "r", "limit": 4, "benchmarks": ["practice"]})
    rows = []
    for item, right in zip(benchmarks.get("practice").load("test", None, 4), (10, 6, 3, 0), strict=True):
        for sample in range(10):
            text = item.gold if sample < right else "-1"
            about = {"id": item.id, "benchmark": "practice", "split": "test", "messages": [], "gold": item.gold}
            about |= {"text": text, "extracted": text, "correct": sample < right, "readable": True, "reason": ""}
            rows.append(Response(**about, prompt_tokens=1, new_tokens=1, model="m", sample=sample))
    write_jsonl(p.folder.responses("practice", "test"), rows)
    row = evaluate.summary(evaluate.labelled(evaluate.load_responses(p.folder), p)).iloc[0]
    assert (row["n"], row["samples"], row["accuracy"]) == (4, 10, pytest.approx(0.475))
    assert row["pass@2"] == pytest.approx((1 + (1 - 6 / 45) + (1 - 21 / 45) + 0) / 4)
    assert row["pass@10"] == 0.75
    assert row["majority@10"] == 0.5, "six of ten right is a right majority, three of ten is not"
    assert row["ci_high"] - row["ci_low"] > 0.5, "four items, not forty answers"
