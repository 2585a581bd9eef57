"""On-policy distillation: which questions are rolled out, whom the teacher fits, and a training on rollouts."""

import functools
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from instructing import TRAIN, answer_items
from instructing import parameters as asking
from test_train_resume import killed_at, losses, weights
from train_toys import make_base, train_here

from laif_helpers import distil, instructors, recipe, target, train
from laif_helpers.answers import joined
from laif_helpers.distil import tables
from laif_helpers.models import local, tokenizers
from laif_helpers.paths import NANO
from laif_helpers.records import read_rows, write_jsonl
from laif_helpers.train import memory
from laif_helpers.train import mix as train_mix
from laif_helpers.train.child import rollouts, samples

Make = Callable[..., recipe.StageParameters]
WRONG = {item.id for item in TRAIN[:12]}


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path / "runs"))


def questions(arm: str, wrong: int = 12, **more: Any) -> tuple[recipe.StageParameters, list[distil.Question]]:
    p = asking(arm, teacher=str(NANO), **more)
    answer_items(p, wrong=wrong)
    return p, distil.choose(p)


@pytest.mark.parametrize(("arm", "failed"), [("opd", None), ("opd_errors", 40), ("opd_contrast", 20)])
@pytest.mark.model
def test_every_arm_rolls_out_the_budget_and_no_held_out_item(arm: str, failed: int | None) -> None:
    p, chosen = questions(arm)
    assert len(chosen) == p.budget == 40
    assert not [q for q in chosen if joined.held_out(p, "practice", q.example.id)]
    assert all(q.failed == (q.example.id in WRONG) for q in chosen)
    if failed is None:
        assert max(Counter(q.example.id for q in chosen).values()) == 1 and 0 < sum(q.failed for q in chosen) < 20
    else:
        assert sum(q.failed for q in chosen) == failed
    rows = list(read_rows(p.folder.repair_records))
    assert [row["messages"][-1]["role"] for row in rows] == ["user"] * 40
    assert chosen == distil.choose(p), "the draw is the seed's"


@pytest.mark.model
def test_a_teacher_that_is_the_target_diverges_at_no_token() -> None:
    p, chosen = questions("opd")
    rows = distil.scored(p, chosen[0])
    answer = joined.pairs(p, p.previous, "practice", p.error_split)
    (text,) = (response.text for example, response in answer if example.id == chosen[0].example.id)
    assert "".join(row["token"] for row in rows).startswith(text) and {row["divergence, nats"] for row in rows} == {0}
    assert all(0 <= row["teacher, %"] == row["target, %"] <= 100 for row in rows)
    assert chosen[0].asked.endswith(f"Right: {chosen[0].example.gold}")


def test_a_test_question_is_never_rolled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    test = [("practice:x", item.question) for item in TRAIN[:50]]
    monkeypatch.setattr(distil.lessons, "test_questions", lambda p: test)
    chosen = questions("opd")[1]
    assert {q.example.id for q in chosen} <= {item.id for item in TRAIN[50:]}


@pytest.mark.parametrize(("wrong", "failed"), [(0, 0), (len(TRAIN), 40)])
def test_a_benchmark_without_halves_takes_the_whole_budget(wrong: int, failed: int) -> None:
    """Of two benchmarks one may have no error: its rollouts are as many as the other's."""
    chosen = questions("opd_contrast", wrong=wrong)[1]
    assert (len(chosen), sum(q.failed for q in chosen)) == (40, failed)


def test_without_errors_the_arm_ends_and_training_says_so() -> None:
    for arm in ("opd_errors", "opd_contrast"):
        p, chosen = questions(arm, wrong=0)
        metrics = tables.metrics(p, chosen, [{"teacher right": True, "tokens": 7}])
        assert metrics["ended"] and metrics["teacher_tokens"] == 7, "the costs read this name"
        p.folder.metrics("10_distil").parent.mkdir(parents=True, exist_ok=True)
        p.folder.metrics("10_distil").write_text(json.dumps(metrics))
        assert train_mix.make(p).ended == metrics["ended"]


def test_a_teacher_must_have_the_targets_vocabulary(base: Path, tmp_path: Path) -> None:
    assert tokenizers.vocabulary_problem(str(NANO), str(NANO)) == ""
    assert "another vocabulary than the target" in tokenizers.vocabulary_problem(str(NANO), str(base))
    assert "must be a model of this machine" in tokenizers.vocabulary_problem(str(NANO), "server:big")
    with pytest.raises(
        FileNotFoundError, match=r"teacher 'data/downloads/nano-all' is .* did you mean|correct teacher"
    ):
        target.check("data/downloads/nano-all", "teacher")
    assert "no teacher is set" in tokenizers.vocabulary_problem(str(NANO), "")
    wrong = recipe.build(recipe.Recipe, {"arms": ["opd"], "teacher": str(base)})
    assert "another vocabulary" in instructors.problem(wrong, "teacher")


def test_equal_tokens_of_another_number_are_another_vocabulary(base: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(base, tmp_path / "moved")
    text = (moved / "tokenizer.json").read_text()
    swapped = json.loads(text)
    words = swapped["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    (moved / "tokenizer.json").write_text(json.dumps(swapped))
    assert "another vocabulary" in tokenizers.vocabulary_problem(str(base), str(moved))


def test_a_penalty_on_replayed_answers_has_nothing_to_hold_in_rollouts() -> None:
    with pytest.raises(
        ValueError, match=r"kl_weight 0\.1 acts on replayed answers, and arm 'opd' learns from rollouts"
    ):
        recipe.build(recipe.Recipe, {"arms": ["opd"], "teacher": "data/nano", "kl_weight": 0.1})


# -- the training


def rolled(parameters: Make, arm: str, **more: Any) -> recipe.StageParameters:
    """Parameters of a training on ten questions, or on ten lessons for ``sdft``."""
    base = parameters(n=0).target
    values = {"arm": arm, "teacher": base, "max_new_tokens": 12, "batch_size": 4, "epochs": 2, "max_length": 256}
    p = parameters(n=10, **(values | more))
    if arm != "sdft":
        rows = list(read_rows(p.folder.training_set))
        bare = [row | {"source": "rollout", "messages": row["messages"][:-1], "answer_tokens": 9} for row in rows]
        write_jsonl(p.folder.training_set, bare)
    return p


def test_questions_fill_whole_steps_and_long_ones_stay_out(parameters: Make) -> None:
    settings = train.make_settings(rolled(parameters, "opd"))
    tokenizer = samples.load_tokenizer(settings.base)
    found, shares = samples.make_samples(settings, tokenizer)
    assert len(found) == 12 and found[10:] == found[:2] and shares["left_out"] == 0
    assert found[0]["prompt"][-1]["role"] == "user" and {*found[0]["labels"]} == {-100}
    few = settings.model_copy(update={"batch_size": 32})
    assert rollouts.step_size(few, 10) == 10 and len(samples.make_samples(few, tokenizer)[0]) == 10
    short = settings.model_copy(update={"max_length": len(found[0]["input_ids"]) + 12})
    assert samples.make_samples(short, tokenizer)[1]["left_out"] > 0
    with pytest.raises(ValueError, match="no question leaves room for 12 new tokens within max_length 20"):
        samples.make_samples(settings.model_copy(update={"max_length": 20}), tokenizer)


@pytest.mark.parametrize("arm", ["opd", "sdft"])
def test_rollouts_end_where_answers_do(parameters: Make, base: Path, tmp_path: Path, arm: str) -> None:
    """A template may end turns with a token that neither tokenizer nor generation config names."""
    folder = shutil.copytree(base, tmp_path / "other")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"eos_token": "<|pad|>", "extra_special_tokens": ["<|end|>"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 4}))
    p = rolled(parameters, arm, target=str(folder), teacher=str(folder))
    train_here(p)
    config = json.loads((p.folder.checkpoint / "generation_config.json").read_text())
    assert sorted(config["eos_token_id"]) == local.load(str(folder)).stop_ids == [3, 4]


def test_a_checkpoint_depends_on_its_teacher(parameters: Make, tmp_path: Path) -> None:
    p = rolled(parameters, "opd")
    other = make_base(tmp_path / "other", hidden=64)
    settings = train.make_settings(p)
    assert settings.signal == "teacher"
    assert settings.identity != train.make_settings(p.model_copy(update={"teacher": str(other)})).identity
    assert settings.identity != train.make_settings(p.model_copy(update={"max_new_tokens": 13})).identity
    plain = train.make_settings(parameters(n=4))
    assert not {"signal", "teacher", "teacher_fingerprint"} & plain.deciding.keys(), (
        "known from before there were others"
    )


def test_the_teachers_weights_are_reckoned_with(parameters: Make, tmp_path: Path) -> None:
    teacher = make_base(tmp_path / "teacher", hidden=64)
    settings = train.make_settings(rolled(parameters, "opd", teacher=str(teacher)))
    own, more = memory.shape(settings.base), memory.shape(str(teacher)).weights
    need = functools.partial(memory.need, own, gpu=False, longest=64)
    plain = need(settings.model_copy(update={"signal": "answers"})).states
    assert need(settings).states - plain == pytest.approx(4 * more, abs=1)
    assert need(settings.model_copy(update={"signal": "lesson"})).states - plain == pytest.approx(
        4 * own.weights, abs=1
    )
    assert need(settings.model_copy(update={"signal": "lesson", "lora_rank": 4})).states < plain, "under the adapter"


@pytest.mark.model
@pytest.mark.parametrize("arm", ["opd", "sdft"])
def test_a_model_trains_on_its_own_rollouts(
    parameters: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arm: str
) -> None:
    """A killed training goes on as if nothing had happened: the rollouts that follow are the same too."""
    teacher = make_base(tmp_path / "teacher", hidden=64)
    whole = rolled(parameters, arm, teacher=str(teacher), save_steps=2)
    metrics = train_here(whole)
    assert metrics["steps"] == 6, "12 questions twice, in steps of 4"
    found, _ = samples.make_samples(train.make_settings(whole), samples.load_tokenizer(whole.target))
    asked = 2 * sum(len(sample["input_ids"]) for sample in found)
    assert 24 <= metrics["generated_tokens"] == metrics["tokens"] - asked <= 24 * 12
    more = metrics["teacher_tokens"] - metrics["tokens"]
    assert more == 0 if arm == "opd" else more > 24 * 30, "shown the lesson, it reads more"
    killed = rolled(parameters, arm, teacher=str(teacher), save_steps=2, run="killed")
    killed_at(3, killed, monkeypatch)
    again = train_here(killed)
    assert again["resumed_from"] == 2 and again["generated_tokens"] == metrics["generated_tokens"]
    assert losses(killed) == losses(whole) and weights(killed) == weights(whole)
