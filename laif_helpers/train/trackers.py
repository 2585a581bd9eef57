"""Trackers of trainings, which the key ``report_to`` names."""

import importlib.util
import os
from pathlib import Path

from laif_helpers.paths import runs_dir

TRACKERS = ("tensorboard", "wandb", "mlflow")


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
