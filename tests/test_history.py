"""The manifest's lines: appended as a run goes on, one for each attempt when it is read or compacted."""

import contextlib
import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from laif_helpers import records
from laif_helpers.runner import history

RUNNING, DONE = {"stage": "a", "started": "1", "status": "running"}, {"stage": "a", "started": "1", "status": "done"}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tmp_path / "run" / "manifest.jsonl"


def test_the_last_line_of_an_attempt_counts(manifest: Path) -> None:
    assert history.rows(manifest) == []
    other = {"stage": "b", "started": "2", "status": "running"}
    for row in (RUNNING, other, DONE):
        history.append(manifest, row)
    assert history.rows(manifest) == [other, DONE]
    history.append(manifest, other | {"status": "done"})
    assert history.rows(manifest) == [DONE, other | {"status": "done"}], "read on from where the last look ended"


def test_an_attempt_whose_runner_was_killed_is_marked_by_the_next(manifest: Path) -> None:
    history.append(manifest, RUNNING)
    history.append(manifest, RUNNING | {"started": "2"})
    killed = RUNNING | {"status": "failed", "reason": "killed with its runner"}
    assert history.rows(manifest) == [killed, RUNNING | {"started": "2"}]


def test_skips_of_one_stage_are_all_kept(manifest: Path) -> None:
    skips = [{"stage": "a", "status": "skipped", "reason": reason} for reason in ("b failed", "c failed")]
    for row in skips:
        history.append(manifest, row)
    assert history.rows(manifest) == skips


@pytest.mark.parametrize("torn", [b'{"stage": "b", "sta', b"{", b'{"stage": "b"}'])
def test_a_line_that_a_kill_cut_off_is_neither_read_nor_in_the_way(manifest: Path, torn: bytes) -> None:
    history.append(manifest, DONE)
    with manifest.open("ab") as handle:
        handle.write(torn)
    assert history.rows(manifest) == [DONE]
    more = {"stage": "c", "started": "3", "status": "running"}
    history.append(manifest, more)
    assert history.rows(manifest) == [DONE, more]


def test_a_kill_at_any_byte_leaves_a_manifest_that_goes_on(manifest: Path) -> None:
    history.append(manifest, RUNNING)
    history.append(manifest, DONE)
    whole = manifest.read_bytes()
    for length in range(len(whole)):
        manifest.write_bytes(whole[:length])
        history.append(manifest, {"stage": "b", "started": "2", "status": "done"})
        expected = [] if length < whole.index(b"\n") + 1 else [RUNNING]
        assert history.rows(manifest)[: len(expected)] == expected and history.rows(manifest)[-1]["stage"] == "b"


def test_compacting_keeps_what_is_read_and_writes_only_if_needed(manifest: Path) -> None:
    history.compact(manifest)
    assert not manifest.exists(), "nothing ran"
    for row in (RUNNING, DONE):
        history.append(manifest, row)
    history.compact(manifest)
    assert [json.loads(line) for line in manifest.read_text().splitlines()] == [DONE]
    file = manifest.stat().st_ino
    history.compact(manifest)
    assert manifest.stat().st_ino == file


def test_another_file_of_the_same_name_is_read_from_its_beginning(manifest: Path) -> None:
    for _ in range(3):
        history.append(manifest, RUNNING)
    assert history.rows(manifest) == [RUNNING]
    for name in "xyz":
        history.append(other := manifest.with_name("other"), DONE | {"stage": name})
    other.replace(manifest)
    assert [row["stage"] for row in history.rows(manifest)] == ["x", "y", "z"]


@pytest.mark.parametrize("line", ["oops", "[1]", '{"stage": "a"}', "\0\0\0", '{"stage": "a", "started": "1", "sta'])
def test_a_line_that_a_fault_has_spoilt_is_named_and_costs_that_attempt_alone(
    manifest: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    history.append(manifest, DONE)
    with manifest.open("a") as handle:
        handle.write(f"{line}\n")
    history.append(manifest, DONE | {"stage": "b"})
    assert [row["stage"] for row in history.rows(manifest)] == ["a", "b"]
    assert "manifest.jsonl: a line is no row of a manifest" in capsys.readouterr().err
    history.compact(manifest)
    assert len(manifest.read_text().splitlines()) == 2


def test_a_writer_that_is_killed_loses_no_line_it_finished(manifest: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from laif_helpers.runner import history\n"
        "for n in range(100_000):\n"
        "    history.append(Path(sys.argv[1]), {'stage': str(n), 'started': '1', 'status': 'done'})\n"
        "    print(n, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(manifest)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        while int(writer.stdout.readline()) < 20:
            pass
        time.sleep(0.01)
        writer.kill()
        finished = max([20, *map(int, writer.stdout.read().split())])
    assert len(history.rows(manifest)) in (finished + 1, finished + 2)


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOSYS, errno.EIO])
def test_a_file_system_that_cannot_be_asked_to_force_its_files_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refuse(_: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", refuse)
    before = os.umask(0o027)
    try:
        for write in (history.append, records.write_json):
            with pytest.raises(OSError, match="output") if error == errno.EIO else contextlib.nullcontext():
                write(tmp_path / "file", {"stage": "s", "status": "done"})
                assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "no half is left behind"
