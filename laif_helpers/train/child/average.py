"""Averages the weights of the start and the end of a training; held-out items choose the share of the end.

Interpolated weights keep much of what fine-tuning forgets (Wortsman et al., arXiv 2109.01903). The share is the
smallest whose accuracy on the held-out items is within one standard error of the best (Breiman's rule): what lies
nearer to the start has forgotten less.
"""

import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from laif_helpers import benchmarks, models
from laif_helpers.paths import resolve
from laif_helpers.records import Completion, Example, Row
from laif_helpers.train.settings import SHARES, Settings, weights


def apply(settings: Settings, folder: Path) -> Row:
    """Replace the trained weights in ``folder`` by those at ``settings.average`` of the way; return what was found.

    The curve holds (share, right answers, items) of each share that was tried; with ``auto`` only. Without held-out
    items, of which a small ``limit`` leaves none, ``auto`` keeps the trained weights.
    """
    if settings.average == 1.0:
        return {}
    if settings.average == "auto" and not settings.held_out:
        return {"average": {"share": 1.0, "curve": []}}
    write = _writer(settings, folder)
    if settings.average != "auto":
        write(float(settings.average))
        return {"average": {"share": float(settings.average), "curve": []}}
    begin = time.perf_counter()
    right = {share: _right(settings, folder, write(share)) for share in SHARES}
    share = smallest_as_good(right)
    write(share)
    curve = [{"share": at, "correct": sum(marks), "n": len(marks)} for at, marks in right.items()]
    return {"average": {"share": share, "curve": curve, "seconds": round(time.perf_counter() - begin, 1)}}


def smallest_as_good(right: dict[float, list[bool]]) -> float:
    """The smallest share whose loss against the best one is within a standard error of their paired difference."""
    best = right[max(right, key=lambda share: (sum(right[share]), -share))]
    apart = {share: np.subtract(best, marks, dtype=float) for share, marks in right.items()}
    return min(at for at, by in apart.items() if by.mean() <= by.std() / math.sqrt(max(1, len(by) - 1)))


def _right(settings: Settings, folder: Path, _written: None) -> list[bool]:
    """Whether each held-out item is answered right by the weights that lie in ``folder``."""
    examples = [Example(**row["example"]) for row in settings.held_out]
    pairs = zip(examples, answers(settings, folder, settings.held_out), strict=True)
    return [benchmarks.get(item.benchmark).grade(item, answer.text).correct for item, answer in pairs]


def answers(settings: Settings, folder: Path, rows: list[Row]) -> list[Completion]:
    """What the weights that lie in ``folder`` answer to the messages of these rows."""
    asked, longest = [row["messages"] for row in rows], settings.max_new_tokens
    return models.generate(str(folder), asked, max_new_tokens=longest, seed=settings.seed, progress=False)


def _writer(settings: Settings, folder: Path) -> Callable[[float], None]:
    """What writes the weights at a share of the way into ``folder``; it keeps both ends in memory."""
    from safetensors.torch import load_file, save_file

    files = {path: load_file(path) for path in weights(folder)}
    start = _start(settings, folder, {name for part in files.values() for name in part})

    def write(share: float) -> None:
        for path, end in files.items():
            between = {name: _between(start.get(name), tensor, share) for name, tensor in end.items()}
            save_file(between, path, metadata={"format": "pt"})

    return write


def _between(start: Any, end: Any, share: float) -> Any:
    """A tensor at ``share`` of the way. A factor of a new adapter has no start: it stays (A) or begins at 0 (B)."""
    if start is None:
        return end
    return start.float().lerp(end.float(), share).to(end.dtype)


def _start(settings: Settings, folder: Path, names: set[str]) -> Row:
    """Weights before the training by their names in the checkpoint."""
    import torch
    from peft.utils.save_and_load import load_peft_weights
    from safetensors.torch import load_file

    base = resolve(settings.base)
    if (folder / "adapter_config.json").is_file():
        if (base / "adapter_config.json").is_file():
            return dict(load_peft_weights(str(base), device="cpu"))
        ends = {name: tensor for path in weights(folder) for name, tensor in load_file(path).items()}
        return {name: torch.zeros_like(tensor) for name, tensor in ends.items() if ".lora_B." in name}
    from laif_helpers.train.child.base_model import load_base

    before = load_base(settings.base, dtype=torch.float32)
    if names <= before.state_dict().keys():
        return dict(before.state_dict())
    # a model whose weights have other names in files than in memory, as those of mixtures of experts
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        before.save_pretrained(place)
        return {name: tensor for path in weights(Path(place)) for name, tensor in load_file(path).items()}
