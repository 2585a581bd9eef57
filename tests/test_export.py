"""What leaves the house is what TRL and datasets read."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from laif_helpers import recipe
from laif_helpers.lessons import export
from laif_helpers.paths import NANO, RunDir
from laif_helpers.records import Lesson, write_jsonl, write_text

KEPT = [
    Lesson(f"le1-{i}", "practice", f"Ann has {i} pens and gets 3. How many?", f"{i} + 3 = {i + 3}\n#### {i + 3}",
           [f"e{i % 2}"], "le", 1, "scripted", "k") for i in range(5)
]  # fmt: skip
REFUSED = [
    Lesson("le1-8", "practice", "Two?", "1 + 1 = 3\n#### 3", ["e1"], "le", 1, "scripted", "k", "wrong", "1 + 1 = 3"),
    Lesson("le1-9", "practice", "Copy?", "1 + 1 = 2\n#### 2", ["e1"], "le", 1, "scripted", "k", "contaminated", "is"),
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = RunDir.named("r")
    write_jsonl(folder.iteration("le", 1).lessons("le"), [*KEPT, *REFUSED])
    write_text(folder.recipe, "target: data/nano\nerror_split: train\nbenchmarks: [practice]\nseed: 3\n")
    return folder


def loaded(folder: Path, tmp_path: Path) -> Any:
    return load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))


def test_the_rows_come_back_through_datasets(run: RunDir, tmp_path: Path) -> None:
    rows = {
        format: loaded(export.export("r", "le", format=format, out=str(tmp_path / format)), tmp_path)
        for format in export.READERS
    }
    assert [len(data) for data in rows.values()] == [5, 5, 5]
    for i, lesson in enumerate(KEPT):
        assert rows["messages"][i]["messages"] == [
            {"role": "user", "content": lesson.question}, {"role": "assistant", "content": lesson.response},
        ]  # fmt: skip
        assert rows["alpaca"][i]["instruction"] == lesson.question and rows["alpaca"][i]["output"] == lesson.response
        assert [turn["from"] for turn in rows["sharegpt"][i]["conversations"]] == ["human", "gpt"]
        assert rows["sharegpt"][i]["source_ids"] == lesson.source_ids


def test_an_own_file_goes_by_its_name_and_not_by_its_path(run: RunDir, tmp_path: Path) -> None:
    own = tmp_path / "mydata.jsonl"
    own.write_text('{"question": "2 + 2?", "answer": "4"}\n')
    lessons = [replace(lesson, benchmark=str(own)) for lesson in KEPT]
    write_jsonl(run.iteration("le", 1).lessons("le"), lessons)
    folder = export.export("r", "le")
    assert {row["benchmark"] for row in loaded(folder, tmp_path)} == {"mydata"}
    assert not any(str(tmp_path) in path.read_text(encoding="utf-8") for path in folder.iterdir())


def test_the_card_states_sources_instructor_checks_and_counts(run: RunDir) -> None:
    folder = export.export("r", "le")
    assert folder == run.path / "export" / "le-iter1-messages"
    card = (folder / "README.md").read_text(encoding="utf-8")
    for sentence in (
        "5 lessons",
        "2 items of the train split",
        "`data/nano`",
        "scripted",
        "Of 7 lessons written, 5 were kept",
    ):
        assert sentence in card, sentence
    assert "| right: sums recomputed, letters looked up, code run on its examples | 1 |" in card
    assert "must not be judged" not in card
    write_text(run.recipe, "target: replay:x\nerror_split: test\n")
    assert "must not be judged" in (export.export("r", "le") / "README.md").read_text(encoding="utf-8")


@pytest.mark.model
def test_trl_tokenises_the_messages(run: RunDir, tmp_path: Path) -> None:
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    data = loaded(export.export("r", "le"), tmp_path)
    config = SFTConfig(str(tmp_path / "out"), use_cpu=True, report_to=[], max_length=128, bf16=False)
    tokenizer = AutoTokenizer.from_pretrained(NANO)
    trainer = SFTTrainer(str(NANO), args=config, train_dataset=data, processing_class=tokenizer)
    texts = [tokenizer.decode(row["input_ids"]) for row in trainer.train_dataset]
    assert all(kept.question in text and kept.response in text for kept, text in zip(KEPT, texts, strict=True))
    assert trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader()))).item() > 0


def test_bad_input_is_told_in_a_sentence(run: RunDir, tmp_path: Path) -> None:
    for arguments, problem in (
        ({"run": "none"}, "no run 'none'"),
        ({"arm": "lec"}, "no lessons of arm 'lec'; arms with lessons: le"),
        ({"iteration": 4}, "no lessons in iteration 4"),
        ({"format": "xml"}, "messages, alpaca, sharegpt, inspect"),
        ({"out": str(run.path)}, "no export wrote"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=problem):
            export.export(**({"run": "r", "arm": "le"} | arguments))  # type: ignore[arg-type]
    write_jsonl(run.iteration("lec", 1).lessons("lec"), REFUSED)
    with pytest.raises(ValueError, match="none of them kept"):
        export.export("r", "lec")
    first = export.export("r", "le", format="alpaca", out=str(tmp_path / "again"))
    second = export.export("r", "le", out=str(first))
    assert {path.name for path in second.iterdir()} == {"README.md", "train.jsonl"}
    assert json.loads((second / "train.jsonl").read_text().splitlines()[0])["id"] == "le1-0"


def test_lessons_alone_need_no_target_that_trains() -> None:
    values = {"target": "replay:x", "benchmarks": ["gsm8k"], "in_domain": ["gsm8k"], "iterations": 1}
    assert recipe.build(recipe.Recipe, values | {"lessons_only": True}).stops_early
    with pytest.raises(ValueError, match="lessons_only: true"):
        recipe.build(recipe.Recipe, values)
    with pytest.raises(ValueError, match="makes no lessons"):
        recipe.build(recipe.Recipe, values | {"lessons_only": True, "iterations": 0})
