"""Defines the rows that stages exchange, and reads and writes them."""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any, TypeVar

import pydantic
import pydantic.dataclasses

from laif_helpers.encodings import ROW_JSON, not_utf_8, whole

Message = dict[str, str]
"""One chat turn, ``{"role": …, "content": …}``."""
Row = dict[str, Any]
"""A row of a table or of a file, or part of one."""

ROLLOUT = "rollout"
"""``source`` of a training row that holds a question alone: the model answers it anew in every epoch."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Example:
    """One benchmark item. ``gold`` is the short answer; ``rationale`` the worked solution, "" if none."""

    id: str
    benchmark: str
    split: str
    question: str
    gold: str
    rationale: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Grade:
    """What a grader read and concluded. Not ``readable``: no answer could be found, so not correct either.

    ``sure``: read from a form that leaves nothing to dispute (the last "####", a program that passed, the very words).
    """

    correct: bool
    extracted: str | None
    readable: bool
    reason: str
    sure: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """One generated answer. ``finish`` is ``stop`` or ``length`` (or ``error: …`` for a prompt not asked)."""

    text: str
    prompt_tokens: int
    new_tokens: int
    finish: str = "stop"
    seconds: float = 0.0

    @property
    def unanswered(self) -> bool:
        """Whether the model said nothing to this prompt: such an item is never graded as answered."""
        return self.finish.startswith("error:")


@dataclass(frozen=True, slots=True)
class Response:
    """One row of ``responses/<benchmark>.<split>.jsonl``.

    ``second_correct``: the verdict of the second grader, None if it was not asked or could read no answer.
    ``second_read``: the answer that it read. Rows that were not audited have neither, nor have files that were written
    before the second grader existed. ``sample``: number of the answer if an item was answered several times.
    ``thought``: the part of the text that is thought and is not graded. ``cut``: the text ended at the token limit.
    ``unanswered``: the prompt was refused, or what came is not the model's own answer.
    """

    id: str
    benchmark: str
    split: str
    messages: list[Message]
    gold: str
    text: str
    extracted: str | None
    correct: bool
    readable: bool
    reason: str
    prompt_tokens: int
    new_tokens: int
    model: str
    second_correct: bool | None = None
    second_read: str = ""
    sample: int = 0
    thought: str = ""
    cut: bool = False
    unanswered: bool = False

    @property
    def is_error(self) -> bool:
        """Answered, wrong, and no second grader finds it right: what later stages study, teach and pay for."""
        return not self.correct and not self.unanswered and self.second_correct is not True


@pydantic.dataclasses.dataclass(frozen=True, slots=True)
class Lesson:
    """One row of ``lessons/<arm>.jsonl``, its types checked. ``status`` is ``kept`` or the check that rejected it."""

    id: str
    benchmark: str
    question: str
    response: str
    source_ids: list[str]
    arm: str
    iteration: int
    instructor: str
    request_key: str
    status: str = "kept"
    reason: str = ""


def read_text(path: Path) -> str:
    """A file's text, with or without a byte order mark. Raises ValueError naming a file that is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf_8(path, error) from None


def read_json(path: Path, missing: Any = None) -> Any:
    """One JSON document, or ``missing`` if that is given and there is no such file. Raises ValueError naming a file
    that holds anything else."""
    if missing is not None and not path.is_file():
        return missing
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON ({error}); correct or remove it") from None


def read_state(path: Path) -> Any:
    """What this program has written down for itself; {} if there is none, or if a fault has left it unreadable."""
    with contextlib.suppress(ValueError, OSError):
        return read_json(path, {})
    return {}


def sound_rows(path: Path, more: bool = True) -> list[dict[str, Any]]:
    """The rows of a JSONL file that can still be read, whatever a fault has done to the others. Not ``more``: a last
    line without its end is no row yet."""
    lines = path.read_bytes().split(b"\n") if path.is_file() else []
    rows = []
    for line in lines if more else lines[:-1]:
        with contextlib.suppress(ValueError):
            if isinstance(row := json.loads(line), dict):
                rows.append(row)
    return rows


def read_rows(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Rows of a JSONL file, or of one JSON array (some public files are arrays named ``.jsonl``).

    Raises FileNotFoundError, or ValueError naming file, row and what is wrong with it.
    """
    try:
        yield from _rows(Path(path))
    except UnicodeDecodeError as error:
        raise not_utf_8(Path(path), error) from None


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file that need not be there."""
    return list(read_rows(path)) if path.is_file() else []


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as handle:
        first = next((character for character in iter(lambda: handle.read(1), "") if not character.isspace()), "")
        handle.seek(0)
        if first == "[":
            try:
                rows = ROW_JSON.decode(whole(handle.read()))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}: not valid JSON: {error}") from None
            numbered: Iterable[tuple[int, Any]] = enumerate(rows, start=1)
        else:
            numbered = _json_lines(path, handle)
        for number, row in numbered:
            if not isinstance(row, dict):
                raise ValueError(f"{path}: row {number} is {type(row).__name__}, expected an object")
            yield row


def _json_lines(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, start=1):
        line = line.strip("\ufeff \t\r\n")  # a byte order mark of each file that was appended
        if not line:
            continue
        try:
            yield number, ROW_JSON.decode(whole(line))
        except json.JSONDecodeError as error:
            fix = "zeros, as UTF-16 or a full disk leaves them" if "\0" in line else "one object a line is read"
            fix = "a pointer of git-lfs: fetch the file by git lfs pull" if "//git-lfs." in line[:40] else fix
            raise ValueError(f"{path}: row {number} is not valid JSON ({fix}): {error}") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: row {number}: {error}") from None


def read_jsonl(path: str | os.PathLike[str], record: type[T]) -> list[T]:
    """Rows of ``path`` as ``record`` dataclasses; a missing or unknown field is named with its row."""
    known = {f.name for f in fields(record)}  # type: ignore[arg-type]
    records = []
    for number, row in enumerate(read_rows(path), start=1):
        if unknown := row.keys() - known:
            raise ValueError(f"{path}: row {number} has unknown field(s) {sorted(unknown)}; expected {sorted(known)}")
        try:
            records.append(record(**row))
        except (TypeError, pydantic.ValidationError) as error:
            raise ValueError(f"{path}: row {number}: {' '.join(str(error).split())}") from None
    return records


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[Any]) -> int:
    """Write dataclasses or dicts, one a line, atomically: a reader sees the old file or the whole new one."""
    # ``asdict`` would copy all that is in a row, which takes longer than writing it
    named = (row if isinstance(row, dict) else {f.name: getattr(row, f.name) for f in fields(row)} for row in rows)
    return _write_lines(Path(path), (json.dumps(row, ensure_ascii=False, default=asdict) for row in named))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write one JSON document atomically, indented and in the key order given."""
    _write_lines(Path(path), [json.dumps(value, ensure_ascii=False, indent=2)])


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file atomically."""
    _write_lines(Path(path), [text.removesuffix("\n")])


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A place to write to that takes ``path``'s place once the block has ended well; it keeps the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.stem}.part{path.suffix}")
    yield half
    half.replace(path)


_HALF = re.compile(r"\..+\.([a-z0-9_]{8}|part\.\w+)")


def halves(folder: Path) -> list[Path]:
    """What writers that were killed have left under a folder; whoever removes it knows that nobody is writing."""
    return [path for path in folder.rglob(".*") if _HALF.fullmatch(path.name) and path.is_file()]


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def file_hash(files: Iterable[Path]) -> str:
    """SHA-256 over the files' contents, in the order given."""
    found = hashlib.sha256()
    for file in files:
        with file.open("rb") as handle:
            hashlib.file_digest(handle, lambda: found)
    return found.hexdigest()


def to_disk(handle: IO[Any]) -> None:
    """Force what was written to the disk; some network file systems do not know how, and keep it in their own way."""
    handle.flush()
    try:
        os.fsync(handle.fileno())
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise


def _write_lines(path: Path, lines: Iterable[str]) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, count = path.with_name(f".{path.name}.{secrets.token_hex(4)}"), 0
    try:
        # Half a surrogate pair, as a model's answer may hold, is no reason to lose the file.
        with temporary.open("x", encoding="utf-8", errors="replace") as handle:
            for line in lines:
                handle.write(line + "\n")
                count += 1
            to_disk(handle)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return count
