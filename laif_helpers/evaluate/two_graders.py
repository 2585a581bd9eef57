"""Shows what a person checks before trusting the grades: where the two graders differ, and all answers to filter."""

import pandas as pd

from laif_helpers.answers.joined import shortened
from laif_helpers.evaluate.tables import kind
from laif_helpers.figures.html import escaped

_SHOWN = 400
"""Most rows in the table to filter; a notebook stays a few megabytes."""
_LONGEST = 700
"""Characters shown of one text there."""
_WIDTHS = (8, 8, 26, 7, 7, 5, 5, 8, 26)
# Text stays text: it is only moved into a box that wraps and scrolls, with the line ends that pandas wrote as "\\n".
_CELL = """function (td) {
  const box = document.createElement('div');
  box.textContent = td.textContent.replaceAll('\\\\n', '\\n');
  box.style.cssText = 'white-space:pre-wrap;overflow-wrap:anywhere;max-height:14em;overflow:auto;text-align:left';
  td.replaceChildren(box);
  td.style.verticalAlign = 'top';
}"""


def second_opinion(df: pd.DataFrame) -> pd.DataFrame:
    """Per benchmark and split: n, how many the two graders call right and wrong alike, and how often they differ.

    ``second_read_nothing``: wrong by the first, nothing read by the second; these count as errors.
    """
    first, second = df["correct"].astype(bool), df["second_correct"]
    marks = {
        "both_right": first & second.eq(True),
        "both_wrong": ~first & second.eq(False),
        "second_read_nothing": ~first & second.isna(),
        "only_first_right": first & second.eq(False),
        "only_second_right": ~first & second.eq(True),
        "errors": df["is_error"].astype(bool),
    }
    groups = shortened(df).assign(n=1, **marks).groupby(["benchmark", "split"], sort=False)
    return groups[["n", *marks]].sum().reset_index()


def observation_on_audit(table: pd.DataFrame) -> str:
    """What ``second_opinion``'s table says, as Markdown."""
    n, differ = int(table["n"].sum()), int(table[["only_first_right", "only_second_right"]].sum().sum())
    if int(table["both_right"].sum() + table["both_wrong"].sum()) == 0:
        return (
            "**Observation.** No second grader read these answers (`AUDIT` is off): every wrong one counts as an error."
        )
    return (
        f"**Observation.** The graders differ on {differ:,} of {n:,} answers ({100 * differ / max(n, 1):.1f} %). "
        f"{int(table['errors'].sum()):,} are errors by both; {int(table['only_second_right'].sum()):,} that only the "
        "first calls wrong are kept from the error analysis and from the instructor."
    )


def disputed(df: pd.DataFrame, n: int = 20) -> str:
    """HTML of up to ``n`` answers on which the graders differ, those called wrong by the first alone at the top."""
    second = df["second_correct"]
    differ = df[(df["correct"].astype(bool) & second.eq(False)) | (~df["correct"].astype(bool) & second.eq(True))]
    shown = differ.sort_values("correct", kind="stable").head(n)
    ends = ["…" + text[-300:] if len(text) > 300 else text for text in shown["text"]]
    columns = ["id", "gold", "extracted", "reason", "second_read"]
    names = {"extracted": "first read", "reason": "and why", "second_read": "second read"}
    return escaped(shown[columns].assign(response=ends).rename(columns=names))


def browse(df: pd.DataFrame) -> None:
    """Show answers as a table to search, sort and filter (DataTables, works offline); texts are shown as text.

    Disputed, unreadable and wrong answers come first if there are more than fit.
    """
    import itables
    from IPython.display import HTML, display

    style = ".dt-container tfoot input { width: 90%; box-sizing: border-box; }"
    display(HTML(f"<style>{style} .dt-container th {{ text-align: left !important; }}</style>"))
    itables.init_notebook_mode(all_interactive=False, connected=False)
    table, _ = for_browsing(df)
    itables.show(
        table,
        connected=False,
        allow_html=False,
        showIndex=False,
        column_filters="footer",
        maxBytes=0,
        classes="display compact tex2jax_ignore mathjax_ignore",
        lengthMenu=[5, 10, 25],
        autoWidth=False,
        style="table-layout:fixed;width:100%;caption-side:bottom",
        columnDefs=[
            {"targets": "_all", "createdCell": itables.JavascriptFunction(_CELL)},
            *({"targets": place, "width": f"{share}%"} for place, share in enumerate(_WIDTHS)),
        ],
    )


def for_browsing(df: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The rows that ``browse`` shows, most informative first, and how many were left out."""
    kinds = [_kind(row) for row in df.to_dict("records")]
    order = {"disputed": 0, "unreadable": 1, "wrong": 2, "right": 3}
    places = sorted(range(len(df)), key=lambda place: order[kinds[place]])[:_SHOWN]
    chosen = shortened(df).iloc[places]
    table = pd.DataFrame(
        {
            "benchmark": chosen["benchmark"] + ", " + chosen["split"],
            "grade": [kinds[place] for place in places],
            "question": [_cut(text) for text in chosen["question"]],
            "gold": [_cut(text) for text in chosen["gold"]],
            "read": ["" if not isinstance(text, str) else _cut(text) for text in chosen["extracted"]],
            "tokens": chosen["new_tokens"],
            "cut": ["cut" if cut else "" for cut in chosen.get("cut", [False] * len(chosen))],
            "thought": [_cut(text) for text in chosen.get("thought", [""] * len(chosen))],
            "response": [_cut(text) for text in chosen["text"]],
        }
    )
    return table.reset_index(drop=True), len(df) - len(table)


def _kind(row: dict[str, object]) -> str:
    second = row.get("second_correct")
    return "disputed" if isinstance(second, bool) and second != bool(row["correct"]) else kind(row)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"
