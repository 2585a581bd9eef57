"""Stage 1: asks the model every question and grades its answers. Writes ``responses/<benchmark>.<split>.jsonl``.

Answers go to disk as they finish, so that a killed run goes on where it was; an answer is asked for again only
if the model, the settings or the question changed, and graded again if the graders did.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from laif_helpers import benchmarks, models
from laif_helpers.evaluate.jobs import Job, asked, finish, key_of, known_before, name_of, trim
from laif_helpers.evaluate.looks import browse, disputed, gallery, traced
from laif_helpers.evaluate.tables import (
    by_facet,
    labelled,
    load_responses,
    metrics,
    observation,
    observation_on_audit,
    second_opinion,
    summary,
    weakest,
)
from laif_helpers.key_types import RequestChange
from laif_helpers.paths import ROOT
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Completion
from laif_helpers.target import Target


def evaluate(p: StageParameters) -> list[Path]:
    """Answer and grade all that this iteration needs; returns the files, in the order of ``splits_needed``.

    Raises ValueError (model, settings, nothing to evaluate), FileNotFoundError (benchmark or recorded files),
    ServerError and RuntimeError (a server that fails); answers finished before an error are kept.
    """
    if Target.of(p.model).kind == "replay":
        from laif_helpers.evaluate import recorded as evaluate_recorded

        return evaluate_recorded.evaluate(p, splits_needed(p))
    models.prepare(p.target)
    jobs = _jobs(p)
    _ask_all(jobs, p)
    return [finish(job, display_name(p.model), p.audit) for job in jobs]


def answer_part(p: StageParameters, part: int, parts: int) -> dict[str, int]:
    """Answer every ``parts``-th question that ``evaluate`` will ask, from number ``part`` (counted from 1) on.

    Nothing is graded. Returns how many answers each benchmark's split has in this part; raises as ``evaluate`` does.
    """
    if Target.of(p.model).kind == "replay":
        return {}
    models.prepare(p.target)
    jobs = [replace(job, part=part, parts=parts) for job in _jobs(p)]
    _ask_all(jobs, p)
    return {f"{job.benchmark.name}, {job.split}": len(job.own) - len(job.missing) for job in jobs}


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
        if name in p.in_domain and errors_used and p.error_split != p.test_split:
            pairs.append((name, p.error_split))
    return pairs


def display_name(model: str) -> str:
    """A model as rows and tables name it: folders of this project by their path inside it."""
    path = Path(model)
    return str(path.relative_to(ROOT)) if path.is_absolute() and path.is_relative_to(ROOT) else model


def _jobs(p: StageParameters) -> list[Job]:
    """What is asked of each split; an item with a new id or split, and its old question, has its old answer."""
    jobs = [_plan(p, name, split) for name, split in splits_needed(p)]
    same = {asked(key): done for job in jobs for key, done in job.known.items() if not done.unanswered}
    for job in jobs:
        job.known |= {key: same[asked(key)] for key in job.keys if key not in job.known and asked(key) in same}
    return jobs


def _plan(p: StageParameters, name: str, split: str) -> Job:
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
    keys = [key_of(name_of(example.id, sample), benchmark.messages(example)) for example, sample in rows]
    job = Job(benchmark, p.folder, split, examples, header, samples, keys, {})
    job.known = known_before(job)
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


def _ask_all(jobs: list[Job], p: StageParameters) -> None:
    if any(job.missing for job in jobs):
        with _endpoint(p) as (model, url):
            for job in jobs:
                _ask(job, p, model, url)


@contextmanager
def _endpoint(p: StageParameters) -> Iterator[tuple[str, str]]:
    """The model name and URL to ask: the model itself, or the server that ``serve`` starts for it."""
    if not (p.serve and Target.of(p.model).local):
        yield p.model, p.target_url
        return
    log = p.folder.path / "logs" / "serve.log"
    with models.as_here(p.model, p.serve) as model, models.serve(p.serve, model, log=log) as url:
        yield f"server:{model}", url


def _ask(job: Job, p: StageParameters, model: str, url: str) -> None:
    """Ask for what is missing; every answer is written to the partial file as it finishes."""
    missing = job.missing
    if not missing:
        return
    have = len(job.own) - len(missing)
    print(f"{job.benchmark.name}, {job.split}: asking {len(missing):,} of {len(job.own):,} items ({have:,} kept)")
    job.partial.parent.mkdir(parents=True, exist_ok=True)
    trim(job)
    lost = [done.finish for done in job.known.values() if done.unanswered]
    with job.partial.open("a", encoding="utf-8") as handle:

        def keep(number: int, completion: Completion) -> None:
            key = job.keys[missing[number]]
            job.known[key] = completion
            failed = completion.unanswered and Target.of(model).kind == "server"
            if not failed or completion.new_tokens:  # what cost nothing is asked again by whoever goes on
                print(json.dumps({"key": key, **asdict(completion)}, ensure_ascii=False), file=handle, flush=True)
            if failed:
                lost.append(completion.finish)
                _stop_if_most_fail(job, url, lost)

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
    if failed := [done.finish.removeprefix("error: ") for done in job.known.values() if done.unanswered]:
        change = "; request_options.target changes what a server is sent" if url else ""
        print(
            f"{len(failed):,} of {len(job.own):,} items were not answered (the first: {failed[0][:120]}): they count "
            f"as wrong and teach nothing; `laif run … --redo 01` asks them again{change}"
        )


def _stop_if_most_fail(job: Job, url: str, lost: list[str]) -> None:
    """Raises ServerError once more than half of the items failed, or more than those in flight can make up for."""
    from laif_helpers.models.server import MAX_CONNECTIONS, ServerError

    answered = len(job.known) - len(lost)
    if len(lost) > min(len(job.own) / 2, answered + MAX_CONNECTIONS):
        raise ServerError(
            f"server {url} answered only {answered:,} of {len(job.known):,} items of {job.benchmark.name}, {job.split} "
            f"(the first that it did not: {lost[0].removeprefix('error: ')[:120]}); request_options.target changes "
            "what it is sent, max_new_tokens how long an answer may be; finished answers are kept, run again to go on"
        )
