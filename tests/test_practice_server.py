"""The practice server's command, and that its faults are a draw that can be repeated."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter

import pytest
from instructing import practice_server

from bench.practice_server import faults as practice_faults
from laif_helpers.paths import ROOT


def test_faults_are_read_or_refused_in_a_sentence() -> None:
    assert practice_faults.rates("rate_limit=0.02, drop=0.01") == {"rate_limit": 0.02, "drop": 0.01}
    assert practice_faults.rates("") == {}
    for text, sentence in (
        ("dropp=0.1", "unknown fault 'dropp'"),
        ("drop", "NAME=RATE"),
        ("drop=0.8,hang=0.3", "at most 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            practice_faults.rates(text)


def test_faults_follow_the_seed_the_request_and_the_attempt_alone() -> None:
    chances = {"drop": 0.1, "wrong": 0.2}
    drawn = [practice_faults.draw(chances, 0, f"request {i}", 0) for i in range(2000)]
    assert drawn == [practice_faults.draw(chances, 0, f"request {i}", 0) for i in range(2000)]
    counts = Counter(drawn)
    assert 150 <= counts["drop"] <= 250 and 330 <= counts["wrong"] <= 470
    assert drawn != [practice_faults.draw(chances, 1, f"request {i}", 0) for i in range(2000)]
    assert drawn != [practice_faults.draw(chances, 0, f"request {i}", 1) for i in range(2000)]


def test_what_it_cannot_read_it_refuses() -> None:
    with practice_server() as (url, _):
        messages = [{"role": "user", "content": "### Task\nWrite 3 questions"}]
        body = json.dumps({"model": "practice", "messages": messages}).encode()
        request = urllib.request.Request(f"{url}/chat/completions", body, {"content-type": "application/json"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        assert refused.value.code == 400 and "cannot read this request" in refused.value.read().decode()


@pytest.mark.slow
def test_the_documented_command_serves() -> None:
    pytest.importorskip("fastapi", reason="needs the extra serve")
    command = [sys.executable, "-m", "bench.practice_server", "--port", "0", "--faults", "drop=0.01"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        try:
            assert server.stdout
            with urllib.request.urlopen(f"{server.stdout.readline().strip()}/models") as answer:
                assert [model["id"] for model in json.load(answer)["data"]] == ["practice"]
        finally:
            server.terminate()
