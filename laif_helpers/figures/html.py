"""Shows tables with words that a model wrote, in a notebook or on a page: always escaped."""

import html
from typing import Any

import pandas as pd


def escaped(table: pd.DataFrame, most: int = 600) -> str:
    """The table as HTML, every cell escaped and cut at ``most`` characters: models write HTML and script too."""
    if table.empty:
        return "<p>None.</p>"
    style = "<style scoped>td, th { text-align: left !important; vertical-align: top; white-space: pre-wrap; }</style>"
    cells = table.map(lambda cell: html.escape(cut(str(cell), most)).replace("\n", "<br>"))
    body = cells.to_html(index=False, escape=False, border=0)
    return f'{style}<div class="tex2jax_ignore mathjax_ignore">{body}</div>'


def cut(text: str, most: int) -> str:
    """A text, or its first ``most`` characters and how many it has."""
    return text if len(text) <= most else f"{text[:most]} … ({len(text):,} characters)"


def start_tables() -> None:
    """Put itables' script into the notebook, once, so that ``sortable`` tables work without a network."""
    import itables

    itables.init_notebook_mode(all_interactive=False, connected=False)


def sortable(table: pd.DataFrame, most: int = 300, rows: int = 10) -> str:
    """The table as HTML that sorts by a click and filters by typing; escaped, texts cut at ``most`` characters.

    Needs ``start_tables`` in the notebook; a viewer that runs no script shows a plain table instead.
    """
    import itables

    if table.empty:
        return "<p>None.</p>"
    options: dict[str, Any] = {"connected": False, "allow_html": False, "showIndex": False, "maxBytes": 0}
    layout = {"topStart": "search" if len(table) > 5 else None, "topEnd": None, "bottomStart": None}
    layout |= {"bottomEnd": "paging" if len(table) > rows else None}
    options |= {"layout": layout, "pageLength": rows, "classes": "display compact", "style": "width:auto;margin:0"}
    shown = table.map(lambda cell: cut(cell, most) if isinstance(cell, str) else cell)
    return f'<div class="tex2jax_ignore mathjax_ignore">{itables.to_html_datatable(shown, **options)}</div>'
