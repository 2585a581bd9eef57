"""Every family of causal models gives exactly ``generate``'s texts in batches; what no table names is served too."""

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from laif_helpers.models import decoding, local, older
from laif_helpers.models.decoding import captured, families
from laif_helpers.train import memory
from tests.families import FAMILIES, STOPS, decoded, make, prompt_ids, wanted
from tests.test_models import make_tokenizer

_SAMPLE = """
llama qwen3 gemma3_text gpt2 bloom mixtral deepseek_v3 gpt_oss llama4_text lfm2 qwen3_next jamba mamba2 rwkv
"""
SAMPLE = _SAMPLE.split()
"""In each run of the tests: plain and normed heads, sliding windows, learned positions, ALiBi, experts, latent heads,
sinks, chunks, convolutions, linear attention, Mamba beside attention, states alone. The other families are alike."""


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    import transformers

    transformers.logging.set_verbosity_error()
    make_tokenizer(folder := tmp_path_factory.mktemp("tokenizer"))
    return prompt_ids(transformers.AutoTokenizer.from_pretrained(folder))


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name in SAMPLE else pytest.mark.thorough) for name in FAMILIES]
)
def test_a_family_answers_as_generate_does(family: str, prompts: list[list[int]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(3, 9):  # some weights repeat a few tokens for ever, and no stop is among them
            model = make(family, seed)
            expected = wanted(model, prompts, STOPS)
            if len({len(ids) for ids in expected}) > 1:
                break
        served = decoding.own_loop(model)
        assert decoded(model, prompts, STOPS) == expected
    assert served == (family in families.OWN_LOOP), "the table says who is served by the loop"
    if served:
        assert len({len(ids) for ids in expected}) > 1, "the rows must end at different times, or nothing is proven"


@pytest.mark.slow
@pytest.mark.parametrize("family", ["phi3", "phimoe", "llama"])
def test_a_long_row_leaves_the_angles_of_those_beside_it(
    family: str, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the longest row of a batch chooses them (Phi 3.5 and 4 mini), short prompts had other answers beside it."""
    scaled = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [4.0] * 8, "rope_theta": 10000.0}
    scaled |= {"original_max_position_embeddings": 40, "short_mscale": 1.0, "long_mscale": 1.1}
    own = {"original_max_position_embeddings": 40} if family == "phi3" else {}
    monkeypatch.setitem(FAMILIES, family, FAMILIES[family] | {"rope_parameters": scaled} | own)
    model = make(family)
    assert min(map(len, prompts)) + 10 <= families.same_angles_until(model) < max(map(len, prompts))
    assert decoded(model, prompts, STOPS) == wanted(model, prompts, STOPS)


def test_at_least_45_families_are_tried_and_every_name_of_the_tables_is() -> None:
    assert len(FAMILIES) >= 45 and set(SAMPLE) <= set(FAMILIES)
    assert set(FAMILIES) >= families.OWN_LOOP | families.PADDED
    assert not families.OWN_LOOP & families.PADDED


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(captured.CAPTURED))
def test_a_step_that_a_graph_may_repeat_gives_the_same_texts(
    family: str, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor computes the same step: whole buffers behind a mask, everything in place. A GPU: ``make gpu``."""
    taken: list[int] = []
    original = captured.Step.advance

    def advance(self: captured.Step, steps: int) -> None:
        taken.append(steps)
        original(self, steps)

    monkeypatch.setattr(captured, "serves", lambda model, growable: growable)
    monkeypatch.setattr(captured.Step, "advance", advance)
    model = make(family)
    assert decoded(model, prompts, STOPS) == wanted(model, prompts, STOPS)
    assert taken


@pytest.mark.model
def test_an_unknown_family_shares_batches_of_one_length_only(
    prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make("llama")
    expected = wanted(model, prompts, STOPS)
    monkeypatch.setattr(families, "OWN_LOOP", frozenset())
    seen: list[set[int]] = []
    original = type(model).generate

    def generate(self: Any, ids: Any, attention_mask: Any, **options: Any) -> Any:
        seen.append(set(attention_mask.sum(-1).tolist()))
        return original(self, ids, attention_mask=attention_mask, **options)

    monkeypatch.setattr(type(model), "generate", generate)
    assert decoded(model, prompts, STOPS) == expected
    assert all(len(lengths) == 1 for lengths in seen) and len(seen) < len(prompts)
    seen.clear()
    monkeypatch.setattr(families, "PADDED", frozenset({"llama"}))
    assert decoded(model, prompts, STOPS) == expected
    assert len(seen) == 2, "ten prompts in batches of six"


@pytest.mark.model
def test_plain_generate_draws_the_same_samples_as_the_loop(
    prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make("llama")
    asked = [
        decoding.Prompt(at, ids, 12, seed)
        for at, (ids, seed) in enumerate(zip(prompts, decoding.seeds(prompts, 7, [0] * len(prompts)), strict=True))
    ]

    def drawn(size: int) -> dict[int, list[int]]:
        found = decoding.decode(model, asked, STOPS, batch_size=size, temperature=1.0)
        return {answer.index: answer.ids for batch in found for answer in batch}

    ours = drawn(4)
    monkeypatch.setattr(families, "OWN_LOOP", frozenset())
    assert drawn(2) == drawn(10) == ours


@pytest.mark.model
def test_plain_generate_halves_its_batch_when_memory_runs_out(
    prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch

    from laif_helpers.models.decoding import generated

    model = make("falcon")
    expected = wanted(model, prompts, STOPS)
    original, sizes = generated.decode, []

    def decode(model: Any, rows: Any, *rest: Any) -> Any:
        sizes.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return original(model, rows, *rest)

    monkeypatch.setattr(generated, "decode", decode)
    assert decoded(model, prompts, STOPS) == expected
    assert sizes[:3] == [6, 3, 1]


@pytest.mark.model
@pytest.mark.parametrize("family", ["gemma4_text", "lfm3", "gemma3n_text"])
def test_layers_that_differ_are_read_with_older_names_too_and_counted(family: str, tmp_path: Path) -> None:
    """Older names took the angles of one kind of layer for all (LFM 3), or left the config unread (Gemma 4)."""
    from transformers import AutoConfig

    model = make(family)
    model.config.save_pretrained(tmp_path)
    wanted = AutoConfig.from_pretrained(tmp_path).rope_parameters
    older.write(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).rope_parameters == wanted
    assert local.rows_that_fit(model, 64) >= 1
    assert memory.shape(str(tmp_path)).intermediate == 96


@pytest.mark.parametrize(("positions", "context"), [(-1, 1 << 30), (128, 128)])
def test_a_context_without_an_end(positions: int, context: int) -> None:
    """XLNet's config says -1."""
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(max_position_embeddings=positions))
    assert decoding.context_length(SimpleNamespace(config=config)) == context
