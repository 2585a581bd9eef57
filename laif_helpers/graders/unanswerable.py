"""Tells whether a sentence says that a question has no answer."""

import re

_CANNOT = (
    r"\b(?:can\s?not|can't|could not|couldn't|impossible to|not possible to|unable to|no way to|difficult to)"
    r"(?: be)?\s+(?:\w+\s+){0,2}?(?:determin|calculat|answer|solv|find|comput|know|tell|say|figure|provide|give)\w*"
)
_LACKS = (
    r"(?:\bnot|n't)\s+(?:\w+\s+)?(?:enough|sufficient)\s+(?:\w+\s+)?(?:information|data|details?|context|facts|to"
    r"\s+(?:determine|answer|calculate|solve|find|compute|know|tell|say))\b"
    r"|\b(?:information|data|details?|question|problem)\b[^.\n]{0,40}?(?:\bnot|n't)\s+(?:\w+\s+)?(?:enough|sufficient)\b"
    r"|\b(?:insufficient|missing|incomplete)\s+(?:\w+\s+)?(?:information|data|details?)\b"
    r"|\b(?:information|data|question|problem)\b[^.\n]{0,40}?\b(?:is|are)\s+(?:insufficient|incomplete|missing|unanswerable)\b"
    r"|\b(?:need|require)s?\s+(?:more|additional|further)\s+(?:information|data|details)\b"
    r"|\b(?:more|additional|further)\s+(?:information|data|details)\s+(?:is|are|would be)"
    r"\s+(?:needed|required|necessary)\b"
    r"|\b(?:is|are|was|were)(?: not|n't)\s+(?:\w+\s+)?(?:specified|given|provided|stated|mentioned)\b"
    r"|\b(?:problem|question)\s+(?:does not|doesn't)\s+(?:specify|state|say|tell|mention|give|provide)\b[^.\d]*\.?\Z"
    r"|\bunanswerable\b|\bindeterminate\b|\bundetermined\b|\bN/A\b"
)
UNANSWERABLE = re.compile(f"{_CANNOT}|{_LACKS}", re.IGNORECASE)
# Words that a solution uses too ("let x be the unknown price"): they count where no number is stated beside them.
UNKNOWN = re.compile(r"(?i)\b(?:None|unknown|unsolvable|depends|no answer|is missing)\b|(?:\bnot|n't) (?:told|know)\b")
NO_ANSWER = re.compile(r"[\s:*_`$({\[\"']*(?:\\text\s*\{\s*)?(?:None|N/?A|unknown|undefined)\b", re.IGNORECASE)


def denies(sentence: str, has_number: bool) -> bool:
    """Whether a sentence says that there is no answer, and does not reckon one out behind that after all."""
    denied = UNANSWERABLE.search(sentence)
    return denied is not None and not (has_number and "=" in sentence[denied.end() :])
