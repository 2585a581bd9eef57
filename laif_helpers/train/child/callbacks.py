"""Acts between optimiser steps: writes a row of the log, stops on a broken loss, saves a state to resume from."""

import json
import math
import time
from collections import deque
from typing import Any

from laif_helpers.records import Row
from laif_helpers.train import snapshots
from laif_helpers.train.settings import Settings

RECENT = 5  # logged losses; fewer are noise


def make_log(settings: Settings, resumed: snapshots.Snapshot | None = None) -> Any:
    """A callback that appends a row a logging step, and stops a training whose loss is no number or runs away.

    ``seconds`` is the training proper, over all attempts; ``waited`` what came before its first step (DeepSpeed's
    engine).
    """
    from transformers import TrainerCallback

    class Log(TrainerCallback):
        def __init__(self) -> None:
            self.begun, self.before, self.waited = time.perf_counter(), resumed.seconds if resumed else 0.0, 0.0
            self.recent: deque[float] = deque(maxlen=RECENT)

        @property
        def seconds(self) -> float:
            return self.before + time.perf_counter() - self.begun - self.waited

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.waited = time.perf_counter() - self.begun
            # A hundred points draw the curve; reading the loss each step makes a GPU wait.
            state.logging_steps = max(1, state.max_steps // 100)

        def on_log(self, args: Any, state: Any, control: Any, logs: Row | None = None, **_: Any) -> None:
            if not logs or "loss" not in logs:
                return
            first = next((row["loss"] for row in state.log_history if "loss" in row), logs["loss"])
            self.recent.append(logs["loss"])
            if broken := broken_loss(list(self.recent), first, logs.get("grad_norm")):
                raise ValueError(f"{broken} at step {state.global_step}; {_what_now(settings)}")
            if state.is_world_process_zero:
                row = {"step": state.global_step, "of": state.max_steps}
                row |= {key: logs.get(key) for key in ("loss", "learning_rate", "epoch")}
                row["seconds"] = round(self.seconds, 3)
                with settings.files.train_log.open("a", encoding="utf-8") as handle:
                    handle.write(json.dumps(row) + "\n")

    return Log()


def broken_loss(recent: list[float], first: float, grad_norm: float | None = None) -> str:
    """What is wrong with the last losses, as the beginning of a sentence; "" if nothing is.

    Running away: five logged losses whose mean is over twice the first loss and 2 nats more. A model that knows
    nothing stays below the logarithm of its vocabulary, twice which is out of reach for a training that works.
    """
    if not math.isfinite(recent[-1]):
        return f"the loss is {recent[-1]}"
    if grad_norm is not None and not math.isfinite(grad_norm):
        return f"the gradient's norm is {grad_norm}"
    mean = sum(recent) / len(recent)
    if len(recent) == RECENT and mean > 2 * first + 2:
        return f"the loss runs away ({mean:.2f} over the last {RECENT} logged steps, {first:.2f} at first)"
    return ""


def _what_now(settings: Settings) -> str:
    kept = snapshots.latest(settings)
    saved = f"the last good state (step {kept.step}) is kept in {kept.path}" if kept else "nothing was saved"
    return f"{saved}; lower learning_rate (given: {settings.learning_rate:g})"


def make_saver(settings: Settings, trainer: Any, log: Any) -> Any:
    """A callback that has the Trainer write its state every few steps, and seals it once all ranks have."""
    import torch
    from transformers import TrainerCallback

    class Saver(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.every = snapshots.every(settings.save_steps, state.max_steps, state.logging_steps)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % self.every == 0 and state.global_step < state.max_steps:
                control.should_log = control.should_save = True  # the log comes first, and refuses a broken loss

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if torch.distributed.is_initialized():
                torch.distributed.barrier()
            if state.is_world_process_zero:
                folder = settings.snapshots / f"checkpoint-{state.global_step}"
                snapshots.seal(folder, state.global_step, trainer._total_train_tokens, log.seconds)

    return Saver()
