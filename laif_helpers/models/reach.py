"""Checks a server before many requests: does it listen, in which scheme, and how long is its context."""

import os
import socket
import ssl
from typing import Any
from urllib.parse import urljoin, urlparse

from laif_helpers.models.protocol import ServerError, is_local
from laif_helpers.records import Message

CONNECT_S = 5.0
TEMPLATE = 128
"""Tokens that a chat template may add: marks, and a system message of its own."""
LEAST_ROOM = 0.25
"""Share of a context that an answer is asked for at least, if the prompt's length is not known well enough."""


def check(url: str) -> None:
    """Raises ServerError, at once, if no server listens at ``url`` or if it speaks another scheme."""
    parts = urlparse(url)
    proxy = any(os.environ.get(name) for name in (f"{parts.scheme}_proxy", f"{parts.scheme.upper()}_PROXY"))
    if proxy and not is_local(url):
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=CONNECT_S) as connection:
            if parts.scheme == "https":
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only the scheme is looked at
                context.wrap_socket(connection, server_hostname=parts.hostname).close()
    except ssl.SSLError:
        raise ServerError(f"server {url} does not speak https at that port; write http://… in target_url") from None
    except socket.gaierror:
        raise ServerError(f"no machine is called {parts.hostname!r} (server {url}); correct target_url") from None
    except OSError as error:
        raise ServerError(
            f"nothing listens at {url} ({error.strerror or error}); start the server, or correct target_url"
        ) from None


async def context(client: Any, model: str) -> int:
    """Tokens that prompt and answer may have together, if the server reports it (vLLM, SGLang, llama.cpp); 0 if not."""
    # llama.cpp reports its own settings at the server's root, beside /v1.
    for address, read in (("/models", _of_list), (urljoin(str(client.base_url), "/props"), _of_props)):
        try:
            found = read(await client.get(address, cast_to=object, options={"timeout": CONNECT_S}), model)
        except Exception:  # a server need not know these addresses, and may answer them as it likes
            continue
        if found:
            return found
    return 0


def _of_list(reply: dict[str, Any], model: str) -> int:
    rows = [row for row in reply.get("data") or [] if isinstance(row, dict)]
    row = next((row for row in rows if row.get("id") == model), rows[0] if len(rows) == 1 else {})
    found = row.get("max_model_len") or (row.get("meta") or {}).get("n_ctx") or row.get("context_length")
    return found if isinstance(found, int) else 0


def _of_props(reply: dict[str, Any], _: str) -> int:
    found = (reply.get("default_generation_settings") or {}).get("n_ctx")
    return found if isinstance(found, int) else 0


def room(context: int, turns: list[Message], asked: int) -> int:
    """How many tokens to ask for: ``asked``, or less if prompt and answer might not fit ``context`` (0: unknown).

    A token has at least one byte, so a prompt's bytes bound its tokens. If that bound leaves no room, the answer gets a
    share of the context.
    """
    if not context:
        return asked
    most = TEMPLATE + sum(len(turn["content"].encode()) for turn in turns)
    return max(1, min(asked, max(context - most, int(LEAST_ROOM * context))))
