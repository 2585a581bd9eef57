"""Collects the settings of a training, checked before anything heavy is loaded.

``Settings`` travels from the kernel to the child as ``train_config.json``; its ``identity`` says whether a
checkpoint that lies there is the one these settings would make.
"""

from pathlib import Path
from typing import Any

from pydantic import Field

from laif_helpers import models
from laif_helpers.arms import Signal
from laif_helpers.paths import ROOT, SENTINEL, IterationDir
from laif_helpers.recipe import GONE, Recipe, StageParameters, local_target
from laif_helpers.records import Row, digest, file_hash, read_json, read_state
from laif_helpers.sections import TrainingSection
from laif_helpers.train import checks, measured, trackers

SCHEDULE, BETAS = "cosine", (0.9, 0.95)
"""As the papers train; no key of the recipe changes them."""
DECIDING = (
    *("learning_rate", "epochs", "batch_size", "gradient_accumulation", "num_processes", "deepspeed", "packing"),
    *("warmup_ratio", "warmup_steps", "weight_decay", "max_grad_norm", "dtype", "max_length", "lora_rank"),
    *("load_in_4bit", "replay_fraction", "replay_from", "kl_weight", "average", "match", "teacher", "seed"),
)
"""The recipe's keys that decide a training, as 05 and the model card list them."""
DEEPSPEED = ROOT / "papermill_runs" / "deepspeed"
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
    def files(self) -> IterationDir:
        return IterationDir(Path(self.folder))

    @property
    def checkpoint(self) -> Path:
        return self.files.checkpoint

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
    lessons = checks.check_training_set(p.folder.training_set)
    checks.check_base(p)
    checks.check_hosts(p)
    checks.check_penalty(p)
    trackers.check_tracker(p.report_to)
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
    if not read_state(settings.files.train_metrics) or done.get("identity") != settings.identity:
        return False
    return file_hash(weights(settings.checkpoint)) == done["weights_sha256"]
