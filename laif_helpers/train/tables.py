"""Shows a training in notebook 05: its settings and their sources, what it found, what it cost, what it changed."""

import html
import re
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from laif_helpers import benchmarks
from laif_helpers.models import ask
from laif_helpers.paths import IterationDir, RunDir
from laif_helpers.recipe import StageParameters
from laif_helpers.records import Row, read_json, rows_of, sound_rows
from laif_helpers.train import measured
from laif_helpers.train.settings import BETAS, DECIDING, SCHEDULE

MEASURES = Path(__file__).with_name("measures.yaml")
_ORIGIN = re.compile(r"^(\w+):.*  # (\S+)$", re.M)


def settings_table(p: StageParameters) -> pd.DataFrame:
    """What decides this training: setting, value, where the value comes from, meaning.

    The origin is ``recipe``, ``--set`` or ``default`` as the run's ``recipe.yaml`` has it. If no run has written one,
    it is ``default``, or ``notebook`` for a value that its parameters cell changes.
    """
    path = RunDir.named(p.run).recipe
    origins = dict(_ORIGIN.findall(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    fields = type(p).model_fields
    rows: list[tuple[str, Any, str, str]] = []
    for key in DECIDING:
        value, field = getattr(p, key), fields[key]
        changed = key in p.model_fields_set and value != field.get_default()
        origin = "notebook" if changed else "default"
        rows.append((key, value, origins.get(key, origin), str(field.description)))
    batch = p.batch_size * p.gradient_accumulation * p.num_processes
    rows.append(("effective batch", batch, "computed", "items a step: batch size x accumulation x processes"))
    rows.append(("schedule", SCHEDULE, "fixed", "how the rate falls after the warm-up, as in the papers"))
    rows.append(("betas", BETAS, "fixed", "AdamW's memory of gradients and of their squares, as in the papers"))
    return pd.DataFrame(rows, columns=["setting", "value", "from", "meaning"])


def log_table(folder: IterationDir) -> pd.DataFrame:
    """The training log: step, of, loss (nats per answer token), learning_rate, epoch, seconds."""
    columns = ["step", "of", "loss", "learning_rate", "epoch", "seconds"]
    return pd.DataFrame(sound_rows(folder.train_log, more=False), columns=columns)


def preflight_table(folder: IterationDir) -> pd.DataFrame:
    """What the child found before it loaded the model: check, found, verdict."""
    return pd.DataFrame(read_json(folder.path / "preflight.json", []), columns=["check", "found", "verdict"])


def row_html(folder: IterationDir) -> str:
    """One training row as the template writes it: grey is only read, underlined is learned. Escaped."""
    row = read_json(folder.path / "train_row.json", [])
    if not row:
        return "<p>No training row.</p>"
    styles = {True: "text-decoration:underline;background:#e3f1e3;color:#111", False: "color:#888"}
    parts = [f'<span style="{styles[part["learned"]]}">{html.escape(part["text"])}</span>' for part in row]
    return f'<pre class="tex2jax_ignore mathjax_ignore" style="white-space:pre-wrap">{"".join(parts)}</pre>'


def metrics_table(metrics: Row) -> pd.DataFrame:
    """What a person wants to know of ``train_metrics.json``: measure, value, meaning."""
    means = yaml.safe_load(MEASURES.read_text(encoding="utf-8"))
    known = [(key, metrics[key], meaning) for key, meaning in means["metrics"].items() if key in metrics]
    drift = metrics.get("drift", {})
    known += [(f"drift: {key}", drift[key], meaning) for key, meaning in means["drift"].items() if key in drift]
    if average := metrics.get("average"):
        known.append(("average", average["share"], "share of the way from the weights before to those after"))
    rows = [(key, _shown(value), meaning) for key, value, meaning in known]
    return pd.DataFrame(rows, columns=["measure", "value", "meaning"])


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def probe_table(folder: IterationDir) -> pd.DataFrame:
    """The probed items: question, gold, what was answered before and after, and whether that was right."""
    columns = ["id", "question", "gold", "before", "before_correct", "after", "after_correct"]
    return pd.DataFrame(rows_of(folder.probe), columns=columns)


def questions(p: StageParameters) -> list[ask.Question]:
    """The probed items as questions that the models before and after can be asked again, with their graders."""
    return [
        ask.Question(bench.question_text(item), bench.messages(item), partial(bench.grade, item))
        for _, bench, item in measured.probed(p)
    ]


def asked_html(p: StageParameters) -> str:
    """The first probed item as the models before and after the training answered it."""
    rows = rows_of(p.folder.probe)
    if not rows:
        return "<p>Nothing was asked.</p>"
    return ask.page(questions(p)[0], {"before": rows[0]["before"], "after": rows[0]["after"]})


def ask_yourself(p: StageParameters) -> Any:
    """``models.ask.widget`` over the models before and after this training."""
    write = benchmarks.get(p.in_domain[0]).messages_for
    options = {"max_new_tokens": p.max_new_tokens, "dtype": p.dtype, "change": p.request_options.target}
    return ask.widget({"before": p.base_model, "after": p.model}, questions(p), write, **options)


def cost(metrics: Row) -> str:
    """Memory and time of a training in one sentence; "" if nothing was trained."""
    if "seconds" not in metrics:
        return ""
    minutes = metrics["seconds"] / 60
    choice = metrics.get("average", {}).get("seconds", 0) / 60
    chosen = f"; {choice:,.1f} minutes more to choose how far to go" if choice else ""
    return (
        f"**{metrics['peak_memory_mb']:,} MB at the peak** ({metrics['start_memory_mb']:,} once the model was loaded), "
        f"**{minutes:,.1f} minutes**, {metrics['tokens_per_s']:,.0f} tokens a second on {metrics['device']}{chosen}. "
    )


def observation(metrics: Row, folder: IterationDir) -> str:
    """The training in a few sentences, from the numbers; what it cost comes first."""
    if "ended" in metrics:
        return f"No training: {metrics['ended']}."
    if "probe_failed" in metrics:
        return f"{metrics['steps']} steps done and kept, but the probe failed: {metrics['probe_failed']}"
    probed = probe_table(folder)
    wrong, right = probed[probed["before_correct"] == False], probed[probed["before_correct"] == True]  # noqa: E712
    return cost(metrics) + (
        f"{metrics['samples']} items, {metrics['steps']} steps: the loss went from {metrics['start_loss']:.2f} to "
        f"{metrics['final_loss']:.2f}. Probed items: {int(wrong['after_correct'].sum())} of {len(wrong)} wrong ones "
        f"right now, {len(right) - int(right['after_correct'].sum())} of {len(right)} right ones wrong now. "
        + _averaged(metrics.get("average", {}))
        + "A handful says nothing about accuracy: 01 measures it, 06 compares it."
    )


def _averaged(average: Row) -> str:
    """How far the weights were taken, and what the held-out items said about it."""
    if not average:
        return ""
    points = ", ".join(f"{point['share']:g}: {point['correct']} of {point['n']}" for point in average["curve"])
    curve = f" (held-out items right: {points})" if points else ""
    if average["share"] == 1 and not points:
        return "No item is held out at this limit, so the trained weights stay as they are. "
    return f"The weights lie {average['share']:.0%} of the way{curve}. "


def next_step(p: StageParameters) -> str:
    """What to run after this notebook, with its parameters."""
    return (
        f'**Next.** `01_evaluate` with `RUN = "{p.run}"`, `ARM = "{p.arm}"`, `ITERATION = {p.iteration}` and the same '
        "`TARGET` measures this checkpoint on every test split; then `06_compare` with the same `RUN` compares it with "
        "the untouched target."
    )
