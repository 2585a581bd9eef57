"""Stages 3 and 4: one request per wrong item or cluster, the instructor's replies, and the lessons in them.

LE shows the instructor wrong questions and answers, LEC also the nearest questions that the target answered
right (arXiv 2407.00497); AugGPT shows a training question alone. The control ``random`` asks as LE does, and as
often, about training questions drawn by chance. A combined arm such as ``le+lec`` does as LE, and as LEC in the last
iteration.
"""

from laif_helpers.instruct.asking import ask, probe
from laif_helpers.instruct.learning import check, choose, diagnosed, learn, read_lessons
from laif_helpers.instruct.planning import Plan, plan
from laif_helpers.instruct.requests import Answered, Request, Study, request
from laif_helpers.instruct.studies import read, selected

__all__ = [
    "Answered",
    "Plan",
    "Request",
    "Study",
    "ask",
    "check",
    "choose",
    "diagnosed",
    "learn",
    "plan",
    "probe",
    "read",
    "read_lessons",
    "request",
    "selected",
]
