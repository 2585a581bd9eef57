"""A training that is killed goes on from its last whole state, with the losses that it would have had."""

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from train_toys import make_parameters, sample, set_environment, train_here

from laif_helpers import train
from laif_helpers.recipe import StageParameters
from laif_helpers.records import sound_rows, write_jsonl
from laif_helpers.train import settings as train_settings
from laif_helpers.train import snapshots
from laif_helpers.train.child import order

# 48 samples in steps of 2 x 8: three steps an epoch, so that states at 5 and 10 lie in the middle of one
LONG = {"n": 48, "gradient_accumulation": 2, "epochs": 4, "learning_rate": "5e-3", "save_steps": 5}


class Killed(BaseException):
    """Nothing in the training catches it."""


def killed_at(step: int, p: StageParameters, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that dies right after the log of that step."""
    from transformers import TrainerCallback

    from laif_helpers.train.child import sft

    class Kill(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == step:
                raise Killed

    make = sft.make_trainer

    def with_kill(*given: Any) -> Any:
        trainer = make(*given)
        trainer.add_callback(Kill())
        return trainer

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(sft, "make_trainer", with_kill)
        train_here(p)


def losses(p: StageParameters) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in sound_rows(p.folder.train_log, more=False)]


def weights(p: StageParameters) -> str:
    return train_settings.file_hash(train_settings.weights(p.folder.checkpoint))


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> StageParameters:
    """The training that nobody interrupts."""
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, tmp_path_factory.mktemp("whole"))
        p = make_parameters(base, **LONG)
        p = make_parameters(base, run=str(p.folder.path.parents[1]), **LONG)  # an absolute run outlives the patch
        assert train_here(p)["steps"] == 12
    return p


def test_goes_on_exactly(
    parameters: Callable[..., StageParameters], whole: StageParameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = parameters(**LONG)
    killed_at(8, p, monkeypatch)
    metrics = train_here(p)
    assert (metrics["resumed_from"], metrics["steps"]) == (5, 12)
    assert losses(p) == losses(whole), "to the last digit"
    assert metrics["start_loss"] == losses(whole)[0][1], "of the whole training, not of its second part"
    assert weights(p) == weights(whole)
    assert metrics["tokens"] == 4 * metrics["sample_tokens"], "over both attempts"
    assert not train_settings.make_settings(p).snapshots.exists(), "cleaned up after success"


def test_half_written_state_is_skipped(
    parameters: Callable[..., StageParameters],
    whole: StageParameters,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    p = parameters(**LONG)
    killed_at(11, p, monkeypatch)
    settings = train_settings.make_settings(p)
    folder = settings.snapshots / "checkpoint-10"
    assert snapshots.latest(settings) == snapshots.read(folder)
    for victim in ("optimizer.pt", snapshots.MARKER):
        data = (folder / victim).read_bytes()
        (folder / victim).unlink()
        assert not snapshots.read(folder)
        (folder / victim).write_bytes(data[:-9] + bytes(9))  # same size: only the hash tells
        assert not snapshots.read(folder)
        (folder / victim).write_bytes(data)
    (folder / "optimizer.pt").write_bytes(b"torn")
    assert train_here(p)["resumed_from"] == 5
    assert "going on from step 5 (1 half-written state skipped)" in capsys.readouterr().out
    assert losses(p) == losses(whole)


def test_changed_training_set_or_setting_starts_anew(
    parameters: Callable[..., StageParameters], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    p = parameters(**LONG)
    killed_at(6, p, monkeypatch)
    train._fresh_folder(train_settings.make_settings(parameters(**LONG | {"save_steps": 3})))
    assert "going on from step 5" in capsys.readouterr().out, "how often states are kept decides nothing"
    train._fresh_folder(train_settings.make_settings(parameters(**LONG | {"learning_rate": "1e-3"})))
    assert "learning_rate changed since the last training here was interrupted" in capsys.readouterr().out
    assert not losses(p) and not list(train_settings.make_settings(p).snapshots.glob("checkpoint-*"))
    write_jsonl(p.folder.training_set, [sample(at) for at in range(47)])
    train._fresh_folder(train_settings.make_settings(p))
    assert "the training set changed" in capsys.readouterr().out


def test_killed_child_goes_on(parameters: Callable[..., StageParameters]) -> None:
    """The real thing: SIGKILL to the training process as soon as a state is kept, then the same call again."""
    p = parameters(**LONG | {"epochs": 16})
    states = train_settings.make_settings(p).snapshots

    def kill() -> None:
        while not list(states.glob(f"checkpoint-*/{snapshots.MARKER}")):
            time.sleep(0.01)
        for child in psutil.Process().children(recursive=True):
            if "laif_helpers.train.child" in child.cmdline():
                child.kill()

    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(RuntimeError, match="status -9 and no whole checkpoint"):
        train.launch(p)
    before = losses(p)
    metrics = train.launch(p)
    assert metrics["steps"] == 48 and metrics["resumed_from"] >= 5
    after = losses(p)
    assert after[: metrics["resumed_from"]] == before[: metrics["resumed_from"]]
    assert [step for step, _ in after] == list(range(1, 49))


def test_nan_stops_and_keeps_the_last_good_state(
    parameters: Callable[..., StageParameters], monkeypatch: pytest.MonkeyPatch
) -> None:
    from laif_helpers.train.child import sft

    p = parameters(**LONG)
    make = sft.make_trainer

    def poisoned(*given: Any) -> Any:
        trainer = make(*given)
        step = trainer.training_step

        def training_step(*args: Any, **options: Any) -> Any:
            return step(*args, **options) * (float("nan") if trainer.state.global_step == 6 else 1.0)

        trainer.training_step = training_step
        return trainer

    monkeypatch.setattr(sft, "make_trainer", poisoned)
    settings = train_settings.make_settings(p)
    train._fresh_folder(settings)
    with pytest.raises(
        ValueError, match=r"the loss is nan at step 7; the last good state \(step 5\) is kept in .*check"
    ):
        sft.train(settings)
    kept = snapshots.latest(settings)
    assert kept and kept.step == 5 and not p.folder.checkpoint.exists()


def test_full_disk_in_the_middle_is_told_and_costs_nothing(
    parameters: Callable[..., StageParameters], monkeypatch: pytest.MonkeyPatch
) -> None:
    from laif_helpers.train.child import sft

    p = parameters(**LONG)
    settings = train_settings.make_settings(p)
    train._fresh_folder(settings)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    left: list[int] = []
    monkeypatch.setattr(sft, "save", full)
    monkeypatch.setattr(sft.os, "_exit", left.append)
    sft.run(settings)
    sentence = json.loads((p.folder.path / "train_error.json").read_text())["sentence"]
    assert left == [2] and "the disk is full" in sentence and "the state of step 10 is kept" in sentence
    monkeypatch.undo()
    shutil.rmtree(settings.unfinished, ignore_errors=True)
    again = snapshots.latest(settings)
    assert again and again.step == 10


def test_steps_between_states() -> None:
    assert snapshots.every(0, 57, 1) == 15
    assert snapshots.every(0, 3, 1) == 1
    assert snapshots.every(100, 281, 2) == 100
    assert snapshots.every(7, 1000, 10) == 10, "only where the loss is read"


@pytest.mark.parametrize("rank", [0, 1])
def test_several_ranks_go_on_in_the_order_of_their_epoch(rank: int) -> None:
    """accelerate alone deals out epoch 0 again behind its skipping and sharding wrappers."""
    from accelerate import skip_first_batches
    from accelerate.data_loader import prepare_data_loader
    from torch.utils.data import DataLoader
    from transformers import TrainerState

    def loader(sampler: order.LengthGrouped) -> Any:
        plain = DataLoader(list(range(48)), batch_size=4, sampler=sampler, collate_fn=list)
        return prepare_data_loader(plain, num_processes=2, process_index=rank, put_on_device=False)

    lengths = [(7 * at) % 40 for at in range(48)]
    whole_epoch = loader(order.LengthGrouped(lengths, 8, seed=3))
    whole_epoch.set_epoch(5)
    expected = list(whole_epoch)[2:]

    sampler = order.LengthGrouped(lengths, 8, seed=3)
    resumed = skip_first_batches(loader(sampler), 2)
    resumed.set_epoch(5)  # what the Trainer does
    assert list(resumed) != expected, "the library has been mended: follow_epochs can go"
    order.follow_epochs(sampler).on_epoch_begin(None, TrainerState(epoch=5 + 2 / 6), None)
    resumed.set_epoch(5)
    assert list(resumed) == expected
