"""The model card of a checkpoint (``README.md``): base, lessons, recipe, and the scores once somebody measured them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from laif_helpers.paths import resolve
from laif_helpers.records import write_text

_SCORES = re.compile(r"(?<=<!-- scores:begin -->\n).*?(?=<!-- scores:end -->)", re.S)
_PLAIN = {
    *("learning_rate", "epochs", "batch_size", "gradient_accumulation", "warmup_ratio", "warmup_steps", "weight_decay"),
    *("max_grad_norm", "max_length", "packing", "curriculum", "lora_rank", "load_in_4bit", "seed", "num_processes"),
    "deepspeed",
}


def write(folder: Path, about: Mapping[str, Any], settings: Mapping[str, Any], metrics: Mapping[str, Any]) -> Path:
    """Write ``folder/README.md``. ``about``: target, base, arm, iteration and ``lessons``, a count for each source.

    A base that is a folder of this machine is told by what it is, never by its path.
    """
    lessons = "\n".join(f"| {what} | {n} |" for what, n in about["lessons"].items())
    recipe = "\n".join(f"| {key} | {value} |" for key, value in settings.items() if key in _PLAIN)
    target = Path(about["target"]).name if Path(about["target"]).is_absolute() else about["target"]
    adapter = (folder / "adapter_config.json").is_file()
    hub = target if target.count("/") == 1 and not resolve(target).exists() else ""
    head = ["---", "library_name: " + ("peft" if adapter else "transformers"), "pipeline_tag: text-generation"]
    head += [*([f"base_model: {hub}"] if hub else []), "tags: [laif, sft]", "---", ""]
    body = f"""# {target}, arm {about["arm"]}, iteration {about["iteration"]}

{"A LoRA adapter" if adapter else "All weights"} in plain Hugging Face form, trained by laif on lessons drawn from the \
model's own answers. Base: {about["base"] or target}.

## Lessons
| benchmark, source | items |
|---|---|
{lessons}

{metrics["samples"]} items and {metrics["tokens"]:,} tokens seen in {metrics["steps"]} steps; \
{metrics["left_out"]} left out as too long.

## Recipe
| key | value |
|---|---|
{recipe}

## Training
Loss {metrics["start_loss"]:.3f} to {metrics["final_loss"]:.3f} (nats per answer token), {metrics["seconds"]:.0f} s on \
{metrics["world_size"]} process(es), {metrics["device"]}. Versions: \
{", ".join(f"{name} {version}" for name, version in metrics["versions"].items())}.

## Scores
<!-- scores:begin -->
Not measured yet.
<!-- scores:end -->
"""
    path = folder / "README.md"
    write_text(path, "\n".join(head) + body)
    return path


def fill_scores(checkpoint: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put measured scores into a checkpoint's card: rows with benchmark, split, n, accuracy, ci_low, ci_high.

    A checkpoint without a card (of another tool) is left alone.
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
    table = "\n".join(lines) + "\n"
    write_text(path, _SCORES.sub(lambda _: table, text))
