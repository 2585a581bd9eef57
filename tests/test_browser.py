"""A person's way through the map and the report, in real Chromium: nothing here is stubbed but the model's answers."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from laif_helpers import benchmarks, compare, figures, recipe
from laif_helpers.compare import report
from laif_helpers.paths import NOTEBOOKS, ROOT
from laif_helpers.records import Example, Response, write_jsonl

pytestmark = [pytest.mark.slow]
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (extra test)")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if not CHROMIUM:
    pytest.skip("no Chromium on this machine", allow_module_level=True)

HOSTILE = "</script><script>window.ran = true</script><img src=x onerror='window.ran = true'>"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
COUNT_RUNS = """() => {
  window.runs = 0
  jupyterapp.commands.commandExecuted.connect((_, command) => { window.runs += command.id === "runmenu:run-all" })
}"""
WAIT = 600_000  # as long as two busy cores may need; nothing waits longer than for the thing itself


def answered(example: Example, right: bool) -> Response:
    bench = benchmarks.get(example.benchmark)
    text = str(bench.gold_response(example)) if right else f"{HOSTILE} #### -7"
    shown = {"messages": bench.messages(example), "gold": example.gold, "text": text, "model": "fake"}
    counts = {"prompt_tokens": 1, "new_tokens": 1}
    found = bench.grade(example, text)
    grade = {name: getattr(found, name) for name in ("correct", "extracted", "readable", "reason")}
    return Response(id=example.id, benchmark=example.benchmark, split=example.split, **grade, **shown, **counts)


def write_run(folder: Path) -> recipe.StageParameters:
    """A small run as 01 leaves it: ``explore``, which the notebooks' defaults name; wrong on the planted gaps."""
    p = recipe.build(recipe.StageParameters, {"run": str(folder / "explore"), "limit": 300, "arms": ["le"]})
    draw = random.Random(0)
    for split in ("train", "test"):
        examples = benchmarks.get("practice").load(split, None, 300)
        rows = [answered(e, draw.random() < (0.05 if e.fields["gap"] else 0.97)) for e in examples]
        write_jsonl(p.folder.responses("practice", split), rows)
    return p


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> recipe.StageParameters:
    return write_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=WAIT)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def lab(run: recipe.StageParameters, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab on a copy of the notebooks; its address."""
    pytest.importorskip("anywidget", reason="anywidget is not installed")
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(NOTEBOOKS, home / "notebooks", ignore=shutil.ignore_patterns(".*"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"LAIF_RUNS": str(Path(run.run).parent), "JUPYTER_CONFIG_DIR": str(home / "config")}
    settings |= {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
    }
    settings |= {"JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"), "JUPYTER_RUNTIME_DIR": str(home / "runtime")}
    options = [
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--no-browser",
        "--ip=127.0.0.1",
        "--allow-root",
    ]
    options += ["--IdentityProvider.token=", f"--notebook-dir={home}", "--LabApp.news_url=None"]
    options += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    options += ["--LabApp.expose_app_in_browser=True"]  # the page tells when its kernel is there
    with (home / "lab.log").open("w") as log:
        command = [sys.executable, "-m", "jupyterlab", *options]
        server = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log, cwd=home)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api", server, home / "lab.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _wait_for(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(WAIT // 250):
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.25)
    raise AssertionError(log.read_text()[-2000:])


def wait_until(page: Any, is_so: Callable[[], bool]) -> None:
    """Wait for a thing that the page's kernel or server does, and let the page live meanwhile."""
    for _ in range(WAIT // 250):
        if is_so():
            return
        page.wait_for_timeout(250)
    seen = page.locator("body").inner_text()[-2000:]
    raise AssertionError(f"still not so after {WAIT // 1000} s: {is_so}; the page shows: {seen}")


def opened(browser: Any, lab: str, notebook: str) -> Any:
    """The notebook alone in a workspace of its own: in a shared one Lab reopens the last test's notebook beside it."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(WAIT)
    page.goto(f"{lab}/lab/workspaces/{notebook}/tree/notebooks/{notebook}.ipynb", timeout=WAIT)
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=WAIT)
    assert page.locator(".jp-NotebookPanel").count() == 1
    return page


def run_all(page: Any) -> None:
    """Run > Run All Cells, once page and kernel have joined: a click that comes before is lost without a word."""
    page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext", timeout=WAIT)
    page.evaluate("jupyterapp.shell.currentWidget.context.ready")
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.ready")
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.info.then(() => null)")
    page.wait_for_function("jupyterapp.commands.isEnabled('runmenu:run-all')", timeout=WAIT)
    page.evaluate(COUNT_RUNS)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator(".lm-Menu-item[data-command='runmenu:run-all']").click()
    page.wait_for_function("window.runs > 0", timeout=WAIT)


def hover(page: Any) -> str:
    """Move over the plot until a point answers; its text."""
    box = page.locator(".laif-map .nsewdrag").first.bounding_box()
    for step in range(1, 4000):  # ten times over the plot, if the page is slow to answer
        x, y = box["x"] + box["width"] * (step % 20) / 20, box["y"] + box["height"] * (step // 20 % 20) / 20
        page.mouse.move(x, y)
        page.wait_for_timeout(15)
        if page.locator(".laif-map .tip").first.is_visible():
            return str(page.locator(".laif-map .tip").first.inner_text())
    raise AssertionError("no point answered to the mouse")


def plot_height(page: Any) -> float:
    return float(page.locator(".laif-map .plot").first.bounding_box()["height"])


def lasso(page: Any) -> None:
    """Draw around the whole plot."""
    box = page.locator(".laif-map .nsewdrag").first.bounding_box()
    left, top = box["x"] + 3, box["y"] + 3
    right, bottom = box["x"] + box["width"] - 3, box["y"] + box["height"] - 3
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
        page.mouse.move(x, y, steps=4)
    page.mouse.up()


def test_lasso_in_jupyterlab_reaches_the_instructor(run: recipe.StageParameters, browser: Any, lab: str) -> None:
    page = opened(browser, lab, "02_error_analysis")
    ended = run.folder.metrics("02_error_analysis").is_file
    run_all(page)
    wait_until(page, ended)
    plot = page.locator(".laif-map .nsewdrag").first
    plot.wait_for(state="attached", timeout=WAIT)
    plot.scroll_into_view_if_needed()
    assert "question" in hover(page)
    assert not page.evaluate("window.ran === true"), "model text ran as a script"
    lasso(page)
    wait_until(page, run.folder.selection.is_file)
    page.get_by_text("wrong items written to selection.json").wait_for(timeout=WAIT)
    if shots := os.environ.get("LAIF_SCREENSHOTS"):
        page.screenshot(path=f"{shots}/lab_map.png")
    page.locator(".jp-WindowedPanel-outer").first.evaluate("element => element.scrollTop = 0")
    answer = page.locator(".jp-OutputArea-output", has_text="weaknesses and hold").first
    answer.wait_for(timeout=WAIT)
    wait_until(page, lambda: answer.bounding_box()["y"] < 700)  # the answer stands on the first screen
    page.close()
    ids = json.loads(run.folder.selection.read_text())["ids"]
    responses = [json.loads(line) for line in run.folder.responses("practice", "train").read_text().splitlines()]
    assert set(ids) <= {row["id"] for row in responses if not row["correct"]}
    assert len(ids) >= 15
    asked = instruct_on_selection(run)
    assert asked
    assert asked <= set(ids)


def instruct_on_selection(run: recipe.StageParameters) -> set[str]:
    """Run notebook 03 headless on the first half of the selection; the ids that it asked about."""
    half = json.loads(run.folder.selection.read_text())["ids"][::2]
    run.folder.selection.write_text(json.dumps({"ids": half}))
    out = Path(run.run) / "03.ipynb"
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(NOTEBOOKS / "03_instruct_LE.ipynb"),
        str(out),
        "-p",
        "BUDGET",
        "40",
    ]
    environment = os.environ | {"LAIF_RUNS": str(Path(run.run).parent)}
    subprocess.run([*command, "--no-progress-bar"], check=True, capture_output=True, env=environment)
    rows = (Path(run.run) / "le" / "iter1" / "instruct" / "le.requests.jsonl").read_text().splitlines()
    asked = {id for row in rows for id in json.loads(row)["source_ids"]}
    assert asked <= set(half)
    return asked


def test_the_contrast_explorer_answers_to_list_and_slider(run: recipe.StageParameters, browser: Any, lab: str) -> None:
    page = opened(browser, lab, "04_instruct_LEC")
    ended = recipe_of(run, "lec").folder.metrics("04_instruct_LEC").is_file
    run_all(page)
    wait_until(page, ended)
    explorer = page.locator(".widget-vbox", has=page.locator(".widget-slider")).first
    explorer.wait_for(state="attached", timeout=WAIT)
    explorer.scroll_into_view_if_needed()
    rows = explorer.locator(".widget-html tbody tr")

    def text() -> str:
        return explorer.locator(".widget-html").first.text_content() or ""

    wait_until(page, lambda: rows.count() == 3)
    first = text()
    assert "Words that no neighbour has" in first
    handle = explorer.locator(".noUi-handle").first
    handle.focus()
    for _ in range(2):
        handle.press("ArrowRight")
    wait_until(page, lambda: rows.count() == 5)
    explorer.locator("select").select_option(index=1)
    wait_until(page, lambda: text()[:200] != first[:200])
    assert not page.evaluate("window.ran === true"), "model text ran as a script"
    height = page.evaluate("document.querySelector('.jp-WindowedPanel-inner, .jp-Notebook').scrollHeight")
    assert height <= 8 * 1000, f"04 takes {height / 1000:.1f} screens"
    if shots := os.environ.get("LAIF_SCREENSHOTS"):
        page.screenshot(path=f"{shots}/lab_explorer.png")
    page.close()


def recipe_of(run: recipe.StageParameters, arm: str) -> recipe.StageParameters:
    return recipe.build(recipe.StageParameters, {"run": run.run, "arm": arm, "iteration": 1})


def offline_page(browser: Any, path: Path) -> tuple[Any, list[str]]:
    """The file opened with the network off, and all that went wrong: requests that left, errors, scripts that ran."""
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
    context.set_default_timeout(WAIT)
    page, wrong = context.new_page(), []
    page.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto(path.as_uri())
    return page, wrong


def test_saved_map_works_without_network(tmp_path: Path, browser: Any) -> None:
    import pandas as pd

    draw = random.Random(0)
    rows = [{"id": f"item-{i}", "x": draw.random(), "y": draw.random(), "cluster": i % 3 - 1} for i in range(200)]
    points = pd.DataFrame(rows).assign(question=HOSTILE, gold="12", extracted=None, text=HOSTILE, reason="no number")
    points = points.assign(
        correct=points["cluster"] < 0,
        near=points["cluster"],
        cluster_name=HOSTILE,
        benchmark="practice",
        sentence=HOSTILE,
    )
    figures.error_map_html(points, tmp_path / "map.html")
    page, wrong = offline_page(browser, tmp_path / "map.html")
    page.wait_for_selector(".laif-map .nsewdrag", state="attached")
    assert "<script>window.ran" in hover(page)
    page.select_option("select.colour", "grade")
    page.get_by_text("wrong (N = ").wait_for()
    page.fill(".laif-map input[type=search]", "item-17")
    page.get_by_text("11 found").wait_for()
    page.fill(".laif-map input[type=search]", "")
    for width in (900, 1200):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function("document.querySelector('.laif-map .plot')._fullLayout.width < innerWidth")
        page.select_option("select.colour", "cluster" if width < 1000 else "grade")
        page.wait_for_timeout(300)
        assert plot_height(page) > 600, f"the map is gone after a change of the window to {width} pixels"
    lasso(page)
    page.get_by_text("wrong items selected").wait_for()
    page.select_option("select.colour", "cluster")
    assert page.get_by_text("wrong items selected").is_visible()
    with page.expect_download() as download:
        page.click("button.save")
    assert download.value.suggested_filename == "selection.json"
    ids = json.loads(Path(download.value.path()).read_text())["ids"]
    assert set(ids) <= set(points.loc[~points["correct"], "id"])
    assert ids
    assert not page.evaluate("window.ran === true")
    assert not wrong
    page.context.close()


def test_report_opens_without_network(run: recipe.StageParameters, browser: Any) -> None:
    answers, missing = compare.collect(run)
    table, sliced = compare.results(answers, 0), compare.slices(answers)
    shown = answers.assign(before=answers["text"], after=answers["text"]).head(5)
    columns = ["arm", "iteration", "benchmark", "question", "gold", "before", "after"]
    tables = {"results": table, "slices": sliced}
    path = report.write(run, tables, {"Broken": shown[columns]}, compare.draw(run, sliced), missing)
    assert path.stat().st_size < 5e6
    page, wrong = offline_page(browser, path)
    assert page.locator("table").count() >= 2
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 100)")
    assert not page.locator("#recipe").is_visible()
    page.get_by_role("link", name="Recipe").click()
    assert page.locator("#recipe").is_visible(), "a link to a closed section opens it"
    page.set_viewport_size({"width": 760, "height": 900})  # an upright sheet of A4
    page.emulate_media(media="print")
    cut = "[...document.querySelectorAll('details[open] table')].filter(table => table.scrollWidth > innerWidth).length"
    assert page.evaluate(cut) == 0, "a printed table loses columns"
    assert not page.evaluate("window.ran === true")
    assert not wrong
    page.context.close()
