"""Measures how far a training has moved the model from the untouched target, without any benchmark.

``nats``: mean loss per token of a small neutral text (``data/neutral.txt``), of the target and of the checkpoint.
``kl``: mean KL(target || checkpoint) per token, in nats over the whole vocabulary, on the target's own right answers to
held-out items; None if there are none.
"""

from laif_helpers.models import local
from laif_helpers.paths import ROOT
from laif_helpers.train.settings import Row, Settings

TEXT = ROOT / "data" / "neutral.txt"
WINDOW = 256  # tokens read at once; each window begins anew


def measure(settings: Settings) -> Row:
    """``{nats_before, nats_after, kl, answers}`` of the checkpoint that was just saved."""
    before = _seen_by(settings.untouched, settings.anchors)
    after = _seen_by(str(settings.unfinished), settings.anchors)
    found = {"nats_before": round(before["nats"], 4), "nats_after": round(after["nats"], 4)}
    pairs = list(zip(before["answers"], after["answers"], strict=True))
    away = [(b.exp() * (b - a)).sum(-1) for b, a in pairs]
    tokens = sum(len(row) for row in away)
    kl = round(float(sum(row.sum() for row in away)) / tokens, 4) if tokens else None
    return found | {"kl": kl, "answers": len(pairs)}


def _seen_by(model: str, anchors: list[Row]) -> Row:
    """Mean loss on the neutral text, and log-probabilities (tokens x vocabulary) along each anchored answer."""
    import torch

    loaded = local.load(model)
    ids = loaded.tokenizer(TEXT.read_text(encoding="utf-8"), add_special_tokens=False)["input_ids"]
    size = min(WINDOW, loaded.context)
    losses = []
    for begin in range(0, len(ids) - 1, size):
        window = torch.tensor(ids[begin : begin + size])
        scores = local.log_probabilities(loaded.model, window)[:-1]
        losses.append(-scores.gather(1, window[1:, None])[:, 0])
    answers = []
    for row in anchors:
        prompt = local.prompt_ids(loaded, [row["messages"]])[0]
        answer = loaded.tokenizer(row["text"], add_special_tokens=False)["input_ids"]
        whole = torch.tensor((prompt + answer)[: loaded.context])
        answers.append(local.log_probabilities(loaded.model, whole)[len(prompt) - 1 : -1])
    return {"nats": float(torch.cat(losses).mean()), "answers": answers}
