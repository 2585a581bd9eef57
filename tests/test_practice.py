"""The practice world, its twin and the nano target."""

import json
import random
from pathlib import Path

import pytest

from laif_helpers import benchmarks
from laif_helpers.benchmarks import practice
from laif_helpers.benchmarks.practice import reading as practice_reading
from laif_helpers.benchmarks.practice import world as practice_world
from laif_helpers.benchmarks.practice.concepts import CONCEPTS
from laif_helpers.paths import NANO
from laif_helpers.records import Example

BENCH = benchmarks.get("practice")

SPLITS = list(practice.SIZES)


def items(name: str, split: str) -> list[Example]:
    return benchmarks.get(name).load(split)


def everything() -> list[Example]:
    return [example for name, split in SPLITS for example in items(name, split)]


# -- the world -------------------------------------------------------------------------------------------------


def test_world_has_enough_concepts_families_and_phrasings() -> None:
    assert len(CONCEPTS) >= 24
    assert len({concept.operation for concept in CONCEPTS.values()}) >= 5
    assert min(len(set(concept.phrasings)) for concept in CONCEPTS.values()) >= 3
    assert all(not set(concept.plus) & set(concept.phrasings) and concept.plus for concept in CONCEPTS.values())


def test_no_sentence_has_two_readings() -> None:
    rng = random.Random(0)
    problems = [practice_world.compose(rng, [name], twist) for name in CONCEPTS for twist in ("", "paraphrase") * 9]
    sentences = {sentence for problem in problems for sentence in practice_reading._SENTENCE.split(problem.question)}
    for sentence in sentences:
        fitting = [pattern for pattern in practice_reading.PATTERNS if pattern.reads.fullmatch(sentence)]
        assert len(fitting) == 1, (sentence, [pattern.label for pattern in fitting])


def test_gaps_lie_in_several_families_beside_a_practised_concept_of_the_same_wording() -> None:
    assert len(practice.GAPS) >= 6
    families = {CONCEPTS[gap].operation for gap in practice.GAPS}
    assert len(families) >= 4
    assert families <= {CONCEPTS[name].operation for name in practice.PRACTISED}


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_sizes_and_gap_share(name: str, split: str) -> None:
    examples = items(name, split)
    assert len(examples) >= {"train": 2000, "test": 1000}[split]
    assert 0.20 <= sum(e.fields["gap"] for e in examples) / len(examples) <= 0.30
    assert {e.fields["concept"] for e in examples} == set(CONCEPTS)
    assert {e.fields["steps"] for e in examples} == {1, 2}


def test_no_question_occurs_twice_in_all_splits() -> None:
    examples = everything()
    assert len({" ".join(e.question.lower().split()) for e in examples}) == len(examples)
    assert len({e.id for e in examples}) == len(examples)


def test_loading_again_gives_the_same_items(monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything()
    practice._world.cache_clear()
    assert everything() == before
    assert [e.id for e in items("practice", "train")[:2]] == ["practice-d84a11401a48", "practice-e3dc0ec4fd82"]


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_every_item_carries_its_attributes(name: str, split: str) -> None:
    wanted = set(benchmarks.get(name).facets) | {"concepts"}
    for example in items(name, split):
        fields = example.fields
        assert set(fields) == wanted
        assert len(fields["concepts"]) == fields["steps"] and fields["concept"] in fields["concepts"]
        assert fields["gap"] == bool(practice.GAPS & set(fields["concepts"]))
        assert fields["gap"] == (fields["concept"] in practice.GAPS)
        assert fields["operation"] == CONCEPTS[fields["concept"]].operation
        assert fields["magnitude"] in ("ones", "tens", "hundreds")


def test_plus_has_every_twist_alike_and_its_own_wording() -> None:
    plus = items("practice_plus", "test")
    counts = {twist: sum(e.fields["twist"] == twist for e in plus) for twist in practice_world.TWISTS}
    assert len(set(counts.values())) == 1
    for example in plus:
        fields = example.fields
        assert ("/plus" in fields["phrasing"]) == (fields["twist"] == "paraphrase")
        assert ("What is x?" in example.question) == (fields["twist"] == "reversed")
        largest = max(practice_reading.recognise(example.question).numbers)
        assert (largest > practice_world.LARGEST) == (fields["twist"] == "larger")
    assert not any("/plus" in e.fields["phrasing"] for split in ("train", "test") for e in items("practice", split))


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_the_inverse_grammar_gives_the_gold_answer(name: str, split: str) -> None:
    for example in items(name, split):
        problem = practice_reading.recognise(example.question)
        assert str(problem.answer) == example.gold
        assert problem.rationale == example.rationale
        assert list(problem.concepts) == example.fields["concepts"]
        assert problem.twist == example.fields.get("twist", "")


def test_gold_rationales_recompute() -> None:
    signs = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}
    for example in everything():
        lines = [line.partition(" = ") for line in example.rationale.splitlines()]
        for left, _, right in lines:
            a, sign, b = left.split()[-3:]
            value = int(right.split()[0].rstrip("."))
            assert signs[sign](int(a), int(b)) == value and (sign != "/" or int(a) % int(b) == 0)
        assert str(value) == example.gold


# -- the benchmark's interface ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_grader_triad(name: str, split: str) -> None:
    benchmark = benchmarks.get(name)
    for example in items(name, split):
        response = benchmark.gold_response(example)
        assert response is not None
        assert benchmark.grade(example, example.gold).correct
        assert benchmark.grade(example, response).correct
        wrong = benchmark.grade(example, "#### 99991")
        assert not wrong.correct and wrong.readable


def test_grader_counts_what_it_cannot_read() -> None:
    grade = BENCH.grade(items("practice", "test")[0], "I am not sure.")
    assert not grade.readable and not grade.correct and grade.extracted is None


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_rows_round_trip_and_labels_are_found_again(name: str, split: str) -> None:
    benchmark = benchmarks.get(name)
    for example in items(name, split)[:300]:
        about = {"id": example.id, "split": split, "question": example.question, **example.fields}
        row = json.loads(json.dumps(about | {"answer": benchmark.gold_response(example)}))
        assert benchmark.from_row(row) == example
        bare = benchmark.from_row({"question": row["question"], "answer": row["answer"], "split": split})
        assert bare == example


def test_messages_are_those_of_the_question_text() -> None:
    for name, split in SPLITS:
        benchmark = benchmarks.get(name)
        example = items(name, split)[0]
        assert benchmark.messages(example) == benchmark.messages_for(benchmark.question_text(example))
        assert benchmark.chance(example) == 0.0
        assert len(benchmark.load(split, limit=7)) == 7


def test_bad_input_is_refused_with_a_sentence() -> None:
    benchmark = benchmarks.get("practice_plus")
    with pytest.raises(ValueError, match=r"'practice_plus' has no split 'train'.*test"):
        benchmark.load("train")
    with pytest.raises(ValueError, match="'question'"):
        benchmark.from_row({"answer": "#### 3"})
    with pytest.raises(ValueError, match="'answer' must end in"):
        benchmark.from_row({"question": "What?", "answer": "three"})
    rng = random.Random(0)
    with pytest.raises(ValueError, match="unknown concept 'duzen'"):
        practice_world.compose(rng, ["duzen"])
    with pytest.raises(ValueError, match="unknown twist 'bent'"):
        practice_world.compose(rng, ["dozen"], "bent")
    with pytest.raises(ValueError, match="one opening at most"):
        practice_world.compose(rng, ["half", "dozen"])


@pytest.mark.parametrize(
    "question",
    [
        "",
        "How many eggs does Mia have now?",
        "Mia has 3 eggs. How many eggs does Mia have now?",
        "Mia has 3 dozen eggs. Ana has 4 dozen eggs. How many eggs does Ana have now?",
        "Mia has 3 barrels of eggs. How many eggs does Mia have now?",
        "Mia has 5 eggs. She keeps half of the eggs. How many eggs does Mia have now?",
        "Mia has x dozen eggs. How many eggs does Mia have now?",
        "Mia has x dozen eggs. How many eggs does Mia have now? The answer is 25. What is x?",
        "Mia has 2 dozen eggs. How many eggs does Mia have now? The answer is 24. What is x?",
        "Mia has 3 boxes of x eggs each. How many eggs does Mia have now? The answer is 24. What is x?",
    ],
)
def test_reading_refuses_what_is_no_whole_problem(question: str) -> None:
    with pytest.raises(ValueError, match=r"practice|remainder|cannot be reached"):
        practice_reading.recognise(question)


def test_reading_mangled_questions_raises_nothing_but_value_error() -> None:
    rng = random.Random(0)
    for example in items("practice_plus", "test")[:600]:
        words = example.question.split()
        for _ in range(5):
            mangled = list(words)
            mangled[rng.randrange(len(words))] = rng.choice(["x", "0", "9" * 30, "dollars", "Mia.", "egg", "", *words])
            try:
                practice_reading.recognise(" ".join(mangled))
            except ValueError as error:
                assert "invalid literal" not in str(error)


def test_any_composed_problem_is_read_back_as_it_was() -> None:
    rng = random.Random(5)
    for name in CONCEPTS:
        for twist in ("", *practice_world.TWISTS):
            for steps in (1, 2):
                concepts = practice_world.draw_concepts(rng, name, steps, list(CONCEPTS))
                problem = practice_world.compose(rng, concepts, twist)
                assert practice_reading.recognise(problem.question) == problem


# -- the nano target -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(NANO)


UTF8 = [
    "",
    " ",
    "plain",
    " two  spaces ",
    "naïve café",
    "e\u0301 combining",
    "数学の問題",
    "👩‍👩‍👧‍👦 🏳️‍🌈",
    "a\nb\r\n\tc\n",
    "\x01\x1b[0m\x7f",
]
UTF8 += ["1234567890", "مرحبا", "\u200b\ufeff", "𝔘𝔫𝔦", "#### 24", "it 's ' , . ! isn't"]


@pytest.mark.parametrize("text", UTF8)
def test_nano_tokenizer_round_trips_any_text(tokenizer, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    chat = tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True)["input_ids"]
    assert tokenizer.decode(chat) == f"<|user|>{text}<|assistant|>"


def test_nano_tokenizer_round_trips_random_text(tokenizer) -> None:
    rng = random.Random(0)
    for _ in range(200):
        points = [rng.choice((rng.randrange(1, 0x300), rng.randrange(0xE000, 0x11_0000))) for _ in range(40)]
        text = "".join(map(chr, points))
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_nano_chat_template_gives_prefixes_and_masks_the_answer(tokenizer) -> None:
    example = items("practice", "test")[0]
    messages = BENCH.messages(example)
    whole = [*messages, {"role": "assistant", "content": BENCH.gold_response(example)}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    text = tokenizer.apply_chat_template(whole, tokenize=False)
    assert text == f"{prompt}{BENCH.gold_response(example)}{tokenizer.eos_token}"
    masked = tokenizer.apply_chat_template(whole, return_dict=True, return_assistant_tokens_mask=True)
    kept = [i for i, mark in zip(masked["input_ids"], masked["assistant_masks"], strict=True) if mark]
    assert tokenizer.decode(kept) == f"{BENCH.gold_response(example)}{tokenizer.eos_token}"
    system = tokenizer.apply_chat_template([{"role": "system", "content": "Be brief."}, *messages], tokenize=False)
    assert system == f"<|system|>Be brief.<|user|>{example.question}"


def test_nano_is_small() -> None:
    assert sum(path.stat().st_size for path in Path(NANO).iterdir()) <= 5_000_000


def test_nano_reaches_the_goals_of_its_card() -> None:
    scores = json.loads((NANO / "scores.json").read_text())["scores"]
    assert 0.60 <= scores["practice: all"]["accuracy"] <= 0.80
    assert scores["practice: practised"]["accuracy"] >= 0.95
    assert scores["practice: gaps"]["accuracy"] <= 0.30


@pytest.mark.slow
def test_nano_loads_plainly_and_scores_as_its_card_says(tokenizer) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(NANO)
    examples = items("practice", "test")[:200]
    prompts = [BENCH.messages(e) for e in examples]
    inputs = tokenizer.apply_chat_template(
        prompts, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        out = model.generate(**inputs, max_new_tokens=64, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    texts = tokenizer.batch_decode(out, skip_special_tokens=True)
    right = {True: [], False: []}
    for example, text in zip(examples, texts, strict=True):
        right[example.fields["gap"]].append(BENCH.grade(example, text).correct)
    scores = json.loads((NANO / "scores.json").read_text())["scores"]
    for gap, key, tolerance in ((False, "practice: practised", 0.05), (True, "practice: gaps", 0.15)):
        accuracy = sum(right[gap]) / len(right[gap])
        assert accuracy == pytest.approx(scores[key]["accuracy"], abs=tolerance)
