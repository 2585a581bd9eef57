"""Says what a file is written in that is not UTF-8, and reads a row of JSON without losing one of two values."""

import json
import re
from pathlib import Path
from typing import Any

_BEGINNINGS = {b"\xff\xfe\0\0": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x1f\x8b": "", b"PK": ""}
_BEGINNINGS |= dict.fromkeys(
    (b"PAR1", b"ARROW1", b"BZh", b"\x28\xb5\x2f\xfd", b"7z", b"SQLite", b"%PDF", b"\x80\x04"), ""
)
"""How files that are no text in UTF-8 begin, and their encoding; "" if they are packed, or tables."""
_EASTERN = re.compile(rb"[\x80-\xff]{2}[\x40-\xff]?[\x80-\xff]")
"""Letters of several bytes each, or a whole word of another alphabet: no text in a language of western Europe."""


def not_utf_8(path: Path, error: UnicodeDecodeError) -> ValueError:
    """The error to raise for such a file."""
    with path.open("rb") as handle:
        head = handle.read(1 << 16)
    western = "WINDOWS-1252" if re.search(rb"[\x80-\x9f]", head) else "ISO-8859-1"
    other = next((name for start, name in _BEGINNINGS.items() if head.startswith(start)), western)
    if not other:
        return ValueError(
            f"{path}: a packed file or a table; unpack it first (gunzip or unzip), or write its rows as JSON Lines"
        )
    if other == western and _EASTERN.search(head):
        return ValueError(
            f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8, for instance by iconv -f ENCODING -t UTF-8 "
            f"{path.name} > utf8-{path.name}, with the encoding that it was written in: GB18030, BIG5, SHIFT_JIS, "
            "EUC-KR, WINDOWS-1251, …"
        )
    return ValueError(
        f"{path}: not UTF-8 (byte {error.start}), it may be {other}: save it as UTF-8, for instance by "
        f"iconv -f {other} -t UTF-8 {path.name} > utf8-{path.name}"
    )


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Python keeps the last of two values of a key, and nobody knows which one was meant."""
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} is given twice; remove one of them")
    return row


ROW_JSON = json.JSONDecoder(object_pairs_hook=_each_once)
"""Reads a row of a file; a key that is given twice is refused."""
