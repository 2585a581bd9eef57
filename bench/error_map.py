"""The interactive error map at 10,000 points: size, first paint, hover, lasso in headless Chromium.

``python bench/error_map.py [POINTS]``; the texts are as long as questions and answers of GSM8K, but of random
words, so that they compress worse than real ones.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from laif_helpers import figures

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def made_up(n: int) -> pd.DataFrame:
    """n points, two fifths wrong, in 20 clusters."""
    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlu"))
    words = ["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(5_000)]
    texts = [[" ".join(rng.choice(words, 45)) for _ in range(n)] for _ in range(2)]
    correct = rng.random(n) < 0.6
    near = rng.integers(-1, 20, n)
    table = pd.DataFrame({"id": [f"item-{i}" for i in range(n)], "question": texts[0], "text": texts[1]})
    table = table.assign(x=rng.normal(size=n), y=rng.normal(size=n), correct=correct, near=near)
    table["cluster"] = np.where(correct, -1, near)
    return table.assign(benchmark="gsm8k", cluster_name="dozen, boxes", gold="12", extracted="7", reason="7 is not 12")


def main(n: int = 10_000) -> None:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    points, path = made_up(n), Path(tempfile.mkdtemp()) / "map.html"
    begin = time.perf_counter()
    figures.save(figures.error_map(points), path.with_suffix(""))
    figures.error_map_html(points, path, path.with_suffix(".png"))
    print(f"{n:,} points: written in {time.perf_counter() - begin:.1f} s, {path.stat().st_size / 1e6:.2f} MB")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 850})
        page.goto("about:blank")
        begin = time.perf_counter()
        page.goto(path.as_uri())
        page.wait_for_selector(".laif-map .nsewdrag", state="attached")
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        ready = time.perf_counter() - begin
        painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000")
        print(f"first paint  {painted:6.2f} s   (aim: 3; the still picture), {ready:.2f} s until the map can be used")
        box = page.locator(".laif-map .nsewdrag").bounding_box()
        assert box
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.move(*middle)
        page.wait_for_timeout(500)
        spent = []
        for step in range(1, 41):
            before = page.locator(".tip").inner_text()
            begin = time.perf_counter()
            page.mouse.move(middle[0] + 9 * (step % 7), middle[1] + 7 * step % 90)
            changed = "before => document.querySelector('.tip').innerText !== before"
            page.wait_for_function(changed, arg=before, timeout=2_000)
            spent.append(1000 * (time.perf_counter() - begin))
        slow = np.percentile(spent, 95)
        print(f"hover        {np.median(spent):6.0f} ms median, {slow:.0f} ms in 95 of 100  (aim: 100)")
        browser.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
