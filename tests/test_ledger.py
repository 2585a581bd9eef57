"""The ledger: what was paid for is never lost, never paid twice, never mixed with other data."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from laif_helpers.instructors import ledger
from laif_helpers.instructors.ledger import Reply

ABOUT = {"arm": "le", "target": "a", "instructor": "llm", ledger.PAID: "yes"}


def test_a_paid_ledger_of_other_data_is_refused_and_a_free_one_begun_afresh(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    with ledger.open_ledger(path, ABOUT, {"q1": "one"}) as calls:
        calls.reserve("k", "", 0.5)
        calls.record(Reply("k", "text"), 0.5)
    with (
        pytest.raises(ValueError, match="target is 'a', here it is 'b'"),
        ledger.open_ledger(path, ABOUT | {"target": "b"}, {}),
    ):
        pass
    with pytest.raises(ValueError, match="item q1 is another question"), ledger.open_ledger(path, ABOUT, {"q1": "two"}):
        pass
    with ledger.open_ledger(path, ABOUT, {"q1": "one", "q2": "more"}) as calls:
        assert calls.replies(["k"])["k"].text == "text"
    for _ in range(2):
        with ledger.open_ledger(path, ABOUT, {"q1": "one", "q2": "more, reworded"}) as calls:
            assert calls.replies(["k"]), "one question in other words costs none of the others"
    with pytest.raises(ValueError, match="2 differ"), ledger.open_ledger(path, ABOUT, {"q1": "two", "q2": "more"}):
        pass
    free = ABOUT | {"instructor": "scripted", ledger.PAID: "no"}
    with pytest.raises(ValueError, match="instructor is 'llm'"), ledger.open_ledger(path, free, {}):
        pass
    path = tmp_path / "free.sqlite"
    for target in ("a", "b"):
        with ledger.open_ledger(path, free | {"target": target}, {}) as calls:
            assert calls.replies(["k"]) == {}
            calls.reserve("k", "", 0)
            calls.record(Reply("k", "text"))
    path.write_text("not a database, but long enough to be read as one " * 30)
    with pytest.raises(ValueError, match="is no ledger"), ledger.open_ledger(path, free, {}):
        pass


def test_a_request_that_two_want_is_asked_once(tmp_path: Path) -> None:
    """Two updates of one question may be equal word for word."""
    asked: list[str] = []
    with ledger.open_ledger(tmp_path / "x.sqlite", ABOUT, {}) as calls:
        requests = [ledger.Asked(key, "practice", []) for key in "aba"]
        calls.answered(requests, lambda missing: asked.extend(each.key for each in missing))
    assert asked == ["a", "b"]


def test_two_runs_on_one_ledger_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    first, second = ledger.open_ledger(path, ABOUT, {}), ledger.open_ledger(path, ABOUT, {})
    with first, pytest.raises(RuntimeError, match="another run"), second:
        pass
    with ledger.open_ledger(path, ABOUT, {}):
        pass


def test_a_killed_run_loses_no_reply_and_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    program = f"""
        from pathlib import Path
        from laif_helpers.instructors import ledger
        with ledger.open_ledger(Path({str(path)!r}), {ABOUT!r}, {{}}) as book:
            for i in range(100000):
                book.reserve(str(i), "", 0.25)
                if i == 40: print("now", flush=True)
                book.record(ledger.Reply(str(i), f"text {{i}}", usd=0.125), 0.25)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    assert child.stdout and child.stdout.readline() == "now\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    with ledger.open_ledger(path, ABOUT, {}) as calls:
        known = calls.replies([str(i) for i in range(100000)])
        assert len(known) >= 40 and all(reply.text == f"text {key}" for key, reply in known.items())
        assert calls.spent() in {len(known) * 0.125, len(known) * 0.125 + 0.25}, "a call in flight stays counted"
