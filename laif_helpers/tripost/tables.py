"""Shows for 07 and 08: one attempt traced, the funnel of trajectories, the mix, repair in numbers."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from laif_helpers.answers import repair
from laif_helpers.recipe import StageParameters
from laif_helpers.records import rows_of
from laif_helpers.tripost.trajectories import OUTCOMES, REPAIRING, RIGHT, Trajectory

SHOWN = (
    *("bucket", "n", "accuracy_first", "accuracy_last", "contribution", "harm", "net_low", "net_high", "false_alarms"),
    *("detection_recall", "step_found", "injected_found", "repaired_if_told", "majority", "best", "tokens"),
)


def answer(p: StageParameters, found: Sequence[Trajectory], rows: Sequence[dict[str, Any]]) -> str:
    """The first screen of 07, in Markdown: the collection in two sentences, and one attempt traced."""
    return f"{observation(p, found, rows)}\n\n```text\n{traced(found)}\n```"


def traced(found: Sequence[Trajectory], chosen: int = 0) -> str:
    """The chosen one of the repaired trajectories, from the question to the repaired answer, as plain text.

    Trajectories that were trained on come first, short ones before long ones.
    """
    repaired = [each for each in found if each.updates and each.updates[-1].correct]
    if not repaired:
        return "No attempt was repaired."
    repaired.sort(key=lambda each: ("repair" not in each.trained, len(each.attempt)))
    trajectory = repaired[min(chosen, len(repaired) - 1)]
    parts = [("question", trajectory.question), ("attempt", trajectory.attempt)]
    parts += [("the model's own feedback", trajectory.own_feedback)] * bool(trajectory.own_feedback)
    for update in trajectory.updates:
        parts += [("the verifier's feedback", update.feedback), (f"update by the improver ({update.by})", update.text)]
    trained = ", ".join(trajectory.trained) or "nothing"
    return "\n\n".join(f"[{name}]\n{text}" for name, text in [*parts, ("trained in records", trained)])


def funnel(found: Sequence[Trajectory], rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Trajectories by what became of them, and records by source: a column for each benchmark."""
    table = pd.DataFrame(counts(found, rows)).fillna(0).astype(int)
    rank = {key: at for at, key in enumerate(FIRST)}
    return table.loc[sorted(table.index, key=lambda key: (rank.get(key, len(FIRST) + key.startswith("record")), key))]


FIRST = ("sampled", *OUTCOMES, "repaired", "false alarms")


def counts(found: Sequence[Trajectory], rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Per benchmark: attempts sampled and by outcome, those repaired, losses by reason, and records by source.

    An attempt is lost if it makes no record: ``sampled`` is the sum of the outcomes and of ``lost: repeated``.
    """
    table: dict[str, Counter[str]] = {}
    for trajectory in found:
        here = table.setdefault(trajectory.benchmark, Counter())
        here["sampled"] += 1
        here[trajectory.outcome] += trajectory.status != "repeated"
        here["false alarms"] += trajectory.false_alarm
        here["repaired"] += trajectory.status == "kept" and bool(trajectory.updates)
        here[f"lost: {trajectory.status}"] += trajectory.status != "kept"
    for row in rows:
        table.setdefault(row["benchmark"], Counter())[f"record: {row['source']}"] += 1
    return {name: {key: n for key, n in here.items() if n or key in FIRST} for name, here in table.items()}


def cost(p: StageParameters) -> dict[str, float]:
    """Tokens that the target wrote in this stage, attempts and feedback, and their seconds."""
    rows = rows_of(p.folder.attempts)
    return {
        "generated_tokens": sum(row["new_tokens"] for row in rows),
        "seconds": round(sum(row["seconds"] for row in rows), 2),
    }


def followed(p: StageParameters, found: Sequence[Trajectory]) -> pd.DataFrame:
    """What became of the attempts of the iteration before: share of right attempts at their questions now, in per cent.

    Empty in iteration 1. ``compare/trajectories.csv`` holds the same for each single attempt.
    """
    now = [{"benchmark": each.benchmark, "item": each.item, "outcome": each.outcome} for each in found]
    table = pd.DataFrame(
        repair.later(rows_of(p.previous.trajectories), now), columns=["benchmark", "outcome", "trained", "later_right"]
    )
    table = table.assign(trained=table["trained"].where(table["trained"] != "", "nothing"))
    grouped = table.groupby(["benchmark", "outcome", "trained"])["later_right"].agg(["size", "mean"]).reset_index()
    grouped["mean"] = (100 * grouped["mean"].astype(float)).round(1)
    return grouped.rename(columns={"size": "attempts", "mean": "right now (%)"})


def mixed(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Records by benchmark and source, with the weights that their answers carry."""
    weights = [" ".join(f"{turn['weight']:g}" for turn in row["messages"] if "weight" in turn) for row in rows]
    drawn = Counter((row["benchmark"], row["source"], carried) for row, carried in zip(rows, weights, strict=True))
    table = [(*key, n) for key, n in sorted(drawn.items())]
    return pd.DataFrame(table, columns=["benchmark", "source", "weights", "n"])


def ended(p: StageParameters, found: Sequence[Trajectory], rows: Sequence[dict[str, Any]]) -> str:
    """Why this arm has nothing left to learn from; "" if it has."""
    if rows and (p.strategy not in REPAIRING or any(row["source"] == "repair" for row in rows)):
        return ""
    if p.strategy not in REPAIRING:
        return f"no attempt of {len(found)} makes a record for arm {p.arm}"
    if all(each.outcome == RIGHT for each in found):
        return (
            f"no wrong attempts: all {len(found)} at {', '.join(p.in_domain)} {p.error_split} are right in every step"
        )
    losses = Counter(each.status for each in found if each.status != "kept").most_common(3)
    listed = "; ".join(f"{reason} ({n})" for reason, n in losses)
    return f"no attempt could be repaired and trained on: {listed or 'none was wrong'}"


def observation(p: StageParameters, found: Sequence[Trajectory], rows: Sequence[dict[str, Any]]) -> str:
    """The collection in three sentences."""
    different = [each for each in found if each.status != "repeated"]
    outcomes = Counter(each.outcome for each in different)
    classes = ", ".join(f"{n} {outcome.replace('_', ' ')}" for outcome, n in outcomes.most_common())
    repaired = sum(each.status == "kept" and bool(each.updates) for each in found)
    alarms = sum(each.false_alarm for each in different)
    sources = ", ".join(f"{n} {source}" for source, n in Counter(row["source"] for row in rows).most_common())
    return (
        f"{len(found)} attempts, {len(different)} of them different: {classes}. {repaired} were repaired and fit the "
        f"context; the model itself blames {alarms} right ones. {len(rows)} training records of arm {p.arm}: "
        f"{sources or 'none'}."
    )


def repaired(rows: dict[str, list[dict[str, Any]]]) -> pd.DataFrame:
    """Self-repair of each benchmark by bucket; shares in per cent. ``seen`` stands there if it is not ``all``."""
    lines = [
        {"benchmark": name, "bucket": bucket, **repair.summary(group)}
        for name, here in rows.items()
        for bucket, group in repair.groups(here)
        if bucket not in ("seen", "unseen") or len(group) < len(here)
    ]
    table = pd.DataFrame(lines, columns=["benchmark", *SHOWN])
    shares = [column for column in SHOWN if column not in ("bucket", "n", "tokens")]
    return table.assign(**{column: 100 * table[column].astype(float) for column in shares}).round(1)


def repair_observation(rows: dict[str, list[dict[str, Any]]]) -> str:
    """What self-repair gave and took, a sentence a benchmark."""
    sentences = []
    for name, here in rows.items():
        of = repair.summary(here)
        low, high = 100 * of["net_low"], 100 * of["net_high"]
        sentences.append(
            f"{name}: of {of['n']} questions {100 * of['accuracy_first']:.1f} % right at first, "
            f"{100 * of['accuracy_last']:.1f} % at last (repaired +{100 * of['contribution']:.1f}, spoilt "
            f"{-100 * of['harm']:z.1f} points; difference, 95 %: {low:+z.1f} to {high:+z.1f}); "
            f"{100 * of['majority']:.1f} % by a vote of {of['k']} at about the same tokens."
        )
        if (told := of["repaired_if_told"]) is not None:
            sentences.append(f"If the verifier writes the feedback, {100 * told:.0f} % of wrong answers are mended.")
    return " ".join(sentences)
