"""The training set of an arm: the same number of items for all, replay from right answers, no test question."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from laif_helpers import benchmarks, lessons, recipe
from laif_helpers.answers import joined
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Lesson, Response, read_jsonl, write_jsonl
from laif_helpers.train import checks
from laif_helpers.train import mix as train_mix

N = 40


@pytest.fixture
def parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., StageParameters]:
    """Parameters of iteration 1 with previous answers to ``N`` training items, every fourth one wrong."""
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path))

    def make(arm: str = "le", **values: Any) -> StageParameters:
        settings = {"run": "r", "arm": arm, "iteration": 1, "budget": 20, "replay_fraction": 0.5}
        p = recipe.build(StageParameters, settings | values)
        bench = benchmarks.get("practice")
        rows = [
            Response(
                **{"id": e.id, "benchmark": "practice", "split": "train", "messages": bench.messages(e)},
                **{"gold": e.gold, "text": "", "extracted": None, "correct": at % 4 > 0, "readable": True},
                **{"reason": "", "prompt_tokens": 1, "new_tokens": 1, "model": "m"},
            )
            for at, e in enumerate(bench.load("train", limit=N))
        ]
        write_jsonl(p.previous.responses("practice", "train"), rows)
        return p

    return make


def write_lessons(p: StageParameters, count: int = 15) -> None:
    """Lessons that stand in no split: gold ones of other training items, as if an instructor had made them."""
    examples = benchmarks.get("practice").load("train")[-200:]
    gold = lessons.from_gold(examples, "practice", count, 0, p.arm, 1)
    write_jsonl(p.folder.lessons(p.arm), [replace(lesson, instructor="scripted") for lesson in gold])


def test_lessons_and_replay_fill_the_budget(parameters: Callable[..., StageParameters]) -> None:
    p = parameters()
    write_lessons(p)
    mix = train_mix.make(p)
    assert Counter(row["source"] for row in mix.rows) == {"lesson": 10, "replay": 10}
    assert mix.table.to_dict("records") == [
        {"benchmark": "practice", "source": "lesson", "n": 10},
        {"benchmark": "practice", "source": "replay", "n": 10},
    ]
    right = {r.id for r in read_jsonl(p.previous.responses("practice", "train"), Response) if r.correct}
    assert {row["id"] for row in mix.rows if row["source"] == "replay"} <= right
    assert checks.check_training_set(p.folder.training_set) == {"practice, lesson": 10, "practice, replay": 10}
    assert "20 training items" in mix.observation and not mix.notes


def test_every_arm_gets_the_same_number_and_replay(parameters: Callable[..., StageParameters]) -> None:
    replayed = {}
    for arm in ("fine_tuning", "le"):
        p = parameters(arm)
        if arm == "le":
            write_lessons(p)
        rows = train_mix.make(p).rows
        replayed[arm] = sorted(row["id"] for row in rows if row["source"] == "replay")
        assert len(rows) == 20
    assert len(replayed["le"]) == len(replayed["fine_tuning"]) == 10
    assert {"gold", "replay"} == {row["source"] for row in train_mix.make(parameters("fine_tuning")).rows}


def test_fine_tuning_writes_its_lessons(parameters: Callable[..., StageParameters]) -> None:
    p = parameters("fine_tuning", replay_fraction=0)
    train_mix.make(p)
    written = read_jsonl(p.folder.lessons("fine_tuning"), lessons.Lesson)
    assert Counter(lesson.status for lesson in written)["kept"] == 20, "others say why not, e.g. contaminated"
    assert {lesson.instructor for lesson in written} == {"gold"}


def test_too_few_lessons_are_told_or_refused(parameters: Callable[..., StageParameters]) -> None:
    p = parameters()
    write_lessons(p, count=4)
    assert train_mix.make(p).notes == ["practice: 4 lessons of the 10 that budget 20 asks for"]
    for match, lacking in (("items", "4 lessons of the 10"), ("tokens", "tokens of the")):
        with pytest.raises(ValueError, match=rf"{lacking} .* set strict: false"):
            train_mix.make(parameters(strict=True, match=match))


def test_arm_without_errors_ends(parameters: Callable[..., StageParameters]) -> None:
    p = parameters()
    write_jsonl(p.folder.lessons("le"), [])
    write_jsonl(p.folder.requests("le"), [])
    mix = train_mix.make(p)
    assert (
        mix.ended == "03_instruct_LE found no wrong item to ask the instructor about"
        and mix.rows == []
        and mix.table.empty
    )
    assert "Nothing to train on" in mix.observation and not p.folder.training_set.exists()


def test_no_kept_lesson_is_refused(parameters: Callable[..., StageParameters]) -> None:
    p = parameters()
    write_jsonl(p.folder.lessons("le"), [])
    with pytest.raises(ValueError, match=r"le\.jsonl holds no kept lesson"):
        train_mix.make(p)


def test_missing_files_name_what_to_run(parameters: Callable[..., StageParameters]) -> None:
    p = parameters("lec")
    with pytest.raises(FileNotFoundError, match=r"lec\.jsonl does not exist; run 04_instruct_LEC with RUN='r'"):
        train_mix.make(p)
    write_lessons(p)
    p.previous.responses("practice", "train").unlink()
    with pytest.raises(FileNotFoundError, match=r"practice\.train\.jsonl does not exist.*run 01_evaluate"):
        train_mix.make(p)


def test_a_test_question_is_never_trained_on(parameters: Callable[..., StageParameters]) -> None:
    p = parameters()
    examples = benchmarks.get("practice").load("test", limit=15)
    write_jsonl(p.folder.lessons("le"), lessons.from_gold(examples, "practice", 15, 0, "le", 1))
    with pytest.raises(ValueError, match="is test item practice:"):
        train_mix.make(p)


def test_held_out_items_are_neither_taught_nor_replayed(parameters: Callable[..., StageParameters]) -> None:
    p = parameters("fine_tuning", limit=N, holdout_fraction=0.5)
    rows = train_mix.make(p).rows
    ids = {row["id"].removeprefix("fine_tuning1-") for row in rows}
    held_out = {e.id for e in benchmarks.get("practice").load("train", limit=N) if joined.held_out(p, "practice", e.id)}
    assert len(held_out) > 10 and {row["source"] for row in rows} == {"gold", "replay"}
    assert not ids & held_out


@pytest.mark.parametrize("arm", ["le", "fine_tuning"])
def test_training_items_that_a_test_split_holds_too_stay_out(
    parameters: Callable[..., StageParameters], monkeypatch: pytest.MonkeyPatch, arm: str
) -> None:
    p = parameters(arm, limit=N, holdout_fraction=0)
    write_lessons(p)
    text = benchmarks.get("practice").question_text
    shared = {e.id: text(e) for e in benchmarks.get("practice").load("train", limit=N)[: N // 2]}
    monkeypatch.setattr(
        lessons, "test_questions", lambda p: [(f"practice:{id}", asked) for id, asked in shared.items()]
    )
    rows = train_mix.make(p).rows
    assert len(rows) > 10 and not {row["id"].removeprefix("fine_tuning1-") for row in rows} & shared.keys()


def test_no_lesson_is_replayed(parameters: Callable[..., StageParameters]) -> None:
    rows = train_mix.make(parameters("fine_tuning", limit=N, holdout_fraction=0, budget=60)).rows
    assert Counter(row["source"] for row in rows)["gold"] == 30
    asked = Counter(row["messages"][-2]["content"] for row in rows)
    assert max(asked.values()) == 1


def test_lessons_and_replay_are_shuffled_by_the_seed(parameters: Callable[..., StageParameters]) -> None:
    def order(seed: int) -> list[str]:
        p = parameters(seed=seed)
        write_lessons(p)
        return [row["source"] for row in train_mix.make(p).rows]

    assert order(0) == order(0) != order(1)
    assert order(0) not in (sorted(order(0)), sorted(order(0), reverse=True))


def test_own_answers_are_replayed_in_their_own_words(parameters: Callable[..., StageParameters]) -> None:
    rows = {}
    for source in ("gold", "own"):
        p = parameters(replay_from=source)
        write_lessons(p)
        answers = read_jsonl(p.previous.responses("practice", "train"), Response)
        first = [replace(a, text=f"mine: {a.id}") for a in answers]
        later = [replace(a, text="later", sample=1, correct=True) for a in answers]
        write_jsonl(p.previous.responses("practice", "train"), first + later)
        rows[source] = train_mix.make(p).rows
    assert [row["id"] for row in rows["own"]] == [row["id"] for row in rows["gold"]], "the same items"
    assert {row["id"] for row in rows["own"] if row["source"] == "replay"} <= {a.id for a in answers if a.correct}
    for own, gold in zip(rows["own"], rows["gold"], strict=True):
        assert own["messages"][:-1] == gold["messages"][:-1]
        answer = f"mine: {own['id']}" if own["source"] == "replay" else gold["messages"][-1]["content"]
        assert own["messages"][-1] == {"role": "assistant", "content": answer}


def test_own_answers_of_which_none_is_right(parameters: Callable[..., StageParameters]) -> None:
    p = parameters(replay_from="own")
    write_lessons(p)
    answers = read_jsonl(p.previous.responses("practice", "train"), Response)
    write_jsonl(p.previous.responses("practice", "train"), [replace(answer, correct=False) for answer in answers])
    with pytest.raises(ValueError, match=r"own right answers to practice train, and there are none; set replay_fract"):
        train_mix.make(p)


def test_equal_tokens_take_lessons_that_the_budget_did_not_need(parameters: Callable[..., StageParameters]) -> None:
    for match, taught in (("items", 4), ("tokens", 10)):
        p = parameters(match=match)
        write_lessons(p)
        written = read_jsonl(p.folder.lessons("le"), Lesson)
        spare = [replace(lesson, status="kept" if at < 4 else "surplus") for at, lesson in enumerate(written)]
        write_jsonl(p.folder.lessons("le"), spare)
        sources = Counter(row["source"] for row in train_mix.make(p).rows)
        assert sources["lesson"] == pytest.approx(taught, abs=1) and sources["replay"] == pytest.approx(10, abs=1)
