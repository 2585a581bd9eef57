"""Tables with words that a model wrote, shown in a notebook or on a page: always escaped."""

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def escaped(table: "pd.DataFrame", most: int = 600) -> str:
    """The table as HTML, every cell escaped and cut at ``most`` characters: models write HTML and script too."""
    if table.empty:
        return "<p>None.</p>"
    style = "<style scoped>td, th { text-align: left !important; vertical-align: top; white-space: pre-wrap; }</style>"
    body = table.map(lambda cell: _escape(str(cell), most)).to_html(index=False, escape=False, border=0)
    return f'{style}<div class="tex2jax_ignore mathjax_ignore">{body}</div>'


def _escape(text: str, most: int) -> str:
    cut = text if len(text) <= most else f"{text[:most]} … ({len(text):,} characters)"
    return html.escape(cut).replace("\n", "<br>")
