"""Defines what all figures share, and saves figures.

Colours that the colour-blind can distinguish (Okabe and Ito 2008), markers and line styles that survive greyscale, and
text that stays readable at the width of a paper's column.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laif_helpers import arms
from laif_helpers.records import written_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure
else:
    Figure = Any  # an annotation alone: matplotlib is imported by the first figure

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    *("#000000", "#E69F00", "#56B4E9", "#009E73"),
    *("#F0E442", "#0072B2", "#D55E00", "#CC79A7"),
)
GREY = "#767676"
CLUSTER_COLOURS = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, BLACK)
CLUSTER_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WIDTH, COLUMN = 7.0, 3.5
"""Inches: a page of text, and one of its two columns."""


def style() -> dict[str, Any]:
    """matplotlib settings of all figures: its own defaults, not what a user has set for other programs, and ours."""
    import matplotlib

    defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith("backend")}
    ours = matplotlib.rc_params_from_file(Path(__file__).with_suffix(".mplstyle"), use_default_template=False)
    return defaults | ours


def _pyplot() -> Any:
    """pyplot, with a backend that needs no screen: MPLBACKEND or a matplotlibrc may ask for one that opens windows."""
    import matplotlib
    from matplotlib.backends import BackendFilter, backend_registry

    asked = str(matplotlib.get_backend(auto_select=False)).lower()
    if asked in backend_registry.list_builtin(BackendFilter.INTERACTIVE):
        in_a_kernel = "ipykernel" in sys.modules
        matplotlib.use("module://matplotlib_inline.backend_inline" if in_a_kernel else "agg")
    import matplotlib.pyplot as plt

    return plt


@contextmanager
def canvas(rows: int = 1, columns: int = 1, **options: Any) -> "Iterator[tuple[Figure, Any]]":
    """A figure and its axes, an array (rows, columns), in our style; closed for pyplot afterwards."""
    plt = _pyplot()
    with plt.rc_context(style()):
        figure, axes = plt.subplots(rows, columns, squeeze=False, **options)
        try:
            yield figure, axes
        finally:
            plt.close(figure)


def save(figure: "Figure", stem: Path) -> list[Path]:
    """Write ``stem``.png and ``stem``.pdf, without dates so that the same figure gives the same bytes."""
    plt = _pyplot()
    written = []
    with plt.rc_context(style()):
        # laid out and measured once: each file would do it again, which takes longer than to write it
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        box = figure.get_tightbbox().padded(plt.rcParams["savefig.pad_inches"])
        for suffix, metadata in ((".png", {"Software": ""}), (".pdf", {"CreationDate": None})):
            path = stem.with_name(stem.name + suffix)
            with written_whole(path) as half:
                figure.savefig(half, metadata=metadata, bbox_inches=box)
            written.append(path)
    return written


def percent_axis(axis: Any, label: str) -> None:
    axis.set_label_text(f"{label} (%)")
    axis.set_major_formatter(lambda value, _: f"{100 * value:g}")


def cluster_look(cluster: int) -> tuple[str, str]:
    """Colour and marker of a cluster, by its number alone: 7 colours, then the next marker."""
    if cluster < 0:
        return GREY, "x"
    step = cluster + cluster // len(CLUSTER_COLOURS)
    return CLUSTER_COLOURS[cluster % len(CLUSTER_COLOURS)], CLUSTER_MARKERS[step % len(CLUSTER_MARKERS)]


def arm_look(arm: str) -> tuple[str, Any, Any]:
    """Colour, marker, line style; an arm without a row gets yellow crosses."""
    return arms.row(arm).look
