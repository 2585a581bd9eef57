"""The language-model instructor over a real socket: nothing is lost, nothing is paid twice, the cap holds."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from http.server import HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from instructing import (
    GOOD,
    PRACTICE,
    TRAIN,
    answer_items,
    completion,
    endpoint,
    good,
    llm_parameters,
    parameters,
    practice_parameters,
    practice_server,
)

from laif_helpers import benchmarks, instruct, lessons, recipe
from laif_helpers.instruct import quotes, tables
from laif_helpers.instruct.requests import Request
from laif_helpers.instructors import chat, ledger, llm, spending
from laif_helpers.instructors.ledger import Reply
from laif_helpers.models import connecting, form, protocol, replies, server
from laif_helpers.paths import NOTEBOOKS
from laif_helpers.records import Lesson, Response, read_jsonl, read_rows, write_jsonl

pytestmark = pytest.mark.usefixtures("runs")


@pytest.mark.slow
def test_faults_are_retried_and_nothing_is_asked_twice() -> None:
    faults = {2: (429, {"error": {"message": "slow down"}}), 4: (500, {"error": {"message": "oops"}}), 6: None}
    with endpoint(lambda call, body: faults.get(call, good(call))) as (url, calls):
        p = llm_parameters(url)
        answer_items(p)
        plan = instruct.plan(p)
        replies = instruct.ask(plan, p)
        assert len(replies) == len(plan.requests) == 10
        assert len(calls) == 13
        assert {body["model"] for body in calls} == {"m"} and {body["temperature"] for body in calls} == {0.8}
        assert instruct.ask(plan, p) == replies and len(calls) == 13
    checked = instruct.learn(plan, replies, p)
    assert all(lesson.status == "kept" and lesson.instructor == "m" for lesson in checked)
    price = 10 * (100 * 1 + 50 * 10) / 1e6
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as on_record:
        longest = max(spending.prompt_bound(chat.call(r, p, True)) for r in plan.requests)
        bound = spending.price(p, longest, spending.MAX_REPLY_TOKENS)
        assert price + bound / 2 < on_record.spent() <= price + bound + 1e-9, "only the dropped call stays reserved"
        assert sum(reply.usd for reply in replies.values()) == pytest.approx(on_record.spent())


def test_choice_lessons_are_confirmed_by_answers_that_are_paid_once(tmp_path: Path) -> None:
    rows = [{"question": f"Which of {n} is a bird?", "answer": "B", "choices": ["a bat", "a wren"]} for n in range(8)]
    (tmp_path / "birds.train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "birds.test.jsonl").write_text(json.dumps(rows[0] | {"question": "Which of 99 is a bird?"}))
    name = str(tmp_path / "birds.jsonl")
    sample = "Sample {}:\nQuestion: Which one of {} is a metal?\nA. oxygen\nB. iron\nAnswer: B - iron conducts.\n\n"

    def behave(call: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked = body["messages"][-1]["content"]
        if "### Task" in asked:
            return 200, completion("Diagnosis: It guesses.\n\n" + sample.format(1, call))
        return 200, completion("The answer is A." if body["seed"] == 2 and "metal" in asked else "B")

    with endpoint(behave) as (url, calls):
        p = llm_parameters(
            url, benchmarks=[name], in_domain=[name], agreement=2, holdout_fraction=0, reply_format="text"
        )
        bench = benchmarks.get(name)
        wrong = [
            Response(
                each.id, name, "train", bench.messages(each), each.gold, "A", "A", False, True, "letter", 10, 10, "m"
            )
            for each in bench.load("train")
        ]
        write_jsonl(p.previous.responses(name, "train"), wrong)
        plan = instruct.plan(p)
        replies = instruct.ask(plan, p)
        checked = instruct.learn(plan, replies, p)
        assert {each.status for each in checked} == {"wrong"}, checked
        assert checked[0].reason == "1 of 2 independent answers agree with B: B, A"
        assert len(calls) == 3 * len(plan.requests) and {call["seed"] for call in calls} == {0, 1, 2}
        assert instruct.learn(plan, replies, p) == checked and len(calls) == 3 * len(plan.requests)
    once = quotes.quote(plan, p.model_copy(update={"agreement": 0}))
    assert quotes.quote(plan, p).output_tokens[0] > once.output_tokens[0]
    with pytest.raises(ValueError, match="agreement 2 asks a language model"):
        recipe.build(recipe.Recipe, {"agreement": 2})


def test_it_works_inside_a_running_event_loop() -> None:
    import asyncio

    with endpoint(lambda call, body: good(call)) as (url, _):
        p = llm_parameters(url)
        answer_items(p)
        plan = instruct.plan(p)

        async def cell() -> dict[str, Reply]:
            return instruct.ask(plan, p)

        assert len(asyncio.run(cell())) == 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "error", "sentence"),
    [
        (401, {"message": "bad key"}, "refuses the key"),
        (429, {"message": "no money", "code": "insufficient_quota"}, "no money.*; the account wants credit"),
        (429, {"message": "no money", "type": "exceeded_current_quota_error"}, "no money.*; the account wants credit"),
        (200, {"message": "no money", "code": "billing_not_active"}, "no money.*; the account wants credit"),
        (404, {"message": "no such model"}, "knows no model 'm'"),
    ],
)
def test_what_no_retry_mends_stops_at_once(status: int, error: dict[str, str], sentence: str) -> None:
    with endpoint(lambda call, body: good(call) if call == 1 else (status, {"error": error})) as (url, calls):
        p = llm_parameters(url)
        answer_items(p)
        plan = instruct.plan(p)
        with pytest.raises(RuntimeError, match=sentence):
            instruct.ask(plan, p)
        assert len(calls) <= 1 + server.MAX_CONNECTIONS
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as on_record:
        assert len(on_record.replies([request.key for request in plan.requests])) == 1
        assert on_record.spent() == pytest.approx(600e-6)


def test_an_endpoint_that_is_down_is_told_and_costs_nothing() -> None:
    p = llm_parameters("http://127.0.0.1:9/v1")
    answer_items(p)
    with pytest.raises(RuntimeError, match="failed 6 times"):
        instruct.ask(instruct.plan(p), p)
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as on_record:
        assert on_record.spent() == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "counted"), [(504, True), (408, True), (520, True), (524, True), (502, False), (503, False)]
)
def test_what_a_proxy_gave_up_stays_counted(
    status: int, counted: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server behind it may have answered all the same, and billed it."""
    monkeypatch.setattr(protocol, "_wait", lambda *_: 0.01)
    with endpoint(lambda call, body: (status, {"error": {"message": "slow"}}) if call == 1 else good(call)) as (url, _):
        p = llm_parameters(url)
        answer_items(p, 3)
        plan = instruct.plan(p)
        instruct.ask(plan, p)
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as on_record:
        lost = on_record.spent() - 600e-6 * len(plan.requests)
        assert (lost > 0.04) == counted and lost < 0.06 and (counted or lost == pytest.approx(0))
    assert ("a call broke off (slow); it may have been billed and stays counted" in capsys.readouterr().out) == counted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "soon", "late", "counted"),
    [
        ("<html><title>502 Proxy Error</title></html>", 0, 0, True),  # Apache, HAProxy, mitmproxy
        ({"html-message": "fetch failed Cause: other side closed"}, 0, 0, True),  # Portkey
        ({"message": "An invalid response was received"}, 0, 0, True),  # Kong, AWS
        ({"error": {"message": "overloaded"}}, 0, 0, False),
        ([{"error": {"message": "overloaded"}}], 0, 0, False),
        ("<html>503 No server is available</html>", 60, 60, False),  # it found nobody to pass the request on to
        ("<html>502 lost</html>", 0, 60, True),  # so soon that it may have found nobody, but now there is somebody
        ("<html>502 nobody</html>", 0, 60, False),
    ],
)
@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_request_that_a_proxy_passed_on_and_lost_stays_counted(
    page: Any, soon: float, late: float, counted: bool, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_wait", lambda *_: 0.01)
    monkeypatch.setattr(spending, "SOON_S", soon)
    monkeypatch.setattr(spending, "PASSED_ON_S", late)
    listed = 502 if "nobody" in str(page) else 404
    with endpoint(lambda call, body: (status, page) if call == 1 else good(call), listed=listed) as (url, _):
        p = llm_parameters(url)
        answer_items(p, 3)
        plan = instruct.plan(p)
        instruct.ask(plan, p)
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as on_record:
        assert (on_record.spent() - 600e-6 * len(plan.requests) > 0.04) == counted


_CHUNK = 'data: {"choices": [{"index": 0, "delta": {"content": "Sam"}}]}'
_ERROR = 'data: {"error": {"message": "overloaded"}}'


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        (_CHUNK, True),
        (f"{_CHUNK}\n\n{_ERROR}", True),
        (f'{_CHUNK}\n\ndata: {{"choices": [{{"del', True),
        ('{"choices": [], "usage": {"completion_tokens": 7}}', True),
        ('{"choices": [{"mess', True),
        (_ERROR, False),
        ('{"error": {"message": "overloaded"}}', False),
        ('{"choices": []}', False),
    ],
)
def test_an_answer_that_breaks_off_while_it_is_written_stays_counted(text: str, counted: bool) -> None:
    """A stream that broke off was released, and paid again."""

    async def post(*_: Any, **__: Any) -> str:
        return text

    with pytest.raises(protocol.recoverable()) as caught:
        asyncio.run(protocol.complete(SimpleNamespace(post=post), {}, 1.0))
    assert spending.perhaps_billed(caught.value, 0.0) == counted


def test_the_cap_is_never_exceeded_and_a_rerun_goes_on() -> None:
    # each reply costs 0.0006 + 0.02 dollars, a reservation about 0.043
    with endpoint(lambda call, body: (200, good(call)[1] | completion(GOOD.format(n=call, m=call + 2), 600, 2000))) as (
        url,
        calls,
    ):
        p = llm_parameters(url, max_usd=0.12)
        answer_items(p)
        plan = instruct.plan(p)
        with pytest.raises(RuntimeError, match=r"max_usd 0\.12 leaves no room"):
            instruct.ask(plan, p)
        done = len(calls)
        assert 2 <= done < 6
        with ledger.open_ledger(p.folder.replies("le"), {}, {}) as on_record:
            assert on_record.spent() == pytest.approx(done * 0.0206) and on_record.spent() <= 0.12
        more = llm_parameters(url, max_usd=1.0)
        assert len(instruct.ask(plan, more)) == 10 and len(calls) == 10


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [5, 12, 14])
def test_one_corrected_answer_makes_nobody_pay_again_for_the_other_errors(wrong: int) -> None:
    """Of 5 errors each is asked for 5 lessons, of 4 for 6; of 14 another ten are drawn than of 13."""
    with endpoint(lambda call, body: good(call)) as (url, calls):
        p = llm_parameters(url, holdout_fraction=0.0, average=1.0)
        answer_items(p, wrong)
        first = instruct.plan(p)
        instruct.ask(first, p)
        paid = len(calls)
        assert instruct.plan(p).requests == first.requests
        answer_items(p, wrong - 1)
        again = instruct.plan(p)
        assert len(instruct.ask(again, p)) == min(wrong - 1, 10)
        left = [request for request in first.requests if request.source_ids != [TRAIN[wrong - 1].id]]
        assert {request.key for request in left} <= {request.key for request in again.requests}
        assert len(calls) == paid + min(wrong - 1, 10) - len(left)
        much = instruct.plan(p.model_copy(update={"budget": 400}))
        assert much.requested >= 200, "more lessons than were paid for are asked for"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "finish"),
    [(None, "content_filter"), ("", "stop"), ("Non posso aiutarti.", "stop"), ("Sample 1:\nQu", "length")],
)
def test_replies_without_lessons_are_kept_and_counted(text: str | None, finish: str) -> None:
    with endpoint(lambda call, body: (200, completion(text, finish=finish))) as (url, _):
        p = llm_parameters(url)
        answer_items(p, wrong=3)
        plan = instruct.plan(p)
        checked = instruct.learn(plan, instruct.ask(plan, p), p)
    assert [lesson.status for lesson in checked] == ["unparsable"] * 3
    assert all(lesson.reason for lesson in checked)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"max_usd": 0.0}, "max_usd is 0"),
        ({"instructor_model": ""}, "needs instructor_model"),
        ({"instructor_url": "https://models.example.org/v1"}, "needs a key"),
    ],
)
def test_what_is_missing_is_told_before_the_first_call(change: dict[str, Any], sentence: str) -> None:
    p = llm_parameters("http://127.0.0.1:9/v1", **change)
    answer_items(p)
    with pytest.raises(ValueError, match=sentence):
        instruct.ask(instruct.plan(p), p)


def test_a_test_split_that_is_not_at_hand_stops_before_anything_is_paid(tmp_path: Path) -> None:
    with endpoint(lambda call, body: good(call)) as (url, calls):
        p = llm_parameters(url, benchmarks=["practice", "gsm8k"], data_dir=str(tmp_path / "empty"))
        answer_items(p)
        with pytest.raises((FileNotFoundError, ValueError), match="gsm8k"):
            instruct.ask(instruct.plan(p), p)
        assert not calls


def test_a_missing_price_is_refused_for_a_foreign_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret")
    p = llm_parameters("https://models.example.org/v1", prices={})
    with pytest.raises(ValueError, match="price of 'm' is missing"):
        llm.check(p)


def test_every_request_is_written_before_it_is_sent(runs: Path) -> None:
    seen: list[int] = []

    def peek(call: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        base = sqlite3.connect(f"file:{p.folder.replies('le')}?mode=ro", uri=True)
        seen.append(base.execute("SELECT COUNT(*) FROM calls WHERE request != ''").fetchone()[0])
        base.close()
        return good(call)

    with endpoint(peek) as (url, _):
        p = llm_parameters(url)
        answer_items(p, wrong=3)
        instruct.ask(instruct.plan(p), p)
    assert len(seen) == 3 and min(seen) >= 1


# -- against the practice server


def asked(p: recipe.StageParameters, wrong: int = 12) -> tuple[instruct.Plan, dict[str, Reply]]:
    answer_items(p, wrong)
    plan = instruct.plan(p)
    return plan, instruct.ask(plan, p)


@pytest.mark.slow
@pytest.mark.parametrize("reply_format", ["auto", "json", "text"])
def test_both_formats_end_in_the_same_kind_of_lesson(reply_format: str) -> None:
    with practice_server() as (url, app):
        p = practice_parameters(url, reply_format=reply_format)
        plan, replies = asked(p)
        checked = instruct.learn(plan, replies, p)
        assert app.state.counts.summary() == {
            "calls": 10, "requests": 10, "answered": 10, "answered_again": 0, "faults": {},
        }  # fmt: skip
    assert {reply.text[0] for reply in replies.values()} == {"D" if reply_format == "text" else "{"}
    assert len(checked) == plan.requested and not {each.status for each in checked} & {"unparsable", "wrong"}
    rows = list(read_rows(p.folder.diagnoses("le")))
    assert [row["request_key"] for row in rows] == [request.key for request in plan.requests]
    assert all("fails where" in row["diagnosis"] and row["source_ids"] for row in rows)
    assert "fails where" in repr(tables.diagnoses(plan, replies))


def test_an_endpoint_without_schemas_is_found_out_with_one_request() -> None:
    with practice_server(schema=False) as (url, app):
        p = practice_parameters(url)
        plan, replies = asked(p)
        assert len(replies) == 10 and app.state.counts.summary()["calls"] == 11
        with pytest.raises(RuntimeError, match=r"refuses the request .*response_format"):
            asked(practice_parameters(url, reply_format="json"))
    checked = instruct.learn(plan, replies, p)
    assert len(checked) == plan.requested and all(each.status != "unparsable" for each in checked)
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as on_record:
        assert chat.known_form(p, on_record).left_out == {"response_format"}


@pytest.mark.slow
@pytest.mark.parametrize("status", [404, 500])
def test_an_endpoint_that_knows_no_schema_and_says_it_by_another_status(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenRouter finds no endpoint for one, llama.cpp's grammar breaks."""
    monkeypatch.setattr(protocol, "MAX_ATTEMPTS", 1)

    def behave(call: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return (status, {"error": {"message": "no"}}) if "response_format" in body else good(call)

    with endpoint(behave) as (url, calls):
        _, replies = asked(llm_parameters(url))
        assert len(replies) == 10 and len(calls) == 11
        with pytest.raises(RuntimeError, match="no"):
            asked(llm_parameters(url, run="other", reply_format="json"))


@pytest.mark.slow
def test_bad_replies_are_kept_paid_once_and_never_become_lessons() -> None:
    faults = dict.fromkeys(("truncated", "malformed", "refusal", "wrong"), 0.25)
    for reply_format in ("json", "text"):
        with practice_server(faults=faults, seed=3) as (url, app):
            p = practice_parameters(url, reply_format=reply_format, budget=160, run=reply_format)
            plan, replies = asked(p, wrong=40)
            assert set(app.state.counts.faults) == set(faults), "every kind was met"
            assert len(replies) == len(plan.requests) == sum(app.state.counts.answered.values())
            checked = instruct.learn(plan, replies, p)
        finishes = {reply.finish for reply in replies.values()}
        assert {"length", "error: refusal", "stop"} <= finishes
        kept = [each for each in checked if each.status == "kept"]
        whole = {key for key, reply in replies.items() if reply.finish == "length"}
        assert {each.request_key for each in kept} <= whole, "of a cut reply the whole samples are read"
        assert {"unparsable", "wrong"} <= {each.status for each in checked}
        assert any("sorry" in each.response for each in checked), "a refusal's words are kept"


@pytest.mark.slow
def test_transport_faults_lose_nothing_and_pay_nothing_twice() -> None:
    faults = {"rate_limit": 0.05, "server_error": 0.05, "drop": 0.05, "malformed": 0.02}
    with practice_server(faults=faults, seed=1, retry_after_s=0.05) as (url, app):
        p = practice_parameters(url, budget=600, instructor_model="practice")
        requests = many(p, 300)
        with ledger.open_ledger(p.folder.replies("le"), {}, {}) as on_record:
            llm.ask(requests, p, on_record)
            assert len(on_record.replies(request.key for request in requests)) == 300
            stats = app.state.counts.summary()
            assert stats["answered"] == 300 and stats["answered_again"] == 0 and stats["calls"] > 330
            lost = stats["faults"]["drop"]
            paid = sum(reply.usd for reply in on_record.replies(r.key for r in requests).values())
            assert on_record.spent() == pytest.approx(paid), f"{lost} dropped calls stay in their requests' price"
            llm.ask([], p, on_record)
            assert app.state.counts.summary() == stats


def many(p: recipe.StageParameters, n: int) -> list[Request]:
    """``n`` different requests about the practice world."""
    study = instruct.Study(PRACTICE, [], [instruct.Answered(example, "#### 0") for example in TRAIN])
    return [instruct.request(p, study, [study.right[at % len(TRAIN)]], [], 1 + at // len(TRAIN)) for at in range(n)]


@pytest.mark.slow
def test_a_killed_run_repeats_at_most_what_was_in_flight(runs: Path) -> None:
    program = """
        import sys
        from instructing import practice_parameters
        from test_llm import many
        from laif_helpers.instructors import ledger
        from laif_helpers.instructors import llm
        p = practice_parameters(sys.argv[1])
        with ledger.open_ledger(p.folder.replies("le"), {}, {}) as book:
            llm.ask(many(p, 300), p, book)
    """
    with practice_server(delay_s=0.05) as (url, app):
        place = {"PYTHONPATH": f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}", "LAIF_RUNS": str(runs)}
        command = [sys.executable, "-c", textwrap.dedent(program), url]
        child = subprocess.Popen(command, env=os.environ | place, stderr=subprocess.DEVNULL)
        while sum(app.state.counts.answered.values()) < 60 and child.poll() is None:
            time.sleep(0.01)
        child.kill()
        assert child.wait() == -signal.SIGKILL, "killed in the middle"
        p = practice_parameters(url)
        requests = many(p, 300)
        with ledger.open_ledger(p.folder.replies("le"), {}, {}) as on_record:
            answered = on_record.replies(request.key for request in requests)
            in_flight = on_record.base.execute("SELECT COUNT(*) FROM calls WHERE status = 'sent'").fetchone()[0]
            assert 0 < len(answered) < 300 and in_flight <= server.MAX_CONNECTIONS
            llm.ask([request for request in requests if request.key not in answered], p, on_record)
            assert len(on_record.replies(request.key for request in requests)) == 300
        assert app.state.counts.summary()["answered_again"] <= in_flight


@pytest.mark.slow
def test_a_hanging_endpoint_is_given_up_after_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "REQUEST_TIMEOUT_S", 0.05)
    with practice_server(faults={"hang": 1.0}) as (url, app):
        with pytest.raises(RuntimeError, match="failed 6 times"):
            asked(practice_parameters(url))
        assert 6 <= app.state.counts.summary()["calls"] <= 6 * server.MAX_CONNECTIONS


@pytest.mark.slow
def test_an_instructor_that_answers_one_after_the_other_is_asked_by_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_wait", lambda *_: 0.01)
    turn = threading.Lock()

    def behave(call: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if not turn.acquire(timeout=0.1):
            return 504, {"error": {"message": "slow"}}
        time.sleep(0.08)
        turn.release()
        return good(call)

    with endpoint(behave) as (url, _):
        p = llm_parameters(url, budget=160, prices={"m": {"input": 0, "output": 0}})
        answer_items(p, 40)
        plan = instruct.plan(p)
        assert len(instruct.ask(plan, p)) == len(plan.requests) > 30


@pytest.mark.parametrize(
    ("most", "told"), [(600, True), (400, False), (10**6, False)], ids=["cut", "short ones", "whole"]
)
def test_prompts_that_an_endpoint_cuts_to_its_context_are_told(
    most: int, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ollama answers what is left of a prompt and says nothing: all that is to be seen is one number of tokens."""

    def behave(call: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        length = len(body["messages"][-1]["content"]) // 3
        return 200, completion(GOOD.format(n=call, m=call + 2), asked=min(length, most))

    with endpoint(behave) as (url, _):
        p = llm_parameters(url)
        answer_items(p)
        plan = instruct.plan(p)
        for at in (0, 1):  # two much longer ones
            longer = [
                turn | {"content": turn["content"] + " Why?" * 400 * (at + 1)} for turn in plan.requests[at].messages
            ]
            plan.requests[at] = replace(plan.requests[at], messages=longer)
        instruct.ask(plan, p)
    said = capsys.readouterr().out
    assert ("counts 600 tokens for each of" in said and "drop what passes its context" in said) == told


def test_endless_refusals_for_coming_too_fast_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_REQUEST_S", 0.5)
    with practice_server(faults={"rate_limit": 1.0}, retry_after_s=0.1) as (url, _):
        started = time.monotonic()
        with pytest.raises(RuntimeError, match=r"no answer to one request within .* minutes \(last: Rate limit"):
            asked(practice_parameters(url))
        assert time.monotonic() - started > 0.5


@pytest.mark.slow
def test_retry_after_holds_everybody_back(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = server.Connections
    monkeypatch.setattr(
        server, "Connections", lambda *about: whole(*about, most=4)
    )  # each call has an event loop of its own
    times: list[float] = []

    def behave(call: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        times.append(time.monotonic())
        return (429, {"error": {"message": "slow"}}) if call == 2 else good(call)

    with endpoint(behave, {"retry-after": "0.6"}) as (url, _):
        asked(llm_parameters(url))
    held = [at for at in times[2:] if at - times[1] >= 0.6]
    assert len(held) >= 10 - 4, "those not on their way yet, and the refused one, wait as long as the endpoint asks"


@pytest.mark.parametrize(("fault", "sentence"), [("insufficient_quota", "quota"), ("unauthorized", "refuses the key")])
def test_quota_and_key_stop_at_once(fault: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-secret")
    with practice_server(faults={fault: 1.0}) as (url, app):
        with pytest.raises(RuntimeError, match=sentence) as error:
            asked(practice_parameters(url))
        assert app.state.counts.summary()["calls"] == 1
        assert "sk-planted" not in str(error.value)


def test_wrong_key_and_unknown_model_are_told() -> None:
    with practice_server(key="right") as (url, _), pytest.raises(RuntimeError, match="refuses the key"):
        asked(practice_parameters(url))
    with practice_server() as (url, _), pytest.raises(RuntimeError, match="knows no model 'gpt-0'"):
        asked(practice_parameters(url, instructor_model="gpt-0", prices={"gpt-0": {"input": 1, "output": 1}}))


@pytest.mark.slow
def test_a_whole_arm_replays_without_key_network_or_money() -> None:
    with practice_server() as (url, _):
        p = practice_parameters(url, "lec")
        plan, replies = asked(p)
        checked = instruct.learn(plan, replies, p)
    away = practice_parameters(url, "lec", max_usd=0, prices={})
    again = instruct.plan(away)
    assert instruct.probe(again, away) and instruct.ask(again, away) == replies
    assert instruct.learn(again, replies, away) == checked
    with pytest.raises(ValueError, match="price of 'practice' is missing"):
        instruct.ask(instruct.plan(practice_parameters(url, "lec", seed=1, prices={})), away)


# -- money


def test_a_probe_is_really_sent_counted_and_quoted_from() -> None:
    with practice_server() as (url, app):
        p = practice_parameters(url, budget=160, probe=5)
        answer_items(p, wrong=40)
        plan = instruct.plan(p)
        guessed = quotes.quote(plan, p)
        probed = instruct.probe(plan, p)
        assert list(probed) == [request.key for request in plan.requests[:5]]
        assert app.state.counts.summary()["calls"] == 5
        quoted = quotes.quote(plan, p, probed)
        replies = instruct.ask(plan, p)
        assert app.state.counts.summary()["calls"] == len(plan.requests) > 20
    spent = sum(reply.usd for reply in replies.values())
    assert quoted.usd and guessed.usd and quoted.usd[0] <= spent <= quoted.usd[1]
    assert quoted.usd[1] - quoted.usd[0] < guessed.usd[1] - guessed.usd[0]
    assert "measured on a probe of 5 requests" in quoted.observation
    whole = quotes.quote(plan, p, replies)
    assert whole.usd == (pytest.approx(spent), pytest.approx(spent)), "when all is there, the quote is the bill"


def test_a_probe_is_not_sent_for_nothing() -> None:
    for p in (parameters("le"), practice_parameters("http://127.0.0.1:9/v1", quote_only=True)):
        answer_items(p)
        assert instruct.probe(instruct.plan(p), p) == {}


def test_a_cap_below_one_request_is_refused_before_anything_is_sent() -> None:
    with practice_server() as (url, app):
        with pytest.raises(ValueError, match=r"max_usd 0\.001 is smaller than one request"):
            asked(practice_parameters(url, max_usd=0.001))
        assert app.state.counts.summary()["calls"] == 0


def test_a_free_server_needs_a_price_of_nought_and_no_cap() -> None:
    with practice_server() as (url, _):
        p = practice_parameters(url, max_usd=0, prices={"practice": {"input": 0, "output": 0}})
        _, replies = asked(p)
    assert len(replies) == 10 and {reply.usd for reply in replies.values()} == {0.0}


@pytest.mark.parametrize("prices", [{"m": {"input": 1}}, {"m": {"input": -1, "output": 1}}, {"m": 3}])
def test_a_price_that_is_none_is_refused(prices: Any) -> None:
    with pytest.raises(ValueError, match=r"prices\.m"):
        recipe.build(recipe.Recipe, {"prices": prices})


# -- what else an endpoint may say


def test_half_the_samples_are_half_the_lessons_and_the_funnel_says_so() -> None:
    with endpoint(lambda call, body: good(call)) as (url, _):
        p = llm_parameters(url)
        plan, replies = asked(p)
        checked = instruct.learn(plan, replies, p)
    counts = lessons.funnel(checked, plan.requested)
    assert counts["requested"] == 30 and counts["returned"] == counts["parsed"] == 10
    said = repr(tables.observation(p, plan, quotes.quote(plan, p), replies, checked))
    assert "30 lessons. 10 came back;" in said and "; 10 of 20 needed ones kept; 05 trains on what there is" in said


@pytest.mark.slow
def test_a_reply_whose_labels_nobody_knows_is_unparsable_and_kept() -> None:
    reply = "Diagnoosi: Arvaa.\n\nEsimerkki 1:\nKysymys: Annalla on 3 ruukkua.\nVastaus: 3 + 2 = 5\n#### 5"
    with endpoint(lambda call, body: (200, completion(reply))) as (url, _):
        p = llm_parameters(url, probe=0)
        plan, replies = asked(p)
        checked = instruct.learn(plan, replies, p)
    assert {(each.status, each.response) for each in checked} == {("unparsable", reply)}
    assert {each.reason for each in checked} == {"no sample found in the reply"}


def test_a_body_that_is_no_json_is_asked_again_and_counted_as_spent() -> None:
    with practice_server(faults={"garbled": 0.3}, seed=1) as (url, app):
        p = practice_parameters(url)
        _, replies = asked(p)
        stats = app.state.counts.summary()
    assert len(replies) == 10 and stats["faults"]["garbled"] == stats["answered_again"] > 0
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as on_record:
        dearest = spending.price(p, 5_000, spending.MAX_REPLY_TOKENS)
        spent = sum(spending.price(p, reply.prompt_tokens, reply.new_tokens) for reply in replies.values())
        assert spent < on_record.spent() <= spent + stats["faults"]["garbled"] * dearest


@pytest.mark.slow
def test_the_key_is_in_no_artefact_of_a_run(monkeypatch: pytest.MonkeyPatch, runs: Path) -> None:
    import papermill

    key = "sk-planted-0123456789"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with practice_server(faults={"server_error": 0.2}, key=key) as (url, _):
        p = practice_parameters(url)
        answer_items(p)
        given = {name: getattr(p, name.lower()) for name in ("RUN", "BUDGET", "INSTRUCTOR", "INSTRUCTOR_MODEL")}
        given |= {"INSTRUCTOR_URL": url, "MAX_USD": 5.0, "PRICES": {"practice": {"input": 1, "output": 4}}}
        papermill.execute_notebook(NOTEBOOKS / "03_instruct_LE.ipynb", runs / "out.ipynb", given, progress_bar=False)
        assert read_jsonl(p.folder.lessons("le"), Lesson)
    # an endpoint that repeats the key in its refusal, as OpenAI's does
    with practice_server(key="another") as (url, _), pytest.raises(RuntimeError) as refused:
        asked(practice_parameters(url, run="refused"))
    assert key not in str(refused.value)
    artefacts = [path for path in runs.rglob("*") if path.is_file()]
    assert {path.suffix for path in artefacts} >= {".ipynb", ".sqlite", ".jsonl", ".json", ".png"}
    assert not [path for path in artefacts if key.encode() in path.read_bytes()]


# -- what servers of other makes do

TEMPERATURE_REFUSED = {"message": "Only the default is supported", "param": "temperature", "code": "unsupported_value"}
LENGTH_REFUSED = {"message": "use another name", "param": "max_tokens", "code": "unsupported_parameter"}
EXTRA_REFUSED = {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"]}]}}


def strict_server(call: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """A reasoning model's endpoint, and one that forbids what it does not know."""
    if "max_tokens" in body:
        return 400, {"error": LENGTH_REFUSED}
    if body.get("temperature", 1) != 1:
        return 400, {"error": TEMPERATURE_REFUSED}
    return (422, EXTRA_REFUSED) if "seed" in body else good(call)


def test_a_parameter_that_a_refusal_names_is_renamed_or_left_out_once_and_remembered() -> None:
    with endpoint(strict_server) as (url, calls):
        p = llm_parameters(url)
        plan, replies = asked(p)
        assert len(replies) == 10 and len(calls) == 13, "three refusals, found out by the first request alone"
        assert calls[-1].keys() == {"model", "messages", "max_completion_tokens", "response_format"}
        other = p.model_copy(update={"seed": 1})
        more = instruct.plan(other)
        instruct.ask(more, other)
        assert len(calls) == 13 + len(more.requests) > 13, "the next requests begin in the form that was learned"
    assert {lesson.status for lesson in instruct.learn(plan, replies, p)} == {"kept"}


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("`temperature` is deprecated for this model.", "temperature"),
        ("gpt-5-nano doesn't support temperature=0.8 while reasoning is active", "temperature"),
        ("body -> seed\n  Extra inputs are not permitted (type=extra_forbidden)", "seed"),
        ("Argument not supported on this model: seed", "seed"),
        ('{\\"message\\":\\"property \'seed\' is unsupported\\"}', "seed"),
        ("the temperature of a prompt is not a number", ""),
        ("neither 'seed' nor 'temperature' is known", ""),
        ("'max_tokens' is too large: 4095", ""),
    ],
)
def test_a_parameter_may_be_named_in_a_refusal_s_words_alone(words: str, name: str) -> None:
    """Anthropic's newer models, and every gateway before them, say no more."""
    sent = {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 9,
        "temperature": 0.8,
        "seed": 0,
    }
    refusal = replies.ErrorBody({"message": words, "status": 400})
    assert form.refused_parameter(refusal, sent)[0] == name
    sent["messages"][0]["content"] = f"Is `temperature`, seed and {words} known?"
    assert form.refused_parameter(refusal, sent)[0] == "", "it may be the prompt that is repeated"


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 500])
def test_a_model_that_knows_no_system_message_is_told_all_by_the_user(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key helped."""
    monkeypatch.setattr(protocol, "_wait", lambda *_: 0.01)

    def behave(call: int, body: dict[str, Any]) -> tuple[int, Any]:
        known = [turn["role"] for turn in body["messages"]] == ["user"]
        return good(call) if known else (status, {"error": {"message": "System role not supported"}})

    with endpoint(behave) as (url, calls):
        p = llm_parameters(url)
        plan, answered_ = asked(p)
        assert len(answered_) == 10
        first = plan.requests[0].messages
        assert calls[-1]["messages"][0]["content"].startswith(first[0]["content"])
        with ledger.open_ledger(p.folder.replies("le"), {}, {}) as on_record:
            assert chat.known_form(p, on_record).merged


def test_what_the_recipe_changes_in_a_request_reaches_the_endpoint_and_its_key() -> None:
    options = {"instructor": {"leave_out": ["temperature"], "rename": {"seed": "random_seed"}, "add": {"top_p": 0.9}}}
    with endpoint(lambda call, body: good(call)) as (url, calls):
        p = llm_parameters(url, request_options=options)
        plan, _ = asked(p)
    assert "temperature" not in calls[0] and calls[0]["random_seed"] == 0 and calls[0]["top_p"] == 0.9
    assert plan.requests[0].key != instruct.plan(llm_parameters(url)).requests[0].key
    unbounded = llm_parameters("http://127.0.0.1:9/v1", request_options={"instructor": {"leave_out": ["max_tokens"]}})
    with pytest.raises(ValueError, match="alone bounds what a reply costs"):
        asked(unbounded)


def test_a_reply_longer_than_the_instructors_context_is_asked_for_shorter() -> None:
    def small(call: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if body["max_tokens"] + 300 > 4096:
            return 400, {"object": "error", "message": "'max_tokens' is too large", "param": None, "code": 400}
        return good(call)

    with endpoint(small) as (url, calls):
        _, replies = asked(llm_parameters(url))
    assert len(replies) == 10 and {body["max_tokens"] for body in calls[3:]} == {2047}
    assert all("response_format" in body for body in calls[2:]), "the schema was not the reason, so it stays"


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 403, 500])
def test_a_prompt_that_alone_is_refused_is_left_open_and_the_others_are_kept(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(protocol, "_wait", lambda *_: 0.01)
    with endpoint(lambda call, body: good(call)) as (url, _):
        long = instruct.plan(answered(llm_parameters(url, probe=0))).requests[3].messages

    def behave(call: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return (status, {"error": {"message": "zu lang"}}) if body["messages"] == long else good(call)

    with endpoint(behave) as (url, calls):
        p = llm_parameters(url, probe=0)
        plan, replies = asked(p)
        assert len(replies) == 9 and plan.requests[3].key not in replies
        assert "refused 1 of 10 requests (zu lang)" in "".join(capfd.readouterr())
        checked = instruct.learn(plan, replies, p)
        assert len(checked) == 9 and plan.requests[3].key not in {lesson.request_key for lesson in checked}
        before = len(calls)
        instruct.ask(plan, p)
        assert len(calls) - before <= 6, "only the refused one is tried again"
    assert sum(reply.usd for reply in replies.values()) == pytest.approx(9 * 600e-6)


@pytest.mark.slow
def test_a_reply_that_nobody_can_read_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stopped the run, and was paid for six times at every rerun."""
    monkeypatch.setattr(protocol, "_wait", lambda *_: 0.01)
    with endpoint(lambda call, body: good(call)) as (url, _):
        bad = instruct.plan(answered(llm_parameters(url, probe=0))).requests[3].messages

    def behave(call: int, body: dict[str, Any]) -> tuple[int, Any]:
        return (200, b'{"choices": [{"mess') if body["messages"] == bad else good(call)

    with endpoint(behave) as (url, _):
        p = llm_parameters(url, probe=0)
        assert len(asked(p)[1]) == 9
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as on_record:
        assert on_record.spent() > 9 * 600e-6 + 0.04, "what may have been billed stays counted"


def answered(p: recipe.StageParameters) -> recipe.StageParameters:
    answer_items(p)
    return p


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        ({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}, 600e-6),
        ({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 450}, 3600e-6),  # 300 of a thought
        (
            {"prompt_tokens": 100, "completion_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 300}},
            3600e-6,
        ),
        (
            {"prompt_tokens": 100, "completion_tokens": 350, "completion_tokens_details": {"reasoning_tokens": 300}},
            3600e-6,
        ),
        ({"prompt_tokens": 100, "completion_tokens": 50, "cost": 0.25}, 0.25),  # the endpoint's own word
        ({"prompt_tokens": 100, "completion_tokens": 50, "cost": {"total_cost": 0.25}}, 0.25),
        ({"prompt_tokens": 100, "completion_tokens": 50, "cost": "n/a"}, 600e-6),
        ({"prompt_tokens": 100}, 1.0),
        ({"prompt_tokens": -100, "completion_tokens": -50}, 1.0),
        ({"input_tokens": 100, "output_tokens": 50}, 600e-6),
        ({"prompt_tokens": 10**30, "completion_tokens": 10**30}, 1.0),  # no number that a ledger can hold
        ({}, 1.0),
    ],
)
def test_a_reply_costs_what_was_used_or_the_most_it_can_have_been(usage: dict[str, Any], usd: float) -> None:
    reply = chat.read("k", completion("text") | {"usage": usage}, llm_parameters("http://127.0.0.1:9/v1"), 1.0)
    assert reply.usd == pytest.approx(usd)


def test_lessons_in_the_streamed_call_of_a_tool_are_read() -> None:
    parts = [{"tool_calls": [{"index": 0, "function": {"arguments": text}}]} for text in ('{"sam', 'ples": []}')]
    chunks = [json.dumps({"choices": [{"delta": part}]}) for part in parts]
    end = json.dumps({"choices": [{"delta": {}, "finish_reason": "tool_calls", "usage": {"prompt_tokens": 9}}]})
    body = replies.read_body("".join(f"data: {chunk}\n\n" for chunk in (*chunks, end)))
    found = chat.read("k", body, llm_parameters("http://127.0.0.1:9/v1"), 1.0)
    assert (found.text, found.finish, found.prompt_tokens) == ('{"samples": []}', "stop", 9)


def test_lessons_in_a_call_of_a_tool_or_in_a_json_object_are_read() -> None:
    p = llm_parameters("http://127.0.0.1:9/v1")
    body = completion(None, finish="tool_calls")
    body["choices"][0]["message"]["tool_calls"] = [{"function": {"name": "lessons", "arguments": '{"samples": []}'}}]
    assert chat.read("k", body, p, 1.0).text == '{"samples": []}'
    handed = {"name": "lessons", "arguments": {"samples": []}}
    for message in (
        {"content": {"samples": []}},
        {"tool_calls": [{"function": handed}]},
        {"function_call": handed},
        '{"samples": []}',
    ):
        body["choices"][0]["message"] = message
        assert chat.read("k", body, p, 1.0).text == '{"samples": []}'


def test_an_error_under_status_200_is_the_servers_word_and_nothing_is_stored() -> None:
    broke = {"error": {"message": "insufficient credits", "code": 402}}
    with endpoint(lambda call, body: (200, broke)) as (url, calls):
        p = llm_parameters(url)
        with pytest.raises(RuntimeError, match=r"\(402: insufficient credits\); the account wants credit"):
            asked(p)
        assert len(calls) == 1
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as on_record:
        assert on_record.spent() == 0 and not on_record.replies(r.key for r in instruct.plan(p).requests)


@pytest.mark.slow
def test_too_fast_under_status_200_or_without_retry_after_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server, "FIRST_PAUSE_S", 0.05)
    times: list[float] = []

    def limited(call: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Three in a second; refused calls do not count."""
        now = time.monotonic()
        times[:] = [at for at in times if now - at < 1]
        if len(times) >= 3:
            words = {"message": "Three a second. Please try again in 900 ms.", "code": 429}
            return (200, {"choices": None, "error": words}) if call % 2 else (429, {"error": words})
        times.append(now)
        return good(call)

    with endpoint(limited) as (url, calls):
        p = llm_parameters(url, probe=0)
        _, replies = asked(p)
    assert len(replies) == 10 and len(calls) < 60
    shown = "".join(capfd.readouterr())
    assert shown.count("takes no more requests for now (429: Three a second.") == 1
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as on_record:
        assert on_record.spent() == pytest.approx(10 * 600e-6), "a refusal costs nothing"


def test_half_a_surrogate_pair_is_read_and_paid_once() -> None:
    sick = GOOD.replace("guesses", "guesses \ud83d")
    with endpoint(lambda call, body: (200, completion(sick.format(n=call + 1000, m=call + 1002)))) as (url, calls):
        p = llm_parameters(url)
        answer_items(p, text="I do not know \ud83d.\n#### 0")
        plan = instruct.plan(p)
        replies = instruct.ask(plan, p)
        assert instruct.ask(plan, p) == replies and len(replies) == len(calls) == 10
        checked = instruct.learn(plan, replies, p)
    assert len(checked) == 10 and read_jsonl(p.folder.lessons("le"), Lesson) == checked


def test_an_answer_in_the_field_of_thoughts_is_read_if_there_is_no_other() -> None:
    def misplaced(call: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        checked = completion(None, finish="stop" if call % 2 else "length")
        checked["choices"][0]["message"]["reasoning_content"] = GOOD.format(n=call + 1000, m=call + 1002)
        return 200, checked

    with endpoint(misplaced) as (url, _):
        p = llm_parameters(url)
        _, replies = asked(p)
    assert {bool(reply.text) for reply in replies.values() if reply.finish == "stop"} == {True}
    assert {reply.text for reply in replies.values() if reply.finish == "length"} == {""}, "a thought that was cut"


@pytest.mark.slow
@pytest.mark.parametrize(("reason", "finish"), [("eos_token", "stop"), ("model_length", "length"), (None, "stop")])
def test_finish_reasons_of_other_makes_are_understood(reason: Any, finish: str) -> None:
    with endpoint(lambda call, body: (200, completion(GOOD.format(n=call, m=call + 2), finish=reason))) as (url, _):
        _, replies = asked(llm_parameters(url))
    assert {reply.finish for reply in replies.values()} == {finish}


@pytest.mark.slow
def test_a_reply_of_all_tokens_is_cut_if_nothing_says_why_it_ended() -> None:
    """Its last sample, that it breaks off in, would be taught."""
    text = GOOD.format(n=1, m=3)
    with endpoint(lambda call, body: (200, completion(text, got=body["max_tokens"], finish=""))) as (url, _):
        _, replies = asked(llm_parameters(url))
    assert {reply.finish for reply in replies.values()} == {"length"}


# -- a probe that teaches nothing


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "finish", "sentence"),
    [
        ("Ich weiss es nicht.", "stop", r"none of the 5 lessons .*unparsable, no sample found .*begins: 'Ich weiss es"),
        (GOOD.replace("{m} pots", "99 pots"), "stop", r"none of the 5 lessons .*The first: wrong, .*does not hold"),
        ("", "length", r"unparsable, empty reply, since thinking took all of its tokens .*: allow more"),
        ("<think>\nWell, the", "length", r"unparsable, empty reply, since thinking took all of its tokens"),
    ],
)
def test_a_probe_without_a_right_lesson_stops_before_the_rest_is_bought(text: str, finish: str, sentence: str) -> None:
    with endpoint(lambda call, body: (200, completion(text.format(n=call, m=call + 2), finish=finish))) as (url, calls):
        p = llm_parameters(url)
        answer_items(p)
        plan = instruct.plan(p)
        for _ in range(2):
            with pytest.raises(RuntimeError, match=sentence):
                instruct.ask(plan, p)
        assert len(calls) == p.probe == 5, "and what was bought is not bought again"
        assert len(instruct.ask(plan, p.model_copy(update={"probe": 0}))) == 10


def test_a_probe_with_one_right_lesson_goes_on() -> None:
    def mostly_bad(call: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return good(call) if call == 3 else (200, completion("no"))

    with endpoint(mostly_bad) as (url, calls):
        asked(llm_parameters(url))
    assert len(calls) == 10


def test_words_of_a_refusal_are_no_lesson() -> None:
    def refused(call: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        checked = completion(None)
        checked["choices"][0]["message"]["refusal"] = GOOD.format(n=call, m=call + 2)
        return 200, checked

    with endpoint(refused) as (url, _):
        p = llm_parameters(url, probe=0)
        plan, replies = asked(p)
        checked = instruct.learn(plan, replies, p)
    assert {(each.status, each.reason) for each in checked} == {("unparsable", "error: refusal")}


def test_a_proxy_with_nobody_behind_it_is_told_before_anything_is_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    """mitmproxy takes the connection and closes it; each try of a paid request counted at its most."""
    monkeypatch.setattr(connecting, "MAX_CLOSED", 1)
    with HTTPServer(("127.0.0.1", 0), lambda *about: about[0].close()) as nobody:  # type: ignore[arg-type]
        threading.Thread(target=nobody.serve_forever, daemon=True).start()
        p = llm_parameters(url := f"http://127.0.0.1:{nobody.server_port}/v1")
        with pytest.raises(
            protocol.ServerError, match=f"server {url} closes each connection .*; start what stands behind it"
        ):
            asked(p)
        nobody.shutdown()
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as on_record:
        assert on_record.spent() == 0
