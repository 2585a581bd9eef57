"""Stage 1: asks the model every question and grades its answers. Writes ``responses/<benchmark>.<split>.jsonl``.

Answers go to disk as they finish, so that a killed run goes on where it was; an answer is asked for again only
if the model, the settings or the question changed, and graded again if the graders did.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from laif_helpers import benchmarks, models
from laif_helpers.benchmarks import Benchmark
from laif_helpers.evaluate import times
from laif_helpers.evaluate.grading import graders_hash, items_hash, to_responses
from laif_helpers.evaluate.tables import (
    by_facet,
    gallery,
    labelled,
    load_responses,
    longest,
    metrics,
    observation,
    summary,
    traced,
    weakest,
)
from laif_helpers.evaluate.times import slowest
from laif_helpers.evaluate.two_graders import browse, disputed, observation_on_audit, second_opinion
from laif_helpers.key_types import RequestChange
from laif_helpers.paths import ROOT, IterationDir, stamp_of
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Completion, Example, Response, read_state, sound_rows, write_json, write_jsonl
from laif_helpers.target import Target

__all__ = [
    "answered",
    "browse",
    "by_facet",
    "disputed",
    "evaluate",
    "gallery",
    "labelled",
    "load_responses",
    "longest",
    "metrics",
    "observation",
    "observation_on_audit",
    "second_opinion",
    "slowest",
    "splits_needed",
    "summary",
    "traced",
    "weakest",
]


def evaluate(p: StageParameters) -> list[Path]:
    """Answer and grade all that this iteration needs; returns the files, in the order of ``splits_needed``.

    Raises ValueError (model, settings, nothing to evaluate), FileNotFoundError (benchmark or recorded files),
    ServerError and RuntimeError (a server that fails); answers finished before an error are kept.
    """
    if Target.of(p.model).kind == "replay":
        from laif_helpers.evaluate import recorded as evaluate_recorded

        return evaluate_recorded.evaluate(p, splits_needed(p))
    models.prepare(p.target)
    jobs = [_plan(p, name, split) for name, split in splits_needed(p)]
    if any(job.missing for job in jobs):
        with _endpoint(p) as (model, url):
            for job in jobs:
                _ask(job, p, model, url)
    return [_finish(job, display_name(p.model), p.audit) for job in jobs]


def splits_needed(p: StageParameters) -> list[tuple[str, str]]:
    """(benchmark, split) pairs to answer: every test split, and the splits that supply errors if errors are used.

    Errors are used by the next iteration, by a quote, and in iteration 0 by the error analysis; with
    ``measure_errors`` also after the last iteration, by the ledger of what was repaired.
    """
    errors_used = p.iteration == 0 or p.iteration < p.iterations or p.quote_only or p.measure_errors
    pairs = []
    for name in p.benchmarks:
        if p.test_split in benchmarks.get(name).splits:
            pairs.append((name, p.test_split))
        elif name not in p.in_domain:
            splits = ", ".join(benchmarks.get(name).splits)
            raise ValueError(f"test_split {p.test_split!r}: benchmark {name!r} has the splits {splits}")
        if name in p.in_domain and errors_used and p.error_split != p.test_split:
            pairs.append((name, p.error_split))
    return pairs


def display_name(model: str) -> str:
    """A model as rows and tables name it: folders of this project by their path inside it."""
    path = Path(model)
    return str(path.relative_to(ROOT)) if path.is_absolute() and path.is_relative_to(ROOT) else model


@dataclass
class _Job:
    """One file of responses: what it needs, what is known already, and what must be asked."""

    benchmark: Benchmark
    folder: IterationDir
    split: str
    examples: list[Example]
    header: dict[str, Any]
    samples: list[int]
    """Which sample of its item each row is; ``examples`` and ``keys`` hold an item once for each of its samples."""
    keys: list[str]
    known: dict[str, Completion]
    damaged: bool = False
    """Whether the finished file lacks rows that it should hold if its stamp is right."""

    @property
    def path(self) -> Path:
        return self.folder.responses(self.benchmark.name, self.split)

    @property
    def partial(self) -> Path:
        return self.path.with_name(f".{self.path.stem}.partial")

    @property
    def seconds(self) -> Path:
        return self.folder.seconds(self.benchmark.name, self.split)

    @property
    def stamp(self) -> Path:
        return stamp_of(self.path)

    @property
    def missing(self) -> list[int]:
        return [index for index, key in enumerate(self.keys) if key not in self.known]


def _plan(p: StageParameters, name: str, split: str) -> _Job:
    if p.iteration and not Path(p.model).is_dir():
        raise FileNotFoundError(f"checkpoint {p.model} does not exist; run 05_train_deepspeed for this iteration first")
    benchmark = benchmarks.get(name)
    examples = benchmark.load(split, p.data_dir or None, p.limit or None)
    if not examples:
        raise ValueError(f"benchmark {name!r}, split {split!r}: no items; check data_dir and limit")
    header = {
        "model": models.fingerprint(p.model),
        "served_by": p.serve if Target.of(p.model).local else p.target_url,
        "max_new_tokens": p.max_new_tokens,
        **_asked_otherwise(p),
    }
    examples = [example for example in examples for _ in range(p.samples)]
    samples = [*range(p.samples)] * (len(examples) // p.samples)
    rows = zip(examples, samples, strict=True)
    keys = [_key(_name(example.id, sample), benchmark.messages(example)) for example, sample in rows]
    job = _Job(benchmark, p.folder, split, examples, header, samples, keys, {})
    job.known = _finished_before(job) | _partial_before(job)
    return job


def _asked_otherwise(p: StageParameters) -> dict[str, Any]:
    """What else decides about an answer: the precision of a model of this machine, and settings that are not usual."""
    local = Target.of(p.model).local and not p.serve
    change = p.request_options.target
    return {
        **({"dtype": models.chosen_dtype(p.model, p.dtype)} if local else {}),
        **({"temperature": p.temperature, "seed": p.seed} if p.temperature else {}),
        **({"request_options": change.model_dump()} if change != RequestChange() else {}),
    }


def answered(p: StageParameters) -> str:
    """How this iteration's answers are computed, for the checkpoint's card."""
    return f"by `{p.serve}`" if p.serve else f"in {models.chosen_dtype(p.model, p.dtype)} on this machine"


def _name(identity: str, sample: int) -> str:
    """A row's name in files beside the answers: the item's id, with a number for each sample after the first."""
    return f"{identity}#{sample}" if sample else identity


def _key(identity: str, messages: list[dict[str, str]]) -> str:
    """An item's id with a hash of what is asked, so that a changed prompt is asked anew."""
    return f"{identity}:{_hash(messages)}"


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def _finished_before(job: _Job) -> dict[str, Completion]:
    """Completions of the finished file, if the same model and settings wrote it; of a damaged one, those left."""
    stamp = read_state(job.stamp)
    if not job.path.is_file() or stamp.get("header") != job.header:
        return {}
    known, took = {}, times.read(job.seconds)
    rows = list[Response]()
    for fields in sound_rows(job.path):
        with suppress(TypeError):
            rows.append(Response(**fields))
    job.damaged = not len(rows) == len(job.keys) == job.path.read_bytes().count(b"\n")
    # a stamp of an earlier release does not name them: nothing was read, so the text is empty
    unanswered = set(stamp.get("unanswered", [row.id for row in rows if not row.text]))
    cut = set(stamp["cut"])
    for row in rows:
        if (name := _name(row.id, row.sample)) not in unanswered:
            known[_key(name, row.messages)] = Completion(
                row.text, row.prompt_tokens, row.new_tokens, "length" if name in cut else "stop", took.get(name, 0.0)
            )
    return known


def _partial_before(job: _Job) -> dict[str, Completion]:
    """Completions that a stopped run left. The line it was writing when it was killed is dropped."""
    rows = sound_rows(job.partial, more=False)
    if not rows or rows[0] != job.header:
        job.partial.unlink(missing_ok=True)
        return {}
    return {row.pop("key"): Completion(**row) for row in rows[1:]}


@contextmanager
def _endpoint(p: StageParameters) -> Iterator[tuple[str, str]]:
    """The model name and URL to ask: the model itself, or the server that ``serve`` starts for it."""
    if not (p.serve and Target.of(p.model).local):
        yield p.model, p.target_url
        return
    with models.serve(p.serve, p.model, log=p.folder.path / "logs" / "serve.log") as url:
        yield f"server:{p.model}", url


def _ask(job: _Job, p: StageParameters, model: str, url: str) -> None:
    """Ask for what is missing; every answer is written to the partial file as it finishes."""
    missing = job.missing
    if not missing:
        return
    have = len(job.keys) - len(missing)
    print(f"{job.benchmark.name}, {job.split}: asking {len(missing):,} of {len(job.keys):,} items ({have:,} kept)")
    job.partial.parent.mkdir(parents=True, exist_ok=True)
    _trim(job)
    with job.partial.open("a", encoding="utf-8") as handle:

        def keep(number: int, completion: Completion) -> None:
            _write_line(handle, {"key": job.keys[missing[number]], **asdict(completion)})
            job.known[job.keys[missing[number]]] = completion

        models.generate(
            model,
            [job.benchmark.messages(job.examples[index]) for index in missing],
            max_new_tokens=p.max_new_tokens,
            temperature=p.temperature,
            seed=p.seed,
            numbers=[job.samples[index] for index in missing],
            url=url,
            change=p.request_options.target,
            dtype=p.dtype,
            on_done=keep,
        )


def _trim(job: _Job) -> None:
    """Leave only whole lines in the partial file, under its header."""
    known = _partial_before(job)
    write_jsonl(job.partial, [job.header, *({"key": key, **asdict(known[key])} for key in known)])


def _write_line(handle: IO[str], row: dict[str, Any]) -> None:
    handle.write(json.dumps(row, ensure_ascii=False) + "\n")
    handle.flush()


def _finish(job: _Job, model: str, audit: bool) -> Path:
    """Grade and write the finished file, unless it holds these very items graded by these graders."""
    stamp: dict[str, Any] = {
        "header": job.header,
        "graders": graders_hash(),
        "items": items_hash(job.keys, job.examples),
        "cut": _ids(job, lambda completion: completion.finish == "length"),
        "unanswered": _ids(job, lambda completion: completion.unanswered),
    }
    stamp["audit"] = audit
    if job.path.is_file() and not job.damaged and read_state(job.stamp) == stamp:
        return job.path
    completions = [job.known[key] for key in job.keys]
    graded = to_responses(job.benchmark, job.examples, completions, model, job.split, audit)
    rows = [replace(row, sample=sample) for row, sample in zip(graded, job.samples, strict=True)]
    job.stamp.unlink(missing_ok=True)  # between the two writes there must be no stamp that fits another file
    write_jsonl(job.path, rows)
    times.write(job.seconds, {_name(r.id, r.sample): done.seconds for r, done in zip(rows, completions, strict=True)})
    write_json(job.stamp, stamp)
    job.partial.unlink(missing_ok=True)
    return job.path


def _ids(job: _Job, chosen: Callable[[Completion], bool]) -> list[str]:
    rows = zip(job.examples, job.samples, job.keys, strict=True)
    return [_name(example.id, sample) for example, sample, key in rows if chosen(job.known[key])]
