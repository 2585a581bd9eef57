"""Adapts the form of requests to a server: by what the recipe changes, and by what the server refuses.

A refusal counts by its status, its code and the parameter that it names, in a field or as code in its words.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tqdm.auto import tqdm

from laif_helpers.key_types import RequestChange
from laif_helpers.models import protocol

REFUSED = frozenset({400, 413, 415, 422, 501})
"""Refusals that another form of the request may avoid."""
LENGTHS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""The two names of the longest reply; one of them must be sent, since nothing else bounds what a reply costs."""
UNKNOWN = frozenset({"unsupported_parameter", "unknown_parameter", "extra_forbidden"})
"""Codes that refuse the name of a parameter, and not its value."""
_ESSENTIAL = frozenset({"model", "messages"})


@dataclass
class Form:
    """``longest``: tokens that a reply may have; 0: as asked. ``merged``: what a system message says begins the user's,
    for models that know none. ``proven``: some request in this form was answered."""

    change: RequestChange = field(default_factory=RequestChange)
    renamed: dict[str, str] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    longest: int = 0
    merged: bool = False
    proven: bool = False

    def body(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The request as this server wants it."""
        if self.merged:
            first, *rest = (turn["content"] for turn in asked["messages"])
            asked = asked | {"messages": [{"role": "user", "content": "\n\n".join([first, *rest])}]}
        kept = {name: value for name, value in asked.items() if name not in self.change.leave_out}
        wanted = {self.change.rename.get(name, name): value for name, value in kept.items()} | self.change.add
        named = {self.renamed.get(name, name): value for name, value in wanted.items()}
        return {name: value for name, value in named.items() if name not in self.left_out}

    def learn(self, error: Any, sent: dict[str, Any], who: str) -> bool:
        """Take a refusal of ``sent`` into account; True if the request should be sent again in the form that follows.

        Every parameter changes once: one that is refused under both of its names stays refused. What is left out is
        told of, as ``who`` refused it.
        """
        name, code = refused_parameter(error, sent)
        if not name or name in _ESSENTIAL:
            return False
        if name not in LENGTHS:
            if name not in self.left_out:
                tqdm.write(f"{who} does not take {name} ({protocol.error_text(error)}); asking without it")
            self.left_out.add(name)
            return True
        if code not in UNKNOWN or LENGTHS[name] in self.renamed:
            return False
        self.renamed[name] = LENGTHS[name]
        return True

    def dump(self) -> str:
        """What was learned, for ``load``."""
        learned = {"renamed": self.renamed, "left_out": sorted(self.left_out), "longest": self.longest}
        return json.dumps(learned | {"merged": self.merged, "proven": self.proven})

    @classmethod
    def load(cls, change: RequestChange, learned: str) -> "Form":
        """A form of ``dump``, under the recipe's present changes; a new one if ``learned`` is ""."""
        known = json.loads(learned or "{}")
        return cls(change, **(known | {"left_out": set(known.get("left_out", ()))}))


def refused_parameter(error: Any, sent: dict[str, Any]) -> tuple[str, str]:
    """The parameter of ``sent`` that a refusal names, and the refusal's code; ("", "") if none.

    OpenAI and its like name it in ``param``, servers built on pydantic (Mistral, FastAPI) in ``loc``; others, such as
    Anthropic's and gateways, only in the words, as code: `temperature`, 'seed', temperature=0.8, body -> seed.
    """
    if getattr(error, "status_code", None) not in REFUSED:
        return "", ""
    named = [(str(getattr(error, "param", None) or ""), str(getattr(error, "code", None) or ""))]
    named += [(str(found["loc"][-1]), str(found.get("type"))) for found in _located(getattr(error, "body", None))]
    for place, code in named:
        head = re.split(r"[.\[]", place, maxsplit=1)[0]
        if head in sent:
            return head, code
    words, asked = str(error)[:2_000], json.dumps(sent["messages"])
    names = [name for name in sent if name not in _ESSENTIAL and name not in LENGTHS and name not in asked]
    said = [name for name in names if re.search(rf"[`'\"]{name}[`'\"\\](?!:)|\b{name}=|[:>] {name}\b", words)]
    return (said[0], "") if len(said) == 1 else ("", "")


def _located(node: Any) -> Iterator[dict[str, Any]]:
    """Every part of an error's JSON that says where in the request it is."""
    if isinstance(node, dict):
        if isinstance(node.get("loc"), list) and node["loc"]:
            yield node
        node = list(node.values())
    for part in node if isinstance(node, list) else ():
        yield from _located(part)
