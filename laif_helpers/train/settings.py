"""Collects the settings of a training, and checks them before anything heavy is loaded.

``Settings`` travels from the kernel to the child as ``train_config.json``; its ``identity`` says whether a
checkpoint that lies there is the one these settings would make.
"""

import importlib.util
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import Field

from laif_helpers import launch, models, target
from laif_helpers.arms import Signal
from laif_helpers.paths import ROOT, SENTINEL, IterationDir, resolve, runs_dir
from laif_helpers.recipe import GONE, Recipe, StageParameters, local_target
from laif_helpers.records import ROLLOUT, digest, file_hash, read_json, read_rows, read_state, sound_rows
from laif_helpers.sections import TrainingSection
from laif_helpers.train import measured

SCHEDULE, BETAS = "cosine", (0.9, 0.95)
"""As the papers train; no key of the recipe changes them."""
DECIDING = (
    *("learning_rate", "epochs", "batch_size", "gradient_accumulation", "num_processes", "deepspeed", "packing"),
    *("warmup_ratio", "warmup_steps", "weight_decay", "max_grad_norm", "dtype", "max_length", "lora_rank"),
    *("load_in_4bit", "replay_fraction", "replay_from", "kl_weight", "average", "match", "teacher", "seed"),
)
"""The recipe's keys that decide a training, as 05 and the model card list them."""
DEEPSPEED = ROOT / "papermill_runs" / "deepspeed"
Row = dict[str, Any]
TRACKERS = ("tensorboard", "wandb", "mlflow")
ON_HEAD = (
    "acts on the model's head, which TRL does not train; merge the two (laif_helpers.train.child.base_model.merge) and "
    "name the result as target"
)
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Of the way from the weights before to those after training: what ``average: auto`` tries."""


class Settings(TrainingSection):
    """All that the child needs, as kept in ``train_config.json``: the recipe's keys about training, and these.

    Lengths are tokens, batches per process. ``held_out``, ``anchors`` and ``handful`` are items (``measured``),
    ``untouched`` is the model before any training, ``card`` what the model card holds beside the settings. ``signal``:
    see ``arms.Arm``; with ``teacher`` or ``lesson`` the model answers while it trains.
    """

    folder: str
    base: str
    base_fingerprint: str = ""
    training_set: str = ""
    training_set_sha256: str = ""
    deepspeed_config: Row = Field({})
    max_length: int
    max_new_tokens: int
    dtype: str
    seed: int
    signal: Signal = "answers"
    teacher: str = ""
    teacher_fingerprint: str = ""
    template_values: Row = Field({})
    untouched: str = ""
    held_out: list[Row] = Field([])
    anchors: list[Row] = Field([])
    handful: list[Row] = Field([])
    card: Row = Field({})

    @classmethod
    def of(cls, recipe: Recipe, **more: Any) -> "Settings":
        """The settings of a recipe: its values for every key that has one, and ``more``."""
        taken = cls.model_fields.keys() & type(recipe).model_fields.keys()
        return cls(**{key: getattr(recipe, key) for key in taken} | more)

    @property
    def checkpoint(self) -> Path:
        return IterationDir(Path(self.folder)).checkpoint

    @property
    def unfinished(self) -> Path:
        """Where the checkpoint grows; it is renamed when whole."""
        return self.checkpoint.with_name("checkpoint.partial")

    @property
    def snapshots(self) -> Path:
        """Where the states of an unfinished training lie; gone once the checkpoint is whole."""
        return self.checkpoint.with_name("checkpoint.steps")

    @property
    def deciding(self) -> Row:
        """What decides the weights: no places, nothing that is only measured, shown or kept."""
        others = {"folder", "base", "training_set", "handful", "max_new_tokens", "card", "untouched", "anchors"}
        others |= {"save_steps", "report_to", "hostfile", "gradient_checkpointing", "teacher"}
        if self.signal == "answers":  # so that a checkpoint made before there were others is still known
            others |= {"signal", "teacher_fingerprint"}
        else:
            others.discard("max_new_tokens")
        if not self.template_values:
            others.add("template_values")
        # a checkpoint made while there were other orders is still known
        return {key: value for key, value in self.model_dump().items() if key not in others} | GONE

    @property
    def identity(self) -> str:
        """SHA-256 of all that decides the weights."""
        return digest(self.deciding)


def make_settings(p: StageParameters) -> Settings:
    """The settings of this training, checked as far as that goes without loading anything."""
    lessons = check_training_set(p.folder.training_set)
    check_base(p)
    check_hosts(p)
    check_penalty(p)
    check_tracker(p.report_to)
    taught = {"teacher": local_target(p.teacher), "teacher_fingerprint": models.fingerprint(local_target(p.teacher))}
    return Settings.of(
        p,
        **(taught if p.row.needs == "teacher" else {"teacher": ""}),
        folder=str(p.folder.path.resolve()),
        base=p.base_model,
        base_fingerprint=models.fingerprint(p.base_model),
        training_set=str(p.folder.training_set.resolve()),
        training_set_sha256=file_hash([p.folder.training_set]),
        deepspeed_config=deepspeed_config(p.deepspeed),
        signal=p.row.signal,
        template_values=p.request_options.target.template_values,
        untouched=local_target(p.target),
        held_out=measured.held_out(p) if p.average == "auto" else [],
        anchors=measured.anchors(p),
        handful=measured.shown(p),
        card={
            **{"target": p.target, "arm": p.arm, "iteration": p.iteration, "lessons": lessons},
            "base": "" if p.iteration <= 1 else f"iteration {p.iteration - 1} of the same arm",
        },
    )


def check_training_set(path: Path) -> dict[str, int]:
    """Samples of a training file by benchmark and source. Raises, naming the row that cannot be trained on."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; make the training set first (notebook 05, section Mix)")
    count, counts = 0, Counter[str]()
    for count, row in enumerate(read_rows(path), start=1):
        messages = row.get("messages") or [{}]
        last = messages[-1]
        if row.get("source") == ROLLOUT:
            messages = [*messages, {"role": "assistant"}]  # its answer is yet to be written
        elif last.get("role") != "assistant" or not str(last.get("content") or "").strip():
            raise ValueError(f"{path}: row {count} (id {row.get('id')!r}) has no response; remove it from the lessons")
        if len(messages) < 2:
            raise ValueError(f"{path}: row {count} (id {row.get('id')!r}) has no question before its response")
        for weight in [part.get("weight", 1.0) for part in (row, *row["messages"])]:
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
                raise ValueError(
                    f"{path}: row {count} has weight {weight!r}; a weight is a number from 0 on (1: as it is)"
                )
        counts[f"{row.get('benchmark', '?')}, {row.get('source', '?')}"] += 1
    if not count:
        raise ValueError(f"{path} holds no samples, so there is nothing to train on; look at the lessons' funnel")
    return dict(sorted(counts.items()))


def check_base(p: StageParameters) -> None:
    """Refuse a base that is not there, is no model, or is a LoRA adapter that does not fit the settings."""
    base = target.place(p.base_model)
    if not base.is_dir():
        if p.iteration > 1:
            raise FileNotFoundError(f"{base} does not exist; train iteration {p.iteration - 1} of arm {p.arm!r} first")
        return target.check(p.base_model)
    if (base / "adapter_config.json").is_file():
        return check_adapter(base, p)
    if not (base / "config.json").is_file():
        raise ValueError(f"base model {base} holds no config.json; target must name a Hugging Face model folder")
    check_fit(base, p)


def check_hosts(p: StageParameters) -> None:
    """Refuse a hostfile that is not there, or whose slots are not the processes asked for."""
    if not p.hostfile:
        return
    slots = sum(launch.hosts(resolve(p.hostfile)).values())
    if slots != p.num_processes:
        raise ValueError(
            f"num_processes {p.num_processes} is not the {slots} slots of hostfile {p.hostfile}; make them equal"
        )


def check_penalty(p: StageParameters) -> None:
    """Refuse a penalty that has nothing to act on, or a starting model that ZeRO-3 spreads over the ranks."""
    if p.kl_weight and p.deepspeed.startswith("zero3"):
        raise ValueError(
            f"kl_weight {p.kl_weight:g} compares with a whole copy of the starting model, and deepspeed: {p.deepspeed} "
            "spreads the weights over the ranks; set deepspeed: zero2, or kl_weight: 0"
        )
    if p.kl_weight and not p.replay_fraction:
        raise ValueError(
            f"kl_weight {p.kl_weight:g} acts on replayed items, and replay_fraction is 0; set it, for instance to 0.25"
        )


def check_adapter(folder: Path, p: StageParameters) -> None:
    """Refuse to go on with a LoRA adapter of another base than the recipe's target, or as ``check_fit`` does."""
    adapter = read_json(folder / "adapter_config.json")
    made_for, target = str(adapter.get("base_model_name_or_path")), local_target(p.target)
    if p.iteration > 1 and made_for != target and not (Path(target) / "adapter_config.json").is_file():
        raise ValueError(f"adapter {folder} was trained for {made_for}, but the target is {target}; use that target")
    check_fit(folder, p)


def check_fit(folder: Path, p: Recipe) -> None:
    """Refuse to train a quantised model, or to go on with an adapter whose base is gone, of another rank, or on a head
    that TRL does not train."""
    how = (read_state(folder / "config.json").get("quantization_config") or {}).get("quant_method", "")
    if how and not (how == "bitsandbytes" and p.lora_rank):
        raise ValueError(f"{folder} is quantised ({how}): it answers and is not trained; name its unquantised weights")
    if not (adapter := read_state(folder / "adapter_config.json")):
        return
    made_for, acts_on = str(adapter.get("base_model_name_or_path")), adapter.get("target_modules")
    if isinstance(acts_on, list) and "lm_head" in acts_on:
        raise ValueError(f"adapter {folder} {ON_HEAD}")
    if Path(made_for).is_absolute() and not Path(made_for).is_dir():
        raise FileNotFoundError(f"adapter {folder} was trained for {made_for}, which does not exist; put it back")
    if p.lora_alpha and p.lora_alpha != (alpha := adapter.get("lora_alpha")):
        raise ValueError(f"lora_alpha {p.lora_alpha} does not fit adapter {folder} of alpha {alpha}; leave it out")
    if p.lora_rank != (rank := adapter.get("r") or 0):  # not every kind of adapter has one
        raise ValueError(
            f"lora_rank {p.lora_rank} does not fit adapter {folder} of rank {rank}; set lora_rank: {rank} to go on "
            "training it"
        )


def deepspeed_config(name: str) -> Row:
    """A DeepSpeed configuration of ``papermill_runs/deepspeed``; {} for ``none``. Keys are checked in the child."""
    if name == "none":
        return {}
    path = DEEPSPEED / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in DEEPSPEED.glob("*.json"))) or "none"
        raise FileNotFoundError(f"deepspeed {name!r}: {path} does not exist; there are: {known}")
    return read_json(path)


def weights(folder: Path) -> list[Path]:
    """The weight files of a checkpoint or adapter."""
    return sorted(folder.glob("*.safetensors"))


def finished(settings: Settings) -> bool:
    """Whether the checkpoint is whole and made by these very settings."""
    done = read_state(settings.checkpoint / SENTINEL)
    if not read_state(IterationDir(Path(settings.folder)).train_metrics) or done.get("identity") != settings.identity:
        return False
    return file_hash(weights(settings.checkpoint)) == done["weights_sha256"]


def read_log(path: Path) -> list[Row]:
    """Rows of a training log that may still be growing: a line without its end is left for the next look."""
    return sound_rows(path, more=False)


# -- trackers (``report_to``)


def check_tracker(report_to: str) -> None:
    """Raises ValueError if a well-known tracker is named, but not installed, or a name that transformers does not
    know."""
    if report_to in TRACKERS and not importlib.util.find_spec(report_to):
        raise ValueError(f"report_to: {report_to} is not installed; pip install {report_to}, or set report_to: none")
    if report_to not in (*TRACKERS, "none", "all"):
        from transformers.integrations import get_reporting_integration_callbacks

        try:
            get_reporting_integration_callbacks([report_to])
        except ValueError as error:
            raise ValueError(f"report_to: {str(error).rstrip('.')}; set report_to: none to keep no tracker") from None


def tracked_name(folder: str) -> str:
    """``<run>/<arm>/iter<k>``, a sweep's point between them; only the last three of a folder that lies elsewhere."""
    path = Path(folder)
    inside = path.is_relative_to(runs_dir().resolve())
    return (path.relative_to(runs_dir().resolve()) if inside else Path(*path.parts[-3:])).as_posix()


def prepare_tracker(report_to: str, folder: str) -> None:
    """Settings that the user's environment leaves open: trackers would write into the states (which go once training
    is through) or the working directory. Raises ValueError as ``check_tracker``.
    """
    check_tracker(report_to)
    if report_to == "none":
        return
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(Path(folder) / "tensorboard"))
    os.environ.setdefault("WANDB_PROJECT", "laif")
    os.environ.setdefault("WANDB_DIR", folder)
    os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", "laif")
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    os.environ.setdefault("_MLFLOW_SERVER_ARTIFACT_ROOT", f"{folder}/mlartifacts")  # else in ./mlruns
