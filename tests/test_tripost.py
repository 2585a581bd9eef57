"""TriPosT: trajectories, edits, records and the loop at test time, with a scripted model in the target's place."""

import importlib
import random
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from instructing import practice_server
from step_mutations import mutants

from laif_helpers import benchmarks, models, recipe, tripost
from laif_helpers.answers import repair
from laif_helpers.graders import steps
from laif_helpers.paths import NANO, ROOT
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Completion, Message, read_rows, write_jsonl
from laif_helpers.runner import plan
from laif_helpers.train import mix
from laif_helpers.tripost import improve, loop, tables
from laif_helpers.tripost.trajectories import CHECK, REPAIR, conversation

NAME = "logical_deduction"
Answer = Callable[[str, list[Message], int], str]
"""``(question, turns, sample)`` -> what the model says."""


def parameters(**values: Any) -> StageParameters:
    given = {"arm": "tripost", "iteration": 1, "benchmarks": [NAME], "in_domain": [NAME], "limit": 40, "budget": 70}
    p: StageParameters = recipe.build(StageParameters, {**given, "max_length": 2048, "holdout_fraction": 0, **values})
    return p


def solved(question: str, name: str = NAME) -> str:
    module = steps.task(name)
    return steps.write(module.solve(module.read(question)))


def mutated(question: str, seed: int, kinds: tuple[str, ...] = ("placement", "pattern", "final_answer")) -> str:
    rng = random.Random(f"{question}{seed}")
    return rng.choice([each for each in mutants(NAME, question, rng) if each.kind in kinds]).text


def weak(question: str, turns: list[Message], sample: int) -> str:
    """Right at every second attempt; praises whatever it is asked to check; repairs by the solver."""
    if turns[-1]["content"] == CHECK:
        attempt = turns[-2]["content"]
        return steps.feedback(attempt, steps.Verdict(True, None, "", "", True, kept=len(steps.lines(attempt))))
    right = turns[-1]["content"] == REPAIR or sample % 2 == 0
    return solved(question) if right else mutated(question, sample)


def honest(question: str, turns: list[Message], sample: int) -> str:
    """Wrong at first; finds every error; repairs all."""
    if turns[-1]["content"] == CHECK:
        return steps.feedback(turns[-2]["content"], steps.task(NAME).check(question, turns[-2]["content"]))
    return solved(question) if turns[-1]["content"] == REPAIR else mutated(question, 0, ("final_answer",))


def ask_model(conversations: list[list[Message]], **how: Any) -> list[Completion]:
    return models.generate("m", conversations, **how)


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Answer], None]:
    """Put a scripted model behind ``models.generate``, and no answer of another one before it."""

    def use(answer: Answer) -> None:
        monkeypatch.setenv("LAIF_RUNS", str(tmp_path_factory.mktemp("runs")))

        def generate(model: str, conversations: list[list[Message]], n: int = 1, **how: Any) -> list[Completion]:
            asked = [turns for turns in conversations for _ in range(n)]
            numbers = how.get("numbers") or models.sample_numbers(asked)
            texts = [answer(turns[0]["content"], turns, sample) for turns, sample in zip(asked, numbers, strict=True)]
            done = [Completion(text, 10, len(text.split())) for text in texts]
            for at, completion in enumerate(done):
                how.get("on_done", lambda *_: None)(at, completion)
            return done

        monkeypatch.setattr(models, "generate", generate)

    return use


def collected(p: StageParameters) -> tuple[list[tripost.Trajectory], list[dict[str, Any]]]:
    items = tripost.questions(p)
    found = tripost.edit(tripost.sample(p, items), p)
    rows = tripost.records(found, items, p)
    return tripost.traced(found, rows), rows


def test_wrong_attempts_are_repaired_and_mixed_in_the_shares_asked_for(target: Callable[[Answer], None]) -> None:
    target(weak)
    p = parameters()
    found, rows = collected(p)
    outcomes = Counter(each.outcome for each in found if each.status == "kept")
    assert outcomes[tripost.RIGHT] == 40 and outcomes[tripost.WRONG] + outcomes[tripost.WRONG_STEP] >= 40
    sources = Counter(row["source"] for row in rows)
    assert sources == {"repair": 30, "right": 20, "gold": 20}
    for row in rows:
        weights = [turn["weight"] for turn in row["messages"] if turn["role"] == "assistant"]
        assert weights == ([0.0, 1.5, 1.5] if row["source"] == "repair" else [1.0, 1.0])
        assert row["messages"][-1]["role"] == "assistant"
        assert steps.read_feedback(row["messages"][3]["content"]).correct is (row["source"] != "repair")
    trained = {each.id for each in found if "repair" in each.trained}
    assert trained == {row["id"] for row in rows if row["source"] == "repair"}


def test_feedback_that_works_each_step_out_is_taught_and_has_the_room_it_takes(
    target: Callable[[Answer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, limits = "word_sorting", list[int]()

    def slips(question: str, turns: list[Message], sample: int) -> str:
        first, rest = solved(question, name).split("\n", 1)
        one, other, *_ = steps.task(name).read(question)
        return f"{first}\n{rest if sample else rest.replace(one, other)}"

    target(slips)
    generate = models.generate
    p = parameters(benchmarks=[name], in_domain=[name], feedback="worked", attempts=2, limit=6)

    def limited(*asked: Any, **how: Any) -> list[Completion]:
        limits.append(min(how["max_new_tokens"]))
        return generate(*asked, **how)

    monkeypatch.setattr(models, "generate", limited)
    _, rows = collected(p)
    sources = {row["source"]: row["messages"] for row in rows}
    assert set(sources) == {"repair", "right", "gold"}
    for source, turns in sources.items():
        check, *_, verdict = turns[3]["content"].splitlines()
        assert check.startswith('(2) "') and check.endswith(" no") is (source == "repair")
        assert steps.read_feedback(verdict).correct is (source != "repair")
    verdicts = tripost.feedback_budgets(benchmarks.get(name).load("test")[:1], "verdict")
    assert limits[1] > 2 * verdicts[0]


def test_the_wrong_attempt_is_learned_only_if_asked_for(target: Callable[[Answer], None]) -> None:
    target(weak)
    _, rows = collected(parameters(learn_attempts=True, feedback_weight=2))
    first = next(row for row in rows if row["source"] == "repair")
    assert [turn.get("weight") for turn in first["messages"]] == [None, 1.0, None, 2.0, None, 2.0]


def test_equal_attempts_at_a_question_count_one_time(target: Callable[[Answer], None]) -> None:
    target(weak)
    found, rows = collected(parameters(attempts=4))
    repeated = [each for each in found if each.status == "repeated"]
    assert len(repeated) >= 40 and not {each.id for each in repeated} & {row["id"] for row in rows}


def test_a_right_answer_through_a_wrong_step_is_a_class_of_its_own(target: Callable[[Answer], None]) -> None:
    def lucky(question: str, turns: list[Message], sample: int) -> str:
        text = weak(question, turns, 0)
        return text if turns[-1]["content"] == CHECK else text.replace("Place 1", f"Place {sample + 2}", 1)

    target(lucky)
    found, rows = collected(parameters())
    assert {each.outcome for each in found} == {tripost.WRONG_STEP}
    assert any(row["source"] == "repair" for row in rows)
    found, rows = collected(parameters(wrong_steps="leave_out"))
    assert {each.status for each in found} == {"right answer through a wrong step, left out"}
    assert not any(row["source"] == "repair" for row in rows)


def test_right_attempts_that_the_model_blames_are_trained_on_first(target: Callable[[Answer], None]) -> None:
    def nervous(question: str, turns: list[Message], sample: int) -> str:
        wary = turns[-1]["content"] == CHECK and len(question) % 3 == 0
        wrong = 'In step (1) the part "x" is incorrect. This is because of fear.'
        return wrong if wary else weak(question, turns, sample)

    target(nervous)
    found, rows = collected(parameters(budget=35))
    alarms = {each.id for each in found if each.false_alarm and each.status == "kept"}
    kept = [row["id"] for row in rows if row["source"] == "right"]
    assert alarms and len(set(kept) & alarms) == min(len(kept), len(alarms))


def test_records_that_are_too_long_are_counted_by_bucket(target: Callable[[Answer], None]) -> None:
    target(weak)
    found, rows = collected(parameters(max_length=400))
    lost = Counter(each.status for each in found if each.status.startswith("longer"))
    assert lost and all("bucket" in status for status in lost)
    counted = tables.counts(found, rows)[NAME]
    assert sum(counted[f"lost: {status}"] for status in lost) == lost.total()
    assert list(tables.funnel(found, rows).index)[:3] == ["sampled", "right", "wrong"]


def test_a_task_without_errors_ends_its_arm_well(target: Callable[[Answer], None]) -> None:
    target(lambda question, turns, sample: weak(question, turns, 0))
    p = parameters()
    found, rows = collected(p)
    assert tables.ended(p, found, rows).startswith("no wrong attempts")


@pytest.mark.slow
def test_a_target_without_the_format_is_unreadable_and_ends_the_arm(tmp_path: Any) -> None:
    p = parameters(target=str(NANO), limit=3, run=str(tmp_path))
    found, rows = collected(p)
    assert {each.outcome for each in found} == {tripost.UNREADABLE}
    assert not any(row["source"] == "repair" for row in rows)
    assert "unreadable" in tables.ended(p, found, rows)


@pytest.mark.parametrize("values", [{"attempts": 1}, {"attempt_temperature": 0}])
def test_one_attempt_or_no_temperature_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="TriPosT needs several different attempts"):
        tripost.questions(parameters(**values))


def test_a_benchmark_without_a_verifier_is_refused() -> None:
    with pytest.raises(ValueError, match="'practice' has no step verifier"):
        tripost.questions(parameters(benchmarks=["practice"], in_domain=["practice"]))


@pytest.mark.slow
def test_baselines_make_other_records_of_the_same_attempts(target: Callable[[Answer], None]) -> None:
    target(weak)
    expected = {"rejection": "own", "lmsi": "vote", "critique": "critique", "answer_only": "answer"}
    for arm, source in expected.items():
        found, rows = collected(parameters(arm=arm))
        assert {row["source"] for row in rows} == {source} and 20 <= len(rows) <= 70
        last = [row["messages"][-1]["content"] for row in rows]
        if arm == "rejection":
            known = {each.id: each for each in found}
            assert all(known[row["id"]].outcome in (tripost.RIGHT, tripost.WRONG_STEP) for row in rows)
        if arm == "answer_only":
            assert all(text.startswith("(Final response)") for text in last)
        if arm == "critique":
            assert {steps.read_feedback(text).correct for text in last} == {True, False}
    found, rows = collected(parameters(arm="tripost_injected"))
    assert len({each.verdict["kind"] for each in found}) >= 5 and any(row["source"] == "repair" for row in rows)


def test_only_arms_that_learn_from_repairs_ask_an_improver(
    target: Callable[[Answer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    target(weak)
    monkeypatch.setattr(improve, "_ask", lambda *_: pytest.fail("a paid improver was asked"))
    for arm in ("rejection", "lmsi", "critique", "answer_only"):
        p = parameters(arm=arm, instructor="llm", instructor_model="m")
        found, rows = collected(p)
        assert rows and not improve.quote(found, p).requests


@pytest.mark.slow
def test_every_attempt_votes_repeated_ones_and_wrong_steps_too(target: Callable[[Answer], None]) -> None:
    """Three equal answers outvote two different ones that end alike; no verifier decides who votes."""

    def outvoted(question: str, turns: list[Message], sample: int) -> str:
        right = solved(question)
        wrong = [*right.splitlines()[:-1], "(Final response) So the answer is (G)."]
        return right if sample < 3 else "\n".join([*wrong[: sample - 3], *wrong[sample - 2 :]])

    target(outvoted)
    found, rows = collected(parameters(arm="lmsi", attempts=5, max_length=100))
    assert {row["id"].split("#")[1] for row in rows} == {"0"} and len(rows) == 40
    target(lambda question, turns, sample: f"{solved(question)}\nThat was {'very ' * sample}easy.")
    found, rows = collected(parameters(arm="rejection"))
    assert {each.outcome for each in found} == {tripost.UNREADABLE} and len(rows) == 70
    assert not collected(parameters(arm="critique"))[1]


def test_an_oracle_stops_at_the_first_right_answer(target: Callable[[Answer], None]) -> None:
    def wavering(question: str, turns: list[Message], sample: int) -> str:
        if turns[-1]["content"] == CHECK:
            return 'In step (1) the part "x" is incorrect. This is because of fear.'
        strange = "(Final response) So the answer is (Z)."
        return solved(question) if len(turns) == 5 and turns[1]["content"] == strange else strange

    target(wavering)
    done = loop.run(ask_model, benchmarks.get(NAME).load("test")[:4], updates=2)
    of = repair.summary(loop.rows(done, loop.at_equal_tokens(ask_model, done), [False] * 4, [None] * 4))
    assert (of["accuracy_first"], of["accuracy_last"], of["accuracy_oracle"]) == (0, 0, 1)


def test_attempts_and_feedback_are_charged(target: Callable[[Answer], None]) -> None:
    target(weak)
    p = parameters(limit=3)
    tripost.collect(p, tripost.questions(p))
    answers = [row["text"] for row in read_rows(p.folder.attempts)]
    assert len(answers) == 3 * 4 + 3 * 4
    assert tables.cost(p)["generated_tokens"] == sum(len(text.split()) for text in answers)


@pytest.mark.parametrize(
    "reply", ["", "Another question entirely.", "(1) Place 1: nobody.", "a right answer to another question"]
)
def test_an_improver_that_returns_nothing_or_something_else_makes_no_record(
    target: Callable[[Answer], None], monkeypatch: pytest.MonkeyPatch, reply: str
) -> None:
    target(weak)
    if reply.startswith("a right"):
        reply = solved(benchmarks.get(NAME).load("validation")[0].question)
    monkeypatch.setattr(improve, "_ask", lambda asked, p, found: {each.key: reply for each in asked})
    found, rows = collected(parameters(instructor="llm", instructor_model="m"))
    assert not any(row["source"] == "repair" for row in rows)
    lost = {each.status for each in found if each.outcome != tripost.RIGHT and each.status != "repeated"}
    assert lost <= {"the improver returned no answer", "not repaired"} and lost


def test_a_paid_improver_is_quoted_before_it_is_asked(target: Callable[[Answer], None]) -> None:
    target(weak)
    prices = {"m": {"input": 1.0, "output": 2.0}}
    p = parameters(instructor="llm", instructor_model="m", prices=prices, updates=2, quote_only=True, max_usd=0.001)
    found = tripost.sample(p, tripost.questions(p))
    quoted = improve.quote(found, p)
    wrong = [each for each in found if each.status == "kept" and each.outcome in ("wrong", "right_answer_wrong_step")]
    assert quoted.requests == len(wrong) > 20 and quoted.usd
    assert quoted.usd[0] == pytest.approx((quoted.input_tokens[0] + 2 * quoted.output_tokens[0]) / 1e6)
    assert quoted.input_tokens[1] > 2 * quoted.input_tokens[0]
    assert "max_usd 0.001 may stop it" in quoted.observation and "Nothing is sent" in quoted.observation
    assert not any(each.updates for each in tripost.edit(found, p))


def test_an_improver_is_asked_again_until_it_is_right(
    target: Callable[[Answer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    target(weak)
    asked_for = []

    def ask(asked: list[improve.Asked], p: StageParameters, found: list[tripost.Trajectory]) -> dict[str, str]:
        asked_for.append(len(asked))
        by_question = {each.question: each for each in found}
        texts = {}
        for each in asked:
            question = next(q for q in by_question if q in each.messages[1]["content"])
            gold = solved(question)
            texts[each.key] = gold if len(asked_for) == 2 else gold.replace(gold[-3:], "Z).")
        return texts

    monkeypatch.setattr(improve, "_ask", ask)
    found, rows = collected(parameters(instructor="llm", instructor_model="m", updates=3))
    assert len(asked_for) == 2
    chain = next(each for each in found if len(each.updates) == 2)
    assert [update.correct for update in chain.updates] == [False, True]
    assert sum(row["id"] == chain.id and row["source"] == "repair" for row in rows) <= 2


def test_a_paid_improver_over_a_bad_line_writes_what_the_script_does_and_is_paid_once(
    target: Callable[[Answer], None],
) -> None:
    target(weak)
    scripted, _ = collected(parameters())
    with practice_server(faults={"drop": 0.1, "rate_limit": 0.1}, retry_after_s=0.1) as (url, app):
        prices = {"practice": {"input": 1.0, "output": 4.0}}
        paid = {"instructor": "llm", "instructor_model": "practice", "instructor_url": url, "prices": prices}
        p = parameters(**paid, max_usd=5)
        found, rows = collected(p)
        assert {each.id: [u.text for u in each.updates] for each in found} == {
            each.id: [u.text for u in each.updates] for each in scripted
        }
        assert sum(row["source"] == "repair" for row in rows) == 30 and sum(app.state.counts.faults.values()) > 5
        paid_for = app.state.counts.summary()["answered"]
        assert collected(p)[0] == found and app.state.counts.summary()["answered"] == paid_for


def test_the_loop_stops_when_the_model_says_so_and_counts_what_it_gave(target: Callable[[Answer], None]) -> None:
    items = benchmarks.get(NAME).load("test")[:30]
    target(honest)
    done = loop.run(ask_model, items, updates=2)
    assert {each.stopped for each in done} == {"says it is right"} and {len(each.answers) for each in done} == {2}
    samples = loop.at_equal_tokens(ask_model, done)
    told = loop.repaired_if_told(ask_model, done)
    measured = loop.rows(done, samples, loop.injected_found(ask_model, items), told)
    of, one = repair.summary(measured), repair.summary(measured[:1])
    assert -1 <= one["net_low"] < one["net_high"] <= 1, "a difference of shares, of however few questions"
    assert of["accuracy_last"] == 1 and of["harm"] == 0 and of["false_alarms"] is None
    assert of["contribution"] == of["accuracy_last"] - of["accuracy_first"] > 0
    assert of["detection_recall"] == of["step_found"] == of["injected_found"] == of["changed"] == 1
    assert of["k"] >= 2 and of["net_low"] > 0
    assert told == [True] * 30 and of["repaired_if_told"] == 1


def test_a_model_that_spoils_right_answers_shows_harm_and_false_alarms(target: Callable[[Answer], None]) -> None:
    def spoiler(question: str, turns: list[Message], sample: int) -> str:
        if turns[-1]["content"] == CHECK:
            return 'In step (1) the part "x" is incorrect. This is because of fear.'
        return "(Final response) So the answer is (Z)." if turns[-1]["content"] == REPAIR else solved(question)

    target(spoiler)
    items = benchmarks.get(NAME).load("test")[:20]
    done = loop.run(ask_model, items, updates=1)
    assert {each.stopped for each in done} == {"limit of updates"}
    told = loop.repaired_if_told(ask_model, done)
    of = repair.summary(loop.rows(done, loop.at_equal_tokens(ask_model, done), [False] * 20, told))
    assert told == [None] * 20 and of["repaired_if_told"] is None
    assert (of["accuracy_first"], of["accuracy_last"], of["harm"], of["false_alarms"]) == (1, 0, 1, 1)
    assert of["accuracy_oracle"] == 1


def test_a_model_sees_its_last_answer_alone(target: Callable[[Answer], None]) -> None:
    seen = []

    def unsure(question: str, turns: list[Message], sample: int) -> str:
        seen.append([turn["content"] for turn in turns if turn["role"] == "assistant"])
        if turns[-1]["content"] == CHECK:
            return f'In step (1) the part "x" is incorrect. This is because of answer {len(seen)}.'
        return f"answer {len(seen)}"

    target(unsure)
    loop.run(ask_model, benchmarks.get(NAME).load("test")[:1], updates=2)
    assert [len(texts) for texts in seen] == [0, 1, 2, 1, 2, 1]
    assert seen[-2:] == [
        ["answer 3", 'In step (1) the part "x" is incorrect. This is because of answer 4.'],
        ["answer 5"],
    ]


def test_unreadable_feedback_ends_the_loop_with_the_answer_as_it_is(target: Callable[[Answer], None]) -> None:
    target(lambda question, turns, sample: "hm" if turns[-1]["content"] == CHECK else solved(question))
    done = loop.run(ask_model, benchmarks.get(NAME).load("test")[:5], updates=3)
    assert {(each.stopped, len(each.turns)) for each in done} == {("feedback unreadable", 2)}


@pytest.mark.parametrize("name", ["word_sorting", "multistep_arithmetic"])
def test_slips_that_targets_learn_from_are_wrong_and_in_the_format(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "data"), *sys.path])
    slips = importlib.import_module("tripost_slips").SLIPS[name]
    made, module, rng = importlib.import_module("make_reasoning"), steps.task(name), random.Random(0)
    questions = [made.DRAW[name](rng, cell) for cell in made.SIZES[name]["train"] for _ in range(20)]
    found = [module.check(question, slips(question, rng)) for question in questions]
    assert sum(not verdict.correct for verdict in found) >= 0.9 * len(found)  # a misread letter may not matter
    assert all(verdict.readable for verdict in found)


def test_turns_alternate_and_end_with_the_user() -> None:
    turns = conversation(NAME, "q", "a", "f", "u")
    assert [turn["content"] for turn in turns] == ["q", "a", CHECK, "f", REPAIR, "u", CHECK]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 3 + ["user"]


@pytest.mark.parametrize("name", ["tripost", "tripost_dates", "tripost_smollm2", "tripost_llama"])
def test_the_recipes_plan_attempts_training_answers_and_repair_in_this_order(name: str) -> None:
    planned = plan.make(ROOT / "papermill_runs" / f"{name}.yaml")
    stages = [stage.key.removeprefix("seed0/") for stage in planned.stages]
    steps_of_a_turn = ["07_tripost", "05_train_deepspeed", "01_evaluate", "08_repair"]
    assert [key for key in stages if key.startswith("tripost/iter2/")] == [
        f"tripost/iter2/{s}" for s in steps_of_a_turn
    ]
    assert "vanilla/iter0/08_repair" in stages and "fine_tuning/iter1/08_repair" in stages
    assert "fine_tuning/iter1/07_tripost" not in stages
    compare = planned.stages[-1]
    assert "vanilla/iter0/08_repair" in compare.optional
    point = compare.key.removesuffix("compare/06_compare")  # "" or "seed2/"
    last = f"iter{planned.settings.iterations}/08_repair"
    assert set(compare.after) >= {f"{point}{arm}/{last}" for arm in planned.settings.arms}


def test_an_answer_may_take_what_its_buckets_longest_gold_answer_takes() -> None:
    items = benchmarks.get("word_sorting").load("test")
    budgets = dict(zip((item.fields["bucket"] for item in items), tripost.budgets(items), strict=True))
    longest = max(len(item.rationale) for item in items if item.fields["bucket"] == "2-3")
    assert budgets["2-3"] == int(0.8 * longest) + 64 < budgets["4-7"] < budgets["16-20"]


def test_training_takes_the_records_and_refuses_a_test_question(
    target: Callable[[Answer], None], tmp_path: Path
) -> None:
    target(weak)
    p = parameters(run=str(tmp_path))
    _, rows = collected(p)
    write_jsonl(p.folder.repair_records, rows)
    mixed = mix.make(p)
    assert mixed.rows == rows and p.folder.training_set.is_file() and not mixed.notes
    few = mix.make(p.model_copy(update={"budget": 100, "in_domain": [NAME, "word_sorting"]}))
    assert few.notes == ["word_sorting: no items at all", f"{NAME}: 70 lessons of the 100 that budget 100 asks for"]
    with pytest.raises(ValueError, match=f"word_sorting: no items at all; {NAME}: 70 lessons .* set strict: false"):
        mix.make(p.model_copy(update={"budget": 100, "in_domain": [NAME, "word_sorting"], "strict": True}))
    stolen = benchmarks.get(NAME).load("test")[0].question
    rows[0]["messages"][0]["content"] = stolen
    write_jsonl(p.folder.repair_records, rows)
    with pytest.raises(ValueError, match="asks a test question"):
        mix.make(p)


def test_repair_of_all_arms_stands_in_one_table(tmp_path: Path, target: Callable[[Answer], None]) -> None:
    target(honest)
    for arm, k in (("vanilla", 0), ("tripost", 1)):
        loop.measured(parameters(arm=arm, iteration=k, run=str(tmp_path), limit=12))
    lines = repair.table(tmp_path, ["vanilla", "tripost"], 1)
    wanted = "arm iteration benchmark bucket n accuracy_first accuracy_last contribution harm changed"
    wanted += " detection_precision detection_recall false_alarms tokens"
    assert set(wanted.split()) <= lines[0].keys()
    assert {line["arm"] for line in lines} == {"vanilla", "tripost"}
    assert {"3", "7", "seen", "unseen", "all"} <= {line["bucket"] for line in lines}


def test_repair_is_tested_against_votes_and_plain_fine_tuning(tmp_path: Path, target: Callable[[Answer], None]) -> None:
    target(honest)
    loop.measured(parameters(arm="tripost", run=str(tmp_path), limit=30))
    target(lambda question, turns, sample: mutated(question, 0, ("final_answer",)))
    loop.measured(parameters(arm="fine_tuning", run=str(tmp_path), limit=30))
    lines = {
        line["arm"]: line for line in repair.table(tmp_path, ["fine_tuning", "tripost"], 1) if line["bucket"] == "all"
    }
    mine, plain = lines["tripost"], lines["fine_tuning"]
    assert mine["over_sft"] == mine["accuracy_last"] - plain["accuracy_first"] == 1
    assert mine["over_majority"] == mine["accuracy_last"] - mine["majority"]
    assert mine["sft_p"] == mine["sft_p_holm"] < 0.001 and plain["sft_p"] is plain["over_sft"] is None
    assert mine["majority_p_holm"] >= mine["majority_p"] and mine["k"] >= 3


def test_attempts_are_followed_into_the_next_iteration(tmp_path: Path, target: Callable[[Answer], None]) -> None:
    target(weak)
    first = parameters(run=str(tmp_path), iterations=2)
    found, _ = collected(first)
    write_jsonl(first.folder.trajectories, found)
    assert tables.followed(first, found).empty
    target(lambda question, turns, sample: solved(question))
    second = parameters(run=str(tmp_path), iteration=2, iterations=2)
    again, _ = collected(second)
    write_jsonl(second.folder.trajectories, again)
    rows = repair.followed(tmp_path, ["tripost"], 2)
    before = [row for row in rows if row["iteration"] == 1]
    assert len(before) == len(found) and {row["later_right"] for row in before} == {1.0}
    assert {row["trained"] for row in before} >= {"repair", "right", ""}
    assert {row["later_right"] for row in rows if row["iteration"] == 2} == {None}
    table = tables.followed(second, again)
    assert table["attempts"].sum() == len(found) and set(table["right now (%)"]) == {100.0}


def test_attempts_of_a_killed_draw_are_kept_and_more_attempts_draw_only_the_new_ones(
    target: Callable[[Answer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    target(weak)
    asked: list[int] = []
    whole = models.generate

    def counted(model: str, conversations: list[list[Message]], **how: Any) -> list[Completion]:
        asked.append(len(conversations))
        return whole(model, conversations, **how)

    monkeypatch.setattr(models, "generate", counted)
    p = parameters(attempts=2)
    first, _ = collected(p)
    assert asked == [80, 80], "two attempts at 40 questions, and feedback on each"
    lines = p.folder.attempts.read_text().splitlines(keepends=True)
    p.folder.attempts.write_text("".join(lines[:30]) + '{"key": "half a li')
    assert collected(p)[0] == first and asked[2:] == [50, 80]
    collected(p.model_copy(update={"attempts": 3}))
    assert asked[4] == 40


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("arms: [tripost]\nattempts: 1\nbenchmarks: [word_sorting]\nin_domain: [word_sorting]", "several different"),
        ("arms: [tripost]\nbenchmarks: [practice]\nin_domain: [practice]", "'practice' has no step verifier"),
        (
            "arms: [rft]\nattempt_temperature: 0\nbenchmarks: [practice]\nin_domain: [practice]",
            "the same answer 4 times",
        ),
    ],
)
def test_settings_that_no_attempts_can_come_from_are_refused_by_the_plan(
    tmp_path: Path, settings: str, sentence: str
) -> None:
    (tmp_path / "r.yaml").write_text(f"target: data/nano\niterations: 1\n{settings}\n")
    with pytest.raises(ValueError, match=sentence):
        plan.make(tmp_path / "r.yaml")


def test_the_observation_of_08_tells_which_half_fails(target: Callable[[Answer], None]) -> None:
    target(honest)
    done = loop.run(ask_model, benchmarks.get(NAME).load("test")[:4], updates=1)
    told = loop.repaired_if_told(ask_model, done)
    measured = loop.rows(done, loop.at_equal_tokens(ask_model, done), [True] * 4, told)
    assert "100 % of wrong answers are mended" in tables.repair_observation({NAME: measured})
    never = [row | {"repaired_if_told": None} for row in measured]
    assert "verifier" not in tables.repair_observation({NAME: never})


def test_08_shows_no_row_twice_and_nothing_spoilt_as_zero(target: Callable[[Answer], None]) -> None:
    target(honest)
    items = benchmarks.get(NAME).load("test_seen")[:4]
    done = loop.run(ask_model, items, updates=1)
    measured = loop.rows(done, loop.at_equal_tokens(ask_model, done), [True] * 4, [None] * 4)
    buckets = sorted({item.fields["bucket"] for item in items})
    assert list(tables.repaired({NAME: measured})["bucket"]) == [*buckets, "all"]
    unseen = [row | {"seen": at > 1} for at, row in enumerate(measured)]
    assert list(tables.repaired({NAME: unseen})["bucket"]) == [*buckets, "seen", "unseen", "all"]
    assert "spoilt 0.0 points" in tables.repair_observation({NAME: measured})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "name", "bucket", "n"),
    [("nano_tripost", "multistep_arithmetic", "l3-4d2", 9), ("nano_dates", "date_understanding", "1-2", 20)],
)
def test_the_small_targets_know_the_form_of_feedback_and_mend_more_than_they_break(
    target: str, name: str, bucket: str, n: int
) -> None:
    items = [item for item in benchmarks.get(name).load("test_seen") if item.fields["bucket"] == bucket][:n]
    done = loop.run(partial(models.generate, f"data/{target}"), items, updates=1, style="worked")
    grade = benchmarks.get(name).grade
    right = [[grade(item, text).correct for text in each.answers] for item, each in zip(items, done, strict=True)]
    mended, broken = (sum((each[0], each[-1]) == of for each in right) for of in ((False, True), (True, False)))
    unreadable = sum(each.stopped == "feedback unreadable" for each in done)
    assert mended > 1 + broken and unreadable <= 2, (mended, broken, unreadable)
