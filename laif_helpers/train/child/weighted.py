"""Extends TRL's trainer by a weight per token, and by a penalty for leaving the starting model on replayed answers."""

import copy
from contextlib import nullcontext
from typing import Any

from trl.trainer.sft_trainer import SFTTrainer

from laif_helpers.records import Row

SCALE = 2.0**20
"""On weights and on their sum: TRL divides by no less than 1, which would shrink a step of small weights."""


class WeightedTrainer(SFTTrainer):
    """Loss of an optimiser step: the sum of weight times token loss, over the sum of weights of its loss tokens.

    That is the mean over a batch in which each token counts ``weight`` times, on all ranks together: 0 leaves it out
    of the gradient, 2 counts it twice. With ``kl_weight`` each response token of an ``anchored`` sample adds
    ``kl_weight`` times KL(start || model) over the whole vocabulary, in nats. The start is a frozen copy of the model,
    or what lies under its adapter.
    """

    data_collator: Any

    def __init__(self, *args: Any, kl_weight: float = 0.0, **options: Any) -> None:
        self.kl_weight = kl_weight
        adapted = hasattr(options["model"], "disable_adapter")
        self.start = copy.deepcopy(options["model"]).eval().requires_grad_(False) if kl_weight and not adapted else None
        super().__init__(*args, **options)
        if self.start is not None:
            self.start.to(self.args.device)
        self._signature_columns = ["input_ids", "labels", "weights", "anchored"]
        collate: Any = self.data_collator

        def with_weights(rows: list[Row]) -> Row:
            import torch

            batch = collate(rows)
            weights = torch.zeros(batch["labels"].shape)
            for at, row in enumerate(rows):
                weights[at, : len(row["weights"])] = torch.tensor(row["weights"])
            return {**batch, "weights": weights, "anchored": torch.tensor([row.get("anchored", False) for row in rows])}

        self.data_collator = with_weights

    def compute_loss(self, model: Any, inputs: Row, *args: Any, **options: Any) -> Any:
        """TRL's loss over log-probabilities that are multiplied by their token's weight, less the penalty."""
        weights, anchored = inputs.pop("weights")[:, 1:] * SCALE, inputs.pop("anchored")

        def weighted(**given: Any) -> Any:
            outputs = model(**given)
            if outputs.get("log_probs") is not None:
                outputs.log_probs = outputs.log_probs * weights
                if self.kl_weight and anchored.any():
                    outputs.log_probs = outputs.log_probs - self.kl_weight * SCALE * self._away(model, given, anchored)
            return outputs

        return super().compute_loss(weighted, inputs, *args, **options)

    def _away(self, model: Any, given: Row, anchored: Any) -> Any:
        """KL(start || model) at each token with a label of the anchored rows; 0 elsewhere. Rows x (tokens - 1)."""
        import torch

        rows = {key: given[key][anchored] for key in ("input_ids", "attention_mask")}
        learned = given["labels"][anchored][:, 1:] != -100
        # without a copy of its own, the start is what lies under the adapter
        under = nullcontext() if self.start is not None else self.accelerator.unwrap_model(model).disable_adapter()
        with torch.no_grad(), under:
            start = (self.start or model)(**rows).logits[:, :-1][learned].float().log_softmax(-1)
        now = model(**rows).logits[:, :-1][learned].float().log_softmax(-1)
        away = torch.nn.functional.kl_div(now, start, reduction="none", log_target=True).sum(-1)
        places = anchored[:, None] & (given["labels"][:, 1:] != -100)
        return away.new_zeros(places.shape).masked_scatter(places, away)

    def _get_num_items_in_batch(self, batch_samples: list[Row], device: Any) -> Any:
        """The step's loss tokens, each counted as often as it weighs, over accumulation steps and ranks."""
        total = sum(batch["weights"][:, 1:].sum() for batch in batch_samples)
        total = total.to(device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            total = self.accelerator.gather(total).sum()
        return total * SCALE
