"""One stage without notebook and kernel: ``python stage.py RUN_FOLDER STAGE`` calls what its notebook calls.

The matrix breaks most writes here, because a stage takes a second or two so; notebook, kernel and runner are broken by
cells that run `laif run` itself.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from laif_helpers import recipe


def evaluate(p: Any) -> None:
    from laif_helpers import evaluate

    evaluate.evaluate(p)


def analyse(p: Any) -> None:
    from laif_helpers import embeddings, error_analysis
    from laif_helpers.error_analysis import places, profile, sentences

    items = error_analysis.collect(p)
    vectors = embeddings.embed(error_analysis.texts(items, p.embedded), p.embedding, cache=p.vectors)
    points = sentences.added(p, error_analysis.locate(items, vectors, p.seed, places.of_untouched(p)))
    profile.write(p, points)
    error_analysis.save(p, points)


def instruct(p: Any) -> None:
    from laif_helpers import instruct

    plan = instruct.plan(p)
    instruct.learn(plan, instruct.ask(plan, p), p)


def train(p: Any) -> None:
    from laif_helpers import train
    from laif_helpers.train import mix

    mix.make(p)
    train.launch(p)


VERBS = {
    "01_evaluate": evaluate,
    "02_error_analysis": analyse,
    "03_instruct_LE": instruct,
    "05_train_deepspeed": train,
}


def main(run: Path, stage: str) -> None:
    arm, iteration, notebook = stage.split("/")
    values = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    place = {"run": str(run), "arm": arm, "iteration": int(iteration.removeprefix("iter"))}
    VERBS[notebook](recipe.build(recipe.StageParameters, values | place))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2])
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
