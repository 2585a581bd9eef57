"""Says what to do with a file that is not UTF-8, and reads a row of JSON without losing one of two values."""

import contextlib
import gzip
import json
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HALF = re.compile(
    r"(?<!\\)((?:\\\\)*)(?:(\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})|\\ud[89a-f][0-9a-f]{2})", re.IGNORECASE
)

_NO_TEXT = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xfd7zXZ\x00": "packed by xz",
    b"BZh": "packed by bzip2",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"\x1f\x8b": "packed by gzip",
    b"ARROW1": "an Arrow table",
    b"\xff\xff\xff\xff": "an Arrow stream",
    b"PAR1": "a Parquet table",
    b"SQLite": "a SQLite database",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
}
"""What a file begins with that is no text."""


def not_utf_8(path: Path, error: UnicodeDecodeError) -> ValueError:
    """The error to raise for such a file. In which encoding it was written nothing in it says for sure."""
    with path.open("rb") as handle:
        first = handle.read(16)
    if kind := next((kind for begins, kind in _NO_TEXT.items() if first.startswith(begins)), ""):
        return ValueError(f"{path}: this is {kind} and no text; unpack it, or write its rows as JSON Lines")
    return ValueError(
        f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8, for instance by iconv -f ENCODING -t UTF-8 "
        f"{path.name} > utf8-{path.name}, with the encoding that it was written in: UTF-16, WINDOWS-1252, GB18030, …; "
        "a packed file or a table is unpacked first, or its rows are written as JSON Lines"
    )


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """What a ``.gz`` file holds, for the time of the block, in folders of the same names: readers go by them.

    Raises ValueError for a file that is cut or no such; errors of the block name the packed file.
    """
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder, *path.absolute().parts[1:][-4:]).with_suffix("")
        inside.parent.mkdir(parents=True, exist_ok=True)
        try:
            with gzip.open(path) as packed, inside.open("wb") as plain:
                shutil.copyfileobj(packed, plain)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: cannot be unpacked ({error}); fetch or write it again") from None
        try:
            yield inside
        except ValueError as error:
            raise ValueError(str(error).replace(str(inside), str(path))) from None


def whole(text: str) -> str:
    """JSON with the replacement character for half a surrogate pair, which no file and no request can hold."""
    return _HALF.sub(lambda found: found[1] + (found[2] or r"\ufffd"), text)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Python keeps the last of two values of a key, and nobody knows which one was meant."""
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} is given twice; remove one of them")
    return row


ROW_JSON = json.JSONDecoder(object_pairs_hook=_each_once)
"""Reads a row of a file; a key that is given twice is refused."""
