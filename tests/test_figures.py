"""Figures are drawn from odd tables too, saved as PNG and PDF, and shown once."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from laif_helpers import figures
from laif_helpers.figures.hover_map import wrapped
from laif_helpers.figures.style import ARM_LOOKS, cluster_look

HOSTILE = "</script><script>document.title='run'</script><img src=x onerror=alert(1)> %{x} <b>$E$"


def lines(arms: tuple[str, ...] = ("vanilla", "le", "lec")) -> pd.DataFrame:
    rows = []
    for arm in arms:
        for k in [0] if arm == "vanilla" else [1, 2]:
            row = {"arm": arm, "iteration": k, "benchmark": "practice", "n": 100, "accuracy": 0.5 + 0.1 * k}
            rows.append(row | {"ci_low": 0.4 + 0.1 * k, "ci_high": 0.6 + 0.1 * k})
    return pd.DataFrame(rows)


def points(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    correct = np.arange(n) % 4 == 0
    return pd.DataFrame(
        {
            "id": [f"item-{i}" for i in range(n)],
            "x": rng.normal(size=n),
            "y": rng.normal(size=n),
            "correct": correct,
            "cluster": np.where(correct, -1, np.arange(n) % 3 - 1),
            "cluster_name": "dozen, boxes",
            "question": HOSTILE,
            "gold": "12",
            "extracted": None,
            "text": HOSTILE,
            "reason": "no number",
        }
    )


def test_save_writes_both_and_the_same_bytes_twice(tmp_path: Path) -> None:
    first = figures.save(figures.funnel({"requested": 10, "kept": 4}), tmp_path / "a" / "funnel")
    assert [path.name for path in first] == ["funnel.png", "funnel.pdf"]
    again = figures.save(figures.funnel({"requested": 10, "kept": 4}), tmp_path / "b" / "funnel")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert not list((tmp_path / "a").glob(".*"))


def test_figures_are_closed_for_pyplot() -> None:
    import matplotlib.pyplot as plt

    figures.funnel({"requested": 1})
    assert plt.get_fignums() == []


def test_iteration_lines_have_a_line_per_arm_and_the_untouched_level() -> None:
    axis = figures.iteration_lines(lines()).axes[0]
    assert {"le", "lec", "untouched"} <= set(axis.get_legend_handles_labels()[1])
    assert figures.iteration_lines(lines(("vanilla",))).axes[0].has_data()


def test_iteration_lines_start_at_the_baseline() -> None:
    axis = figures.iteration_lines(lines()).axes[0]
    starts = [line.get_ydata()[0] for line in axis.get_lines() if line.get_linestyle() == "-"]
    assert starts == [0.5, 0.5]


def test_flips_bars_fill_the_row() -> None:
    row = {"label": "le 1", "n": 10, "still_right": 5, "fixed": 2, "broken": 1, "still_wrong": 2}
    axis = figures.flips(pd.DataFrame([row])).axes[0]
    assert sum(bar.get_width() for bar in axis.patches if bar.get_height() == pytest.approx(0.72)) == pytest.approx(1.0)


def test_budget_curves_panels() -> None:
    rows = [
        {"budget": b, "seed": s, "arm": arm, "iteration": k, "panel": panel, "accuracy": 0.5}
        for b in (150, 300)
        for s in (0, 1)
        for arm, k in (("vanilla", 0), ("le", 1), ("le", 2))
        for panel in ("all", "gaps")
    ]
    figure = figures.budget_curves(pd.DataFrame(rows))
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "all, iteration 1",
        "gaps, iteration 1",
        "all, iteration 2",
        "gaps, iteration 2",
    ]


def test_accuracy_and_loss_draw() -> None:
    row = {
        "benchmark": "practice",
        "split": "test",
        "n": 5,
        "accuracy": 1.0,
        "ci_low": 0.57,
        "ci_high": 1.0,
        "chance": 0.0,
    }
    assert figures.accuracy(pd.DataFrame([row])).axes[0].has_data()
    log = pd.DataFrame({"step": range(20), "loss": [*np.linspace(2, 1, 19), None]})
    assert len(figures.loss_curve(log).axes[0].get_lines()) == 2


def test_looks_differ_without_colour() -> None:
    assert len({(marker, str(dashes)) for _, marker, dashes in ARM_LOOKS.values()}) == len(ARM_LOOKS)
    assert len({cluster_look(number) for number in range(40)}) == 40
    assert len({cluster_look(number)[1] for number in range(7)}) == 7


def test_error_map_names_clusters() -> None:
    figure = figures.error_map(points())
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert any(label.startswith("0: dozen, boxes") for label in labels)
    assert any(label.startswith("in no cluster") for label in labels)


def test_error_map_page_is_offline_and_escapes_the_model(tmp_path: Path) -> None:
    path = tmp_path / "map.html"
    figure = figures.error_map_html(points(), path)
    page = path.read_text(encoding="utf-8")
    assert '<script src="http' not in page
    assert "document.title='run'</script>" not in page
    assert "<img src=x" not in page
    assert page.count("plotly.js v") >= 1
    ids = [str(name) for trace in figure.data for name in trace.customdata]
    assert sorted(ids) == sorted(points()["id"])
    hover = figure.data[0].hovertext[0]
    assert "&lt;script&gt;" in hover
    assert "<script" not in hover
    assert path.stat().st_size < 8e6


def test_wrapped_cuts_and_escapes() -> None:
    assert wrapped("a" * 30, 10) == "a" * 10 + " …"
    assert wrapped("<b>&\n\nx", 99) == "&lt;b&gt;&amp;<br><br>x"
    assert wrapped("", 5) == ""
