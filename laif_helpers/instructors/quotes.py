"""Holds a price quote of an instructor: tokens and dollars, low to high, before anything is paid for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from laif_helpers.instructors import spending
from laif_helpers.recipe import StageParameters

if TYPE_CHECKING:
    import pandas as pd

Range = tuple[float, float]


@dataclass(frozen=True)
class Quote:
    """Tokens and dollars, low to high. ``usd`` is None if the recipe names no price; ``method`` says how."""

    instructor: str
    requests: int
    lessons: int
    input_tokens: Range
    output_tokens: Range
    usd: Range | None
    notes: tuple[str, ...]
    method: str

    @property
    def table(self) -> "pd.DataFrame":
        """One row per quantity: low, high."""
        import pandas as pd

        rows = {
            "requests": (self.requests, self.requests),
            **({"lessons asked for": (self.lessons, self.lessons)} if self.lessons else {}),
            "input tokens": self.input_tokens,
            "output tokens": self.output_tokens,
        }
        values = {name: [f"{value:,.0f}" for value in pair] for name, pair in rows.items()}
        values["US dollars"] = [f"{value:,.2f}" for value in self.usd] if self.usd else ["no price given"] * 2
        return pd.DataFrame.from_dict(values, orient="index", columns=["low", "high"]).rename_axis(self.instructor)

    @property
    def observation(self) -> str:
        """The quote in words."""
        cost = f"{self.usd[0]:,.2f} to {self.usd[1]:,.2f} dollars" if self.usd else "no price given, so tokens only"
        low, high = (sum(pair) for pair in zip(self.input_tokens, self.output_tokens, strict=True))
        tokens = f"{low:,.0f} to {high:,.0f}"
        wording = f"{self.requests:,} requests to {self.instructor}: {tokens} tokens, {cost}. " + " ".join(self.notes)
        return f"{wording} Method: {self.method}."


def dollars(p: StageParameters, inputs: Range, outputs: Range) -> Range | None:
    """What tokens cost at ``p.prices``, low and high; None if they do not name ``p.instructor_model``."""
    if p.instructor_model not in p.prices:
        return None
    share = spending.BATCH_SHARE if p.batch else 1.0
    low, high = (share * spending.price(p, *pair) for pair in zip(inputs, outputs, strict=True))
    return low, high


def notes(p: StageParameters, requests: int, usd: Range | None) -> list[str]:
    """What a reader of a quote has to know: whether anything is sent, its price, the cap."""
    found = []
    if p.quote_only and requests:
        found.append("Nothing is sent (quote_only).")
    if not usd and p.instructor == "llm":
        found.append("Set prices: {MODEL: {input: …, output: …}} for a price.")
    if p.instructor != "llm" and not p.quote_only:
        found.append(
            f"The {p.instructor} instructor costs nothing; this is what a language model would read and write."
        )
    if usd and p.max_usd and usd[1] > p.max_usd:
        found.append(f"max_usd {p.max_usd:g} may stop it before the end.")
    return found
