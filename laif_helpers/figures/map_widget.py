"""Shows the error map inside JupyterLab; the kernel writes the lassoed items to ``selection.json``."""

from pathlib import Path
from typing import Any

import anywidget
import pandas as pd
import traitlets

from laif_helpers.figures.hover_map import RENDERER, payload, plotly_js
from laif_helpers.records import write_json


class ErrorMap(anywidget.AnyWidget):
    """The map of ``points`` (as ``hover_map.error_map_html``); ``path`` is where a selection goes.

    A lassoed region's wrong items are written there at once; letting go (double click) removes the file, so that all
    errors are used again.
    """

    _esm = RENDERER
    payload = traitlets.Bytes().tag(sync=True)
    selected = traitlets.List(traitlets.Unicode()).tag(sync=True)
    status = traitlets.Unicode().tag(sync=True)

    def __init__(self, points: pd.DataFrame, path: Path):
        super().__init__(payload=payload(points))
        self.path = path
        self.on_msg(self._send_plotly)
        self.observe(self._write, names="selected")

    def _send_plotly(self, _: Any, message: Any, buffers: Any) -> None:
        if message == "plotly":
            # By message, not as a trait: a trait's value would be saved in the notebook.
            self.send("plotly", [plotly_js()])

    def _write(self, change: Any) -> None:
        if change["new"]:
            write_json(self.path, {"ids": change["new"]})
            self.status = f"{len(change['new']):,} wrong items written to {self.path.name}; 03 and 04 take these alone"
        else:
            self.path.unlink(missing_ok=True)
            self.status = f"no selection: {self.path.name} is gone, 03 and 04 take all errors"
