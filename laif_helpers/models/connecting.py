"""Connects with a server: does it listen, in which scheme, behind which proxy, and whose certificate is trusted."""

import asyncio
import contextlib
import os
import re
import socket
import ssl
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlparse, urlsplit

from tqdm.auto import tqdm

from laif_helpers import machine
from laif_helpers.key_types import check_base_url
from laif_helpers.models.protocol import MOVED, ServerError, chain, error_text, untrusted

CONNECT_S = 5.0
REQUEST_TIMEOUT_S = 300.0
RAN_OUT = frozenset({408, 499, 504, 520, 524, 598, 599})
"""A proxy gave up on the server behind it, which may have answered all the same, and billed it."""
_LOADING = re.compile(r'"type": ?"unavailable_error"|"estimated_time":')  # llama.cpp's kind of error, TGI's estimate
_CLOSED, MAX_CLOSED = frozenset({"ServerDisconnectedError", "ConnectionResetError"}), 15
_CACHE = re.compile(r"(?i)(?!.*(?:prompt|prefix|token)).*(?:cache|similarity)")
"""Names under which a gateway says that it had the answer already; what a model keeps of a prompt is another thing."""
_SWITCHES = {"cf-aig": "cf-aig-skip-cache: true", "portkey": "x-portkey-cache-force-refresh: true"}
_SWITCHES |= {"helicone": "Helicone-Cache-Enabled: false", "": "Cache-Control: no-cache"}
_LITELLM = "request_options: {target: {add: {cache: {no-cache: true}}}}"
_told = set[str]()
LEAST_CUT = 500
"""Tokens below which several prompts may well have one number of them by chance."""


def check_address(key: str, url: str) -> None:
    """ValueError if a recipe's ``key`` holds no server's base URL, or if that server needs an API key."""
    check_base_url(key, url)
    if not os.environ.get("OPENAI_CUSTOM_HEADERS", "").isascii():
        raise ValueError("OPENAI_CUSTOM_HEADERS holds a character that is not plain ASCII; set it again")
    if (log := os.environ.get("SSLKEYLOGFILE")) and not os.access(Path(log).resolve().parent, os.W_OK):
        raise ValueError(f"SSLKEYLOGFILE {log!r} cannot be written, so Python opens no connection; unset or correct it")
    if not machine.api_key(role := key.removesuffix("_url")) and not machine.is_local(url):
        raise ValueError(
            f"server {url} needs a key: set the environment variable OPENAI_API_KEY (any word, if it wants none), or "
            f"{machine.KEYS[role]}, which goes to this server alone"
        )


def connect(url: str, role: str) -> Any:
    """An ``openai.AsyncOpenAI`` client of the server of that role; the key comes from ``machine.KEYS`` alone."""
    import openai

    http = openai.DefaultAioHttpClient(
        timeout=REQUEST_TIMEOUT_S,
        proxy=proxy_of(url) or None,
        trust_env=False,  # the client would read the proxy's variables in another way, and a password from ~/.netrc
        verify=_trusted(),
        event_hooks={"response": [_stay_a_post, _look_for_a_cache]},
    )
    parts = urlsplit(url)
    path = parts.path.rstrip("/").removesuffix("/chat/completions")  # an address as makers' pages show it
    return openai.AsyncOpenAI(
        base_url=parts._replace(path=path, query="", fragment="").geturl(),
        default_query=dict(parse_qsl(parts.query)),  # Azure's api-version
        api_key=machine.api_key(role) or "none",
        organization=machine.secret("OPENAI_ORG_ID") or None,
        project=machine.secret("OPENAI_PROJECT_ID") or None,
        max_retries=0,  # they are ours alone: two layers of them multiply
        timeout=REQUEST_TIMEOUT_S,
        http_client=http,
    )


def proxy_of(url: str) -> str:
    """The proxy that the environment names for a server outside, read as curl does (no scheme means http); "" for none,
    and for a server of this machine. Raises ValueError for one that cannot be asked; its password is not shown."""
    parts, named = urlparse(url), urllib.request.getproxies()
    found = (named.get(parts.scheme) or named.get("all") or "").strip()
    if not found or machine.is_local(url) or urllib.request.proxy_bypass(parts.hostname or ""):
        return ""
    found = found if "://" in found else f"http://{found}"
    scheme, place = found.partition("://")[0], found.rpartition("@")[2].rpartition("://")[2]
    with contextlib.suppress(ValueError):  # a port that is no number, such as a part of a password
        proxy = urlparse(found)
        if scheme.lower() in ("http", "https") and proxy.hostname and proxy.port != 0:
            return found
    raise ValueError(
        f"the environment's proxy {scheme}://{place} cannot be asked: write http://HOST:PORT, signs of its password "
        f"percent-encoded{', for SOCKS an HTTP proxy or a tunnel (ssh -L)' * ('socks' in scheme.lower())}; or add the "
        "server to no_proxy"
    )


def _trusted() -> ssl.SSLContext:
    """Whom ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` name; without them, the machine's list and certifi's, which a bare
    container lacks one of. Raises ValueError."""
    import certifi

    file, folder = (os.environ.get(name) or None for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    try:
        context = ssl.create_default_context(cafile=file, capath=folder)
        if not (file or folder):
            context.load_verify_locations(certifi.where())
        return context
    except OSError as error:
        raise ValueError(f"SSL_CERT_FILE {file!r} holds no certificates that can be read ({error})") from None


async def loaded(client: Any, url: str) -> Any:
    """Wait ten minutes at most for a server with a field that says it is loading. Raises ServerError if the connection
    is closed each time (a proxy with nobody behind it): of a paid request nobody would know what became of it. Other
    failures are the requests'."""
    for second in range(600):
        try:
            return await client.get("/models", cast_to=object, options={"timeout": CONNECT_S})
        except Exception as error:  # a server need not know this address, and may answer it as it likes
            closed = _CLOSED & {type(link).__name__ for link in chain(error)}
            if closed and second >= MAX_CLOSED:
                gone = "closes each connection without a word, so nothing was asked; start what stands behind it"
                raise ServerError(f"server {url} {gone}") from None
            if not closed and not _LOADING.search(str(getattr(getattr(error, "response", None), "text", ""))):
                return None
            second or tqdm.write(f"server {url} is not ready ({error_text(error)}); waiting")
            await asyncio.sleep(1.0)


def late(error: BaseException) -> bool:
    """Whether nobody answered in time: the server has too many requests at once, or needs longer for one."""
    *_, root = chain(error)
    return getattr(error, "status_code", None) in RAN_OUT or isinstance(root, TimeoutError)


async def somebody(client: Any) -> bool:
    """Whether anybody is behind the address now, and not a proxy alone."""
    import openai

    try:
        await client.get("/models", cast_to=object, options={"timeout": CONNECT_S})
    except openai.APIStatusError as error:  # a server need not know this address; beyond 501 a proxy speaks
        return error.status_code < 502
    except Exception:  # a page where JSON is awaited, a connection that closes
        return False
    return True


def dropped(lengths: list[tuple[int, int]]) -> str:
    """What (bytes, tokens) of prompts that were answered say about a server that cuts a prompt to its context and
    answers what is left, as Ollama does: several of very different length have the same, largest number of tokens."""
    most = max((tokens for _, tokens in lengths), default=0)
    sizes = [size for size, tokens in lengths if tokens == most]
    if most < LEAST_CUT or max(sizes) < 1.2 * min(sizes):
        return ""
    return (
        f"counts {most:,} tokens for each of {len(sizes)} prompts of {min(sizes):,} to {max(sizes):,} bytes: it seems "
        "to drop what passes its context, so their answers say nothing; give it a longer one (Ollama: "
        "OLLAMA_CONTEXT_LENGTH, or num_ctx in a Modelfile), and ask again"
    )


async def _stay_a_post(response: Any) -> None:
    """The client would follow a 301 to 303 by a GET, whose reply is no answer; so these count as refusals."""
    if response.status_code in MOVED and response.request.method == "POST":
        response.headers["x-moved-to"] = response.headers.pop("location", "nowhere")


async def _look_for_a_cache(response: Any) -> None:
    """Say, once a server, that a reply calls itself one out of a cache: by meaning it is another question's, by a hash
    without the seed an earlier sample."""
    # within a text of the answer the quotes are escaped, and tokens that were kept are numbers
    body = await response.aread()
    with contextlib.suppress(UnicodeDecodeError):
        body.decode()
        response.encoding = "utf-8"  # as JSON always is, whatever charset a server's framework names
    inner = re.findall(rb'"(\w*cache\w*)": ?(true|"[^"\\]*")', body)
    url = str(response.url).removesuffix("/chat/completions")
    for name, value in [*((name.decode(), value.decode()) for name, value in inner), *response.headers.items()]:
        flag = value.lower() in ("true", "1") and re.search(r"(?i)hits?$|cached?$", name)
        found = flag or re.search("(?i)(?<![a-z])hit(?![a-z])", value) or name == "x-litellm-cache-key"
        if found and _CACHE.match(name) and url not in _told:
            _told.add(url)
            header = next(header for mark, header in _SWITCHES.items() if mark in name.lower())
            mend = _LITELLM if "litellm" in name else f"OPENAI_CUSTOM_HEADERS to {header!r}"
            tqdm.write(
                f"server {url} answers out of a cache ({name}: {value:.40}): such an answer may be another question's "
                f"or an earlier sample, not the model's; switch it off there, or set {mend}, and ask anew by --name"
            )


def check_reached(url: str, key: str = "target_url") -> None:
    """Raises ServerError, at once, if no server (or no proxy before it) listens at ``url``, or if it speaks another
    scheme, and what ``check_address`` raises. ``key``: of the recipe, which names it."""
    check_address(key, url)
    parts, proxy = urlparse(url), urlparse(proxy_of(url))
    asked, what = (proxy, f"proxy {proxy.hostname}:{proxy.port}") if proxy.hostname else (parts, f"server {url}")
    mend = "correct the environment's …_proxy, or add the server to no_proxy" if proxy.hostname else f"correct {key}"
    port = asked.port or (443 if asked.scheme == "https" else 80)
    try:
        with socket.create_connection((asked.hostname or "", port), timeout=CONNECT_S) as connection:
            if asked.scheme == "https":
                _trusted().wrap_socket(connection, server_hostname=asked.hostname).close()
    except ssl.SSLCertVerificationError as error:
        raise untrusted(what, error.verify_message) from None
    except ssl.SSLError:
        raise ServerError(f"{what} does not speak https at that port; write http://… in {key}") from None
    except socket.gaierror:
        raise ServerError(f"no machine is called {asked.hostname!r} ({what}); {mend}") from None
    except OSError as error:
        start = f"nothing listens at {what.partition(' ')[2]} ({error.strerror or error})"
        raise ServerError(f"{start}; start the {what.partition(' ')[0]}, or {mend}") from None
