"""Training samples: conversations to token ids and labels."""

from typing import Any

from laif_helpers.records import read_rows
from laif_helpers.train.settings import Row, Settings


def load_tokenizer(base: str) -> Any:
    """The base's tokenizer, with a padding token. Raises ValueError where it cannot be loaded or has no template."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot load a tokenizer from {base}: {str(error).splitlines()[0]}") from error
    if not tokenizer.chat_template:
        raise ValueError(
            f"base model {base} has no chat template, so a prompt cannot be written as it expects; take its chat "
            "or instruct variant, or put a chat_template.jinja into its folder"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def make_samples(settings: Settings, tokenizer: Any) -> tuple[list[Row], Row]:
    """Token ids and labels of the training set, and what share of it carries loss or had to stay out.

    A sample longer than ``max_length`` is left out and counted, never cut: a response without its end teaches
    the model not to stop.
    """
    rows = list(read_rows(settings.training_set))
    samples, mismatches = encode(tokenizer, [row["messages"] for row in rows], stop_ids(settings.base, tokenizer))
    if any(row.get("weight", 1.0) != 1.0 for row in rows):
        samples = [
            sample | {"weight": float(row.get("weight", 1.0))} for sample, row in zip(samples, rows, strict=True)
        ]
    lengths = [len(sample["input_ids"]) for sample in samples]
    kept = [sample for sample, length in zip(samples, lengths, strict=True) if length <= settings.max_length]
    if not kept:
        raise ValueError(
            f"all {len(samples)} samples are longer than max_length {settings.max_length} tokens "
            f"(the shortest has {min(lengths)}); raise max_length"
        )
    tokens = sum(len(sample["input_ids"]) for sample in kept)
    share = sum(label != -100 for sample in kept for label in sample["labels"]) / tokens
    if share in (0.0, 1.0):
        raise ValueError(
            f"{share:.0%} of the training tokens carry loss; the chat template of {settings.base} does not keep "
            "prompt and response apart, so mend the template"
        )
    left_out = len(samples) - len(kept)
    print(f"{left_out} of {len(samples)} samples are longer than {settings.max_length} tokens and are left out")
    shares = {"samples": len(kept), "left_out": left_out, "truncated_share": left_out / len(samples)}
    lengths = sorted(len(sample["input_ids"]) for sample in kept)
    return kept, shares | {
        **{"loss_token_share": round(share, 4), "prompt_mismatch": mismatches},
        **{"sample_tokens": tokens, "longest": lengths[-1], "median_length": lengths[len(lengths) // 2]},
    }


def stop_ids(base: str, tokenizer: Any) -> set[int]:
    """Tokens that end an answer: the tokenizer's end of sequence and those of the generation config."""
    from transformers import GenerationConfig

    try:
        ids = GenerationConfig.from_pretrained(base).eos_token_id
    except OSError:
        ids = None  # a base without generation_config.json; an adapter
    listed = ids if isinstance(ids, list) else [ids]
    return {token for token in (*listed, tokenizer.eos_token_id) if token is not None}


def encode(tokenizer: Any, conversations: list[list[dict[str, str]]], stops: set[int]) -> tuple[list[Row], int]:
    """Each conversation as ``input_ids`` and ``labels`` (-100 but for the last message and its end token).

    The response starts where the conversation parts from the prompt that generation would be given, so that
    training and evaluation share their context token by token; the second value counts conversations where
    the template or a merged token makes the two part earlier.
    """
    prompts = [
        tokenizer.apply_chat_template(turns[:-1], tokenize=False, add_generation_prompt=True) for turns in conversations
    ]
    texts = [tokenizer.apply_chat_template(turns, tokenize=False) for turns in conversations]
    prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    text_ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    samples, mismatches = [], 0
    for before, ids in zip(prompt_ids, text_ids, strict=True):
        start = _common_prefix(before, ids)
        mismatches += start < len(before)
        if not stops & set(ids[start:]) and stops:
            ids = [*ids, tokenizer.eos_token_id]  # a template without an end token would teach endless answers
        samples.append({"input_ids": ids, "labels": [-100] * start + ids[start:]})
    return samples, mismatches


def _common_prefix(left: list[int], right: list[int]) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(left), len(right)))
