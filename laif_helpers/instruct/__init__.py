"""Stages 3 and 4: send a request per wrong item or cluster to the instructor, and read lessons from the replies.

LE shows the instructor wrong questions and answers. LEC also shows the nearest questions that the target answered
right (arXiv 2407.00497). AugGPT shows a training question alone. The control ``random`` sends as many requests as LE,
in the same form, about training questions drawn by chance. A combined arm such as ``le+lec`` sends the requests of LE
in every iteration but the last, and those of LEC in the last.
"""

from laif_helpers.answers.pools import Answered, Study, read
from laif_helpers.instruct.asking import ask, probe
from laif_helpers.instruct.learning import check, choose, diagnosed, learn, read_lessons
from laif_helpers.instruct.planning import Plan, plan, selected
from laif_helpers.instruct.requests import Request, request
