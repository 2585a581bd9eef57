"""Turns conversations into training samples: token ids and labels."""

import itertools
from typing import Any

from laif_helpers.graders import turns as thoughts
from laif_helpers.models import adapters, check, local, tokenizers
from laif_helpers.models.tokenizers import ids_of, written
from laif_helpers.records import Row, read_rows
from laif_helpers.train.child import rollouts
from laif_helpers.train.settings import Settings

THOUGHT, MARK = "</think>", "qzvx"


class NotKept(Exception):
    """A learned message is not the last one, and the conversation does not hold it behind its prompt."""


def load_tokenizer(base: str, template_values: Row | None = None) -> Any:
    """The base's tokenizer, with a padding token and with values of its own for its template.

    Raises ValueError if it cannot be loaded or has no template.
    """
    try:
        tokenizer = check.tokenizer_of(base)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot load a tokenizer from {base}: {str(error).splitlines()[0]}") from error
    if reason := check.template(base, tokenizer):
        raise ValueError(reason)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizers.take_text(tokenizer)
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
    stops = stop_ids(settings.base, tokenizer)
    samples = _weighted(*_encoded(_unended(rows, tokenizer, stops), tokenizer, stops), settings.kl_weight)
    lengths, longest = [len(sample["input_ids"]) for sample in samples], _longest(settings)
    kept = [sample for sample, length in zip(samples, lengths, strict=True) if length <= longest]
    if not kept:
        mend = "raise max_length" if longest == settings.max_length else "the model has no positions for more"
        raise ValueError(
            f"all {len(samples)} samples are longer than max_length {longest} tokens "
            f"(the shortest has {min(lengths)}); {mend}"
        )
    tokens = sum(len(sample["input_ids"]) for sample in kept)
    share = sum(label != -100 for sample in kept for label in sample["labels"]) / tokens
    if share in (0.0, 1.0):
        raise ValueError(
            f"{share:.0%} of the training tokens carry loss; the chat template of {settings.base} does not keep "
            "prompt and response apart, so mend the template"
        )
    left_out = len(samples) - len(kept)
    print(f"{left_out} of {len(samples)} samples are longer than {longest} tokens and are left out")
    shares = {"samples": len(kept), "left_out": left_out, "truncated_share": left_out / len(samples)}
    lengths = sorted(len(sample["input_ids"]) for sample in kept)
    return kept, shares | {
        **{"loss_token_share": round(share, 4), "sample_tokens": tokens},
        **{"longest": lengths[-1], "median_length": lengths[len(lengths) // 2]},
        "beginning": min((_common_prefix(kept[0]["input_ids"], each["input_ids"]) for each in kept[1:]), default=0),
    }


def _unended(rows: list[Row], tokenizer: Any, stops: set[int]) -> list[Row]:
    """The rows in whose learned text no token ends the answer: what stands behind it could never be said, and to stop
    in the middle would be learned. Raises ValueError if none is left."""
    ends = {token: tokenizer.convert_ids_to_tokens(token) for token in {*stops, local.turn_end(tokenizer)} - {None}}
    ends = {token: written for token, written in ends.items() if not thoughts.is_mark(str(written))}
    texts = [[row["messages"][at]["content"].strip() for at, _ in learned(row["messages"])] for row in rows]
    found = [ends.keys() & {*itertools.chain(*ids_of(tokenizer, said))} for said in texts]
    kept = [row for row, marks in zip(rows, found, strict=True) if not marks]
    if marks := sorted(str(ends[token]) for token in set().union(*found)):
        print(f"{len(rows) - len(kept)} of {len(rows)} samples hold {marks[0]}, which ends an answer, and are left out")
    if not kept:
        raise ValueError(f"all {len(rows)} samples hold {marks[0]}, which ends an answer; remove it from their texts")
    return kept


def _longest(settings: Settings) -> int:
    """Tokens of the longest sample that is learned; a position that the model does not know has no weights."""
    from transformers import AutoConfig

    from laif_helpers.models import decoding

    config = AutoConfig.from_pretrained(adapters.base_of(settings.base))
    return min(settings.max_length, decoding.context_of(config))


def _encoded(rows: list[Row], tokenizer: Any, stops: set[int]) -> tuple[list[Row], list[Row]]:
    """A sample for each row, or, if the template does not keep a conversation, for each learned message; the rows."""
    try:
        return encode(tokenizer, [row["messages"] for row in rows], stops), rows
    except NotKept:
        rows = [row | {"messages": turns} for row in rows for turns in alone(row["messages"])]
        return encode(tokenizer, [row["messages"] for row in rows], stops), rows


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


def encode(tokenizer: Any, conversations: list[list[Row]], stops: set[int]) -> list[Row]:
    """Each conversation as ``input_ids``, ``labels`` (-100 for tokens that carry no loss) and ``weights``, one a token.

    Learned are the last message and its end token, or, if messages have a ``weight``, those above 0 (``learned``).
    A response stands behind the very tokens that generation gets as its prompt, even if the template or a merged token
    writes the whole conversation otherwise. Raises ValueError if the template drops a learned message, NotKept if it
    writes one otherwise once the conversation goes on (thoughts of earlier messages are often left out).
    """
    plain = [[{"role": turn["role"], "content": turn["content"]} for turn in turns] for turns in conversations]
    wanted = [(row, at, weight) for row, turns in enumerate(conversations) for at, weight in learned(turns)]
    texts = written(tokenizer, plain)
    asked = written(tokenizer, [plain[row][:at] for row, at, _ in wanted], add_generation_prompt=True)
    samples: list[Row] = [
        {"input_ids": ids, "labels": [-100] * len(ids), "weights": [0.0] * len(ids)} for ids in ids_of(tokenizer, texts)
    ]
    ends = stops | {local.turn_end(tokenizer)}
    for (row, at, weight), text, prompt in zip(wanted, asked, ids_of(tokenizer, asked), strict=True):
        ids, said = samples[row]["input_ids"], plain[row][at]["content"].rpartition(THOUGHT)[2].strip()
        same = _common_prefix(prompt, ids)
        kept = same == len(prompt) and said in texts[row][len(text) :]
        if at + 1 == len(plain[row]):
            response = ids[same:] if kept else _response(tokenizer, plain[row], text, texts[row])
            if stops and not stops & set(response):  # a template without an end token would teach endless answers
                response = [*response, tokenizer.eos_token_id]
            samples[row] = _behind(prompt, response, samples[row], same, weight)
        elif kept:
            spoken = texts[row][: texts[row].index(said, len(text)) + len(said)]
            last = _common_prefix(ids_of(tokenizer, [spoken])[0], ids)
            end = next((place + 1 for place in (last, last + 1) if ids[place] in ends), last)
            samples[row]["labels"][same:end], samples[row]["weights"][same:end] = ids[same:end], [weight] * (end - same)
        else:
            raise NotKept(at)
    return samples


def _behind(prompt: list[int], response: list[int], sample: Row, same: int, weight: float) -> Row:
    """The sample that ends on ``prompt`` and the learned ``response``; its first ``same`` tokens stay as they are."""
    held = len(prompt) - same
    return {
        "input_ids": prompt + response,
        "labels": [*sample["labels"][:same], *[-100] * held, *response],
        "weights": [*sample["weights"][:same], *[0.0] * held, *[weight] * len(response)],
    }


def _response(tokenizer: Any, turns: list[Row], prompt: str, whole: str) -> list[int]:
    """Tokens of the last message and its end behind ``prompt``, with which ``whole`` does not begin, text or tokens.

    A template may open a thought in the prompt alone (it is closed here if the message holds none), or trim a question
    that is no longer the last message. Raises ValueError if it does not write the message at all.
    """
    said = turns[-1]["content"].strip()
    marked = written(tokenizer, [[*turns[:-1], turns[-1] | {"content": MARK}]])[0]
    if MARK not in marked:
        raise ValueError(
            "the chat template does not write what the assistant says, so nothing can be learned from it; put the "
            "right chat_template.jinja into the model's folder"
        )
    text = whole[len(prompt) :]
    if not whole.startswith(prompt) or said.rpartition(THOUGHT)[2].strip() not in text:
        opened = prompt.rstrip().endswith("<think>") and THOUGHT not in said
        text = (THOUGHT + "\n\n") * opened + said.removeprefix(prompt[prompt.rfind("<") :]) + marked.partition(MARK)[2]
    # SentencePiece sets a space before a text that stands alone
    first, both = ids_of(tokenizer, ["\n", "\n" + text])
    return both[len(first) :] if both[: len(first)] == first else ids_of(tokenizer, [text])[0]


def alone(turns: list[Row]) -> list[list[Row]]:
    """A conversation for each learned message, which ends on it and learns nothing else."""
    before = [{"role": turn["role"], "content": turn["content"]} for turn in turns]
    return [[*before[:at], turns[at]] for at, _ in learned(turns)]


def parts(sample: Row, tokenizer: Any) -> list[Row]:
    """The text of a sample in pieces, each with whether it is learned."""
    found = []
    for learned, span in itertools.groupby(range(len(sample["labels"])), key=lambda at: sample["labels"][at] != -100):
        found.append({"text": tokenizer.decode([sample["input_ids"][at] for at in span]), "learned": learned})
    return found


def learned(turns: list[Row]) -> list[tuple[int, float]]:
    """Which messages of a conversation are learned, and with what weight: the last one, or those with a weight."""
    if not any("weight" in turn for turn in turns):
        return [(len(turns) - 1, 1.0)]
    weights = [(at, float(turn.get("weight", 0.0))) for at, turn in enumerate(turns) if turn["role"] == "assistant"]
    return [(at, weight) for at, weight in weights if weight > 0]


def _common_prefix(left: list[int], right: list[int]) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(left), len(right)))
