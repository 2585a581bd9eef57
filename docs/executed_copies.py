"""Writes ``docs/gallery/``: executed copies of a run's notebooks, small enough for a page of the repository."""

import base64
import html
import io
import json
import re
from typing import Any

from laif_helpers.paths import NOTEBOOKS, ROOT, RunDir
from laif_helpers.runner import notebook

GALLERY: dict[str, dict[str, tuple[str, int] | None]] = {
    "quickstart": {
        "01_evaluate": ("vanilla", 0),
        "02_error_analysis": ("vanilla", 0),
        "03_instruct_LE": ("le", 1),
        "04_instruct_LEC": ("lec", 1),
        "05_train_deepspeed": ("lec", 1),
        "06_compare": None,
    },
    "tripost_dates": {"07_tripost": ("tripost", 1), "08_repair": ("tripost", 1)},
    "league_gallery": {"09_self_training": ("rft", 1), "10_distil": ("opd_contrast", 1)},
}
"""Whose executed copy is shown, by run; 06 belongs to no arm."""
MOST_BYTES = 400_000
WIDGETS = "application/vnd.jupyter.widget-state+json"
PICTURE_WIDTH = 900
LONGEST_OUTPUT = 30_000
"""Characters of HTML or text kept of one output: tables stay, interactive maps (megabytes of script) go."""
INTERACTIVE = re.compile(
    r'<script.*?</script>|<table id="itables_[^>]*hidden.*?</table>|<sup><noscript>.*?</sup>', re.S
)
"""What itables adds to the plain table that a page without scripts shows."""


def write(run: RunDir, shown: dict[str, tuple[str, int] | None]) -> None:
    """Executed copies of the run's notebooks in ``docs/gallery/``. Raises ValueError if one exceeds ``MOST_BYTES``."""
    folder = ROOT / "docs" / "gallery"
    folder.mkdir(exist_ok=True)
    for name, place in shown.items():
        notebooks = run.iteration(*place).notebooks if place else run.compare / "notebooks"
        copy = notebook.read(notebooks / f"{name}.ipynb")
        widgets = copy["metadata"].get("widgets", {}).get(WIDGETS, {}).get("state", {})
        copy["metadata"] = notebook.read(NOTEBOOKS / f"{name}.ipynb")["metadata"]
        for cell in copy["cells"]:
            cell["metadata"] = {}
            if cell["cell_type"] == "code":
                cell["outputs"] = [small for output in cell["outputs"] if (small := _small(output, widgets))]
        text = json.dumps(copy, ensure_ascii=False, indent=1).replace("../docs/gallery/", "")
        for root in (run.path.parents[1], ROOT):  # nobody else has these folders
            text = text.replace(f"{root}/", "")
        if len(text.encode()) > MOST_BYTES:
            raise ValueError(f"{name}: {len(text.encode()):,} bytes, more than {MOST_BYTES:,}; lower LONGEST_OUTPUT")
        (folder / f"{name}.ipynb").write_text(text, encoding="utf-8")


def _small(output: dict[str, Any], widgets: dict[str, Any]) -> dict[str, Any]:
    """An output as the gallery keeps it: pictures scaled down, nothing of more than ``LONGEST_OUTPUT``, and of a
    widget the texts that it ended with, since a page shows no widget."""
    if output["output_type"] == "stream":
        return output | {"text": "".join(output["text"])[-LONGEST_OUTPUT:]}
    data = {kind: "".join(value) for kind, value in output.get("data", {}).items() if isinstance(value, str | list)}
    if view := output.get("data", {}).get("application/vnd.jupyter.widget-view+json"):
        parts = [
            widgets[child.removeprefix("IPY_MODEL_")]["state"].get("value")
            for child in widgets.get(view["model_id"], {}).get("state", {}).get("children", [])
        ]
        text = " ".join(part for part in parts if isinstance(part, str))
        data = {"text/html": text} if "<" in text else {"text/plain": html.unescape(text)}
    if "image/png" in data:
        return output | {"data": {"image/png": _scaled(data["image/png"])}, "metadata": {}}
    if "text/html" in data:
        data["text/html"] = INTERACTIVE.sub("", data["text/html"])
    kept = {kind: value for kind, value in data.items() if value and len(value) <= LONGEST_OUTPUT}
    return output | {"data": kept, "metadata": {}} if kept else {}


def _scaled(png: str) -> str:
    """A base64 PNG at most ``PICTURE_WIDTH`` pixels wide, in 64 colours: charts lose nothing that the eye sees."""
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.thumbnail((PICTURE_WIDTH, 10 * PICTURE_WIDTH))
    buffer = io.BytesIO()
    picture.quantize(64).save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
