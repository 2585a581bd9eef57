"""Reads what this process was granted on its machine, and which releases are installed there."""

import contextlib
import functools
import importlib.metadata
import os
import platform
import re
from urllib.parse import urlparse


def cores() -> int:
    """Cores that this process may use: its affinity, or less if its control group has a quota of processor time.

    A batch system or a container grants a few cores of many.
    """
    import joblib

    return int(joblib.cpu_count())


PACKAGES = (
    *("laif-helpers", "torch", "transformers", "trl", "peft", "accelerate", "deepspeed"),
    *("openai", "papermill", "pandas", "numpy", "scikit-learn", "umap-learn"),
)


@functools.cache
def versions() -> dict[str, str]:
    """Version of Python and of each package that can change a result; absent ones are left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def is_local(url: str) -> bool:
    """Whether a URL names this machine itself, whose servers want no key and no proxy."""
    return bool(re.fullmatch(r"localhost|0\.0\.0\.0|127(\.\d+){1,3}|::1?", urlparse(url).hostname or ""))


KEYS = {"target": "LAIF_TARGET_API_KEY", "instructor": "LAIF_INSTRUCTOR_API_KEY", "": "OPENAI_API_KEY"}
"""Variables of the servers' keys, by whose it is; the last one's is everybody's who has none of their own."""


def api_key(role: str = "") -> str:
    """The key for the target's or the instructor's server; "" if there is none. Raises ValueError as ``secret``."""
    return secret(KEYS[role]) or secret(KEYS[""])


def secret(variable: str) -> str:
    """A key from the environment, without white space around it; "" if there is none.

    Raises ValueError if it holds what no key holds, such as a line break: it could be sent in no header. The sentence
    names the variable and shows nothing of its value.
    """
    value = os.environ.get(variable, "").strip()
    if stray := re.search(r"[^!-~]|^[\"']|[\"']$", value):
        kind = "white space" if stray[0].isspace() else "a character that is not plain ASCII"
        kind = "a quotation mark" if stray[0] in "\"'" else kind
        raise ValueError(f"the environment variable {variable} holds {kind} at place {stray.start() + 1}; set it again")
    return value
