"""Keeps the ledger of paid calls: one sqlite file that serves as cache, record of costs and state to resume from.

Every request is written before it is sent and every reply as it arrives, each in its own commit, so that a
crash or ``kill -9`` loses at most the calls in flight, and those stay counted as spent. No key of any kind is
stored. A request is known by the hash of all that shapes its reply.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from laif_helpers import locks
from laif_helpers.records import Message

_TABLES = Path(__file__).with_name("ledger.sql").read_text(encoding="utf-8")
PAID = "paid"
"""Of ``about``: "no" if replies cost nothing and come out the same again. Such a ledger may be started afresh."""
SECONDS = "seconds"
"""Of ``about``: how long the instructor was waited for, over all calls."""


@dataclass(frozen=True)
class Asked:
    """What is sent: messages about a benchmark's items. ``key`` is their hash in the ledger."""

    key: str
    benchmark: str
    messages: list[Message]


@dataclass(frozen=True)
class Reply:
    """One reply as the ledger holds it. ``finish``: ``stop``, ``length`` or what the endpoint said."""

    key: str
    text: str
    finish: str = "stop"
    prompt_tokens: int = 0
    new_tokens: int = 0
    attempts: int = 1
    usd: float = 0.0


def key_of(messages: list[Message], settings: Mapping[str, Any]) -> str:
    """The request's key: sha256 of instructor, model, address, parameters, seed, sample number and messages."""
    canonical = json.dumps({"messages": messages, **settings}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True)
class Ledger:
    """An open ledger; one thread writes at a time. Made by ``open_ledger``."""

    path: Path
    base: sqlite3.Connection

    def spent(self) -> float:
        """Dollars spent so far, over all runs on this ledger, calls of unknown outcome included."""
        return float(self.base.execute("SELECT COALESCE(SUM(usd), 0) FROM calls").fetchone()[0])

    def reserve(self, key: str, request: str, usd: float) -> None:
        """Write down a request and the most it can cost, before it is sent."""
        with self.base:
            self._reserve(key, request, usd)

    def _reserve(self, key: str, request: str, usd: float) -> None:
        self.base.execute(
            "INSERT INTO calls (key, request, status, usd) VALUES (?, ?, 'sent', ?) "
            "ON CONFLICT (key) DO UPDATE SET status = 'sent', usd = usd + excluded.usd",
            (key, request, usd),
        )

    def release(self, key: str, usd: float, attempts: int) -> None:
        """Take a reservation back: the endpoint refused the call, so it was not billed."""
        with self.base:
            self.base.execute(
                "UPDATE calls SET usd = MAX(usd - ?, 0), attempts = attempts + ? WHERE key = ?", (usd, attempts, key)
            )

    def record(self, reply: Reply, reserved: float = 0.0) -> None:
        """Write a reply; its price takes the place of the reservation (earlier lost calls stay counted)."""
        with self.base:
            self.base.execute(
                "UPDATE calls SET status = 'done', reply = ?, finish = ?, prompt_tokens = ?, new_tokens = ?, "
                "attempts = attempts + ?, usd = MAX(usd - ?, 0) + ? WHERE key = ?",
                (*astuple(reply)[1:6], reserved, reply.usd, reply.key),
            )

    def note(self, name: str, value: str) -> None:
        """Keep a fact about the endpoint that a later run should know."""
        with self.base:
            self.base.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    def noted(self, name: str) -> str:
        """A fact of ``note``; "" if there is none."""
        row = self.base.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def begin_batch(self, token: str, requests: Mapping[str, tuple[str, float]]) -> None:
        """Reserve a batch's requests, key -> (request, dollars), and write its token down, before it is sent."""
        with self.base:
            for key, (request, usd) in requests.items():
                self._reserve(key, request, usd)
            reserved = json.dumps({key: usd for key, (_, usd) in requests.items()})
            self.base.execute("INSERT INTO batches (token, reserved) VALUES (?, ?)", (token, reserved))

    def batch_sent(self, token: str, id: str) -> None:
        """The endpoint knows the batch by this id."""
        with self.base:
            self.base.execute("UPDATE batches SET id = ? WHERE token = ?", (id, token))

    def end_batch(self, token: str) -> None:
        """All of a batch's replies are here, or will never be."""
        with self.base:
            self.base.execute("DELETE FROM batches WHERE token = ?", (token,))

    def open_batches(self) -> list[tuple[str, str, dict[str, float]]]:
        """Batches that are not collected: token, id ("" if it is not known), dollars reserved by key."""
        rows = self.base.execute("SELECT token, id, reserved FROM batches ORDER BY rowid")
        return [(token, id, json.loads(reserved)) for token, id, reserved in rows]

    def replies(self, keys: Iterable[str]) -> dict[str, Reply]:
        """The replies that are there, by key, in the order asked."""
        columns = "key, reply, finish, prompt_tokens, new_tokens, attempts, usd"
        rows = self.base.execute(f"SELECT {columns} FROM calls WHERE status = 'done'")
        known = {row[0]: Reply(*row) for row in rows}
        return {key: known[key] for key in keys if key in known}

    def answered(self, requests: Sequence[Asked], ask: Callable[[list[Asked]], None]) -> dict[str, Reply]:
        """The replies to requests, by key; those that are not there are asked for by ``ask``, which records them."""
        keys = [request.key for request in requests]
        known = self.replies(keys)
        missing = {request.key: request for request in requests if request.key not in known}
        ask(list(missing.values()))
        return self.replies(keys)


@contextmanager
def open_ledger(path: Path, about: Mapping[str, str], items: Mapping[str, str]) -> Iterator[Ledger]:
    """The ledger at ``path``, created if there is none, locked against a second run.

    Args:
        about: what the ledger belongs to (arm, iteration, target, instructor, …).
        items: id -> text of the questions asked about, to notice that most ids now mean other questions.

    Raises ValueError when the ledger was made from other data (says which), RuntimeError when another run
    holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        base = _connect(path)
        if other := _conflict(base, about, items):
            free = about.get(PAID) == Ledger(path, base).noted(PAID) == "no"
            base.close()
            if not free:
                raise ValueError(f"ledger {path} was made from other data: {other}; use another run name or remove it")
            for file in path.parent.glob(f"{path.name}*"):
                if not file.name.endswith(".lock"):
                    file.unlink()
            base = _connect(path)
        with closing(base):
            with base:
                base.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", list(about.items()))
                base.executemany("INSERT OR REPLACE INTO items VALUES (?, ?)", list(_digests(items).items()))
            yield Ledger(path, base)


def paid(path: Path) -> set[str]:
    """Keys of the requests that a ledger holds replies to, or an open batch of it will bring, whoever uses it now;
    none if there is none to read."""
    batched = "SELECT sent.key FROM batches, json_each(reserved) sent"
    with suppress(sqlite3.Error), closing(sqlite3.connect(_address(path, "mode=ro"), uri=True)) as base:
        return {key for (key,) in base.execute(f"SELECT key FROM calls WHERE status = 'done' UNION {batched}")}
    return set()


def totals(path: Path) -> dict[str, float]:
    """``usd``, ``tokens`` (read and written), ``seconds`` and ``replies`` of a ledger; 0 if there is none."""
    if not path.is_file():
        return {"usd": 0.0, "tokens": 0, "seconds": 0.0, "replies": 0}
    with closing(sqlite3.connect(_address(path, "mode=ro"), uri=True)) as base:
        counts = "COALESCE(SUM(prompt_tokens + new_tokens), 0), COUNT(*) FILTER (WHERE status = 'done')"
        tokens, replies = base.execute(f"SELECT {counts} FROM calls").fetchone()
        kept = Ledger(path, base)
        seconds = float(kept.noted(SECONDS) or 0)
        return {"usd": kept.spent(), "tokens": int(tokens), "seconds": seconds, "replies": int(replies)}


def _address(path: Path, option: str = "") -> str:
    """A file for SQLite. On a file system without locks it must not try to lock: ``_locked`` keeps others away."""
    without = "" if locks.known(path.parent) else "vfs=unix-none"
    return f"{path.absolute().as_uri()}?{'&'.join(filter(None, (option, without)))}"


def _connect(path: Path) -> sqlite3.Connection:
    """Opens a ledger, and reads every page of its calls. Raises OSError or ValueError, with the fix."""
    # Replies of a server arrive in the thread that runs the event loop, while the caller's thread waits.
    try:
        base = sqlite3.connect(_address(path), uri=True, check_same_thread=False)
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("PRAGMA synchronous=NORMAL")
        base.executescript(_TABLES)
        base.execute("SELECT COUNT(*), MAX(LENGTH(reply)) FROM calls").fetchone()
    except sqlite3.OperationalError as error:
        raise OSError(f"ledger {path} cannot be written ({error}); make room, or give the right to write") from None
    except sqlite3.DatabaseError as error:
        raise ValueError(
            f"{path} is no ledger, or a damaged one ({error}); put back a copy of it, or remove it and its "
            f"{path.name}-wal and -shm: what was paid is then asked for and paid again"
        ) from None
    return base


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """A lock that the system lets go of when the process ends, however it ends."""
    try:
        with locks.hold(path.with_name(f"{path.name}.lock")):
            yield
    except locks.Held:
        raise RuntimeError(f"another run is using the ledger {path}; wait for it, or end it first") from None


def _conflict(base: sqlite3.Connection, about: Mapping[str, str], items: Mapping[str, str]) -> str:
    """What differs between what a ledger holds and the data of this run; "" if nothing does."""
    then = dict(base.execute("SELECT name, value FROM about"))
    for name, value in about.items():
        if then.get(name, value) != value:
            return f"its {name} is {then[name]!r}, here it is {value!r}"
    known = dict(base.execute("SELECT id, digest FROM items"))
    shared = {id: digest for id, digest in _digests(items).items() if id in known}
    changed = [id for id, digest in shared.items() if known[id] != digest]
    # a few in other words: each has a key of its own, and what the others cost stays
    if 2 * len(changed) <= len(shared):
        return ""
    return f"its item {changed[0]} is another question ({len(changed)} differ)"


def _digests(items: Mapping[str, str]) -> dict[str, str]:
    return {id: hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16] for id, text in items.items()}
