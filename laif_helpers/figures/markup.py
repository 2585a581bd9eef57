"""Writes tables as Markdown and LaTeX."""

import re
from collections.abc import Iterable

import pandas as pd

RULE = r"\midrule"


def as_markdown(table: pd.DataFrame) -> str:
    """A Markdown table. A cell is one line of text: its bars, tags and links are escaped."""
    lines = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines) + "\n"


def _cell(value: object) -> str:
    text = " ".join(str(value).split()).replace("|", "\\|").replace("](", "]\\(")
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def as_latex(table: pd.DataFrame) -> str:
    """A LaTeX tabular with booktabs rules; special characters are escaped."""
    return tabular(table.columns, (map(tex, row) for row in table.astype(str).to_numpy().tolist()))


def tabular(columns: Iterable[str], rows: Iterable[Iterable[str]], aligned: str = "", label: str = "") -> str:
    """Rows whose cells are LaTeX already as a tabular; a row of nothing is a rule. ``label``: a remark for people."""
    heads = [tex(str(name)) for name in columns]
    body = [" & ".join(cells) + r" \\" if (cells := list(row)) else RULE for row in rows]
    begin = rf"\begin{{tabular}}{{{aligned or 'l' * len(heads)}}}" + (f"  % {label}" if label else "")
    lines = [begin, r"\toprule", " & ".join(heads) + r" \\", RULE, *body, r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, ""])


def tex(text: str) -> str:
    """A text in which no character has a meaning of its own to LaTeX."""
    text = re.sub(r"([&%$#_{}])", r"\\\1", text)
    return text.replace("–", "--").replace("<", r"$<$").replace("†", r"$^\dagger$")
