"""Reads logs of evaluation tools, answer by answer: the question, the answer, and what the log holds about it.

Files are recognised by their content: our own ``responses/*.jsonl``, samples of lm-evaluation-harness
(``--log_samples``), logs of Inspect, human-eval and EvalPlus, HELM, OpenCompass, lighteval, simple-evals, promptfoo,
DeepEval, OpenAI's evals, LiveCodeBench, Qwen2.5-Math (math-evaluation-harness), the original authors' right/wrong
files, GPT-3's GSM8K solutions, plain rows with ``id`` and ``correct`` or like names, also in tables, or .gz, and rows
with their parts in objects (``nested``).
Repeats are read whole.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from laif_helpers.answers import inspect_logs, lm_eval, nested, other_tools
from laif_helpers.answers.labels import benchmark_of, id_name, id_of, label_name, response_name, text_of, truth, words
from laif_helpers.encodings import not_utf_8, unpacked
from laif_helpers.records import Row, read_rows, read_text


@dataclass(frozen=True, slots=True)
class Logged:
    """One answer of a log.

    Attributes:
        task: as the log names it; ``id``: of the item, unique within the task; ``sample``: 0, 1, … of one item.
        label: what the log's own grader said, None if the log does not say.
        reading: which one this is, if a log reads an answer in several ways (lm-eval's filters, EvalPlus' tests).
        prompt: a text that differs if another prompt was sent; "" if the log does not hold it.
        benchmark, item: one of ours and the fields that its ``from_row`` takes; None if the task is none of ours.
        row: number of the row in its file, from 1.
        grader: what gave the label, as the log names it; "" if it does not.
    """

    task: str
    id: str
    text: str
    label: bool | None
    model: str
    source: str
    sample: int = 0
    reading: str = ""
    question: str = ""
    gold: str = ""
    prompt: str = ""
    benchmark: str | None = None
    item: Row = field(default_factory=dict)
    split: str = ""
    row: int = 0
    grader: str = ""


KINDS = (".jsonl", ".json", ".eval", ".parquet", ".csv", ".tsv")
_ODD = (KeyError, TypeError, IndexError, AttributeError)
Reader = Callable[[Row, Path], Iterator[Logged]]


def read(path: Path, alone: bool = True) -> list[Logged]:
    """A file's answers in their order. A file of something else is passed over unless it was named ``alone``.
    Raises ValueError naming file, row and field."""
    if path.suffix == ".gz":
        with unpacked(path) as plain:
            return read(plain, alone)
    found: list[Logged] = []
    reader: Reader | None = None
    for number, row in enumerate(_known_rows(path, alone), start=1):
        try:
            reader = reader or _reader(row)
            if reader is None and not alone:
                return []
            if reader is None:
                raise ValueError(
                    f"no known file of recorded answers; its first row has {sorted(row)}. Known: rows with the item's "
                    "own fields and 'response', GPT-3 GSM8K solutions, rows with 'id' and 'correct' or like names, "
                    "samples of lm-eval (--log_samples), logs of human-eval, EvalPlus, Inspect, HELM "
                    "(scenario_state.json), OpenCompass (predictions/), lighteval (details_*.parquet), promptfoo (-o "
                    "out.json), DeepEval (results_folder), OpenAI's evals, simple-evals, LiveCodeBench, "
                    "math-evaluation-harness, evalscope (reviews/), tables of LangSmith, Braintrust, Phoenix, MLflow, "
                    "ragas; where nothing says what is right, add a field 'correct'"
                )
            found += [_whole(logged, number) for logged in reader(row, path)]
        except (ValueError, *_ODD) as error:
            raise ValueError(f"{path}: row {number}: {_words(error)}") from None
    unnumbered = reader in (_code_samples, _nested) or (reader is _fields and "sample" not in row["fields"])
    return _numbered(found) if unnumbered else found


def _known_rows(path: Path, alone: bool) -> Iterator[Row]:
    try:
        yield from _rows(path, alone)
    except UnicodeDecodeError as error:
        raise not_utf_8(path, error) from None
    except ValueError as error:
        if path.suffix in KINDS:
            raise
        raise ValueError(f"{error}; logs are read from {', '.join(KINDS)}: have the tool write one of these") from None
    except _ODD as error:
        raise ValueError(f"{path}: begins like a log that is known and goes on differently: {_words(error)}") from None


def _whole(logged: Logged, row: int) -> Logged:
    """With its row, and a question mark for half a surrogate pair, which neither tables nor files can hold."""
    texts = {name: getattr(logged, name).encode("utf-8", "replace").decode() for name in ("text", "question", "gold")}
    return replace(logged, row=row, **texts)


def _words(error: Exception) -> str:
    return f"no field {error}" if isinstance(error, KeyError) else str(error)


def _numbered(found: list[Logged]) -> list[Logged]:
    """Rows of one item are its samples, in these tools' logs."""
    seen: Counter[tuple[str, ...]] = Counter()
    result = []
    for logged in found:
        key = (logged.task, logged.id, logged.model, logged.reading)
        result.append(replace(logged, sample=seen[key]))
        seen[key] += 1
    return result


def _rows(path: Path, alone: bool) -> Iterator[Row]:
    """Rows; of JSON documents, logs of the tools that write such."""
    own: other_tools.Reader | None = {".eval": inspect_logs.samples, ".parquet": other_tools.lighteval}.get(path.suffix)
    if path.suffix == ".json" and (text := read_text(path)).lstrip()[:1] == "{":
        document = _document(text)
        own = inspect_logs.samples if inspect_logs.is_log(document) else other_tools.reader(document)
        if not own and isinstance(document.get("eval"), dict):
            rows = [row for rows in document["eval"].values() if isinstance(rows, list) for row in rows]
            if not rows:
                raise ValueError(f"{path}: results without texts, as EvalPlus wrote before 0.2; evaluate them again")
            return iter(rows)
        if not own:
            return iter(other_tools.inner_rows(document) or read_rows(path)) if alone else iter(())
    if path.suffix in (".csv", ".tsv"):
        return iter(other_tools.table_rows(path, alone))
    if path.suffix == ".jsonl":
        own = other_tools.line_reader(next(read_rows(path), {}))
    found = ({"fields": fields} for fields in own(path)) if own else read_rows(path)
    return iter(list(found) or other_tools.table_rows(path)) if path.suffix == ".parquet" and alone else found


def _document(text: str) -> Row:
    """One JSON object; an empty one if the text is something else (lines of JSON, or broken)."""
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        return {}


def _reader(row: Row) -> Reader | None:
    """The reader for files whose rows look like this one."""
    kinds: list[tuple[bool, Reader]] = [
        ("fields" in row, _fields),
        (bool(_solution_models(row)), _gpt3_gsm8k),
        ("benchmark" in row and "text" in row and "messages" in row, _own),
        ("doc" in row and ("resps" in row or "filtered_resps" in row), _lm_eval),
        ({"code", "gt", "pred"} <= row.keys(), _math_eval),
        ("response" in row and bool(benchmark_of(row)), _authors),
        ("task_id" in row and ("completion" in row or "solution" in row), _code_samples),
        ({"code_list", "graded_list"} <= row.keys(), _live_code_bench),
        (bool(id_name(row) and label_name(row)) and not isinstance(row[id_name(row)], list | dict), _plain),
        (bool(response_name(row) and benchmark_of(row)), _authors),
        (nested.fits(row), _nested),
    ]
    return next((reader for fits, reader in kinds if fits), None)


# -- one reader a format


def _authors(row: Row, path: Path) -> Iterator[Logged]:
    """Rows with the item's fields and ``response``; the label is the row's own, else what the file's name says."""
    name = benchmark_of(row)
    if name is None:
        raise ValueError(f"no known benchmark has the fields {sorted(row)}")
    split = re.match(r"(train|test|validation)", path.name, re.IGNORECASE)
    named = re.search(r"(?:^|[_.-])(right|wrong)(?:[_.-]|$)", path.stem, re.IGNORECASE)
    label = row.get(label_name(row), named and named[1].lower())
    model = str(row.get("model") or (path.parent.parent.name if path.parent.name == name else path.parent.name))
    asked = next((str(row[key]) for key in ("question", "prompt", "text", "input") if row.get(key)), "")
    about: Row = {"question": asked, "benchmark": name, "item": row, "split": split[1].lower() if split else ""}
    text, sample = text_of({"response": row[response_name(row)]}), int(row.get("sample") or 0)
    yield Logged(name, "", text, truth(label), model, path.name, sample, **about)


def _solution_models(row: Row) -> list[str]:
    return [key for key, value in row.items() if isinstance(value, dict) and {"is_correct", "solution"} <= value.keys()]


def _gpt3_gsm8k(row: Row, path: Path) -> Iterator[Logged]:
    """One item, answered by several models: ``{model: {"is_correct", "solution"}}``."""
    about: Row = {"question": str(row["question"]), "benchmark": "gsm8k", "item": row, "split": "test"}
    for model in _solution_models(row):
        answer = row[model]
        yield Logged("gsm8k", "", words(answer["solution"]), bool(answer["is_correct"]), model, path.name, **about)


def _own(row: Row, path: Path) -> Iterator[Logged]:
    """Our ``responses/*.jsonl``; the item itself comes from its benchmark."""
    asked = row["messages"][-1]["content"] if row["messages"] else ""
    about: Row = {"question": asked, "gold": str(row.get("gold", "")), "prompt": json.dumps(row["messages"])}
    about |= {"benchmark": row["benchmark"], "item": {"id": row["id"]}, "split": row["split"]}
    about |= {"model": row.get("model", path.parent.name), "sample": row.get("sample", 0), "source": path.name}
    yield Logged(row["benchmark"], id_of(row["id"]), words(row["text"]), row.get("correct"), **about)


def _lm_eval(row: Row, path: Path) -> Iterator[Logged]:
    """A row for each of a task's filters. Of repeats only the first has a label; a vote over them is one answer."""
    doc = dict(row["doc"]) if isinstance(row["doc"], dict) else {"text": row["doc"]}
    row, task = row | {"doc": doc}, re.sub(r"^samples_|_\d{4}-\d\d-\d\dT.*$", "", path.stem)
    if "target" in doc and "input" in doc and "task" not in doc:
        doc["task"] = lm_eval.bbh_task(path)
    filter, metric, id = str(row.get("filter", "")), lm_eval.metric(row), id_of(row["doc_id"])
    about: Row = {"question": lm_eval.asked(row), "gold": str(row.get("target", "")), "item": doc, "split": "test"}
    about |= {"reading": filter, "benchmark": benchmark_of(doc), "grader": metric and f"{metric} ({filter})"}
    about["prompt"] = str(row.get("prompt_hash", ""))
    for sample, text in enumerate(lm_eval.texts(row)):
        label = None if sample else truth(row.get(metric))
        yield Logged(task, id, text, label, path.parent.name, path.name, sample, **about)


def _fields(row: Row, path: Path) -> Iterator[Logged]:
    """What a reader of its own has read of Inspect's log, or of one that ``other_tools`` knows."""
    fields = row["fields"]
    yield Logged(**{"benchmark": benchmark_of(fields["item"]), "source": path.name} | fields)


def _nested(row: Row, path: Path) -> Iterator[Logged]:
    yield from _fields({"fields": nested.fields(row, path)}, path)


def _code_samples(row: Row, path: Path) -> Iterator[Logged]:
    """human-eval (``completion`` continues the stub), EvalPlus (``solution`` is the whole function) and their like, n
    rows a task.

    EvalPlus grades twice: by the base tests, and by its own as well (reading ``plus``).
    """
    id = str(row["task_id"])
    known = {"HumanEval": "humaneval", "Mbpp": "mbpp"} | ({id: "mbpp"} if id.isdigit() else {})
    task = known.get(kind := id.partition("/")[0], kind)
    text = text_of({"completion": row["solution"] if "solution" in row else row["completion"]})
    verdicts = (label_name(row), "base_status", "status", "result")
    label = next((truth(row[name]) for name in verdicts if row.get(name) is not None), None)
    about: Row = {"benchmark": known.get(kind), "item": {"task_id": id}}
    yield Logged(task, id, text, label, path.stem, path.name, **about)
    if row.get("plus_status") is not None:
        both = bool(label) and truth(row["plus_status"])
        yield Logged(task, id, text, both, path.stem, path.name, reading="plus", **about)


def _math_eval(row: Row, path: Path) -> Iterator[Logged]:
    """math-evaluation-harness and Qwen2.5-Math: ``code`` holds the texts, ``score`` their labels, ``gt`` the gold."""
    task = path.parent.name if re.match(r"(test|train)[_.]", path.name) else path.stem
    scores, texts = row.get("score"), row["code"] if isinstance(row["code"], list) else [row["code"]]
    labels = scores if isinstance(scores, list) else [scores] * len(texts)
    if len(labels) != len(texts):
        raise ValueError(f"field 'score' holds {len(labels)} labels for the {len(texts)} texts of 'code'")
    about: Row = {"question": str(row["question"]), "gold": str(row["gt"])}
    about |= {"benchmark": benchmark_of(row), "item": row, "split": "test"}
    for sample, (text, label) in enumerate(zip(texts, labels, strict=True)):
        yield Logged(task, id_of(row["idx"]), words(text), truth(label), path.parent.name, path.name, sample, **about)


def _live_code_bench(row: Row, path: Path) -> Iterator[Logged]:
    """LiveCodeBench's ``…_eval_all.json``."""
    same = {"code": row["code_list"], "score": row["graded_list"], "idx": row["question_id"], "gt": ""}
    return _math_eval(same | {"question": row.get("question_content", "")}, path)


def _plain(row: Row, path: Path) -> Iterator[Logged]:
    """Rows with an id and a label, and what else there is of question, text, gold, task and sample."""
    graded = label_name(row)
    label = truth(row.get(graded))
    if label is None:
        raise ValueError(
            f"field {graded or 'correct'!r} is {row.get(graded)!r}; write true or false, or leave the row out"
        )
    sample = id_of(row.get("sample") or 0)
    if not sample.isdecimal():
        raise ValueError(f"field 'sample' is {row['sample']!r}; number the samples of an item 0, 1, …")
    task = str(row.get("benchmark") or row.get("task") or "items")
    about: Row = {"question": str(row.get("question") or row.get("prompt") or row.get("input") or "")}
    about["gold"] = str(row.get("gold") or "")
    model = str(row.get("model") or path.stem)
    yield Logged(task, id_of(row.get(id_name(row))), text_of(row), label, model, path.name, int(sample), **about)
