"""Reads the answers that lessons are made from: those of the previous iteration, with selection and clusters."""

import json
from pathlib import Path

from laif_helpers import benchmarks
from laif_helpers.answers import joined
from laif_helpers.instruct.requests import Answered, Study
from laif_helpers.paths import runs_dir
from laif_helpers.recipe import StageParameters


def read(p: StageParameters) -> dict[str, Study]:
    """The previous iteration's answers to the error split, right and wrong, joined with their questions.

    Held-out items are left out, as errors and as neighbours. Raises FileNotFoundError naming the file and what to run,
    ValueError if answers and questions do not fit.
    """
    studies = {}
    for name in p.in_domain:
        path = p.previous.responses(name, p.error_split)
        if not path.is_file():
            raise FileNotFoundError(
                f"{_short(path)} does not exist; run 01_evaluate with RUN={p.run!r}, "
                f"ARM={p.arm if p.iteration > 1 else 'vanilla'!r}, ITERATION={p.iteration - 1} first"
            )
        right: list[Answered] = []
        wrong: list[Answered] = []
        hidden = 0
        for example, response in joined.pairs(p, p.previous, name, p.error_split):
            # what two graders read differently, or nobody answered, teaches nothing
            if not (response.correct or response.is_error):
                continue
            if joined.held_out(p, name, response.id):
                hidden += response.is_error
            else:
                (right if response.correct else wrong).append(Answered(example, response.text))
        studies[name] = Study(benchmarks.get(name), wrong, right, hidden)
    return studies


def _short(path: Path) -> str:
    return str(path.relative_to(runs_dir())) if path.is_relative_to(runs_dir()) else str(path)


def selected(p: StageParameters, studies: dict[str, Study]) -> set[str] | None:
    """Ids of ``selection.json`` (a set of errors picked on the error map); None if there is no such file."""
    if not p.previous.selection.is_file():
        return None
    try:
        ids = {str(id) for id in json.loads(p.previous.selection.read_text(encoding="utf-8"))["ids"]}
    except (json.JSONDecodeError, KeyError, TypeError):
        raise ValueError(
            f'{_short(p.previous.selection)} must read {{"ids": ["…", …]}}; pick again, or remove it'
        ) from None
    wrong = {answer.example.id for study in studies.values() for answer in study.wrong}
    if not ids & wrong:
        raise ValueError(f"selection.json names {len(ids)} ids, none of them a wrong item; pick again, or remove it")
    return ids & wrong


def clusters(p: StageParameters) -> dict[tuple[str, str], str]:
    """(benchmark, id) -> the name of the cluster that 02 put an item into; {} if 02 has not written its table."""
    if not p.previous.errors.is_file():
        return {}
    import pandas as pd

    table = pd.read_parquet(p.previous.errors, columns=["benchmark", "id", "cluster_name"])
    rows = zip(table["benchmark"], table["id"].astype(str), table["cluster_name"], strict=True)
    return {(benchmark, id): str(name) for benchmark, id, name in rows if name}
