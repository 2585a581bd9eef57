"""Self-training: own answers drawn once, graded, kept if they are right; and how an arm without any ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from instructing import PRACTICE, TRAIN, answer_items
from instructing import parameters as asking

from laif_helpers import lessons, models, recipe, self_training
from laif_helpers.answers import joined
from laif_helpers.paths import NANO
from laif_helpers.records import Completion, Lesson, read_jsonl
from laif_helpers.runner import manifest, plan
from laif_helpers.self_training import tables
from laif_helpers.train import mix as train_mix

BY_QUESTION = {PRACTICE.messages(item)[-1]["content"]: item for item in TRAIN}


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path / "runs"))


def parameters(arm: str = "rft", **more: Any) -> recipe.StageParameters:
    return asking(arm, target=str(NANO), max_new_tokens=64, **more)


class Speaker:
    """Stands in for the model: sample 0 is wrong, 1 and 2 are right and alike, 3 right in other words and cut at 7."""

    def __init__(self) -> None:
        self.asked, self.stop_after = 0, 10**9

    def __call__(
        self, model: str, conversations: list[Any], *, numbers: list[int], on_done: Callable[..., None], **_: Any
    ) -> None:
        for at, (turns, number) in enumerate(zip(conversations, numbers, strict=True)):
            if self.asked == self.stop_after:
                raise KeyboardInterrupt
            self.asked += 1
            gold = str(PRACTICE.gold_response(BY_QUESTION[turns[-1]["content"]]))
            text = ("No.\n#### -1", gold, gold, f"Well.\n{gold}")[number]
            on_done(at, Completion(text, 9, 5, "length" if number == 3 and at % 7 == 0 else "stop"))


@pytest.fixture
def speaker(monkeypatch: pytest.MonkeyPatch) -> Speaker:
    fake = Speaker()
    monkeypatch.setattr(models, "generate", fake)
    return fake


def learn(p: recipe.StageParameters) -> tuple[list[self_training.Attempt], list[Lesson]]:
    answer_items(p)
    attempts = self_training.sample(p, self_training.questions(p))
    return attempts, self_training.learn(p, attempts)


def test_right_answers_are_learned_and_the_others_say_why_not(speaker: Speaker) -> None:
    attempts, found = learn(parameters(budget=400))
    free = [item.id for item in TRAIN if not joined.held_out(parameters(), "practice", item.id)]
    assert {a.example.id for a in attempts} == set(free)
    by_sample = {number: [x for x in found if x.id.endswith(f"-{number}")] for number in range(4)}
    assert {x.status for x in by_sample[0]} == {"wrong"} and {x.status for x in by_sample[2]} == {"duplicate"}
    assert {x.status for x in by_sample[1]} == {"kept", "contaminated"}, "some train questions repeat a test question"
    cut = [x for x in by_sample[3] if x.reason == "the answer came to no end"]
    assert len(cut) == sum(a.done.finish == "length" for a in attempts) > 0
    assert {x.status for x in by_sample[3] if x not in cut} == {"kept", "contaminated"}
    p = parameters(budget=400)
    assert read_jsonl(p.folder.lessons("rft"), Lesson) == found and not train_mix.make(p).ended


def test_rft_errors_asks_only_what_failed_and_self_keeps_wrong_answers(speaker: Speaker) -> None:
    failed = {item.id for item in TRAIN[:12]}
    attempts, found = learn(parameters("rft_errors", budget=400))
    assert {a.example.id for a in attempts} <= failed and all(a.failed for a in attempts)
    _, found = learn(parameters("self", budget=400))
    assert {x.status for x in found if x.id.endswith("-0")} == {"kept", "contaminated"}
    assert {x.reason for x in found if x.status == "wrong"} == {"the answer came to no end"}


def test_the_budget_is_kept_and_spread_over_the_questions(speaker: Speaker) -> None:
    _, found = learn(parameters(budget=40))
    kept = [x for x in found if x.status == "kept"]
    assert len(kept) == lessons.shares(40, 0.5)[0] == len({x.source_ids[0] for x in kept})


def test_a_stopped_draw_goes_on_where_it_was(speaker: Speaker) -> None:
    p = parameters()
    answer_items(p)
    speaker.stop_after = 21
    with pytest.raises(KeyboardInterrupt):
        self_training.sample(p, self_training.questions(p))
    with p.folder.attempts.open("a") as handle:
        handle.write('{"key": "half a li')
    speaker.stop_after = 10**9
    attempts = self_training.sample(p, self_training.questions(p))
    assert speaker.asked == len(attempts), "the 21 that were drawn are not drawn again"
    assert self_training.sample(p, self_training.questions(p)) == attempts and speaker.asked == len(attempts)
    other = p.model_copy(update={"attempt_temperature": 0.5})
    self_training.sample(other, self_training.questions(other))
    assert speaker.asked == 2 * len(attempts), "answers at another temperature are others"


def test_what_another_arm_has_drawn_is_not_drawn_again(speaker: Speaker) -> None:
    attempts, _ = learn(parameters("rft"))
    again, _ = learn(parameters("self"))
    assert again == attempts and speaker.asked == len(attempts)
    later = parameters("self", iteration=2, seed=1)
    answer_items(later)
    self_training.sample(later, self_training.questions(later))
    assert speaker.asked > len(attempts), "another draw is another answer"


def test_an_arm_without_a_right_answer_ends_well(speaker: Speaker) -> None:
    p = parameters("rft_errors")
    answer_items(p)
    attempts = [a for a in self_training.sample(p, self_training.questions(p)) if not a.sample]
    found = self_training.learn(p, attempts)
    metrics = tables.metrics(p, attempts, found)
    assert f"none of {len(attempts)} sampled answers" in metrics["ended"] and "The arm ends here" in tables.observation(
        p, attempts, found
    )
    p.folder.metrics("09_self_training").parent.mkdir(parents=True, exist_ok=True)
    p.folder.metrics("09_self_training").write_text(json.dumps(metrics))
    assert train_mix.make(p).ended == metrics["ended"]


def test_a_target_that_fails_nothing_ends_rft_errors(speaker: Speaker) -> None:
    p = parameters("rft_errors")
    answer_items(p, wrong=0)
    assert "no question to ask" in tables.ended(p, self_training.sample(p, self_training.questions(p)), [])


def test_the_same_answer_again_and_again_is_refused() -> None:
    with pytest.raises(ValueError, match="attempt_temperature 0 gives the same answer 4 times"):
        self_training.drawn(parameters(attempt_temperature=0))
    assert self_training.drawn(parameters(samples=2, temperature=0.7)) == {"n": 2, "temperature": 0.7}
    with pytest.raises(ValueError, match="samples 2 with temperature 0"):
        parameters(samples=2)


def test_what_is_sampled_depends_on_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "both.yaml"
    values = {"arms": ["rft", "le"], "iterations": 1, "instructor": "llm", "instructor_model": "m", "max_usd": 1}
    path.write_text(yaml.safe_dump(values))
    stages = plan.make(path).stages
    drawing = next(stage for stage in stages if stage.notebook == plan.SELF)
    labels = [label for label, _ in manifest._files_read(drawing)]
    assert "target/model.safetensors" in labels, "samples depend on the weights, not on the answers alone"


@pytest.mark.model
def test_nano_learns_from_its_own_right_answers() -> None:
    p = parameters(attempts=2)
    attempts, found = learn(p)
    assert {a.correct for a in attempts} == {True, False} and all(0 < a.done.new_tokens <= 64 for a in attempts)
    kept = {x.id: x for x in found if x.status == "kept"}
    right = {f"rft1-{a.example.id}-{a.sample}": a.done.text for a in attempts if a.correct}
    assert kept and all(right[id] == lesson.response for id, lesson in kept.items())
    assert tables.by_question(attempts)["greedy"].tolist() == ["failed greedily", "passed greedily"]
