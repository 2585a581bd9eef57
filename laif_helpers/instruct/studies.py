"""Reads what 02 has left for the planning of requests: a person's selection of errors, and the clusters' names."""

import json

from laif_helpers.answers.pools import Study
from laif_helpers.paths import in_runs
from laif_helpers.recipe import StageParameters


def selected(p: StageParameters, studies: dict[str, Study]) -> set[str] | None:
    """Ids of ``selection.json`` (a set of errors picked on the error map); None if there is no such file."""
    if not p.previous.selection.is_file():
        return None
    try:
        ids = {str(id) for id in json.loads(p.previous.selection.read_text(encoding="utf-8"))["ids"]}
    except (json.JSONDecodeError, KeyError, TypeError):
        raise ValueError(
            f'{in_runs(p.previous.selection)} must read {{"ids": ["…", …]}}; pick again, or remove it'
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
