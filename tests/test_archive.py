"""Finished runs go to another place and come back: a folder, and an object store over S3's own protocol."""

import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from conftest import Toy
from typer.testing import CliRunner

from laif_helpers import compare
from laif_helpers.cli import commands
from laif_helpers.paths import RunDir
from laif_helpers.runner import archive


@pytest.fixture
def finished(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.setattr(compare, "collect_points", lambda folder: None)
    assert toy.run(arms=["le"], seed=[0, 1])[0] == 0
    for left in (
        "le/iter1/checkpoint.steps/checkpoint-5/optimizer.pt",
        "vanilla/iter0/responses/.practice.test.partial",
    ):
        path = toy.run_dir.path / left
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("in between")
    return toy


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The address of a bucket in a store that listens on this machine alone."""
    server = pytest.importorskip("moto.server")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        running.start()
        _, port = running.get_host_and_port()
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir("bucket")
        yield "s3://bucket/runs"
        running.stop()


def content(run: RunDir) -> dict[str, bytes]:
    kept = (path for path in run.path.rglob("*") if path.is_file() and path.suffix != ".partial")
    named = {path.relative_to(run.path).as_posix(): path.read_bytes() for path in kept}
    passing = ("checkpoint.steps", ".jobs/", ".lock")
    return {name: text for name, text in named.items() if not any(part in name for part in passing)}


@pytest.mark.slow
def test_a_run_goes_to_an_object_store_and_comes_back_as_it_was(finished: Toy, store: str) -> None:
    before = content(finished.run_dir)
    files, sent = archive.put(finished.run_dir, store)
    assert files == sent and archive.put(finished.run_dir, store) == (files, 0), "nothing is sent twice"
    (finished.root / "runs" / "toy").rename(finished.root / "runs" / "away")
    assert archive.get(f"{store}/toy", finished.run_dir) == (files, files)
    assert finished.run()[1] == [], "a run that came back has nothing to do: it knows its results, and their times"
    assert content(finished.run_dir) == before


def test_only_what_has_changed_is_sent_and_what_is_gone_goes(finished: Toy, tmp_path: Path) -> None:
    place = tmp_path / "place"
    archive.put(finished.run_dir, str(place))
    (finished.run_dir.path / "recipe.yaml").write_text("seed: 1\n")
    (finished.run_dir.path / "run.log").unlink(missing_ok=True)
    (finished.run_dir.path / "note.txt").write_text("new")
    assert archive.put(finished.run_dir, str(place))[1] == 2
    held = {path.relative_to(place / "toy").as_posix() for path in (place / "toy").rglob("*") if path.is_file()}
    assert held == {*json.loads((place / "toy" / archive.INDEX).read_text()), archive.INDEX}
    assert not [name for name in held if "checkpoint.steps" in name or name.endswith(".partial")]


def test_what_was_fetched_before_a_kill_is_kept_and_half_a_file_is_not(finished: Toy, tmp_path: Path) -> None:
    place = tmp_path / "place"
    files, _ = archive.put(finished.run_dir, str(place))
    copy = RunDir(tmp_path / "copy")
    archive.get(f"{place}/toy", copy)
    names = sorted(json.loads((place / "toy" / archive.INDEX).read_text()))
    for name in names[3:]:
        (copy.path / name).unlink()
    lost = copy.path / names[3]
    lost.with_name(f".{lost.name}.partial").write_text("hal")
    assert archive.get(f"{place}/toy", copy) == (files, files - 3)
    archived = content(RunDir(place / "toy"))
    del archived[archive.INDEX]
    assert content(copy) == archived


def test_refusals_name_the_place_and_the_fix(finished: Toy, tmp_path: Path) -> None:
    place = str(tmp_path / "place")
    with pytest.raises(FileNotFoundError, match=r"holds no recipe\.yaml"):
        archive.put(RunDir(tmp_path / "nothing"), place)
    with pytest.raises(FileNotFoundError, match=r"no archived run at .*laif_archive\.json"):
        archive.get(f"{place}/toy", RunDir(tmp_path / "copy"))
    with pytest.raises(ValueError, match="nowhere://x: Protocol not known"):
        archive.put(finished.run_dir, "nowhere://x")
    archive.put(finished.run_dir, place)
    copy = RunDir(tmp_path / "copy")
    copy.path.mkdir()
    (copy.path / "recipe.yaml").write_text("another: run\n")
    with pytest.raises(ValueError, match=r"recipe\.yaml has another content than in .*choose another --name"):
        archive.get(f"{place}/toy", copy)
    assert {path.name for path in copy.path.iterdir()} == {".lock", "recipe.yaml"}
    victim = tmp_path / "place" / "toy" / "recipe.yaml"
    victim.write_text("damaged")
    with pytest.raises(ValueError, match="arrived with another content"):
        archive.get(f"{place}/toy", RunDir(tmp_path / "third"))
    assert not (tmp_path / "third" / "recipe.yaml").exists()


def test_a_store_that_does_not_answer_is_named(finished: Toy, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises((ConnectionError, PermissionError), match=r"credentials|denied|Access"):
        archive.put(finished.run_dir, store)
    fsspec.filesystem("s3").clear_instance_cache()


def test_an_index_that_leads_out_of_the_folder_fetches_nothing(finished: Toy, tmp_path: Path) -> None:
    archive.put(finished.run_dir, str(tmp_path / "place"))
    index = tmp_path / "place" / "toy" / archive.INDEX
    held = json.loads(index.read_text())
    index.write_text(json.dumps({**held, "../../evil": next(iter(held.values()))}))
    with pytest.raises(ValueError, match=r"'../../evil', which leads out"):
        archive.get(str(tmp_path / "place" / "toy"), RunDir(tmp_path / "copy"))
    assert not (tmp_path / "copy" / "recipe.yaml").exists()


def test_the_commands(finished: Toy, tmp_path: Path) -> None:
    place = tmp_path / "place"
    said = CliRunner().invoke(commands, ["archive", "toy", str(place)])
    assert said.exit_code == 0 and f"{place}/toy: " in said.output
    said = CliRunner().invoke(commands, ["restore", f"{place}/toy/", "--name", "again"])
    assert said.exit_code == 0 and " fetched" in said.output
    assert (finished.root / "runs" / "again" / "recipe.yaml").is_file()
    with pytest.raises(ValueError, match=r"run name '\.\.'"):
        CliRunner().invoke(commands, ["restore", f"{place}/toy", "--name", ".."], catch_exceptions=False)
