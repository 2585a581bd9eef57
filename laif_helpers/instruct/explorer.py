"""Shows the contrast explorer of notebook 04: pick an error, slide k, see what its right neighbours share with it."""

import re
from dataclasses import dataclass
from typing import Any

import pandas as pd

from laif_helpers.answers.pools import Answered, Study
from laif_helpers.embeddings import words
from laif_helpers.instruct.planning import Plan, nearest_right
from laif_helpers.instruct.requests import Near
from laif_helpers.instruct.tables import Shown
from laif_helpers.recipe import StageParameters

MOST = 12
"""The largest k to slide to: more questions add nothing to a request."""
LABEL = 70
"""Characters of a question in the list to pick from."""
COMMON = re.compile(r"0|an?|the|of|to|in|on|at|is|are|was|and|for|s?he|it|his|her|they|their|how|many|much")
"""Words that every question shares; they are not shown as shared."""


@dataclass(frozen=True)
class Explorer:
    """The errors asked about, each with its ``MOST`` nearest right items."""

    plan: Plan
    p: StageParameters
    near: dict[str, Near]

    def at(self, which: int, k: int) -> Shown:
        """One error beside its k nearest right questions: distance, and words shared."""
        if not self.plan.requests:
            return Shown(pd.DataFrame(), "There is no error to contrast.")
        item = self.plan.requests[which % len(self.plan.requests)]
        study = self.plan.studies[item.benchmark]
        source, near = study.everything[item.source_ids[0]], self.near[item.source_ids[0]][:k]
        own = dict.fromkeys(word for word in words(_text(study, source)) if not COMMON.fullmatch(word))
        rows, seen = [], set[str]()
        for id, distance in near:
            other = set(words(_text(study, study.everything[id])))
            seen |= other
            shared = ", ".join(word for word in own if word in other)
            rows.append((round(distance, 3), _text(study, study.everything[id]), shared))
        alone = ", ".join(word for word in own if word not in seen) or "none"
        wording = f"Error {source.example.id}: {_text(study, source)} Words that no neighbour has: {alone}."
        columns = ["distance", "right neighbour", "words shared with the error"]
        return Shown(pd.DataFrame(rows, columns=columns), wording)

    def widget(self) -> Any:
        """``at`` with a list of errors and a slider for k; without requests, the empty table.

        The table is written into an HTML widget, since ipykernel 7 captures nothing in an ``Output`` widget.
        """
        import ipywidgets

        if not self.plan.requests:
            return self.at(0, self.p.k)
        labels = [(self._label(at), at) for at in range(len(self.plan.requests))]
        most = max(map(len, self.near.values()))
        error = ipywidgets.Dropdown(options=labels, description="error", layout={"width": "52em"})
        slider = ipywidgets.IntSlider(min(self.p.k, most), 1, most, description="k", continuous_update=False)
        table = ipywidgets.HTML()

        def show(_: Any = None) -> None:
            shown = self.at(error.value, slider.value)._repr_html_()
            table.value = f'<div style="line-height: 1.4">{shown}</div>'  # a widget's own lines are twice as high

        for control in (error, slider):
            control.observe(show, "value")
        show()
        return ipywidgets.VBox([error, slider, table])

    def _label(self, at: int) -> str:
        item = self.plan.requests[at]
        study = self.plan.studies[item.benchmark]
        return f"{at}: {_text(study, study.everything[item.source_ids[0]])[:LABEL]}"


def explorer(plan: Plan, p: StageParameters) -> Explorer:
    """Look up the neighbours of all errors asked about, as far as the slider goes."""
    near: dict[str, Near] = {}
    for name, study in plan.studies.items():
        ids = [item.source_ids[0] for item in plan.requests if item.benchmark == name]
        if ids:
            near |= nearest_right(p, study, [study.everything[id] for id in ids], min(MOST, len(study.right)))[0]
    return Explorer(plan, p, near)


def _text(study: Study, item: Answered) -> str:
    return study.bench.question_text(item.example)
