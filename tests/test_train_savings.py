"""What training leaves out changes no gradient: the head over tokens without a loss, and what rows have in common."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from train_toys import train_here

from laif_helpers.recipe import StageParameters
from laif_helpers.records import sound_rows
from laif_helpers.train.child import savings
from tests.families import FAMILIES, make

DENSE = ("llama", "mistral", "gemma3_text", "qwen3", "bloom", "deepseek_v3")
OTHERS = ("gpt2", "mamba2", "lfm2", "qwen3_next", "zamba2")
EACH = [pytest.param(name, marks=[] if name in DENSE + OTHERS else pytest.mark.thorough) for name in FAMILIES]
SHARED = [*range(3, 23)]
ROWS = [[*SHARED, *range(40, 60)], [*SHARED, *range(70, 75)], [*SHARED, *range(90, 102)]]


def batch() -> dict[str, Any]:
    """Rows of 40, 25 and 32 tokens, padded to the right, the first twenty in common."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ROWS], batch_first=True)
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}


def gradients(model: Any) -> tuple[Any, dict[str, Any]]:
    """Hidden states of real tokens, and what a loss over them sends to every weight."""
    given = batch()
    model.zero_grad()
    states = model.base_model(**given, use_cache=False).last_hidden_state[given["attention_mask"] == 1]
    (states * torch.linspace(-1, 1, states.numel()).view(states.shape)).sum().backward()
    return states.detach(), {name: each.grad for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.slow
@pytest.mark.parametrize("family", EACH)
def test_a_shared_beginning_gives_the_same_gradients(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(family).train()
    model.base_model_prefix = model.base_model_prefix if model.base_model is not model else "model"  # as load_base does
    states, wanted = gradients(model)
    shares = savings.share_beginnings(model, [{"input_ids": ROWS[0]}])
    read: list[int] = []
    original = savings._shared
    monkeypatch.setattr(savings, "_shared", lambda *given: read.append(given[3]) or original(*given))
    again, found = gradients(model)
    assert read == [20] * shares
    assert shares == (family in DENSE) or family not in DENSE + OTHERS
    if not shares:  # dropout draws anew
        return
    assert torch.allclose(again, states, atol=1e-4) and found.keys() == wanted.keys()
    for name, each in found.items():
        assert torch.allclose(each, wanted[name], rtol=1e-3, atol=1e-5 + 1e-4 * float(wanted[name].abs().max())), name


def test_rows_that_share_little_or_ask_for_more_are_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("llama").train()
    assert savings.share_beginnings(model, [{"input_ids": ROWS[0]}])
    monkeypatch.setattr(savings, "_shared", lambda *given: pytest.fail("shared"))
    short = {key: value[:, 20 - savings.SHORTEST + 1 :] for key, value in batch().items()}
    model(**short)
    model(**{key: value[:1] for key, value in batch().items()})
    model(**batch(), position_ids=torch.arange(40)[None])
    model.eval()(**batch())


@pytest.mark.slow
def test_a_training_reads_the_beginning_once_and_scores_what_is_learned(
    parameters: Callable[..., StageParameters], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses are those of a training that saves nothing."""
    from trl.trainer import utils

    scored, read = [], []
    original, shared = utils._ChunkedLogProbFunction, savings._shared

    class Counting:
        @staticmethod
        def apply(hidden: Any, *given: Any) -> Any:
            scored.extend([len(hidden)] * torch.is_grad_enabled())
            return original.apply(hidden, *given)

    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", Counting)
    monkeypatch.setattr(savings, "_shared", lambda *given: read.append(given[3]) or shared(*given))
    p = parameters(n=32)
    saved, losses = train_here(p), sound_rows(p.folder.train_log, more=False)
    assert sum(scored) == round(saved["loss_token_share"] * saved["sample_tokens"])
    assert len(read) == 1 + saved["steps"] and min(read) >= savings.SHORTEST  # once to try it, and in each step

    scored.clear()
    read.clear()
    monkeypatch.setattr(savings, "share_beginnings", lambda *given: False)
    monkeypatch.setattr(savings, "score_learned_tokens_alone", lambda module: None)
    monkeypatch.setattr(utils, "_use_triton", lambda device: False)
    whole = train_here(p)
    assert not read and sum(scored) > 2 * whole["loss_token_share"] * whole["sample_tokens"]
    again = sound_rows(p.folder.train_log, more=False)
    assert [row["loss"] for row in again] == pytest.approx([row["loss"] for row in losses], abs=2e-6)
