"""Turns trained weights into a whole checkpoint: saves, probes and seals it, and only then gives it its name."""

import shutil
import traceback
from pathlib import Path
from typing import Any

from laif_helpers.models import card as model_card
from laif_helpers.models import local, older
from laif_helpers.paths import ROOT, SENTINEL
from laif_helpers.records import Row, file_hash, write_json, write_jsonl
from laif_helpers.train.child import average
from laif_helpers.train.child.base_model import merge
from laif_helpers.train.settings import DECIDING, Settings, weights

TEXT = ROOT / "data" / "neutral.txt"
WINDOW = 256  # tokens read at once; each window begins anew


def save(trainer: Any, tokenizer: Any, settings: Settings) -> None:
    """Weights, tokenizer and template in plain Hugging Face form, for every ZeRO stage (all ranks gather)."""
    import torch

    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if not trainer.is_world_process_zero():
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    limits = {name for name, _ in model.named_buffers()}  # Gemma 4's clip nothing at infinity
    if bad := [name for name, tensor in state.items() if name not in limits and not torch.isfinite(tensor).all()]:
        raise ValueError(f"weights {bad[0]} are no numbers after training, nothing was saved; lower learning_rate")
    # DeepSpeed hands out tied weights twice, as copies; the model knows which of them is the other's name.
    tied = getattr(model, "all_tied_weights_keys", {})
    model.save_pretrained(settings.unfinished, state_dict={k: v for k, v in state.items() if k not in tied})
    tokenizer.save_pretrained(settings.unfinished)
    older.write(settings.unfinished)


def finish(settings: Settings, metrics: Row) -> None:
    """Probe the saved checkpoint, write card, metrics and sentinel, then give the folder its name.

    The states to go on from are thrown away last: until then a kill costs nothing.
    """
    folder = settings.files
    metrics |= average.apply(settings, settings.unfinished)
    if settings.merge_lora:
        _merge_in_place(settings.unfinished)
    shown = {key: value for key, value in settings.deciding.items() if key in DECIDING}
    model_card.write(settings.unfinished, settings.card, shown, metrics)
    try:
        probe(settings, folder.probe)
        metrics["drift"] = drift(settings)
    except Exception as error:  # a handful of answers is not worth the weights
        traceback.print_exc()
        metrics["probe_failed"] = f"{type(error).__name__}: {error}"[:300]
    write_json(folder.train_metrics, metrics)
    (settings.unfinished / "training_args.bin").unlink(missing_ok=True)
    done = {"steps": metrics["steps"], "weights_sha256": file_hash(weights(settings.unfinished))}
    places = {"base": settings.base, "training_set_sha256": settings.training_set_sha256}
    write_json(settings.unfinished / SENTINEL, done | places | {"identity": settings.identity})
    shutil.rmtree(settings.checkpoint, ignore_errors=True)
    settings.unfinished.rename(settings.checkpoint)
    shutil.rmtree(settings.snapshots, ignore_errors=True)


def _merge_in_place(folder: Path) -> None:
    """Turn an adapter's folder into the merged model's; the adapter itself stays in ``adapter/``."""
    adapter = folder.with_name(folder.name + ".adapter")
    shutil.rmtree(adapter, ignore_errors=True)
    folder.rename(adapter)
    merge(adapter, folder)
    adapter.rename(folder / "adapter")


def probe(settings: Settings, path: Path) -> None:
    """What the new checkpoint answers to the handful of items that ``measured.shown`` drew."""
    answered = zip(settings.handful, average.answers(settings, settings.unfinished, settings.handful), strict=True)
    rows = [
        {key: value for key, value in row.items() if key != "messages"}
        | {"question": row["messages"][-1]["content"], "after": answer.text}
        for row, answer in answered
    ]
    write_jsonl(path, rows)


def drift(settings: Settings) -> Row:
    """How far the checkpoint that was just saved has moved from the untouched target, without any benchmark.

    ``nats_before``, ``nats_after``: mean loss per token of a small neutral text, of the target and of the checkpoint.
    ``kl``: mean KL(target || checkpoint) per token, in nats over the whole vocabulary, on ``answers`` of the target's
    own right answers to held-out items; None if there are none.
    """
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
