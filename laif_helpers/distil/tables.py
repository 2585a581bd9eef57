"""Shows for 10: which questions are rolled out, and whether the teacher can answer them."""

from collections.abc import Sequence

import pandas as pd

from laif_helpers.distil import Question
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Row


def chosen(questions: Sequence[Question]) -> pd.DataFrame:
    """Rollouts an epoch and distinct questions, by benchmark and by what the target made of them before."""
    rows = [(q.example.benchmark, "failed" if q.failed else "passed", q.example.id) for q in questions]
    table = pd.DataFrame(rows, columns=["benchmark", "target", "id"])
    grouped = table.groupby(["benchmark", "target"])["id"].agg(rollouts="size", questions="nunique")
    return grouped.reset_index()


def teacher(answers: Sequence[Row]) -> pd.DataFrame:
    """How many of the questions the teacher answers right, by what the target made of them."""
    table = pd.DataFrame(answers, columns=["benchmark", "target failed", "teacher right"])
    grouped = table.groupby(["benchmark", "target failed"])["teacher right"].agg(asked="size", right="sum")
    return grouped.reset_index()


def ended(p: StageParameters, questions: Sequence[Question]) -> str:
    """Why there is nothing to distil; "" if there is."""
    if not questions:
        return f"no question for {p.arm}: none of {', '.join(p.in_domain)} {p.error_split} was failed"
    lacks = p.strategy == "opd_contrast" and not any(q.failed for q in questions)
    return "no failed question to set beside the passed ones" if lacks else ""


def observation(p: StageParameters, questions: Sequence[Question], answers: Sequence[Row]) -> str:
    """What will be distilled, and from whom."""
    if reason := ended(p, questions):
        return f"The arm ends here: {reason}."
    distinct = len({(q.example.benchmark, q.example.id) for q in questions})
    failed = [row for row in answers if row["target failed"]]
    can = sum(row["teacher right"] for row in failed)
    known = f"Of {len(failed)} asked that the target failed, the teacher answers {can} right. " if failed else ""
    warning = "**It can hardly show what the target lacks.** " if failed and can < len(failed) / 2 else ""
    share = sum(q.failed for q in questions) / len(questions)
    return (
        f"{len(questions):,} rollouts an epoch on {distinct:,} questions, {share:.0%} of them failed. {known}{warning}"
    )


def metrics(p: StageParameters, questions: Sequence[Question], answers: Sequence[Row]) -> Row:
    """What 10 records."""
    reason = ended(p, questions)
    distinct = len({(q.example.benchmark, q.example.id) for q in questions})
    found = {"arm": p.arm, "iteration": p.iteration, "rollouts": len(questions), "questions": distinct}
    found |= {"asked": len(answers), "teacher_right": sum(row["teacher right"] for row in answers)}
    return found | {"teacher_tokens": sum(row["tokens"] for row in answers)} | ({"ended": reason} if reason else {})
