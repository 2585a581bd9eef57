"""Turns conversations into training samples: token ids and labels."""

import itertools
from typing import Any

from laif_helpers.models import tokenizers
from laif_helpers.records import read_rows
from laif_helpers.train.child import rollouts
from laif_helpers.train.child.rollouts import rendered
from laif_helpers.train.settings import Row, Settings


def load_tokenizer(base: str, template_values: Row | None = None) -> Any:
    """The base's tokenizer, with a padding token and with values of its own for its template.

    Raises ValueError if it cannot be loaded or has no template.
    """
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
    return tokenizers.with_values(tokenizer, template_values or {})


def make_samples(settings: Settings, tokenizer: Any) -> tuple[list[Row], Row]:
    """Token ids and labels of the training set, and what share of it carries loss or had to stay out.

    A sample longer than ``max_length`` is left out and counted, never cut: a response without its end teaches
    the model not to stop. ``weights`` (one for each token) and ``anchored`` (whether ``kl_weight`` holds the model
    near its start on this sample) are there only if the training needs them.
    """
    rows = list(read_rows(settings.training_set))
    if settings.signal != "answers":
        return rollouts.make_samples(settings, tokenizer, rows)
    samples, mismatches = encode(tokenizer, [row["messages"] for row in rows], stop_ids(settings.base, tokenizer))
    samples = _weighted(samples, rows, settings.kl_weight)
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


def _weighted(samples: list[Row], rows: list[Row], kl_weight: float) -> list[Row]:
    """The samples with token weights times their row's weight, or without any if every weight is 1."""
    weights = [
        [float(row.get("weight", 1.0)) * weight for weight in sample["weights"]]
        for row, sample in zip(rows, samples, strict=True)
    ]
    if not kl_weight and {weight for row in weights for weight in row} <= {0.0, 1.0} and not _silent(samples, weights):
        return [{key: sample[key] for key in ("input_ids", "labels")} for sample in samples]
    anchored = [{"anchored": row.get("source") == "replay"} if kl_weight else {} for row in rows]
    return [sample | {"weights": row} | more for sample, row, more in zip(samples, weights, anchored, strict=True)]


def _silent(samples: list[Row], weights: list[list[float]]) -> bool:
    """Whether a token with a label weighs nothing."""
    pairs = [zip(sample["labels"], row, strict=True) for sample, row in zip(samples, weights, strict=True)]
    return any(label != -100 and not weight for pair in pairs for label, weight in pair)


def stop_ids(base: str, tokenizer: Any) -> set[int]:
    """Tokens that end an answer: the tokenizer's end of sequence and those of the generation config."""
    from transformers import GenerationConfig

    try:
        ids = GenerationConfig.from_pretrained(base).eos_token_id
    except OSError:
        ids = None  # a base without generation_config.json; an adapter
    listed = ids if isinstance(ids, list) else [ids]
    return {token for token in (*listed, tokenizer.eos_token_id) if token is not None}


def encode(tokenizer: Any, conversations: list[list[Row]], stops: set[int]) -> tuple[list[Row], int]:
    """Each conversation as ``input_ids``, ``labels`` (-100 for tokens that carry no loss) and ``weights``, one a token.

    Learned are the last message and its end token, or, if messages have a ``weight``, those above 0 (``learned``).
    A response starts where the conversation differs from the prompt that generation would get, so that training
    and evaluation share their context token by token; the second value counts conversations in which the template
    or a merged token makes the two part earlier. Raises ValueError if the template drops a message with a weight.
    """
    plain = [[{"role": turn["role"], "content": turn["content"]} for turn in turns] for turns in conversations]
    wanted = [(row, at, weight) for row, turns in enumerate(conversations) for at, weight in learned(turns)]
    inner = [(row, at) for row, at, _ in wanted if at + 1 < len(plain[row])]
    whole = rendered(tokenizer, plain)
    prompts = rendered(tokenizer, [plain[row][:at] for row, at, _ in wanted], add_generation_prompt=True)
    ends = dict(zip(inner, rendered(tokenizer, [plain[row][: at + 1] for row, at in inner]), strict=True))
    samples: list[Row] = [{"input_ids": ids, "labels": [-100] * len(ids), "weights": [0.0] * len(ids)} for ids in whole]
    mismatches = set[int]()
    for (row, at, weight), prompt in zip(wanted, prompts, strict=True):
        ids = samples[row]["input_ids"]
        start = _common_prefix(prompt, ids)
        if start < len(prompt):
            mismatches.add(row)
        if (row, at) not in ends:
            _learn(samples[row], start, len(ids), weight)
            if stops and not stops & set(ids[start:]):  # a template without an end token would teach endless answers
                samples[row] = {
                    key: [*values, {"weights": weight}.get(key, tokenizer.eos_token_id)]
                    for key, values in samples[row].items()
                }
        elif start == len(prompt) < (end := _common_prefix(ends[row, at], ids)):
            _learn(samples[row], start, end, weight)
        else:
            raise ValueError(
                f"the chat template does not keep message {at + 1} of a conversation that goes on after it"
            )
    return samples, len(mismatches)


def parts(sample: Row, tokenizer: Any) -> list[Row]:
    """The text of a sample in pieces, each with whether it is learned."""
    found = []
    for learned, span in itertools.groupby(range(len(sample["labels"])), key=lambda at: sample["labels"][at] != -100):
        found.append({"text": tokenizer.decode([sample["input_ids"][at] for at in span]), "learned": learned})
    return found


def _learn(sample: Row, start: int, end: int, weight: float) -> None:
    sample["labels"][start:end] = sample["input_ids"][start:end]
    sample["weights"][start:end] = [weight] * (end - start)


def learned(turns: list[Row]) -> list[tuple[int, float]]:
    """Which messages of a conversation are learned, and with what weight: the last one, or those with a weight."""
    if not any("weight" in turn for turn in turns):
        return [(len(turns) - 1, 1.0)]
    weights = [(at, float(turn.get("weight", 0.0))) for at, turn in enumerate(turns) if turn["role"] == "assistant"]
    return [(at, weight) for at, weight in weights if weight > 0]


def _common_prefix(left: list[int], right: list[int]) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(left), len(right)))
