"""Shows tables and pages with words that a model wrote: always escaped."""

import html
from pathlib import Path
from typing import Any

import pandas as pd

# Text stays text: it is only moved into a box that wraps and scrolls, with the line ends that pandas wrote as "\\n".
_BOX = """function (td) {
  const box = document.createElement('div');
  box.textContent = td.textContent.replaceAll('\\\\n', '\\n');
  box.style.cssText = 'white-space:pre-wrap;overflow-wrap:anywhere;max-height:14em;overflow:auto;text-align:left';
  td.replaceChildren(box);
  td.style.verticalAlign = 'top';
}"""


def render(template: Path, **values: Any) -> str:
    """A Jinja template, filled. Everything that is put into a page of HTML is escaped, and nothing needs a network."""
    from jinja2 import Environment

    escape = ".html" in template.name
    page = Environment(autoescape=escape, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    page.filters["cut"] = cut
    return page.from_string(template.read_text(encoding="utf-8")).render(values)


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


def sortable(table: pd.DataFrame, most: int = 300, rows: int = 10, **more: Any) -> str:
    """The table as HTML that sorts by a click and filters by typing; escaped, texts cut at ``most`` characters.

    Needs ``start_tables`` in the notebook; a viewer that runs no script shows a plain table instead. ``more``: options
    of itables.
    """
    import itables

    if table.empty:
        return "<p>None.</p>"
    options: dict[str, Any] = {"connected": False, "allow_html": False, "showIndex": False, "maxBytes": 0}
    layout = {"topStart": "search" if len(table) > 5 else None, "topEnd": None, "bottomStart": None}
    layout |= {"bottomEnd": "paging" if len(table) > rows else None}
    options |= {"layout": layout, "pageLength": rows, "classes": "display compact", "style": "width:auto;margin:0"}
    options["columnDefs"] = [
        {"targets": "_all", "className": "dt-left", "createdCell": itables.JavascriptFunction(_BOX)}
    ]
    shown = table.map(lambda cell: cut(cell, most) if isinstance(cell, str) else cell)
    narrow = "<style scoped>tfoot input { width: 100%; min-width: 4em; box-sizing: border-box; }</style>"
    table_html = itables.to_html_datatable(shown, **options, **more)
    return f'{narrow}<div class="tex2jax_ignore mathjax_ignore">{table_html}</div>'
