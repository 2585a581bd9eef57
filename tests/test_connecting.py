"""What stands between this machine and a server: proxies, certificates, redirects, pages of error."""

import re
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from instructing import completion, endpoint

from laif_helpers import launch, models
from laif_helpers.models import connecting, protocol, server
from laif_helpers.models.server import ServerError

AWAY = "http://models.invalid/v1"


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setattr(protocol, "_wait", lambda *_: 0.01)


def ask(url: str) -> str:
    (answer,) = models.generate("server:m", [[{"role": "user", "content": "Hi"}]], url=url, progress=False)
    return answer.text


def answers(call: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return 200, completion("yes")


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("http://127.0.0.1:9/v1/chat/completions/", "http://127.0.0.1:9/v1/chat/completions"),
        (
            "http://127.0.0.1:9/d/x?api-version=2024-10-21",
            "http://127.0.0.1:9/d/x/chat/completions?api-version=2024-10-21",
        ),
        ("http://[::1]:9/v1", "http://[::1]:9/v1/chat/completions"),
    ],
)
def test_an_address_is_taken_with_its_query_and_as_makers_pages_show_it(written: str, asked: str) -> None:
    """The path stood behind the query, so nothing answered."""
    from openai._models import FinalRequestOptions

    request = connecting.connect(written, "target")._build_request(
        FinalRequestOptions.construct(method="post", url="/chat/completions", json_data={})
    )
    assert str(request.url) == asked


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("OPENAI_CUSTOM_HEADERS", "X-Name: J\u00fcrgen", "holds a character that is not plain ASCII"),
        ("SSLKEYLOGFILE", "/nowhere/keys", "'/nowhere/keys' cannot be written, so Python opens no connection"),
    ],
)
def test_an_environment_that_lets_nothing_be_sent_is_told(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"{name} {told}"):
        ask("http://127.0.0.1:9/v1")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["HTTP_PROXY", "all_proxy"])
def test_a_proxy_is_asked_in_place_of_a_server_outside(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with endpoint(answers) as (url, calls):
        monkeypatch.setenv(name, url.removesuffix("/v1"))
        assert ask(AWAY) == "yes" and len(calls) == 1
        monkeypatch.setenv("no_proxy", "models.invalid")
        with pytest.raises(ServerError, match=r"no machine is called 'models.invalid' .*; correct target_url"):
            ask(AWAY)


@pytest.mark.slow
@pytest.mark.parametrize("spelled", ["127.0.0.1:{port}", " http://127.0.0.1:{port}\n"])
def test_a_proxy_is_read_as_other_programs_read_it(spelled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with endpoint(answers) as (url, _):
        monkeypatch.setenv("HTTP_PROXY", spelled.format(port=url.rpartition(":")[2].removesuffix("/v1")))
        assert ask(AWAY) == "yes"


@pytest.mark.parametrize("proxy", ["socks5h://me:word@h:1", "http://me:wo#word@h", "http://h:port", "socks://h:1"])
def test_a_proxy_that_cannot_be_asked_is_told(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ValueError, match=r"the environment's proxy \w+://h\S* cannot be asked: write http:") as no:
        ask(AWAY)
    assert "word@" not in str(no.value) and ("for SOCKS" in str(no.value)) == proxy.startswith("socks")
    with endpoint(answers) as (url, _):
        assert ask(url) == "yes", "a server of this machine is asked without it"


def test_target_and_instructor_have_keys_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two services could not be asked in one run, and each was sent the other's key."""
    monkeypatch.setenv("LAIF_TARGET_API_KEY", "mine")
    keys = {role: connecting.connect(AWAY, role).api_key for role in ("target", "instructor")}
    assert keys == {"target": "mine", "instructor": "k"}
    monkeypatch.delenv("OPENAI_API_KEY")
    connecting.check_address("target_url", AWAY)
    with pytest.raises(
        ValueError, match=r"OPENAI_API_KEY .*, or LAIF_INSTRUCTOR_API_KEY, which goes to this server alone"
    ):
        connecting.check_address("instructor_url", AWAY)


def test_a_proxy_that_does_not_listen_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@127.0.0.1:{(port := launch.free_port())}")
    with pytest.raises(
        ServerError, match=f"nothing listens at 127.0.0.1:{port} .*start the proxy, or .*no_proxy"
    ) as no:
        server.check_reached(AWAY)
    assert "secret" not in str(no.value)
    with endpoint(answers) as (url, _):
        assert ask(url) == "yes", "a server of this machine is asked without it"


@pytest.mark.slow
@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_would_make_a_get_of_the_request_is_told(status: int) -> None:
    with endpoint(lambda *_: (status, {}), {"location": "https://elsewhere/v1/chat"}) as (url, calls):
        with pytest.raises(ServerError, match=f"sends requests on to https://elsewhere/v1/chat .{status}.; write the"):
            ask(url)
        assert len(calls) <= 2, "once more at most, to see whether it is this prompt"


def test_a_refusal_without_a_key_says_so_and_a_page_is_told_by_its_title(monkeypatch: pytest.MonkeyPatch) -> None:
    page = "<!doctype html><head><style>" + "x" * 300 + "</style><title>No entry\n</title>"
    with endpoint(lambda *_: (400, {"error": page})) as (url, _):
        with pytest.raises(ServerError, match=r"refuses the request \(400: No entry\); .*bounds an answer$"):
            ask(url)
        monkeypatch.delenv("OPENAI_API_KEY")
        with pytest.raises(ServerError, match=r"bounds an answer; OPENAI_API_KEY is not set, if it wants a key$"):
            ask(url)


def test_user_and_password_in_an_address_are_refused() -> None:
    with pytest.raises(ValueError, match=r"target_url holds a user or password; .* use OPENAI_API_KEY, or OPENAI_CUST"):
        ask("http://me:secret@127.0.0.1:1/v1")


@pytest.mark.slow
def test_basic_authentication_is_named_and_its_password_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = "wants a user and a password .*: set OPENAI_CUSTOM_HEADERS to 'Authorization: Basic"
    with (
        endpoint(lambda *_: (401, {}), {"www-authenticate": 'Basic realm="lab"'}) as (url, _),
        pytest.raises(ServerError, match=wanted),
    ):
        ask(url)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Lab: nlp\nAuthorization: Basic bWU6c2VjcmV0\nx-lab-key: hidden")
    with (
        endpoint(lambda *_: (400, {"error": {"message": "no bWU6c2VjcmV0, no hidden at nlp"}})) as (url, _),
        pytest.raises(ServerError, match=r"400: no \[key\], no \[key\] at nlp"),
    ):
        ask(url)


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificate")
def test_a_certificate_of_one_s_own_is_trusted_once_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(cert)]
    make += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(make, check=True, capture_output=True)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}')

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.handle_error = lambda *_: None  # type: ignore[method-assign]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        listening.socket = context.wrap_socket(listening.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        url = f"https://127.0.0.1:{listening.server_port}/v1"
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with pytest.raises(ServerError, match=r"is not trusted .*self-signed.*; set SSL_CERT_FILE to its issuer's"):
            server.check_reached(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        assert ask(url) == "yes"
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
        with pytest.raises(ValueError, match=r"none\.pem' holds no certificates that can be read"):
            ask(url)
        listening.shutdown()


@pytest.mark.parametrize(
    ("headers", "more", "told"),
    [
        ({"x-cache": "HIT", "x-cache-similarity": "0.96"}, {}, r"\(x-cache: HIT\).* 'Cache-Control: no-cache'"),
        ({"x-portkey-cache-status": "SEMANTIC HIT"}, {}, "set OPENAI_CUSTOM_HEADERS to 'x-portkey-cache-force-refresh"),
        ({"x-litellm-cache-key": "15cb2e"}, {}, r"or set request_options: {target: {add: {cache: {no-cache: true}}}}"),
        ({"cf-aig-cache-status": "HIT"}, {}, "'cf-aig-skip-cache: true'"),
        ({"cache-status": "edge; hit; ttl=3"}, {}, "cache-status"),
        ({"x-cache": "TCP_HIT from a"}, {}, "TCP_HIT"),
        ({}, {"extra_fields": {"cache_debug": {"cache_hit": True, "hit_type": "semantic"}}}, "cache_hit: true"),
        ({}, {"gptcache": True}, "gptcache: true"),
        ({"x-cache": "MISS", "x-cache-hits": "0", "cf-cache-status": "DYNAMIC", "x-cache-enabled": "true"}, {}, ""),
        ({"x-prompt-cache-hit": "true"}, {"usage": {"prompt_cache_hit_tokens": 64}, "cached": False}, ""),
    ],
)
def test_an_answer_out_of_a_cache_is_told_once(
    headers: dict[str, str], more: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = 'a cache_hit: true, "cache_hit": true'
    with endpoint(lambda *_: (200, completion(words) | more), headers) as (url, calls):
        assert [ask(url), ask(url)] == [words] * 2 and len(calls) == 2
    said = [line for line in capsys.readouterr().out.splitlines() if "cache" in line]
    assert len(said) == bool(told) and all(re.search(told, line) and line.startswith(f"server {url}") for line in said)
