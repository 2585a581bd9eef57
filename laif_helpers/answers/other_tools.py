"""Reads logs of HELM, OpenCompass, lighteval, promptfoo, DeepEval and OpenAI's evals, as these tools leave them
(versions 0.5.16, 0.5.4, 0.13, 0.123, 4.3 and 3.0), and of simple-evals.

Each reader yields the fields of ``logs.Logged``: HELM's ``scenario_state.json`` with the statistics beside it,
OpenCompass' ``predictions/<model>/<task>.json`` with the details under ``results/``, lighteval's ``details_*.parquet``.
"""

import contextlib
import html
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from laif_helpers.answers.labels import label_name, question_of, truth, words
from laif_helpers.records import read_rows, read_text

Fields = dict[str, Any]
Reader = Callable[[Path], Iterator[Fields]]
_HELM_LABELS = (
    *("chain_of_thought_correctness", "math_equiv_chain_of_thought", "math_equiv", "final_number_exact_match"),
    *("code_eval_acc", "quasi_exact_match", "exact_match"),
)
"""HELM's statistics that are right or wrong, the most lenient of those that a scenario may have together first."""
_OPENCOMPASS_LABELS = ("correct", "is_correct", "cascade_correct")


def reader(document: Fields) -> Reader | None:
    """Who reads this JSON document; None if it is of none of these tools."""
    if {"adapter_spec", "request_states"} <= document.keys():
        return lambda path: _helm(path, document)
    if {"htmls", "convos"} <= document.keys():
        return lambda path: _simple_evals(path, document)
    if isinstance(cases := document.get("testRunData", document), dict) and isinstance(cases.get("testCases"), list):
        return lambda path: _deepeval(path, cases)
    found = document.get("results")
    found = found.get("results") if isinstance(found, dict) else found
    if isinstance(found, list) and found and isinstance(found[0], dict) and "promptIdx" in found[0]:
        return lambda path: _promptfoo(found)
    first = document.get("0")
    ours = isinstance(first, dict) and "prediction" in first
    return (lambda path: _opencompass(path, document)) if ours else None


def line_reader(first: Fields) -> Reader | None:
    """Who reads the JSON lines that begin with this row; None if they are rows of another kind."""
    if "promptIdx" in first:
        return lambda path: _promptfoo(list(read_rows(path)))
    spec = first.get("spec")
    return _openai_evals if isinstance(spec, dict) and {"completion_fns", "base_eval"} <= spec.keys() else None


def inner_rows(document: Fields) -> list[Fields]:
    """Rows inside an object: a table's columns and data (MLflow, W&B, pandas), or its only list of objects; none if it
    is no such document."""
    columns, data = document.get("columns"), document.get("data")
    if isinstance(columns, list) and isinstance(data, list):
        return [dict(zip(map(str, columns), row, strict=False)) for row in data]
    if document and all(isinstance(value, dict) for value in document.values()):  # by column, or by id
        if label_name(document):
            return [
                dict(zip(document, row, strict=False)) for row in zip(*map(dict.values, document.values()), strict=True)
            ]
        return [{"id": id, **row} for id, row in document.items()]
    found = [rows for rows in document.values() if isinstance(rows, list) and rows and isinstance(rows[0], dict)]
    return found[0] if len(found) == 1 else []


def _helm(path: Path, document: Fields) -> Iterator[Fields]:
    """Perturbed copies of an item are left out, and of an item asked option by option all but one row."""
    beside = path.with_name("per_instance_stats.json")
    stats: dict[tuple[Any, ...], list[Fields]] = {}
    for row in json.loads(read_text(beside)) if beside.is_file() else ():  # older versions write several rows a trial
        stats.setdefault(_trial(row), []).extend(row["stats"])
    task = re.sub(r"[,:](model|model_deployment)=[^,]*", "", path.parent.name)
    for state in document["request_states"]:
        instance, result = state["instance"], state.get("result") or {}
        if state.get("reference_index") or state.get("request_mode") == "calibration" or instance.get("perturbation"):
            continue
        question, options = words(instance["input"].get("text")), instance.get("references") or []
        right = [place for place, option in enumerate(options) if "correct" in option["tags"]]
        texts = [option["output"]["text"] for option in options]
        gold = texts[right[0]] if right else ""
        item: Fields = {"question": question, "answer": re.sub(r"The answer is (\S+?)\.?$", r"#### \1", gold)}
        if len(texts) > 1:
            item = {"question": question, "choices": texts, "answer": right[0] if right else None}
        about = {"question": question, "gold": gold, "prompt": str(state["request"].get("prompt", ""))}
        about |= {"item": item, "split": instance.get("split", ""), "model": document["adapter_spec"]["model"]}
        label = _helm_label(stats.get(_trial(state | {"instance_id": instance["id"]}), []))
        for place, completion in enumerate(result.get("completions") or ()):  # its statistics are those of the first
            answer = {"text": completion["text"], "label": None if place else label}
            yield about | {"task": task, "id": str(instance["id"])} | answer


def _trial(row: Fields) -> tuple[Any, ...]:
    return row["instance_id"], row["train_trial_index"], bool(row.get("perturbation"))


def _helm_label(stats: list[Fields]) -> bool | None:
    found = {stat["name"]["name"]: truth(stat.get("mean")) for stat in stats}
    names = (*_HELM_LABELS, *(name for name in found if name.endswith("_accuracy")))
    return next((found[name] for name in names if found.get(name) is not None), None)


def _simple_evals(path: Path, document: Fields) -> Iterator[Fields]:
    """``…_allresults.json``: the score stands in each answer's page, the item in its conversation."""
    pages, talks = document["htmls"], document["convos"]
    if len(pages) != len(talks):
        raise ValueError(f"{path}: {len(pages)} htmls for {len(talks)} convos; the file is not whole")
    for page, (*asked, answer) in zip(pages, talks, strict=True):
        page = html.unescape(re.sub(r"<[^>]+>", "\n", str(page)))
        score = re.findall(r"^\s*Score: *(\S+)\s*$", page, re.M)
        gold = re.findall(r"^\s*Correct Answer: *(.*?)\s*$", page, re.M)
        prompt = "\n".join(words(turn["content"]) for turn in asked)
        about: Fields = {"question": prompt, "prompt": prompt, "id": prompt, "item": {}}
        about["gold"] = gold[-1] if gold else ""
        about |= {"task": re.sub(r"_allresults$", "", path.stem), "model": path.stem}
        yield about | {"text": words(answer["content"]), "label": truth(score[-1]) if score else None}


def _promptfoo(rows: list[Fields]) -> Iterator[Fields]:
    """A column is a provider with a prompt; an item is its variables. A call that failed (2) gave no answer."""
    rows = [row for row in rows if row.get("failureReason") != 2]
    columns = {(_provider(row), row["promptIdx"]) for row in rows}
    several = {name for name, count in Counter(name for name, _ in columns).items() if count > 1}
    for row in rows:
        name, given = _provider(row), row.get("vars") or (row.get("testCase") or {}).get("vars")
        prompt = row.get("prompt")
        asked = words(prompt.get("raw") if isinstance(prompt, dict) else prompt)
        id = json.dumps(given, ensure_ascii=False) if given else str(row["testIdx"])
        # two prompts ask one question: that of the variables
        question = (question_of(given) or id) if given else asked
        about = {"question": question, "prompt": asked, "task": "promptfoo", "id": id, "item": given or {}}
        about["model"] = f"{name} prompt {row['promptIdx']}" if name in several else name
        text = words((row.get("response") or {}).get("output"))
        yield about | {"text": text, "label": truth(row.get("success"))}


def _deepeval(path: Path, run: Fields) -> Iterator[Fields]:
    """DeepEval numbers the test cases that have no name, repeats too: these are known by what was asked. A case that
    no metric judged is left out."""
    for case in (*run["testCases"], *(run.get("conversationalTestCases") or ())):
        turns, named = case.get("turns") or [{}], str(case["name"])
        asked = words(case.get("input") or case.get("scenario") or turns[0].get("content"))
        gold = words(case.get("expectedOutput") or case.get("expectedOutcome"))
        about = {"question": asked, "gold": gold, "task": "deepeval", "model": run.get("identifier") or path.stem}
        about["id"] = asked if re.fullmatch(r"(conversational_)?test_case_\d+", named) else named
        text = words(case.get("actualOutput") or turns[-1].get("content"))
        if (label := case.get("success")) is not None:
            yield about | {"text": text, "label": label, "item": {"question": asked, "answer": gold}}


def _openai_evals(path: Path) -> Iterator[Fields]:
    """The events of one run of OpenAI's evals: of each sample what was sent, the answer, and whether it matched."""
    events = list(read_rows(path))
    spec = events[0]["spec"]
    sent = {row["sample_id"]: row["data"] for row in events[1:] if row.get("type") == "sampling"}
    for row in events[1:]:
        if row.get("type") == "match":
            data, asked = row["data"], sent.get(row["sample_id"], {})
            prompt, gold = asked.get("prompt", ""), data.get("expected")
            last = words(prompt[-1].get("content") if isinstance(prompt, list) and prompt else prompt)
            about = {"task": spec["base_eval"], "id": row["sample_id"], "model": ", ".join(spec["completion_fns"])}
            about["question"] = last.rpartition("User: ")[2].removesuffix("\nAssistant:")
            about |= {"prompt": last, "gold": words(gold[:1] if isinstance(gold, list) else gold)}
            about["text"] = words(asked.get("sampled") or data.get("sampled") or data.get("picked"))
            yield about | {"label": truth(data.get("correct")), "item": {}}


def _provider(row: Fields) -> str:
    found = row.get("provider") or ""
    return str(found.get("label") or found.get("id")) if isinstance(found, dict) else str(found)


def _opencompass(path: Path, document: Fields) -> Iterator[Fields]:
    """Repeats of an item follow one another data set by data set; its details hold a list of all of them. A judge's
    own answers lie under ``results/`` in the same form."""
    if path.parents[1].name == "results":
        return
    beside = path.parents[2] / "results" / path.parent.name / path.name
    result = json.loads(read_text(beside)) if beside.is_file() else {}
    found = result.get("details")
    rows = [row for row in (found.values() if isinstance(found, dict) else found or ()) if isinstance(row, dict)]
    rows = _as_scored(rows, result.get("accuracy"))
    prompts = [row.get("origin_prompt") for row in document.values()]
    if rows and any(asked != prompts[at % len(rows)] for at, asked in enumerate(prompts)):
        rows = []  # details of fewer items: none says whose they are
    for number, row in enumerate(document.values()):
        asked, place = row.get("origin_prompt"), number % len(rows) if rows else number
        asked = words(asked[-1].get("prompt")) if isinstance(asked, list) and asked else words(asked)
        labels = next((rows[place][name] for name in _OPENCOMPASS_LABELS if rows and name in rows[place]), None)
        said, repeat = row["prediction"], number // len(rows) if rows else 0
        gold = words(row.get("gold"))
        item = {"question": asked, "answer": gold}
        about = {"question": asked, "gold": gold, "item": item, "model": path.parent.name, "split": "test"}
        for at, text in enumerate(said if isinstance(said, list) else [said]):  # several sequences of one prompt
            label = labels[repeat + at] if isinstance(labels, list) else None if isinstance(said, list) else labels
            yield about | {"task": path.stem, "id": str(place), "text": words(text), "label": truth(label)}


def _as_scored(rows: list[Fields], accuracy: Any) -> list[Fields]:
    """OpenCompass' details with labels, if some have none: evaluators without details leave predictions beside
    references, a judge its verdicts, A for right. Which of these it was shows in the accuracy that follows from it."""
    for read in (
        lambda row: row["predictions"] == row["references"],
        lambda row: words(row["prediction"]).strip()[:1] == "A",
    ):
        with contextlib.suppress(KeyError, TypeError, ZeroDivisionError):
            labels = [read(row) for row in rows if not any(name in row for name in _OPENCOMPASS_LABELS)]
            if len(labels) == len(rows) and abs(100 * sum(labels) / len(labels) - accuracy) < 0.01:
                return [row | {"correct": label} for row, label in zip(rows, labels, strict=True)]
    return rows


def _without_bytes(cell: Any) -> Any:
    """A cell with text for bytes, which may be a picture's."""
    if isinstance(cell, bytes):
        return cell.decode(errors="replace")
    if isinstance(cell, dict):
        return {name: _without_bytes(value) for name, value in cell.items()}
    nested = isinstance(cell, list) or getattr(getattr(cell, "dtype", None), "kind", "") == "O"  # an array of objects
    return [_without_bytes(value) for value in cell] if nested else cell


def table_rows(path: Path, alone: bool = True) -> list[Fields]:
    """The rows of any Parquet file, or of CSV; none of CSV that is no table, unless the file was named ``alone``."""
    import pandas as pd

    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        table = table.reset_index() if table.index.name else table
        table = table.map(_without_bytes)
        return list(json.loads(table.to_json(orient="records")))
    with contextlib.nullcontext() if alone else contextlib.suppress(ValueError):
        with path.open(encoding="utf-8-sig") as handle:
            first = handle.readline()
            if not first.startswith("sep="):  # Excel's own line, above the head
                handle.seek(0)
            as_text = {"dtype": str, "keep_default_na": False, "skipinitialspace": True, "index_col": False}
            try:
                table = pd.read_csv(handle, sep=max(",;\t|", key=first.count), **as_text)
            except pd.errors.ParserError as error:
                raise ValueError(f"{path}: {error}".strip()) from None
        return list(table.rename(columns=str.strip).to_dict("records"))
    return []


def lighteval(path: Path) -> Iterator[Fields]:
    """Rows of a Parquet file of details; none if it is another Parquet file.

    Of several samples none has a label, because the scores are those of all together.
    """
    import pandas as pd

    try:
        table = pd.read_parquet(path, columns=["doc", "metric", "model_response"])
    except ValueError:
        return
    task = re.sub(r"^details_|_\d{4}-\d\d-\d\dT.*$", "", path.stem)
    for number, row in enumerate(json.loads(table.to_json(orient="records"))):
        doc, answer = row["doc"], row["model_response"]
        golds = doc["gold_index"] if isinstance(doc["gold_index"], list) else [doc["gold_index"]]
        gold = doc["choices"][golds[0]] if doc["choices"] and golds else ""
        texts, scores = answer["text"], answer.get("logprobs") or []
        if not texts and len(scores) == len(doc["choices"]):
            texts = [doc["choices"][scores.index(max(scores))]]
        labels = [truth(score) for score in row["metric"].values()] if len(texts) == 1 else []
        label = next((label for label in labels if label is not None), None)
        question = re.sub(r"^Question: |\nAnswer:\s*$", "", doc["query"])
        about = {"question": question, "gold": str(gold).strip(), "item": {"question": question, "answer": str(gold)}}
        about |= {"prompt": json.dumps(answer.get("input")), "model": path.parent.parent.name, "split": "test"}
        for text in texts:
            yield about | {"task": task, "id": str(doc.get("id") or number), "text": words(text), "label": label}
