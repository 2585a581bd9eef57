"""The Batch endpoint over a real socket: half the price, and no batch is lost or sent twice by a kill."""

import json
from pathlib import Path
from typing import Any

import pytest
from instructing import answer_items, practice_parameters, practice_server

from laif_helpers import instruct, recipe
from laif_helpers.instructors import batch, ledger, llm, spending
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
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as book:
        assert book.spent() == pytest.approx(sum(reply.usd for reply in replies.values()))
        assert book.open_batches() == []


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
        stats = app.state.counts.told()
        assert len(app.state.store.batches) >= 2 and stats["faults"]["server_error"] > 0
    assert len(replies) == 10 == stats["answered"] and stats["answered_again"] == 0


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
        with ledger.open_ledger(p.folder.replies("le"), {}, {}) as book:
            assert len(book.open_batches()) == 1 and book.spent() > 0, "it stays reserved"
        _, replies = asked(p)
        assert len(replies) == 10 and len(app.state.store.batches) == 1
        assert app.state.counts.told()["answered_again"] == 0
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as book:
        assert book.spent() == pytest.approx(sum(reply.usd for reply in replies.values()))


def test_a_cap_makes_several_batches_and_is_never_exceeded() -> None:
    with practice_server() as (url, app):
        p = practice_parameters(url, batch=True, probe=0)
        answer_items(p)
        plan = instruct.plan(p)
        body = llm.call(plan.requests[0], p, False)
        most = spending.price(p, spending.prompt_bound(body), spending.MAX_REPLY_TOKENS) / 2
        small = practice_parameters(url, batch=True, probe=0, max_usd=most * 4.5)
        assert len(instruct.ask(plan, small)) == 10
        assert len(app.state.store.batches) >= 3
        sizes = [
            len(app.state.store.files[made["input_file_id"]].splitlines()) for made in app.state.store.batches.values()
        ]
        assert sizes[0] == 4
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as book:
        assert book.spent() <= most * 4.5


def test_a_batch_that_brings_nothing_is_told() -> None:
    with practice_server() as (url, _):
        unknown = {"instructor_model": "gpt-0", "prices": {"gpt-0": {"input": 1, "output": 1}}}
        with pytest.raises(RuntimeError, match=r"brought no reply .*does not exist"):
            asked(practice_parameters(url, batch=True, probe=0, **unknown))
    with practice_server(key="right") as (url, _):
        p = practice_parameters(url, batch=True, probe=0)
        with pytest.raises(RuntimeError, match="refuses the key"):
            asked(p)
        with ledger.open_ledger(p.folder.replies("le"), {}, {}) as book:
            assert book.spent() == 0 and book.open_batches() == []


def test_the_ledger_holds_what_was_sent() -> None:
    with practice_server() as (url, _):
        p = practice_parameters(url, batch=True, probe=0)
        plan, _ = asked(p)
    with ledger.open_ledger(p.folder.replies("le"), {}, {}) as book:
        rows = dict(book.base.execute("SELECT key, request FROM calls"))
    assert all(json.loads(rows[r.key])["messages"] == r.messages for r in plan.requests)
