"""One sentence on each cluster: asked for once, within the cap, shown and never run, never in the map's way."""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from instructing import PRACTICE, TRAIN, completion, endpoint, practice_server

from laif_helpers import error_analysis, recipe
from laif_helpers.answers import joined
from laif_helpers.error_analysis import profile, sentences
from laif_helpers.figures import hover_map
from laif_helpers.figures import html as safe_html
from laif_helpers.instructors import ledger
from laif_helpers.instructors.ledger import Reply
from laif_helpers.models import protocol

EVIL = "It mixes up <img src=x onerror=alert(1)> dozens & *scores*."


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAIF_RUNS", str(tmp_path))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(protocol, "_wait", lambda error, attempt: 0.01)
    return tmp_path


def parameters(url: str, **more: Any) -> recipe.StageParameters:
    values = {"run": "r", "instructor": "llm", "instructor_model": "m", "instructor_url": url, "max_usd": 5.0}
    return recipe.build(recipe.StageParameters, values | {"prices": {"m": {"input": 1, "output": 10}}} | more)


def points(clusters: int = 2) -> pd.DataFrame:
    """Practice items on a map: ten wrong and two right in each cluster, the rest right and in none."""
    rows = []
    for i, e in enumerate(TRAIN):
        cluster = i // 12 if i < 12 * clusters else -1
        wrong = cluster >= 0 and i % 12 < 10
        text = "I do not know.\n#### 0" if wrong else str(PRACTICE.gold_response(e))
        row = {"id": e.id, "benchmark": "practice", "question": e.question, "gold": e.gold, "text": text}
        row |= {"correct": not wrong, "cluster": cluster if wrong else -1, "near": cluster, "x": float(i), "y": 0.0}
        rows.append(row | {"cluster_name": "dozen" * (cluster >= 0), "extracted": "0", "reason": "", "model": "t"})
    return pd.DataFrame(rows)


def test_without_a_language_model_nothing_changes() -> None:
    with endpoint(lambda call, body: (200, completion("said"))) as (url, calls):
        for p in (parameters(url, instructor="scripted"), parameters(url, quote_only=True)):
            assert sentences.added(p, points()) is not None
            assert "sentence" not in sentences.added(p, points())
        assert not calls
    assert "sentence" not in error_analysis.table(points())
    assert "the instructor says" not in profile.weaknesses(profile.make(p, points()))


def test_each_cluster_is_asked_about_once_and_held_out_items_stay_hidden(runs: Path) -> None:
    with endpoint(lambda call, body: (200, completion(EVIL))) as (url, calls):
        p = parameters(url)
        described = sentences.added(p, points())
        assert len(calls) == 2 and all("response_format" not in body for body in calls)
        assert sentences.added(p, points()).equals(described) and len(calls) == 2, "nothing is paid twice"
    assert set(described.loc[described["near"] >= 0, "sentence"]) == {EVIL}
    assert set(described.loc[described["near"] < 0, "sentence"]) == {""}
    sent = json.dumps([body["messages"] for body in calls])
    hidden = [e.question for e in TRAIN[:24] if joined.held_out(p, "practice", e.id)]
    assert hidden and not [question for question in hidden if question in sent]
    assert ledger.totals(p.folder.replies("clusters"))["usd"] == pytest.approx(2 * (100 + 50 * 10) / 1e6)


def test_the_sentence_is_shown_and_never_run(runs: Path) -> None:
    with endpoint(lambda call, body: (200, completion(EVIL))) as (url, _):
        p = parameters(url)
        described = sentences.added(p, points())
    clusters = error_analysis.table(described)
    assert clusters["sentence"].tolist() == [EVIL, EVIL]
    written = profile.write(p, described)
    assert f"\n    the instructor says: {EVIL}\n" in (p.folder.path / "weaknesses.md").read_text(encoding="utf-8")
    for table in (clusters, profile.weaknesses(written)):
        page = safe_html.sortable(table)
        assert "dozens" in page and "<img" not in page
    assert json.loads(gzip.decompress(hover_map.payload(described)))["clusters"]["0"]["sentence"] == EVIL


def test_the_cap_of_the_iteration_holds_and_the_map_goes_on(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with endpoint(lambda call, body: (200, completion(EVIL, 600, 2000))) as (url, calls):
        p = parameters(url, arm="le", iteration=1, max_usd=0.1)
        with ledger.open_ledger(p.folder.replies("le"), {}, {}) as paid:  # what the lessons have cost
            paid.reserve("a lesson", "", 0.05)
        described = sentences.added(p, points(clusters=4))
        assert 1 <= len(calls) < 4 and "max_usd 0.05 leaves no room" in capsys.readouterr().out
        assert ledger.totals(p.folder.replies("clusters"))["usd"] <= 0.05
        assert EVIL in set(described["sentence"]), "what has come is shown"
    kept = [path.read_bytes() for path in runs.rglob("*") if path.is_file()]
    assert kept and not [data for data in kept if b"sk-secret" in data]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"max_usd": 0}, "max_usd is 0"),
        ({"prices": {}}, "the price of 'm' is missing"),
        ({"instructor_url": "http://127.0.0.1:9/v1"}, "failed 6 times"),
    ],
)
def test_what_is_missing_is_told_and_costs_only_the_sentences(
    more: dict[str, Any], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    p = parameters("http://127.0.0.1:9/v1", **more)
    assert "sentence" not in sentences.added(p, points())
    assert sentence in capsys.readouterr().out


@pytest.mark.parametrize("finish", ["length", "content_filter", "error: refusal"])
def test_a_reply_that_is_none_gives_no_sentence(finish: str) -> None:
    assert sentences.sentence(Reply("k", "I can", finish)) == ""
    assert sentences.sentence(Reply("k", "Diagnosis: It\nguesses.")) == "It guesses."
    assert len(sentences.sentence(Reply("k", "word " * 200))) <= sentences.MOST_SAID + 2


def test_the_practice_instructor_names_what_a_group_shares() -> None:
    with practice_server() as (url, _):
        p = parameters(url, instructor_model="practice", prices={"practice": {"input": 0, "output": 0}}, max_usd=0)
        described = sentences.added(p, points())
    assert (
        described.loc[described["near"] == 0, "sentence"].str.match(r"The student has not understood '[\w ]+'\.").all()
    )
