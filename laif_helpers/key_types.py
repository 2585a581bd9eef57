"""Reads the values of a recipe that are more than a number or a word, also from papermill's strings."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

TEMPLATE_KEY = "chat_template_kwargs"
"""The parameter with values for the chat template, as vLLM, SGLang, llama.cpp and `transformers serve` call it."""

_BASE_URL = re.compile(
    r"https?://(?:[^\s/@]*@)?(?:[\w.-]+|\[[\da-f:]+\])(?::[1-6]?\d{1,4})?(?:[/?]\S*)?", re.IGNORECASE
)


class Price(BaseModel):
    """What a model costs, in dollars per million tokens; 0 for a server of your own."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class RequestChange(BaseModel):
    """How the body of a request differs from the usual one: some servers forbid a parameter or want another name."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    add: dict[str, Any] = {}
    rename: dict[str, str] = {}
    leave_out: list[str] = []

    @model_validator(mode="after")
    def _fits_together(self) -> "RequestChange":
        touched = [*self.add, *self.rename, *self.rename.values(), *self.leave_out]
        if ours := [name for name in touched if name in ("messages", "model")]:
            raise ValueError(f"{ours[0]!r} cannot be changed: it holds what is asked; change another parameter")
        if secret := [name for name in touched if name.lower().replace("-", "_") in ("api_key", "authorization")]:
            raise ValueError(f"{secret[0]!r}: keys come from the environment, never from a recipe; remove it here")
        counts = {name: self.add[name] for name in ("max_tokens", "max_completion_tokens", "n") if name in self.add}
        if odd := [f"{name}: {value!r}" for name, value in counts.items() if type(value) is not int or value < 1]:
            raise ValueError(f"{odd[0]}: write a whole number from 1 on")
        if twice := sorted(name for name in set(touched) if touched.count(name) > 1):
            raise ValueError(f"{twice[0]!r} is named twice among add, rename and leave_out; name it once")
        values = self.template_values
        if not isinstance(values, Mapping) or not all(str(name).isidentifier() for name in values):
            raise ValueError(f"{TEMPLATE_KEY} {values!r}: a mapping of names, such as {{enable_thinking: false}}")
        return self

    @property
    def template_values(self) -> dict[str, Any]:
        """Values for the chat template: a server is sent them, a model of this machine is asked and trained by them."""
        found: dict[str, Any] = self.add.get(TEMPLATE_KEY, {})
        return found

    @model_serializer
    def _changes_alone(self) -> dict[str, Any]:
        return {name: value for name in type(self).model_fields if (value := getattr(self, name))}


class RequestOptions(BaseModel):
    """Changes to the requests that the target's server gets, and to those that the instructor gets."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    target: RequestChange = Field(default_factory=RequestChange)
    instructor: RequestChange = Field(default_factory=RequestChange)

    @model_serializer
    def _changes_alone(self) -> dict[str, Any]:
        changes = {name: getattr(self, name).model_dump() for name in type(self).model_fields}
        return {name: change for name, change in changes.items() if change}


# PyYAML's constructors also raise these: 2026-13-45, !!bool x, !!timestamp x, [[[[...
NO_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError)


class _Yaml(yaml.SafeLoader):
    """Numbers to the base of sixty are text: 24:00:00 is a time limit, and not 86,400. 010 is ten, as in YAML 1.2."""

    def _number(self, node: yaml.ScalarNode) -> Any:
        if ":" in (text := str(self.construct_scalar(node))):
            return text
        if re.fullmatch(r"[-+]?0[\d_]+", text):
            return int(text.replace("_", ""))
        return self.construct_yaml_int(node) if node.tag.endswith("int") else self.construct_yaml_float(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuses a key that is given twice, of which YAML itself keeps the last."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                sentence = f"{name} is given twice, in line {lines[name]} and in line {line}; remove one of them"
                raise GivenTwice(sentence)
            lines[name] = line
        return super().construct_mapping(node, deep)


class GivenTwice(ValueError):
    """A mapping of YAML holds a key twice."""


_Yaml.add_constructor("tag:yaml.org,2002:int", _Yaml._number)
_Yaml.add_constructor("tag:yaml.org,2002:float", _Yaml._number)


def read_yaml(text: str) -> Any:
    """A YAML document's value. Raises one of ``NO_YAML``."""
    return _Yaml(text).get_single_data()


def values_in(recipe: Path) -> dict[str, Any]:
    """The values that a run's own ``recipe.yaml`` names; {} if there is none, or no whole one."""
    try:
        found = yaml.safe_load(recipe.read_text(encoding="utf-8")) if recipe.is_file() else {}
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def read_list(value: Any) -> Any:
    """papermill's ``-p arms "[le, lec]"`` is a string; so is ``--set arms=le,lec``."""
    if not isinstance(value, str):
        return value
    inner = value.strip().removeprefix("[").removesuffix("]")
    return [part.strip().strip("'\"") for part in inner.split(",") if part.strip()]


def read_mapping(value: Any) -> Any:
    """papermill's ``-p PRICES "{m: {input: 1, output: 4}}"`` is a string. Raises ValueError if it is no mapping."""
    try:
        read = read_yaml(value) if isinstance(value, str) else value
    except NO_YAML:
        read = None
    if not isinstance(read, Mapping | BaseModel):
        raise ValueError(f"{value!r} is no mapping; write {{name: value}}")
    return read


def check_base_url(key: str, url: str) -> None:
    """ValueError if a recipe's ``key`` holds no server's base URL."""
    if not _BASE_URL.fullmatch(url):
        raise ValueError(f"{key} {url!r} is not a server's base URL; expected http://HOST:PORT/v1")
    if "@" in urlsplit(url).netloc:
        raise ValueError(
            f"{key} holds a user or password; recipes are written down: use OPENAI_API_KEY, or OPENAI_CUSTOM_HEADERS "
            "for basic authentication"
        )


def addresses_as_before(values: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Servers' addresses as a run's recipe spelled them ``before``, if they are the same places: answers and paid
    replies are known by them, letter by letter."""
    pairs = {key: (values.get(key), before.get(key)) for key in ("target_url", "instructor_url")}
    return {key: old for key, (new, old) in pairs.items() if new and old and _place(new) == _place(old)}


def _place(url: Any) -> tuple[Any, ...]:
    """What a URL names, whatever its capitals, its usual port and the slash at its end."""
    parts = urlsplit(str(url).strip())
    host = parts.netloc.lower().removesuffix(":443" if parts.scheme == "https" else ":80")
    return parts.scheme, host, parts.path.rstrip("/"), parts.query
