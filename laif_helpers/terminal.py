"""Makes text of models, servers and files fit for a terminal, which obeys control sequences that a text may hold."""

import re

_SEQUENCES = re.compile(
    r"\x1b(?:[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\[[0-?]*[ -/]*[@-~]|[ -/]*[0-Z\\`-~])"
    r"|\x9b[0-?]*[ -/]*[@-~]|[\x90\x98\x9d-\x9f][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
)
"""Colours, cursor moves, window titles, links, clipboard writes: of 7 and of 8 bits (ECMA-48)."""
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""All controls but tab and line feed (a carriage return overwrites a line), and marks that turn the reading order."""


def plain(text: str) -> str:
    """The text without control sequences; a control character by itself becomes the replacement character."""
    return _CONTROLS.sub("\ufffd", _SEQUENCES.sub("", text.replace("\r\n", "\n")))
