"""The Batch endpoint over a real socket: half the price, and no batch is lost or sent twice by a kill."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from instructing import GOOD, answer_items, completion, llm_parameters, practice_parameters, practice_server

from laif_helpers import instruct, recipe
from laif_helpers.instructors import batch, chat, ledger, spending
from laif_helpers.instructors.ledger import Reply


@pytest.fixture(autouse=True)
def polls(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "POLL_S", 0.05)


def asked(p: recipe.StageParameters) -> tuple[instruct.Plan, dict[str, Reply]]:
    answer_items(p)
    plan = instruct.plan(p)
    return plan, instruct.ask(plan, p)


def test_a_batch_costs_half_and_gives_the_same_lessons() -> None:
    with practice_server() as (url, app):
        p = practice_parameters(url, batch=True, probe=0, reply_format="json")
        plan, replies = asked(p)
        assert len(replies) == len(plan.requests) == 10 and len(app.state.store.batches) == 1
        live = practice_parameters(url, run="live", reply_format="json")
        _, others = asked(live)
        assert instruct.ask(plan, p) == replies and len(app.state.store.batches) == 1
    assert {key: reply.text for key, reply in replies.items()} == {key: reply.text for key, reply in others.items()}
    assert sum(r.usd for r in replies.values()) == pytest.approx(sum(r.usd for r in others.values()) / 2)
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as calls:
        assert calls.spent() == pytest.approx(sum(reply.usd for reply in replies.values()))
        assert calls.open_batches() == []


def test_a_probe_goes_live_and_settles_the_format_for_the_batch() -> None:
    with practice_server(schema=False) as (url, app):
        p = practice_parameters(url, batch=True, probe=2)
        answer_items(p)
        plan = instruct.plan(p)
        assert len(instruct.probe(plan, p)) == 2 and not app.state.store.batches
        replies = instruct.ask(plan, p)
        assert len(replies) == 10 and len(app.state.store.batches) == 1
    assert all(reply.text.startswith("Diagnosis") for reply in replies.values())


def test_what_fails_in_a_batch_is_sent_again_and_never_paid_twice() -> None:
    with practice_server(faults={"server_error": 0.3}, seed=2) as (url, app):
        p = practice_parameters(url, batch=True, probe=0)
        _, replies = asked(p)
        stats = app.state.counts.summary()
        assert len(app.state.store.batches) >= 2 and stats["faults"]["server_error"] > 0
    assert len(replies) == 10 == stats["answered"] and stats["answered_again"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("at", ["before the file", "before the id is known", "while waiting"])
def test_a_run_that_ends_anywhere_finds_its_batch_again(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with practice_server(batch_s=0.3) as (url, app):
        p = practice_parameters(url, batch=True, probe=0)
        with monkeypatch.context() as patch:
            place = {"before the file": (batch, "_submit"), "while waiting": (batch, "_wait_for")}
            patch.setattr(*place.get(at, (ledger.Ledger, "batch_sent")), die)
            with pytest.raises(KeyboardInterrupt):
                asked(p)
        sent = len(app.state.store.batches)
        assert sent == (at != "before the file")
        with ledger.open_ledger(p.folder.replies("le"), {}, {}) as calls:
            assert len(calls.open_batches()) == 1 and calls.spent() > 0, "it stays reserved"
        _, replies = asked(p)
        assert len(replies) == 10 and len(app.state.store.batches) == 1
        assert app.state.counts.summary()["answered_again"] == 0
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as calls:
        assert calls.spent() == pytest.approx(sum(reply.usd for reply in replies.values()))


def test_a_batch_that_is_out_is_collected_though_fewer_errors_would_ask_for_more_lessons_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with practice_server(batch_s=0.3) as (url, app):
        p = practice_parameters(url, batch=True, probe=0, holdout_fraction=0.0, average=1.0)
        answer_items(p, 5)
        first = instruct.plan(p)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(batch, "_wait_for", die)
            instruct.ask(first, p)
        answer_items(p, 4)
        plan = instruct.plan(p)
        assert len(instruct.ask(plan, p)) == 4 and len(app.state.store.batches) == 1
    assert {request.key for request in plan.requests} < {request.key for request in first.requests}


def test_a_cap_makes_several_batches_and_is_never_exceeded() -> None:
    with practice_server() as (url, app):
        p = practice_parameters(url, batch=True, probe=0)
        answer_items(p)
        plan = instruct.plan(p)
        body = chat.call(plan.requests[0], p, False)
        most = spending.price(p, spending.prompt_bound(body), spending.MAX_REPLY_TOKENS) / 2
        small = practice_parameters(url, batch=True, probe=0, max_usd=most * 4.5)
        assert len(instruct.ask(plan, small)) == 10
        assert len(app.state.store.batches) >= 3
        store = app.state.store
        sizes = [len(store.files[row["input_file_id"]].splitlines()) for row in store.batches.values()]
        assert sizes[0] == 4
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as calls:
        assert calls.spent() <= most * 4.5


def test_a_batch_has_ended_by_whatever_name() -> None:
    """One of an unknown name was waited for without end."""
    ends = "completed complete Failed expired cancelled canceled CANCELED succeeded SUCCESS ended errored error done"
    ends += " JOB_STATE_SUCCEEDED JOB_STATE_PARTIALLY_SUCCEEDED TIMEOUT_EXCEEDED timed_out BATCH_STATE_FAILED rejected"
    goes_on = "validating in_progress finalizing cancelling canceling queued pending JOB_STATE_RUNNING suspended"
    assert all(batch.ENDED.search(name) for name in ends.split())
    assert not any(batch.ENDED.search(name) for name in goes_on.split())


def test_a_batch_that_brings_nothing_is_told() -> None:
    with practice_server() as (url, _):
        unknown = {"instructor_model": "gpt-0", "prices": {"gpt-0": {"input": 1, "output": 1}}}
        with pytest.raises(RuntimeError, match=r"brought no reply .*does not exist"):
            asked(practice_parameters(url, batch=True, probe=0, **unknown))
    with practice_server(key="right") as (url, _):
        p = practice_parameters(url, batch=True, probe=0)
        with pytest.raises(RuntimeError, match="refuses the key"):
            asked(p)
        with ledger.open_ledger(p.folder.replies("le"), {}, {}) as calls:
            assert calls.spent() == 0 and calls.open_batches() == []


def test_the_ledger_holds_what_was_sent() -> None:
    with practice_server() as (url, _):
        p = practice_parameters(url, batch=True, probe=0)
        plan, _ = asked(p)
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as calls:
        rows = dict(calls.base.execute("SELECT key, request FROM calls"))
    assert all(json.loads(rows[r.key])["messages"] == r.messages for r in plan.requests)


class Shelf:
    """A Batch endpoint that is done at once, with a result file of the test's own making."""

    status = "completed"
    about: ClassVar[dict[str, Any]] = {}

    def __init__(self, lines: Any) -> None:
        self.lines, self.asked, self.batches, self.sent = lines, b"", 0, 0

    def get(self, path: str) -> tuple[int, bytes]:
        if path.endswith("/content"):
            rows = [json.loads(line) for line in self.asked.split(b"\n") if line.strip()]
            return 200, "\n".join(self.lines(row["custom_id"], at) for at, row in enumerate(rows)).encode()
        known = {"id": "b", "object": "batch", "status": self.status, "output_file_id": "out", "metadata": {}}
        known |= {"errors": None} | self.about
        return (200, json.dumps(known).encode()) if self.batches else (404, b'{"error": {}}')

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        if path.endswith("/files"):
            start = body.index(b'{"custom_id"')
            self.asked = body[start : body.index(b"\r\n--", start)]
            return 200, b'{"id": "in", "object": "file"}'
        self.batches, self.sent = 1, self.sent + 1
        return 200, b'{"id": "b", "object": "batch", "status": "in_progress"}'


@contextmanager
def shelf(lines: Any) -> Iterator[tuple[str, Shelf]]:
    store = Shelf(lines)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(*store.get(self.path))

        def do_POST(self) -> None:
            self._send(*store.post(self.path, self.rfile.read(int(self.headers["content-length"]))))

        def _send(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", store
    finally:
        server.shutdown()
        server.server_close()


def result(key: str, text: str, status: int = 200) -> str:
    body = completion(text) if status == 200 else {"error": {"message": text}}
    row = {"custom_id": key, "response": {"status_code": status, "body": body}, "error": None}
    return json.dumps(row, ensure_ascii=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "form",
    [
        lambda body: {"response": {"body": body}},
        lambda body: {"response": {"status_code": "200", "body": body}},
        lambda body: {"response": {"status_code": 200, "body": json.dumps(body)}},
        lambda body: {"response": body},
        lambda body: {"response": json.dumps({"status_code": 200, "body": body})},
        lambda body: {"status_code": 200, "body": body},
        lambda body: {"result": body},
        lambda body: {"result": {"type": "succeeded", "message": body}},
    ],
)
def test_a_reply_is_read_wherever_a_maker_s_line_holds_it(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some write no status, a body as a string, or the completion in its place; Together's batch is COMPLETED."""
    monkeypatch.setattr(Shelf, "status", "COMPLETED")

    def line(key: str, at: int) -> str:
        refused = json.dumps({"custom_id": key, "response": {"status_code": 400, "body": {"error": {"message": "x"}}}})
        return json.dumps({"custom_id": key} | form(completion(GOOD.format(n=at, m=at + 2)))) + "\n" + refused

    with shelf(line) as (url, store):
        _, replies = asked(llm_parameters(url, batch=True, probe=0))
        assert len(replies) == 10 and store.sent == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "about", [{"status": "SUCCESS"}, {"status": "ended"}, {"errors": [{"message": "x"}]}, {"request_counts": {}}]
)
def test_a_batch_ends_in_each_maker_s_words(about: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shelf, "about", about)
    with shelf(lambda key, at: result(key, GOOD.format(n=at, m=at + 2))) as (url, _):
        assert len(asked(llm_parameters(url, batch=True, probe=0))[1]) == 10


@pytest.mark.slow
@pytest.mark.parametrize(
    "laid_out",
    [
        json.dumps,
        lambda rows: "\n".join(json.dumps(row, indent=1) for row in rows),
        lambda rows: "".join(f"data: {json.dumps(row)}\n\n" for row in rows),
        lambda rows: "\n".join(json.dumps(row).replace("guesses", "gues\tses") for row in rows),
        lambda rows: "\n".join(json.dumps(row).replace("custom_id", "customId") for row in rows),
    ],
)
def test_a_result_file_is_read_in_whatever_layout(laid_out: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was paid for, could not be collected, and was ordered and paid anew at every run."""
    whole = Shelf.get

    def get(store: Shelf, path: str) -> tuple[int, bytes]:
        status, data = whole(store, path)
        rows = path.endswith("/content") and [json.loads(line) for line in data.split(b"\n")]
        return (status, laid_out(rows).encode()) if rows else (status, data)

    monkeypatch.setattr(Shelf, "get", get)
    monkeypatch.setattr(Shelf, "about", {"request_counts": {"completed": 10}, "output_file_id": ["out"]})
    with shelf(lambda key, at: result(key, GOOD.format(n=at, m=at + 2))) as (url, store):
        assert len(asked(llm_parameters(url, batch=True, probe=0))[1]) == 10 and store.sent == 1


def test_results_that_nobody_can_read_stay_counted_and_are_not_ordered_again() -> None:
    """They were told to have cost nothing, and were ordered anew at every run."""
    with shelf(lambda key, at: json.dumps({"custom_id": key, "response": {"status_code": 200, "body": []}})) as (
        url,
        store,
    ):
        p = llm_parameters(url, batch=True, probe=0)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="it stays open, and its 10 requests counted"):
                asked(p)
        assert store.sent == 1
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as calls:
        assert len(calls.open_batches()) == 1 and calls.spent() > 0


def test_a_batch_whose_metadata_got_lost_is_found_by_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    post, get = Shelf.post, Shelf.get
    monkeypatch.setattr(Shelf, "about", {"input_file_id": "in"})

    def lost(store: Shelf, path: str, body: bytes) -> tuple[int, bytes]:
        return post(store, path, body) if path.endswith("/files") else (post(store, path, body) and (504, b"{}"))

    def listed(store: Shelf, path: str) -> tuple[int, bytes]:
        status, data = get(store, path)
        return (status, b'{"data": [%s]}' % data) if "batches?" in path else (status, data)

    monkeypatch.setattr(Shelf, "post", lost)
    monkeypatch.setattr(Shelf, "get", listed)
    with shelf(lambda key, at: result(key, GOOD.format(n=at, m=at + 2))) as (url, store):
        p = llm_parameters(url, batch=True, probe=0)
        with pytest.raises(RuntimeError, match="did not take the batch"):
            asked(p)
        assert len(asked(p)[1]) == 10 and store.sent == 1


@pytest.mark.slow
@pytest.mark.parametrize("late", [1, 99])
def test_a_result_file_that_is_not_there_yet_is_waited_for_and_no_reply_given_up(
    late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch has ended, and its file is gone, empty or cut for a while, or for ever."""
    monkeypatch.setattr(Shelf, "about", {"request_counts": {"total": 10, "completed": 10, "failed": 0}})
    parts = iter([(404, b"{}"), (200, b""), *[(200, result("nobody", GOOD).encode())] * late])
    whole = Shelf.get

    def get(store: Shelf, path: str) -> tuple[int, bytes]:
        return next(parts, None) or whole(store, path) if path.endswith("/content") else whole(store, path)

    monkeypatch.setattr(Shelf, "get", get)
    with shelf(lambda key, at: result(key, GOOD.format(n=at, m=at + 2))) as (url, store):
        p = llm_parameters(url, batch=True, probe=0)
        if late == 1:
            assert len(asked(p)[1]) == 10
        else:
            with pytest.raises(RuntimeError, match=r"gives no result of batch b that can be read .* batch: false"):
                asked(p)
            with pytest.raises(RuntimeError, match="gives only 0 lines of the 10 results of batch b: 10 requests stay"):
                asked(llm_parameters(url, batch=False, probe=0))
        assert store.sent == 1
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as calls:
        assert calls.open_batches() == [] and calls.spent() > 0


def test_an_endpoint_without_batches_is_told_with_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shelf, "post", lambda *_: (404, b'{"detail": "Not Found"}'))
    with shelf(None) as (url, _), pytest.raises(RuntimeError, match=r"\(Not Found\).* batch: false"):
        asked(llm_parameters(url, batch=True, probe=0))


def test_a_file_that_a_gateway_did_not_take_has_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shelf, "post", lambda *_: (502, b"<html>502 Bad Gateway</html>"))
    with shelf(None) as (url, _):
        p = llm_parameters(url, batch=True, probe=0)
        with pytest.raises(RuntimeError, match=r"did not take the batch .* batch: false"):
            asked(p)
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as calls:
        assert calls.open_batches() == [] and calls.spent() == 0


def test_a_batch_that_nobody_can_look_for_is_told_once_and_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback at each run, also with batch: false, which the first sentence names."""
    post = Shelf.post
    lost = (504, b"<html>504</html>")
    monkeypatch.setattr(Shelf, "post", lambda *of: post(*of) if of[1].endswith("/files") else lost)
    monkeypatch.setattr(Shelf, "get", lambda *_: (405, b"{}"))
    with shelf(None) as (url, _):
        p = llm_parameters(url, batch=True, probe=0)
        with pytest.raises(RuntimeError, match="did not take the batch"):
            asked(p)
        with pytest.raises(RuntimeError, match=r"lists no batches, .*: 10 requests stay counted"):
            asked(p)
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as calls:
        assert calls.open_batches() == [] and calls.spent() > 0


@pytest.mark.slow
@pytest.mark.parametrize("mark", ["\u2028", "\x85"])
def test_a_line_of_results_ends_at_a_line_feed_alone(mark: str) -> None:
    text = GOOD.replace("guesses.", "guesses.MARK It counts.")

    def line(key: str, at: int) -> str:
        return result(key, text.format(n=at + 1000, m=at + 1002)).replace("MARK", mark)

    with shelf(line) as (url, store):
        plan, replies = asked(llm_parameters(url, batch=True, probe=0))
        assert len(replies) == len(plan.requests) == 10 and store.sent == 1
    assert all("It counts." in reply.text for reply in replies.values())


def test_a_line_that_is_no_json_costs_itself_alone_and_no_request_is_asked_for_ever() -> None:
    def line(key: str, at: int) -> str:
        if at == 0:
            return result(key, GOOD)[:50]
        return result(key, "prompt refused", 400) if at == 1 else result(key, GOOD.format(n=at + 1000, m=at + 1002))

    with shelf(line) as (url, store):
        p = llm_parameters(url, batch=True, probe=0)
        with pytest.raises(RuntimeError, match=r"brought no reply \(a line of the result file is no JSON object"):
            asked(p)
        assert store.sent == 2, "the broken line's request once more; the refused one not again"
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as calls:
        assert calls.open_batches() == []
        assert calls.spent() == pytest.approx(8 * 600e-6 / 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"response": {"status_code": 502, "body": "<html>"}, "error": None}, "<html>"),
        ({"response": None, "error": "expired"}, "expired"),
        ({"response": "timeout", "error": {"message": "too late"}}, "too late"),
    ],
)
def test_a_result_of_any_shape_costs_itself_alone(odd: dict[str, Any], said: str) -> None:
    def line(key: str, at: int) -> str:
        row = json.dumps({"custom_id": key} | odd) if at == 0 else result(key, GOOD.format(n=at + 1000, m=at + 1002))
        return row + "\r"

    with shelf(line) as (url, _):
        p = llm_parameters(url, batch=True, probe=0)
        with pytest.raises(RuntimeError, match=rf"brought no reply \({said}"):
            asked(p)
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as calls:
        assert calls.open_batches() == [] and calls.spent() == pytest.approx(9 * 600e-6 / 2)


def test_a_batch_that_the_endpoint_knows_no_more_is_told_once_and_no_obstacle() -> None:
    with shelf(lambda key, at: result(key, GOOD.format(n=at + 1000, m=at + 1002))) as (url, store):
        p = llm_parameters(url, batch=True, probe=0)
        answer_items(p)
        plan = instruct.plan(p)
        with ledger.open_ledger(p.folder.replies("le"), {}, {}) as calls:
            calls.begin_batch("t", {plan.requests[0].key: ("{}", 0.01)})
            calls.batch_sent("t", "gone")
        with pytest.raises(RuntimeError, match="knows no batch gone any more"):
            instruct.ask(plan, p)
        assert len(instruct.ask(plan, p)) == 10 and store.sent == 1
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as calls:
        assert calls.spent() == pytest.approx(0.01 + 10 * 600e-6 / 2), "it may have been paid for"
