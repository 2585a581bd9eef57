"""Describes how a stage ended."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """A settled stage.

    Attributes:
        status: ``done``, ``unchanged``, ``ended`` (its arm has nothing left to learn), ``skipped`` or ``failed``.
        reason: for people; "" if nothing needs saying.
        arm_ended: the arm ended well, at this stage or an earlier one.
    """

    status: str
    reason: str = ""
    arm_ended: bool = False

    @property
    def good(self) -> bool:
        return self.status in ("done", "unchanged")
