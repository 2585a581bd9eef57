"""One file of responses: which answers are known already, which are missing, and the finished, graded file."""

import glob
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from laif_helpers.benchmarks import Benchmark
from laif_helpers.evaluate.grading import graders_hash, items_hash, to_responses
from laif_helpers.paths import IterationDir, stamp_of
from laif_helpers.records import (
    Completion,
    Example,
    Response,
    digest,
    read_state,
    sound_rows,
    write_json,
    write_jsonl,
)


@dataclass
class Job:
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
    part: int = 1
    parts: int = 1
    """Every ``parts``-th row, from row ``part`` on, is asked here; the other parts' stages ask the rest."""
    damaged: bool = False
    """Whether the finished file lacks rows that it should hold if its stamp is right."""

    @property
    def path(self) -> Path:
        return self.folder.responses(self.benchmark.name, self.split)

    @property
    def partial(self) -> Path:
        """Where answers go as they finish: a file for each part, so that no two processes write into one."""
        number = f".{self.part}" if self.parts > 1 else ""
        return self.path.with_name(f".{self.path.stem}{number}.partial")

    @property
    def partials(self) -> list[Path]:
        """The answers of all parts, and of a stage that asked for everything."""
        parts = self.path.parent.glob(f".{glob.escape(self.path.stem)}.[0-9]*.partial")
        return [self.path.with_name(f".{self.path.stem}.partial"), *sorted(parts)]

    @property
    def own(self) -> range:
        return range(self.part - 1, len(self.keys), self.parts)

    @property
    def missing(self) -> list[int]:
        return [index for index in self.own if self.keys[index] not in self.known]


def name_of(identity: str, sample: int) -> str:
    """A row's name in files beside the answers: the item's id, with a number for each sample after the first."""
    return f"{identity}#{sample}" if sample else identity


def key_of(identity: str, messages: list[dict[str, str]]) -> str:
    """An item's id with a hash of what is asked, so that a changed prompt is asked anew."""
    return f"{identity}:{digest(messages)[:12]}"


def asked(key: str) -> str:
    """A key without its item's id: the number of the sample and the hash of what is asked."""
    return re.sub(r"^.*?((#\d+)?:\w+)$", r"\1", key, flags=re.DOTALL)


def known_before(job: Job) -> dict[str, Completion]:
    """What the finished file holds, and what other parts or a stopped run left."""
    left = [_partial(job, path) for path in job.partials]
    return _finished(job) | {key: completion for part in left for key, completion in part.items()}


def _finished(job: Job) -> dict[str, Completion]:
    """Completions of the finished file, if the same model and settings wrote it; of a damaged one, those left."""
    stamp = read_state(stamp_of(job.path))
    if not job.path.is_file() or stamp.get("header") != job.header:
        return {}
    rows = list[Response]()
    for fields in sound_rows(job.path):
        with suppress(TypeError):
            rows.append(Response(**fields))
    job.damaged = not len(rows) == len(job.keys) == job.path.read_bytes().count(b"\n")
    return {
        key_of(name_of(row.id, row.sample), row.messages): Completion(
            row.text, row.prompt_tokens, row.new_tokens, "length" if row.cut else "stop"
        )
        for row in rows
        if not row.unanswered
    }


def _partial(job: Job, path: Path) -> dict[str, Completion]:
    """The completions of an unfinished file. The line being written when its writer was killed is dropped."""
    rows = sound_rows(path, more=False)
    return {row.pop("key"): Completion(**row) for row in rows[1:]} if rows and rows[0] == job.header else {}


def trim(job: Job) -> None:
    """Leave only whole lines in the job's own partial file, under its header."""
    known = _partial(job, job.partial)
    write_jsonl(job.partial, [job.header, *({"key": key, **asdict(known[key])} for key in known)])


def finish(job: Job, model: str, audit: bool) -> Path:
    """Grade and write the finished file, unless it holds these very items graded by these graders."""
    stamp: dict[str, Any] = {
        "header": job.header,
        "graders": graders_hash(),
        "items": items_hash(job.keys, job.examples),
        "audit": audit,
        # once one of them is answered, the file is another
        "unanswered": [key for key in job.keys if job.known[key].unanswered],
    }
    if job.path.is_file() and not job.damaged and read_state(stamp_of(job.path)) == stamp:
        return job.path
    completions = [job.known[key] for key in job.keys]
    graded = to_responses(job.benchmark, job.examples, completions, model, job.split, audit)
    write_graded(job.path, graded, job.samples, stamp)
    for partial in job.partials:
        partial.unlink(missing_ok=True)
    # answers beyond a lower limit wait for the day when they are wanted again
    wanted = set(job.keys)
    later = [(key, done) for key, done in job.known.items() if key not in wanted and not done.unanswered]
    if later:
        write_jsonl(job.partial, [job.header, *({"key": key, **asdict(done)} for key, done in later)])
    return job.path


def write_graded(path: Path, graded: list[Response], samples: Iterable[int], stamp: dict[str, Any]) -> None:
    """Write graded answers, each with the number of its sample, and what made them."""
    stamp_of(path).unlink(missing_ok=True)  # between the two writes there must be no stamp that fits another file
    write_jsonl(path, [replace(row, sample=sample) for row, sample in zip(graded, samples, strict=True)])
    write_json(stamp_of(path), stamp)
