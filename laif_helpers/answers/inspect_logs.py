"""Reads logs of Inspect (UK AISI's evaluation framework): their samples as items of our benchmarks with answers.

Both of its forms are read: one JSON document (``.json``) and the zip archive (``.eval``), which newer versions pack
with Zstandard. Format: https://inspect.aisi.org.uk/eval-logs.html
"""

import contextlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from laif_helpers.answers.labels import label_name, truth, words
from laif_helpers.records import read_text

Document = dict[str, Any]
CONVERT = "inspect log convert --to json --output-dir DIR LOG"
_TASKS = ("gsm_plus", "gsm8k", "mmlu", "arc_challenge", "arc", "humaneval", "mbpp", "bbh")


def is_log(document: object) -> bool:
    """Whether a JSON document is such a log."""
    found = document.get("eval") if isinstance(document, dict) else None
    return isinstance(found, dict) and {"task", "model"} <= found.keys()


def samples(path: Path) -> Iterator[Document]:
    """The answered samples of all epochs, as fields of ``logs.Logged``; ``item`` has the fields of the benchmark's
    public schema, for code only the task's id. Raises ValueError naming what cannot be read, and what to do."""
    head, found = _archive(path) if path.suffix == ".eval" else _document(path)
    task, model = str(head["eval"]["task"]), str(head["eval"].get("model", path.stem))
    for sample in found:
        if kept := sample.get("attachments"):
            sample |= {name: _put_back(sample.get(name), kept) for name in ("input", "output")}
    # a model that says nothing is wrong; a sample that broke off has no choice at all
    answered = [sample for sample in found if _text(sample) or (sample.get("output") or {}).get("choices")]
    if len(answered) < len(found):
        print(f"{path.name}: {len(found) - len(answered)} of {len(found)} samples have no answer and are left out")
    for sample in answered:
        name = _benchmark(task, str((head["eval"].get("dataset") or {}).get("name", "")), sample)
        try:
            row = _row(name, sample) if name else {}
        except (ValueError, KeyError, TypeError, IndexError):  # named like a benchmark, but its items are others
            name, row = None, {}
        # of the first scorer that calls it right or wrong: C(orrect), I(ncorrect), N(o answer), P(artly), a word
        labels = {name: truth(_value(score)) for name, score in (sample.get("scores") or {}).items()}
        scorer = next((name for name, label in labels.items() if label is not None), "")
        about: Document = {"task": task, "id": str(sample["id"]), "text": _text(sample), "model": model}
        about |= {"label": labels.get(scorer), "grader": scorer}
        about |= {"source": path.name, "sample": int(sample.get("epoch") or 1) - 1, "question": _question(sample)}
        yield about | {"gold": _target(sample), "benchmark": name, "item": row, "split": "test"}


def _put_back(value: Any, kept: dict[str, str]) -> Any:
    """A value with the long texts that Inspect keeps apart, where it refers to them."""
    if isinstance(value, list):
        return [_put_back(part, kept) for part in value]
    if isinstance(value, dict):
        return {name: _put_back(part, kept) for name, part in value.items()}
    refers = isinstance(value, str) and value.startswith("attachment://")
    return kept.get(value.removeprefix("attachment://"), value) if refers else value


def _value(score: Document) -> Any:
    """A score's value; of several values under names, the one called correct or the like."""
    value = score.get("value")
    return value.get(label_name(value)) if isinstance(value, dict) else value


def _document(path: Path) -> tuple[Document, list[Document]]:
    document = json.loads(read_text(path))
    if not document.get("samples"):
        status = f"its status is {document['status']!r}" if "status" in document else "no status"
        raise ValueError(f"{path}: an Inspect log without samples ({status}); name one that ran, with its samples")
    return document, document["samples"]


def _archive(path: Path) -> tuple[Document, list[Document]]:
    with contextlib.suppress(ImportError):
        import zipfile_zstd  # noqa: F401  (teaches zipfile Zstandard before Python 3.14, which knows it)
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if name.startswith("samples/"))
            if any(name.count("/") > 1 and name.endswith("/sample.json") for name in names):
                raise ValueError(f"{path}: its samples are in chunks; write them as JSON: {CONVERT}")
            # a run that broke off has no header yet
            head = "header.json" if "header.json" in archive.namelist() else "_journal/start.json"
            return json.loads(archive.read(head)), [json.loads(archive.read(name)) for name in names]
    except NotImplementedError:
        raise ValueError(
            f"{path}: packed with Zstandard, which this Python cannot read; pip install zipfile-zstd, or write it as "
            f"JSON: {CONVERT}"
        ) from None
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{path}: not a complete Inspect log: {error}") from None


def _benchmark(task: str, dataset: str, sample: Document) -> str | None:
    """By the task's or the data set's name, else by what the sample looks like; None if it looks like none."""
    spelled = f"{task} {dataset}".lower().replace("-", "_")
    for name in _TASKS:
        if name in spelled:
            return "arc_challenge" if name == "arc" else name
    if sample.get("choices"):
        return "mmlu"
    if str(_target(sample)).replace(",", "").lstrip("-").isdigit():
        return "gsm8k"
    return None


def _row(name: str, sample: Document) -> Document:
    extra, question, target = sample.get("metadata") or {}, _question(sample), _target(sample)
    if name in ("humaneval", "mbpp"):
        return {"task_id": str(sample["id"])}
    if name == "mmlu":
        choices = sample["choices"]
        return {**extra, "question": question, "choices": choices, "answer": _place(target, choices)}
    if name == "arc_challenge":
        labels = [chr(ord("A") + place) for place in range(len(sample["choices"]))]
        options = {"text": sample["choices"], "label": labels}
        return {"id": str(sample["id"]), "question": question, "choices": options, "answerKey": target}
    if name == "bbh":
        return {"task": str(extra.get("task") or extra.get("subset") or ""), "input": question, "target": target}
    return {**extra, "question": question, "answer": f"{extra.get('reasoning', '')}\n#### {target}".strip()}


def _place(letter: str, choices: list[str]) -> int:
    place = "ABCDEFGHIJ".find(letter.strip())
    if not 0 <= place < len(choices):
        raise ValueError(f"target {letter!r} names none of the {len(choices)} choices")
    return place


def _question(sample: Document) -> str:
    asked = sample["input"]
    if isinstance(asked, str):
        return asked
    return words(next((turn for turn in reversed(asked) if turn.get("role") == "user"), asked[-1])["content"])


def _target(sample: Document) -> str:
    target = sample["target"]
    return str(target[0] if isinstance(target, list) else target)


def _text(sample: Document) -> str:
    output = sample.get("output") or {}
    message = next((choice.get("message") or {} for choice in output.get("choices") or ()), {})
    return str(output.get("completion") or words(message.get("content")))
