"""Reads the practice server's command line, and starts it."""

import os
from typing import Annotated

import typer

from bench.practice_server import faults as practice_faults
from bench.practice_server import make, serve
from bench.practice_server.answers import RETRY_AFTER_S, Behaviour

BATCH_S = 2.0
"""A batch takes that long."""


def main(
    port: Annotated[int, typer.Option(help="on 127.0.0.1; 0: any free one, which is printed")] = 8001,
    faults: Annotated[str, typer.Option(help=f"NAME=RATE,…: {', '.join(practice_faults.KINDS)}")] = "",
    seed: Annotated[int, typer.Option(help="which requests meet which fault")] = 0,
    schema: Annotated[bool, typer.Option(help="know replies by JSON schema")] = True,
    delay: Annotated[float, typer.Option(help="seconds before each answer")] = 0.0,
    retry_after: Annotated[float, typer.Option(help="seconds that a refusal (429) asks to wait")] = RETRY_AFTER_S,
) -> None:
    """Serve until interrupted. With LAIF_PRACTICE_KEY set, only that API key is let in."""
    key = os.environ.get("LAIF_PRACTICE_KEY", "")
    app = make(Behaviour(practice_faults.rates(faults), seed, key, schema, delay, BATCH_S, retry_after))
    serve(app, port)


if __name__ == "__main__":
    typer.run(main)
