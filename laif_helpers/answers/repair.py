"""Summarises the rows of ``repair/``: one line per arm, iteration, benchmark and bucket."""

import math
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

from laif_helpers import stats
from laif_helpers.records import Row, read_rows, rows_of


def read(folder: Path) -> list[Row]:
    """The rows of an iteration's repair evaluation; none if it was not evaluated."""
    return [row for path in sorted((folder / "repair").glob("*.jsonl")) for row in read_rows(path)]


def table(run: Path, arms: Iterable[str], iterations: int) -> list[Row]:
    """``compare/repair.csv``: all buckets, then ``seen``, ``unseen`` and ``all`` of each benchmark.

    ``over_majority`` and ``over_sft``: ``accuracy_last`` less a vote of samples that cost as many tokens, and less the
    first attempts of arm ``fine_tuning`` in the same iteration; ``…_p`` is McNemar's test on the same items, and
    ``…_p_holm`` that after Holm over all arms and benchmarks of one iteration and bucket.
    """
    lines: list[Row] = []
    places = [("vanilla", 0), *product([arm for arm in arms if arm != "vanilla"], range(1, iterations + 1))]
    for arm, iteration in places:
        rows = read(run / arm / f"iter{iteration}")
        tuned = [] if arm == "fine_tuning" else read(run / "fine_tuning" / f"iter{iteration}")
        plain = {(row["benchmark"], row["id"]): row["right"][0] for row in tuned}
        for name in sorted({row["benchmark"] for row in rows}):
            for bucket, group in groups([row for row in rows if row["benchmark"] == name]):
                head = {"arm": arm, "iteration": iteration, "benchmark": name, "bucket": bucket}
                votes = [row["majority"] for row in group]
                sft = [plain.get((name, row["id"])) for row in group]
                paired = _paired(group, "majority", votes) | _paired(group, "sft", sft)
                lines.append({**head, **summary(group), **paired})
    for column, family in product(("majority_p", "sft_p"), {(line["iteration"], line["bucket"]) for line in lines}):
        members = [line for line in lines if (line["iteration"], line["bucket"]) == family]
        for line, p in zip(members, stats.holm([line[column] for line in members]), strict=True):
            line[f"{column}_holm"] = p
    return lines


def _paired(rows: Sequence[Row], name: str, others: Sequence[bool | None]) -> Row:
    """The last answers against another answer to the same items; None if there is none."""
    pairs = [(row["right"][-1], other) for row, other in zip(rows, others, strict=True) if other is not None]
    won, lost = sum(mine and not other for mine, other in pairs), sum(other and not mine for mine, other in pairs)
    over, p = ((won - lost) / len(pairs), stats.mcnemar(won, lost)) if pairs else (None, None)
    return {f"over_{name}": over, f"{name}_p": p}


def followed(run: Path, arms: Iterable[str], iterations: int) -> list[Row]:
    """``compare/trajectories.csv``: every attempt of every iteration, and what became of its question."""
    found = []
    for arm, k in product(arms, range(1, iterations + 1)):
        before, after = (run / arm / f"iter{i}" / "trajectories.jsonl" for i in (k, k + 1))
        found += [{"arm": arm, "iteration": k, **row} for row in later(rows_of(before), rows_of(after))]
    return found


def later(before: Iterable[Row], now: Iterable[Row]) -> list[Row]:
    """A row for each trajectory of ``before``, joined with the attempts at the same question in ``now``.

    ``later_right`` is the share of those attempts that are right in every step, None if the question was not asked
    again; ``trained`` names the sources of the records that the trajectory was trained in.
    """
    right: dict[tuple[str, str], list[bool]] = {}
    for row in now:
        right.setdefault((row["benchmark"], row["item"]), []).append(row["outcome"] == "right")
    found = []
    for row in before:
        again = right.get((row["benchmark"], row["item"]), [])
        kept = {key: row[key] for key in ("benchmark", "bucket", "item", "id", "outcome", "status")}
        verdict = {key: row["verdict"][key] for key in ("kind", "step")}
        share = sum(again) / len(again) if again else None
        found.append({**kept, **verdict, "trained": " ".join(row["trained"]), "later_right": share})
    return found


def groups(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    """Rows by bucket, then the seen ones, the unseen ones and all."""
    buckets = sorted({row["bucket"] for row in rows}, key=lambda name: (len(name), name))
    groups = [(bucket, [row for row in rows if row["bucket"] == bucket]) for bucket in buckets]
    groups += [
        (name, [row for row in rows if row["seen"] == seen]) for name, seen in (("seen", True), ("unseen", False))
    ]
    return [(name, group) for name, group in [*groups, ("all", rows)] if group]


def summary(rows: Sequence[Row]) -> Row:
    """Accuracies, what repair gave and took (with the interval of their difference), and error detection.

    ``contribution`` and ``harm`` are shares of all items (wrong→right, right→wrong); ``p_value`` is the exact McNemar
    test of the two. Detection counts an attempt as wrong if any of its steps is; ``step_found`` is the share of wrong
    attempts whose first wrong step the model names; ``repaired_if_told`` that of those it mends, told by the verifier.
    """
    n = len(rows)
    told = [row["repaired_if_told"] for row in rows if row.get("repaired_if_told") is not None]
    first, last = [row["right"][0] for row in rows], [row["right"][-1] for row in rows]
    fixed = sum(after and not before for before, after in zip(first, last, strict=True))
    broken = sum(before and not after for before, after in zip(first, last, strict=True))
    low, high = stats.wilson(sum(last), n)
    half = stats.Z95 * math.sqrt(max(fixed + broken - (fixed - broken) ** 2 / n, 1.0)) / n
    net = (fixed - broken) / n
    return {
        "n": n,
        **{"accuracy_first": sum(first) / n, "accuracy_last": sum(last) / n, "ci_low": low, "ci_high": high},
        **{
            "contribution": fixed / n,
            "harm": broken / n,
            "net_low": max(net - half, -1.0),
            "net_high": min(net + half, 1.0),
        },
        "p_value": stats.mcnemar(fixed, broken),
        "changed": sum(len(row["right"]) > 1 and row["turns"][0] != row["turns"][-2] for row in rows) / n,
        **_detection(rows),
        "repaired_if_told": sum(told) / len(told) if told else None,
        "accuracy_oracle": sum(any(row["right"]) for row in rows) / n,  # someone stops the loop at the first right one
        "majority": sum(row["majority"] for row in rows) / n,
        "best": sum(row["best"] for row in rows) / n,
        "k": rows[0]["k"],
        "tokens": sum(row["tokens"] for row in rows) / n,
        "first_tokens": sum(row["first_tokens"] for row in rows) / n,
        "sample_tokens": sum(row["sample_tokens"] for row in rows) / n,
    }


def _detection(rows: Sequence[Row]) -> Row:
    wrong = [row for row in rows if not row["steps_right"][0]]
    blamed = [row for row in rows if row["blamed"][0]]
    caught = sum(bool(row["blamed"][0]) for row in wrong)
    alarms = sum(row["steps_right"][0] for row in blamed)
    named = sum(bool(row["blamed"][0]) and row["blamed_step"][0] == row["wrong_step"][0] for row in wrong)
    return {
        "detection_precision": caught / len(blamed) if blamed else None,
        "detection_recall": caught / len(wrong) if wrong else None,
        "step_found": named / len(wrong) if wrong else None,
        "false_alarms": alarms / (len(rows) - len(wrong)) if len(rows) > len(wrong) else None,
        "injected_found": sum(row["injected_found"] for row in rows) / len(rows),
    }
