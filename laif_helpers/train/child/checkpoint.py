"""Turns trained weights into a whole checkpoint: saves, probes and seals it, and only then gives it its name."""

import shutil
import traceback
from pathlib import Path
from typing import Any

from laif_helpers.models import card as model_card
from laif_helpers.paths import SENTINEL, IterationDir
from laif_helpers.records import file_hash, write_json, write_jsonl
from laif_helpers.train.child import average, drift
from laif_helpers.train.child.base_model import merge
from laif_helpers.train.settings import Row, Settings, weights


def save(trainer: Any, tokenizer: Any, settings: Settings) -> None:
    """Weights, tokenizer and template in plain Hugging Face form, for every ZeRO stage (all ranks gather)."""
    import torch

    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if not trainer.is_world_process_zero():
        return
    if bad := [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]:
        raise ValueError(f"weights {bad[0]} are no numbers after training, nothing was saved; lower learning_rate")
    model = trainer.accelerator.unwrap_model(trainer.model)
    # DeepSpeed hands out tied weights twice, as copies; the model knows which of them is the other's name.
    tied = getattr(model, "all_tied_weights_keys", {})
    model.save_pretrained(settings.unfinished, state_dict={k: v for k, v in state.items() if k not in tied})
    tokenizer.save_pretrained(settings.unfinished)


def finish(settings: Settings, metrics: Row) -> None:
    """Probe the saved checkpoint, write card, metrics and sentinel, then give the folder its name.

    The states to go on from are thrown away last: until then a kill costs nothing.
    """
    folder = IterationDir(Path(settings.folder))
    metrics |= average.apply(settings, settings.unfinished)
    if settings.merge_lora:
        _merge_in_place(settings.unfinished)
    model_card.write(settings.unfinished, settings.card, settings.deciding, metrics)
    try:
        probe(settings, folder.probe)
        metrics["drift"] = drift.measure(settings)
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
    """What the new checkpoint answers to the handful of items that ``probe_items`` drew."""
    rows = settings.handful
    if rows:
        from laif_helpers import models

        answers = models.generate(
            str(settings.unfinished), [row["messages"] for row in rows],
            max_new_tokens=settings.max_new_tokens, seed=settings.seed, progress=False,
        )  # fmt: skip
        rows = [
            {
                **{"id": row["id"], "benchmark": row["benchmark"], "split": row["split"]},
                **{"question": row["messages"][-1]["content"], "gold": row["gold"]},
                **{"before": row["before"], "before_correct": row["before_correct"], "after": answer.text},
            }
            for row, answer in zip(rows, answers, strict=True)
        ]
    write_jsonl(path, rows)
