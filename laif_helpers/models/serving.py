"""Starts the server command of a recipe for one checkpoint, and ends it with all its children."""

import contextlib
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from laif_helpers import launch, records, target
from laif_helpers.models import check, local, tokenizers

HEALTHY_WITHIN_S = 600.0
"""A large model takes minutes to load; a server that is not up by then will not come."""
END_WITHIN_S = 10.0
TEMPLATES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
UNREAD = ["original/*", "consolidated*", "*.pth", "*.gguf", "*.onnx*", "*.h5", "*.msgpack", "*.ot"]
"""Of a hub's model: the same weights again, in forms that servers of plain folders do not read."""


@contextlib.contextmanager
def serve(command: str, model: str, *, log: Path, healthy_within_s: float = HEALTHY_WITHIN_S) -> Iterator[str]:
    """Run ``command`` (with ``{model}`` and ``{port}``) for ``model``; yields the base URL once it is healthy.

    The server runs in a session of its own; its output goes to ``log``. It ends, with all its descendants, when the
    block is left, and with this process. Raises ValueError (command), RuntimeError (exited, never healthy).
    """
    arguments = _arguments(command, model, port := launch.free_port())
    log.parent.mkdir(parents=True, exist_ok=True)
    process = launch.start(arguments, log, _environment())
    try:
        _wait_until_healthy(process, port, log, healthy_within_s)
        try:
            yield f"http://127.0.0.1:{port}/v1"
        except RuntimeError as error:
            if (code := process.poll()) is None:
                raise
            raise RuntimeError(f"the serve command ended with exit status {code}: {error}{_tail(log)}") from None
    finally:
        launch.end(process, patience=END_WITHIN_S)


@contextlib.contextmanager
def as_here(model: str, command: str = "") -> Iterator[str]:
    """What to serve so that its answers are those of this machine: the model itself, or a folder of links to its files
    in which the generation config (vLLM and transformers take it for every request) steers no answer and names what
    ends one here, and no template writes today's date. A ``command`` that names a revision of a hub's model has its
    own files."""
    folder, changed = target.place(model), dict[str, str]()
    config = records.read_state(target.part(model, check.GENERATION))
    steered = check.steered(config).keys() | {"max_new_tokens"} & config.keys()
    wanted = {name: config[name] for name in config if name not in steered} | _ends(model, config)
    if wanted != config:
        changed[check.GENERATION] = json.dumps(wanted)
    for file in (target.part(model, name) for name in TEMPLATES):
        written = file.read_text(encoding="utf-8") if file.is_file() else ""
        if written != (day := tokenizers.with_day(written)):
            changed[file.name] = day
    hub = target.Target.of(model).kind == "hub"
    if not changed or (hub and "revision" in command):
        yield model
        return
    if hub:
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(model, ignore_patterns=UNREAD))
    with tempfile.TemporaryDirectory(prefix="laif-served-") as place:
        for file in folder.iterdir():
            if file.name not in changed:
                Path(place, file.name).symlink_to(file.resolve())
        for name, text in changed.items():
            Path(place, name).write_text(text, encoding="utf-8")
        yield place


def _ends(model: str, config: dict[str, Any]) -> dict[str, Any]:
    """The tokens that end an answer here, if the template's own is none of those that its files name."""
    try:
        tokenizer = check.tokenizer_of(model)
    except Exception:  # other people's files raise anything; the server says what it misses
        return {}
    named = config.get("eos_token_id")
    known = {*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id} - {None}
    end = local.turn_end(tokenizer)
    return {} if end in {None, *known} else {"eos_token_id": sorted({*known, end})}


def _arguments(command: str, model: str, port: int) -> list[str]:
    try:
        split = shlex.split(command)  # first: a path with a space stays one argument
    except ValueError as error:
        raise ValueError(f"serve command {command!r}: {error}; close its quotation marks") from None
    parts = [part.replace("{model}", model).replace("{port}", str(port)) for part in split]
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if not (program := shutil.which(parts[0], path=places)):
        raise ValueError(f"serve command: no program {parts[0]!r} is installed; install it or give its full path")
    return [program, *parts[1:]]


def _environment() -> dict[str, str]:
    """Ours, with the hub cache folder made: `transformers serve` answers 500 on /v1/models while it is missing."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    cache = os.environ.get("HF_HUB_CACHE") or Path(home, "hub")
    with contextlib.suppress(OSError):  # a server that needs no hub cache may run where it cannot be made
        Path(cache).mkdir(parents=True, exist_ok=True)
    return {**os.environ, "PYTHONUNBUFFERED": "1"}


def _wait_until_healthy(process: Any, port: int, log: Path, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if (code := process.poll()) is not None:
            raise RuntimeError(f"the serve command ended with exit status {code} before it was healthy{_tail(log)}")
        if any(_answers(f"http://127.0.0.1:{port}{path}") for path in ("/health", "/v1/models")):
            return
        time.sleep(0.2)
    raise RuntimeError(f"the serve command was not healthy on port {port} within {within_s:g} s{_tail(log)}")


def _answers(address: str) -> bool:
    # No proxy: one from the environment cannot reach this machine's port.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _tail(log: Path) -> str:
    last = " | ".join(launch.tail(log, lines=5).splitlines())
    return f"; its log {log} ends: {last}"
