"""Figures are drawn from odd tables too, saved as PNG and PDF, and shown once."""

import base64
import gzip
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from laif_helpers import figures
from laif_helpers.arms import ARMS
from laif_helpers.compare import published
from laif_helpers.figures import FLIPS, hover_map
from laif_helpers.figures import LOOKS as LENGTHS
from laif_helpers.figures.repair import repair_lines
from laif_helpers.figures.style import COLUMN, cluster_look
from laif_helpers.paths import RunDir
from laif_helpers.records import write_text

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
            "benchmark": "practice",
            "near": np.where(correct, 0, np.arange(n) % 3 - 1),
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


def test_repair_shows_first_and_last_answers_and_harm_below_zero() -> None:
    places = (("vanilla", 0), ("fine_tuning", 1), ("tripost", 1), ("tripost", 2))
    shares = {"n": 50, "accuracy_first": 0.4, "accuracy_last": 0.5, "contribution": 0.2, "harm": 0.1}
    rows = [{"arm": arm, "iteration": k, "benchmark": "b", **shares} for arm, k in places]
    above, below = repair_lines(pd.DataFrame(rows)).axes
    assert len(above.lines) == 4 and list(above.lines[2].get_xdata()) == [0, 1, 2]
    assert sorted(round(bar.get_height(), 3) for bar in below.patches) == [-0.1] * 4 + [0.2] * 4
    assert len(repair_lines(pd.DataFrame(rows[:1])).axes[1].patches) == 2


def test_iteration_lines_have_a_line_per_arm_and_the_untouched_level() -> None:
    axis = figures.iteration_lines(lines()).axes[0]
    assert {"le", "lec", "untouched"} <= set(axis.get_legend_handles_labels()[1])
    assert figures.iteration_lines(lines(("vanilla",))).axes[0].has_data()


@pytest.mark.slow
def test_figures_for_a_column_fit_into_it(tmp_path: Path) -> None:
    from PIL import Image

    published.draw(tmp_path)
    for stem in ("iterations_column", "radar_column"):
        width = Image.open(tmp_path / f"{stem}.png").size[0] / 200  # dots an inch, as saved
        assert 0.9 * COLUMN < width < 1.05 * COLUMN, (stem, width)


def test_iteration_lines_start_at_the_baseline() -> None:
    axis = figures.iteration_lines(lines()).axes[0]
    starts = [line.get_ydata()[0] for line in axis.get_lines() if line.get_marker() in ("^", "D")]
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


def lightness(colour: str) -> float:
    """What a grey print leaves of a colour, 0 to 255 (ITU-R BT.601, as image libraries convert)."""
    return 255 * float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))


def test_arms_differ_without_colour() -> None:
    colours, markers, dashes = zip(*(arm.look for arm in ARMS.values()), strict=True)
    assert len(set(markers)) == len(set(map(str, dashes))) == len(ARMS)
    assert max(map(lightness, colours)) <= 190, "a line that stands out from white paper"
    repairing = {name for name, arm in ARMS.items() if arm.notebook == "07_tripost"}
    # the two methods' arms share a figure with the baselines, hardly ever with each other
    for group in (ARMS.keys() - repairing, repairing | {"vanilla", "fine_tuning"}):
        levels = sorted(lightness(ARMS[name].look[0]) for name in group)
        assert min(b - a for a, b in itertools.pairwise(levels)) >= 10
    assert lightness(ARMS["lec"].look[0]) - lightness(ARMS["le"].look[0]) >= 30, "these two lie closest"


def test_bars_on_each_other_differ_without_colour() -> None:
    for looks in ([(colour, hatch) for _, _, colour, hatch in FLIPS], [look[1:] for look in LENGTHS]):
        for (first, hatch), (other, crossed) in itertools.pairwise(looks):
            assert abs(lightness(first) - lightness(other)) >= 40 or hatch != crossed


def test_looks_differ_without_colour() -> None:
    assert len({cluster_look(number) for number in range(40)}) == 40
    assert len({cluster_look(number)[1] for number in range(7)}) == 7


def test_error_map_names_clusters() -> None:
    figure = figures.error_map(points())
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert any(label.startswith("0: dozen, boxes") for label in labels)
    assert any(label.startswith("in no cluster") for label in labels)


def unpacked(page: str, name: str) -> str:
    found = re.search(rf'<script type="text/plain" id="{name}">([^<]*)</script>', page)
    assert found
    return gzip.decompress(base64.b64decode(found[1])).decode("utf-8")


def test_error_map_page_is_offline_and_holds_model_text_packed(tmp_path: Path) -> None:
    figures.error_map_html(points(), tmp_path / "map.html")
    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "document.title=" not in page
    assert "plotly.js v" in unpacked(page, "plotly")[:200]
    data = json.loads(unpacked(page, "payload"))
    assert data["id"] == points()["id"].tolist()
    assert data["texts"][data["question"][0]] == HOSTILE
    assert len(data["texts"]) == 4, "every text once: the hostile one, gold, nothing, reason"
    assert data["clusters"]["0"]["name"] == "0: dozen, boxes"
    assert "flip" not in data
    assert "Unpacking" in page
    (tmp_path / "map.png").write_bytes(b"a picture")
    figures.error_map_html(points(), tmp_path / "map.html", tmp_path / "map.png")
    shown = f'src="data:image/png;base64,{base64.b64encode(b"a picture").decode()}"'
    assert shown in (tmp_path / "map.html").read_text(encoding="utf-8")


def test_map_texts_are_cut_and_flips_told() -> None:
    table = points().assign(question="a" * 600, flip="still_wrong")
    data = json.loads(gzip.decompress(hover_map.payload(table)))
    assert data["texts"][data["question"][0]] == "a" * 500 + " … (600 characters)"
    assert set(data["flip"]) == {"still wrong"}


def test_too_many_points_become_a_density(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hover_map, "MOST_MARKS", 500)
    table = pd.concat([points(40)] * 5_000, ignore_index=True)
    data = json.loads(gzip.decompress(hover_map.payload(table)))
    assert len(data["id"]) == 500
    assert not any(data["right"])
    assert "200,000 points are too many" in data["note"]
    assert len(data["density"]["z"]) == len(data["density"]["y"])
    axis = figures.error_map(table).axes[0]
    assert "density" in axis.get_title(loc="left")


def test_widget_writes_and_lets_go_of_a_selection(tmp_path: Path) -> None:
    pytest.importorskip("anywidget", reason="anywidget is not installed")
    from laif_helpers.figures.map_widget import ErrorMap

    widget = ErrorMap(points(), tmp_path / "selection.json")
    widget.selected = ["item-1", "item-3"]
    assert json.loads((tmp_path / "selection.json").read_text()) == {"ids": ["item-1", "item-3"]}
    assert "2 wrong items written" in widget.status
    widget.selected = []
    assert not (tmp_path / "selection.json").exists()


def test_published_numbers_are_the_papers(tmp_path: Path) -> None:
    table = published.main_table().set_index(["model", "arm"])
    assert table.loc[("Mistral-7b-Instruct-v0.2", "lec"), "average"] == "55.1"
    assert [name for name in table.columns if name.endswith("†")] == ["mmlu †", "gsm8k †", "mbpp †"]
    rows = published.iterations()
    assert set(rows.loc[rows["iteration"].isin([1, 2]), "how"]) == {"read off the figure by eye (±0.3)"}
    assert set(rows.loc[rows["iteration"].isin([0, 3]), "how"]) == {"printed"}
    ending = rows[(rows["iteration"] == 3) & (rows["arm"] == "le")].set_index("benchmark")["accuracy"]
    main = published.numbers("main_table").query("model == 'Mistral-7b-Instruct-v0.2' and arm == 'le'")
    assert ending.to_dict() == main.set_index("benchmark")["accuracy"].drop("average").to_dict()
    for name in ("main_table", "merge_table", "iterations"):
        assert published.numbers(name)["source"].str.startswith("arXiv 2407.00497").all()


@pytest.mark.slow
def test_a_run_stands_beside_the_published_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDir(tmp_path / "mine")
    results = lines().assign(split="test", benchmark="gsm8k")
    write_text(
        run.compare / "results.csv", pd.concat([results, results.assign(benchmark="practice")]).to_csv(index=False)
    )
    written = published.draw(tmp_path / "out", run)
    assert {path.suffix for path in written} == {".csv", ".tex", ".md", ".png", ".pdf"}
    assert all(path.stat().st_size > 100 for path in written)
    write_text(run.compare / "results.csv", results.assign(benchmark="practice").to_csv(index=False))
    assert {path.suffix for path in published.draw(tmp_path / "alone", run)} == {".csv", ".tex", ".md"}
    monkeypatch.setattr(published, "save", lambda _, stem: [stem])
    assert len(published.draw(tmp_path / "alone", run, always=True)) == len(written) - 4
    table = pd.read_csv(tmp_path / "out" / "main_table.csv", dtype=str)
    mine = table[(table["model"] == "mine") & (table["arm"] == "lec")].iloc[0]
    assert (mine["gsm8k †"], mine["practice"], mine["mmlu †"], mine["average"]) == ("70.0", "70.0", "–", "70.0")
    assert r"GPT-3.5-turbo" in (tmp_path / "out" / "main_table.tex").read_text()
    with pytest.raises(FileNotFoundError, match="run 06_compare on 'none'"):
        published.draw(tmp_path / "out", RunDir(tmp_path / "none"))
