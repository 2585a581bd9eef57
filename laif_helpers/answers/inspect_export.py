"""Writes a run's answers as logs of Inspect (``.eval``), for its viewers and scanners.

The archive holds what Inspect's own writer puts there: ``header.json``, ``summaries.json`` and a file for each sample.
Format: https://inspect.aisi.org.uk/eval-logs.html
"""

import json
import math
import statistics
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from laif_helpers.answers import joined
from laif_helpers.paths import RunDir
from laif_helpers.records import Response, file_hash, written_whole

Document = dict[str, Any]
SCORER = "laif"


def export(run: str, *, arm: str = "", iteration: int = 0, out: str = "") -> list[Path]:
    """Write one ``.eval`` for each file of responses of a run (or of one arm, or one of its iterations); the files.

    ``out``: the folder; by default ``export/inspect/`` of the run. There an earlier log of the same task is removed,
    because Inspect would count both. Raises FileNotFoundError if there is no such run or nothing was answered.
    """
    folder = RunDir.named(run)
    turn = f"iter{iteration}" if iteration else "iter*"
    found = sorted(folder.path.glob(f"{arm or '*'}/{turn}/responses/[!.]*.jsonl"))
    if not found:
        raise FileNotFoundError(f"no answers in {folder.path}/{arm or '*'}/{turn}/responses; run 01_evaluate first")
    target = Path(out).expanduser() if out else folder.path / "export" / "inspect"
    target.mkdir(parents=True, exist_ok=True)
    written = [_write(path, target) for path in found]
    tasks = {_task(log) for log in written}
    for log in () if out else sorted({*target.glob("*.eval")} - {*written}):
        if _task(log) in tasks:
            log.unlink()
    return written


def _task(log: Path) -> str:
    """A log's name without its time and key."""
    return log.stem.partition("_")[2].rpartition("_")[0]


def _write(path: Path, folder: Path) -> Path:
    rows = joined.responses(path)
    arm, turn = path.parts[-4:-2]
    answered_at = datetime.fromtimestamp(path.stat().st_mtime, UTC).replace(microsecond=0)
    name = f"{path.stem.replace('.', '-')}-{arm}-{turn}"  # the file's name is short also for a benchmark that is a path
    key = file_hash([path])[:22]
    log = folder / f"{answered_at:%Y-%m-%dT%H-%M-%S}-00-00_{name.replace('_', '-')}_{key}.eval"
    samples = [_sample(row) for row in rows]
    about = {"arm": arm, "iteration": int(turn.removeprefix("iter")), "split": rows[0].split if rows else ""}
    header = _header(rows, {"key": key, "created": answered_at.isoformat(), "task": name, "args": about})
    with written_whole(log) as half, zipfile.ZipFile(half, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_journal/start.json", _text({name: header[name] for name in ("version", "eval", "plan")}))
        for sample in samples:
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", _text(sample))
        shown = ("id", "epoch", "input", "target", "scores")
        archive.writestr("summaries.json", _text([{name: sample[name] for name in shown} for sample in samples]))
        archive.writestr("header.json", _text(header))
    return log


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _sample(row: Response) -> Document:
    reply = {"role": "assistant", "content": row.text, "source": "generate", "model": row.model}
    tokens = {"input_tokens": row.prompt_tokens, "output_tokens": row.new_tokens}
    usage = {**tokens, "total_tokens": row.prompt_tokens + row.new_tokens}
    choice = {"message": reply, "stop_reason": "max_tokens" if row.cut else "stop"}
    score = {"value": "C" if row.correct else "I", "answer": row.extracted, "explanation": row.reason}
    asked = [{**message, "source": "input"} for message in row.messages]
    return {
        **{"id": row.id, "epoch": row.sample + 1, "input": asked, "target": row.gold, "messages": [*asked, reply]},
        "output": {"model": row.model, "choices": [choice], "completion": row.text, "usage": usage},
        "scores": {SCORER: score | {"metadata": {"readable": row.readable, "second_correct": row.second_correct}}},
        "metadata": {"benchmark": row.benchmark, "split": row.split},
        "store": {},
        "events": [],
        "model_usage": {row.model: usage},
        "attachments": {},
    }


def _header(rows: list[Response], about: Document) -> Document:
    model = rows[0].model if rows else "none"
    graded: dict[str, list[bool]] = {}
    for row in rows:
        graded.setdefault(row.id, []).append(row.correct)
    shares = [sum(grades) / len(grades) for grades in graded.values()]
    share = sum(shares) / max(len(shares), 1)
    error = statistics.stdev(shares) / math.sqrt(len(shares)) if len(shares) > 1 else 0.0
    metrics = {"accuracy": {"name": "accuracy", "value": share}, "stderr": {"name": "stderr", "value": error}}
    epochs = max((row.sample for row in rows), default=0) + 1
    scores = [{"name": SCORER, "scorer": SCORER, "scored_samples": len(rows), "params": {}, "metrics": metrics}]
    return {
        "version": 2,
        "status": "success",
        "eval": {
            **{"eval_id": about["key"], "run_id": about["key"], "task_id": about["key"], "created": about["created"]},
            **{"task": about["task"], "task_version": 0, "task_args": about["args"], "model": model, "model_args": {}},
            "dataset": {"name": about["task"], "samples": len(graded), "sample_ids": list(graded), "shuffled": False},
            "config": {"epochs": epochs},
        },
        "plan": {"name": "plan", "steps": [], "config": {}},
        "results": {"total_samples": len(rows), "completed_samples": len(rows), "scores": scores},
        "stats": {"started_at": about["created"], "completed_at": about["created"], "model_usage": {}},
    }
