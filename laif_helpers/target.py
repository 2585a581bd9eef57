"""Parses a recipe's ``target``: a folder, a LoRA adapter, a GGUF file, a hub model, a server, or a recording."""

import contextlib
import difflib
import functools
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse

from laif_helpers.paths import ROOT, places_of, resolve

_PREFIXES: dict[str, Literal["server", "replay"]] = {"server:": "server", "replay:": "replay"}
_REACH_S = 3.0
MADE_BY = {
    "smollm2-135m-instruct": "`make smollm2`",
    "smollm2-practised": "`make smollm2`",
    "smollm2-all-concepts": "`python data/make_smollm2.py --all-concepts`",
    "nano-all-concepts": "`python data/make_nano.py --all-concepts`",
}
"""Models of this project that git does not keep, and the commands that make them."""


@dataclass(frozen=True)
class Target:
    """A model, or recorded answers.

    Attributes:
        kind: ``hub`` is whatever is neither marked as a server or recording nor on this machine. An adapter that the
            hub's cache holds is an ``adapter``: what loads it wants its folder.
        name: without the mark; of a recording with what follows its ``#``.
        path: of a folder, adapter or GGUF file.
    """

    kind: Literal["folder", "adapter", "gguf", "hub", "server", "replay"]
    name: str
    path: Path | None = None

    @classmethod
    def of(cls, text: str) -> "Target":
        """Read a target as a recipe or a notebook writes it."""
        for prefix, kind in _PREFIXES.items():
            if text.startswith(prefix):
                return cls(kind, text.removeprefix(prefix).strip())
        path = resolve(text)
        if path.is_dir():
            return cls("adapter" if (path / "adapter_config.json").is_file() else "folder", text, path)
        if path.is_file() and (text.lower().endswith(".gguf") or _begins(path) == b"GGUF"):
            return cls("gguf", text, path)
        adapter = _cached(text, "adapter_config.json")
        return cls("adapter", text, adapter.parent) if adapter else cls("hub", text)

    @property
    def local(self) -> bool:
        """Whether its weights are loaded on this machine, so that it can be trained."""
        return self.kind not in ("server", "replay")

    def recording(self, data_dir: str = "") -> Path:
        """File or folder of recorded answers: as named, else in a data folder. The first of these if it is nowhere."""
        found = [*places_of(self.name, data_dir), *places_of(self.name.rpartition("#")[0] or self.name, data_dir)]
        return next((place for place in found if place.exists()), found[0])


def place(text: str) -> Path:
    """The folder of a model: as named, or what the hub's cache holds of it, maybe a part; it need not exist."""
    found = Target.of(text)
    cached = _cached(text, "config.json") if found.kind == "hub" else None
    return found.path or (cached.parent if cached else resolve(text))


def part(text: str, name: str) -> Path:
    """A file of a model: in its folder, or fetched from the hub; a path that need not exist."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    if Target.of(text).kind == "hub":
        with contextlib.suppress(EntryNotFoundError, OSError, ValueError):  # none, not to be had, no name of a model
            return Path(hf_hub_download(text, name))
    return place(text) / name


def offline() -> bool:
    """Whether nothing may be fetched from the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE) or os.environ.get("TRANSFORMERS_OFFLINE", "") not in ("", "0")


def _cached(text: str, name: str) -> Path | None:
    """A file of a hub's model that is in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    with contextlib.suppress(ValueError):  # no name of the hub's
        return Path(found) if isinstance(found := try_to_load_from_cache(text, name), str) else None
    return None


def _begins(path: Path) -> bytes:
    """A file's first bytes: those of a GGUF file under another name, as Ollama keeps them, tell what it is."""
    with path.open("rb") as handle:
        return handle.read(4)


def check(text: str, what: str = "target") -> None:
    """Refuse a name that is written like a path and leads nowhere; ``what``: its key. Raises FileNotFoundError."""
    target = Target.of(text)
    if target.kind != "hub":
        return
    first, slashes = text.partition("/")[0], text.count("/")
    if not re.fullmatch(r"[\w./-]{1,96}", text, re.ASCII):
        slashes = 9  # no name of the hub's
    if slashes == 1 and first not in (".", "..", "~", "") and not resolve(first).is_dir():
        return
    if not slashes and not text.lower().endswith(".gguf"):
        return  # the hub's oldest models have no owner: gpt2
    place = resolve(text)
    near = difflib.get_close_matches(place.name, [p.name for p in place.parent.glob("*")], n=1)
    hint = f"; did you mean {place.parent / near[0]}?" if near else f"; correct {what}, or put the model there"
    hint = f"; name its folder, {place.parent}" if place.is_file() else hint
    hint = f"; {MADE_BY[place.name]} prepares it" if place.name in MADE_BY else hint
    hint = "; a server's model is written server:<model>, its address target_url" if ":" in text else hint
    sentence = f"{what} {text!r} is neither a model folder nor a GGUF file ({place}){hint}"
    raise FileNotFoundError(sentence.replace(f"{ROOT}/", ""))


def unreachable(text: str, what: str = "target") -> str:
    """Why a hub model cannot be had now, in one sentence; "" if it is here already or the hub can be reached."""
    target = Target.of(text)
    if target.kind != "hub":
        return ""
    from huggingface_hub import constants

    if _cached(text, "config.json"):
        return ""
    absent = f"{what} {text!r} is no folder ({resolve(text)}) and not in the hub's cache, and"
    if offline():
        return f"{absent} HF_HUB_OFFLINE forbids to fetch it"
    if why := _no_connection(constants.ENDPOINT):
        return f"{absent} the hub cannot be reached ({why})"
    return ""


@functools.cache
def _no_connection(url: str) -> str:
    """Why no server can be reached there; "" if one can, or if a proxy stands between."""
    parts = urlparse(url)
    if os.environ.get(f"{parts.scheme}_proxy") or os.environ.get(f"{parts.scheme.upper()}_PROXY"):
        return ""
    try:
        socket.create_connection((parts.hostname or "", parts.port or 443), timeout=_REACH_S).close()
    except OSError as error:
        return str(error)
    return ""
