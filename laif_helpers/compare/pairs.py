"""Pairs two logs of the same items: what was fixed, what was broken, and whether it is more than luck.

The labels are the logs' own unless ``regrade``. Items that share an origin, and samples of one item, are one unit.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from laif_helpers import cluster_names, origins, stats
from laif_helpers.answers import joined, replay
from laif_helpers.answers.logs import Logged
from laif_helpers.compare.sides import Key, Log, content_key, item_key, our_grade
from laif_helpers.embeddings import embed
from laif_helpers.machine import cores
from laif_helpers.records import digest

SEED = 0
"""Of the bootstrap."""


@dataclass
class Pairs:
    """Two logs, paired. ``shared``: keys of both, in A's order; ``only``: keys of A alone, of B alone."""

    a: Log
    b: Log
    shared: list[Key]
    only: tuple[list[Key], list[Key]]
    notes: list[str]


def pair(a: Log, b: Log) -> Pairs:
    """Raises ValueError, in one sentence, for the same log twice and for logs of different items."""
    if a.name == b.name:
        a, b = (replace(log, name=name) for log, name in zip((a, b), _names(a, b), strict=True))
    a, b, notes = _respelled(*_matched(a, b))
    if _fingerprint(a) == _fingerprint(b):
        raise ValueError(f"{a.name} and {b.name} are the same log: there is nothing to compare")
    first = [" ".join(next(iter(log.items))) for log in (a, b)]
    shared = [key for key in a.items if key in b.items]
    if not shared or _other_questions(a, b, shared):
        a, b, more = _by_question(a, b)
        shared, notes = [key for key in a.items if key in b.items], notes + more
    if not shared:
        raise ValueError(
            f"{a.name} and {b.name} have no item in common (the first are {first[0][:80]!r} and {first[1][:80]!r}): "
            "only answers to the same items can be paired"
        )
    only = [key for key in a.items if key not in b.items], [key for key in b.items if key not in a.items]
    return Pairs(a, b, shared, only, notes + _differences(a, b, shared))


def _names(a: Log, b: Log) -> tuple[str, str]:
    """Two names for logs of one name: the last part in which their places differ."""
    parts = (reversed(log.place.parts) for log in (a, b))
    return next((pair for pair in zip(*parts, strict=False) if len({*pair}) > 1), (f"{a.name} (A)", f"{b.name} (B)"))


def _fingerprint(log: Log) -> str:
    """Of all answers and who gave them: another model may answer alike, a file's copy has another name."""
    rows = []
    for key, answers in log.items.items():
        for answer in answers:
            # rows that name no model have their file's name for it
            model = "" if answer.source.startswith(answer.model) else answer.model
            rows.append((*key, answer.sample, model, answer.question, answer.text, str(answer.label), answer.grader))
    return digest(sorted(rows))


def _matched(a: Log, b: Log) -> tuple[Log, Log, list[str]]:
    """Both logs with one name for a task of both, and which names were taken as one.

    Tools name a task after its file, its model or their way to read an answer. One task on each side is one task; else
    those are one that ask mostly the same, in the same reading if there is such a pair.
    """
    pairs = _one_task(a, b)
    counts = Counter(task for pair in pairs for task in pair)
    names = {(s, t): s if counts[s] == 1 else t if counts[t] == 1 else f"{s} against {t}" for s, t in pairs}
    found = []
    for side, log in enumerate((a, b)):
        given = {task: [name for pair, name in names.items() if pair[side] == task] or [task] for task in log.tasks}
        items = [((name, id), rows) for (task, id), rows in log.items.items() for name in given[task]]
        found.append(_rekeyed(log, items))
    return found[0], found[1], [f"{s} of {a.name} and {t} of {b.name} are taken as one task." for s, t in pairs]


def _respelled(a: Log, b: Log, notes: list[str]) -> tuple[Log, Log, list[str]]:
    """Both logs with A's spelling of ids for both, if more items can be paired by that: tables and file systems write
    7, "7.0" or "007", "q7 " or "Q7", é in one sign or two."""
    named, own = ({_bare_key(key): key for key in log.items} for log in (a, b))
    found = {named.get(bare, key): b.items[key] for bare, key in own.items()}
    more = [key for key in found if key in a.items and key not in b.items]
    if not more or len(named) < len(a.items) or len(found) < len(b.items):
        return a, b, notes
    note = f"{len(more):,} items are called otherwise in {b.name}, such as {more[0][1]!r}; they are taken as the same."
    return a, replace(b, items=found), [*notes, note]


def _bare_key(key: Key) -> Key:
    id = unicodedata.normalize("NFC", key[1]).strip().casefold()
    return key[0], re.sub(r"(?<![\d.])0+(?=\d)", "", re.sub(r"\A(\d+)\.0+\Z", r"\1", id))


def _rekeyed(log: Log, items: Iterable[tuple[Key, list[Logged]]]) -> Log:
    """The log with these items; rows under one key are samples of one item."""
    found: dict[Key, list[Logged]] = {}
    for key, rows in items:
        found.setdefault(key, []).extend(rows)
    return replace(log, items=found)


def _one_task(a: Log, b: Log) -> list[tuple[str, str]]:
    """Tasks of both logs that are one under two names. Arms of two runs go by their names alone."""
    left, right = _asked(a, b), _asked(b, a)
    if len(a.tasks) == len(b.tasks) == 1 or (a.of_run and b.of_run):
        return [(s, t) for s in left for t in right if len(a.tasks) == len(b.tasks) == 1]
    alike = [(s, t) for s in left for t in right if 2 * len(left[s] & right[t]) > min(len(left[s]), len(right[t]))]
    reading = {task: rows[0].reading for log in (a, b) for (task, _), rows in log.items.items()}
    same = [(s, t) for s, t in alike if reading[s] == reading[t]]
    served = {task for pair in same for task in pair}
    return same + [pair for pair in alike if not served & {*pair}]


def _asked(log: Log, other: Log) -> dict[str, set[str]]:
    """Keys of the questions of each task that the other log does not have under that name."""
    asked: dict[str, set[str]] = {task: set() for task in log.tasks if task not in other.tasks}
    for (task, _), rows in log.items.items():
        if task in asked and rows[0].question:
            asked[task].add(content_key(rows[0]))
    return asked


def _other_questions(a: Log, b: Log, shared: list[Key]) -> bool:
    """Ids of a log are often mere numbers: do most of those that fit belong to different questions?"""
    both = [(a.items[key][0], b.items[key][0]) for key in shared]
    other = [content_key(x) != content_key(y) for x, y in both if x.question and y.question]
    return sum(other) > len(other) / 2


def _by_question(a: Log, b: Log) -> tuple[Log, Log, list[str]]:
    """Both logs with their items by question and options, or, if one log holds no options, by question alone."""
    for named in (item_key, content_key):
        asked = [
            [((t, named(rows[0])), rows) for (t, _), rows in log.items.items() if rows[0].question] for log in (a, b)
        ]
        found = [_rekeyed(log, items) for log, items in zip((a, b), asked, strict=True)]
        if found[0].items.keys() & found[1].items.keys():
            break
    lost = [(log.name, len(log.items) - len(new.items)) for log, new in zip((a, b), found, strict=True)]
    notes = [f"{n:,} items of {name} repeat a question, which counts once, or have none." for name, n in lost if n]
    return found[0], found[1], notes


def _differences(a: Log, b: Log, shared: list[Key]) -> list[str]:
    """What is not alike beside the model: questions, gold answers, prompts, numbers of samples, items on one side."""
    both = [(a.items[key][0], b.items[key][0]) for key in shared]
    golds = sum(_bare(first.gold) != _bare(second.gold) for first, second in both if first.gold and second.gold)
    prompts = sum(first.prompt != second.prompt for first, second in both if first.prompt and second.prompt)
    asked = sum(content_key(x) != content_key(y) for x, y in both if x.question and y.question)
    samples = [sorted({len(log.items[key]) for key in shared}) for log in (a, b)]
    graders = [(x.grader, y.grader) for x, y in both if x.grader and y.grader and x.grader != y.grader]
    notes = [f"{asked:,} of {len(shared):,} items are asked in other words."] if asked else []
    notes += [f"{golds:,} of {len(shared):,} items have another gold answer: the test sets differ."] if golds else []
    notes += [f"{prompts:,} of {len(shared):,} items were asked with another prompt."] if prompts else []
    for (first, second), n in Counter(graders).most_common(1):
        who = f"{first} in {a.name}, {second} in {b.name}, for {n:,} of them"
        notes.append(f"{len(graders):,} of {len(shared):,} items have labels of other graders: {who}; see --regrade.")
    if samples[0] != samples[1]:
        notes.append(f"Samples of an item: {samples[0]} in {a.name}, {samples[1]} in {b.name}; each item counts once.")
    return notes


def _bare(gold: str) -> str:
    """A gold answer without its worked solution, brackets and marks: tools write "#### 1,200", "1200.0" and "(B)"."""
    return re.sub(r"[\s(),$]|\.0*\Z", "", gold.rpartition("####")[2]).casefold()


# -- grading and results


def graded(log: Log, regrade: bool = False) -> dict[Key, float]:
    """The share of right samples of every item, by the log's labels; by our graders if asked, or without a label.

    Raises ValueError for an answer that has neither a label nor a grader here.
    """
    answers = [answer for rows in log.items.values() for answer in rows]
    asked = [answer for answer in answers if regrade or answer.label is None]
    with ThreadPoolExecutor(cores()) as pool:  # programs run in child processes
        given = pool.map(our_grade, asked)
        ours = [next(given) if regrade or answer.label is None else None for answer in answers]
    marks: dict[Key, list[bool]] = {}
    keys, unjudged = [key for key, rows in log.items.items() for _ in rows], 0
    for key, answer, grade in zip(keys, answers, ours, strict=True):
        mark = answer.label if grade is None else grade
        if mark is None and any(other.label is not None for other in log.items[key]):
            unjudged += 1
        elif mark is None:
            raise ValueError(
                f"{log.name}: item {answer.id!r} of {answer.task!r} has no label, and no grader here knows that task: "
                "give the rows a field 'correct'"
            )
        else:
            marks.setdefault(key, []).append(mark)
    if unjudged:
        log.notes.append(f"{log.name}: {unjudged:,} samples have no label, others of the same items have: left out.")
    log.notes += _on_grades(log.name, answers, ours, regrade)
    return {key: sum(found) / len(found) for key, found in marks.items()}


def _on_grades(name: str, answers: list[Logged], ours: list[bool | None], regrade: bool) -> list[str]:
    pairs = [(answer.label, grade) for answer, grade in zip(answers, ours, strict=True) if grade is not None]
    labelled = [(label, grade) for label, grade in pairs if label is not None]
    if labelled:
        more, fewer = (sum(grade is side and label is not side for label, grade in labelled) for side in (True, False))
        text = f"{name}: our graders and the log differ on {more + fewer:,} of {len(labelled):,} answers"
        return [f"{text} ({more:,} right by ours alone, {fewer:,} by the log alone)."]
    if regrade and not pairs:
        return [f"{name}: no grader here knows these tasks; the log's labels stand."]
    return [f"{name}: {len(pairs):,} answers without a label were graded by our graders."] if pairs else []


def results(pairs: Pairs, before: dict[Key, float], after: dict[Key, float]) -> pd.DataFrame:
    """A row for each task: benchmark, n, a, b (shares of right answers), fixed, broken, delta with its 95 % interval,
    p, p after Holm over the tasks, the smallest difference these items show four times in five, and the test's name.
    """
    rows = []
    for task in dict.fromkeys(task for task, _ in pairs.shared):
        keys = [key for key in pairs.shared if key[0] == task]
        units = [_origin((pairs.a, pairs.b), key) for key in keys]
        items = origins.paired([before[k] for k in keys], [after[k] for k in keys], units)
        row = {"benchmark": task, "n": len(keys), "a": float(items.before.mean()), "b": float(items.after.mean())}
        rows.append(row | origins.tested(items, SEED) | {"origins": items.count})
    table = pd.DataFrame(rows).rename(columns={"delta_low": "ci_low", "delta_high": "ci_high"})
    table.insert(table.columns.get_loc("p_value") + 1, "p_holm", stats.holm(table["p_value"].tolist()))
    judged = zip(table["delta"], table["p_holm"], table["detectable"], strict=True)
    return table.assign(verdict=[stats.verdict(*values) for values in judged])


def _origin(logs: Iterable[Log], key: Key) -> str:
    """The seed question of GSM-Plus' variants; else the item itself."""
    answer = next((found for log in logs if (found := log.items[key][0]).benchmark == "gsm_plus"), None)
    return joined.origin(replay.item_of(answer)) if answer else key[1]


def changed(pairs: Pairs, before: dict[Key, float], after: dict[Key, float]) -> pd.DataFrame:
    """The items whose share of right answers rose (``fixed``) or fell (``broken``), with their texts."""
    rows = []
    for key in pairs.shared:
        if before[key] != after[key]:
            a, b = pairs.a.items[key][0], pairs.b.items[key][0]
            row = {"benchmark": key[0], "id": key[1], "flip": "fixed" if after[key] > before[key] else "broken"}
            rows.append(row | {"question": a.question, "gold": a.gold or b.gold, "a": a.text, "b": b.text})
    return pd.DataFrame(rows, columns=["benchmark", "id", "flip", "question", "gold", "a", "b"])


def groups(found: pd.DataFrame, least: int = 10) -> pd.DataFrame:
    """The changed items by what their questions are about: a row a group with its leading words, how many of it were
    fixed and broken, and one question. Empty if fewer than ``least`` changed items have a question.
    """
    columns = ["name", "fixed", "broken", "example"]
    asked = found[found["question"].str.strip() != ""].reset_index(drop=True)
    if len(asked) < least:
        return pd.DataFrame(columns=columns)
    from sklearn.cluster import KMeans

    vectors = embed(asked["question"].tolist())
    count = min(8, max(2, len(asked) // 15), len(np.unique(vectors.round(5), axis=0)))
    if count < 2:  # questions that differ in their numbers alone
        return pd.DataFrame(columns=columns)
    points = asked.assign(cluster=KMeans(count, n_init=4, random_state=SEED).fit_predict(vectors))
    names, example = cluster_names.name(points), points.groupby("cluster")["question"].first()
    flips = pd.crosstab(points["cluster"], points["flip"]).reindex(columns=["fixed", "broken"], fill_value=0)
    table = flips.assign(name=[names[int(number)] for number in flips.index], example=example)
    return table.rename_axis(columns=None)[columns].sort_values("broken", ascending=False, ignore_index=True)
