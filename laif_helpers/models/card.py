"""Writes the model card of a checkpoint (``README.md``): base, lessons, recipe, and scores once they are measured."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from laif_helpers.paths import resolve, short_names
from laif_helpers.records import write_text

_SCORES = re.compile(r"(?<=<!-- scores:begin -->\n).*?(?=<!-- scores:end -->)", re.S)
_PLAIN = {
    *("learning_rate", "epochs", "batch_size", "gradient_accumulation", "warmup_ratio", "warmup_steps", "weight_decay"),
    *("max_grad_norm", "max_length", "packing", "curriculum", "lora_rank", "load_in_4bit", "seed", "num_processes"),
    *("deepspeed", "dtype", "kl_weight", "average"),
}


def write(folder: Path, about: Mapping[str, Any], settings: Mapping[str, Any], metrics: Mapping[str, Any]) -> Path:
    """Write ``folder/README.md``. ``about``: target, base, arm, iteration and ``lessons``, a count for each source.

    If the base is a folder of this machine, the card names what it is, never its path.
    """
    target = Path(about["target"]).name if Path(about["target"]).is_absolute() else about["target"]
    adapter = (folder / "adapter_config.json").is_file()
    what = "A LoRA adapter" if adapter else "All weights"
    recipe = [f"| {key} | {value} |" for key, value in settings.items() if key in _PLAIN]
    lines = [
        *_front(target, adapter),
        f"# {target}, arm {about['arm']}, iteration {about['iteration']}\n",
        f"{what} in plain Hugging Face form, trained by laif on lessons drawn from the model's own answers. "
        f"Base: {about['base'] or target}.\n",
        *("## Lessons", "| benchmark, source | items |", "|---|---|", *_lessons(about["lessons"]), ""),
        f"{metrics['samples']} items and {metrics['tokens']:,} tokens seen in {metrics['steps']} steps; "
        f"{metrics['left_out']} left out as too long.\n",
        *("## Recipe", "| key | value |", "|---|---|", *recipe, ""),
        *("## Training", _training(metrics), ""),
        *("## Scores", "<!-- scores:begin -->", "Not measured yet.", "<!-- scores:end -->", ""),
    ]
    path = folder / "README.md"
    write_text(path, "\n".join(lines))
    return path


def _front(target: str, adapter: bool) -> list[str]:
    """The block that the hub reads; a base of this machine is no ``base_model``."""
    hub = target if target.count("/") == 1 and not resolve(target).exists() else ""
    head = ["---", "library_name: " + ("peft" if adapter else "transformers"), "pipeline_tag: text-generation"]
    return [*head, *([f"base_model: {hub}"] if hub else []), "tags: [laif, sft]", "---"]


def _lessons(counts: Mapping[str, int]) -> list[str]:
    """Rows from ``benchmark, source`` -> items."""
    split = [(*what.rpartition(", ")[::2], n) for what, n in counts.items()]
    short = short_names(name for name, _, _ in split)
    return [f"| {short[name]}, {source} | {n} |" for name, source, n in split]


def _training(metrics: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in metrics["versions"].items())
    share = metrics.get("average", {}).get("share", 1.0)
    averaged = f" The weights lie {share:.0%} of the way from the base to the trained ones." if share < 1 else ""
    return (
        f"Loss {metrics['start_loss']:.3f} to {metrics['final_loss']:.3f} (nats per answer token), "
        f"{metrics['seconds']:.0f} s on {metrics['world_size']} process(es), {metrics['device']}, computed in "
        f"{metrics.get('computed_in', 'float32')}.{averaged} Versions: {versions}."
    )


def fill_scores(checkpoint: Path, rows: Sequence[Mapping[str, Any]], answered: str = "") -> None:
    """Put measured scores into a checkpoint's card: rows with benchmark, split, n, accuracy, ci_low, ci_high.

    ``answered``: how the answers were computed, such as ``in float32``; a score belongs to it. A checkpoint without a
    card (of another tool) is left alone.
    """
    path = checkpoint / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not _SCORES.search(text):
        return
    lines = ["| benchmark | split | N | right | 95 % interval |", "|---|---|---|---|---|"]
    for row in rows:
        interval = f"[{100 * row['ci_low']:.1f}, {100 * row['ci_high']:.1f}]"
        lines.append(
            f"| {row['benchmark']} | {row['split']} | {row['n']} | {100 * row['accuracy']:.1f} % | {interval} |"
        )
    table = "\n".join([*lines, *([f"\nAnswered {answered}."] if answered else [])]) + "\n"
    write_text(path, _SCORES.sub(lambda _: table, text))
