"""Trains on the model's own rollouts: it answers training questions, and a teacher scores every token that it wrote.

TRL does the work. ``teacher``: its DistillationTrainer, reverse KL to a teacher of its own over the whole vocabulary.
``lesson``: its SDFTTrainer, whose teacher is the model before training, shown the lesson's own answer beside the
question. Both write the rollouts at the start of each step, so that they are the present model's.
"""

from typing import Any

from laif_helpers.models import local
from laif_helpers.models.tokenizers import ids_of, written
from laif_helpers.records import Row
from laif_helpers.train.child import savings
from laif_helpers.train.child.base_model import load_base
from laif_helpers.train.settings import Settings

REVERSE = 1.0
"""The divergence's place between forward (0) and reverse (1) KL. Reverse: the student is led to what the teacher would
write, and away from what it would not; it need not copy all that the teacher knows."""
TEMPERATURE = 1.0
"""Of the rollouts: they are drawn from the very distribution that is compared."""
SHOWN = "{prompt}\n\nA worked answer to this question:\n{privileged_context}\n\nNow answer the question yourself."
"""What the model is shown as its own teacher."""


def make_samples(settings: Settings, tokenizer: Any, rows: list[Row]) -> tuple[list[Row], Row]:
    """The questions as trainers want them, and their sizes in tokens; too long ones are left out and counted.

    The first questions come twice if they are no whole number of steps: TRL would drop the last, smaller step. An
    answer's length is that of the lesson, or of the target's last answer: what training is expected to write.
    """
    prompts = [row["messages"] if settings.signal == "teacher" else row["messages"][:-1] for row in rows]
    contexts = ["" if settings.signal == "teacher" else row["messages"][-1]["content"] for row in rows]
    ids = ids_of(tokenizer, written(tokenizer, prompts, add_generation_prompt=True))
    shown = ids
    if any(contexts):
        together = [_shown(*pair) for pair in zip(prompts, contexts, strict=True)]
        shown = ids_of(tokenizer, written(tokenizer, together, add_generation_prompt=True))
    answers = [
        row.get("answer_tokens") or len(tokenizer(text)["input_ids"]) for row, text in zip(rows, contexts, strict=True)
    ]
    parts = zip(prompts, contexts, ids, shown, answers, strict=True)
    samples = [
        {"prompt": turns, "privileged_context": context, "input_ids": own, "labels": [-100] * len(own),
         "read": len(seen), "answer": answer}
        for turns, context, own, seen, answer in parts
        if len(seen) + settings.max_new_tokens <= settings.max_length
    ]  # fmt: skip
    if not samples:
        raise ValueError(
            f"no question leaves room for {settings.max_new_tokens} new tokens within max_length "
            f"{settings.max_length}; raise max_length, or lower max_new_tokens"
        )
    left_out, kept = len(rows) - len(samples), len(samples)
    samples += samples[: -kept % step_size(settings, kept)]
    sizes = sorted(sample["read"] + settings.max_new_tokens for sample in samples)
    tokens, answered = sum(len(sample["input_ids"]) for sample in samples), sum(sample["answer"] for sample in samples)
    return samples, {
        **{"samples": len(samples), "left_out": left_out, "truncated_share": left_out / len(rows)},
        **{"loss_token_share": round(answered / (tokens + answered), 4), "sample_tokens": tokens + answered},
        **{"longest": sizes[-1], "median_length": sizes[len(sizes) // 2]},
    }


def _shown(turns: list[Row], context: str) -> list[Row]:
    text = SHOWN.format(prompt=turns[-1]["content"], privileged_context=context)
    return [*turns[:-1], {"role": "user", "content": text}]


def step_size(settings: Settings, questions: int) -> int:
    """Rollouts a step: as the recipe has it, or one a process for each of fewer questions than that."""
    whole = settings.batch_size * settings.gradient_accumulation * settings.num_processes
    return whole if questions >= whole else max(1, questions // settings.num_processes) * settings.num_processes


def arguments(settings: Settings, questions: int, common: Row) -> Any:
    """TRL's arguments for rollouts: those of every training, and how answers are drawn and compared."""
    if step_size(settings, questions) < settings.batch_size * settings.gradient_accumulation * settings.num_processes:
        common |= {"gradient_accumulation_steps": 1}
        common |= {"per_device_train_batch_size": step_size(settings, questions) // settings.num_processes}
    drawn = {"temperature": TEMPERATURE, "max_completion_length": settings.max_new_tokens}
    if settings.signal == "teacher":
        from trl.trainer.distillation_config import DistillationConfig

        return DistillationConfig(**common, **drawn, beta=REVERSE)
    from trl.experimental.sdft import SDFTConfig

    return SDFTConfig(
        **common,
        **drawn,
        num_generations=1,
        distillation_mode="full_logits",
        distillation_alpha=REVERSE,
        max_prompt_length=None,
        teacher_prompt_template=SHOWN,
    )


def make_trainer(settings: Settings, trl_arguments: Any, model: Any, tokenizer: Any, samples: list[Row]) -> Any:
    """TRL's trainer, which counts the tokens that it reads and writes. Raises ValueError for an unfit teacher."""
    from datasets import Dataset

    model.generation_config.eos_token_id = local.stop_ids(model, tokenizer)  # rollouts end where answers do
    # one precision for both, since the loss multiplies by both heads
    more: Row = (
        {"teacher_model": load_base(settings.teacher, dtype=model.dtype)} if settings.signal == "teacher" else {}
    )
    data = Dataset.from_list([{key: sample[key] for key in ("prompt", "privileged_context")} for sample in samples])
    return _counting(settings)(model=model, args=trl_arguments, train_dataset=data, processing_class=tokenizer, **more)


def _counting(settings: Settings) -> Any:
    """The trainer's class with ``_total_train_tokens``: prompts and rollouts, as SFTTrainer counts what it learns."""
    import torch

    if settings.signal == "teacher":
        from trl.trainer import distillation_trainer
        from trl.trainer.distillation_trainer import DistillationTrainer as Base

        savings.score_learned_tokens_alone(distillation_trainer)
    else:
        from trl.experimental.sdft import SDFTTrainer as Base

    class Counting(Base):
        _total_train_tokens = 0

        def _generate(self, *given: Any) -> Any:
            drawn = super()._generate(*given)
            tokens = torch.tensor(sum(map(len, (*drawn[0], *drawn[1]))), device=self.accelerator.device)
            self._total_train_tokens += int(self.accelerator.reduce(tokens))
            return drawn

        def log(self, logs: Row, *given: Any) -> None:
            super().log(logs | {"num_tokens": self._total_train_tokens}, *given)

    return Counting


def cost(settings: Settings, samples: list[Row], metrics: Row) -> Row:
    """Tokens that the model wrote and that the teacher read, over all epochs; what share of the tokens carried loss."""
    written = metrics["tokens"] - round(sum(len(sample["input_ids"]) for sample in samples) * settings.epochs)
    read = round(sum(sample["read"] for sample in samples) * settings.epochs) + written
    share = round(written / max(1, metrics["tokens"]), 4)
    return {"generated_tokens": written, "teacher_tokens": read, "loss_token_share": share}
